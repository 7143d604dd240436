"""Health of nodes: the chain sound - slow - draining - repairing, what it does to jobs, whom failures hit."""

import numpy as np
import pytest

from gcn_env.core.params import BATCH, INFERENCE
from gcn_env.core.state import FREE, PENDING, QUEUED, RUNNING
from gcn_env.ledger import COUNTS, TERMS
from tests.core.racks import check_nodes
from tests.core.test_failures import DT, Luck
from tests.core.yard import Yard, give_back_all

pytestmark = pytest.mark.smoke

C, T = COUNTS.ix, TERMS.ix
NEVER_H = 1e12


def shares(luck):
    """Mean shares of the nodes that are sound, slow, draining and under repair."""
    pools, nodes = luck.s.pools, luck.fleet.devices // luck.fleet.node
    bad = [(getattr(pools, name) / nodes).mean() for name in ("degraded", "draining", "repairing")]
    return np.array([1.0 - sum(bad), *bad])


@pytest.mark.compiled
def test_shares_of_health_are_those_of_the_chain():
    """Idle nodes: S turns slow at d, any fails at f, slow ones are noticed at 1/D, repairs end at 1/r.

    Balance: L (f + 1/D) = d S and R / r = (f + d) S; an idle node that is noticed does not drain.
    """
    fail, slow, detect, repair = 0.004, 0.01, 20.0, 30.0
    luck = Luck(400, fail_per_h=fail, repair_h=repair, node=4, slow_per_h=slow, detect_h=detect)
    seen = []
    for t in range(2400):
        luck.step()
        if t > 800 and t % 8 == 0:
            seen.append(shares(luck))
    check_nodes(luck.s, luck.fleet)
    sick, out = slow / (fail + 1.0 / detect), repair * (fail + slow)
    expected = np.array([1.0, sick, 0.0, out]) / (1.0 + sick + out)
    assert np.mean(seen, 0) == pytest.approx(expected, rel=0.02)


@pytest.mark.compiled
def test_busy_nodes_drain_until_they_are_idle():
    """Jobs that never end: what is noticed drains and stays; it goes to repair the moment the job leaves."""
    luck = Luck(300, slow_per_h=0.02, detect_h=5.0, repair_h=NEVER_H)
    luck.run_jobs(0, [16, 8, 4])  # of 32 devices: every node has work
    for _ in range(int(30 / DT)):
        luck.step()
    pools = luck.s.pools
    assert (pools.repairing[:, 0] == 0).all()
    assert (pools.healthy[:, 0] == 32).all()
    a, b = 0.02, 1.0 / 5.0  # sound - slow - draining, from sound at hour 0
    slow = a / (b - a) * (np.exp(-a * 30) - np.exp(-b * 30))
    assert pools.draining[:, 0].mean() / 4 == pytest.approx(1.0 - np.exp(-a * 30) - slow, rel=0.1)
    assert luck.s.ledger.counts[:, C.drained].sum() == pools.draining.sum() + pools.repairing.sum()
    check_nodes(luck.s, luck.fleet)
    draining = pools.draining[:, 0].copy()
    give_back_all(luck.n, luck.s.jobs, pools, luck.fleet)
    np.testing.assert_array_equal(pools.repairing[:, 0], draining)
    np.testing.assert_array_equal(pools.healthy[:, 0], 32 - 8 * draining)
    assert luck.s.jobs.speed[:, :3] == pytest.approx(1.0), "at full speed elsewhere"


def test_a_draining_node_takes_no_more_work():
    yard = Yard(16, 4, node=8)
    s, pools = yard.s, yard.s.pools
    yard.send([0.0, 0.5, 0.5], [1.0, 1.0, 1.0], [3, 4, 16])
    yard.run(0.25)
    luck = Luck(1, node=8, slow_per_h=1e-9, detect_h=1e-9)
    luck.s, luck.fleet = (
        s,
        yard.fleet._replace(**{k: getattr(luck.fleet, k) for k in ("degrade", "detect_h", "fail")}),
    )
    record = s.jobs.node[0, 0]
    pools.node_bad[0, record], s.jobs.bad[0, 0], pools.degraded[0, 0] = 1, 1, 1  # the node is slow
    luck.step()
    assert pools.draining[0, 0] == 1
    assert pools.room[0, 0] == 8
    check_nodes(s, yard.fleet)
    yard.run(0.5)
    assert list(s.jobs.status[0, :3]) == [RUNNING, RUNNING, QUEUED]
    assert s.jobs.node[0, 1] != record, "there was room, but the node drains"
    yard.run(0.5)
    assert (pools.repairing[0, 0], pools.draining[0, 0], pools.healthy[0, 0]) == (1, 0, 8)
    check_nodes(s, yard.fleet)


@pytest.mark.parametrize("factor", [0.5, 0.8])
def test_gangs_on_a_slow_node_take_longer_by_the_declared_factor(factor):
    """One of its two nodes is slow: the gang goes at that pace; with none it does not."""
    for slow in (0, 1):
        yard = Yard(16, 2, node=8)
        yard.fleet = yard.fleet._replace(slow=np.full(3, factor))
        yard.s.pools.slow[0, 0] = yard.s.pools.degraded[0, 0] = slow
        yard.send([0.0], [1.0], [16])
        yard.run(0.25)
        assert yard.s.jobs.finish[0, 0] == pytest.approx(1.0 / factor if slow else 1.0)
        assert yard.s.jobs.work[0, 0] == pytest.approx(1.0 - 0.25 * (factor if slow else 1.0))


