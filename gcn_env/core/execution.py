"""Pools at work: data arrives, local queues start gangs (first come, first served with EASY backfill), jobs end.

Time is continuous inside a control step: events are carried out in order, at their own hour. The local scheduler knows
run times exactly (at the pool's present speed); inference goes first in the queue, then what has priority. A job that
starts on sleeping devices begins when the last of them is awake.
"""

from __future__ import annotations

from gcn_env.core.backfill import NEVER, due, may_pass, pop, push, reserve
from gcn_env.core.gangs import least_size, set_size, size_now
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.nodes import give_back, take
from gcn_env.core.params import INFERENCE
from gcn_env.core.places import pack
from gcn_env.core.power import set_clocks, speed_at
from gcn_env.core.state import FREE, PENDING, QUEUED, RUNNING, TRANSIT
from gcn_env.core.workload import release_lease
from gcn_env.ledger import COUNTS, FLOWS, TERMS

C = COUNTS.ix
F = FLOWS.ix
T = TERMS.ix
_LEASES_FIRST = 100  # above every priority


@inlined()
def _rank(b, j, jobs):
    return jobs.priority[b, j] + (_LEASES_FIRST if jobs.kind[b, j] == INFERENCE else 0)


@inlined()
def enqueue(b, j, jobs, pools):
    """Put job `j` into its pool's queue: inference first, then by priority, then as they come."""
    p, behind, rank = jobs.pool[b, j], jobs.behind, _rank(b, j, jobs)
    previous = pools.last[b, p]
    if previous >= 0 and _rank(b, previous, jobs) < rank:
        previous, k = -1, pools.first[b, p]
        while _rank(b, k, jobs) >= rank:
            previous, k = k, behind[b, k]
    if previous < 0:
        behind[b, j] = pools.first[b, p]
        pools.first[b, p] = j
    else:
        behind[b, j] = behind[b, previous]
        behind[b, previous] = j
    if behind[b, j] < 0:
        pools.last[b, p] = j
    jobs.status[b, j] = QUEUED
    pools.waiting[b, p] += 1


@inlined()
def unlink(b, j, previous, jobs, pools):
    """Take job `j`, which stands behind job `previous` (-1: first), out of its pool's queue."""
    p, behind = jobs.pool[b, j], jobs.behind
    if previous < 0:
        pools.first[b, p] = behind[b, j]
    else:
        behind[b, previous] = behind[b, j]
    if pools.last[b, p] == j:
        pools.last[b, p] = previous
    pools.waiting[b, p] -= 1


@inlined()
def leave_queue(b, j, jobs, pools):
    """Take job `j` out of its pool's queue, wherever it stands."""
    previous, k = -1, pools.first[b, jobs.pool[b, j]]
    while k != j:
        previous, k = k, jobs.behind[b, k]
    unlink(b, j, previous, jobs, pools)
    pools.stirred[b, jobs.pool[b, j]] = 1


@inlined()
def pace_of(b, j, jobs, pools):
    """Reference hours of work that job `j` does per hour on its pool at the pool's present clock."""
    return jobs.speed[b, j] * pools.pace[b, jobs.pool[b, j], jobs.kind[b, j]]


@inlined()
def awake_at(b, p, held, now, pools, fleet):
    """Hour at which `held` more devices of pool `p` are awake if they are called at `now`."""
    return now + fleet.wake_h[p] if pools.busy[b, p] + held > pools.up[b, p] else now


@inlined()
def start(b, j, now, jobs, pools, fleet):
    """Start job `j` at hour `now`, or as soon as its devices are awake."""
    p, held = jobs.pool[b, j], jobs.held[b, j]
    begins = awake_at(b, p, held, now, pools, fleet)
    jobs.status[b, j] = RUNNING
    jobs.ready[b, j] = begins
    take(b, j, jobs, pools, fleet)
    jobs.finish[b, j] = begins + jobs.work[b, j] / pace_of(b, j, jobs, pools)
    pools.up[b, p] = max(pools.up[b, p], float(pools.busy[b, p]))


