"""Places without a climatology of their own: clocks, factors, shifts, links, and that nothing else moves."""

import math

import numpy as np
import pytest

from gcn_env.errors import UserError
from gcn_env.scenario.compile import compile_world
from gcn_env.scenario.compile_geo import network_tables
from gcn_env.scenario.load import load_scenario
from gcn_env.scenario.schema import Network
from gcn_env.signals import psychro
from gcn_env.signals.bank import COLUMNS
from gcn_env.signals.climatology import sites
from tests.worlds import SCENARIOS, world

SMOKE = str(SCENARIOS / "smoke.yaml")
C = {name: i for i, name in enumerate(COLUMNS)}
PLACE = {
    "regions.south.profile": None,
    "regions.south.price_profile": "DE-LU",
    "regions.south.carbon_profile": "SG",
    "regions.south.weather_profile": "SG",
    "regions.south.utc_offset_h": 4,
    "regions.south.elevation_m": 30,
    "regions.south.source": "E a test",
}


def region(overrides, r=1, year=0):
    """A year of one region's signals, [hours, columns]."""
    bank = compile_world(load_scenario(SMOKE, overrides)).bank
    return bank.values[year, : bank.hours[year], r].astype(np.float64)


def test_a_loan_keeps_its_local_clock():
    south, north = region(PLACE), region({}, r=0)
    rolled = np.roll(north[:, C["price"]], -3)  # three hours ahead of Germany
    np.testing.assert_allclose(south[:, C["price"]], rolled, rtol=1e-5)
    plain = region({})
    np.testing.assert_allclose(south[:, C["carbon"]], np.roll(plain[:, C["carbon"]], 4), rtol=1e-5)
    np.testing.assert_allclose(south[:, C["cloud"]], np.roll(plain[:, C["cloud"]], 4), atol=1e-5)
    np.testing.assert_allclose(south[:, C["drybulb"]], np.roll(plain[:, C["drybulb"]], 4), atol=1e-4)


def test_others_are_not_touched():
    np.testing.assert_allclose(region(PLACE, r=0), region({}, r=0), rtol=1e-5, atol=1e-5)
    assert world().bank.profiles == ("DE-LU", "SG")


def test_factors_and_shifts():
    same = {"regions.south.utc_offset_h": 8, "regions.south.elevation_m": sites()["SG"].elevation_m}
    plain = region(PLACE | same)
    changed = region(
        PLACE
        | same
        | {
            "regions.south.price_scale": 0.5,
            "regions.south.price_add_usd_per_mwh": 40,
            "regions.south.carbon_scale": 0.1,
            "regions.south.weather_shift_k": -6,
            "regions.south.cloud_scale": 0.5,
            "regions.south.wind_scale": 1.5,
        }
    )
    np.testing.assert_allclose(changed[:, C["price"]], 0.5 * plain[:, C["price"]] + 40, rtol=1e-5)
    np.testing.assert_allclose(changed[:, C["carbon"]], 0.1 * plain[:, C["carbon"]], rtol=1e-5)
    np.testing.assert_allclose(changed[:, C["cloud"]], 0.5 * plain[:, C["cloud"]], rtol=1e-5)
    np.testing.assert_allclose(changed[:, C["wind"]], 1.5 * plain[:, C["wind"]], rtol=1e-5)
    np.testing.assert_allclose(changed[:, C["drybulb"]], plain[:, C["drybulb"]] - 6, atol=1e-4)
    np.testing.assert_allclose(changed[:, C["dewpoint"]], plain[:, C["dewpoint"]] - 6, atol=1e-4)
    pressure = psychro.site_pressure(sites()["SG"].elevation_m)
    ratio = psychro.humidity_from_wet_bulb(changed[:, C["drybulb"]], changed[:, C["wetbulb"]], pressure)
    np.testing.assert_allclose(ratio, changed[:, C["humidity"]], rtol=2e-3)


