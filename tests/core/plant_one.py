"""One plant by itself, sub-step by sub-step: what the tests of its energy and of its faults share."""

import numpy as np

from gcn_env.core import plant
from gcn_env.core.air import dew_point_c, humidity_ratio, wet_bulb_c
from gcn_env.core.plant import HEALTHY, advance
from gcn_env.core.plant_table import PLANT
from gcn_env.scenario.plants import PlantSite, compile_plants

P = PLANT.ix
MASS, AIR, INLET, SUPPLY, LOOP, RUNNING, COND, TIMER, SLAB = 0, 1, 2, 3, 4, 6, 10, 11, 12  # of the state
ELECTRIC = [
    plant.E_IT, plant.E_AIR_FANS, plant.E_COMPRESSORS, plant.E_PUMPS, plant.E_REJECTION, plant.E_HUMIDIFIERS,
    plant.E_UPS, plant.E_PDU, plant.E_MISC,
]  # fmt: skip


def weather(dry=20.0, rh=50.0):
    t, r = np.array(dry), np.array(rh)
    w = humidity_ratio(t, r)
    return float(dry), float(wet_bulb_c(t, r)), float(dew_point_c(w)), float(w)


def one(key, overrides=None):
    """Parameters and ranges of the cooling heads of one plant."""
    pp = compile_plants([PlantSite(key, 1000.0, 0.0, overrides or {})])
    return pp.values[0, 0], pp.head_low[0, 0, :3], pp.head_high[0, 0, :3]


def middle(key, overrides=None):
    """Parameters and a command a third up the range of each head, flow well above the servers'."""
    p, low, high = one(key, overrides)
    cold, flow, reject = low + (high - low) / 3.0
    return p, (float(cold), float(flow), float(reject))


def without(**changes):
    """HEALTHY with changes, by name."""
    names = ("mode", "fans", "units_out", "pumps", "tower", "coil", "heat")
    return tuple(float(changes.get(n, h)) for n, h in zip(names, HEALTHY, strict=True))


def course(p, command, state, health=HEALTHY, minutes=60, dt=60.0, node=0.8, sky=None, n_zone=5):
    """States (the first is the given one) and energies of sub-steps."""
    states, energies = [state], []
    for _ in range(int(minutes * 60 / dt)):
        state, e, *_ = advance(p, sky or weather(), node, 1.0, command, health, state, dt, 1, n_zone)
        states.append(state)
        energies.append(e)
    return np.array(states), np.array(energies)
