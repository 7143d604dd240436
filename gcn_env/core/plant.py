"""One plant over one control step: actuators, servers, zone, heads, power chain.

Everything is scalar and per kW of design IT power; `core.integrate` gathers a region's numbers, calls `advance` and
books what it returns.
"""

from __future__ import annotations

import math

from gcn_env.core.airside import air_unit, outdoor_air, outside_plant, trim_capacity
from gcn_env.core.compressor import capacity_factor
from gcn_env.core.electrical import pdu_loss, ups_loss
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.liquid import liquid_plant
from gcn_env.core.plant_table import OUTSIDE, PLANT, WATER
from gcn_env.core.thermal import (
    FAN_LAG_S,
    air_chip_c,
    coil_effectiveness,
    cubic_fan,
    fan_target,
    hottest,
    leakage,
    liquid_chip_c,
    zone_steps,
)
from gcn_env.core.water import water_plant, wet_factor

P = PLANT.ix
THROTTLE_PER_K = 0.05  # section 1.8
THROTTLE_FLOOR = 0.3
HEALTHY = (2.0, 1.0, 0.0, 1.0, 1.0, 1.0)  # mode, fans, units_out, pumps, tower, coil: see `advance`
# `advance` returns energies by these indices [kJ/kW unless stated].
E_SERVER_FANS, E_LEAKAGE, E_AIR_FANS, E_COMPRESSORS, E_PUMPS, E_REJECTION, E_UPS, E_PDU = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
)
E_HEAT, E_WATER, E_EXCURSION, E_THROTTLED, E_IT = 8, 9, 10, 11, 12  # rejected; L/kW; K s; s; all IT
N_ENERGY = 13
CUT_OUT_C = 60.0  # inlet at which nodes cut their own power, so that a hall without cooling settles [E]


@kernel()
def moved(actual, command, lag, most):
    """Where an actuator is after a sub-step: first-order lag `lag` (share of the gap), then slew `most`."""
    step = (command - actual) * lag
    return actual + min(max(step, -most), most)


@inlined()
def air_stream(p, kind, weather, set_c, speed, back, loop, reject, same, effect):
    """What the air side can do for the next zone sub-steps.

    Returns:
        slope and offset [degC] of the least supply temperature over return air, coil effectiveness, offered
        outdoor air [degC], moisture added [kg/kg], dampers open, trim capacity, its cold side [degC].
    """
    ntu, unit_pu, flow = p[P.coil_ntu], p[P.air_unit_pu], speed * p[P.supply_flow]
    dry, wet, dew, humid = weather
    offered, added, is_open, capacity, cold = back, 0.0, 0, 0.0, set_c - 8.0
    if kind == WATER:
        effect = effect if same else coil_effectiveness(ntu, speed)
        slope, offset = 1.0 - effect, effect * loop
    else:
        slope = 1.0
        if kind == OUTSIDE:
            capacity, cold = trim_capacity(p, dry, set_c)
            offered, added, is_open = outdoor_air(p, dry, wet, dew, humid, set_c, back, reject)
            slope = 1.0 - is_open
        else:
            capacity = unit_pu * capacity_factor(p, dry, cold)
        offset = (1.0 - slope) * offered - capacity / flow
    return slope, offset, effect, offered, added, is_open, capacity, cold


@inlined()
def speed_factor(p, chip, spread, peak_inlet):
    """Section 1.8: speed factor of the next step from the hottest chip; 0 where nodes tripped."""
    start = p[P.throttle_c]
    trips = peak_inlet > p[P.trip_inlet_c] or chip > start + p[P.trip_k]
    slowed = min(max(1.0 - THROTTLE_PER_K * (chip + spread - start), THROTTLE_FLOOR), 1.0)
    return 0.0 if trips else slowed


