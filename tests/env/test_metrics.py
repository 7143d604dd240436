"""Key figures against sums worked out by hand."""

import numpy as np
import pytest

from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.metrics import HEADLINE, KPIS, MORE_IS_BETTER, kpis


def ledger(flows=None, counts=None, terms=None, regions=2):
    t, f, c = np.zeros(len(TERMS)), np.zeros((regions, len(FLOWS))), np.zeros(len(COUNTS))
    for k, v in (terms or {}).items():
        t[TERMS.index(k)] = v
    for k, v in (flows or {}).items():
        f[:, FLOWS.index(k)] = v
    for k, v in (counts or {}).items():
        c[COUNTS.index(k)] = v
    return t, f, c


def test_by_hand():
    out = kpis(
        *ledger(
            flows={
                "it": [800, 200], "grid": [1000, 300], "server_fans": [50, 0], "leakage": [-50, 0], "idle":
                [100, 100], "air_fans": 1, "compressors": 2, "pumps": 3, "rejection": 4, "water": [1500, 500],
                "carbon": [400, 100], "excursion": [0.5, 0], "throttled": [1, 2], "network": [200, 300],
                "network_carbon": [70, 30],
            },
            counts={
                "completed": 8, "late": 2, "arrived": 10, "wait": 5, "lease": 4, "slo_miss": 1, "work": 60,
                "lost_work": 10, "moved": 2500,
            },
            terms={"energy": 90.0, "late": 10.0},
        )
    )  # fmt: skip
    got = dict(zip(KPIS.names, out, strict=True))
    want = {
        "total_usd": 100, "usd_energy": 90, "usd_late": 10, "usd_per_device_hour": 2, "energy_mwh": 1.3,
        "it_mwh": 1, "cooling_mwh": 0.02, "pue": 1.3, "tue": 1.3, "wue_l_per_kwh": 2, "cue_kg_per_kwh": 0.5,
        "carbon_t": 0.6, "network_mwh": 0.5, "water_m3": 2, "completed": 8, "late_share": 0.25, "slo_miss_share": 0.25,
        "wait_h_per_job": 0.5, "excursion_kh": 0.5, "throttled_h": 3, "idle_share": 0.2, "moved_tb": 2.5,
        "killed": 0,
    }  # fmt: skip
    assert {k: got[k] for k in want} == pytest.approx(want)


def named(**flows):
    return dict(zip(KPIS.names, kpis(*ledger(flows=flows, regions=1)), strict=True))


def test_ratios_of_iso_30134_by_hand():
    """A site of 800 kWh of IT and 200 kWh of cooling, fed by everything there is."""
    load = {"it": 800, "air_fans": 60, "compressors": 100, "pumps": 20, "rejection": 15, "humidifiers": 5}
    feed = {"grid": 500, "generator": 150, "pv": 260, "wind": 100, "storage_out": 40, "storage_in": 50}
    rest = {
        "storage_loss": 10,
        "spilled": 90,
        "heat_reused": 101,
        "heat_removed": 850,
        "water": 1600,
        "carbon": 240,
    }
    got = named(**load, **feed, **rest, server_fans=80, leakage=-20, above_limit=30, fuel=45)
    want = {
        "site_mwh": 1.01, "pue": 1010 / 800, "tue": 1010 / 740, "wue_l_per_kwh": 2.0, "cue_kg_per_kwh": 0.3,
        "erf": 0.1, "ref": 360 / 1010, "cer": 850 / 200, "renewable_mwh": 0.36, "spilled_share": 0.2,
        "stored_mwh": 0.04, "generator_mwh": 0.15, "fuel_l": 45, "above_limit_mwh": 0.03, "heat_sold_mwh": 0.101,
    }  # fmt: skip
    assert {k: got[k] for k in want} == pytest.approx(want)


def test_what_stays_in_store_is_not_consumed():
    """100 kWh bought for a load of 80; of 20 into the battery 15 stay and 5 are lost: E_DC is 85."""
    assert named(it=80, grid=100, storage_in=20, storage_loss=5)["pue"] == pytest.approx(85 / 80)
    # and later 12 come out of the 15, 3 are lost
    assert named(it=80, grid=68, storage_out=12, storage_loss=3)["pue"] == pytest.approx(83 / 80)


def test_nothing_happened_is_finite_and_neutral():
    out = dict(zip(KPIS.names, kpis(*ledger()), strict=True))
    assert np.isfinite(list(out.values())).all()
    assert out["pue"] == out["tue"] == 1.0
    assert all(v == 0 for k, v in out.items() if k not in ("pue", "tue"))


def test_leading_axes_and_term_sum():
    rng = np.random.default_rng(0)
    t, f, c = (
        rng.random((3, 4, len(TERMS))),
        rng.random((3, 4, 5, len(FLOWS))),
        rng.random((3, 4, len(COUNTS))),
    )
    out = kpis(t, f, c)
    assert out.shape == (3, 4, len(KPIS))
    parts = [KPIS.index(f"usd_{n}") for n in TERMS.names]
    np.testing.assert_allclose(out[..., KPIS.index("total_usd")], out[..., parts].sum(-1), rtol=1e-12)
    np.testing.assert_array_equal(out[1, 2], kpis(t[1, 2], f[1, 2], c[1, 2]))


def test_names_in_use_are_declared():
    assert set(HEADLINE) | MORE_IS_BETTER <= set(KPIS.names)
