"""EnergyPlus weather files: a typical year of one site as the weather columns of the bank.

EPW rows are local standard time, hour 1..24 ending the hour; the header states the offset from UTC
(EnergyPlus "Auxiliary Programs", chapter on EPW). Dry bulb, dew point, global irradiance, sky cover and wind are
used. Dew points above 28 degC, which some published files carry through faulty sensors, are cut there and reported.

Cloud cover is what the kernels' sun model (E53) needs to give the file's irradiance; a file without irradiance is
taken at its sky cover, and one without either, or without wind, at the assumptions of `sky`, which is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.signals import psychro
from gcn_env.signals.bank import SignalBank
from gcn_env.signals.calendar import BANK_HOURS
from gcn_env.signals.errors import DataError
from gcn_env.signals.series import Column, Filled, fill_gaps, numbers, read_text
from gcn_env.signals.sky import cloud_from_sun, sky

Array = npt.NDArray[Any]

HOURS = 8760
HEADER_LINES = 8
_MIN_FIELDS = 10  # an EPW row has 35 fields, of which the first ten matter here
_DRY = Column("dry bulb (field 7)", -70.0, 99.9, "drybulb")  # 99.9 marks a missing value
_DEW = Column("dew point (field 8)", -90.0, 99.9, "dewpoint")
_SUN = Column(
    "global horizontal radiation (field 14)", 0.0, 9999.0, "irradiance"
)  # the highest value marks ...
_WIND = Column("wind speed (field 22)", 0.0, 999.0, "wind")  # ... missing values
_COVER = Column("total sky cover (field 23)", 0.0, 99.0, "sky cover")  # tenths
_MISSING = 99.9
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FILE_YEAR = 2001  # the year whose stamps name hours in messages: any common year does


@dataclass(frozen=True, eq=False)
class EpwYear:
    """A typical year of weather in UTC.

    Attributes:
        place: name in the header.
        latitude: [deg].
        longitude: [deg].
        utc_offset_h: standard time minus UTC [h].
        elevation_m: [m].
        values: float32 [8760, 6]: dry bulb, wet bulb, dew point [degC], humidity ratio [kg/kg], cloud cover [1] and
            wind at 10 m [m/s] by UTC hour.
        capped_h: hours whose dew point exceeded 28 degC or the dry bulb and was cut.
        highest_dew_c: highest dew point in the file [degC].
        filled: what interpolation put in.
        assumed: what the file lacks and `sky` supplied: cloud cover, wind.
    """

    place: str
    latitude: float
    longitude: float
    utc_offset_h: float
    elevation_m: float
    values: Array
    capped_h: int
    highest_dew_c: float
    filled: tuple[Filled, ...]
    assumed: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was cut, filled in or assumed."""
        return bool(self.capped_h or self.filled or self.assumed)

    def report(self) -> str:
        """One line on what was changed."""
        parts = (
            [f"{self.capped_h} h of dew point cut (highest {self.highest_dew_c:g} degC)"]
            if self.capped_h
            else []
        )
        parts += [f.words() for f in self.filled]
        parts += [f"{name} assumed" for name in self.assumed]
        return f"{self.place}: {'; '.join(parts) or 'used as it is'}"


def _location(path: Path, line: str) -> tuple[str, float, float, float, float]:
    fields = [f.strip() for f in line.split(",")]
    if len(fields) < 10 or fields[0] != "LOCATION":
        raise DataError(
            f"{path}: line 1 is {line[:60]!r}; an EPW file begins with LOCATION and nine more fields"
        )
    out = []
    for name, at, low, high in (
        ("latitude", 6, -90.0, 90.0),
        ("longitude", 7, -180.0, 180.0),
        ("UTC offset [h]", 8, -12.0, 14.0),
        ("elevation [m]", 9, -500.0, 6000.0),
    ):
        try:
            value = float(fields[at])
        except ValueError:
            value = np.nan
        if not low <= value <= high:
            raise DataError(f"{path}: line 1: {name} is {fields[at]!r}; allowed are {low:g} to {high:g}")
        out.append(value)
    return fields[1], out[0], out[1], out[2], out[3]


def _check_calendar(path: Path, rows: list[list[str]]) -> None:
    expected = [
        (m + 1, d + 1, h + 1) for m, days in enumerate(_MONTH_DAYS) for d in range(days) for h in range(24)
    ]
    for i, (row, (month, day, hour)) in enumerate(zip(rows, expected, strict=False)):
        if len(row) < _MIN_FIELDS:
            raise DataError(f"{path}: line {i + 9} has {len(row)} fields; an EPW row has 35")
        try:
            got = (int(row[1]), int(row[2]), int(row[3]))
        except ValueError:
            got = (0, 0, 0)
        if got != (month, day, hour):
            raise DataError(
                f"{path}: line {i + 9}: month, day, hour are {','.join(row[1:4])!r}, expected "
                f"{month},{day},{hour}; rows must be the hours of a common year in order, hour 1 to 24"
            )
    if len(rows) != HOURS:
        raise DataError(
            f"{path}: {len(rows)} hourly rows, {HOURS} expected (sub-hourly files and leap years are not "
            "read; leave out 29 February)"
        )


