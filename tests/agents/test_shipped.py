"""Shipped policies: written, read back, refused with a reason, and true to what the package says of them."""

import json

import numpy as np
import pytest
import torch

from agents import cards, policy, runs
from agents.training import load_policy, train
from agents.training.shipped import load_shipped, ship
from gcn_env import load_world
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from tests.agents.fakes import FakeSim, world
from tests.agents.test_training import fake, small


@pytest.fixture(scope="module", params=["ppo", "dqn"])
def run(request, tmp_path_factory):
    """A short run with a validated best policy."""
    recipe = small(request.param)
    folder = runs.create(tmp_path_factory.mktemp("run") / "run", recipe, world(), "train.py --made-up")
    train(world(), recipe, folder, quiet=True, factory=fake)
    content = torch.load(folder.steps()[-1], weights_only=True)
    torch.save({**content, "total_usd": 1234.5}, folder.best)
    return folder


def test_a_shipped_policy_acts_as_the_run(run, tmp_path):
    file = ship(run, "mine", folder=tmp_path)
    assert file.stat().st_size < 400_000
    assert cards.names(tmp_path) == ["mine"]
    ours, theirs = load_shipped("mine", world(), tmp_path), load_policy(run.path, world())
    sim = FakeSim(world(), 5, view=ours.view)
    sim.reset(np.arange(5))
    for _ in range(20):
        actions = ours.predict(sim.obs)[0]
        assert np.array_equal(actions, theirs.predict(sim.obs)[0])
        sim.step(actions)
    card = cards.document("mine", tmp_path)["card"]
    assert card["validation_usd"] == 1234.5
    assert card["commands"] == ["train.py --made-up"]
    assert "trained:mine" in cards.headlines(tmp_path)
    assert "## trained:mine" in cards.page(tmp_path)


def test_its_card_says_what_was_measured(run, tmp_path):
    estimate = {"value": -5.0, "low": -6.0, "high": -4.0}
    line = {
        "policy": "team",
        "runs": 5,
        "cost": estimate,
        "mean": 1.0,
        "percent": estimate,
        "verdict": "better",
    }
    meta = {"command": "evaluate.py x", "scenario": "fake", "specs": {"team": f"run:{run.path},run:other"}}
    results = tmp_path / "results.json"
    results.write_text(
        json.dumps({"meta": meta, "episodes": 20, "reference": "best+b1", "comparison": [line]})
    )
    ship(run, "mine", results, tmp_path)
    assert "-5.0 % (-6.0 to -4.0) against best+b1, 5 training seeds x 20 test weeks" in cards.headlines(
        tmp_path
    )
    results.write_text(results.read_text().replace(str(run.path), "elsewhere"))
    with pytest.raises(UserError, match="knows nothing of"):
        ship(run, "mine", results, tmp_path)


def test_what_is_wrong_is_said(run, tmp_path):
    with pytest.raises(UserError, match="lower-case"):
        ship(run, "../Mine", folder=tmp_path)
    ship(run, "mine", folder=tmp_path)
    with pytest.raises(UserError, match="did you mean 'mine'"):
        load_shipped("mime", world(), tmp_path)
    with pytest.raises(UserError, match="cooling_levels"):
        load_shipped("mine", world(levels=6), tmp_path)
    page = tmp_path / "mine.json"
    text = page.read_text()
    page.write_text(text.replace('"queued"', '"cued"', 1))
    with pytest.raises(UserError, match="another observation"):
        load_shipped("mine", world(), tmp_path)
    page.write_text(text[:100])
    with pytest.raises(UserError, match="install the package again"):
        load_shipped("mine", world(), tmp_path)
    page.write_text(text)
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="cannot be read"):
        load_shipped("mine", world(), tmp_path)


@pytest.mark.parametrize("name", cards.names())
def test_shipped_policies_fit_this_package(name):
    """Current columns, legal choices, and better than random on `smoke`, which none was trained in.

    In every week; `dqn-default`, which lets work pile up in a week now and then, by the mean and in all weeks but one.
    """
    from agents.evaluation import evaluate

    smoke = load_world("smoke")
    trained = policy.load(f"trained:{name}", smoke)
    sim = Sim(smoke, 4, split="test", view=trained.view)
    sim.reset(1)
    for _ in range(200):
        sim.step(trained.predict(sim.obs)[0])
    policies = {"trained": trained, "random": policy.load("rule:random+b0", smoke)}
    results = evaluate(smoke, policies, 8, keep=0)
    assert results.kpi("illegal", "trained").sum() == 0
    ours, chance = results.kpi("total_usd", "trained"), results.kpi("total_usd", "random")
    assert ours.mean() < chance.mean()
    assert (ours < chance).sum() >= (7 if name == "dqn-default" else 8)


def test_the_page_of_cards_is_true():
    assert (cards.FOLDER / "README.md").read_text() == cards.page()


def test_default_policies_are_there():
    assert "ppo-default" in cards.names()
