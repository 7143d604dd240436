"""The player that is told the future plays by the simulator's rules, and pays no less than the bound."""

import json

import numpy as np
import pytest

from agents.bound.plants import Envelope
from agents.evaluation import episode_seeds
from benchmarks import clairvoyant
from gcn_env import load_world

WEEK = {"time.episode_days": 2}


@pytest.fixture(scope="module")
def world():
    return load_world("smoke", WEEK)


@pytest.fixture(scope="module")
def seeds():
    return [int(s) for s in episode_seeds(0, 2)]


@pytest.fixture(scope="module")
def told(world, seeds):
    envelope = Envelope(world)
    return [clairvoyant.future(world, s, "test", envelope) for s in seeds]


def test_it_pays_no_less_than_the_bound_and_chooses_nothing_illegal(world, seeds, told):
    terms, refused = clairvoyant.play(world, seeds, "test", "rule:cost-greedy+b1", told, 3.0, 0.02)
    assert (terms.sum(1) >= [t.bound for t in told]).all()
    assert not refused.any()


def test_what_it_knows_matters(world, seeds, told):
    """Told that energy is dear for a while, it waits; told that it is dear from then on, it does not."""
    usd = np.zeros_like(told[0].usd)
    hours = np.arange(usd.shape[2])
    soon, later = (np.minimum(hours, 12.0), np.maximum(hours - 12.0, 0.0))
    first = []
    for sums in (soon, later):
        lie = [t._replace(usd=np.broadcast_to(1e3 * sums, usd.shape)) for t in told]
        sim = clairvoyant.Sim(world, 1, split="test", autoreset=False)
        sim.reset(np.array(seeds[:1], np.uint64))
        player = clairvoyant.Player(sim, 0, lie[0], -1e9, 0.0)
        placed = 0
        for _ in range(16):
            choices = np.zeros(world.n_slots, np.int64)
            mine = _pending_jobs(sim)
            player.choose(sim.obs["pairs"][0, :, :, clairvoyant.LEGAL] > 0.0, choices)
            placed += int((choices[mine] > 0).sum())
            actions = np.zeros((1, len(sim.head_sizes)), np.int64)
            actions[0, : world.n_slots] = choices
            sim.step(actions)
        first.append(placed)
    assert first[0] == 0
    assert first[1] > 0


def _pending_jobs(sim):
    """Slots that show a pending job that is no lease."""
    jobs = sim.state[3]
    return [
        q for q, j in enumerate(jobs.slot[0])
        if j >= 0 and jobs.status[0, j] == clairvoyant.PENDING and jobs.kind[0, j] != clairvoyant.INFERENCE
    ]  # fmt: skip


def test_shares_are_of_the_ways_from_the_best_rule(seeds):
    results = {
        "seeds": [str(s) for s in seeds], "reference": "rule", "learned": ["ours"],
        "policies": {"rule": {"total_usd": [10.0, 20.0]}, "ours": {"total_usd": [8.0, 18.0]}},
    }  # fmt: skip
    found = clairvoyant.shares(results, seeds, np.array([6.0, 16.0]), np.array([2.0, 12.0]))
    assert found == {
        "rule": {"mean_usd": 15.0, "share_to_player": 0.0, "share_to_bound": 0.0},
        "ours": {"mean_usd": 13.0, "share_to_player": 0.5, "share_to_bound": 0.25},
    }
    with pytest.raises(clairvoyant.UserError, match="other episodes"):
        clairvoyant.shares({**results, "seeds": ["1", "2"]}, seeds, np.zeros(2), np.zeros(2))


def test_the_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(clairvoyant, "PAIRS_TRIED", ((3.0, 0.02),))
    out = tmp_path / "told"
    assert clairvoyant.main(["--scenario", "smoke", "--episodes", "2", "--out", str(out)]) == 0
    text = out.with_suffix(".md").read_text()
    assert text in capsys.readouterr().out
    found = json.loads(out.with_suffix(".json").read_text())
    assert np.isclose(sum(found["terms"].values()), np.mean(found["best_usd"]))
    assert clairvoyant.main(["--scenario", "neocloud-gigawatt", "--out", str(out)]) == 2
