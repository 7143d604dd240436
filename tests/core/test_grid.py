"""The bill, the calendar, settlement at the horizon; signals, their forecasts and outlooks."""

import datetime

import numpy as np
import pytest

from gcn_env.core.grid import bill, month_of, settle, settle_batteries
from gcn_env.core.jit import kernel
from gcn_env.core.params import BATCH, INFERENCE, TRAINING, Bank
from gcn_env.core.signals import look_out, outlook_mean
from gcn_env.core.state import CARBON, CLOUD, DRY, LEADS_H, OUTLOOK_H, PENDING, PRICE, WIND, allocate
from gcn_env.core.supply import irradiance, pv_power, sun_height, supply, wind_power
from gcn_env.ledger import FLOWS, TERMS
from tests.worlds import world

F, T = FLOWS.ix, TERMS.ix
MARCH_H = 59 * 24.0


@kernel()
def _months(hours, length, out):
    for i in range(hours.shape[0]):
        out[i] = month_of(hours[i], length)


@kernel()
def _settle(now, jobs, fleet, money, market, ledger):
    settle(0, now, jobs, fleet, money, market, ledger)


@kernel()
def _mean(r, start, hours, sums):
    return outlook_mean(0, r, start, hours, sums)


@pytest.mark.parametrize("year", [2023, 2024])
def test_months_of_every_hour(year):
    first = datetime.datetime(year, 1, 1)
    length = (datetime.datetime(year + 1, 1, 1) - first).days * 24
    hours = np.arange(length, dtype=np.float64)
    out = np.zeros(length, np.int64)
    _months(hours, length, out)
    wanted = [(first + datetime.timedelta(hours=h)).month - 1 for h in range(length)]
    np.testing.assert_array_equal(out, wanted)
    _months(hours + 0.75, length, out)
    np.testing.assert_array_equal(out, wanted)


class Billing:
    """One environment of the smoke world whose IT energy a test sets."""

    def __init__(self, at_h=MARCH_H - 0.25, dt=0.25):
        self.world, self.dt = world(), dt
        self.p = self.world.params
        self.s = allocate(1, 16, 2, 3, 2, 4)
        self.s.clock.now_h[0] = at_h
        self.s.clock.year[0] = int(np.flatnonzero(self.p.bank.hours == 8760)[0])
        self.s.signals.now[0, :, PRICE] = (40.0, -20.0)
        self.s.signals.now[0, :, CARBON] = (400.0, 30.0)
        self.s.plants.month[:] = 1
        self.s.plants.peak_kw[:] = 10.0

    def step(self, kw):
        led = self.s.ledger
        led.terms[:] = 0.0
        led.flows[:] = 0.0
        led.flows[0, :, F.it] = np.asarray(kw) * self.dt
        p = self.p
        supply(0, 1, self.dt, self.s.clock, self.s.signals, self.s.plants, p.geo, p.bank, p.site, led)
        bill(0, 1, self.dt, self.s.clock, self.s.signals, self.s.plants, p.geo, p.bank, p.money, p.site, led)
        return led.terms[0]


def test_energy_carbon_and_negative_prices():
    b = Billing()
    terms = b.step([100.0, 40.0])
    kwh = np.array([25.0, 10.0])
    assert terms[T.energy] == pytest.approx((kwh * [0.040, -0.020]).sum())
    assert terms[T.carbon] == pytest.approx((kwh * [0.4, 0.03]).sum() * b.p.money.carbon_usd)
    np.testing.assert_allclose(b.s.plants.grid_kw[0], [100.0, 40.0])


def test_peaks_are_paid_once_a_month():
    b = Billing(at_h=MARCH_H - 1.0)
    usd = b.p.money.demand_usd
    assert b.step([30.0, 5.0])[T.demand] == pytest.approx(20.0 * usd[0])
    assert b.step([30.0, 9.0])[T.demand] == 0.0
    assert b.step([31.0, 12.0])[T.demand] == pytest.approx(1.0 * usd[0] + 2.0 * usd[1])
    b.s.clock.now_h[0] = MARCH_H
    base = b.p.money.base_peak_kw
    assert b.step(base + np.array([3.0, -1.0]))[T.demand] == pytest.approx(3.0 * usd[0])
    np.testing.assert_allclose(b.s.plants.peak_kw[0], base + np.array([3.0, 0.0]))


