"""Sensors: a policy sees readings of temperatures, not temperatures.

A reading is the true value `delay_s` ago (a straight line between the ends of control steps), with an error of its own,
rounded to the sensor's step. While a region has the fault "sensor", one of its sensors repeats its last reading;
nothing tells. Errors are a hash of seed, step, region and sensor: no stream moves on, and no action touches them.
"""

from __future__ import annotations

import math

import numpy as np

from gcn_env.core import rng
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.state import FAULTS, SENSORS

INLET, HOTTEST, SUPPLY, RETURN_AIR, LOOP, CHIP = range(len(SENSORS))
STUCK = FAULTS.index("sensor")
_APART = np.uint64(0xA0761D6478BD642F)  # keeps these hashes apart from the random streams of the same seed
_WHICH = np.uint64(1 << 40)  # beyond any step: the hash that picks the sensor which sticks
_N = np.uint64(len(SENSORS))


@inlined()
def weak_sensor(seed, r):
    """The sensor of region `r` that sticks if one does in the episode of `seed`."""
    return np.int64(rng.hashed(rng.hashed(seed ^ _APART, _WHICH), np.uint64(r)) % _N)


@inlined()
def _read(seen, past, r, k, true, key, late, noise, step):
    """One reading: `late` of the way back to the last truth, an error, rounding."""
    value = true + (past[r, k] - true) * late
    past[r, k] = true
    value += noise * rng.bell(rng.hashed(key, np.uint64(r * len(SENSORS) + k)))
    seen[r, k] = math.floor(value / step + 0.5) * step if step > 0.0 else value


@kernel()
def sense(lo, hi, dt_h, clock, plants, site):
    """Phase: readings of environments [lo, hi) at the end of a control step of `dt_h` hours; 0: an episode begins."""
    inlet, hot, supply = plants.inlet_c, plants.hot_c, plants.supply_c
    air, loop, chip = plants.air_c, plants.loop_c, plants.chip_c
    noise, step, delay_h = site.sensor_noise_k, site.sensor_step_k, site.sensor_delay_h
    late = min(delay_h / dt_h, 1.0) if dt_h > 0.0 else 0.0
    for b in range(lo, hi):
        seed, seen, past = clock.seed[b], plants.seen[b], plants.past[b]
        key = rng.hashed(seed ^ _APART, np.uint64(clock.step[b]))
        for r in range(seen.shape[0]):
            stuck, held = -1, 0.0
            if plants.fault_h[b, r, STUCK] > 0.0:
                stuck = weak_sensor(seed, r)
                held = seen[r, stuck]
            _read(seen, past, r, INLET, inlet[b, r], key, late, noise, step)
            _read(seen, past, r, HOTTEST, hot[b, r], key, late, noise, step)
            _read(seen, past, r, SUPPLY, supply[b, r], key, late, noise, step)
            _read(seen, past, r, RETURN_AIR, air[b, r], key, late, noise, step)
            _read(seen, past, r, LOOP, loop[b, r], key, late, noise, step)
            _read(seen, past, r, CHIP, chip[b, r], key, late, noise, step)
            if stuck >= 0:
                seen[r, stuck] = held
