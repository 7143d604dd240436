"""Policies by name. A policy is anything with Stable-Baselines3's `predict` on a batch of observations.

Specs: `rule:PLACEMENT+COOLING` (see `rule_names`), `run:DIR` (a training run), `trained:NAME` (a shipped policy); these
two load torch when asked for. `bundle:DIR` is an exported policy: ONNX Runtime, no torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agents.rules import cooling, placement
from gcn_env.errors import UserError, nearest
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
KINDS = ("rule", "run", "trained", "bundle")
BEST_PLACEMENTS = (
    "cost-greedy",
    "cost-greedy-deferral",
)  # the cheapest two with B1 in every shipped scenario


class Policy(Protocol):
    """What evaluation, training and serving ask of a policy."""

    view: str  # "joint" or "sequential"

    def predict(
        self,
        observation: dict[str, Array],
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = True,
    ) -> tuple[Array, Any]:
        """Actions for a batch of observations, and the policy's own state for the next call."""
        ...


class RulePolicy:
    """A placement rule with a cooling rule, on the joint view.

    Random and round-robin keep their place in `state`, which `predict` returns: a policy object holds nothing that
    changes, so that one object serves many batches.
    """

    view = "joint"

    def __init__(self, name: str, cooling_name: str, world: World, seed: int = 0) -> None:
        """Make the rule `name` + `cooling_name` for `world`; `seed` drives the random rule."""
        self.name, self.cooling_name, self.seed = name, cooling_name, seed
        self.spec = f"rule:{name}+{cooling_name}"
        self._cooling = cooling.RULES[cooling_name][0](world, name)
        self._pool_region = world.pool_region

    def predict(
        self,
        observation: dict[str, Array],
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = True,
    ) -> tuple[Array, Any]:
        """Actions int64 [B, Q + 5R]; a pure function of observation and state."""
        batch = observation["jobs"].shape[0]
        turn, calls = (np.zeros(batch, np.int64), 0) if state is None else (state[0].copy(), state[1])
        if episode_start is not None:
            turn[np.asarray(episode_start, bool)] = 0
        rng = np.random.default_rng([self.seed, calls])
        chosen = placement.place(self.name, observation, self._pool_region, turn, rng)
        levels = self._cooling.act(observation["regions"])
        return np.concatenate([chosen, levels.reshape(batch, -1)], 1), (turn, calls + 1)


def rule_names(cooling_names: tuple[str, ...] = ("b0", "b1")) -> list[str]:
    """Specs of every placement rule with every named cooling rule."""
    return [f"rule:{p}+{c}" for c in cooling_names for p in placement.RULES]


def standard_rules() -> list[str]:
    """The rules that a policy is compared with by default: every placement with B0 and B1, the best with B2 and MPC."""
    return [*rule_names(), *(f"rule:{p}+{c}" for c in ("b2", "mpc") for p in BEST_PLACEMENTS)]


def _rule(text: str, world: World) -> RulePolicy:
    name, plus, cool = text.partition("+")
    cool = cool if plus else "b1"
    for what, given, known in (
        ("placement rule", name, placement.RULES),
        ("cooling rule", cool, cooling.RULES),
    ):
        if given not in known:
            raise UserError(f"no {what} {given!r}{nearest(given, known)} (known: {', '.join(known)})")
    return RulePolicy(name, cool, world)


def fingerprint(spec: str) -> str:
    """Hash of what a spec stands for now: a run goes on, a bundle is written anew, a rule is its name."""
    from agents.cards import FOLDER  # here: a rule that is served needs neither
    from agents.runs import RunFolder

    kind, _, rest = spec.partition(":")
    run, path = RunFolder(Path(rest)), Path(rest)
    where = {
        "run": [path, run.best, *run.steps()[-1:]],  # what `load` takes, in its order
        "trained": [FOLDER / f"{rest}.safetensors"],
        "bundle": [path / "manifest.json"],
    }.get(kind, [])
    files = [file for file in where if file.is_file()]
    return hashlib.sha256(files[0].read_bytes()).hexdigest()[:16] if files else spec


def load(spec: str, world: World) -> Policy:
    """The policy that `spec` names, for `world`.

    Raises:
        UserError: for an unknown kind or name (with the nearest), or a run that does not fit this world's layout.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or kind not in KINDS:
        raise UserError(
            f"policy {spec!r}: write rule:PLACEMENT+COOLING, run:DIR, trained:NAME or bundle:DIR"
            f"{nearest(kind, KINDS)}"
        )
    if kind == "rule":
        return _rule(rest, world)
    if kind == "bundle":
        from agents.bundle import load_bundle_policy

        exported: Policy = load_bundle_policy(rest, world)
        return exported
    from agents.training import load_policy, load_shipped

    policy: Policy = load_policy(rest, world) if kind == "run" else load_shipped(rest, world)
    return policy
