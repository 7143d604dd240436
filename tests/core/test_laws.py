"""Signs and closed forms over the kernels' whole ranges, for every archetype's parameters."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcn_env.core import thermal
from gcn_env.core.compressor import capacity_factor, energy_input, part_load, pump_share
from gcn_env.core.electrical import pdu_loss, ups_loss
from gcn_env.core.outage import FINE_S, FINE_ZONES
from gcn_env.core.plant import CUT_OUT_C, at_rest
from gcn_env.core.plant_table import PLANT, column
from gcn_env.core.water import tower_approach, tower_water, wet_factor
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants
from tests.core.plant_fleet import F, fleet, imbalance, power
from tests.core.plant_one import INLET, course, middle, weather, without

P = PLANT.ix
KEYS = archetypes()
OUTDOOR = st.floats(-40.0, 55.0)
ROWS = {key: compile_plants([PlantSite(key, 1.0)]).values[0, 0] for key in KEYS}
AIR_KEYS = [key for key in KEYS if ROWS[key][P.liquid_share] == 0.0]


# -------------------------------------------------------------------------------------------------- compressors


@pytest.mark.smoke
@pytest.mark.parametrize("key", KEYS)
def test_work_per_heat_rises_with_the_lift_and_never_beats_a_cop_of_25(key):
    """E20: against either side, over -40..75 degC hot and -40..45 degC cold; equal below the least lift only."""
    loss, lift, rated = (ROWS[key][i] for i in (P.eir_loss, P.eir_lift, P.eir))
    hot, cold = np.meshgrid(np.arange(-40.0, 75.0, 2.5), np.arange(-40.0, 45.0, 2.5), indexing="ij")
    eir = np.array([energy_input(h, c, loss, lift) for h, c in zip(hot.flat, cold.flat, strict=True)])
    eir = eir.reshape(hot.shape)
    assert (np.diff(eir, axis=0) >= 0.0).all()
    assert (np.diff(eir, axis=1) < 0.0).all()
    lifted = (hot - cold)[:-1] > 4.0
    assert (np.diff(eir, axis=0)[lifted] > 0.0).all()
    assert (eir * rated > 1.0 / 25.0).all()


def chiller_kw(p, heat, n, hot, cold):
    """E20-E22 of `n` machines that share `heat`; None where it is more than they can take."""
    whole = n * p[P.unit_pu] * capacity_factor(p, hot, cold)
    if heat > whole:
        return None, 0.0
    lifted = energy_input(max(hot, p[P.head_floor_c]), cold, p[P.eir_loss], p[P.eir_lift])
    return whole * p[P.eir] * lifted * part_load(heat / whole), heat / whole


@given(
    heat=st.floats(0.02, 1.6),
    n=st.integers(1, 3),
    hot=st.floats(6, 40),
    cold=st.floats(4, 22),
    rise=st.floats(0.1, 5),
)
@settings(max_examples=400)
def test_chillers_save_by_warmer_water_and_pay_for_warmer_condensers(heat, n, hot, cold, rise):
    """dP/dT_chws < 0 and dP/dT_condenser >= 0 at equal heat.

    The first holds where machines cycle (x < 0.2) and where local staging lets them run (x > 0.26): between the two,
    capacity that grows by 4.5 %/K (E22) costs up to 0.84 %/K more at part load (E21) than the smaller lift saves.
    """
    p = ROWS["b"]
    before, share = chiller_kw(p, heat, n, hot, cold)
    warmer, after = chiller_kw(p, heat, n, hot, cold + rise)
    if before is not None and (share < 0.2 or after > 0.26):
        assert warmer < before
    elif before is not None:
        assert warmer < before * (1.0 + 0.009 * rise)
    hotter, _ = chiller_kw(p, heat, n, hot + rise, cold)
    if before is not None and hotter is not None:
        assert hotter >= before * (1.0 - 1e-12)


@pytest.mark.parametrize("key", KEYS)
def test_capacity_is_continuous_and_bounded(key):
    p = ROWS[key]
    factor = [capacity_factor(p, hot, 10.0) for hot in np.linspace(-40, 75, 400)]
    assert p[P.cap_low] <= min(factor)
    assert max(factor) <= p[P.cap_high]
    assert np.abs(np.diff(factor)).max() < 0.01


@pytest.mark.smoke
def test_part_load_and_pumps_rise_from_nothing():
    x = np.linspace(0.0, 1.0, 201)
    for curve in (part_load, pump_share):
        y = np.array([curve(v) for v in x])
        assert y[0] == 0.0
        assert (np.diff(y) > 0.0).all()
        assert y[-1] == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------- fans, servers


@given(speed=st.floats(0.0, 1.0), more=st.floats(1e-3, 1.0))
def test_fans_cost_more_the_faster_they_turn(speed, more):
    assert thermal.cubic_fan(speed + more) > thermal.cubic_fan(speed)
    assert thermal.cubic_fan(2 * speed) - 0.03 == pytest.approx(
        8 * (thermal.cubic_fan(speed) - 0.03), abs=1e-12
    )


def it_power(p, load, inlet):
    """E6-E9 at rest, per nameplate."""
    use = min(max((load - p[P.idle_share]) / (1.0 - p[P.idle_share]), 0.0), 1.0)
    fan = thermal.fan_target(p[P.fan_base] * (0.6 + 0.4 * use), p[P.fan_slope], p[P.fan_knee_c], inlet)
    chip = thermal.air_chip_c(inlet, p[P.chip_k], p[P.chip_still], load, fan)
    leak = thermal.leakage(load, p[P.leak_share], p[P.leak_slope], p[P.leak_ref_c], chip)
    return load + leak + p[P.fan_pu] * fan**3


@pytest.mark.parametrize("key", AIR_KEYS)
@given(load=st.floats(0.05, 1.0), inlet=st.floats(-40, 90), rise=st.floats(0.1, 5))
@settings(max_examples=100)
def test_it_power_does_not_fall_with_the_inlet(key, load, inlet, rise):
    """dP_IT/dT_in >= 0, but for 0.05 %/K in the 2 K above the fan knee of hyperscale chassis at full load: there the
    fans that begin to rise save slightly more leakage than they draw."""
    before, after = it_power(ROWS[key], load, inlet), it_power(ROWS[key], load, inlet + rise)
    assert after >= before * (1.0 - 5.5e-4 * min(rise, 2.0))


@pytest.mark.parametrize("key", KEYS)
@given(load=st.floats(0.0, 1.2), more=st.floats(1e-3, 0.5))
def test_losses_rise_with_load_and_stay_below_it(key, load, more):
    p = ROWS[key]

    def loss(x):
        return ups_loss(x, p[P.ups_a0], p[P.ups_a1], p[P.ups_a2]) + pdu_loss(x, p[P.pdu_d0], p[P.pdu_d2])

    assert loss(0.0) > 0.0
    assert loss(load + more) > loss(load)
    assert loss(1.2) < 0.2


# --------------------------------------------------------------------------------------------------------- tower


@given(heat=st.floats(0.05, 2.0), wet=st.floats(-5, 28), warmer=st.floats(0.1, 5))
def test_towers_reach_less_at_more_heat_and_come_nearer_to_warmer_wet_bulbs(heat, wet, warmer):
    """E24: the approach grows with range and falls with wet bulb; the water it makes never gets colder."""
    here, there = (tower_approach(5.55 * heat, 1.0, wet_factor(t)) for t in (wet, wet + warmer))
    assert there < here
    assert tower_approach(5.55 * heat * 1.1, 1.0, wet_factor(wet)) > here
    assert here < 40.0


@given(dry=OUTDOOR, depression=st.floats(0, 30), g=st.floats(0.1, 1.0), heat=st.floats(0.0, 2.0))
@settings(max_examples=200)
def test_evaporation_carries_no_more_than_the_tower_rejects(dry, depression, g, heat):
    """Identity 5 at the component: 0.3 <= evaporation h_fg / Q <= 1.4, whatever the weather."""
    p = ROWS["b"]
    evaporated = tower_water(p, heat, g, dry, dry - depression) / p[P.make_up] * 2430.0 / 3600.0
    assert 0.3 * heat - 1e-12 <= evaporated <= 1.4 * heat + 1e-12


# ---------------------------------------------------------------------------------------- whole plants, at rest


def held(keys, n, **kw):
    """A fleet with random legal commands that its actuators have reached, the same in all `n` environments."""
    out = fleet(keys, n=n, **kw)
    rng = np.random.default_rng(11)
    low, high = out.params.head_low[0, :, :3], out.params.head_high[0, :, :3]
    share = rng.uniform(0.2, 0.8, (1, len(keys), 3))
    out.state.plants.command[..., :3] = low + (high - low) * share
    out.state.plants.actual[..., :3] = out.state.plants.command[..., :3]
    return out


@pytest.mark.compiled
@pytest.mark.parametrize("load", [0.3, 0.6, 1.0])
def test_compressors_never_gain_from_heat_outside(load):
    """dP_ch/dT_oa >= 0 of every archetype at rest, dry air from -40 to 55 degC, machines coming on in steps."""
    dry = np.linspace(-40.0, 55.0, 39)[:, None]
    hot = held(KEYS, len(dry), load=load, dry=dry, rh=10.0, overrides=None)
    column(hot.params, "wet_share")[:] = 0.0  # pads and wet stages make 25 degC cheaper than 23
    hot.run(96)
    flows = hot.run(8)
    compressors, runs = (
        flows[..., F.compressors],
        flows[..., F.it] > 0.9 * flows[0, :, F.it],
    )  # until nodes trip
    for k in range(len(KEYS)):
        course = compressors[runs[:, k], k]
        assert len(course) > 30
        assert course[-1] > course[0]
        assert (-np.diff(course) / course.max()).max() < 0.03


@pytest.mark.compiled
def test_faster_air_never_costs_less_fan_power():
    """dP_fan/dsigma > 0 until the fans are at full speed."""
    key = [k for k in KEYS if k in AIR_KEYS]
    n = 8
    wind = held(key, n, load=0.5, dry=15.0)
    flow = np.linspace(wind.params.head_low[0, :, 1], wind.params.head_high[0, :, 1], n)
    wind.state.plants.command[..., 1] = wind.state.plants.actual[..., 1] = flow
    wind.run(48)
    fans = wind.run()[..., F.air_fans]
    assert (np.diff(fans, axis=0) >= -1e-9 * fans[1:]).all()
    assert (fans[3] > 1.1 * fans[0]).all()
    assert (fans[-1] <= 250.0 * column(wind.params, "air_fan_pu")[0] * (1 + 1e-12)).all()


@pytest.mark.compiled
def test_at_rest_heat_out_is_electricity_in():
    """Nothing is stored at rest: rejected + reused = electricity, for every archetype, load and climate."""
    grid = list(itertools.product((0.3, 0.7, 1.0), (-25.0, 5.0, 21.0, 40.0)))
    load, dry = (np.array(c)[:, None] for c in zip(*grid, strict=True))
    still = held(KEYS, len(grid), load=load, dry=dry, rh=45.0)
    still.run(480)
    flows = still.run(96)  # a day: cycling machines average out
    out = flows[..., F.heat_rejected] + flows[..., F.heat_reused]
    np.testing.assert_allclose(out, power(flows), rtol=5e-3)
    assert imbalance(flows).max() < 1e-9


# ---------------------------------------------------------------------------------------------- numerical methods


def month(n_plant, n_zone, keys=KEYS, hours=240):
    """Facility energy [R] of ten days of a month's weather and load."""
    world, total = fleet(keys, load=0.7), 0.0
    for h in range(0, 3 * hours, 3):
        world.weather(15 + 14 * np.sin(h / 115.0) + 6 * np.sin(h / 3.82), 55.0)
        world.state.plants.node_kw[:] = 1000.0 * (0.7 + 0.2 * np.sin(h * 0.7))
        total = total + world.run(1, dt_h=1.0, n_plant=4 * n_plant, n_zone=n_zone)
    return power(total)[0]


