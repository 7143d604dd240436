"""Devices of others, and one's own for others: rented pools, spare devices let, pods that move.

Rent. A pool of somebody else's devices costs its spot price for every device-hour that a job holds there; what an idle
one costs is its owner's affair, but for the power at the meter. The logarithm of the price is a Gaussian AR(1), moved
at every full hour, so that the price's mean is what the scenario says. The owner takes the whole pool back after a
notice, at times of a Poisson process while nothing is announced, for an exponential time. A notice is given in whole
control steps (a shorter one cannot be acted upon, but still lets movable jobs save their state); while it runs the
pool is shown and stays legal. Then its jobs are pending again: nothing unsaved is lost by movable jobs if there was a
notice, the others fall back to their last checkpoint.

Let. What own work left idle in a step is let to others as far as they ask for it, wherever power and cooling are sound
and the price exceeds the cost of the power. Own work is placed and started first, as if nobody else were there.

Pods. A pod stands at one of several pools, or is on the road, by a timetable of the year: a pure function of the hour.
When it leaves, its pool goes as a reclaimed one does; its journey is paid evenly while it lasts.

All draws come from the MARKET stream; no action touches it.
"""

from __future__ import annotations

import math

from gcn_env.core import rng
from gcn_env.core.execution import checkpoint_gb, kill
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import BATCH
from gcn_env.core.state import CARBON, PENDING, PRICE, RUNNING
from gcn_env.ledger import COUNTS, FLOWS, TERMS

C = COUNTS.ix
F = FLOWS.ix
T = TERMS.ix
DEMAND_PHI = 0.95  # autocorrelation of others' demand over one hour [E]
_ROOT_2 = math.sqrt(2.0)
_TINY_H = 1e-9


@inlined()
def moved(x, phi, shock):
    """A standard normal AR(1) an hour later."""
    return phi * x + math.sqrt(1.0 - phi * phi) * shock


@inlined()
def spot_price(usd, sigma, x):
    """Price of mean `usd` whose logarithm has the s.d. `sigma`, `x` of them above its middle."""
    return usd * math.exp(sigma * (x - 0.5 * sigma))


@inlined()
def asked_share(mean, x):
    """Share of a pool that others ask for: a power of the normal probability of `x`, with the mean `mean` in (0, 1]."""
    return (0.5 * math.erfc(-x / _ROOT_2)) ** (1.0 / mean - 1.0)


@inlined()
def pod_hours(p, hour, market):
    """(hours until the pod is here, hours until it leaves) at an hour of the year; 0 and then, or then and 0."""
    comes = 1e9
    for k in range(market.comes.shape[1]):
        if market.comes[p, k] <= hour < market.leaves[p, k]:
            return 0.0, market.leaves[p, k] - hour
        if market.comes[p, k] > hour:
            comes = min(comes, market.comes[p, k] - hour)
    return comes, 0.0


@inlined()
def sound(b, r, plants):
    """Whether region `r` has the power and the cooling for guests."""
    called = plants.curtail_h[b, r] > 0.0 and plants.curtail_in_h[b, r] == 0.0
    up = plants.down_h[b, r] == 0.0 and plants.outage_h[b, r] == 0.0 and not called
    return up and plants.throttle[b, r] >= 1.0 and plants.breaker[b, r] <= 0.0


@inlined()
def guests(b, p, dt, pools, plants, signals, fleet, money, market):
    """Devices of pool `p` let to others in this step, out of those that own work neither held nor called."""
    r = fleet.region[p]
    if market.let_share[p] <= 0.0 or pools.away_h[b, p] > 0.0 or not sound(b, r, plants):
        return 0.0
    dynamic = (fleet.peak_kw[p] * pools.drawn[b, p] - fleet.idle_kw[p]) * fleet.load[BATCH, p]
    kw = (fleet.idle_kw[p] + dynamic - fleet.asleep_kw[p]) * plants.overhead[b, r]
    kwh_usd = (signals.now[b, r, PRICE] + signals.now[b, r, CARBON] * money.carbon_usd) / 1000.0
    if market.let_usd[p] <= kw * kwh_usd:
        return 0.0
    spare = pools.healthy[b, p] - max(float(pools.busy[b, p]), pools.busy_h[b, p] / dt)
    return max(0.0, min(spare, asked_share(market.let_share[p], pools.mood[b, p]) * fleet.devices[p]))


@kernel()
def lend(lo, hi, dt, signals, pools, plants, fleet, money, market):
    """Phase: others get what own work left idle in this step."""
    for b in range(lo, hi):
        for p in range(market.let_usd.shape[0]):
            if market.let_usd[p] > 0.0:
                pools.let[b, p] = guests(b, p, dt, pools, plants, signals, fleet, money, market)


@inlined()
def leave(b, p, warned, jobs, pools, fleet, work, ledger):
    """Every job at, or on its way to, pool `p` is pending again; if `warned`, movable ones saved their state."""
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] == PENDING or jobs.pool[b, j] != p:
            continue
        if warned and jobs.status[b, j] == RUNNING and work.movable[jobs.source[b, j]] == 1:
            jobs.unsaved[b, j], jobs.state_gb[b, j] = 0.0, checkpoint_gb(b, j, jobs, fleet, work)
        kill(b, j, jobs, pools, fleet, ledger)


