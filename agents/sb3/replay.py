"""A replay buffer for sub-decisions: one copy of each observation in float16, a discount per transition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from torch import Tensor

from agents.sb3.scaling import RewardScale

Array = npt.NDArray[Any]


class SequentialReplay(ReplayBuffer):
    """Transitions of the sequential view, time-major `[T, B]`, written round and round.

    Time passes only where a sub-decision closes a control step: the discount of a transition is gamma there
    and 1 elsewhere, and an n-step return multiplies the discounts on its way. The next observation is the one
    stored n places later; an episode's last needs none, as its value is zero (see `SimVecEnv`). Columns are
    of order one, so float16 keeps three digits: some 1.5 kB a transition on the default scenario, 150 MB for
    100,000.

    Args:
        buffer_size: transitions over all environments.
        observation_space: of the sequential view.
        action_space: `Discrete`.
        device: of the samples.
        n_envs: B.
        optimize_memory_usage: ignored, one copy is kept anyway.
        gamma: discount per control step.
        n_steps: sub-decisions that a return sums before it bootstraps.
        scale: turns stored (raw) rewards into the learner's when they are sampled.
    """

    observation_space: spaces.Dict

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        gamma: float = 0.99,
        n_steps: int = 1,
        scale: RewardScale | None = None,
    ) -> None:
        super(ReplayBuffer, self).__init__(
            buffer_size, observation_space, action_space, device, n_envs=n_envs
        )
        self.buffer_size = max(buffer_size // n_envs, n_steps + 1)
        self.gamma, self.n_steps, self.scale = gamma, n_steps, scale
        self.optimize_memory_usage = optimize_memory_usage
        shapes = {k: v.shape or () for k, v in self.observation_space.spaces.items()}
        self._parts: list[tuple[str, int, int, tuple[int, ...]]] = []
        width = 0
        for key, shape in shapes.items():
            size = int(np.prod(shape))
            self._parts.append((key, width, width + size, shape))
            width += size
        size2 = (self.buffer_size, n_envs)
        self.stored: Array = np.zeros((*size2, width), np.float16)
        self.chosen: Array = np.zeros(size2, np.int16)
        self.raw: Array = np.zeros(size2, np.float32)
        self.closed: Array = np.zeros(size2, np.bool_)
        self.ended: Array = np.zeros(size2, np.bool_)
        self.demo: Array = np.zeros(size2, np.bool_)
        self.demonstrating = False  # what is added now are a demonstrator's choices
        self.kept = 0  # first places, which are never overwritten

    @property
    def nbytes(self) -> int:
        """Bytes held when full."""
        arrays = (self.stored, self.chosen, self.raw, self.closed, self.ended, self.demo)
        return sum(a.nbytes for a in arrays)

    def add(self, obs: Any, next_obs: Any, action: Array, reward: Array, done: Array, infos: Any) -> None:
        """Store a vector step; `next_obs` comes with the next call, `infos` tell which steps closed."""
        i = self.pos
        for key, start, stop, _ in self._parts:
            self.stored[i, :, start:stop] = obs[key].reshape(self.n_envs, -1)
        self.chosen[i] = action.reshape(self.n_envs)
        self.raw[i], self.ended[i], self.demo[i] = reward, done, self.demonstrating
        self.closed[i] = [info["closed"] for info in infos]
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, self.kept

    def keep(self) -> None:
        """Never overwrite what is stored now (at most three quarters of the buffer).

        Hester et al., "Deep Q-learning from demonstrations", AAAI 2018, keep them too: once ours were
        overwritten, the learner forgot to send jobs (544,397 USD a week where the rule pays 18,505).
        """
        self.kept = min(self.size(), self.buffer_size * 3 // 4)
        self.pos = max(self.pos, self.kept) if not self.full else self.kept

    def _starts(self) -> tuple[int, int]:
        """From how many places an n-step return can begin, among the kept ones and among the others."""
        others = self.size() - self.kept
        return max(self.kept - self.n_steps, 0), max(others - self.n_steps, 0)

    def _places(self, start: Array, ahead: Array | int) -> Array:
        """Places `ahead` steps after `start`: kept ones run on, the others go round."""
        ring = self.buffer_size - self.kept
        return np.where(start < self.kept, start + ahead, self.kept + (start - self.kept + ahead) % ring)

    def ready(self) -> bool:
        """Whether at least one n-step return can be formed."""
        return sum(self._starts()) > 0

    def sample(  # type: ignore[override]
        self, batch_size: int, env: Any = None
    ) -> DictReplayBufferSamples:
        """Transitions whose next observation has been stored."""
        kept, others = self._starts()
        oldest = self.pos if self.full else self.kept
        lot = np.random.randint(0, kept + others, batch_size)  # noqa: NPY002 (SB3 seeds this one)
        after = lot - kept + oldest - self.kept
        ring = self.buffer_size - self.kept
        return self._get_samples(np.where(lot < kept, lot, self.kept + after % ring))

    def _get_samples(  # type: ignore[override]
        self, batch_inds: Array, env: Any = None
    ) -> DictReplayBufferSamples:
        lanes = np.random.randint(0, self.n_envs, len(batch_inds))  # noqa: NPY002
        at = self._places(batch_inds[:, None], np.arange(self.n_steps)), lanes[:, None]
        raw, closed, ended = self.raw[at], self.closed[at], self.ended[at]
        rewards = raw if self.scale is None else self.scale.scaled(raw, closed)
        discount = np.where(closed, self.gamma, 1.0)
        # Before[k]: discount of what transition k brings, seen from the first; alive[k]: no episode ended
        # before it.
        before = np.cumprod(np.concatenate([np.ones_like(discount[:, :1]), discount], 1), 1)
        alive = np.cumprod(np.concatenate([np.ones_like(ended[:, :1]), ~ended], 1), 1)
        returns = (rewards * before[:, :-1] * alive[:, :-1]).sum(1, keepdims=True)
        after = self._places(batch_inds, self.n_steps)
        self.sampled_demo = torch.from_numpy(self.demo[batch_inds, lanes])
        return DictReplayBufferSamples(
            observations=self._observation(batch_inds, lanes),
            actions=torch.from_numpy(self.chosen[batch_inds, lanes].astype(np.int64)[:, None]).to(
                self.device
            ),
            next_observations=self._observation(after, lanes),
            dones=self._tensor(1.0 - alive[:, -1:]),
            rewards=self._tensor(returns),
            discounts=self._tensor(before[:, -1:]),
        )

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self.device)

    def _observation(self, rows: Array, lanes: Array) -> dict[str, Tensor]:
        flat = self._tensor(self.stored[rows, lanes])
        return {key: flat[:, a:b].reshape(len(rows), *shape) for key, a, b, shape in self._parts}

    def state(self) -> dict[str, Any]:
        """Everything stored so far."""
        n = self.size()
        arrays = {k: getattr(self, k)[:n] for k in ("stored", "chosen", "raw", "closed", "ended", "demo")}
        return {"pos": self.pos, "full": self.full, "kept": self.kept, **arrays}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.pos, self.full, self.kept = int(state["pos"]), bool(state["full"]), int(state["kept"])
        n = self.size()
        for k in ("stored", "chosen", "raw", "closed", "ended", "demo"):
            getattr(self, k)[:n] = state[k]
