"""Policies under stress: overrides reach the world, and the first lines say who is worse than the floor."""

import json

import pytest

from benchmarks import robustness
from gcn_env import load_world


def test_every_stress_makes_a_world():
    plain = load_world("smoke")
    for name, stress in robustness.STRESSES.items():
        world = load_world("smoke", robustness.overrides(plain.scenario, stress))
        assert (world.fingerprint == plain.fingerprint) == (name == "as it is")
    hot = load_world("smoke", robustness.overrides(plain.scenario, robustness.STRESSES["heat wave"]))
    crowd = load_world("smoke", robustness.overrides(plain.scenario, robustness.STRESSES["crowd"]))
    assert all(r.weather_shift_k == 8.0 for r in hot.scenario.regions.values())
    assert crowd.scenario.jobs["training"].load == pytest.approx(1.25 * plain.scenario.jobs["training"].load)


@pytest.mark.slow
def test_the_page_begins_with_what_is_bad(tmp_path, capsys):
    out = tmp_path / "page"
    robustness.main(
        ["--scenario", "smoke", "--policies", "dice=rule:random+b0,rule:random+b0", "--episodes", "6", "--stresses",
         "as it is", "heat wave", "--out", str(out)]
    )  # fmt: skip
    text = out.with_suffix(".md").read_text()
    assert text in capsys.readouterr().out
    entries = json.loads(out.with_suffix(".json").read_text())["entries"]
    assert [e["stress"] for e in entries] == ["as it is", "heat wave"]
    assert text.startswith(f"# Under stress\n\n{robustness.verdict(entries)}\n\nMade by")
    for e in entries:
        assert e["policies"]["dice"]["usd"][0] > e["policies"]["rule:cost-greedy+b1"]["usd"][0]
        assert e["policies"][robustness.FLOOR]["against_floor_usd"] == [0.0, 0.0, 0.0]


def test_who_is_worse_is_said_and_where():
    entry = {"stress": "x", "policies": {"a": {"verdict": "worse"}, "b": {"verdict": "better"}}}
    assert robustness.verdict([entry]) == "**Worse than least-loaded+b1: a under 'x'.**"


def test_nothing_bad_is_said_too():
    entry = {"stress": "x", "policies": {"a": {"verdict": "better"}, "b": {"verdict": "no difference"}}}
    assert "No policy is worse" in robustness.verdict([entry])
