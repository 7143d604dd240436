"""What must hold of nodes at any time, counted node by node from the jobs."""

import numpy as np

from gcn_env.core.nodes import DRAINING, SLOW, SOUND
from gcn_env.core.state import RUNNING


def _in_lists(b, p, pools):
    """{record: length of the list it stands in}."""
    seen = {}
    for k in range(pools.roomy.shape[2]):
        record, before = pools.roomy[b, p, k], -1
        while record >= 0:
            assert record not in seen
            assert pools.node_last[b, record] == before
            seen[int(record)], before = k, record
            record = pools.node_next[b, record]
    return seen


def check_nodes(state, fleet):
    """Devices are empty, shared, held or under repair; records, lists and counts agree with what jobs hold."""
    jobs, pools = state.jobs, state.pools
    for b in range(len(jobs.n_live)):
        here = np.arange(jobs.n_live[b])
        runs = here[jobs.status[b, here] == RUNNING]
        rest = np.setdiff1d(here, runs)
        assert (jobs.node[b, rest] == -1).all()
        assert (jobs.bad[b, rest] == 0).all()
        assert (jobs.drains[b, rest] == 0).all()
        used = {int(r) for r in jobs.node[b, runs]} - {-1}
        assert used == set(np.flatnonzero(pools.node_pool[b] >= 0)), (
            "records are those of nodes that jobs share"
        )
        free, record = set(), pools.unused[b]
        while record >= 0:
            assert record not in free
            free.add(int(record))
            record = pools.node_next[b, record]
        assert free == set(range(pools.node_pool.shape[1])) - used
        for p in range(len(fleet.region)):
            node, nodes = fleet.node[p], fleet.devices[p] // fleet.node[p]
            there = runs[jobs.pool[b, runs] == p]
            held, record = jobs.held[b, there], jobs.node[b, there]
            assert ((record >= 0) == (held % node > 0)).all()
            records = [int(r) for r in np.unique(record[record >= 0])]
            for r in records:
                assert pools.node_pool[b, r] == p
                taken = (held[record == r] % node).sum()
                assert 0 < taken <= node
                assert pools.node_free[b, r] == node - taken
            health = pools.node_bad[b, records]
            whole, shared = (held // node).sum(), len(records)
            assert pools.empty[b, p] + whole + shared + pools.repairing[b, p] == nodes
            assert pools.healthy[b, p] == (nodes - pools.repairing[b, p]) * node
            assert pools.busy[b, p] == held.sum()
            bad, drains = jobs.bad[b, there], jobs.drains[b, there]
            on_bad = np.array([r >= 0 and pools.node_bad[b, r] != SOUND for r in record], int)
            assert (drains >= 0).all()
            assert (drains <= bad - on_bad).all()
            assert (bad - on_bad <= held // node).all()
            assert 0 <= pools.slow[b, p] <= pools.empty[b, p]
            slow = (bad - on_bad - drains).sum() + (health == SLOW).sum() + pools.slow[b, p]
            assert pools.degraded[b, p] == slow
            assert pools.draining[b, p] == drains.sum() + (health == DRAINING).sum()
            open_to_work = {
                r: int(pools.node_free[b, r]) for r in records if pools.node_bad[b, r] != DRAINING
            }
            assert _in_lists(b, p, pools) == {r: k for r, k in open_to_work.items() if k > 0}
            most = max(open_to_work.values(), default=0)
            assert pools.room[b, p] == pools.empty[b, p] * node + most
