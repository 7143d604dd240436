"""One owner of state: same seed, same bits, however it is batched, threaded, interleaved or viewed."""

import subprocess
import sys

import numpy as np
import pytest

from gcn_env.core.params import INFERENCE
from gcn_env.core.state import FREE, PENDING, RUNNING
from gcn_env.errors import UserError
from gcn_env.ledger import COUNTS
from gcn_env.sim import Sim
from tests.worlds import (
    ROOT,
    ROUGH,
    arrays,
    fingerprint,
    legal_actions,
    legal_choice,
    make,
    places,
    seeded,
    trajectory,
    wild_actions,
    world,
)

C = COUNTS.ix
VIEWS = ("joint", "sequential")
CHOOSE = {"joint": legal_actions, "sequential": legal_choice}


def wild_stream(seed, n_heads, n_envs):
    """Actions that do not look at the observation, the same for an environment in any batch."""
    high = 10

    def act(t, sim, rows=slice(None)):
        return np.random.default_rng([seed, t]).integers(-1, high, (n_envs, n_heads))[rows]

    return act


@pytest.mark.smoke
def test_same_seed_same_trajectory():
    a, b = make(overrides=ROUGH), make(overrides=ROUGH)
    assert trajectory(a, [4], 5, seeded(1)) == trajectory(b, [4], 5, seeded(1))
    assert trajectory(a, [5], 5, seeded(1)) != trajectory(b, [4], 5, seeded(1))


@pytest.mark.parametrize("view", VIEWS)
def test_an_episode_does_not_depend_on_what_came_before(view):
    fresh, used = make(view=view, overrides=ROUGH), make(view=view, overrides=ROUGH)
    trajectory(used, [77], 120, seeded(2, CHOOSE[view]))
    assert trajectory(fresh, [4], 150, seeded(3, CHOOSE[view])) == trajectory(
        used, [4], 150, seeded(3, CHOOSE[view])
    )


def test_interleaved_simulators_do_not_touch_each_other():
    alone = trajectory(make(overrides=ROUGH), [6], 60, seeded(4))
    a, other = make(overrides=ROUGH), make("default", n_envs=2)
    a.reset([6])
    other.reset([1])
    found = [alone[0]]
    for t in range(60):
        other.step(seeded(9)(t, other))
        a.step(seeded(4)(t, a))
        found.append(fingerprint(a))
    assert found == alone


