"""One plant over one control step: actuators, servers, zone, heads, power chain.

Everything is scalar and per kW of design IT power; `core.integrate` gathers a region's numbers, calls `advance` and
books what it returns.
"""

from __future__ import annotations

import math

from gcn_env.core.airside import air_unit, outdoor_air, outside_plant, unit_bank
from gcn_env.core.compressor import LONG_S, capacity_factor, restart_timer
from gcn_env.core.electrical import pdu_loss, ups_loss
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.liquid import liquid_plant
from gcn_env.core.plant_table import OUTSIDE, PLANT, WATER
from gcn_env.core.thermal import (
    FAN_LAG_S,
    air_chip_c,
    coil_effectiveness,
    fan_target,
    hottest,
    leakage,
    liquid_chip_c,
    shared_fans,
    walls_of,
    walls_split,
    zone_steps,
)
from gcn_env.core.water import coil_share, water_plant, wet_factor

P = PLANT.ix
HEALTHY = (
    2.0,
    1.0,
    0.0,
    1.0,
    1.0,
    1.0,
    0.0,
)  # mode, fans, units_out, pumps, tower, coil, heat wanted: see `advance`
NORMAL, ON_UPS, DARK = 2.0, 1.0, 0.0  # mode
# `advance` returns energies by these indices [kJ/kW unless stated]. Electricity: all IT (server fans and leakage are
# part of it), then what is beside it.
E_IT, E_SERVER_FANS, E_LEAKAGE, E_AIR_FANS, E_COMPRESSORS, E_PUMPS, E_REJECTION, E_HUMIDIFIERS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
)
E_UPS, E_PDU, E_MISC = 8, 9, 10
# Heat: taken from hall and chips; by economisers, outdoor air or dry coolers; by evaporators; by a heat network; let in
# by the envelope; that left the site (less what the envelope let in); of the pumps that heats the loop.
E_REMOVED, E_FREE, E_CHILLED, E_REUSED, E_INWARD, E_HEAT, E_LOOP_PUMPS = 11, 12, 13, 14, 15, 16, 17
E_WATER, E_EXCURSION, E_THROTTLED = 18, 19, 20  # L/kW, K s, s
N_ENERGY = 21
NOTHING = (0.0,) * N_ENERGY
CUT_OUT_C = 60.0  # inlet at which nodes cut their own power, so that a hall without cooling settles [E]
CUT_OUT_COOLANT_C = 90.0  # coolant at which they do [E]
THROTTLE_PER_K = 0.05  # section 1.8
THROTTLE_FLOOR = 0.3
AWAKE_FLOOR = 0.03  # least share of nameplate awake: service nodes
LEAST_FLOW = 0.01  # of supply air without any air handler: convection [E]


@kernel()
def cooling(e):
    """Electricity of cooling [kJ/kW] among the energies of `advance`."""
    return e[E_AIR_FANS] + e[E_COMPRESSORS] + e[E_PUMPS] + e[E_REJECTION] + e[E_HUMIDIFIERS]


@kernel()
def drawn(e):
    """All electricity [kJ/kW] among the energies of `advance`."""
    return e[E_IT] + cooling(e) + e[E_UPS] + e[E_PDU] + e[E_MISC]


@kernel()
def node_energy(e):
    """Energy of nodes before fans and leakage [kJ/kW] among those of `advance`."""
    return e[E_IT] - e[E_SERVER_FANS] - e[E_LEAKAGE]


@kernel()
def moved(actual, command, lag, most):
    """Where an actuator is after a sub-step: first-order lag `lag` (share of the gap), then slew `most`."""
    step = (command - actual) * lag
    return actual + min(max(step, -most), most)


@inlined()
def air_stream(p, dt, kind, powered, weather, set_c, flow, back, loop, reject, effect, coil_left, bank):
    """What the air side can do for the next zone sub-steps.

    Args:
        p: parameters.
        dt: s.
        kind: what cools the air.
        powered: whether compressors have power.
        weather: as in `advance`.
        set_c: degC supply set-point.
        flow: of supply air.
        back: degC return air.
        loop: degC chilled water.
        reject: third actuator.
        effect: effectiveness of a chilled-water coil.
        coil_left: factor on effectiveness and capacity of coils.
        bank: units running, stage timer [s], units in service.

    Returns:
        slope and offset [degC] of the least supply temperature over return air, offered outdoor air [degC], moisture
        added [kg/kg], dampers open, sensible capacity of units that run, those units, stage timer [s].
    """
    dry, wet, dew, humid = weather
    running, timer, units = bank
    slope, offered, added, is_open, capacity = 1.0, back, 0.0, 0, 0.0
    if kind == WATER:
        return 1.0 - effect, effect * loop, offered, added, is_open, capacity, running, timer
    if kind == OUTSIDE:
        offered, added, is_open = outdoor_air(
            p, dry, wet, dew, humid, set_c, back, reject if powered else 0.0
        )
        slope = 1.0 - is_open
    if powered:
        if p[P.liquid_share] > 0.0:
            capacity = p[P.air_unit_pu] * capacity_factor(p, dry + p[P.hot_offset_k], set_c - p[P.lift_k])
        else:
            demand = flow * max(offered - set_c, 0.0)
            capacity, running, timer = unit_bank(p, dry, set_c, demand, running, timer, dt, units)
        capacity *= coil_left
    return slope, (1.0 - slope) * offered - capacity / flow, offered, added, is_open, capacity, running, timer


