"""The plant phase under stress: first law, outages, plants that fail, sub-steps, batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core.integrate import integrate, reset_plants
from gcn_env.core.plant_table import column
from gcn_env.core.state import allocate, copied
from gcn_env.ledger import FLOWS
from gcn_env.scenario.plants import PlantSite, compile_plants, stack_variants
from tests.core.plant_fleet import F, Fleet, finite, fleet, imbalance, no_site, power

# -------------------------------------------------------------------------------------------------- first law


@given(seed=st.integers(0, 2**32 - 1))
def test_first_law_and_finite_states_whatever_happens(seed):
    """Random loads, commands, weather of -40..55 degC and outages: closes to 1e-9, states stay in range."""
    rng = np.random.default_rng(seed)
    many = fleet(
        n=8,
        load=rng.uniform(0, 1.0, (8, 3)),
        dry=rng.uniform(-40, 55, (8, 3)),
        rh=rng.uniform(5, 100, (8, 3)),
    )
    plants = many.state.plants
    for _ in range(12):
        level = rng.integers(0, 8, (8, 3, 3))
        low, high = many.heads()
        plants.command[..., :3] = low + (high - low) * level / 7
        plants.node_kw[:] = 1000.0 * rng.uniform(0, 1.05, (8, 3)) * (rng.random((8, 3)) > 0.1)
        plants.awake[:] = rng.uniform(0, 1, (8, 3))
        plants.outage_h[:] = np.where(rng.random((8, 3)) < 0.15, 0.25, 0.0)
        if rng.random() < 0.5:
            many.weather(rng.uniform(-40, 55, (8, 3)), rng.uniform(5, 100, (8, 3)))
        flows = many.run()
        assert finite(many.state)
        assert imbalance(flows).max() < 1e-9
        assert (flows[..., [i for i, row in enumerate(FLOWS.rows) if row.low == 0]] >= 0).all()
        for name in ("mass_c", "air_c", "inlet_c", "hot_c", "supply_c", "loop_c", "chip_c"):
            assert np.abs(getattr(plants, name)).max() < 150.0, name
        assert ((plants.throttle >= 0) & (plants.throttle <= 1)).all()
        assert ((plants.overhead >= 1) & (plants.overhead <= 5)).all()
        assert ((plants.actual[..., :3] >= low) & (plants.actual[..., :3] <= high)).all()


def test_an_outage_draws_nothing_and_the_plant_comes_back():
    dark = fleet(load=0.8, dry=25.0)
    before = copied(dark.state)
    dark.state.plants.outage_h[:] = 1.0
    flows = dark.run(4)
    assert power(flows).max() == 0.0
    assert flows[..., F.water].max() == 0.0
    assert imbalance(flows).max() < 1e-9
    np.testing.assert_array_equal(dark.state.plants.compressor, 0)
    assert (dark.state.plants.mass_c < before.plants.mass_c).all()  # mass gives its heat to the air
    assert (dark.state.plants.down_h > 0.0).all()
    dark.run(24)
    assert (dark.state.plants.down_h == 0.0).all()
    for name in ("inlet_c", "supply_c", "loop_c"):
        np.testing.assert_allclose(getattr(dark.state.plants, name), getattr(before.plants, name), atol=0.3)
    assert (dark.state.plants.throttle == 1.0).all()


# --------------------------------------------------------------------------------------------- failing plants


def test_a_plant_that_cannot_cope_throttles_then_trips_and_recovers():
    """Load follows the speed factor, as the step does: the hall heats, load falls, both settle."""
    weak = fleet(("b",), load=1.0, dry=30.0)
    column(weak.params, "unit_pu")[:] = 0.12
    column(weak.params, "loop_kj")[:] = 20.0
    plants, course = weak.state.plants, []
    for _ in range(96):
        plants.node_kw[:] = 1000.0 * (0.35 + 0.65 * plants.throttle)
        flows = weak.run()
        assert imbalance(flows).max() < 1e-9
        course.append((plants.inlet_c[0, 0], plants.throttle[0, 0], flows[0, 0, F.excursion]))
    inlet, factor, excursion = np.array(course).T
    assert excursion.sum() > 1.0
    assert factor.min() < 1.0
    assert inlet.max() < 75.0
    column(weak.params, "unit_pu")[:] = 0.69
    plants.node_kw[:] = 800.0
    weak.run(24)
    assert plants.throttle[0, 0] == 1.0
    assert plants.inlet_c[0, 0] < 27.0


def test_starved_halls_heat_until_they_trip():
    starved = fleet(("b", "c"), load=1.0, dry=20.0)
    column(starved.params, "supply_flow")[:] *= 0.3  # two of three air handlers lost
    stopped, above = np.zeros(2, bool), np.zeros(2)
    for _ in range(8):
        above += starved.run()[0, :, F.excursion]
        stopped |= starved.state.plants.throttle[0] == 0.0
    assert stopped.all()
    assert (above > 0).all()


def test_a_jump_in_load_starves_no_aisle():
    """The aisle's pressure loop follows the servers within a control step, so that B1 stays within limits."""
    jump = fleet(load=0.4, dry=20.0)
    total = jump.run(2)
    for load in (1.0, 0.4, 1.0):
        jump.state.plants.node_kw[:] = 1000.0 * load
        total = total + jump.run(4)
    assert total[..., F.excursion].max() == 0.0
    assert jump.state.plants.throttle.min() == 1.0


