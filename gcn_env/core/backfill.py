"""Events in order, and EASY's reservation for a queue's head (Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995).

Both need the next of many jobs: binary heaps of job places in scratch arrays, ordered by the hour of a job's next event
and, where hours are equal, by arrival.
"""

from __future__ import annotations

from gcn_env.core.jit import inlined
from gcn_env.core.nodes import DRAINING, best_fit
from gcn_env.core.state import RUNNING, TRANSIT

NEVER = 1e9


@inlined()
def due(b, j, jobs):
    """Hour of job `j`'s next event: its data arrives, or its work ends."""
    return jobs.ready[b, j] if jobs.status[b, j] == TRANSIT else jobs.finish[b, j]


@inlined()
def _before(b, i, j, jobs):
    s, t = due(b, i, jobs), due(b, j, jobs)
    return s < t or (s == t and jobs.order[b, i] < jobs.order[b, j])


@inlined()
def push(b, j, n, heap, jobs):
    """Add job `j` to a heap of `n`; returns how many it holds."""
    k = n
    while k > 0:
        up = (k - 1) // 2
        if not _before(b, j, heap[b, up], jobs):
            break
        heap[b, k] = heap[b, up]
        k = up
    heap[b, k] = j
    return n + 1


@inlined()
def _sink(b, k, n, heap, jobs):
    j = heap[b, k]
    while True:
        down = 2 * k + 1
        if down + 1 < n and _before(b, heap[b, down + 1], heap[b, down], jobs):
            down += 1
        if down >= n or not _before(b, heap[b, down], j, jobs):
            break
        heap[b, k] = heap[b, down]
        k = down
    heap[b, k] = j


@inlined()
def pop(b, n, heap, jobs):
    """Take the earliest of a heap of `n` out, and return it."""
    first = heap[b, 0]
    heap[b, 0] = heap[b, n - 1]
    _sink(b, 0, n - 1, heap, jobs)
    return first


@inlined()
def _running(b, p, jobs, pools):
    """Heap of pool `p`'s running jobs in `jobs.queue`; returns how many. `node_then` gets their nodes' free devices."""
    status, pool, node, n = jobs.status, jobs.pool, jobs.node, 0
    for j in range(jobs.n_live[b]):
        if status[b, j] == RUNNING and pool[b, j] == p:
            jobs.queue[b, n] = j
            n += 1
            if node[b, j] >= 0:
                pools.node_then[b, node[b, j]] = pools.node_free[b, node[b, j]]
    for k in range(n // 2 - 1, -1, -1):
        _sink(b, k, n, jobs.queue, jobs)
    return n


@inlined()
def _change(node, least, free, by, empty, roomy):
    """(empty nodes, nodes with room) after a node with `free` of its `node` devices has `by` more or fewer of them.

    Nodes with room are shared ones with at least `least` free devices.
    """
    then = free + by
    empty += int(then == node) - int(free == node)
    roomy += int(least <= then < node) - int(least <= free < node)
    return empty, roomy


@inlined()
def _least(need, node):
    """(whole nodes, least room of a shared one instead of the last of them) that `need` devices want."""
    part = need % node
    return need // node + int(part > 0), part if part > 0 else node


@inlined()
def reserve(b, p, head, need, jobs, pools, fleet):
    """EASY's reservation for the blocked job `head` of pool `p`: when the `need` devices it starts on will be there.

    Jobs that end in that same moment leave their devices too: they have no order among equals that anybody chose. The
    reservation holds until the step ends or something happens that it does not foresee; jobs that end when they should,
    and those that may pass, change nothing.
    """
    node, free = fleet.node[p], pools.node_then
    whole, least = _least(need, node)
    n, empty, roomy = _running(b, p, jobs, pools), int(pools.empty[b, p]), 0
    for k in range(least, node):
        record = pools.roomy[b, p, k]
        while record >= 0:
            roomy += 1
            record = pools.node_next[b, record]
    shadow = NEVER
    while n > 0 and jobs.finish[b, jobs.queue[b, 0]] <= shadow:
        j = pop(b, n, jobs.queue, jobs)
        n -= 1
        empty += jobs.held[b, j] // node - jobs.drains[b, j]
        record, part = jobs.node[b, j], jobs.held[b, j] % node
        if record >= 0 and pools.node_bad[b, record] != DRAINING:
            empty, roomy = _change(node, least, free[b, record], part, empty, roomy)
            free[b, record] += part
        if empty + int(roomy > 0) >= whole:
            shadow = jobs.finish[b, j]
    pools.reserved[b, p], pools.shadow[b, p] = head, shadow
    pools.empty_then[b, p], pools.roomy_then[b, p] = empty, roomy


@inlined()
def may_pass(b, p, j, ends, need, jobs, pools, fleet):
    """Whether job `j`, which fits now and would end at hour `ends`, may start before the job that wants `need` devices.

    It may if it ends by the reserved hour, or if the nodes left then are enough; they are then without those it takes.
    """
    node, held = fleet.node[p], jobs.held[b, j]
    part, record, free = held % node, -1, node
    if part > 0:
        record = best_fit(b, p, part, pools, fleet)
        if record >= 0:
            free = pools.node_then[b, record]
        else:
            record = pools.unused[b]
    if ends > pools.shadow[b, p]:
        whole, least = _least(need, node)
        empty, roomy = pools.empty_then[b, p] - held // node, pools.roomy_then[b, p]
        if part > 0:
            empty, roomy = _change(node, least, free, -part, empty, roomy)
            free -= part
        if empty + int(roomy > 0) < whole:
            return False
        pools.empty_then[b, p], pools.roomy_then[b, p] = empty, roomy
    if part > 0:
        pools.node_then[b, record] = free
    return True