def test_other_terms():
    b = Billing()
    led = b.s.ledger
    led.flows[:] = 0.0
    led.terms[:] = 0.0
    led.flows[0, 0, [F.water, F.excursion, F.starts]] = (500.0, 2.0, 3.0)
    p = b.p
    bill(0, 1, 0.25, b.s.clock, b.s.signals, b.s.plants, p.geo, p.bank, p.money, p.site, led)
    assert led.terms[0, T.water] == pytest.approx(500.0 * p.money.water_usd[0])
    assert led.terms[0, T.thermal] == pytest.approx(2.0 * p.geo.design_kw[0] * p.money.thermal_usd)
    assert led.terms[0, T.wear] == pytest.approx(3.0 * p.money.start_usd)


@pytest.mark.parametrize(
    ("kind", "deadline"), [(TRAINING, 103.0), (BATCH, 90.0), (TRAINING, 500.0), (INFERENCE, 50.0)]
)
def test_settlement_by_hand(kind, deadline):
    """Energy at reference prices and rent at its mean, over the pools of the class; lateness at their mean speed."""
    p = world().params
    market = p.market._replace(rent_usd=np.array([1.5, 0.2, 0.0]))
    s = allocate(1, 4, 1, 3, 2, 4)
    jobs = s.jobs
    jobs.n_live[0] = 1
    jobs.status[0, 0], jobs.kind[0, 0], jobs.gang[0, 0] = PENDING, kind, 4
    jobs.work[0, 0], jobs.deadline[0, 0], jobs.value[0, 0] = 8.0, deadline, 5.0
    _settle(100.0, jobs, p.fleet, p.money, market, s.ledger)
    speed = p.fleet.speed[kind]
    can = speed > 0
    kw = p.fleet.idle_kw + (p.fleet.peak_kw - p.fleet.idle_kw) * p.fleet.load[kind]
    hour_usd = kw * p.money.outlook_usd[p.fleet.region] + market.rent_usd
    usd = (4 * 8.0 / speed[can] * hour_usd[can]).mean()
    if kind != INFERENCE:
        usd += 5.0 * max(0.0, 100.0 + 8.0 / speed[can].mean() - max(100.0, deadline))
    assert s.ledger.terms[0, T.settlement] == pytest.approx(usd)
    assert np.count_nonzero(s.ledger.terms) == 1


@kernel()
def _settle_batteries(plants, money, site, ledger):
    settle_batteries(0, plants, money, site, ledger)


def test_batteries_are_settled_at_half_full():
    p = world("plants").params
    s = allocate(1, 4, 1, 7, 7, 4)
    s.plants.battery_kwh[0] = 0.5 * p.site.battery_kwh + np.where(np.arange(7) % 2, -1.0, 3.0)
    _settle_batteries(s.plants, p.money, p.site, s.ledger)
    short = np.arange(7) % 2 == 1
    want = (p.money.outlook_usd * short).sum() / 0.922
    assert s.ledger.terms[0, T.settlement] == pytest.approx(want)


def outside(kind="perfect", **changes):
    bank = world(overrides={"signals.forecast.kind": kind}).params.bank
    return bank._replace(**changes) if changes else bank


def looked(bank, year=0, at_h=1000.0, noise_at=0, n=1):
    s = allocate(n, 4, 1, 3, 2, 4)
    s.clock.year[:], s.clock.now_h[:] = year, at_h
    s.signals.noise_at[:] = noise_at
    look(s, bank, 0, n)
    return s


def look(s, bank, lo, hi):
    look_out(lo, hi, True, s.clock, s.signals, bank, world().params.money, world().params.site)


def test_signals_of_the_hour():
    """Prices stand for the hour, weather runs between hours."""
    bank = outside()
    s = looked(bank, at_h=1000.25)
    v = bank.values[0].astype(np.float64)
    np.testing.assert_array_equal(s.signals.now[0, :, PRICE], v[1000, :, PRICE])
    np.testing.assert_array_equal(s.signals.now[0, :, CARBON], v[1000, :, CARBON])
    np.testing.assert_allclose(
        s.signals.now[0, :, DRY:], 0.75 * v[1000, :, DRY:CLOUD] + 0.25 * v[1001, :, DRY:CLOUD], rtol=1e-6
    )


