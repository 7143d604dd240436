"""What a placement would cost: the terms in which a scheduler thinks, per (job, pool)."""

from __future__ import annotations

from gcn_env.core.execution import checkpoint_gb, shortfall
from gcn_env.core.jit import inlined
from gcn_env.core.network import fetch
from gcn_env.core.params import INFERENCE
from gcn_env.core.placement import devices_needed
from gcn_env.core.signals import outlook_ahead, outlook_mean
from gcn_env.core.state import LEADS_H, PENDING, RUNNING

(
    HELD,
    RUN_H,
    WAIT_H,
    MOVE_H,
    ENERGY,
    ENERGY_USD,
    CARBON_USD,
    DEMAND_USD,
    EGRESS_USD,
    MOVE_USD,
    LATE_USD,
    SLO_USD,
    RENT_USD,
    TOTAL,
    BEST,
    BEST_H,
) = range(16)
N_COSTS = 16


@inlined()
def expected_wait_h(b, p, held, pools):
    """Hours until `held` devices of pool `p` are free, on nodes that fit: what queues, and its share of what runs."""
    healthy, busy = pools.healthy[b, p], pools.busy[b, p]
    short = held - (pools.room[b, p] - pools.claimed[b, p])
    if short <= 0 and pools.waiting[b, p] == 0:
        return 0.0
    ahead = pools.queued[b, p]
    if short > 0:
        ahead += min(1.0, short / max(busy, 1)) * pools.running[b, p]
    return ahead / max(healthy, 1)


@inlined()
def late_usd(b, j, finish, jobs):
    """Lateness of job `j` if it ends at hour `finish`."""
    return max(0.0, finish - jobs.deadline[b, j]) * jobs.value[b, j]


@inlined()
def device_kw(b, p, kind, pools, fleet):
    """Power of a device of pool `p` that runs class `kind` at the present clock, above what it draws asleep."""
    dynamic = fleet.peak_kw[p] * pools.drawn[b, p] - fleet.idle_kw[p]
    return fleet.idle_kw[p] + dynamic * fleet.load[kind, p] - fleet.asleep_kw[p]


@inlined()
def state_gb(b, j, jobs, fleet, work):
    """GB of state that job `j` would bring elsewhere: of its last checkpoint, or of the one it would make."""
    return checkpoint_gb(b, j, jobs, fleet, work) if jobs.status[b, j] == RUNNING else jobs.state_gb[b, j]


@inlined()
def hours_there(b, j, p, now, jobs, pools, fleet, work):
    """(devices, h of run, h of wait, USD to load its state) of job `j` at pool `p`, where it may already be.

    A running job that is sent elsewhere runs `resume_h` again. Of slow nodes nobody knows.
    """
    kind, status = jobs.kind[b, j], jobs.status[b, j]
    speed, pace = fleet.speed[kind, p], pools.pace[b, p, kind]
    held = int(devices_needed(kind, jobs.gang[b, j], speed))
    run = jobs.work[b, j] if kind == INFERENCE else jobs.work[b, j] / (speed * pace)
    if jobs.pool[b, j] == p:
        if status == RUNNING:
            return int(jobs.held[b, j]), run * jobs.gang[b, j] / jobs.held[b, j], 0.0, 0.0
        return held, run, max(0.0, jobs.finish[b, j] - now - run), 0.0
    wait = expected_wait_h(b, p, held, pools)
    if status != RUNNING:
        return held, run, wait, 0.0
    resume = work.resume_h[jobs.source[b, j]]
    return held, run + resume / pace, wait, resume * held * fleet.device_usd[p]


