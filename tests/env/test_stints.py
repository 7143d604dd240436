"""Where jobs ran, and when: made-up states with known answers, and a real week against the ledger."""

import numpy as np

import gcn_env
from agents.policy import load
from gcn_env.core.state import PENDING, QUEUED, RUNNING, allocate
from gcn_env.ledger import COUNTS, FLOWS
from gcn_env.sim import Sim
from gcn_env.stints import STINT, Stints


def column(rows, name):
    return rows[:, STINT.index(name)]


def test_starts_moves_and_ends():
    s = allocate(1, 6, 2, 3, 2, 1)
    s.clock.start_h[:] = 100.0
    log = Stints(1)

    def step(now, jobs):
        """Jobs as (order, status, pool, started, finish)."""
        s.clock.now_h[:] = now
        s.jobs.status[:] = 0
        for j, (order, status, pool, ready, finish) in enumerate(jobs):
            s.jobs.order[0, j], s.jobs.status[0, j], s.jobs.pool[0, j] = order, status, pool
            s.jobs.ready[0, j], s.jobs.finish[0, j], s.jobs.held[0, j] = ready, finish, 4
        log.add(s, 0)

    step(101.0, [(0, PENDING, -1, 0, 0), (1500, RUNNING, 2, 100.5, 103.25)])
    step(102.0, [(0, RUNNING, 1, 101.5, 109.0), (1500, RUNNING, 2, 100.5, 103.25)])
    step(103.0, [(1500, RUNNING, 2, 100.5, 103.25), (0, RUNNING, 1, 101.5, 109.0)])  # places may change
    step(104.0, [(0, QUEUED, 0, 103.5, 0)])  # 1500 ended when it was expected, 0 was moved
    step(105.0, [(0, RUNNING, 0, 104.5, 104.9)])
    step(106.0, [])
    (rows,) = log.finish()
    assert column(rows, "job").tolist() == [1500, 0, 0]
    assert column(rows, "pool").tolist() == [2, 1, 0]
    assert column(rows, "start").tolist() == [0.5, 1.5, 4.5]
    np.testing.assert_allclose(column(rows, "end"), [3.25, 4.0, 4.9])
    assert set(column(rows, "devices")) == {4.0}


def test_device_hours_are_those_of_the_ledger():
    """Stints lack what starts and ends inside one step; where nodes stand still, jobs hold devices that do nothing."""
    world = gcn_env.load_world("smoke")
    policy, sim = load("rule:cost-greedy+b1", world), Sim(world, 2, split="validation", autoreset=False)
    sim.reset([5, 6])
    log, memory = Stints(2), None
    while not sim.done.all():
        actions, memory = policy.predict(sim.obs, state=memory)
        sim.step(actions)
        for b in range(2):
            log.add(sim.state, b)
    assert (sim.last_counts_sum[:, COUNTS.index("trips")] == 0).all()
    for b, rows in enumerate(log.finish()):
        assert (np.diff(column(rows, "start")) >= 0).all()
        assert (column(rows, "end") >= column(rows, "start") - 1e-9).all()
        hours = column(rows, "end") - np.maximum(column(rows, "start"), 0.0)
        seen = (hours.clip(0) * column(rows, "devices")).sum()
        booked = sim.last_flows_sum[b, :, FLOWS.index("busy")].sum()
        assert 0.9 * booked <= seen <= 1.01 * booked
