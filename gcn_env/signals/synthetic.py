"""Synthetic years: the fitted climatology of `climatology.yaml` as a generator.

A year is drawn from streams named by (seed, year id, profile, variable), so it depends neither on which other
years are made nor on their order, and a profile's year stays the same (to float32 rounding) when other
profiles join or leave.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from gcn_env.signals import psychro
from gcn_env.signals.bank import COLUMNS
from gcn_env.signals.calendar import BANK_HOURS, first_weekday, year_hours
from gcn_env.signals.climatology import (
    TABLE_N,
    TABLE_Z,
    VARIABLES,
    Array,
    Climatology,
    climatology,
    curves,
    low_pass_variance,
    quantile_table,
    sites,
)
from gcn_env.signals.draws import normal_table, raw_bits
from gcn_env.signals.errors import DataError
from gcn_env.signals.sky import sky

LEVELLED = ("price", "carbon")
# how far a drawn level moves from a fitted year's, over the log s.d. of the profile's fitted levels (an engineering
# figure): half leaves every level between or just beyond the fitted ones, and a steady grid steady
LEVEL_MOVE = 0.5
DRIEST = 0.05  # relative humidity; 12 of 13 sites never fell below 9 % in the fitted years
_PARTS = 9  # streams of one variable: four AR(1), C and E of two daily waves, noise
_PART_OF = (0, 1, 2, 3, 4, 4, 5, 5, 6)  # stream -> part with a weight and a mixing matrix of its own
_BLAS_SERIAL = 2**18  # multiplications below which OpenBLAS stays on one thread
_LEVELS = zlib.crc32(b"levels")


def draw_levels(profiles: Sequence[str], year_id: int, seed: int) -> dict[str, dict[str, float]]:
    """Price and carbon level of each profile in one synthetic year.

    One fitted calendar year is drawn for all profiles together, so that a dear year is dear everywhere it was
    (regions without that year take the mean of their own). Each profile then moves by its own lognormal factor of
    log standard deviation `level_spread`, since levels of unseen years lie between and beyond the fitted ones.
    """
    c = climatology()
    years = c.years
    anchor = years[int(raw_bits(seed, year_id, "all", _LEVELS, 4 * _PARTS)[0]) % len(years)]
    out: dict[str, dict[str, float]] = {}
    for name in profiles:
        moves = normal_table()[raw_bits(seed, year_id, name, _LEVELS, 4 * _PARTS)]
        out[name] = {
            v: fitted_level(name, v, anchor) * float(np.exp(level_spread(name, v) * moves[k]))
            for k, v in enumerate(LEVELLED)
            if v in c.fits[name]
        }
    return out


def level_spread(profile: str, variable: str) -> float:
    """Log s.d. of a drawn level about a fitted year's: `LEVEL_MOVE` times that of the fitted levels.

    A profile with one fitted year takes the median of the others.
    """
    c = climatology()
    levels = {n: list(c.fits[n][variable].levels.values()) for n in c.names if variable in c.fits[n]}
    own = {n: float(np.std(np.log(v))) for n, v in levels.items() if len(v) > 1}
    return LEVEL_MOVE * own.get(profile, float(np.median(list(own.values()))))


def fitted_level(profile: str, variable: str, calendar_year: int) -> float:
    """The fitted level of `calendar_year`, or the geometric mean of the profile's years if it is absent."""
    levels = climatology().fit(profile, variable).levels
    return levels.get(calendar_year, float(np.exp(np.mean(np.log(list(levels.values()))))))


