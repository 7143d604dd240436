"""Search of a plant's set-points by trials on its own kernel: the three levels to hold over the next hours.

A trial is `plant.advance` from the present state through given weather and load; a search makes some fifty of them.
With what will happen it is an oracle (`core.study`), with readings and forecasts a model-predictive controller
(`agents.rules.predictive`). Per kW of design IT power.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core.air import saturation_ratio_at
from gcn_env.core.compressor import LONG_S
from gcn_env.core.integrate import rule_commands
from gcn_env.core.jit import kernel
from gcn_env.core.outage import wear_of
from gcn_env.core.plant import (
    AWAKE_FLOOR,
    E_EXCURSION,
    E_HEAT,
    E_IT,
    E_MISC,
    E_PDU,
    E_UPS,
    E_WATER,
    NORMAL,
    advance,
    cooling,
    stored,
)
from gcn_env.core.plant_table import PLANT, PlantParams, head_values
from gcn_env.core.state import N_COOLING
from gcn_env.core.thermal import EXCHANGE, STILL_FLOW

Array = npt.NDArray[np.float64]
P = PLANT.ix
EXCURSION_KWH = 50.0  # a K h above a limit, per kW of design: more than any set-point saves
MAX_SWEEPS = 4  # of the search; it settles in two or three


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
    it: float = 1.0  # share of IT energy and losses that counts; 0: cooling alone, as published agents had it
    water: float = 0.0  # per L
    start: float = 0.0  # per compressor start and kW of design
    excursion: float = EXCURSION_KWH  # per K h
    travel: float = 0.0  # per set-point moved across its range and kW of design


class Readings(NamedTuple):
    """What is known of the plants of a batch, and the weather expected: [B, R] unless said otherwise, float64."""

    inlet: Array  # degC
    supply: Array  # degC
    return_air: Array  # degC
    loop: Array  # degC chilled water or coolant
    fan: Array  # server fan speed, share
    running: Array  # compressors
    actual: Array  # [B, R, 3] where the actuators are
    command: Array  # [B, R, 3] where they are to go
    weather: Array  # [B, R, H, 4] of the next H steps; the last column is not read
    faults: Array  # [B, R, len(FAULTS)] above 0: known to have failed
    node: Array  # [B, R, H] node power, nameplate = 1
    awake: Array  # [B, R, H] share of nameplate awake


class Tariff(NamedTuple):
    """`Prices` of each plant of a batch."""

    energy: Array  # [B, R] per kWh
    water: Array  # [R] per L
    start: Array  # [R] per compressor start and kW of design
    travel: Array  # [R] per set-point moved across its range and kW of design
    excursion: float  # per K h, in kWh


def careful(p: Array, reserve_k: float) -> Array:
    """Parameters of a plan: the same plant with every limit `reserve_k` K lower."""
    plan = p.copy()
    for name in ("hot_limit_c", "loop_limit_c", "chip_limit_c"):
        plan[PLANT.index(name)] -= reserve_k
    return plan


def head_levels(params: PlantParams, region: int, n_levels: int) -> Array:
    """Set-points that the levels of a region's three cooling heads stand for, float64 [3, L]."""
    return np.ascontiguousarray(head_values(params, n_levels)[region, :N_COOLING])


@kernel()
def at(course, t):
    """Weather, node power and awake share of step `t`."""
    w = course.weather
    node = course.node[t]
    return (w[t, 0], w[t, 1], w[t, 2], w[t, 3]), node, min(max(course.awake[t], node, AWAKE_FLOOR), 1.0)


@kernel()
def trial(p, course, first, last, command, health, state, pace, prices):
    """Price of holding `command` over steps `first`..`last`-1 of a course.

    Heat left in mass, air and loop is priced at the cooling energy that removing a unit of heat took: else every plan
    would let the plant warm up at its end.
    """
    start, cost, cool, removed = state, 0.0, 0.0, 0.0
    for t in range(first, last):
        weather, node, awake = at(course, t)
        state, e, starts, _, _, _ = advance(
            p, weather, node, awake, command, health, state, pace.dt_s, pace.n_plant, pace.n_zone
        )
        spent, beside = cooling(e), e[E_IT] + e[E_UPS] + e[E_PDU]
        cool += spent
        removed += e[E_HEAT]
        cost += prices.energy * (spent + e[E_MISC] + prices.it * beside) / 3600.0 + prices.water * e[E_WATER]
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
def along(p, levels, course, first, last, before, health, state, pace, prices, best, least, h):
    """Every level of head `h`, the other heads as they are: the better of the best of them and `best`."""
    n, here = levels.shape[1], best
    if levels[h, 0] != levels[h, n - 1]:
        for level in range(n):
            if level != here[h]:
                k = replaced(here, h, level)
                cost = trial(p, course, first, last, valued(levels, k), health, state, pace, prices)
                cost += prices.travel * travel(levels, k, before)
                if cost < least:
                    best, least = k, cost
    return best, least


