"""How far synthetic years lie from real ones, next to how far real years lie from each other (the yardstick).

For each region and variable every pair (real year, other real year) and (real year, synthetic year) is compared;
figures are means over the pairs. KS is the Kolmogorov-Smirnov distance of the hourly values: `ks` as they are, levels
drawn by the generator; `ks_shape` with prices over their yearly median and carbon over its yearly mean. Autocorrelation
is that of the hourly values about their yearly mean, daily and seasonal cycles included. Missing hours are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.signals.bank import COLUMNS
from gcn_env.signals.calendar import year_hours
from gcn_env.signals.climatology import climatology, sites
from gcn_env.signals.errors import DataError, MissingDataError
from gcn_env.signals.series import find_file, read_csv
from gcn_env.signals.synthetic import synthetic_year

Array = npt.NDArray[Any]
Tick = Callable[[str], None]

VARIABLES = ("price", "carbon", "drybulb", "wetbulb")
UNITS = {"price": "USD/MWh", "carbon": "gCO2e/kWh", "drybulb": "degC", "wetbulb": "degC"}
KIND = {"price": "price", "carbon": "carbon", "drybulb": "weather", "wetbulb": "weather"}
LAGS_H = (1, 6, 24, 168)
STATISTICS = ("ks", "ks_shape", *(f"acf_{lag}h" for lag in LAGS_H))
LIMIT = 1.5  # of the yardstick
NEEDED = 0.8  # of the region-variables
# settlement at the regulatory floor in 80-98 % of the hours: a rule of that market and not a distribution
NOT_COMPARED = {("BR-SP", "price", 2022), ("BR-SP", "price", 2023)}
_FIRST_YEAR = 400  # year ids of what is made here: not those of any shipped scenario


@dataclass(frozen=True, eq=False)
class Years:
    """Hourly years of one region and variable.

    Attributes:
        real: calendar year -> [hours], NaN where missing.
        made: synthetic years, [hours] each.
        utc_offset_h: standard time minus UTC [h].
    """

    real: dict[int, Array]
    made: tuple[Array, ...]
    utc_offset_h: float


class Row(NamedTuple):
    """Figures of one region and variable; NaN yardsticks where fewer than two real years are at hand."""

    region: str
    variable: str
    years: tuple[int, ...]
    yardstick: dict[str, float]
    gap: dict[str, float]
    real_acf: Array  # [lags] mean over years
    made_acf: Array
    negative: tuple[float, float, float, float]  # share of hours: mean real, lowest, highest real, mean made
    profile: tuple[float, float]  # hour-of-day profile, RMS gap: real-real, real-made

    def ratio(self, statistic: str) -> float:
        """Gap over yardstick."""
        return self.gap[statistic] / self.yardstick[statistic]

    @property
    def judged(self) -> bool:
        """Whether there is a yardstick."""
        return len(self.years) > 1

    @property
    def acf_ratio(self) -> float:
        """Gap over yardstick of the four lags together."""
        names = STATISTICS[2:]
        return sum(self.gap[n] for n in names) / sum(self.yardstick[n] for n in names)


def real_years(
    folder: Path, regions: Sequence[str], years: Sequence[int]
) -> dict[tuple[str, str], dict[int, Array]]:
    """(region, variable) -> year -> values; files that are absent are left out.

    Raises:
        DataError: nothing at all found, or a file that is broken.
    """
    out: dict[tuple[str, str], dict[int, Array]] = {}
    for region in regions:
        for year in years:
            for kind in ("price", "carbon", "weather"):
                try:
                    columns = read_csv(find_file(folder, kind, region, year), kind, year)
                except MissingDataError:
                    continue
                for variable in VARIABLES:
                    if KIND[variable] == kind and (region, variable, year) not in NOT_COMPARED:
                        out.setdefault((region, variable), {})[year] = columns[variable]
    if not out:
        raise DataError(
            f"{folder}: no price/, carbon/ or weather/ file of {', '.join(regions)} in {', '.join(map(str, years))}"
        )
    return out


def gather(
    folder: Path, regions: Sequence[str], years: Sequence[int], n_made: int, seed: int, tick: Tick
) -> dict[tuple[str, str], Years]:
    """Real years of a folder and `n_made` synthetic years of the same regions; `tick` after each year made."""
    real = real_years(folder, regions, years)
    have = [r for r in regions if any((r, v) in real for v in VARIABLES)]
    fits = climatology().fits
    lender = next(n for n in climatology().names if "price" in fits[n])
    priced = [r if "price" in fits[r] else lender for r in have]
    made = []
    for k in range(n_made):
        year = synthetic_year(have, _FIRST_YEAR + k, seed, priced)
        made.append(year[: year_hours(_FIRST_YEAR + k)].astype(np.float64))
        tick("synthetic year")
    return {
        (region, variable): Years(
            values,
            tuple(m[:, have.index(region), COLUMNS.index(variable)] for m in made),
            sites()[region].utc_offset_h,
        )
        for (region, variable), values in real.items()
        if variable != "price" or "price" in fits[region]
    }


def distance(a: Array, b: Array) -> float:
    """Kolmogorov-Smirnov: the largest gap between the distributions of two sorted samples."""
    grid = np.concatenate([a, b])
    below = [np.searchsorted(x, grid, side="right") / len(x) for x in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def shape(variable: str, values: Array) -> Array:
    """Values with the year's level divided out."""
    if variable == "price":
        return np.asarray(values / np.nanmedian(values))
    return np.asarray(values / np.nanmean(values)) if variable == "carbon" else values


