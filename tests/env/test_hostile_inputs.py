"""Values that no plant has: refused with a message that names them, or handled; never a crash, never a NaN."""

import math

import numpy as np
import pytest

import gcn_env
from gcn_env.errors import UserError
from gcn_env.scenario.load import load_scenario
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants, parameters
from gcn_env.sim import Sim
from tests.worlds import SCENARIOS, legal_actions

SMOKE = str(SCENARIOS / "smoke.yaml")
NAN, INF = math.nan, math.inf
SOUTH, PLANT_OF = "regions.south.", "regions.south.plant.overrides."

# what is not a finite number within bounds, for every number of a region's supply and grid
NUMBERS = [
    *(f"{SOUTH}supply.{name}" for name in (
        "ups_min", "generator_share", "generator_start_probability", "fuel_usd_per_l", "pv_share", "wind_share",
        "hub_m", "battery_h", "battery_rate_per_h", "battery_wear_usd_per_kwh", "heat_demand_share",
        "heat_usd_per_mwh", "power_cap_floor_share", "fault_scale",
    )),
    *(f"{SOUTH}grid.{name}" for name in (
        "demand_usd_per_kw_month", "base_peak_share", "water_usd_per_m3", "outages_per_year", "outage_mean_h",
        "demand_ratchet_share", "feeder_share", "curtailment.per_year", "curtailment.notice_h",
        "curtailment.mean_h", "curtailment.depth_share", "curtailment.penalty_usd_per_mwh",
    )),
    f"{SOUTH}elevation_m", f"{SOUTH}longitude_deg", f"{SOUTH}latitude_deg",
    "time.step_min", "time.episode_days", "time.plant_substep_s", "time.zone_substep_s",
    "prices.carbon_usd_per_t", "prices.thermal_usd_per_k_h_kw", "prices.reference_usd_per_step",
]  # fmt: skip


@pytest.mark.parametrize("path", NUMBERS)
def test_what_is_no_number_of_a_plant_is_refused_by_name(path):
    for value in (NAN, -1e300, 1e300, "much", [1.0]):
        with pytest.raises(UserError) as refusal:
            load_scenario(SMOKE, {path: value})
        assert path in str(refusal.value)


REFUSED = {  # override -> what the message names
    "too high": ({SOUTH + "elevation_m": 44331}, ["44331", "5000"]),
    "too deep": ({SOUTH + "elevation_m": -501}, ["-501", "-500"]),
    "endless loops": ({"time.zone_substep_s": 1e-9}, ["zone_substep_s", "1e-09", "1"]),
    "a step of nought": ({"time.step_min": 0}, ["step_min", "0"]),
    "sub-steps that do not fit": ({"time.zone_substep_s": 7}, ["zone_substep_s = 7", "300", "divisor"]),
    "a longer sub-step than step": ({"time.plant_substep_s": 1800}, ["plant_substep_s", "900"]),
    "nodes that always break": ({SOUTH + "pools.gpu.node_mtbf_days": 1e-300}, ["node_mtbf_days", "0.01"]),
    "a margin that nothing uses": (
        {SOUTH + "plant.design_margin": 1.2},
        ["design_margin", "allowed: archetype"],
    ),
    "an archetype": ({SOUTH + "plant.archetype": "z"}, ["archetype", "'z'", "'a'", "'g'"]),
    "a capital": ({SOUTH + "plant.archetype": "B"}, ["archetype", "'B'"]),
    "nothing": ({PLANT_OF + "compressor_cop_rated": 0}, ["compressor_cop_rated = 0", "above 0"]),
    "no range": ({PLANT_OF + "tower_range_k": 0}, ["tower_range_k = 0", "above 0"]),
    "no loop range": ({PLANT_OF + "loop_range_k": -6}, ["loop_range_k = -6", "above 0"]),
    "no rise": ({PLANT_OF + "server_rise_at_full_fan_k": 0}, ["server_rise_at_full_fan_k = 0", "above 0"]),
    "no air range": ({PLANT_OF + "dry_air_range_k": 0}, ["dry_air_range_k = 0", "above 0"]),
    "one and a half chillers": ({PLANT_OF + "compressor_units": 1.5}, ["compressor_units = 1.5", "whole"]),
    "walls of paper": (
        {PLANT_OF + "structure_kj_per_k_kw": 1.0, PLANT_OF + "structure_kw_per_k_kw": 0.1},
        ["structure_kj_per_k_kw = 1 ", "at least 900 s of", "= 0.1"],
    ),
    "no chiller": ({PLANT_OF + "compressor_units": 0}, ["units = 0", "1..12"]),
    "heat from nothing": ({PLANT_OF + "leakage_share": -0.1}, ["leak_share = -0.1", "0..0.5"]),
    "a better coil": ({PLANT_OF + "coil_ntu": 1e300}, ["coil_ntu = 1e+300", "0.1..5"]),
    "a misspelt name": ({PLANT_OF + "leakage_shar": 0.1}, ["'leakage_shar'", "did you mean 'leakage_share'"]),
    "a word": ({PLANT_OF + "leakage_share": "little"}, ["leakage_share", "'little'", "number"]),
    "no number": ({PLANT_OF + "leakage_share": NAN}, ["leakage_share", "nan", "finite"]),
}


