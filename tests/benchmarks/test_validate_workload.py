"""The validation of the generated work: its statistics, a run on traces made here, and one on the real ones."""

import json
import re

import numpy as np
import pytest

from benchmarks import fit_workload, validate_workload
from benchmarks.workload import excursions, fit, generator, measures, misses, samples
from gcn_env.jobs.fits import fits

pytestmark = pytest.mark.compiled


def sample(counts, weekday=0):
    return samples.Sample(np.asarray(counts, float), weekday)


def by_name(name):
    return next(m for m in measures.MEASURES if m.name == name)


def test_statistics_of_known_samples():
    rng = np.random.default_rng(0)
    poisson = sample(rng.poisson(9.0, 24 * 4000))
    for h in (1, 6, 24):
        assert by_name(f"index of dispersion, {h} h").of(poisson) == pytest.approx(1.0, abs=0.06)
    assert by_name("autocorrelation, 1 h").of(poisson) == pytest.approx(0.0, abs=0.02)
    wave = sample(np.tile(1.0 + np.sin(np.arange(24) * np.pi / 12), 28))
    assert by_name("autocorrelation, 24 h").of(wave) == pytest.approx(1.0)
    assert by_name("autocorrelation, 6 h").of(wave) == pytest.approx(0.0, abs=0.01)
    assert by_name("coefficient of variation, 1 h").of(wave) == pytest.approx(np.sqrt(0.5))
    assert by_name("coefficient of variation, 24 h").of(wave) == pytest.approx(0.0, abs=0.01)
    assert by_name("daily profile").of(wave)[6] == pytest.approx(2.0 / 24)
    week = sample(np.repeat([1.0, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1], 24), weekday=6)
    assert by_name("weekly profile").of(week) == pytest.approx(np.array([1, 1, 1, 1, 1, 1, 2]) / 8)


