"""Elastic gangs and priorities: sizes, who gives and who is stopped, what it costs, and that no work is lost."""

import numpy as np
import pytest

from gcn_env.core import gangs
from gcn_env.core.moves import adapt
from gcn_env.core.params import BATCH, INFERENCE, TRAINING
from gcn_env.core.state import QUEUED, RUNNING
from gcn_env.ledger import COUNTS, TERMS
from tests.core.racks import check_nodes
from tests.core.yard import Yard

C, T = COUNTS.ix, TERMS.ix
RESUME_H = 1 / 16


class Gangs(Yard):
    """A yard whose jobs may be elastic, have priorities, and save their state; local schedulers adapt each step."""

    def __init__(self, devices, n_jobs, node=8, quota=10**6):
        super().__init__(devices, n_jobs, node=node)
        sources = len(self.work.kind)
        self.work = self.work._replace(
            movable=np.ones(sources, np.int64),
            resume_h=np.full(sources, RESUME_H),
            quota=np.full(1, quota, np.int64),
        )
        self.fleet = self.fleet._replace(speed=np.ones_like(self.fleet.speed))

    def add(self, ready, work, gang, least=None, priority=0, kind=TRAINING):
        self.send(ready, work, gang, kind)
        jobs, n = self.s.jobs, len(ready)
        jobs.least[0, :n] = gang if least is None else least
        jobs.priority[0, :n] = priority
        jobs.checkpoint[0, :n] = 100.0

    def step(self, dt=0.25):
        s = self.s
        s.ledger.counts[:] = 0.0
        s.ledger.terms[:] = 0.0
        s.sources.devices[:] = s.jobs.held[0, : s.jobs.n_live[0]].sum()
        adapt(0, 1, s.clock, s.jobs, s.sources, s.pools, self.fleet, self.work, s.ledger)
        counts, terms = s.ledger.counts.copy(), s.ledger.terms.copy()
        self.run(dt)
        s.ledger.counts[:] += counts
        s.ledger.terms[:] += terms
        check_nodes(s, self.fleet)
        return s.ledger

    def row(self, order, *names):
        jobs = self.s.jobs
        j = int(np.flatnonzero(jobs.order[0, : jobs.n_live[0]] == order)[0])
        found = tuple(getattr(jobs, name)[0, j] for name in names)
        return found if len(found) > 1 else found[0]


@pytest.mark.parametrize(
    ("room", "gang", "least", "size"),
    [
        (40, 32, 8, 32),
        (31, 32, 8, 24),
        (7, 32, 8, 0),
        (15, 20, 1, 8),
        (20, 20, 1, 20),
        (5, 8, 2, 5),
        (1, 8, 2, 0),
    ],
)
def test_gangs_larger_than_a_node_run_on_whole_nodes(room, gang, least, size):
    assert gangs.size_within(room, gang, least, 8) == size


def test_an_elastic_gang_starts_with_what_is_there_and_grows():
    """32 ranks on 24 free devices: three quarters of the speed; then the whole, for a resume time."""
    yard = Gangs(32, 4)
    yard.add([0.0, 0.01], [1.0, 8.0], [8, 32], [8, 8])
    yard.step()
    assert yard.row(1, "status", "held", "speed") == (RUNNING, 24, 0.75)
    for _ in range(3):
        yard.step()
    ledger = yard.step()
    begun, ended = 0.01, 1.0
    work = 8.0 - 0.75 * (ended - begun) + RESUME_H - 0.25  # the first job ended at 1, between two looks
    assert yard.row(1, "held", "speed") == (32, 1.0)
    assert yard.row(1, "work") == pytest.approx(work)
    assert ledger.counts[0, C.resized] == 1
    assert ledger.counts[0, C.lost_work] == pytest.approx(RESUME_H * 32)
    assert ledger.terms[0, T.restart] == pytest.approx(RESUME_H * 32 * yard.fleet.device_usd[0])


def test_an_elastic_gang_gives_whole_nodes_to_the_queues_head():
    """Only as many nodes as are needed, none below its least size, and nothing where that does not help."""
    yard = Gangs(32, 4)
    yard.add([0.0, 0.05], [8.0, 1.0], [32, 12], [8, 12])
    yard.step()
    assert yard.row(1, "status") == QUEUED
    ledger = yard.step()
    assert yard.row(0, "held", "speed") == (16, 0.5)
    assert yard.row(1, "status", "ready") == (RUNNING, 0.25)
    assert ledger.counts[0, C.resized] == 1
    yard = Gangs(32, 4)
    yard.add([0.0, 0.05], [8.0, 1.0], [32, 28], [8, 28])
    yard.step()
    ledger = yard.step()
    assert yard.row(0, "held") == 32
    assert ledger.counts[0, C.resized] == 0


