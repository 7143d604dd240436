"""One control step, as a list of phases, and the start of an episode.

Phases run in this order for a range of environments [lo, hi); each is a kernel over that range:

    clear      the ledger of the step
    dispatch   actions become transfers and commanded set-points
    arrive     new jobs of this step (they can be placed at its end)
    carry      data moves over the links
    adapt      preemption, elastic gangs
    execute    transfers end, local queues start gangs, jobs run and end, waiting is charged
    lend       devices that own work left idle go to others
    node_power what the devices drew
    integrate  actuators, thermal zones, loops, cooling plants, power chain
    supply     sun, wind, battery and grid meet the load; breaker, curtailment
    bill       energy, peak, carbon, fuel, water, heat, wear
    advance    the clock
    sense      readings of the plants' sensors
    fail       regions that stopped lose their jobs; nodes, plants and grid supply fail and are repaired
    trade      rent and income; spot prices move, rented pools are taken back, pods travel
    tend       links are cut, fade and are repaired
    look_out   prices, carbon, weather and forecasts of the new hour
    close      settlement at the horizon, reward, totals

Environments never read each other, so any split into ranges gives the same bits.
"""

from __future__ import annotations

from gcn_env.core import rng
from gcn_env.core.execution import execute, start
from gcn_env.core.failures import fail
from gcn_env.core.grid import bill, month_of, settle, settle_batteries
from gcn_env.core.integrate import integrate, reset_plants
from gcn_env.core.jit import kernel, spliced
from gcn_env.core.market import lend, reset_market, trade
from gcn_env.core.moves import adapt
from gcn_env.core.network import carry, tend
from gcn_env.core.nodes import fits, reset_nodes
from gcn_env.core.params import LEASES
from gcn_env.core.placement import devices_needed, dispatch, legal_pool, quota_left
from gcn_env.core.power import full_clocks, node_power
from gcn_env.core.sensors import sense
from gcn_env.core.signals import look_out
from gcn_env.core.state import BATTERY, CAP
from gcn_env.core.supply import START, supply
from gcn_env.core.workload import add_job, arrive, draw_origin, reset_sources, traffic
from gcn_env.ledger import FLOWS

F = FLOWS.ix
_SUBDAY = 24


@kernel()
def clear(lo, hi, ledger):
    """Phase: empty the step's ledger."""
    ledger.terms[lo:hi] = 0.0
    ledger.flows[lo:hi] = 0.0
    ledger.counts[lo:hi] = 0.0


@kernel()
def advance(lo, hi, dt, clock):
    """Phase: move the clock; hours are counted from the start, so that no rounding adds up."""
    step, now_h, start_h = clock.step, clock.now_h, clock.start_h
    for b in range(lo, hi):
        step[b] += 1
        now_h[b] = start_h[b] + step[b] * dt


@kernel()
def total(terms):
    """Sum of money terms in column order: the cost of a step [USD]."""
    usd = 0.0
    for k in range(terms.shape[0]):
        usd += terms[k]
    return usd


@kernel()
def close(lo, hi, timing, clock, jobs, plants, fleet, money, site, market, ledger, reward, done):
    """Phase: settle at the horizon, pay the reward, add the step to the episode's sums."""
    for b in range(lo, hi):
        done[b] = clock.step[b] >= timing.horizon
        if clock.step[b] == timing.horizon:
            settle(b, clock.now_h[b], jobs, fleet, money, market, ledger)
            settle_batteries(b, plants, money, site, ledger)
        reward[b] = -total(ledger.terms[b]) / money.reference_usd
        for k in range(ledger.terms.shape[1]):
            ledger.terms_sum[b, k] += ledger.terms[b, k]
        for k in range(ledger.counts.shape[1]):
            ledger.counts_sum[b, k] += ledger.counts[b, k]
        for r in range(ledger.flows.shape[1]):
            for k in range(ledger.flows.shape[2]):
                ledger.flows_sum[b, r, k] += ledger.flows[b, r, k]


