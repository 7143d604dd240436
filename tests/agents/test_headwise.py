"""PPO by heads: surprises of placements, unbiased gradients, worlds in turn."""

import itertools

import numpy as np
import pytest
import torch

from agents import recipe as recipes
from agents.networks import ILLEGAL, Joint
from agents.sb3.headwise import HERE, PAID, SCALE, surprises
from agents.training import train
from agents.training.checkpoints import latest
from agents.training.learner import build
from gcn_env import load_world
from gcn_env.errors import UserError
from gcn_env.observation import GLOBALS, PAIRS
from tests.agents.fakes import world
from tests.agents.test_training import fake, same, small

USD = torch.tensor([[3.0, 1.0, 9.0], [2.0, 6.0, 4.0]])  # two jobs, three pools


def joint_of(logits, legal):
    logits = logits.masked_fill(~legal, ILLEGAL)
    return Joint(
        torch.arange(2), torch.zeros(2, dtype=torch.int64), logits, torch.zeros(1, 1, 2), torch.zeros(1)
    )


def observation(reference=2.0, here=None):
    pairs = torch.zeros(1, 2, 3, len(PAIRS))
    pairs[0, :, :, PAID[0]] = USD.asinh()
    if here is not None:
        pairs[0, here[0], here[1], HERE] = 1.0
    seen = torch.zeros(1, len(GLOBALS))
    seen[0, SCALE] = float(np.arcsinh(reference))
    return {"pairs": pairs, "globals": seen}


def test_a_placement_surprises_by_its_regret():
    legal = torch.ones(2, 4, dtype=torch.bool)
    joint = joint_of(torch.zeros(2, 4), legal)
    logp = joint.placement.log_softmax(1)
    found = surprises(joint, logp, observation(), torch.tensor([3, 0]))
    # regret of 8 USD at four USD a mean of (0 + 2 + 0 + 8) / 4; to leave costs nothing, of (0 + 0 + 4 + 2) / 4
    assert torch.allclose(found, torch.tensor([8.0 - 2.5, -1.5]) / 2.0, atol=1e-5)


def test_what_is_forbidden_is_no_measure():
    legal = torch.ones(2, 4, dtype=torch.bool)
    legal[0, 2] = False  # the cheapest pool of the first job
    joint = joint_of(torch.zeros(2, 4), legal)
    found = surprises(joint, joint.placement.log_softmax(1), observation(), torch.tensor([1, 1]))
    assert torch.allclose(found[0], torch.tensor((0.0 - 6.0 / 3) / 2.0), atol=1e-5)


def test_a_job_at_a_pool_is_measured_from_there():
    legal = torch.ones(2, 4, dtype=torch.bool)
    legal[1, 2] = False  # where it is
    joint = joint_of(torch.zeros(2, 4), legal)
    found = surprises(joint, joint.placement.log_softmax(1), observation(here=(1, 1)), torch.tensor([0, 1]))
    assert torch.allclose(found[1], torch.tensor((-4.0 - (-4.0 - 2.0) / 3) / 2.0), atol=1e-5)


def test_taking_out_other_heads_surprises_biases_nothing():
    """Over all choices: the mean gradient with and without is the same, and the spread of its estimate is less."""
    torch.manual_seed(0)
    legal = torch.ones(2, 4, dtype=torch.bool)
    logits = torch.randn(2, 4, requires_grad=True)
    joint = joint_of(logits, legal)
    logp = joint.placement.log_softmax(1)
    obs = observation()
    costs = torch.cat([torch.zeros(2, 1), USD - USD.amin(1, keepdim=True)], 1) / 2.0
    mean = [torch.zeros(2, 4), torch.zeros(2, 4)]
    square = [0.0, 0.0]
    for choice in itertools.product(range(4), repeat=2):
        place = torch.tensor(choice)
        chosen = logp.gather(1, place.unsqueeze(1)).squeeze(1)
        chance = chosen.sum().exp().item()
        advantage = -(costs.gather(1, place.unsqueeze(1)).sum()) + 0.3 * float(choice[0] == choice[1])
        extra = surprises(joint, logp.detach(), obs, place)
        by_head = (advantage + extra.sum()) - extra
        for k, a in enumerate((advantage.expand(2), by_head)):
            (grad,) = torch.autograd.grad((a.detach() * chosen).sum(), logits, retain_graph=True)
            mean[k] += chance * grad
            square[k] += chance * grad.square().sum().item()
    assert torch.allclose(mean[0], mean[1], atol=1e-5)
    assert mean[0].abs().max() > 0.05
    assert square[1] < 0.9 * square[0]


def worlds():
    return world(), [world(slots=2, pools=5, regions=3), world(slots=4, pools=2, regions=1)]


def test_worlds_of_any_size_take_turns(tmp_path):
    from agents import runs

    first, others = worlds()
    learner = build(first, small(), "cpu", fake, others)
    shapes = [stage.buffer.observations["pools"].shape[2] for stage in learner.model.stages]
    assert shapes == [3, 5, 2]
    run = runs.create(tmp_path / "run", small(), first, "made up")
    train(first, small(), run, quiet=True, factory=fake, others=others)
    places = latest(run)["env"]
    assert len(places) == 3
    assert all(place["scale"]["weight"] > 0 for place in places)


