"""Where regions stand: their signals' origin, clock, height, and the links between them."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gcn_env.core.state import Array
from gcn_env.errors import UserError, nearest
from gcn_env.scenario.load import read_yaml
from gcn_env.scenario.schema import ADJUSTMENTS, Region, Scenario
from gcn_env.signals.borrowed import Borrowed
from gcn_env.signals.climatology import sites
from gcn_env.signals.epw import EpwYear, read_epw
from gcn_env.signals.errors import DataError

FIBRE_BASE_MS, FIBRE_MS_PER_KM = 2.0, 0.015  # [E] 2 x 1.5 x distance at 200 km/ms, and equipment at the ends
SAME_SITE_MS = 1.0  # [E] inside a region
YEAR_H = 8760.0
LENT = ("price", "carbon", "weather")
WEATHER_FILE_KM = 250.0  # further away a weather file is of another climate: borrowed, which needs a source


@lru_cache(maxsize=1)
def network_tables() -> dict[str, Any]:
    """Round trips and egress prices (network.yaml)."""
    return read_yaml(Path(__file__).resolve().parent / "network.yaml")


def place(region: Region) -> tuple[float, float]:
    """Standard time ahead of UTC [h] and elevation [m] of a region: its own, else those of its profile."""
    offset, height = region.utc_offset_h, region.elevation_m
    if region.profile is not None:
        site = sites()[region.profile]
        offset = site.utc_offset_h if offset is None else offset
        height = site.elevation_m if height is None else height
    assert offset is not None  # the schema asks for both where there is no profile
    assert height is not None
    return offset, height


def borrowed(s: Scenario) -> list[Borrowed]:
    """What each region takes its signals from.

    Raises:
        UserError: for an unknown profile (with the nearest name).
    """
    out = []
    for name, r in s.regions.items():
        # a region with its own weather file may borrow carbon only: what weather comes with it is replaced
        own = {f"{v}_profile": str(getattr(r, f"{v}_profile") or r.profile or r.carbon_profile) for v in LENT}
        for field, profile in {**({"profile": r.profile} if r.profile else {}), **own}.items():
            if profile not in sites():
                near = nearest(profile, sites())
                raise UserError(
                    f"regions.{name}.{field}: unknown {profile!r}{near} (known: {', '.join(sites())})"
                )
        values: list[Any] = [*own.values(), *place(r), *(getattr(r, a) for a in ADJUSTMENTS)]
        out.append(Borrowed._make(values))
    return out


def weather_files(s: Scenario, folder: Path, max_gap_h: int) -> dict[int, EpwYear]:
    """Typical years by region number, of the regions that name an EPW file.

    Raises:
        UserError: a file that is absent, broken, or of another place without a `source` that says why.
    """
    out = {}
    for i, (name, r) in enumerate(s.regions.items()):
        if r.weather_file is None:
            continue
        where = f"regions.{name}.weather_file"
        try:
            year = read_epw(folder / r.weather_file, max_gap_h)
        except DataError as error:
            raise type(error)(f"{where}: {error}") from error
        km = great_circle_km((r.latitude_deg, r.longitude_deg), (year.latitude, year.longitude))
        if km > WEATHER_FILE_KM and not r.source:
            raise UserError(
                f"{where}: {r.weather_file} is of {year.place} at latitude {year.latitude:g}, longitude "
                f"{year.longitude:g}, {km:,.0f} km from the region; name a file within {WEATHER_FILE_KM:g} km, or say "
                "in `source` why this one is fair"
            )
        out[i] = year
    return out


def great_circle_km(a: tuple[float, float], c: tuple[float, float]) -> float:
    """Distance of two places given as latitude and longitude [deg]."""
    lat1, lat2 = math.radians(a[0]), math.radians(c[0])
    dlon = math.radians(c[1] - a[1])
    cos = math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(dlon)
    return 6371.0 * math.acos(min(1.0, max(-1.0, cos)))


def _rtt_ms(a: Region, c: Region, kind: str) -> float:
    """Round trip between two regions that no link gives."""
    km = great_circle_km((a.latitude_deg, a.longitude_deg), (c.latitude_deg, c.longitude_deg))
    if kind == "fibre":
        return FIBRE_BASE_MS + FIBRE_MS_PER_KM * km
    table = network_tables()["rtt_ms"]
    known, fit = table["regions"], table["distance_regression"]
    if a.profile in known and c.profile in known and a.profile != c.profile:
        return float(table["matrix"][known.index(a.profile)][known.index(c.profile)])
    return float(fit["a"] + fit["b"] * km)


def _ends(key: str, names: list[str]) -> tuple[int, int]:
    """The two regions of a link's key."""
    parts = key.split("~")
    if len(parts) != 2 or parts[0] == parts[1]:
        raise UserError(f"network.links: key {key!r} is not REGION~REGION of two of {', '.join(names)}")
    for part in parts:
        if part not in names:
            raise UserError(
                f"network.links: key {key!r} names no region {part!r}{nearest(part, names)} (REGION~REGION of two of: "
                f"{', '.join(names)})"
            )
    return names.index(parts[0]), names.index(parts[1])


