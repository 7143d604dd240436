"""Reports of made-up results: files, words, tables, figures and TensorBoard tags."""

import json
import re
import sys

import numpy as np
import pytest

from agents import board, figures, report
from agents.compare import compare, money, number
from agents.figures import style
from agents.page import page
from gcn_env.errors import UserError
from gcn_env.ledger import TERMS
from gcn_env.metrics import HEADLINE, KPIS
from tests.agents.results_fixture import POLICIES, results
from tests.house.tools import succeeds

pytestmark = pytest.mark.stepless

META = {"scenario": "made-up", "command": "evaluate.py --episodes 20", "config": {"seed": 0}}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    report.prepare(out)
    res = results()
    return out, res, report.write(out, res, META, extra={"Scenario": "Five regions."})


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loaded = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0}).Reload()
    return loaded


def test_files(written):
    out, res, _ = written
    names = {str(p.relative_to(out)) for p in out.rglob("*.png")}
    assert {"figures/cost_by_term.png", "figures/paired_difference.png", "figures/work/ppo.png"} <= names
    assert {p.name for p in (out / "tensorboard").iterdir()} == {board.REPORT_RUN, *res.policies}


def test_verdict_comes_first_with_numbers_and_interval(written):
    out, _, comparison = written
    text = (out / "report.md").read_text()
    first = text.split("\n\n")[2]
    assert first.startswith("**ppo is better than the best rule, cost-greedy+b1.** It costs ")
    assert "95 % interval" in first
    assert comparison.reference == "cost-greedy+b1"
    for name in ("figures/cost_by_term.png", "figures/work/ppo.png"):
        assert f"]({name})" in text
        assert (out / name).exists()
    assert "evaluate.py --episodes 20" in text
    assert "Five regions." in text


def test_the_page_needs_nothing_else(written):
    out, _, _ = written
    text = (out / "report.html").read_text()
    assert text.count("data:image/png;base64,") == len(list(out.rglob("*.png")))
    assert not re.search(r'(src|href)="(?!data:)|<script|http-equiv|@import|url\(', text)
    assert "<table>" in text
    assert "ppo is better than the best rule" in text
    evil = page("<b>", "<script>alert(1)</script>\n\n**x** <img src=x onerror=y>", {})
    assert "<script" not in evil
    assert "<img" not in evil


def test_every_picture_has_a_caption():
    res = results()
    for name in figures.draw(res, compare(res)):
        assert name.partition("/")[0] in figures.CAPTIONS


def test_pandas_reads_the_results(written):
    pandas = pytest.importorskip("pandas", reason="a reader of other people; not installed here")
    out, res, _ = written
    data = json.loads((out / "results.json").read_text())
    frame = pandas.DataFrame(data["policies"]["ppo"])
    assert frame.shape == (20, len(KPIS))
    assert frame["total_usd"].mean() == pytest.approx(res.kpi("total_usd", "ppo").mean())


def test_json_holds_every_episode(written):
    out, res, comparison = written
    data = json.loads((out / "results.json").read_text())
    assert data["policies"]["ppo"]["total_usd"] == res.kpi("total_usd", "ppo").tolist()
    assert set(data["policies"]["ppo"]) == set(KPIS.names)
    assert [int(s) for s in data["seeds"]] == res.seeds.tolist()
    assert data["reference"] == comparison.reference
    assert data["meta"] == META
    assert data["verdict"] == list(comparison.sentences)


