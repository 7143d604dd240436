"""The world outside: prices, carbon and weather of the hour, their forecasts, and the outlook made of both."""

from __future__ import annotations

import math

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import DAY_BEFORE, NORMAL
from gcn_env.core.state import CARBON, CLOUD, DRY, HUMID, LEADS_H, OUTLOOK_H, PRICE, WIND
from gcn_env.core.supply import sun_and_wind

_N_LEADS = len(LEADS_H)
_CLOUD_SD, _WIND_SD = 3, 4  # columns of `Bank.sd`


@inlined()
def _expected(year, target, r, v, bank):
    """What is forecast of hour `target` before an error is added."""
    at = min(target, bank.values.shape[1] - 1)
    if bank.forecast == NORMAL:
        return float(bank.normal[at, r, v])
    if bank.forecast == DAY_BEFORE:
        at = max(0, target - 24)
    return float(bank.values[year, at, r, v])


@inlined()
def _forecast(b, year, hour, clock, signals, bank):
    sd, noise, ahead, n = bank.sd, bank.noise, signals.ahead, bank.noise.shape[0]
    for k in range(_N_LEADS):
        target = hour + LEADS_H[k]
        for r in range(ahead.shape[1]):
            for v in range(3):
                at = (signals.noise_at[b] + target + 1877 * r + 613 * v) % n
                ahead[b, r, k, v] = _expected(year, target, r, v, bank) + sd[r, k, v] * noise[at]


@inlined()
def _forecast_green(b, year, hour, clock, signals, bank, site):
    """What sun and wind are expected to give at the leads, in the middle of the hour; regions without either keep 0."""
    sd, noise, green, n = bank.sd, bank.noise, signals.green, bank.noise.shape[0]
    for r in range(green.shape[1]):
        if site.pv_kw[r] <= 0.0 and site.wind_kw[r] <= 0.0:
            continue
        for k in range(_N_LEADS):
            target = hour + LEADS_H[k]
            at = signals.noise_at[b] + target + 1877 * r
            cloud = (
                _expected(year, target, r, CLOUD, bank)
                + sd[r, k, _CLOUD_SD] * noise[(at + 613 * _CLOUD_SD) % n]
            )
            wind = (
                _expected(year, target, r, WIND, bank) + sd[r, k, _WIND_SD] * noise[(at + 613 * _WIND_SD) % n]
            )
            cloud, dry = min(1.0, max(0.0, cloud)), signals.ahead[b, r, k, DRY]
            pv, turbines = sun_and_wind(r, target + 0.5, dry, cloud, wind, False, site)
            green[b, r, k] = pv + turbines


@inlined()
def _outlook(b, r, column, scale, signals, out):
    """Running sum of the hourly outlook: now, lines between the leads up to a day, then the same day again."""
    now, ahead = signals.now, signals.ahead
    out[b, r, 0] = 0.0
    left, left_at, k = now[b, r, column], 0, 0
    for h in range(OUTLOOK_H):
        if h < 24:
            if h >= LEADS_H[k]:
                left, left_at, k = ahead[b, r, k, column], LEADS_H[k], k + 1
            right = ahead[b, r, k, column]
            value = left + (right - left) * (h - left_at) / (LEADS_H[k] - left_at)
            out[b, r, h + 1] = out[b, r, h] + value * scale
        else:
            out[b, r, h + 1] = out[b, r, h] + (out[b, r, h - 23] - out[b, r, h - 24])


@kernel()
def look_out(lo, hi, fresh, clock, signals, bank, money, site):
    """Phase: read the bank at `now_h` (prices of the hour, weather between hours) and refresh forecasts each hour."""
    now, values, now_h, years = signals.now, bank.values, clock.now_h, clock.year
    price_sum, carbon_sum, both_sum = signals.price_sum, signals.carbon_sum, signals.both_sum
    last = values.shape[1] - 1
    for b in range(lo, hi):
        year, t = years[b], now_h[b]
        hour = min(int(t), last)
        following = min(hour + 1, last)
        f = t - math.floor(t)
        for r in range(now.shape[1]):
            now[b, r, PRICE] = values[year, hour, r, PRICE]
            now[b, r, CARBON] = values[year, hour, r, CARBON]
            for v in range(DRY, HUMID + 1):
                now[b, r, v] = (1.0 - f) * values[year, hour, r, v] + f * values[year, following, r, v]
        if fresh or f < 1e-9:
            _forecast(b, year, hour, clock, signals, bank)
            _forecast_green(b, year, hour, clock, signals, bank, site)
            for r in range(now.shape[1]):
                _outlook(b, r, PRICE, 1e-3, signals, price_sum)
                _outlook(b, r, CARBON, 1e-3 * money.carbon_usd, signals, carbon_sum)
                for h in range(OUTLOOK_H + 1):
                    both_sum[b, r, h] = price_sum[b, r, h] + carbon_sum[b, r, h]


@inlined()
def outlook_ahead(b, r, start, hours, sums):
    """As `outlook_mean`, from a whole hour below the outlook's end."""
    e = min(start + max(hours, 0.25), float(OUTLOOK_H))
    k = min(int(e), OUTLOOK_H - 1)
    high = sums[b, r, k] + (e - k) * (sums[b, r, k + 1] - sums[b, r, k])
    return (high - sums[b, r, start]) / (e - start)


@inlined()
def outlook_mean(b, r, start_h, hours, sums):
    """Mean of an outlook over [start_h, start_h + hours], cut at its end."""
    a = min(start_h, OUTLOOK_H - 1.0)
    e = min(max(a + hours, a + 0.25), float(OUTLOOK_H))
    i, k = int(a), min(int(e), OUTLOOK_H - 1)
    low = sums[b, r, i] + (a - i) * (sums[b, r, i + 1] - sums[b, r, i])
    high = sums[b, r, k] + (e - k) * (sums[b, r, k + 1] - sums[b, r, k])
    return (high - low) / (e - a)