@inlined()
def speed_factor(p, chip, spread, peak_inlet):
    """Section 1.8: speed factor of the next step from the hottest chip; 0 where nodes tripped."""
    start = p[P.throttle_c]
    trips = peak_inlet > p[P.trip_inlet_c] or chip > start + p[P.trip_k]
    slowed = min(max(1.0 - THROTTLE_PER_K * (chip + spread - start), THROTTLE_FLOOR), 1.0)
    return 0.0 if trips else slowed


@kernel()
def dark(p, dry, state, dt, n):
    """`n` sub-steps of `dt` s without power: nothing runs, mass, air and structure drift, walls leak.

    Returns:
        state, heat let in by the envelope [kJ/kW].
    """
    mass, air, inlet, supply, loop, fan, _, a0, a1, a2, cond, _, slab = state
    lag = 1.0 - math.exp(-dt / FAN_LAG_S)
    inward = 0.0
    for _ in range(n):
        walls, walls_c = walls_of(p, dry, slab)
        mass, air, inlet, supply, _, _, leak, _, _, _, _ = zone_steps(
            p, 1, dt, 0.0, mass, air, inlet, supply, fan, 0.0, 0.0, 0.0, 1e3, 0.0, 0.0, (0.0, 1.0, 1.0), 0.0,
            walls, walls_c,
        )  # fmt: skip
        fan -= fan * lag
        let_in, kept = walls_split(p, dry, slab, walls, walls_c, leak)
        inward += let_in * dt
        slab += kept * dt / p[P.structure_kj]
    return (mass, air, inlet, supply, loop, fan, 0, a0, a1, a2, cond, restart_timer(p), slab), inward


