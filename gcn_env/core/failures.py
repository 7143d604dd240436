"""Failures of nodes and of regions' grid supply.

Their times come from the FAILURES stream, which no action touches: two policies under one seed see the same failures.
Only which job a failed node ran depends on what is running.
"""

from __future__ import annotations

import math

from gcn_env.core import rng
from gcn_env.core.execution import evict_region, kill
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.state import RUNNING


@inlined()
def _lose_node(b, p, u, jobs, pools, fleet, ledger):
    """Take one node out of pool `p`; `u` in [0, 1) picks it among the healthy devices, busy ones first."""
    node = fleet.node[p]
    at = u * pools.healthy[b, p]
    pools.healthy[b, p] -= node
    reached = 0
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] == RUNNING and jobs.pool[b, j] == p:
            reached += jobs.held[b, j]
            if reached > at:
                kill(b, j, jobs, pools, fleet, ledger)
                break
    while pools.busy[b, p] > pools.healthy[b, p]:  # a node of several jobs, or a nearly full pool
        for j in range(jobs.n_live[b]):
            if jobs.status[b, j] == RUNNING and jobs.pool[b, j] == p:
                kill(b, j, jobs, pools, fleet, ledger)
                break


@kernel()
def fail(lo, hi, dt, clock, jobs, pools, plants, fleet, geo, ledger):
    """Phase: repairs, node failures, and grid outages with their end."""
    state, healthy, outage = clock.rng, pools.healthy, plants.outage_h
    for b in range(lo, hi):
        for p in range(fleet.region.shape[0]):
            node = fleet.node[p]
            broken = (fleet.devices[p] - healthy[b, p]) // node
            if broken > 0:
                mended = 1.0 - math.exp(-dt / fleet.repair_h[p])
                for _ in range(broken):
                    if rng.uniform(state, b, rng.FAILURES) < mended:
                        healthy[b, p] += node
            mean = healthy[b, p] // node * fleet.fail[p] * dt
            for _ in range(rng.poisson(state, b, rng.FAILURES, mean)):
                u = rng.uniform(state, b, rng.FAILURES)
                if healthy[b, p] >= node:
                    _lose_node(b, p, u, jobs, pools, fleet, ledger)
        for r in range(outage.shape[1]):
            left = max(0.0, outage[b, r] - dt)
            u = rng.uniform(state, b, rng.FAILURES)
            v = rng.uniform(state, b, rng.FAILURES)
            if left == 0.0 and u < geo.outage[r] * dt:
                left = max(dt, -math.log(1.0 - v) * geo.outage_h[r])
            if left > 0.0 and outage[b, r] == 0.0:
                evict_region(b, r, jobs, pools, fleet, ledger)
            outage[b, r] = left
