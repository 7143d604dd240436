"""A recorded cluster log as a scenario: what was done, and what a policy would have done, through the same hours.

A log is a file of snapshots, one JSON object a line, oldest first, one a control step (`serve --record FILE` writes
it). Its jobs arrive when they were first seen, with the work that was estimated then; its prices, carbon, weather and
forecasts are what each policy sees and what its bill is made of; plants start at the recorded set-points. Nothing
breaks: failures of a log are not repeated. What was done is replayed by the same simulator, so that its errors are on
both sides of the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gcn_env import drivers
from gcn_env.action import level_values
from gcn_env.core.execution import start
from gcn_env.core.nodes import fits
from gcn_env.core.params import INFERENCE, WorldParams
from gcn_env.core.placement import devices_needed
from gcn_env.core.state import N_HEADS, PENDING, RUNNING, TRANSIT, Plants, copied
from gcn_env.errors import UserError
from gcn_env.ledger import TERMS
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim
from gcn_env.snapshot.jobs import JobReader
from gcn_env.snapshot.live import LiveFleet
from gcn_env.snapshot.parse import SnapshotError, Units

Array = Any
MAX_SNAPSHOTS = 100_000
_COURSE = ("status", "pool", "held", "finish", "started", "shown_step")


class Policy(Protocol):
    """Anything with Stable-Baselines3's `predict`, on the joint view."""

    def predict(self, observation: dict[str, Array], state: Any = None) -> tuple[Array, Any]:
        """Choices int64 [1, Q + 5R], and the policy's state for the next call."""
        ...


def read_log(path: str | Path) -> Iterator[Any]:
    """Snapshots of a log.

    Raises:
        UserError: for a file that is missing or holds a line that is no JSON object.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no cluster log {file}; `python -m agents serve --record {file}` writes one")
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if number > MAX_SNAPSHOTS:
                raise UserError(f"{file} has more than {MAX_SNAPSHOTS:,} snapshots; cut it into parts")
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UserError(f"{file}:{number}: no JSON object: {error}") from None


@dataclass(frozen=True)
class Moment:
    """One control step of a log."""

    hour: float
    signals: Any  # `Signals` of batch one
    command: Array  # float64 [R, 5] set-points in force
    arrivals: tuple[Any, ...]  # jobs first seen, as the document describes them
    sent: dict[str, str]  # job -> pool to which it was sent since the moment before


@dataclass(frozen=True)
class Outcome:
    """What the hours of a log cost under one policy."""

    terms: Array  # float64 [len(TERMS)] USD
    flows: Array  # float64 [R, len(FLOWS)]
    placed: int  # jobs sent to a pool
    unplaced: int  # jobs that still waited at the end

    @property
    def usd(self) -> float:
        """Their sum."""
        return float(self.terms.sum())


class Log:
    """A recorded log, read for one world."""

    def __init__(self, world: World, snapshots: Iterator[Any]) -> None:
        """Read it.

        Raises:
            UserError: for a log of fewer than two snapshots, or whose snapshots are not one control step apart.
        """
        self.world, self.moments, self.units = world, list[Moment](), dict[str, Any]()
        self.plants: Plants
        self.unseen = set[str]()  # jobs left out: they ended before a snapshot showed where they ran
        live, pools, before = LiveFleet(world), dict[str, str | None](), None
        for number, sent in enumerate(snapshots, 1):
            report = live.read(sent)
            if before is not None and abs(report.hour - before - world.step_h) > 0.25 * world.step_h:
                raise UserError(
                    f"snapshot {number} of the log is {60 * (report.hour - before):.1f} min after the one before; "
                    f"{world.name} takes a step every {60 * world.step_h:g} min (time.step_min)"
                )
            before = report.hour
            placed = {str(k): str(v) for k, v in (sent.get("placed") or {}).items()}
            self._ended(pools, live.ids, placed)
            self.units = sent["units"]
            self.moments.append(self._moment(live, sent, report.hour, pools, placed))
        if len(self.moments) < 2:
            raise UserError("a log of fewer than two snapshots has nothing to replay")
        kept = [tuple(j for j in m.arrivals if j["id"] not in self.unseen) for m in self.moments]
        self.moments = [replace(m, arrivals=a) for m, a in zip(self.moments, kept, strict=True)]

    def _ended(self, pools: dict[str, str | None], now: list[str], placed: dict[str, str]) -> None:
        """Jobs that came and went between two snapshots: nobody saw where, unless the log says so."""
        for name in set(pools) - set(now):
            if pools.pop(name) is None and name not in placed:
                self.unseen.add(name)

    def _moment(
        self, live: LiveFleet, sent: Any, hour: float, pools: dict[str, str | None], placed: dict[str, str]
    ) -> Moment:
        """What is new in a snapshot; `pools` remembers where each job was seen last."""
        arrivals, moved = [], dict(placed)
        for job in sent["jobs"]:
            name, pool = job["id"], job.get("pool")
            if name not in pools:
                there = not self.moments  # in the first snapshot, jobs stand where they stand
                arrivals.append(job if there else {k: v for k, v in job.items() if k not in _COURSE})
            if self.moments and pool is not None and pools.get(name) != pool:
                moved[name] = pool
            pools[name] = pool if pool is not None else pools.get(name)
        state = copied(live.state)
        if not self.moments:
            self.plants = state.plants
        return Moment(hour, state.signals, state.plants.command[0], tuple(arrivals), moved)

    @property
    def jobs(self) -> int:
        """How many jobs it holds."""
        return sum(len(m.arrivals) for m in self.moments)

    def recorded(self) -> Replayer:
        """What was done: jobs go where they went, when they went; plants get the set-points that they had."""
        return Replayer(self)

    def replay(self, policy: Policy | None = None) -> Outcome:
        """The log's hours under a policy; None: what was done."""
        return Replay(self).run(policy)


