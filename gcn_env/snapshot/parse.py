"""Checking what a document holds: shapes, names, units and bounds, before anything is written to a state."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gcn_env.errors import UserError, nearest
from gcn_env.snapshot.readings import CONVERSIONS, FORMAT, TABLES

KEYS = ("format", "time", "step", "units", "regions", "pools", "links", "jobs", "slots", "placed")
MAX_STEP = 10**9


class SnapshotError(UserError):
    """A document that cannot be read as a snapshot, with the place and the remedy."""


class Time(NamedTuple):
    """When a snapshot was taken."""

    hour: float  # h since 1 January 00:00 UTC
    hours: int  # of that year
    weekday: int  # of 1 January, Monday 0


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise SnapshotError(f"{where}: {type(value).__name__} where an object of names is wanted")
    return value


def sequence(value: Any, where: str, most: int) -> Sequence[Any]:
    """A JSON array of at most `most` entries."""
    if not isinstance(value, list):
        raise SnapshotError(f"{where}: {type(value).__name__} where a list is wanted")
    if len(value) > most:
        raise SnapshotError(f"{where}: {len(value):,} entries; at most {most:,} are taken")
    return value


def choice(value: Any, allowed: Collection[str], where: str) -> str:
    """One of a set of names."""
    if not isinstance(value, str) or value not in allowed:
        shown = repr(value)[:60]
        near = nearest(value, allowed) if isinstance(value, str) else ""
        raise SnapshotError(f"{where}: {shown}{near} (one of: {', '.join(allowed)[:400]})")
    return value


def known_keys(value: Mapping[str, Any], allowed: Collection[str], where: str) -> None:
    """Refuse keys that mean nothing: a misspelt reading would be silently unknown."""
    unknown = set(value).difference(allowed)
    if unknown:
        key = next(k for k in value if k in unknown)
        raise SnapshotError(f"{where}: unknown key {key!r:.60}{nearest(key, allowed)}")


def finite(value: Any) -> float | None:
    """A number as a float, None for null; raises ValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r:.40} is no number")
    number = float(value) if abs(value) < 2**1000 else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{value!r:.40} is not finite")
    return number


def time_of(value: Any) -> Time:
    """When: an ISO 8601 stamp in UTC, or `{hour_of_year, hours_in_year, weekday_of_1_january}`."""
    if isinstance(value, str):
        try:
            stamp = datetime.fromisoformat(value)
        except ValueError as error:
            raise SnapshotError(f"time: {value!r:.40}: {error}; write 2026-05-03T12:15:00Z") from None
        if stamp.utcoffset() is None:
            raise SnapshotError(f"time: {value!r:.40} has no time zone; write it in UTC with a Z at its end")
        stamp = stamp.astimezone(UTC)
        first = datetime(stamp.year, 1, 1, tzinfo=UTC)
        last = datetime(stamp.year, 12, 31, tzinfo=UTC)
        days = (last - first).days + 1
        return Time((stamp - first).total_seconds() / 3600.0, days * 24, first.weekday())
    parts = mapping(value, "time")
    names = ("hour_of_year", "hours_in_year", "weekday_of_1_january")
    known_keys(parts, names, "time")
    try:
        hour, hours, weekday = (finite(parts.get(n)) for n in names)
    except (ValueError, OverflowError) as error:
        raise SnapshotError(f"time: {error}") from None
    if (
        hour is None
        or hours not in (8760.0, 8784.0)
        or weekday is None
        or not 0 <= hour <= hours
        or weekday not in range(7)
    ):
        raise SnapshotError(
            f"time: {dict(parts)!r:.120}; wanted hour_of_year 0..hours_in_year, hours_in_year 8760 or 8784, "
            "weekday_of_1_january 0 (Monday) to 6"
        )
    return Time(hour, int(hours), int(weekday))


def check_head(document: Any) -> Mapping[str, Any]:
    """The document as an object of this format."""
    found = mapping(document, "snapshot")
    if found.get("format") != FORMAT:
        raise SnapshotError(f"snapshot: format {found.get('format')!r:.40}; this version reads {FORMAT!r}")
    known_keys(found, KEYS, "snapshot")
    return found


class Units:
    """How the numbers of a document are turned into this project's units: every table's readings, checked once."""

    def __init__(self, declared: Any) -> None:
        """Check `units`: table -> reading -> unit.

        Raises:
            SnapshotError: for a unit that is unknown for its reading.
        """
        tables = mapping(declared, "units")
        known_keys(tables, [t.name for t in TABLES], "units")
        self._turn: dict[tuple[str, str], tuple[float, float] | None] = {}
        for table in TABLES:
            units = mapping(tables.get(table.name, {}), f"units.{table.name}")
            known_keys(units, table.names, f"units.{table.name}")
            for row in table.rows:
                unit = units.get(row.name)
                if unit is not None:
                    self._turn[table.name, row.name] = self._turned(table.name, row.name, unit, row.unit)

    @staticmethod
    def _turned(table: str, name: str, given: Any, ours: str) -> tuple[float, float] | None:
        if given == ours:
            return None
        if not isinstance(given, str) or (given, ours) not in CONVERSIONS:
            known = [ours, *(a for a, b in CONVERSIONS if b == ours)]
            raise SnapshotError(f"units.{table}.{name}: {given!r:.40} (one of: {', '.join(known)})")
        return CONVERSIONS[given, ours]

    def value(self, table: str, name: str, number: float) -> float:
        """A number in this project's unit.

        Raises:
            SnapshotError: if the document does not say in which unit it is.
        """
        try:
            turn = self._turn[table, name]
        except KeyError:
            raise SnapshotError(
                f"units.{table}.{name} is missing: say in which unit {table}.{name} is given"
            ) from None
        return number if turn is None else number * turn[0] + turn[1]
