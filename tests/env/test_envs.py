"""Gymnasium hosts: its own checks, Stable-Baselines3's, registered names, vectors, mistakes, renders."""

import importlib.util
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import gcn_env
from gcn_env.envs import FleetEnv, FleetVectorEnv
from gcn_env.errors import UserError
from gcn_env.ledger import TERMS
from tests.worlds import ROOT, ROUGH, SCENARIOS, world

VIEWS = ("joint", "sequential")
DATA = ROOT.parent / "shared" / "data" / "open"


def worlds():
    found = [("smoke", None), ("plants", None), ("default", None)]
    if DATA.is_dir():
        found.append(("real", DATA))
    return found


def load(name, data):
    return world(name) if data is None else gcn_env.load_world(str(SCENARIOS / f"{name}.yaml"), None, data)


@pytest.fixture(scope="module", params=worlds(), ids=lambda p: p[0])
def any_world(request):
    return load(*request.param)


@pytest.mark.parametrize("view", VIEWS)
def test_gymnasium_accepts_it(any_world, view):
    check_env(FleetEnv(any_world, view=view), skip_render_check=True)


@pytest.mark.parametrize("view", VIEWS)
def test_stable_baselines_accepts_it(any_world, view):
    """Its remarks on shapes are about images and flat vectors; the tables here are neither."""
    with warnings.catch_warnings():
        for remark in (
            "unconventional shape",
            "an image but",
            "resolution for an image",
            "Treating image space",
        ):
            warnings.filterwarnings("ignore", message=f".*{remark}.*")
        check_env_sb3(FleetEnv(any_world, view=view), warn=True)


@pytest.mark.parametrize("view", VIEWS)
def test_random_episodes_stay_in_the_spaces(view):
    env = FleetEnv(world(overrides=ROUGH), view=view)
    env.action_space.seed(1)
    obs, info = env.reset(seed=1)
    steps = closed = 0
    over = False
    while not over:
        assert env.observation_space.contains(obs)
        assert all(type(v) in (int, float, bool, str) for v in info.values()), info
        mask = env.action_masks()
        assert mask.shape == obs["mask"].shape
        obs, reward, terminated, over, info = env.step(env.action_space.sample())
        assert type(reward) is float
        assert terminated is False
        steps, closed = steps + 1, closed + info["closed_step"]
        if info["closed_step"]:
            assert info["cost_usd"] == pytest.approx(sum(info[f"usd_{n}"] for n in TERMS.names))
    assert closed == 96
    assert steps == 96 if view == "joint" else steps > 96 * 4


def test_returned_observations_are_nobodys_memory():
    env = FleetEnv(world())
    first, _ = env.reset(seed=0)
    kept = {k: v.copy() for k, v in first.items()}
    second, *_ = env.step(env.action_space.sample())
    for name in first:
        np.testing.assert_array_equal(first[name], kept[name])
        assert not np.shares_memory(first[name], second[name])
        assert not np.shares_memory(second[name], env.sim.obs[name])
    vector = FleetVectorEnv(2, world())
    first, _ = vector.reset(seed=0)
    second, *_ = vector.step(vector.action_space.sample())
    for name in first:
        assert not np.shares_memory(first[name], second[name])
        assert not np.shares_memory(second[name], vector.sim.obs[name])


def test_seeds_and_resets_without():
    a, b = FleetEnv(world()), FleetEnv(world())
    for env in (a, b):
        env.reset(seed=3)
    first, _ = a.reset()
    again, _ = b.reset()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    third, _ = a.reset()
    assert any((third[n] != first[n]).any() for n in first), (
        "a reset without a seed goes on to another episode"
    )
    env = FleetEnv(world())
    obs, _ = env.reset()  # never seeded: drawn by Gymnasium
    assert env.observation_space.contains(obs)


@pytest.mark.parametrize("view", VIEWS)
def test_a_reset_shows_nothing_of_the_episode_before(view):
    env = FleetEnv(world(), view=view)
    env.reset(seed=3)
    wrong = np.full_like(env.action_space.sample(), 99)
    for _ in range(30):
        _, _, _, _, info = env.step(wrong)
    assert env.sim.state.ledger.counts_sum.sum() > 0
    for options in ({"seed": 3}, {}):
        _, info = env.reset(**options)
        assert info["cost_usd"] == 0.0
        assert info["illegal_choices"] == 0
        assert all(info[f"usd_{n}"] == 0.0 for n in TERMS.names)


