"""Where jobs live: places 0..n_live-1 of the `Jobs` arrays, dense, so that a step reads them in order.

A random walk over live places costs a cache miss a field and job; in order, the processor fetches ahead.
"""

from __future__ import annotations

import numpy as np

from gcn_env.core.jit import inlined
from gcn_env.core.state import FREE, QUEUED


@inlined()
def move_job(b, to, of, jobs, pools):
    """Move the job at place `of` to the free place `to`, its neighbours in a pool's queue told."""
    if jobs.status[b, of] == QUEUED:
        p = jobs.pool[b, of]
        if pools.first[b, p] == of:
            pools.first[b, p] = to
        else:
            k = pools.first[b, p]
            while jobs.behind[b, k] != of:
                k = jobs.behind[b, k]
            jobs.behind[b, k] = to
        if pools.last[b, p] == of:
            pools.last[b, p] = to
    jobs.status[b, to], jobs.status[b, of] = jobs.status[b, of], FREE
    jobs.kind[b, to], jobs.source[b, to] = jobs.kind[b, of], jobs.source[b, of]
    jobs.origin[b, to], jobs.data_at[b, to] = jobs.origin[b, of], jobs.data_at[b, of]
    jobs.pool[b, to], jobs.legal[b, to] = jobs.pool[b, of], jobs.legal[b, of]
    jobs.trust[b, to], jobs.gang[b, to] = jobs.trust[b, of], jobs.gang[b, of]
    jobs.least[b, to], jobs.priority[b, to] = jobs.least[b, of], jobs.priority[b, of]
    jobs.tenant[b, to] = jobs.tenant[b, of]
    jobs.state_gb[b, to], jobs.left_gb[b, to] = jobs.state_gb[b, of], jobs.left_gb[b, of]
    jobs.via[b, to], jobs.node[b, to] = jobs.via[b, of], jobs.node[b, of]
    jobs.bad[b, to], jobs.drains[b, to] = jobs.bad[b, of], jobs.drains[b, of]
    jobs.held[b, to], jobs.memory[b, to] = jobs.held[b, of], jobs.memory[b, of]
    jobs.work[b, to], jobs.unsaved[b, to] = jobs.work[b, of], jobs.unsaved[b, of]
    jobs.checkpoint[b, to], jobs.speed[b, to] = jobs.checkpoint[b, of], jobs.speed[b, of]
    jobs.arrival[b, to], jobs.deadline[b, to] = jobs.arrival[b, of], jobs.deadline[b, of]
    jobs.ready[b, to], jobs.finish[b, to] = jobs.ready[b, of], jobs.finish[b, of]
    jobs.value[b, to], jobs.slo[b, to] = jobs.value[b, of], jobs.slo[b, of]
    jobs.data[b, to], jobs.comm[b, to] = jobs.data[b, of], jobs.comm[b, of]
    jobs.order[b, to], jobs.shown[b, to] = jobs.order[b, of], jobs.shown[b, of]
    jobs.urgency[b, to], jobs.behind[b, to] = jobs.urgency[b, of], jobs.behind[b, of]


@inlined()
def pack(b, jobs, pools):
    """Fill the places of jobs that ended with the last live ones."""
    n, j = jobs.n_live[b], np.int64(0)  # a literal 0 would compile `move_job` twice
    while j < n:
        if jobs.status[b, j] == FREE:
            n -= 1
            while n > j and jobs.status[b, n] == FREE:
                n -= 1
            if n > j:
                move_job(b, j, n, jobs, pools)
        j += 1
    jobs.n_live[b] = n
