"""What all unfinished work is expected to cost from here: for learners, never booked.

Energy is paid while a job runs, lateness when its deadline has passed: hours or days after the choice that caused them.
Rewards to which the fall of this sum is added (`agents.sb3.vecenv`) pay a choice at once by what it raised it. What a
queue will cost is left out: estimates of waiting jump, and made the sum's steps twice as rough (standard deviation 100
against 56 USD on `default`); hours past the latest start accrue as they pass, in a queue as before it.
"""

from __future__ import annotations

from gcn_env.core.costs import device_kw, late_usd, price_run
from gcn_env.core.execution import shortfall
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import INFERENCE
from gcn_env.core.placement import legal_pool, quota_left
from gcn_env.core.signals import outlook_mean
from gcn_env.core.slots import rates
from gcn_env.core.state import PENDING, RUNNING, TRANSIT

_NONE = 1e18


@inlined()
def _committed(b, j, begins, run, signals, jobs, pools, plants, fleet, geo):
    """USD of job `j` at its pool if it begins at hour `begins`, by then at present prices, and runs `run` h."""
    p, kind, held = jobs.pool[b, j], jobs.kind[b, j], jobs.held[b, j]
    r = fleet.region[p]
    kwh = held * device_kw(b, p, kind, pools, fleet) * plants.overhead[b, r] * run
    usd = kwh * outlook_mean(b, r, 0.0, run, signals.both_sum) + held * run * pools.price[b, p]
    if kind == INFERENCE:
        _, credit = shortfall(b, j, p, jobs, pools, fleet, geo)
        return usd + jobs.value[b, j] * run * credit
    return usd + late_usd(b, j, begins + run, jobs)


@inlined()
def _cheapest(b, j, now, state, world):
    """USD of pending job `j` if its cheapest pool had room now; where none may take it, at the lowest rate."""
    _clock, signals, sources, jobs, pools, plants, links, _ledger = state
    fleet, geo, _money, work, _bank, _plant, _site, _market = world
    n, best, room = fleet.region.shape[0], _NONE, quota_left(b, j, jobs, sources, work)
    for p in range(n):
        if legal_pool(b, j, p, room, jobs, pools, plants, fleet, geo):
            held, run, _, move, _, energy, carbon, egress, _, _ = price_run(
                b, j, p, now, jobs, pools, plants, signals, links, fleet, geo, work
            )
            usd = energy + carbon + egress + held * run * pools.price[b, p]
            if jobs.kind[b, j] == INFERENCE:
                _, credit = shortfall(b, j, p, jobs, pools, fleet, geo)
                usd += jobs.value[b, j] * run * credit
            else:
                usd += late_usd(b, j, now + move + run, jobs)
            best = min(best, usd)
    if best < _NONE:
        return best
    kind = jobs.kind[b, j]
    usd = jobs.gang[b, j] * jobs.work[b, j] * pools.rate[b, n, kind]
    return usd if kind == INFERENCE else usd + late_usd(b, j, now + jobs.work[b, j], jobs)


@kernel()
def commitments(lo, hi, state, world, usd):
    """Fill `usd` [B] for environments [lo, hi): expected cost from now on of all jobs that are there.

    Jobs at a pool: at the price and carbon outlook over the rest of their run, with rent, egress still to pay, and the
    lateness or credits that are certain by now. Pending ones: the same at their cheapest pool. So to send a job there
    changes nothing, to send it elsewhere costs the difference at once, and to wait pays or costs as prices move and
    deadlines pass.
    """
    clock, signals, _sources, jobs, pools, plants, _links, _ledger = state
    fleet, geo, _money, _work, _bank, _plant, _site, _market = world
    for b in range(lo, hi):
        now, total = clock.now_h[b], 0.0
        rates(b, signals, pools, plants, fleet)
        for j in range(jobs.n_live[b]):
            status, kind = jobs.status[b, j], jobs.kind[b, j]
            if status == PENDING:
                total += _cheapest(b, j, now, state, world)
                continue
            if status == RUNNING:
                run = max(0.0, jobs.finish[b, j] - now)
            elif kind == INFERENCE:
                run = jobs.work[b, j]
            else:
                run = jobs.work[b, j] / (jobs.speed[b, j] * pools.pace[b, jobs.pool[b, j], kind])
            begins = max(now, jobs.ready[b, j]) if status == TRANSIT else now
            total += _committed(b, j, begins, run, signals, jobs, pools, plants, fleet, geo)
            if status == TRANSIT and jobs.via[b, j] >= 0:
                r = fleet.region[jobs.pool[b, j]]
                total += jobs.left_gb[b, j] * geo.egress_usd[jobs.via[b, j], r]
        usd[b] = total
