"""The validation of signals: its measures on cases with known answers, and a small run of the command."""

import json
import re

import numpy as np
import pytest

from benchmarks import validate_signals
from benchmarks.signals import measure
from gcn_env.errors import UserError
from gcn_env.signals.calendar import year_hours
from gcn_env.signals.series import FILES, stamps
from gcn_env.signals.synthetic import synthetic_year

COLUMNS = {"price": ((0,), "{:.2f}"), "carbon": ((1,), "{:.1f},0,0"), "weather": ((2, 3), "{:.2f},50,{:.2f}")}


def test_distance_is_that_of_the_distributions():
    a = np.arange(1000.0)
    assert measure.distance(a, a) == 0.0
    assert measure.distance(a, a + 250.0) == pytest.approx(0.25)
    assert measure.distance(a, a + 5000.0) == 1.0


def test_autocorrelation_of_an_ar1_and_of_a_wave():
    rng, n = np.random.default_rng(0), 400_000
    x = np.empty(n)
    x[0] = 0.0
    for t, e in enumerate(rng.standard_normal(n - 1), 1):
        x[t] = 0.9 * x[t - 1] + e
    np.testing.assert_allclose(measure.autocorrelation(x), 0.9 ** np.array([1, 6, 24, 168]), atol=0.01)
    gappy = x.copy()
    gappy[rng.random(n) < 0.2] = np.nan
    np.testing.assert_allclose(measure.autocorrelation(gappy), measure.autocorrelation(x), atol=0.01)
    wave = np.cos(2 * np.pi * np.arange(24 * 300) / 24)
    np.testing.assert_allclose(
        measure.autocorrelation(wave), [np.cos(np.pi / 12), 0, 1, 1], atol=1e-3 + 200 / (24 * 300)
    )
    assert (measure.autocorrelation(np.ones(500)) == 0.0).all()


def test_shape_and_day_profile():
    x = np.array([1.0, 2.0, np.nan, 6.0])
    np.testing.assert_allclose(measure.shape("price", x), x / 2.0)
    np.testing.assert_allclose(measure.shape("carbon", x), x / 3.0)
    np.testing.assert_array_equal(measure.shape("drybulb", x), x)
    hours = np.tile(np.arange(24.0), 10)
    assert measure.day_profile(hours, 9.0)[9] == 0.0  # midnight UTC is 9 am in Tokyo


