"""Pools at work: data arrives, local queues start gangs (first come, first served with EASY backfill), jobs end.

Time is continuous inside a control step: events are carried out in order, at their own hour. The local scheduler knows
run times exactly (at the pool's present speed); inference goes first in the queue.
"""

from __future__ import annotations

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import PENDING, QUEUED, RUNNING, TRANSIT
from gcn_env.core.workload import release_lease, remove_job
from gcn_env.ledger import COUNTS, FLOWS, TERMS

C = COUNTS.ix
F = FLOWS.ix
T = TERMS.ix
NEVER = 1e9


@inlined()
def before(b, i, j, jobs):
    """Whether job `i` stands before job `j` in a pool's queue."""
    a, c = jobs.kind[b, i] == INFERENCE, jobs.kind[b, j] == INFERENCE
    if a != c:
        return a
    if jobs.ready[b, i] != jobs.ready[b, j]:
        return jobs.ready[b, i] < jobs.ready[b, j]
    return jobs.order[b, i] < jobs.order[b, j]


@inlined()
def start(b, j, now, rate, jobs, pools):
    """Start job `j`, which does `rate` reference hours of work per hour."""
    p = jobs.pool[b, j]
    if jobs.status[b, j] == QUEUED:
        pools.waiting[b, p] -= 1
    jobs.status[b, j] = RUNNING
    jobs.ready[b, j] = now
    jobs.finish[b, j] = now + jobs.work[b, j] / rate if rate > 0.0 else NEVER
    pools.busy[b, p] += jobs.held[b, j]


@inlined()
def line_up(b, p, jobs):
    """Write the waiting jobs of pool `p` to `jobs.queue` in their order; returns (how many, fewest devices asked for)."""
    live, status, pool, queue = jobs.live, jobs.status, jobs.pool, jobs.queue
    n, least = 0, 1 << 30
    for i in range(jobs.n_live[b]):
        j = live[b, i]
        if status[b, j] == QUEUED and pool[b, j] == p:
            k = n
            while k > 0 and before(b, j, queue[b, k - 1], jobs):
                queue[b, k] = queue[b, k - 1]
                k -= 1
            queue[b, k] = j
            least = min(least, jobs.held[b, j])
            n += 1
    return n, least


@inlined()
def reservation(b, p, need, free, jobs):
    """(shadow time, spare devices) at which `need` devices will be free: EASY's reservation for the queue's head."""
    live, status, pool, finish, held = jobs.live, jobs.status, jobs.pool, jobs.finish, jobs.held
    last, last_order = -NEVER, -1
    while True:
        nearest, pick = NEVER, -1
        for i in range(jobs.n_live[b]):
            j = live[b, i]
            if status[b, j] == RUNNING and pool[b, j] == p:
                f = finish[b, j]
                later = f > last or (f == last and j > last_order)
                if later and (f < nearest or (f == nearest and j < pick)):
                    nearest, pick = f, j
        if pick < 0:
            return NEVER, 0
        last, last_order = nearest, pick
        free += held[b, pick]
        if free >= need:
            return nearest, free - need


@inlined()
def note_event(b, j, n, until, jobs):
    """Add job `j` to the step's events if it ends within it; returns the number of events."""
    if jobs.finish[b, j] <= until:
        jobs.event[b, n] = j
        return n + 1
    return n


@inlined()
def start_what_fits(b, p, now, until, n, rate, jobs, pools):
    """Local scheduler of pool `p` at hour `now`; `rate` is its throttle factor. Returns the number of events."""
    free = pools.healthy[b, p] - pools.busy[b, p]
    if free <= 0 or pools.waiting[b, p] == 0:
        return n
    waiting, least = line_up(b, p, jobs)
    if least > free:
        return n
    queue, held = jobs.queue, jobs.held
    k = 0
    while k < waiting and held[b, queue[b, k]] <= free:  # first come, first served
        j = queue[b, k]
        start(b, j, now, rate * jobs.speed[b, j], jobs, pools)
        n = note_event(b, j, n, until, jobs)
        free -= held[b, j]
        k += 1
    if k + 1 >= waiting or free <= 0:
        return n
    shadow, spare = reservation(b, p, held[b, queue[b, k]], free, jobs)
    for i in range(k + 1, waiting):  # backfill: what cannot delay the head's reservation
        j = queue[b, i]
        if held[b, j] <= free:
            speed = rate * jobs.speed[b, j]
            ends = now + jobs.work[b, j] / speed if speed > 0.0 else NEVER
            if ends <= shadow or held[b, j] <= spare:
                start(b, j, now, speed, jobs, pools)
                n = note_event(b, j, n, until, jobs)
                free -= held[b, j]
                if ends > shadow:
                    spare -= held[b, j]
    return n


