"""Outages as courses in time: strings, generator, lock-out, trip, restart; energy closes throughout."""

import numpy as np
import pytest

from gcn_env.core.outage import CHARGE_KEPT, GENERATOR_S, RESTART_H, fuel_l
from gcn_env.core.plant_table import column
from gcn_env.core.state import FAULTS, copied
from tests.core.plant_fleet import KEYS, F, fleet, imbalance, no_site, power

pytestmark = pytest.mark.smoke

DT = 0.25
KW = 1000.0


def hall(key="b", load=0.8, dry=25.0, keys=None, **supply):
    """Plants of 1 MW with what stands beside their grid."""
    made = fleet((key,) if keys is None else keys, load=load, dry=dry)
    made = made._replace(site=no_site(len(made.site.ups_kwh), **supply))
    made.state.plants.ups_kwh[:] = made.site.ups_kwh
    return made


def lose(made, hours, generator):
    made.state.plants.outage_h[:] = hours
    made.state.plants.generator[:] = generator


def bus(flows):
    """What did not come from strings or generator, less what went into the strings [kWh]."""
    return power(flows) + flows[..., F.storage_in] - flows[..., F.storage_out] - flows[..., F.generator]


@pytest.mark.parametrize("key", ["b", "c", "d", "e", "g"])
def test_a_generator_carries_the_site_through(key):
    """22 s from the strings, then the generator; compressors come back after their restart; no node stops."""
    made = hall(key, ups_kwh=KW / 12, ups_fans=1.0, generator_kw=1.5 * KW)
    plants = made.state.plants
    lose(made, 1.0, 1)
    first = made.run(1)
    assert plants.generator[0, 0] == 2
    seconds = first[0, 0, F.storage_out] / (power(first)[0, 0] / (DT * 3600))
    assert seconds == pytest.approx(GENERATOR_S, rel=0.35), (
        "its share of the step's energy, without compressors"
    )
    rest = made.run(3)
    for flows in (first, rest):
        assert bus(flows)[0, 0] == pytest.approx(0.0, abs=1e-9 * power(flows)[0, 0]), "nothing from the grid"
        assert imbalance(flows).max() < 1e-9
    assert rest[0, 0, F.storage_out] == 0.0
    assert plants.down_h[0, 0] == plants.still_h[0, 0] == 0.0
    assert first[0, 0, F.fuel] + rest[0, 0, F.fuel] == pytest.approx(
        0.03 * 1.5 * KW * (1.0 - GENERATOR_S / 3600)
        + 0.25 * (first[0, 0, F.generator] + rest[0, 0, F.generator]),
        rel=1e-9,
    )
    after = made.run(8)
    assert after[0, 0, F.generator] == 0.0
    assert after[0, 0, F.storage_in] * CHARGE_KEPT == pytest.approx(first[0, 0, F.storage_out], rel=1e-9)
    assert plants.ups_kwh[0, 0] == pytest.approx(made.site.ups_kwh[0])
    assert plants.throttle[0, 0] == 1.0
    assert plants.lock_s[0, 0] == 0.0


@pytest.mark.parametrize("key", ["a", "f"])
def test_rooms_with_units_of_their_own_trip_before_their_compressors_are_back(key):
    """Nothing stores cold there, and a unit rests some minutes: the generator saves the strings, not the jobs."""
    made = hall(key, load=0.9, dry=30.0, ups_kwh=KW / 12, ups_fans=1.0, generator_kw=2 * KW)
    plants = made.state.plants
    lose(made, 2.0, 1)
    flows = made.run(1)
    assert plants.throttle[0, 0] == 0.0
    assert DT - plants.still_h[0, 0] < GENERATOR_S / 3600 + column(made.params, "restart_s")[0, 0] / 3600
    made.run(3)
    assert plants.down_h[0, 0] == 0.0, "they boot on the generator"
    assert plants.generator[0, 0] == 2
    assert imbalance(flows).max() < 1e-9


@pytest.mark.parametrize("key", KEYS)
def test_without_a_generator_nodes_stop(key):
    """Strings for five minutes of design load carry 80 % a little longer, or the hall trips before; then all is dark
    until the grid is back, and nodes run ten minutes after the hall has cooled."""
    made = hall(key, ups_kwh=KW / 12, ups_fans=1.0)
    plants = made.state.plants
    lose(made, 0.5, 0)
    first = made.run(1)
    assert plants.throttle[0, 0] == 0.0, "nodes stopped"
    lit_h = DT - plants.still_h[0, 0]
    assert 0.5 / 60.0 < lit_h < 9.0 / 60.0
    if key in "bcg":
        assert lit_h > 4.0 / 60.0, "the hall lasts longer than the strings"
        assert plants.ups_kwh[0, 0] < 12.0
    assert first[0, 0, F.it] <= 1.1 * KW * lit_h
    assert first[0, 0, F.storage_out] == pytest.approx(power(first)[0, 0], rel=1e-9)
    assert plants.ups_kwh[0, 0] >= 0.0
    second = made.run(1)
    assert power(second)[0, 0] == 0.0
    assert plants.throttle[0, 0] > 0.0, "they stop once"
    assert plants.down_h[0, 0] == pytest.approx(RESTART_H)
    third = made.run(1)
    assert plants.down_h[0, 0] == 0.0
    assert plants.still_h[0, 0] <= DT - RESTART_H, "they boot for ten minutes"
    assert third[0, 0, F.it] > 0.0
    last = made.run(40)
    assert plants.throttle[0, 0] == 1.0
    for flows in (first, second, third, last):
        assert imbalance(flows).max() < 1e-9
        assert bus(flows)[0, 0] >= -1e-9