@pytest.mark.compiled
def test_halving_the_sub_steps_moves_a_month_by_less_than_a_thousandth():
    """Section 4: at the shipped 300 s and 60 s against half of both."""
    coarse = month(3, 5)
    fine = month(6, 5)
    assert np.abs(coarse / fine - 1.0).max() < 1e-3


@pytest.mark.parametrize("fans", [1.0, 0.0])
@pytest.mark.parametrize("key", KEYS)
def test_halving_the_fine_sub_steps_moves_a_loss_of_cooling_by_little(key, fans):
    """As `core.outage` walks it, with fans or without, until nodes cut out: less than 0.3 K after the first minute."""
    p, command = middle(key)
    sky, health = weather(30.0, 35.0), without(mode=1.0, fans=fans, pumps=fans)
    rest, *_ = at_rest(p, command, sky, 0.8, 1.0)
    coarse, _ = course(p, command, rest, health, 12, FINE_S, 0.8, sky, FINE_ZONES)
    fine, _ = course(p, command, rest, health, 12, FINE_S / 2, 0.8, sky, FINE_ZONES)
    inlet, finer = coarse[:, INLET], fine[::2, INLET]
    before = np.cumprod(np.maximum(inlet, finer) < CUT_OUT_C - 3.0).astype(bool)
    assert inlet[before][-1] > inlet[0] + 5.0
    off = np.abs(inlet - finer)[before]
    assert off[:3].max() < 0.5  # of some 15 K that halls warm in the first minute: a second and a half
    assert off[3:].max() < 0.3


