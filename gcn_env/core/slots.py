"""Who gets a slot: pending jobs by urgency, then jobs at a pool that a move could serve best."""

from __future__ import annotations

from gcn_env.core.costs import device_kw
from gcn_env.core.jit import inlined
from gcn_env.core.moves import may_move
from gcn_env.core.nodes import fits
from gcn_env.core.params import INFERENCE
from gcn_env.core.placement import any_legal, legal_pool, quota_left
from gcn_env.core.state import PENDING, QUEUED

SHORT_H = 2.0  # h of slack below which a job keeps its slot
MOST = 8  # jobs at a pool shown in a step: moves are rare, and every slot costs a look at each pool
HOPELESS = 1e12  # rank of jobs that no pool may run now: behind all others
PATIENCE = 96  # steps unseen after which a job's claim to a slot grows no more


@inlined()
def _insert(b, j, rank, first, filled, n_slots, jobs):
    """Put job `j` among those in slots `first`..`filled`-1 of `n_slots` by rank, then arrival; returns how many are."""
    slot, urgency, order = jobs.slot, jobs.urgency, jobs.order
    urgency[b, j] = rank
    q = filled
    if filled == n_slots:
        last = slot[b, n_slots - 1]
        if rank > urgency[b, last] or (rank == urgency[b, last] and order[b, j] > order[b, last]):
            return filled
        q = n_slots - 1
    else:
        filled += 1
    while q > first:
        k = slot[b, q - 1]
        if urgency[b, k] < rank or (urgency[b, k] == rank and order[b, k] < order[b, j]):
            break
        slot[b, q] = k
        q -= 1
    slot[b, q] = j
    return filled


@inlined()
def _pending(b, now, jobs, sources, pools, plants, fleet, geo, work):
    """Slots of pending jobs: leases first, then those short of slack, then those not seen for longest.

    A job left waiting makes room for others, and comes round again: else a few patient jobs would hold every slot. So
    does one that nothing may run now, where there are more jobs than slots.
    """
    filled, waiting = 0, 0
    for j in range(jobs.n_live[b]):
        waiting += int(jobs.status[b, j] == PENDING)
    crowded = waiting > jobs.slot.shape[1]
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] != PENDING:
            continue
        slack = jobs.deadline[b, j] - now - jobs.work[b, j]
        if jobs.kind[b, j] == INFERENCE:
            slack = -1e9
        elif slack < SHORT_H:
            slack = max(slack, -1e6) - 1e6
        else:
            slack = min(slack, 999.0) + 1e3 * jobs.shown[b, j]
        if crowded:
            room = quota_left(b, j, jobs, sources, work)
            if not any_legal(b, j, room, jobs, pools, plants, fleet, geo):
                slack += HOPELESS
        filled = _insert(b, j, slack, 0, filled, jobs.slot.shape[1], jobs)
    return filled


@inlined()
def _expect(b, now, jobs, pools):
    """When each job that queues is expected to end: what stands before it runs first."""
    for p in range(pools.waiting.shape[1]):
        j, ahead = pools.first[b, p], 0.0
        if pools.waiting[b, p] == 0:
            continue
        healthy, busy = max(int(pools.healthy[b, p]), 1), int(pools.busy[b, p])
        while j >= 0:
            run = jobs.work[b, j] / (jobs.speed[b, j] * pools.pace[b, p, jobs.kind[b, j]])
            short = jobs.held[b, j] - (pools.healthy[b, p] - busy)
            share = min(1.0, max(0, short) / max(busy, 1))
            jobs.finish[b, j] = now + (ahead + share * pools.running[b, p]) / healthy + run
            ahead += jobs.held[b, j] * run
            j = jobs.behind[b, j]


