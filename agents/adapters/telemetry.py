"""Telling a served policy how the fleet is: readings of sites from a file, pools and jobs from a scheduler."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gcn_env.errors import UserError
from gcn_env.snapshot import units
from gcn_env.snapshot.readings import FORMAT

log = logging.getLogger("gcn.telemetry")
_KEYS = ("units", "regions", "links", "devices")


@dataclass(frozen=True)
class Site:
    """What no scheduler knows: prices, carbon, weather, plants.

    Attributes:
        units: of the readings, `{"regions": {"price": "USD/MWh", ...}}`.
        regions: region -> reading -> number.
        links: as in a snapshot, None if unknown.
        devices: pool -> {"resource": NAME, "each": AMOUNT}: what a device is to the scheduler.
    """

    units: Mapping[str, Any] = field(default_factory=dict)
    regions: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[Any] | None = None
    devices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_site(path: str | Path, max_age_s: float = 3900.0, now: datetime | None = None) -> Site:
    """The site file, a JSON object; whoever knows prices and weather writes it anew each hour.

    Readings of a file older than `max_age_s` are left out, hence unknown to the server.

    Raises:
        UserError: if there is no such file, or it is none.
    """
    path = Path(path)
    try:
        written, found = path.stat().st_mtime, json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"site file {path}: {error}") from None
    if not isinstance(found, dict) or not set(found) <= set(_KEYS):
        raise UserError(f"site file {path}: wanted a JSON object with {', '.join(_KEYS)}")
    if not all(isinstance(found.get(k, {}), dict) for k in ("units", "regions", "devices")):
        raise UserError(f"site file {path}: units, regions and devices are objects of names")
    for pool, shape in found.get("devices", {}).items():
        each = shape.get("each", 1) if isinstance(shape, dict) else None
        if isinstance(each, bool) or not isinstance(each, int | float) or not 0.0 < each < 1e9:
            raise UserError(f'site file {path}: devices.{pool}: wanted {{"resource": "cpu", "each": 16}}')
    age_s = (now or datetime.now(UTC)).timestamp() - written
    if age_s > max_age_s:
        log.warning("site file %s is %.0f s old: its readings count as unknown", path, age_s)
        return Site(devices=found.get("devices", {}))
    return Site(**found)


def document(
    site: Site, pools: Mapping[str, Mapping[str, float]], jobs: Sequence[Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    """A snapshot: the site's own readings in its units, pools and jobs in the project's."""
    return {
        "format": FORMAT, "time": now.astimezone(UTC).isoformat(), "units": {**units(), **site.units},
        "regions": dict(site.regions), "pools": dict(pools), "links": site.links, "jobs": list(jobs),
    }  # fmt: skip


def hour_of_year(when: datetime, now: datetime) -> float:
    """Hours from the beginning of `now`'s year (UTC) to `when`, as snapshots give times of jobs."""
    first = datetime(now.astimezone(UTC).year, 1, 1, tzinfo=UTC)
    return (when - first).total_seconds() / 3600.0
