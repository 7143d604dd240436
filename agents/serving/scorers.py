"""Bundles and rules behind one small interface: an observation of one fleet in, choices and preferences out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from agents.bundle.policy import BundlePolicy
from agents.policy import RulePolicy
from agents.rules.placement import RULES, Context

Array = npt.NDArray[Any]
Obs = Mapping[str, Array]


class Outcome(NamedTuple):
    """What a policy says of one observation of the joint view."""

    actions: Array  # int64 [Q + 5R]; [Q] where set-points were not asked for
    preference: (
        Array  # float64 [Q, P + 1], more is better, of legal choices sums to 1; column 0: leave the job
    )


class Scorer(Protocol):
    """A policy that can be served."""

    name: str

    def decide(self, obs: Obs, cooling: bool = True) -> Outcome:
        """Choices for an observation with a leading axis of 1; without `cooling` those of jobs are enough."""
        ...


def softmax(logits: Array) -> Array:
    """Along the last axis, float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


class BundleScorer:
    """A bundle of the joint view; preferences are the network's probabilities."""

    def __init__(self, policy: BundlePolicy) -> None:
        self.policy = policy
        self.name = f"bundle:{policy.bundle.manifest.name}"

    def decide(self, obs: Obs, cooling: bool = True) -> Outcome:
        """One run of the graph, or of the part of it that places jobs."""
        if not cooling:
            choices, placement = self.policy.place(obs)
            return Outcome(choices[0], softmax(placement[0]))
        out = self.policy.answer(obs)
        return Outcome(out.actions[0], softmax(out.placement[0]))


class RuleScorer:
    """A rule; preferences are ranks of the rule's own score among legal pools, the best pool first."""

    def __init__(self, rule: RulePolicy) -> None:
        self.rule, self.name = rule, rule.spec
        self._state: Any = None
        self._region = rule._pool_region

    def decide(self, obs: Obs, cooling: bool = True) -> Outcome:
        """Choices of the rule; its turn (round-robin, random) goes on from call to call."""
        actions, self._state = self.rule.predict(dict(obs), self._state)
        n_slots, n_pools = obs["pairs"].shape[1:3]
        preference = np.zeros((n_slots, n_pools + 1))
        mask = obs["mask"][0, : n_slots * (n_pools + 1)].reshape(n_slots, -1) > 0.5
        rng = np.random.default_rng([self.rule.seed, self._state[1]])
        for q in np.flatnonzero(mask[:, 1:].any(1)):
            c = Context(dict(obs), int(q), np.zeros((1, n_pools)), self._region, self._state[0], rng)
            score = np.where(mask[q, 1:], np.asarray(RULES[self.rule.name][0](c), np.float64)[0], np.inf)
            preference[q, 1:] = ranked(score)
        waits = ~mask[:, 1:].any(1)
        preference[waits, 0] = 1.0
        return Outcome(np.asarray(actions[0]), preference)


def ranked(score: Array) -> Array:
    """Weights that halve from each finite score, least first, to the next; equal scores share; they sum to 1."""
    finite = np.isfinite(score)
    levels, at = np.unique(score[finite], return_inverse=True)
    weight = np.zeros(len(score))
    if len(levels):
        share = 0.5 ** np.minimum(np.arange(len(levels)), 50)
        each = share[at]
        weight[finite] = each / each.sum()
    return weight