def compile_links(s: Scenario) -> dict[str, Any]:
    """The fields of `Geo` that say what links between regions do and cost; matrices are [R, R], from row to column.

    Raises:
        UserError: for a link between regions that are not there, or that is given twice.
    """
    names, regions, n = list(s.regions), list(s.regions.values()), len(s.regions)
    price = network_tables()["egress_usd_per_gb"]["per_region"]
    out = [
        price.get(r.profile, {}).get("usd_per_gb", s.network.default_egress_usd_per_gb)
        if r.egress_usd_per_gb is None
        else r.egress_usd_per_gb
        for r in regions
    ]
    rtt = np.array([[_rtt_ms(a, c, s.network.rtt) for c in regions] for a in regions])
    np.fill_diagonal(rtt, SAME_SITE_MS)
    shape, given = (n, n), set()
    gbit, cut, fade = (
        np.full(shape, x) for x in (s.network.gbit_per_s, s.network.cuts_per_year, s.network.fades_per_year)
    )
    egress = np.repeat(np.array(out, np.float64)[:, None], n, 1)
    for key, link in s.network.links.items():
        a, c = _ends(key, names)
        if frozenset((a, c)) in given:
            raise UserError(f"network.links: the link {key!r} is given twice; both directions are one entry")
        given.add(frozenset((a, c)))
        for matrix, value in (
            (rtt, link.rtt_ms), (gbit, link.gbit_per_s), (egress, link.usd_per_gb), (cut, link.cuts_per_year),
            (fade, link.fades_per_year),
        ):  # fmt: skip
            if value is not None:
                matrix[a, c] = matrix[c, a] = value
    return {
        "rtt_ms": rtt,
        "gbit_s": gbit,
        "egress_usd": egress,
        "link_usd": sum(link.usd_per_month for link in s.network.links.values()) * 12.0 / YEAR_H,
        "kwh_gb": float(s.network.kwh_per_gb),
        "cut": cut / YEAR_H,
        "cut_h": np.full(shape, s.network.cut_mean_h),
        "fade": fade / YEAR_H,
        "fade_share": float(s.network.fade_share),
    }


def data_sets(s: Scenario) -> Array:
    """Where copies of each job source's input lie besides the job's origin: int8 [S, R].

    Raises:
        UserError: for a data set or a region that is not there.
    """
    names = list(s.regions)
    copies = {name: np.zeros(len(names), np.int8) for name in s.data_sets}
    for name, spec in s.data_sets.items():
        for region in spec.regions:
            if region not in names:
                near = nearest(region, names)
                raise UserError(
                    f"data_sets.{name}.regions: unknown {region!r}{near} (regions: {', '.join(names)})"
                )
            copies[name][names.index(region)] = 1
    for job, jobs in s.jobs.items():
        if jobs.data_set is not None and jobs.data_set not in copies:
            near = nearest(jobs.data_set, copies)
            raise UserError(
                f"jobs.{job}.data_set: unknown {jobs.data_set!r}{near} (data_sets: {', '.join(copies) or 'none'})"
            )
    none = np.zeros(len(names), np.int8)
    return np.array([none if j.data_set is None else copies[j.data_set] for j in s.jobs.values()])
