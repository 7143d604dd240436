"""Guards around a policy: hard constraints, set-point limits, a deadline, and reasons not to ask it at all.

Nothing here trusts the network or the mask in its observation: constraints are checked again from the scenario and the
snapshot, in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.bundle.limits import limits
from agents.serving.scorers import Obs, Outcome, Scorer
from gcn_env.action import REGION_HEADS, level_values
from gcn_env.core.params import CLASSES, INFERENCE
from gcn_env.core.state import CAP, N_HEADS
from gcn_env.observation import JOBS, PAIRS, TABLES
from gcn_env.scenario.compile import World
from gcn_env.snapshot import LiveFleet
from gcn_env.snapshot.document import TRUST_NAMES, laws

Array = npt.NDArray[Any]
WIDER = 0.5  # a column may leave its recorded range by this share of the range
LEAST = 0.1  # and by this much in any case, in units of the column
STRANGE = 0.05  # share of columns outside, above which a snapshot is not like what the policy was made for


class PolicyFailed(Exception):  # noqa: N818 - a reason to fall back, not an error of the caller
    """Why the policy did not answer; the rule answers instead."""


class Guarded:
    """A policy that is asked in a thread of its own, answers in time or not at all, and with finite numbers."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._pool = ThreadPoolExecutor(1, "policy")
        self._busy: Future[Outcome] | None = None

    def decide(self, obs: Obs, seconds: float) -> Outcome:
        """The policy's outcome within `seconds`.

        Raises:
            PolicyFailed: with the reason, one word that metrics can count.
        """
        if seconds <= 0.0:
            raise PolicyFailed("deadline")
        if self._busy is not None and not self._busy.done():
            raise PolicyFailed("busy")  # it still works on what was given up
        self._busy = self._pool.submit(self.scorer.decide, obs)
        try:
            outcome = self._busy.result(seconds)
        except Late:
            raise PolicyFailed("deadline") from None
        except Exception as error:  # whatever the runtime raises, the rule answers
            raise PolicyFailed("error") from error
        if not np.isfinite(outcome.preference).all():
            raise PolicyFailed("nan")
        return outcome

    def close(self) -> None:
        """Let the thread end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Envelope:
    """The range of every observed column when the policy was recorded, a little wider."""

    def __init__(self, ranges: Mapping[str, Any]) -> None:
        self._bounds = {}
        for table in TABLES:
            low, high = np.array(ranges[table.name], np.float64).T
            slack = np.maximum(WIDER * (high - low), LEAST)
            self._bounds[table.name] = (low - slack, high + slack)

    def outside(self, obs: Obs, tables: tuple[str, ...]) -> list[str]:
        """Columns `table.name` of which some entity lies outside; rows of jobs without a choice are padding."""
        found = []
        real = obs["jobs"][0, :, JOBS.index("choices")] > 0.0
        legal = obs["pairs"][0, :, :, PAIRS.index("legal")] > 0.0
        for name in tables:
            rows = obs[name][0]
            rows = rows[real] if name == "jobs" else rows[legal] if name == "pairs" else np.atleast_2d(rows)
            if not len(rows):
                continue
            low, high = self._bounds[name]
            wrong = (rows.min(0) < low) | (rows.max(0) > high)
            names = next(t for t in TABLES if t.name == name).names
            found += [f"{name}.{names[k]}" for k in np.flatnonzero(wrong)]
        return found

    @staticmethod
    def strange(outside: list[str], tables: tuple[str, ...]) -> bool:
        """Whether so many columns outside are too many."""
        columns = sum(len(t) for t in TABLES if t.name in tables)
        return len(outside) > STRANGE * columns


class Constraints:
    """What no decision may break, from the scenario's own words: law, trust, hardware, capacity, quota."""

    def __init__(self, world: World, live: LiveFleet) -> None:
        self.world, self.live = world, live
        regions = list(world.scenario.regions.values())
        self._law = [regions[int(r)].jurisdiction for r in world.pool_region]
        self._laws = laws(world)

    def devices(self, job: int, pool: int) -> int:
        """Devices that the job at a place would hold on a pool."""
        jobs, fleet = self.live.state.jobs, self.world.params.fleet
        gang = int(jobs.gang[0, job])
        if int(jobs.kind[0, job]) != INFERENCE:
            return gang
        speed = float(fleet.speed[INFERENCE, pool])
        return math.ceil(gang / speed - 1e-9) if speed > 0 else gang

    def broken(self, job: int, pool: int, taken: Mapping[int, int] | None = None) -> list[str]:
        """Constraints that sending the job at a place to a pool would break, in words; none: it may go.

        Args:
            job: place of the job in the snapshot.
            pool: number of the pool.
            taken: devices that earlier decisions of the same request took, by tenant.
        """
        jobs, pools, plants = self.live.state.jobs, self.live.state.pools, self.live.state.plants
        fleet, found = self.world.params.fleet, []
        allowed = [n for k, n in enumerate(self._laws) if (int(jobs.legal[0, job]) >> k) & 1]
        if self._law[pool] not in allowed:
            found.append(f"residency: {self._law[pool]} is not among {', '.join(allowed) or 'no jurisdiction'}")
        if int(fleet.trust[pool]) < int(jobs.trust[0, job]):
            found.append(f"trust: {TRUST_NAMES[int(fleet.trust[pool])]} < {TRUST_NAMES[int(jobs.trust[0, job])]}")
        kind = int(jobs.kind[0, job])
        if float(fleet.speed[kind, pool]) <= 0.0:
            found.append(f"hardware: cannot run {CLASSES[kind]}")
        if float(jobs.memory[0, job]) > float(fleet.memory[pool]):
            found.append(f"memory: {jobs.memory[0, job]:g} GiB > {fleet.memory[pool]:g} GiB")
        needed = self.devices(job, pool)
        if needed > int(fleet.devices[pool]):
            found.append(f"capacity: {needed} devices > {fleet.devices[pool]}")
        region = int(self.world.pool_region[pool])
        if float(plants.down_h[0, region]) > 0.0 or float(pools.away_h[0, pool]) > 0.0:
            found.append("health: the pool is down or away")
        tenant = int(jobs.tenant[0, job])
        held = int(self.live.state.sources.devices[0, tenant]) - int(jobs.held[0, job]) + (taken or {}).get(tenant, 0)
        quota = int(self.world.params.work.quota[tenant])
        if held + needed > quota:
            found.append(f"quota: {held + needed} devices > {quota}")
        return found


