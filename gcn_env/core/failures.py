"""Failures of nodes, of regions' grid supply and of their plants, and what is lost where a region's nodes stopped.

Times come from the streams FAILURES and SITES, which no action touches: two policies under one seed see the same
failures. Only which job a failed node ran, when a slow node is idle and goes to repair, and whether an outage or a
fault stops nodes, depends on what is running.
"""

from __future__ import annotations

import math

from gcn_env.core import rng
from gcn_env.core.health import wear_nodes
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.outage import drop_region
from gcn_env.core.state import STARTS
from gcn_env.ledger import COUNTS

C = COUNTS.ix
OUTAGE_SIGMA = 0.82  # E57 s.d. of the logarithm of an outage's length [E]: median 30 min at a mean of 0.7 h


@inlined()
def _lose_supply(b, r, dt, u, state, plants, geo, site):
    """Outage of region `r`: what is left of it, or a new one if `u` says so, whose generator starts or does not."""
    left = max(0.0, plants.outage_h[b, r] - dt)
    if left == 0.0 and u < geo.outage[r] * dt:
        spread = OUTAGE_SIGMA * (rng.normal(state, b, rng.FAILURES) - 0.5 * OUTAGE_SIGMA)
        left = geo.outage_h[r] * math.exp(spread)
        starts = rng.uniform(state, b, rng.SITES) < site.generator_start[r] and site.generator_kw[r] > 0.0
        plants.generator[b, r] = STARTS if starts else 0
    plants.outage_h[b, r] = left


@inlined()
def _wear_out(b, r, dt, u, state, fault_h, site, ledger):
    """Faults of region `r`'s plant: repairs go on; at most one begins in a step, and `u` says whether and which."""
    for k in range(fault_h.shape[2]):
        if fault_h[b, r, k] > 0.0:
            fault_h[b, r, k] = max(0.0, fault_h[b, r, k] - dt)
    for k in range(fault_h.shape[2]):
        u -= site.faults[r, k] * dt
        if u < 0.0:
            mend = -math.log(1.0 - rng.uniform(state, b, rng.SITES)) * site.mend_h[r, k]
            if fault_h[b, r, k] == 0.0:
                ledger.counts[b, C.faults] += 1.0
            fault_h[b, r, k] = max(fault_h[b, r, k], mend)
            break


@inlined()
def _stop(b, r, now, jobs, pools, plants, fleet, geo, ledger):
    """What it means for pools and jobs that nodes of region `r` stood still, or stopped in this step."""
    if plants.still_h[b, r] > 0.0:
        planned = 0.0
        for p in range(fleet.region.shape[0]):
            planned += pools.kw[b, p] if fleet.region[p] == r else 0.0
        for p in range(fleet.region.shape[0]):
            if fleet.region[p] == r and planned > 0.0:
                pools.kw[b, p] *= plants.node_kw[b, r] / planned
    if plants.throttle[b, r] <= 0.0 or plants.breaker[b, r] >= 1.0:
        plants.breaker[b, r] = min(plants.breaker[b, r], 0.0)
        drop_region(b, r, now, plants.still_h[b, r], jobs, pools, plants, fleet, geo, ledger)


@kernel()
def fail(lo, hi, dt, clock, jobs, pools, plants, fleet, geo, site, ledger):
    """Phase: jobs of regions that stopped, repairs, failures of nodes, grids and plants."""
    state = clock.rng
    for b in range(lo, hi):
        for r in range(plants.outage_h.shape[1]):
            _stop(b, r, clock.now_h[b], jobs, pools, plants, fleet, geo, ledger)
        for p in range(fleet.region.shape[0]):
            wear_nodes(b, p, dt, clock, jobs, pools, fleet, ledger)
        for r in range(plants.outage_h.shape[1]):
            u = rng.uniform(state, b, rng.FAILURES)
            _lose_supply(b, r, dt, u, state, plants, geo, site)
            u = rng.uniform(state, b, rng.SITES)
            _wear_out(b, r, dt, u, state, plants.fault_h, site, ledger)
