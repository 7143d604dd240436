"""Rewards on the learner's scale: centred on the mean step, in units of the spread of discounted returns.

A step costs about one reference cost, so a return is about -1 / (1 - gamma): a large number with a small
spread, which is what differs between policies. Subtracting a constant per control step changes no ranking of
policies (every episode has the same number of them); dividing by the spread gives the value a target of order
one. Means and spreads are running ones, are frozen while a rollout is collected, and are part of every
checkpoint.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MEMORY = 200_000.0  # control steps over which the statistics forget: a few hundred weeks of episodes
LEAST_SPREAD = 1e-3


class Change(NamedTuple):
    """How values on the old scale read on the new one: `gain * value + shift`."""

    gain: float
    shift: float


class RewardScale:
    """`(reward - mean) / spread` for every closed control step, `reward / spread` for a sub-decision that closes none.

    Args:
        n_envs: B.
        gamma: discount per control step.
        horizon: control steps of an episode.
    """

    def __init__(self, n_envs: int, gamma: float, horizon: int) -> None:
        left = np.arange(1, horizon + 1)
        # What a reward of 1 per step is worth, mean over the steps of an episode.
        self.annuity = float(((1.0 - gamma**left) / (1.0 - gamma)).mean())
        self.gamma, self.mean, self.spread = gamma, 0.0, 1.0
        self.weight, self.square = 0.0, 1.0  # control steps seen (forgetting), mean square of centred returns
        self.returns: Floats = np.zeros(n_envs)  # discounted sum of centred rewards so far, per environment
        self.sums: Floats = np.zeros(4)  # steps, rewards, returns, squared returns since the last refresh

    def observe(self, reward: Floats, closed: npt.NDArray[np.bool_], done: npt.NDArray[np.bool_]) -> None:
        """Count one vector step of raw rewards `[B]`."""
        new = self.gamma * self.returns + (reward - self.mean)
        self.returns = np.where(closed, new, self.returns)
        live = self.returns[closed]
        self.sums += (live.size, reward[closed].sum(), live.sum(), (live * live).sum())
        self.returns[done] = 0.0

    def scaled(self, reward: Floats, closed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Rewards `[B]` on the learner's scale; the mean is a control step's and leaves with the one that closes it."""
        return ((reward - np.where(closed, self.mean, 0.0)) / self.spread).astype(np.float32)

    def refresh(self) -> Change:
        """Fold in what was observed since the last call; between calls the scale stands still."""
        # Python's floats, not NumPy's: a resumed run holds these, and the two promote float32 differently.
        steps, total, returns, squares = self.sums.tolist()
        self.sums = np.zeros(4)
        if steps < 2:
            return Change(1.0, 0.0)
        old_mean, old_spread = self.mean, self.spread
        first = self.weight == 0.0
        kept = min(self.weight, max(MEMORY - steps, 0.0))
        share = steps / (kept + steps)
        self.weight = kept + steps
        self.mean += share * (total / steps - self.mean)
        # Variance, not mean square: until the mean has settled, the centred returns are off by a constant.
        variance = max(squares / steps - (returns / steps) ** 2, 0.0)
        self.square = variance if first else self.square + share * (variance - self.square)
        self.spread = max(float(np.sqrt(self.square)), LEAST_SPREAD)
        return self.change_since(old_mean, old_spread)

    def change_since(self, mean: float, spread: float) -> Change:
        """From the scale of another time, its mean and spread, to the present one."""
        return Change(spread / self.spread, (mean - self.mean) * self.annuity / self.spread)

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and arrays."""
        return {
            "mean": self.mean, "spread": self.spread, "weight": self.weight, "square": self.square,
            "returns": self.returns.copy(), "sums": self.sums.copy(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.mean, self.spread = float(state["mean"]), float(state["spread"])
        self.weight, self.square = float(state["weight"]), float(state["square"])
        self.returns, self.sums = np.array(state["returns"]), np.array(state["sums"])