@pytest.mark.compiled
def test_energies_add_up_over_time():
    """Four quarters of an hour with one sub-step each are an hour with four: the kernel keeps no clock of its own."""
    parts, whole = held(KEYS, 1, load=0.6, dry=28.0), held(KEYS, 1, load=0.6, dry=28.0)
    summed = parts.run(4, dt_h=0.25, n_plant=1, n_zone=15)
    at_once = whole.run(1, dt_h=1.0, n_plant=4, n_zone=15)
    np.testing.assert_allclose(summed, at_once, rtol=1e-9, atol=1e-9)
    for name in ("mass_c", "air_c", "inlet_c", "supply_c", "loop_c", "fan", "actual"):
        one, other = getattr(parts.state.plants, name), getattr(whole.state.plants, name)
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.compiled
def test_regions_may_stand_in_any_order():
    rng = np.random.default_rng(2)
    order = rng.permutation(len(KEYS))
    shuffled = tuple(KEYS[i] for i in order)
    load, dry = rng.uniform(0.2, 1, (3, len(KEYS))), rng.uniform(-40, 55, (3, len(KEYS)))
    one = fleet(KEYS, n=3, load=load, dry=dry)
    other = fleet(shuffled, n=3, load=load[:, order], dry=dry[:, order])
    np.testing.assert_array_equal(one.run(4)[:, order], other.run(4))
