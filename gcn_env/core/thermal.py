"""Servers and the air they breathe: E6-E9, E12-E17, and the implicit step of a zone (E10-E13, E19).

Powers are kW per kW of design IT power, heat capacity flows kW/K per kW, heat capacities kJ/K per kW, time s.
"""

from __future__ import annotations

import math

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT

P = PLANT.ix
EXCHANGE = 0.75  # E10 effectiveness between IT mass and the air that crosses it
FAN_FLOOR = 0.15  # E6 least speed of a running server fan
FAN_LAG_S = 45.0  # section 4: lets the recirculation feedback unfold in time
STILL_FLOW = 0.002  # kW/K/kW natural convection where no fan runs [E]
LEAK_SPAN_K = 40.0  # E9 holds within this distance of the reference


@kernel()
def raised(x, exponent):
    """`x` > 0 to a power; two table-driven functions take half the time of `pow`, to 1e-15."""
    return math.exp(exponent * math.log(x))


@kernel()
def cubic_fan(speed):
    """E12 fan power over rated power at a flow fraction: cube law and drive floor."""
    return 0.03 + 0.97 * speed * speed * speed


@kernel()
def shared_fans(flow, left):
    """E12 fans of which a share `left` runs, all at one speed: power over that of all at full speed.

    Args:
        flow: total flow over design; what exceeds `left` they cannot give.
        left: share of the fans in service.
    """
    if left <= 0.0:
        return 0.0
    return left * cubic_fan(min(flow / left, 1.0))


@kernel()
def fan_target(base, slope, knee, inlet):
    """E6 fan flow a server asks for at an inlet temperature [degC]; `base` holds the load's share."""
    return min(max(base * (1.0 + slope * max(0.0, inlet - knee)), FAN_FLOOR), 1.0)


@kernel()
def air_chip_c(inlet, rise, still, power, fan):
    """E8 chip temperature [degC] of an air-cooled node at `power` (nameplate = 1) and fan flow `fan`."""
    return inlet + rise * power * (still + (1.0 - still) * raised(max(fan, FAN_FLOOR), -0.7))


@kernel()
def liquid_chip_c(coolant, rise, still, power, flow):
    """E8 chip temperature [degC] under a cold plate or in oil at coolant flow fraction `flow`."""
    return coolant + rise * power * (still + (1.0 - still) * raised(max(flow, 0.1), -0.6))


@kernel()
def leakage(power, share, slope, ref, chip):
    """E9 leakage above reference, same unit as `power`; may be negative below the reference."""
    return power * share * (math.exp(slope * min(max(chip - ref, -LEAK_SPAN_K), LEAK_SPAN_K)) - 1.0)


@kernel()
def recirculated(r0, reaching, server_flow):
    """E14 share of server intake that comes from the hot aisle; `reaching` is supply less bypass."""
    if server_flow <= reaching:  # common, and spares a division in the longest chain of the step
        return r0
    return r0 + (1.0 - r0) * (1.0 - reaching / server_flow)


@kernel()
def hottest(inlet, air, recirculation, extra):
    """E16 hottest inlet [degC]: E15 at a rack that recirculates `extra` more, held near r + extra = 1."""
    c = max(1.0 - recirculation, 0.1 + extra)
    return inlet + extra / ((c - extra) * c) * max(air - inlet, 0.0)


@kernel()
def coil_effectiveness(ntu, fan):
    """E17 greatest effectiveness of a chilled-water coil at a fan fraction."""
    return 1.0 - math.exp(-ntu * raised(max(fan, 0.05), -0.4))