class Replayer:
    """The recorded decisions, for the state of a replay."""

    def __init__(self, log: Log) -> None:
        self.log, self._due = log, dict[str, int]()
        self._pools = {n: p for p, n in enumerate(log.world.pool_names)}
        self._levels = level_values(log.world)

    def actions(self, k: int, slots: list[str | None]) -> Array:
        """Choices at moment `k`: what was done between it and the next."""
        world = self.log.world
        following = self.log.moments[min(k + 1, len(self.log.moments) - 1)]
        self._due |= {name: self._pools[pool] for name, pool in following.sent.items()}
        out = np.zeros((1, world.n_slots + N_HEADS * world.n_regions), np.int64)
        for q, name in enumerate(slots):
            if name is not None and name in self._due:
                out[0, q] = self._due.pop(name) + 1
        levels = np.abs(self._levels - following.command[:, :, None]).argmin(2)
        out[0, world.n_slots :] = levels.ravel()
        return out


def calm(params: WorldParams) -> WorldParams:
    """The same world in which nothing arrives by itself and nothing breaks."""
    none = np.zeros_like
    return params._replace(
        work=params.work._replace(rate=none(params.work.rate), standing=none(params.work.standing)),
        fleet=params.fleet._replace(fail=none(params.fleet.fail), degrade=none(params.fleet.degrade)),
        geo=params.geo._replace(
            outage=none(params.geo.outage), cut=none(params.geo.cut), fade=none(params.geo.fade)
        ),
        site=params.site._replace(faults=none(params.site.faults), curtail=none(params.site.curtail)),
        market=params.market._replace(reclaim=none(params.market.reclaim)),
    )


