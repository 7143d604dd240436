"""Sun, wind, battery, breaker, curtailment and the AC bus: formulas, limits and sums worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core.params import Site
from gcn_env.core.state import BATTERY, CLOUD, WIND, allocate
from gcn_env.core.supply import (
    FADE,
    LEAST,
    MOST,
    STORE,
    breaker_heat,
    heat_wanted,
    irradiance,
    load_kwh,
    pv_power,
    store,
    sun_height,
    supply,
    wind_power,
)
from gcn_env.ledger import FLOWS, TERMS
from tests.worlds import world

pytestmark = pytest.mark.smoke

F, T = FLOWS.ix, TERMS.ix
EQUINOX, MIDSUMMER, MIDWINTER = 80 * 24.0, 171 * 24.0, 354 * 24.0  # starts of days 81, 172 and 355
LOADS = [F.it, F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers, F.ups_loss, F.pdu_loss, F.misc]
SOURCES = [F.grid, F.pv, F.wind, F.generator, F.storage_out]


@pytest.mark.parametrize(
    ("latitude", "hour", "degrees"),
    [
        (50.0, EQUINOX + 12, 90 - 50),
        (0.0, EQUINOX + 12, 90),
        (50.0, MIDSUMMER + 12, 90 - 50 + 23.45),
        (50.0, MIDWINTER + 12, 90 - 50 - 23.45),
        (-33.9, MIDWINTER + 12, 90 - 33.9 + 23.45),
        (50.0, EQUINOX + 6, 0),
        (50.0, EQUINOX, -40),
        (75.0, MIDWINTER + 12, 90 - 75 - 23.45),
    ],
)
def test_height_of_the_sun(latitude, hour, degrees):
    assert math.degrees(math.asin(sun_height(math.radians(latitude), 0.0, hour))) == pytest.approx(
        degrees, abs=0.1
    )


def test_noon_comes_earlier_in_the_east():
    hours = EQUINOX + np.arange(0, 24, 0.25)
    for longitude in (-121.9, 8.7, 151.2):
        heights = [sun_height(0.6, longitude / 15.0, h) for h in hours]
        noon = hours[int(np.argmax(heights))] - EQUINOX
        assert (noon + longitude / 15.0) % 24 == pytest.approx(12.0, abs=0.13)


@pytest.mark.parametrize(("height", "clear"), [(1.0, 1035.1), (0.5, 487.9), (0.1, 60.9), (0.0, 0), (-0.4, 0)])
def test_clear_sky_as_haurwitz_has_it(height, clear):
    """1098 cos(z) exp(-0.059 / cos(z)) W/m2, by a pocket calculator."""
    assert irradiance(height, 0.0) == pytest.approx(clear, abs=0.1)
    assert irradiance(height, 1.0) == pytest.approx(0.25 * clear, abs=0.1)
    assert irradiance(height, 0.5) == pytest.approx((1 - 0.75 * 0.5**3.4) * clear, abs=0.1)


def test_panels():
    assert pv_power(1000.0, 25.0 - 31.25) == pytest.approx(0.86)  # standard test conditions at the cell
    assert pv_power(800.0, 20.0) == pytest.approx(0.8 * (1 - 0.0037 * 20) * 0.86)  # the cell is at 45 degC
    assert pv_power(0.0, 30.0) == 0.0
    assert pv_power(900.0, 40.0) < pv_power(900.0, 0.0)


@pytest.mark.parametrize(
    ("at_hub", "power"),
    [
        (0, 0),
        (2.9, 0),
        (3.0, 0),
        (7.5, (7.5**3 - 27) / (1728 - 27)),
        (12.0, 1),
        (24.9, 1),
        (25.1, 0),
        (40, 0),
    ],
)
def test_turbine(at_hub, power):
    assert wind_power(at_hub, 10.0, False) == pytest.approx(power)
    assert wind_power(at_hub / 10**0.14, 100.0, False) == pytest.approx(power, abs=1e-9)


def test_a_stopped_turbine_waits_for_less_wind():
    assert wind_power(23.0, 10.0, False) == 1.0
    assert wind_power(23.0, 10.0, True) == 0.0
    assert wind_power(21.9, 10.0, True) == 1.0
    assert 0.0 < wind_power(5.0, 10.0, True) < 1.0  # a calm is no gale


def test_round_trip_of_a_battery():
    """What 10 kWh in at the terminals give back: 85 % (E48), fading of a quarter of an hour aside."""
    held = 50.0
    into, _, held = store(1.0, held, 100.0, 40.0, 0.0, 0.25)
    assert into == 10.0
    got = 0.0
    for _ in range(4):
        _, out, after = store(-1.0, held, 100.0, 40.0, 1e9, 0.25)
        if after < 50.0 * (1 - FADE) ** 2:
            break
        got, held = got + out, after
    out = (held - 50.0) * STORE + got
    assert out / into == pytest.approx(0.85, abs=0.002)


@given(
    commands=st.lists(st.floats(-1, 1), min_size=1, max_size=60),
    usable=st.floats(-5, 30),
    start=st.floats(0.1, 0.95),
)
def test_battery_keeps_its_limits_and_its_energy(commands, usable, start):
    kwh, kw, dt, held = 40.0, 20.0, 0.25, start * 40.0
    for c in commands:
        before = held
        into, out, held = store(c, held, kwh, kw, usable, dt)
        assert min(into, out) == 0.0
        assert max(into, out) <= abs(c) * kw * dt + 1e-12
        assert out <= max(0.0, usable)
        assert min(before * (1 - FADE * dt), LEAST * kwh) - 1e-9 <= held <= MOST * kwh + 1e-9
        assert held == pytest.approx(before * (1 - FADE * dt) + STORE * into - out / STORE, rel=1e-12)
        if c == 0.0:
            assert into == out == 0.0


@pytest.mark.parametrize(("load", "minutes"), [(1.25, 31.2), (1.5, 12.8), (2.0, 5.1)])
def test_breaker_trips_in_its_time(load, minutes):
    """E47: 125 % for about 31 min, 150 % for about 13 min."""
    heat, t = 0.0, 0.0
    while heat < 1.0:
        heat, t = breaker_heat(heat, load, 0.1 / 60), t + 0.1
    assert t == pytest.approx(minutes, abs=0.2)


def test_breaker_holds_and_cools():
    heat = 0.0
    for _ in range(10_000):
        heat = breaker_heat(heat, 1.04, 0.25)
    assert heat < 1e-9
    assert breaker_heat(0.9, 0.5, 0.25) < 0.9
    assert breaker_heat(0.1, 0.0, 0.25) == 0.0


def test_heat_wanted_follows_the_weather():
    assert heat_wanted(100.0, -20.0) == heat_wanted(100.0, -10.0) == 100.0
    assert heat_wanted(100.0, 2.5) == pytest.approx(50.0)
    assert heat_wanted(100.0, 30.0) == pytest.approx(15.0)


# ---------------------------------------- the bus


class Bus:
    """One environment of one region beside the smoke world's bank; a test sets what it has."""

    def __init__(self, dt=0.25, cloud=0.0, wind=0.0, at_h=MIDSUMMER + 12.0, price=50.0, **site):
        p = world().params
        off = Site(
            **{k: np.zeros((1, *np.shape(v)[1:])) if np.ndim(v) else v for k, v in p.site._asdict().items()}
        )
        off = off._replace(feeder_kw=np.array([np.inf]), hub_m=np.array([10.0]))
        self.site = off._replace(**{k: np.array([float(v)]) for k, v in site.items()})
        values = np.zeros((1, 8784, 1, p.bank.values.shape[3]), np.float32)
        values[..., CLOUD], values[..., WIND] = cloud, wind
        self.bank, self.dt = p.bank._replace(values=values), dt
        self.geo = p.geo._replace(design_kw=np.array([100.0]))
        self.s = allocate(1, 2, 1, 1, 1, 1)
        self.s.clock.now_h[0] = at_h - 0.5 * dt
        self.s.clock.rng[:] = np.arange(1, 1 + self.s.clock.rng.shape[1], dtype=np.uint64)
        self.s.signals.now[0, 0, :3] = (price, 300.0, 20.0)
        self.plants = self.s.plants

    def step(self, load=50.0, command=0.0, **flows):
        """A step at a load of `load` kW; returns its flows."""
        ledger = self.s.ledger
        ledger.flows[:], ledger.terms[:] = 0.0, 0.0
        ledger.flows[0, 0, F.it] = load * self.dt
        for name, value in flows.items():
            ledger.flows[0, 0, FLOWS.index(name)] = value
        self.plants.command[0, 0, BATTERY] = command
        supply(
            0, 1, self.dt, self.s.clock, self.s.signals, self.plants, self.geo, self.bank, self.site, ledger
        )
        f = ledger.flows[0, 0]
        demand = f[LOADS].sum() + f[F.storage_in]
        assert load_kwh(f) == pytest.approx(f[LOADS].sum(), rel=1e-15)
        assert f[SOURCES].sum() == pytest.approx(demand, rel=1e-9)
        assert (f >= 0.0).all()
        return f

    def term(self, name):
        return self.s.ledger.terms[0, TERMS.index(name)]


