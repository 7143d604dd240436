"""One plant in trouble: power supply, faults, loss of cooling; staging times and the loops that store meanwhile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core import plant
from gcn_env.core.air import CP_AIR
from gcn_env.core.compressor import available, staged
from gcn_env.core.plant import DARK, HEALTHY, ON_UPS, at_rest
from tests.core.plant_fleet import KEYS
from tests.core.plant_one import (
    AIR,
    COND,
    ELECTRIC,
    INLET,
    LOOP,
    RUNNING,
    SLAB,
    SUPPLY,
    TIMER,
    P,
    course,
    middle,
    weather,
    without,
)

# ----------------------------------------------------------------------------------------------------- health


@pytest.mark.parametrize("key", KEYS)
def test_on_the_ups_only_fans_and_loop_pumps_run(key):
    p, command = middle(key)
    sky = weather(30.0, 40.0)
    state = at_rest(p, command, sky, 0.8, 1.0)[0]
    states, e = course(p, command, state, without(mode=ON_UPS), 3, sky=sky)
    for index in (
        plant.E_COMPRESSORS,
        plant.E_REJECTION,
        plant.E_HUMIDIFIERS,
        plant.E_CHILLED,
        plant.E_WATER,
    ):
        assert (e[:, index] == 0).all()
    assert (e[:, plant.E_AIR_FANS] > 0).all()
    assert (e[:, plant.E_IT] > 0.7 * 60).all()
    assert ((e[:, plant.E_PUMPS] > 0) == (key in "bdeg")).all()
    assert (states[1:, RUNNING] == 0).all()
    warm = LOOP if key in "bdeg" else INLET
    assert (np.diff(states[1:, warm]) > 0).all()


def test_outside_air_cools_without_compressors():
    """c on the UPS: dampers and fans hold the hall where outdoors is cool; only the wet stage is off."""
    p, command = middle("c")
    sky = weather(5.0, 60.0)
    state = at_rest(p, command, sky, 0.8, 1.0)[0]
    states, _ = course(p, command, state, without(mode=ON_UPS), 30, sky=sky)
    np.testing.assert_allclose(states[:, SUPPLY], command[0], atol=0.1)


def test_the_loop_rides_through():
    """10 L/kW and 6 K last 250 s per kW/kW (section 1.8): t = V c dT / load."""
    p, command = middle("b")
    state = at_rest(p, command, weather(), 0.8, 1.0)[0]
    states, e = course(p, command, state, without(mode=ON_UPS), 10, dt=10.0)
    into = (e[:, plant.E_REMOVED] + e[:, plant.E_LOOP_PUMPS]) / 10.0
    reached = np.argmax(states[:, LOOP] > state[LOOP] + 6.0) * 10.0
    assert reached == pytest.approx(p[P.loop_kj] * 6.0 / into[: int(reached / 10)].mean(), abs=10.0)
    assert 200 < reached < 400


@pytest.mark.parametrize("key", KEYS)
def test_dark_nothing_runs_and_compressors_wait_before_they_restart(key):
    p, command = middle(key)
    sky = weather(35.0, 30.0)
    state = at_rest(p, command, sky, 0.8, 1.0)[0]
    states, e = course(p, command, state, without(mode=DARK), 10, sky=sky)
    assert (e[:, ELECTRIC] == 0).all()
    states, e = course(p, command, (*states[-1, :RUNNING], 0, *states[-1, 7:]), minutes=120, sky=sky)
    waits = int(p[P.restart_s] / 60)
    if key != "d" or states[waits + 2 :, RUNNING].any():
        assert (states[1:waits, RUNNING] == 0).all()
        assert states[waits + 15 :, RUNNING].min() > 0
    np.testing.assert_allclose(
        states[-1, [INLET, SUPPLY, LOOP]], np.array(state)[[INLET, SUPPLY, LOOP]], atol=0.5
    )


def lost(kw_per_rack):
    """Inlet [degC] every 5 s after fans and coils stop at 22 degC; servers of 12 K rise that keep their fan speed.

    Room and structure of the cases of section 1.8: 11 or 9 m3 and 9 or 8 m2 a rack.
    """
    volume, area, mass = {5: (11.0, 9.0, 26.0), 10: (9.0, 8.0, 18.0)}[kw_per_rack]
    p, command = middle("a", {
        "room_air_kj_per_k_kw": volume * 1.2 * CP_AIR / kw_per_rack, "it_mass_kj_per_k_kw": mass,
        "structure_kw_per_k_kw": 0.005 * area / kw_per_rack, "structure_kj_per_k_kw": 160.0 * area / kw_per_rack,
        "server_rise_at_full_fan_k": 6.0, "server_fan_slope_per_k": 0.0, "server_fan_kw_per_kw": 0.0,
        "leakage_share": 0.0,
    })  # fmt: skip
    command = (21.0, 3.0, 0.0)
    for _ in range(8):
        state = at_rest(p, command, weather(), 1.0, 1.0)[0]
        command = (command[0] + 22.0 - state[INLET], 3.0, 0.0)
    states, _ = course(p, command, state, without(mode=ON_UPS, fans=0.0), 10, 5.0, 1.0, n_zone=1)
    return states[:, INLET]


def test_loss_of_cooling_is_a_trajectory_as_in_the_field():
    """Field: automatic shutdown after 189 s at 5 kW a cabinet, under a minute at 10 kW; a factor of two.

    Shape: a fast first minute, then a slow tail (Khankari). To 40 degC we need 125 s and 70 s.
    """
    slow, quick = lost(5), lost(10)
    for inlet, low, high in ((slow, 95, 250), (quick, 30, 120)):
        assert inlet[0] == pytest.approx(22.0, abs=0.1)
        assert low < 5.0 * np.argmax(inlet > 40.0) < high
        first, later = inlet[12] - inlet[0], (inlet[60] - inlet[24]) / 3.0
        assert 10 < first < 20
        assert 1 < later < 3.5
        assert first > 3 * later
    assert (np.diff(slow) > 0).all()


def test_twelve_second_and_five_second_sub_steps_tell_the_same_outage():
    p, command = middle("a")
    state = at_rest(p, command, weather(), 0.8, 1.0)[0]
    health = without(mode=ON_UPS, fans=0.0)
    fine, _ = course(p, command, state, health, 10, 60.0, n_zone=12)
    coarse, _ = course(p, command, state, health, 10, 60.0, n_zone=5)
    np.testing.assert_allclose(coarse[:, INLET], fine[:, INLET], atol=1.0)


@pytest.mark.parametrize(("key", "fault", "sky"), [
    ("a", {"units_out": 5}, 35), ("b", {"units_out": 3}, 30), ("g", {"units_out": 3}, 35), ("c", {"units_out": 3}, 38),
    ("f", {"units_out": 2}, 35), ("a", {"fans": 0.3}, 20), ("b", {"fans": 0.3}, 20), ("c", {"fans": 0.3}, 20),
    ("f", {"fans": 0.3}, 20), ("g", {"fans": 0.3}, 20), ("b", {"pumps": 0.1}, 20), ("g", {"pumps": 0.1}, 20),
    ("d", {"pumps": 0.05}, 20), ("e", {"pumps": 0.05}, 20), ("b", {"coil": 0.3}, 20), ("g", {"coil": 0.3}, 20),
    ("a", {"coil": 0.4}, 35), ("f", {"coil": 0.4}, 35),
])  # fmt: skip
def test_each_fault_heats_something(key, fault, sky):
    p, command = middle(key)
    sky = weather(sky, 40.0)
    state = at_rest(p, command, sky, 0.9, 1.0)[0]
    sound, _ = course(p, command, state, HEALTHY, 90, sky=sky, node=0.9)
    broken, _ = course(p, command, state, without(**fault), 90, sky=sky, node=0.9)
    warm = LOOP if key in "de" else INLET
    assert broken[-1, warm] > sound[-1, warm] + 1.0


@pytest.mark.parametrize(("key", "fault"), [
    ("b", {"tower": 0.5}), ("d", {"tower": 0.3}), ("e", {"tower": 0.3}), ("d", {"coil": 0.5}), ("b", {"fans": 0.6}),
])  # fmt: skip
def test_lesser_faults_cost_power(key, fault):
    p, command = middle(key)
    command = (command[0], command[1] if key in "de" else 1.3, command[2])
    sky = weather(30.0, 50.0)
    state = at_rest(p, command, sky, 0.9, 1.0)[0]
    _, sound = course(p, command, state, HEALTHY, 120, sky=sky, node=0.9)
    _, broken = course(p, command, state, without(**fault), 120, sky=sky, node=0.9)
    assert broken[-1, ELECTRIC].sum() > sound[-1, ELECTRIC].sum()


# ---------------------------------------------------------------------------------------------- staging, loops


@given(seed=st.integers(0, 2**32 - 1), dt=st.sampled_from([10.0, 60.0, 300.0]))
def test_no_machine_starts_or_stops_before_its_time(seed, dt):
    p, _ = middle("b")
    rng = np.random.default_rng(seed)
    running, timer, clock, last_start, stopped_to_one = 1, 1e4, 0.0, -1e9, -1e9
    for _ in range(400):
        before = running
        running, timer = staged(p, running, timer, dt, int(rng.integers(0, 4)), 3)
        if running > before:
            assert clock - last_start >= min(300.0, dt) or dt >= 300.0
            assert before > 0 or clock - stopped_to_one >= 600.0 - dt
            last_start = clock
        if running < before:
            assert clock - last_start >= 900.0 - dt
            if running == 0:
                stopped_to_one = clock
        clock += dt
        assert 0.0 <= available(p, running, timer, dt) <= running


def test_a_chiller_needs_minutes_to_full_load_and_the_loop_stores_the_difference():
    p, command = middle("b")
    state = list(at_rest(p, command, weather(30.0, 60.0), 0.9, 1.0)[0])
    state[RUNNING], state[TIMER] = 0, -1e4
    states, e = course(p, command, tuple(state), minutes=40, sky=weather(30.0, 60.0), node=0.9)
    chilled = e[:, plant.E_CHILLED] / 60.0
    assert chilled[0] < 0.15
    assert (np.diff(chilled[:5]) > 0).all()
    assert states[4, LOOP] > state[LOOP] + 1.0
    assert states[-1, LOOP] == pytest.approx(command[2], abs=0.2)


def test_a_chiller_held_on_over_cools_the_loop_a_little():
    """The economiser serves, but it started two minutes ago: it runs at its turn-down until its time is over."""
    p, command = middle("b")
    sky = weather(2.0, 60.0)  # the economiser serves
    state = list(at_rest(p, command, sky, 0.5, 1.0)[0])
    assert state[RUNNING] == 0
    state[RUNNING], state[TIMER] = 1, 120.0
    states, e = course(p, command, tuple(state), minutes=20, sky=sky, node=0.5)
    on = states[1:, RUNNING] > 0
    assert 12 <= on.sum() <= 14
    assert (e[on, plant.E_COMPRESSORS] > 0).all()
    assert 4.0 < states[:, LOOP].min() < command[2] - 0.1


def test_condenser_water_lags_the_tower_by_its_volume():
    p, command = middle("b")
    assert p[P.cond_kj] / p[P.tower_flow] == pytest.approx(103.0, abs=2.0)  # s, turnover at design flow
    state = at_rest(p, command, weather(30.0, 60.0), 0.8, 1.0)[0]
    states, e = course(p, command, state, minutes=20, sky=weather(20.0, 50.0))
    fall = state[COND] - states[:, COND]
    assert fall[-1] > 4.0
    assert fall[1] / fall[-1] == pytest.approx(1 - np.exp(-60.0 / 103.3), abs=0.12)
    assert e[0, plant.E_HEAT] > e[-1, plant.E_HEAT] + 60 * 0.5  # the tower takes the loop's heat, too


def test_structure_takes_heat_slowly():
    p, command = middle("a")
    state = at_rest(p, command, weather(), 0.8, 1.0)[0]
    assert state[SLAB] == pytest.approx(0.5 * (state[AIR] + state[INLET]))
    states, _ = course(p, command, state, without(mode=ON_UPS, fans=0.0), 20)
    rise = states[-1] - states[0]
    assert 0.1 < rise[SLAB] < 0.2 * rise[AIR]
