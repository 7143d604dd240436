"""Job tables: synthetic ones against the fits and the real traces, and the readers of traces."""

import gzip
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.jobs.arrivals import SECTIONS
from gcn_env.jobs.engineering import KINDS
from gcn_env.jobs.fits import Mixture, fits, quantile
from gcn_env.jobs.rows import JobTable, job_table, mean_device_h, offered_devices
from gcn_env.jobs.synthetic import MIN_H, cells, synthetic_table, truncation
from gcn_env.jobs.traces import load_trace, read_trace
from gcn_env.signals.errors import DataError

TRACES = {  # file, format
    "training": ("train_philly_2017_sep18_nov12.csv.gz", "philly"),
    "batch": ("mixed_alibaba_gpu2023.csv.gz", "alibaba_pods"),
    "hpc": ("hpc_cerit_2013_part1.csv.gz", "cerit"),
    "nasa": ("hpc_NASA-iPSC-1993-3.1-cln.swf.gz", "swf"),
}


def integral(y, x):
    """Trapezoidal rule (NumPy renamed its own in 2.0)."""
    return np.sum(0.5 * (y[1:] + y[:-1]) * np.diff(x))


def ks(a, b):
    """Kolmogorov-Smirnov distance of two samples."""
    both = np.sort(np.concatenate([a, b]))
    cdf = [np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b)]
    return np.abs(cdf[0] - cdf[1]).max()


