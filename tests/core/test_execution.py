"""The local scheduler: queues, gangs, backfill, kills and waits, against references and known formulas."""

import numpy as np
import pytest

from gcn_env.core.execution import kill
from gcn_env.core.jit import kernel
from gcn_env.core.params import BATCH, INFERENCE
from gcn_env.core.placement import devices_needed
from gcn_env.core.power import speed_at
from gcn_env.core.state import FREE, PENDING, QUEUED, RUNNING, TRANSIT
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.core.yard import Yard, easy, run_through

pytestmark = pytest.mark.smoke

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix


@kernel()
def _kill(b, j, jobs, pools, fleet, ledger):
    kill(b, j, jobs, pools, fleet, ledger)


@pytest.mark.parametrize("dt", [0.25, 1.0, 50.0])
def test_steps_do_not_matter(dt):
    """Events happen at their own hour, however long the control step is: hours waited are the reference's."""
    rand = np.random.default_rng(5)
    n = 30
    ready, work, held = np.sort(rand.uniform(0, 10, n)), rand.uniform(0.1, 3, n), rand.integers(1, 9, n)
    yard = Yard(8, n)
    yard.send(ready, work, held)
    wait = busy = done = 0.0
    for _ in range(int(100 / dt)):
        ledger = yard.run(dt)
        wait += ledger.counts[0, C.wait]
        busy += ledger.flows[0, 0, F.busy]
        done += ledger.counts[0, C.completed]
    assert wait == pytest.approx((easy(ready, work, held, np.zeros(n, bool), 8) - ready).sum(), rel=1e-9)
    assert busy == pytest.approx((held * work).sum(), rel=1e-9)
    assert done == n


def test_events_inside_a_step():
    """Two jobs one after the other within a quarter of an hour; the second waits for the first."""
    yard = Yard(2, 4)
    yard.send([0.05, 0.06], [0.07, 0.05], [2, 1])
    ledger = yard.run(0.25)
    assert ledger.counts[0, C.completed] == 2
    assert yard.s.jobs.n_live[0] == 0
    assert ledger.counts[0, C.wait] == pytest.approx(0.06)
    assert ledger.flows[0, 0, F.busy] == pytest.approx(2 * 0.07 + 0.05)
    assert ledger.counts[0, C.work] == pytest.approx(2 * 0.07 + 0.05)
    assert (yard.s.pools.busy == 0).all()


def test_gangs_start_whole():
    yard = Yard(8, 4)
    yard.send([0.0, 0.01], [1.0, 1.0], [5, 4])
    yard.run(0.5)
    assert list(yard.s.jobs.status[0, :2]) == [RUNNING, QUEUED]
    assert yard.s.pools.busy[0, 0] == 5
    yard.run(0.75)
    assert list(yard.s.jobs.status[0, :2]) == [RUNNING, FREE]
    assert yard.s.jobs.order[0, 0] == 1
    assert yard.s.pools.busy[0, 0] == 4


def test_nothing_blocked_by_what_can_never_start_forever():
    """A head larger than the healthy devices waits; what is behind it is backfilled."""
    yard = Yard(8, 4)
    yard.serve(4)
    yard.send([0.0, 0.01, 0.02], [1.0, 5.0, 1.0], [8, 3, 1])
    yard.run(0.25)
    assert list(yard.s.jobs.status[0, :3]) == [QUEUED, RUNNING, RUNNING]
    yard.s.pools.empty[:] += 4
    yard.s.pools.healthy[:] = 8
    yard.run(5.0)
    assert yard.s.jobs.n_live[0] == 1
    assert yard.s.jobs.status[0, 0] == RUNNING
    assert yard.s.jobs.order[0, 0] == 0
    assert yard.s.jobs.ready[0, 0] == pytest.approx(5.01)


def test_throttling_slows_work():
    yard = Yard(4, 4)
    yard.send([0.0], [1.0], [4], checkpoint=0.3)
    yard.s.plants.throttle[:] = 0.5
    yard.run(0.5)
    left = 1.0 - 0.5 * speed_at(0.5, yard.fleet.bound[BATCH])
    assert yard.s.jobs.work[0, 0] == pytest.approx(left)
    yard.s.plants.throttle[:] = 1.0
    yard.run(0.25)
    assert yard.s.jobs.work[0, 0] == pytest.approx(left - 0.25)
    assert yard.s.jobs.unsaved[0, 0] == pytest.approx(1.0 - left + 0.25 - 0.3)


@pytest.mark.parametrize(("interval", "kept"), [(0.0, 0.0), (0.25, 0.5), (0.4, 0.4), (10.0, 0.0), (1e6, 0.0)])
def test_a_kill_loses_what_the_last_checkpoint_did_not_keep(interval, kept):
    """Progress of 0.625 h; a checkpoint at each multiple of the interval (0: never)."""
    yard = Yard(4, 4)
    yard.send([0.0], [2.0], [3], checkpoint=interval)
    for _ in range(5):
        yard.run(0.125)
    s = yard.s
    _kill(0, 0, s.jobs, s.pools, yard.fleet, s.ledger)
    assert s.jobs.work[0, 0] == pytest.approx(2.0 - kept)
    assert s.ledger.counts[0, C.lost_work] == pytest.approx(3 * (0.625 - kept))
    assert s.jobs.pool[0, 0] == -1
    assert s.pools.busy[0, 0] == 0
    jobs = s.jobs  # sent again, it needs what is left
    jobs.status[0, 0], jobs.pool[0, 0], jobs.held[0, 0], jobs.ready[0, 0] = TRANSIT, 0, 3, s.clock.now_h[0]
    yard.run(0.25)
    assert jobs.finish[0, 0] == pytest.approx(0.625 + 2.0 - kept)


def test_killing_a_waiting_job_leaves_the_queue_whole():
    for victim in (1, 2, 3):
        yard = Yard(4, 5)
        yard.send([0.0, 0.01, 0.02, 0.03], [1.0, 1.0, 1.0, 1.0], [4, 4, 4, 4])
        yard.run(0.25)
        s = yard.s
        assert s.pools.waiting[0, 0] == 3
        _kill(0, victim, s.jobs, s.pools, yard.fleet, s.ledger)
        assert s.pools.waiting[0, 0] == 2
        assert s.ledger.counts[0, C.killed] == 0, "only runs are killed"
        others = [j for j in (1, 2, 3) if j != victim]
        start, _ = run_through(yard, 4, 0.25, 10)
        assert [start[0, j] for j in others] == pytest.approx([1.0, 2.0])


def test_a_killed_transfer_is_pending_again():
    yard = Yard(4, 2)
    yard.send([5.0], [1.0], [4])
    s = yard.s
    yard.run(0.25)
    assert s.jobs.status[0, 0] == TRANSIT
    _kill(0, 0, s.jobs, s.pools, yard.fleet, s.ledger)
    assert s.jobs.status[0, 0] == PENDING
    assert (s.jobs.pool[0, 0], s.jobs.held[0, 0]) == (-1, 0)
    assert s.ledger.counts[0, C.killed] == 0
    assert (s.pools.busy == 0).all()


@pytest.mark.parametrize(
    ("gang", "speed", "lease", "other"), [(4, 2.0, 2, 4), (5, 2.0, 3, 5), (1, 10.0, 1, 1), (4, 0.5, 8, 4)]
)
def test_devices_of_a_job(gang, speed, lease, other):
    assert devices_needed(INFERENCE, gang, speed) == lease
    assert devices_needed(BATCH, gang, speed) == other
