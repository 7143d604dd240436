"""One plant by itself: over a course of weather and load, under a controller, and the search of its set-points.

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
from gcn_env.core.plant import (
    E_AIR_FANS,
    E_COMPRESSORS,
    E_EXCURSION,
    E_HEAT,
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
    margin,
    stored,
)
from gcn_env.core.plant_table import PLANT, PlantParams
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
COOLING = [R.air_fans, R.compressors, R.pumps, R.rejection]  # columns that sum to cooling energy
FACILITY = [R.it, *COOLING, R.losses, R.misc]  # columns that sum to facility energy

GIVEN, FIXED, RULE, RESET, SEARCH = 0, 1, 2, 3, 4  # Controller.mode
DRY_BULB, WET_BULB = 0, 1  # Controller.reset[0]: what a reset follows
N_RESET = 9  # variable; where the reset begins and ends [degC]; three set-points below and three above
MAX_SWEEPS = 4  # of the coordinate search; it settles in two or three


class Course(NamedTuple):
    """Weather and load over T steps."""

    weather: Array  # [T, 4] dry bulb, wet bulb, dew point [degC], humidity ratio [kg/kg]
    node: Array  # [T] node power before fans and leakage, nameplate = 1
    awake: Array  # [T] share of nameplate awake, not below `node`


class Pace(NamedTuple):
    """Length of a step and its sub-steps."""

    dt_s: float = 3600.0
    n_plant: int = 12  # plant sub-steps of a step
    n_zone: int = 5  # zone sub-steps of each


class Prices(NamedTuple):
    """What a search minimises, per unit of its own money; the default is facility energy [kWh].

    An excursion costs more than any set-point saves, yet grows with its depth, so that a search finds its way out.
    """

    energy: float = 1.0  # per kWh
    water: float = 0.0  # per L
    start: float = 0.0  # per compressor start and kW of design
    excursion: float = 50.0  # per K h
    travel: float = 0.0  # per set-point moved across its range and kW of design


class Controller(NamedTuple):
    """Who sets the three heads in a `rollout`. Make one with `fixed`, `competent`, `weather_reset`, `oracle`."""

    mode: int
    command: Array  # [3] of FIXED
    reset: Array  # [N_RESET] of RESET
    levels: Array  # [3, L] of SEARCH: what each head may be set to
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


def weather_reset(row: npt.ArrayLike) -> Controller:
    """B2: see `reset_commands`."""
    return _controller(RESET, reset=np.array(row, np.float64))


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
    low, high = params.head_low[0, region, :3].copy(), params.head_high[0, region, :3].copy()
    rollout(p, careful(p, controller.reserve_k), low, high, course, controller, pace or Pace(), made, record)
    return Outcome(record, made)


def careful(p: Array, reserve_k: float) -> Array:
    """Parameters of a plan: the same plant with every limit `reserve_k` K lower."""
    plan = p.copy()
    for name in ("hot_limit_c", "loop_limit_c", "chip_limit_c"):
        plan[PLANT.index(name)] -= reserve_k
    return plan


def head_levels(params: PlantParams, region: int, n_levels: int) -> Array:
    """Set-points that the levels of a region's three cooling heads stand for, float64 [3, L]."""
    low, high = params.head_low[0, region, :3, None], params.head_high[0, region, :3, None]
    share = np.linspace(0.0, 1.0, n_levels) ** params.head_curve[0, region, :3, None]
    return np.ascontiguousarray(low + (high - low) * share)


@kernel()
def facility(p, e, dt_s):
    """Facility energy [kJ/kW] of a step from `advance`'s energies."""
    return (
        e[E_IT] + e[E_AIR_FANS] + e[E_COMPRESSORS] + e[E_PUMPS] + e[E_REJECTION] + e[E_UPS] + e[E_PDU]
        + p[P.misc_pu] * dt_s
    )  # fmt: skip


