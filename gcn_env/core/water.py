"""Archetype b: chilled water, water-cooled chillers, tower, series water-side economiser (E17, E20-E29).

Powers kW per kW of design IT power, flows kW/K per kW, temperatures degC, make-up water L/h per kW.
"""

from __future__ import annotations

import math

from gcn_env.core.air import LATENT_KJ_PER_KG
from gcn_env.core.compressor import capacity_factor, energy_input, part_load, pump_share, staged
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT
from gcn_env.core.thermal import cubic_fan, raised

P = PLANT.ix
PULL_DOWN_PU = 0.5  # most heat taken from a warm loop beyond its load: limits the rush after an outage [E]
COLD_WET_C = 5.0  # wet bulb below which one condenser pump and one chiller serve (B1)
FIT_WET_C = -5.0  # E24 is fitted above this wet bulb; towers run cycled below it
G_LOW = 0.1  # E25 least tower fan fraction
G_EDGE = G_LOW**1.057  # A/approach at which the fan reaches it


@kernel()
def wet_factor(wet):
    """E24 factor of the wet bulb [degC], constant over a control step."""
    return math.exp(-0.0402 * (max(wet, FIT_WET_C) - 25.6))


@kernel()
def tower_approach(range_k, flow_power, factor):
    """E24 approach [K] at full fan: `flow_power` is l^1.057, `factor` is `wet_factor`."""
    return 3.96 * raised(max(range_k, 0.2) / 5.55, 0.711) * flow_power * factor


@inlined()
def tower(p, heat, target, wet, factor, pumps):
    """E25, E26, E29: condenser water [degC] and fan fraction; `target` is the chilled water wanted [degC]."""
    l1, l2, l3, flow = p[P.tower_l1], p[P.tower_l2], p[P.tower_l3], p[P.tower_flow]
    reset, basin = p[P.approach_k], p[P.basin_c]
    l_power = l1 if pumps <= 1 else (l2 if pumps == 2 else l3)
    rate = min(pumps, 3) * 0.5  # two pumps are design flow
    full = tower_approach(1.12 * heat / (flow * rate), l_power, factor)
    want = target - 2.0 if target - 2.0 > wet + 0.9 * full else wet + reset
    want = max(want, basin)
    approach = max(want - wet, 0.3)
    ratio = full / approach
    if ratio >= 1.0:
        water, g = max(wet + full, basin), 1.0
    elif ratio <= G_EDGE:
        water, g = want, G_LOW
    else:
        water, g = max(wet + approach, basin), raised(ratio, 1.0 / 1.057)
    return water, g


@kernel()
def tower_water(p, heat, g, dry, wet):
    """E27 make-up water [L/h] of a tower that rejects `heat` at fan fraction `g`."""
    load = max(heat / (p[P.tower_pu] * g), 0.25)
    latent = min(max(0.510 + 0.0113 * wet + 0.0348 * (dry - wet) / load, 0.3), 1.4)
    return heat * latent * (3600.0 / LATENT_KJ_PER_KG) * p[P.make_up]


@inlined()
def loop_share(p, dt, into, loop, target, need, hx, stream, running, pumps_low, condenser):
    """E28, E21 and the loop's balance: what economiser and chillers take, and where that leaves the loop.

    The economiser cools the return (loop + into/stream) to `hx` at best. Heat that neither can take warms the
    loop, solved at the end of the sub-step so that a long sub-step cannot overshoot.

    Returns:
        heat taken by the economiser, by the chillers, compressor power, chillers running.
    """
    store, units, least, rated = p[P.loop_kj] / dt, p[P.units], p[P.min_load], p[P.eir]
    floor, loss, lift = p[P.head_floor_c], p[P.eir_loss], p[P.eir_lift]
    unit = p[P.unit_pu] * capacity_factor(p, condenser, target)
    free = need if hx <= target else min(max(into - stream * (hx - target), 0.0), need)
    left = need - free
    running = staged(running, left, unit, units, pumps_low, least)
    chilled = min(left, running * unit)
    if chilled < left:
        end = max((store * loop + stream * hx - chilled) / (store + stream), target)
        free = min(max(into - stream * (hx - end), 0.0), need)
    power = 0.0
    if running > 0:
        lifted = energy_input(max(condenser, floor), max(target, loop), loss, lift)
        power = running * unit * rated * lifted * part_load(chilled / (running * unit))
    return free, chilled, power, running


@inlined()
def water_plant(p, dt, dry, wet, factor, coil, back, supply, effectiveness, loop, set_c, running):
    """One plant sub-step of `dt` s: coil heat into the loop, loop out through economiser, chillers and tower.

    Returns:
        loop [degC], chillers running, compressor, pump and fan power, heat that left the site, water [L/h].
    """
    xi = min(max((back - supply) / (max(back - loop, 0.1) * effectiveness), 0.0), 1.0)
    stream_share = max(xi / (3.0 - 2.0 * xi), 0.15)
    stream = stream_share * p[P.loop_flow]
    pump = p[P.loop_pump_pu] * pump_share(stream_share)
    into = coil + pump
    store = p[P.loop_kj] / dt
    need = max(min(into + store * (loop - set_c), into + PULL_DOWN_PU), 0.0)
    target = loop + (into - need) / store
    base = 1 if wet < COLD_WET_C else 2
    condenser, g = tower(p, need, target, wet, factor, max(base, running))
    hx = condenser + p[P.exchanger_k]
    free, chilled, power, running = loop_share(
        p, dt, into, loop, target, need, hx, stream, running, base, condenser
    )
    taken = free + chilled
    pumps = p[P.other_pump_pu] * max(base, running)
    fans = p[P.reject_fan_pu] * cubic_fan(g)
    heat = taken + power + pumps
    water = tower_water(p, heat, g, dry, wet)
    return loop + (into - taken) / store, running, power, pump + pumps, fans, heat + fans, water