@inlined()
def book_work(b, j, since, to, rate, jobs, pools, fleet, ledger):
    """Book the run of job `j` from `since` to `to` at `rate` reference hours per hour."""
    p, held, hours = jobs.pool[b, j], jobs.held[b, j], to - since
    pools.busy_h[b, p] += held * hours
    pools.load_h[b, p] += held * hours * fleet.load[jobs.kind[b, j], p]
    ledger.flows[b, fleet.region[p], F.busy] += held * hours
    ledger.counts[b, C.work] += jobs.gang[b, j] * hours * rate


@inlined()
def kill(b, j, jobs, pools, fleet, ledger):
    """End the run (or the wait) of job `j` at its pool: it is pending again, with what its last checkpoint kept."""
    p = jobs.pool[b, j]
    if jobs.status[b, j] == RUNNING:
        pools.busy[b, p] -= jobs.held[b, j]
        lost = jobs.unsaved[b, j]
        jobs.work[b, j] += lost
        ledger.counts[b, C.killed] += 1.0
        ledger.counts[b, C.lost_work] += lost * jobs.gang[b, j]
        ledger.terms[b, T.restart] += lost * jobs.gang[b, j] * fleet.device_usd[p]
    elif jobs.status[b, j] == QUEUED:
        pools.waiting[b, p] -= 1
    jobs.unsaved[b, j] = 0.0
    jobs.status[b, j] = PENDING
    jobs.pool[b, j] = -1
    jobs.held[b, j] = 0
    jobs.finish[b, j] = NEVER


@inlined()
def evict_region(b, r, jobs, pools, fleet, ledger):
    """End every run, wait and transfer at region `r` (outage or thermal trip)."""
    for i in range(jobs.n_live[b]):
        j = jobs.live[b, i]
        if jobs.status[b, j] != PENDING and fleet.region[jobs.pool[b, j]] == r:
            kill(b, j, jobs, pools, fleet, ledger)


@inlined()
def _complete(b, j, jobs, sources, pools, ledger):
    pools.busy[b, jobs.pool[b, j]] -= jobs.held[b, j]
    release_lease(b, j, jobs, sources)
    ledger.counts[b, C.completed] += 1.0
    if jobs.kind[b, j] != INFERENCE and jobs.finish[b, j] > jobs.deadline[b, j]:
        ledger.counts[b, C.late] += 1.0
    for i in range(jobs.n_live[b]):
        if jobs.live[b, i] == j:
            remove_job(b, i, jobs)
            break


@inlined()
def book_waiting(b, j, now, until, jobs, ledger):
    """Lateness and waiting of job `j` over the step, up to `until` (its end, or the end of the step)."""
    counts, terms = ledger.counts, ledger.terms
    since = max(now, jobs.arrival[b, j])
    if jobs.kind[b, j] == INFERENCE:
        return
    late = until - max(since, jobs.deadline[b, j])
    if late > 0.0:
        counts[b, C.late_hours] += late
        terms[b, T.late] += late * jobs.value[b, j]


@inlined()
def book_service(b, j, now, until, started, jobs, fleet, geo, ledger):
    """Waiting of any job, and the latency objective of a lease, from `now` to `until`.

    Hours before `started` are waited. A lease is out of objective while it waits, and while round trip plus service
    time exceed its objective; hours served too far cost their share of the overshoot, at most the full credit.
    """
    counts = ledger.counts
    since = max(now, jobs.arrival[b, j])
    waited = max(0.0, min(until, started) - since)
    counts[b, C.wait] += waited
    if jobs.kind[b, j] != INFERENCE:
        return
    served = max(0.0, until - max(since, started))
    counts[b, C.lease] += waited + served
    missed = waited
    paid = waited
    if served > 0.0:
        p = jobs.pool[b, j]
        over = (geo.rtt_ms[jobs.origin[b, j], fleet.region[p]] + fleet.service_ms[p]) / jobs.slo[b, j] - 1.0
        if over > 0.0:
            missed += served
            paid += served * min(1.0, over)
    counts[b, C.slo_miss] += missed
    ledger.terms[b, T.slo] += paid * jobs.value[b, j]


