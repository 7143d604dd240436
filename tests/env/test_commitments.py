"""What unfinished work is expected to cost: a rise by a placement is what the pair's columns say of it."""

import numpy as np
import pytest

from agents import policy
from gcn_env import load_world
from gcn_env.core.state import RUNNING
from gcn_env.observation import JOBS, PAIRS
from gcn_env.sim import Sim

PAID = [PAIRS.index(f"{name}_usd") for name in ("energy", "carbon", "egress", "rent", "late")]
LEGAL, FITS = PAIRS.index("legal"), PAIRS.index("fits")
AT_POOL = [JOBS.index("queued"), JOBS.index("running")]


@pytest.fixture(scope="module")
def smoke():
    return load_world("smoke")


def test_no_work_costs_nothing(smoke):
    sim = Sim(smoke, 3)
    sim.reset(5)
    assert (sim.commitments() > 0).all()
    sim.state.jobs.n_live[:] = 0
    assert (sim.commitments() == 0).all()


def test_asking_changes_nothing(smoke):
    rule = policy.load("rule:cost-greedy-deferral+b1", smoke)
    plain, asked = Sim(smoke, 4), Sim(smoke, 4)
    plain.reset(3)
    asked.reset(3)
    for _ in range(60):
        actions = rule.predict(plain.obs)[0]
        plain.step(actions)
        asked.step(actions)
        asked.commitments()
        assert np.array_equal(plain.reward, asked.reward)
        assert all(np.array_equal(plain.obs[k], asked.obs[k]) for k in plain.obs)


def test_some_fleets_may_be_asked_about(smoke):
    sim = Sim(smoke, 5)
    sim.reset(3)
    some = np.arange(5) % 2 == 0
    np.testing.assert_array_equal(sim.commitments(some), np.where(some, sim.commitments(), 0.0))


def running_usd(sim):
    """Expected cost of the running jobs alone."""
    kept, jobs = sim.snapshot(), sim.state.jobs
    for b in range(sim.n_envs):
        for j in range(jobs.n_live[b]):
            if jobs.status[b, j] != RUNNING:
                jobs.gang[b, j], jobs.work[b, j], jobs.value[b, j] = 1, 0.0, 0.0
    usd = sim.commitments()
    sim.restore(kept)
    return usd


def test_running_work_is_paid_off(smoke):
    """Left alone, what running jobs are expected to cost falls as they burn it."""
    sim = Sim(smoke, 4)
    sim.reset(11)
    nothing = np.zeros((4, len(sim.head_sizes)), np.int64)
    before = running_usd(sim)
    for _ in range(24):
        sim.step(nothing)
    assert (before > 0).all()
    assert (running_usd(sim) < 0.9 * before).all()


def test_a_placement_raises_it_by_what_its_columns_say(smoke):
    """One job of one environment goes elsewhere than its twins': dollars expected against dollars accrued."""
    n, rng = 12, np.random.default_rng(0)
    sim, rule = Sim(smoke, n), policy.load("rule:cost-greedy+b1", smoke)
    expected, accrued = [], []
    for step in range(6 * 90):
        if step % 90 == 0:
            sim.reset(np.full(n, 8 + step))
        actions = rule.predict(sim.obs)[0]
        other, extra = actions.copy(), np.zeros(n)
        pairs = sim.obs["pairs"].astype(float)
        free = (pairs[..., LEGAL] > 0) & (pairs[..., FITS] > 0)
        free &= (sim.obs["jobs"][..., AT_POOL] < 0.5).all(-1)[..., None]
        free &= (sim.obs["jobs"][..., JOBS.index("inference")] < 0.5)[..., None]
        usd = np.sinh(pairs[..., PAID]).sum(-1)
        for b in range(1, n):
            slots = [
                q for q in range(smoke.n_slots) if free[b, q].sum() > 1 and free[b, q, actions[b, q] - 1]
            ]
            alone = (
                actions[b, : smoke.n_slots] > 0
            ).sum() == 1  # two sent together may be in each other's way
            slots = [q for q in slots if actions[b, q] > 0]
            if slots and alone:
                q = rng.choice(slots)
                other[b, q] = 1 + rng.choice(np.flatnonzero(free[b, q]))
                extra[b] = usd[b, q, other[b, q] - 1] - usd[b, q, actions[b, q] - 1]
        moved = (other != actions).any(1)
        if moved.any():
            before, kept = sim.commitments(), sim.snapshot()
            sim.step(other)
            change = sim.commitments() - before - sim.reward * smoke.reference_usd
            expected += list(extra[moved])
            accrued += list((change - change[0])[moved])
            sim.restore(kept)
        sim.step(actions)
    assert len(expected) > 50
    assert np.ptp(expected) > 1.0
    assert np.corrcoef(expected, accrued)[0, 1] > 0.9
    slope = np.polyfit(expected, accrued, 1)[0]
    assert 0.7 < slope < 1.3
