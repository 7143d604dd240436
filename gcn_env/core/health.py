"""Health of nodes: sound, slow, draining, failed, under repair.

A sound node turns slow (it is degraded) at the rate `Fleet.degrade`; every job on it runs at `Fleet.slow` of its speed.
After `detect_h` in the mean that is noticed: idle, it goes to repair; else it drains, takes no more work, and goes to
repair when what runs on it has ended. Any node in service fails at the rate `fail`, which kills what runs on it, and
goes to repair. Repairs last `repair_h` in the mean. All times are exponential.

The scenario's defaults are estimates [E] for nodes of eight GPUs, with these figures around them. A node fails once in
120 days: it is 47 days for jobs of eight GPUs in Meta's research clusters (Kokolis et al., "Revisiting reliability in
large-scale machine learning research clusters", HPCA 2025, as cited by Crusoe) [V], and 264 days by the 419 unexpected
interruptions of Llama 3's training in 54 days on 2,048 such nodes, a part of them software's (Meta 2024) [V]. Slow GPUs
or links delayed large training jobs by 1.34 in the mean, three quarters of full speed over a whole job, and lasted from
below a minute to nearly ten hours where operators look for them (Wu et al., "Greyhound", USENIX ATC 2025) [V]; of 101
reports of slow hardware 13 % took hours to pin down, 13 % days, 28 % weeks or months (Gunawi et al., "Fail-slow at
scale", FAST 2018) [V]. How often nodes turn slow and how long a repair takes is not in these sources [E].
"""

from __future__ import annotations

import math

import numpy as np

from gcn_env.core import rng
from gcn_env.core.execution import kill, pace_of
from gcn_env.core.jit import inlined
from gcn_env.core.nodes import DRAINING, SLOW, SOUND, repair, set_room, slow_down, unlink_node
from gcn_env.core.state import RUNNING
from gcn_env.ledger import COUNTS

C = COUNTS.ix
_NOTICED = np.uint64(1 << 32)  # first number of the draws for noticing, after those for repairs


@inlined()
def _share(b, p, j, jobs, pools, fleet):
    """(nodes that job `j` holds whole, its share of the shared one), so that shares of a node add up to it."""
    whole = jobs.held[b, j] // fleet.node[p]
    part = jobs.held[b, j] - whole * fleet.node[p]
    return whole, part / (fleet.node[p] - pools.node_free[b, jobs.node[b, j]]) if part > 0 else 0.0


@inlined()
def _slow_whole(b, j, jobs, pools):
    """Nodes that job `j` holds whole and that are slow, unnoticed."""
    record = jobs.node[b, j]
    shared = 1 if record >= 0 and pools.node_bad[b, record] != SOUND else 0
    return jobs.bad[b, j] - jobs.drains[b, j] - shared


@inlined()
def _node_at(b, p, x, jobs, pools, fleet):
    """(job, shared record, health) of node `x`, a real number in [0, nodes in service), of pool `p`; -1 none.

    Empty nodes come first, then job by job those it holds whole and its share of the shared one.
    """
    if x < pools.empty[b, p]:
        return -1, -1, SLOW if x < pools.slow[b, p] else SOUND
    x -= pools.empty[b, p]
    job, at = -1, 0.0
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] == RUNNING and jobs.pool[b, j] == p:
            whole, part = _share(b, p, j, jobs, pools, fleet)
            job, at = j, x
            if x < whole + part:
                break
            x -= whole + part
    whole, part = _share(b, p, job, jobs, pools, fleet)
    if at >= whole and part > 0.0:
        record = jobs.node[b, job]
        return job, record, int(pools.node_bad[b, record])
    if at < jobs.drains[b, job]:
        return job, -1, DRAINING
    return job, -1, SLOW if at < jobs.drains[b, job] + _slow_whole(b, job, jobs, pools) else SOUND


@inlined()
def _break_node(b, p, x, jobs, pools, fleet, ledger):
    """Node `x` fails: what runs on it is lost to its last checkpoint."""
    job, record, health = _node_at(b, p, x, jobs, pools, fleet)
    for j in range(jobs.n_live[b] if job >= 0 else 0):
        if jobs.status[b, j] == RUNNING and (j == job or (record >= 0 and jobs.node[b, j] == record)):
            kill(b, j, jobs, pools, fleet, ledger)
    pools.stirred[b, p] = 1
    if health != DRAINING:  # those went to repair when their last job left
        _repair_empty(b, p, health, pools, fleet)


