"""What every model of a scenario file is made of: bounded numbers, and a model that refuses unknown keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]  # no unit here needs more
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=1e-6, le=1e9, allow_inf_nan=False)]  # Gbit/s; a GB in four months at least
Count = Annotated[int, Field(ge=1)]
DevicePrice = Annotated[float, Field(gt=0, le=1e4)]  # USD per device-hour
ClassName = Literal["training", "batch", "inference", "hpc"]


class Strict(BaseModel):
    """A model that refuses unknown keys and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
