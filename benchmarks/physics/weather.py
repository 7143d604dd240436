"""Hourly weather of the nine named climates, from the best source at hand, which every row then states.

In order of preference: a typical year (EPW) or a measured year (CSV) from `--data`; the synthetic year of the fitted
profile of that place (`gcn_env.signals.climatology`); for places without either, the year of the nearest profile
morphed to published monthly normals (Belcher, Hacker and Powell 2005: shift the monthly mean, stretch around it).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import DRY, HUMID
from gcn_env.signals import psychro
from gcn_env.signals.climatology import sites
from gcn_env.signals.epw import read_epw
from gcn_env.signals.series import fill_gaps, find_file, read_csv
from gcn_env.signals.synthetic import synthetic_year

Array = npt.NDArray[np.float64]
HOURS = 8760
YEAR = 2023  # of the measured series; a common year, and the last that every region has
SEED = 0  # of the synthetic year
LONGEST_GAP_H = 48
_MONTH_HOURS = 24 * np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
MONTH = np.repeat(np.arange(12), _MONTH_HOURS)  # month of each hour of a common year


class Normals(NamedTuple):
    """Published monthly normals of a place: mean daily highest and lowest dry bulb, mean dew point [degC]."""

    high_c: tuple[float, ...]
    low_c: tuple[float, ...]
    dew_c: tuple[float, ...]
    source: str


class Place(NamedTuple):
    """Where a climate's weather comes from."""

    profile: str  # fitted profile, and region of the measured files
    elevation_m: float
    epw: str = ""  # start of the name of a typical year's file
    normals: Normals | None = None  # the profile is only the nearest: morph it to these


class Weather(NamedTuple):
    """One year of a climate: dry bulb, wet bulb, dew point [degC], humidity ratio [kg/kg], each [8760]."""

    name: str
    values: Array  # [8760, 4], in the order that `plant.advance` reads
    elevation_m: float
    origin: str  # one phrase for the tables

    @property
    def is_design(self) -> bool:
        """Whether this is a morphed design climate, neither measured nor fitted there."""
        return self.origin.startswith("design")


_STOCKHOLM = Normals(
    (-0.7, -0.6, 3.0, 8.6, 15.7, 20.7, 21.9, 20.4, 15.1, 9.9, 4.5, 1.1),
    (-5.0, -5.3, -2.7, 1.1, 6.3, 11.3, 13.4, 12.7, 9.0, 5.3, 0.7, -3.2),
    (-4.8, -5.1, -3.7, -0.7, 4.2, 9.0, 11.6, 11.6, 8.3, 4.9, 0.6, -3.0),
    "dry bulb: published normals 1961-1990; dew point: R (from recalled relative humidity), an assumption",
)
_PHOENIX = Normals(
    (20.0, 21.7, 25.6, 30.0, 35.0, 40.0, 41.7, 40.6, 37.8, 31.7, 25.0, 18.9),
    (7.8, 9.4, 12.8, 16.1, 21.1, 26.1, 29.4, 28.9, 25.6, 18.9, 12.2, 7.2),
    (1.0, 1.0, 1.0, 0.0, 2.0, 4.0, 13.0, 14.0, 10.0, 5.0, 2.0, 1.0),
    "dry bulb: published normals 1991-2020; dew point: R, an assumption",
)
CLIMATES: dict[str, Place] = {
    "Stockholm": Place("DE-LU", 20.0, normals=_STOCKHOLM),
    "London": Place("GB", 29.0),
    "Frankfurt": Place("DE-LU", 111.0),
    "Ashburn": Place("US-MIDA-PJM", 95.0, epw="USA_VA_Leesburg"),
    "San Jose": Place("US-CAL-CISO", 7.0),
    "Dallas": Place("US-TEX-ERCO", 142.0),
    "Phoenix": Place("US-CAL-CISO", 337.0, epw="USA_AZ_Phoenix", normals=_PHOENIX),
    "Mumbai": Place("IN-WE", 9.0),
    "Singapore": Place("SG", 19.0),
}


