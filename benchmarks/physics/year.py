"""Plant-years: one archetype in one climate under one policy, with hourly decisions and full dynamics.

Everything is `gcn_env.core.study.run`, that is `plant.advance`, in sub-steps of 300 s (plant) and 60 s (zone). A year
is run when a row or a figure first asks for it, and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.rules import reset
from gcn_env.core import search, study
from gcn_env.core.plant_table import PlantParams
from gcn_env.scenario.plants import PlantSite, archetype, archetypes, compile_plants, rules_for

from . import weather

Array = npt.NDArray[np.float64]
R = study.RECORD.ix
LEVELS = 13  # of each head in a search
LOOK = {"every": 1, "ahead": 1, "reserve_k": 0.5, "n_plant": 4}  # h, h, K, sub-steps in a trial
DESIGN_KW = 1000.0
POLICIES = ("B0", "B1", "B2", "oracle")  # of the annual study
MEANING = {
    "B0": "fixed conservative set-points, full flow",
    "B1": "competent rules: warm supply, flow follows the servers, coolant floats on the weather",
    "B2": "shipped weather reset, tuned on training years of the nearest climate in its table, else B1",
    "SP": "search of the temperatures only, flows and wet stage as B0",
    "oracle": "joint search of all heads that knows weather and load",
    "oracle-cooling": "the same, minimising cooling energy instead of facility energy",
}
QUICK_DAYS = 4  # of each month, in quick mode


class Year(NamedTuple):
    """Totals of one plant-year, per kW of design IT power."""

    month: Array  # [12, columns of study.RECORD] sums
    hottest_c: float
    least_margin_k: float  # to the nearest limit of inlet, coolant and chip
    commands: Array  # [T, 3]
    seconds: float  # of processor time

    def total(self, *names: str) -> float:
        """Sum of some columns over the year."""
        return float(self.month.sum(axis=0)[[study.RECORD.index(n) for n in names]].sum())

    @property
    def cooling(self) -> float:
        """Cooling energy [kWh/kW]."""
        return float(self.month[:, study.COOLING].sum())

    @property
    def facility(self) -> float:
        """Facility energy [kWh/kW]."""
        return float(self.month[:, study.FACILITY].sum())

    @property
    def pue(self) -> float:
        """Facility over IT energy, ISO/IEC 30134-2."""
        return self.facility / self.total("it")

    @property
    def wue(self) -> float:
        """Water over IT energy [L/kWh], ISO/IEC 30134-9, site water."""
        return self.total("water") / self.total("it")

    @property
    def tue(self) -> float:
        """Facility over the IT energy without server fans and leakage above reference."""
        return self.facility / (self.total("it") - self.total("server_fans") - self.total("leakage"))

    @property
    def monthly_pue(self) -> Array:
        """PUE of each month, [12]."""
        return np.asarray(self.month[:, study.FACILITY].sum(axis=1) / self.month[:, R.it])


class Plant(NamedTuple):
    """One archetype at one site, with the course of a year."""

    params: PlantParams
    course: study.Course
    month: npt.NDArray[np.int64]  # [T]


class Lab:
    """Weather, plants and plant-years, each made once."""

    def __init__(
        self, data: Path | None = None, quick: bool = False, tick: Callable[[str], None] | None = None
    ) -> None:
        """See the command line: `data` is a folder of measured weather; `tick` hears of every plant-year."""
        self.data, self.quick, self.tick = data, quick, tick or (lambda what: None)
        self._weather: dict[str, weather.Weather] = {}
        self._plants: dict[tuple[str, str], Plant] = {}
        self._years: dict[tuple[str, str, str], Year] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        """Archetypes."""
        return archetypes()

    @property
    def years(self) -> dict[tuple[str, str, str], Year]:
        """All plant-years so far, by archetype, climate and policy."""
        return self._years

    def weather(self, climate: str) -> weather.Weather:
        """Weather of a climate."""
        if climate not in self._weather:
            self._weather[climate] = weather.load(climate, self.data)
        return self._weather[climate]

    def origins(self, climates: Iterable[str]) -> str:
        """What weather some climates have, in one sentence."""
        return "; ".join(f"{c}: {self.weather(c).origin}" for c in climates)

    def plant(self, key: str, climate: str) -> Plant:
        """One archetype in one climate under the study's load."""
        if (key, climate) not in self._plants:
            air = self.weather(climate)
            hours = np.arange(weather.HOURS)
            if self.quick:  # some days from the middle of every month
                hours = hours[[10 <= d < 10 + QUICK_DAYS for d in _day_of_month(hours)]]
            params = compile_plants([PlantSite(key, DESIGN_KW, air.elevation_m)])
            idle = params.values[0, 0, study.P.idle_share]
            node = idle + (1.0 - idle) * weather.load_profile()[hours]
            course = study.Course(np.ascontiguousarray(air.values[hours]), node, np.ones(len(hours)))
            self._plants[key, climate] = Plant(params, course, weather.MONTH[hours])
        return self._plants[key, climate]

    def variant(self, key: str, climate: str, **overrides: float) -> Plant:
        """The same plant with some parameters replaced."""
        elevation_m = self.weather(climate).elevation_m
        return self.plant(key, climate)._replace(
            params=compile_plants([PlantSite(key, DESIGN_KW, elevation_m, overrides)])
        )

    def year(self, key: str, climate: str, policy: str) -> Year:
        """One plant-year."""
        at = (key, climate, policy)
        if at not in self._years:
            plant = self.plant(key, climate)
            self._years[at] = run(plant, controller(key, policy, plant))
            self.tick(f"{key} {climate} {policy}")
        return self._years[at]

    def study(self) -> None:
        """Every plant-year of the annual study."""
        for key in self.keys:
            for climate in weather.CLIMATES:
                for policy in (*POLICIES, "SP"):
                    self.year(key, climate, policy)

    def plan(self) -> int:
        """How many plant-years a full run keeps, nearly."""
        return len(self.keys) * len(weather.CLIMATES) * len([*POLICIES, "SP"]) + 33

    def held(self, key: str, climate: str, command: Iterable[float]) -> Year:
        """One plant-year at set-points that never move; not kept."""
        return run(self.plant(key, climate), study.fixed(list(command)))

    def saving(self, key: str, climate: str, policy: str, base: str, what: str = "cooling") -> float:
        """Percent of `base`'s energy that `policy` saves: cooling, facility or a column of the record."""
        new, old = self.year(key, climate, policy), self.year(key, climate, base)
        a, b = (getattr(y, what) if what in ("cooling", "facility") else y.total(what) for y in (new, old))
        return 100.0 * (1.0 - a / b)


