"""The one core behind every adapter: a snapshot and candidates in, a guarded choice with its reasons out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.expected import expected_usd
from agents.serving.decision import POLICY, RULE, Decision, NotReady, Options, digest, in_canary
from agents.serving.guard import HEADS, Clock, Constraints, Envelope, Guarded, PolicyFailed, SetPoints
from agents.serving.scorers import Obs, Outcome, RuleScorer, Scorer
from gcn_env.core.state import N_HEADS, PENDING
from gcn_env.scenario.compile import World
from gcn_env.snapshot import LiveFleet, Report
from gcn_env.snapshot.parse import SnapshotError, Units, choice, mapping

Array = npt.NDArray[Any]
FLEET_TABLES, JOB_TABLES = ("pools", "regions", "globals"), ("jobs", "pairs")
ASKED = (*JOB_TABLES, "mask")


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
        self._last: tuple[Any, Array] | None = None  # candidates of the last request
        self._units: tuple[Any, Units] | None = None
        self._document: Any = None  # the last good snapshot
        self._fleet = ""  # hash of the present snapshot's pools, regions and globals
        self._trouble = ""  # why the present snapshot is not for the policy
        self._outside: list[str] = []
        self._kept: tuple[Obs, Outcome | None, str, str] | None = None  # the present snapshot's joint outcome
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
        obs = self.live.observe()
        self._fleet = digest(obs, FLEET_TABLES)
        if self.live.report.vital:
            self._trouble = "unknown"
        elif self.envelope is not None:
            self._outside = self.envelope.outside(obs, FLEET_TABLES)
            if Envelope.strange(self._outside, FLEET_TABLES):
                self._trouble = "unlike"

    @property
    def age_s(self) -> float:
        """Seconds since the last good snapshot; infinite without one."""
        return float("inf") if self.received is None else self.clock() - self.received

    def status(self) -> dict[str, Any]:
        """What is known of the fleet, and whether the policy may decide."""
        return {
            "policy": None if self.policy is None else self.policy.scorer.name, "fallback": self.fallback.name,
            "mode": self.options.mode, "canary": self.options.canary,
            "age_s": None if self.received is None else round(self.age_s, 3), "trouble": self._reason(),
            "outside": self._outside, "jobs": len(self.live.ids), "pools": list(self.world.pool_names),
            "job_places": self.world.scenario.decisions.job_places, **self.live.report.as_dict(),
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

    def _ask(self, obs: Obs, deadline: float, cooling: bool = True) -> tuple[Outcome | None, str]:
        """The policy's outcome, or why there is none."""
        reason = self._reason()
        if reason or self.policy is None:
            return None, reason or "none"
        try:
            return self.policy.decide(obs, deadline - self.clock(), cooling), ""
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
        with self.live.visitor(body.get("job"), self._units_of(body.get("units") or {})) as (name, place):
            pools = self._candidates(body.get("candidates"))
            decision = self._score(name, place, pools, began + (deadline_s or self.options.deadline_s))
        decision.seconds = self.clock() - began
        return decision

    def _units_of(self, declared: Any) -> Units:
        """Checked units; callers declare the same ones again and again."""
        if self._units is None or self._units[0] != declared:
            self._units = declared, Units(declared)
        return self._units[1]

    def _candidates(self, given: Any) -> Array:
        """Numbers of the pools asked about, in order."""
        names = self.world.pool_names
        if given is None:
            return np.arange(len(names))
        if self._last is not None and self._last[0] == given:  # the same candidates again and again
            return self._last[1]
        most = len(names)
        if (
            not isinstance(given, list)
            or not 0 < len(given) <= most
            or len(set(map(str, given))) < len(given)
        ):
            raise SnapshotError(f"candidates: wanted a list of 1..{most} different pools, or none for all")
        index = self.live.pool_index
        for name in given:
            if not isinstance(name, str) or name not in index:
                choice(name, names, "candidates")
        self._last = given, np.array([index[name] for name in given])
        return self._last[1]

    def _score(self, name: str, place: int, pools: Array, deadline: float) -> Decision:
        obs = self.live.observe_job(place)
        mask, n = obs["mask"], self.world.n_pools
        asked = np.zeros(n, bool)
        asked[pools] = True
        mask[0, 1 : n + 1][~asked] = 0.0
        if not mask[0, 1 : n + 1].any():
            mask[0, 0] = 1.0
        decision = Decision("score", inputs=digest(obs, ASKED, self._fleet))
        outcome, reason = self._ask_job(obs, deadline)
        chosen, decision = self._divide(decision, name, obs, outcome, reason)
        broken = self.constraints.broken(place)
        best = int(chosen.actions[0]) - 1
        if best >= 0 and (best in broken or not asked[best]):
            why = broken.get(best, ["not a candidate"])
            decision.corrections.append(f"{name} -> {self.world.pool_names[best]}: {'; '.join(why)}")
            best = -1
        names = self.world.pool_names
        wait, *weight = chosen.preference[0].tolist()
        decision.answer = {
            "job": name,
            "choice": names[best] if best >= 0 else None,
            "wait": wait,
            "candidates": [
                {"pool": names[p], "score": 0.0 if p in broken else weight[p], "refused": broken.get(p, [])}
                for p in pools.tolist()
            ],
        }
        return decision

    def _ask_job(self, obs: Obs, deadline: float) -> tuple[Outcome | None, str]:
        if self.envelope is not None and not self._reason():
            outside = self.envelope.outside(obs, JOB_TABLES)
            if Envelope.strange(outside, JOB_TABLES):
                return None, "unlike"
        return self._ask(obs, deadline, cooling=False)

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
        rule = self.fallback.decide(obs, cooling=False)
        if outcome is not None:
            decision.shadow = self._both(obs, 0, outcome, rule)
        return (outcome if decision.by == POLICY and outcome is not None else rule), decision

    # ----------------------------------------------------------------------------------------- the whole fleet at once
    def _joint(self, deadline: float) -> tuple[Obs, Outcome | None, str, str]:
        """The present snapshot's observation, the policy's outcome or why there is none, and the inputs' hash."""
        if self._kept is not None and not self._reason():
            return self._kept
        obs = self.live.observe()
        inputs = digest(obs, ASKED, self._fleet)
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
        decision, rule = Decision("place", inputs=inputs, reason=reason), self._rule(obs, outcome)
        rows, taken = [], dict[int, int]()
        for q, name in enumerate(self.live.slot_ids):
            if name is None:
                continue
            mine, who = self._whose(name, outcome, rule)
            rows.append(self._slot(q, name, obs, mine, taken, decision) | {"by": who})
            if outcome is not None and rule is not None:
                decision.shadow[name] = self._both(obs, q, outcome, rule)
        decision.answer = {"placements": rows}
        return self._closed(decision, outcome is not None and self.options.canary > 0.0, began)

    def _both(self, obs: Obs, q: int, outcome: Outcome, rule: Outcome) -> dict[str, Any]:
        """Choices of policy and rule for slot `q`, and what each is expected to cost [USD]."""
        names = (None, *self.world.pool_names)
        return {
            who: {"choice": names[int(o.actions[q])], "usd": expected_usd(obs, q, int(o.actions[q]))}
            for who, o in ((POLICY, outcome), (RULE, rule))
        }

    def _whose(self, name: str, outcome: Outcome | None, rule: Outcome | None) -> tuple[Outcome, str]:
        """Who decides for the job or region of this name."""
        acts = self.options.mode == "act" and in_canary(name, self.options.canary)
        if outcome is not None and (rule is None or acts):
            return outcome, POLICY
        assert rule is not None
        return rule, RULE

    def _rule(self, obs: Obs, outcome: Outcome | None) -> Outcome | None:
        """The rule's outcome where it is needed."""
        o = self.options
        needed = outcome is None or o.mode == "shadow" or o.canary < 1.0 or o.compare
        return self.fallback.decide(obs) if needed else None

    def _closed(self, decision: Decision, policys: bool, began: float) -> Decision:
        """A decision of the whole fleet with its last fields."""
        decision.by = POLICY if policys and self.options.mode == "act" else RULE
        if decision.by == RULE and not decision.reason:
            decision.reason = "shadow" if self.options.mode == "shadow" else "canary"
        decision.seconds = self.clock() - began
        return decision

    def _slot(
        self, q: int, name: str, obs: Obs, mine: Outcome, taken: dict[int, int], decision: Decision
    ) -> dict[str, Any]:
        """One job's placement, taken back if it breaks a constraint."""
        pool, jobs = int(mine.actions[q]) - 1, self.live.state.jobs
        place = int(jobs.slot[0, q])
        status = "pending" if int(jobs.status[0, place]) == PENDING else "placed"
        if pool >= 0:
            broken = self.constraints.broken(place, taken).get(pool)
            if broken:
                decision.corrections.append(f"{name} -> {self.world.pool_names[pool]}: {'; '.join(broken)}")
                pool = -1
            else:
                tenant = int(jobs.tenant[0, place])
                more = int(self.constraints.devices(place)[pool]) - int(jobs.held[0, place])
                taken[tenant] = taken.get(tenant, 0) + more
        usd = expected_usd(obs, q, pool + 1)
        return {
            "job": name,
            "status": status,
            "pool": None if pool < 0 else self.world.pool_names[pool],
            "usd": usd,
        }

    def setpoints(self, deadline_s: float | None = None) -> Decision:
        """Set-points of every plant: where to go (`target`), and what to write now (`setpoint`).

        Raises:
            NotReady: without a snapshot.
        """
        began = self.clock()
        self._ready()
        obs, outcome, reason, inputs = self._joint(began + (deadline_s or self.options.deadline_s))
        decision, rule = Decision("setpoints", inputs=inputs, reason=reason), self._rule(obs, outcome)
        n_slots, found = self.world.n_slots, {}
        for r, region in enumerate(self.world.region_names):
            mine, who = self._whose(region, outcome, rule)
            part = slice(n_slots + N_HEADS * r, n_slots + N_HEADS * (r + 1))
            found[region] = {"by": who, "heads": self._heads(r, mine.actions[part], decision)}
            if outcome is not None and rule is not None:
                both = ((POLICY, outcome), (RULE, rule))
                decision.shadow[region] = {name: o.actions[part].tolist() for name, o in both}
        decision.answer = {"regions": found}
        return self._closed(decision, any(x["by"] == POLICY for x in found.values()), began)

    def _heads(self, r: int, levels: Array, decision: Decision) -> dict[str, Any]:
        """Limits and rates on one plant's set-points."""
        points, plants, now = self.setpoint_limits, self.live.state.plants, self.clock()
        step_min, found = 60.0 * self.world.step_h, {}
        for h, head in enumerate(HEADS):
            if not points.there[r, h]:
                continue
            level, target, cut = points.target(r, h, int(levels[h]))
            if cut:
                decision.corrections.append(f"{self.world.region_names[r]}.{head}: cut to {target:g}")
            first = (float(plants.command[0, r, h]), now - 60.0 * step_min)
            present, since = self._written.get((r, h), first)
            write = points.step(r, h, target, present, min((now - since) / 60.0, step_min))
            if write != present:
                self._written[r, h] = (write, now)
            found[head] = {"level": level, "target": target, "setpoint": write, "unit": points.units[r][h]}
        return found
