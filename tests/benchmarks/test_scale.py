"""The benchmark of scale: its world really holds ten thousand jobs, and an environment stays small."""

import json

import numpy as np
import pytest

from benchmarks import scale
from gcn_env import load_world
from gcn_env.sim import Sim


@pytest.fixture(scope="module")
def busy():
    """The busy world."""
    return load_world(scale.SCENARIO, scale.BUSY)


@pytest.mark.compiled
def test_ten_thousand_jobs_run_at_once(busy, compiled_step):
    sim = Sim(busy, 1, autoreset=False)
    row = scale.timed(sim, 24)
    assert scale.size(busy)["devices"] > 100_000
    assert scale.size(busy)["regions"] >= 12
    assert row["running"] > 10_000
    assert row["dropped"] == 0
    assert row["placed"] > 1000
    assert scale.memory(sim)["mb_per_env"] < scale.MEGABYTES


@pytest.mark.long
@pytest.mark.compiled
def test_the_command_writes_a_table_and_a_figure(tmp_path, monkeypatch, capsys, compiled_step):
    monkeypatch.setattr(scale, "LOADS", (0.02, 0.1))
    monkeypatch.setattr(scale, "BLOCK", 2000)
    out = tmp_path / "scale"
    scale.main(["--parts", "rate", "jobs", "million", "--steps", "4", "--jobs", "14000", "--out", str(out)])
    page, result = out.with_suffix(".md").read_text(), json.loads(out.with_suffix(".json").read_text())
    assert page in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert [r["live"] > 500 for r in result["jobs"]] == [True, True]
    assert result["million"]["jobs"] >= 14_000
    assert result["million"]["rows"][0]["resident_mb"] > 50.0
    assert f"{result['rate']['devices']:,} accelerators" in page


@pytest.mark.long
def test_cut_and_grown_pools_keep_the_work(busy):
    """Variants of `pools` and `nodes` differ in that alone: devices, jobs and failures an hour stay."""
    plain = busy.params
    cut = load_world(scale.SCENARIO, {**scale.BUSY, **scale.split_pools(4)}).params
    assert len(cut.fleet.devices) == 4 * len(plain.fleet.devices)
    assert cut.fleet.devices.sum() == plain.fleet.devices.sum()
    np.testing.assert_allclose(cut.work.standing, plain.work.standing, rtol=1e-9)
    large = load_world(scale.SCENARIO, {**scale.BUSY, **scale.grown(4)}).params
    assert large.fleet.devices.sum() == 4 * plain.fleet.devices.sum()
    np.testing.assert_allclose(large.work.standing, plain.work.standing, rtol=1e-9)
    nodes = plain.fleet.devices / plain.fleet.node
    for rate in ("fail", "degrade"):
        np.testing.assert_allclose(
            4 * nodes * getattr(large.fleet, rate), nodes * getattr(plain.fleet, rate), rtol=1e-9
        )
