"""A `Sim` as Stable-Baselines3's `VecEnv`: no Python object per environment, one copy of each observation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from agents.sb3.scaling import RewardScale
from gcn_env.core.state import N_HEADS
from gcn_env.metrics import KPIS, kpis
from gcn_env.observation import PAIRS

Array = npt.NDArray[Any]
Observation = dict[str, Array]
_COST, _LEGAL = PAIRS.index("cost"), PAIRS.index("legal")
_NEVER = 1e18  # USD of what is forbidden


class SimLike(Protocol):
    """What is used of `gcn_env.sim.Sim`; probe environments of the tests offer the same."""

    world: Any
    n_envs: int
    obs: Observation
    final_obs: Observation
    reward: npt.NDArray[np.float64]
    done: npt.NDArray[np.bool_]
    closed: npt.NDArray[np.bool_]
    state: Any
    last_terms_sum: Array
    last_flows_sum: Array
    last_counts_sum: Array

    @property
    def view(self) -> str:
        """`joint` or `sequential`."""

    def reset(self, seeds: Array) -> Any:
        """Start every environment from its seed."""

    def step(self, actions: Array) -> None:
        """Advance every environment by one decision."""

    def snapshot(self) -> Any:
        """Everything that `restore` needs."""

    def restore(self, snapshot: Any) -> Any:
        """Go back to a snapshot."""

    def commitments(self, of: Array | None = None) -> npt.NDArray[np.float64]:
        """What all unfinished work is expected to cost from now on, USD `[B]`; 0 outside the environments `of`."""


class Books:
    """Ledger sums over all environments since the last `take`: what TensorBoard shows of a rollout."""

    def __init__(self, sim: SimLike) -> None:
        self._sim = sim
        self.restart()

    def _open(self) -> list[Array]:
        """Sums of the running episodes over environments: terms, flows `[R, ...]`, counts."""
        ledger = self._sim.state.ledger
        return [ledger.terms_sum.sum(0), ledger.flows_sum.sum(0), ledger.counts_sum.sum(0)]

    def restart(self) -> None:
        """Count from here."""
        self.sums = [-a for a in self._open()]
        self.steps = 0

    def step(self, done: npt.NDArray[np.bool_], closed: npt.NDArray[np.bool_]) -> None:
        """Count one vector step; finished episodes have left the running sums and are added here."""
        self.steps += int(closed.sum())
        if done.any():
            sim = self._sim
            self.sums[0] = self.sums[0] + sim.last_terms_sum[done].sum(0)
            self.sums[1] = self.sums[1] + sim.last_flows_sum[done].sum(0)
            self.sums[2] = self.sums[2] + sim.last_counts_sum[done].sum(0)

    def take(self) -> tuple[int, Array, Array, Array]:
        """Control steps, USD per term, flows `[R, ...]` and counts booked since the last call."""
        sums = [a + b for a, b in zip(self.sums, self._open(), strict=True)]
        steps = self.steps
        self.restart()
        return steps, sums[0], sums[1], sums[2]


def named_kpis(terms: Array, flows: Array, counts: Array) -> dict[str, float]:
    """`gcn_env.metrics.kpis` of one episode (or of a sum of them) by name, as plain floats."""
    return dict(zip(KPIS.names, map(float, kpis(terms, flows, counts)), strict=True))


def observation_space(obs: Observation) -> spaces.Dict:
    """Boxes of the arrays' shapes, without the leading axis of environments."""
    return spaces.Dict({k: spaces.Box(-np.inf, np.inf, v.shape[1:], np.float32) for k, v in obs.items()})


def action_space(world: Any, view: str) -> spaces.Space[Any]:
    """Joint: Q placement heads of P + 1 choices, then 5 R heads of regions, of L; sequential: the larger."""
    if view == "sequential":
        return spaces.Discrete(max(world.n_pools + 1, world.n_levels))
    heads = [world.n_pools + 1] * world.n_slots + [world.n_levels] * (N_HEADS * world.n_regions)
    return spaces.MultiDiscrete(np.array(heads))


