"""Job tables and rate series: what the readers and the synthetic generators hand to the simulator.

The kernels draw no job attributes: they pick rows of a `JobTable`. A synthetic source picks random rows at
times of its `ArrivalProcess`; a trace source replays rows at `arrival_h`, cycling through `window_h`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class JobTable(NamedTuple):
    """`n` jobs in order of arrival (a trace) or in random order (synthetic)."""

    arrival_h: Array  # float64 [n] h from the start of the window; zeros for a synthetic table
    gang: Array  # int32 [n] devices, all of them needed to start
    work_h: Array  # float64 [n] h on `gang` devices of reference speed
    memory_gib: Array  # float32 [n] GiB per device
    data_gb: Array  # float32 [n] GB of input and checkpoint to move before it can start elsewhere
    checkpoint_h: Array  # float32 [n] h of reference work between checkpoints; inf = none
    comm: Array  # float32 [n] share of its time bound by memory or communication, 0..1
    window_h: float  # h after which a replay starts again; 0 for a synthetic table
    least: Array  # int32 [n] fewest devices an elastic gang can run on; 0 = not said
    priority: Array  # int8 [n] 0..9, higher goes first in a pool's queue; -1 = not said
    tenant: Array  # int16 [n] place in `tenants` of whose job it is; -1 = not said
    tenants: tuple[str, ...]


class RateSeries(NamedTuple):
    """Requests per second in equal steps."""

    start_h: float  # h of the trace at which the first step begins
    step_h: float  # h per step
    rate: Array  # float64 [steps] requests/s


_TYPES = (np.float64, np.int32, np.float64, np.float32, np.float32, np.float32, np.float32)


def job_table(
    arrival_h: Array,
    gang: Array,
    work_h: Array,
    memory_gib: Array,
    data_gb: Array,
    checkpoint_h: Array,
    comm: Array,
    window_h: float,
    least: Array | None = None,
    priority: Array | None = None,
    tenant: Array | None = None,
    tenants: tuple[str, ...] = (),
) -> JobTable:
    """A `JobTable` of contiguous arrays of the declared types; the last four may be left out: not said.

    Raises:
        ValueError: if the columns differ in length or hold values outside their meaning.
    """
    columns = (arrival_h, gang, work_h, memory_gib, data_gb, checkpoint_h, comm)
    arrays: list[Any] = [np.ascontiguousarray(c, t) for c, t in zip(columns, _TYPES, strict=True)]
    n = len(arrays[0])
    said = [
        np.full(n, missing, dtype) if column is None else np.ascontiguousarray(column, dtype)
        for column, missing, dtype in ((least, 0, np.int32), (priority, -1, np.int8), (tenant, -1, np.int16))
    ]
    table = JobTable._make([*arrays, float(window_h), *said, tenants])
    lengths = {name: len(getattr(table, name)) for name in (*JobTable._fields[:7], *JobTable._fields[8:11])}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"job table: columns of different length: {lengths}")
    for name in JobTable._fields[:6]:
        low = 1.0 if name == "gang" else 0.0
        column = getattr(table, name)
        if len(column) and not column.min() >= low:  # also false for NaN
            raise ValueError(f"job table: {name} holds {column.min()!r}; it must be at least {low:g}")
    if len(table.comm) and not (table.comm.min() >= 0.0 and table.comm.max() <= 1.0):
        raise ValueError("job table: comm must lie in 0..1")
    for name, low, high in (("least", 0, table.gang), ("priority", -1, 9), ("tenant", -1, len(tenants) - 1)):
        column = getattr(table, name)
        if ((column < low) | (column > high)).any():
            raise ValueError(f"job table: {name} lies outside its bounds")
    return table


def mean_device_h(table: JobTable) -> float:
    """Mean reference device-hours of a job: arrivals per hour times this is the load offered in devices."""
    return float(np.mean(table.gang * table.work_h))


def offered_devices(table: JobTable) -> float:
    """Mean reference devices a trace keeps busy over its window, if none of its jobs waits.

    Raises:
        ValueError: for a synthetic table, which has no window.
    """
    if table.window_h <= 0.0:
        raise ValueError("offered_devices needs a trace (window_h > 0); a synthetic table has no times")
    return float(np.sum(table.gang * table.work_h) / table.window_h)