def test_grid_alone():
    bus = Bus()
    assert bus.step(40.0)[F.grid] == 10.0
    assert bus.plants.grid_kw[0, 0] == 40.0


def test_sun_serves_the_load_and_the_rest_is_spilled():
    bus = Bus(pv_kw=100.0, latitude=math.radians(50.0))
    full = 100.0 * pv_power(irradiance(math.cos(math.radians(26.55)), 0.0), 20.0)
    f = bus.step(200.0)
    assert f[F.pv] == pytest.approx(full * 0.25, rel=1e-3)
    assert f[F.grid] == pytest.approx(50.0 - f[F.pv])
    assert f[F.spilled] == 0.0
    f = bus.step(30.0)
    assert f[F.pv] == pytest.approx(7.5)
    assert f[F.spilled] == pytest.approx(full * 0.25 - 7.5, rel=1e-3)
    assert f[F.grid] == 0.0
    assert bus.plants.pv_kw[0, 0] == pytest.approx(full, rel=1e-3)
    assert Bus(pv_kw=100.0, at_h=MIDSUMMER).step()[F.pv] == 0.0, "midnight"
    assert 0.2 < Bus(pv_kw=100.0, latitude=0.87, cloud=1.0).step(200.0)[F.pv] / (full * 0.25) < 0.3