@pytest.mark.slow
def test_equal_results_give_equal_files(written, tmp_path):
    out, _, _ = written
    report.write(tmp_path, results(), META, extra={"Scenario": "Five regions."})
    for name in ("results.json", "report.md", "figures/cost_by_term.png", "figures/work/ppo.png"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_tensorboard_reads_it(written):
    out, res, _ = written
    ppo = events(out / "tensorboard" / "ppo")
    tags = ppo.Tags()["tensors"]
    assert {board.kpi_tag(n) for n in KPIS.names} | {f"kpi_iqm/{n}" for n in HEADLINE} <= set(tags)
    assert {"timeline/bill_kusd", "timeline/grid_mw"} <= set(tags)
    series = ppo.Tensors("kpi/total_usd")
    assert [e.step for e in series] == list(range(20))
    got = [float(e.tensor_proto.float_val[0]) for e in series]
    np.testing.assert_allclose(got, res.kpi("total_usd", "ppo"), rtol=1e-6)
    summary = events(out / "tensorboard" / board.REPORT_RUN)
    assert "figures/cost_by_term" in summary.Tags()["images"]
    layout = summary.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    from tensorboard.plugins.custom_scalar import layout_pb2

    charts = [c for group in layout_pb2.Layout.FromString(layout).category for c in group.chart]
    for chart in charts:
        for pattern in chart.multiline.tag:
            assert any(re.match(pattern, tag) for tag in tags), pattern
    first = summary.Tensors("1_verdict")[0].tensor_proto.string_val[0].decode()
    assert "ppo is better than the best rule" in first


def test_never_overwrites(written, tmp_path):
    with pytest.raises(UserError, match=r"not empty.*--overwrite"):
        report.prepare(written[0])
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(UserError, match="not a report"):
        report.prepare(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="is a file"):
        report.prepare(tmp_path / "thesis.txt", overwrite=True)


def test_overwrite_replaces_the_report_and_nothing_else(tmp_path):
    report.write(tmp_path, results(records={}), META, files={"scenario.yaml": "old"})
    (tmp_path / "notes.txt").write_text("mine")
    report.prepare(tmp_path, overwrite=True)
    assert (tmp_path / "results.json").exists()  # until the new one is ready
    report.write(tmp_path, results(policies={"a": 1.0}, learned=(), episodes=2, records={}), META)
    left = {p.name for p in tmp_path.rglob("*") if p.is_file() and "tfevents" not in p.name}
    assert "ppo.png" not in left
    assert "scenario.yaml" not in left
    assert not (tmp_path / "tensorboard" / "ppo").exists()
    assert {"notes.txt", "results.json", "report.md"} <= left
    assert len(list(tmp_path.rglob("*tfevents*"))) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policies": {"a": 1.0, "b": 1.0}, "learned": ("b",), "noise": 0.1}, "no difference"),
        ({"policies": {"a": 1.0, "b": 1.2}, "learned": ("b",)}, "b is worse than the best rule, a"),
        ({"policies": {"a": 1.0, "b": 1.2}, "learned": ()}, "a is the best rule"),
        ({"policies": {"a": 1.0}, "learned": ()}, "evaluated alone"),
        ({"policies": {"a": 1.0, "b": 1.2}, "learned": ("a", "b")}, "the cheapest policy"),
    ],
)
def test_sentences(changes, said):
    assert said in " ".join(compare(results(**changes)).sentences)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"episodes": 5}, "Only 5 episodes"),
        ({"asked": 40}, "Interrupted: 20 of 40"),
        ({"unfinished": ("dqn",)}, "not evaluated: dqn"),
        ({"policies": {"a": 1.0}, "learned": ("a",)}, "No rule was evaluated"),
        ({"policies": {"a": 1.0, "b": 1.0}, "learned": ("b",), "noise": 0.1}, "touches zero for b"),
    ],
)
def test_warnings(changes, said):
    assert said in " ".join(compare(results(**changes)).warnings)


def test_twenty_clean_episodes_warn_of_nothing():
    assert compare(results()).warnings == ()


def test_what_is_not_shown_but_looks_worse_is_said():
    """One dreadful week: a mean five times as high, an interval that touches zero."""
    res = results()
    assert "there may be" not in " ".join(compare(res).sentences)
    res.kpis[res.policies.index("ppo"), 3, KPIS.index("late_hours")] *= 100.0
    said = " ".join(compare(res).sentences)
    assert "carbon and water is shown to be worse. By the means there may be" in said
    assert "more late job-hours" in said.split("By the means")[1].split("touch zero")[0]


def test_training_runs_are_told_one_by_one():
    res = results()
    ppo = res.kpis[res.policies.index("ppo")]
    runs = np.stack([ppo * 0.9, ppo, ppo * 1.1])
    team = results(runs={"ppo": runs})
    alone, many = compare(res).line("ppo"), compare(team).line("ppo")
    assert many.runs == 3
    assert many.cost.value == pytest.approx(alone.cost.value)
    assert many.diff.high - many.diff.low > alone.diff.high - alone.diff.low
    assert "Mean of 3 training runs." in " ".join(compare(team).sentences)
    assert "ppo, run 3" in report.markdown_pages(team, compare(team), META)["2_policies"]


