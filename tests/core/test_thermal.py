"""Moist air, servers and the zone step against closed forms, the first law and each other."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcn_env.core import air, thermal

TEMPERATURES = st.floats(-40.0, 55.0)


def stull(t_c, rh):
    """E4 as Stull gives it (2011), for sea level; here only as an independent witness."""
    return (
        t_c * np.arctan(0.151977 * np.sqrt(rh + 8.313659))
        + np.arctan(t_c + rh)
        - np.arctan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * np.arctan(0.023101 * rh)
        - 4.686035
    )


# -------------------------------------------------------------------------------------------------- moist air


def test_dew_point_inverts_saturation():
    t = np.linspace(-20.0, 40.0, 61)
    ratio = air.humidity_ratio(t, np.full_like(t, 100.0))
    np.testing.assert_allclose(air.dew_point_c(ratio), t, atol=1e-6)


@pytest.mark.smoke
@pytest.mark.parametrize("kpa", [101.325, 82.0])
def test_kernel_and_array_relations_agree(kpa):
    for t in (-40.0, -5.0, 20.0, 55.0):
        at = float(air.humidity_ratio(np.array(t), np.array(100.0), kpa))
        assert air.saturation_ratio_at(t, kpa) == pytest.approx(at, rel=1e-12)


@given(t=TEMPERATURES, rh=st.floats(1.0, 100.0), kpa=st.floats(70.0, 103.0))
@settings(max_examples=80, deadline=None)
def test_wet_bulb_lies_between_dew_point_and_dry_bulb(t, rh, kpa):
    wet = float(air.wet_bulb_c(np.array(t), np.array(rh), kpa))
    dew = float(air.dew_point_c(air.humidity_ratio(np.array(t), np.array(rh), kpa), kpa))
    # below the range of the logarithm's floor, the dew point is only a bound
    assert min(dew, t) - 0.2 <= wet <= t + 1e-9


def test_wet_bulb_agrees_with_stull_where_that_holds():
    t, rh = np.meshgrid(np.linspace(0.0, 40.0, 21), np.linspace(20.0, 95.0, 16))
    difference = air.wet_bulb_c(t, rh) - stull(t, rh)
    assert np.abs(difference).max() < 1.0
    assert np.sqrt((difference**2).mean()) < 0.4


def test_pressure_falls_with_elevation():
    assert air.pressure_kpa(0.0) == pytest.approx(101.325)
    assert air.pressure_kpa(1700.0) / air.pressure_kpa(0.0) == pytest.approx(0.81, abs=0.01)


# ---------------------------------------------------------------------------------------------------- servers


def test_fans_follow_the_cube_law_with_their_drive_floor():
    assert thermal.cubic_fan(0.5) == pytest.approx(0.151, abs=5e-4)
    assert thermal.cubic_fan(1.0) == pytest.approx(1.0)


def test_power_is_raised_to_working_precision():
    for x, e in ((0.3, -0.7), (1.0, 0.711), (7.0, 1 / 1.057)):
        assert thermal.raised(x, e) == pytest.approx(x**e, rel=1e-14)


def server_power(inlet, load=0.6):
    """E5-E9 for the default two-socket server."""
    power = 0.35 + 0.65 * load
    fan = thermal.fan_target(0.5 * (0.6 + 0.4 * load), 0.065, 22.0, inlet)
    chip = thermal.air_chip_c(inlet, 38.0, 0.3, power, fan)
    return power + thermal.leakage(power, 0.10, 0.017, 66.0, chip) + 0.12 * fan**3


def test_hall_power_rises_with_inlet_as_measured():
    """Two Swiss halls: 0.35-0.50 %/K over 23-30 degC; the A2 curve: 4-8 % from 15 to 35 degC."""
    assert 100 * (server_power(30.0) / server_power(23.0) - 1) / 7 == pytest.approx(0.37, abs=0.03)
    assert 4.0 < 100 * (server_power(35.0) / server_power(15.0) - 1) < 8.0


@given(load=st.floats(0, 1), inlet=st.floats(-40, 90), step=st.floats(0, 20))
@settings(max_examples=80, deadline=None)
def test_hotter_inlet_never_saves_server_power_below_the_fans_limit(load, inlet, step):
    fan = thermal.fan_target(0.5 * (0.6 + 0.4 * load), 0.065, 22.0, inlet)
    assert thermal.FAN_FLOOR <= fan <= 1.0
    hotter = thermal.fan_target(0.5 * (0.6 + 0.4 * load), 0.065, 22.0, inlet + step)
    assert hotter >= fan
    assert thermal.air_chip_c(inlet, 38.0, 0.3, 1.0, hotter) <= thermal.air_chip_c(inlet, 38.0, 0.3, 1.0, fan)


def test_leakage_is_zero_at_its_reference_and_bounded():
    assert thermal.leakage(1.0, 0.12, 0.017, 60.0, 60.0) == 0.0
    assert thermal.leakage(1.0, 0.12, 0.017, 60.0, 1e6) == thermal.leakage(1.0, 0.12, 0.017, 60.0, 100.0)


# ------------------------------------------------------------------------------------------------------- zone


@given(
    mass=TEMPERATURES, hot=TEMPERATURES, cold=TEMPERATURES, supply=TEMPERATURES, outdoor=TEMPERATURES,
    power=st.floats(0, 1.3), room=st.floats(0, 0.2), flow=st.floats(0.002, 0.12), r=st.floats(0, 1),
    k_mass=st.floats(0.01, 10), k_air=st.floats(0.001, 1), walls=st.floats(0, 0.02),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_zone_step_closes_the_first_law(
    mass, hot, cold, supply, outdoor, power, room, flow, r, k_mass, k_air, walls
):
    """E19: what mass and air gain is what came in less what the coil took."""
    m, a, inlet, coil, inward = thermal.zone_step(
        mass, hot, cold, power, room, flow, r, supply, k_mass, k_air, 0.7 * k_air, walls, outdoor
    )
    gained = k_mass * (m - mass) + k_air * (a - hot) + 0.7 * k_air * (inlet - cold)
    scale = 1.0 + k_mass * (abs(mass) + abs(m)) + k_air * (abs(hot) + abs(a) + abs(cold)) + abs(coil)
    assert abs(gained - (power + room - coil + inward)) <= 1e-12 * scale


@pytest.mark.smoke
def test_zone_settles_at_the_closed_form():
    """E15: T_in = T_s + r/(1-r) Q/(m c_p); the coil takes what the servers give; E10: T_m = T_in + Q/h."""
    supply, q, flow, r = 22.0, 0.8, 0.06, 0.08
    m, a, inlet = 30.0, 30.0, 30.0
    for _ in range(400):
        m, a, inlet, coil, _ = thermal.zone_step(
            m, a, inlet, q, 0.0, flow, r, supply, 18 / 60, 0.5 / 60, 0.5 / 60, 0.0, 10.0
        )
    assert inlet == pytest.approx(supply + r * (a - supply), abs=1e-8)
    assert coil == pytest.approx(q, rel=1e-9)
    assert inlet == pytest.approx(supply + r / (1 - r) * q / flow, abs=1e-8)
    assert m == pytest.approx(inlet + q / (thermal.EXCHANGE * flow), abs=1e-8)
    hot = thermal.hottest(inlet, a, r, 0.12)
    assert hot == pytest.approx(supply + (r + 0.12) / (1 - r - 0.12) * q / flow, abs=1e-8)


def test_zone_step_is_stable_where_splitting_diverges():
    """40 kW a rack, no cooling, r = 1: an hour in one step is bounded by the heat that came in."""
    k_mass, k_air = 11 / 3600, 0.1 / 3600
    m, a, _, coil, _ = thermal.zone_step(
        35.0, 30.0, 22.0, 1.0, 0.0, 0.08, 1.0, 20.0, k_mass, k_air, k_air, 0.0, 10.0
    )
    assert coil == 0.0
    assert max(m, a) < 35.0 + 3600 / 11.2 + 20.0
    assert min(m, a) > 30.0


def seconds_to(limit, c_mass, c_air, structure, dt=5.0):
    """Loss of cooling from 22 degC with server fans on: s until the inlet is at `limit`, and its course.

    `c_air` kJ/K/kW is the air of either side; `structure` kW/K/kW goes to walls and floor at the mean of the hall.
    """
    flow = 1 / 12
    m, a, inlet = 22.0 + 1 / (thermal.EXCHANGE * flow), 34.0, 22.0
    course = []
    for _ in range(400):
        m, a, inlet, _, _ = thermal.zone_step(
            m, a, inlet, 1.0, 0.0, flow, 1.0, 22.0, c_mass / dt, c_air / dt, c_air / dt, structure, 28.0
        )
        course.append(inlet)
    return dt * (1 + int(np.argmax(np.array(course) > limit))), np.array(course)


def test_outage_heats_fast_then_slowly_as_in_the_field():
    """Field: shutdown after 189 s at 5 kW a cabinet, under a minute at 10 kW; tolerance a factor of two."""
    slow, course = seconds_to(40.0, 26.0, 1.33, 0.009)
    quick, _ = seconds_to(40.0, 18.0, 0.54, 0.004)
    assert 95 < slow < 378
    assert 30 < quick < 120
    first_minute, later = course[11] - 22.0, (course[59] - course[23]) / 3.0
    assert first_minute > 3 * later > 0


def test_recirculation_is_continuous_and_bounded():
    r0, reaching = 0.02, 0.05
    assert thermal.recirculated(r0, reaching, 0.05) == r0
    assert thermal.recirculated(r0, reaching, 0.05 + 1e-12) == pytest.approx(r0, abs=1e-9)
    rising = [thermal.recirculated(r0, reaching, f) for f in np.linspace(0.04, 0.2, 30)]
    assert all(b >= a for a, b in itertools.pairwise(rising))
    assert rising[-1] < 1.0
    assert np.isfinite(thermal.hottest(30.0, 40.0, 1.0, 0.05))


def test_contained_aisles_are_a_kelvin_over_supply():
    """Field: about 1 K with good isolation; legacy rooms 4-5 K."""
    q, flow = 0.8, 0.06

    def over(r, extra):
        a = 20.0 + q / flow / (1 - r)
        return thermal.hottest(20.0 + r * (a - 20.0), a, r, extra) - 20.0

    assert 0.7 < over(0.02, 0.05) < 1.8
    assert 2.5 < over(0.08, 0.12) < 6.0