@pytest.mark.parametrize("shift", [-25.0, 0.0, 15.0])
@pytest.mark.parametrize("height", [0.0, 3000.0])
def test_adjusted_air_is_air(shift, height):
    x = region(PLACE | {"regions.south.weather_shift_k": shift, "regions.south.elevation_m": height})
    dry, wet, dew = x[:, C["drybulb"]], x[:, C["wetbulb"]], x[:, C["dewpoint"]]
    assert np.isfinite(x).all()
    assert (dew <= dry + 1e-4).all()
    assert (wet <= dry + 1e-4).all()
    assert (wet >= dew - 0.3).all()
    assert (dew <= psychro.MAX_DEW_C + 1e-4).all()
    assert (x[:, C["humidity"]] > 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"regions.south.utc_offset_h": None}, ["regions.south", "give profile, or else also utc_offset_h"]),
        ({"regions.south.carbon_profile": None}, ["carbon_profile"]),
        ({"regions.south.source": None}, ["regions.south", "need a source"]),
        ({"regions.south.price_profile": "DE-LX"}, ["regions.south.price_profile", "did you mean 'DE-LU'"]),
        ({"regions.south.price_profile": "ZA"}, ["ZA", "no fitted price"]),
        ({"regions.south.weather_shift_k": 40}, ["weather_shift_k", "40"]),
        ({"network.links": {"north~south": {"rtt": 5}}}, ["rtt", "did you mean 'rtt_ms'"]),
        ({"network.links": {"north~north": {"rtt_ms": 5}}}, ["'north~north'", "REGION~REGION"]),
        ({"network.links": {"north": {"rtt_ms": 5}}}, ["'north'", "REGION~REGION"]),
        ({"network.links": {"north~suoth": {}}}, ["'suoth'", "did you mean 'south'", "REGION~REGION"]),
        ({"network.links": {"north~south": {}, "south~north": {}}}, ["'south~north'", "given twice"]),
        ({"network.links": {"north~south": {"gbit_per_s": 0}}}, ["gbit_per_s", "0"]),
        ({"network.links": {"north~south": {"gbit_per_s": 1e-12}}}, ["gbit_per_s", "1e-12"]),
        ({"network.links": {"north~south": {"usd_per_month": -1}}}, ["usd_per_month", "-1"]),
        ({"network.links": {"north~south": {"cuts_per_year": math.nan}}}, ["cuts_per_year", "nan"]),
        ({"network.gbit_per_s": math.inf}, ["gbit_per_s", "inf"]),
        ({"network.gbit_per_s": -5}, ["gbit_per_s", "-5"]),
        ({"network.kwh_per_gb": -0.1}, ["kwh_per_gb", "-0.1"]),
        ({"network.kwh_per_gb": math.nan}, ["kwh_per_gb", "nan"]),
        ({"network.cuts_per_year": -1}, ["cuts_per_year", "-1"]),
        ({"network.cut_mean_h": 0}, ["cut_mean_h", "0"]),
        ({"network.fade_share": 0}, ["fade_share", "0"]),
        ({"network.fade_share": 1.5}, ["fade_share", "1.5"]),
        ({"data_sets.corpus.regions": []}, ["data_sets.corpus.regions"]),
        (
            {"data_sets.corpus.regions": ["suoth"], "jobs.batch.data_set": "corpus"},
            ["data_sets.corpus.regions", "'suoth'", "did you mean 'south'"],
        ),
        ({"data_sets.corpus.regions": ["suoth"]}, ["data_sets.corpus.regions", "'suoth'"]),
        (
            {"data_sets.corpus.regions": ["south"], "jobs.batch.data_set": "corpse"},
            ["jobs.batch.data_set", "'corpse'", "did you mean 'corpus'"],
        ),
        ({"jobs.batch.data_set": "corpus"}, ["jobs.batch.data_set", "none"]),
    ],
)
def test_mistakes(change, words):
    with pytest.raises(UserError) as caught:
        compile_world(load_scenario(SMOKE, PLACE | change))
    for word in words:
        assert word in str(caught.value)


def test_links():
    plain = compile_world(load_scenario(SMOKE)).params.geo
    assert plain.rtt_ms[0, 1] == 166  # measured between the profiles' cloud regions
    moved = compile_world(load_scenario(SMOKE, PLACE)).params.geo
    assert moved.rtt_ms[0, 1] == pytest.approx(19.15 + 0.01487 * 10_250, abs=1.0)  # regression on distance
    fibre = compile_world(load_scenario(SMOKE, {"network.rtt": "fibre"})).params.geo
    assert fibre.rtt_ms[0, 1] == pytest.approx(2.0 + 0.015 * 10_250, abs=1.0)
    link = {"network.links": {"south~north": {"rtt_ms": 90, "gbit_per_s": 400, "usd_per_gb": 0}}}
    own = compile_world(load_scenario(SMOKE, link)).params.geo
    for matrix, value in ((own.rtt_ms, 90), (own.gbit_s, 400), (own.egress_usd, 0)):
        assert matrix[0, 1] == matrix[1, 0] == value
    np.testing.assert_array_equal(np.diag(own.rtt_ms), 1.0)
    assert (own.link_usd, own.cut[0, 1]) == (0.0, 1 / 8760)
    private = {
        "network.links.north~south": {"usd_per_month": 7300, "cuts_per_year": 0, "fades_per_year": 876}
    }
    own = compile_world(load_scenario(SMOKE, private)).params.geo
    assert own.link_usd == pytest.approx(10.0)
    assert own.cut[0, 1] == own.cut[1, 0] == 0.0
    assert own.fade[0, 1] == own.fade[1, 0] == pytest.approx(0.1)
    own = compile_world(load_scenario(SMOKE, {"regions.north.egress_usd_per_gb": 0.001})).params.geo
    assert own.egress_usd[0, 1] == 0.001
    assert own.egress_usd[1, 0] == plain.egress_usd[1, 0] == 0.09


def test_small_jobs_may_stay_out_of_sight():
    whole = compile_world(load_scenario(SMOKE)).params.work
    large = compile_world(load_scenario(SMOKE, {"jobs.training.min_gang": 2})).params.work
    rows = slice(0, whole.rows[0, 0])
    assert whole.gang[rows].min() == 1
    assert large.gang[rows].min() == 2
    assert large.rate[0] < whole.rate[0]  # fewer, larger jobs for the same load
    with pytest.raises(UserError, match=r"no training job has 64\.\.16 devices"):
        compile_world(load_scenario(SMOKE, {"jobs.training.min_gang": 64}))


def test_sourced_defaults_are_the_schema_s():
    table, network = network_tables()["defaults"], Network()
    assert {name: row["value"] for name, row in table.items()} == {
        name: getattr(network, name) for name in table
    }
    assert all(row["source"][0] in "VRE" for row in table.values())