@inlined()
def zone_step(
    mass, air, inlet, power, room, flow, recirculation, supply, k_mass, k_air, k_cold, walls, walls_c
):
    """E13 one implicit step of IT mass, hot-aisle and cold-aisle air, in closed form.

    The cold aisle is a mixed volume, C_c dT_in/dt = m c_p ((1-r) T_s + r T_a - T_in), whose steady state is E15; its
    end-of-step value is linear in that of the hot aisle, which leaves E10 and E11 as a 2x2. Unconditionally stable, and
    closes E19: k_mass dTm + k_air dTa + k_cold dTin = power + room - coil + inward. Walls see the mean of both aisles.

    Args:
        mass: degC of IT mass.
        air: degC of hot aisle and return air.
        inlet: degC of the cold aisle.
        power: heat of IT into its mass.
        room: other heat into the air.
        flow: heat capacity flow through the servers.
        recirculation: share of it drawn from the hot aisle.
        supply: degC of supply air.
        k_mass: heat capacity of IT mass over the sub-step [kW/K].
        k_air: heat capacity of hot-aisle air over the sub-step [kW/K].
        k_cold: heat capacity of cold-aisle air over the sub-step [kW/K].
        walls: conductance to what surrounds the hall (outside, structure).
        walls_c: degC of it.

    Returns:
        mass, air, inlet [degC], heat taken by the coil, heat let in by the walls.
    """
    h = EXCHANGE * flow
    past = flow - h
    through = (1.0 - recirculation) * flow
    mixed = 1.0 / (k_cold + flow)
    cold, share = (
        (k_cold * inlet + through * supply) * mixed,
        flow * recirculation * mixed,
    )  # T_in = cold + share T_a
    a11 = k_mass + h
    a22 = k_air + flow - past * share + walls * (0.5 + 0.5 * share)
    b1 = k_mass * mass + power + h * cold
    b2 = k_air * air + (past - 0.5 * walls) * cold + walls * walls_c + room
    inverse = 1.0 / (a11 * a22 - h * h * share)
    new_mass = (b1 * a22 + h * share * b2) * inverse
    new_air = (a11 * b2 + h * b1) * inverse
    new_inlet = cold + share * new_air
    inward = walls * (walls_c - 0.5 * (new_air + new_inlet))
    return new_mass, new_air, new_inlet, through * (new_air - supply), inward


@inlined()
def zone_steps(
    p,
    n,
    dt,
    lag,
    mass,
    air,
    inlet,
    supply,
    fan,
    base,
    fixed,
    awake,
    set_c,
    slope,
    offset,
    supplied,
    room,
    walls,
    walls_c,
):
    """`n` zone sub-steps of `dt` s with the plant held: fan lag, E14, E15, coil, E13.

    `supplied` is the supply flow as the aisle's pressure loop sets it: over that of servers at full fan, least, most.
    It follows the servers in seconds, and sees where their fans are going, too. The coil gives `set_c` unless it
    cannot: it never gives less than `slope * return + offset` [degC], and it is shut where that would warm the air
    (then supply is hall air, and the hall drifts).

    Returns:
        mass, air, inlet, supply [degC], fan, mean coil heat, mean heat let in by the walls, mean of fan cubed,
        recirculation, hottest mean inlet seen [degC], mean supply flow.
    """
    k_mass, k_air, k_cold = p[P.mass_kj] / dt, p[P.air_kj] / dt, p[P.cold_kj] / dt
    fan_slope, knee, r0 = p[P.fan_slope], p[P.fan_knee_c], p[P.recirculation]
    follow, least, most = supplied
    kept = 1.0 - p[P.bypass]
    per_fan = awake * p[P.server_flow]
    share = 1.0 - p[P.liquid_share]
    still = STILL_FLOW * share
    base_heat, fan_heat = share * fixed, share * awake * p[P.fan_pu]
    coil_sum, inward_sum, cube_sum, flow_sum, peak, r = 0.0, 0.0, 0.0, 0.0, -1e9, r0
    target = fan_target(base, fan_slope, knee, inlet)
    for _ in range(n):
        cube = fan * fan * fan
        flow = max(per_fan * fan, still)
        supply_flow = min(max(follow * max(fan, target), least), most)
        # Fans hold from the next sub-step: the longest chain of the loop is half as long.
        target = fan_target(base, fan_slope, knee, inlet)
        fan += (target - fan) * lag
        r = recirculated(r0, kept * supply_flow, flow)
        back = supply + (1.0 - r) * (flow / supply_flow) * (air - supply)
        supply = max(set_c, slope * back + offset)
        if supply >= back:
            supply, r = air, 1.0
        mass, air, inlet, coil, inward = zone_step(
            mass, air, inlet, base_heat + fan_heat * cube, room, flow, r, supply,
            k_mass, k_air, k_cold, walls, walls_c,
        )  # fmt: skip
        if r >= 1.0:
            supply = air
        peak = max(peak, inlet)
        coil_sum += coil
        flow_sum += supply_flow
        inward_sum += inward
        cube_sum += cube
    return (mass, air, inlet, supply, fan, coil_sum / n, inward_sum / n, cube_sum / n, r, peak, flow_sum / n)


@inlined()
def walls_of(p, dry, slab):
    """Conductance [kW/K/kW] from the hall to outside and structure together, and the temperature [degC] behind it."""
    walls = p[P.envelope] + p[P.structure]
    return walls, (p[P.envelope] * dry + p[P.structure] * slab) / max(walls, 1e-12)


@inlined()
def walls_split(p, dry, slab, walls, walls_c, inward):
    """Heat let in through the envelope (E18), and heat taken by the structure (E11), of `inward` by the walls."""
    hall = walls_c - inward / max(walls, 1e-12)
    return p[P.envelope] * (dry - hall), p[P.structure] * (hall - slab)
