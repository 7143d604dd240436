"""What feeds a site: grid, sun, wind, battery and generator on one AC bus, and the limits of its connection.

At every step and region, in kWh:

    grid + pv + wind + generator + storage_out = it + cooling + ups_loss + pdu_loss + misc + storage_in

`pv` and `wind` are what was used; what nothing could use is `spilled`. Nothing is exported. Sun and wind serve the load
first, then a battery that is commanded to charge. Without the grid they contribute nothing and the battery rests: their
inverters follow the grid's voltage, and islands are not modelled; UPS and generator (`core.outage`) carry the site.

Engineering choices [E]: all panels lie flat; solar time leaves out the equation of time (at most 16 min); cloud cover
and wind hold for the hour; a battery keeps its last tenth for itself (depth of discharge), not for ride-through.
Left out: export, take-or-pay, bids for frequency response, a battery's ageing other than its cost per kWh.
"""

from __future__ import annotations

import math

from gcn_env.core import rng
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.state import BATTERY, CLOUD, DRY, WIND
from gcn_env.ledger import FLOWS, TERMS

F = FLOWS.ix
T = TERMS.ix

HAURWITZ, HAURWITZ_LOSS = 1098.0, 0.059  # W/m2, 1: clear sky by the sun's height (Haurwitz 1945, as in pvlib)
CLOUD_LOSS, CLOUD_POWER = 0.75, 3.4  # recalled from Kasten and Czeplak (1980), not checked here
DECLINATION = math.radians(23.45)
CELL_K = 25.0 / 800.0  # K of cell above air per W/m2 [E]
CELL_LOSS = 0.0037  # 1/K, crystalline silicon [E]
PV_SYSTEM = 0.86  # inverter, wiring, soiling [E]
SHEAR = 0.14  # exponent of the wind profile over open land [E]
CUT_IN, RATED, CUT_OUT, RESTART = 3.0, 12.0, 25.0, 22.0  # m/s at the hub [E]
STORE = 0.922  # charging and discharging each: 85 % AC to AC (NREL ATB)
LEAST, START, MOST = 0.1, 0.5, 0.95  # state of charge: lowest, of an episode's start, highest
FADE = 4e-5  # 1/h self-discharge, 3 % a month [E]
BREAKER_S, BREAKER_HOLD = 900.0, 1.04**2  # E47 [E]: 104 % is held for ever
# outdoor temperature [degC] where heating ends, and of the full demand [E]
HEAT_LIMIT_C, HEAT_DESIGN_C = 15.0, -10.0
HOT_WATER = 0.15  # share of the full demand that remains in summer [E]


@inlined()
def sun_height(latitude, longitude_h, hour):
    """Cosine of the sun's angle from the zenith at an hour of the UTC year (E53); latitude in rad, longitude in h."""
    day = math.floor(hour / 24.0) + 1.0
    declination = DECLINATION * math.sin(2.0 * math.pi * (284.0 + day) / 365.0)
    angle = math.pi / 12.0 * (hour + longitude_h - 12.0)
    return math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(
        angle
    )


@inlined()
def irradiance(height, cloud):
    """W/m2 on flat ground from the sun's height (a cosine) and cloud cover 0..1 (E53)."""
    if height <= 1e-3:
        return 0.0
    clear = HAURWITZ * height * math.exp(-HAURWITZ_LOSS / height)
    return clear * (1.0 - CLOUD_LOSS * cloud**CLOUD_POWER)


@inlined()
def pv_power(sun, dry_c):
    """Photovoltaic power over rated power at `sun` W/m2 and air of `dry_c` degC (E53)."""
    cell_c = dry_c + CELL_K * sun
    return max(0.0, sun / 1000.0 * (1.0 - CELL_LOSS * (cell_c - 25.0)) * PV_SYSTEM)


@inlined()
def wind_power(wind, hub_m, stopped):
    """Power of a turbine over its rating in wind of `wind` m/s at 10 m (E54); after a gale it waits for 22 m/s."""
    at_hub = wind * (hub_m / 10.0) ** SHEAR
    if at_hub < CUT_IN or at_hub > CUT_OUT or (stopped and at_hub > RESTART):
        return 0.0
    if at_hub >= RATED:
        return 1.0
    return (at_hub**3 - CUT_IN**3) / (RATED**3 - CUT_IN**3)


