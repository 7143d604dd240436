"""Real hourly series: `{price,carbon,weather}/REGION_YEAR.csv[.gz]` in a data folder.

One row for each UTC hour of the calendar year, stamps `YYYY-MM-DDTHH:MMZ` at the start of the hour, an empty
field where a value is missing. Whatever else is found is an error that names file, line and value: nothing is
repaired in silence. Missing values are an error too, or are interpolated over gaps of a declared length and
reported.
"""

from __future__ import annotations

import datetime as dt
import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.signals import psychro
from gcn_env.signals.bank import COLUMNS
from gcn_env.signals.calendar import BANK_HOURS, year_hours
from gcn_env.signals.climatology import sites
from gcn_env.signals.errors import DataError, MissingDataError
from gcn_env.signals.sky import sky

Array = npt.NDArray[Any]

MAX_BYTES = 64 * 2**20  # a year of one region is 0.3 MB; anything near this is another file


@dataclass(frozen=True)
class Column:
    """A column that is used: header name, lowest and highest value of a working source, signal name."""

    header: str
    low: float
    high: float
    name: str


FILES: dict[str, tuple[tuple[str, ...], tuple[Column, ...]]] = {
    # wide limits: price caps lie between -1,000 and 20,000 USD/MWh, coal burns at some 1,000 g/kWh, and the
    # highest air temperature on record is 56.7 degC
    "price": (
        ("timestamp_utc", "price_usd_per_mwh"),
        (Column("price_usd_per_mwh", -5000.0, 50000.0, "price"),),
    ),
    "carbon": (
        ("timestamp_utc", "carbon_lca_gco2e_per_kwh", "carbon_direct_gco2e_per_kwh", "is_estimated"),
        (Column("carbon_lca_gco2e_per_kwh", 0.0, 2500.0, "carbon"),),
    ),
    "weather": (
        ("timestamp_utc", "drybulb_degC", "relhum_pct", "wetbulb_degC"),
        (
            Column("drybulb_degC", -70.0, 57.0, "drybulb"),
            Column("relhum_pct", 0.0, 110.0, "relhum"),
            Column("wetbulb_degC", -70.0, 45.0, "wetbulb"),
        ),
    ),
}
WET_ABOVE_DRY_K = 0.3  # both columns are rounded to 0.1 K


@dataclass(frozen=True)
class Filled:
    """What interpolation put in: hours and gaps of one variable, region and year, and the longest gap [h]."""

    region: str
    year: int
    variable: str
    hours: int
    gaps: int
    longest_h: int

    def words(self) -> str:
        """Variable and hours."""
        return (
            f"{self.variable}: {self.hours} h interpolated in {self.gaps} gap(s), longest {self.longest_h} h"
        )

    def __str__(self) -> str:
        return f"{self.region} {self.year} {self.words()}"


@lru_cache(maxsize=8)
def stamps(year: int) -> tuple[str, ...]:
    """The stamp of every hour of a UTC year."""
    start = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
    return tuple((start + dt.timedelta(hours=h)).strftime("%Y-%m-%dT%H:%MZ") for h in range(year_hours(year)))


def find_file(data_dir: Path, kind: str, region: str, year: int) -> Path:
    """The file of one kind, region and year.

    Raises:
        MissingDataError: no such folder or file; the message lists the years and regions that are there.
        DataError: both the plain and the compressed file exist.
    """
    folder = data_dir / kind
    if not folder.is_dir():
        raise MissingDataError(
            f"{folder}: no such folder; the data folder needs price/, carbon/ and weather/"
        )
    found = [p for p in (folder / f"{region}_{year}.csv", folder / f"{region}_{year}.csv.gz") if p.is_file()]
    if len(found) == 2:
        raise DataError(f"{found[0]}: exists plain and compressed; keep one of the two")
    if not found:
        names = sorted({p.name.removesuffix(".gz").removesuffix(".csv") for p in folder.glob("*.csv*")})
        years = [n.rpartition("_")[2] for n in names if n.rpartition("_")[0] == region]
        regions = sorted({n.rpartition("_")[0] for n in names})
        there = (
            f"years of {region} there: {', '.join(years)}"
            if years
            else f"regions there: {', '.join(regions)}"
        )
        raise MissingDataError(
            f"{folder}: no {region}_{year}.csv or .csv.gz ({there or 'the folder is empty'})"
        )
    return found[0]


