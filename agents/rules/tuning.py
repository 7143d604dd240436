"""Tuning of B2: for each archetype and climate, the weather reset that needs least facility energy.

Weeks from training years only, spread over the seasons, under a load that changes from week to week; every candidate
runs through all of them on the plant's kernel with full dynamics. Margins below `RESERVE_K` cost more than any
set-point saves, since a reset sees neither load nor temperatures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.rules.reset import COLUMNS, climate
from gcn_env.core.plant_table import PlantParams, column
from gcn_env.core.search import Course, Pace, head_levels
from gcn_env.core.state import DRY, HUMID
from gcn_env.core.study import (
    AFTER_PADS,
    COOLING,
    DRY_BULB,
    FACILITY,
    WET_BULB,
    R,
    competent,
    oracle,
    run,
    weather_reset,
)
from gcn_env.errors import UserError, nearest
from gcn_env.scenario.compile import World
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants
from gcn_env.signals.bank import SignalBank, synthetic_bank
from gcn_env.signals.climatology import sites

Array = npt.NDArray[np.float64]
RESERVE_K = 0.5
SHORTFALL = 50.0  # kWh per K h below the reserve, per kW of design
PACE = Pace(3600.0, 6, 5)
BEGINS = np.arange(-6.0, 29.0, 2.5)  # degC
WIDTHS = (0.1, 4.0, 8.0, 12.0, 16.0, 24.0)  # K
WEEK = 168


def weeks(bank: SignalBank, column: int, seed: int, n_weeks: int) -> Course:
    """`n_weeks` weeks of the bank's training years, seasons in turn, with a load of their own each.

    The mean load of a week is drawn between 40 and 95 % of what can be used, the share of nameplate that is awake
    between that load and 100 %; both follow the day.
    """
    rng, years = np.random.default_rng(seed), bank.rows("train")
    weather, node, awake = [], [], []
    for k in range(n_weeks):
        year = int(years[k % len(years)])
        start = int((k + rng.random()) / n_weeks * (bank.hours[year] - WEEK))
        use = rng.uniform(0.4, 0.95) + 0.14 * np.sin(2 * np.pi * (np.arange(WEEK) - 9) / 24)
        use = np.clip(use + 0.05 * rng.standard_normal(WEEK), 0.0, 1.0)
        on = rng.uniform(0.6, 1.0)
        weather.append(bank.values[year, start : start + WEEK, column, DRY : HUMID + 1].astype(np.float64))
        awake.append(np.clip(on + 0.1 * use, 0.0, 1.0))
        node.append(awake[-1] * (0.35 + 0.65 * use))
    return Course(np.concatenate(weather), np.concatenate(node), np.concatenate(awake))


class Tuner:
    """Search of one plant's reset over the grid of columns: line by line, from three starts."""

    def __init__(self, params: PlantParams, course: Course, n_levels: int) -> None:
        """Prepare the grid for one plant."""
        self.params, self.course = params, course
        self.levels = head_levels(params, 0, n_levels)
        values = [self.levels[h] for h in range(3)] * 2
        self.axes = [np.array([DRY_BULB, WET_BULB, AFTER_PADS]), BEGINS, np.array(WIDTHS), *values]
        self.known: dict[tuple[int, ...], float] = {}

    def row(self, k: tuple[int, ...]) -> list[float]:
        """The reset of a grid point."""
        at = [float(axis[i]) for axis, i in zip(self.axes, k, strict=True)]
        return [at[0], at[1], at[1] + at[2], *at[3:]]

    def cost(self, k: tuple[int, ...]) -> float:
        """Facility energy and shortfall [kWh/kW] of a grid point."""
        if k not in self.known:
            controller = weather_reset(self.row(k), self.levels)
            self.known[k] = priced(run(self.params, 0, self.course, controller, PACE).record)
        return self.known[k]

    def climb(self, k: tuple[int, ...], tied: bool = False) -> tuple[int, ...]:
        """Best point reached by lines along the axes; `tied` moves both triples together, which is a fixed triple."""
        best, still = k, 0
        axes = range(3, 6) if tied else range(len(self.axes))
        while still < len(axes):
            for axis in axes:
                line = [self._moved(best, axis, i, tied) for i in range(len(self.axes[axis]))]
                found = min([best, *line], key=self.cost)
                still = still + 1 if found == best else 1
                best = found
                if still >= len(axes):
                    break
        return best

    @staticmethod
    def _moved(k: tuple[int, ...], axis: int, i: int, tied: bool) -> tuple[int, ...]:
        return tuple(i if at == axis or (tied and at == axis + 3) else old for at, old in enumerate(k))

    def starts(self) -> Iterator[tuple[int, ...]]:
        """The best fixed triple, B1's line, and what the oracle does in the coldest and the warmest third of hours."""
        middle = (WET_BULB, len(BEGINS) // 2, 2)
        rule = run(self.params, 0, self.course, competent(), PACE).commands.mean(0)
        held = tuple(self._level(h, rule[h]) for h in range(3))
        yield self.climb((*middle, *held, *held), tied=True)
        yield self._rule()
        commands = run(self.params, 0, self.course, oracle(self.levels, reserve_k=RESERVE_K), PACE).commands
        wet = self.course.weather[:, 1]
        low, high = np.quantile(wet, [1 / 3, 2 / 3])
        begins = int(np.abs(BEGINS - low).argmin())
        width = int(np.abs(np.array(WIDTHS) - (high - low)).argmin())
        means = (commands[wet < low].mean(0), commands[wet > high].mean(0))
        ends = [tuple(self._level(h, x[h]) for h in range(3)) for x in means]
        yield (WET_BULB, begins, width, *ends[0], *ends[1])

    def _rule(self) -> tuple[int, ...]:
        """Nearest grid point to B1: constant, or its coolant over the air behind the pads."""
        low, high, flow, reject, over = (
            float(column(self.params, f"rule_{n}")[0, 0])
            for n in ("cold", "cold_max", "flow", "reject", "float_k")
        )
        high = high if over >= 0.0 else low
        begins = int(np.abs(BEGINS - (low - over)).argmin())
        width = int(np.abs(np.array(WIDTHS) - (high - low)).argmin())
        ends = [(self._level(0, cold), self._level(1, flow), self._level(2, reject)) for cold in (low, high)]
        return (AFTER_PADS, begins, width, *ends[0], *ends[1])

    def _level(self, h: int, value: float) -> int:
        return int(np.abs(self.levels[h] - value).argmin())

    def best(self) -> list[float]:
        """The tuned reset."""
        return self.row(min((self.climb(k) for k in self.starts()), key=self.cost))


def priced(record: Array) -> float:
    """Facility energy [kWh/kW] of a record, with margins below the reserve priced."""
    short = np.maximum(RESERVE_K - record[:, R.margin], 0.0).sum() + record[:, R.excursion].sum()
    return float(record[:, FACILITY].sum() + SHORTFALL * short)


def tune(
    world: World,
    keys: Iterable[str] | None = None,
    profiles: Iterable[str] | None = None,
    seed: int = 0,
    n_weeks: int = 12,
    progress: Callable[[str, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Entries of the table: every archetype in every climate.

    Args:
        world: gives the training years, the seed of the signals, and the number of levels.
        keys: archetypes; all if not given.
        profiles: climates; those of the world if not given. Others are made with the world's seed and training years.
        seed: of weeks and loads.
        n_weeks: weeks tried.
        progress: called with (what, share done).

    Raises:
        UserError: for an unknown archetype or profile, or one that a world of files does not hold.
    """
    keys = list(keys or archetypes())
    for key in keys:
        if key not in archetypes():
            raise UserError(
                f"no archetype {key!r}{nearest(key, archetypes())} (known: {', '.join(archetypes())})"
            )
    names = list(dict.fromkeys(profiles or world.bank.profiles))
    out = []
    for i, name in enumerate(names):
        bank, column = _bank(world, name)
        course = weeks(bank, column, seed, n_weeks)
        years = np.concatenate(
            [bank.values[y, : bank.hours[y], column, DRY : HUMID + 1] for y in bank.rows("train")]
        )
        for k, key in enumerate(keys):
            if progress:
                progress(f"{key} {name}", (i + k / len(keys)) / len(names))
            out.append(_entry(key, name, climate(years), Tuner(plant_of(key, name), course, world.n_levels)))
    return out


def plant_of(key: str, profile: str) -> PlantParams:
    """A plant of an archetype at a profile's elevation; its size does not matter."""
    return compile_plants([PlantSite(key, 1000.0, sites()[profile].elevation_m)])


def _bank(world: World, profile: str) -> tuple[SignalBank, int]:
    if profile in world.bank.profiles:
        return world.bank, world.bank.profiles.index(profile)
    if profile not in sites() or world.scenario.signals.kind != "synthetic":
        known = sites() if world.scenario.signals.kind == "synthetic" else world.bank.profiles
        raise UserError(f"no climate {profile!r}{nearest(profile, known)} (known: {', '.join(known)})")
    signals = world.scenario.signals
    return synthetic_bank([profile], {"train": signals.train}, signals.seed), 0


def _entry(key: str, profile: str, here: list[float], tuner: Tuner) -> dict[str, Any]:
    row = tuner.best()
    rule = run(tuner.params, 0, tuner.course, competent(), PACE).record
    mine = run(tuner.params, 0, tuner.course, weather_reset(row, tuner.levels), PACE).record
    saved = 100.0 * (1.0 - mine[:, COOLING].sum() / rule[:, COOLING].sum())
    return {
        "archetype": key,
        "profile": profile,
        "climate": [round(x, 2) for x in here],
        "reset": [round(x, 4) for x in row],
        "cooling_saved_over_b1_percent": round(float(saved), 1),
        "least_margin_k": round(float(mine[:, R.margin].min()), 2),
    }


def document(
    world: World, entries: list[dict[str, Any]], command: str, seed: int, n_weeks: int
) -> dict[str, Any]:
    """The table as it is written, with its provenance."""
    signals = world.scenario.signals
    return {
        "made": {
            "command": command,
            "scenario": world.name,
            "scenario_fingerprint": world.fingerprint,
            "signals_seed": signals.seed,
            "training_years": [int(y) for y in signals.train],
            "levels": world.n_levels,
            "weeks": n_weeks,
            "seed": seed,
            "reserve_k": RESERVE_K,
            "columns": list(COLUMNS),
        },
        "entries": entries,
    }


def write(path: Path | str, table: dict[str, Any]) -> None:
    """Write the table as YAML, an entry a line."""
    lines = ["# B2: weather resets by archetype and climate. Written by the command below; do not edit."]
    lines += ["made:", *(f"  {k}: {json.dumps(v)}" for k, v in table["made"].items())]
    lines += ["entries:", *(f"  - {json.dumps(e)}" for e in table["entries"])]
    Path(path).write_text("\n".join(lines) + "\n", "utf-8")
