"""Jobs at a pool that are sent elsewhere: who may go, what it costs, when they end, and that no work is lost."""

import numpy as np
import pytest

from agents.rules.placement import place
from gcn_env.core.params import INFERENCE
from gcn_env.core.slots import MOST
from gcn_env.core.state import PENDING, QUEUED, RUNNING, TRANSIT
from gcn_env.ledger import COUNTS, TERMS
from gcn_env.observation import JOBS, PAIRS
from tests.env.test_invariants import check_law
from tests.worlds import CALM, ROUGH, legal_actions, make, places, wild_actions

C, T, J, X = COUNTS.ix, TERMS.ix, JOBS.ix, PAIRS.ix
RESTLESS = {  # moving is cheap
    **{f"jobs.{k}.movable": True for k in ("training", "batch", "hpc")},
    **{f"jobs.{k}.resume_min": 0.5 for k in ("training", "batch", "hpc")},
}


def restless(rng, sim, go=0.5, pile=False):
    """Pending jobs go to some legal pool, with `pile` to the first; of those at a pool, a share `go` elsewhere."""
    out = legal_actions(rng, sim)
    q, p = sim.world.n_slots, sim.world.n_pools
    mask = sim.obs["mask"][:, : q * (p + 1)].reshape(sim.n_envs, q, p + 1) > 0.5
    there = (sim.obs["pairs"][..., X.here] > 0).any(-1)
    score = (np.ones(p) if pile else rng.random((sim.n_envs, q, p))) * mask[..., 1:]
    chosen = np.where(mask[..., 1:].any(-1), score.argmax(-1) + 1, 0)
    out[:, :q] = np.where(there & (rng.random(there.shape) > go), 0, chosen)
    return out


def slot_of(sim, b, status):
    """A slot of environment `b` whose job has that status and may go somewhere, and the first pool; else None."""
    jobs, pairs = sim.state.jobs, sim.obs["pairs"]
    for q, j in enumerate(jobs.slot[b]):
        if j >= 0 and jobs.status[b, j] == status and pairs[b, q, :, X.legal].any():
            return q, j, int(pairs[b, q, :, X.legal].argmax())
    return None


def run_until(sim, status, rng, steps=300):
    """Step with placements only, until a job of that status may go elsewhere."""
    for _ in range(steps):
        found = slot_of(sim, 0, status)
        if found is not None:
            return found
        sim.step(restless(rng, sim, go=0.0, pile=True))
    raise AssertionError("no such job came")


def alone(sim, q, choice):
    act = np.zeros((1, len(sim.head_sizes)), np.int64)
    act[0, q] = choice
    return act


def by_order(sim, order):
    jobs = sim.state.jobs
    return next((j for j in places(jobs, 0) if jobs.order[0, j] == order), None)


def test_a_moved_job_ends_when_the_formulas_say():
    """It travels with its checkpoint, starts when that is there, and runs the resume time on top."""
    sim = make(overrides=CALM | RESTLESS, autoreset=False)
    sim.reset([3])
    q, j, p = run_until(sim, RUNNING, np.random.default_rng(0))
    w, s = sim.world.params, sim.state
    jobs, now = s.jobs, s.clock.now_h[0]
    order, work, gang, at = jobs.order[0, j], jobs.work[0, j], jobs.gang[0, j], jobs.pool[0, j]
    kind, source = jobs.kind[0, j], jobs.source[0, j]
    state = w.work.state_share[source] * jobs.memory[0, j] * min(gang, w.fleet.node[at])
    here, there = w.fleet.region[at], w.fleet.region[p]
    row = sim.obs["pairs"][0, q]
    assert (row[at, X.here], row[at, X.legal], row[p, X.here]) == (1, 0, 0)
    sim.step(alone(sim, q, p + 1))
    speed = w.fleet.speed[kind, p]
    resume = w.work.resume_h[source] * speed
    counts, terms = s.ledger.counts[0], s.ledger.terms[0]
    assert (counts[C.relocated], counts[C.killed]) == (1, 0)
    assert counts[C.lost_work] == pytest.approx(resume * gang)
    assert terms[T.restart] == pytest.approx(w.work.resume_h[source] * gang * w.fleet.device_usd[p])
    j = by_order(sim, order)
    gb = jobs.data[0, j] + state
    travel = w.geo.rtt_ms[here, there] / 7.2e6 + 8 * gb / (w.geo.gbit_s[here, there] * 3600)
    assert jobs.state_gb[0, j] == pytest.approx(state)
    assert jobs.unsaved[0, j] < speed * sim.world.step_h + 1e-9
    rng = np.random.default_rng(1)
    while jobs.status[0, by_order(sim, order)] != RUNNING:
        sim.step(restless(rng, sim, go=0.0))
    j = by_order(sim, order)
    begins = jobs.ready[0, j]
    assert begins >= now + (travel if here != there else 0.0) - 1e-9
    while by_order(sim, order) is not None:
        finish, pace = jobs.finish[0, by_order(sim, order)], s.pools.pace[0, p, kind]
        assert pace == 1.0
        sim.step(restless(rng, sim, go=0.0))
    assert finish == pytest.approx(begins + (work + resume) / speed)


