"""What a scenario file may say of work: sources of jobs and their traces, data sets, tenants."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcn_env.core.params import SPLITS
from gcn_env.scenario.strict import ClassName, Count, NonNegative, Positive, Share, Strict


class Trace(Strict):
    """A recorded workload and the part of it that belongs to each split."""

    file: str
    format: str
    columns: dict[str, str] = {}
    where: dict[str, str | tuple[str, ...]] = {}
    train_h: tuple[float, float]
    validation_h: tuple[float, float]
    test_h: tuple[float, float]

    @model_validator(mode="after")
    def _disjoint(self) -> Trace:
        windows = sorted((*getattr(self, f"{s}_h"), s) for s in SPLITS)
        for (a, e, name), following in zip(windows, [*windows[1:], None], strict=True):
            if not 0 <= a < e:
                raise ValueError(
                    f"trace window {name}_h = [{a:g}, {e:g}] is empty; give [from, to] with from < to"
                )
            if following is not None and e > following[0]:
                raise ValueError(
                    f"trace windows of {name} and {following[2]} overlap; a window belongs to one split"
                )
        return self


class Jobs(Strict):
    """One source of jobs."""

    job_class: ClassName
    table: Literal["training", "batch", "inference", "hpc", "nasa"]
    load: Annotated[float, Field(ge=0, le=3)]
    trace: Trace | None = None
    traffic: str = "m-small"
    origins: dict[str, Positive] = {}
    local_clock: bool = True
    min_gang: Count = 1
    max_gang: Count = 64
    max_h: Positive = 72.0
    min_h: NonNegative = 0.1
    gang_scale: Count = 1
    max_memory_gib: Positive | None = None
    max_checkpoint_h: Positive | None = None
    least_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    tenant: str = "all"
    movable: bool | None = None
    resume_min: NonNegative = 5.0
    data_set: str | None = None
    cores_per_device: Count = 1
    batch_max: Count = 32
    table_rows: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    slack_min_share: NonNegative = 0.25
    slack_mean_share: NonNegative = 1.0
    slack_h: NonNegative = 2.0
    late_usd_per_device_h: NonNegative = 1.0
    slo_ms: Positive | None = None
    restricted_share: Share = 0.0
    jurisdictions: tuple[str, ...] | None = None
    trust: Literal["public", "private", "tee"] = "public"

    @model_validator(mode="after")
    def _latency(self) -> Jobs:
        if (self.job_class == "inference") != (self.slo_ms is not None):
            raise ValueError("slo_ms is needed for inference, and only there")
        if self.trace is not None and self.min_gang > 1:
            raise ValueError("min_gang belongs to fitted tables; a trace gives its own gangs")
        return self


class DataSet(Strict):
    """Input shared by many jobs: regions where a copy lies."""

    regions: Annotated[tuple[str, ...], Field(min_length=1)]


class Tenant(Strict):
    """Whose jobs they are, and the share of the fleet's devices that they may hold at a time."""

    quota_share: Annotated[float, Field(gt=0, le=1)] = 1.0
