"""What a decision is, how far a policy is trusted, and what a choice is expected to cost."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.serving.scorers import Obs
from gcn_env.errors import UserError

POLICY, RULE = "policy", "rule"


class NotReady(UserError):  # noqa: N818 - a state, not a fault
    """There is nothing to decide from yet."""


@dataclass(frozen=True)
class Options:
    """How far a policy is trusted.

    Attributes:
        mode: `act`, or `shadow`: the rule's decisions are answered, the policy's are only logged.
        canary: share of jobs and regions, by a hash of their names, that the policy decides; the rule decides the rest.
        deadline_s: s within which the policy answers a request; then the rule does.
        max_age_s: s after which a snapshot is stale.
        compare: also ask the rule where the policy decides, for the report of savings (always in shadow mode).
    """

    mode: str = "act"
    canary: float = 1.0
    deadline_s: float = 0.1
    max_age_s: float = 300.0
    compare: bool = False


@dataclass
class Decision:
    """One answered question.

    Attributes:
        kind: `score`, `place` or `setpoints`.
        by: who decided: `policy` or `rule`; per item where a canary divides them.
        reason: why not the policy, empty if it was.
        answer: plain values for the caller.
        inputs: hash of the observation.
        shadow: what the policy would have done where the rule decided, and the other way round with `compare`.
        corrections: choices that a guard took back, in words.
        seconds: spent on it.
    """

    kind: str
    by: str = POLICY
    reason: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    inputs: str = ""
    shadow: dict[str, Any] = field(default_factory=dict)
    corrections: list[str] = field(default_factory=list)
    seconds: float = 0.0


def in_canary(name: str, share: float) -> bool:
    """Whether the job or region of this name is among the share that the policy decides; the same at every call."""
    if share >= 1.0:
        return True
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    return number < share * 2.0**64


def digest(obs: Obs, tables: tuple[str, ...], before: str = "") -> str:
    """Sixteen hex digits over tables of an observation, and over what came before."""
    found = hashlib.blake2b(before.encode(), digest_size=8)
    for name in tables:
        found.update(np.ascontiguousarray(obs[name]).data)
    return found.hexdigest()