def _day_of_month(hours: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    first = np.array([np.flatnonzero(m == weather.MONTH)[0] for m in range(12)])
    return (hours - first[weather.MONTH[hours]]) // 24


def run(plant: Plant, who: study.Controller, given: Array | None = None) -> Year:
    """Roll one controller over one year; `given` are its commands where it has none of its own."""
    begin = time.process_time()
    record, commands = study.run(plant.params, 0, plant.course, who, commands=given)
    seconds = time.process_time() - begin
    month = np.array([record[plant.month == m].sum(axis=0) for m in range(12)])
    return Year(month, float(record[:, R.hottest].max()), float(record[:, R.margin].min()), commands, seconds)


def controller(key: str, policy: str, plant: Plant) -> study.Controller:
    """Who decides under a policy."""
    b0 = rules_for(key)["b0"]
    base = np.array([b0["cold"], b0["flow"], b0["reject"]])
    if policy == "B0":
        return study.fixed(base)
    if policy == "B1":
        return study.competent()
    if policy == "B2":
        entry = reset.entry_for(key, reset.climate(plant.course.weather), reset.table()["entries"])
        return study.weather_reset(entry["reset"]) if entry else study.competent()
    levels = search.head_levels(plant.params, 0, LEVELS)
    if policy == "SP":
        for h, head in enumerate(archetype(key)["heads"].values()):
            if head["unit"] != "degC":
                levels[h] = base[h]
    prices = search.Prices(it=0.0) if policy == "oracle-cooling" else search.Prices()
    return study.oracle(levels, prices=prices, **LOOK)


def flows_only(lab: Lab, key: str, climate: str, n: int = 8) -> Year:
    """Flows chosen hour by hour for the least cooling energy while the cold side does what B1 would do.

    Every pair of `n` flows is held for the year, the best pair of each hour that keeps the limits is picked, and what
    was picked is played through with full dynamics.
    """
    plant = lab.plant(key, climate)
    cold, levels = lab.year(key, climate, "B1").commands[:, 0], search.head_levels(plant.params, 0, n)
    best, chosen = np.full(len(cold), np.inf), np.empty((len(cold), 3))
    for flow in levels[1]:
        for other in levels[2]:
            commands = np.stack([cold, np.full_like(cold, flow), np.full_like(cold, other)], axis=1)
            record, _ = study.run(plant.params, 0, plant.course, study.given(), commands=commands)
            spent = record[:, study.COOLING].sum(axis=1) + search.EXCURSION_KWH * record[:, R.excursion]
            better = spent < best
            best[better], chosen[better] = spent[better], commands[better]
    return run(plant, study.given(), chosen)