def read_text(path: Path) -> str:
    """The text of a plain or gzip-compressed file (at most 64 MiB)."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"{path}: cannot be read ({err}); fetch or write the file again") from err
    if len(raw) > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES // 2**20} MiB; one region and year is expected")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: byte {err.start} is not UTF-8 text; write the file as UTF-8") from err


def _check_header(path: Path, line: str, header: tuple[str, ...]) -> None:
    got = tuple(c.strip() for c in line.split(","))
    if got != header:
        raise DataError(f"{path}: line 1: header is {','.join(got)!r}, expected {','.join(header)!r}")


def _parse_stamp(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _check_stamps(path: Path, got: list[str], year: int) -> None:
    expected = stamps(year)
    if tuple(got) == expected:
        return
    for i, (stamp, right) in enumerate(zip(got, expected, strict=False)):
        if stamp == right:
            continue
        when, due = _parse_stamp(stamp), _parse_stamp(right)
        where = f"{path}: line {i + 2}: stamp {stamp!r}"
        if when is None or due is None:
            raise DataError(f"{where} is not YYYY-MM-DDTHH:MMZ (expected {right})")
        if i > 0 and stamp == got[i - 1]:
            raise DataError(f"{where} is repeated; keep one row for each hour")
        if when.year != year:
            raise DataError(f"{where} lies outside the year {year} (expected {right})")
        if when < due:
            raise DataError(f"{where} goes back in time (expected {right}); sort the rows")
        raise DataError(f"{where} skips {right}; write a row with an empty value for each missing hour")
    if len(got) < len(expected):
        raise DataError(
            f"{path}: {len(got)} rows of {len(expected)}: ends before {expected[len(got)]}; write a row "
            "for each hour of the year, with an empty value where it is missing"
        )
    raise DataError(
        f"{path}: {len(got)} rows, {len(expected)} expected: line {len(expected) + 2} is past the year"
    )


def numbers(path: Path, column: Column, texts: list[str], at: Sequence[str], first_line: int = 2) -> Array:
    """One column as float64, NaN where empty; `at` names the rows in errors."""
    out, wrong = np.empty(0), [i for i, t in enumerate(texts) if t and not _is_number(t)]
    if not wrong:
        out = np.array([float(t) if t else math.nan for t in texts])
        bad = ~((out >= column.low) & (out <= column.high))
        wrong = [i for i in np.flatnonzero(bad).tolist() if texts[i] != ""]
    if wrong:
        i = wrong[0]
        more = f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""
        raise DataError(
            f"{path}: line {i + first_line}, {at[i]}: {column.header} is {texts[i]!r}{more}; allowed: "
            f"numbers from {column.low:g} to {column.high:g}, or an empty field where the value is missing"
        )
    return out


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python reads 1_000 as a number; data files do not


def read_csv(path: Path, kind: str, year: int) -> dict[str, Array]:
    """The columns of one file as float64 [8760 or 8784], NaN where missing.

    Raises:
        DataError: anything that is not the declared format; the message names the file, line and value.
    """
    header, columns = FILES[kind]
    lines = read_text(path).splitlines()
    if not lines:
        raise DataError(f"{path}: empty; expected the header {','.join(header)!r}")
    _check_header(path, lines[0], header)
    rows = [line.split(",") for line in lines[1:]]
    if any(len(r) != len(header) for r in rows):
        i = next(i for i, r in enumerate(rows) if len(r) != len(header))
        raise DataError(
            f"{path}: line {i + 2}: {lines[i + 1][:60]!r} has {len(rows[i])} fields, not {len(header)}"
        )
    _check_stamps(path, [r[0] for r in rows], year)
    at = stamps(year)
    out = {}
    for column in columns:
        k = header.index(column.header)
        out[column.name] = numbers(path, column, [r[k].strip() for r in rows], at)
    if kind == "weather":
        above = np.flatnonzero(out["wetbulb"] > out["drybulb"] + WET_ABOVE_DRY_K)
        if len(above):
            i = int(above[0])
            raise DataError(
                f"{path}: line {i + 2}, {at[i]}: wetbulb_degC {out['wetbulb'][i]:g} exceeds drybulb_degC "
                f"{out['drybulb'][i]:g} ({len(above)} such rows); are the columns swapped?"
            )
    return out


def fill_gaps(
    values: Array, max_gap_h: int, region: str, year: int, variable: str, where: str
) -> Filled | None:
    """Interpolate NaN runs of at most `max_gap_h` hours in place (nearest value at the year's ends).

    Raises:
        DataError: a longer run, or nothing but NaN; with `max_gap_h` 0 any NaN.
    """
    missing = np.isnan(values)
    if not missing.any():
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    too_long = np.flatnonzero(lengths > max_gap_h)
    if len(too_long) or missing.all():
        k = int(too_long[0]) if len(too_long) else 0
        raise DataError(
            f"{where}: {region} {variable}: {int(missing.sum())} h missing in {len(starts)} gap(s), first "
            f"too long one of {int(lengths[k])} h from {stamps(year)[int(starts[k])]}; allowed: gaps of "
            f"at most {max_gap_h} h (`max_gap_h`; 0: none). Fill it, allow longer gaps, or leave the year out"
        )
    hours = np.arange(len(values))
    values[missing] = np.interp(hours[missing], hours[~missing], values[~missing])
    return Filled(region, year, variable, int(missing.sum()), len(starts), int(lengths.max()))


def _site_pressure(region: str, elevation_m: Mapping[str, float]) -> float:
    if region in elevation_m:
        return psychro.site_pressure(elevation_m[region])
    if region in sites():
        return psychro.site_pressure(sites()[region].elevation_m)
    raise DataError(
        f"no elevation known for region {region!r}: give it in `elevation_m` [m] "
        f"(known: {', '.join(sorted(sites()))})"
    )


def read_region_year(
    data_dir: Path,
    region: str,
    price_region: str,
    year: int,
    max_gap_h: int,
    elevation_m: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[Array, list[Filled]]:
    """One region and year, float32 [hours, 8] in bank columns, and what was filled in."""
    filled: list[Filled] = []
    got: dict[str, Array] = {}
    for kind, of in (("price", price_region), ("carbon", region), ("weather", region)):
        path = find_file(data_dir, kind, of, year)
        for name, values in read_csv(path, kind, year).items():
            if name == "relhum":
                continue
            report = fill_gaps(values, max_gap_h, of, year, name, str(path))
            if report:
                filled.append(report)
            got[name] = values
    wet = np.minimum(got["wetbulb"], got["drybulb"])
    pressure = _site_pressure(region, elevation_m or {})
    dew, ratio = psychro.dew_and_humidity(got["drybulb"], wet, pressure)
    above = sky(region, year, seed, got["drybulb"], dew)
    stacked = np.stack([got["price"], got["carbon"], got["drybulb"], wet, dew, ratio, *above.T], axis=1)
    return stacked.astype(np.float32), filled


def read_years(
    data_dir: Path | str,
    profiles: Sequence[str],
    years: Sequence[int],
    max_gap_h: int = 0,
    price_profiles: Sequence[str] | None = None,
    elevation_m: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[Array, Array, tuple[Filled, ...]]:
    """Real years of all regions.

    Args:
        data_dir: folder with `price/`, `carbon/` and `weather/`.
        profiles: region of the files, one for each column of the bank.
        years: calendar years.
        max_gap_h: longest run of missing hours that is interpolated; 0: any missing value is an error.
        price_profiles: region of the price files where it differs.
        elevation_m: elevation of regions that `sites.yaml` does not know.
        seed: of cloud cover and wind, which the files lack (`sky`).

    Returns:
        float32 [Y, 8784, R, 8], hours int64 [Y], and what was filled in.

    Raises:
        DataError: see `read_csv` and `fill_gaps`; `MissingDataError` (also a FileNotFoundError) if a file is
            absent.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise MissingDataError(
            f"{folder}: no such data folder; give the folder that holds price/, carbon/, weather/"
        )
    priced = list(profiles if price_profiles is None else price_profiles)
    if not profiles or len(priced) != len(profiles):
        raise DataError(
            f"{len(profiles)} profiles and {len(priced)} price profiles; give one of each per region"
        )
    if max_gap_h < 0:
        raise DataError(f"max_gap_h is {max_gap_h}; allowed: 0 (no gap) or more hours")
    values = np.empty((len(years), BANK_HOURS, len(profiles), len(COLUMNS)), np.float32)
    filled: dict[Filled, None] = {}  # ordered, and a region used twice is reported once
    cache: dict[tuple[str, str, int], Array] = {}
    for y, year in enumerate(years):
        n = year_hours(year)
        for r, key in enumerate(zip(profiles, priced, [year] * len(priced), strict=True)):
            if key not in cache:
                cache[key], report = read_region_year(
                    folder, key[0], key[1], year, max_gap_h, elevation_m, seed
                )
                filled.update(dict.fromkeys(report))
            values[y, :n, r] = cache[key]
        values[y, n:] = values[y, n - 24 : n - 24 + BANK_HOURS - n]
    return values, np.array([year_hours(y) for y in years], np.int64), tuple(filled)
