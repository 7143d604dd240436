"""Run folders, checkpoints, exact resumption, kills, warm starts, and what a user can get wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from agents import recipe as recipes
from agents import runs
from agents.training import Flag, Interrupted, load_policy, train
from agents.training.checkpoints import latest, pack, read, save, unpack
from agents.training.learner import build
from agents.training.warmstart import OneHead, copy_rows
from gcn_env.core.state import N_HEADS
from gcn_env.errors import UserError
from tests.agents.fakes import FakeSim, State, world

pytestmark = pytest.mark.stepless

ROOT = Path(__file__).resolve().parents[2]


def fake(world, n_envs, view):
    return FakeSim(world, n_envs, view=view)


def small(algo="ppo", **changes):
    values = {
        "algo": algo, "timesteps": 8 * 16 * 6 if algo == "ppo" else 2400, "envs": 8, "threads": 1, "seed": 3,
        "network": {"width": 8, "pair_width": 8}, "ppo": {"n_steps": 16, "batch_size": 64, "epochs": 2},
        "dqn": {
            "buffer_size": 1600, "learning_starts": 200, "batch_size": 32, "n_steps": 3,
            "target_update_interval": 400,
        },
        "evaluation": {"episodes": 0}, "checkpoints": {"every": 256, "keep": 2}, **changes,
    }  # fmt: skip
    return recipes.checked(values, "small")


class After(Flag):
    """Asks to stop when it has been looked at `n` times."""

    def __init__(self, n):
        self.left = n

    @property
    def raised(self):
        self.left -= 1
        return self.left == 0


class Begun(Flag):
    """Asks to stop once learning has begun."""

    def __init__(self, run):
        self.run = run

    @property
    def raised(self):
        return self.run.tensorboard.is_dir() and any(self.run.tensorboard.iterdir())


def finish(path, recipe, stop=None):
    """Train in a new folder, interrupted once if asked; the last checkpoint."""
    run = runs.create(path, recipe, world(), "train.py --made-up")
    if stop is None:
        train(world(), recipe, run, quiet=True, factory=fake)
    else:
        with pytest.raises(Interrupted):
            train(world(), recipe, run, quiet=True, factory=fake, flag=After(stop))
        assert run.progress()["status"] == "interrupted"
        assert run.progress()["timesteps"] < recipe.timesteps
        train(world(), run.recipe(), run, resume=True, quiet=True, factory=fake)
    assert run.progress()["status"] == "finished"
    return latest(run)


def same(a, b, path=""):
    """Equal trees, wall-clock times of episodes apart."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for k in a:
            if k != "episodes":
                same(a[k], b[k], f"{path}/{k}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{path}/{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b or (a != a and b != b), path


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "stop"), [("ppo", 3), ("dqn", 30)])
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path, algo, stop):
    recipe = small(algo)
    whole = finish(tmp_path / "whole", recipe)
    parts = finish(tmp_path / "parts", recipe, stop)
    same(whole, parts)
    assert whole["learner"]["num_timesteps"] >= recipe.timesteps


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_seeds_decide_everything(tmp_path, algo):
    first = finish(tmp_path / "a", small(algo))
    same(first, finish(tmp_path / "b", small(algo)))
    other = finish(tmp_path / "c", small(algo, seed=4))
    assert not torch.equal(first["net"]["cool_score.weight"], other["net"]["cool_score.weight"])


def test_a_run_explains_itself(tmp_path):
    finish(tmp_path / "run", small())
    run = runs.RunFolder(tmp_path / "run")
    assert run.recipe() == small()
    about = run.about()
    assert about["seed"] == 3
    assert about["versions"]["torch"]
    assert about["observation"]["pairs"][0]["name"]
    assert set(about["fingerprints"]) == {"jobs", "pools", "regions", "pairs", "globals"}
    assert (run.path / "command.txt").read_text() == "train.py --made-up\n"
    assert (run.path / "scenario.yaml").read_text() == "name: fake\n"
    assert len(run.steps()) == 2
    assert list(run.tensorboard.iterdir())


def test_tensorboard_has_the_librarys_tags_and_the_ledgers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finish(tmp_path / "run", small())
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"rollout/ep_rew_mean", "time/fps", "train/approx_kl", "train/value_loss"} <= tags
    assert {"kpi/total_usd", "kpi/pue", "reward/energy", "reward/late", "reward/total"} <= tags
    total = events.Scalars("reward/total")
    assert all(-1.5 < e.value < -0.3 for e in total)


def test_a_run_is_never_overwritten(tmp_path):
    runs.create(tmp_path / "run", small(), world(), "x")
    with pytest.raises(UserError, match="--resume"):
        runs.create(tmp_path / "run", small(), world(), "y")
    assert (tmp_path / "run" / "command.txt").read_text() == "x\n"
    assert runs.free_name(tmp_path, "run") == tmp_path / "run-2"


