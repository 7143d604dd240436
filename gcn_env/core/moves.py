"""Running jobs that are sent elsewhere, preempted for others, or go on with more or fewer devices.

They save their state first, so that no work is lost; loading it again costs a part of their run. Sending is the
dispatcher's choice. The rest are a local scheduler's, at the boundaries of control steps: if its queue's head cannot
start, elastic gangs give devices, else jobs of lower priority that can save their state are preempted, the lowest and
latest started first; while nothing waits, elastic gangs get what is free.
"""

from __future__ import annotations

from gcn_env.core.backfill import NEVER
from gcn_env.core.execution import checkpoint_gb, enqueue, pace_of
from gcn_env.core.gangs import is_elastic, least_size, set_size, size_within
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.nodes import DRAINING, give_back, take
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import QUEUED, RUNNING
from gcn_env.ledger import COUNTS, TERMS

C = COUNTS.ix
T = TERMS.ix


@inlined()
def may_move(b, j, now, dt, jobs, plants, fleet, work):
    """Whether job `j` may be sent from its pool to another one at hour `now`.

    What queues there and is no lease; or what runs, can save its state and is on nodes that are up, began before the
    last control step (of `dt` hours) and will run for one more.
    """
    if jobs.kind[b, j] == INFERENCE:
        return False
    if jobs.status[b, j] == QUEUED:
        return True
    return (
        jobs.status[b, j] == RUNNING
        and work.movable[jobs.source[b, j]] == 1
        and jobs.ready[b, j] <= now - dt
        and jobs.finish[b, j] >= now + dt
        and plants.down_h[b, fleet.region[jobs.pool[b, j]]] == 0.0
    )


@inlined()
def save(b, j, jobs, pools, fleet, work):
    """Stop job `j`, which runs, without loss of work: its state lies in its pool's region."""
    p = jobs.pool[b, j]
    give_back(b, j, jobs, pools, fleet)
    jobs.state_gb[b, j] = checkpoint_gb(b, j, jobs, fleet, work)
    jobs.data_at[b, j] = fleet.region[p]
    jobs.unsaved[b, j] = 0.0
    jobs.finish[b, j] = NEVER
    pools.stirred[b, p] = 1


@inlined()
def load(b, j, jobs, fleet, work, ledger):
    """Book what job `j` runs again at its pool to load the state it saved."""
    hours = work.resume_h[jobs.source[b, j]]
    lost = hours * jobs.speed[b, j]
    jobs.work[b, j] += lost
    ledger.counts[b, C.lost_work] += lost * jobs.gang[b, j]
    ledger.terms[b, T.restart] += hours * jobs.held[b, j] * fleet.device_usd[jobs.pool[b, j]]


@inlined()
def stays(b, j, jobs, pools):
    """Whether running job `j` would find its nodes again if it left them for a moment: none of them drains."""
    record = jobs.node[b, j]
    return jobs.drains[b, j] == 0 and (record < 0 or pools.node_bad[b, record] != DRAINING)


@inlined()
def preempt(b, j, now, jobs, pools, fleet, work, ledger):
    """Stop job `j` for others: it saves its state and goes back to its pool's queue, for as much as it held."""
    save(b, j, jobs, pools, fleet, work)
    load(b, j, jobs, fleet, work, ledger)
    jobs.ready[b, j] = now
    enqueue(b, j, jobs, pools)
    ledger.counts[b, C.preempted] += 1.0


@inlined()
def resize(b, j, size, now, jobs, sources, pools, fleet, work, ledger):
    """Job `j` saves its state and goes on with `size` devices, or as many as suit and are there."""
    before = jobs.held[b, j]
    save(b, j, jobs, pools, fleet, work)
    p = jobs.pool[b, j]
    fits = size_within(pools.room[b, p], jobs.gang[b, j], jobs.least[b, j], fleet.node[p])
    set_size(b, j, min(size, fits), jobs, fleet)
    take(b, j, jobs, pools, fleet)
    load(b, j, jobs, fleet, work, ledger)
    jobs.finish[b, j] = max(now, jobs.ready[b, j]) + jobs.work[b, j] / pace_of(b, j, jobs, pools)
    sources.devices[b, jobs.tenant[b, j]] += jobs.held[b, j] - before
    ledger.counts[b, C.resized] += 1.0


