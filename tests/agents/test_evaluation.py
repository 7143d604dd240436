"""Paired, repeatable, independent of batches, of company and of interrupts."""

import dataclasses

import numpy as np
import pytest

import gcn_env
from agents import evaluation
from agents.evaluation import EVAL_SEED_BASE, episode_seeds, evaluate, name_policies
from gcn_env.errors import UserError
from gcn_env.metrics import KPIS
from gcn_env.sim import Sim


class Masked:
    """Takes the legal choice that a fixed function of the observation likes best; no memory, no chance."""

    def __init__(self, heads, view="joint", salt=0.0):
        self.heads, self.view, self.salt, self.calls = heads, view, salt, 0

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        self.calls += 1
        mask = observation["mask"]
        seen = observation["pools"].sum(axis=(1, 2))[:, None]
        like = mask * (2.0 + np.sin(seen * 7.0 + np.arange(mask.shape[1]) * 1.7 + self.salt))
        if self.view == "sequential":
            return like.argmax(axis=1), None
        ends = np.cumsum(self.heads)
        return np.stack(
            [like[:, e - n : e].argmax(axis=1) for n, e in zip(self.heads, ends, strict=True)], 1
        ), None


@pytest.fixture(scope="module")
def world(root):
    return gcn_env.load_world(str(root / "configs" / "scenarios" / "smoke.yaml"))


@pytest.fixture(scope="module")
def heads(world):
    return Sim(world, 1).head_sizes


@pytest.fixture(scope="module")
def three(world, heads):
    return evaluate(world, {"a": Masked(heads), "b": Masked(heads, salt=1.0)}, episodes=3, keep=2)


def test_shapes_and_records(three, world):
    assert three.kpis.shape == (2, 3, len(KPIS))
    assert np.isfinite(three.kpis).all()
    assert not three.interrupted
    rec = three.records["a"]
    assert rec.regions.shape[:3] == (2, 24, world.n_regions)
    assert np.isfinite(rec.regions).all()
    for k in range(2):
        np.testing.assert_allclose(rec.usd[k].sum(), three.kpi("total_usd", "a")[k], rtol=1e-9)


def test_policies_meet_the_same_weeks(three):
    a, b = three.records["a"], three.records["b"]
    for column in ("price", "carbon", "dry"):
        np.testing.assert_array_equal(a.region(column), b.region(column))
    assert (three.kpi("total_usd", "a") != three.kpi("total_usd", "b")).any()


def test_batches_and_company_change_nothing(three, world, heads):
    again = evaluate(world, {"b": Masked(heads, salt=1.0), "a": Masked(heads)}, episodes=3, batch=2, keep=0)
    for name in ("a", "b"):
        np.testing.assert_array_equal(
            again.kpis[again.policies.index(name)], three.kpis[three.policies.index(name)]
        )
    alone = evaluate(world, {"a": Masked(heads)}, episodes=1, seed=2, keep=0)
    np.testing.assert_array_equal(alone.kpis[0, 0], three.kpis[0, 2])  # episode e of seed s is s + e


def test_sequential_policies(world, heads):
    res = evaluate(world, {"s": Masked(heads, view="sequential"), "j": Masked(heads)}, episodes=2)
    assert np.isfinite(res.kpis).all()
    for column in ("price", "carbon", "dry"):
        np.testing.assert_array_equal(res.records["s"].region(column), res.records["j"].region(column))
    assert np.isfinite(res.records["s"].regions).all()
    np.testing.assert_allclose(res.records["s"].usd[0].sum(), res.kpi("total_usd", "s")[0], rtol=1e-9)


def test_seeds_never_meet_those_of_training(world):
    seeds = episode_seeds(3, 4)
    assert seeds.dtype == np.uint64
    assert seeds.tolist() == [EVAL_SEED_BASE + 3 + e for e in range(4)]
    sim = Sim(world, 1, split="train")
    sim.reset(episode_seeds(0, 1))
    evaluated = int(sim.state.clock.seed[0])
    sim.reset([evaluation.MAX_SEED])
    assert evaluated > int(
        sim.state.clock.seed[0]
    )  # the largest training seed lies below the first of evaluation
    for wrong in (-1, evaluation.MAX_SEED):
        with pytest.raises(UserError, match="not in 0"):
            episode_seeds(wrong, 1)


class Impatient(Masked):
    """Presses Ctrl-C after so many calls."""

    def __init__(self, heads, calls):
        super().__init__(heads)
        self.left = calls

    def predict(self, *args, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().predict(*args, **kwargs)


def test_interrupt_keeps_whole_paired_episodes(world, heads, three):
    steps = world.horizon
    # in the second batch: the first batch is kept for both
    res = evaluate(world, {"a": Masked(heads), "c": Impatient(heads, steps + 5)}, episodes=3, batch=2)
    assert (res.policies, res.episodes, res.interrupted) == (("a", "c"), 2, True)
    np.testing.assert_array_equal(res.kpis[0], three.kpis[0, :2])
    # in the first batch: what is through it is kept
    res = evaluate(world, {"a": Masked(heads), "c": Impatient(heads, 5)}, episodes=3)
    assert (res.policies, res.unfinished, res.episodes) == (("a",), ("c",), 3)
    with pytest.raises(KeyboardInterrupt):
        evaluate(world, {"c": Impatient(heads, 5)}, episodes=1)


def test_a_team_is_the_mean_of_its_runs(world, heads, three):
    res = evaluate(world, {"t": [Masked(heads), Masked(heads, salt=1.0)], "a": Masked(heads)}, episodes=3)
    np.testing.assert_array_equal(res.runs["t"], three.kpis)
    np.testing.assert_array_equal(res.kpis[0], three.kpis.mean(axis=0))
    assert set(res.runs) == {"t"}
    assert res.each_run("total_usd", "a").shape == (1, 3)


def test_progress_rises_to_one(world, heads):
    seen = []
    evaluate(world, {"a": Masked(heads)}, episodes=2, batch=1, progress=lambda n, s: seen.append(s))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_nothing_to_do(world):
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate(world, {}, episodes=3)


def test_names():
    rules = ["nearest+b1", "rule:random+b0"]
    got = name_policies(["rules", "run:runs/ppo-1", "mine=run:runs/x,run:runs/y", "rule:nearest+b1"], rules)
    assert got == {
        "nearest+b1": ("rule:nearest+b1",),
        "random+b0": ("rule:random+b0",),
        "ppo-1": ("run:runs/ppo-1",),
        "mine": ("run:runs/x", "run:runs/y"),
    }
    with pytest.raises(UserError, match="two policies are called 'ppo'"):
        name_policies(["run:a/ppo", "run:b/ppo"], rules)


def test_results_are_frozen(three):
    with pytest.raises(dataclasses.FrozenInstanceError):
        three.policies = ()
