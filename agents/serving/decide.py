"""The one core behind every adapter: a snapshot and candidates in, a guarded choice with its reasons out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.serving.guard import HEADS, Clock, Constraints, Envelope, Guarded, PolicyFailed, SetPoints
from agents.serving.scorers import Obs, Outcome, RuleScorer, Scorer
from gcn_env.core.state import N_HEADS, PENDING
from gcn_env.errors import UserError
from gcn_env.observation import JOBS, PAIRS
from gcn_env.scenario.compile import World
from gcn_env.snapshot import LiveFleet, Report
from gcn_env.snapshot.parse import SnapshotError, Units, choice, mapping

Array = npt.NDArray[Any]
FLEET_TABLES, JOB_TABLES = ("pools", "regions", "globals"), ("jobs", "pairs")
POLICY, RULE = "policy", "rule"
_COST, _PATIENCE, _LEGAL = (PAIRS.index(n) for n in ("cost", "patience", "legal"))
_LEASE = JOBS.index("inference")


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


def digest(obs: Obs) -> str:
    """Sixteen hex digits over an observation."""
    found = hashlib.blake2b(digest_size=8)
    for name in ("jobs", "pools", "regions", "pairs", "globals", "mask"):
        found.update(np.ascontiguousarray(obs[name]))
    return found.hexdigest()


class Decider:
    """Decides for one live fleet. Not thread-safe: a server calls it from one thread."""

    def __init__(
        self, world: World, policy: Scorer | None, fallback: RuleScorer, options: Options | None = None,
        envelope: Envelope | None = None, clock: Clock = time.monotonic,
    ) -> None:  # fmt: skip
        self.world, self.fallback, self.options, self.clock = world, fallback, options or Options(), clock
        self.live = LiveFleet(world)
        self.constraints, self.setpoint_limits = Constraints(world, self.live), SetPoints(world)
        self.policy = None if policy is None else Guarded(policy)
        self.envelope = envelope
        self.received: float | None = None  # clock at the last good snapshot
        self._document: Any = None  # the last good snapshot
        self._trouble = ""  # why the present snapshot is not for the policy
        self._outside: list[str] = []
        self._kept: tuple[Obs, Outcome, str, str] | None = None  # the present snapshot's joint outcome
        self._written: dict[tuple[int, int], tuple[float, float]] = {}  # (region, head) -> set-point, clock

    def swap(self, policy: Scorer | None, envelope: Envelope | None) -> None:
        """Take another policy from now on."""
        if self.policy is not None:
            self.policy.close()
        self.policy, self.envelope, self._kept = None if policy is None else Guarded(policy), envelope, None
        if self.received is not None:
            self._judge()

    # --------------------------------------------------------------------------------------------------- telemetry
    def update(self, document: Any) -> Report:
        """Take over a snapshot; a refused one leaves the one before in force.

        Raises:
            SnapshotError: for a document that is no snapshot of this world.
        """
        try:
            report = self.live.read(document)
        except Exception:
            before, received, self.received = self._document, self.received, None
            if before is not None:  # what was half overwritten is read again
                self.live.read(before)
                self.received = received
            raise
        self._document, self.received = document, self.clock()
        self._judge()
        return report

    def _judge(self) -> None:
        """Whether the present snapshot is one for the policy."""
        self._trouble, self._outside, self._kept = "", [], None
        if self.live.report.vital:
            self._trouble = "unknown"
        elif self.envelope is not None:
            self._outside = self.envelope.outside(self.live.observe(), FLEET_TABLES)
            if Envelope.strange(self._outside, FLEET_TABLES):
                self._trouble = "unlike"

    @property
    def age_s(self) -> float:
        """s since the last good snapshot; infinite without one."""
        return float("inf") if self.received is None else self.clock() - self.received

    def status(self) -> dict[str, Any]:
        """What is known of the fleet, and whether the policy may decide."""
        return {
            "policy": None if self.policy is None else self.policy.scorer.name, "fallback": self.fallback.name,
            "mode": self.options.mode, "canary": self.options.canary,
            "age_s": None if self.received is None else round(self.age_s, 3), "trouble": self._reason(),
            "outside": self._outside, "jobs": len(self.live.ids), **self.live.report.as_dict(),
        }  # fmt: skip

    def _reason(self) -> str:
        """Why the policy is not asked now, in a word; empty if it is."""
        if self.policy is None:
            return "none"
        if self.age_s > self.options.max_age_s:
            return "stale"
        return self._trouble

    def _ready(self) -> None:
        if self.received is None:
            raise NotReady("no snapshot yet: PUT /v1/snapshot first")

    def _ask(self, obs: Obs, deadline: float) -> tuple[Outcome | None, str]:
        """The policy's outcome, or why there is none."""
        reason = self._reason()
        if reason or self.policy is None:
            return None, reason or "none"
        try:
            return self.policy.decide(obs, deadline - self.clock()), ""
        except PolicyFailed as failure:
            return None, str(failure)

    # ----------------------------------------------------------------------------------------------------- scoring
    def score(self, request: Any, deadline_s: float | None = None) -> Decision:
        """Scores of candidate pools for one job: `{job: ID | {...}, candidates: [POOL, ...], units: {...}}`.

        Raises:
            NotReady: without a snapshot.
            SnapshotError: for a request that names what the fleet has not.
        """
        began = self.clock()
        self._ready()
        body = mapping(request, "score")
        with self.live.visitor(body.get("job"), Units(body.get("units") or {})) as (name, place):
            pools = self._candidates(body.get("candidates"))
            decision = self._score(name, place, pools, began + (deadline_s or self.options.deadline_s))
        decision.seconds = self.clock() - began
        return decision

    def _candidates(self, given: Any) -> Array:
        """Numbers of the pools asked about, in order."""
        names = self.world.pool_names
        if given is None:
            return np.arange(len(names))
        if not isinstance(given, list) or not 0 < len(given) <= len(names) or len(set(map(str, given))) < len(given):
            raise SnapshotError(f"candidates: wanted a list of 1..{len(names)} different pools, or none for all")
        index = self.live.pool_index
        return np.array([index[c] if isinstance(c, str) and c in index else names.index(choice(c, names, "candidates")) for c in given])

    def _score(self, name: str, place: int, pools: Array, deadline: float) -> Decision:
        obs = self.live.observe_job(place)
        mask, n = obs["mask"], self.world.n_pools
        asked = np.zeros(n, bool)
        asked[pools] = True
        mask[0, 1 : n + 1][~asked] = 0.0
        if not mask[0, 1 : n + 1].any():
            mask[0, 0] = 1.0
        decision = Decision("score", inputs=digest(obs))
        outcome, reason = self._ask_job(obs, deadline)
        chosen, decision = self._divide(decision, name, obs, outcome, reason)
        broken = {int(p): self.constraints.broken(place, int(p)) for p in pools}
        best = int(chosen.actions[0]) - 1
        if best >= 0 and broken.get(best, ["not a candidate"]):
            decision.corrections.append(f"{name} -> {self.world.pool_names[best]}: {broken.get(best)}")
            best = -1
        names = self.world.pool_names
        weight = chosen.preference[0]
        decision.answer = {
            "job": name,
            "choice": names[best] if best >= 0 else None,
            "wait": float(weight[0]),
            "candidates": [
                {"pool": names[p], "score": 0.0 if broken[p] else float(weight[p + 1]), "refused": broken[p]}
                for p in map(int, pools)
            ],
        }
        return decision

    def _ask_job(self, obs: Obs, deadline: float) -> tuple[Outcome | None, str]:
        if self.envelope is not None and not self._reason():
            outside = self.envelope.outside(obs, JOB_TABLES)
            if Envelope.strange(outside, JOB_TABLES):
                return None, "unlike"
        return self._ask(obs, deadline)

    def _divide(
        self, decision: Decision, name: str, obs: Obs, outcome: Outcome | None, reason: str
    ) -> tuple[Outcome, Decision]:
        """Who decides on one job; the other's choice is kept beside it where it is to be compared."""
        if outcome is not None and self.options.mode == "shadow":
            reason = "shadow"
        elif outcome is not None and not in_canary(name, self.options.canary):
            reason = "canary"
        decision.by, decision.reason = (RULE, reason) if reason or outcome is None else (POLICY, "")
        if decision.by == POLICY and not self.options.compare:
            assert outcome is not None
            return outcome, decision
        rule = self.fallback.decide(obs)
        if outcome is not None:
            names = (None, *self.world.pool_names)
            decision.shadow = {
                who: {"choice": names[int(o.actions[0])], "usd": expected_usd(obs, 0, int(o.actions[0]))}
                for who, o in ((POLICY, outcome), (RULE, rule))
            }
        return (outcome if decision.by == POLICY and outcome is not None else rule), decision

    # ----------------------------------------------------------------------------------------- the whole fleet at once
    def _joint(self, deadline: float) -> tuple[Obs, Outcome | None, str, str]:
        """The present snapshot's observation, the policy's outcome or why there is none, and the inputs' hash."""
        if self._kept is not None and not self._reason():
            obs, outcome, reason, inputs = self._kept
            return obs, outcome, reason, inputs
        obs = self.live.observe()
        inputs = digest(obs)
        outcome, reason = self._ask(obs, deadline)
        if outcome is not None:
            self._kept = (obs, outcome, reason, inputs)
        return obs, outcome, reason, inputs

    def place(self, deadline_s: float | None = None) -> Decision:
        """Where the jobs in the slots of the present snapshot should go: a pool, or leave them as they are.

        Raises:
            NotReady: without a snapshot.
        """
        began = self.clock()
        self._ready()
        obs, outcome, reason, inputs = self._joint(began + (deadline_s or self.options.deadline_s))
        decision = Decision("place", inputs=inputs, reason=reason)
        rule = self._rule(obs, outcome)
        rows, taken = [], dict[int, int]()
        for q, name in enumerate(self.live.slot_ids):
            if name is None:
                continue
            mine = outcome if outcome is not None and self._policys(name) else rule
            assert mine is not None
            row = self._slot(q, name, obs, mine, taken, decision)
            row["by"] = POLICY if mine is outcome else RULE
            if outcome is not None and rule is not None:
                decision.shadow[name] = {
                    who: {"choice": ([None, *self.world.pool_names])[int(o.actions[q])], "usd": expected_usd(obs, q, int(o.actions[q]))}
                    for who, o in ((POLICY, outcome), (RULE, rule))
                }
            rows.append(row)
        decision.by = POLICY if outcome is not None and self.options.mode == "act" and self.options.canary > 0 else RULE
        if decision.by == RULE and not reason:
            decision.reason = "shadow" if self.options.mode == "shadow" else "canary"
        decision.answer = {"placements": rows}
        decision.seconds = self.clock() - began
        return decision

    def _policys(self, name: str) -> bool:
        return self.options.mode == "act" and in_canary(name, self.options.canary)

    def _rule(self, obs: Obs, outcome: Outcome | None) -> Outcome | None:
        """The rule's outcome where it is needed."""
        needed = outcome is None or self.options.mode == "shadow" or self.options.canary < 1.0 or self.options.compare
        return self.fallback.decide(obs) if needed else None

    def _slot(self, q: int, name: str, obs: Obs, mine: Outcome, taken: dict[int, int], decision: Decision) -> dict[str, Any]:
        """One job's placement, taken back if it breaks a constraint."""
        pool, jobs = int(mine.actions[q]) - 1, self.live.state.jobs
        place = int(jobs.slot[0, q])
        status = "pending" if int(jobs.status[0, place]) == PENDING else "placed"
        if pool >= 0:
            broken = self.constraints.broken(place, pool, taken)
            if broken:
                decision.corrections.append(f"{name} -> {self.world.pool_names[pool]}: {broken}")
                pool = -1
            else:
                tenant = int(jobs.tenant[0, place])
                more = self.constraints.devices(place, pool) - int(jobs.held[0, place])
                taken[tenant] = taken.get(tenant, 0) + more
        usd = expected_usd(obs, q, pool + 1)
        return {"job": name, "status": status, "pool": None if pool < 0 else self.world.pool_names[pool], "usd": usd}

    def setpoints(self, deadline_s: float | None = None) -> Decision:
        """Set-points of every plant: where to go (`target`), and what to write now (`setpoint`).

        Raises:
            NotReady: without a snapshot.
        """
        began = self.clock()
        self._ready()
        obs, outcome, reason, inputs = self._joint(began + (deadline_s or self.options.deadline_s))
        decision = Decision("setpoints", inputs=inputs, reason=reason)
        rule = self._rule(obs, outcome)
        n_slots, found = self.world.n_slots, {}
        for r, region in enumerate(self.world.region_names):
            mine = outcome if outcome is not None and self._policys(region) else rule
            assert mine is not None
            levels = mine.actions[n_slots + N_HEADS * r : n_slots + N_HEADS * (r + 1)]
            found[region] = {"by": POLICY if mine is outcome else RULE, "heads": self._heads(r, levels, decision)}
            if outcome is not None and rule is not None:
                part = slice(n_slots + N_HEADS * r, n_slots + N_HEADS * (r + 1))
                decision.shadow[region] = {POLICY: outcome.actions[part].tolist(), RULE: rule.actions[part].tolist()}
        decision.by = POLICY if any(x["by"] == POLICY for x in found.values()) else RULE
        if decision.by == RULE and not reason:
            decision.reason = "shadow" if self.options.mode == "shadow" else "canary"
        decision.answer = {"regions": found}
        decision.seconds = self.clock() - began
        return decision

    def _heads(self, r: int, levels: Sequence[int] | Array, decision: Decision) -> dict[str, Any]:
        """Limits and rates on one plant's set-points."""
        points, plants, now = self.setpoint_limits, self.live.state.plants, self.clock()
        found = {}
        for h, head in enumerate(HEADS):
            if not points.there[r, h]:
                continue
            target, cut = points.target(r, h, int(levels[h]))
            if cut:
                decision.corrections.append(f"{self.world.region_names[r]}.{head}: cut to {target:g}")
            present, since = self._written.get((r, h), (float(plants.command[0, r, h]), now - 60.0 * 60.0 * self.world.step_h))
            minutes = min((now - since) / 60.0, 60.0 * self.world.step_h)
            write = points.step(r, h, target, present, minutes)
            if write != present:
                self._written[r, h] = (write, now)
            found[head] = {"level": int(levels[h]), "target": target, "setpoint": write, "unit": points.units[r][h]}
        return found


def expected_usd(obs: Obs, q: int, action: int) -> float | None:
    """What the encoder expects a choice for slot `q` to cost [USD]; of waiting, the best forecast hour; None: unknown."""
    pairs = obs["pairs"][0, q].astype(np.float64)
    usd = np.sinh(pairs[:, _COST])
    if action > 0:
        return float(usd[action - 1])
    legal = pairs[:, _LEGAL] > 0.0
    if not legal.any() or obs["jobs"][0, q, _LEASE] > 0.0:
        return None
    later = usd - pairs[:, _PATIENCE] * (np.abs(usd) + 0.01)
    return float(later[legal].min())