@inlined()
def store(command, held, kwh, kw, usable, dt):
    """One step of a battery (E48): kWh in and out at its terminals, and kWh held after.

    Args:
        command: -1 (discharge) to 1 (charge) of its rating.
        held: kWh in it.
        kwh: capacity.
        kw: rating at its terminals.
        usable: kWh that the site can take from it.
        dt: h.
    """
    held -= FADE * held * dt
    into, out = 0.0, 0.0
    if command > 0.0:
        into = min(command * kw * dt, max(0.0, (MOST * kwh - held) / STORE))
    elif command < 0.0:
        out = min(-command * kw * dt, max(0.0, (held - LEAST * kwh) * STORE), max(0.0, usable))
    return into, out, held + into * STORE - out / STORE


@inlined()
def breaker_heat(heat, load, dt):
    """Heat of a feeder's breaker after `dt` h at `load` times its rating (E47); 1 trips."""
    return min(1.0, max(0.0, heat + (load * load - BREAKER_HOLD) * dt * 3600.0 / BREAKER_S))


@inlined()
def heat_wanted(reuse_kw, dry_c):
    """Heat that the neighbourhood takes [kW]: `reuse_kw` in the coldest weather, hot water only in summer (E43)."""
    share = (HEAT_LIMIT_C - dry_c) / (HEAT_LIMIT_C - HEAT_DESIGN_C)
    return reuse_kw * min(1.0, max(HOT_WATER, share))


@inlined()
def sun_and_wind(r, hour, dry_c, cloud, wind_ms, stopped, site):
    """Photovoltaic and wind power [kW] of a region at an hour of the year, under cloud cover 0..1 and wind at 10 m."""
    pv, wind = 0.0, 0.0
    if site.pv_kw[r] > 0.0:
        height = sun_height(site.latitude[r], site.longitude_h[r], hour)
        pv = site.pv_kw[r] * pv_power(irradiance(height, cloud), dry_c)
    if site.wind_kw[r] > 0.0:
        wind = site.wind_kw[r] * wind_power(wind_ms, site.hub_m[r], stopped)
    return pv, wind


@inlined()
def _call(b, r, dt, kw, fed, state, plants, geo, site):
    """The grid operator may announce a curtailment below what the site draws now (E57).

    Three numbers are drawn at every step, so that when calls come depends on no policy.
    """
    u, v, w = (
        rng.uniform(state, b, rng.SITES),
        rng.uniform(state, b, rng.SITES),
        rng.uniform(state, b, rng.SITES),
    )
    if not fed or plants.curtail_h[b, r] > 0.0 or u >= site.curtail[r] * dt:
        return
    plants.curtail_in_h[b, r] = site.curtail_notice_h[r]
    plants.curtail_h[b, r] = site.curtail_h[r] * (0.5 + v)
    plants.curtail_kw[b, r] = max(0.0, kw - site.curtail_share[r] * (0.5 + w) * geo.design_kw[r])


@inlined()
def _curtail(b, r, dt, kw, plants):
    """Energy [kWh] above the limit of a running curtailment in this step; moves its clock."""
    wait, left = plants.curtail_in_h[b, r], plants.curtail_h[b, r]
    if left <= 0.0:
        return 0.0
    active = max(0.0, min(dt, wait + left) - min(dt, wait))
    plants.curtail_in_h[b, r] = max(0.0, wait - dt)
    plants.curtail_h[b, r] = left - active
    above = max(0.0, kw - plants.curtail_kw[b, r]) * active
    if plants.curtail_h[b, r] < 1e-9:
        plants.curtail_in_h[b, r], plants.curtail_h[b, r], plants.curtail_kw[b, r] = 0.0, 0.0, 0.0
    return above


