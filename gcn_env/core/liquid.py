"""Archetype d (and e): coolant loop, heat exchanger, dry cooler with adiabatic pads, trim chiller (E39-E42).

Powers kW per kW of design IT power, flows kW/K per kW, temperatures degC, make-up water L/h per kW.
"""

from __future__ import annotations

from gcn_env.core.air import LATENT_KJ_PER_KG
from gcn_env.core.compressor import (
    available,
    capacity_factor,
    energy_input,
    pump_share,
    staged,
    wanted,
)
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant_table import PLANT
from gcn_env.core.thermal import raised, shared_fans

P = PLANT.ix
PULL_DOWN_PU = 0.5  # most heat taken from a warm loop beyond its load [E]
TCS_SHARE = 0.55  # of rated pump power: coolant side; the rest is the facility side
G_LOW = 0.1  # least dry-cooler fan fraction
G_EDGE = G_LOW**0.75
REUSED_MOST = 0.9  # E43 share of the coolant's heat that a heat network can take


@kernel()
def pads_air(p, dry, wet):
    """E41 air entering the dry cooler [degC] and its drop through the pads [K]."""
    drop = p[P.wet_share] * max(dry - wet, 0.0) if dry > p[P.wet_from_c] else 0.0
    return dry - drop, drop


@kernel()
def dry_cooler(approach, load, water, air, fans):
    """E41 fan fraction and the water [degC] it reaches.

    Args:
        approach: K by design.
        load: heat over design heat.
        water: degC wanted.
        air: degC entering the cooler.
        fans: share of the fans in service.
    """
    full = approach * load
    span = max(water - air, 0.3)
    ratio = full / span
    if ratio <= G_EDGE:
        return G_LOW, max(water, air + span)
    g = 1.0 if ratio >= 1.0 else raised(ratio, 1.0 / 0.75)
    if g > fans:
        g = max(fans, G_LOW)
        return g, air + full * raised(g, -0.75)
    return g, air + max(span, full)


@inlined()
def liquid_plant(p, dt, dry, wet, heat, loop, set_c, tcs, fws, running, timer, powered, units, left, demand):
    """One plant sub-step of `dt` s of the coolant loop.

    The dry cooler holds the set-point while it can; the share of the water range that it misses goes to the
    trim chiller; what that cannot take warms the loop, solved at the end of the sub-step.

    Args:
        p: parameters.
        dt: s.
        dry: degC.
        wet: degC.
        heat: of the chips into the coolant.
        loop: degC coolant supply.
        set_c: degC coolant set-point.
        tcs: coolant flow fraction.
        fws: facility-water flow fraction.
        running: trim chillers running.
        timer: stage timer [s].
        powered: whether chillers and dry cooler have power.
        units: trim chillers in service.
        left: share of dry-cooler fans in service, factor on the exchanger's conductance (fouling).
        demand: heat that a heat network would take (E43); it does where the coolant's return is hot enough.

    Returns:
        loop [degC], trim chillers running, stage timer [s]; power of compressors, coolant pumps, facility pumps, fans;
        heat taken by the dry cooler, by chillers, by the heat network, heat that left the site by plant; water [L/h].
    """
    fans_left, clean = left
    share = p[P.liquid_share]
    pump_in = p[P.loop_pump_pu] * TCS_SHARE * pump_share(tcs)
    pump_out = p[P.loop_pump_pu] * (1.0 - TCS_SHARE) * pump_share(fws)
    into = heat + pump_in
    store = p[P.loop_kj] / dt
    if not powered:
        # facility water still turns over; its pump heat stays in it and leaves later through the cooler's surface
        return loop + into / store, 0, timer, 0.0, pump_in, pump_out, 0.0, 0.0, 0.0, 0.0, pump_out, 0.0
    flowing = min(5.0 * min(tcs, fws), 1.0)  # below a fifth of full flow the exchanger starves
    most = (into + PULL_DOWN_PU) * flowing
    back = loop + heat / (max(tcs, 0.05) * p[P.loop_flow])
    reused = min(demand, REUSED_MOST * heat, most) if back >= p[P.reuse_min_c] else 0.0
    need = max(min(into - reused + store * (loop - set_c), most - reused), 0.0)
    target = loop + (into - reused - need) / store
    load = need / share
    exchanger = p[P.exchanger_k] * raised(max(fws, 0.2), -0.6) / clean  # E39
    facility = target - exchanger * load  # E40
    air, drop = pads_air(p, dry, wet)
    g, reached = dry_cooler(p[P.approach_k], load, facility, air, fans_left)
    trim = need * min(max((reached - facility) / p[P.trim_range_k], 0.0), 1.0)
    cold = max(facility, 5.0)
    unit = p[P.unit_pu] * capacity_factor(p, dry, cold)
    asked = wanted(running, trim, unit, units, units, p[P.min_load])
    running, timer = staged(p, running, timer, dt, asked, units)
    chilled = min(trim, available(p, running, timer, dt) * unit)
    taken = need
    if chilled < trim:
        through = share * flowing / (exchanger + p[P.approach_k] * raised(g, -0.75))
        end = (store * loop + into - reused - chilled + through * air) / (store + through)
        if end < air:
            end = loop + (into - reused - chilled) / store
        taken = min(into - reused + store * (loop - end), need)
    power = 0.0
    if chilled > 0.0:
        lifted = energy_input(max(dry, p[P.head_floor_c]), cold, p[P.eir_loss], p[P.eir_lift])
        power = chilled * p[P.eir] * lifted
    fans = p[P.reject_fan_pu] * shared_fans(g, fans_left)
    water = drop * p[P.dry_flow] * g * (3600.0 / LATENT_KJ_PER_KG) * p[P.make_up]
    loop += (into - reused - taken) / store
    out = taken + power + pump_out + fans
    return loop, running, timer, power, pump_in, pump_out, fans, taken - chilled, chilled, reused, out, water