def test_surplus_goes_into_a_battery_that_is_told_to_charge():
    bus = Bus(wind_kw=80.0, wind=13.0, battery_kwh=100.0, battery_kw=40.0)
    bus.plants.battery_kwh[:] = 50.0
    f = bus.step(60.0)
    assert (f[F.wind], f[F.spilled], f[F.storage_in]) == pytest.approx((15.0, 5.0, 0.0))
    f = bus.step(60.0, command=1.0)
    assert (f[F.wind], f[F.spilled], f[F.storage_in], f[F.grid]) == pytest.approx((20.0, 0.0, 10.0, 5.0))


def test_a_battery_never_feeds_the_grid():
    bus = Bus(wind_kw=80.0, wind=13.0, battery_kwh=100.0, battery_kw=400.0, battery_usd=0.05)
    bus.plants.battery_kwh[:] = 90.0
    f = bus.step(100.0, command=-1.0)  # wind covers 80 of 100 kW
    assert f[F.storage_out] == pytest.approx(5.0)
    assert f[F.grid] == pytest.approx(0.0, abs=1e-12)
    assert bus.term("wear") == pytest.approx(5.0 * 0.05)
    f = bus.step(70.0, command=-1.0)
    assert f[F.storage_out] == 0.0
    assert f[F.spilled] == pytest.approx(2.5)


def test_battery_and_ledger_agree():
    bus, rng = Bus(battery_kwh=50.0, battery_kw=25.0, wind_kw=60.0, wind=6.0), np.random.default_rng(0)
    bus.plants.battery_kwh[:] = 25.0
    start, total = 25.0, np.zeros(len(FLOWS))
    for _ in range(200):
        total += bus.step(rng.uniform(0, 60), rng.uniform(-1, 1))
        assert 0.1 * 50 - 0.01 <= bus.plants.battery_kwh[0, 0] <= 0.95 * 50 + 1e-9
    stayed = total[F.storage_in] - total[F.storage_out] - total[F.storage_loss]
    assert bus.plants.battery_kwh[0, 0] - start == pytest.approx(stayed, abs=1e-9)
    assert total[F.storage_loss] > 0.07 * total[F.storage_in]