def test_fans_on_the_strings_give_time():
    """Ample strings: without fans the hall trips in minutes; with them it warms slowly, for the loop still cools."""
    course = {}
    for fans in (0.0, 1.0):
        made = hall("b", load=0.9, ups_kwh=2 * KW, ups_fans=fans)
        lose(made, 1.0, 0)
        for k in range(24):
            made.run(1, dt_h=1 / 60)
            if made.state.plants.throttle[0, 0] == 0.0:
                course[fans] = k + 1
                break
    assert course[0.0] <= 4, "10 kW a rack: 40 degC after 80 s"
    assert course[1.0] > 2 * course[0.0]


@pytest.mark.parametrize("key", ["a", "f"])
def test_an_edge_site_with_nothing_stops_at_once(key):
    made = hall(key)
    lose(made, 0.1, 0)
    flows = made.run(1)
    assert made.state.plants.throttle[0, 0] == 0.0
    assert made.state.plants.still_h[0, 0] == DT, "nodes do not boot in the step in which they stopped"
    assert flows[0, 0, F.it] < 0.02 * KW * DT, "service nodes once the grid is back"
    made.run(1)
    assert made.state.plants.down_h[0, 0] == 0.0


def test_a_generator_too_small_trips():
    made = hall("b", ups_kwh=KW / 12, ups_fans=1.0, generator_kw=0.4 * KW)
    lose(made, 1.0, 1)
    flows = made.run(1)
    plants = made.state.plants
    assert flows[0, 0, F.generator] > 0.0
    assert plants.generator[0, 0] == 0
    assert plants.throttle[0, 0] == 0.0
    assert imbalance(flows).max() < 1e-9
    assert plants.ups_kwh[0, 0] < 20.0, "strings helped as long as they could"


def test_compressors_wait_after_power_is_back():
    made = hall("g", load=0.9, dry=35.0, ups_kwh=KW / 12, ups_fans=1.0, generator_kw=2 * KW)
    before = made.run(1, dt_h=1 / 60)[0, 0, F.compressors]
    assert before > 0.0
    lose(made, 1.0, 1)
    restart = column(made.params, "restart_s")[0, 0]
    drawn = []
    for _ in range(15):
        drawn.append(made.run(1, dt_h=1 / 60)[0, 0, F.compressors])
    quiet = np.flatnonzero(np.array(drawn) > 0.0)[0] * 60.0
    assert quiet <= restart + GENERATOR_S <= quiet + 60.0
    assert drawn[-1] > 0.5 * before


def test_fine_steps_agree_with_coarse_ones_while_nothing_happens():
    """Walking a calm step changes its energy little: the walk is the same plant."""
    calm = hall("b", keys=("b", "c", "d"))
    walked = calm._replace(state=copied(calm.state))
    walked.state.plants.lock_s[:] = 900.0
    a, b = power(calm.run(1)), power(walked.run(1))
    np.testing.assert_allclose(b, a, rtol=0.01)
    assert (walked.state.plants.lock_s == 0.0).all()


@pytest.mark.parametrize("key", KEYS)
def test_every_fault_at_once_closes_and_costs(key):
    well, ill = hall(key, load=0.9, dry=30.0), hall(key, load=0.9, dry=30.0)
    ill.state.plants.fault_h[..., : FAULTS.index("sensor")] = 100.0
    a, b = well.run(16), ill.run(16)
    assert imbalance(b).max() < 1e-9
    assert (
        ill.state.plants.chip_c + ill.state.plants.hot_c > well.state.plants.chip_c + well.state.plants.hot_c
    ).all()
    assert b[0, 0, F.it] != a[0, 0, F.it]


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "sensor"])
def test_each_fault_acts_somewhere(fault):
    """On hot full halls of all archetypes, some plant's cooling energy or temperature moves."""
    well, ill = (hall(keys=KEYS, load=1.0, dry=36.0) for _ in range(2))
    ill.state.plants.fault_h[..., FAULTS.index(fault)] = 100.0
    a, b = well.run(4), ill.run(4)
    changed = np.abs(power(b) / power(a) - 1.0) > 1e-4
    warmer = np.abs(ill.state.plants.chip_c - well.state.plants.chip_c) > 0.05
    assert (changed | warmer).any()


def test_fuel_of_a_generator():
    """E55: idle and load shares, and a load bank below 30 %."""
    assert fuel_l(800.0, 1000.0, 2.0) == pytest.approx(2.0 * (30.0 + 200.0))
    assert fuel_l(100.0, 1000.0, 1.0) == fuel_l(300.0, 1000.0, 1.0)
