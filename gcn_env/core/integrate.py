"""The plant phase of a control step over environments and regions, and its start.

`integrate` gathers a region's numbers, `plant.advance` moves them through the sub-steps, `integrate` writes them back
and books them. `plant` works per kW of design IT power; only this module multiplies by it.
"""

from __future__ import annotations

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.liquid import pads_air
from gcn_env.core.outage import RUSH_K, recharge, walk, wear_of
from gcn_env.core.plant import (
    AWAKE_FLOOR,
    E_AIR_FANS,
    E_COMPRESSORS,
    E_EXCURSION,
    E_HEAT,
    E_HUMIDIFIERS,
    E_IT,
    E_LEAKAGE,
    E_MISC,
    E_PDU,
    E_PUMPS,
    E_REJECTION,
    E_REMOVED,
    E_REUSED,
    E_SERVER_FANS,
    E_THROTTLED,
    E_UPS,
    E_WATER,
    NORMAL,
    NOTHING,
    advance,
    at_rest,
    cooling,
    drawn,
    margin,
    node_energy,
    stored,
)
from gcn_env.core.plant_table import PLANT
from gcn_env.core.state import DEW, DRY, HUMID, WET
from gcn_env.core.supply import heat_wanted
from gcn_env.ledger import FLOWS

P = PLANT.ix
F = FLOWS.ix
OVERHEAD_H = 1.0  # smoothing of `overhead`
OVERHEAD_LOAD = 0.05  # node power over design below which the ratio is taken at this load
OVERHEAD_MAX = 5.0


@kernel()
def smoothed(before, kw, node_kw, design_kw, dt_h):
    """Facility power over node power, exponentially smoothed over `OVERHEAD_H`, within 1..`OVERHEAD_MAX`."""
    now = min(max(kw / max(node_kw, OVERHEAD_LOAD * design_kw), 1.0), OVERHEAD_MAX)
    if before < 1.0:
        return now
    return before + (now - before) * (dt_h / (dt_h + OVERHEAD_H))


@inlined()
def write_back(b, r, p, state, e, dt_s, on, hot, chip, factor, plants):
    """Where a plant is after `dt_s` s, from what `advance` returns, and its mean powers [kW] over them."""
    design = p[P.design_kw]
    plants.mass_c[b, r], plants.air_c[b, r], plants.inlet_c[b, r] = state[0], state[1], state[2]
    plants.supply_c[b, r], plants.loop_c[b, r], plants.fan[b, r] = state[3], state[4], state[5]
    plants.compressor[b, r] = state[6]
    plants.actual[b, r, 0], plants.actual[b, r, 1], plants.actual[b, r, 2] = state[7], state[8], state[9]
    plants.cond_c[b, r], plants.timer_s[b, r], plants.structure_c[b, r] = state[10], state[11], state[12]
    plants.hot_c[b, r], plants.chip_c[b, r], plants.throttle[b, r] = hot, chip, factor
    plants.limit_gap[b, r] = margin(p, hot, state[4], chip)
    plants.air_need[b, r] = on * state[5] * p[P.server_flow] / p[P.supply_flow]
    plants.it_kw[b, r], plants.cool_kw[b, r] = e[E_IT] / dt_s * design, cooling(e) / dt_s * design


