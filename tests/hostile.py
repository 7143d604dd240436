"""A world of every archetype with every kind of trouble, and its accounts worked out from the outside.

The accounts use the ledger, the state before and after a step, the weather and the parameters.
"""

from dataclasses import replace

import numpy as np

import gcn_env
from gcn_env.core import air
from gcn_env.core.params import WorldParams
from gcn_env.core.plant_table import WATER, column
from gcn_env.core.state import CLOUD, DRY, HUMID, WIND
from gcn_env.ledger import COUNTS, FLOWS
from gcn_env.scenario.load import merged
from gcn_env.scenario.plants import archetypes
from tests.worlds import SCENARIOS

C, F = COUNTS.ix, FLOWS.ix
COOLING = [F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers]
USED = [F.it, *COOLING, F.ups_loss, F.pdu_loss, F.misc]
SOURCES = [F.grid, F.pv, F.wind, F.generator]
PLACES = [
    ("DE-LU", "eu", 8.7, 50.1), ("SG", "sg", 103.8, 1.3), ("GB", "uk", -0.1, 51.5), ("US-TEX-ERCO", "us", -96.8, 32.8),
]  # fmt: skip

SUPPLY = {
    "power_cap_floor_share": 0.5,
    "battery_h": 0.5,
    "battery_rate_per_h": 1.0,
    "pv_share": 0.6,
    "wind_share": 0.6,
    "heat_demand_share": 0.5,
    "generator_start_probability": 0.5,
    "fault_scale": 400.0,
}
GRID = {
    "base_peak_share": 0.85,
    "outages_per_year": 600.0,
    "outage_mean_h": 0.5,
    "feeder_share": 1.05,
    "demand_ratchet_share": 0.8,
    "curtailment": {"per_year": 800.0, "notice_h": 0.5, "mean_h": 1.0, "depth_share": 0.3},
}
POOLS = {
    "gpu": {"hardware": "gpu_a100_sxm_80gb", "devices": 16, "devices_per_node": 8, "node_mtbf_days": 3.0},
    "cpu": {"hardware": "cpu_epyc7763_slice", "devices": 16, "devices_per_node": 8, "repair_mean_h": 2.0},
}


def _region(number, key, supply, grid):
    profile, law, east, north = PLACES[number % len(PLACES)]
    place = {"profile": profile, "jurisdiction": law, "longitude_deg": east, "latitude_deg": north}
    return {**place, "plant": {"archetype": key}, "supply": supply, "grid": grid, "pools": POOLS}


def extreme_bank(bank, seed):
    """The bank with weather that walks and jumps between -40 and 55 degC at 1 to 100 % relative humidity."""
    rng = np.random.default_rng(seed)
    values = bank.values.copy()
    shape = values.shape[:3]
    dry = (
        47.5 * np.sin(np.cumsum(rng.normal(0, 0.15, shape), 1) + rng.uniform(0, 6.3, (shape[0], 1, shape[2])))
        + 7.5
    )
    dry = np.where(rng.random(shape) < 0.05, rng.uniform(-40, 55, shape), dry)
    most = 100 * air.saturation_kpa(np.array(28.0)) / air.saturation_kpa(dry)
    rh = np.minimum(rng.uniform(1, 100, shape), np.maximum(most, 1.0))
    ratio = air.humidity_ratio(dry, rh)
    values[..., DRY : HUMID + 1] = np.stack((dry, air.wet_bulb_c(dry, rh), air.dew_point_c(ratio), ratio), -1)
    values[..., CLOUD] = rng.random(shape)
    values[..., WIND] = 35.0 * rng.random(shape) ** 2
    values.setflags(write=False)  # a writable array is another type: the step would be compiled again
    return bank._replace(values=values)


def world(
    step_min=15, substep_s=300, zone_s=60, days=1, supply=None, grid=None, extreme=True, overrides=None
):
    """One region of each archetype, with battery, sun, wind, caps, heat sold, faults, outages and curtailments."""
    regions = {
        f"r_{key}": _region(i, key, merged(SUPPLY, supply or {}), merged(GRID, grid or {}))
        for i, key in enumerate(archetypes())
    }
    settings = {
        "time": {
            "step_min": step_min,
            "episode_days": days,
            "plant_substep_s": substep_s,
            "zone_substep_s": zone_s,
        },
        "signals": {"train": [0], "validation": [100], "test": [200]},
        "regions": {**regions, "north": None, "south": None},
        **(overrides or {}),
    }
    found = gcn_env.load_world(str(SCENARIOS / "smoke.yaml"), settings)
    if extreme:
        params: WorldParams = found.params
        found = replace(found, params=params._replace(bank=extreme_bank(params.bank, 5)))
    return found


def par(sim, name):
    """Column [R] of one plant parameter (first variant)."""
    return column(sim.world.params.plant, name)[0]


class Before:
    """What a step's accounts need from the state before it."""

    def __init__(self, sim):
        s = sim.state
        self.plants = type(s.plants)._make(a.copy() for a in s.plants)
        self.now = s.signals.now.copy()


def heat_gained(sim, before):
    """kWh [B, R] that hall (mass, air of both aisles, structure) and loops gained since `before`."""
    was, now, kwh = before.plants, sim.state.plants, par(sim, "design_kw") / 3600.0
    hall = (
        par(sim, "mass_kj") * (now.mass_c - was.mass_c)
        + par(sim, "air_kj") * (now.air_c - was.air_c)
        + par(sim, "cold_kj") * (now.inlet_c - was.inlet_c)
        + par(sim, "structure_kj") * (now.structure_c - was.structure_c)
    )
    water = par(sim, "air_kind") == WATER
    loops = np.where(
        water | (par(sim, "liquid_share") > 0), par(sim, "loop_kj") * (now.loop_c - was.loop_c), 0.0
    )
    loops += np.where(water, par(sim, "cond_kj") * (now.cond_c - was.cond_c), 0.0)
    return hall * kwh, loops * kwh


def accounts(sim, before, flows=None):
    """Identities of the last step: name -> (terms that sum to nought [n, B, R], least scale [kWh])."""
    f = sim.state.ledger.flows if flows is None else flows
    hall, loops = heat_gained(sim, before)
    losses = f[..., F.ups_loss] + f[..., F.pdu_loss]
    inside = par(sim, "loss_inside") * losses + par(sim, "misc_inside") * f[..., F.misc]
    used = [f[..., k] for k in USED]
    bus = [*(f[..., k] for k in SOURCES), f[..., F.storage_out], -f[..., F.storage_in], *(-u for u in used)]
    site = [*used, -hall, -loops, -f[..., F.heat_rejected], -f[..., F.heat_reused]]
    through = [f[..., F.it], f[..., F.air_fans], inside, -f[..., F.heat_removed], -hall]
    was, now = before.plants, sim.state.plants
    kept = now.battery_kwh - was.battery_kwh + now.ups_kwh - was.ups_kwh
    storage = [f[..., F.storage_in], -f[..., F.storage_out], -f[..., F.storage_loss], -kept]
    return {
        "1 bus": bus,
        "2 zone less envelope": through,
        "4 site": site,
        "4 storage": storage,
        "stored": [f[..., F.heat_stored], -hall, -loops],
    }


def off(terms, least):
    """Greatest residual [B, R] over the largest term and `least`."""
    t = np.array(np.broadcast_arrays(*terms))
    return np.abs(t.sum(0)) / (np.abs(t).max(0) + least)