def test_a_fresh_process_gives_the_same_bits():
    code = (
        "from tests.worlds import *\n"
        "a = trajectory(make(overrides=ROUGH, n_envs=3), [8], 110, seeded(5, wild_actions))\n"
        "b = trajectory(make(n_envs=2, view='sequential'), [8], 90, lambda t, s: np.full(2, t % 5))\n"
        "found = ''.join(a + b)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "print(found)"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    here = {}
    exec(code, here)
    assert done.stdout.strip() == here["found"]


def test_batches_threads_and_single_environments_agree():
    n, steps, heads = 19, 120, len(make().head_sizes)
    act = wild_stream(6, heads, n)
    serial, parallel = make(n_envs=n, overrides=ROUGH), make(n_envs=n, overrides=ROUGH, threads=2)
    lone = [make(overrides=ROUGH) for _ in range(3)]
    at = [0, 8, 18]
    serial.reset([100])
    parallel.reset([100])
    for sim, i in zip(lone, at, strict=True):
        sim.reset([100 + i])
    for t in range(steps):  # past the horizon: automatic resets included
        for sim in (serial, parallel):
            sim.step(act(t, sim))
        assert fingerprint(serial) == fingerprint(parallel)
        for sim, i in zip(lone, at, strict=True):
            sim.step(act(t, sim, slice(i, i + 1)))
            for name, array in sim.obs.items():
                np.testing.assert_array_equal(array[0], serial.obs[name][i])
            assert sim.reward[0] == serial.reward[i]
            np.testing.assert_array_equal(sim.state.ledger.terms[0], serial.state.ledger.terms[i])
            assert sim.done[0] == serial.done[i]
            if sim.done[0]:
                for name, array in sim.final_obs.items():
                    np.testing.assert_array_equal(array[0], serial.final_obs[name][i])
                np.testing.assert_array_equal(sim.last_terms_sum[0], serial.last_terms_sum[i])
    for name, array in arrays(serial.state).items():
        if not name.startswith("Jobs.") or name.endswith(("n_live", "slot")):
            np.testing.assert_array_equal(array, arrays(parallel.state)[name], err_msg=name)


def test_sequential_batch_equals_single():
    n, steps = 5, 1600
    act = np.random.default_rng(7).integers(-1, 9, (steps, n))
    batch, lone = make(n_envs=n, view="sequential", overrides=ROUGH), make(view="sequential", overrides=ROUGH)
    batch.reset([50])
    lone.reset([53])
    resets = 0
    for t in range(steps):
        batch.step(act[t])
        lone.step(act[t, 3:4])
        for name, array in lone.obs.items():
            np.testing.assert_array_equal(array[0], batch.obs[name][3], err_msg=name)
        assert lone.reward[0] == batch.reward[3]
        assert lone.closed[0] == batch.closed[3]
        resets += lone.done[0]
    assert resets > 0


def test_the_world_is_the_same_whatever_is_done():
    """Arrivals other than leases, signals and failures do not depend on actions."""
    seen = []
    for choose in (
        lambda rng, sim: np.zeros((4, len(sim.head_sizes)), np.int64),
        legal_actions,
        wild_actions,
    ):
        sim = make(overrides=ROUGH | {"decisions.job_places": 2048}, n_envs=4, autoreset=False)
        rng, steps = np.random.default_rng(3), []
        sim.reset([31])
        s = sim.state
        for _ in range(96):
            t0 = s.clock.now_h.copy()
            sim.step(choose(rng, sim))
            new = []
            for b in range(4):
                live = places(s.jobs, b)
                fresh = live[(s.jobs.arrival[b, live] >= t0[b]) & (s.jobs.kind[b, live] != INFERENCE)]
                fields = (
                    s.jobs.arrival,
                    s.jobs.source,
                    s.jobs.origin,
                    s.jobs.gang,
                    s.jobs.work,
                    s.jobs.deadline,
                    s.jobs.legal,
                )
                new.append(sorted(tuple(f[b, j] for f in fields) for j in fresh))
            steps.append(
                (
                    new,
                    s.signals.now.copy(),
                    s.signals.ahead.copy(),
                    s.pools.healthy.copy(),
                    s.plants.outage_h.copy(),
                    s.plants.fault_h.copy(),
                )
            )
        seen.append(steps)
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            assert a[0] == b[0]
            for x, y in zip(a[1:], b[1:], strict=True):
                np.testing.assert_array_equal(x, y)
    assert sum(len(x) for step in seen[0] for x in step[0]) > 100


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("after", [17, 40, 203])
def test_snapshots_replay_exactly(view, after):
    """Also in the middle of a sequential step (17, 40), also after an automatic reset (203)."""
    sim, act = make(n_envs=3, view=view, overrides=ROUGH), seeded(8, CHOOSE[view])
    trajectory(sim, [60], after, act)
    shown = {k: v.copy() for k, v in sim.obs.items()}
    kept = sim.snapshot()
    first = []
    for t in range(60):
        sim.step(act(after + t, sim))
        first.append(fingerprint(sim))
    other = make(n_envs=3, view=view, overrides=ROUGH)
    other.reset([1])
    for again in (sim, other):
        again.restore(kept)
        for name, array in again.obs.items():
            np.testing.assert_array_equal(array, shown[name], err_msg=name)
        second = []
        for t in range(60):
            again.step(act(after + t, again))
            second.append(fingerprint(again))
        assert first == second


@pytest.mark.smoke
def test_heads_one_by_one_book_what_all_heads_at_once_book():
    joint, single = make(overrides=ROUGH), make(view="sequential", overrides=ROUGH)
    check_views_agree(joint, single, 4)


@pytest.mark.parametrize("name", ["smoke", "default"])
def test_views_agree_over_a_day(name):
    overrides = ROUGH if name == "smoke" else {}
    check_views_agree(
        make(name, overrides=overrides), make(name, view="sequential", overrides=overrides), 100
    )


def check_views_agree(joint, single, steps):
    """Each open head gets the joint view's choice; forced heads have one legal choice there."""
    joint.reset([12])
    single.reset([12])
    rng = np.random.default_rng(12)
    for _ in range(steps):
        act = legal_actions(rng, joint)
        decided = 0
        while True:
            head = single._cursor[0]
            np.testing.assert_array_equal(single.obs["head"][0].sum(), 1.0)
            if head < single.world.n_slots:
                np.testing.assert_array_equal(single.obs["jobs"][0, 0], joint.obs["jobs"][0, head])
            single.step(act[0, head : head + 1])
            decided += 1
            if single.closed[0]:
                break
            assert single.reward[0] == 0.0
        sizes, at, open_heads = joint.head_sizes, 0, 0
        for n in sizes:
            open_heads += joint.obs["mask"][0, at : at + n].sum() > 1
            at += n
        assert decided == open_heads
        joint.step(act)
        assert joint.reward[0] == single.reward[0]
        for part in ("terms", "flows", "counts", "terms_sum", "counts_sum"):
            np.testing.assert_array_equal(
                getattr(joint.state.ledger, part), getattr(single.state.ledger, part)
            )
        np.testing.assert_array_equal(joint.obs["globals"], single.obs["globals"])
        if (
            single.state.pools.claimed.sum() == 0 and single.obs["head"][0, 0]
        ):  # no claims yet, no current region
            for part in ("pools", "regions"):
                np.testing.assert_array_equal(joint.obs[part], single.obs[part])


def test_claims_are_seen_by_later_heads_and_forgotten():
    sim = make(view="sequential", overrides=ROUGH)
    sim.reset([2])
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(600):
        sim.step(legal_choice(rng, sim))
        claims += sim.state.pools.claimed.sum() > 0
        if sim.closed[0] and sim._cursor[0] == 0:
            assert (sim.state.pools.claimed == 0).all()
    assert claims > 20


def test_sums_of_finished_episodes_and_autoreset():
    sim = make(n_envs=2)
    sim.reset([3])
    total, seeds = np.zeros_like(sim.state.ledger.terms), sim.state.clock.seed.copy()
    for t in range(96):
        sim.step(seeded(1)(t, sim))
        total += sim.state.ledger.terms
        assert sim.done.all() == (t == 95)
    np.testing.assert_allclose(sim.last_terms_sum, total, rtol=1e-12)
    np.testing.assert_array_equal(sim.last_seed, seeds)
    assert (sim.state.clock.step == 0).all()
    assert (sim.state.clock.seed != seeds).all()
    assert (sim.state.clock.seed % 4 == seeds % 4).all(), "the split stays in the seed"
    np.testing.assert_allclose(
        -sim.reward * sim.world.reference_usd, sim.state.ledger.terms.sum(1), rtol=1e-12
    )


@pytest.mark.smoke
def test_the_next_episode_starts_by_itself():
    """Seeds wrap around 64 bits without a warning, in plain Python too."""
    sim = make(overrides={"time.episode_days": 0.03125}, n_envs=2)  # three steps
    sim.reset([2**61 + 1, -5])
    for _ in range(7):
        sim.step(np.zeros((2, len(sim.head_sizes)), np.int64))
    assert (sim.state.clock.step == 1).all()


def test_splits_and_seeds_are_apart():
    w = world()
    starts = {split: Sim(w, 1, split=split) for split in ("train", "validation", "test")}
    shown = {split: trajectory(sim, [5], 0, None)[0] for split, sim in starts.items()}
    assert len(set(shown.values())) == 3
    years = {split: set() for split in starts}
    for split, sim in starts.items():
        for seed in range(30):
            sim.reset([seed])
            years[split].add(int(sim.state.clock.year[0]))
            start = sim.state.clock.start_h[0]
            assert 24 <= start <= w.bank.hours[sim.state.clock.year[0]] - 24 - 24
    assert years["train"] & years["validation"] == set()
    assert years["train"] & years["test"] == set()
    assert len(years["train"]) == 2


def test_leaving_everything_never_starts_jobs():
    sim = make(overrides={"jobs.inference.load": 0.0}, autoreset=False)
    sim.reset([1])
    for _ in range(96):
        sim.step(np.zeros((1, len(sim.head_sizes)), np.int64))
        live = places(sim.state.jobs, 0)
        assert sim.state.ledger.counts[0, C.placed] == 0
    assert (sim.state.jobs.status[0, live] == PENDING).any()


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda w: Sim(w, 1, split="tset"), ["tset", "did you mean 'test'", "validation"]),
        (lambda w: Sim(w, 1, view="join"), ["join", "did you mean 'joint'", "sequential"]),
        (lambda w: Sim(w, 0), ["n_envs = 0", "at least one"]),
        (lambda w: Sim(w, 3).reset([1, 2]), ["2 seeds for 3", "one each"]),
        (lambda w: Sim(w, 1).reset([0.5]), ["integers", "float64"]),
        (lambda w: Sim(w, 2).step(np.zeros((2, 3), int)), ["[2, 3]", "[2, 16]"]),
        (lambda w: Sim(w, 2).step(np.zeros((2, 12))), ["float64"]),
        (lambda w: Sim(w, 2, view="sequential").step(np.zeros((2, 12), int)), ["[2, 12]", "[2]"]),
    ],
)
def test_mistakes_are_explained(make_it, words):
    with pytest.raises(UserError) as caught:
        make_it(world())
    for word in words:
        assert word in str(caught.value)


def test_episodes_begin_with_the_jobs_that_a_steady_fleet_holds():
    """By Little's law, with uniform shares of their work left; long jobs are met more often."""
    n = 300
    sim = make(n_envs=n, overrides={"jobs.inference.load": 0.0, "decisions.job_places": 512})
    sim.reset([0])
    jobs, work = sim.state.jobs, sim.world.params.work
    for s in range(4):
        here = (jobs.status != FREE) & (jobs.source == s)
        wanted = work.standing[0, s]
        assert here.sum() / n == pytest.approx(wanted, abs=4 * np.sqrt(max(wanted, 0.1) / n))
        if here.sum() > n:
            table = work.work_h[work.first[0, s] :][: work.rows[0, s]]
            biased = (table**2).mean() / table.mean()  # mean work of a job met at a random hour
            assert jobs.work[here].mean() == pytest.approx(biased / 2, rel=0.15)
    assert (jobs.status == RUNNING).sum() > n
