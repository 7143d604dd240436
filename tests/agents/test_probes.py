"""Both learners find the known values and the known best choices."""

import numpy as np
import pytest
import torch

from agents.sb3.dqn import EntityQPolicy, MaskedDQN
from agents.sb3.headwise import HeadwisePPO
from agents.sb3.ppo import EntityPolicy
from agents.sb3.predict import to_tensors
from agents.sb3.replay import SequentialReplay
from agents.sb3.vecenv import SimVecEnv
from tests.agents.fakes import COLUMNS, CURRENT
from tests.probes import Forbidden, Marked, OneStep, TwoSteps

pytestmark = pytest.mark.stepless

GAMMA = 0.8
CPU = torch.device("cpu")


def learn(probe, algo):
    view = "joint" if algo == "ppo" else "sequential"
    sim = probe(16, view)
    env = SimVecEnv(sim, seed=3)
    network = {"columns": COLUMNS, "levels": 2, "width": 16, "pair_width": 16, "current": CURRENT}
    common = {"policy_kwargs": {"network": network}, "gamma": GAMMA, "seed": 5, "device": "cpu"}
    if algo == "ppo":
        model = HeadwisePPO(
            EntityPolicy,
            env,
            n_steps=8,
            batch_size=64,
            n_epochs=4,
            learning_rate=1e-2,
            ent_coef=0.01,
            **common,
        )
        model.learn(16 * 8 * 25)
    else:
        model = MaskedDQN(
            EntityQPolicy, env, learning_rate=5e-3, buffer_size=4000, learning_starts=200, batch_size=64,
            train_freq=1, gradient_steps=1, target_update_interval=16 * 20, exploration_fraction=0.5,
            exploration_final_eps=0.1, replay_buffer_class=SequentialReplay,
            replay_buffer_kwargs={"gamma": GAMMA}, **common,
        )  # fmt: skip
        model.learn(16 * 450)
    env.reset()
    return sim, model


def values(sim, model):
    """Value of the best choice in the present observations."""
    obs, _ = to_tensors(sim.obs, CPU)
    with torch.no_grad():
        if isinstance(model, HeadwisePPO):
            return model.policy.predict_values(obs).numpy()
        return model.q_net(obs).max(1).values.numpy()


def step(sim, model):
    sim.step(model.predict(sim.obs, deterministic=True)[0])


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
class TestProbes:
    def test_one_step_is_worth_its_reward(self, algo):
        sim, model = learn(OneStep, algo)
        assert np.allclose(values(sim, model), 1.0, atol=0.1)

    def test_a_control_step_is_discounted_once(self, algo):
        sim, model = learn(TwoSteps, algo)
        heads = 1 if algo == "ppo" else sim.n_heads
        for _ in range(heads):
            assert np.allclose(values(sim, model), GAMMA, atol=0.06)
            step(sim, model)
        for _ in range(heads):
            assert np.allclose(values(sim, model), 1.0, atol=0.06)
            step(sim, model)

    def test_the_marked_pool_is_chosen(self, algo):
        sim, model = learn(Marked, algo)
        actions = model.predict(sim.obs, deterministic=True)[0].reshape(16, -1)[:, 0]
        assert np.array_equal(actions, sim.mark)

    def test_what_is_forbidden_is_worth_nothing(self, algo):
        sim, model = learn(Forbidden, algo)
        assert np.allclose(values(sim, model), 1.0, atol=0.1)
        assert (model.predict(sim.obs, deterministic=True)[0].reshape(16, -1)[:, 0] == 2).all()