@pytest.mark.parametrize("view", VIEWS)
def test_vectors_are_their_single_environments(view):
    """Also across automatic resets, which a single environment makes by `reset()`."""
    n = 3
    w = world(overrides=ROUGH)
    vector = FleetVectorEnv(n, w, view=view)
    singles = [FleetEnv(w, view=view) for _ in range(n)]
    obs, _ = vector.reset(seed=40)
    starts = [env.reset(seed=40 + i)[0] for i, env in enumerate(singles)]
    high = 5
    rng = np.random.default_rng(2)
    resets = 0
    for t in range(110 if view == "joint" else 1400):
        for i in range(n):
            for name in obs:
                np.testing.assert_array_equal(obs[name][i], starts[i][name], err_msg=f"{t} {name}")
        act = rng.integers(-1, high, vector.action_space.shape)
        obs, reward, terminated, truncated, info = vector.step(act)
        assert not terminated.any()
        for i, env in enumerate(singles):
            starts[i], r, _, over, one = env.step(act[i])
            assert (r, over) == (reward[i], truncated[i])
            assert one["cost_usd"] == info["cost_usd"][i]
            if one["closed_step"]:
                assert one["illegal_choices"] == info["illegal_choices"][i]
            if over:
                assert info["_final_obs"][i]
                for name in obs:
                    np.testing.assert_array_equal(info["final_obs"][i][name], starts[i][name])
                starts[i], _ = env.reset()
                resets += 1
    assert resets >= n


def test_vector_resets():
    vector = FleetVectorEnv(3, world())
    a, _ = vector.reset(seed=[5, None, 7])
    one, _ = FleetEnv(world()).reset(seed=7)
    for name in a:
        np.testing.assert_array_equal(a[name][2], one[name])
    b, _ = vector.reset()
    assert any((a[n] != b[n]).any() for n in a)
    assert vector.observation_space.contains(b)
    fresh, _ = FleetVectorEnv(2, world()).reset()
    assert fresh["jobs"].shape[0] == 2
    with pytest.raises(UserError, match="2 seeds for 3"):
        vector.reset(seed=[1, 2])


@pytest.mark.parametrize("name", ["gcn/Fleet-v0", "gcn/FleetSequential-v0"])
def test_names(name):
    smoke = str(SCENARIOS / "smoke.yaml")
    env = gym.make(name, world=smoke)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert ("head" in obs) == ("Sequential" in name)
    env.step(env.action_space.sample())
    env.close()
    for mode in ("vector_entry_point", "sync"):
        vector = gym.make_vec(name, num_envs=2, vectorization_mode=mode, world=smoke)
        obs, _ = vector.reset(seed=0)
        assert obs["jobs"].shape[0] == 2
        vector.step(vector.action_space.sample())
        vector.close()


def test_mistakes_are_explained():
    for make in (lambda: FleetEnv(world()), lambda: FleetVectorEnv(2, world())):
        env = make()
        with pytest.raises(gym.error.ResetNeeded, match="reset"):
            env.step(env.action_space.sample())
    with pytest.raises(UserError, match="did you mean 'ansi'"):
        FleetEnv(world(), render_mode="ansy")
    with pytest.raises(UserError, match="did you mean 'sequential'"):
        FleetEnv(world(), view="sequental")
    with pytest.raises(UserError, match="no scenario named"):
        FleetEnv("smok")


@pytest.mark.skipif(importlib.util.find_spec("gcn_env.render") is None, reason="no render module")
def test_render_modes():
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray), (None, type(None))):
        env = FleetEnv(world(), render_mode=mode)
        env.reset(seed=0)
        assert isinstance(env.render(), kind)
        vector = FleetVectorEnv(2, world(), render_mode=mode)
        vector.reset(seed=0)
        shown = vector.render()
        assert shown is None if mode is None else isinstance(shown[0], kind)
    assert env.render() is None


@pytest.mark.smoke
@pytest.mark.parametrize("view", VIEWS)
def test_a_few_steps_of_each_view(view):
    vector = FleetVectorEnv(2, world(), view=view)
    vector.reset(seed=0)
    for _ in range(3):
        obs, *_ = vector.step(vector.action_space.sample())
    assert vector.observation_space.contains(obs)
