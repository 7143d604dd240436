"""Benchmarks of speed, in small: they measure what they say, and one command gathers them."""

import json

import numpy as np
import pytest

from benchmarks import __main__ as suite
from benchmarks import peer, phases, sizes, soak, training
from gcn_env import load_world


def test_phases_and_their_floor():
    said = phases.measure("smoke", 4, 6)
    assert set(phases.table(said).split()) >= {"integrate", "execute", "encode"}
    assert min(said["us_by_phase"].values()) > 0.0
    assert said["operations"]["arithmetic"] > 1_000
    assert said["operations"]["elements"] > 1_000
    assert said["us_floor"] > 0.0


def test_phases_step_as_the_step_does():
    """Called one by one, they leave the same state as the kernel of the whole step."""
    world, rng = load_world("smoke"), np.random.default_rng(1)
    whole, parts = phases.Sim(world, 4), phases.Sim(world, 4)
    whole.reset(0)
    parts.reset(0)
    actions = np.zeros((4, len(parts.head_sizes)), np.int64)
    for _ in range(20):
        actions[:] = phases.random_legal(parts.obs["mask"], parts.head_sizes, rng)
        whole.step(actions)
        for kernel, rest in phases.calls(parts, actions).values():
            kernel(0, 4, *rest)
        np.testing.assert_array_equal(whole.reward, parts.reward)
        for name, seen in whole.obs.items():
            np.testing.assert_array_equal(seen, parts.obs[name])


def test_a_fleet_grows_by_whole_copies():
    world = load_world("default", sizes.enlarged(2, 1))
    assert (world.n_regions, world.n_pools) == (10, 28)


def test_memory_is_what_is_stated():
    said = sizes.memory("smoke", 1024)
    assert said["taken_mb"] == pytest.approx(said["stated_mb"], rel=0.15)


def test_training_by_component():
    said = training.measure("smoke", "smoke", 512, 1)
    parts = said["us_per_step"]
    assert set(parts) == {"simulator", "choosing", "learning", "rest"}
    assert min(parts.values()) > 0.0
    assert sum(parts.values()) == pytest.approx(1e6 / said["steps_per_s"])


@pytest.mark.long
def test_training_played_ahead(tmp_path, monkeypatch):
    out = tmp_path / "t.json"
    words = ["--config", "smoke", "--scenario", "smoke", "--timesteps", "1024", "--ahead", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["training", *words])
    training.main()
    said = json.loads(out.read_text())
    assert [r["ahead"] for r in said["rounds"]] == [False, True, False, True]
    assert set(said["played_ahead"]["us_per_step"]) == {"waiting", "learning", "rest"}
    assert said["ratio"] == said["played_ahead"]["steps_per_s"] / said["steps_per_s"]


def test_another_environment_beside_ours():
    rows = peer.measure(["gcn/Fleet-v0", "CartPole-v1"], {"gcn/Fleet-v0": {"world": "smoke"}}, 2, 0.1)
    assert [r["env"] for r in rows] == ["gcn/Fleet-v0", "CartPole-v1"]
    assert rows[0]["ratio"] == 1.0
    assert all(min(r["steps_per_s"]) > 0 and min(r["vector_steps_per_s"]) > 0 for r in rows)
    assert "CartPole-v1" in peer.table({"envs": 2, "rows": rows})


def test_random_steps_keep_what_must_hold():
    said = soak.soak("smoke", 2_000, 4, 1.0, 400)
    assert said["steps"] == 2_000
    assert said["checks"] == 6
    assert "2,000 random env-steps" in soak.table(said)


def test_one_command_gathers_parts_and_names_what_failed(tmp_path, monkeypatch, capsys):
    said = {
        "sizes": {
            "batch": [{"batch": b, "best": 9.0 * b, "median": 8.0} for b in (1, 8)],
            "fleet": [{"size": s, "best": 100.0 / s, "median": 9.0} for s in (45, 90)],
        },
        "phases": {"us_by_phase": {"execute": 3.0, "encode": 2.0}},
    }

    def call(part, folder, quick, more):
        if part == "training":
            raise RuntimeError("no time")
        return {"printed": f"| {part} |\n|---|\n| 1 |\n", "said": said[part]}

    monkeypatch.setattr(suite, "call", call)
    assert suite.main(["--parts", "sizes", "training", "--out", str(tmp_path)]) == 1
    assert "failed: training: no time" in capsys.readouterr().err
    assert suite.main(["--parts", "phases", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert set(found) == {"sizes", "phases"}
    text = (tmp_path / "benchmarks.md").read_text()
    assert text.index("| phases |") < text.index("| sizes |")
    assert (tmp_path / "benchmarks.png").stat().st_size > 10_000
