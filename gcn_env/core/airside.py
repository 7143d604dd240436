"""Air-side plants: outdoor air with a wet stage and trim (c: E34-E38), and air-cooled cooling units.

Those are direct-expansion units (a, f: E30-E33) and the residual air unit of liquid-cooled halls (d, e: E43), the same
kernel with other parameters. Powers kW per kW of design IT power, flows kW/K per kW, temperatures degC, make-up water
L/h per kW.
"""

from __future__ import annotations

from gcn_env.core.air import CP_AIR, LATENT_KJ_PER_KG, saturation_ratio_at
from gcn_env.core.compressor import available, capacity_factor, energy_input, staged, wanted
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT

P = PLANT.ix
VENT_C = 45.0  # return air above which dampers open whatever the humidity [E]
STEAM_KJ_PER_KG = 2700.0  # electric steam humidifier: water of 10 degC to steam


@inlined()
def outdoor_air(p, dry, wet, dew, ratio, set_c, back, stage):
    """E34-E37: the air the dampers can offer.

    A wet stage that runs wets at least `wet_least` of its media; what it then cools below the set-point is mixed with
    return air. Outdoor air drier than `ratio_min` is humidified to it where it is mixed in (winter).

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
        temperature offered [degC], moisture added per supply air [kg/kg], dampers open (1) or shut (0).
    """
    limit, kpa, ratio_max = p[P.humid_max], p[P.kpa], p[P.ratio_max]
    dew_max, wet_share = p[P.dew_max_c], p[P.wet_share]
    if dry <= set_c:
        ok = ratio <= ratio_max and set_c < back and ratio <= limit * saturation_ratio_at(set_c, kpa)
        lacks = max(p[P.ratio_min] - ratio, 0.0) * (back - set_c) / (back - dry) if ok else 0.0
        return (dry, lacks, 1) if ok else (back, 0.0, 0)
    depth = wet_share * stage * max(dry - wet, 0.0)
    drop = max(min(depth, dry - set_c), depth * p[P.wet_least])
    pre = dry - drop
    added = CP_AIR / LATENT_KJ_PER_KG * drop
    total = ratio + added
    if pre < back and total <= ratio_max and total <= limit * saturation_ratio_at(max(pre, set_c), kpa):
        return pre, added * min((back - set_c) / (back - pre), 1.0), 1
    humidity_ok = dew <= dew_max and ratio <= limit * saturation_ratio_at(dry, kpa)
    if dry < back and (humidity_ok or back > VENT_C):
        return dry, 0.0, 1
    return back, 0.0, 0


@kernel()
def sensible_share(p, set_c):
    """E31 sensible share of a direct-expansion coil: it dries the hall where supply is cold."""
    return min(max(1.0 - p[P.latent_slope] * max(14.0 - set_c, 0.0), 0.75), 1.0)


@inlined()
def unit_bank(p, dry, set_c, demand, running, timer, dt, units):
    """E22 staging of air-cooled units that take the sensible heat `demand`, and their sensible capacity.

    Returns:
        capacity, units running, stage timer [s].
    """
    share = sensible_share(p, set_c)
    hot = dry + p[P.hot_offset_k]
    unit = p[P.unit_pu] * capacity_factor(p, hot, set_c - p[P.lift_k]) * share
    asked = wanted(running, demand, unit, units, units, p[P.min_load])
    running, timer = staged(p, running, timer, dt, asked, units)
    return available(p, running, timer, dt) * unit, running, timer


@inlined()
def outside_plant(p, dry, coil, supply_flow, supply, set_c, offered, added, is_open):
    """E38 trim cooling, wet stage and what leaves with the exhaust.

    Returns:
        compressor power, pump power, heat taken by outdoor air, by trim, water [L/h].
    """
    heat = max(coil, 0.0)
    trim = min(supply_flow * max(offered - supply, 0.0), heat) if is_open == 1 else heat
    power = 0.0
    if trim > 0.0:
        hot = max(dry + p[P.hot_offset_k], p[P.head_floor_c])
        power = trim * p[P.eir] * energy_input(hot, set_c - p[P.lift_k], p[P.eir_loss], p[P.eir_lift])
    pump, water = 0.0, 0.0
    if added > 0.0 and heat > 0.0:
        pump = p[P.other_pump_pu]
        water = supply_flow / CP_AIR * added * 3600.0 * p[P.make_up]
    return power, pump, coil - trim, trim, water


@inlined()
def air_unit(p, dry, ratio, coil, set_c, capacity, powered):
    """E30-E33, E43 direct-expansion units, or the residual air unit: a small chiller with free cooling.

    The coil takes latent heat beside the sensible; humidifiers put `rehumidify` of that moisture back, and what
    ventilation lacks below `ratio_min`, as steam.

    Args:
        p: parameters.
        dry: degC outdoor dry bulb.
        ratio: kg/kg outdoor humidity ratio.
        coil: sensible heat taken from the hall.
        set_c: degC supply set-point.
        capacity: sensible capacity of the units that run.
        powered: whether compressors and humidifiers have power.

    Returns:
        compressor power, pump power, humidifier power, heat taken free, by compressors, water [L/h].
    """
    heat = max(coil, 0.0)
    free = heat * min(max((set_c - 4.0 - dry) / 10.0, 0.0), 1.0) * p[P.unit_free]
    left = heat - free
    power, steam = 0.0, 0.0
    if powered:
        total = left / sensible_share(p, set_c)
        hot = max(dry + p[P.hot_offset_k], p[P.head_floor_c])
        lifted = energy_input(hot, set_c - p[P.lift_k], p[P.eir_loss], p[P.eir_lift])
        cycling = p[P.cycling]
        if cycling > 0.0:
            lifted /= 1.0 - cycling + cycling * min(left / max(capacity, 1e-9), 1.0)
        power = total * p[P.eir] * lifted
        steam = p[P.fresh_air] * max(p[P.ratio_min] - ratio, 0.0) * STEAM_KJ_PER_KG
        steam += (total - left) * p[P.rehumidify] * (STEAM_KJ_PER_KG / LATENT_KJ_PER_KG)
    water = steam * (3600.0 / STEAM_KJ_PER_KG) * p[P.make_up]
    return power, p[P.air_unit_pump] * heat, steam, coil - left, left, water