@inlined()
def load_kwh(f):
    """Energy [kWh] that the site used in a step: IT, cooling, losses of the power chain, lighting and house load."""
    cooling = f[F.air_fans] + f[F.compressors] + f[F.pumps] + f[F.rejection] + f[F.humidifiers]
    return f[F.it] + cooling + f[F.ups_loss] + f[F.pdu_loss] + f[F.misc]


@inlined()
def _use_battery(b, r, usable, hours, dt, plants, site, f, terms):
    """Move the battery of a region and book it; returns the energy [kWh] it adds to what the site draws."""
    held, kwh, kw = plants.battery_kwh[b, r], site.battery_kwh[r], site.battery_kw[r] * (hours / dt)
    into, out, after = store(plants.command[b, r, BATTERY], held, kwh, kw, usable, dt)
    plants.battery_kwh[b, r], plants.battery_kw[b, r] = after, (into - out) / dt
    plants.actual[b, r, BATTERY] = plants.battery_kw[b, r] / site.battery_kw[r]
    f[F.storage_in] += into
    f[F.storage_out] += out
    f[F.storage_loss] += held - after + into - out
    terms[b, T.wear] += (into + out) * site.battery_usd[r]
    return into - out


@kernel()
def supply(lo, hi, dt, clock, signals, plants, geo, bank, site, ledger):
    """Phase: close the AC bus of every region, move its battery, breaker and curtailment.

    Args:
        lo: first environment.
        hi: past the last environment.
        dt: control step [h].
        clock: reads `now_h`, `year`; moves the `SITES` stream of `rng` where a region may be curtailed.
        signals: reads `now`.
        plants: reads `command`, `outage_h`; moves battery, pv, wind, breaker, curtailment and `grid_kw`.
        geo: regions.
        bank: cloud cover and wind.
        site: what stands beside the grid.
        ledger: `flows` must hold the loads, and what UPS and generator did; adds `grid`, `pv`, `wind`, `spilled`,
            `storage_in`, `storage_out`, `storage_loss`, `above_limit` and the terms `wear` and `curtailment`.
    """
    flows, terms, now, values = ledger.flows, ledger.terms, signals.now, bank.values
    last = values.shape[1] - 1
    for b in range(lo, hi):
        year, middle = clock.year[b], clock.now_h[b] + 0.5 * dt
        for r in range(flows.shape[1]):
            f = flows[b, r]
            hours = max(0.0, dt - plants.outage_h[b, r])  # with grid; an outage begins where a step begins
            need = load_kwh(f) + f[F.storage_in] - f[F.storage_out] - f[F.generator]
            pv, wind = 0.0, 0.0
            if hours > 0.0 and (site.pv_kw[r] > 0.0 or site.wind_kw[r] > 0.0):
                stopped = plants.wind_kw[b, r] == 0.0
                hour = min(int(middle), last)
                cloud, ms = float(values[year, hour, r, CLOUD]), float(values[year, hour, r, WIND])
                pv, wind = sun_and_wind(r, middle, now[b, r, DRY], cloud, ms, stopped, site)
                pv, wind = pv * hours / dt, wind * hours / dt
            plants.pv_kw[b, r], plants.wind_kw[b, r] = pv, wind
            green = (pv + wind) * dt
            if site.battery_kwh[r] > 0.0:
                need += _use_battery(b, r, need - green, hours, dt, plants, site, f, terms)
            used = min(green, max(0.0, need))
            if green > 0.0:
                f[F.pv] = pv * dt * (used / green)
                f[F.wind] = wind * dt * (used / green)
                f[F.spilled] = green - used
            f[F.grid] = max(0.0, need - used) if hours > 0.0 else 0.0
            kw = f[F.grid] / dt
            plants.grid_kw[b, r] = kw
            plants.breaker[b, r] = breaker_heat(plants.breaker[b, r], kw / site.feeder_kw[r], dt)
            if site.curtail[r] > 0.0:
                f[F.above_limit] = _curtail(b, r, dt, kw, plants)
                terms[b, T.curtailment] += f[F.above_limit] * site.curtail_usd[r]
                _call(b, r, dt, kw, hours > 0.0, clock.rng, plants, geo, site)