@kernel()
def reset_commands(reset, low, high, dry, wet):
    """B2: each set-point on a line between its value in cold and in warm weather, within the heads' ranges.

    `reset` holds what it follows (`DRY_BULB`, `WET_BULB`), the temperatures where the line begins and ends, and the
    two triples. Nearly equal temperatures make a switch.
    """
    ambient = wet if reset[0] == WET_BULB else dry
    share = min(max((ambient - reset[1]) / max(reset[2] - reset[1], 0.01), 0.0), 1.0)
    a0 = reset[3] + share * (reset[6] - reset[3])
    a1 = reset[4] + share * (reset[7] - reset[4])
    a2 = reset[5] + share * (reset[8] - reset[5])
    return (min(max(a0, low[0]), high[0]), min(max(a1, low[1]), high[1]), min(max(a2, low[2]), high[2]))


@kernel()
def at_rest(p, command, weather, node, awake):
    """State of a plant that has held `command` for six hours (18 server time constants)."""
    liquid = p[P.liquid_share] > 0.0
    supply = p[P.air_set_c] if liquid else command[0]
    loop = command[0] if liquid else command[2]
    state = (
        supply + 15.0, supply + 10.0, supply + 0.5, supply, loop, p[P.fan_base], 0,
        command[0], command[1], command[2],
    )  # fmt: skip
    for _ in range(3):
        state, _, _, _, _, _ = advance(p, weather, node, awake, command, HEALTHY, state, 7200.0, 24, 5)
    return state


@kernel()
def at(course, t):
    """Weather, node power and awake share of step `t`."""
    w = course.weather
    node = course.node[t]
    return (w[t, 0], w[t, 1], w[t, 2], w[t, 3]), node, min(max(course.awake[t], node, 0.03), 1.0)


@kernel()
def trial(p, course, first, last, command, state, pace, prices):
    """Price of holding `command` over steps `first`..`last`-1 of a course.

    Heat left in mass, air and loop is priced at the cooling energy that removing a unit of heat took: else every plan
    would let the plant warm up at its end.
    """
    start, cost, cool, removed = state, 0.0, 0.0, 0.0
    for t in range(first, last):
        weather, node, awake = at(course, t)
        state, e, starts, _, _, _ = advance(
            p, weather, node, awake, command, HEALTHY, state, pace.dt_s, pace.n_plant, pace.n_zone
        )
        cool += e[E_AIR_FANS] + e[E_COMPRESSORS] + e[E_PUMPS] + e[E_REJECTION]
        removed += e[E_HEAT]
        cost += prices.energy * facility(p, e, pace.dt_s) / 3600.0 + prices.water * e[E_WATER]
        cost += prices.excursion * e[E_EXCURSION] / 3600.0 + prices.start * starts
    kept = stored(p, start, state) * min(cool / max(removed, 1e-6), 1.0)
    return cost + prices.energy * kept / 3600.0


@kernel()
def nearest_level(levels, h, value):
    """Level of head `h` whose value is nearest."""
    best = 0
    for k in range(1, levels.shape[1]):
        if abs(levels[h, k] - value) < abs(levels[h, best] - value):
            best = k
    return best


@kernel()
def nearest_levels(levels, command):
    """Nearest level of each head."""
    return (
        nearest_level(levels, 0, command[0]),
        nearest_level(levels, 1, command[1]),
        nearest_level(levels, 2, command[2]),
    )


@kernel()
def valued(levels, k):
    """Set-points of three levels."""
    return (levels[0, k[0]], levels[1, k[1]], levels[2, k[2]])


@kernel()
def travel(levels, k, before):
    """Shares of their ranges that the heads move from one triple of levels to another."""
    last, moved = levels.shape[1] - 1, 0.0
    for h in range(3):
        span = levels[h, last] - levels[h, 0]
        if span > 0.0:
            moved += abs(levels[h, k[h]] - levels[h, before[h]]) / span
    return moved


@kernel()
def replaced(k, h, level):
    """Levels `k` with that of head `h` replaced."""
    return (level if h == 0 else k[0], level if h == 1 else k[1], level if h == 2 else k[2])


