"""Arrival processes, request rates and the windows of the splits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core.workload import traffic
from gcn_env.jobs.arrivals import (
    RATES,
    SECTIONS,
    arrival_process,
    batch_sizes,
    mean_batch_size,
    multi_share,
    pareto_mean,
    rate_profile,
)
from gcn_env.jobs.engineering import KINDS
from gcn_env.jobs.fits import fits
from gcn_env.jobs.rates import read_rates
from gcn_env.jobs.windows import split_windows
from gcn_env.signals.errors import DataError
from gcn_env.sim import Sim
from tests.worlds import world


@pytest.fixture
def write(tmp_path):
    """Write a text and return its path."""

    def _write(text, name="rates.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return _write


# ------------------------------------------------------------------------------------------------- arrivals


@pytest.mark.parametrize("kind", KINDS)
def test_arrivals_are_the_fits(kind):
    process = arrival_process(kind)
    figures = fits()[SECTIONS[kind]]["arrivals"]
    assert process.hour_profile.shape == (24,)
    assert process.weekday_profile.shape == (7,)
    assert process.hour_profile.mean() == pytest.approx(1.0)
    assert process.weekday_profile.mean() == pytest.approx(1.0)
    assert process.mean_batch == pytest.approx(figures["batch"]["mean_size"], rel=1e-9)
    assert process.mean_batch * process.batches_per_h == pytest.approx(figures["mean_per_h"], rel=0.02)
    assert 0.0 <= process.multi_share <= 1.0
    assert process.sigma.shape == process.phi.shape == (2,)
    assert ((process.phi >= 0.0) & (process.phi < 1.0)).all()
    assert process.phi[0] < process.phi[1], "hours, then days"


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_draws_batches_of_the_mean_size(kind):
    process = arrival_process(kind)
    sizes = batch_sizes(process, 400_000, np.random.default_rng(0))
    assert sizes.mean() == pytest.approx(process.mean_batch, rel=0.04)
    assert sizes.max() <= process.batch_max
    assert np.mean(sizes >= 2) == pytest.approx(process.multi_share, abs=0.005)


def hourly_counts(process, days, rng):
    """Jobs per hour by the generator in words: Poisson batches under profile and modulation."""
    hours = 24 * days
    shocks, x = process.sigma * rng.standard_normal((hours, 2)), np.zeros((hours, 2))
    x[0] = shocks[0]
    for h in range(1, hours):
        x[h] = process.phi * x[h - 1] + np.sqrt(1 - process.phi**2) * shocks[h]
    hour, day = np.arange(hours) % 24, np.arange(hours) // 24 % 7
    shape = process.hour_profile[hour] * process.weekday_profile[day]
    batches = rng.poisson(process.batches_per_h * shape * np.exp(np.sum(x - 0.5 * process.sigma**2, 1)))
    sizes = batch_sizes(process, int(batches.sum()), rng)
    ends = np.concatenate([[0], np.cumsum(batches)])
    total = np.concatenate([[0], np.cumsum(sizes)])
    return total[ends[1:]] - total[ends[:-1]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_is_as_bursty_as_the_fit_found(kind):
    """Index of dispersion of hourly counts (variance over mean; a Poisson process has 1)."""
    process = arrival_process(kind)
    counts = hourly_counts(process, 700, np.random.default_rng(1))
    figures = fits()[SECTIONS[kind]]["arrivals"]
    assert counts.mean() == pytest.approx(figures["mean_per_h"], rel=0.12)
    loose = 0.3  # the kernel's own mean over 20 draws of 56 days, each of which spans a factor of two
    assert counts.var() / counts.mean() == pytest.approx(figures["idc_simulated"]["1h"], rel=loose)


@given(st.floats(0.5, 3.0), st.integers(2, 500), st.floats(1.0, 3.0))
def test_batch_share_and_mean_are_inverses(alpha, largest, mean):
    share = multi_share(mean, alpha, largest)
    assert 0.0 <= share <= 1.0
    if share < 1.0:
        assert mean_batch_size(share, alpha, largest) == pytest.approx(mean)
    assert 2.0 <= pareto_mean(alpha, largest) <= largest


def test_smaller_batches_keep_the_mean_while_they_can():
    assert arrival_process("training", batch_max=32).mean_batch == pytest.approx(3.036)
    assert arrival_process("training", batch_max=2).mean_batch == 2.0
    with pytest.raises(DataError, match="2 or more"):
        arrival_process("training", batch_max=1)
    with pytest.raises(DataError, match="did you mean 'hpc'"):
        arrival_process("hcp")


@pytest.mark.parametrize("name", RATES)
def test_request_rates_over_the_day(name):
    profile = rate_profile(name)
    assert profile.hour_profile.shape == (24,)
    assert profile.hour_profile.mean() == pytest.approx(1.0)
    assert profile.day_profile.shape == (7,)
    assert profile.day_profile.mean() == pytest.approx(1.0)
    assert (profile.sigma > 0.0).all()
    assert 0.0 < profile.phi[0] < profile.phi[1] < 1.0
    per_h, mean_h, least, more = profile.burst
    assert 0.5 < 24 * per_h < 6, "a few a day"
    assert 1 / 12 <= mean_h + 0.01 < 1.0
    assert least > 0.0
    assert more > 0.0


def test_unknown_request_rate():
    with pytest.raises(DataError, match="did you mean 'm-small'"):
        rate_profile("m-smal")


def test_standing_leases_cover_the_bursts():
    """Every environment begins with leases for the traffic it begins with, bursts included."""
    infer, burst = 2, np.zeros((4, 4))
    burst[infer] = 20.0, 5.0, 0.5, 0.2  # nearly always on
    base = world(overrides={"decisions.job_places": 512})
    work = base.params.work._replace(burst=burst)
    sim = Sim(replace(base, params=base.params._replace(work=work)), 6)
    sim.reset(np.arange(6, dtype=np.uint64))
    state, p = sim.state, sim.world.params
    assert (state.sources.burst[:, infer] > 0.0).mean() > 0.8
    for b in range(6):
        weekday = p.bank.weekday[state.clock.year[b]]
        for r in range(2):
            want = traffic(b, state.clock.now_h[b], infer, r, 0, weekday, state.sources, p.work, p.geo)
            have = state.sources.leased[b, infer, r]
            assert have + 0.5 >= want
            live = slice(0, state.jobs.n_live[b])
            mine = (state.jobs.source[b, live] == infer) & (state.jobs.origin[b, live] == r)
            assert state.jobs.gang[b, live][mine].sum() == have


@pytest.mark.compiled

# ---------------------------------------------------------------------------------------- rates and windows


def test_rates(write):
    text = "window_start_s,request_rate_per_s\n" + "".join(f"{600 * i},{i}\n" for i in range(144, 288))
    series = read_rates(write(text, "b.csv"))
    assert series.step_h == pytest.approx(1 / 6)
    assert series.start_h == 0.0
    assert len(series.rate) == 144
    noon = read_rates(write(text), (12, 13))
    assert noon.start_h == pytest.approx(12.0)
    assert noon.rate.tolist() == [216, 217, 218, 219, 220, 221]
    generic = read_rates(write("start_h,rate_per_s\n1,5\n2,6\n", "g.csv"), format="csv")
    assert generic == (1.0, 1.0, pytest.approx([5.0, 6.0]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("window_start_s,rate\n0,1\n600,1\n", "no column 'request_rate_per_s'"),
        ("window_start_s,request_rate_per_s\n0,1\n", "one step only"),
        ("window_start_s,request_rate_per_s\n0,1\n600,1\n1800,1\n", "row 3: steps must be equal"),
        ("window_start_s,request_rate_per_s\n600,1\n0,1\n", "steps must be equal and rise"),
        ("window_start_s,request_rate_per_s\n0,1\n600,-1\n", "must not be negative"),
    ],
)
def test_rates_that_are_none(write, text, says):
    with pytest.raises(DataError, match=says):
        read_rates(write(text))


def test_rate_formats_and_windows(write):
    path = write("window_start_s,request_rate_per_s\n0,1\n600,1\n")
    with pytest.raises(DataError, match="did you mean 'servegen'"):
        read_rates(path, format="servgen")
    with pytest.raises(DataError, match="length"):
        read_rates(path, (0, 5))


def test_servegen_weeks(job_traces):
    for name, steps in (("m-small_week1", 1008), ("m-mid_week1", 1008), ("mm-image_day1", 144)):
        series = read_rates(job_traces / f"infer_servegen_{name}.csv.gz")
        assert len(series.rate) == steps
        assert series.step_h == pytest.approx(1 / 6)
        assert series.rate.mean() > 1.0


def test_split_windows():
    good = {"train": (0, 100), "test": (150, 200), "validation": (100, 150)}
    assert split_windows(good, 200.0) == {k: tuple(map(float, v)) for k, v in good.items()}
    for bad, says in (
        ({"train": (0, 100), "test": (99, 200)}, "train window 0-100 h overlaps test window 99-200 h"),
        ({"train": (0, 300)}, "train window: window 0-300 h; need .* <= 200 h"),
        ({"train": (-1, 10)}, "need 0 <= from"),
        ({"train": (10, 10)}, "from < to"),
        ({"train": (float("nan"), 10)}, "from < to"),
        ({"trian": (0, 10)}, "did you mean 'train'"),
    ):
        with pytest.raises(DataError, match=says):
            split_windows(bad, 200.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), min_size=3, max_size=3))
def test_split_windows_accepts_exactly_the_disjoint(spans):
    windows = {
        n: (float(a), float(a + w)) for n, (a, w) in zip(("train", "validation", "test"), spans, strict=True)
    }
    hours = [h for a, e in windows.values() for h in range(int(a), int(e))]
    if len(hours) == len(set(hours)):
        assert split_windows(windows, 80.0) == windows
    else:
        with pytest.raises(DataError, match="overlaps"):
            split_windows(windows, 80.0)