def test_distances():
    assert measures.kolmogorov(np.arange(10.0), np.arange(10.0) + 5) == pytest.approx(0.5)
    assert measures.kolmogorov(np.zeros(4), np.zeros(7)) == 0.0
    assert measures.moved(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == 0.5
    assert measures.log_ratio(2.0, 1.0) == measures.log_ratio(1.0, 2.0) == pytest.approx(np.log(2.0))
    assert measures.yardstick(by_name("autocorrelation, 1 h"), [0.0, 1.0, 2.0]) == pytest.approx(4.0 / 3.0)
    assert np.isnan(measures.yardstick(by_name("autocorrelation, 1 h"), [0.0]))


def test_one_law_on_both_sides_has_a_ratio_of_one():
    """And another law has not."""
    rng = np.random.default_rng(1)
    source = samples.SOURCES[0]

    def made(shape):
        return sample(rng.poisson(20.0 * rng.gamma(shape, 1.0 / shape, 24 * 7 * 26)))

    real, same, other = made(2.0), [made(2.0) for _ in range(4)], [made(0.7) for _ in range(4)]
    for name in ("index of dispersion, 1 h", "hourly counts over their mean"):
        assert measures.compare(source, by_name(name), real, same).ratio == pytest.approx(1.0, abs=0.25)
        assert not measures.compare(source, by_name(name), real, other).passed


def test_parts_keep_jobs_days_and_clock():
    hour = np.array([1.0, 25.0, 49.5, 50.0])
    x = samples.Sample(np.histogram(hour, np.arange(97))[0].astype(float), 5, hour, np.arange(1.0, 5.0), hour)
    parts = measures.parts_of(x, measures.HALF)
    assert [p.gang.tolist() for p in parts] == [[1.0, 2.0], [3.0, 4.0]]
    assert [p.weekday for p in parts] == [5, 0]
    assert parts[1].hour.tolist() == [1.5, 2.0]
    assert all(p.counts.sum() == len(p.hour) for p in parts)


def test_local_hours_know_of_the_clock_change():
    hours, weekday = samples.local_hours(
        np.array([0.0, 7.0, 6.9, 24.0 * 49]), "2017-09-18T00:00:00Z", "America/Los_Angeles"
    )
    assert weekday == 6  # it is still Sunday in California
    assert hours == pytest.approx([17.0, 24.0, 23.9, 24.0 * 49 + 16.0])  # an hour less in November


def test_the_generator_is_the_kernel_at_the_traces_rate():
    g = generator.Generator()
    seen = []
    made = g.draw("nasa", 14, 3, 8, seed=5, tick=lambda: seen.append(1))
    assert len(seen) == 14 * 96
    assert [s.weekday for s in made] == [3] * 8
    assert np.mean([s.counts.mean() for s in made]) == pytest.approx(8.18, rel=0.2)
    work = g.world.params.work
    s = g.names.index("nasa")
    rows = slice(work.first[0, s], work.first[0, s] + work.rows[0, s])
    pairs = set(zip(work.gang[rows].tolist(), work.work_h[rows].tolist(), strict=True))
    assert set(zip(made[0].gang.tolist(), made[0].work_h.tolist(), strict=True)) <= pairs
    again = g.draw("nasa", 14, 3, 8, seed=5)
    assert all(np.array_equal(a.hour, b.hour) for a, b in zip(made, again, strict=True))
    rates = g.draw("m-small", 7, 0, 8)
    assert np.mean([s.counts.mean() for s in rates]) == pytest.approx(1.0, abs=0.1)


@pytest.fixture
def folder(tmp_path):
    """Traces of our own under the names of the open ones."""
    rng = np.random.default_rng(2)
    (tmp_path / "jobs").mkdir()
    step = np.arange(1008)
    rate = 1000.0 * np.exp(0.3 * np.sin(step * 2 * np.pi / 144) + 0.1 * rng.standard_normal(1008))
    text = "window_start_s,request_rate_per_s\n" + "".join(f"{600 * i},{r:.3f}\n" for i, r in enumerate(rate))
    files = {s.name: tmp_path / s.path for s in samples.SOURCES}
    files["m-small"].write_text(text)
    hours = np.sort(rng.uniform(0, 24 * 35, 4000))
    stamps = np.datetime64("2017-09-18T08:00:00") + (hours * 3600).astype("timedelta64[s]")
    rows = zip(stamps, rng.exponential(3600, 4000), rng.choice([1, 2, 8], 4000), strict=True)
    jobs = "".join(f"{i},{t}Z,{d:.0f},{g},a\n" for i, (t, d, g) in enumerate(rows))
    files["training"].write_text("job_id,arrival_utc,duration_s,n_gpu,group\n" + jobs)
    return tmp_path


@pytest.mark.slow
def test_a_small_run_writes_table_figures_and_json(folder, tmp_path, capsys):
    out = tmp_path / "out"
    page = tmp_path / "page.md"
    page.write_text(f"kept\n{validate_workload.MARK}\nold\n")
    given = ["--data", str(folder), "--sources", "training,m-small", "--replicas", "3"]
    assert validate_workload.main([*given, "--out", str(out), "--page", str(page)]) == 0
    payload = json.loads((out / "validation.json").read_text())
    assert payload["of"] == len(payload["rows"]) > 15
    assert {r["source"] for r in payload["rows"]} == {"training", "m-small"}
    assert payload["passed"] == sum(r["passed"] for r in payload["rows"])
    for r in payload["rows"]:
        assert r["passed"] == (r["ratio"] is not None and r["ratio"] <= measures.LIMIT)
        if r["ratio"] is not None:
            assert r["ratio"] == pytest.approx(r["distance"] / r["yardstick"])
    # a Poisson process with uniform hours is not Philly
    burst = next(r for r in payload["rows"] if r["measure"] == "index of dispersion, 1 h")
    assert burst["real"] == pytest.approx(1.0, abs=0.2)
    assert not burst["passed"]
    text = (out / "validation.md").read_text()
    assert str(folder) not in text
    assert all(f"| {r['source']} | {r['measure']} (" in text for r in payload["rows"])
    assert (out / "figures" / "ratios.png").stat().st_size > 10_000
    assert page.read_text().startswith(
        f"kept\n{validate_workload.MARK}\n`python benchmarks/validate_workload.py --data DIR"
    )
    assert "old" not in page.read_text()
    assert f"{payload['passed']} of {payload['of']} statistics inside" in capsys.readouterr().out
    assert validate_workload.main([*given, "--out", str(out), "--strict"]) == (
        payload["passed"] < 0.8 * payload["of"]
    )


def test_what_cannot_be_run_is_one_line(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GCN_DATA", raising=False)
    for given, says in (
        ([], "no data folder is named"),
        (["--data", str(tmp_path / "none")], "holds no folder jobs/"),
        (["--data", str(folder), "--sources", "trainng"], "did you mean 'training'"),
        (["--data", str(folder), "--sources", "hpc"], "no such file; give --data"),
        (["--data", str(folder), "--replicas", "1"], "at least 2"),
        (["--data", str(folder), "--page", str(tmp_path / "none.md")], validate_workload.MARK),
    ):
        assert validate_workload.main([*given, "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
    monkeypatch.setenv("GCN_DATA", str(folder / "jobs"))
    assert validate_workload.main([]) == 2
    with pytest.raises(SystemExit):
        validate_workload.parse(["--help"])
    assert "80 %" in capsys.readouterr().out


@pytest.mark.long
def test_generated_work_is_like_real_work(job_traces, tmp_path):
    data = job_traces.parent
    status = validate_workload.main(
        ["--data", str(data), "--replicas", "10", "--strict", "--out", str(tmp_path)]
    )
    payload = json.loads((tmp_path / "validation.json").read_text())
    assert status == 0, f"{payload['passed']} of {payload['of']}"
    assert {r["source"] for r in payload["rows"]} == {s.name for s in samples.SOURCES}
    far = {(r["source"], r["measure"]) for r in payload["rows"] if r["ratio"] is None or r["ratio"] > 1.8}
    assert far <= set(misses.MISSES), "a miss that nobody explains"


def test_excursions_are_found():
    rate = np.ones(144 * 2)
    rate[30:33], rate[100] = 1.5, 1.3
    rate[200:202] = 0.5
    per_day, length_h, height = excursions.excursions(rate, 1 / 6)
    assert per_day == pytest.approx((2 - 1) / 2)
    assert length_h == pytest.approx(2 / 6)
    assert height == pytest.approx(0.4)
    assert not excursions.excursions(np.ones(144), 1 / 6).any()


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "name", ["m-small", pytest.param("m-mid", marks=LONG), pytest.param("mm-image", marks=LONG)]
)
def test_bursts_appear_as_fitted(name):
    """Seen as they were seen in the traces: number less dips, length and excess over the running median."""
    found = np.array(
        [excursions.excursions(s.fine, 1 / 6) for s in generator.Generator().draw(name, 14, 0, 30, seed=9)]
    )
    per_day, length_h, height = found.mean(0)
    seen = fits()["llm_request_rate"][name]["bursts"]["seen"]
    assert per_day == pytest.approx(seen[0], rel=0.35)
    assert length_h == pytest.approx(
        seen[1], abs=0.16
    )  # hourly steps of the modulation look like long bursts
    assert height == pytest.approx(seen[2], rel=0.2)


def test_fits_find_what_made_a_trace():
    """Two scales of modulation, and batches: from counts of the generator itself."""
    lags = fit.LAGS_H
    sigma, phi = fit.two_scales(0.5**2 * 0.7**lags + 0.3**2 * 0.98**lags)
    assert sigma == pytest.approx([0.5, 0.3], rel=0.1)
    assert phi == pytest.approx([0.7, 0.98], abs=0.03)
    rng = np.random.default_rng(0)
    sizes = np.where(
        rng.random(50_000) < 0.4, np.minimum(np.rint(1.5 * rng.random(50_000) ** (-1 / 1.3)), 100), 1
    )
    assert fit.pareto_alpha(sizes.astype(int)) == pytest.approx(1.3, abs=0.1)
    x = np.exp(np.where(rng.random(4000) < 0.3, rng.normal(3, 0.5, 4000), rng.normal(8, 1.0, 4000)))
    found = fit.mixture(x)
    assert sorted(found["mu_ln_s"]) == pytest.approx([3, 8], abs=0.15)
    assert min(found["w"]) == pytest.approx(0.3, abs=0.03)


def test_fits_are_those_of_the_traces(job_traces, root, capsys):
    data = job_traces.parent
    path = next(s for s in samples.SOURCES if s.name == "hpc")
    hour, days, weekday = samples.arrivals(path, data)
    found = fit_workload.plain(fit.batches(hour, days, weekday, 60, path.dated))
    figures = fits()["hpc_cerit_2013"]["arrivals"]
    assert found == {k: figures[k] for k in found}
    assert fit_workload.main(["--data", str(root / "none")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_published_page_has_the_rows_as_they_are_now(root):
    """Numbers are those of the run that wrote it; sources, statistics and explanations must be today's."""
    page = (root / "benchmarks" / "workload" / "README.md").read_text().split(validate_workload.MARK)[1]
    rows = re.findall(r"^\| ([\w-]+) \| (.+?) \((.+?)\) \| .* \| (pass|\*\*miss\*\*) \|$", page, re.M)
    known = {(m.name, m.meaning) for m in measures.MEASURES}
    assert {(name, meaning) for _, name, meaning, _ in rows} == known
    assert {source for source, *_ in rows} == {s.name for s in samples.SOURCES}
    passed = sum(verdict == "pass" for *_, verdict in rows)
    assert f"## {passed} of {len(rows)} statistics within" in page
    assert passed >= validate_workload.NEEDED * len(rows)
    for source, name, _, verdict in rows:
        if verdict != "pass":
            assert misses.MISSES[source, name] in page
