"""Rollouts that others collect: what comes back, what is lost, where a run goes on. No Ray: all in this process."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from agents import runs
from agents.training import Interrupted, train
from agents.training.checkpoints import latest, random_state, set_random_state
from agents.training.collecting import (
    Collector,
    Gatherer,
    Order,
    _Silent,
    fill,
    hand_over,
    most_collectors,
    places_of,
    put_rows,
    shares,
)
from agents.training.learner import build
from agents.training.loop import _warm_up
from agents.training.progress import Bar
from agents.training.steward import Flag
from gcn_env.errors import UserError
from tests.agents.fakes import world
from tests.agents.test_training import After, fake, same, small


@contextmanager
def elsewhere():
    """As in another process: chance here is left as it was."""
    state = random_state()
    yield
    set_random_state(state)


class LocalCrew:
    """Collectors one after the other; `losses` are (rollout, collector) that do not answer and are replaced."""

    def __init__(self, learner, collectors, losses=()):
        self.learner, self.losses, self.rollouts = learner, set(losses), 0
        self.rows = shares(learner.recipe, collectors)
        self.collectors = [self.hire(rows) for rows in self.rows]

    def hire(self, rows):
        places, size = places_of(self.learner, rows), rows.stop - rows.start
        with elsewhere():
            return Collector(self.learner.worlds, self.learner.recipe, size, places, fake)

    def collect(self, order):
        answers = []
        for k, collector in enumerate(self.collectors):
            if (self.rollouts, k) in self.losses:
                self.collectors[k] = self.hire(self.rows[k])
            else:
                with elsewhere():
                    answers.append(collector.collect(order))
        self.rollouts += 1
        return answers

    def recall(self, before):
        return [(rows, c.places(before)) for rows, c in zip(self.rows, self.collectors, strict=True)]

    def dismiss(self):
        self.collectors = []


def ready(recipe=None, others=()):
    """A learner at its first rollout."""
    learner = build(world(), recipe or small(), "cpu", fake, others)
    _warm_up(learner, Bar(1, quiet=True), Flag())
    learner.model._setup_learn(10**6)
    return learner


def finish(path, crew, stop=None, recipe=None):
    """Train in a new folder with a crew, interrupted once if asked; run folder and last checkpoint."""
    recipe = recipe or small()
    run = runs.create(path, recipe, world(), "x")
    if stop is not None:
        with pytest.raises(Interrupted):
            train(world(), recipe, run, quiet=True, factory=fake, crew=crew, flag=After(stop))
    train(world(), recipe, run, resume=stop is not None, quiet=True, factory=fake, crew=crew)
    assert run.progress()["status"] == "finished"
    return run, latest(run)


def test_a_collector_plays_what_the_learner_would():
    learner = ready()
    model = learner.model
    collector = Collector([world()], learner.recipe, 8, places_of(learner), fake)
    weights = {k: v.numpy().copy() for k, v in model.policy.state_dict().items()}
    scale = learner.scale
    order = Order(weights, [(scale.mean, scale.spread)], 0, 11)
    got = collector.collect(order)
    torch.manual_seed(11)
    learner.model.collect_rollouts(learner.env, _Silent(), model.rollout_buffer, model.n_steps)
    buffer = model.rollout_buffer
    for name, values in got.arrays.items():
        np.testing.assert_array_equal(values, getattr(buffer, name), err_msg=name)
    for name, values in got.observations.items():
        np.testing.assert_array_equal(values, buffer.observations[name], err_msg=name)
    np.testing.assert_array_equal(got.sums, scale.sums)
    steps, terms, flows, counts = learner.env.books.take()
    assert got.books[0] == steps
    for a, b in zip(got.books[1:], (terms, flows, counts), strict=True):
        np.testing.assert_allclose(a, b)
    assert [e["r"] for e in got.episodes] == [e["r"] for e in model.ep_info_buffer]
    same_places(collector.places(), places_of(learner))


def same_places(a, b):
    from agents.training.checkpoints import pack

    same(pack(a), pack(b))


def test_each_collector_has_its_own_environments():
    """Two halves, one after the other, are what each half is alone; nothing of a rollout is lost on the way."""
    learner = ready()
    crew = LocalCrew(learner, 2)
    order = Gatherer(learner, crew)._order(learner.model, 0)
    whole = crew.collect(order)
    alone = LocalCrew(ready(), 2).collectors[1].collect(order)
    np.testing.assert_array_equal(whole[1].arrays["actions"], alone.arrays["actions"])
    fill(learner.model.rollout_buffer, whole)
    buffer = learner.model.rollout_buffer
    np.testing.assert_array_equal(buffer.rewards[:, 4:], alone.arrays["rewards"])
    np.testing.assert_array_equal(buffer.observations["jobs"][:, :4], whole[0].observations["jobs"])


def test_a_batch_shrinks_and_grows_again():
    learner = ready()
    rollouts = LocalCrew(learner, 4).collect(Gatherer(learner, None)._order(learner.model, 0))
    buffer = learner.model.rollout_buffer
    for kept in ([0, 1, 2, 3], [1, 3], [0, 1, 2, 3]):
        fill(buffer, [rollouts[k] for k in kept])
        batches = list(buffer.get(10))
        assert sum(len(b.actions) for b in batches) == 16 * 2 * len(kept)
        seen = np.sort(torch.cat([b.advantages for b in batches]).numpy())
        sent = np.concatenate([rollouts[k].arrays["advantages"].ravel() for k in kept])
        np.testing.assert_array_equal(seen, np.sort(sent))


def test_a_run_with_collectors_resumes_exactly_while_none_is_lost(tmp_path):
    def crew(learner):
        return LocalCrew(learner, 2)

    _, whole = finish(tmp_path / "whole", crew)
    _, parts = finish(tmp_path / "parts", crew, stop=3)
    same(whole, parts)
    assert whole["learner"]["num_timesteps"] == small().timesteps


def test_a_run_goes_on_without_collectors_and_with_more(tmp_path):
    run, content = finish(tmp_path / "run", lambda learner: LocalCrew(learner, 2))
    for k, crew in enumerate((None, lambda learner: LocalCrew(learner, 4)), 1):
        longer = small(timesteps=content["timesteps"] + 8 * 16 * k)
        assert (
            train(world(), longer, run, resume=True, quiet=True, factory=fake, crew=crew)["timesteps"]
            == longer.timesteps
        )


def test_a_lost_collector_makes_one_batch_smaller(tmp_path):
    crews = []

    def crew(learner):
        crews.append(LocalCrew(learner, 4, losses={(1, 2), (2, 0), (2, 1)}))
        return crews[-1]

    _, content = finish(tmp_path / "run", crew)
    assert content["timesteps"] >= small().timesteps
    # 6 whole rollouts would do; three quarters of one, and half of another, came back
    assert (content["timesteps"] - (3 + 2) * 32) % 128 == 0
    assert crews[0].rollouts == 7
    assert crews[0].collectors == []
    assert all(torch.isfinite(v).all() for v in content["net"].values())


def test_a_replacement_starts_from_the_last_checkpoint():
    learner = ready()
    crew = LocalCrew(learner, 2)
    hand_over(learner, crew)
    order = Gatherer(learner, crew)._order(learner.model, 0)
    crew.collect(order)
    learner.recall()
    kept = places_of(learner, slice(4, 8))
    same_places(kept, crew.collectors[1].places())
    crew.collect(order._replace(seed=5))
    crew.losses = {(crew.rollouts, 1)}
    crew.collect(order)
    same_places(kept, crew.collectors[1].places())
    same_places(places_of(learner, slice(4, 8)), kept)


def test_the_learner_sees_every_reward():
    learner = ready()
    hand_over(learner, LocalCrew(learner, 2))
    weight = learner.scale.weight
    learner.model.gather(learner.model, _Silent())
    assert learner.scale.sums[0] == 8 * 16
    assert learner.env.books.steps == 8 * 16
    learner.scale.refresh()
    assert learner.scale.weight == weight + 8 * 16


def test_worlds_take_turns(tmp_path):
    recipe, both = small(worlds=("second",)), [world(), world(slots=2, pools=4, regions=3)]
    run = runs.create(tmp_path / "run", recipe, world(), "x")
    turns = []

    class Told(LocalCrew):
        def collect(self, order):
            turns.append(order.turn)
            rollouts = super().collect(order)
            shape = rollouts[0].observations["pools"].shape[2]
            assert shape == both[order.turn].n_pools
            return rollouts

    train(
        both[0], recipe, run, quiet=True, factory=fake, others=both[1:], crew=lambda learner: Told(learner, 2)
    )
    assert turns == [0, 1, 0, 1, 0, 1]


def test_rows_come_and_go():
    learner = ready()
    (place,) = places_of(learner)
    (part,) = places_of(learner, slice(2, 6))
    put_rows(place, slice(0, 4), part)
    np.testing.assert_array_equal(place["sim"]["time"][:4], part["sim"]["time"])
    assert part["starts"].shape == (4,)


def test_shares_are_equal_and_keep_twins_together():
    assert shares(small(), 4) == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)]
    twins = small(ppo={"n_steps": 16, "batch_size": 64, "twins": 4})
    assert shares(twins, 2) == [slice(0, 4), slice(4, 8)]
    for recipe, count in ((small(), 3), (twins, 4), (small(), 0)):
        with pytest.raises(UserError, match="cannot share 8 environments"):
            shares(recipe, count)
    with pytest.raises(UserError, match="take algo: ppo"):
        shares(small("dqn"), 2)
    assert [most_collectors(small(), n) for n in (0, 1, 3, 7, 100)] == [1, 1, 2, 4, 8]
    assert most_collectors(twins, 100) == 2
