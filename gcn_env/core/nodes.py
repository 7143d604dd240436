"""Nodes of a pool: who holds which devices, found and given back without a list of nodes.

Nodes are anonymous where they can be. A pool counts its empty nodes (`Pools.empty`, `slow` of which run slow,
unnoticed); a job counts the nodes it holds whole. Only a node that runs parts of jobs has a record (`Pools.node_*`):
its free devices, and its health. Records with equally many free devices are linked (`Pools.roomy`), so that best fit
costs a look at each possible number of free devices, and nothing depends on the number of nodes.

A job of g devices on nodes of D takes g // D empty nodes and g % D devices of one more: of the shared node with the
least sufficient room, else of an empty one. A pool thus has room for every job up to `Pools.room` devices, D times its
empty nodes plus the most free devices of a shared one, and for none above.
"""

from __future__ import annotations

import numpy as np

from gcn_env.core import rng
from gcn_env.core.jit import inlined
from gcn_env.core.params import INFERENCE

SOUND, SLOW, DRAINING = 0, 1, 2  # Pools.node_bad; a draining node is slow too


@inlined()
def reset_nodes(b, seed, pools, fleet):
    """Every node of environment `b` is sound and empty."""
    for p in range(fleet.region.shape[0]):
        pools.healthy[b, p], pools.busy[b, p] = fleet.devices[p], 0
        pools.empty[b, p] = fleet.devices[p] // fleet.node[p]
        pools.slow[b, p], pools.degraded[b, p], pools.draining[b, p], pools.repairing[b, p] = 0, 0, 0, 0
        pools.dice[b, p] = rng.hashed(np.uint64(seed), np.uint64(p))
        for k in range(pools.roomy.shape[2]):
            pools.roomy[b, p, k] = -1
        set_room(b, p, pools, fleet)
    n = pools.node_pool.shape[1]
    for k in range(n):
        pools.node_pool[b, k] = -1
        pools.node_next[b, k] = k + 1 if k + 1 < n else -1
    pools.unused[b] = 0


@inlined()
def fits(b, p, held, pools):
    """Whether `held` devices of pool `p` could start now."""
    return held <= pools.room[b, p]


@inlined()
def set_room(b, p, pools, fleet):
    """The pool's `room`, after its empty nodes or lists changed."""
    node = fleet.node[p]
    k = node - 1
    while k > 0 and pools.roomy[b, p, k] < 0:
        k -= 1
    pools.room[b, p] = pools.empty[b, p] * node + k


@inlined()
def link_node(b, p, record, pools):
    """Shared node `record` takes work."""
    k = pools.node_free[b, record]
    if k == 0:
        return
    head = pools.roomy[b, p, k]
    pools.node_next[b, record], pools.node_last[b, record] = head, -1
    if head >= 0:
        pools.node_last[b, head] = record
    pools.roomy[b, p, k] = record


@inlined()
def unlink_node(b, p, record, pools):
    """Shared node `record` takes no work."""
    k = pools.node_free[b, record]
    if k == 0:
        return
    before, after = pools.node_last[b, record], pools.node_next[b, record]
    if before < 0:
        pools.roomy[b, p, k] = after
    else:
        pools.node_next[b, before] = after
    if after >= 0:
        pools.node_last[b, after] = before


@inlined()
def best_fit(b, p, part, pools, fleet):
    """Record of the shared node with the least room for `part` devices, -1: none has it."""
    for k in range(part, fleet.node[p]):
        if pools.roomy[b, p, k] >= 0:
            return pools.roomy[b, p, k]
    return -1


@inlined()
def _take_empty(b, p, n, pools):
    """Take `n` empty nodes, which ones at random: returns how many of them are slow."""
    left, empty, slow = n, pools.empty[b, p], pools.slow[b, p]
    if n > 0:
        for k in range(slow):
            if rng.uniform(pools.dice, b, p) * (empty - k) < left:
                left -= 1
    pools.empty[b, p] -= n
    pools.slow[b, p] -= n - left
    return n - left


@inlined()
def slow_down(b, j, n, jobs, fleet):
    """`n` more nodes of job `j` are slow: the slowest member sets a gang's pace. Leases' replicas are on their own."""
    if n > 0 and jobs.bad[b, j] == 0 and jobs.kind[b, j] != INFERENCE:
        jobs.speed[b, j] *= fleet.slow[jobs.pool[b, j]]
    jobs.bad[b, j] += n


@inlined()
def take(b, j, jobs, pools, fleet):
    """Job `j` gets the `held` devices of its pool, which `fits` them; on slow nodes its speed falls."""
    p, held = jobs.pool[b, j], jobs.held[b, j]
    node = fleet.node[p]
    whole = held // node
    part = held - whole * node
    bad, record = _take_empty(b, p, whole, pools), -1
    if part > 0:
        record = best_fit(b, p, part, pools, fleet)
        if record < 0:
            record = pools.unused[b]
            pools.unused[b] = pools.node_next[b, record]
            pools.node_pool[b, record], pools.node_free[b, record] = p, node
            pools.node_bad[b, record] = _take_empty(b, p, 1, pools)
        else:
            unlink_node(b, p, record, pools)
        pools.node_free[b, record] -= part
        link_node(b, p, record, pools)
        bad += pools.node_bad[b, record]
    jobs.node[b, j], jobs.bad[b, j], jobs.drains[b, j] = record, 0, 0
    slow_down(b, j, bad, jobs, fleet)
    pools.busy[b, p] += held
    set_room(b, p, pools, fleet)


@inlined()
def repair(b, p, n, pools, fleet):
    """`n` nodes of pool `p`, which nobody holds and which are not counted as empty, are out of service."""
    pools.repairing[b, p] += n
    pools.healthy[b, p] -= n * fleet.node[p]


@inlined()
def _leave(b, p, record, part, pools, fleet):
    """A job leaves `part` devices of shared node `record`; returns its health."""
    bad = pools.node_bad[b, record]
    if bad != DRAINING:
        unlink_node(b, p, record, pools)
    pools.node_free[b, record] += part
    if pools.node_free[b, record] < fleet.node[p]:
        if bad != DRAINING:
            link_node(b, p, record, pools)
        return bad
    if bad == DRAINING:
        pools.draining[b, p] -= 1
        repair(b, p, 1, pools, fleet)
    else:
        pools.empty[b, p] += 1
        pools.slow[b, p] += bad
    pools.node_pool[b, record] = -1
    pools.node_next[b, record] = pools.unused[b]
    pools.unused[b] = record
    return bad


@inlined()
def give_back(b, j, jobs, pools, fleet):
    """Running job `j` leaves its devices, at full speed again; draining nodes that are idle now go to repair.

    What the local scheduler has reserved no longer holds.
    """
    p, held, record = jobs.pool[b, j], jobs.held[b, j], jobs.node[b, j]
    whole, bad, drains = held // fleet.node[p], jobs.bad[b, j], jobs.drains[b, j]
    slow = bad - drains
    if record >= 0:
        part = held - whole * fleet.node[p]
        slow -= 1 if _leave(b, p, record, part, pools, fleet) != SOUND else 0
    pools.empty[b, p] += whole - drains
    pools.slow[b, p] += slow
    pools.draining[b, p] -= drains
    repair(b, p, drains, pools, fleet)
    pools.busy[b, p] -= held
    pools.reserved[b, p] = -1
    if bad > 0 and jobs.kind[b, j] != INFERENCE:
        jobs.speed[b, j] /= fleet.slow[p]
    jobs.node[b, j], jobs.bad[b, j], jobs.drains[b, j] = -1, 0, 0
    set_room(b, p, pools, fleet)