@kernel()
def along(p, levels, course, first, last, before, state, pace, prices, best, least, h):
    """Every level of head `h`, the other heads as they are: the better of the best of them and `best`."""
    n, here = levels.shape[1], best
    if levels[h, 0] != levels[h, n - 1]:
        for level in range(n):
            if level != here[h]:
                k = replaced(here, h, level)
                cost = trial(p, course, first, last, valued(levels, k), state, pace, prices)
                cost += prices.travel * travel(levels, k, before)
                if cost < least:
                    best, least = k, cost
    return best, least


@kernel()
def across(p, levels, course, first, last, before, state, pace, prices, best, least):
    """Two heads moved by one level together, every pair and every way."""
    n, here = levels.shape[1], best
    for h in range(3):
        other = (h + 1) % 3
        for way in range(4):
            up, along_up = here[h] + (way & 1) * 2 - 1, here[other] + (way & 2) - 1
            if 0 <= up < n and 0 <= along_up < n:
                k = replaced(replaced(here, h, up), other, along_up)
                cost = trial(p, course, first, last, valued(levels, k), state, pace, prices)
                cost += prices.travel * travel(levels, k, before)
                if cost < least:
                    best, least = k, cost
    return best, least


@kernel()
def best_point(p, levels, course, first, last, before, rule, state, pace, prices):
    """Coordinate search of the levels to hold over steps `first`..`last`-1: some fifty trials at eight levels a head.

    Starts from the better of the levels that are set now (`before`) and those of a rule (`rule`), then tries every
    level of one head after the other until none of the three pays, then pairs of heads. Whole lines, because price
    over one head has more than one minimum: outdoor air that comes in cold, or just below the point where server fans
    speed up. Pairs, because warmer air with more flow may pay where neither does alone.

    Returns:
        levels of the three heads, price of the trial.
    """
    best, least = before, trial(p, course, first, last, valued(levels, before), state, pace, prices)
    if rule != before:
        cost = trial(p, course, first, last, valued(levels, rule), state, pace, prices)
        cost += prices.travel * travel(levels, rule, before)
        if cost < least:
            best, least = rule, cost
    for _ in range(MAX_SWEEPS):
        still = 0
        for turn in range(3 * MAX_SWEEPS):
            was = best
            best, least = along(
                p, levels, course, first, last, before, state, pace, prices, best, least, turn % 3
            )
            still = still + 1 if best == was else 1
            if still == 3:
                break
        was = best
        best, least = across(p, levels, course, first, last, before, state, pace, prices, best, least)
        if best == was:
            break
    return best, least


@kernel()
def decide(p, plan, low, high, course, t, controller, pace, now, state):
    """Set-points of step `t` by the controller; `now` are those of the step before."""
    mode = controller.mode
    weather, _, _ = at(course, t)
    rule = rule_commands(p, low, high, weather[0], weather[1])
    if mode == FIXED:
        return (controller.command[0], controller.command[1], controller.command[2])
    if mode == RESET:
        return reset_commands(controller.reset, low, high, weather[0], weather[1])
    if mode == SEARCH:
        if t % controller.every != 0:
            return now
        levels, last = controller.levels, min(t + controller.ahead, len(course.node))
        best, _ = best_point(
            plan, levels, course, t, last, nearest_levels(levels, now), nearest_levels(levels, rule), state,
            Pace(pace.dt_s, controller.n_plant, pace.n_zone), controller.prices,
        )  # fmt: skip
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
    state = at_rest(p, command, weather, node, awake)
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
        row[R.excursion], row[R.throttled] = e[E_EXCURSION], e[E_THROTTLED]
        for k in range(R.misc):
            row[k] /= 3600.0
        row[R.excursion] /= 3600.0
        row[R.throttled] /= 3600.0
        row[R.misc], row[R.water], row[R.starts] = p[P.misc_pu] * hour, e[E_WATER], starts
        row[R.hottest], row[R.margin] = hot, margin(p, hot, state[4], chip)
