"""Cloud cover and wind of a year. No open hourly series of either is at hand, so both are assumptions [E].

*Cloud cover* follows the humidity of the day: its 24-hour mean, relative to the year's, is correlated at 0.6 with a
standard normal score, whose rest is an AR(1) of 6 h. A steep normal distribution function turns the score into cover
that is mostly near 0 or near 1, as sky cover is, with a yearly mean of the year's mean relative humidity less 0.1.

*Wind* at 10 m has a Rayleigh distribution (Weibull of shape 2) of mean 4.5 m/s at every site, with a memory of 12 h. It
is stronger in warm hours of a day (mixed air) and in cold parts of a year (storms of the temperate winter): so much per
kelvin that the tropics, where temperature hardly moves, have little of either.

Neither is correlated between regions. Weather files that state irradiance, cover and wind (EPW) replace both.
"""

from __future__ import annotations

import zlib
from functools import cache
from statistics import NormalDist

import numpy as np

from gcn_env.signals import psychro
from gcn_env.signals.draws import Array, normal_table, raw_bits, smooth

HUMID_SHARE = 0.6  # correlation of the cloud score with the day's humidity
CLOUD_TAU_H, WIND_TAU_H = 6.0, 12.0
STEEP = 2.0  # slope of the score's distribution function: 0 gives a constant sky, infinity clear or overcast
DRY_BIAS = 0.10  # mean relative humidity less mean cloud cover
WIND_MEAN = 4.5  # m/s at 10 m
BY_HOUR, BY_SEASON = 0.03, -0.012  # 1/K: rise of log wind with the hour's and with the day's temperature
DIM = 100.0  # W/m2 of clear sky below which irradiance says nothing on cloud
GALE = 35.0  # m/s: no hourly mean inland exceeds it
_SKY = zlib.crc32(b"sky")


@cache
def _normal_cdf() -> tuple[Array, Array]:
    normal, z = NormalDist(), np.linspace(-6.0, 6.0, 1201)
    return z, np.array([normal.cdf(v) for v in z.tolist()])


def _cdf(z: Array) -> Array:
    return np.asarray(np.interp(z, *_normal_cdf()))


def _day_mean(x: Array) -> Array:
    """Mean of the 24 h around each hour, the year taken as a circle."""
    total = np.concatenate([[0.0], np.cumsum(np.concatenate([x[-12:], x, x[:12]]))])
    return np.asarray((total[24:] - total[:-24])[: len(x)] / 24.0)


def cloud_cover(dry_c: Array, dew_c: Array, white: Array) -> Array:
    """Cloud cover 0..1 by hour from dry bulb, dew point and unit-variance noise, [hours] each."""
    humid = psychro.vapour_from_dew(dew_c) / psychro.vapour_from_dew(
        dry_c
    )  # both over water, as the dew point is
    day = _day_mean(np.minimum(humid, 1.0))
    mean, sd = float(day.mean()), max(float(day.std()), 0.02)
    cover = min(max(mean - DRY_BIAS, 0.1), 0.9)
    # the mean of cdf(STEEP x) over x normal with mean m and unit variance is cdf(STEEP m / sqrt(1 + STEEP**2))
    middle = NormalDist().inv_cdf(cover) * np.sqrt(1.0 + STEEP**2) / STEEP
    rest = np.sqrt(1.0 - HUMID_SHARE**2) * smooth(white, CLOUD_TAU_H)
    return _cdf(STEEP * (middle + HUMID_SHARE * (day - mean) / sd + rest))


def wind_speed(dry_c: Array, white: Array) -> Array:
    """Wind at 10 m [m/s] by hour from dry bulb and unit-variance noise, [hours] each."""
    day = _day_mean(dry_c)
    calm = np.maximum(1.0 - _cdf(smooth(white, WIND_TAU_H)), 1e-6)
    speed = (
        WIND_MEAN * 2.0 / np.sqrt(np.pi) * np.sqrt(-np.log(calm))
    )  # a Rayleigh mean is scale * sqrt(pi) / 2
    swing = np.exp(BY_HOUR * (dry_c - day) + BY_SEASON * (day - day.mean()))
    return np.asarray(np.minimum(speed * swing, GALE))


def sky(profile: str, year_id: int, seed: int, dry_c: Array, dew_c: Array) -> Array:
    """Cloud cover and wind of one year of a profile, float64 [hours, 2].

    Args:
        profile: names the stream of random numbers, with seed and year.
        year_id: number of the year.
        seed: 0 or more.
        dry_c: dry bulb [degC] by hour, a whole number of days.
        dew_c: dew point [degC].
    """
    hours = len(dry_c)
    cloud, wind = normal_table()[raw_bits(seed, year_id, profile, _SKY, 2 * hours)].reshape(2, hours)
    dry, dew = np.asarray(dry_c, np.float64), np.asarray(dew_c, np.float64)
    return np.stack([cloud_cover(dry, dew, cloud), wind_speed(dry, wind)], axis=1)


def clear_sky(latitude_deg: float, longitude_deg: float, hours: Array) -> Array:
    """W/m2 on flat ground under a clear sky, mean of the hour that begins at each hour of the UTC year (E53)."""
    from gcn_env.core.supply import (  # kernels: only where a file has irradiance
        DECLINATION,
        HAURWITZ,
        HAURWITZ_LOSS,
    )

    at = hours[:, None] + (np.arange(6) + 0.5) / 6.0
    declination = DECLINATION * np.sin(2.0 * np.pi * (285.0 + np.floor(at / 24.0)) / 365.0)
    angle = np.pi / 12.0 * (at + longitude_deg / 15.0 - 12.0)
    latitude = np.radians(latitude_deg)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    height = np.maximum(height, 1e-3)  # nothing is left of the sun there
    return np.asarray((HAURWITZ * height * np.exp(-HAURWITZ_LOSS / height)).mean(axis=1))


def cloud_from_sun(sun: Array, latitude_deg: float, longitude_deg: float, hours: Array) -> Array:
    """Cloud cover 0..1 at which E53 gives `sun` [W/m2] in the hours that begin at `hours` of the UTC year.

    Hours with too little sun take the cover between the days around them. Under the darkest clouds E53 leaves a
    quarter of the clear sky, and no less.
    """
    from gcn_env.core.supply import CLOUD_LOSS, CLOUD_POWER

    clear = clear_sky(latitude_deg, longitude_deg, hours)
    bright = np.flatnonzero(clear > DIM)
    lost = np.clip(1.0 - sun[bright] / clear[bright], 0.0, CLOUD_LOSS) / CLOUD_LOSS
    return np.asarray(np.interp(np.arange(len(sun)), bright, lost ** (1.0 / CLOUD_POWER)))