def load(name: str, data: Path | None = None) -> Weather:
    """The year of one climate.

    Args:
        name: a key of `CLIMATES`.
        data: folder with `weather/` (CSV) and `epw/`; None: synthetic years only.
    """
    place = CLIMATES[name]
    typical = sorted((data / "epw").glob(f"{place.epw}*")) if data and place.epw else []
    if typical:
        year = read_epw(typical[0], LONGEST_GAP_H)
        return Weather(
            name, year.values.astype(np.float64), year.elevation_m, f"typical year, {year.place} (EPW)"
        )
    values, origin = _measured(place.profile, data) if data else _synthetic(place.profile)
    if place.normals is None:
        return Weather(name, values, place.elevation_m, origin)
    values = morphed(values, place.normals, place.elevation_m)
    return Weather(name, values, place.elevation_m, f"design climate: {origin}, morphed to normals")


def _synthetic(profile: str) -> tuple[Array, str]:
    year = synthetic_year([profile], YEAR, SEED)
    return year[:HOURS, 0, DRY : HUMID + 1].astype(
        np.float64
    ), f"synthetic year of the fitted profile {profile}"


def _measured(profile: str, data: Path) -> tuple[Array, str]:
    path = find_file(data, "weather", profile, YEAR)
    columns = read_csv(path, "weather", YEAR)
    for key in ("drybulb", "wetbulb"):
        fill_gaps(columns[key], LONGEST_GAP_H, profile, YEAR, key, str(path))
    dry, wet = columns["drybulb"], np.minimum(columns["wetbulb"], columns["drybulb"])
    pressure = psychro.site_pressure(sites()[profile].elevation_m)
    dew, ratio = psychro.dew_and_humidity(dry, wet, pressure)
    return np.stack([dry, wet, dew, ratio], axis=1), f"reanalysis {YEAR}, {profile}"


def monthly(values: Array) -> Array:
    """Mean of each month of hourly values, [12, ...]."""
    return np.array([values[m == MONTH].mean(axis=0) for m in range(12)])


def _daily_range(dry: Array) -> Array:
    days = dry.reshape(-1, 24)
    swing = np.repeat(days.max(axis=1) - days.min(axis=1), 24)
    return monthly(swing)


def _smooth(by_month: Array) -> Array:
    """Hourly values through monthly ones: linear between mid-months, the year taken as a circle."""
    middle = np.cumsum(_MONTH_HOURS) - _MONTH_HOURS / 2
    at = np.concatenate([[middle[-1] - HOURS], middle, [middle[0] + HOURS]])
    around = np.concatenate([by_month[-1:], by_month, by_month[:1]])
    return np.interp(np.arange(HOURS) + 0.5, at, around)


def morphed(values: Array, normals: Normals, elevation_m: float) -> Array:
    """A year with a place's monthly means and daily ranges, and another place's variability.

    Dry bulb: mean shifted, deviations stretched by the ratio of daily ranges. Dew point: its depression below the dry
    bulb is scaled to the monthly mean; never above the dry bulb or `psychro.MAX_DEW_C`.
    """
    dry, _, dew, _ = values.T
    high, low = np.array(normals.high_c), np.array(normals.low_c)
    stretch = _smooth((high - low) / _daily_range(dry))
    new = _smooth((high + low) / 2) + (dry - _smooth(monthly(dry))) * stretch
    new += _smooth(
        (high + low) / 2 - monthly(new)
    )  # mid-month interpolation clips the extremes: put them back
    wanted = monthly(new) - np.array(normals.dew_c)
    depression = (dry - dew) * _smooth(wanted / monthly(dry - dew))
    new_dew = np.minimum(new - np.maximum(depression, 0.0), psychro.MAX_DEW_C)
    pressure = psychro.site_pressure(elevation_m)
    ratio = psychro.humidity_from_vapour(psychro.vapour_from_dew(new_dew), pressure)
    ratio = np.maximum(ratio, psychro.DRIEST * psychro.saturated_ratio(new, pressure))
    return np.stack([new, psychro.wet_bulb(new, ratio, pressure), new_dew, ratio], axis=1)


def load_profile(mean: float = 0.60) -> Array:
    """Utilisation [8760]: daily and weekly swing about a mean, the load shape of the study (E)."""
    t = np.arange(HOURS)
    return np.clip(mean + 0.14 * np.sin(2 * np.pi * (t % 24 - 9) / 24) - 0.05 * ((t // 24) % 7 > 4), 0.0, 1.0)