def test_a_run_in_several_worlds_resumes_exactly(tmp_path):
    from agents import runs
    from agents.training import Interrupted
    from tests.agents.test_training import After

    first, others = worlds()
    whole = runs.create(tmp_path / "whole", small(), first, "made up")
    train(first, small(), whole, quiet=True, factory=fake, others=others)
    parts = runs.create(tmp_path / "parts", small(), first, "made up")
    with pytest.raises(Interrupted):
        train(first, small(), parts, quiet=True, factory=fake, others=others, flag=After(3))
    train(first, small(), parts, resume=True, quiet=True, factory=fake, others=others)
    same(latest(whole), latest(parts))


def test_worlds_must_have_equal_levels():
    with pytest.raises(UserError, match="cooling_levels"):
        build(world(), small(), "cpu", fake, [world(levels=5)])


@pytest.mark.slow
def test_plants_of_further_worlds_are_drawn_one_by_one():
    drawn = recipes.checked({"worlds": ["default", "default"], "random_plants": 4}, "test").further(None)
    alone = load_world("default", {"random_plants": 5})
    assert drawn[0].scenario != drawn[1].scenario == alone.scenario
    own = recipes.checked({"worlds": ["default"]}, "test").further(None)
    assert own[0].scenario == load_world("default").scenario


def test_dqn_learns_in_one_world():
    with pytest.raises(UserError, match="one shape of observation"):
        recipes.checked({"algo": "dqn", "worlds": ["smoke"]}, "test")


def test_twins_begin_alike_and_stay_alike_until_they_choose():
    learner = build(world(), small(ppo={"n_steps": 16, "batch_size": 64, "twins": 2}), "cpu", fake)
    obs = learner.env.reset()
    for name in ("jobs", "pools", "globals"):
        assert np.array_equal(obs[name][0], obs[name][1])
        assert not np.array_equal(obs[name][1], obs[name][2])
    actions = learner.model.policy.predict(obs)[0]
    actions[1] = actions[0]
    obs = learner.env.step(actions)[0]
    assert np.array_equal(obs["pools"][0], obs["pools"][1])


def test_twins_are_each_others_baseline():
    from agents.sb3.ppo import RolloutBuffer
    from agents.sb3.vecenv import SimVecEnv
    from tests.agents.fakes import FakeSim

    env = SimVecEnv(FakeSim(world(), 4))
    args = (3, env.observation_space, env.action_space, "cpu", 0.9, 0.8, 4)
    plain, paired = RolloutBuffer(*args), RolloutBuffer(*args, twins=2)
    obs, rng = env.reset(), np.random.default_rng(0)
    for buffer in (plain, paired):
        buffer.reset()
    for _ in range(3):
        actions = learner_actions(env)
        reward, value = rng.normal(size=4).astype(np.float32), torch.from_numpy(rng.normal(size=4))
        for buffer in (plain, paired):
            buffer.add(obs, actions, reward, np.zeros(4), value, torch.zeros(actions.shape))
    for buffer in (plain, paired):
        buffer.compute_returns_and_advantage(value, np.zeros(4))
    assert np.array_equal(plain.returns, paired.returns)
    pairs = plain.advantages.reshape(3, 2, 2)
    assert np.allclose(paired.advantages.reshape(3, 2, 2), pairs - pairs[:, :, ::-1], atol=1e-6)


def learner_actions(env):
    sizes = env.action_space.nvec
    return np.zeros((env.num_envs, len(sizes)), np.int64)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"envs": 10, "ppo": {"twins": 4}}, "test: envs: 10 is no multiple of ppo.twins, 4"),
        ({"ppo": {"cooling": False}}, "test: ppo.cooling: false keeps a demonstrator's set-points"),
    ],
)
def test_what_does_not_fit_together_is_said(changes, words):
    with pytest.raises(UserError, match=words):
        recipes.checked(changes, "test")


def test_set_points_stay_the_clones(tmp_path):
    """With `cooling: false` the network's set-points are after training what they were before."""
    from agents.training.warmstart import imitate, look_around
    from tests.agents.test_training import Greedy

    recipe = small(
        ppo={"n_steps": 16, "batch_size": 64, "cooling": False}, warm_start={"policy": "rule:x", "steps": 256}
    )
    learner = build(world(), recipe, "cpu", fake)

    def choose(obs):
        return Greedy().predict(obs)[0]

    look_around(learner, choose, 12, lambda *_: None)
    imitate(learner, [choose], lambda *_: None)
    learner.freeze()
    before = {k: v.clone() for k, v in learner.net.state_dict().items()}
    learner.model.learn(8 * 16 * 2)
    after = learner.net.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items() if k.startswith("cool"))
    assert not torch.equal(after["pair_score.weight"], before["pair_score.weight"])
