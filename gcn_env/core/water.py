"""Chilled water: coils, pumps, chillers (b, g: E17, E20-E23), cooling tower and series economiser (b: E24-E29).

Powers kW per kW of design IT power, flows kW/K per kW, temperatures degC, make-up water L/h per kW.
"""

from __future__ import annotations

import math

from gcn_env.core.air import LATENT_KJ_PER_KG
from gcn_env.core.compressor import (
    available,
    capacity_factor,
    energy_input,
    part_load,
    pump_share,
    staged,
    wanted,
)
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT
from gcn_env.core.thermal import raised, shared_fans

P = PLANT.ix
PULL_DOWN_PU = 0.5  # most heat taken from a warm loop beyond its load: limits the rush after an outage [E]
COLD_WET_C = 5.0  # wet bulb below which one condenser pump and one chiller serve (B1)
FIT_WET_C = -5.0  # E24 is fitted above this wet bulb; towers run cycled below it
G_LOW = 0.1  # E25 least tower fan fraction
G_EDGE = G_LOW**1.057  # A/approach at which the fan reaches it
TURN_DOWN = 0.15  # least load share of a chiller that its minimum on-time holds [E]
NO_ECONOMISER_C = 1e3  # water temperature at which an economiser takes nothing
FREEZE_C = 4.0  # chilled water below which such a chiller is stopped by its safety all the same [E]


@kernel()
def wet_factor(wet):
    """E24 factor of the wet bulb [degC], constant over a control step."""
    return math.exp(-0.0402 * (max(wet, FIT_WET_C) - 25.6))


@kernel()
def tower_approach(range_k, flow_power, factor):
    """E24 approach [K] at full fan: `flow_power` is l^1.057, `factor` is `wet_factor`."""
    return 3.96 * raised(max(range_k, 0.2) / 5.55, 0.711) * flow_power * factor


@kernel()
def coil_share(pumps):
    """E17 share of a coil's effectiveness left where pumps give at most the share `pumps` of full flow.

    The inverse of f = xi / (1 + 2 (1 - xi)): a coil asks for less than full flow until it is saturated.
    """
    return 3.0 * pumps / (1.0 + 2.0 * pumps)


@inlined()
def tower(p, heat, target, wet, factor, pumps, fans):
    """E25, E26, E29: condenser water [degC] and fan fraction; `target` is the chilled water wanted [degC].

    `pumps` condenser pumps run; `fans` is the share of the tower's fans in service.
    """
    l1, l2, l3, flow = p[P.tower_l1], p[P.tower_l2], p[P.tower_l3], p[P.tower_flow]
    reset, basin = p[P.approach_k], p[P.basin_c]
    l_power = l1 if pumps <= 1 else (l2 if pumps == 2 else l3)
    rate = min(pumps, 3) * 0.5  # two pumps are design flow
    full = tower_approach(1.12 * heat / (flow * rate), l_power, factor)
    want = target - 2.0 if target - 2.0 > wet + 0.9 * full else wet + reset
    want = max(want, basin)
    approach = max(want - wet, 0.3)
    ratio = full / approach
    if ratio <= G_EDGE:
        return want, G_LOW
    g = 1.0 if ratio >= 1.0 else raised(ratio, 1.0 / 1.057)
    if g > fans:
        g = max(fans, G_LOW)
        return max(wet + full / raised(g, 1.057), basin), g
    return max(wet + max(approach, full), basin), g


@kernel()
def tower_water(p, heat, g, dry, wet):
    """E27 make-up water [L/h] of a tower that rejects `heat` at fan fraction `g`."""
    load = max(heat / (p[P.tower_pu] * g), 0.25)
    latent = min(max(0.510 + 0.0113 * wet + 0.0348 * (dry - wet) / load, 0.3), 1.4)
    return heat * latent * (3600.0 / LATENT_KJ_PER_KG) * p[P.make_up]


