"""evaluate.py as a user meets it: reports, repeatability, mistakes, interrupts."""

import json
import sys

import numpy as np
import pytest

import evaluate
from agents import policy, provenance
from tests.house.tools import succeeds

pytestmark = pytest.mark.usefixtures("few_figures")

TWO = ["--policies", "rule:nearest+b1", "rule:random+b0", "--episodes", "3"]


def call(root, out, *words):
    scenario = str(root / "configs" / "scenarios" / "smoke.yaml")
    return evaluate.main([*words, "--scenario", scenario, "--out", str(out)])


@pytest.fixture(scope="module")
def first(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluate") / "first"
    assert call(root, out, *TWO, "--quiet") == 0
    return out


def test_a_report_is_written(first, root):
    data = json.loads((first / "results.json").read_text())
    assert set(data["policies"]) == {"nearest+b1", "random+b0"}
    assert data["episodes"] == 3
    assert data["meta"]["scenario"] == "smoke"
    assert data["meta"]["specs"]["nearest+b1"] == ["rule:nearest+b1"]
    assert "--episodes 3" in data["meta"]["command"]
    assert data["meta"]["versions"]["numpy"]
    assert (first / "report.md").read_text().startswith("# Evaluation: smoke\n\n## Verdict")
    assert "Only 3 episodes" in (first / "report.md").read_text()
    assert list((first / "tensorboard" / "report").glob("events.out.tfevents.*"))
    from gcn_env import load_world

    again = load_world(first / "scenario.yaml")
    assert again.fingerprint == data["meta"]["scenario_fingerprint"]


@pytest.mark.slow
def test_the_same_command_twice_gives_the_same_bytes(first, root, tmp_path, monkeypatch):
    before = {p: (first / p).read_bytes() for p in ("results.json", "report.md", "figures/cost_by_term.png")}
    assert call(root, first, *TWO, "--quiet") == 2  # not without being told
    assert call(root, first, *TWO, "--quiet", "--overwrite") == 0
    was, now = (json.loads(x) for x in (before["results.json"], (first / "results.json").read_bytes()))
    for document in (was, now):  # the one thing that differs is that it was asked for
        document["meta"].pop("command")
        document["meta"]["config"].pop("overwrite")
        document["meta"].pop("git_commit")  # someone may commit while the tests run
    assert was == now
    assert (first / "figures/cost_by_term.png").read_bytes() == before["figures/cost_by_term.png"]
    monkeypatch.setattr(provenance, "git_commit", lambda: None)
    assert call(root, first, *TWO, "--quiet", "--overwrite") == 0
    once = (first / "results.json").read_bytes()
    assert call(root, first, *TWO, "--quiet", "--overwrite") == 0
    assert (first / "results.json").read_bytes() == once


def test_what_is_printed(root, tmp_path, capsys):
    assert call(root, tmp_path / "out", *TWO) == 0
    printed = capsys.readouterr().out
    assert "is the best rule" in printed
    assert f"tensorboard --logdir {tmp_path / 'out' / 'tensorboard'}" in printed


def test_overrides_reach_the_world(root, tmp_path):
    words = ["--policies", "rule:nearest+b1", "--episodes", "1", "--quiet", "--set"]
    assert call(root, tmp_path / "out", *words, "prices.carbon_usd_per_t=0", "time.episode_days=0.5") == 0
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert data["policies"]["nearest+b1"]["usd_carbon"] == [0.0]
    assert data["meta"]["config"]["overrides"] == ["prices.carbon_usd_per_t=0", "time.episode_days=0.5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policies", "rule:neerest+b1"], "did you mean 'nearest'"),
        (["--policies", "rule:nearest+b9"], "no cooling rule 'b9'"),
        (["--policies", "rules:nearest"], "write rule:PLACEMENT+COOLING, run:DIR"),
        (["--policies", "run:nowhere"], "nowhere"),
        (["--policies", "a=rule:nearest+b1", "a=rule:random+b1"], "two policies are called 'a'"),
        (["--episodes", "0"], "nothing to evaluate"),
        (["--seed", "-1"], "seed -1"),
        (["--set", "prices"], "is not PATH=VALUE"),
        (["--set", "prices.carbn_usd_per_t=1"], "carbon_usd_per_t"),
    ],
)
def test_mistakes_are_one_line_and_status_2(root, tmp_path, capsys, words, said):
    given = words if "--policies" in words else ["--policies", "rule:nearest+b1", *words]
    assert call(root, tmp_path / "out", *given, "--quiet") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_unknown_scenarios_and_full_folders(tmp_path, capsys):
    assert evaluate.main(["--scenario", "defalt", "--out", str(tmp_path / "x")]) == 2
    assert "default" in capsys.readouterr().err
    (tmp_path / "thesis.txt").write_text("mine")
    words = ["--scenario", "smoke", "--policies", "rule:nearest+b1", "--out", str(tmp_path)]
    assert evaluate.main(words) == 2
    assert evaluate.main([*words, "--overwrite"]) == 2
    assert (tmp_path / "thesis.txt").read_text() == "mine"


