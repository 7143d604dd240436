"""Guards around a policy: hard constraints, set-point limits, a deadline, and reasons not to ask it at all.

Nothing here trusts the network or the mask in its observation: constraints are checked again from the scenario and the
snapshot, in plain Python.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.bundle.limits import limits
from agents.serving.scorers import Obs, Outcome, Scorer
from gcn_env.action import REGION_HEADS, level_values
from gcn_env.core.params import CLASSES, INFERENCE
from gcn_env.core.state import N_HEADS
from gcn_env.observation import JOBS, PAIRS, TABLES
from gcn_env.scenario.compile import World
from gcn_env.snapshot import LiveFleet
from gcn_env.snapshot.document import TRUST_NAMES, laws

Array = npt.NDArray[Any]
DIRECT = 0.1  # share of the time left below which a policy is asked without a thread
FORGET = 0.95  # of the slowest recent answer, at each further one
WIDER = 0.5  # a column may leave its recorded range by this share of the range
LEAST = 0.1  # and by this much in any case, in units of the column
STRANGE = 0.05  # share of columns outside, above which a snapshot is not like what the policy was made for


_NAMES = {t.name: t.names for t in TABLES}
_REAL = {"jobs": JOBS.index("choices"), "pairs": PAIRS.index("legal")}  # columns that padding has not


class PolicyFailed(Exception):  # noqa: N818 - a reason to fall back, not an error of the caller
    """Why the policy did not answer; the rule answers instead."""


class Guarded:
    """A policy that answers in time or not at all, and with finite numbers.

    It is asked in a thread of its own, which can be left behind when the time is up; two locks hand the question over
    and the answer back, a quarter of the time of `concurrent.futures`. A policy whose answers lately took less than a
    tenth of what is left is asked directly: waking a thread takes 0.06 ms of CPU, and milliseconds of waiting on a busy
    machine. If such an answer is late for once, the rule answers, and the thread is used from then on.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._question: tuple[Obs, bool] | None = None
        self._answer: Outcome | Exception | None = None
        self._busy = False
        self._lately = float("inf")  # s of the slowest recent answers
        threading.Thread(target=self._work, name="policy", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._go.acquire()
            if self._question is None:
                return
            self._answer = self._ask(*self._question)
            self._done.release()

    def _ask(self, obs: Obs, cooling: bool) -> Outcome | Exception:
        """The outcome, or what was raised: whatever the runtime raises, the rule answers."""
        began = time.perf_counter()
        try:
            return self.scorer.decide(obs, cooling)
        except Exception as error:
            return error
        finally:
            spent = time.perf_counter() - began
            self._lately = spent if self._lately == float("inf") else max(spent, FORGET * self._lately)

    def decide(self, obs: Obs, seconds: float, cooling: bool = True) -> Outcome:
        """The policy's outcome within `seconds`; without `cooling` jobs' choices are enough.

        Raises:
            PolicyFailed: with the reason, one word that metrics can count.
        """
        if self._busy:  # it worked on what was given up: has it ended?
            if not self._done.acquire(blocking=False):
                raise PolicyFailed("busy")
            self._busy = False
        if seconds <= 0.0:
            raise PolicyFailed("deadline")
        if self._lately < DIRECT * seconds:
            began = time.perf_counter()
            outcome = self._ask(obs, cooling)
            if time.perf_counter() - began > seconds:
                raise PolicyFailed("deadline")
        else:
            self._question = obs, cooling
            self._go.release()
            if not self._done.acquire(timeout=seconds):
                self._busy = True
                raise PolicyFailed("deadline")
            assert self._answer is not None
            outcome = self._answer
        if not isinstance(outcome, Outcome):
            raise PolicyFailed("error") from outcome
        if not np.isfinite(outcome.preference).all():
            raise PolicyFailed("nan")
        return outcome

    def close(self) -> None:
        """Let the thread end, once it has answered."""
        if not self._busy:
            self._question = None
            self._go.release()


class Envelope:
    """The range of every observed column when the policy was recorded, a little wider."""

    def __init__(self, ranges: Mapping[str, Any]) -> None:
        self._bounds = {}
        for table in TABLES:
            low, high = np.array(ranges[table.name], np.float64).T
            slack = np.maximum(WIDER * (high - low), LEAST)
            self._bounds[table.name] = (low - slack).astype(np.float32), (high + slack).astype(np.float32)

    def outside(self, obs: Obs, tables: tuple[str, ...]) -> list[str]:
        """Columns `table.name` of which some entity lies outside; rows of jobs without a choice are padding."""
        found = []
        for name in tables:
            rows = np.atleast_2d(obs[name][0])
            if name in _REAL:
                rows = rows[(rows[..., _REAL[name]] > 0.0).nonzero()]
            low, high = self._bounds[name]
            wrong = (rows < low) | (rows > high)
            if wrong.any():
                found += [f"{name}.{_NAMES[name][k]}" for k in np.flatnonzero(wrong.any(0))]
        return found

    @staticmethod
    def strange(outside: list[str], tables: tuple[str, ...]) -> bool:
        """Whether so many columns outside are too many."""
        columns = sum(len(t) for t in TABLES if t.name in tables)
        return len(outside) > STRANGE * columns


class Constraints:
    """What no decision may break, from the scenario's own words: law, trust, hardware, capacity, health, quota."""

    def __init__(self, world: World, live: LiveFleet) -> None:
        self.world, self.live = world, live
        regions = list(world.scenario.regions.values())
        fleet = world.params.fleet
        self._law = [regions[int(r)].jurisdiction for r in world.pool_region]
        self._laws = laws(world)
        self._law_bit = np.array([1 << self._laws.index(x) for x in self._law], np.int64)
        self._replica = np.where(fleet.speed[INFERENCE] > 0.0, fleet.speed[INFERENCE], 1.0)

    def devices(self, job: int) -> Array:
        """Devices [P] that the job at a place would hold on each pool: replicas of a lease shrink with speed."""
        jobs = self.live.state.jobs
        gang = int(jobs.gang[0, job])
        if int(jobs.kind[0, job]) != INFERENCE:
            return np.full(self.world.n_pools, gang)
        return np.ceil(gang / self._replica - 1e-9).astype(np.int64)

    def broken(self, job: int, taken: Mapping[int, int] | None = None) -> dict[int, list[str]]:
        """Constraints that sending the job at a place to a pool would break, in words, by pool; others may take it.

        Args:
            job: place of the job in the snapshot.
            taken: devices that earlier decisions of the same request took, by tenant.
        """
        state, fleet = self.live.state, self.world.params.fleet
        jobs, kind = state.jobs, int(state.jobs.kind[0, job])
        needed = self.devices(job)
        tenant = int(jobs.tenant[0, job])
        held = int(state.sources.devices[0, tenant]) - int(jobs.held[0, job]) + (taken or {}).get(tenant, 0)
        quota = int(self.world.params.work.quota[tenant])
        may, trust, memory = int(jobs.legal[0, job]), int(jobs.trust[0, job]), float(jobs.memory[0, job])
        found: dict[int, list[str]] = {}

        def check(wrong: Array, words: Callable[[int], str]) -> None:
            for p in wrong.nonzero()[0].tolist():
                found.setdefault(p, []).append(words(p))

        check((self._law_bit & may) == 0, lambda p: f"residency: not allowed in {self._law[p]}")
        check(
            fleet.trust < trust, lambda p: f"trust: {TRUST_NAMES[int(fleet.trust[p])]} < {TRUST_NAMES[trust]}"
        )
        check(fleet.speed[kind] <= 0.0, lambda p: f"hardware: cannot run {CLASSES[kind]}")
        check(fleet.memory < memory, lambda p: f"memory: {memory:g} GiB > {fleet.memory[p]:g} GiB")
        check(needed > fleet.devices, lambda p: f"capacity: {needed[p]} devices > {fleet.devices[p]}")
        down = (state.plants.down_h[0][self.world.pool_region] > 0.0) | (state.pools.away_h[0] > 0.0)
        check(down, lambda p: "health: the pool is down or away")
        check(held + needed > quota, lambda p: f"quota: {held + needed[p]} devices > {quota}")
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

    def target(self, region: int, head: int, level: int) -> tuple[int, float, bool]:
        """The level and set-point within the limits that are nearest to a level, and whether it was cut."""
        wanted = float(self.values[region, head, level])
        low, high = float(self.low[region, head]), float(self.high[region, head])
        if low <= wanted <= high:
            return level, wanted, False
        allowed = min(max(wanted, low), high)
        return int(np.abs(self.values[region, head] - allowed).argmin()), allowed, True

    def step(self, region: int, head: int, target: float, present: float, minutes: float) -> float:
        """The set-point to write now: no further from the present one than the rate allows in `minutes`."""
        reach = float(self.rate[region, head]) * minutes
        return min(max(target, present - reach), present + reach)


HEADS = REGION_HEADS.names[:N_HEADS]
Clock = Callable[[], float]