@inlined()
def rates(b, signals, pools, plants, fleet):
    """USD per reference hour of a rank by pool and class, over the next day's outlook; last row: the lowest."""
    n = fleet.region.shape[0]
    rate, n_classes = pools.rate, pools.pace.shape[2]
    for k in range(n_classes):
        rate[b, n, k] = 1e9
    for p in range(n):
        r = fleet.region[p]
        usd = plants.overhead[b, r] * signals.both_sum[b, r, 24] / 24.0
        for k in range(n_classes):
            if fleet.speed[k, p] > 0.0:
                per_h = device_kw(b, p, k, pools, fleet) * usd + pools.price[b, p]
                rate[b, p, k] = per_h / (fleet.speed[k, p] * pools.pace[b, p, k])
                rate[b, n, k] = min(rate[b, n, k], rate[b, p, k])


@inlined()
def _saving(b, j, now, least, jobs, sources, pools, plants, fleet, geo, work):
    """USD that moving job `j` to a pool with room could save, nearly; 0 without looking if that is not above `least`.

    Energy at the next day's outlook, the state to load if it runs, and what it is late if it queues.
    """
    p, kind, left = jobs.pool[b, j], jobs.kind[b, j], jobs.gang[b, j] * jobs.work[b, j]
    stay = left * pools.rate[b, p, kind]
    queued = jobs.status[b, j] == QUEUED
    if queued:
        stay += max(0.0, jobs.finish[b, j] - jobs.deadline[b, j]) * jobs.value[b, j]
    else:
        stay -= work.resume_h[jobs.source[b, j]] * jobs.gang[b, j] * fleet.device_usd[p]
    n, best = fleet.region.shape[0], 0.0
    if stay - left * pools.rate[b, n, kind] <= max(least, 0.0):
        return 0.0
    room = quota_left(b, j, jobs, sources, work)
    for other in range(n):
        if pools.waiting[b, other] > 0 or not fits(b, other, jobs.gang[b, j], pools):
            continue
        go = left * pools.rate[b, other, kind]
        if stay - go > best and legal_pool(b, j, other, room, jobs, pools, plants, fleet, geo):
            if queued:
                run = jobs.work[b, j] / (fleet.speed[kind, other] * pools.pace[b, other, kind])
                go += max(0.0, now + run - jobs.deadline[b, j]) * jobs.value[b, j]
            best = max(best, stay - go)
    return best


@inlined()
def _movable(b, dt, filled, clock, signals, jobs, sources, pools, plants, fleet, geo, work):
    """Slots left over go to jobs at a pool that a move could save most, weighed by how long they were not seen."""
    now, step, first, n_slots = clock.now_h[b], clock.step[b], filled, min(filled + MOST, jobs.slot.shape[1])
    _expect(b, now, jobs, pools)
    rates(b, signals, pools, plants, fleet)
    for j in range(jobs.n_live[b]):
        status = jobs.status[b, j]
        if status < QUEUED or not may_move(b, j, now, dt, jobs, plants, fleet, work):
            continue
        weight = min(step - jobs.shown[b, j], PATIENCE)
        least = -jobs.urgency[b, jobs.slot[b, n_slots - 1]] / weight if filled == n_slots else 0.0
        saving = _saving(b, j, now, least, jobs, sources, pools, plants, fleet, geo, work)
        if saving > 0.0:
            filled = _insert(b, j, -saving * weight, first, filled, n_slots, jobs)
    return filled


@inlined()
def count_devices(b, jobs, sources):
    """Devices that each tenant's jobs hold, queue for or travel to."""
    sources.devices[b] = 0
    for j in range(jobs.n_live[b]):
        sources.devices[b, jobs.tenant[b, j]] += jobs.held[b, j]


@inlined()
def fill_slots(b, dt, clock, signals, sources, jobs, pools, plants, fleet, geo, work):
    """Choose the jobs that are shown, once a control step."""
    slot, n_slots = jobs.slot, jobs.slot.shape[1]
    for q in range(n_slots):
        slot[b, q] = -1
    count_devices(b, jobs, sources)
    filled = _pending(b, clock.now_h[b], jobs, sources, pools, plants, fleet, geo, work)
    if filled < n_slots:
        filled = _movable(b, dt, filled, clock, signals, jobs, sources, pools, plants, fleet, geo, work)
    for q in range(filled):
        jobs.shown[b, slot[b, q]] = clock.step[b]
