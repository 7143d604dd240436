"""Places without a fitted climatology: they borrow price, carbon and weather from fitted profiles, and say so.

A borrowed series keeps its local clock: hour h of the lender's local day becomes hour h of the borrower's, by rolling
the year (the seam lies at the turn of the year). Adjustments are affine: price times a factor plus a constant, carbon,
cloud cover (at most 1) and wind times factors, temperatures plus a shift. A shift moves dry bulb and dew point alike,
which leaves the relative humidity nearly as it is; wet bulb and humidity ratio follow from those two at the place's own
pressure. Dew points are held at `psychro.MAX_DEW_C`. Regions that borrow one series share it hour by hour: their
weather is the same weather. All of this is assumption, not measurement; a scenario states why in `source`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.signals import psychro
from gcn_env.signals.bank import COLUMNS, SignalBank
from gcn_env.signals.climatology import sites

Array = npt.NDArray[Any]

_PRICE, _CARBON, _DRY, _WET, _DEW, _HUMID, _CLOUD, _WIND = (
    COLUMNS.index(n)
    for n in ("price", "carbon", "drybulb", "wetbulb", "dewpoint", "humidity", "cloud", "wind")
)
_WEATHER = [i for i in range(len(COLUMNS)) if i not in (_PRICE, _CARBON)]
_BISECTIONS = 16  # of 60 K: wet bulb to 1e-3 K


class Borrowed(NamedTuple):
    """Whose series a region takes, and how they are adjusted."""

    price: str
    carbon: str
    weather: str
    utc_offset_h: float  # h, standard time of the place
    elevation_m: float
    price_scale: float = 1.0
    price_add: float = 0.0  # USD/MWh
    carbon_scale: float = 1.0
    weather_shift_k: float = 0.0
    cloud_scale: float = 1.0
    wind_scale: float = 1.0


def lenders(regions: Sequence[Borrowed]) -> tuple[list[str], list[str]]:
    """Profiles and price profiles of the bank to make first: each pair once, in the order met."""
    pairs: dict[tuple[str, str], None] = {}
    for r in regions:
        pairs[r.weather, r.price] = None
        if r.carbon != r.weather and (r.carbon, r.price) not in pairs:
            pairs[r.carbon, r.price] = None
    return [profile for profile, _ in pairs], [price for _, price in pairs]


def lent(bank: SignalBank, prices: Sequence[str], regions: Sequence[Borrowed]) -> SignalBank:
    """The bank of `regions`, taken from the bank of their `lenders`.

    Args:
        bank: one column for each pair that `lenders` named.
        prices: price profile of each of those columns.
        regions: what each region borrows.
    """
    pairs = list(zip(bank.profiles, prices, strict=True))
    out = np.empty((*bank.values.shape[:2], len(regions), bank.values.shape[3]), np.float32)
    for i, r in enumerate(regions):
        weather, carbon = pairs.index((r.weather, r.price)), pairs.index((r.carbon, r.price))
        for year, hours in enumerate(bank.hours.tolist()):
            source, to = bank.values[year], out[year, :, i]
            to[:, _PRICE] = _on_clock(source[:, weather, _PRICE], r, r.price, hours)
            to[:, _CARBON] = _on_clock(source[:, carbon, _CARBON], r, r.carbon, hours)
            to[:, _WEATHER] = _on_clock(source[:, weather][:, _WEATHER], r, r.weather, hours)
            _adjust(to, r)
    out.setflags(write=False)
    return replace(bank, values=out, profiles=tuple(r.weather for r in regions))


def _on_clock(series: Array, region: Borrowed, lender: str, hours: int) -> Array:
    """A year of `lender` on the clock of `region`; what is beyond a short year repeats its last day."""
    ahead = round(region.utc_offset_h - sites()[lender].utc_offset_h)
    if not ahead:
        return series
    rolled = np.roll(series[:hours], -ahead, axis=0)
    return np.concatenate([rolled, rolled[hours - 24 : hours - 24 + len(series) - hours]])


def _adjust(to: Array, r: Borrowed) -> None:
    """Apply the affine adjustments of one region to one year, in place."""
    if r.price_scale != 1.0 or r.price_add:
        to[:, _PRICE] = to[:, _PRICE] * r.price_scale + r.price_add
    if r.carbon_scale != 1.0:
        to[:, _CARBON] *= r.carbon_scale
    if r.cloud_scale != 1.0 or r.wind_scale != 1.0:
        to[:, _CLOUD] = np.minimum(to[:, _CLOUD] * r.cloud_scale, 1.0)
        to[:, _WIND] *= r.wind_scale
    if r.weather_shift_k or r.elevation_m != sites()[r.weather].elevation_m:
        pressure = psychro.site_pressure(r.elevation_m)
        dry = to[:, _DRY].astype(np.float64) + r.weather_shift_k
        dew = to[:, _DEW].astype(np.float64) + r.weather_shift_k
        dew = np.minimum(np.minimum(dew, psychro.MAX_DEW_C), dry)
        ratio = np.minimum(
            psychro.humidity_from_vapour(psychro.vapour_from_dew(dew), pressure),
            psychro.saturated_ratio(dry, pressure),
        )
        to[:, _DRY], to[:, _DEW], to[:, _HUMID] = dry, dew, ratio
        to[:, _WET] = np.minimum(psychro.wet_bulb(dry, ratio, pressure, _BISECTIONS), dry)