def _mixed(c: Climatology, rows: list[int], seed: int, year_id: int, hours: int, step: Array) -> Array:
    """Innovations, float32 [hours, 9, rows], correlated and scaled by root weight and `step` of each part."""
    used = np.flatnonzero(np.any([np.abs(m[rows]).max(axis=0) > 1e-9 for m in c.mixing], axis=0))
    raw = np.array([raw_bits(seed, year_id, c.names[q // 4], q % 4, _PARTS * hours) for q in used.tolist()])
    raw = raw.reshape(len(used), _PARTS, hours)
    weight = np.zeros((len(rows), len(c.mixing)))
    for i, row in enumerate(rows):
        fit = c.fits[c.names[row // 4]].get(VARIABLES[row % 4])
        weight[i] = np.sqrt(fit.weights) if fit else 0.0
    out = np.empty((hours, _PARTS, len(rows)), np.float32)
    draws = np.empty((len(used), hours), np.float32)
    for k, part in enumerate(_PART_OF):  # part by part: what is multiplied stays in the cache
        matrix = c.mixing[part][np.ix_(np.array(rows), used)]
        needed = np.flatnonzero(np.abs(matrix).max(axis=0) > 0.0)
        np.take(normal_table(), raw[needed, k], out=draws[: len(needed)], mode="clip")
        scaled = matrix[:, needed] * weight[:, part, None] * step[k]
        _multiply(out[:, k], draws[: len(needed)], scaled.astype(np.float32))
    return out


def _multiply(out: Array, draws: Array, matrix: Array) -> None:
    """`out = (matrix @ draws).T` in blocks too small for the linear-algebra library to start threads.

    On a machine whose cores are busy, waiting for those threads took 4-8 ms in place of 0.2 ms.
    """
    block = max(1, _BLAS_SERIAL // matrix.size)
    for lo in range(0, draws.shape[1], block):
        out[lo : lo + block] = draws[:, lo : lo + block].T @ matrix.T


def _processes(c: Climatology, rows: list[int], seed: int, year_id: int, hours: int) -> Array:
    """The nine weighted streams as stationary AR(1) processes, float32 [hours, 9, rows] (noise as drawn)."""
    tau = [*c.tau_h, *np.repeat(c.tau_diurnal_h, 2)]
    phi = np.array([np.exp(-1.0 / t) for t in tau] + [0.0])
    step = np.sqrt(1.0 - phi**2)
    x = _mixed(c, rows, seed, year_id, hours, step)
    x[0] /= step[:, None].astype(np.float32)  # the first hour is drawn from the stationary distribution
    moving = x[:, : _PARTS - 1]
    decay = np.repeat(phi[:-1, None], len(rows), axis=1).astype(np.float32)
    carried = np.empty_like(decay)
    before = moving[0]
    for now in moving[1:]:  # one multiply-add over all series an hour: 7 ms a year, without a compiler
        np.multiply(before, decay, carried)
        np.add(now, carried, now)
        before = now
    return x


def _low_passed(c: Climatology, x: Array) -> Array:
    """Sum over four AR(1) [hours, 4, rows] behind the low pass, each at the variance it had before, [hours, rows]."""
    q = np.exp(-1.0 / c.smooth_h)
    gain = 1.0 / np.sqrt(low_pass_variance(np.array(c.tau_h), c.smooth_h))
    z = x[:, 0] * np.float32((1.0 - q) * gain[0])
    for k in range(1, 4):
        z += x[:, k] * np.float32((1.0 - q) * gain[k])
    z[0] = x[0].sum(axis=0)  # the first hour is drawn from the stationary distribution
    for lag in (1, 2, 4, 8, 16):  # sum of q**k z(t - k) for k < 32 by doubling; what is left is below 1e-9
        z[lag:] += np.float32(q**lag) * z[:-lag]
    return z


def _residuals(c: Climatology, rows: list[int], seed: int, year_id: int, hours: int) -> Array:
    """Unit-variance residuals u = Q(Phi(z)), float32 [hours, rows]."""
    x = _processes(c, rows, seed, year_id, hours)
    z = _low_passed(c, x[:, :4])
    z += x[:, 8]
    all_sites = sites()
    offsets = [all_sites[c.names[r // 4]].utc_offset_h for r in rows]
    angle = 2.0 * np.pi * (np.arange(24)[:, None] + np.array(offsets)[None, :]) / 24.0
    days = hours // 24
    by_day = x.reshape(days, 24, _PARTS, len(rows))
    wave = np.cos(angle).astype(np.float32) * (by_day[:, :, 4] + by_day[:, :, 6])
    wave += np.sin(angle).astype(np.float32) * (by_day[:, :, 5] + by_day[:, :, 7])
    z += wave.reshape(hours, len(rows))
    return _through_tables(c, rows, z)


def _through_tables(c: Climatology, rows: list[int], z: Array) -> Array:
    tables = []
    for row in rows:
        name, variable = c.names[row // 4], VARIABLES[row % 4]
        known = variable in c.fits[name]
        tables.append(quantile_table(name, variable) if known else np.zeros(TABLE_N, np.float32))
    flat = np.concatenate(tables)
    z *= np.float32((TABLE_N - 1) / (2.0 * TABLE_Z))
    z += np.float32((TABLE_N - 1) / 2.0)
    np.clip(z, 0.0, TABLE_N - 1.001, out=z)
    at = z.astype(np.int32)
    z -= at
    at += (np.arange(len(rows)) * TABLE_N).astype(np.int32)
    low = flat[at]
    return np.asarray(low + z * (flat[at + 1] - low))


def _weather(profile: str, weekday: int, hours: int, u_dry: Array, u_wbd: Array) -> Array:
    """Dry bulb, wet bulb, dew point and humidity ratio, [hours, 4]."""
    mean, sd, _ = curves(profile, "drybulb", weekday, hours)
    residual = sd * u_dry
    dry = mean + residual
    mean, sd, link = curves(profile, "wbd", weekday, hours)
    depression = np.maximum(mean + sd * u_wbd + link * residual, 0.0) ** 2
    pressure = psychro.site_pressure(sites()[profile].elevation_m)
    wet = dry - depression
    dew, ratio = psychro.dew_and_humidity(dry, wet, pressure, DRIEST)
    driest = DRIEST * psychro.saturated_ratio(dry, pressure)
    dried = np.flatnonzero(ratio <= 1.0001 * driest)  # depressions beyond what such air can have: taken back
    wet[dried] = psychro.wet_bulb(dry[dried], ratio[dried], pressure, 24)
    return np.stack([dry, wet, dew, ratio], axis=1)


def _price(profile: str, weekday: int, hours: int, u: Array, level: float) -> Array:
    mean, sd, _ = curves(profile, "price", weekday, hours)
    fit = climatology().fit(profile, "price")
    y = mean + sd * u
    if len(fit.remap):
        unit = np.sinh(y)
        y = np.interp(np.arcsinh(unit * (4.0 / np.median(unit))), *fit.remap)
    low, high = fit.clip
    price = np.clip(level * 0.25 * np.sinh(y), level * low, level * high)
    return np.asarray(price * (level / np.median(price)))


def _carbon(profile: str, weekday: int, hours: int, u: Array, level: float) -> Array:
    mean, sd, _ = curves(profile, "carbon", weekday, hours)
    carbon = np.exp(mean + sd * u)
    return np.asarray(carbon * (level / np.mean(carbon, dtype=np.float64)))


def synthetic_year(
    profiles: Sequence[str],
    year_id: int,
    seed: int,
    price_profiles: Sequence[str] | None = None,
    calendar_levels: int | None = None,
) -> Array:
    """One synthetic year, float32 [8784, R, 8].

    Args:
        profiles: fitted profile of each region (repeats give equal columns).
        year_id: number >= 0 of the year; its weekdays and length are those of the calendar year of that
            number.
        seed: >= 0.
        price_profiles: profile of each region's price where that is another one's; default `profiles`.
        calendar_levels: take the fitted levels of this calendar year as they are instead of drawing them.

    Raises:
        DataError: unknown profile, profile without price, negative year or seed.
    """
    c = climatology()
    priced = list(profiles if price_profiles is None else price_profiles)
    _check(profiles, priced, year_id, seed)
    hours, weekday = year_hours(year_id), first_weekday(year_id)
    names = [n for n in c.names if n in profiles or n in priced]
    rows = [c.names.index(n) * 4 + v for n in names for v in range(4)]
    u = _residuals(c, rows, seed, year_id, hours)
    column = {(n, v): u[:, 4 * i + j] for i, n in enumerate(names) for j, v in enumerate(VARIABLES)}
    if calendar_levels is None:
        levels = draw_levels(names, year_id, seed)
    else:
        levels = {
            n: {v: fitted_level(n, v, calendar_levels) for v in LEVELLED if v in c.fits[n]} for n in names
        }
    out = np.empty((BANK_HOURS, len(profiles), len(COLUMNS)), np.float32)
    prices = {n: _price(n, weekday, hours, column[n, "price"], levels[n]["price"]) for n in set(priced)}
    rest = {}
    for n in set(profiles):
        carbon = _carbon(n, weekday, hours, column[n, "carbon"], levels[n]["carbon"])
        weather = _weather(n, weekday, hours, column[n, "drybulb"], column[n, "wbd"])
        above = sky(n, year_id, seed, weather[:, 0], weather[:, 2])
        rest[n] = (carbon, np.concatenate([weather, above], axis=1))
    for r, (name, price_name) in enumerate(zip(profiles, priced, strict=True)):
        out[:hours, r, 0] = prices[price_name]
        out[:hours, r, 1], out[:hours, r, 2:] = rest[name]
    if hours < BANK_HOURS:
        out[hours:] = out[hours - 24 : hours]
    return out


def _check(profiles: Sequence[str], priced: Sequence[str], year_id: int, seed: int) -> None:
    c = climatology()
    if not profiles:
        raise DataError("no profiles given; a bank needs at least one region")
    if len(priced) != len(profiles):
        raise DataError(
            f"price_profiles has {len(priced)} entries for {len(profiles)} profiles; give one per region"
        )
    for name, price_name in zip(profiles, priced, strict=True):
        c.fit(name, "carbon")
        c.fit(price_name, "price")
    if year_id < 0 or seed < 0:
        raise DataError(f"year id {year_id} and seed {seed} must be 0 or more")


def synthetic_years(
    profiles: Sequence[str], year_ids: Sequence[int], seed: int, price_profiles: Sequence[str] | None = None
) -> Array:
    """Synthetic years, float32 [Y, 8784, R, 8] in bank columns (`bank.COLUMNS`).

    Some 50 ms and 1.4 MB a year for five regions. See `synthetic_year` for the arguments and errors.
    """
    out = np.empty((len(year_ids), BANK_HOURS, len(profiles), len(COLUMNS)), np.float32)
    for i, year_id in enumerate(year_ids):
        out[i] = synthetic_year(profiles, year_id, seed, price_profiles)
    return out
