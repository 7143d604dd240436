"""One plant by itself over a course of weather and load, under a controller.

A year of one plant at hourly decisions, with the kernel of the simulator (`plant.advance`) and its full dynamics, is
one call of `run`: some 20 ms, or 0.5 s where the controller searches. Per kW of design IT power throughout.

    course = Course(weather, node, awake)
    year = run(params, region, course, oracle(head_levels(params, region, 8)))
    year.record[:, COOLING].sum()  # kWh per kW of design IT power

Controllers: a fixed triple, the competent rule B1, a weather reset B2 (`reset_commands`), given commands, and a search
with knowledge of weather and load ahead, which is the yardstick of what a controller could save at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core.integrate import rule_commands
from gcn_env.core.jit import kernel
from gcn_env.core.liquid import pads_air
from gcn_env.core.plant import (
    E_AIR_FANS,
    E_COMPRESSORS,
    E_EXCURSION,
    E_HUMIDIFIERS,
    E_IT,
    E_LEAKAGE,
    E_PDU,
    E_PUMPS,
    E_REJECTION,
    E_SERVER_FANS,
    E_THROTTLED,
    E_UPS,
    E_WATER,
    HEALTHY,
    advance,
    at_rest,
    margin,
)
from gcn_env.core.plant_table import PLANT, PlantParams
from gcn_env.core.search import Course, Pace, Prices, at, best_point, careful, nearest_levels, trial, valued
from gcn_env.core.state import N_COOLING
from gcn_env.tables import Row, Table

Array = npt.NDArray[np.float64]
P = PLANT.ix

RECORD = Table(
    "record",
    (
        Row("it", "kWh/kW", 0, 10, "all IT power, server fans and leakage included"),
        Row("server_fans", "kWh/kW", 0, 10, "E7, part of `it`"),
        Row("leakage", "kWh/kW", -10, 10, "E9, part of `it`"),
        Row("air_fans", "kWh/kW", 0, 10, "E12"),
        Row("compressors", "kWh/kW", 0, 10, "E20"),
        Row("pumps", "kWh/kW", 0, 10, "E23"),
        Row("rejection", "kWh/kW", 0, 10, "fans of towers and dry coolers"),
        Row("humidifiers", "kWh/kW", 0, 10, "steam humidifiers (E33)"),
        Row("losses", "kWh/kW", 0, 10, "E44, E45 UPS and distribution"),
        Row("misc", "kWh/kW", 0, 10, "lighting and house load"),
        Row("water", "L/kW", 0, 1e3, "make-up"),
        Row("excursion", "K h", 0, 1e4, "above the limit of inlet, coolant or chip"),
        Row("throttled", "h", 0, 1e3, "time with nodes slowed by heat"),
        Row("starts", "1", 0, 1e3, "compressor starts"),
        Row("hottest", "degC", -40, 150, "hottest inlet at the end of the step"),
        Row("margin", "K", -100, 1e3, "to the nearest limit at the end of the step"),
    ),
)
R = RECORD.ix
COOLING = [
    R.air_fans,
    R.compressors,
    R.pumps,
    R.rejection,
    R.humidifiers,
]  # columns that sum to cooling energy
FACILITY = [R.it, *COOLING, R.losses, R.misc]  # columns that sum to facility energy

GIVEN, FIXED, RULE, RESET, SEARCH = 0, 1, 2, 3, 4  # Controller.mode
DRY_BULB, WET_BULB, AFTER_PADS = 0, 1, 2  # Controller.reset[0]: what a reset follows; E41 for the last
N_RESET = 9  # variable; where the reset begins and ends [degC]; three set-points below and three above


class Controller(NamedTuple):
    """Who sets the three heads in a `rollout`. Make one with `fixed`, `competent`, `weather_reset`, `oracle`."""

    mode: int
    command: Array  # [3] of FIXED
    reset: Array  # [N_RESET] of RESET
    levels: Array  # [3, L] what each head may be set to: of SEARCH; of RESET if L > 1, else any value
    every: int  # SEARCH decides every so many steps
    ahead: int  # and looks this many steps ahead
    prices: Prices
    reserve_k: float  # K that a search stays below every limit
    n_plant: int  # plant sub-steps of a step in its trials


def fixed(command: npt.ArrayLike) -> Controller:
    """Three set-points that never move."""
    return _controller(FIXED, command=np.array(command, np.float64))


def competent() -> Controller:
    """B1 of the plant's archetype."""
    return _controller(RULE)


def weather_reset(row: npt.ArrayLike, levels: Array | None = None) -> Controller:
    """B2: see `reset_commands`; at the nearest of `levels` if given."""
    return _controller(RESET, reset=np.array(row, np.float64), levels=levels)


def given() -> Controller:
    """The commands that the caller has written."""
    return _controller(GIVEN)


def oracle(
    levels: Array,
    every: int = 3,
    ahead: int = 3,
    prices: Prices | None = None,
    reserve_k: float = 0.1,
    n_plant: int = 6,
) -> Controller:
    """A search that knows weather and load of the next `ahead` steps."""
    return _controller(SEARCH, None, None, levels, every, ahead, prices, reserve_k, n_plant)


def _controller(
    mode: int,
    command: Array | None = None,
    reset: Array | None = None,
    levels: Array | None = None,
    every: int = 1,
    ahead: int = 1,
    prices: Prices | None = None,
    reserve_k: float = 0.0,
    n_plant: int = 1,
) -> Controller:
    return Controller(
        mode,
        np.zeros(3) if command is None else command,
        np.zeros(N_RESET) if reset is None else reset,
        np.zeros((3, 1)) if levels is None else np.ascontiguousarray(levels, np.float64),
        every,
        ahead,
        prices or Prices(),
        reserve_k,
        n_plant,
    )