@spliced()
def step_range(lo, hi, split, actions, n_levels, timing, state, world, reward, done):
    """The phases, in order, for environments [lo, hi)."""
    clock, signals, sources, jobs, pools, plants, links, ledger = state
    fleet, geo, money, work, bank, plant, site, market = world
    dt = timing.dt_h
    clear(lo, hi, ledger)
    dispatch(
        lo, hi, actions, n_levels, dt, clock, jobs, sources, pools, plants, links, fleet, geo, money, work, plant,
        ledger,
    )  # fmt: skip
    arrive(lo, hi, dt, split, clock, sources, jobs, work, geo, bank, money, ledger)
    carry(lo, hi, dt, clock, jobs, links, fleet, geo, ledger)
    adapt(lo, hi, clock, jobs, sources, pools, fleet, work, ledger)
    execute(lo, hi, dt, clock, jobs, sources, pools, plants, fleet, geo, work, ledger)
    lend(lo, hi, dt, signals, pools, plants, fleet, money, market)
    node_power(lo, hi, dt, pools, plants, fleet, geo, ledger)
    integrate(lo, hi, dt, timing.n_plant, timing.n_zone, plants, signals, plant, site, ledger)
    supply(lo, hi, dt, clock, signals, plants, geo, bank, site, ledger)
    bill(lo, hi, dt, clock, signals, plants, geo, bank, money, site, ledger)
    advance(lo, hi, dt, clock)
    sense(lo, hi, dt, clock, plants, site)
    fail(lo, hi, dt, clock, jobs, pools, plants, fleet, geo, site, ledger)
    trade(lo, hi, dt, clock, jobs, pools, plants, fleet, work, market, ledger)
    tend(lo, hi, dt, clock, jobs, links, fleet, geo, ledger)
    look_out(lo, hi, False, clock, signals, bank, money, site)
    close(lo, hi, timing, clock, jobs, plants, fleet, money, site, market, ledger, reward, done)


@kernel()
def _fill(b, s, row, left, origin, clock, jobs, sources, pools, plants, fleet, geo, work, money, ledger):
    """Start a job with `left` of its work to do on the legal pool with most free devices, if one fits."""
    now = clock.now_h[b]
    gang = add_job(b, now, rng.EPISODE, s, row, origin, clock, jobs, work, money, ledger)
    if gang == 0:
        return 0
    j = jobs.n_live[b] - 1
    jobs.order[b, j] = -jobs.n_live[b]
    jobs.deadline[b, j] -= jobs.work[b, j] * (1.0 - left)
    jobs.work[b, j] *= left
    best, room, quota = -1, 0, quota_left(b, j, jobs, sources, work)
    for p in range(fleet.region.shape[0]):
        if legal_pool(b, j, p, quota, jobs, pools, plants, fleet, geo):
            held = devices_needed(jobs.kind[b, j], gang, fleet.speed[jobs.kind[b, j], p])
            if fits(b, p, held, pools) and pools.room[b, p] > room:
                best, room = p, pools.room[b, p]
    if best >= 0:
        speed = fleet.speed[jobs.kind[b, j], best]
        jobs.pool[b, j] = best
        jobs.data_at[b, j] = fleet.region[best]
        jobs.held[b, j] = devices_needed(jobs.kind[b, j], gang, speed)
        jobs.speed[b, j] = 1.0 if work.mode[s] == LEASES else speed
        start(b, j, now, jobs, pools, fleet)
        sources.devices[b, jobs.tenant[b, j]] += jobs.held[b, j]
    return gang


@kernel()
def standing_jobs(b, split, clock, sources, jobs, pools, plants, fleet, geo, work, bank, money, ledger):
    """Begin in the middle of things: leases that cover the traffic, and by Little's law the jobs a steady fleet holds.

    Jobs found running at a random hour are length-biased with a uniform share left; rows are accepted in proportion to
    their work.
    """
    state = clock.rng
    sources.devices[b] = 0
    weekday = bank.weekday[clock.year[b]]
    for s in range(work.kind.shape[0]):
        first, rows = work.first[split, s], work.rows[split, s]
        if work.mode[s] == LEASES:
            for r in range(geo.utc_offset_h.shape[0]):
                want = traffic(b, clock.now_h[b], s, r, split, weekday, sources, work, geo)
                while sources.leased[b, s, r] + 0.5 < want:
                    row = first + rng.integer(state, b, rng.EPISODE, rows)
                    left = rng.uniform(state, b, rng.EPISODE)
                    gang = _fill(
                        b,
                        s,
                        row,
                        left,
                        r,
                        clock,
                        jobs,
                        sources,
                        pools,
                        plants,
                        fleet,
                        geo,
                        work,
                        money,
                        ledger,
                    )
                    if gang == 0:
                        break
                    sources.leased[b, s, r] += gang
            continue
        for _ in range(rng.poisson(state, b, rng.EPISODE, work.standing[split, s])):
            row = first + rng.integer(state, b, rng.EPISODE, rows)
            for _try in range(64):
                if rng.uniform(state, b, rng.EPISODE) * work.longest_h[split, s] < work.work_h[row]:
                    break
                row = first + rng.integer(state, b, rng.EPISODE, rows)
            left = rng.uniform(state, b, rng.EPISODE)
            origin = draw_origin(state, b, rng.EPISODE, work.origin, s)
            _fill(
                b, s, row, left, origin, clock, jobs, sources, pools, plants, fleet, geo, work, money, ledger
            )


