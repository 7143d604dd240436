"""Rollouts collected elsewhere: what a collector does, and how the learner takes in what comes back.

A collector is a learner with a part of the environments that only collects: it is told the weights, plays one whole
rollout, and sends it back. The learner is the usual one; its own environments stand still meanwhile and hold the places
(states) of all environments as of the last checkpoint. From them a collector starts, also one that replaces another,
and so does a resumed run, with collectors or without.

Ahead (`ppo.ahead`): a rollout is asked for before the one in hand is learned from, so playing and learning take place
at the same time. It is then played by a policy one update older; Espeholt et al., "IMPALA", ICML 2018, and Petrenko et
al., "Sample Factory", ICML 2020, do the same by more updates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from agents.recipe import Recipe
from agents.sb3.scaling import RewardScale
from agents.training.learner import Learner, MakeSim, build
from gcn_env.errors import UserError

Array = npt.NDArray[Any]
FIELDS = ("actions", "rewards", "episode_starts", "values", "log_probs", "advantages", "returns")


class Order(NamedTuple):
    """What collectors are told.

    Attributes:
        weights: by name.
        scales: (mean, spread) of each world's reward scale.
        turn: the world.
        seed: of the choices.
    """

    weights: dict[str, Array]
    scales: list[tuple[float, float]]
    turn: int
    seed: int


class Rollout(NamedTuple):
    """What a collector sends back, of its E environments over T steps.

    Attributes:
        arrays: fields of the rollout buffer `[T, E, ...]`.
        observations: `[T, E, ...]` by name.
        episodes: reward, length and time of episodes that ended.
        sums: what its `RewardScale` observed.
        books: control steps and ledger sums, as `Books.take` gives them.
    """

    arrays: dict[str, Array]
    observations: dict[str, Array]
    episodes: list[dict[str, Any]]
    sums: Array
    books: tuple[int, Array, Array, Array]


class Crew(Protocol):
    """Collectors, wherever they are; each has a fixed share of the environments."""

    def collect(self, order: Order) -> list[Rollout]:
        """One rollout of each collector that answered, in any order; at least one.

        Raises:
            UserError: if none answers any more.
        """

    def recall(self, before: bool) -> list[tuple[slice, list[Any]]]:
        """For each collector that answered, its environments and their places, as `Collector.places` says them."""

    def dismiss(self) -> None:
        """Training is over, or was interrupted: what they held is free."""


class Collector:
    """Environments and a copy of the policy.

    Args:
        worlds: compiled scenarios.
        recipe: of the run.
        envs: how many environments of each world it has.
        places: where they start, from `places_of`, one a world.
        factory: makes the simulator (tests).
    """

    def __init__(
        self,
        worlds: Sequence[Any],
        recipe: Recipe,
        envs: int,
        places: Sequence[Any],
        factory: MakeSim | None = None,
    ) -> None:
        ppo = recipe.ppo.model_copy(
            update={"batch_size": recipe.ppo.n_steps}
        )  # it never learns: any that divides
        part = recipe.model_copy(update={"envs": envs, "ppo": ppo})
        self._learner = build(worlds[0], part, "cpu", factory, worlds[1:])
        self._ahead = recipe.ppo.ahead
        self._before: list[Any] | None = None
        for turn, place in enumerate(places):
            self._learner.enter(turn)
            _go_to(self._learner, place)

    def collect(self, order: Order) -> Rollout:
        """One whole rollout in the world whose turn it is, by Stable-Baselines3's own loop."""
        self._before = places_of(self._learner) if self._ahead else None
        learner = self._learner
        model: Any = learner.model
        torch.manual_seed(order.seed)
        weights = {k: torch.from_numpy(np.array(v)) for k, v in order.weights.items()}
        model.policy.load_state_dict(weights)
        for env, (mean, spread) in zip(learner.envs, order.scales, strict=True):
            assert env.scale is not None
            env.scale.mean, env.scale.spread = mean, spread
        model.num_timesteps = order.turn * model.n_steps * model.n_envs  # which decides whose turn it is
        model.ep_info_buffer, model.ep_success_buffer = [], []
        learner.enter(order.turn)
        env = learner.env
        env.books.restart()
        model.collect_rollouts(env, _Silent(), model.rollout_buffer, model.n_steps)
        buffer = model.rollout_buffer
        sums, learner.scale.sums = learner.scale.sums, np.zeros(4)
        arrays = {k: getattr(buffer, k) for k in FIELDS}
        return Rollout(arrays, buffer.observations, model.ep_info_buffer, sums, env.books.take())

    def places(self, before: bool = False) -> list[Any]:
        """Where the environments are, for each world, or were before the last rollout (known if `ppo.ahead`)."""
        return places_of(self._learner) if self._before is None or not before else self._before