def autocorrelation(values: Array, lags: Sequence[int] = LAGS_H) -> Array:
    """At `lags` [h], over pairs of hours that are both there; zero for a constant series."""
    there = np.isfinite(values)
    z = np.where(there, values - np.nanmean(values), 0.0)
    variance = (z * z).sum() / there.sum()
    if not variance > 0.0:
        return np.zeros(len(lags))
    pairs = np.array([(there[:-lag] & there[lag:]).sum() for lag in lags])
    return np.array([(z[:-lag] * z[lag:]).sum() for lag in lags]) / np.maximum(pairs, 1) / variance


def day_profile(values: Array, utc_offset_h: float) -> Array:
    """Mean by local hour of the day, float64 [24]."""
    days = np.nanmean(values.reshape(-1, 24), axis=0)
    return np.roll(days, round(utc_offset_h))


def _mean_gap(a: Sequence[Any], b: Sequence[Any] | None, gap: Callable[[Any, Any], Any]) -> Any:
    """Mean of `gap` over all pairs of two lists, or over the pairs within one."""
    pairs = list(combinations(a, 2)) if b is None else [(x, y) for x in a for y in b]
    return np.mean([gap(x, y) for x, y in pairs], axis=0) if pairs else np.nan


def _sorted(years: Sequence[Array]) -> list[Array]:
    return [np.sort(x[np.isfinite(x)]) for x in years]


def row(region: str, variable: str, years: Years) -> Row:
    """Every figure of one region and variable."""
    real, made = list(years.real.values()), list(years.made)
    shapes = [[shape(variable, x) for x in xs] for xs in (real, made)]
    yard, gap = {}, {}
    for name, (a, b) in {"ks": (real, made), "ks_shape": (shapes[0], shapes[1])}.items():
        a, b = _sorted(a), _sorted(b)
        yard[name], gap[name] = float(_mean_gap(a, None, distance)), float(_mean_gap(a, b, distance))
    acf = [[autocorrelation(x) for x in xs] for xs in (real, made)]
    far = [
        np.broadcast_to(_mean_gap(acf[0], b, lambda x, y: abs(x - y)), len(LAGS_H)) for b in (None, acf[1])
    ]
    for k, name in enumerate(STATISTICS[2:]):
        yard[name], gap[name] = float(far[0][k]), float(far[1][k])
    days = [[day_profile(x, years.utc_offset_h) for x in xs] for xs in shapes]

    def rms(x: Array, y: Array) -> float:
        return float(np.sqrt(np.mean((x - y) ** 2)))

    negative = [[float((x[np.isfinite(x)] < 0.0).mean()) for x in xs] for xs in (real, made)]
    return Row(
        region, variable, tuple(years.real), yard, gap, np.mean(acf[0], axis=0), np.mean(acf[1], axis=0),
        (float(np.mean(negative[0])), min(negative[0]), max(negative[0]), float(np.mean(negative[1]))),
        (float(_mean_gap(days[0], None, rms)), float(_mean_gap(days[0], days[1], rms))),
    )  # fmt: skip