@pytest.mark.parametrize(("overrides", "named"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_value_and_bounds(overrides, named):
    with pytest.raises(UserError) as refusal:
        gcn_env.load_world(SMOKE, overrides)
    for part in named:
        assert part in str(refusal.value)


@pytest.mark.parametrize("key", archetypes())
def test_no_override_gives_a_plant_that_is_not_finite(key):
    """Every parameter in turn at values that nobody means: a `UserError`, or a row of finite numbers."""
    for name in parameters(PlantSite(key, 1.0)):
        for value in (NAN, INF, -INF, 1e300, -1e300, 1e9, -1e9, 1e-300, 0.0, -0.0):
            try:
                params = compile_plants([PlantSite(key, 1000.0, 0.0, {name: value})])
            except UserError:
                continue
            assert math.isfinite(value), (name, value)
            assert np.isfinite(params.values).all(), (name, value)


@pytest.mark.parametrize("kw", [0.0, -1.0, 1e-4, 1e8, NAN, INF])
def test_sizes_that_no_site_has_are_refused(kw):
    with pytest.raises(UserError, match=r"design_kw = .* is outside 0.001..1e\+07"):
        compile_plants([PlantSite("b", kw)])


@pytest.mark.parametrize("z", [5001.0, 44331.0, 1e5, -1e9, NAN, INF])
def test_elevations_without_air_are_refused(z):
    with pytest.raises(UserError, match=r"elevation_m = .* is outside -500..5000"):
        compile_plants([PlantSite("b", 1000.0, z)])


@pytest.mark.parametrize("overrides", [
    {SOUTH + "elevation_m": 5000, "regions.north.elevation_m": -500},
    {"time.plant_substep_s": 900, "time.zone_substep_s": 900},
    {"time.plant_substep_s": 5, "time.zone_substep_s": 5},
    {"time.step_min": 60, "time.plant_substep_s": 300},
    {SOUTH + "supply.battery_h": 1e9, SOUTH + "supply.ups_min": 1e9, SOUTH + "supply.generator_share": 1e9},
    {SOUTH + "supply.fault_scale": 1e9, SOUTH + "grid.outages_per_year": 1e9, SOUTH + "grid.outage_mean_h": 1e9},
    {SOUTH + "supply.pv_share": 1e9, SOUTH + "supply.wind_share": 1e9, SOUTH + "grid.curtailment.per_year": 1e9},
    {SOUTH + "supply.ups_min": 0, SOUTH + "supply.generator_share": 0, SOUTH + "grid.outages_per_year": 3000},
], ids=["high", "coarse", "fine", "hourly", "vast stores", "always broken", "vast supply", "no reserve"])  # fmt: skip
def test_extremes_that_are_allowed_are_survived(overrides):
    sim = Sim(gcn_env.load_world(SMOKE, overrides), 2, autoreset=False)
    rng = np.random.default_rng(3)
    sim.reset([3])
    for _ in range(12):
        sim.step(legal_actions(rng, sim))
        assert np.isfinite(sim.reward).all()
        assert np.isfinite(sim.state.ledger.flows).all()
        for array in sim.state.plants:
            assert np.isfinite(array).all()
        for name, shown in sim.obs.items():
            assert np.isfinite(shown).all(), name
