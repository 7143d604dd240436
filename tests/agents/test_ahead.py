"""Rollouts played ahead by another process: what is learned from, exact resumption, a process that is gone."""

import copy

import numpy as np
import pytest
import torch

from agents.training.beside import Beside
from agents.training.checkpoints import pack
from agents.training.collecting import Gatherer, _Silent, hand_over, places_of
from gcn_env.errors import UserError
from tests.agents.cluster.test_collecting import LocalCrew, ready
from tests.agents.test_training import fake, finish, same, small

pytestmark = pytest.mark.stepless

AHEAD = {"n_steps": 16, "batch_size": 64, "epochs": 2, "ahead": True}
ROLLOUT = 8 * 16


class Near(LocalCrew):
    """All environments in this process, whose buffer is used again while the learner reads."""

    def __init__(self, learner):
        super().__init__(learner, 1)

    def collect(self, order):
        return copy.deepcopy(super().collect(order))


def begin(rollouts, crew=Near):
    """A learner at its first rollout of so many, and who gathers for it."""
    learner = ready(small(ppo=AHEAD))
    learner.model._total_timesteps = rollouts * ROLLOUT
    return learner, hand_over(learner, crew(learner))


def test_the_next_rollout_is_asked_for_before_learning():
    learner, gather = begin(3)
    model = learner.model
    first = pack(dict(model.policy.state_dict()))
    first = {k: v.clone() for k, v in first.items()}
    gather(model, _Silent())
    same(pack(learner.asked.weights), first)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(0.1)
    same(pack(learner.asked.weights), first)  # a copy
    assert learner.env.books.steps == model.num_timesteps == ROLLOUT
    gather(model, _Silent())
    moved = [not np.array_equal(v, first[k]) for k, v in learner.asked.weights.items()]
    assert any(moved)
    gather(model, _Silent())
    assert model.num_timesteps == 3 * ROLLOUT
    assert learner.asked is None  # nothing is played in vain at the end


def test_places_are_those_before_what_was_asked_for():
    places = []
    for rollouts in (2, 1):  # a second is asked for, or none
        learner, gather = begin(rollouts)
        gather(learner.model, _Silent())
        learner.recall()
        places.append(pack(places_of(learner)))
    same(*places)


def test_rollouts_of_an_older_scale_are_brought_to_the_present_one():
    learner, gather = begin(3)
    model = learner.model
    gather(model, _Silent())
    learner.scale.mean, learner.scale.spread = learner.scale.mean + 1.0, learner.scale.spread * 2.0
    told = learner.asked
    (rollout,) = gather._next.result()
    returns, advantages = rollout.arrays["returns"].copy(), rollout.arrays["advantages"].copy()
    gather(model, _Silent())
    (mean, spread), scale = told.scales[0], learner.scale
    shift = (mean - scale.mean) * scale.annuity / scale.spread
    np.testing.assert_allclose(
        model.rollout_buffer.returns, returns * spread / scale.spread + shift, rtol=1e-5
    )
    np.testing.assert_allclose(model.rollout_buffer.advantages, advantages / 2.0, rtol=1e-6)


def test_a_checkpoint_says_what_was_asked_for():
    learner, gather = begin(3)
    gather(learner.model, _Silent())
    wanted, saved = learner.asked, learner.state()["asked"]
    learner.asked = None
    Gatherer(learner, None).go_on(saved)
    same(pack(learner.asked.weights), pack(wanted.weights))
    assert learner.asked._replace(weights={}, scales=[]) == wanted._replace(weights={}, scales=[])


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    recipe = small(ppo=AHEAD)
    whole = finish(tmp_path / "whole", recipe)
    parts = finish(tmp_path / "parts", recipe, stop=3)
    same(whole, parts)
    assert whole["learner"]["num_timesteps"] == recipe.timesteps
    assert whole["asked"] is None


def test_a_process_that_is_gone_is_one_line():
    learner, gather = begin(1, lambda learner: Beside(learner, fake))
    gather._crew._process.kill()
    with pytest.raises(UserError, match=r"ended with status -9; go on .* --resume"):
        gather(learner.model, _Silent())
    gather.dismiss()
