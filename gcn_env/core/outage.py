"""Loss of supply, trips and faults of plants as courses in time (E55, E57).

`integrate` hands a region over to `walk` while its supply is out, while its nodes or compressors come back, and when a
hall warms fast. There the control step is walked in sub-steps of 30 s (2.5 s in the hall): UPS strings carry the load
without compressors until a generator takes over; the hall warms; chips throttle at the next control step, and nodes
stop for heat, or when the strings are empty. Nodes boot `RESTART_H` after power and inlet are back. The clock of
running nodes holds for a control step, as their work does.
"""

from __future__ import annotations

import math

from gcn_env.core.execution import kill, pace_of, shortfall
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import INFERENCE
from gcn_env.core.plant import AWAKE_FLOOR, DARK, NORMAL, NOTHING, ON_UPS, advance, drawn
from gcn_env.core.plant_table import PLANT
from gcn_env.core.power import HEAT_FLOOR
from gcn_env.core.state import CARRIES, FAULTS, PENDING, RUNNING, STARTS
from gcn_env.ledger import COUNTS, FLOWS, TERMS

P = PLANT.ix
C = COUNTS.ix
F = FLOWS.ix
T = TERMS.ix
FINE_S = 30.0  # s of a plant sub-step while things move fast
FINE_ZONES = (
    12  # zone sub-steps of each: half of both moves a loss of cooling by less than 0.15 K after a minute
)
RUSH_K = (
    5.0  # rise or fall of hall air in a control step above which it is walked: 1 K/min for a coarse sub-step
)
GENERATOR_S = 22.0  # E55 start 12 s, ramp 10 s; the strings carry the load so long
GENERATOR_LEAST = 0.3  # E55 least load over rating; a load bank takes the rest
FUEL_IDLE, FUEL_LOAD = 0.03, 0.25  # E55 L/h per kW of rating, L/kWh
TRIP_HOLD_S = 60.0  # s that the inlet is above its limit before nodes stop
RESTART_H = 1.0 / 6.0  # h at idle power until nodes run again
RESTART_K = 5.0  # K below the trip limit at which nodes may boot [E]
CHARGE_SHARE = 0.1  # power that recharges the strings, over the design load [E]
CHARGE_KEPT = 0.85  # of the energy that recharges them [E]
FAN, COMPRESSOR, PUMP, TOWER, FOULING = (
    FAULTS.index(f) for f in ("fan", "compressor", "pump", "tower", "fouling")
)
FAN_LEFT = 5.0 / 6.0  # one of six air handlers lost [E]
PUMP_LEFT = 0.6  # one of two pumps on a common main lost [E]
TOWER_LEFT = 2.0 / 3.0  # one of three cells' fans lost [E]
COIL_LEFT = 0.9  # fouling


@inlined()
def wear_of(fault_h):
    """Health of a plant with faults: air handlers, compressors out, pumps, tower fans, coils; see `plant.advance`."""
    return (
        FAN_LEFT if fault_h[FAN] > 0.0 else 1.0,
        1.0 if fault_h[COMPRESSOR] > 0.0 else 0.0,
        PUMP_LEFT if fault_h[PUMP] > 0.0 else 1.0,
        TOWER_LEFT if fault_h[TOWER] > 0.0 else 1.0,
        COIL_LEFT if fault_h[FOULING] > 0.0 else 1.0,
    )


@kernel()
def plus(a, b):
    """Sum of two of `advance`'s energies."""
    return (
        a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5], a[6] + b[6],
        a[7] + b[7], a[8] + b[8], a[9] + b[9], a[10] + b[10], a[11] + b[11], a[12] + b[12], a[13] + b[13],
        a[14] + b[14], a[15] + b[15], a[16] + b[16], a[17] + b[17], a[18] + b[18], a[19] + b[19], a[20] + b[20],
    )  # fmt: skip


@kernel()
def fuel_l(kw, rating_kw, hours):
    """E55 fuel [L] of a generator."""
    return (FUEL_IDLE * rating_kw + FUEL_LOAD * max(kw, GENERATOR_LEAST * rating_kw)) * hours


@kernel()
def hot_enough_to_stop(p, chip, hot_s):
    """Section 1.8: chip above throttling by the trip margin, or the inlet above its limit for `hot_s` seconds."""
    return chip > p[P.throttle_c] + p[P.trip_k] or hot_s >= TRIP_HOLD_S


@kernel()
def cool_enough_to_boot(p, inlet, chip):
    """Whether nodes that stopped may boot."""
    return inlet < p[P.trip_inlet_c] - RESTART_K and chip < p[P.throttle_c]


