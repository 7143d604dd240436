"""Rows about nodes rather than plants: 32 (power cap) and 33 (Frontier)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gcn_env.core import plant, power
from gcn_env.core.groups import zeros
from gcn_env.core.params import Fleet, Geo
from gcn_env.core.state import N_CLASSES, allocate

from .kernels import P, moist, row_of, settled
from .table import Check, measures, shown, within
from .year import Lab

Measured = tuple[Iterable[Check], str]

# Row 32: V100 of 250 W, capped at 150 W: -13.7 % energy, some +7 % time (R)
CAP_W, TDP_W, SAVED, SLOWER = 150.0, 250.0, 0.137, 0.07
STATIC, BOUND = 0.3, 0.5  # E51 P_s / P_max; E52 share bound by memory or communication of mixed work

# Row 33: Frontier's node in watts, from the RAPS node table; rectifiers E46
NODES, PER_RECTIFIER = 9408, 4
IDLE_W = 90.0 + 4 * 88.0 + 74.0 + 4 * 20.0 + 30.0
PEAK_W = 280.0 + 4 * 560.0 + 74.0 + 4 * 20.0 + 30.0
SUPPLY_C = 30.0  # coolant supply at Frontier, some 29-32 degC (R)


@measures(32)
def power_cap(lab: Lab) -> Measured:
    """E51 and E52 at the published cap."""
    drawn = CAP_W * (1.0 + SLOWER) / (1.0 - SAVED)  # W uncapped: what the published energy and time imply
    clock = power.capped_clock(CAP_W / drawn, STATIC)
    energy = power.power_at(clock, STATIC) / power.speed_at(clock, BOUND)
    whole = power.capped_clock(CAP_W / TDP_W, STATIC)
    checks = [
        within("energy per work", 100.0 * (energy - 1.0), -13.7 - 3.0, -13.7 + 3.0, "%", 1),
        shown("time", 100.0 * (1.0 / power.speed_at(clock, BOUND) - 1.0), "%", 1),
        shown("uncapped draw implied", drawn, "W", 0),
        shown(
            "energy of work that would draw all 250 W",
            100.0 * (power.power_at(whole, STATIC) / power.speed_at(whole, BOUND) - 1.0), "%", 1,
        ),
    ]  # fmt: skip
    return checks, "power.capped_clock, power_at, speed_at with P_s 0.3, half the time bound by memory"


def rectified_kw(node_w: float) -> float:
    """E46 input power [kW] of a node: its own converter, then a rectifier for four."""
    return ((node_w + 13.0) / 0.98 * PER_RECTIFIER + 17.0) / 0.96 / PER_RECTIFIER / 1e3


def frontier_kw(busy_share: float) -> float:
    """E50 node power [kW] of the whole machine with a share of its nodes at full load, the others idle and awake."""
    state = allocate(1, 2, 1, 1, 1, 1)
    fleet = zeros(
        Fleet, 1, region=np.zeros(1, np.int64), reserve=np.ones(1), load=np.zeros((N_CLASSES, 1)),
        idle_kw=np.array([rectified_kw(IDLE_W)]), peak_kw=np.array([rectified_kw(PEAK_W)]),
    )  # fmt: skip
    geo = zeros(Geo, 1, design_kw=np.array([NODES * rectified_kw(PEAK_W)]))
    state.pools.healthy[:] = NODES
    state.pools.drawn[:] = 1.0
    state.pools.awake[:] = NODES
    state.pools.busy_h[:] = state.pools.load_h[:] = busy_share * NODES
    power.node_power(0, 1, 1.0, state.pools, state.plants, fleet, geo, state.ledger)
    return float(state.plants.node_kw[0, 0])


@measures(33)
def frontier(lab: Lab) -> Measured:
    """E50 for the nodes, then archetype d around them."""
    p, air = row_of("d"), moist(15.0, 60.0)
    design = frontier_kw(1.0)
    checks = []
    for name, share, end in (("idle", 0.0, 8.0), ("all nodes at full load", 1.0, 30.0)):
        node = frontier_kw(share) / design
        there = settled(p, air, node, [SUPPLY_C, 1.0, 1.0])
        electric = [plant.E_IT, plant.E_AIR_FANS, plant.E_COMPRESSORS, plant.E_PUMPS, plant.E_REJECTION]
        electric += [plant.E_HUMIDIFIERS, plant.E_UPS, plant.E_PDU, plant.E_MISC]
        megawatt = design / 1e3 * float(there.energy[electric].sum())
        heat = p[P.liquid_share] * float(there.energy[plant.E_IT])
        back = float(there.state[4]) + heat / p[P.loop_flow]
        checks.append(within(f"facility, {name}", megawatt, 0.8 * end, 1.2 * end, "MW", 1))
        checks.append(within(f"return water, {name}", back, 30.0, 38.0, "degC", 1))
        checks.append(shown(f"nodes, {name}", design / 1e3 * node, "MW", 1))
    how = (
        f"power.node_power over {NODES} nodes of {IDLE_W:.0f}-{PEAK_W:.0f} W behind rectifiers (E46), without switches "
        f"and storage; plant.advance of d with coolant supplied at {SUPPLY_C:g} degC (R)"
    )
    return checks, how
