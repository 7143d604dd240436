"""Real traces as job tables and rate series, cut to a window of time.

Hours of a trace count from midnight before its first job (UTC where the trace has a clock, else its own
days), so that `hour % 24` is an hour of its day. Rows come sorted by arrival.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.errors import nearest
from gcn_env.jobs.arrivals import check_kind
from gcn_env.jobs.engineering import attributes
from gcn_env.jobs.formats import (
    FORMATS,
    PARQUET,
    SWF,
    TRACE_FORMATS,
    Raw,
    not_negative,
    read_columns,
    read_swf,
)
from gcn_env.jobs.parse import (
    Columns,
    csv_columns,
    decode,
    digest,
    fingerprint,
    need_columns,
    numbers,
    parquet_columns,
    read_bytes,
)
from gcn_env.jobs.rows import JobTable, RateSeries, job_table
from gcn_env.signals.errors import DataError

__all__ = [
    "RATE_FORMATS", "TRACE_FORMATS", "TraceReport", "fingerprint", "load_trace", "read_rates", "read_trace",
    "split_windows", "trace_extent_h",
]  # fmt: skip

Array = npt.NDArray[Any]

HOUR_S = 3600.0
DAY_S = 86400.0
MIN_H = 1e-5  # 36 ms: work must be positive, and the shortest requests take a tenth of a second
GANG_LIMIT = 1_000_000  # devices: above it a gang is a slip, and int32 not far
SPLITS = ("train", "validation", "test")
RATE_FORMATS = ("servegen", "csv")
_FILL_SEED = 20171112  # what a trace lacks is drawn by row: a row has the same figures in any window


@dataclass(frozen=True)
class TraceReport:
    """What a reader did with a file."""

    path: str
    format: str
    fingerprint: str
    rows: int  # jobs in the file
    kept: int  # jobs in the table
    dropped: dict[str, int]  # jobs left out by reason, `outside the window` among them
    clipped: dict[str, int]  # jobs of the table whose `gang`, `long` or `short` value was set to its bound
    clipped_work: float  # device-hours of the table over device-hours before clipping
    censored: int  # jobs of the whole file whose end was not seen
    window_h: tuple[float, float]
    extent_h: float  # whole days that hold every arrival
    start_utc: str | None  # UTC of hour 0, where the trace has a clock
    filled: tuple[str, ...]  # columns that the trace lacks: engineering figures

    def __str__(self) -> str:
        """One line."""
        left = "".join(f", {n} {reason}" for reason, n in self.dropped.items())
        cut = "".join(f", {n} clipped ({what})" for what, n in self.clipped.items() if n)
        a, b = self.window_h
        name = f"{Path(self.path).name} [{self.format} {self.fingerprint}]"
        return f"{name} {a:g}-{b:g} h: {self.kept} jobs{left}{cut}"


@dataclass(frozen=True)
class _File:
    raw: Raw
    order: Array  # rows by arrival
    origin_s: float  # arrival_s of hour 0
    extent_h: float
    rows: int
    digest: str


def read_trace(
    path: str | Path,
    format: str,
    window_h: tuple[float, float] | None = None,
    *,
    max_gang: int | None = None,
    max_h: float | None = None,
    min_h: float = MIN_H,
    kind: str | None = None,
    cores_per_device: int = 1,
    where: Mapping[str, str | Collection[str]] | None = None,
) -> JobTable:
    """Jobs of a trace as a table.

    Args:
        path: plain or gzip-compressed file.
        format: one of `TRACE_FORMATS`.
        window_h: hours `from <= arrival < to`; None = the whole trace, in whole days. `arrival_h` of the
            table counts from the window's start.
        max_gang: larger gangs are clipped to this many devices.
        max_h: longer jobs are clipped to this many hours.
        min_h: shorter jobs are clipped to this many hours, at least `MIN_H` (work must be positive).
        kind: job class whose engineering figures fill what the trace lacks; None = the format's own.
        cores_per_device: cores or processors of the trace that make one device; gangs are rounded up.
        where: keep the rows whose column has the value, or one of the values; not for `swf`.

    Raises:
        DataError: for a file, format, window or bound that cannot be used.
    """
    return load_trace(
        path, format, window_h, max_gang=max_gang, max_h=max_h, min_h=min_h, kind=kind,
        cores_per_device=cores_per_device, where=where,
    )[0]  # fmt: skip


def load_trace(
    path: str | Path,
    format: str,
    window_h: tuple[float, float] | None = None,
    *,
    max_gang: int | None = None,
    max_h: float | None = None,
    min_h: float = MIN_H,
    kind: str | None = None,
    cores_per_device: int = 1,
    where: Mapping[str, str | Collection[str]] | None = None,
) -> tuple[JobTable, TraceReport]:
    """As `read_trace`, with the report of what was dropped, clipped and filled in."""
    _check_bounds(max_gang, max_h, min_h, cores_per_device)
    min_h = max(min_h, MIN_H)
    file = _open(path, format, where)
    raw = file.raw
    name = check_kind(kind if kind is not None else _kind_of(format))
    gang = np.ceil(raw.units / cores_per_device)
    work_h = raw.duration_s / HOUR_S
    columns, filled = _filled(raw, gang, work_h, name, cores_per_device)
    hour = (raw.arrival_s - file.origin_s) / HOUR_S
    first, last = _window(window_h, file.extent_h, path)
    pick = file.order[(hour[file.order] >= first) & (hour[file.order] < last)]
    if not len(pick):
        raise DataError(f"{path}: no job arrives in {first:g}-{last:g} h (trace: 0-{file.extent_h:g} h)")
    most_h = np.inf if max_h is None else max_h
    most_gang = np.inf if max_gang is None else max_gang
    gang, work_h, hour = gang[pick], work_h[pick], hour[pick] - first
    clipped = {
        "gang": int((gang > most_gang).sum()),
        "long": int((work_h > most_h).sum()),
        "short": int((work_h < min_h).sum()),
    }
    before = float(np.sum(gang * work_h))
    gang, work_h = np.minimum(gang, most_gang), np.clip(work_h, min_h, most_h)
    if gang.max() > GANG_LIMIT:
        raise DataError(f"{path}: a job asks for {gang.max():g} devices; set max_gang to what a site holds")
    memory, data, every, comm = (c[pick] for c in columns)
    table = job_table(hour, gang, work_h, memory, data, every, comm, last - first)
    dropped = dict(raw.dropped)
    if len(raw.units) > len(pick):
        dropped["outside the window"] = len(raw.units) - len(pick)
    report = TraceReport(
        path=str(path),
        format=format,
        fingerprint=file.digest,
        rows=file.rows,
        kept=len(pick),
        dropped=dropped,
        clipped=clipped,
        clipped_work=float(np.sum(gang * work_h)) / before if before > 0.0 else 1.0,
        censored=raw.censored,
        window_h=(first, last),
        extent_h=file.extent_h,
        start_utc=f"{np.datetime64(int(file.origin_s), 's')}Z" if raw.utc else None,
        filled=filled,
    )
    return table, report


def trace_extent_h(path: str | Path, format: str) -> float:
    """Hours of a trace: the whole days that hold every arrival. Windows lie in `0..trace_extent_h`."""
    return _open(path, format, None).extent_h


def read_rates(
    path: str | Path, window_h: tuple[float, float] | None = None, *, format: str = "servegen"
) -> RateSeries:
    """A request-rate series.

    Args:
        path: plain or gzip-compressed CSV.
        window_h: hours from midnight before the first step; None = all.
        format: `servegen` (window_start_s, request_rate_per_s) or `csv` (start_h, rate_per_s).

    Raises:
        DataError: for a file or window that cannot be used, or steps of unequal length.
    """
    if format not in RATE_FORMATS:
        raise DataError(_unknown("rate format", format, RATE_FORMATS))
    file = Path(path)
    columns = csv_columns(decode(read_bytes(file), file), file)
    start_name, rate_name = (
        ("window_start_s", "request_rate_per_s") if format == "servegen" else ("start_h", "rate_per_s")
    )
    need_columns(columns, (start_name, rate_name), file, f"; {format} needs {start_name}, {rate_name}")
    start_h = numbers(columns, start_name, file) / (HOUR_S if format == "servegen" else 1.0)
    rate = not_negative(numbers(columns, rate_name, file), rate_name, file)
    if len(start_h) < 2:
        raise DataError(f"{file}: one step only; at least two are needed to know their length")
    steps = np.diff(start_h)
    step_h = float(steps[0])
    wrong = np.abs(steps - step_h) > 1e-6 * max(1.0, abs(step_h))
    if step_h <= 0.0 or wrong.any():
        at = int(np.argmax(wrong)) + 2 if step_h > 0.0 else 2
        raise DataError(
            f"{file}: row {at}: steps must be equal and rise ({step_h:g} h before); fill the gaps first"
        )
    start_h = start_h - math.floor(start_h[0] / 24.0) * 24.0
    first, last = _window(window_h, float(start_h[-1] + step_h), path, low=float(start_h[0]))
    pick = (start_h >= first - 1e-9) & (start_h < last - 1e-9)
    if not pick.any():
        raise DataError(f"{file}: no step begins in {first:g}-{last:g} h")
    return RateSeries(float(start_h[pick][0]), step_h, np.ascontiguousarray(rate[pick]))


def split_windows(
    windows: Mapping[str, tuple[float, float]], extent_h: float
) -> dict[str, tuple[float, float]]:
    """The windows of a trace by split, checked: ordered, inside the trace, disjoint.

    Args:
        windows: hours `(from, to)` for any of `train`, `validation`, `test`.
        extent_h: length of the trace (`trace_extent_h`).

    Raises:
        DataError: naming the windows at fault.
    """
    checked: dict[str, tuple[float, float]] = {}
    for name, window in windows.items():
        if name not in SPLITS:
            raise DataError(_unknown("split", name, SPLITS))
        checked[name] = _window(window, extent_h, f"{name} window")
    ordered = sorted(checked.items(), key=lambda item: item[1])
    for (left, a), (right, b) in pairwise(ordered):
        if b[0] < a[1]:
            raise DataError(
                f"{left} window {a[0]:g}-{a[1]:g} h overlaps {right} window {b[0]:g}-{b[1]:g} h; "
                "training and evaluation must not share jobs"
            )
    return checked


def _unknown(what: str, name: str, allowed: tuple[str, ...]) -> str:
    return f"unknown {what} {name!r}{nearest(name, allowed)} (allowed: {', '.join(allowed)})"


def _open(path: str | Path, format: str, where: Mapping[str, str | Collection[str]] | None) -> _File:
    if format not in TRACE_FORMATS:
        raise DataError(_unknown("trace format", format, TRACE_FORMATS))
    wanted = tuple(
        (name, (values,) if isinstance(values, str) else tuple(sorted(values)))
        for name, values in sorted((where or {}).items())
    )
    if wanted and format == SWF:
        raise DataError(f"where={dict(wanted)}: an SWF log has no named columns; leave it out")
    file = Path(path)
    stat = file.stat() if file.is_file() else None
    return _parsed(file, format, wanted, (stat.st_mtime_ns, stat.st_size) if stat else None)


@lru_cache(maxsize=4)  # the three windows of a split read one file: parse it once
def _parsed(
    file: Path, format: str, wanted: tuple[tuple[str, tuple[str, ...]], ...], version: tuple[int, int] | None
) -> _File:
    data = read_bytes(file)
    if format == SWF:
        raw = read_swf(decode(data, file), file)
    else:
        columns = parquet_columns(file) if format == PARQUET else csv_columns(decode(data, file), file)
        columns, left = _where(columns, wanted, file)
        raw = read_columns("csv" if format == PARQUET else format, columns, file)
        raw.dropped.update({"not picked": left} if left else {})
    rows = len(raw.units) + sum(raw.dropped.values())
    if not len(raw.units):
        why = ", ".join(f"{n} {reason}" for reason, n in raw.dropped.items())
        raise DataError(f"{file}: empty trace: of {rows} jobs none can run ({why})")
    origin_s = math.floor(float(raw.arrival_s.min()) / DAY_S) * DAY_S
    extent_h = (math.floor((float(raw.arrival_s.max()) - origin_s) / DAY_S) + 1) * 24.0
    order = np.argsort(raw.arrival_s, kind="stable")
    for array in raw:  # shared by every later call
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return _File(raw, order, origin_s, extent_h, rows, digest(data))


def _where(
    columns: Columns, wanted: tuple[tuple[str, tuple[str, ...]], ...], file: Path
) -> tuple[Columns, int]:
    if not wanted:
        return columns, 0
    need_columns(columns, (name for name, _ in wanted), file)
    n = len(next(iter(columns.values())))
    kept = [i for i in range(n) if all(columns[name][i] in values for name, values in wanted)]
    if not kept:
        raise DataError(f"{file}: no row with {dict(wanted)}")
    return {name: [column[i] for i in kept] for name, column in columns.items()}, n - len(kept)


def _kind_of(format: str) -> str:
    if format == SWF:
        return "hpc"
    return FORMATS["csv" if format == PARQUET else format].kind


def _filled(
    raw: Raw, gang: Array, work_h: Array, kind: str, cores_per_device: int
) -> tuple[list[Array], tuple[str, ...]]:
    """Memory per device, data, checkpoints, communication: the trace's where known, else engineering."""
    known: dict[str, Array | None] = {
        "memory_gib": None if raw.memory_total_gib is None else raw.memory_total_gib / gang,
        "data_gb": raw.data_gb,
        "checkpoint_h": raw.checkpoint_h,
        "comm": raw.comm,
    }
    guess = attributes(kind, gang, work_h, cores_per_device, np.random.default_rng(_FILL_SEED))
    columns: list[Array] = []
    filled: list[str] = []
    for (name, given), drawn in zip(known.items(), guess, strict=True):
        column = drawn if given is None else np.where(np.isnan(given), drawn, given)
        columns.append(column)
        if given is None or np.isnan(given).any():
            filled.append(name)
    return columns, tuple(filled)


def _window(
    window_h: tuple[float, float] | None, extent_h: float, what: object, low: float = 0.0
) -> tuple[float, float]:
    if window_h is None:
        return low, extent_h
    first, last = float(window_h[0]), float(window_h[1])
    if not (0.0 <= first < last <= extent_h):  # also false for NaN
        raise DataError(
            f"{what}: window {first:g}-{last:g} h; need 0 <= from < to <= {extent_h:g} h, the trace's length"
        )
    return first, last


def _check_bounds(max_gang: int | None, max_h: float | None, min_h: float, cores_per_device: int) -> None:
    if max_gang is not None and max_gang < 1:
        raise DataError(f"max_gang is {max_gang}; a job needs at least one device")
    if not (min_h >= 0.0 and (max_h is None or max_h >= max(min_h, MIN_H))):
        raise DataError(f"need 0 <= min_h <= max_h, not min_h = {min_h} h, max_h = {max_h} h")
    if cores_per_device < 1:
        raise DataError(f"cores_per_device is {cores_per_device}; it must be at least 1")