def test_two_equal_sets_of_years_have_ratio_of_their_pairs():
    rng = np.random.default_rng(1)
    real = {y: rng.standard_normal(8760) for y in (2021, 2022, 2023)}
    row = measure.row("GB", "drybulb", measure.Years(real, tuple(rng.standard_normal((20, 8760))), 0.0))
    assert row.judged
    for statistic in ("ks", "acf_1h"):
        assert row.ratio(statistic) == pytest.approx(1.0, abs=0.6)
    far = measure.row("GB", "drybulb", measure.Years(real, tuple(3.0 + rng.standard_normal((2, 8760))), 0.0))
    assert far.ratio("ks") > 20.0
    one = measure.row("GB", "drybulb", measure.Years({2021: real[2021]}, (real[2022],), 0.0))
    assert not one.judged
    verdict = measure.verdict([row, far, one])
    assert (verdict.judged, verdict.by_statistic["ks"], verdict.passed) == (2, 0.5, False)
    with pytest.raises(UserError, match="two real years"):
        measure.verdict([one])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three made years written as if they were real: prices, carbon and weather of two regions."""
    out = tmp_path_factory.mktemp("open")
    for k, year in enumerate((2021, 2022, 2023)):
        values = synthetic_year(["GB", "DE-LU"], year, 5)
        for kind, (columns, text) in COLUMNS.items():
            (out / kind).mkdir(exist_ok=True)
            for r, region in enumerate(("GB", "DE-LU")):
                cells = np.minimum(values[:, r, list(columns)], values[:, r, columns[0]][:, None])
                lines = [f"{s},{text.format(*cells[h])}" for h, s in enumerate(stamps(year))]
                if kind == "price" and k == 0:
                    lines[77] = f"{stamps(year)[77]},"  # a missing hour is left out
                head = ",".join(FILES[kind][0])
                (out / kind / f"{region}_{year}.csv").write_text(
                    "\n".join([head, *lines[: year_hours(year)]]) + "\n"
                )
    return out


@pytest.mark.slow
def test_the_command_writes_what_it_says(folder, tmp_path, capsys):
    out = tmp_path / "report"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{validate_signals.MARK}\nlast time\n")
    words = ["--data", str(folder), "--out", str(out), "--made", "4", "--seed", "3", "--page", str(page)]
    assert validate_signals.main(words) == 0
    shown = capsys.readouterr().out
    payload = json.loads((out / "validation.json").read_text())
    assert {(r["region"], r["variable"]) for r in payload["rows"]} == {
        (region, v) for region in ("GB", "DE-LU") for v in measure.VARIABLES
    }
    assert all(r["judged"] for r in payload["rows"])
    assert payload["verdict"]["judged"] == 8
    assert {f.name for f in (out / "figures").iterdir()} == {
        "ratios.png", "cross_region.png",
        *(f"{kind}-{v}.png" for kind in ("distribution", "autocorrelation", "day") for v in measure.VARIABLES),
    }  # fmt: skip
    text = (out / "validation.md").read_text()
    for part in (
        "acf_168h",
        "## Hours with a price below zero",
        "## Correlation between regions",
        "| GB | 3 |",
    ):
        assert part in text
        assert part in shown
    assert str(folder) not in text
    assert page.read_text().startswith(
        f"before\n{validate_signals.MARK}\n`python benchmarks/validate_signals.py --data DIR"
    )
    assert "last time" not in page.read_text()
    assert list((out / "tensorboard").rglob("events*"))
    # years drawn by the same generator are like each other
    ratios = [r["ratio"][s] for r in payload["rows"] for s in ("ks", "ks_shape")]
    assert np.median(ratios) < 1.5


def test_the_seed_decides(folder, tmp_path):
    said = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        words = [
            "--data",
            str(folder),
            "--out",
            str(tmp_path / name),
            "--made",
            "1",
            "--seed",
            seed,
            "--no-figures",
        ]
        assert validate_signals.main([*words, "--regions", "GB"]) == 0
        said.append(json.loads((tmp_path / name / "validation.json").read_text())["rows"])
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "/none"], "does not exist"),
        ([], "no data folder is named.*GCN_DATA"),
        (["--regions", "DE-LX"], "did you mean 'DE-LU'"),
        (["--data", ".", "--years", "1999"], "no price/, carbon/ or weather/ file"),
        (["--data", ".", "--page", "none.md"], "no file with the line"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GCN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert validate_signals.main([*words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


@pytest.mark.parametrize("words", [["--years", "x"], ["--made", "0"], ["--made", "many"]])
def test_wrong_numbers_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        validate_signals.parse(words)
    assert "allowed" in capsys.readouterr().err or words[0] == "--years"


def test_the_fit_finds_the_weights_that_made_the_scores():
    """Step 1 on Gaussian processes of known weights; step 2 moves wrong weights towards given autocorrelations."""
    from benchmarks.signals import fit

    simulator = fit.Simulator("GB", 12, seed=1)
    want = {
        "drybulb": np.array([0.1, 0.2, 0.5, 0.1, 0.05, 0.03, 0.02]),
        "wbd": np.array([0.2, 0.1, 0.6, 0, 0.1, 0, 0]),
    }
    r = 0.6
    years = []
    for dry, own in zip(simulator.parts["drybulb"], simulator.parts["wbd"], strict=True):
        mixed = r * dry + np.sqrt(1 - r**2) * own
        years.append({"drybulb": np.sqrt(want["drybulb"]) @ dry, "wbd": np.sqrt(want["wbd"]) @ mixed})
    weights = fit.first_weights(years)
    correlation = fit.correlations(years, weights)
    lag = np.arange(100)
    for v, w in want.items():
        got = weights[v] @ fit.part_correlations(lag)
        np.testing.assert_allclose(got, w @ fit.part_correlations(lag), atol=0.08)
    assert correlation["drybulb", "wbd"][fit.GROUPS.index("mid")] == pytest.approx(r, abs=0.2)
    moments = fit.Moments(simulator.years("drybulb", want["drybulb"]))

    def misfit(w, _):
        return moments.misfit(simulator.years("drybulb", w))

    start = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    better, _ = fit.refined(misfit, start, np.empty(0))
    assert np.abs(misfit(better, None)).sum() < 0.5 * np.abs(misfit(start, None)).sum()
    assert better.sum() == pytest.approx(1.0)


def test_the_fit_writes_a_file_that_the_generator_reads(folder, tmp_path, capsys):
    import yaml

    from benchmarks import fit_signals
    from gcn_env.signals import climatology

    out = tmp_path / "climatology.yaml"
    words = ["--out", str(out), "--data", str(folder), "--regions", "GB", "--made", "1"]
    assert fit_signals.main(words) == 0
    assert "1 regions" in capsys.readouterr().out
    new, old = yaml.safe_load(out.read_text()), climatology._read("climatology.yaml")
    assert {k: v for k, v in new.items() if k != "regions"} == {
        k: v for k, v in old.items() if k != "regions"
    }
    for region, rows in new["regions"].items():
        if region != "GB":
            assert rows == old["regions"][region]
    got, was = new["regions"]["GB"], old["regions"]["GB"]
    assert got.keys() == was.keys()
    for v in ("price", "carbon", "drybulb", "wbd"):
        assert got[v].keys() == was[v].keys()
        assert sum(got[v]["weights"]) == pytest.approx(1.0, abs=0.01)
        assert got[v]["beta"] == was[v]["beta"]
        assert got[v]["weights"] != was[v]["weights"]
    assert (np.diff(got["price"]["remap_from"]) >= 0).all()
    assert (np.diff(got["price"]["remap_to"]) >= 0).all()
    assert fit_signals.main(["--out", str(out), "--data", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_published_page_reaches_the_target(root):
    """As written by the command; the carried figures and the page change together."""
    page = (root / "benchmarks" / "signals" / "README.md").read_text().split(validate_signals.MARK)[1]
    shares = dict(re.findall(r"^\| (\w+) \| (\d+) % \|$", page, re.M))
    assert set(shares) == set(measure.STATISTICS)
    assert all(int(share) >= 100 * measure.NEEDED for share in shares.values())
    assert "## Target reached" in page