@kernel()
def execute(lo, hi, dt, clock, jobs, sources, pools, plants, fleet, geo, ledger):
    """Phase: run the pools for one control step."""
    now_h, throttle = clock.now_h, plants.throttle
    live, status, event, finish, ready, region = jobs.live, jobs.status, jobs.event, jobs.finish, jobs.ready, fleet.region
    for b in range(lo, hi):
        t0 = now_h[b]
        t1 = t0 + dt
        for p in range(region.shape[0]):
            pools.busy_h[b, p] = 0.0
            pools.load_h[b, p] = 0.0
        for r in range(throttle.shape[1]):
            if throttle[b, r] <= 0.0:  # thermal trip
                evict_region(b, r, jobs, pools, fleet, ledger)
        n = 0
        for i in range(jobs.n_live[b]):
            j = live[b, i]
            if status[b, j] == RUNNING:
                rate = jobs.speed[b, j] * throttle[b, region[jobs.pool[b, j]]]
                finish[b, j] = t0 + jobs.work[b, j] / rate
                n = note_event(b, j, n, t1, jobs)
            elif status[b, j] == TRANSIT and ready[b, j] <= t1:
                event[b, n] = j
                n += 1
        for p in range(region.shape[0]):
            if pools.waiting[b, p] > 0:  # repairs and kills changed what is free
                n = start_what_fits(b, p, t0, t1, n, throttle[b, region[p]], jobs, pools)
        while n > 0:
            k, when = 0, NEVER
            for i in range(n):
                j = event[b, i]
                at = ready[b, j] if status[b, j] == TRANSIT else finish[b, j]
                if at < when or (at == when and jobs.order[b, j] < jobs.order[b, event[b, k]]):
                    k, when = i, at
            j = event[b, k]
            n -= 1
            event[b, k] = event[b, n]
            p = jobs.pool[b, j]
            rate = throttle[b, region[p]]
            if status[b, j] == TRANSIT:
                status[b, j] = QUEUED
                pools.waiting[b, p] += 1
                if pools.waiting[b, p] == 1 and jobs.held[b, j] <= pools.healthy[b, p] - pools.busy[b, p]:
                    start(b, j, when, rate * jobs.speed[b, j], jobs, pools)
                    n = note_event(b, j, n, t1, jobs)
                else:
                    n = start_what_fits(b, p, when, t1, n, rate, jobs, pools)
            else:
                since = max(t0, ready[b, j])
                book_work(b, j, since, when, rate * jobs.speed[b, j], jobs, pools, fleet, ledger)
                book_waiting(b, j, t0, when, jobs, ledger)
                book_service(b, j, t0, when, ready[b, j], jobs, fleet, geo, ledger)
                _complete(b, j, jobs, sources, pools, ledger)
                if pools.waiting[b, p] > 0:
                    n = start_what_fits(b, p, when, t1, n, rate, jobs, pools)
        _close_step(b, t0, t1, jobs, pools, plants, fleet, geo, ledger)


@inlined()
def _close_step(b, t0, t1, jobs, pools, plants, fleet, geo, ledger):
    """Progress of what still runs, waiting of what does not, and the devices' outlook per pool."""
    live, status, work, unsaved = jobs.live, jobs.status, jobs.work, jobs.unsaved
    for p in range(fleet.region.shape[0]):
        pools.queued[b, p] = 0.0
        pools.running[b, p] = 0.0
    for i in range(jobs.n_live[b]):
        j = live[b, i]
        started = t1
        if status[b, j] == RUNNING:
            p = jobs.pool[b, j]
            rate = jobs.speed[b, j] * plants.throttle[b, fleet.region[p]]
            started = jobs.ready[b, j]
            since = max(t0, started)
            done = min((t1 - since) * rate, work[b, j])
            work[b, j] -= done
            unsaved[b, j] += done
            interval = jobs.checkpoint[b, j]
            if interval > 0.0 and unsaved[b, j] >= interval:
                unsaved[b, j] -= interval * int(unsaved[b, j] / interval)
            book_work(b, j, since, t1, rate, jobs, pools, fleet, ledger)
            pools.running[b, p] += jobs.held[b, j] * work[b, j] / jobs.speed[b, j]
        elif status[b, j] != PENDING:
            p = jobs.pool[b, j]
            pools.queued[b, p] += jobs.held[b, j] * work[b, j] / jobs.speed[b, j]
        book_waiting(b, j, t0, t1, jobs, ledger)
        book_service(b, j, t0, t1, started, jobs, fleet, geo, ledger)