class Outcome(NamedTuple):
    """What a plant did."""

    record: Array  # [T, len(RECORD)]
    commands: Array  # [T, 3]


def run(
    params: PlantParams,
    region: int,
    course: Course,
    controller: Controller,
    pace: Pace | None = None,
    commands: Array | None = None,
) -> Outcome:
    """One plant of a fleet (variant 0) over a course, from rest under B1.

    Args:
        params: as `compile_plants` makes them.
        region: which of its plants.
        course: weather and load.
        controller: who sets the heads.
        pace: steps of an hour with sub-steps of 300 s and 60 s, if not given.
        commands: [T, 3] for `given()`; else made.
    """
    n = len(course.node)
    made = np.zeros((n, 3)) if commands is None else np.array(commands, np.float64)
    record = np.zeros((n, len(RECORD)))
    p = np.ascontiguousarray(params.values[0, region])
    low, high = params.head_low[0, region, :N_COOLING].copy(), params.head_high[0, region, :N_COOLING].copy()
    rollout(p, careful(p, controller.reserve_k), low, high, course, controller, pace or Pace(), made, record)
    return Outcome(record, made)


@kernel()
def reset_commands(p, reset, low, high, dry, wet):
    """B2: each set-point on a line between its value in cold and in warm weather, within the heads' ranges.

    `reset` holds what it follows (`DRY_BULB`, `WET_BULB`, `AFTER_PADS`), the temperatures where the line begins and
    ends, and the two triples. Nearly equal temperatures make a switch.
    """
    ambient = wet if reset[0] == WET_BULB else dry
    if reset[0] == AFTER_PADS:
        ambient, _ = pads_air(p, dry, wet)
    share = min(max((ambient - reset[1]) / max(reset[2] - reset[1], 0.01), 0.0), 1.0)
    a0 = reset[3] + share * (reset[6] - reset[3])
    a1 = reset[4] + share * (reset[7] - reset[4])
    a2 = reset[5] + share * (reset[8] - reset[5])
    return (min(max(a0, low[0]), high[0]), min(max(a1, low[1]), high[1]), min(max(a2, low[2]), high[2]))


@kernel()
def decide(p, plan, low, high, course, t, controller, pace, now, state):
    """Set-points of step `t` by the controller; `now` are those of the step before."""
    mode = controller.mode
    weather, _, _ = at(course, t)
    rule = rule_commands(p, low, high, weather[0], weather[1])
    if mode == FIXED:
        return (controller.command[0], controller.command[1], controller.command[2])
    if mode == RESET:
        wanted = reset_commands(p, controller.reset, low, high, weather[0], weather[1])
        if controller.levels.shape[1] == 1:
            return wanted
        return valued(controller.levels, nearest_levels(controller.levels, wanted))
    if mode == SEARCH:
        if t % controller.every != 0:
            return now
        levels, last = controller.levels, min(t + controller.ahead, len(course.node))
        before, rule_levels = nearest_levels(levels, now), nearest_levels(levels, rule)
        rough = Pace(pace.dt_s, controller.n_plant, pace.n_zone)
        best, least = best_point(
            plan, levels, course, t, last, before, rule_levels, HEALTHY, state, rough, controller.prices
        )
        # Long sub-steps hide some excursions (a unit that starts late): look closely before believing them.
        if (
            trial(plan, course, t, last, valued(levels, best), HEALTHY, state, pace, controller.prices)
            > 1.01 * least
        ):
            best, _ = best_point(
                plan, levels, course, t, last, before, rule_levels, HEALTHY, state, pace, controller.prices
            )
        return valued(levels, best)
    return rule


@kernel()
def rollout(p, plan, low, high, course, controller, pace, commands, record):
    """A controller runs one plant over a course.

    Args:
        p: one row of `PlantParams.values`.
        plan: the same as a search is to see it (`careful`).
        low: [3] lowest set-points.
        high: [3] highest set-points.
        course: weather and load.
        controller: who decides.
        pace: step and sub-steps.
        commands: [T, 3] read in mode GIVEN, else written.
        record: [T, len(RECORD)] written.
    """
    weather, node, awake = at(course, 0)
    command = rule_commands(p, low, high, weather[0], weather[1])
    state, _, _, _, _ = at_rest(p, command, weather, node, awake)
    hour = pace.dt_s / 3600.0
    for t in range(len(course.node)):
        if controller.mode == GIVEN:
            command = (commands[t, 0], commands[t, 1], commands[t, 2])
        else:
            command = decide(p, plan, low, high, course, t, controller, pace, command, state)
        weather, node, awake = at(course, t)
        state, e, starts, hot, chip, _ = advance(
            p, weather, node, awake, command, HEALTHY, state, pace.dt_s, pace.n_plant, pace.n_zone
        )
        for h in range(3):
            commands[t, h] = command[h]
        row = record[t]
        row[R.it], row[R.server_fans], row[R.leakage] = e[E_IT], e[E_SERVER_FANS], e[E_LEAKAGE]
        row[R.air_fans], row[R.compressors] = e[E_AIR_FANS], e[E_COMPRESSORS]
        row[R.pumps], row[R.rejection], row[R.losses] = e[E_PUMPS], e[E_REJECTION], e[E_UPS] + e[E_PDU]
        row[R.humidifiers] = e[E_HUMIDIFIERS]
        row[R.excursion], row[R.throttled] = e[E_EXCURSION], e[E_THROTTLED]
        for k in range(R.misc):
            row[k] /= 3600.0
        row[R.excursion] /= 3600.0
        row[R.throttled] /= 3600.0
        row[R.misc], row[R.water], row[R.starts] = p[P.misc_pu] * hour, e[E_WATER], starts
        row[R.hottest], row[R.margin] = hot, margin(p, hot, state[4], chip)
