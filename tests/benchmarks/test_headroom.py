"""The headroom benchmark: every controller through the same episodes, and a page that says what they saved."""

import json

import numpy as np
import pytest

from agents.rules import static
from benchmarks import headroom


@pytest.mark.compiled
def test_the_command_writes_a_page_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(static, "EPISODES", 2)
    out = tmp_path / "headroom"
    assert headroom.main(["--scenario", "smoke", "--episodes", "2", "--out", str(out)]) == 0
    page, result = out.with_suffix(".md").read_text(), json.loads(out.with_suffix(".json").read_text())
    assert page in capsys.readouterr().out
    assert "## north (c)" in page
    assert "Thermal excursions" in page
    assert set(result["figures"]) == {*headroom.CONTROLLERS, "oracle"}
    figures = {n: np.array([x["north"], x["south"]], float) for n, x in result["figures"].items()}
    rows = [0, 1]
    assert headroom.shares(figures, "b1", rows)[:2] == (0.0, 0.0)
    assert headroom.shares(figures, "oracle", rows)[2] == pytest.approx(1.0)
    assert headroom.shares(figures, "b0", rows)[1] < 0.0 < headroom.shares(figures, "oracle", rows)[1]


def test_savings_are_at_equal_node_energy():
    """A controller that was given twice the work and uses twice the energy saved nothing."""
    one = np.array([[10.0, 100.0, 80.0, 5.0, 75.0, 0.0, 0.0, 0.0]])
    figures = {"b1": one, "more": 2 * one, "oracle": one * [0.8, 0.9, 1, 1, 1, 1, 1, 1]}
    np.testing.assert_allclose(headroom.shares(figures, "more", [0]), 0.0, atol=1e-12)
    np.testing.assert_allclose(headroom.shares(figures, "oracle", [0]), (20.0, 10.0, 1.0))


def test_an_unknown_scenario_is_named(capsys):
    assert headroom.main(["--scenario", "smok"]) == 2
    assert "smoke" in capsys.readouterr().err