@kernel()
def integrate(lo, hi, dt_h, n_plant, n_zone, plants, signals, pp, site, ledger):
    """Advance zones and plants of environments `lo`..`hi`-1 by one control step and add to `ledger.flows`.

    A region whose supply is out, whose nodes or compressors come back, or whose hall moves fast is walked finely.

    Args:
        lo: first environment.
        hi: past the last environment.
        dt_h: control step [h].
        n_plant: plant sub-steps in it.
        n_zone: zone sub-steps in each of those.
        plants: reads `awake`, `command`, `outage_h`, `fault_h`; moves `node_kw` where nodes stop, all other thermal
            fields, and what the region knows of its outage.
        signals: reads `now`.
        pp: `PlantParams`.
        site: strings and generators.
        ledger: `flows` are added to (kWh, L, K h, h, starts); not `idle`, `grid`, `carbon`, `busy`.
    """
    values, now, flows = pp.values, signals.now, ledger.flows
    node_kw, awake, command, actual = plants.node_kw, plants.awake, plants.command, plants.actual
    mass_c, air_c, inlet_c, supply_c = plants.mass_c, plants.air_c, plants.inlet_c, plants.supply_c
    loop_c, fan, compressor = plants.loop_c, plants.fan, plants.compressor
    cond_c, timer_s, structure_c = plants.cond_c, plants.timer_s, plants.structure_c
    overhead, outage_h = plants.overhead, plants.outage_h
    down_h, lock_s, still_h, ups_kwh = plants.down_h, plants.lock_s, plants.still_h, plants.ups_kwh
    n_variants, n_regions, dt_s = values.shape[0], values.shape[1], dt_h * 3600.0
    for b in range(lo, hi):
        v = 0 if n_variants == 1 else b % n_variants
        for r in range(n_regions):
            p = values[v, r]
            design = p[P.design_kw]
            scale = design / 3600.0
            before = (
                mass_c[b, r], air_c[b, r], inlet_c[b, r], supply_c[b, r], loop_c[b, r], fan[b, r],
                int(compressor[b, r]), actual[b, r, 0], actual[b, r, 1], actual[b, r, 2],
                cond_c[b, r], timer_s[b, r], structure_c[b, r],
            )  # fmt: skip
            weather = (now[b, r, DRY], now[b, r, WET], now[b, r, DEW], now[b, r, HUMID])
            node = node_kw[b, r] / design
            on = min(max(awake[b, r], node, AWAKE_FLOOR), 1.0)
            wear = wear_of(plants.fault_h[b, r])
            wanted = heat_wanted(site.reuse_kw[r], weather[0]) / design if site.reuse_kw[r] > 0.0 else 0.0
            commands = (command[b, r, 0], command[b, r, 1], command[b, r, 2])
            still_h[b, r] = 0.0
            rough = outage_h[b, r] > 0.0 or down_h[b, r] > 0.0 or lock_s[b, r] > 0.0
            state, e, starts, hot, chip, factor = before, NOTHING, 0, 0.0, 0.0, 1.0
            if not rough:
                state, e, starts, hot, chip, factor = advance(
                    p,
                    weather,
                    node,
                    on,
                    commands,
                    (NORMAL, wear[0], wear[1], wear[2], wear[3], wear[4], wanted),
                    before,
                    dt_s,
                    n_plant,
                    n_zone,
                )
                rough = factor <= 0.0 or abs(state[1] - before[1]) > RUSH_K
            if rough:
                state, e, starts, hot, chip, factor = walk(
                    b,
                    r,
                    p,
                    weather,
                    node,
                    on,
                    commands,
                    wear,
                    wanted,
                    before,
                    dt_s,
                    plants,
                    site,
                    flows,
                )
            if still_h[b, r] > 0.0:
                kw = node_energy(e) / dt_s * design
                flows[b, r, F.idle] *= kw / max(node_kw[b, r], 1e-12)
                node_kw[b, r] = kw
            if ups_kwh[b, r] < site.ups_kwh[r]:
                recharge(b, r, design, dt_h, plants, site, flows)
            flows[b, r, F.it] += e[E_IT] * scale
            flows[b, r, F.server_fans] += e[E_SERVER_FANS] * scale
            flows[b, r, F.leakage] += e[E_LEAKAGE] * scale
            flows[b, r, F.air_fans] += e[E_AIR_FANS] * scale
            flows[b, r, F.compressors] += e[E_COMPRESSORS] * scale
            flows[b, r, F.pumps] += e[E_PUMPS] * scale
            flows[b, r, F.rejection] += e[E_REJECTION] * scale
            flows[b, r, F.humidifiers] += e[E_HUMIDIFIERS] * scale
            flows[b, r, F.ups_loss] += e[E_UPS] * scale
            flows[b, r, F.pdu_loss] += e[E_PDU] * scale
            flows[b, r, F.misc] += e[E_MISC] * scale
            flows[b, r, F.heat_removed] += e[E_REMOVED] * scale
            flows[b, r, F.heat_reused] += e[E_REUSED] * scale
            flows[b, r, F.heat_rejected] += e[E_HEAT] * scale
            flows[b, r, F.water] += e[E_WATER] * design
            flows[b, r, F.excursion] += e[E_EXCURSION] / 3600.0
            flows[b, r, F.throttled] += e[E_THROTTLED] / 3600.0
            flows[b, r, F.starts] += starts
            if node > 0.0 and still_h[b, r] == 0.0:
                kw = drawn(e) / dt_s * design
                overhead[b, r] = smoothed(overhead[b, r], kw, node_kw[b, r], design, dt_h)
            flows[b, r, F.heat_stored] += stored(p, before, state) * scale
            write_back(b, r, p, state, e, dt_s, on, hot, chip, factor, plants)


@kernel()
def rule_commands(p, head_low, head_high, dry, wet):
    """B1's three set-points, within the heads' ranges."""
    air, _ = pads_air(p, dry, wet)
    cold = p[P.rule_cold]
    if p[P.rule_float_k] >= 0.0:
        cold = min(max(air + p[P.rule_float_k], p[P.rule_cold]), p[P.rule_cold_max])
    return (
        min(max(cold, head_low[0]), head_high[0]),
        min(max(p[P.rule_flow], head_low[1]), head_high[1]),
        min(max(p[P.rule_reject], head_low[2]), head_high[2]),
    )


@kernel()
def reset_plants(lo, hi, plants, signals, pp):
    """Steady state of environments `lo`..`hi`-1 under B1 for weather and `node_kw` of now; nothing is booked."""
    values, head_low, head_high, now = pp.values, pp.head_low, pp.head_high, signals.now
    node_kw, awake, command, overhead = plants.node_kw, plants.awake, plants.command, plants.overhead
    n_variants, n_regions, dt_s = values.shape[0], values.shape[1], 7200.0  # `at_rest` returns two hours
    for b in range(lo, hi):
        v = 0 if n_variants == 1 else b % n_variants
        for r in range(n_regions):
            p = values[v, r]
            design = p[P.design_kw]
            weather = (now[b, r, DRY], now[b, r, WET], now[b, r, DEW], now[b, r, HUMID])
            node = node_kw[b, r] / design
            on = min(max(awake[b, r], node, AWAKE_FLOOR), 1.0)
            cmd = rule_commands(p, head_low[v, r], head_high[v, r], weather[0], weather[1])
            state, e, hot, chip, factor = at_rest(p, cmd, weather, node, on)
            for h in range(3):
                command[b, r, h] = cmd[h]
            write_back(b, r, p, state, e, dt_s, on, hot, chip, factor, plants)
            kw = drawn(e) / dt_s * design
            overhead[b, r] = smoothed(0.0, kw, node_kw[b, r], design, 1.0)