def test_a_small_gang_gives_a_part_of_its_node():
    yard = Gangs(8, 4)
    yard.add([0.0, 0.05], [8.0, 1.0], [8, 3], [2, 3])
    yard.step()
    yard.step()
    assert yard.row(0, "held") == 5
    assert yard.row(1, "status") == RUNNING


def test_priority_orders_the_queue():
    """Leases, then by priority, then as they came."""
    yard = Gangs(8, 8)
    yard.work = yard.work._replace(movable=np.zeros_like(yard.work.movable))
    kinds = [BATCH, BATCH, BATCH, BATCH, INFERENCE, BATCH]
    yard.add([0.0, 0.01, 0.02, 0.03, 0.04, 0.05], [1.0] * 6, [8] * 6, priority=[0, 0, 2, 1, 0, 2], kind=kinds)
    yard.step()
    jobs, pools, line = yard.s.jobs, yard.s.pools, []
    j = pools.first[0, 0]
    while j >= 0:
        line.append(int(jobs.order[0, j]))
        j = jobs.behind[0, j]
    assert line == [4, 2, 5, 3, 1]


def test_lower_priority_is_preempted_and_loses_no_work():
    """The lowest goes first, the latest started of equals; it waits, whole, with its work done and a resume time."""
    yard = Gangs(32, 8)
    yard.add([0.0, 0.01, 0.02, 0.03], [4.0] * 4, [8, 16, 8, 8], priority=[0, 1, 0, 2])
    yard.step()
    assert yard.row(3, "status") == QUEUED
    done = 4.0 - yard.row(2, "work")
    ledger = yard.step()
    assert [yard.row(k, "status") for k in range(4)] == [RUNNING, RUNNING, QUEUED, RUNNING]
    assert yard.row(3, "ready") == 0.25
    assert yard.row(2, "work") == pytest.approx(4.0 - done + RESUME_H)
    assert yard.row(2, "unsaved", "state_gb")[0] == 0.0
    counts = ledger.counts[0]
    assert (counts[C.preempted], counts[C.killed], counts[C.resized]) == (1, 0, 0)
    assert counts[C.lost_work] == pytest.approx(RESUME_H * 8)


@pytest.mark.parametrize(
    ("priority", "movable", "kind"), [(1, 1, TRAINING), (0, 0, TRAINING), (0, 1, INFERENCE)]
)
def test_who_is_not_preempted(priority, movable, kind):
    """Equals, jobs that cannot save their state, and leases."""
    yard = Gangs(8, 4)
    yard.work = yard.work._replace(movable=np.full_like(yard.work.movable, movable))
    yard.add([0.0, 0.01], [4.0, 1.0], [8, 8], priority=[priority, 1], kind=[kind, TRAINING])
    for _ in range(3):
        ledger = yard.step()
    assert ledger.counts[0, C.preempted] == 0
    assert yard.row(0, "status") == RUNNING


def test_nobody_is_preempted_in_vain():
    yard = Gangs(16, 4)
    yard.add([0.0, 0.01, 0.02], [4.0, 4.0, 1.0], [8, 8, 16], priority=[0, 3, 1])
    for _ in range(3):
        ledger = yard.step()
        assert ledger.counts[0, C.preempted] == 0


def test_growing_stops_at_the_tenants_quota():
    yard = Gangs(32, 4, quota=24)
    yard.add([0.0, 0.01], [0.3, 8.0], [8, 32], [8, 8])
    for _ in range(4):
        yard.step()
    assert yard.row(1, "held") == 24


@pytest.mark.parametrize("seed", range(6))
def test_random_gangs_conserve_work_and_devices(seed):
    """Jobs of all sizes, elastic or not, with priorities: what is done is what was asked and lost; all end."""
    rand = np.random.default_rng(seed)
    n = 30
    yard = Gangs(32, n)
    gang = rand.choice([1, 2, 4, 8, 12, 16, 32], n)
    least = np.where(rand.random(n) < 0.5, gang, np.maximum(1, gang // rand.integers(1, 5, n)))
    work = rand.uniform(0.1, 4.0, n)
    yard.add(
        np.sort(rand.uniform(0, 6, n)), work, gang, least, rand.integers(0, 3, n), rand.choice([0, 1, 3], n)
    )
    sums = np.zeros(len(COUNTS))
    for _ in range(600):
        sums += yard.step().counts[0]
        jobs, live = yard.s.jobs, slice(0, yard.s.jobs.n_live[0])
        runs = jobs.status[0, live] == RUNNING
        held, whole = jobs.held[0, live][runs], jobs.gang[0, live][runs]
        assert (held >= jobs.least[0, live][runs]).all()
        assert ((held == whole) | (whole <= 8) | (held % 8 == 0)).all()
        np.testing.assert_allclose(jobs.speed[0, live][runs], held / whole)
    assert yard.s.jobs.n_live[0] == 0
    assert sums[C.completed] == n
    assert sums[C.work] == pytest.approx((work * gang).sum() + sums[C.lost_work])
    assert sums[C.resized] + sums[C.preempted] > 0