def test_perfect_forecasts_are_exact():
    bank = outside()
    s = looked(bank)
    for k, lead in enumerate(LEADS_H):
        np.testing.assert_array_equal(
            s.signals.ahead[0, :, k], bank.values[0, 1000 + lead, :, :3].astype(np.float64)
        )


def test_persistence_is_the_day_before():
    bank = outside("persistence")
    s = looked(bank)
    for k, lead in enumerate(LEADS_H):
        np.testing.assert_array_equal(
            s.signals.ahead[0, :, k], bank.values[0, 1000 + lead - 24, :, :3].astype(np.float64)
        )


def test_climatology_is_the_normal_of_the_hour():
    bank = outside("climatology")
    s = looked(bank)
    for k, lead in enumerate(LEADS_H):
        np.testing.assert_array_equal(
            s.signals.ahead[0, :, k], bank.normal[1000 + lead, :, :3].astype(np.float64)
        )
    last = bank.values.shape[1] - 1
    late = looked(bank, at_h=float(last))
    np.testing.assert_array_equal(late.signals.ahead[0, :, -1], bank.normal[last, :, :3].astype(np.float64))


def test_forecasts_at_the_end_of_the_year_stay_in_it():
    bank = outside()
    last = bank.values.shape[1] - 1
    s = looked(bank, at_h=float(last))
    np.testing.assert_array_equal(s.signals.ahead[0, :, -1], bank.values[0, last, :, :3].astype(np.float64))


@pytest.mark.compiled
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_forecast_errors_grow_with_the_lead_as_declared(scale):
    """The error's standard deviation over many episodes is the table's at every lead, within 2 %."""
    bank = world(overrides={"signals.forecast": {"kind": "noisy", "error_scale": scale}}).params.bank
    n = 4096
    s = looked(bank, noise_at=np.arange(n) * 4 % bank.noise.shape[0], n=n)
    truth = np.stack([bank.values[0, 1000 + lead, :, :3] for lead in LEADS_H], 1)
    error = s.signals.ahead - truth[None]
    sd = bank.sd[..., :3]
    np.testing.assert_allclose(error.std(0), sd, rtol=0.02)
    np.testing.assert_allclose(sd, scale * outside("noisy").sd[..., :3])
    assert (np.abs(error.mean(0)) < 0.02 * sd).all()
    assert (np.diff(bank.sd, axis=1) >= 0).all(), "further ahead is not better known"
    assert (bank.sd[:, -1] > 1.5 * bank.sd[:, 0]).all()


@pytest.mark.compiled
def test_forecast_errors_over_the_hours_of_a_year_are_as_declared():
    """Hour by hour over a year: within 6 % at every lead."""
    bank = outside("noisy")
    hours = np.arange(24, 8724)
    s = looked(bank, at_h=hours.astype(float), noise_at=123, n=len(hours))
    truth = np.stack([bank.values[0, hours + lead, :, :3] for lead in LEADS_H], 2)  # [hours, R, leads, 3]
    error = s.signals.ahead - truth
    np.testing.assert_allclose(error.std(0), bank.sd[..., :3], rtol=0.06)
    # an hour's error keeps its sign as the hour comes nearer: a forecast is revised and not thrown again
    day, hour = error[:-23, :, -1] / bank.sd[:, -1, :3], error[23:, :, 0] / bank.sd[:, 0, :3]
    np.testing.assert_allclose(day, hour, atol=2e-3)


def test_forecast_of_sun_and_wind():
    """Perfect: E53 and E54 with the bank's cloud and wind at the middle of the hour; noisy: right on the whole."""
    p = world("plants").params
    bank = p.bank._replace(sd=np.zeros_like(p.bank.sd))
    here = p.site.pv_kw + p.site.wind_kw > 0
    for at_h in range(4000, 4024, 5):
        s = allocate(1, 4, 1, 7, 7, 4)
        s.clock.now_h[0] = at_h
        look_out(0, 1, True, s.clock, s.signals, bank, p.money, p.site)
        for k, lead in enumerate(LEADS_H):
            row = bank.values[0, at_h + lead].astype(float)
            for r in np.flatnonzero(here):
                height = sun_height(p.site.latitude[r], p.site.longitude_h[r], at_h + lead + 0.5)
                sun = p.site.pv_kw[r] * pv_power(irradiance(height, row[r, CLOUD]), row[r, DRY])
                want = sun + p.site.wind_kw[r] * wind_power(row[r, WIND], p.site.hub_m[r], False)
                assert s.signals.green[0, r, k] == pytest.approx(want, rel=1e-6, abs=1e-9)
        assert (s.signals.green[0, ~here] == 0.0).all()
    n = 400
    s, perfect = allocate(n, 4, 1, 7, 7, 4), s.signals.green[0]
    s.clock.now_h[:] = at_h
    s.signals.noise_at[:] = 41 * np.arange(n)
    look_out(0, n, True, s.clock, s.signals, p.bank, p.money, p.site)
    got = s.signals.green[:, here]
    spread = got.std(0).max(1)
    assert (spread > 0.0).all()
    assert (np.abs(got.mean(0) - perfect[here]) < 3.0 * got.std(0) + 1e-6).all()