@kernel()
def dark(p, dry, state, dt, n):
    """A control step without power: nothing runs, mass, air and loop drift, the envelope leaks."""
    mass, air, inlet, supply, loop, fan, _, a0, a1, a2 = state
    lag = 1.0 - math.exp(-dt / FAN_LAG_S)
    inward = 0.0
    for _ in range(n):
        fan -= fan * lag
        mass, air, inlet, supply, _, _, leak, _, _, _ = zone_steps(
            p, 1, dt, 0.0, mass, air, inlet, supply, fan, 0.0, 0.0, 0.0, 1e3, 0.0, 0.0, 1.0, 0.0, dry
        )
        inward += leak * dt
    return (mass, air, inlet, supply, loop, fan, 0, a0, a1, a2), inward


@kernel()
def advance(p, weather, node, awake, command, health, state, dt_s, n_plant, n_zone):
    """`n_plant` plant sub-steps of one powered region over `dt_s` s.

    Args:
        p: one row of `PlantParams.values`.
        weather: dry bulb, wet bulb, dew point [degC], humidity ratio [kg/kg].
        node: node power before fans and leakage, nameplate = 1.
        awake: share of nameplate awake, not below `node`.
        command: the three cooling heads' set-points.
        health: mode (2 normal, 1 on the UPS: no compressors, towers or rejection, 0 dark), share of full flow left to
            air-handler fans, compressors out of service, share left to pumps, share left to tower or dry-cooler fans,
            factor on the effectiveness of coils.
        state: mass, air, inlet, supply, loop [degC], server fan, compressors running, three actuators.
        dt_s: s.
        n_plant: plant sub-steps.
        n_zone: zone sub-steps of each.

    Returns:
        state; energies (indices `E_...`); starts; hottest inlet [degC]; chip [degC]; speed factor of the next step.
    """
    mass, air, inlet, supply, loop, fan, running, a0, a1, a2 = state
    dry, wet, _, _ = weather
    dt = dt_s / n_plant
    dz = dt / n_zone
    fan_lag = 1.0 - math.exp(-dz / FAN_LAG_S)
    lag_0, lag_1 = 1.0 - math.exp(-dt / p[P.lag_0]), 1.0 - math.exp(-dt / p[P.lag_1])
    lag_2 = 1.0 - math.exp(-dt / p[P.lag_2])
    most_0, most_1, most_2 = p[P.slew_0] * dt, p[P.slew_1] * dt, p[P.slew_2] * dt
    kind, liquid = int(p[P.air_kind]), p[P.liquid_share] > 0.0
    factor = wet_factor(wet) if kind == WATER else 0.0
    power = node / awake
    idle = p[P.idle_share]
    use = min(max((power - idle) / (1.0 - idle), 0.0), 1.0)
    base = p[P.fan_base] * (0.6 + 0.4 * use)
    misc = p[P.misc_pu]
    per_supply = p[P.server_flow] / p[P.supply_flow]
    s_fans, s_leak, s_air, s_comp, s_pump, s_reject = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    s_ups, s_pdu, s_heat, s_water, s_over, s_slow = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    s_it, starts, peak, hot, chip, factor_now, asked = 0.0, 0, -1e9, inlet, mass, 1.0, node
    effect, effect_at = 0.0, -1.0
    for _ in range(n_plant):
        a0 = moved(a0, command[0], lag_0, most_0)
        a1 = moved(a1, command[1], lag_1, most_1)
        a2 = moved(a2, command[2], lag_2, most_2)
        node = asked if inlet < CUT_OUT_C else 0.0
        # The aisle's pressure loop follows the servers in seconds: it sees where their fans are going, too.
        target = fan_target(base, p[P.fan_slope], p[P.fan_knee_c], inlet)
        drawn = max(fan, target) * awake * per_supply
        if liquid:
            chip = liquid_chip_c(loop, p[P.chip_k], p[P.chip_still], power, a1)
            set_c = p[P.air_set_c]
            speed = min(max(p[P.air_follow] * drawn, 0.25), 1.0)
        else:
            chip = air_chip_c(inlet, p[P.chip_k], p[P.chip_still], power, fan)
            set_c = a0
            speed = min(max(a1 * drawn, 0.25), 1.0)
        leak = leakage(node, p[P.leak_share], p[P.leak_slope], p[P.leak_ref_c], chip)
        it = node + leak + awake * p[P.fan_pu] * fan * fan * fan
        ups = ups_loss(it, p[P.ups_a0], p[P.ups_a1], p[P.ups_a2])
        pdu = pdu_loss(it, p[P.pdu_d0], p[P.pdu_d2])
        flow = speed * p[P.supply_flow]
        blower = p[P.air_fan_pu] * cubic_fan(speed)
        room = blower + p[P.loss_inside] * (ups + pdu) + p[P.misc_inside] * misc
        back = supply + min(awake * fan * p[P.server_flow] / flow, 1.0) * (air - supply)
        slope, offset, effect, offered, added, is_open, capacity, cold = air_stream(
            p, kind, weather, set_c, speed, back, loop, a2, speed == effect_at, effect
        )
        effect_at = speed
        mass, air, inlet, supply, fan, coil, inward, cube, r, top = zone_steps(
            p, n_zone, dz, fan_lag, mass, air, inlet, supply, fan, base, node + leak, awake,
            set_c, slope, offset, flow, room, dry,
        )  # fmt: skip
        fans = awake * p[P.fan_pu] * cube
        before = running
        rejects, water = 0.0, 0.0
        if kind == WATER:
            loop, running, comp, pump, rejects, heat, water = water_plant(
                p, dt, dry, wet, factor, coil, supply + coil / flow, supply, effect, loop, a2, running
            )
        elif kind == OUTSIDE:
            running, comp, pump, heat, water = outside_plant(
                p, dry, coil, flow, supply, offered, added, is_open, capacity, cold, running
            )
            loop = supply
        else:
            comp, pump, heat = air_unit(p, dry, coil, set_c)
        if liquid:
            loop, running, comp_l, pump_l, rejects, heat_l, water = liquid_plant(
                p, dt, dry, wet, p[P.liquid_share] * (node + leak + fans), loop, a0, a1, a2, running
            )
            comp, pump, heat = comp + comp_l, pump + pump_l, heat + heat_l
        hot = hottest(inlet, air, min(r, 1.0), p[P.hot_share])
        peak = max(peak, top)
        over = max(hot - p[P.hot_limit_c], loop - p[P.loop_limit_c], chip - p[P.chip_limit_c], 0.0)
        factor_now = speed_factor(p, chip, 0.0 if liquid else hot - inlet, peak)
        s_it += node + leak + fans
        s_fans += fans
        s_leak += leak
        s_air += blower
        s_comp += comp
        s_pump += pump
        s_reject += rejects
        s_ups += ups
        s_pdu += pdu
        s_heat += heat + (1.0 - p[P.loss_inside]) * (ups + pdu) + (1.0 - p[P.misc_inside]) * misc - inward
        s_water += water
        s_over += over
        s_slow += 1.0 if factor_now < 1.0 else 0.0
        starts += max(running - before, 0)
    state = (mass, air, inlet, supply, loop, fan, running, a0, a1, a2)
    energy = (
        s_fans * dt, s_leak * dt, s_air * dt, s_comp * dt, s_pump * dt, s_reject * dt, s_ups * dt, s_pdu * dt,
        s_heat * dt, s_water * dt / 3600.0, s_over * dt, s_slow * dt, s_it * dt,
    )  # fmt: skip
    return state, energy, starts, hot, chip, factor_now


@kernel()
def stored(p, before, after):
    """Heat [kJ/kW] that mass, air and loop gained between two states."""
    heat = p[P.mass_kj] * (after[0] - before[0]) + p[P.air_kj] * (after[1] - before[1])
    if int(p[P.air_kind]) == WATER or p[P.liquid_share] > 0.0:
        heat += p[P.loop_kj] * (after[4] - before[4])
    return heat


@kernel()
def margin(p, hot, loop, chip):
    """K to the nearest limit of inlet, coolant and chip; negative above it."""
    return min(p[P.hot_limit_c] - hot, p[P.loop_limit_c] - loop, p[P.chip_limit_c] - chip)