@kernel()
def walk(b, r, p, weather, node, awake, command, wear, wanted, state, dt_s, plants, site, flows):
    """One control step of region `r` in fine sub-steps.

    Books generator, strings and fuel; moves what the region knows of its outage. `throttle` becomes 0 in the step in
    which nodes stop.

    Args:
        b: environment.
        r: region.
        p: its parameters.
        weather: as in `advance`.
        node: node power of the step, or of booting nodes where they are down, nameplate = 1.
        awake: share of nameplate awake.
        command: the three cooling heads' set-points.
        wear: health by `wear_of`.
        wanted: heat wanted by a heat network (last entry of `advance`'s health).
        state: as in `advance`.
        dt_s: s.
        plants: the batch's plants.
        site: supply of regions.
        flows: the step's flows.

    Returns:
        as `advance`.
    """
    fans, out, pumps, tower, coil = wear
    scale = p[P.design_kw]
    out_s, down_s, lock_s = plants.outage_h[b, r] * 3600.0, plants.down_h[b, r] * 3600.0, plants.lock_s[b, r]
    held, stands, rating = plants.ups_kwh[b, r] * 3600.0, site.ups_fans[r], site.generator_kw[r]
    generator, takes_over = int(plants.generator[b, r]), 0.0
    if generator == STARTS:
        takes_over = GENERATOR_S
    e, starts, hot, chip, factor = NOTHING, 0, plants.hot_c[b, r], plants.chip_c[b, r], 1.0
    t, hot_s, still_s, stops = 0.0, 0.0, 0.0, False
    while t < dt_s - 1e-6:
        grid = t >= out_s - 1e-6
        carried = not grid and generator > 0 and t >= takes_over - 1e-6
        h = min(FINE_S, dt_s - t)
        if not grid:
            h = min(h, out_s - t)
            if generator > 0 and not carried:
                h = min(h, takes_over - t)
        powered, up = grid or carried, down_s <= 0.0
        boots = not up and not stops and powered and cool_enough_to_boot(p, state[2], chip)
        load, on = (node, awake) if up or boots else (0.0, AWAKE_FLOOR)
        mode, left = (NORMAL, 1.0) if powered else (ON_UPS if up else DARK, stands)
        health = (mode, fans * left, out, pumps * left, tower, coil, wanted)
        after, de, more, h_hot, h_chip, h_factor = advance(
            p, weather, load, on, command, health, state, h, 1, FINE_ZONES
        )
        if not grid and mode > DARK:
            need = drawn(de) * scale
            made = min(need, rating * h) if carried else 0.0
            if need - made > held and carried:  # overloaded: the strings carry on alone
                generator = 0
                continue
            if need - made > held:
                down_s, stops = RESTART_H * 3600.0, True
                continue
            held -= need - made
            flows[b, r, F.storage_out] += (need - made) / 3600.0
            if carried:
                flows[b, r, F.generator] += made / 3600.0
                flows[b, r, F.fuel] += fuel_l(made / h, rating, h / 3600.0)
                generator = CARRIES
        state, e, starts, hot, chip, factor = after, plus(e, de), starts + more, h_hot, h_chip, h_factor
        hot_s = hot_s + h if state[2] > p[P.trip_inlet_c] else 0.0
        still_s += 0.0 if up or boots else h
        down_s -= h if boots else 0.0
        lock_s = max(0.0, lock_s - h) if powered else p[P.restart_s]
        if up and hot_enough_to_stop(p, chip, hot_s):
            down_s, stops = RESTART_H * 3600.0, True
        t += h
    plants.down_h[b, r] = max(0.0, down_s / 3600.0) if down_s > 1e-3 else 0.0
    plants.still_h[b, r], plants.lock_s[b, r] = still_s / 3600.0, lock_s
    plants.ups_kwh[b, r] = held / 3600.0
    plants.generator[b, r] = generator if out_s > dt_s else 0
    return state, e, starts, hot, chip, 0.0 if stops else max(factor, HEAT_FLOOR)


@inlined()
def recharge(b, r, design_kw, dt_h, plants, site, flows):
    """The grid refills the strings of region `r` once it is back."""
    short, hours = site.ups_kwh[r] - plants.ups_kwh[b, r], dt_h - plants.outage_h[b, r]
    if short > 0.0 and hours > 0.0:
        taken = min(short / CHARGE_KEPT, CHARGE_SHARE * design_kw * hours)
        plants.ups_kwh[b, r] += taken * CHARGE_KEPT
        flows[b, r, F.storage_in] += taken
        flows[b, r, F.storage_loss] += taken * (1.0 - CHARGE_KEPT)


@inlined()
def _undo(b, j, now, hours, jobs, pools, fleet, geo, ledger):
    """Job `j` did not run in the last `hours` h before `now`: neither work nor checkpoints nor service of them count.

    Device-hours held and work done stay booked; the work is lost when the job is killed.
    """
    p, hours = jobs.pool[b, j], min(hours, now - jobs.ready[b, j])
    if hours <= 0.0:
        return
    short = hours * pace_of(b, j, jobs, pools) - jobs.unsaved[b, j]
    if short > 1e-12 and jobs.checkpoint[b, j] > 0.0:
        jobs.unsaved[b, j] += jobs.checkpoint[b, j] * math.ceil(short / jobs.checkpoint[b, j] - 1e-9)
    if jobs.kind[b, j] == INFERENCE:
        missed, paid = shortfall(b, j, p, jobs, pools, fleet, geo)
        ledger.counts[b, C.slo_miss] += hours * (1.0 - missed)
        ledger.terms[b, T.slo] += hours * (1.0 - paid) * jobs.value[b, j]


@inlined()
def drop_region(b, r, now, dark_h, jobs, pools, plants, fleet, geo, ledger):
    """Nodes of region `r` stopped `dark_h` h before hour `now`: jobs are lost to their last checkpoint before that."""
    ledger.counts[b, C.trips] += 1.0
    plants.down_h[b, r] = max(plants.down_h[b, r], RESTART_H)
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] != PENDING and fleet.region[jobs.pool[b, j]] == r:
            if jobs.status[b, j] == RUNNING and dark_h > 0.0:
                _undo(b, j, now, dark_h, jobs, pools, fleet, geo, ledger)
            kill(b, j, jobs, pools, fleet, ledger)
