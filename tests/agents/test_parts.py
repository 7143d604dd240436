"""An evaluation that was stopped goes on where it stopped; a report is made again from what was measured."""

import json
import shutil

import numpy as np
import pytest

import evaluate
from agents import policy
from agents.__main__ import main
from agents.parts import Parts
from agents.units import Unit

pytestmark = pytest.mark.usefixtures("few_figures")

TWO = ["--policies", "rule:nearest+b1", "rule:random+b0", "--episodes", "2", "--scenario", "smoke", "--quiet"]


class Counting:
    """A policy that counts how often it is asked, and stops the run if told."""

    def __init__(self, inner, stop):
        self.inner, self.view, self.calls, self.stop = inner, inner.view, 0, stop

    def predict(self, *args, **kwargs):
        self.calls += 1
        if self.stop:
            raise KeyboardInterrupt
        return self.inner.predict(*args, **kwargs)


def counted(monkeypatch, stop_at=None):
    load, found = policy.load, {}

    def wrap(spec, world):
        found[spec] = Counting(load(spec, world), spec == stop_at)
        return found[spec]

    monkeypatch.setattr(policy, "load", wrap)
    return found


def documents(out):
    data = json.loads((out / "results.json").read_text())
    for key in ("command", "config", "git_commit"):
        data["meta"].pop(key, None)
    return data


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("parts") / "whole"
    assert evaluate.main([*TWO, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_and_ends_the_same(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        counted(patch, stop_at="rule:random+b0")
        assert evaluate.main([*TWO, "--out", str(out)]) == 130
    assert "--resume" in capsys.readouterr().err
    assert evaluate.main([*TWO, "--out", str(out)]) == 2  # not without being told
    assert "--resume" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        found = counted(patch)
        assert evaluate.main([*TWO, "--out", str(out), "--resume"]) == 0
    assert found["rule:nearest+b1"].calls == 0
    assert found["rule:random+b0"].calls > 0
    assert documents(out) == documents(whole)


def test_parts_of_another_evaluation_are_refused(whole, tmp_path, capsys):
    assert evaluate.main([*TWO, "--out", str(whole), "--resume", "--seed", "3"]) == 2
    assert "parts of another evaluation (seed differ)" in capsys.readouterr().err
    assert evaluate.main([*TWO, "--resume"]) == 2
    assert "--resume needs --out" in capsys.readouterr().err
    assert evaluate.main([*TWO, "--resume", "--out", str(tmp_path)]) == 2
    assert "no interrupted evaluation" in capsys.readouterr().err


def test_policies_may_be_added(whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    with monkeypatch.context() as patch:
        found = counted(patch)
        words = [
            "--policies",
            "rule:nearest+b1",
            "other=rule:random+b1",
            "random+b0=rule:cheapest+b0",
            *TWO[3:],
        ]
        assert evaluate.main([*words, "--out", str(out), "--resume"]) == 0
    assert found["rule:nearest+b1"].calls == 0
    assert found["rule:random+b1"].calls > 0
    assert found["rule:cheapest+b0"].calls > 0  # the name was another policy's
    assert set(documents(out)["policies"]) == {"nearest+b1", "other", "random+b0"}


def test_damaged_parts_are_measured_again(whole, tmp_path):
    parts = Parts(whole, json.loads((whole / "parts" / "plan.json").read_text()), resume=True)
    unit = Unit("nearest+b1", 0, 0, 2, 1)
    done = parts.get(unit)
    assert np.isfinite(done.kpis).all()
    assert done.record.stints[0].shape[0] > 0
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "plan.json").write_text("{}")
    there = parts._path(unit)
    for content in (b"", b"PK", there.read_bytes()[:100], np.random.default_rng(0).bytes(500)):
        (tmp_path / "parts" / there.name).write_bytes(content)
        assert Parts(tmp_path, {}, resume=True).get(unit) is None


def test_a_report_made_again_is_the_same(whole, capsys):
    before = {
        n: (whole / n).read_bytes() for n in ("results.json", "report.md", "report.html", "scenario.yaml")
    }
    pictures = {p: p.read_bytes() for p in whole.rglob("*.png")}
    assert main(["report", str(whole)]) == 0
    assert {n: (whole / n).read_bytes() for n in before} == before
    assert {p: p.read_bytes() for p in whole.rglob("*.png")} == pictures
    assert main(["report", str(whole / "figures")]) == 2
    assert "no parts of an evaluation" in capsys.readouterr().err