class Replay:
    """One run through a log."""

    def __init__(self, log: Log) -> None:
        self.log, world = log, log.world
        self.params = calm(world.params)
        self.timing = world.timing._replace(horizon=len(log.moments) - 1)
        self.sim = Sim(world, 1, autoreset=False)
        self.sim.world = replace(world, params=self.params)
        self.sim.reset(0)
        self.state = self.sim.state
        self.reader = JobReader(world, self.state)
        self.ids: dict[int, str] = {}  # number of arrival -> name
        self._count = 0
        first = log.moments[0]
        clock = self.state.clock
        clock.start_h[0] = clock.now_h[0] = first.hour
        for name in ("command", "actual", "overhead", "peak_kw", "highest_kw", "grid_kw", "node_kw", "seen"):
            getattr(self.state.plants, name)[...] = getattr(log.plants, name)
        self._meet(first)

    def _meet(self, moment: Moment) -> None:
        """Signals and arrivals of a moment."""
        for mine, recorded in zip(self.state.signals, moment.signals, strict=True):
            mine[...] = recorded
        jobs, units = self.state.jobs, Units(self.log.units)
        for job in moment.arrivals:
            place = int(jobs.n_live[0])
            if place >= jobs.status.shape[1]:
                raise SnapshotError(f"all {place} job places are taken (decisions.job_places)")
            name, _, _ = self.reader.read(place, job, units, moment.hour, f"job {job['id']!r:.60}")
            jobs.order[0, place], jobs.shown[0, place] = self._count, -1
            jobs.node[0, place], jobs.via[0, place] = -1, -1
            jobs.unsaved[0, place], jobs.left_gb[0, place] = 0.0, 0.0
            jobs.finish[0, place], jobs.ready[0, place] = 1e9, moment.hour
            jobs.drains[0, place] = 0
            if (
                int(jobs.kind[0, place]) == INFERENCE
            ):  # the autoscaler, which wants none, gets it back at the end
                source, origin = int(jobs.source[0, place]), int(jobs.origin[0, place])
                self.state.sources.leased[0, source, origin] += jobs.gang[0, place]
            self._stand(place, moment.hour)
            self.ids[self._count] = name
            self._count += 1
            jobs.n_live[0] = place + 1
        w = self.log.world
        drivers.refill(0, 1, self.timing, self.state, self.params)
        drivers.encode_joint_range(0, 1, w.n_levels, self.timing, self.state, self.params, self.sim._view)

    def _stand(self, place: int, hour: float) -> None:
        """A job that the first snapshot shows at a pool: it runs on if it ran, else it joins that pool's queue."""
        jobs, fleet = self.state.jobs, self.params.fleet
        status, pool = int(jobs.status[0, place]), int(jobs.pool[0, place])
        if status == PENDING:
            jobs.held[0, place] = 0
            return
        kind = int(jobs.kind[0, place])
        jobs.held[0, place] = devices_needed(kind, int(jobs.gang[0, place]), fleet.speed[kind, pool])
        if status == RUNNING and fits(0, pool, jobs.held[0, place], self.state.pools):
            start(0, place, hour, jobs, self.state.pools, fleet)
        else:
            jobs.status[0, place] = TRANSIT  # with nothing to carry: it is in the queue after this step

    def run(self, policy: Policy | None) -> Outcome:
        """All control steps, and the settlement of what is left."""
        replayer, jobs = Replayer(self.log), self.state.jobs
        reward, done, kept = np.zeros(1), np.zeros(1, np.bool_), None
        for k, following in enumerate(self.log.moments[1:]):
            if policy is None:
                slots = [None if j < 0 else self.ids[int(jobs.order[0, j])] for j in jobs.slot[0]]
                actions = replayer.actions(k, slots)
            else:
                chosen, kept = policy.predict(self.sim.obs, kept)
                actions = np.ascontiguousarray(chosen, np.int64)
            drivers.joint_range(
                0, 1, 1, False, 0, actions, self.log.world.n_levels, self.timing, self.state, self.params,
                self.sim._view, reward, done,
            )  # fmt: skip
            self._meet(following)
        ledger = self.state.ledger
        waits = int((jobs.status[0, : int(jobs.n_live[0])] == PENDING).sum())
        return Outcome(ledger.terms_sum[0].copy(), ledger.flows_sum[0].copy(), self._count - waits, waits)


def page(outcomes: dict[str, Outcome], jobs: int, hours: float) -> str:
    """Outcomes by name as Markdown, the first one the reference."""
    names = list(outcomes)
    reference = outcomes[names[0]]
    rows = [f"| {t} | " + " | ".join(f"{outcomes[n].terms[k]:,.2f}" for n in names) + " |\n"
            for k, t in enumerate(TERMS.names) if any(outcomes[n].terms[k] != 0.0 for n in names)]  # fmt: skip
    total = "| **all** | " + " | ".join(f"{outcomes[n].usd:,.2f}" for n in names) + " |\n"
    less = [_against(n, outcomes[n], names[0], reference) for n in names[1:]]
    head = "| USD | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names) + "\n"
    return f"{jobs:,} jobs in {hours:g} hours.\n\n{head}{''.join(rows)}{total}\n{''.join(less)}"


def _against(name: str, outcome: Outcome, other: str, reference: Outcome) -> str:
    gap = outcome.usd - reference.usd
    share = f" ({100 * abs(gap) / abs(reference.usd):.1f} %)" if reference.usd else ""
    return (
        f"{name} costs {abs(gap):,.2f} USD{share} {'more' if gap > 0 else 'less'} than {other}; "
        f"{outcome.unplaced} jobs still wait.\n"
    )