@inlined()
def draw_absence(b, p, state, market):
    """Hours for which the owner keeps pool `p`."""
    return -math.log(1.0 - rng.uniform(state, b, rng.MARKET)) * market.absent_h[p]


@inlined()
def _reclaim(b, p, dt, state, pools, market, ledger):
    """The owner of rented pool `p` gives it, announces, takes it back; returns whether it is taken now."""
    if pools.away_h[b, p] > 0.0:
        pools.away_h[b, p] = max(0.0, pools.away_h[b, p] - dt)
        return False
    if pools.notice_h[b, p] > 0.0:
        pools.notice_h[b, p] = max(0.0, pools.notice_h[b, p] - dt)
    elif rng.uniform(state, b, rng.MARKET) < 1.0 - math.exp(-market.reclaim[p] * dt):
        pools.notice_h[b, p] = dt * math.floor(market.notice_h[p] / dt + _TINY_H)
    else:
        return False
    if pools.notice_h[b, p] > _TINY_H:
        return False
    pools.notice_h[b, p] = 0.0
    pools.away_h[b, p] = draw_absence(b, p, state, market)
    ledger.counts[b, C.reclaimed] += 1.0
    return True


@inlined()
def road_share(p, hour, dt, market):
    """Share of the journey to pool `p` that its pod travelled in the `dt` h before an hour of the year."""
    hours = 0.0
    for k in range(market.comes.shape[1]):
        comes = market.comes[p, k]
        hours += max(0.0, min(hour, comes) - max(hour - dt, comes - market.travel_h[p]))
    return hours / market.travel_h[p]


@inlined()
def _travel(b, p, hour, dt, pools, market, ledger):
    """The pod that may stand at pool `p` comes, announces that it will leave, leaves; returns whether it leaves now."""
    if market.move_usd[p] > 0.0:
        ledger.terms[b, T.pods] += road_share(p, hour, dt, market) * market.move_usd[p]
    here = pools.away_h[b, p] == 0.0
    pools.away_h[b, p], until = pod_hours(p, hour + _TINY_H, market)
    pools.notice_h[b, p] = until if until <= market.notice_h[p] else 0.0
    return here and pools.away_h[b, p] > 0.0


@inlined()
def _book(b, p, dt, pools, plants, fleet, market, ledger):
    """Rent of the devices held in the last step, income from those let while their region's nodes ran."""
    r = fleet.region[p]
    ledger.terms[b, T.rent] += pools.busy_h[b, p] * pools.price[b, p]
    hours = pools.let[b, p] * max(0.0, dt - plants.still_h[b, r])
    ledger.terms[b, T.let] -= hours * market.let_usd[p]
    ledger.flows[b, r, F.let] += hours


@kernel()
def trade(lo, hi, dt, clock, jobs, pools, plants, fleet, work, market, ledger):
    """Phase: the step's rent and income; then prices and demand of the new hour, pools taken back, pods on the road."""
    state, now_h = clock.rng, clock.now_h
    for b in range(lo, hi):
        new_hour = math.floor(now_h[b] + _TINY_H) != math.floor(now_h[b] - dt + _TINY_H)
        for p in range(market.rent_usd.shape[0]):
            rented, offered = market.rent_usd[p] > 0.0, market.let_usd[p] > 0.0
            if rented or offered:
                _book(b, p, dt, pools, plants, fleet, market, ledger)
                if new_hour:
                    phi = market.phi[p] if rented else DEMAND_PHI
                    pools.mood[b, p] = moved(pools.mood[b, p], phi, rng.normal(state, b, rng.MARKET))
            left = False
            if rented:
                pools.price[b, p] = spot_price(market.rent_usd[p], market.sigma[p], pools.mood[b, p])
                left = _reclaim(b, p, dt, state, pools, market, ledger)
            elif market.pod[p] >= 0:
                left = _travel(b, p, now_h[b], dt, pools, market, ledger)
            if left:
                leave(b, p, market.notice_h[p] > 0.0, jobs, pools, fleet, work, ledger)


@inlined()
def reset_market(b, clock, pools, market):
    """Begin in the middle of things: prices, demand, absences of a market that has run for long; pods by timetable."""
    state = clock.rng
    for p in range(market.rent_usd.shape[0]):
        pools.notice_h[b, p], pools.away_h[b, p], pools.let[b, p] = 0.0, 0.0, 0.0
        pools.price[b, p], pools.mood[b, p] = 0.0, rng.normal(state, b, rng.MARKET)
        if market.rent_usd[p] > 0.0:
            pools.price[b, p] = spot_price(market.rent_usd[p], market.sigma[p], pools.mood[b, p])
            here = 1.0 / max(market.reclaim[p], 1e-12) + market.notice_h[p]
            if rng.uniform(state, b, rng.MARKET) * (here + market.absent_h[p]) >= here:
                pools.away_h[b, p] = draw_absence(b, p, state, market)
        elif market.pod[p] >= 0:
            pools.away_h[b, p], until = pod_hours(p, clock.now_h[b] + _TINY_H, market)
            pools.notice_h[b, p] = until if until <= market.notice_h[p] else 0.0