def test_resuming_needs_a_checkpoint_and_something_left(tmp_path):
    run = runs.create(tmp_path / "run", small(), world(), "x")
    with pytest.raises(UserError, match="no checkpoint to resume"):
        train(world(), small(), run, resume=True, quiet=True, factory=fake)
    train(world(), small(), run, quiet=True, factory=fake)
    with pytest.raises(UserError, match="finished"):
        train(world(), small(), run, resume=True, quiet=True, factory=fake)
    longer = small(timesteps=8 * 16 * 8)
    assert train(world(), longer, run, resume=True, quiet=True, factory=fake)["timesteps"] == 8 * 16 * 8


def test_another_world_is_refused(tmp_path):
    run = runs.create(tmp_path / "run", small(), world(), "x")
    run.check_world(world())
    changed = world()
    changed.fingerprint = "other"
    with pytest.raises(UserError, match="reads differently"):
        run.check_world(changed)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.agents.test_training import fake, runs, small, train, world
recipe = small({algo!r}, timesteps=10**9, checkpoints={{"every": 1, "keep": 2}})
train(world(), recipe, runs.create(Path({path!r}), recipe, world(), "x"), quiet=True, factory=fake)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("algo", ["ppo", pytest.param("dqn", marks=pytest.mark.long)])
def test_a_killed_run_leaves_a_whole_checkpoint(tmp_path, algo):
    path = tmp_path / "run"
    code = KILLED.format(root=str(ROOT), algo=algo, path=str(path))
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    run = runs.RunFolder(path)
    try:
        end = time.monotonic() + 120
        while len(run.steps()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.25)  # into the middle of something
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    content = latest(run)
    assert content["timesteps"] > 0
    assert load_policy(path, world()) is not None
    recipe = small(algo, timesteps=content["timesteps"] + 8 * 16 * 2)
    train(world(), recipe, run, resume=True, quiet=True, factory=fake)
    assert not list(run.checkpoints.glob("*.part"))


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    finish(tmp_path / "run", small())
    run = runs.RunFolder(tmp_path / "run")
    older, newer = run.steps()
    newer.write_bytes(newer.read_bytes()[:1000])
    assert latest(run)["timesteps"] == read(older)["timesteps"]
    older.write_text("nothing")
    with pytest.raises(UserError, match="no readable checkpoint"):
        latest(run)


def test_checkpoints_hold_values_and_no_code(tmp_path):
    tree = {"state": State(ledger=[np.arange(3, dtype=np.uint64), np.ones((2, 2), bool)]), "n": np.int64(4)}
    save(tmp_path / "x.pt", {"tree": pack(tree)})
    back = unpack(read(tmp_path / "x.pt")["tree"], tree)
    assert isinstance(back["state"], State)
    assert back["state"].ledger[0].dtype == np.uint64
    assert np.array_equal(back["state"].ledger[1], np.ones((2, 2), bool))
    assert back["n"] == 4
    torch.save({"format": 1, "policy": small()}, tmp_path / "code.pt")
    with pytest.raises(UserError, match="no readable checkpoint"):
        read(tmp_path / "code.pt")
    torch.save({"format": 99}, tmp_path / "new.pt")
    with pytest.raises(UserError, match="99"):
        read(tmp_path / "new.pt")


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    runs.write_text(path, "old")

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        runs.atomic_write(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_trained_policies_serve_other_fleets_of_the_same_columns(tmp_path, algo):
    finish(tmp_path / "run", small(algo))
    bigger = world(slots=5, pools=6, regions=4)
    policy = load_policy(tmp_path / "run", bigger)
    sim = FakeSim(bigger, 4, view=policy.view)
    sim.reset(np.arange(4))
    actions, _ = policy.predict(sim.obs)
    assert sim.legal(actions).all()
    one, _ = policy.predict({k: v[2] for k, v in sim.obs.items()})
    assert np.array_equal(one, actions[2])


def test_policies_of_another_layout_are_refused_by_name(tmp_path):
    finish(tmp_path / "run", small())
    run = runs.RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="4 levels per cooling head"):
        load_policy(run.path, world(levels=5))
    content = read(run.steps()[-1])
    column = content["observation"]["pairs"][3]
    known, column["name"] = column["name"], "haste"
    save(run.steps()[-1], content)
    with pytest.raises(UserError, match=rf"pairs\[3\] is {known} .* haste"):
        load_policy(run.path, world())
    with pytest.raises(UserError, match="no run folder"):
        load_policy(tmp_path / "nowhere", world())
    with pytest.raises(UserError, match="holds no training run"):
        load_policy(tmp_path, world())