@inlined()
def _repair_empty(b, p, health, pools, fleet):
    """An empty node, sound or slow, goes to repair."""
    pools.empty[b, p] -= 1
    pools.slow[b, p] -= health
    pools.degraded[b, p] -= health
    repair(b, p, 1, pools, fleet)
    set_room(b, p, pools, fleet)


@inlined()
def _slow_job(b, j, now, jobs, pools, fleet):
    """One more node of running job `j` is slow from hour `now` on."""
    slow_down(b, j, 1, jobs, fleet)
    jobs.finish[b, j] = max(now, jobs.ready[b, j]) + jobs.work[b, j] / pace_of(b, j, jobs, pools)


@inlined()
def _degrade_node(b, p, x, now, jobs, pools, fleet):
    """Node `x` turns slow if it is sound."""
    job, record, health = _node_at(b, p, x, jobs, pools, fleet)
    if health != SOUND:
        return
    pools.degraded[b, p] += 1
    if job < 0:
        pools.slow[b, p] += 1
    elif record < 0:
        _slow_job(b, job, now, jobs, pools, fleet)
    else:
        pools.node_bad[b, record] = SLOW
        for j in range(jobs.n_live[b]):
            if jobs.status[b, j] == RUNNING and jobs.node[b, j] == record:
                _slow_job(b, j, now, jobs, pools, fleet)


@inlined()
def _notice_node(b, p, jobs, pools, fleet):
    """One of the degraded nodes is noticed, any with equal chance: it drains, or goes to repair if it is empty."""
    x = rng.uniform(pools.dice, b, p) * pools.degraded[b, p]
    if x < pools.slow[b, p]:
        _repair_empty(b, p, SLOW, pools, fleet)
        return
    x -= pools.slow[b, p]
    job, at = -1, 0.0
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] == RUNNING and jobs.pool[b, j] == p and jobs.bad[b, j] > jobs.drains[b, j]:
            width = float(_slow_whole(b, j, jobs, pools))
            if jobs.node[b, j] >= 0 and pools.node_bad[b, jobs.node[b, j]] == SLOW:
                width += _share(b, p, j, jobs, pools, fleet)[1]
            if width > 0.0:
                job, at = j, x
                if x < width:
                    break
                x -= width
    pools.degraded[b, p] -= 1
    pools.draining[b, p] += 1
    if at < _slow_whole(b, job, jobs, pools):
        jobs.drains[b, job] += 1
        return
    record = jobs.node[b, job]
    unlink_node(b, p, record, pools)
    pools.node_bad[b, record] = DRAINING
    set_room(b, p, pools, fleet)


@inlined()
def _happened(random, first, n, mean_h, dt):
    """How many of `n` waits of `mean_h` hours in the mean end within `dt`.

    Each has its own number, so that fewer or more of them under another policy leave the others as they are.
    """
    done = 0
    if n > 0:
        chance = 1.0 - math.exp(-dt / mean_h)
        for k in range(n):
            if rng.unit(rng.hashed(random, first + np.uint64(k))) < chance:
                done += 1
    return done


@inlined()
def wear_nodes(b, p, dt, clock, jobs, pools, fleet, ledger):
    """Repairs that end, slow nodes that are noticed, nodes that fail or turn slow in a step of `dt` h that has passed.

    What may happen is drawn for every node of the pool, in service or not, and does not happen where it can't: the
    stream's course is the same whatever is running.
    """
    state, nodes = clock.rng, fleet.devices[p] // fleet.node[p]
    random = rng.bits(state, b, rng.FAILURES)
    mended = _happened(random, np.uint64(0), pools.repairing[b, p], fleet.repair_h[p], dt)
    if mended > 0:
        repair(b, p, -mended, pools, fleet)
        pools.empty[b, p] += mended
        pools.stirred[b, p] = 1
        set_room(b, p, pools, fleet)
    for _ in range(_happened(random, _NOTICED, pools.degraded[b, p], fleet.detect_h[p], dt)):
        ledger.counts[b, C.drained] += 1.0
        _notice_node(b, p, jobs, pools, fleet)
    rate = fleet.fail[p] + fleet.degrade[p]
    for _ in range(rng.poisson(state, b, rng.FAILURES, nodes * rate * dt)):
        x = rng.uniform(state, b, rng.FAILURES) * nodes
        fails = rng.uniform(state, b, rng.FAILURES) * rate < fleet.fail[p]
        if x < nodes - pools.repairing[b, p]:
            if fails:
                _break_node(b, p, x, jobs, pools, fleet, ledger)
            else:
                _degrade_node(b, p, x, clock.now_h[b], jobs, pools, fleet)
