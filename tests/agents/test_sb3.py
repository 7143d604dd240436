"""The pieces around Stable-Baselines3: vector environment, reward scale, buffers, exploration."""

# ruff: noqa: NPY002  (the library draws from the global generator, so the tests seed it)

import numpy as np
import pytest
import torch

from agents.sb3.dqn import random_legal
from agents.sb3.ppo import RolloutBuffer
from agents.sb3.replay import SequentialReplay
from agents.sb3.scaling import RewardScale
from agents.sb3.vecenv import SimVecEnv
from tests.agents.fakes import FakeSim, world

pytestmark = pytest.mark.stepless

B = 6


def legal(env):
    """Random legal choices for a fake simulator."""
    sim = env.sim
    if sim.sequential:
        return random_legal(sim.obs["mask"])
    w, mask = sim.world, sim.obs["mask"]
    cut = w.n_slots * (w.n_pools + 1)
    place = mask[:, :cut].reshape(-1, w.n_pools + 1)
    cool = mask[:, cut:].reshape(-1, w.n_levels)
    return np.concatenate([random_legal(place).reshape(B, -1), random_legal(cool).reshape(B, -1)], 1)


@pytest.mark.parametrize("view", ["joint", "sequential"])
class TestVecEnv:
    def test_episodes_are_told_with_their_figures(self, view):
        env = SimVecEnv(FakeSim(world(horizon=5), B, view=view), seed=3)
        env.reset()
        total, ends = np.zeros(B), 0
        while ends < 2 * B:
            _, reward, done, infos = env.step(legal(env))
            total += reward
            for i in np.flatnonzero(done):
                info = infos[i]
                assert info["episode"]["l"] == 5
                assert info["episode"]["r"] == pytest.approx(total[i], rel=1e-5)
                # the fake's reference cost is 100 USD, and all of its cost is energy
                assert info["kpi"]["total_usd"] == pytest.approx(-100 * total[i], rel=1e-5)
                assert info["kpi"]["usd_energy"] == info["kpi"]["total_usd"]
                assert info["TimeLimit.truncated"] is False
                assert set(info["terminal_observation"]) == set(env.sim.obs)
                total[i] = 0.0
                ends += 1

    def test_observations_are_copies(self, view):
        env = SimVecEnv(FakeSim(world(), B, view=view))
        first = env.reset()
        kept = {k: v.copy() for k, v in first.items()}
        env.step(legal(env))
        assert all(np.array_equal(first[k], kept[k]) for k in first)
        assert not any(np.shares_memory(first[k], env.sim.obs[k]) for k in first)

    def test_books_hold_every_dollar(self, view):
        env = SimVecEnv(FakeSim(world(horizon=4), B, view=view))
        env.reset()
        for _ in range(3):  # whole and broken episodes
            usd, closed = 0.0, 0
            for _ in range(17):
                env.step(legal(env))
                usd -= 100.0 * env.sim.reward.sum()
                closed += env.sim.closed.sum()
            steps, terms, flows, counts = env.books.take()
            assert steps == closed
            assert terms.sum() == pytest.approx(usd)
            assert flows.shape[0] == env.sim.world.n_regions
            assert counts.sum() == closed

    def test_seeds_are_consecutive(self, view):
        env = SimVecEnv(FakeSim(world(), B, view=view), seed=11)
        alone = SimVecEnv(FakeSim(world(), 1, view=view), seed=14)
        a, b = env.reset(), alone.reset()
        assert all(np.array_equal(a[k][3:4], b[k]) for k in a)
        env.seed(20)
        a, b = env.reset(), SimVecEnv(FakeSim(world(), B, view=view), seed=20).reset()
        assert all(np.array_equal(a[k], b[k]) for k in a)