def test_a_queued_job_moves_without_loss():
    sim = make(overrides=CALM | RESTLESS, autoreset=False)
    sim.reset([3])
    q, j, p = run_until(sim, QUEUED, np.random.default_rng(0))
    jobs, s = sim.state.jobs, sim.state
    order, work, at, waiting = jobs.order[0, j], jobs.work[0, j], jobs.pool[0, j], s.pools.waiting[0].copy()
    sim.step(alone(sim, q, p + 1))
    counts, j = s.ledger.counts[0], by_order(sim, order)
    assert counts[C.relocated] == counts[C.lost_work] == 0
    assert (jobs.pool[0, j], jobs.work[0, j] <= work) == (p, True)
    assert s.pools.waiting[0, at] <= waiting[at]


@pytest.mark.parametrize("overrides", [CALM, ROUGH])
def test_work_is_conserved_through_moves(overrides):
    """What jobs had to do, and what they lost, is what they did and what is left."""
    sim = make(overrides=overrides | RESTLESS | {"jobs.inference.load": 0.0}, n_envs=4, autoreset=False)
    sim.reset([5])
    rng, jobs, ledger = np.random.default_rng(5), sim.state.jobs, sim.state.ledger

    def left(b, new):
        return sum(jobs.work[b, j] * jobs.gang[b, j] for j in places(jobs, b) if jobs.order[b, j] in new)

    given, known = np.zeros(4), [set() for _ in range(4)]
    for _ in range(96):
        for b in range(4):
            new = set(jobs.order[b, places(jobs, b)]) - known[b]
            given[b] += left(b, new)
            known[b] |= new
        sim.step(restless(rng, sim))
    for b in range(4):
        given[b] += left(b, set(jobs.order[b, places(jobs, b)]) - known[b])
        counts, rest = ledger.counts_sum[b], left(b, set(jobs.order[b, places(jobs, b)]))
        assert given[b] + counts[C.lost_work] == pytest.approx(counts[C.work] + rest, rel=1e-9)
    assert (ledger.counts_sum[:, C.relocated] > 0).all()


def test_the_pool_where_a_job_is_shows_what_staying_costs():
    """The present pool is no choice, but its row is filled; the job's columns say how it stands."""
    sim = make(overrides=CALM | RESTLESS, n_envs=4)
    sim.reset([3])
    rng, seen = np.random.default_rng(2), {RUNNING: 0, QUEUED: 0}
    for _ in range(96):
        jobs, obs = sim.state.jobs, sim.obs
        q, p = sim.world.n_slots, sim.world.n_pools
        mask = obs["mask"][:, : q * (p + 1)].reshape(4, q, p + 1)
        for b, k in zip(*np.nonzero(jobs.slot >= 0), strict=True):
            j = jobs.slot[b, k]
            row, job, status = obs["pairs"][b, k], obs["jobs"][b, k], jobs.status[b, j]
            assert (job[J.running], job[J.queued]) == (status == RUNNING, status == QUEUED)
            here = np.flatnonzero(row[:, X.here])
            if status == PENDING:
                assert len(here) == 0
                continue
            seen[status] += 1
            assert list(here) == [jobs.pool[b, j]]
            assert (row[here, X.legal], mask[b, k, here + 1], mask[b, k, 0]) == (0, 0, 1)
            assert row[here][:, [X.move_usd, X.egress_usd, X.transfer]] == pytest.approx(0, abs=1e-6)
            others = row[row[:, X.legal] > 0]
            if status == RUNNING:
                assert (others[:, X.move_usd] > 0).all()
                assert (job[J.held], job[J.state] > 0) == (1, True)
                left = np.sinh(4 * row[here, X.run])
                assert left == pytest.approx(jobs.finish[b, j] - sim.state.clock.now_h[b], rel=1e-4)
            else:
                assert others[:, X.move_usd] == pytest.approx(0, abs=1e-6)
        sim.step(restless(rng, sim, go=0.2, pile=True))
    assert min(seen.values()) > 20


