"""Compressors of every kind by one formula (E20-E22), their staging, and variable pumps (E23)."""

from __future__ import annotations

from gcn_env.core.jit import kernel
from gcn_env.core.plant_table import PLANT

P = PLANT.ix
IDLE_PU = 0.001  # load share below which the last machine stops: storage in the loop carries it
START_PU = 0.02  # load share above which the first machine starts
STAGE_BAND = 0.1  # hysteresis of staging around the least load


@kernel()
def energy_input(hot, cold, loss, lift):
    """E20 power per capacity over its value at rating; `hot` entering, `cold` leaving [degC]."""
    return loss + lift * max(hot - cold + 8.0, 12.0) / (max(cold, -40.0) + 271.65)


@kernel()
def part_load(x):
    """E21 power fraction of a variable-speed machine at load fraction `x`; linear (cycling) below 0.2."""
    y = max(x, 0.2)
    return (0.123 + 0.069 * y + 0.808 * y * y) * min(1.0, x * 5.0)


@kernel()
def capacity_factor(p, hot, cold):
    """E22 capacity over rating."""
    f = 1.0 + p[P.cold_slope] * (cold - p[P.cold_ref_c]) + p[P.hot_slope] * (hot - p[P.hot_ref_c])
    return min(max(f, p[P.cap_low]), p[P.cap_high])


@kernel()
def staged(running, load, unit, units, preferred, least):
    """Machines of the local controller after at most one start or stop.

    As many as `preferred` that each carry at least `least` of their capacity (sharing load saves power, E21),
    more where capacity asks for it; a band of 10 % keeps a load at the boundary from starting and stopping
    them.

    Args:
        running: machines running.
        load: heat to take.
        unit: capacity of one machine now, same unit.
        units: machines installed.
        preferred: machines that share the load where it is not more than they carry.
        least: least load share of each.
    """
    asked = 0
    if load > START_PU or (running > 0 and load > IDLE_PU):
        share = load / unit
        must = int(min(share, units)) + 1
        asked = int(min(share * (1.0 / least), preferred))
        keeps = preferred >= running > asked and share > (1.0 - STAGE_BAND) * least * running
        waits = asked > running and share < (1.0 + STAGE_BAND) * least * (running + 1)
        asked = running if keeps or waits else asked
        asked = min(max(asked, must, 1), int(units))
    return running + min(max(asked - running, -1), 1)


@kernel()
def pump_share(flow):
    """E23 pump power over rated power at a flow fraction, 30 % of the head static."""
    return flow * (0.3 + 0.7 * flow * flow)
