"""The plant phase: closed forms, sites, monotonicities, and the design study's reference model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core.compressor import energy_input, part_load, pump_share, staged, wanted
from gcn_env.core.electrical import pdu_loss, ups_loss
from gcn_env.core.liquid import dry_cooler
from gcn_env.core.plant import moved
from gcn_env.core.plant_table import PLANT, column
from gcn_env.core.state import copied
from gcn_env.core.thermal import cubic_fan
from gcn_env.core.water import tower_approach, tower_water, wet_factor
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants, rules_for
from tests.core.plant_fleet import COOLING, KEYS, F, finite, fleet, power

# ------------------------------------------------------------------------------------------------- components


@pytest.mark.smoke
def test_components_meet_their_published_points():
    assert energy_input(29.4, 7.0, 0.378, 5.71) == pytest.approx(1.0, abs=0.01)
    assert energy_input(35.0, 7.0, 0.144, 6.67) == pytest.approx(1.0, abs=0.02)
    assert part_load(1.0) == pytest.approx(1.0)
    assert part_load(0.0) == 0.0
    assert pump_share(1.0) == pytest.approx(1.0)
    assert tower_approach(5.55, 1.0, wet_factor(25.6)) == pytest.approx(
        3.83, abs=0.3
    )  # YorkCalc design point
    slope = 100 * (energy_input(29.4, 8.0, 0.378, 5.71) - energy_input(29.4, 6.0, 0.378, 5.71)) / 2
    assert -3.2 < slope < -2.0  # %/K, 38 chillers: median -2.5


@pytest.mark.parametrize(
    ("key", "chain"), [("b", (0.917, 0.943)), ("c", (0.945, 0.964)), ("d", (0.960, 0.973))]
)
def test_power_chain_has_the_efficiency_of_its_class(key, chain):
    p = compile_plants([PlantSite(key, 1.0)]).values[0, 0]
    ix = PLANT.ix
    for load, efficiency in zip((0.25, 1.0), chain, strict=True):
        loss = ups_loss(load, p[ix.ups_a0], p[ix.ups_a1], p[ix.ups_a2]) + pdu_loss(
            load, p[ix.pdu_d0], p[ix.pdu_d2]
        )
        assert load / (load + loss) == pytest.approx(efficiency, abs=0.003)


def chillers():
    """Parameters of b: 15 min on, 10 min off, 5 min from start to full load."""
    p = compile_plants([PlantSite("b", 1.0)]).values[0, 0].copy()
    assert (p[PLANT.ix.min_on_s], p[PLANT.ix.min_off_s], p[PLANT.ix.ramp_s]) == (900.0, 600.0, 300.0)
    return p


@given(running=st.integers(0, 4), load=st.floats(0, 3), unit=st.floats(0.05, 2), preferred=st.integers(1, 4))
def test_staging_starts_one_at_a_time_and_settles(running, load, unit, preferred):
    p, course, timer = chillers(), [running], 1e4
    for _ in range(60):
        asked = wanted(course[-1], load, unit, 4, preferred, 0.3)
        n, timer = staged(p, course[-1], timer, 60.0, asked, 4)
        course.append(n)
    steps = np.diff(course)
    assert np.abs(steps).max() <= 1
    assert steps[-20:].any() == 0  # at rest
    if (steps > 0).sum() > 1:
        assert np.diff(np.flatnonzero(steps > 0)).min() >= 5  # each ramps up before the next one
    n = course[-1]
    assert 0 <= n <= 4
    if load > 0.02:
        assert n >= min(np.ceil(load / unit - 1e-9), 4)
    if n > 1 and load / unit < n - 1 and n <= preferred:
        assert load / (n * unit) >= 0.3 * 0.9 - 1e-9  # two or more never run far below the least load


def test_a_load_at_the_staging_edge_does_not_chatter():
    running, changes = 2, 0
    for k in range(200):
        before = running
        running = wanted(running, 2 * 0.3 * 0.7 * (1 + 0.04 * (-1) ** k), 0.7, 3, 2, 0.3)
        changes += before != running
    assert changes <= 1


@given(actual=st.floats(7, 25), command=st.floats(7, 25), lag=st.floats(0.01, 1), most=st.floats(0.01, 5))
def test_actuators_approach_without_overshoot(actual, command, lag, most):
    after = moved(actual, command, lag, most)
    assert abs(after - actual) <= most + 1e-12
    assert min(actual, command) - 1e-12 <= after <= max(actual, command) + 1e-12


def test_tower_evaporates_no_more_than_it_rejects():
    p = compile_plants([PlantSite("b", 1.0)]).values[0, 0]
    for dry, wet in ((-40.0, -40.0), (20.0, 15.0), (45.0, 20.0)):
        water = tower_water(p, 1.0, 0.5, dry, wet)
        assert 0.3 <= water / p[PLANT.ix.make_up] * 2430.0 / 3600.0 <= 1.4


def test_dry_cooler_inverts_its_own_law():
    for load in (0.1, 0.5, 1.0):
        g, reached = dry_cooler(8.0, load, 35.0, 22.0, 1.0)
        assert reached == pytest.approx(35.0) or g in (0.1, 1.0)
        if 0.1 < g < 1.0:
            assert 22.0 + 8.0 * load * g**-0.75 == pytest.approx(35.0, abs=1e-9)


# ------------------------------------------------------------------------------------------------------ sites


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown archetype 'bb'.*did you mean 'b'"):
        compile_plants([PlantSite("bb", 1.0)])
    with pytest.raises(ValueError, match="did you mean 'leakage_share'"):
        compile_plants([PlantSite("b", 1.0, 0.0, {"leakage_shar": 0.1})])
    with pytest.raises(ValueError, match="leak_share = 3"):
        compile_plants([PlantSite("b", 1.0, 0.0, {"leakage_share": 3.0})])
    with pytest.raises(ValueError, match="design_kw"):
        compile_plants([PlantSite("b", -1.0)])


@pytest.mark.parametrize("key", KEYS)
def test_rules_lie_within_the_heads(key):
    assert key in archetypes()
    params = compile_plants([PlantSite(key, 1.0)])
    for rule in rules_for(key).values():
        for h, name in enumerate(("cold", "flow", "reject")):
            if name in rule:
                assert params.head_low[0, 0, h] <= rule[name] <= params.head_high[0, 0, h]


def test_thin_air_moves_less_heat():
    sea, high = (compile_plants([PlantSite("c", 1.0, z)]) for z in (0.0, 1700.0))
    for name in ("server_flow", "supply_flow"):
        assert column(high, name) / column(sea, name) == pytest.approx(0.81, abs=0.01)


# ---------------------------------------------------------------------------------------------- steady states


def test_reset_is_steady_under_b1():
    rest = fleet(n=4, load=np.linspace(0.4, 1.0, 4)[:, None], dry=np.linspace(-20, 35, 4)[:, None])
    before = copied(rest.state)
    flows = rest.run()
    for name in ("mass_c", "air_c", "inlet_c", "loop_c"):
        np.testing.assert_allclose(getattr(rest.state.plants, name), getattr(before.plants, name), atol=0.1)
    assert (np.abs(flows[..., F.heat_stored]) < 0.01 * power(flows)).all()
    assert flows[..., F.starts].sum() <= 1
    b1 = rules_for("b")["b1"]
    np.testing.assert_allclose(before.plants.command[:, 0, [0, 2]], [[b1["cold"], b1["reject"]]] * 4)


def test_no_load_costs_only_standing_losses():
    idle = fleet(load=0.0, dry=-30.0)
    idle.state.plants.awake[:] = 0.0
    flows = idle.run(96)
    assert finite(idle.state)
    assert (power(flows) / 24.0 < 0.15 * 1000.0).all()


@pytest.mark.parametrize("key", KEYS)
def test_full_load_at_full_flow_neither_throttles_nor_exceeds_limits(key):
    full = fleet((key,), n=8, load=1.0, dry=30.0, rh=40.0)
    low, high = full.heads()
    commands = np.repeat(low[None], 8, 0)
    warmest = {"a": 20.0, "f": 22.0}.get(key, 40.0)  # open halls recirculate
    commands[:, :, 0] = np.linspace(low[0, 0], min(high[0, 0], warmest), 8)[:, None]
    commands[:, :, 1] = high[0, 1]
    commands[:, :, 2] = 9.0 if key in "bg" else 1.0
    full.hold(commands)
    flows = full.run(16)
    assert (full.state.plants.throttle == 1.0).all()
    assert flows[..., F.excursion].max() == 0.0
    assert (full.state.plants.limit_gap > 0).all()


# --------------------------------------------------------------------------------------------- monotonicities


def swept(key, head, values, **world):
    """Flows [len(values), F] after a day at each value of a head, the others at B1's."""
    out = fleet((key,), n=len(values), **world)
    commands = out.state.plants.command[..., :3].copy()
    commands[:, 0, head] = values
    out.hold(commands)
    out.run(96)
    return out.run()[:, 0], out