@kernel()
def across(p, levels, course, first, last, before, health, state, pace, prices, best, least):
    """Two heads moved by one level together, every pair and every way."""
    n, here = levels.shape[1], best
    for h in range(3):
        other = (h + 1) % 3
        for way in range(4):
            up, along_up = here[h] + (way & 1) * 2 - 1, here[other] + (way & 2) - 1
            if 0 <= up < n and 0 <= along_up < n:
                k = replaced(replaced(here, h, up), other, along_up)
                cost = trial(p, course, first, last, valued(levels, k), health, state, pace, prices)
                cost += prices.travel * travel(levels, k, before)
                if cost < least:
                    best, least = k, cost
    return best, least


@kernel()
def best_point(p, levels, course, first, last, before, rule, health, state, pace, prices):
    """Coordinate search of the levels to hold over steps `first`..`last`-1: some fifty trials at eight levels a head.

    Starts from the better of the levels that are set now (`before`) and those of a rule (`rule`), then tries every
    level of one head after the other until none of the three pays, then pairs of heads. Whole lines, because price
    over one head has more than one minimum: outdoor air that comes in cold, or just below the point where server fans
    speed up. Pairs, because warmer air with more flow may pay where neither does alone.

    Returns:
        levels of the three heads, price of the trial.
    """
    best, least = before, trial(p, course, first, last, valued(levels, before), health, state, pace, prices)
    if rule != before:
        cost = trial(p, course, first, last, valued(levels, rule), health, state, pace, prices)
        cost += prices.travel * travel(levels, rule, before)
        if cost < least:
            best, least = rule, cost
    for _ in range(MAX_SWEEPS):
        still = 0
        for turn in range(3 * MAX_SWEEPS):
            was = best
            best, least = along(
                p, levels, course, first, last, before, health, state, pace, prices, best, least, turn % 3
            )
            still = still + 1 if best == was else 1
            if still == 3:
                break
        was = best
        best, least = across(p, levels, course, first, last, before, health, state, pace, prices, best, least)
        if best == was:
            break
    return best, least


@kernel()
def supposed(p, inlet, supply, air, loop, fan, running, node, awake, actual, wet):
    """State of a plant from what its operator reads.

    What no sensor sees is taken at its balance: IT mass (E10), condenser water, structure; machines may be staged.
    """
    flow = max(awake * fan * p[P.server_flow], STILL_FLOW * (1.0 - p[P.liquid_share]))
    mass = inlet + (1.0 - p[P.liquid_share]) * node / (EXCHANGE * flow)
    condenser = max(wet + p[P.approach_k], p[P.basin_c])
    return (
        mass, air, inlet, supply, loop, fan, running, actual[0], actual[1], actual[2],
        condenser, LONG_S, 0.5 * (inlet + air),
    )  # fmt: skip


@kernel()
def plan_batch(plans, levels, low, high, readings, tariff, pace, out):
    """Levels [B, R, 3] that a search from the readings would hold over the weather and load expected.

    Args:
        plans: [R, len(PLANT)] parameters as the plan is to see them (`careful`).
        levels: [R, 3, L] what the heads may be set to.
        low: [R, 3] lowest set-points.
        high: [R, 3] highest set-points.
        readings: what is known.
        tariff: what it costs.
        pace: steps and sub-steps of the trials.
        out: int64, written.
    """
    horizon = readings.node.shape[2]
    for b in range(out.shape[0]):
        for r in range(out.shape[1]):
            p, weather = plans[r], readings.weather[b, r]
            for t in range(horizon):
                weather[t, 3] = saturation_ratio_at(weather[t, 2], p[P.kpa])
            course = Course(weather, readings.node[b, r], readings.awake[b, r])
            now, node, awake = at(course, 0)
            state = supposed(
                p, readings.inlet[b, r], readings.supply[b, r], readings.return_air[b, r], readings.loop[b, r],
                readings.fan[b, r], int(readings.running[b, r]), node, awake, readings.actual[b, r], now[1],
            )  # fmt: skip
            energy = tariff.energy[b, r]
            prices = Prices(
                energy, 1.0, tariff.water[r], tariff.start[r], tariff.excursion * energy, tariff.travel[r]
            )
            before = nearest_levels(levels[r], readings.command[b, r])
            rule = nearest_levels(levels[r], rule_commands(p, low[r], high[r], now[0], now[1]))
            wear = wear_of(readings.faults[b, r])
            health = (NORMAL, wear[0], wear[1], wear[2], wear[3], wear[4], 0.0)
            best, _ = best_point(p, levels[r], course, 0, horizon, before, rule, health, state, pace, prices)
            for h in range(3):
                out[b, r, h] = best[h]