def test_a_node_that_turns_slow_slows_those_who_run_on_it_from_then_on():
    luck = Luck(1, slow_per_h=1e9, node=8)
    luck.fleet = luck.fleet._replace(slow=np.full(3, 0.5))
    luck.run_jobs(0, [16, 5, 2])
    s, jobs = luck.s, luck.s.jobs
    s.pools.pace[:], s.clock.now_h[0], jobs.ready[0, :3], jobs.finish[0, :3] = (
        1.0,
        10.0,
        (9.0, 9.0, 10.5),
        12.0,
    )
    luck.fleet = luck.fleet._replace(degrade=np.array([40.0, 0.0, 0.0]), detect_h=np.full(3, NEVER_H))
    while s.pools.degraded[0, 0] < 4:
        luck.step()
        check_nodes(s, luck.fleet)
    assert list(jobs.bad[0, :3]) == [2, 1, 1]
    np.testing.assert_allclose(jobs.speed[0, :3], 0.5)
    np.testing.assert_allclose(jobs.finish[0, :3], (14.0, 14.0, 14.5))


@pytest.mark.compiled
def test_a_shared_node_that_fails_takes_all_jobs_on_it():
    """Nodes of 8: one job holds two, two jobs share one, one is empty. Each is hit as often as the others."""
    luck = Luck(6000, fail_per_h=0.02, node=8, repair_h=NEVER_H)
    luck.run_jobs(0, [16, 3, 5])
    s = luck.step()
    broken = s.pools.repairing[:, 0] == 1
    hit = s.jobs.status[:, :3] == PENDING
    assert broken.sum() > 80
    np.testing.assert_array_equal(hit[:, 1], hit[:, 2])
    assert hit[broken, 0].mean() == pytest.approx(0.5, abs=0.12)
    assert hit[broken, 1].mean() == pytest.approx(0.25, abs=0.12)
    assert not hit[s.pools.repairing[:, 0] == 0].any()
    check_nodes(s, luck.fleet)


def test_leases_miss_what_slow_replicas_do_not_serve():
    yard = Yard(16, 2, node=8)
    yard.fleet = yard.fleet._replace(slow=np.full(3, 0.6))
    yard.s.pools.slow[0, 0] = yard.s.pools.degraded[0, 0] = 1
    yard.s.jobs.slo[:] = 1e6
    yard.s.sources.leased[:] = 1000
    yard.send([0.0], [2.0], [16], INFERENCE)
    ledger = yard.run(0.25)
    missed = 0.5 * 0.4  # half of the replicas serve 60 %
    assert ledger.counts[0, C.slo_miss] == pytest.approx(0.25 * missed)
    assert ledger.terms[0, T.slo] == pytest.approx(0.25 * missed * yard.s.jobs.value[0, 0])
    assert yard.s.jobs.finish[0, 0] == pytest.approx(2.0)


def test_slow_nodes_do_not_change_when_others_fail():
    """Two policies, one busy and one idle, draw the same numbers, slow nodes or not."""
    idle, busy = (Luck(8, fail_per_h=0.02, slow_per_h=0.05, detect_h=3.0) for _ in range(2))
    busy.run_jobs(0, [8, 8, 4])
    for _ in range(150):
        a, b = idle.step(), busy.step()
        np.testing.assert_array_equal(a.clock.rng, b.clock.rng)
        np.testing.assert_array_equal(a.plants.outage_h, b.plants.outage_h)
        np.testing.assert_array_equal(a.pools.healthy[:, 1:], b.pools.healthy[:, 1:])
    assert (b.pools.draining[:, 0] + b.pools.repairing[:, 0] > 0).any()
    check_nodes(b, busy.fleet)


@pytest.mark.compiled
@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_conserved_whatever_happens(seed):
    """Jobs of all sizes come and end while nodes turn slow, are noticed, fail and are repaired."""
    rand = np.random.default_rng(seed)
    node, n = (4, 8, 8, 1)[seed], 60
    luck = Luck(1, places=n, node=node, fail_per_h=0.02, slow_per_h=0.1, detect_h=2.0, repair_h=4.0)
    yard = Yard(32, n, node=node)
    s = yard.s
    rates = {k: getattr(luck.fleet, k) for k in ("fail", "repair_h", "degrade", "detect_h")}
    luck.s, luck.fleet = s, yard.fleet._replace(**rates)
    yard.fleet = luck.fleet
    s.clock.rng[:] = rand.integers(1, 2**63, s.clock.rng.shape, np.uint64)
    ready = np.sort(rand.uniform(0, 20, n))
    yard.send(ready, rand.uniform(0.1, 4, n), rand.integers(1, 20, n), rand.choice([BATCH, INFERENCE], n))
    s.sources.leased[:] = 10_000
    states = np.zeros(3)
    for _ in range(120):
        yard.run(0.25)
        check_nodes(s, luck.fleet)
        luck.step(0.25)
        check_nodes(s, luck.fleet)
        states = np.maximum(
            states, [x[0, 0] for x in (s.pools.degraded, s.pools.draining, s.pools.repairing)]
        )
        again = s.jobs.status[0] == PENDING  # killed jobs come back
        s.jobs.status[0, again], s.jobs.pool[0, again] = 2, 0
        s.jobs.held[0, again], s.jobs.speed[0, again] = s.jobs.gang[0, again], 1.0
        s.jobs.ready[0, again] = s.clock.now_h[0]
    assert (states > 0).all()
    assert (s.jobs.status[0] == FREE).sum() > n / 2