@inlined()
def _gather(b, jobs, pools, work):
    """Chain each pool's jobs that could give or get devices, or be preempted for its queue's head; whether any is."""
    status, chain, behind, some = jobs.status, pools.chain, jobs.behind, False
    for p in range(chain.shape[1]):
        chain[b, p] = -1
    for j in range(jobs.n_live[b]):
        if status[b, j] != RUNNING:
            continue
        p = jobs.pool[b, j]
        if (is_elastic(b, j, jobs) or _lower(b, j, jobs, pools, work)) and stays(b, j, jobs, pools):
            behind[b, j], chain[b, p] = chain[b, p], j
            some = True
    return some


@inlined()
def _lower(b, j, jobs, pools, work):
    """Whether running job `j` may be preempted for the head of its pool's queue."""
    head = pools.first[b, jobs.pool[b, j]]
    if head < 0 or jobs.priority[b, j] >= jobs.priority[b, head] or jobs.kind[b, j] == INFERENCE:
        return False
    return work.movable[jobs.source[b, j]] == 1


@inlined()
def _frees(b, j, size, need, jobs, pools, fleet):
    """What it would bring a job that needs `need` devices if running job `j` went on with `size` of its own.

    Empty nodes; or, where less than a node is needed, 1 if a node has room for it then.
    """
    node, held, record = fleet.node[jobs.pool[b, j]], int(jobs.held[b, j]), jobs.node[b, j]
    free = int(pools.node_free[b, record]) if record >= 0 else 0
    left = (size + node - 1) // node  # nodes that it would still be on
    whole = held // node - left + int(record >= 0 and free + held % node == node)
    if need >= node or whole > 0:
        return max(0, whole)
    kept = size % node if left == (held + node - 1) // node else 0  # on the node that it would share
    if record < 0:
        return int(kept > 0 and node - kept >= need)
    return int(free + held % node - kept >= need)


@inlined()
def _gift(b, j, need, short, jobs, pools, fleet):
    """Size to which running job `j` would shrink for `short` more nodes (or for `need` devices, if that is less)."""
    if not is_elastic(b, j, jobs):
        return int(jobs.held[b, j])
    node, held, least = fleet.node[jobs.pool[b, j]], int(jobs.held[b, j]), least_size(b, j, jobs, fleet)
    drop = short * node if need >= node else min(node, need)
    return min(held, max(least, size_within(held - drop, jobs.gang[b, j], jobs.least[b, j], node)))


@inlined()
def _unchain(b, p, j, previous, jobs, pools):
    """Take job `j`, which stands behind job `previous` (-1: first), out of pool `p`'s chain."""
    if previous < 0:
        pools.chain[b, p] = jobs.behind[b, j]
    else:
        jobs.behind[b, previous] = jobs.behind[b, j]


@inlined()
def _pick(b, p, need, short, stop, jobs, pools, fleet, work):
    """Take out of pool `p`'s chain the lowest, latest started job that can be stopped, or can shrink; -1 none.

    Returns:
        (the job, the size that it would keep).
    """
    best, before, kept, previous, j = -1, -1, 0, -1, pools.chain[b, p]
    while j >= 0:
        size = 0 if stop else _gift(b, j, need, short, jobs, pools, fleet)
        able = _lower(b, j, jobs, pools, work) if stop else size < jobs.held[b, j]
        if able and _frees(b, j, size, need, jobs, pools, fleet) > 0:
            lower = best < 0 or jobs.priority[b, j] < jobs.priority[b, best]
            same = best >= 0 and jobs.priority[b, j] == jobs.priority[b, best]
            if lower or (same and jobs.ready[b, j] > jobs.ready[b, best]):
                best, before, kept = j, previous, size
        previous, j = j, jobs.behind[b, j]
    if best >= 0:
        _unchain(b, p, best, before, jobs, pools)
    return best, kept


