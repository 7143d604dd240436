"""Real traces as job tables and rate series, cut to a window of time.

Hours of a trace count from midnight before its first job (UTC where the trace has a clock, else its own
days), so that `hour % 24` is an hour of its day. Rows come sorted by arrival.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.jobs.arrivals import check_kind
from gcn_env.jobs.engineering import attributes
from gcn_env.jobs.formats import CSV, FORMATS, PARQUET, SWF, TRACE_FORMATS, read_columns, read_swf
from gcn_env.jobs.generic import renamed
from gcn_env.jobs.parse import (
    Columns,
    csv_columns,
    decode,
    digest,
    fingerprint,
    need_columns,
    parquet_columns,
    read_bytes,
)
from gcn_env.jobs.raw import HOUR_S, Raw
from gcn_env.jobs.rows import JobTable, job_table
from gcn_env.jobs.windows import checked_window, unknown
from gcn_env.signals.errors import DataError

__all__ = ["TRACE_FORMATS", "TraceReport", "fingerprint", "load_trace", "read_trace", "trace_extent_h"]

Array = npt.NDArray[Any]

DAY_S = 86400.0
MIN_H = 1e-5  # 36 ms: work must be positive, and the shortest requests take a tenth of a second
GANG_LIMIT = 1_000_000  # devices: above it a gang is a slip, and int32 not far
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
    columns: Mapping[str, str] | None = None,
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
        where: keep the rows whose column in the file has the value, or one of the values; not for `swf`.
        columns: name in the generic schema -> name in the file, for `csv` and `parquet`; the file's other columns
            are left out.

    Raises:
        DataError: for a file, format, window or bound that cannot be used.
    """
    return load_trace(
        path, format, window_h, max_gang=max_gang, max_h=max_h, min_h=min_h, kind=kind,
        cores_per_device=cores_per_device, where=where, columns=columns,
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
    columns: Mapping[str, str] | None = None,
) -> tuple[JobTable, TraceReport]:
    """As `read_trace`, with the report of what was dropped, clipped and filled in."""
    _check_bounds(max_gang, max_h, min_h, cores_per_device)
    min_h = max(min_h, MIN_H)
    file = _open(path, format, where, columns)
    raw = file.raw
    name = check_kind(kind if kind is not None else _kind_of(format))
    gang = np.ceil(raw.units / cores_per_device)
    work_h = raw.duration_s / HOUR_S
    columns_of, filled = _filled(raw, gang, work_h, name, cores_per_device)
    hour = (raw.arrival_s - file.origin_s) / HOUR_S
    first, last = checked_window(window_h, file.extent_h, path)
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
    memory, data, every, comm = (c[pick] for c in columns_of)
    said = _said(raw, pick, gang, cores_per_device)
    table = job_table(hour, gang, work_h, memory, data, every, comm, last - first, *said)
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


def trace_extent_h(path: str | Path, format: str, columns: Mapping[str, str] | None = None) -> float:
    """Hours of a trace: the whole days that hold every arrival. Windows lie in `0..trace_extent_h`."""
    return _open(path, format, None, columns).extent_h


Pairs = tuple[tuple[str, Any], ...]


def _open(
    path: str | Path,
    format: str,
    where: Mapping[str, str | Collection[str]] | None,
    columns: Mapping[str, str] | None,
) -> _File:
    if format not in TRACE_FORMATS:
        raise DataError(unknown("trace format", format, TRACE_FORMATS))
    wanted = tuple(
        (name, (values,) if isinstance(values, str) else tuple(sorted(values)))
        for name, values in sorted((where or {}).items())
    )
    if wanted and format == SWF:
        raise DataError(f"where={dict(wanted)}: an SWF log has no named columns; leave it out")
    mapping = tuple(sorted((columns or {}).items()))
    if mapping and format not in (CSV, PARQUET):
        raise DataError(f"columns={dict(mapping)}: format {format!r} names its own; use {CSV} or {PARQUET}")
    file = Path(path)
    stat = file.stat() if file.is_file() else None
    return _parsed(file, format, wanted, mapping, (stat.st_mtime_ns, stat.st_size) if stat else None)


@lru_cache(maxsize=4)  # the three windows of a split read one file: parse it once
def _parsed(file: Path, format: str, wanted: Pairs, mapping: Pairs, version: tuple[int, int] | None) -> _File:
    data = read_bytes(file)
    if format == SWF:
        raw = read_swf(decode(data, file), file)
    else:
        columns = parquet_columns(file) if format == PARQUET else csv_columns(decode(data, file), file)
        columns, left = _where(columns, wanted, file)
        raw = read_columns(CSV if format == PARQUET else format, renamed(columns, dict(mapping), file), file)
        raw.dropped.update({"not picked": left} if left else {})
    rows = len(raw.units) + sum(raw.dropped.values())
    if not len(raw.units):
        why = ", ".join(f"{n} {reason}" for reason, n in raw.dropped.items())
        raise DataError(f"{file}: empty trace: of {rows} jobs none can run ({why})")
    if wanted:  # hours count from the first job of the file, whichever are picked
        whole = _parsed(file, format, (), mapping, version)
        origin_s, extent_h = whole.origin_s, whole.extent_h
    else:
        origin_s = math.floor(float(raw.arrival_s.min()) / DAY_S) * DAY_S
        extent_h = (math.floor((float(raw.arrival_s.max()) - origin_s) / DAY_S) + 1) * 24.0
    order = np.argsort(raw.arrival_s, kind="stable")
    for array in raw:  # shared by every later call
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return _File(raw, order, origin_s, extent_h, rows, digest(data))


def _where(columns: Columns, wanted: Pairs, file: Path) -> tuple[Columns, int]:
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
    return FORMATS[CSV if format == PARQUET else format].kind


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


def _said(
    raw: Raw, pick: Array, gang: Array, cores_per_device: int
) -> tuple[Array | None, Array | None, Array | None, tuple[str, ...]]:
    """Least devices, priority, tenant of the picked jobs and the tenants' names, where the trace says them."""
    least = priority = tenant = None
    names: tuple[str, ...] = ()
    if raw.least is not None:
        least = np.minimum(np.nan_to_num(np.ceil(raw.least[pick] / cores_per_device)), gang)
    if raw.priority is not None:
        priority = np.nan_to_num(raw.priority[pick], nan=-1.0)
    if raw.tenant is not None:
        names = tuple(sorted({name for name in raw.tenant if name}))
        number = {name: k for k, name in enumerate(names)}
        tenant = np.array([number.get(raw.tenant[i], -1) for i in pick.tolist()])
    return least, priority, tenant, names


def _check_bounds(max_gang: int | None, max_h: float | None, min_h: float, cores_per_device: int) -> None:
    if max_gang is not None and max_gang < 1:
        raise DataError(f"max_gang is {max_gang}; a job needs at least one device")
    if not (min_h >= 0.0 and (max_h is None or max_h >= max(min_h, MIN_H))):
        raise DataError(f"need 0 <= min_h <= max_h, not min_h = {min_h} h, max_h = {max_h} h")
    if cores_per_device < 1:
        raise DataError(f"cores_per_device is {cores_per_device}; it must be at least 1")
