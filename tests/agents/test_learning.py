"""On the real simulator both learners beat chance within a minute, and what is saved is what was validated."""

import json

import numpy as np
import pytest

from agents import recipe as recipes
from agents import runs
from agents.evaluation import evaluate
from agents.policy import load
from agents.sb3.vecenv import SimVecEnv
from agents.training import train
from gcn_env import load_world
from gcn_env.observation import PAIRS
from gcn_env.sim import Sim

WEEKS, FLEETS = 12, 6
COST = PAIRS.index("cost")


@pytest.fixture(scope="module")
def smoke():
    return load_world("smoke")


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_learners_beat_chance(tmp_path, smoke, algo):
    changes = {
        "algo": algo, "timesteps": 12_000, "warm_start.policy": "rule:cost-greedy+b1", "seed": 1,
        "warm_start.steps": 12_000, "warm_start.epochs": 3, "evaluation.every": 6_000,
        "evaluation.episodes": WEEKS, "dqn.learning_starts": 0, "dqn.margin_weight": 1.0,
        "dqn.learning_rate": 1e-3, "dqn.exploration_initial": 0.05,
    }  # fmt: skip
    recipe = recipes.load("smoke", changes)
    run = runs.create(tmp_path / algo, recipe, smoke, "test")
    result = train(smoke, recipe, run, quiet=True)
    told = [json.loads(line) for line in (run.path / "validation.jsonl").read_text().splitlines()]
    assert told[0]["timesteps"] == 0
    assert min(t["total_usd"] for t in told) == result["best_validation_usd"]

    policies = {"chance": load("rule:random+b1", smoke), "learned": load(f"run:{run.path}", smoke)}
    costs = evaluate(smoke, policies, WEEKS, 0, "validation", keep=0).kpi("total_usd")
    assert costs[1].mean() < 0.9 * costs[0].mean()
    assert costs[1].mean() == pytest.approx(result["best_validation_usd"], rel=1e-9)
    unseen = evaluate(smoke, policies, WEEKS, 0, "test", keep=0).kpi("total_usd")
    assert unseen[1].mean() < unseen[0].mean()


def test_a_choice_pays_at_once_what_it_is_expected_to_cost_more(smoke):
    """The same choices in two fleets: every control step sums to the same, and dear choices pay when they are made."""
    envs = [SimVecEnv(Sim(smoke, FLEETS, view="sequential"), seed=2, shaping=True) for _ in range(2)]
    told, untold = envs
    untold._extra = lambda actions: np.zeros(FLEETS)
    for env in envs:
        env.reset()
    sums, rng, dear = np.zeros(FLEETS), np.random.default_rng(0), 0
    for _ in range(3000):
        obs, mask = told.sim.obs, told.sim.obs["mask"]
        placing = obs["head"][:, 0] > 0.5
        legal = mask[:, 1 : smoke.n_pools + 1] > 0.5
        cost = np.where(legal, np.sinh(obs["pairs"][:, 0, :, COST].astype(np.float64)), np.inf)
        actions = np.where(mask > 0.5, rng.random(mask.shape), -1.0).argmax(1)
        (_, a, _, _), (_, b, _, _) = (env.step(actions) for env in envs)
        closed = told.sim.closed
        for k in np.flatnonzero(placing & (actions > 0) & ~closed):
            more = (cost[k, actions[k] - 1] - cost[k].min()) / smoke.reference_usd
            assert a[k] == pytest.approx(-more, rel=1e-3, abs=1e-6)
            dear += more > 1e-3
        sums += a - b
        assert np.allclose(sums[closed], 0.0, atol=1e-3 * max(1.0, np.abs(a).max()))
        sums[closed] = 0.0
    assert dear > 20
