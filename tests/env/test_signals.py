"""Synthetic years, banks and forecasts: repeatable, independent of their neighbours, physical, and pinned."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core import state
from gcn_env.signals import psychro
from gcn_env.signals.bank import COLUMNS, SignalBank, check_splits, file_bank, synthetic_bank
from gcn_env.signals.calendar import BANK_HOURS, first_weekday, year_hours
from gcn_env.signals.climatology import TABLE_N, VARIABLES, climatology, projected, quantile_table, sites
from gcn_env.signals.errors import DataError
from gcn_env.signals.forecast import (
    FLOOR,
    KINDS,
    SHARE,
    forecast_sd,
    noise_table,
    normals,
    persistence_scale,
)
from gcn_env.signals.synthetic import draw_levels, fitted_level, level_spread, synthetic_year, synthetic_years

FIVE = ["US-NY-NYIS", "DE-LU", "SG", "US-TEX-ERCO", "JP-TK"]
PRICED = [n for n in climatology().names if n != "ZA"]


@pytest.fixture(scope="module")
def bank():
    return synthetic_bank(FIVE, {"train": [1, 2], "validation": [3], "test": [4]}, seed=0)


def test_importing_the_package_loads_next_to_nothing():
    code = (
        "import sys, gcn_env.signals, gcn_env.signals.synthetic, gcn_env.signals.series; "
        "print([m for m in ('yaml', 'scipy', 'pandas', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = subprocess.run(
        [sys.executable, "-c", "import sys, gcn_env; print([m for m in ('yaml', 'scipy', 'pandas', 'torch') "
         "if m in sys.modules])"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == before.stdout


def test_shape_type_and_columns(bank):
    assert bank.values.shape == (4, BANK_HOURS, 5, state.N_BANK)
    assert bank.values.dtype == np.float32
    assert bank.values.flags.c_contiguous
    assert np.isfinite(bank.values).all()
    assert COLUMNS.index("price") == state.PRICE
    assert COLUMNS.index("humidity") == state.HUMID
    assert (COLUMNS.index("cloud"), COLUMNS.index("wind")) == (state.CLOUD, state.WIND)
    assert len(COLUMNS) == state.N_BANK
    assert bank.nbytes == 4 * BANK_HOURS * 5 * state.N_BANK * 4
    assert bank.hours.dtype == np.int64
    assert {k: v.tolist() for k, v in bank.split_rows.items()} == {
        "train": [0, 1], "validation": [2], "test": [3]
    }  # fmt: skip


def test_short_years_repeat_their_last_day(bank):
    for y in np.flatnonzero(bank.hours == 8760):
        np.testing.assert_array_equal(bank.values[y, 8760:], bank.values[y, 8736:8760])
    assert set(bank.hours.tolist()) == {8760, 8784}


def test_a_year_depends_on_its_own_number_only(bank):
    alone = synthetic_bank(FIVE, {"x": [3]}, seed=0)
    np.testing.assert_array_equal(alone.values[0], bank.values[2])
    backwards = synthetic_years(FIVE, [4, 3], 0)
    np.testing.assert_array_equal(backwards[1], alone.values[0])


def test_other_profiles_do_not_change_a_profile(bank):
    pair = synthetic_year(["SG", "DE-LU"], 2, 0)
    np.testing.assert_allclose(pair[:, 0], bank.values[1, :, 2], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(pair[:, 1], bank.values[1, :, 1], rtol=2e-3, atol=2e-2)


def test_seed_and_year_matter(bank):
    assert not np.array_equal(synthetic_year(FIVE, 1, 1), bank.values[0])
    assert not np.array_equal(bank.values[0], bank.values[1])


def test_a_profile_used_twice_is_the_same_place():
    year = synthetic_year(["GB", "SG", "GB"], 5, 0)
    np.testing.assert_array_equal(year[:, 0], year[:, 2])


def test_price_of_another_profile():
    year = synthetic_year(["ZA", "DE-LU"], 5, 0, price_profiles=["DE-LU", "DE-LU"])
    np.testing.assert_array_equal(year[:, 0, 0], year[:, 1, 0])
    assert not np.array_equal(year[:, 0, 1], year[:, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["ZA"], 1, 0), ["ZA", "price", "price_profiles", "DE-LU"]),
        ((["DE-LX"], 1, 0), ["DE-LX", "did you mean 'DE-LU'"]),
        (([], 1, 0), ["no profiles"]),
        ((["GB"], -1, 0), ["year id -1"]),
        ((["GB"], 1, -1), ["seed -1"]),
        ((["GB"], 1, 0, ["GB", "SG"]), ["2 entries", "1 profiles"]),
    ],
)
def test_errors_name_what_is_wrong(arguments, words):
    with pytest.raises(DataError) as caught:
        synthetic_year(*arguments)
    assert all(w in str(caught.value) for w in words), str(caught.value)


@pytest.mark.parametrize("name", PRICED)
def test_levels_are_pinned_and_prices_clipped(name):
    for calendar in (2021, 2023):
        year = synthetic_year([name], 2021, 3, calendar_levels=calendar)[:8760, 0].astype(float)
        level = fitted_level(name, "price", calendar)
        assert np.median(year[:, 0]) == pytest.approx(level, rel=1e-4)
        assert year[:, 1].mean() == pytest.approx(fitted_level(name, "carbon", calendar), rel=1e-4)
        low, high = climatology().fit(name, "price").clip
        # pinning multiplies after clipping, by a factor near 1
        assert year[:, 0].min() >= 2.0 * min(low, 0.0) * level - 1e-3
        assert year[:, 0].max() <= 2.0 * high * level


def test_weather_is_physical(bank):
    dry, wet, dew, ratio = (bank.values[..., k].astype(float) for k in (2, 3, 4, 5))
    assert (wet <= dry + 1e-3).all()
    assert (dew <= wet + 0.5).all()  # below freezing the wet bulb is over ice, the dew point over water
    assert (dew[dry > 1] <= wet[dry > 1] + 0.02).all()
    assert ((ratio > 0) & (ratio < 0.04)).all()
    assert ((dry > -45) & (dry < 55)).all()


def test_levels_of_a_year_are_shared_and_vary():
    draws = [draw_levels(["DE-LU", "GB"], y, 0) for y in range(300)]
    logs = np.log([[d[n]["price"] for n in ("DE-LU", "GB")] for d in draws])
    assert np.corrcoef(logs.T)[0, 1] > 0.5  # a dear year is dear in both
    fitted = list(climatology().fit("GB", "price").levels.values())
    assert np.exp(logs[:, 1].mean()) == pytest.approx(np.exp(np.mean(np.log(fitted))), rel=0.1)
    assert logs[:, 0].std() > level_spread("DE-LU", "price") > 0.1
    steady = np.log([draw_levels(["ZA"], y, 0)["ZA"]["carbon"] for y in range(300)])
    assert steady.std() < 0.01  # three fitted years within 1 %


def test_correlation_matrices():
    c = climatology()
    for part in c.mixing:
        covariance = part @ part.T
        np.testing.assert_allclose(np.diag(covariance), 1.0, atol=1e-9)
        assert np.linalg.eigvalsh(covariance).min() > -1e-9
    # a valid matrix stays as it is, an impossible one becomes valid and keeps its signs
    good = np.array([[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(projected(good), good)
    bad = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1.0]])
    mended = projected(bad)
    assert np.linalg.eigvalsh(mended).min() > 0
    np.testing.assert_allclose(np.diag(mended), 1.0)
    assert (np.sign(mended) == np.sign(bad)).all()


def test_neighbours_move_together():
    """Daily means of dry bulb anomalies: PJM and New York nearly the same weather, Singapore none of it."""
    years = synthetic_years(["US-MIDA-PJM", "US-NY-NYIS", "SG"], range(1, 25, 4), 1)[:, :8760, :, 2]
    anomaly = years.reshape(6, 365, 24, 3).mean(2)
    anomaly = (anomaly - anomaly.mean(0)).reshape(-1, 3)
    r = np.corrcoef(anomaly.T)
    assert r[0, 1] > 0.85
    assert abs(r[0, 2]) < 0.15


def test_quantile_tables_rise():
    for name in climatology().names:
        for variable in climatology().fits[name]:
            table = quantile_table(name, variable)
            assert table.shape == (TABLE_N,)
            assert (np.diff(table) >= 0).all()


def test_every_profile_has_a_site():
    assert set(climatology().names) <= set(sites())
    assert all(set(f) <= set(VARIABLES) for f in climatology().fits.values())


def test_calendar():
    assert (year_hours(2023), year_hours(2024), year_hours(2100), year_hours(2000)) == (
        8760,
        8784,
        8760,
        8784,
    )
    assert first_weekday(2023) == 6
    assert first_weekday(2024) == 0
    assert (first_weekday(0), first_weekday(400)) == (5, 5)  # as 2000


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"train": [1, 2], "test": [2]}, "year 2 is in splits 'train' and 'test'"),
        ({"train": [1, 1]}, "twice"),
        ({"train": []}, "no years"),
        ({}, "no splits"),
    ],
)
def test_splits_are_disjoint(splits, words):
    with pytest.raises(DataError, match=words):
        check_splits(splits)


def test_bank_rows_fingerprint_and_guard(bank):
    assert bank.rows("validation").tolist() == [2]
    with pytest.raises(DataError, match="did you mean 'train'"):
        bank.rows("trian")
    with pytest.raises(ValueError, match="read-only"):
        bank.values[0] = 0
    again = synthetic_bank(FIVE, {"train": [1, 2], "validation": [3], "test": [4]}, seed=0)
    assert bank.fingerprint == again.fingerprint
    assert len(bank.fingerprint) == 12
    other = synthetic_bank(FIVE, {"train": [1, 2], "validation": [3], "test": [5]}, seed=0)
    assert bank.fingerprint != other.fingerprint


def test_no_data_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such data folder"):
        file_bank(tmp_path / "nowhere", ["GB"], {"train": [2022]})


# ---------------------------------------- forecasts


def test_noise_table():
    a = noise_table(3)
    assert (a.dtype, a.shape) == (np.dtype(np.float32), (16384,))
    assert a.std() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(a, noise_table(3))
    assert not np.array_equal(a, noise_table(4))
    for lag in (1, 6, 12):
        assert np.mean(a * np.roll(a, lag)) == pytest.approx(np.exp(-lag / 6), abs=0.06)
    closes = abs(a[0] - a[-1])
    assert closes < 4 * np.std(np.diff(a))
    with pytest.raises(DataError, match="length"):
        noise_table(0, 10)


def test_forecast_sd_grows_with_lead_and_follows_the_region(bank):
    sd = forecast_sd(bank, "noisy")
    assert sd.shape == (5, len(state.LEADS_H), 5)
    assert (np.diff(sd, axis=1) > 0).all()
    scale = persistence_scale(bank)
    np.testing.assert_allclose(sd[0, -1], scale[0] * [SHARE[v][-1] for v in SHARE])
    assert 0.4 < sd[0, 0, 2] < 1.2  # K, an hour ahead in New York
    assert 1.3 < sd[0, -1, 2] < 2.8  # K, a day ahead
    assert sd[2, -1, 2] < 0.5 * sd[0, -1, 2]  # Singapore's weather hardly changes
    np.testing.assert_allclose(forecast_sd(bank, "noisy", 2.0), 2 * sd)
    # only the training years are looked at
    train = synthetic_bank(FIVE, {"train": [1, 2]}, seed=0)
    np.testing.assert_array_equal(forecast_sd(train, "noisy"), sd)


def test_forecast_kinds(bank):
    for kind in KINDS[1:]:
        assert not forecast_sd(bank, kind).any()
    with pytest.raises(DataError, match="did you mean 'noisy'"):
        forecast_sd(bank, "noise")
    with pytest.raises(DataError, match="error_scale"):
        forecast_sd(bank, "noisy", -1.0)
    assert not forecast_sd(bank, "noisy", 0.0).any()


def test_normals_are_of_the_training_years_only(bank):
    normal = normals(bank)
    assert (normal.shape, normal.dtype) == ((BANK_HOURS, 5, state.N_BANK), np.dtype(np.float32))
    changed = np.array(bank.values)
    changed[bank.split_rows["test"]] += 100.0
    changed[bank.split_rows["validation"]] = 0.0
    np.testing.assert_array_equal(normals(dataclasses.replace(bank, values=changed)), normal)
    # 3 pm on 10 July in the first region: the mean over both years and over 31 days at that hour
    day, hour = 190, 15
    at = (np.arange(day - 15, day + 16) * 24 + hour)[:, None]
    want = bank.values[[0, 1], at, 0].mean((0, 1), dtype=float)
    np.testing.assert_allclose(normal[day * 24 + hour, 0], want, rtol=1e-5)
    # of another weather than ours, a season's normal is nearer than the yearly mean
    test = bank.values[bank.split_rows["test"][0], :8760, 0, 2]
    assert np.abs(test - normal[:8760, 0, 2]).mean() < 0.6 * np.abs(test - test.mean()).mean()
    np.testing.assert_array_equal(normal[8760:], normal[8736:8760])


def test_a_flat_series_keeps_an_error():
    flat = SignalBank(
        np.ones((1, 8784, 1, state.N_BANK), np.float32),
        np.array([8784]),
        np.array([0]),
        (1,),
        {"train": np.array([0])},
        ("x",),
    )
    np.testing.assert_allclose(forecast_sd(flat, "noisy")[0, -1], FLOOR)


# ---------------------------------------- moist air


@given(
    dry=st.floats(-30, 45), share=st.floats(0.05, 1.0), elevation=st.floats(-100, 3000)
)  # fmt: skip
def test_wet_bulb_and_humidity_are_inverse(dry, share, elevation):
    kpa = psychro.site_pressure(elevation)
    t = np.array([dry])
    ratio = share * psychro.saturated_ratio(t, kpa)
    wet = psychro.wet_bulb(t, ratio, kpa)
    if abs(wet[0]) > 0.05:  # the balance jumps where water freezes
        np.testing.assert_allclose(psychro.humidity_from_wet_bulb(t, wet, kpa), ratio, rtol=1e-5, atol=1e-8)
    dew, same = psychro.dew_and_humidity(t, wet, kpa)
    assert dew[0] <= dry + 1e-9
    if abs(wet[0]) > 0.05:
        np.testing.assert_allclose(same, ratio, rtol=1e-4, atol=1e-7)


def test_moist_air_against_tables():
    """ASHRAE 2017 at sea level: 30 degC, 50 % is wet bulb 22.0, dew point 18.4 degC, 13.3 g/kg."""
    t = np.array([30.0])
    ratio = psychro.humidity_from_vapour(0.5 * psychro.saturation_pressure(t), 101.325)
    assert ratio[0] == pytest.approx(0.0133, abs=1e-4)
    wet = psychro.wet_bulb(t, ratio, 101.325)
    assert wet[0] == pytest.approx(22.0, abs=0.1)
    assert psychro.dew_and_humidity(t, wet, 101.325)[0][0] == pytest.approx(18.4, abs=0.1)
    assert psychro.saturation_pressure(np.array([0.01]))[0] == pytest.approx(0.6117, rel=1e-3)
    assert psychro.saturation_pressure(np.array([-20.0]))[0] == pytest.approx(0.10326, rel=1e-3)
