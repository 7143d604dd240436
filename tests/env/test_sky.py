"""Cloud and wind: repeatable, of the distributions that are stated, and files' irradiance read back."""

import datetime as dt

import numpy as np
import pytest

from gcn_env.core.state import CLOUD, DEW, DRY, WIND
from gcn_env.core.supply import irradiance, sun_height
from gcn_env.signals import psychro
from gcn_env.signals.bank import synthetic_bank
from gcn_env.signals.epw import HOURS, read_epw, with_weather
from gcn_env.signals.sky import DRY_BIAS, GALE, WIND_MEAN, clear_sky, cloud_from_sun, sky
from gcn_env.signals.synthetic import synthetic_year, synthetic_years

PLACES = ["GB", "US-TEX-ERCO", "SG", "AU-NSW"]


@pytest.fixture(scope="module")
def years():
    """[4 * 8760, 4, 8] of four years."""
    return synthetic_years(PLACES, [1, 2, 3, 5], 0)[:, :8760].astype(float).reshape(-1, 4, 8)


def day(x):
    return x.reshape(-1, 24).mean(1)


def test_a_year_is_its_own():
    weather = synthetic_year(["GB"], 3, 0)[:8760, 0]
    dry, dew = weather[:, DRY], weather[:, DEW]
    np.testing.assert_array_equal(sky("GB", 3, 0, dry, dew), sky("GB", 3, 0, dry, dew))
    for other in (("SG", 3, 0), ("GB", 4, 0), ("GB", 3, 1)):
        same = np.corrcoef(sky(*other, dry, dew)[:, 1], sky("GB", 3, 0, dry, dew)[:, 1])[0, 1]
        assert abs(same) < 0.15, other


def test_neighbours_do_not_change_it():
    alone, together = synthetic_year(["SG"], 2, 0)[:, 0], synthetic_year(PLACES, 2, 0)[:, 2]
    np.testing.assert_allclose(alone[:, WIND], together[:, WIND], rtol=5e-3)
    np.testing.assert_allclose(alone[:, CLOUD], together[:, CLOUD], atol=0.05)


def test_cover_is_clear_or_overcast_and_follows_humidity(years):
    for r, name in enumerate(PLACES):
        cover = years[:, r, CLOUD]
        assert ((cover >= 0) & (cover <= 1)).all()
        humid = psychro.vapour_from_dew(years[:, r, DEW]) / psychro.vapour_from_dew(years[:, r, DRY])
        assert cover.mean() == pytest.approx(np.minimum(humid, 1).mean() - DRY_BIAS, abs=0.05), name
        assert ((cover < 0.2) | (cover > 0.8)).mean() > 0.55, name
        assert np.corrcoef(day(cover), day(humid))[0, 1] > 0.4, name
        assert 0.8 < np.corrcoef(cover[1:], cover[:-1])[0, 1] < 0.95, name


def test_wind_is_rayleigh_with_a_rhythm(years):
    for r, name in enumerate(PLACES):
        wind = years[:, r, WIND]
        assert ((wind >= 0) & (wind < GALE)).all()
        assert wind.mean() == pytest.approx(WIND_MEAN, rel=0.05), name
        assert wind.std() / wind.mean() == pytest.approx(0.523, abs=0.06), name  # Rayleigh: sqrt(4 / pi - 1)
        assert 0.85 < np.corrcoef(wind[1:], wind[:-1])[0, 1] < 0.96, name
    texas = years[:, PLACES.index("US-TEX-ERCO")]
    hour = texas[:, WIND].reshape(-1, 24).mean(0)  # UTC: afternoon is 20 h, the end of the night 11 h
    assert hour[20] > 1.1 * hour[11]
    london = years[:, PLACES.index("GB"), WIND].reshape(4, 365, 24).mean((0, 2))
    assert np.r_[london[:60], london[-30:]].mean() > 1.05 * london[150:240].mean()


def test_clear_sky_is_that_of_the_kernel():
    hours = np.array([10.0, 2000.0, 4000.0, 4012.0, 8000.0])
    for latitude, longitude in ((51.5, 0.0), (-33.9, 151.2)):
        at = hours[:, None] + (np.arange(6) + 0.5) / 6
        want = [
            np.mean([irradiance(sun_height(np.radians(latitude), longitude / 15.0, t), 0.0) for t in row])
            for row in at
        ]
        np.testing.assert_allclose(clear_sky(latitude, longitude, hours), want, atol=1e-6)
    year = clear_sky(50.0, 8.0, np.arange(8760.0)).sum() / 1e3
    assert year == pytest.approx(1760, rel=0.02)  # kWh/m2; the open weather has about 1,100


def test_cloud_gives_the_irradiance_back():
    hours = np.arange(8760.0)
    clear = clear_sky(40.0, -73.0, hours)
    cover = np.random.default_rng(0).random(8760)
    sun = clear * (1 - 0.75 * cover**3.4)
    back = cloud_from_sun(sun, 40.0, -73.0, hours)
    bright = clear > 100.0
    np.testing.assert_allclose(back[bright], cover[bright], atol=1e-6)
    assert ((back >= 0) & (back <= 1)).all()


def epw(path, sun, cover=5, wind=4.0):
    """A file at 40 N, 73 W, five hours behind UTC, whose irradiance is `sun` by local hour."""
    rows, start = [], dt.datetime(2001, 1, 1)
    for h in range(HOURS):
        d = start + dt.timedelta(hours=h)
        rows.append(
            [2001, d.month, d.day, d.hour + 1, 0, "?", 15, 5, 50, 101325, 0, 0, 0, round(float(sun[h]), 2)]
            + [0] * 7
            + [wind, cover, *[0] * 12]
        )
    head = ["LOCATION,Somewhere,XX,YYY,TMY3,1,40.0,-73.0,-5.0,100.0", *["X"] * 7]
    path.write_text("\n".join([*head, *(",".join(map(str, r)) for r in rows)]) + "\n")
    return read_epw(path)


def test_an_epw_file_brings_its_own_sky(tmp_path):
    local = clear_sky(40.0, -73.0, np.arange(HOURS) + 5.0)  # local hour h is UTC hour h + 5
    year = epw(tmp_path / "x.epw", 0.6 * local, wind=6.5)
    assert year.assumed == ()
    np.testing.assert_allclose(year.values[:, 5], 6.5)
    cover = ((1 - 0.6) / 0.75) ** (1 / 3.4)
    noon = np.arange(17, HOURS, 24)
    np.testing.assert_allclose(year.values[noon, 4], cover, atol=2e-3)
    bank = with_weather(synthetic_bank(["GB"], {"train": [2023]}, 0), {0: year})
    assert bank.values[0, noon, 0, CLOUD] == pytest.approx(cover, abs=2e-3)
    assert bank.values[0, 100, 0, WIND] == 6.5


def test_an_epw_file_without_irradiance_has_its_cover_and_without_both_an_assumption(tmp_path):
    year = epw(tmp_path / "a.epw", np.zeros(HOURS), cover=3)
    np.testing.assert_allclose(year.values[:, 4], 0.3, atol=1e-6)
    year = epw(tmp_path / "b.epw", np.full(HOURS, 9999), cover=99, wind=999)
    assert year.assumed == ("cloud cover", "wind")
    assert "wind assumed" in year.report()
    assert 0.1 < year.values[:, 4].mean() < 0.9
    assert year.values[:, 5].mean() == pytest.approx(WIND_MEAN, rel=0.1)
