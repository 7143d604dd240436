"""Sizes of gangs: an elastic one runs on any number of its ranks from `least` on, slower in proportion.

A gang larger than a node runs on whole nodes, or whole; below that, any number suits.
"""

from __future__ import annotations

from gcn_env.core.jit import inlined
from gcn_env.core.params import INFERENCE


@inlined()
def is_elastic(b, j, jobs):
    """Whether job `j` may run on fewer devices than it asks for; leases do not."""
    return jobs.least[b, j] < jobs.gang[b, j] and jobs.kind[b, j] != INFERENCE


@inlined()
def size_within(n, gang, least, node):
    """Largest size of a gang up to `n` devices on nodes of `node`; 0 if it needs more."""
    if n >= gang:
        return gang
    size = n // node * node if gang > node else n
    return size if size >= least else 0


@inlined()
def least_size(b, j, jobs, fleet):
    """Fewest devices of its pool that job `j` starts on."""
    if not is_elastic(b, j, jobs):
        return int(jobs.held[b, j])
    node, gang, least = fleet.node[jobs.pool[b, j]], jobs.gang[b, j], jobs.least[b, j]
    return int(min(gang, (least + node - 1) // node * node) if gang > node else least)


@inlined()
def size_now(b, j, room, jobs, fleet):
    """Devices on which job `j` could start on its pool, with room for jobs of up to `room` devices; 0: not now.

    At most what it asks for: a job that was stopped with fewer than its gang does not lift its tenant above the quota.
    """
    held = int(jobs.held[b, j])
    if not is_elastic(b, j, jobs):
        return held if held <= room else 0
    return int(size_within(min(room, held), jobs.gang[b, j], jobs.least[b, j], fleet.node[jobs.pool[b, j]]))


@inlined()
def set_size(b, j, size, jobs, fleet):
    """Job `j`, which holds nothing now, asks for `size` devices of its pool: as fast as that share of its gang."""
    jobs.held[b, j] = size
    if jobs.kind[b, j] != INFERENCE:
        jobs.speed[b, j] = fleet.speed[jobs.kind[b, j], jobs.pool[b, j]] * (size / jobs.gang[b, j])