def test_warmer_chilled_water_saves_compressor_power():
    flows, _ = swept("b", 2, np.linspace(7, 13, 7), load=0.7, dry=30.0, rh=60.0)
    assert (np.diff(flows[:, F.compressors]) < 0).all()


def test_faster_air_costs_fan_power_by_the_cube():
    flows, out = swept("b", 1, np.array([1.1, 1.4]), load=0.5)
    speed = np.array([1.1, 1.4]) * out.state.plants.air_need[:, 0]
    expected = cubic_fan(speed[0]) / cubic_fan(speed[1])
    assert flows[0, F.air_fans] / flows[1, F.air_fans] == pytest.approx(expected, rel=1e-3)


def test_warmer_supply_costs_it_power():
    flows, _ = swept("b", 0, np.linspace(18, 25, 8))
    assert (np.diff(flows[:, F.it]) > 0).all()


def test_warmer_coolant_saves_cooling_and_costs_leakage():
    flows, _ = swept("d", 0, np.linspace(22, 43, 8), load=0.9, dry=20.0)
    assert (np.diff(flows[:, F.leakage]) > 0).all()
    assert (np.diff(flows[:, COOLING].sum(-1)) <= 1e-9).all()
    total = power(flows)
    assert 0 < total.argmin() < 7  # the optimum lies inside: chasing cooling power alone overshoots it


@pytest.mark.parametrize("key", KEYS)
def test_hotter_weather_never_lowers_cooling_power(key):
    dry = np.linspace(-10, 45, 12)[:, None]  # no pads: they make 25 degC cheaper than 23
    hot = fleet(
        (key,),
        n=12,
        load=0.8,
        dry=dry,
        rh=30.0,
        overrides={"wet_from_degc": 60.0, "dew_point_min_degc": -60.0},
    )
    hot.hold(hot.state.plants.command[5, :, :3])
    hot.run(96)
    cooling = hot.run()[:, 0, COOLING].sum(-1)
    # tower pumps and machines come on in steps: a little slack
    assert (np.diff(cooling) > -0.02 * cooling[:-1]).all()
    assert cooling[-1] > 1.2 * cooling[0]


def test_wet_stage_trades_water_for_compressors_in_dry_heat():
    flows, _ = swept("c", 2, np.array([0.0, 1.0]), dry=38.0, rh=15.0)
    assert flows[1, F.compressors] < 0.2 * flows[0, F.compressors]
    assert flows[1, F.water] > 100 * (flows[0, F.water] + 1)
