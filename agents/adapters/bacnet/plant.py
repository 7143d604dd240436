"""One region's plant in a running simulator, on a clock finer than control steps.

A control step of a scenario is minutes long; a building's controller scans every few seconds. The simulator is
therefore told that a step is `TICK_S` seconds: weather, jobs, actuators, hall and plant move by the same kernels, only
more often. Jobs are still placed, and the other regions cooled, once in a control step of the scenario, by a rule.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from agents.policy import load
from agents.serving.guard import SetPoints
from gcn_env.core.integrate import rule_commands
from gcn_env.core.state import CARRIES, DRY, N_COOLING, N_HEADS, WET
from gcn_env.errors import UserError, nearest
from gcn_env.ledger import FLOWS
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from gcn_env.snapshot.readings import REGION_READINGS

TICK_S = 15  # simulated s of one step
DAYS = 30  # of one run
KEEP = -1  # an action that leaves a head as it is
RULE = "rule:cost-greedy+b1"  # for jobs and the other regions
_READINGS = {x.row.name: x for x in REGION_READINGS}


def region_of(world: World, name: str) -> int:
    """Number of a region.

    Raises:
        UserError: for an unknown name.
    """
    if name not in world.region_names:
        raise UserError(
            f"no region {name!r}{nearest(name, world.region_names)} (regions: {', '.join(world.region_names)})"
        )
    return world.region_names.index(name)


def year_like(hours: int, weekday: int) -> int:
    """A calendar year with so many hours whose 1 January is that weekday (Monday 0)."""
    for year in range(2001, 2029):  # the calendar repeats after 28 years
        first = datetime(year, 1, 1, tzinfo=UTC)
        if first.weekday() == weekday and (datetime(year + 1, 1, 1, tzinfo=UTC) - first).days * 24 == hours:
            return year
    raise UserError(f"no year has {hours} hours and begins on weekday {weekday}")


class Plant:
    """A region of a simulator of batch one.

    Attributes:
        world: the scenario as compiled.
        r: number of the region.
        archetype: its plant, `a` to `g`.
        low, high: float [3], limits of the cooling heads (`agents.bundle.limits`).
        rate: float [3], greatest change of their set-points a second.
    """

    def __init__(self, world: World, region: str, seed: int = 0) -> None:
        """Begin an episode of the test years.

        Raises:
            UserError: for an unknown region.
        """
        self.world, self.r = world, region_of(world, region)
        self.archetype = world.archetypes[self.r]
        timing = world.timing._replace(
            dt_h=TICK_S / 3600.0, horizon=DAYS * 86_400 // TICK_S, n_plant=1, n_zone=1
        )
        self.sim = Sim(dataclasses.replace(world, timing=timing), 1, split="test", autoreset=False)
        self.sim.reset(seed)
        self._rule, self._turn = load(RULE, world), None
        self._every = max(1, round(world.step_h * 3600.0 / TICK_S))
        points = SetPoints(world)
        self.low, self.high = points.low[self.r, :N_COOLING], points.high[self.r, :N_COOLING]
        self.rate = points.rate[self.r, :N_COOLING] / 60.0
        heads = world.n_slots + N_HEADS * self.r
        self._mine = slice(heads, heads + N_COOLING)

    @property
    def seconds(self) -> int:
        """Simulated seconds since the episode began."""
        return int(self.sim.state.clock.step[0]) * TICK_S

    @property
    def time(self) -> datetime:
        """Now, UTC, in a year of the simulated year's kind."""
        clock, bank = self.sim.state.clock, self.world.params.bank
        year = int(clock.year[0])
        first = datetime(year_like(int(bank.hours[year]), int(bank.weekday[year])), 1, 1, tzinfo=UTC)
        return first + timedelta(seconds=round(float(clock.start_h[0]) * 3600.0) + self.seconds)

    @property
    def utc_offset_h(self) -> float:
        """Local time less UTC."""
        return float(self.world.params.geo.utc_offset_h[self.r])

    def b1(self) -> list[float]:
        """The competent rule's set-points for the weather of now, within limits."""
        plant, now = self.world.params.plant, self.sim.state.signals.now[0, self.r]
        low, high = plant.head_low[0, self.r], plant.head_high[0, self.r]
        wanted = rule_commands(plant.values[0, self.r], low, high, now[DRY], now[WET])
        return [float(x) for x in np.clip(wanted, self.low, self.high)]

    def reading(self, name: str) -> float:
        """What a reading of the region in a snapshot says now."""
        x = _READINGS[name]
        value = getattr(getattr(self.sim.state, x.group), x.field)[(0, self.r, *x.at)]
        if x.row.unit == "0/1":  # hours left, or a stage, in the state
            value = value == CARRIES if x.field == "generator" else value > 0.0
        return float(value)

    def rest(self, without: set[str]) -> dict[str, Any]:
        """A snapshot of the fleet without some readings of this region: what others than the building would send."""
        shown = document(self.world, self.sim.state, slots=False)
        shown.pop("step")  # counts ticks, not control steps
        for job in shown["jobs"]:
            job.pop("shown_step")
        mine = shown["regions"][self.world.region_names[self.r]]
        for name in without:
            mine.pop(name)
        return shown

    def advance(self, command: list[float]) -> None:
        """One tick with these set-points of the three cooling heads."""
        world, sim = self.world, self.sim
        actions = np.full((1, len(sim.head_sizes)), KEEP, np.int64)
        actions[0, : world.n_slots] = 0
        if int(sim.state.clock.step[0]) % self._every == 0:
            actions, self._turn = self._rule.predict(sim.obs, self._turn)
        actions[0, self._mine] = KEEP
        sim.state.plants.command[0, self.r, :N_COOLING] = command
        sim.step(actions)

    @property
    def done(self) -> bool:
        """Whether the run's days are over."""
        return self.seconds >= DAYS * 86_400

    def measured(self) -> dict[str, float]:
        """Truths that no sensor says, for records: limit gap [K], excursion so far [K h], cooling so far [kWh]."""
        plants, flows = self.sim.state.plants, self.sim.state.ledger.flows_sum[0, self.r]
        parts = ("air_fans", "compressors", "pumps", "rejection", "humidifiers")
        return {
            "limit_gap_k": float(plants.limit_gap[0, self.r]),
            "hottest_c": float(plants.hot_c[0, self.r]),
            "excursion_kh": float(flows[FLOWS.index("excursion")]),
            "cooling_kwh": float(sum(flows[FLOWS.index(n)] for n in parts)),
        }