@inlined()
def price_run(b, j, p, now, jobs, pools, plants, signals, links, fleet, geo, work):
    """What job `j` costs at pool `p` if it is sent there now, without what is late.

    Energy is that of the busy devices above what they would draw asleep, times the region's recent overhead, at the
    outlook's mean price and carbon over the run, at the pool's present clock; and that of the transfer, where it comes
    from. The transfer shares its link, as it is, with those under way.

    Returns:
        devices, h of run, h of wait, h of transfer, kW; USD of energy, of carbon, of egress, of the transfer in all
        (paid whenever it is made), and to load the state of a job that runs.
    """
    kind, r = jobs.kind[b, j], fleet.region[p]
    held, run, wait, again = hours_there(b, j, p, now, jobs, pools, fleet, work)
    via, gb, move = -1, 0.0, 0.0
    if jobs.pool[b, j] != p:
        via, gb, move = fetch(b, j, r, state_gb(b, j, jobs, fleet, work), jobs, links, geo)
    kw = held * device_kw(b, p, kind, pools, fleet) * plants.overhead[b, r]
    kwh = kw * run
    delay = max(wait, move)
    energy = kwh * outlook_mean(b, r, delay, run, signals.price_sum)
    carbon = kwh * outlook_mean(b, r, delay, run, signals.carbon_sum)
    egress, haul = 0.0, 0.0
    if gb > 0.0:
        egress = gb * geo.egress_usd[via, r]
        power = gb * geo.kwh_gb * outlook_mean(b, via, 0.0, move, signals.price_sum)
        smoke = gb * geo.kwh_gb * outlook_mean(b, via, 0.0, move, signals.carbon_sum)
        energy, carbon, haul = energy + power, carbon + smoke, egress + power + smoke
    return held, run, wait, move, kw, energy, carbon, egress, haul, again


@inlined()
def price_placement(b, j, p, now, jobs, pools, plants, signals, links, fleet, geo, money, work, cost):
    """Fill `cost` [N_COSTS]: devices, hours, kWh and USD of sending job `j` to pool `p` now, and at its best hour.

    Energy and transfer are those of `price_run`. Rent is at the present hour's price. The best hour is looked for among
    the forecast leads that leave the job on time. Of the pool where it runs or queues: what is left if it stays.
    """
    kind, r, running = jobs.kind[b, j], fleet.region[p], jobs.status[b, j] == RUNNING
    lease, here = kind == INFERENCE, jobs.pool[b, j] == p
    held, run, wait, move, kw, energy, carbon, egress, haul, again = price_run(
        b, j, p, now, jobs, pools, plants, signals, links, fleet, geo, work
    )
    kwh, delay = kw * run, max(wait, move)
    grid, peak = plants.grid_kw[b, r], plants.peak_kw[b, r]
    rises = wait == 0.0 and not (here and running)
    demand = max(0.0, grid + kw - max(peak, grid)) * money.demand_usd[r] if rises else 0.0
    rent = held * run * pools.price[b, p]
    slo = 0.0
    if lease:
        _, credit = shortfall(b, j, p, jobs, pools, fleet, geo)
        slo = jobs.value[b, j] * (delay + run * credit)
    late = 0.0 if lease else late_usd(b, j, now + delay + run, jobs)
    total = energy + carbon + demand + egress + again + rent + slo + late
    best, best_h = total, 0.0
    if not lease and jobs.status[b, j] == PENDING:
        slack = jobs.deadline[b, j] - now - move - run
        for lead in LEADS_H:
            if lead > slack:
                break
            if lead > delay:
                then = kwh * outlook_ahead(b, r, lead, run, signals.both_sum)
                if then + haul + rent < best:
                    best, best_h = then + haul + rent, float(lead)
    cost[HELD], cost[RUN_H], cost[WAIT_H], cost[MOVE_H], cost[ENERGY] = held, run, wait, move, kwh
    cost[ENERGY_USD], cost[CARBON_USD], cost[DEMAND_USD], cost[EGRESS_USD] = energy, carbon, demand, egress
    cost[MOVE_USD], cost[RENT_USD] = again, rent
    cost[LATE_USD], cost[SLO_USD], cost[TOTAL], cost[BEST], cost[BEST_H] = late, slo, total, best, best_h
