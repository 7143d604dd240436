"""Plain Python, no server: a policy in the same guards, asked with a snapshot at each control step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.policy import RulePolicy, load
from agents.serving.decide import Decider
from agents.serving.decision import Options
from agents.serving.opening import open_scorer
from agents.serving.scorers import RuleScorer
from gcn_env import load_world
from gcn_env.errors import UserError


@dataclass(frozen=True)
class Decisions:
    """What to do in one control step.

    Attributes:
        by: `policy` or `rule`: who decided.
        reason: why not the policy, empty if it was.
        placements: job -> pool `REGION/POOL`; jobs that stay where they are, or wait, are not in it.
        setpoints: region -> head -> {`setpoint`, `unit`, ...}: what to write now.
        corrections: choices that a guard took back, in words.
        unknown: readings that the snapshot lacked: `table.reading` -> names.
    """

    by: str
    reason: str
    placements: dict[str, str] = field(default_factory=dict)
    setpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    corrections: list[str] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)


class Brain:
    """A policy for one live fleet.

    Args:
        policy: folder of a bundle (`bundle:DIR` or `DIR`), or `rule:...`.
        scenario: name or path of the scenario that describes the fleet.
        fallback: rule that decides where the policy must not.
        signer: public key that must have signed the bundle.
        deadline_s: within which the policy answers, else the rule.
        data: folder of real data, for scenarios that read files.
    """

    def __init__(
        self, policy: str, scenario: str, fallback: str = "rule:cost-greedy+b1", signer: str | None = None,
        deadline_s: float = 1.0, data: str | None = None,
    ) -> None:  # fmt: skip
        world = load_world(scenario, data_dir=data)
        rule = load(fallback, world)
        if not isinstance(rule, RulePolicy):
            raise UserError(f"fallback {fallback}: wanted a rule, which needs no file to answer")
        scorer, envelope = open_scorer(policy, world, signer)
        self.decider = Decider(world, scorer, RuleScorer(rule), Options(deadline_s=deadline_s), envelope)

    def decide(self, snapshot: dict[str, Any]) -> Decisions:
        """Where jobs go and what plants do.

        Args:
            snapshot: a `gcn-snapshot/1` document.

        Raises:
            UserError: for a document that is no snapshot of this fleet.
        """
        report = self.decider.update(snapshot)
        jobs, plants = self.decider.place(), self.decider.setpoints()
        return Decisions(
            jobs.by, jobs.reason,
            {row["job"]: row["pool"] for row in jobs.answer["placements"] if row["pool"] is not None},
            {region: one["heads"] for region, one in plants.answer["regions"].items()},
            jobs.corrections + plants.corrections, report.unknown,
        )  # fmt: skip
