"""The bill of a step: energy, peak, carbon, fuel, water, heat sold and heat above limits, wear; and settlement."""

from __future__ import annotations

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import CARBON, PRICE
from gcn_env.core.supply import START, STORE
from gcn_env.ledger import FLOWS, TERMS

F = FLOWS.ix
T = TERMS.ix
FUEL_KG = 2.68  # kgCO2e per litre of diesel burnt, recalled; what its supply emits is left out
_MONTH_END_DAY = (31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


@inlined()
def month_of(hour, hours_in_year):
    """Month 0..11 of an hour of the year."""
    day = int(hour // 24) - (
        1 if hours_in_year > 8760 and hour >= 1416.0 else 0
    )  # 29 February is the 28th again
    month = 0
    for end in _MONTH_END_DAY:
        if day >= end:
            month += 1
    return month


@kernel()
def bill(lo, hi, dt, clock, signals, plants, geo, bank, money, site, ledger):
    """Phase: price what the step used (E56: energy plus the month's highest 15-minute mean, with a ratchet).

    Energy of the network is bought where data leaves, and runs through no region's own meter: it raises no peak.

    A month begins with the peak that is assumed reached anyhow, or with the ratchet's share of the episode's highest
    peak, whichever is more; what the ratchet adds is paid at once.
    """
    flows, terms, now, hours = ledger.flows, ledger.terms, signals.now, bank.hours
    for b in range(lo, hi):
        month = month_of(clock.now_h[b], hours[clock.year[b]])
        terms[b, T.links] += geo.link_usd * dt
        for r in range(flows.shape[1]):
            f = flows[b, r]
            kwh, kw = f[F.grid], f[F.grid] / dt
            bought = kwh + f[F.network]
            f[F.carbon] = kwh * now[b, r, CARBON] / 1000.0 + f[F.fuel] * FUEL_KG
            f[F.network_carbon] = f[F.network] * now[b, r, CARBON] / 1000.0
            if month != plants.month[b, r]:
                plants.month[b, r] = month
                base = money.base_peak_kw[r]
                plants.peak_kw[b, r] = max(base, site.ratchet[r] * plants.highest_kw[b, r])
                terms[b, T.demand] += (plants.peak_kw[b, r] - base) * money.demand_usd[r]
            plants.highest_kw[b, r] = max(plants.highest_kw[b, r], kw)
            rise = kw - plants.peak_kw[b, r]
            if rise > 0.0:
                plants.peak_kw[b, r] = kw
                terms[b, T.demand] += rise * money.demand_usd[r]
            terms[b, T.energy] += bought * now[b, r, PRICE] / 1000.0
            terms[b, T.carbon] += (f[F.carbon] + f[F.network_carbon]) * money.carbon_usd
            terms[b, T.fuel] += f[F.fuel] * site.fuel_usd[r]
            terms[b, T.heat] -= f[F.heat_reused] * site.heat_usd[r]
            terms[b, T.water] += f[F.water] * money.water_usd[r]
            terms[b, T.thermal] += f[F.excursion] * geo.design_kw[r] * money.thermal_usd
            terms[b, T.wear] += f[F.starts] * money.start_usd


@inlined()
def settle(b, now, jobs, fleet, money, market, ledger):
    """At the horizon: unfinished work costs energy and rent on a mean pool at reference prices, and its lateness."""
    for j in range(jobs.n_live[b]):
        kind, work, gang = jobs.kind[b, j], jobs.work[b, j], jobs.gang[b, j]
        usd, n, speed = 0.0, 0.0, 0.0
        for p in range(fleet.region.shape[0]):
            if fleet.speed[kind, p] > 0.0:
                s = fleet.speed[kind, p]
                kw = fleet.idle_kw[p] + (fleet.peak_kw[p] - fleet.idle_kw[p]) * fleet.load[kind, p]
                hour_usd = kw * money.outlook_usd[fleet.region[p]] + market.rent_usd[p]
                usd += gang * work / s * hour_usd
                speed += s
                n += 1.0
        ledger.terms[b, T.settlement] += usd / n
        if kind != INFERENCE:
            late = now + work * n / speed - max(now, jobs.deadline[b, j])
            ledger.terms[b, T.settlement] += max(0.0, late) * jobs.value[b, j]


@inlined()
def settle_batteries(b, plants, money, site, ledger):
    """At the horizon: what a battery holds less than at the start is bought back at the reference price.

    So emptying it before the end does not pay.
    """
    for r in range(site.battery_kwh.shape[0]):
        missing = START * site.battery_kwh[r] - plants.battery_kwh[b, r]
        ledger.terms[b, T.settlement] += max(0.0, missing) / STORE * money.outlook_usd[r]
