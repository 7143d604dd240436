"""Archetype d (and e): coolant loop, heat exchanger, dry cooler with adiabatic pads, trim chiller (E39-E42).

Powers kW per kW of design IT power, flows kW/K per kW, temperatures degC, make-up water L/h per kW.
"""

from __future__ import annotations

from gcn_env.core.air import LATENT_KJ_PER_KG
from gcn_env.core.compressor import capacity_factor, energy_input, pump_share, staged
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT
from gcn_env.core.thermal import cubic_fan, raised

P = PLANT.ix
PULL_DOWN_PU = 0.5  # most heat taken from a warm loop beyond its load [E]
TCS_SHARE = 0.55  # of rated pump power: coolant side; the rest is the facility side
G_LOW = 0.1  # least dry-cooler fan fraction
G_EDGE = G_LOW**0.75


@kernel()
def pads_air(p, dry, wet):
    """E41 air entering the dry cooler [degC] and its drop through the pads [K]."""
    drop = p[P.wet_share] * max(dry - wet, 0.0) if dry > p[P.wet_from_c] else 0.0
    return dry - drop, drop


@kernel()
def dry_cooler(approach, load, water, air):
    """E41 fan fraction and the water [degC] it reaches; `water` is wanted, `air` enters the cooler [degC]."""
    full = approach * load
    span = max(water - air, 0.3)
    ratio = full / span
    if ratio >= 1.0:
        return 1.0, air + full
    if ratio <= G_EDGE:
        return G_LOW, max(water, air + span)
    return raised(ratio, 1.0 / 0.75), air + span


@inlined()
def liquid_plant(p, dt, dry, wet, heat, loop, set_c, tcs, fws, running):
    """One plant sub-step of `dt` s of the coolant loop.

    The dry cooler holds the set-point while it can; the share of the water range that it misses goes to the
    trim chiller; what that cannot take warms the loop, solved at the end of the sub-step.

    Returns:
        loop [degC], trim units running, compressor, pump and fan power, heat that left the site, water [L/h].
    """
    share = p[P.liquid_share]
    pump_in = p[P.loop_pump_pu] * TCS_SHARE * pump_share(tcs)
    pump_out = p[P.loop_pump_pu] * (1.0 - TCS_SHARE) * pump_share(fws)
    into = heat + pump_in
    store = p[P.loop_kj] / dt
    need = max(min(into + store * (loop - set_c), into + PULL_DOWN_PU), 0.0)
    target = loop + (into - need) / store
    load = need / share
    exchanger = p[P.exchanger_k] * raised(max(fws, 0.2), -0.6)  # E39
    facility = target - exchanger * load  # E40
    air, drop = pads_air(p, dry, wet)
    g, reached = dry_cooler(p[P.approach_k], load, facility, air)
    trim = need * min(max((reached - facility) / p[P.trim_range_k], 0.0), 1.0)
    cold = max(facility, 5.0)
    unit = p[P.unit_pu] * capacity_factor(p, dry, cold)
    units = p[P.units]
    running = staged(running, trim, unit, units, units, p[P.min_load])
    chilled = min(trim, running * unit)
    taken = need
    if chilled < trim:
        through = share / (exchanger + p[P.approach_k])
        end = (store * loop + into - chilled + through * air) / (store + through)
        if end < air:
            end = loop + (into - chilled) / store
        taken = min(into + store * (loop - end), need)
    power = 0.0
    if chilled > 0.0:
        lifted = energy_input(max(dry, p[P.head_floor_c]), cold, p[P.eir_loss], p[P.eir_lift])
        power = chilled * p[P.eir] * lifted
    fans = p[P.reject_fan_pu] * cubic_fan(g)
    water = drop * p[P.dry_flow] * g * (3600.0 / LATENT_KJ_PER_KG) * p[P.make_up]
    left = taken + power + pump_out + fans
    return loop + (into - taken) / store, running, power, pump_in + pump_out, fans, left, water
