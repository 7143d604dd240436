"""On the real simulator both learners beat chance within a minute, and what is saved is what was validated."""

import json

import pytest

from agents import recipe as recipes
from agents import runs
from agents.evaluation import evaluate
from agents.policy import load
from agents.training import train
from gcn_env import load_world

WEEKS = 12


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