class _Silent:
    """Listens to a rollout and says nothing."""

    def on_rollout_start(self) -> None:
        """Nothing."""

    def on_rollout_end(self) -> None:
        """Nothing."""

    def update_locals(self, _: Any) -> None:
        """Nothing."""

    def on_step(self) -> bool:
        """Go on."""
        return True


def hand_over(learner: Learner, crew: Crew) -> Gatherer:
    """From here on a crew collects for the learner, until the gatherer is dismissed."""
    gatherer = Gatherer(learner, crew)
    model: Any = learner.model
    model.gather, learner.recall = gatherer, gatherer.recall
    return gatherer


class Gatherer:
    """Puts a crew's rollouts into the learner: what `HeadwisePPO.collect_rollouts` does instead of playing.

    Args:
        learner: at the beginning of a rollout.
        crew: who collects.
    """

    def __init__(self, learner: Learner, crew: Crew) -> None:
        self._learner, self._crew = learner, crew
        self._thread = ThreadPoolExecutor(1, "collect")
        self._next: Future[list[Rollout]] | None = None  # what `learner.asked` will bring

    def __call__(self, model: Any, callback: Any) -> bool:
        """One rollout of all collectors that answer; a batch is smaller where some did not."""
        learner = self._learner
        callback.on_rollout_start()  # the scale and the value move here
        if self._next is None:
            self._ask(learner.asked or self._order(model, model.num_timesteps))
        rollouts, told = self.brought(), learner.asked
        self._next = learner.asked = None
        after = model.num_timesteps + model.n_steps * sum(r.arrays["rewards"].shape[1] for r in rollouts)
        if learner.recipe.ppo.ahead and after < model._total_timesteps:
            self._ask(self._order(model, after))
        fill(model.rollout_buffer, rollouts)
        _to_scale(model.rollout_buffer, told.scales[told.turn], learner.scale)
        books = learner.env.books
        for r in rollouts:
            learner.scale.sums = learner.scale.sums + r.sums
            steps, *sums = r.books
            books.steps += steps
            books.sums = [a + b for a, b in zip(books.sums, sums, strict=True)]
            model.ep_info_buffer.extend(r.episodes)
        model.num_timesteps = after
        callback.update_locals({"self": model})
        if not callback.on_step():
            return False
        callback.on_rollout_end()
        return True

    def brought(self) -> list[Rollout]:
        """What was asked for, once it is here."""
        assert self._next is not None
        return self._next.result()

    def _ask(self, order: Order) -> None:
        self._learner.asked = order
        self._next = self._thread.submit(self._crew.collect, order)

    def _order(self, model: Any, timesteps: int) -> Order:
        """By the present weights, of the rollout that begins at so many timesteps."""
        recipe = self._learner.recipe
        weights = {k: v.detach().cpu().numpy().copy() for k, v in model.policy.state_dict().items()}
        scales = [(e.scale.mean, e.scale.spread) for e in self._learner.envs if e.scale is not None]
        words = [recipe.seed, timesteps]
        seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
        return Order(weights, scales, model.whose_turn(timesteps), seed)

    def go_on(self, saved: Mapping[str, Any] | None) -> None:
        """Begin with what a checkpoint says was asked for."""
        if saved is not None:
            weights = {k: v.numpy() for k, v in saved["weights"].items()}
            self._learner.asked = Order(**{**saved, "weights": weights})

    def recall(self) -> None:
        """Bring the learner's environments to where the collectors' are, or were before they play `asked`."""
        if self._next is not None:
            self.brought()
        learner = self._learner
        turn = learner.model.turn  # type: ignore[union-attr]
        answers = self._crew.recall(self._next is not None)
        for k in range(len(learner.envs)):
            learner.enter(k)
            place = _place_of(learner)
            for rows, places in answers:
                put_rows(place, rows, places[k])
            _go_to(learner, place)
        learner.enter(turn)

    def dismiss(self) -> None:
        """Training is over, or was interrupted."""
        self._crew.dismiss()
        self._thread.shutdown()