@kernel()
def advance(p, weather, node, awake, command, health, state, dt_s, n_plant, n_zone):
    """`n_plant` plant sub-steps of one region over `dt_s` s.

    Args:
        p: one row of `PlantParams.values`.
        weather: dry bulb, wet bulb, dew point [degC], humidity ratio [kg/kg].
        node: node power before fans and leakage, nameplate = 1.
        awake: share of nameplate awake, not below `node`.
        command: the three cooling heads' set-points.
        health: mode (2 normal; 1 on the UPS: no compressors, towers or rejection; 0 dark), share left of air handlers,
            compressors out of service, shares left of chilled-water or coolant pumps and of tower or dry-cooler fans,
            factor on the effectiveness of coils and exchangers, heat that a heat network would take (E43).
        state: mass, air, inlet, supply, loop [degC], server fan, compressors running, three actuators, condenser water
            [degC], stage timer [s], structure [degC].
        dt_s: s.
        n_plant: plant sub-steps.
        n_zone: zone sub-steps of each.

    Returns:
        state; energies (indices `E_...`); starts; hottest inlet [degC]; chip [degC]; speed factor of the next step.
    """
    mode, air_left, units_out, pumps_left, fans_left, coil_left, heat_wanted = health
    dry, wet, _, humid = weather
    dt = dt_s / n_plant
    if mode < 0.5 * ON_UPS:
        state, let_in = dark(p, dry, state, dt, n_plant)
        energy = (
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0, let_in, -let_in, 0.0, 0.0, 0.0, 0.0,
        )  # fmt: skip
        return state, energy, 0, state[2], state[0], 1.0
    mass, air, inlet, supply, loop, fan, running, a0, a1, a2, cond, timer, slab = state
    powered = mode > 0.5 * (ON_UPS + NORMAL)
    dz = dt / n_zone
    fan_lag = 1.0 - math.exp(-dz / FAN_LAG_S)
    lag_0, lag_1 = 1.0 - math.exp(-dt / p[P.lag_0]), 1.0 - math.exp(-dt / p[P.lag_1])
    lag_2 = 1.0 - math.exp(-dt / p[P.lag_2])
    most_0, most_1, most_2 = p[P.slew_0] * dt, p[P.slew_1] * dt, p[P.slew_2] * dt
    kind, liquid = int(p[P.air_kind]), p[P.liquid_share] > 0.0
    factor, cond_lag = 0.0, 0.0
    if kind == WATER:
        factor, cond_lag = wet_factor(wet), 1.0 - math.exp(-dt * p[P.tower_flow] / p[P.cond_kj])
    units = max(int(p[P.units] - units_out), 0)
    running = min(running, units)
    if not powered:
        running, timer = 0, restart_timer(p)
    coil_left *= coil_share(pumps_left) if kind == WATER else 1.0
    power = node / awake
    idle = p[P.idle_share]
    use = min(max((power - idle) / (1.0 - idle), 0.0), 1.0)
    base = p[P.fan_base] * (0.6 + 0.4 * use)
    misc = p[P.misc_pu]
    full_flow, per_fan = p[P.supply_flow], awake * p[P.server_flow]
    most_air = max(air_left, LEAST_FLOW)
    least_flow, most_flow = min(0.25, most_air) * full_flow, most_air * full_flow
    s_it, s_fans, s_leak, s_air, s_comp, s_pump, s_reject, s_humid = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    s_ups, s_pdu, s_coil, s_free, s_chilled, s_reused, s_inward = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    s_out, s_warm, s_water, s_over, s_slow = 0.0, 0.0, 0.0, 0.0, 0.0
    starts, peak, hot, chip, factor_now, asked = 0, -1e9, inlet, mass, 1.0, node
    effect, effect_at = 0.0, -1.0
    for _ in range(n_plant):
        a0 = moved(a0, command[0], lag_0, most_0)
        a1 = moved(a1, command[1], lag_1, most_1)
        a2 = moved(a2, command[2], lag_2, most_2)
        node = asked if inlet < CUT_OUT_C and loop < CUT_OUT_COOLANT_C else 0.0
        tcs, fws = min(a1, pumps_left), min(a2, pumps_left)
        if liquid:
            chip = liquid_chip_c(loop, p[P.chip_k], p[P.chip_still], power, tcs)
            set_c, follow = p[P.air_set_c], p[P.air_follow] * per_fan
        else:
            chip = air_chip_c(inlet, p[P.chip_k], p[P.chip_still], power, fan)
            set_c, follow = a0, a1 * per_fan
        target = fan_target(base, p[P.fan_slope], p[P.fan_knee_c], inlet)
        flow = min(max(follow * max(fan, target), least_flow), most_flow)
        speed = flow / full_flow
        leak = leakage(node, p[P.leak_share], p[P.leak_slope], p[P.leak_ref_c], chip)
        it = node + leak + awake * p[P.fan_pu] * fan * fan * fan
        ups = ups_loss(it, p[P.ups_a0], p[P.ups_a1], p[P.ups_a2])
        pdu = pdu_loss(it, p[P.pdu_d0], p[P.pdu_d2])
        blower = p[P.air_fan_pu] * shared_fans(speed, air_left)
        room = blower + p[P.loss_inside] * (ups + pdu) + p[P.misc_inside] * misc
        back = supply + min(fan * per_fan / flow, 1.0) * (air - supply)
        before = running
        if kind == WATER and speed != effect_at:
            effect, effect_at = coil_left * coil_effectiveness(p[P.coil_ntu], speed / most_air), speed
        slope, offset, offered, added, is_open, capacity, running, timer = air_stream(
            p,
            dt,
            kind,
            powered,
            weather,
            set_c,
            flow,
            back,
            loop,
            a2,
            effect,
            coil_left,
            (running, timer, units),
        )
        walls, walls_c = walls_of(p, dry, slab)
        mass, air, inlet, supply, fan, coil, leak_in, cube, r, top, flow = zone_steps(
            p, n_zone, dz, fan_lag, mass, air, inlet, supply, fan, base, node + leak, awake,
            set_c, slope, offset, (follow, least_flow, most_flow), room, walls, walls_c,
        )  # fmt: skip
        let_in, kept = walls_split(p, dry, slab, walls, walls_c, leak_in)
        slab += kept * dt / p[P.structure_kj]
        fans = awake * p[P.fan_pu] * cube
        rejects, humid_kw, warm, water = 0.0, 0.0, 0.0, 0.0
        if kind == WATER:
            loop, cond, running, timer, comp, warm, pump, rejects, free, chilled, out, water = water_plant(
                p, dt, dry, wet, factor, coil, supply + coil / flow, supply, effect, (loop, cond, running, timer),
                a2, cond_lag, powered, units, (pumps_left, fans_left),
            )  # fmt: skip
        elif kind == OUTSIDE:
            comp, pump, free, chilled, water = outside_plant(
                p, dry, coil, flow, supply, set_c, offered, added, is_open
            )
            out = coil + comp + pump
            loop = supply
        else:
            comp, pump, humid_kw, free, chilled, water = air_unit(
                p, dry, humid, coil, set_c, capacity, powered
            )
            out = coil + comp + pump + humid_kw
        if liquid:
            taken = p[P.liquid_share] * (node + leak + fans)
            loop, running, timer, comp_l, warm, pump_l, rejects, free_l, chilled_l, reused, out_l, water = (
                liquid_plant(
                    p,
                    dt,
                    dry,
                    wet,
                    taken,
                    loop,
                    a0,
                    tcs,
                    fws,
                    running,
                    timer,
                    powered,
                    units,
                    (fans_left, coil_left),
                    heat_wanted,
                )
            )
            coil, comp, pump, out = coil + taken, comp + comp_l, pump + pump_l, out + out_l
            free, chilled = free + free_l, chilled + chilled_l
            s_reused += reused
        hot = hottest(inlet, air, min(r, 1.0), p[P.hot_share])
        peak = max(peak, top)
        over = max(hot - p[P.hot_limit_c], loop - p[P.loop_limit_c], chip - p[P.chip_limit_c], 0.0)
        factor_now = speed_factor(p, chip, 0.0 if liquid else hot - inlet, peak)
        s_it += node + leak + fans
        s_fans += fans
        s_leak += leak
        s_air += blower
        s_comp += comp
        s_pump += pump + warm
        s_reject += rejects
        s_humid += humid_kw
        s_ups += ups
        s_pdu += pdu
        s_coil += coil
        s_free += free
        s_chilled += chilled
        s_inward += let_in
        s_warm += warm
        s_out += out + (1.0 - p[P.loss_inside]) * (ups + pdu) + (1.0 - p[P.misc_inside]) * misc - let_in
        s_water += water
        s_over += over
        s_slow += 1.0 if factor_now < 1.0 else 0.0
        starts += max(running - before, 0)
    state = (mass, air, inlet, supply, loop, fan, running, a0, a1, a2, cond, timer, slab)
    energy = (
        s_it * dt, s_fans * dt, s_leak * dt, s_air * dt, s_comp * dt, s_pump * dt, s_reject * dt, s_humid * dt,
        s_ups * dt, s_pdu * dt, misc * dt_s, s_coil * dt, s_free * dt, s_chilled * dt, s_reused * dt, s_inward * dt,
        s_out * dt, s_warm * dt, s_water * dt / 3600.0, s_over * dt, s_slow * dt,
    )  # fmt: skip
    return state, energy, starts, hot, chip, factor_now