class SetPoints:
    """Levels become set-points within limits and rates: what a supervisory layer may write to the plants."""

    def __init__(self, world: World) -> None:
        self.world, self.values = world, level_values(world)
        rows = [limits(a) for a in world.archetypes]
        plant = world.params.plant
        self.low = np.maximum(np.array([[x.low for x in row] for row in rows]), plant.head_low[0])
        self.high = np.minimum(np.array([[x.high for x in row] for row in rows]), plant.head_high[0])
        self.rate = np.array([[x.rate_per_min for x in row] for row in rows])
        self.units = [[x.unit for x in row] for row in rows]
        self.there = plant.head_high[0] > plant.head_low[0]

    def target(self, region: int, head: int, level: int) -> tuple[float, bool]:
        """The set-point of a level within its limits, and whether it was cut."""
        wanted = float(self.values[region, head, level])
        allowed = min(max(wanted, float(self.low[region, head])), float(self.high[region, head]))
        return allowed, allowed != wanted

    def step(self, region: int, head: int, target: float, present: float, minutes: float) -> float:
        """The set-point to write now: no further from the present one than the rate allows in `minutes`."""
        reach = float(self.rate[region, head]) * minutes
        return min(max(target, present - reach), present + reach)


HEADS = REGION_HEADS.names[:N_HEADS]
POWER_HEADS = HEADS[CAP:]
Clock = Callable[[], float]