class SimVecEnv(VecEnv):
    """Stable-Baselines3's vector environment over a simulator of B environments.

    `reward` is the simulator's, or that on the learner's scale where a `RewardScale` is given, accrued with
    `shaping`; episode figures in `infos` are always the
    simulator's. Infos carry `closed` in the sequential view, and at the end
    of an episode `terminal_observation`, `episode` (r, l, t), `kpi` and `TimeLimit.truncated`.

    Args:
        sim: the simulator, with autoreset.
        seed: environment i starts from seed `seed + i // twins`.
        scale: the learner's reward scale, which observes every reward.
        raw: hand out rewards in the simulator's unit all the same (a replay buffer scales them when it
            samples).
        shaping: rewards as they accrue (see `_accrued`), not as they are booked.
        twins: so many environments in a row live through the same arrivals, prices, weather and failures.
    """

    def __init__(
        self,
        sim: SimLike,
        seed: int = 0,
        scale: RewardScale | None = None,
        raw: bool = False,
        shaping: bool = False,
        twins: int = 1,
    ) -> None:
        self.sim, self.scale, self._seed, self._raw = sim, scale, seed, raw or scale is None
        self.shaping, self.twins = shaping, twins
        self._committed, self._foretold = np.zeros(sim.n_envs), np.zeros(sim.n_envs)
        self.sequential = sim.view == "sequential"
        self._actions: Array = np.zeros(0, np.int64)
        self._start = time.perf_counter()
        self.episode_reward = np.zeros(sim.n_envs)
        self.episode_steps = np.zeros(sim.n_envs, np.int64)
        self.books = Books(sim)
        super().__init__(sim.n_envs, observation_space(sim.obs), action_space(sim.world, sim.view))

    def observe(self) -> Observation:
        """A copy of the simulator's observation: it writes the next one into the same arrays."""
        return {k: v.copy() for k, v in self.sim.obs.items()}

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Environment i starts from `seed + i // twins` at the next reset (the library's learners call this)."""
        first = super().seed(seed)[0]
        assert first is not None
        self._seeds = [first + i // self.twins for i in range(self.num_envs)]
        return self._seeds

    def reset(self) -> Observation:
        """Start all environments; those without a seed of their own (`seed()`) start from `seed + i // twins`."""
        given = [self._seed + i // self.twins if s is None else s for i, s in enumerate(self._seeds)]
        self.sim.reset(np.asarray(given, np.uint64))
        self._reset_seeds()
        self._reset_options()
        self.episode_reward[:] = 0.0
        self.episode_steps[:] = 0
        self.begin()
        return self.observe()

    def begin(self) -> None:
        """Count rewards and figures from the simulator's present state on."""
        self.books.restart()
        self._foretold[:] = 0.0
        if self.shaping:
            self._committed = self.sim.commitments()

    def _accrued(self) -> npt.NDArray[np.float64]:
        """Rewards `[B]` less what the expected cost of unfinished work has risen by.

        Over an episode they sum to what was booked, less what the first jobs were expected to cost. A choice is
        paid in the step that it is made, and a discount forgives no cost for being put off: at 0.99 a step, as
        booked, a job sent a day later cost 62 % less, and learners let everything wait.
        """
        sim = self.sim
        if not self.shaping or not sim.closed.any():
            return sim.reward
        before, now = self._committed, sim.commitments(sim.closed)
        self._committed = np.where(sim.closed, now, before)
        rise = np.where(sim.done, 0.0, now) - before
        reference = float(sim.world.reference_usd)
        return sim.reward - np.where(sim.closed, rise, 0.0) / reference

    def _extra(self, actions: Array) -> npt.NDArray[np.float64]:
        """By how much each choice `[B]` of the sequential view is expected to cost more than the job's cheapest pool.

        In units of the reward; 0 for leaving a job, and for set-points. A step's accrued rewards are the sum over all
        its jobs. Paid with each choice, and given back when the step closes, what the observation foretells of that
        choice does not drown in what it says of the others. This is shaping by a potential of what was chosen so far in
        the step: returns from the beginning of a step are the same (Ng et al., "Policy invariance under reward
        transformations", ICML 1999).
        """
        sim = self.sim
        pairs, rows = sim.obs["pairs"][:, 0].astype(np.float64), np.arange(sim.n_envs)
        legal, pool = pairs[..., _LEGAL] > 0.0, np.maximum(actions - 1, 0)
        usd = np.where(legal, np.sinh(pairs[..., _COST]), _NEVER)
        sends = (
            (sim.obs["head"][:, 0] > 0.5) & (actions > 0) & legal[rows, np.minimum(pool, legal.shape[1] - 1)]
        )
        extra = usd[rows, np.where(sends, pool, 0)] - usd.min(1)
        return np.where(sends, extra, 0.0) / float(sim.world.reference_usd)

    def step_async(self, actions: Array) -> None:
        """Keep the choices for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Observation, npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the step."""
        sim = self.sim
        extra = self._extra(self._actions) if self.shaping and self.sequential else None
        sim.step(self._actions)
        done, closed = sim.done.copy(), sim.closed
        self.episode_reward += sim.reward
        self.episode_steps += closed
        self.books.step(done, closed)
        accrued = self._accrued()
        paid = accrued if extra is None else self._at_once(accrued, extra, closed)
        reward = paid.astype(np.float32)
        if self.scale is not None:
            self.scale.observe(accrued, closed, done)
            if not self._raw:
                reward = self.scale.scaled(paid, closed)
        infos: list[dict[str, Any]]
        infos = (
            [{"closed": c} for c in closed.tolist()]
            if self.sequential
            else [{} for _ in range(self.num_envs)]
        )
        for i in np.flatnonzero(done):
            self._finish(int(i), infos[i])
        return self.observe(), reward, done, infos

    def _at_once(self, accrued: Array, extra: Array, closed: Array) -> npt.NDArray[np.float64]:
        """Rewards with what was foretold paid by each choice, and given back where a step closes."""
        self._foretold += extra
        paid = accrued - extra + np.where(closed, self._foretold, 0.0)
        self._foretold[closed] = 0.0
        return np.asarray(paid)

    def _finish(self, i: int, info: dict[str, Any]) -> None:
        """What is told of environment i's episode, which has just ended."""
        sim = self.sim
        # The horizon is no truncation to be bootstrapped over: the simulator's settlement has charged what
        # unfinished work will still cost, so the value after it is zero.
        info["TimeLimit.truncated"] = False
        info["terminal_observation"] = {k: v[i].copy() for k, v in sim.final_obs.items()}
        info["episode"] = {
            "r": float(self.episode_reward[i]),
            "l": int(self.episode_steps[i]),
            "t": time.perf_counter() - self._start,
        }
        info["kpi"] = named_kpis(sim.last_terms_sum[i], sim.last_flows_sum[i], sim.last_counts_sum[i])
        self.episode_reward[i] = 0.0
        self.episode_steps[i] = 0

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, the simulator included."""
        return {
            "sim": self.sim.snapshot(),
            "episode_reward": self.episode_reward.copy(),
            "episode_steps": self.episode_steps.copy(),
            "books": [a.copy() for a in self.books.sums],
            "book_steps": self.books.steps,
            "committed": self._committed.copy(),
            "foretold": self._foretold.copy(),
        }

    def load(self, state: dict[str, Any]) -> Observation:
        """The inverse of `state`; returns the observation to go on from."""
        self.sim.restore(state["sim"])
        self.episode_reward[:] = state["episode_reward"]
        self.episode_steps[:] = state["episode_steps"]
        self._committed, self._foretold = np.array(state["committed"]), np.array(state["foretold"])
        self.books.sums = [np.array(a) for a in state["books"]]
        self.books.steps = int(state["book_steps"])
        return self.observe()

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The simulator's attribute, once per environment (they share it); `render_mode` is None."""
        value = None if attr_name == "render_mode" else getattr(self.sim, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Environments are rows of arrays and have no attributes of their own."""
        raise NotImplementedError(
            f"cannot set {attr_name!r}: environments are rows of one simulator's arrays"
        )

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Environments are rows of arrays and have no methods of their own."""
        raise NotImplementedError(
            f"cannot call {method_name!r}: environments are rows of one simulator's arrays"
        )

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[Any]:
        """Training environments are not drawn."""
        return [None] * self.num_envs