def brute_outlook(now, ahead):
    """Hourly outlook [72]: now, lines between leads, then the same day again."""
    day = np.interp(np.arange(24), [0, *LEADS_H], [now, *ahead])
    return np.tile(day, 3)


def test_outlook_means_against_brute_force():
    s, usd = looked(outside("noisy"), noise_at=77), world().params.money.carbon_usd
    rng = np.random.default_rng(0)
    for sums, column, scale in (
        (s.signals.price_sum, PRICE, 1e-3),
        (s.signals.carbon_sum, CARBON, 1e-3 * usd),
    ):
        for r in range(2):
            hourly = brute_outlook(s.signals.now[0, r, column], s.signals.ahead[0, r, :, column]) * scale
            np.testing.assert_allclose(np.diff(sums[0, r]), hourly, rtol=1e-9, atol=1e-12)
            fine = np.repeat(hourly, 1000)
            for _ in range(30):
                a, length = rng.uniform(0, 90), rng.choice([0.01, 0.3, 1.0, 5.5, 30.0, 500.0])
                start = min(a, OUTLOOK_H - 1.0)
                end = min(max(start + length, start + 0.25), OUTLOOK_H)
                part = fine[round(start * 1000) : round(end * 1000)]
                spread = np.ptp(hourly) * 0.01 + 1e-12
                assert _mean(r, a, length, sums) == pytest.approx(part.mean(), abs=spread)
    np.testing.assert_allclose(s.signals.both_sum, s.signals.price_sum + s.signals.carbon_sum, rtol=1e-12)


def test_bank_fields_are_complete():
    assert set(Bank._fields) == {"values", "hours", "weekday", "sd", "forecast", "normal", "noise"}
    assert outside().values.shape[1] == 8784


def test_ratchet():
    """A new month is billed 80 % of the highest peak at least; what that adds is paid at its start."""
    b = Billing(at_h=MARCH_H - 0.5)
    b.p = b.p._replace(site=b.p.site._replace(ratchet=np.array([0.8, 0.8])))
    base, usd = b.p.money.base_peak_kw, b.p.money.demand_usd
    high = np.array([2.0 * base[0], 0.5 * base[1]])
    b.step(high)
    b.s.clock.now_h[0] = MARCH_H
    assert b.step(0.5 * base)[T.demand] == pytest.approx(0.6 * base[0] * usd[0])
    np.testing.assert_allclose(b.s.plants.peak_kw[0], [1.6 * base[0], base[1]])
    assert b.step([1.7 * base[0], 0.0])[T.demand] == pytest.approx(0.1 * base[0] * usd[0])


def test_fuel_and_heat_sold():
    b = Billing()
    led = b.s.ledger
    led.flows[:], led.terms[:] = 0.0, 0.0
    led.flows[0, 0, [F.fuel, F.heat_reused]] = (10.0, 200.0)
    p = b.p
    site = p.site._replace(heat_usd=np.array([0.03, 0.03]))
    bill(0, 1, 0.25, b.s.clock, b.s.signals, b.s.plants, p.geo, p.bank, p.money, site, led)
    assert led.flows[0, 0, F.carbon] == pytest.approx(26.8)
    assert led.terms[0, T.carbon] == pytest.approx(26.8 * p.money.carbon_usd)
    assert led.terms[0, T.fuel] == pytest.approx(10.0 * site.fuel_usd[0])
    assert led.terms[0, T.heat] == pytest.approx(-6.0)