@inlined()
def note_event(b, j, n, until, jobs):
    """Add job `j` to the step's events if it ends within it; returns the number of events."""
    if jobs.finish[b, j] <= until:
        return push(b, j, n, jobs.event, jobs)
    return n


@inlined()
def start_what_fits(b, p, now, until, n, jobs, pools, fleet):
    """Local scheduler of pool `p` at hour `now`. Returns the number of events.

    First come, first served, elastic gangs with what is there; once a job does not fit, those behind it start only if
    they cannot delay it (EASY): if they end by the hour reserved for it, or leave the nodes that it wants then.
    """
    held, behind = jobs.held, jobs.behind
    blocked, need, previous, j = -1, 0, -1, pools.first[b, p]
    while j >= 0 and pools.room[b, p] > 0:
        following = behind[b, j]
        size = size_now(b, j, pools.room[b, p], jobs, fleet)
        asked = held[b, j]
        goes, less = size > 0, 0 < size < asked
        if less:
            set_size(b, j, size, jobs, fleet)
        if goes and blocked >= 0:
            if pools.reserved[b, p] != blocked:
                reserve(b, p, blocked, need, jobs, pools, fleet)
            begins = awake_at(b, p, held[b, j], now, pools, fleet)
            ends = begins + jobs.work[b, j] / pace_of(b, j, jobs, pools)
            goes = may_pass(b, p, j, ends, need, jobs, pools, fleet)
        elif not goes and blocked < 0:
            blocked, need = j, least_size(b, j, jobs, fleet)
        if goes:
            unlink(b, j, previous, jobs, pools)
            start(b, j, now, jobs, pools, fleet)
            n = note_event(b, j, n, until, jobs)
            if blocked < 0 or jobs.bad[b, j] > 0:  # it came first; it ends later than the scheduler thinks
                pools.reserved[b, p] = -1
        else:
            previous = j
            if less:
                set_size(b, j, asked, jobs, fleet)
        j = following
    return n


@inlined()
def book_run(b, j, hours, rate, jobs, sources, pools, fleet):
    """Book device-hours of `hours` that job `j` ran; returns reference device-hours of work done at `rate`."""
    p = jobs.pool[b, j]
    device_h = jobs.held[b, j] * hours
    pools.busy_h[b, p] += device_h
    sources.used_h[b, jobs.tenant[b, j]] += device_h
    pools.load_h[b, p] += device_h * fleet.load[jobs.kind[b, j], p]
    return jobs.gang[b, j] * hours * rate


@inlined()
def checkpoint_gb(b, j, jobs, fleet, work):
    """GB of a checkpoint of job `j` on its pool: what the ranks of one node hold, as data-parallel ranks repeat it."""
    node = fleet.node[jobs.pool[b, j]]
    return work.state_share[jobs.source[b, j]] * jobs.memory[b, j] * min(jobs.gang[b, j], node)


@inlined()
def kill(b, j, jobs, pools, fleet, ledger):
    """End the run (or the wait) of job `j` at its pool: it is pending again, with what its last checkpoint kept."""
    p = jobs.pool[b, j]
    if jobs.status[b, j] == RUNNING:
        give_back(b, j, jobs, pools, fleet)
        lost = 0.0 if jobs.kind[b, j] == INFERENCE else jobs.unsaved[b, j]  # what was served stays served
        jobs.work[b, j] += lost
        ledger.counts[b, C.killed] += 1.0
        ledger.counts[b, C.lost_work] += lost * jobs.gang[b, j]
        hours = lost / jobs.speed[b, j]  # of a device: prices are per device-hour, work is at reference speed
        ledger.terms[b, T.restart] += hours * jobs.held[b, j] * fleet.device_usd[p]
    elif jobs.status[b, j] == QUEUED:
        leave_queue(b, j, jobs, pools)
    pools.stirred[b, p] = 1
    jobs.unsaved[b, j] = 0.0
    jobs.status[b, j] = PENDING
    jobs.pool[b, j], jobs.via[b, j], jobs.left_gb[b, j] = -1, -1, 0.0
    jobs.held[b, j] = 0
    jobs.finish[b, j] = NEVER