class CtrlC:
    """A policy that is interrupted at its first decision."""

    view = "joint"

    def predict(self, *args, **kwargs):
        raise KeyboardInterrupt


def test_interrupts(root, tmp_path, monkeypatch, capsys):
    load = policy.load
    monkeypatch.setattr(policy, "load", lambda s, w: CtrlC() if s == "rule:random+b0" else load(s, w))
    assert call(root, tmp_path / "part", *TWO, "--quiet") == 130
    data = json.loads((tmp_path / "part" / "results.json").read_text())
    assert data["unfinished"] == ["random+b0"]
    assert "Interrupted" in (tmp_path / "part" / "report.md").read_text()
    assert call(root, tmp_path / "none", "--policies", "rule:random+b0", "--quiet") == 130
    assert "before any policy had finished" in capsys.readouterr().err


@pytest.mark.long
def test_the_standard_set_is_every_rule(root, tmp_path):
    assert call(root, tmp_path / "out", "--policies", "rules", "--episodes", "1", "--quiet") == 0
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [f"rule:{name}" for name in data["policies"]] == policy.standard_rules()
    assert len(data["policies"]) > 20


def test_the_scenario_of_a_run_is_the_default(tmp_path):
    (tmp_path / "scenario.yaml").write_text("extends: smoke\n")
    assert evaluate.scenario_of(["rules", f"mine=run:{tmp_path}"]) == str(tmp_path / "scenario.yaml")
    assert evaluate.scenario_of(["rules", "run:nowhere"]) == "default"


@pytest.mark.slow
def test_rules_are_evaluated_without_torch(root, tmp_path):
    scenario = str(root / "configs" / "scenarios" / "smoke.yaml")
    words = [*TWO, "--quiet", "--scenario", scenario, "--out", str(tmp_path / "out")]
    code = "import sys, evaluate, agents.figures; agents.figures._first_episode = lambda *_: {}\n"
    code += f"assert evaluate.main({words!r}) == 0; assert 'torch' not in sys.modules"
    succeeds([sys.executable, "-c", code], root, PYTHONPATH=str(root))


@pytest.mark.slow
def test_the_bound_is_a_row_and_an_interrupt_leaves_it_out(root, tmp_path, monkeypatch):
    from agents import bound

    assert call(root, tmp_path / "a", *TWO, "--quiet", "--bound") == 0
    data = json.loads((tmp_path / "a" / "results.json").read_text())
    for usd in data["policies"].values():
        assert (np.array(data["bound_usd"]) <= usd["total_usd"]).all()
    assert "| clairvoyant bound |" in (tmp_path / "a" / "report.md").read_text()
    assert all(line["gap"] is not None for line in data["comparison"])

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bound, "bounds", stopped)
    assert call(root, tmp_path / "b", *TWO, "--quiet", "--bound") == 130
    data = json.loads((tmp_path / "b" / "results.json").read_text())
    assert data["bound_usd"] is None
    assert data["episodes"] == 3


def test_a_world_that_the_bound_does_not_cover_is_refused_at_once(root, tmp_path, capsys):
    words = [*TWO, "--bound", "--set", "regions.north.supply.battery_h=1"]
    assert call(root, tmp_path / "no", *words) == 2
    assert "does not cover batteries" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
