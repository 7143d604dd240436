"""Archetype c, outdoor air with a wet stage and trim cooling (E34-E38), and the residual air unit of d (E43).

Powers kW per kW of design IT power, flows kW/K per kW, temperatures degC, make-up water L/h per kW.
"""

from __future__ import annotations

from gcn_env.core.air import CP_AIR, LATENT_KJ_PER_KG, saturation_ratio_at
from gcn_env.core.compressor import capacity_factor, energy_input, staged
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT

P = PLANT.ix
VENT_C = 45.0  # return air above which dampers open whatever the humidity [E]


@inlined()
def outdoor_air(p, dry, wet, dew, ratio, set_c, back, stage):
    """E34-E37: the air the dampers can offer.

    Args:
        p: parameters.
        dry: degC outdoor dry bulb.
        wet: degC outdoor wet bulb.
        dew: degC outdoor dew point.
        ratio: kg/kg outdoor humidity ratio.
        set_c: degC supply set-point.
        back: degC return air.
        stage: 0..1 of the wet stage.

    Returns:
        temperature offered [degC], moisture added [kg/kg], whether the dampers are open (1) or shut (0).
    """
    limit, kpa, ratio_max = p[P.humid_max], p[P.kpa], p[P.ratio_max]
    dew_max, wet_share = p[P.dew_max_c], p[P.wet_share]
    if dry <= set_c:
        ok = ratio <= ratio_max and set_c < back and ratio <= limit * saturation_ratio_at(set_c, kpa)
        return (dry, 0.0, 1) if ok else (back, 0.0, 0)
    drop = min(wet_share * stage * max(dry - wet, 0.0), dry - set_c)
    pre = dry - drop
    added = CP_AIR / LATENT_KJ_PER_KG * drop
    total = ratio + added
    if pre < back and total <= ratio_max and total <= limit * saturation_ratio_at(max(pre, set_c), kpa):
        return pre, added, 1
    humidity_ok = dew <= dew_max and ratio <= limit * saturation_ratio_at(dry, kpa)
    if dry < back and (humidity_ok or back > VENT_C):
        return dry, 0.0, 1
    return back, 0.0, 0


@kernel()
def trim_capacity(p, dry, set_c):
    """E22 capacity of all trim units [kW/kW] and the cold side they run at [degC]."""
    cold = set_c - p[P.lift_k]
    return p[P.units] * p[P.unit_pu] * capacity_factor(p, dry, cold), cold


@inlined()
def outside_plant(p, dry, coil, supply_flow, supply, offered, added, is_open, capacity, cold, running):
    """E38 trim cooling, wet stage and what leaves with the exhaust.

    Returns:
        units running, compressor power, pump power, heat that left the site, water [L/h].
    """
    units, least, eir = p[P.units], p[P.min_load], p[P.eir]
    pump_pu, make_up = p[P.other_pump_pu], p[P.make_up]
    lifted = energy_input(max(dry, p[P.head_floor_c]), cold, p[P.eir_loss], p[P.eir_lift])
    heat = max(coil, 0.0)
    trim = min(supply_flow * max(offered - supply, 0.0), heat) if is_open == 1 else heat
    running = staged(running, trim, capacity / units, units, units, least)
    power = trim * eir * lifted
    pump, water = 0.0, 0.0
    if added > 0.0 and heat > 0.0:
        pump = pump_pu
        water = supply_flow / CP_AIR * added * 3600.0 * make_up
    return running, power, pump, coil + power + pump, water


@inlined()
def air_unit(p, dry, coil, set_c):
    """E43 residual air side of a liquid-cooled zone: a small chiller with free cooling.

    Returns:
        compressor power, pump power, heat that left the site.
    """
    heat = max(coil, 0.0)
    free = min(max((set_c + 2.0 - (dry + 6.0)) / 10.0, 0.0), 1.0)
    lifted = energy_input(max(dry, p[P.head_floor_c]), set_c - 8.0, p[P.eir_loss], p[P.eir_lift])
    power = heat * (1.0 - free) * p[P.eir] * lifted
    pump = p[P.air_unit_pump] * heat
    return power, pump, coil + power + pump
