"""One plant: the identities of energy, heads, moisture, heat reuse, extremes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core import plant
from gcn_env.core.air import CP_AIR, LATENT_KJ_PER_KG, humidity_ratio
from gcn_env.core.plant import DARK, HEALTHY, NORMAL, ON_UPS, advance, at_rest, stored
from gcn_env.core.thermal import cubic_fan, shared_fans
from tests.core.plant_fleet import KEYS
from tests.core.plant_one import (
    AIR,
    COND,
    ELECTRIC,
    INLET,
    LOOP,
    MASS,
    SLAB,
    P,
    course,
    middle,
    one,
    weather,
    without,
)

# ------------------------------------------------------------------------------------------------- identities


def balances(p, before, after, e):
    """The identities of energy of a step, each as (left, right) in kJ/kW."""
    loss_in, misc_in = p[P.loss_inside], p[P.misc_inside]
    losses = e[plant.E_UPS] + e[plant.E_PDU]
    inside = loss_in * losses + misc_in * e[plant.E_MISC] + e[plant.E_AIR_FANS]
    zone = (
        p[P.mass_kj] * (after[MASS] - before[MASS])
        + p[P.air_kj] * (after[AIR] - before[AIR])
        + p[P.cold_kj] * (after[INLET] - before[INLET])
        + p[P.structure_kj] * (after[SLAB] - before[SLAB])
    )
    loops = stored(p, before, after) - zone
    taken = e[plant.E_CHILLED] + e[plant.E_FREE]
    outside = (1 - loss_in) * losses + (1 - misc_in) * e[plant.E_MISC] - e[plant.E_INWARD]
    machines = e[plant.E_COMPRESSORS] + e[plant.E_REJECTION] + e[plant.E_HUMIDIFIERS]
    pumps_out = e[plant.E_PUMPS] - e[plant.E_LOOP_PUMPS]
    condenser = p[P.cond_kj] * (after[COND] - before[COND]) if p[P.air_kind] == 0 else 0.0
    return {
        "zone and chips": (zone, e[plant.E_IT] + inside + e[plant.E_INWARD] - e[plant.E_REMOVED]),
        "loop": (
            loops - condenser,
            e[plant.E_REMOVED] + e[plant.E_LOOP_PUMPS] - taken - e[plant.E_REUSED],
        ),
        "plant": (e[plant.E_HEAT] - outside + condenser, taken + machines + pumps_out),
        "site": (e[ELECTRIC].sum(), stored(p, before, after) + e[plant.E_HEAT] + e[plant.E_REUSED]),
    }  # fmt: skip


@given(seed=st.integers(0, 2**32 - 1))
def test_the_identities_close_at_every_step(seed):
    """Section 3 of the design, relative 1e-9: zone, loop, plant, site, water; whatever weather, load and faults."""
    rng = np.random.default_rng(seed)
    for key in KEYS:
        p, low, high = one(key, {"reuse_return_degc": 20.0})
        state = at_rest(p, tuple(low + (high - low) * rng.random(3)), weather(), 0.7, 1.0)[0]
        for _ in range(20):
            sky = weather(rng.uniform(-40, 55), rng.uniform(2, 100))
            health = (
                rng.choice([NORMAL, NORMAL, NORMAL, ON_UPS, DARK]), rng.choice([1.0, 0.75, 0.0]), rng.integers(0, 4),
                rng.choice([1.0, 0.5, 0.0]), rng.choice([1.0, 0.5, 0.0]), rng.uniform(0.5, 1), rng.uniform(0, 0.5),
            )  # fmt: skip
            command = tuple(low + (high - low) * rng.random(3))
            node, before = rng.uniform(0, 1), np.array(state)
            args = (
                node,
                rng.uniform(max(node, 0.03), 1),
                command,
                tuple(map(float, health)),
                state,
                300.0,
                1,
                5,
            )
            state, e, *_ = advance(p, sky, *args)
            after, e = np.array(state), np.array(e)
            assert np.isfinite(after).all()
            assert np.isfinite(e).all()
            scale = 300.0 + np.abs(e).max() + p[P.loop_kj] * abs(after[LOOP] - before[LOOP])
            for name, (left, right) in balances(p, before, after, e).items():
                assert abs(left - right) <= 1e-9 * scale, (key, name)
            heat = max(e[plant.E_HEAT], 0.0) + e[plant.E_CHILLED] + np.abs(e[plant.E_FREE])
            evaporated = e[plant.E_WATER] / max(p[P.make_up], 1.0) * LATENT_KJ_PER_KG
            assert evaporated <= 1.4 * heat + e[plant.E_HUMIDIFIERS] + 300.0
            assert (e[ELECTRIC] >= 0).all()
            assert e[plant.E_CHILLED] >= 0


# ------------------------------------------------------------------------------------------------------ power


@pytest.mark.parametrize("key", KEYS)
def test_every_head_of_every_archetype_moves_facility_power(key):
    p, low, high = one(key)
    for h in range(3):
        if low[h] == high[h]:
            assert key in "af"  # the only absent heads
            assert h == 2
            continue
        used = []
        for end in (low, high):
            command = np.array(middle(key)[1])
            command[h] = end[h]
            _, e, *_ = at_rest(p, tuple(command), weather(30.0, 30.0), 0.8, 1.0)
            used.append(np.array(e)[ELECTRIC].sum())
        assert abs(used[1] / used[0] - 1) > 1e-3, h


def test_fans_of_which_some_are_lost_work_harder():
    assert shared_fans(0.6, 1.0) == cubic_fan(0.6)
    assert shared_fans(0.6, 0.75) == pytest.approx(0.75 * cubic_fan(0.8))
    assert shared_fans(0.6, 0.75) > cubic_fan(0.6)
    assert shared_fans(0.0, 0.0) == 0.0


# -------------------------------------------------------------------------------------------- moisture, reuse


def test_dry_winter_air_is_humidified():
    """Below its lowest dew point: c adds water to the air it mixes in, a makes steam for its ventilation."""
    for key in "ac":
        p, command = middle(key)
        humid, dry = (at_rest(p, command, weather(-15.0, rh), 0.8, 1.0)[1] for rh in (100.0, 30.0))
        assert dry[plant.E_WATER] > humid[plant.E_WATER]
        assert (dry[plant.E_HUMIDIFIERS] > humid[plant.E_HUMIDIFIERS]) == (key == "a")
    p, command = middle("c", {"dew_point_min_degc": -9.0})
    sky = weather(-15.0, 30.0)
    state, e, *_ = at_rest(p, command, sky, 0.8, 1.0)
    lacks = float(humidity_ratio(np.array(-9.0), np.array(100.0))) - sky[3]
    fresh = e[plant.E_REMOVED] / (CP_AIR * (state[AIR] - sky[0]))  # about: kg of outdoor air
    assert e[plant.E_WATER] == pytest.approx(fresh * lacks * p[P.make_up], rel=0.15)


def test_a_wet_stage_runs_no_lower_than_its_least():
    wet, finer = (
        at_rest(p, (24.0, 1.12, 1.0), weather(25.0, 20.0), 0.8, 1.0)[1]
        for p, _ in (middle("c"), middle("c", {"wet_least_share": 0.0}))
    )
    assert wet[plant.E_WATER] > 2.0 * finer[plant.E_WATER] > 0


def test_a_cold_coil_dries_the_hall_and_humidifiers_put_it_back():
    p, _ = middle("a")
    used = [np.array(at_rest(p, (c, 2.0, 0.0), weather(), 0.8, 1.0)[1]) for c in (10.0, 14.0)]
    assert used[0][plant.E_HUMIDIFIERS] > 60.0 > used[1][plant.E_HUMIDIFIERS]
    assert used[0][plant.E_COMPRESSORS] > 1.1 * used[1][plant.E_COMPRESSORS]


@pytest.mark.parametrize("key", ["d", "e"])
def test_heat_is_reused_up_to_demand_and_nine_tenths_where_the_return_is_hot(key):
    p, _, _ = one(key, {"reuse_return_degc": 40.0})
    hot, cool = (40.0, 0.5, 0.7), (25.0, 1.0, 0.7)
    for command, wanted, share in ((hot, 0.2, None), (hot, 9.0, 0.9), (cool, 9.0, 0.0), (hot, 0.0, 0.0)):
        state = at_rest(p, command, weather(5.0), 0.9, 1.0)[0]
        _, e = course(p, command, state, without(heat=wanted), sky=weather(5.0), node=0.9)
        liquid = p[P.liquid_share] * e[:, plant.E_IT]
        expected = 0.2 * 60.0 if share is None else share * liquid
        np.testing.assert_allclose(e[:, plant.E_REUSED], expected)
    _, e = course(
        p, hot, at_rest(p, hot, weather(5.0), 0.9, 1.0)[0], without(heat=0.5), sky=weather(5.0), node=0.9
    )
    _, alone = course(p, hot, at_rest(p, hot, weather(5.0), 0.9, 1.0)[0], sky=weather(5.0), node=0.9)
    assert e[-1, plant.E_REJECTION] <= alone[-1, plant.E_REJECTION]


# -------------------------------------------------------------------------------------------------- extremes


@pytest.mark.compiled
def test_ten_thousand_random_courses_stay_finite_closed_and_in_range():
    """Any archetype, -40..55 degC, no load to full load, every fault at once: 10,000 sequences of six steps."""
    rng = np.random.default_rng(7)
    plants = [one(key) for key in KEYS]
    rests = [at_rest(p, tuple(low), weather(), 0.5, 1.0)[0] for p, low, _ in plants]
    skies = [weather(t, rh) for t, rh in itertools.product(np.linspace(-40, 55, 20), (2, 30, 60, 100))]
    all_at_once = (NORMAL, 0.0, 9.0, 0.0, 0.0, 0.1, 1.0)
    for k in range(10_000):
        p, low, high = plants[k % len(plants)]
        state = rests[k % len(plants)]
        draws = rng.random((6, 6))
        for u in draws:
            ill = without(
                mode=int(u[1] * 3), fans=u[2], units_out=int(u[3] * 5), pumps=u[4], tower=u[5], coil=u[1]
            )
            health = HEALTHY if u[0] < 0.4 else all_at_once if u[0] < 0.6 else ill
            node = (0.0, u[1], 1.0)[int(u[2] * 3)]
            command = tuple(low + (high - low) * u[3:])
            before = state
            state, e, _, hot, chip, factor = advance(
                p, skies[int(u[4] * 80)], node, max(node, 0.03), command, health, state, 900.0, 3, 5
            )
            left = stored(p, before, state) + e[plant.E_HEAT] + e[plant.E_REUSED]
            assert abs(sum(e[i] for i in ELECTRIC) - left) <= 1e-9 * max(900.0, abs(e[plant.E_HEAT]))
            assert -60.0 < min(state[:5]) <= max(state[:5]) < 200.0
            assert all(abs(x) < 1e6 for x in e)
            assert 0.0 <= factor <= 1.0
            assert -60.0 < min(hot, chip) <= max(hot, chip) < 250.0