# ----------------------------------------------------------------------------------------- synthetic tables


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_holds_what_it_declares(kind):
    table = synthetic_table(kind, np.random.default_rng(0), 500, max_gang=16, max_h=48.0, min_h=0.05)
    types = [a.dtype for a in table[:7]]
    assert types == [np.float64, np.int32, np.float64, np.float32, np.float32, np.float32, np.float32]
    assert all(len(a) == 500 and a.flags.c_contiguous for a in table[:7])
    assert table.window_h == 0.0
    assert not table.arrival_h.any()
    assert table.gang.min() >= 1
    assert table.gang.max() <= 16
    assert table.work_h.min() >= 0.05
    assert table.work_h.max() <= 48.0
    assert (table.memory_gib > 0).all()
    assert (table.data_gb > 0).all()
    assert (table.checkpoint_h > 0).all()
    assert ((table.comm >= 0) & (table.comm <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_generators_give_equal_tables(kind):
    one, two, other = (synthetic_table(kind, np.random.default_rng(s), 300) for s in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(one[:7], two[:7], strict=True))
    assert not np.array_equal(one.work_h, other.work_h)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_work_is_that_of_the_formula(kind):
    bounds = {"max_gang": 64, "max_h": 72.0, "min_h": 0.1}
    tables = [synthetic_table(kind, np.random.default_rng(s), **bounds) for s in range(10)]
    expected = truncation(kind, **bounds)
    assert np.mean([t.work_h.mean() for t in tables]) == pytest.approx(expected.mean_h, rel=0.03)
    assert np.mean([mean_device_h(t) for t in tables]) == pytest.approx(expected.mean_device_h, rel=0.05)
    assert np.std([mean_device_h(t) for t in tables]) < 0.08 * expected.mean_device_h
    assert 0.0 < expected.kept_jobs <= 1.0
    assert 0.0 < expected.kept_work <= 1.0


def test_stratified_rows_vary_less_than_independent_ones():
    tables = [synthetic_table("training", np.random.default_rng(s)) for s in range(10)]
    pool = np.concatenate([t.gang * t.work_h for t in tables])
    rng = np.random.default_rng(0)
    independent = np.std([rng.choice(pool, 4096).mean() for _ in range(100)])
    assert np.std([mean_device_h(t) for t in tables]) < 0.8 * independent


@pytest.mark.parametrize(("kind", "key"), [("training", "gpus_per_job"), ("hpc", "cpu_cores_share")])
def test_gang_shares_are_the_fits(kind, key):
    table = synthetic_table(kind, np.random.default_rng(1), max_h=1e9, min_h=0.0)
    shares = fits()[SECTIONS[kind]][key]
    total = sum(shares.values())
    for size, share in shares.items():
        assert np.mean(table.gang == size) == pytest.approx(share / total, abs=1.5 / 4096 + 0.003)


@pytest.mark.parametrize("name", ["1", "2-4", "8", ">8"])
def test_training_durations_are_conditional_on_the_gang(name):
    figures = fits()["training_philly"]["duration_lognormal_mixture_s"][name]
    low, high = {"1": (1, 1), "2-4": (2, 4), "8": (5, 8), ">8": (9, 999)}[name]
    table = synthetic_table("training", np.random.default_rng(2), 60_000, max_h=1e9, min_h=0.0)
    hours = table.work_h[(table.gang >= low) & (table.gang <= high)]
    # the mixture is within its own KS distance of the trace, so its median is within some tens of per cent
    assert np.median(hours) == pytest.approx(figures["median_s"] / 3600.0, rel=0.4)
    assert hours.mean() == pytest.approx(figures["mean_s"] / 3600.0, rel=0.9)


@pytest.mark.parametrize("kind", list(TRACES))
def test_synthetic_durations_resemble_the_trace(kind, job_traces):
    file, form = TRACES[kind]
    where = {"job_class": "BE"} if kind == "batch" else None
    real = read_trace(job_traces / file, form, where=where)
    made = synthetic_table(kind, np.random.default_rng(3), max_h=1e9, min_h=0.0)
    assert ks(np.log(real.work_h), np.log(made.work_h)) < 0.11
    assert ks(real.gang.astype(float), made.gang.astype(float)) < 0.11


def test_truncation_only_ever_removes():
    full = truncation("training", max_gang=10**6, max_h=1e9, min_h=0.0)
    assert full.kept_jobs == pytest.approx(1.0)
    assert full.kept_work == pytest.approx(1.0)
    assert full.mean_h == pytest.approx(full.full_mean_h)
    week = truncation("training", max_gang=64, max_h=168.0, min_h=0.25)
    shorter = truncation("training", max_gang=64, max_h=24.0, min_h=0.25)
    assert week.kept_work > shorter.kept_work
    assert week.kept_jobs > shorter.kept_jobs
    assert truncation("training", max_h=168.0, min_h=0.25).mean_h > truncation("training", max_h=168.0).mean_h


def test_gangs_scale_and_cores_gather_into_devices():
    assert {c.gang for c in cells("training", gang_scale=4)} == {1, 8, 16, 32, 48, 64, 96, 128}
    assert {c.gang for c in cells("hpc", cores_per_device=16)} == {1, 2, 3, 4, 5}
    one = synthetic_table("hpc", np.random.default_rng(0), max_h=1e9, min_h=0.0)
    many = synthetic_table("hpc", np.random.default_rng(0), cores_per_device=16)
    assert many.gang.max() == 5
    assert np.median(many.memory_gib) > 8 * np.median(one.memory_gib)


def test_neighbouring_rows_are_one_users_jobs():
    """Consecutive rows resemble a batch of the trace: 98 % have the same gang, correlation 0.74."""
    table = synthetic_table("training", np.random.default_rng(4))
    assert np.mean(table.gang[1:] == table.gang[:-1]) == pytest.approx(0.98, abs=0.02)
    x = np.log(table.work_h)
    assert np.corrcoef(x[1:], x[:-1])[0, 1] == pytest.approx(0.74, abs=0.08)
    assert abs(np.corrcoef(np.arange(4096), x)[0, 1]) < 0.1  # no drift along the table


def test_big_gangs_need_more_memory_checkpoints_and_communication():
    table = synthetic_table("training", np.random.default_rng(5))
    big = table.gang >= 8
    assert table.memory_gib[big].mean() > table.memory_gib[~big].mean()
    assert table.comm[big].mean() > table.comm[~big].mean()
    assert table.data_gb[big].mean() > table.data_gb[~big].mean()
    kept = np.isfinite(table.checkpoint_h)
    assert (table.checkpoint_h[kept] < table.work_h[kept]).all()
    assert np.median(table.data_gb) == pytest.approx(25.0, rel=0.2)


def test_a_table_takes_milliseconds():
    synthetic_table("training", np.random.default_rng(0))
    start = time.perf_counter()
    synthetic_table("training", np.random.default_rng(1))
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kind": "trainng"}, "did you mean 'training'"),
        ({"kind": "training", "n": 0}, "at least one row"),
        ({"kind": "training", "max_gang": 0}, "max_gang >= 1"),
        ({"kind": "training", "max_h": 0.1, "min_h": 0.2}, "min_h < max_h"),
        ({"kind": "training", "max_h": float("nan")}, "min_h < max_h"),
        ({"kind": "training", "gang_scale": 0}, "at least 1"),
        ({"kind": "nasa", "max_h": 1e6, "min_h": 1e5}, "widen the bounds"),
    ],
)
def test_impossible_tables_are_refused(arguments, says):
    with pytest.raises(DataError, match=says):
        synthetic_table(rng=np.random.default_rng(0), **arguments)


def test_impossible_truncation_is_refused():
    with pytest.raises(DataError, match="widen"):
        truncation("nasa", max_h=1e6, min_h=1e5)


def test_job_table_refuses_what_no_job_is():
    fine = dict.fromkeys(JobTable._fields[:7], np.ones(2)) | {"window_h": 1.0}
    assert job_table(**fine).gang.dtype == np.int32
    for name, wrong in {
        "work_h": -np.ones(2),
        "gang": np.zeros(2),
        "comm": np.full(2, 1.5),
        "data_gb": np.ones(3),
    }.items():
        with pytest.raises(ValueError, match="job table"):
            job_table(**(fine | {name: wrong}))
    with pytest.raises(ValueError, match="work_h"):
        job_table(**(fine | {"work_h": np.array([1.0, np.nan])}))
    assert offered_devices(job_table(**fine)) == 2.0
    with pytest.raises(ValueError, match="synthetic"):
        offered_devices(job_table(**(fine | {"window_h": 0.0})))


# ------------------------------------------------------------------------------------------------- mixtures