@inlined()
def _could_free(b, p, need, stop, jobs, pools, fleet, work):
    """What the jobs of pool `p` could bring one that needs `need` devices, by shrinking or also by stopping."""
    total, j = 0, pools.chain[b, p]
    while j >= 0:
        if stop and _lower(b, j, jobs, pools, work):
            total += _frees(b, j, 0, need, jobs, pools, fleet)
        elif is_elastic(b, j, jobs):
            total += _frees(b, j, least_size(b, j, jobs, fleet), need, jobs, pools, fleet)
        j = jobs.behind[b, j]
    return total


@inlined()
def _make_room(b, p, now, jobs, sources, pools, fleet, work, ledger):
    """If the head of pool `p`'s queue cannot start: elastic jobs give devices, else lower ones are preempted."""
    head, node = pools.first[b, p], fleet.node[p]
    need = least_size(b, head, jobs, fleet)
    short = 1 if need < node else (need + node - 1) // node - pools.empty[b, p]
    stop = _could_free(b, p, need, False, jobs, pools, fleet, work) < short
    if stop and _could_free(b, p, need, True, jobs, pools, fleet, work) < short:
        return
    while need > pools.room[b, p]:
        short = 1 if need < node else (need + node - 1) // node - pools.empty[b, p]
        j, size = _pick(b, p, need, short, stop, jobs, pools, fleet, work)
        if j < 0 and not stop:
            return
        if j < 0:
            stop = False
        elif stop:
            preempt(b, j, now, jobs, pools, fleet, work, ledger)
        else:
            resize(b, j, size, now, jobs, sources, pools, fleet, work, ledger)


@inlined()
def _grown(b, j, jobs, sources, pools, fleet, work):
    """Size to which running job `j` could grow and would end sooner; what it holds if none."""
    p, held, gang = jobs.pool[b, j], int(jobs.held[b, j]), jobs.gang[b, j]
    node = fleet.node[p]
    if held >= gang:
        return held
    room = pools.room[b, p] + held // node * node
    if gang <= node:  # on the node where it is, or on another one
        room = max(int(pools.room[b, p]), held + int(pools.node_free[b, jobs.node[b, j]]))
    room = min(room, work.quota[jobs.tenant[b, j]] - sources.devices[b, jobs.tenant[b, j]] + held)
    size = int(size_within(room, gang, jobs.least[b, j], node))
    if size <= held:
        return held
    sooner = jobs.work[b, j] * (1.0 - held / size) / jobs.speed[b, j]
    return size if sooner > work.resume_h[jobs.source[b, j]] else held


@inlined()
def _grow(b, p, now, jobs, sources, pools, fleet, work, ledger):
    """Nothing waits at pool `p`: elastic jobs get devices, the longest known first."""
    while pools.room[b, p] > 0:
        best, before, size, previous, j = -1, -1, 0, -1, pools.chain[b, p]
        while j >= 0:
            if best < 0 or jobs.order[b, j] < jobs.order[b, best]:
                wanted = _grown(b, j, jobs, sources, pools, fleet, work)
                if wanted > jobs.held[b, j]:
                    best, before, size = j, previous, wanted
            previous, j = j, jobs.behind[b, j]
        if best < 0:
            return
        _unchain(b, p, best, before, jobs, pools)
        resize(b, best, size, now, jobs, sources, pools, fleet, work, ledger)


@kernel()
def adapt(lo, hi, clock, jobs, sources, pools, fleet, work, ledger):
    """Phase: local schedulers preempt for higher priority, and shrink or grow elastic gangs."""
    for b in range(lo, hi):
        if not _gather(b, jobs, pools, work):
            continue
        for p in range(fleet.region.shape[0]):
            if pools.chain[b, p] < 0:
                continue
            if pools.waiting[b, p] == 0:
                _grow(b, p, clock.now_h[b], jobs, sources, pools, fleet, work, ledger)
            elif least_size(b, pools.first[b, p], jobs, fleet) > pools.room[b, p]:
                _make_room(b, p, clock.now_h[b], jobs, sources, pools, fleet, work, ledger)