def test_no_cooling_at_all_trips_for_ever():
    dead = fleet(("b",), load=1.0, dry=30.0)
    column(dead.params, "unit_pu")[:] = 1e-4
    column(dead.params, "loop_kj")[:] = 5.0
    stopped = 0
    for _ in range(100):
        dead.run()
        stopped += dead.state.plants.throttle[0, 0] == 0.0
    assert finite(dead.state)
    assert dead.state.plants.inlet_c.max() < 60.0
    assert stopped > 2, "it trips, boots when the hall is cool, and trips again"


# ---------------------------------------------------------------------------------------- numbers and batches


@pytest.mark.compiled
def test_halving_the_sub_steps_moves_energy_by_less_than_a_percent():
    def year(n_plant, n_zone):
        world = fleet(load=0.7)
        total = 0.0
        for h in range(0, 8760, 12):  # every twelfth hour of a year of seasons and days
            world.weather(12 + 12 * np.sin(h / 1394.0) + 6 * np.sin(h * 2.618), 65.0)
            world.state.plants.node_kw[:] = 1000.0 * (0.7 + 0.2 * np.sin(h * 0.7))
            total = total + world.run(4, n_plant=n_plant, n_zone=n_zone)
        return power(total)

    coarse, fine = year(3, 5), year(6, 10)
    np.testing.assert_allclose(coarse, fine, rtol=0.002)


@pytest.mark.compiled
@pytest.mark.parametrize(("dry", "swing", "bands"), [
    (10.0, 8.0, {"b": (1.10, 1.24), "c": (1.06, 1.12), "d": (1.04, 1.09)}),  # temperate
    (28.0, 3.0, {"b": (1.18, 1.32), "c": (1.14, 1.32), "d": (1.06, 1.13)}),  # humid tropics
])  # fmt: skip
def test_pue_of_b1_lands_in_the_published_bands(dry, swing, bands):
    world = fleet(tuple(bands), load=0.74)
    total = 0.0
    for h in range(0, 8760, 12):
        world.weather(dry + swing * np.sin(h / 1394.0) + 4 * np.sin(h * 2.618), 80.0)
        world.state.plants.command[:, 2, 0] = np.clip(world.state.signals.now[:, 2, 2] + 12, 24, 40)
        total = total + world.run(2)
    pue = power(total)[0] / total[0, :, F.it]
    for value, (low, high) in zip(pue, bands.values(), strict=True):
        assert low <= value <= high
    assert total[..., F.excursion].max() == 0.0


@pytest.mark.smoke
def test_a_batch_is_its_members_bit_for_bit():
    rng = np.random.default_rng(3)
    load, dry = rng.uniform(0.2, 1, (6, 3)), rng.uniform(-10, 40, (6, 3))
    batch = fleet(n=6, load=load, dry=dry)
    together = batch.run(5)
    for b in range(6):
        alone = fleet(load=load[b : b + 1], dry=dry[b : b + 1])
        np.testing.assert_array_equal(alone.run(5)[0], together[b])
        for one, many in zip(alone.state.plants, batch.state.plants, strict=True):
            np.testing.assert_array_equal(one[0], many[b])


def test_a_range_leaves_the_others_alone():
    batch = fleet(n=4, load=0.8)
    before = copied(batch.state)
    s = batch.state
    s.signals.now[..., 2] += 10.0
    integrate(1, 3, 0.25, 3, 5, s.plants, s.signals, batch.params, batch.site, s.ledger)
    for was, now in zip(before.plants, s.plants, strict=True):
        np.testing.assert_array_equal(was[[0, 3]], now[[0, 3]])
    assert (s.ledger.flows[[0, 3]] == 0).all()
    assert (s.ledger.flows[1:3, :, F.it] > 0).all()


def test_environments_take_turns_with_plant_variants():
    sites = [[PlantSite("b", 1000.0, 0.0, {"leakage_share": x})] for x in (0.02, 0.20)]
    params = stack_variants([compile_plants(s) for s in sites])
    out = Fleet(allocate(4, 2, 1, 1, 1, 1), params, no_site(1))
    out.state.plants.node_kw[:], out.state.plants.awake[:] = 900.0, 1.0
    out.weather(20.0, 50.0)
    reset_plants(0, 4, out.state.plants, out.state.signals, params)
    flows = out.run()[:, 0, F.leakage]
    assert flows[0] == flows[2] != flows[1] == flows[3]