@inlined()
def loop_share(p, dt, into, loop, target, need, hx, stream, running, timer, preferred, condenser, units):
    """E28, E21 and the loop's balance: what economiser and chillers take, and where that leaves the loop.

    The economiser cools the return (loop + into/stream) to `hx` at best. Heat that neither can take warms the
    loop, solved at the end of the sub-step so that a long sub-step cannot overshoot.

    Returns:
        heat taken by the economiser, by the chillers, compressor power, chillers running, stage timer [s].
    """
    store, rated = p[P.loop_kj] / dt, p[P.eir]
    unit = p[P.unit_pu] * capacity_factor(p, condenser, target)
    free = need if hx <= target else min(max(into - stream * (hx - target), 0.0), need)
    left = need - free
    asked = wanted(running, left, unit, units, preferred, p[P.min_load])
    running, timer = staged(p, running, timer, dt, asked, units)
    capacity = available(p, running, timer, dt) * unit
    chilled = min(left, capacity)
    if chilled < left:
        end = max((store * loop + stream * hx - chilled) / (store + stream), target)
        free = min(max(into - stream * (hx - end), 0.0), need)
    elif asked < running:  # held by its minimum on-time: the loop stores what is not asked for
        spare = max(into + store * (loop - FREEZE_C) - free - chilled, 0.0)
        chilled += min(max(TURN_DOWN * capacity - chilled, 0.0), spare)
    power = 0.0
    if running > 0:
        hot, cold = max(condenser, p[P.head_floor_c]), max(target, loop)
        lifted = energy_input(hot, cold, p[P.eir_loss], p[P.eir_lift])
        power = running * unit * rated * lifted * part_load(chilled / (running * unit))
    return free, chilled, power, running, timer


@inlined()
def water_plant(
    p, dt, dry, wet, factor, coil, back, supply, effectiveness, state, set_c, lag, powered, units, left
):
    """One plant sub-step of `dt` s: coil heat into the loop, loop out through economiser, chillers and tower.

    Args:
        p: parameters.
        dt: s.
        dry: degC.
        wet: degC.
        factor: `wet_factor(wet)`.
        coil: heat from the hall.
        back: degC return air.
        supply: degC supply air.
        effectiveness: of the coil.
        state: chilled water, condenser water [degC], chillers running, stage timer [s].
        set_c: degC chilled water set-point.
        lag: share of the gap that the condenser loop closes in `dt`.
        powered: whether chillers, tower and condenser pumps have power.
        units: chillers in service.
        left: shares of chilled-water pumps and of tower fans in service.

    Returns:
        chilled water, condenser water [degC], chillers running, stage timer [s]; power of compressors, chilled-water
        pumps, condenser pumps, fans; heat taken free, by chillers, heat that left the site; water [L/h].
    """
    loop, cond, running, timer = state
    pumps_left, fans_left = left
    xi = min(max((back - supply) / max(max(back - loop, 0.1) * effectiveness, 1e-9), 0.0), 1.0)
    stream_share = min(max(xi / (3.0 - 2.0 * xi), 0.15), pumps_left)
    stream = stream_share * p[P.loop_flow]
    pump = p[P.loop_pump_pu] * pump_share(stream_share)
    into = coil + pump
    store = p[P.loop_kj] / dt
    if not powered:
        return loop + into / store, cond, 0, timer, 0.0, pump, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    need = max(min(into + store * (loop - set_c), into + PULL_DOWN_PU), 0.0)
    target = loop + (into - need) / store
    by_tower = p[P.tower] > 0.5
    before, base, g, hot, hx = cond, units, 1.0, dry + p[P.hot_offset_k], NO_ECONOMISER_C
    if by_tower:
        base = 1 if wet < COLD_WET_C else 2
        reached, g = tower(p, need, target, wet, factor, max(base, running), fans_left)
        cond += (reached - cond) * lag
        hot, hx = cond, cond + p[P.exchanger_k]
    free, chilled, power, running, timer = loop_share(
        p, dt, into, loop, target, need, hx, stream, running, timer, base, hot, units
    )
    taken = free + chilled
    loop += (into - taken) / store
    heat, pumps, fans, water = taken + power, 0.0, 0.0, 0.0
    if by_tower:
        pumps = p[P.other_pump_pu] * max(base, running)
        fans = p[P.reject_fan_pu] * shared_fans(g, fans_left)
        heat += pumps
        # Condenser water warms by no more than the heat it is given.
        warmed = min(p[P.cond_kj] / dt * (cond - before), heat)
        cond = before + warmed * dt / p[P.cond_kj]
        heat -= warmed
        water = tower_water(p, heat, g, dry, wet)
    return loop, cond, running, timer, power, pump, pumps, fans, free, chilled, heat + fans, water