class TestRewardScale:
    def test_refresh_keeps_what_values_mean(self):
        rng = np.random.default_rng(0)
        scale = RewardScale(B, 0.9, 10_000)
        value = 0.0  # of a policy that earns the mean forever, on the present scale
        for _ in range(40):
            for _ in range(50):
                scale.observe(rng.normal(-3.0, 2.0, B), np.ones(B, bool), np.zeros(B, bool))
            old = (scale.mean, scale.spread)
            change = scale.refresh()
            raw = value * old[1] + old[0] * scale.annuity  # sum of mean / (1 - gamma) plus spread times value
            value = change.gain * value + change.shift
            assert value * scale.spread + scale.mean * scale.annuity == pytest.approx(raw, abs=1e-9)
        assert scale.mean == pytest.approx(-3.0, abs=0.2)
        # an AR(1) of innovations with deviation 2 and factor 0.9
        assert scale.spread == pytest.approx(2.0 / np.sqrt(1 - 0.81), rel=0.15)

    def test_the_mean_leaves_with_the_step_that_closes(self):
        scale = RewardScale(3, 0.9, 5)
        scale.mean, scale.spread = -1.0, 2.0
        found = scale.scaled(np.array([-3.0, 0.0, -3.0]), np.array([True, False, False]))
        assert found.tolist() == [-1.0, 0.0, -1.5]

    def test_state_comes_back(self):
        scale, other = RewardScale(3, 0.9, 5), RewardScale(3, 0.9, 5)
        for _ in range(5):
            scale.observe(np.arange(3.0), np.ones(3, bool), np.array([False, True, False]))
        scale.refresh()
        scale.observe(np.arange(3.0), np.ones(3, bool), np.zeros(3, bool))
        other.load(scale.state())
        assert scale.refresh() == other.refresh()
        assert isinstance(scale.mean, float)
        assert not isinstance(scale.mean, np.floating)


def replay(n_steps, size=40, gamma=0.5):
    env = SimVecEnv(FakeSim(world(horizon=3), 2, view="sequential"))
    buffer = SequentialReplay(
        size * 2, env.observation_space, env.action_space, "cpu", 2, gamma=gamma, n_steps=n_steps
    )
    return env, buffer


@pytest.mark.parametrize("n_steps", [1, 4, 30])
def test_returns_discount_control_steps(n_steps):
    env, buffer = replay(n_steps, size=64)
    log, obs = [], env.reset()
    for _ in range(100):  # round and round
        actions = random_legal(obs["mask"])
        new, reward, done, infos = env.step(actions)
        buffer.add(obs, new, actions, reward, done, infos)
        log.append((obs, actions, reward, done, [i["closed"] for i in infos]))
        obs = new
    rng = np.random.get_state()
    batch = buffer.sample(200)
    np.random.set_state(rng)
    start = (np.random.randint(0, 64 - n_steps, 200) + buffer.pos) % 64
    lanes = np.random.randint(0, 2, 200)
    for row in range(200):
        # place -> time: the buffer holds the last 64 of 100 steps
        t = start[row] + 64 * (1 if start[row] < 100 - 64 else 0)
        i, total, discount, alive = lanes[row], 0.0, 1.0, 1.0
        for k in range(n_steps):
            _, _, reward, done, closed = log[t + k]
            total += alive * discount * reward[i]
            discount *= 0.5 if closed[i] else 1.0
            alive *= 1.0 - done[i]
        assert batch.rewards[row].item() == pytest.approx(total, abs=1e-3)
        assert 1.0 - batch.dones[row].item() == alive
        if alive:
            assert batch.discounts[row].item() == pytest.approx(discount)
            following = log[t + n_steps][0]["globals"][i] if t + n_steps < 100 else obs["globals"][i]
            assert np.allclose(batch.next_observations["globals"][row], following, atol=2e-3)
        assert np.allclose(batch.observations["pairs"][row], log[t][0]["pairs"][i], atol=2e-3)
        assert batch.actions[row].item() == log[t][1][i]