def test_what_travels_cannot_be_sent_again():
    """Slots never hold a job on its way."""
    sim = make(overrides=CALM | RESTLESS, n_envs=2)
    sim.reset([3])
    rng, travelled = np.random.default_rng(2), 0
    for _ in range(48):
        jobs = sim.state.jobs
        for b in range(2):
            shown = jobs.slot[b][jobs.slot[b] >= 0]
            assert (jobs.status[b, shown] != TRANSIT).all()
        sim.step(restless(rng, sim))
        travelled += (jobs.status == TRANSIT).sum()
    assert travelled > 0


def test_nothing_moves_that_may_not():
    """Whatever is chosen: leases, jobs that cannot save their state and what travels stay where they are."""
    mixed = {
        "jobs.training.movable": True,
        "jobs.training.resume_min": 0.1,
        "jobs.training.restricted_share": 0.5,
    }
    sim = make(overrides=CALM | mixed, n_envs=3)
    sim.reset([7])
    rng, jobs, movable, went = np.random.default_rng(7), sim.state.jobs, sim.world.params.work.movable, 0

    def rows(b):
        names = ("status", "pool", "kind", "source")
        return {jobs.order[b, j]: [getattr(jobs, n)[b, j] for n in names] for j in places(jobs, b)}

    for _ in range(96):
        before = [rows(b) for b in range(3)]
        act = wild_actions(rng, sim) if rng.random() < 0.7 else restless(rng, sim)
        sim.step(act)
        check_law(sim)
        for b in range(3):
            after = rows(b)
            for order in before[b].keys() & after.keys():
                (status, pool, kind, source), now = before[b][order], after[order]
                if now[1] == pool or status == PENDING:
                    continue
                went += 1
                assert kind != INFERENCE
                assert status == QUEUED or (status == RUNNING and movable[source] == 1)
    assert went > 0


@pytest.mark.parametrize("rule", ["cost-greedy-migration", "random"])
def test_both_views_are_the_same_step(rule):
    """The sequential view, head by head, books what the joint view books of the same choices, moves included."""
    joint, one = (make(view=v, overrides=CALM | RESTLESS, autoreset=False) for v in ("joint", "sequential"))
    joint.reset([3])
    one.reset([3])
    rng, moved = np.random.default_rng(3), 0
    for _ in range(48):
        act = restless(rng, joint) if rule == "random" else legal_actions(rng, joint)
        if rule != "random":
            act[:, : joint.world.n_slots] = place(
                rule, joint.obs, joint.world.pool_region, np.zeros(1, np.int64), rng
            )
        joint.step(act)
        while True:
            one.step(act[0, one._cursor])
            if one.closed[0]:
                break
        for name in ("terms", "counts", "flows"):
            np.testing.assert_array_equal(getattr(joint.state.ledger, name), getattr(one.state.ledger, name))
        moved += joint.state.ledger.counts[0, C.relocated]
    assert moved > 0 or rule != "random"


def test_few_jobs_at_a_pool_are_shown_and_others_come_round():
    """At most `MOST` a step, those that a move could save most, weighed by how long they were not seen."""
    cheap = {"regions.south.pools.gpu.devices": 256, "regions.south.pools.gpu.hardware": "gpu_a100_sxm_80gb"}
    sim = make(overrides=CALM | RESTLESS | cheap | {"decisions.slots": 64, "jobs.training.load": 0.5})
    sim.reset([1])
    rng, jobs, seen, most = np.random.default_rng(1), sim.state.jobs, set(), 0
    for _ in range(48):
        shown = [j for j in jobs.slot[0] if j >= 0 and jobs.status[0, j] >= QUEUED]
        most = max(most, len(shown))
        seen |= {int(jobs.order[0, j]) for j in shown}
        sim.step(restless(rng, sim, go=0.0))
    assert most == MOST
    assert len(seen) > 2 * MOST