def _to_utc(local: Array, offset_h: float) -> Array:
    """Values at UTC hours from values at local hours, the year taken as a circle."""
    at = np.arange(HOURS) + offset_h
    whole = np.floor(at).astype(np.int64)
    part = at - whole
    return np.asarray((1.0 - part) * local[whole % HOURS] + part * local[(whole + 1) % HOURS])


def _optional(file: Path, rows: list[list[str]], at: list[str], k: int, column: Column) -> Array | None:
    """A column as float64 [8760], or None if the file lacks it: short rows, missing hours, or nothing above 0."""
    if any(len(row) <= k for row in rows):
        return None
    values = numbers(file, column, [row[k].strip() for row in rows], at, first_line=HEADER_LINES + 1)
    return values if (values < column.high).all() and values.max() > 0.0 else None


def _sky(
    file: Path,
    rows: list[list[str]],
    at: list[str],
    place: tuple[str, float, float, float],
    dry: Array,
    dew: Array,
) -> tuple[Array, Array, tuple[str, ...]]:
    """Cloud cover and wind by UTC hour, and the names of those that are assumed."""
    name, latitude, longitude, offset = place
    sun, cover, wind = (_optional(file, rows, at, k, c) for k, c in ((13, _SUN), (22, _COVER), (21, _WIND)))
    if sun is not None:
        cover = cloud_from_sun(sun, latitude, longitude, np.arange(HOURS) - offset)
    elif cover is not None:
        cover = np.minimum(cover / 10.0, 1.0)
    assumed = sky(name, 0, 0, dry, dew)
    lacking = tuple(n for n, c in (("cloud cover", cover), ("wind", wind)) if c is None)
    cloud = assumed[:, 0] if cover is None else _to_utc(cover, offset)
    return cloud, assumed[:, 1] if wind is None else _to_utc(wind, offset), lacking


def read_epw(path: Path | str, max_gap_h: int = 0) -> EpwYear:
    """Read an EPW file, plain or gzip-compressed.

    Args:
        path: the file.
        max_gap_h: longest run of missing hours (99.9) that is interpolated; 0: any is an error.

    Raises:
        DataError: not an EPW file of 8760 hours, or values out of range; `MissingDataError` if it is absent.
    """
    file = Path(path)
    lines = read_text(file).splitlines()
    if not lines:
        raise DataError(f"{file}: empty; an EPW file has 8 header lines and {HOURS} hourly rows")
    place, latitude, longitude, offset, elevation = _location(file, lines[0])
    rows = [line.split(",") for line in lines[HEADER_LINES:] if line.strip()]
    _check_calendar(file, rows)
    at = [f"{','.join(row[1:4])}" for row in rows]
    filled = []
    columns = []
    for k, column in ((6, _DRY), (7, _DEW)):
        values = numbers(file, column, [row[k].strip() for row in rows], at, first_line=HEADER_LINES + 1)
        values[values >= _MISSING] = np.nan
        report = fill_gaps(values, max_gap_h, place, _FILE_YEAR, column.name, str(file))
        filled += [report] if report else []
        columns.append(_to_utc(values, offset))
    dry, dew = columns
    if dry.max() > 60.0:
        raise DataError(
            f"{file}: dry bulb reaches {dry.max():g} degC; allowed are -70 to 60, 99.9 where missing"
        )
    sound = np.minimum(np.minimum(dew, psychro.MAX_DEW_C), dry)
    pressure = psychro.site_pressure(elevation)
    ratio = psychro.humidity_from_vapour(psychro.vapour_from_dew(sound), pressure)
    ratio = np.minimum(ratio, psychro.saturated_ratio(dry, pressure))
    wet = psychro.wet_bulb(dry, ratio, pressure)
    cloud, wind, assumed = _sky(file, rows, at, (place, latitude, longitude, offset), dry, sound)
    return EpwYear(
        place=place,
        latitude=latitude,
        longitude=longitude,
        utc_offset_h=offset,
        elevation_m=elevation,
        values=np.stack([dry, wet, sound, ratio, cloud, wind], axis=1).astype(np.float32),
        capped_h=int(np.count_nonzero(dew > sound + 0.05)),
        highest_dew_c=float(dew.max()),
        filled=tuple(filled),
        assumed=assumed,
    )


def with_weather(bank: SignalBank, typical: Mapping[int, EpwYear]) -> SignalBank:
    """The bank with the weather of some regions taken from EPW files, the same in every year.

    Args:
        bank: prices, carbon and the other regions' weather.
        typical: region number -> typical year.
    """
    values = np.array(bank.values)
    for r, year in typical.items():
        values[:, :HOURS, r, 2:] = year.values
        values[:, HOURS:BANK_HOURS, r, 2:] = year.values[-24:]
    values.setflags(write=False)
    notes = tuple(year.report() for year in typical.values() if year.changed)
    return dataclasses.replace(bank, values=values, notes=bank.notes + notes)