@kernel()
def at_rest(p, command, weather, node, awake):
    """A plant that has held `command` for six hours (18 server time constants), its structure at the mean of its hall.

    Returns:
        as `advance` over the last two of those hours, less the starts.
    """
    liquid = p[P.liquid_share] > 0.0
    supply = p[P.air_set_c] if liquid else command[0]
    loop = command[0] if liquid else command[2]
    state = (
        supply + 15.0, supply + 10.0, supply + 0.5, supply, loop, p[P.fan_base], 0,
        command[0], command[1], command[2], max(weather[1] + p[P.approach_k], p[P.basin_c]), LONG_S, supply + 5.0,
    )  # fmt: skip
    e, hot, chip, factor = NOTHING, supply, supply, 1.0
    for _ in range(3):
        state, e, _, hot, chip, factor = advance(
            p, weather, node, awake, command, HEALTHY, state, 7200.0, 24, 5
        )
        state = state[:7] + command + (state[10], LONG_S, 0.5 * (state[1] + state[2]))
    return state, e, hot, chip, factor


@kernel()
def stored(p, before, after):
    """Heat [kJ/kW] that mass, air, structure and loops gained between two states."""
    heat = p[P.mass_kj] * (after[0] - before[0]) + p[P.air_kj] * (after[1] - before[1])
    heat += p[P.cold_kj] * (after[2] - before[2])
    heat += p[P.structure_kj] * (after[12] - before[12])
    if int(p[P.air_kind]) == WATER or p[P.liquid_share] > 0.0:
        heat += p[P.loop_kj] * (after[4] - before[4]) + p[P.cond_kj] * (after[10] - before[10])
    return heat


@kernel()
def margin(p, hot, loop, chip):
    """K to the nearest limit of inlet, coolant and chip; negative above it."""
    return min(p[P.hot_limit_c] - hot, p[P.loop_limit_c] - loop, p[P.chip_limit_c] - chip)
