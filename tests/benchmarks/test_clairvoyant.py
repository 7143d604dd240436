"""The player that knows the week plays by the simulator's rules, and pays no less than the bound."""

import argparse
import json

import numpy as np
import pytest

from agents.bound.plants import Envelope
from agents.evaluation import episode_seeds
from benchmarks import clairvoyant
from gcn_env import load_world
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import PENDING
from gcn_env.errors import UserError
from gcn_env.sim import Sim


@pytest.fixture(scope="module")
def world():
    return load_world("smoke", {"time.episode_days": 2})


@pytest.fixture(scope="module")
def seeds():
    return [int(s) for s in episode_seeds(0, 2)]


@pytest.fixture(scope="module")
def futures(world, seeds):
    envelope = Envelope(world)
    return [clairvoyant.future(world, s, "test", envelope) for s in seeds]


def test_it_pays_no_less_than_the_bound_and_chooses_nothing_illegal(world, seeds, futures):
    terms, illegal = clairvoyant.play(world, seeds, "test", "rule:cost-greedy+b1", futures, 3.0, 0.02)
    assert (terms.sum(1) >= [f.bound for f in futures]).all()
    assert not illegal.any()


def placed(world, seed, told):
    """How many jobs a patient player sends in the first 16 steps."""
    sim = Sim(world, 1, split="test", autoreset=False)
    sim.reset(np.array([seed], np.uint64))
    player, sent = clairvoyant.Player(sim, 0, told, -1e9, 0.0), 0
    jobs = sim.state[3]
    for _ in range(16):
        actions = np.zeros((1, len(sim.head_sizes)), np.int64)
        choices = actions[0, : world.n_slots]
        mine = [
            j >= 0 and jobs.status[0, j] == PENDING and jobs.kind[0, j] != INFERENCE for j in jobs.slot[0]
        ]
        player.choose(sim.obs["pairs"][0, :, :, clairvoyant.LEGAL] > 0.0, choices)
        sent += int((choices[mine] > 0).sum())
        sim.step(actions)
    return sent


def test_what_it_knows_decides(world, seeds, futures):
    """Told that energy is dear for half a day, it waits; told that it is dear from then on, it does not."""
    hours = np.arange(futures[0].usd.shape[2])
    dear_now, dear_later = 1e3 * np.minimum(hours, 12.0), 1e3 * np.maximum(hours - 12.0, 0.0)
    sent = [
        placed(world, seeds[0], futures[0]._replace(usd=np.broadcast_to(sums, futures[0].usd.shape)))
        for sums in (dear_now, dear_later)
    ]
    assert sent[0] == 0
    assert sent[1] > 0


def test_shares_are_of_the_ways_from_the_best_rule():
    found = {
        "seeds": [1, 2], "settings": [(1.0, 0.02)], "usd": [[7.0, 17.0]], "best_usd": [6.0, 16.0],
        "bound_usd": [2.0, 12.0],
    }  # fmt: skip
    results = {
        "reference": "rule", "learned": ["ours"],
        "policies": {"rule": {"total_usd": [10.0, 20.0]}, "ours": {"total_usd": [8.0, 18.0]}},
    }  # fmt: skip
    by_name = {row["name"]: row for row in clairvoyant.rows(found, results)}
    assert list(by_name) == ["rule", "ours", "settings 1 h, 2 %", clairvoyant.BEST, "bound"]
    assert by_name["ours"] == {
        "name": "ours", "mean_usd": 13.0, "iqm_usd": 13.0, "to_player": 0.5, "to_bound": 0.25
    }  # fmt: skip
    assert by_name[clairvoyant.BEST]["to_player"] == by_name["bound"]["to_bound"] == 1.0
    assert "to_player" not in clairvoyant.rows(found, None)[0]
    level = {**found, "best_usd": [10.0, 20.0]}
    assert clairvoyant.rows(level, results)[0]["to_player"] is None


def test_results_of_other_episodes_are_refused_before_anything_is_solved(tmp_path, world, seeds):
    path = tmp_path / "results.json"
    meta = {"scenario_fingerprint": world.fingerprint, "config": {"split": "test"}}
    path.write_text(json.dumps({"meta": meta, "seeds": [str(s) for s in seeds]}))
    assert clairvoyant.read_results(path, world, "test", seeds)["meta"] == meta
    for split, wanted in (("validation", seeds), ("test", seeds[::-1]), ("test", [*seeds, 7])):
        with pytest.raises(UserError, match="other episodes"):
            clairvoyant.read_results(path, world, split, wanted)
    path.write_text("{}")
    args = argparse.Namespace(
        scenario="smoke", episodes=1, seed=0, split="test", results=path, other="rule:random+b0"
    )
    with pytest.raises(UserError, match="is no results"):
        clairvoyant.measured(args)


def test_the_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(clairvoyant, "SETTINGS", ((3.0, 0.02),))
    out = tmp_path / "told"
    assert clairvoyant.main(["--scenario", "smoke", "--episodes", "2", "--out", str(out)]) == 0
    text = out.with_suffix(".md").read_text()
    assert text in capsys.readouterr().out
    found = json.loads(out.with_suffix(".json").read_text())
    assert np.isclose(sum(found["terms"].values()), np.mean(found["best_usd"]))
    assert clairvoyant.main(["--scenario", "neocloud-gigawatt", "--out", str(out)]) == 2
    assert "does not cover" in capsys.readouterr().err