def test_kept_places_stay_and_the_others_go_round():
    env, buffer = replay(3, size=40)
    obs = env.reset()
    buffer.demonstrating = True
    for t in range(150):
        if t == 15:
            buffer.demonstrating = False
            buffer.keep()
        actions = random_legal(obs["mask"])
        new, _, done, infos = env.step(actions)
        buffer.add(obs, new, actions, np.full(2, float(t)), done, infos)  # the reward tells the time
        obs = new
        if t < 20:
            continue
        buffer.ended[:] = False
        buffer.closed[:] = True
        batch = buffer.sample(64)
        first = (batch.rewards[:, 0].numpy() - (0.5 + 2 * 0.25)) / (1 + 0.5 + 0.25)  # t + (t+1)/2 + (t+2)/4
        first = first.round().astype(int)
        # only runs of steps that followed each other, and never a mixture of old and new ones
        assert np.allclose(batch.rewards[:, 0], first * 1.75 + 1.0, atol=1e-4)
        assert (((first >= 0) & (first < 12)) | ((first >= max(15, t - 24)) & (first <= t - 3))).all()
        assert np.array_equal(buffer.sampled_demo.numpy(), first < 12)
    assert buffer.demo[:15].all()
    assert not buffer.demo[15:].any()


def test_replay_state_comes_back_and_its_size_is_known():
    env, buffer = replay(2)
    obs = env.reset()
    for _ in range(55):
        actions = random_legal(obs["mask"])
        new, reward, done, infos = env.step(actions)
        buffer.add(obs, new, actions, reward, done, infos)
        obs = new
    _, other = replay(2)
    other.load(buffer.state())
    np.random.seed(0)
    a = buffer.sample(16)
    np.random.seed(0)
    b = other.sample(16)
    assert torch.equal(a.rewards, b.rewards)
    assert all(torch.equal(a.observations[k], b.observations[k]) for k in a.observations)
    width = sum(int(np.prod(s.shape)) for s in env.observation_space.spaces.values())
    assert buffer.nbytes == 40 * 2 * (2 * width + 2 + 4 + 3)


def test_random_choices_are_legal_and_even():
    np.random.seed(1)
    mask = np.tile(np.array([0.0, 1.0, 1.0, 0.0, 1.0]), (6000, 1))
    counts = np.bincount(random_legal(mask), minlength=5)
    assert counts[[0, 3]].sum() == 0
    assert (np.abs(counts[[1, 2, 4]] - 2000) < 200).all()


def test_rollout_buffer_is_the_librarys():
    from stable_baselines3.common.buffers import DictRolloutBuffer

    env = SimVecEnv(FakeSim(world(), B))
    args = (5, env.observation_space, env.action_space, "cpu", 0.9, 0.8, B)
    ours, theirs = RolloutBuffer(*args), DictRolloutBuffer(*args)
    obs = env.reset()
    for _ in range(2):
        ours.reset()
        theirs.reset()
        for _ in range(5):
            actions = legal(env)
            new, reward, done, _ = env.step(actions)
            value = torch.randn(B)
            ours.add(obs, actions, reward, done, value, -value.unsqueeze(1).expand(actions.shape))
            theirs.add(obs, actions, reward, done, value, -value)
            obs = new
        for buffer in (ours, theirs):
            buffer.compute_returns_and_advantage(value, done)
    a = [(b.returns, b.advantages, b.old_values, b.actions.float()) for b in ours.get(10)]
    b = [(b.returns, b.advantages, b.old_values, b.actions) for b in theirs.get(10)]
    for i in (0, 1, 2):  # the orders of shuffling differ, the rows do not
        assert torch.equal(
            torch.cat([x[i] for x in a]).sort().values, torch.cat([x[i] for x in b]).sort().values
        )
    assert torch.cat([x[3] for x in a]).sum() == torch.cat([x[3] for x in b]).sum()


@pytest.mark.parametrize("view", ["joint", "sequential"])
def test_accrued_rewards_sum_to_the_bill(view):
    sim = FakeSim(world(horizon=6), B, view=view)
    env, plain = SimVecEnv(sim, shaping=True), np.zeros(B)
    env.reset()
    first, total = sim.commitments() / 100.0, np.zeros(B)
    while True:
        _, reward, done, _ = env.step(legal(env))
        plain, total = plain + sim.reward, total + reward
        if done.any():
            break
    assert np.allclose(total, plain + first, atol=1e-5)
    assert np.ptp(first) > 0.01  # or the test would see nothing