def rows(data: dict[tuple[str, str], Years], tick: Tick) -> list[Row]:
    """Figures of every region and variable, variable by variable; `tick` after each."""
    out = []
    for region, variable in sorted(data, key=lambda key: (VARIABLES.index(key[1]), key[0])):
        out.append(row(region, variable, data[region, variable]))
        tick(f"{region} {variable}")
    return out


class Verdict(NamedTuple):
    """Share of the judged region-variables inside the limit: by statistic, and taken together in three ways."""

    by_statistic: dict[str, float]
    acf: float  # the four lags added up
    cells: float  # of all region-variables and statistics
    every: float  # region-variables with all six inside
    judged: int

    @property
    def passed(self) -> bool:
        """Every statistic and all cells together reach the needed share."""
        return min(*self.by_statistic.values(), self.acf, self.cells) >= NEEDED


def verdict(table: Sequence[Row]) -> Verdict:
    """What share of the region-variables lies within the limit.

    Raises:
        DataError: no region-variable has two real years.
    """
    judged = [r for r in table if r.judged]
    if not judged:
        raise DataError("no region and variable has two real years to compare; name more --years")
    inside = np.array([[r.ratio(s) <= LIMIT for s in STATISTICS] for r in judged])
    return Verdict(
        dict(zip(STATISTICS, inside.mean(axis=0).tolist(), strict=True)),
        float(np.mean([r.acf_ratio <= LIMIT for r in judged])),
        float(inside.mean()),
        float(inside.all(axis=1).mean()),
        len(judged),
    )


class Cross(NamedTuple):
    """Correlation of daily-mean anomalies between regions, one entry for each pair of a variable."""

    variable: str
    pairs: tuple[tuple[str, str], ...]
    real: Array  # mean over years
    made: Array
    yardstick: float  # mean absolute gap of two real years
    gap: float  # of a real and a synthetic year


def anomalies(values: Array, utc_offset_h: float, variable: str) -> Array:
    """Daily means (asinh of price over median, log of carbon) less a yearly and half-yearly wave, [365]."""
    if variable == "price":
        values = np.arcsinh(4.0 * shape(variable, values))
    elif variable == "carbon":
        values = np.log(np.maximum(values, 1e-3))
    days = values[: 365 * 24].reshape(365, 24)
    there = np.isfinite(days).sum(axis=1) > 12
    mean = np.full(365, np.nan)
    mean[there] = np.nanmean(days[there], axis=1)
    angle = 2.0 * np.pi * np.arange(365) / 365.0
    waves = np.stack([np.ones(365), *(f(k * angle) for k in (1, 2) for f in (np.cos, np.sin))], axis=1)
    return np.asarray(mean - waves @ np.linalg.lstsq(waves[there], mean[there], rcond=None)[0])


def _correlation(a: Array, b: Array) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[both], b[both])[0, 1])


def cross(data: dict[tuple[str, str], Years], variable: str) -> Cross | None:
    """Correlations between the regions that share all real years of a variable; None for fewer than two regions."""
    most = max((set(y.real) for (_, v), y in data.items() if v == variable), key=len, default=set())
    have = {r: y for (r, v), y in sorted(data.items()) if v == variable and set(y.real) == most}
    if len(have) < 2 or not most:
        return None
    pairs = tuple(combinations(have, 2))
    out = []
    for kind in ("real", "made"):
        series = {
            r: [
                anomalies(x, y.utc_offset_h, variable)
                for x in (y.real.values() if kind == "real" else y.made)
            ]
            for r, y in have.items()
        }
        out.append([np.array([_correlation(series[a][k], series[b][k]) for a, b in pairs])
                    for k in range(len(next(iter(series.values()))))])  # fmt: skip
    real, made = out

    def far(x: Array, y: Array) -> float:
        return float(np.abs(x - y).mean())

    return Cross(
        variable, pairs, np.mean(real, axis=0), np.mean(made, axis=0),
        float(_mean_gap(real, None, far)), float(_mean_gap(real, made, far)),
    )  # fmt: skip