def test_without_the_grid_only_generator_and_strings_feed_the_site():
    bus = Bus(pv_kw=100.0, wind_kw=100.0, wind=13.0, battery_kwh=50.0, battery_kw=25.0)
    bus.plants.outage_h[:], bus.plants.battery_kwh[:] = 2.0, 40.0
    f = bus.step(50.0, command=-1.0, generator=10.0, storage_out=2.5)
    assert f[[F.grid, F.pv, F.wind, F.spilled]].sum() == 0.0
    assert f[F.storage_out] == 2.5
    assert bus.plants.battery_kwh[0, 0] == pytest.approx(40.0, rel=1e-4)


def test_the_grid_comes_back_within_a_step():
    """Ten minutes without: strings carried 25 kW of load; then recharge, sun and wind."""
    bus = Bus(wind_kw=30.0, wind=13.0, battery_kwh=50.0, battery_kw=30.0)
    bus.plants.outage_h[:], bus.plants.battery_kwh[:] = 1 / 6, 20.0
    f = bus.step(25.0, command=1.0, storage_out=25.0 / 6, storage_in=1.0)
    assert f[F.storage_in] == pytest.approx(1.0 + 30.0 / 12)
    assert f[F.wind] == pytest.approx(30.0 / 12)
    assert f[F.grid] == pytest.approx(25.0 / 12 + 1.0)


def test_a_battery_moves_what_the_grid_is_paid():
    """So a charging battery earns at a negative price: the bill's energy is what the grid gave."""
    bus = Bus(battery_kwh=50.0, battery_kw=20.0)
    bus.plants.battery_kwh[:] = 25.0
    assert [bus.step(30.0, c)[F.grid] for c in (-1.0, 0.0, 1.0)] == pytest.approx([2.5, 7.5, 12.5])


# ---------------------------------------- curtailment


def test_curtailment_is_charged_exactly():
    """Announced 0.6 h ahead for 0.5 h: the third quarter is in it for 0.15 h, the fourth whole, the fifth for 0.1."""
    bus = Bus(curtail=1e-12, curtail_usd=0.8)
    bus.plants.curtail_in_h[:], bus.plants.curtail_h[:], bus.plants.curtail_kw[:] = 0.6, 0.5, 30.0
    charged, above = [], []
    for kw in (50.0, 50.0, 50.0, 20.0, 70.0, 70.0):
        above.append(bus.step(kw)[F.above_limit])
        charged.append(bus.term("curtailment"))
    np.testing.assert_allclose(above, [0, 0, 20 * 0.15, 0, 40 * 0.1, 0], atol=1e-12)
    np.testing.assert_allclose(charged, 0.8 * np.array(above), atol=1e-12)
    left = (bus.plants.curtail_in_h, bus.plants.curtail_h, bus.plants.curtail_kw)
    assert all(x[0, 0] == 0.0 for x in left)


@pytest.mark.compiled
def test_calls_come_at_their_rate_and_their_depth():
    bus = Bus(curtail=0.2, curtail_usd=1.0, curtail_notice_h=0.5, curtail_h=2.0, curtail_share=0.2)
    calls, hours = [], []
    for _ in range(20_000):
        idle = bus.plants.curtail_h[0, 0] == 0.0
        bus.step(60.0)
        if idle and bus.plants.curtail_h[0, 0] > 0.0:
            assert bus.plants.curtail_in_h[0, 0] == 0.5
            calls.append(60.0 - bus.plants.curtail_kw[0, 0])
            hours.append(bus.plants.curtail_h[0, 0])
    cycle = 1 / 0.2 + 0.5 + 2.0  # h: wait, notice, call
    assert len(calls) == pytest.approx(20_000 * 0.25 / cycle, rel=0.12)
    assert np.mean(calls) == pytest.approx(20.0, rel=0.06)  # kW: a fifth of the design load
    assert np.mean(hours) == pytest.approx(2.0, rel=0.06)
    assert min(calls) >= 10.0
    assert max(calls) <= 30.0


def test_calls_do_not_depend_on_the_load():
    when = []
    for load in (30.0, 90.0):
        bus, at = Bus(curtail=0.2, curtail_notice_h=0.25, curtail_h=1.0, curtail_share=0.2), []
        for k in range(400):
            bus.step(load)
            at += [k] if bus.plants.curtail_in_h[0, 0] == 0.25 else []
        when.append(at)
    assert when[0] == when[1]
    assert len(when[0]) > 5