class Greedy:
    """Sends every job to the legal pool with the greatest third column and keeps level 1 everywhere."""

    view = "joint"

    def predict(self, obs, state=None, episode_start=None, deterministic=True):
        b, q = obs["jobs"].shape[:2]
        p, r = obs["pools"].shape[1], obs["regions"].shape[1]
        place = obs["mask"][:, : q * (p + 1)].reshape(b, q, p + 1)
        best = np.where(place[..., 1:] > 0, obs["pairs"][..., 3], -9.0).argmax(-1) + 1
        best = best * place[..., 1:].any(-1)
        cool = obs["mask"][:, q * (p + 1) :].reshape(b, N_HEADS * r, -1)
        return np.concatenate([best, (cool[..., 1] > 0).astype(int)], 1), state


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_imitation_copies_a_rule(monkeypatch, tmp_path, algo):
    from agents import policy as policies

    monkeypatch.setattr(policies, "load", lambda spec, world: Greedy())
    steps = 8 * 16 * 12 if algo == "ppo" else 1600
    start = {"policy": "rule:greedy", "steps": steps, "epochs": 8, "learning_rate": 1e-2, "slip": 0.1}
    dqn = {**small().dqn.model_dump(), "margin_weight": 1.0, "learning_rate": 3e-3, "n_steps": 1}
    recipe = small(algo, warm_start=start, timesteps=64, dqn=dqn)
    run = runs.create(tmp_path / "run", recipe, world(), "x")
    with pytest.raises(KeyboardInterrupt):  # there is nothing to save yet
        train(world(), recipe, run, quiet=True, factory=fake, flag=After(2))
    assert not run.steps()
    with pytest.raises(Interrupted):  # before anything else is learned
        train(world(), recipe, run, quiet=True, factory=fake, flag=Begun(run))
    policy = load_policy(run.path, world())
    sim = FakeSim(world(), 32, view=policy.view)
    sim.reset(np.arange(32) + 1000)
    if algo == "ppo":
        assert (policy.predict(sim.obs)[0] == Greedy().predict(sim.obs)[0]).mean() > 0.95
        return
    agreed = []
    for _ in range(sim.n_heads):
        rule = OneHead(Greedy(), 4)(sim.obs)
        agreed.append((policy.predict(sim.obs)[0] == rule).mean())
        assert sim.legal(rule).all()
        sim.step(rule)
    assert np.mean(agreed) > 0.9


def test_environments_start_spread_over_the_episode(tmp_path):
    recipe = small(timesteps=64, envs=6, ppo={"n_steps": 16, "batch_size": 32})
    learner = build(world(), recipe, "cpu", fake)
    from agents.training.warmstart import explore, look_around

    told = []
    look_around(learner, explore(learner), 12, lambda what, share: told.append(share))
    obs = learner.model._last_obs
    sim = learner.env.sim
    assert sim.time.tolist() == [0, 2, 4, 6, 8, 10]
    assert learner.env.episode_steps.tolist() == sim.time.tolist()
    assert all(np.array_equal(obs[k], sim.obs[k]) for k in obs)
    assert learner.env.episode_reward[0] == 0.0
    assert (np.diff(learner.env.episode_reward) < 0).all()
    usd = sim.state.ledger.terms_sum.sum(1)
    assert np.allclose(-usd / 100.0, learner.env.episode_reward)
    assert told[-1] <= 1.0
    assert learner.scale.spread != 1.0


def test_rows_are_copied_in_trees():
    a = {"x": np.zeros((3, 2)), "y": [np.zeros(3), (np.zeros(3),)]}
    b = {"x": np.ones((3, 2)), "y": [np.ones(3), (np.ones(3),)]}
    copy_rows(a, b, np.array([1]))
    assert a["x"].sum() == 2
    assert a["y"][1][0].tolist() == [0, 1, 0]


class TestRecipes:
    @pytest.mark.parametrize("name", ["quick", "full", "smoke", "dqn", "general"])
    def test_shipped_recipes_are_whole(self, name):
        recipe = recipes.load(name)
        assert recipe == recipes.load(ROOT / "configs" / "train" / f"{name}.yaml")
        assert recipes.checked(recipe.model_dump(mode="json"), "again") == recipe

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"ppo": {"gama": 0.9}}, "ppo.gama: unknown key; did you mean 'gamma'"),
            ({"alg": "ppo"}, "did you mean 'algo'"),
            ({"algo": "sac"}, "'ppo' or 'dqn'"),
            ({"envs": 0}, "envs: 0"),
            ({"ppo": {"gamma": 1.0}}, "ppo.gamma: 1.0"),
            ({"timesteps": "many"}, "timesteps: 'many'"),
        ],
    )
    def test_mistakes_are_named(self, values, message):
        with pytest.raises(UserError, match=message):
            recipes.checked(values, "here")

    def test_unknown_names(self, tmp_path):
        with pytest.raises(UserError, match="did you mean 'quick'"):
            recipes.find("quik")
        with pytest.raises(UserError, match="no recipe"):
            recipes.find(tmp_path / "x.yaml")
        (tmp_path / "bad.yaml").write_text("algo: [")
        with pytest.raises(UserError, match="not valid YAML"):
            recipes.load(tmp_path / "bad.yaml")

    def test_overrides(self):
        assert recipes.load("quick", {"ppo.gamma": "0.5", "seed": 9}).ppo.gamma == 0.5


def test_progress_is_json(tmp_path):
    run = runs.create(tmp_path / "run", small(), world(), "x")
    run.note(timesteps=5)
    run.note(status="running")
    assert json.loads((run.path / "progress.json").read_text()) == {
        "timesteps": 5, "of": small().timesteps, "status": "running",
    }  # fmt: skip
