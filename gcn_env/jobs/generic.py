"""Anybody's own trace: one job a row in a CSV or Parquet file, in any order, columns as declared here.

The page `gcn_env/jobs/README.md` is written from these rows (`python -m agents describe --jobs`); a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.errors import nearest
from gcn_env.jobs.parse import Columns, need_columns, numbers, stamps
from gcn_env.jobs.raw import HOUR_S, Raw, not_negative
from gcn_env.signals.errors import DataError

Array = npt.NDArray[Any]


class Column(NamedTuple):
    """A column of the schema."""

    name: str
    unit: str
    need: str  # `one of` (exactly one of these), `required`, `optional`
    doc: str


ARRIVALS, DURATIONS = ("arrival_h", "arrival_s", "arrival_utc"), ("duration_h", "duration_s")
COLUMNS = (
    Column("arrival_h", "h", "one of", "arrival, from any start; hour 0 becomes the midnight before the first job"),
    Column("arrival_s", "s", "one of", "the same in seconds"),
    Column("arrival_utc", "ISO 8601", "one of", "the same as a UTC stamp like `2017-09-18T09:22:17Z`"),
    Column("duration_h", "h", "one of", "run time on the devices of the trace, which count as reference devices"),
    Column("duration_s", "s", "one of", "the same in seconds"),
    Column("gang", "devices", "required", "all of them needed to start (cores, with `cores_per_device`)"),
    Column("min_devices", "devices", "optional", "fewest it can run on, 1..gang; empty: `least_share` of its source"),
    Column("priority", "0..9", "optional", "higher goes first in a pool's queue; empty: `priority` of its source"),
    Column("tenant", "name", "optional", "whose job it is; empty: `tenant` of its source"),
    Column("memory_gib", "GiB per device", "optional", "empty: engineering figure"),
    Column("data_gb", "GB", "optional", "input and checkpoint to move before it can start elsewhere; empty: likewise"),
    Column("checkpoint_h", "h", "optional", "work between checkpoints; empty: likewise"),
    Column("comm", "0..1", "optional", "share of its time bound by memory or communication; empty: likewise"),
)  # fmt: skip
NAMES = tuple(c.name for c in COLUMNS)
MAX_PRIORITY = 9


def renamed(columns: Columns, mapping: Mapping[str, str], path: Path) -> Columns:
    """The columns that `mapping` (name here -> name in the file) and the schema name; others are left out.

    Raises:
        DataError: for a name that is not of the schema, or that the file has not.
    """
    if not mapping:
        return columns
    for name, of in mapping.items():
        if name not in NAMES:
            raise DataError(f"{path}: columns maps to {name!r}{nearest(name, NAMES)} ({', '.join(NAMES)})")
        need_columns(columns, (of,), path)
    used = set(mapping.values())
    kept = {n: c for n, c in columns.items() if n in NAMES and n not in used and n not in mapping}
    return kept | {name: columns[of] for name, of in mapping.items()}


def read_generic(c: Columns, path: Path) -> Raw:
    """Jobs of the generic schema.

    Raises:
        DataError: for a column that is unknown, missing or given twice in two units, or a value outside its bounds.
    """
    for name in c:
        if name not in NAMES:
            raise DataError(f"{path}: unknown column {name!r}{nearest(name, NAMES)} ({', '.join(NAMES)})")
    arrival, duration = _one_of(c, ARRIVALS, path), _one_of(c, DURATIONS, path)
    arrival_s = _seconds(c, arrival, path)
    gang = numbers(c, "gang", path)
    _inside(gang, gang < 1.0, "gang", "a job needs at least one device", path)
    extra = {
        n: not_negative(numbers(c, n, path, blank=True), n, path)
        for n in ("min_devices", "priority", "memory_gib", "data_gb", "checkpoint_h", "comm")
        if n in c
    }
    least, priority = extra.get("min_devices"), extra.get("priority")
    memory, comm = extra.get("memory_gib"), extra.get("comm")
    if least is not None:
        _inside(least, (least < 1.0) | (least > gang), "min_devices", "1..gang is needed", path)
    if priority is not None:
        wrong = (priority > MAX_PRIORITY) | (np.nan_to_num(priority) % 1.0 != 0.0)
        _inside(priority, wrong, "priority", f"a whole number 0..{MAX_PRIORITY} is needed", path)
    if comm is not None:
        _inside(comm, comm > 1.0, "comm", "a share lies in 0..1", path)
    return Raw(
        arrival_s, _seconds(c, duration, path), gang, {}, 0, arrival == "arrival_utc",
        None if memory is None else memory * gang, extra.get("data_gb"), extra.get("checkpoint_h"), comm,
        least, priority, c.get("tenant"),
    )  # fmt: skip


def _one_of(c: Columns, names: Sequence[str], path: Path) -> str:
    there = [n for n in names if n in c]
    if len(there) > 1:
        raise DataError(f"{path}: columns {' and '.join(there)} say the same; leave one out")
    if not there:
        need_columns(c, names[:1], path, f"; one of {', '.join(names)} is needed")
    return there[0]


def _seconds(c: Columns, name: str, path: Path) -> Array:
    if name.endswith("_utc"):
        return stamps(c, name, path)
    values = not_negative(numbers(c, name, path), name, path)
    return values * HOUR_S if name.endswith("_h") else values


def _inside(values: Array, wrong: Array, name: str, says: str, path: Path) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{path}: row {at + 1}, {name} is {values[at]:g}; {says}")


def schema_page() -> str:
    """Markdown of the schema."""
    lines = ["| column | unit | needed | meaning |\n|---|---|---|---|\n"]
    for c in COLUMNS:
        others = next((g for g in (ARRIVALS, DURATIONS) if c.name in g), ())
        need = f"one of {', '.join(f'`{n}`' for n in others)}" if others else c.need
        lines.append(f"| `{c.name}` | {c.unit} | {need} | {c.doc} |\n")
    return "".join(lines)
