"""What a reader hands over: the jobs of a file, before window and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.signals.errors import DataError

Array = npt.NDArray[Any]

HOUR_S = 3600.0


class Raw(NamedTuple):
    """Jobs of a file, before window and bounds."""

    arrival_s: Array  # float64 [n] s since 1970 (`utc`) or from the trace's own zero
    duration_s: Array  # float64 [n] s
    units: Array  # float64 [n] devices, cores or processors
    dropped: dict[str, int]  # rows left out, by reason
    censored: int  # rows whose end was not seen: their duration is a lower bound
    utc: bool  # arrival_s is a real time
    memory_total_gib: Array | None = None  # float64 [n] of the job; NaN = unknown
    data_gb: Array | None = None  # float64 [n]; NaN = unknown
    checkpoint_h: Array | None = None  # float64 [n]; NaN = unknown
    comm: Array | None = None  # float64 [n]; NaN = unknown
    least: Array | None = None  # float64 [n] fewest units; NaN = not said
    priority: Array | None = None  # float64 [n] 0..9; NaN = not said
    tenant: Sequence[str] | None = None  # [n]; "" = not said


def keep(drops: dict[str, Array], n: int) -> tuple[Array, dict[str, int]]:
    """Mask of the rows that no reason drops, and how many each reason drops (a row counts once)."""
    kept = np.ones(n, bool)
    counted: dict[str, int] = {}
    for reason, wrong in drops.items():
        counted[reason] = int((kept & wrong).sum())
        kept &= ~wrong
    return kept, {reason: c for reason, c in counted.items() if c}


def not_negative(values: Array, name: str, path: Path) -> Array:
    """`values`, all of them at least 0 or NaN.

    Raises:
        DataError: naming row and value of the first negative one.
    """
    wrong = values < 0.0
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{path}: row {at + 1}, {name} is {values[at]:g}; it must not be negative")
    return values