@kernel()
def reset_one(b, seed, split, years, timing, state, world):
    """Start an episode of environment `b` from `seed`, in one of the bank's rows `years`."""
    clock, signals, sources, jobs, pools, plants, links, ledger = state
    fleet, geo, money, work, bank, plant, site, market = world
    rng.seed_streams(clock.rng, b, seed)
    clock.seed[b] = seed
    clock.step[b] = 0
    year = years[rng.integer(clock.rng, b, rng.EPISODE, years.shape[0])]
    span = timing.horizon * timing.dt_h
    latest = int(bank.hours[year] - span - _SUBDAY)
    clock.year[b] = year
    clock.start_h[b] = _SUBDAY + rng.integer(clock.rng, b, rng.EPISODE, max(1, latest - _SUBDAY))
    clock.now_h[b] = clock.start_h[b]
    signals.noise_at[b] = rng.integer(clock.rng, b, rng.EPISODE, bank.noise.shape[0])
    month = month_of(clock.now_h[b], bank.hours[year])
    clear(b, b + 1, ledger)
    for p in range(fleet.region.shape[0]):
        pools.claimed[b, p], pools.waiting[b, p] = 0, 0
        pools.first[b, p], pools.last[b, p] = -1, -1
        pools.queued[b, p], pools.running[b, p] = 0.0, 0.0
        pools.busy_h[b, p], pools.load_h[b, p] = 0.0, 0.0
        pools.up[b, p], pools.stirred[b, p] = fleet.devices[p], 0
    reset_nodes(b, seed, pools, fleet)
    reset_market(b, clock, pools, market)
    full_clocks(b, pools, plants)
    links.up[b], links.down_h[b], links.n[b], links.under_way[b] = 1.0, 0.0, 0, 0
    for r in range(geo.design_kw.shape[0]):
        plants.outage_h[b, r], plants.down_h[b, r], plants.lock_s[b, r] = 0.0, 0.0, 0.0
        plants.fault_h[b, r] = 0.0
        plants.ups_kwh[b, r], plants.generator[b, r] = site.ups_kwh[r], 0
        plants.battery_kwh[b, r], plants.battery_kw[b, r] = START * site.battery_kwh[r], 0.0
        plants.pv_kw[b, r], plants.wind_kw[b, r], plants.breaker[b, r] = 0.0, 0.0, 0.0
        plants.curtail_in_h[b, r], plants.curtail_h[b, r], plants.curtail_kw[b, r] = 0.0, 0.0, 0.0
        plants.highest_kw[b, r] = 0.0
        plants.command[b, r, CAP], plants.command[b, r, BATTERY] = 1.0, 0.0
        plants.actual[b, r, BATTERY], plants.still_h[b, r] = 0.0, 0.0
        plants.month[b, r] = month
        plants.peak_kw[b, r] = money.base_peak_kw[r]
    reset_sources(b, split, clock, sources, jobs, work)
    look_out(b, b + 1, True, clock, signals, bank, money, site)
    standing_jobs(b, split, clock, sources, jobs, pools, plants, fleet, geo, work, bank, money, ledger)
    for j in range(jobs.n_live[b]):
        p = jobs.pool[b, j]
        if p >= 0:
            hours = jobs.held[b, j] * timing.dt_h
            pools.busy_h[b, p] += hours
            pools.load_h[b, p] += hours * fleet.load[jobs.kind[b, j], p]
            pools.running[b, p] += jobs.held[b, j] * jobs.work[b, j] / jobs.speed[b, j]
    for p in range(fleet.region.shape[0]):
        pools.awake[b, p] = fleet.devices[p]
    node_power(b, b + 1, timing.dt_h, pools, plants, fleet, geo, ledger)
    reset_plants(b, b + 1, plants, signals, plant)
    sense(b, b + 1, 0.0, clock, plants, site)
    for r in range(geo.design_kw.shape[0]):
        plants.grid_kw[b, r] = plants.node_kw[b, r] * plants.overhead[b, r]
    ledger.flows[b] = 0.0
    ledger.terms[b] = 0.0
    ledger.terms_sum[b] = 0.0
    ledger.flows_sum[b] = 0.0
    for k in range(ledger.counts.shape[1]):
        ledger.counts_sum[b, k] = ledger.counts[b, k]