def test_rare_disasters_are_not_hidden():
    res = results(noise=0.0)
    ppo, total = res.policies.index("ppo"), KPIS.index("total_usd")
    res.kpis[ppo, 3, total] *= 100
    c = compare(res)
    assert c.line("ppo").verdict == "better"
    assert "dearer than cost-greedy+b1 by the plain mean" in " ".join(c.warnings)


def test_bound_and_gap():
    res = results(bound=0.8 * results().kpi("total_usd", "cost-greedy+b1"))
    c = compare(res)
    line = c.line("ppo")
    best, ours = c.line(c.reference).cost.value, line.cost.value
    assert line.gap == pytest.approx(100 * (best - ours) / (0.2 * best))
    assert "clairvoyant bound" in report.policy_table(c)
    assert c.line(c.reference).gap == 0.0
    assert all(x.gap is not None and x.gap <= 100.0 for x in c.lines)
    assert c.bound_mean == pytest.approx(0.8 * results().kpi("total_usd", "cost-greedy+b1").mean())
    data = report.to_json(res, c, {})
    assert data["bound"]["mean"] == pytest.approx(np.mean(data["bound_usd"]))


def test_single_policy_and_no_records_still_draw():
    res = results(policies={"alone": 1.0}, learned=(), records={}, episodes=2)
    drawn = figures.draw(res, compare(res))
    assert set(drawn) == {"cost_by_term", "cost_carbon_late", "profile"}
    assert style.pixels(drawn["profile"]).shape[2] == 3


def test_disasters_turn_axes_logarithmic():
    wide = {"a": 1.0, "b": 1.1, "c": 40.0}
    drawn = {
        scale: figures.draw(res, compare(res))
        for scale, res in (("linear", results()), ("log", results(policies=wide, learned=())))
    }
    for scale, figs in drawn.items():
        assert figs["profile"].axes[0].get_xscale() == scale
        assert figs["cost_carbon_late"].axes[0].get_yscale() == scale
        assert figs["paired_difference"].axes[0].get_xscale() == {"log": "symlog"}.get(scale, scale)


def test_one_look_per_policy_and_no_two_alike():
    many = {f"rule-{i}": 1.0 + i / 100 for i in range(20)} | {"ppo": 0.9}
    res = results(policies=many, episodes=3)
    found = style.looks(res, compare(res))
    assert found["ppo"].colour == style.OKABE_ITO[0]
    assert len({(x.colour, x.marker) for x in found.values()}) == len(many)


def test_axes_carry_units():
    res = results()
    for name, figure in figures.draw(res, compare(res)).items():
        for ax in figure.axes:
            labels = ax.get_xlabel() + ax.get_ylabel() + ax.get_title(loc="left")
            if labels:
                units = ("[", "days", "hours", "against", "at home", "By ")
                assert any(u in labels for u in units), (name, labels)


def test_money_and_number():
    assert [money(x) for x in (12.3, 4567, -2.5e6)] == ["12 USD", "4.6 kUSD", "-2.500 MUSD"]
    assert money(4567, sign=True) == "+4.6 kUSD"
    assert [number(x) for x in (0.12345, 999.9, 12345.6)] == ["0.123", "1,000", "12,346"]


@pytest.mark.slow
def test_rules_are_reported_without_torch(root, tmp_path):
    code = (
        "import sys, pathlib; from tests.agents.results_fixture import results; from agents import report;"
        f"report.write(pathlib.Path({str(tmp_path)!r}), results(records={{}}), {{}}); assert 'torch' not in sys.modules"
    )
    succeeds([sys.executable, "-c", code], root, PYTHONPATH=str(root))


def test_policies_of_the_fixture_are_ordered_as_planted():
    c = compare(results())
    assert [x.policy for x in c.lines] == sorted(POLICIES, key=POLICIES.get)


def test_every_term_of_the_bill_has_a_colour():
    assert len(set(style.TERM_COLOURS)) == len(style.TERM_COLOURS) == len(TERMS)
