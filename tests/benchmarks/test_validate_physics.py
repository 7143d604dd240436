"""The validation of the physics: its table, its weather, and a small run of it."""

import json
import math
import re

import numpy as np
import pytest

from benchmarks import validate_physics
from benchmarks.physics import annual_rows, it_rows, kernel_rows, table, weather  # noqa: F401 they register rows
from benchmarks.physics.misses import MISSES

# rows that need no plant-year
FAST = "13,15,16,18,19,21,23,24,25,32,33"


def test_every_row_says_what_is_published_by_whom_and_how_near_is_near_enough():
    assert [row.number for row in table.ROWS] == list(range(1, 35))
    for row in table.ROWS:
        assert len(row.target) > 3
        assert re.search(r"\d|flow|cube|start|minutes|swing", row.published), row
        assert re.search(r"\d|inside|shape|factor", row.tolerance), row
        assert row.kind in (table.CALIBRATION, table.VALIDATION)
        assert re.match(r"[VRCE] \w", row.source), row


def test_every_row_is_measured_once():
    assert sorted(table.MEASURES) == [row.number for row in table.ROWS]
    with pytest.raises(ValueError, match="row 18 has two measures"):
        table.measures(18)(lambda lab: ([], ""))


def test_explanations_are_of_rows():
    assert set(MISSES) <= set(table.MEASURES)
    assert all(len(text) > 40 for text in MISSES.values())


def test_a_row_passes_only_on_limits_that_hold():
    row = table.ROWS[0]
    good, bad = table.within("x", 1.0, 0.5, 1.5, "1"), table.within("x", 2.0, 0.5, 1.5, "1")
    seen = table.shown("x", 1.0, "1")
    assert table.Finding(row, (good, seen), "").passed
    assert not table.Finding(row, (good, bad), "").passed
    assert not table.Finding(row, (seen,), "").passed
    assert not table.within("x", math.nan, None, 1.0, "1").inside
    assert not table.within("x", math.inf, 0.0, 1.0, "1").inside
    assert table.within("x", 3.0, 2.0, None, "1").inside


def test_design_climates_have_the_published_normals():
    for name, place in weather.CLIMATES.items():
        year = weather.load(name)
        dry, wet, dew, ratio = year.values.T
        assert np.isfinite(year.values).all()
        assert (wet <= dry + 0.05).all()
        assert (dew <= dry + 0.05).all()
        assert (ratio >= 0).all()
        assert year.is_design == (place.normals is not None)
        if place.normals:
            mean = (np.array(place.normals.high_c) + np.array(place.normals.low_c)) / 2
            np.testing.assert_allclose(weather.monthly(dry), mean, atol=0.5)
            np.testing.assert_allclose(weather.monthly(dew), place.normals.dew_c, atol=1.5)


def test_wrong_rows_and_folders_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        validate_physics.parse(["--rows", "0"])
    assert "rows 1 to 34" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        validate_physics.parse(["--rows", "x"])
    assert validate_physics.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert validate_physics.main(["--page", str(tmp_path / "none.md"), "--out", str(tmp_path)]) == 2
    assert validate_physics.MARK in capsys.readouterr().err


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of the fast rows and one row of plant-years, four days a month."""
    out = tmp_path_factory.mktemp("physics")
    status = validate_physics.main(["--rows", f"{FAST},7", "--quick", "--out", str(out)])
    return out, status, json.loads((out / "validation.json").read_text())


@pytest.mark.slow
def test_fast_rows_pass(small):
    _, status, payload = small
    assert status == 0
    assert {r["number"] for r in payload["rows"]} == {7, *(int(n) for n in FAST.split(","))}
    missed = {r["number"]: r["checks"] for r in payload["rows"] if not r["passed"]}
    assert not missed


@pytest.mark.slow
def test_outputs_load(small):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _, payload = small
    page = (out / "validation.md").read_text()
    assert all(f"\n| {r['number']} | " in page for r in payload["rows"])
    assert "design climate" in page  # Stockholm's, in the list of weather
    run = EventAccumulator(str(out / "tensorboard" / "validation"), size_guidance={"tensors": 0}).Reload()
    tags = set(run.Tags()["tensors"])
    assert {"rows/passed", "row/13", "1_rows"} <= tags
    (passed,) = run.Tensors("rows/passed")
    assert passed.tensor_proto.float_val[0] == payload["passed"]
    years = EventAccumulator(str(out / "tensorboard" / "B1"), size_guidance={"tensors": 0}).Reload()
    assert len(years.Tensors("monthly_pue_c/London")) == 12


@pytest.mark.slow
def test_strict_fails_below_thirty(small, tmp_path):
    assert validate_physics.main(["--rows", "18", "--strict", "--out", str(tmp_path)]) == 1


def test_published_table_has_the_rows_as_they_are_now(root):
    """Numbers are those of the run that wrote the page; targets, figures and tolerances must be today's."""
    page = (root / "benchmarks" / "README.md").read_text().split(validate_physics.MARK)[1]
    lines = re.findall(
        r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \| (\w+) \| .* \| (pass|\*\*miss\*\*) \|$", page, re.M
    )
    assert [(int(x[0]), *x[1:5]) for x in lines] == [row[:5] for row in table.ROWS]
    passed = sum(x[5] == "pass" for x in lines)
    assert f"## {passed} of 34 rows inside tolerance" in page
    assert passed >= validate_physics.NEEDED
    for number in (int(x[0]) for x in lines if x[5] != "pass"):
        assert f"- **Row {number}**" in page
        assert number in MISSES