@inlined()
def _complete(b, j, jobs, sources, pools, fleet, ledger):
    p = jobs.pool[b, j]
    reserved = pools.reserved[b, p]
    give_back(b, j, jobs, pools, fleet)
    pools.reserved[b, p] = reserved  # which foresaw it
    release_lease(b, j, jobs, sources)
    ledger.counts[b, C.completed] += 1.0
    if jobs.kind[b, j] != INFERENCE and jobs.finish[b, j] > jobs.deadline[b, j]:
        ledger.counts[b, C.late] += 1.0
    jobs.status[b, j] = FREE


@inlined()
def shortfall(b, j, p, jobs, pools, fleet, geo):
    """(missed, paid): shares of an hour of lease `j` on pool `p` that are out of objective, and that are credited.

    Too far from its users, all is missed and the share of the overshoot is credited, at most all. At a lower clock only
    the share E52 is served in time, on slow nodes their share of speed; the rest is missed and credited in full.
    """
    slo = jobs.slo[b, j]
    over = geo.rtt_ms[jobs.origin[b, j], fleet.region[p]] + fleet.service_ms[p] - slo
    far, paid = (1.0, min(1.0, over / slo)) if over > 0.0 else (0.0, 0.0)
    slow = jobs.bad[b, j] > 0 and jobs.pool[b, j] == p
    if slow or pools.freq[b, p] < 1.0:
        served = speed_at(pools.freq[b, p], fleet.bound[INFERENCE])
        if slow:
            share = min(1.0, jobs.bad[b, j] * fleet.node[p] / jobs.held[b, j])
            served *= 1.0 - share * (1.0 - fleet.slow[p])
        return max(far, 1.0 - served), 1.0 - served * (1.0 - paid)
    return far, paid


@inlined()
def book_waiting(b, j, now, until, started, jobs, pools, fleet, geo, ledger):
    """What the hours from `now` to `until` cost job `j`; those before `started` are waited.

    Hours past the deadline cost the job's value of time. A lease is out of objective while it waits, and for its
    `shortfall` while it is served.
    """
    counts, terms = ledger.counts, ledger.terms
    since = max(now, jobs.arrival[b, j])
    waited = min(until, started) - since
    if waited > 0.0:
        counts[b, C.wait] += waited
    else:
        waited = 0.0
    if jobs.kind[b, j] != INFERENCE:
        late = until - max(since, jobs.deadline[b, j])
        if late > 0.0:
            counts[b, C.late_hours] += late
            terms[b, T.late] += late * jobs.value[b, j]
        return
    served = max(0.0, until - max(since, started))
    counts[b, C.lease] += waited + served
    missed, paid = waited, waited
    if served > 0.0:
        miss, credit = shortfall(b, j, jobs.pool[b, j], jobs, pools, fleet, geo)
        missed += served * miss
        paid += served * credit
    if missed > 0.0:
        counts[b, C.slo_miss] += missed
        terms[b, T.slo] += paid * jobs.value[b, j]


@inlined()
def _end(b, j, t0, jobs, sources, pools, fleet, geo, ledger):
    """The work of job `j` ends in the step that began at hour `t0`."""
    when, began = jobs.finish[b, j], jobs.ready[b, j]
    rate = pace_of(b, j, jobs, pools)
    ledger.counts[b, C.work] += book_run(b, j, when - max(t0, began), rate, jobs, sources, pools, fleet)
    book_waiting(b, j, t0, when, began, jobs, pools, fleet, geo, ledger)
    _complete(b, j, jobs, sources, pools, fleet, ledger)


@inlined()
def _open_step(b, t0, t1, jobs, pools, plants, fleet):
    """Clocks, finish times at this step's speed, and the jobs whose transfer or work ends in it; returns how many."""
    for p in range(fleet.region.shape[0]):
        pools.busy_h[b, p] = 0.0
        pools.load_h[b, p] = 0.0
        busy = pools.busy[b, p]
        pools.up[b, p] = busy + fleet.reserve[p] * max(0, pools.healthy[b, p] - busy)
    changed = set_clocks(b, pools, plants, fleet)
    status, finish, ready, n = jobs.status[b], jobs.finish[b], jobs.ready[b], 0
    for j in range(jobs.n_live[b]):
        if changed and status[j] == RUNNING:
            finish[j] = max(t0, ready[j]) + jobs.work[b, j] / pace_of(b, j, jobs, pools)
        if (status[j] == RUNNING and finish[j] <= t1) or (status[j] == TRANSIT and ready[j] <= t1):
            n = push(b, j, n, jobs.event, jobs)
    for p in range(fleet.region.shape[0]):
        pools.reserved[b, p] = -1
        if changed:
            pools.stirred[b, p] = 1
    return n


