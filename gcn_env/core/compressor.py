"""Compressors of every kind by one formula (E20-E22), their staging with its times, and variable pumps (E23)."""

from __future__ import annotations

from gcn_env.core.jit import kernel
from gcn_env.core.plant_table import PLANT

P = PLANT.ix
IDLE_PU = 0.001  # load share below which the last machine stops: storage in the loop carries it
START_PU = 0.02  # load share above which the first machine starts
STAGE_BAND = 0.05  # hysteresis of staging around the least load; minimum times hold the rest
LONG_S = 86400.0  # the stage timer stops counting here


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
def wanted(running, load, unit, units, preferred, least):
    """Machines the local controller wants.

    As many as `preferred` that each carry at least `least` of their capacity (sharing load saves power, E21),
    more where capacity asks for it; a band of 5 % keeps a load at the boundary from starting and stopping
    them.

    Args:
        running: machines running.
        load: heat to take.
        unit: capacity of one machine now, same unit.
        units: machines in service.
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
    return asked


@kernel()
def staged(p, running, timer, dt, asked, units):
    """Machines running and stage timer after a sub-step of `dt` s: one start or stop at a time, and in time only.

    `timer` [s] counts up from the last start, or down from the last stop. A machine starts once the last one has
    ramped up (after a start) or has rested (after a stop; at once where another one has), and stops once the last
    start is `min_on_s` ago.

    Args:
        p: parameters.
        running: machines running, not above `units`.
        timer: s.
        dt: s.
        asked: machines wanted.
        units: machines in service.

    Returns:
        machines running, timer [s].
    """
    most = max(int(dt / p[P.ramp_s]), 1)
    if asked > running:
        rested = -timer >= p[P.min_off_s] or (running > 0 and units - running > 1)
        if (timer >= p[P.ramp_s]) if timer >= 0.0 else rested:
            return min(running + most, asked), dt
    elif asked < running and (timer < 0.0 or timer >= p[P.min_on_s]):
        return max(running - most, asked), -dt
    return running, (min(timer + dt, LONG_S) if timer >= 0.0 else max(timer - dt, -LONG_S))


@kernel()
def available(p, running, timer, dt):
    """Machines' worth of capacity in a sub-step: the last one started ramps to full load in `ramp_s`.

    Args:
        p: parameters.
        running: machines running.
        timer: stage timer [s] at the end of the sub-step, from `staged`.
        dt: s.
    """
    if running == 0 or timer < 0.0:
        return float(running)
    return running - 1.0 + min((timer - 0.5 * dt) / p[P.ramp_s], 1.0)


@kernel()
def restart_timer(p):
    """Stage timer while compressors have no power: the first one starts `restart_s` after power is back."""
    return -max(p[P.min_off_s] - p[P.restart_s], 1e-3)


@kernel()
def pump_share(flow):
    """E23 pump power over rated power at a flow fraction, 30 % of the head static."""
    return flow * (0.3 + 0.7 * flow * flow)