def _to_scale(buffer: Any, was: tuple[float, float], scale: RewardScale) -> None:
    """Values and returns of a rollout that began on an older scale, on the present one."""
    change = scale.change_since(*was)
    buffer.values[:] = change.gain * buffer.values + change.shift
    buffer.returns[:] = change.gain * buffer.returns + change.shift
    buffer.advantages *= change.gain


def fill(buffer: Any, rollouts: Sequence[Rollout]) -> None:
    """Lay rollouts side by side into a rollout buffer, which takes on their number of environments."""
    buffer.n_envs = sum(r.arrays["rewards"].shape[1] for r in rollouts)
    buffer.reset()
    at = 0
    for r in rollouts:
        end = at + r.arrays["rewards"].shape[1]
        for k, v in r.arrays.items():
            getattr(buffer, k)[:, at:end] = v
        for k, v in r.observations.items():
            buffer.observations[k][:, at:end] = v
        at = end
    buffer.pos, buffer.full = buffer.buffer_size, True


def shares(recipe: Recipe, collectors: int) -> list[slice]:
    """The environments of each collector: equal shares, twins together.

    Raises:
        UserError: if there is no equal share, or the algorithm does not learn from whole rollouts.
    """
    if recipe.algo != "ppo":
        raise UserError(
            f"collectors play whole rollouts, which algo: {recipe.algo} has none of; take algo: ppo"
        )
    groups = recipe.envs // recipe.ppo.twins
    if collectors < 1 or groups % collectors:
        fits = [n for n in range(1, min(groups, 64) + 1) if groups % n == 0]
        raise UserError(
            f"{collectors} collectors cannot share {recipe.envs} environments (ppo.twins: {recipe.ppo.twins}) equally; "
            f"take one of {', '.join(map(str, fits))}, or other --envs"
        )
    size = recipe.envs // collectors
    return [slice(k * size, (k + 1) * size) for k in range(collectors)]


def most_collectors(recipe: Recipe, cpus: int) -> int:
    """The largest number of collectors up to `cpus` that can share the environments equally."""
    groups = max(recipe.envs // recipe.ppo.twins, 1)
    return max(n for n in range(1, max(min(cpus, groups), 1) + 1) if groups % n == 0)


def places_of(learner: Learner, rows: slice = slice(None)) -> list[Any]:
    """Where environments `rows` are, for each world; the learner stays in the world it is in."""
    model: Any = learner.model
    turn, out = model.turn, []
    for k in range(len(learner.envs)):
        learner.enter(k)
        out.append(mapped(np.ndarray, lambda array: array[rows].copy(), _place_of(learner)))
    learner.enter(turn)
    return out


def _place_of(learner: Learner) -> dict[str, Any]:
    env, model = learner.env, learner.model
    state = {k: v for k, v in env.state().items() if not k.startswith("book")}
    return {**state, "returns": learner.scale.returns.copy(), "starts": np.array(model._last_episode_starts)}


def _go_to(learner: Learner, place: Mapping[str, Any]) -> None:
    env, books = learner.env, learner.env.books
    learner.go_on(env.load({**place, "books": books.sums, "book_steps": 0}), np.array(place["starts"]))
    learner.scale.returns = np.array(place["returns"])
    books.restart()  # between rollouts there is nothing in them


def mapped(kind: type, change: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of dictionaries, tuples and lists whose values of a kind are changed."""
    if isinstance(tree, kind):
        return change(tree)
    if isinstance(tree, Mapping):
        return {k: mapped(kind, change, v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        values = [mapped(kind, change, v) for v in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return tree


def put_rows(target: Any, rows: slice, source: Any) -> None:
    """The inverse of taking rows: overwrite them by those of a smaller tree of the same shape."""
    if isinstance(target, np.ndarray):
        target[rows] = source
    elif isinstance(target, Mapping):
        for k in target:
            put_rows(target[k], rows, source[k])
    elif isinstance(target, list | tuple):
        for a, b in zip(target, source, strict=True):
            put_rows(a, rows, b)