@kernel()
def execute(lo, hi, dt, clock, jobs, sources, pools, plants, fleet, geo, work, ledger):
    """Phase: run the pools for one control step, event by event."""
    now_h, status, event = clock.now_h, jobs.status, jobs.event
    for b in range(lo, hi):
        t0 = now_h[b]
        t1 = t0 + dt
        sources.used_h[b] = 0.0
        n, n_pools = _open_step(b, t0, t1, jobs, pools, plants, fleet), fleet.region.shape[0]
        when, at = t0, 0
        while at < n_pools or n > 0:
            if at < n_pools:  # what was stirred since the last step; then event by event
                p, at = at, at + 1
                looks = pools.stirred[b, p] == 1
                pools.stirred[b, p] = 0
            else:
                j = pop(b, n, event, jobs)
                n -= 1
                when, p, looks = due(b, j, jobs), jobs.pool[b, j], True
                if status[b, j] == TRANSIT:
                    jobs.data_at[b, j], jobs.via[b, j], jobs.left_gb[b, j] = fleet.region[p], -1, 0.0
                    enqueue(b, j, jobs, pools)
                else:
                    _end(b, j, t0, jobs, sources, pools, fleet, geo, ledger)
            if looks and pools.waiting[b, p] > 0:
                n = start_what_fits(b, p, when, t1, n, jobs, pools, fleet)
        pack(b, jobs, pools)
        _close_step(b, t0, t1, jobs, sources, pools, fleet, geo, work, ledger)


@inlined()
def _close_step(b, t0, t1, jobs, sources, pools, fleet, geo, work, ledger):
    """Progress of what still runs, waiting of what does not, and the devices' outlook per pool."""
    status, pool, left, unsaved = jobs.status[b], jobs.pool[b], jobs.work[b], jobs.unsaved[b]
    speed, ready, interval, held = jobs.speed[b], jobs.ready[b], jobs.checkpoint[b], jobs.held[b]
    kind, finish, deadline = jobs.kind[b], jobs.finish[b], jobs.deadline[b]
    queued, running, pace, region = pools.queued[b], pools.running[b], pools.pace[b], fleet.region
    for p in range(region.shape[0]):
        queued[p] = 0.0
        running[p] = 0.0
    work_done = 0.0
    for j in range(jobs.n_live[b]):
        started = t1
        if status[j] == RUNNING:
            p = pool[j]
            rate = speed[j] * pace[p, kind[j]]
            started = ready[j]
            hours = t1 - t0 if started <= t0 else max(0.0, t1 - started)
            done = min(hours * rate, left[j])
            left[j] -= done
            unsaved[j] += done
            if unsaved[j] >= interval[j] > 0.0:
                unsaved[j] -= interval[j] * int(unsaved[j] / interval[j])
                jobs.state_gb[b, j] = checkpoint_gb(b, j, jobs, fleet, work)
            work_done += book_run(b, j, hours, rate, jobs, sources, pools, fleet)
            running[p] += held[j] * (finish[j] - t1)
            # most jobs neither wait nor are late
            if kind[j] != INFERENCE and started <= t0 and deadline[j] >= t1:
                continue
        elif status[j] != PENDING:
            p = pool[j]
            queued[p] += held[j] * left[j] / speed[j]
        book_waiting(b, j, t0, t1, started, jobs, pools, fleet, geo, ledger)
    ledger.counts[b, C.work] += work_done
    for p in range(region.shape[0]):
        ledger.flows[b, region[p], F.busy] += pools.busy_h[b, p]