@given(st.floats(0.0, 1e5), st.floats(1.0, 1e6), st.integers(1, 50))
def test_mixture_draws_stay_inside(low, width, n):
    mixture = Mixture.of(fits()["training_philly"]["duration_lognormal_mixture_s"]["1"])
    for k in range(len(mixture.weight)):
        drawn = mixture.draw_s(k, n, low, low + width, np.random.default_rng(0))
        assert ((drawn >= low) & (drawn <= low + width)).all()
    mass = mixture.mass(low, low + width)
    assert (mass >= 0).all()
    assert mass.sum() <= 1.0 + 1e-9


def test_partial_mean_is_the_integral():
    mixture = Mixture(np.array([0.3, 0.7]), np.array([2.0, 5.0]), np.array([0.5, 1.0]), 1e9)
    x = np.linspace(5.0, 400.0, 400_001)
    density = sum(
        w / (x * s * np.sqrt(2 * np.pi)) * np.exp(-((np.log(x) - m) ** 2) / (2 * s * s))
        for w, m, s in zip(mixture.weight, mixture.mu, mixture.sd, strict=True)
    )
    assert mixture.partial_mean_s(5.0, 400.0) == pytest.approx(integral(x * density, x), rel=1e-5)
    assert mixture.mass(5.0, 400.0).sum() == pytest.approx(integral(density, x), rel=1e-5)


def test_normal_quantiles():
    assert quantile(np.array([0.5, 0.975, 0.0, 1.0])) == pytest.approx([0.0, 1.959964, -7.03, 7.03], abs=0.01)


# ---------------------------------------------------------------------------------------------- real traces


@pytest.mark.parametrize(
    ("file", "form", "kept"),
    [
        ("train_philly_2017_sep18_nov12.csv.gz", "philly", 62042),
        ("mixed_alibaba_gpu2023.csv.gz", "alibaba_pods", 6203),
        ("serve_alibaba_dlrm2025_d00_15.csv.gz", "alibaba_serving", 1337),
        ("infer_alibaba_genai_d00_13.csv.gz", "genai", 13208),
        ("infer_azure_llm2023_code.csv.gz", "azure_llm", 8819),
        ("hpc_cerit_2013_part1.csv.gz", "cerit", 7763),
        ("hpc_NASA-iPSC-1993-3.1-cln.swf.gz", "swf", 18239),
    ],
)
def test_every_open_trace_is_read(job_traces, file, form, kept):
    start = time.perf_counter()
    table, report = load_trace(job_traces / file, form)
    seconds = time.perf_counter() - start
    assert seconds < 3.0  # 0.2 s on an idle core
    assert len(table.gang) == report.kept == kept
    assert report.rows == report.kept + sum(report.dropped.values())
    assert (np.diff(table.arrival_h) >= 0).all()
    assert 0.0 <= table.arrival_h[0] < 24.0
    assert table.arrival_h[-1] < table.window_h == report.extent_h
    assert table.work_h.min() > 0
    assert (table.memory_gib > 0).all()
    assert len(report.fingerprint) == 12
    assert file in str(report)


def test_philly_is_read_as_the_fit_says(job_traces):
    table, report = load_trace(job_traces / TRACES["training"][0], "philly")
    figures = fits()["training_philly"]
    one = table.gang == 1
    assert np.mean(one) == pytest.approx(figures["gpus_per_job"][1], abs=1e-3)
    assert np.median(table.work_h[one]) * 3600 == pytest.approx(
        figures["duration_lognormal_mixture_s"]["1"]["median_s"], rel=1e-3
    )
    full = table.arrival_h >= 175.0  # the fit leaves out the first week, in which the record filled up
    assert full.sum() / (table.window_h - 175.0) == pytest.approx(figures["arrivals"]["mean_per_h"], rel=0.02)
    assert report.start_utc == "2017-09-18T00:00:00Z"
    assert report.filled == ("memory_gib", "data_gb", "checkpoint_h", "comm")


def test_splits_of_a_real_trace_share_no_job(job_traces):
    file = job_traces / TRACES["training"][0]
    whole = read_trace(file, "philly")
    parts = [read_trace(file, "philly", w) for w in ((0, 672), (672, 1008), (1008, 1344))]
    assert sum(len(p.gang) for p in parts) == len(whole.gang)
    for i, column in enumerate(JobTable._fields[1:7], 1):  # a row has the same figures in any window
        assert np.array_equal(np.concatenate([p[i] for p in parts]), whole[i]), column
    assert parts[1].window_h == 336.0


def test_every_synthetic_default_is_a_real_job():
    """The default bounds keep most of a class's jobs, and the truncation says how many."""
    for kind in KINDS:
        assert truncation(kind).kept_jobs > 0.55
        assert synthetic_table(kind, np.random.default_rng(0), 50).work_h.min() >= MIN_H


def test_compressed_or_plain(job_traces, tmp_path):
    file = job_traces / TRACES["hpc"][0]
    plain = tmp_path / "trace.csv"
    plain.write_bytes(gzip.decompress(file.read_bytes()))
    one, two = read_trace(file, "cerit"), read_trace(plain, "cerit")
    assert all(np.array_equal(a, b) for a, b in zip(one[:7], two[:7], strict=True))
