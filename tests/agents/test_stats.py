"""Statistics against hand-computed values, known coverage, and rliable where it is installed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import stats

pytestmark = pytest.mark.stepless

ROUND = np.array([7.0, 1.0, 4.0, 100.0, 3.0, 2.0, 6.0, 5.0])  # sorted 1 2 | 3 4 5 6 | 7 100


def test_iqm_by_hand():
    assert stats.iqm(ROUND) == 4.5
    assert stats.iqm([3.0]) == 3.0
    assert stats.iqm([1.0, 2.0, 9.0]) == 4.0  # floor(3/4) = 0 cut
    assert stats.iqm([1.0, 2.0, 4.0, 9.0]) == 3.0
    np.testing.assert_array_equal(stats.iqm(np.stack([ROUND, ROUND + 1])), [4.5, 5.5])
    with pytest.raises(ValueError, match="no values"):
        stats.iqm([])


def test_iqm_equals_trimmed_mean_of_scipy():
    trim = pytest.importorskip("scipy.stats").trim_mean
    rng = np.random.default_rng(3)
    for n in range(1, 30):
        x = rng.lognormal(size=n)
        assert stats.iqm(x) == pytest.approx(trim(x, 0.25), rel=1e-12)


def test_interval_is_deterministic_and_seeded():
    x = np.random.default_rng(0).normal(size=40)
    a, b, c = (stats.interval(x, seed=s) for s in (1, 1, 2))
    assert a == b
    assert a != c
    assert a.low < a.value < a.high


def test_interval_of_two_values_by_hand():
    # resamples of {0, 1} have means 0, 1/2, 1 with shares 1/4, 1/2, 1/4: both 2.5 % tails lie on the ends
    e = stats.interval([0.0, 1.0], seed=0, statistic=stats.mean)
    assert (e.value, e.low, e.high) == (0.5, 0.0, 1.0)
    # at 40 % coverage (quantiles 0.3 and 0.7) only the middle mass is left
    e = stats.interval([0.0, 1.0], seed=0, statistic=stats.mean, level=0.4)
    assert (e.low, e.high) == (0.5, 0.5)


def test_strata_are_kept():
    labels = np.repeat([0, 1, 2], [5, 1, 4])
    rows = stats.bootstrap_rows(10, labels, 50, np.random.default_rng(0))
    np.testing.assert_array_equal(labels[rows], np.broadcast_to(labels, (50, 10)))
    assert (rows[:, 5] == 5).all()
    # between-strata spread is not sampling noise: constant strata leave no interval
    e = stats.interval([1.0, 1.0, 9.0, 9.0], seed=0, statistic=stats.mean, strata=[0, 0, 1, 1])
    assert (e.value, e.low, e.high) == (5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="one label per value"):
        stats.interval([1.0, 2.0], seed=0, strata=[1])


def test_chunks_change_nothing(monkeypatch):
    x = np.random.default_rng(5).normal(size=20)
    whole = stats.interval(x, seed=4, resamples=500)
    monkeypatch.setattr(stats, "_CHUNK", 20 * 10)
    assert stats.interval(x, seed=4, resamples=500) == whole


@pytest.mark.parametrize("statistic", [stats.mean, stats.iqm])
def test_coverage_of_a_normal_mean(statistic):
    rng = np.random.default_rng(7)
    inside = 0
    for k in range(300):
        e = stats.interval(rng.normal(size=30), seed=k, statistic=statistic, resamples=400)
        inside += e.low <= 0.0 <= e.high
    assert 0.88 < inside / 300 < 0.98


def test_paired_difference_cancels_the_weeks():
    week = np.array([10.0, 200.0, 50.0, 1000.0, 30.0])
    e = stats.paired_difference(week - 2.0, week, seed=0)
    assert (e.value, e.low, e.high) == (-2.0, -2.0, -2.0)
    with pytest.raises(ValueError, match="equal shapes"):
        stats.paired_difference([1.0], [1.0, 2.0], seed=0)


def test_several_runs_on_the_same_episodes():
    rng = np.random.default_rng(1)
    weeks = rng.normal(100, 10, 20)
    one = stats.crossed_interval(weeks[None], seed=3)
    assert one == stats.interval(weeks, seed=3)
    same = stats.crossed_interval(np.stack([weeks] * 4), seed=3)  # runs agree: only weeks are uncertain
    assert same.value == pytest.approx(one.value)
    assert same.high - same.low == pytest.approx(one.high - one.low, rel=0.15)
    apart = stats.crossed_interval(np.stack([weeks - 30, weeks, weeks + 30]), seed=3)
    assert apart.value == pytest.approx(one.value)
    assert apart.high - apart.low > 2 * (one.high - one.low)
    # no noise between weeks: means of three draws from {-1, 0, 1}, both ends have mass 1/27 > 2.5 %
    exact = stats.crossed_interval(np.array([[-1.0] * 5, [0.0] * 5, [1.0] * 5]), seed=0, resamples=20_000)
    assert (exact.low, exact.value, exact.high) == (-1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="runs, episodes"):
        stats.crossed_interval(weeks, seed=0)


def test_improvement_counts_ties_half():
    a, b = [1.0, 2.0, 3.0, 9.0], [2.0, 2.0, 4.0, 1.0]
    np.testing.assert_array_equal(stats.wins(a, b), [1.0, 0.5, 1.0, 0.0])
    assert stats.paired_improvement(a, b, seed=0).value == 0.625
    # one value per stratum: the stratified Mann-Whitney form is the paired one
    assert stats.probability_of_improvement(a, b, range(4), range(4)) == 0.625
    # all pairs by hand: 1 beats 2 2 4 ties 1 (3.5), 2: 2 ties + 4 (2), 3: 4 (1), 9: none (0) -> 6.5/16
    assert stats.probability_of_improvement(a, b) == pytest.approx(6.5 / 16)
    with pytest.raises(ValueError, match="same strata"):
        stats.probability_of_improvement([1.0], [1.0], [0], [1])


def test_performance_profile():
    np.testing.assert_array_equal(
        stats.performance_profile([1, 2, 3, 4], [0, 1, 2.5, 4, 9]), [0, 0.25, 0.5, 1, 1]
    )


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((-3.0, -5.0, -1.0), "better"),
        ((3.0, 1.0, 5.0), "worse"),
        ((-3.0, -5.0, 1.0), "no difference"),
        ((-3.0, -5.0, 0.0), "no difference"),
        ((0.0, 0.0, 0.0), "no difference"),
        ((float("nan"), -1.0, -1.0), "no difference"),
    ],
)
def test_verdict(numbers, said):
    assert stats.verdict(*numbers) == said


def test_missing_values_give_no_interval():
    e = stats.interval([1.0, float("nan")], seed=0)
    assert np.isnan([e.low, e.high]).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(-1e3, 1e3))
def test_iqm_properties(values, shift):
    x = np.array(values)
    assert x.min() - 1e-6 <= stats.iqm(x) <= x.max() + 1e-6
    assert stats.iqm(x + shift) == pytest.approx(stats.iqm(x) + shift, abs=1e-6)
    assert stats.iqm(np.random.default_rng(0).permutation(x)) == pytest.approx(
        stats.iqm(x), rel=1e-9, abs=1e-9
    )


def test_against_rliable():
    metrics = pytest.importorskip("rliable.metrics")
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(8, 5)), rng.normal(0.3, 1.0, size=(8, 5))  # runs x tasks
    assert stats.iqm(x.ravel()) == pytest.approx(metrics.aggregate_iqm(x))
    tasks = np.tile(np.arange(5), (8, 1)).ravel()
    # rliable scores rewards (higher is better), we score costs
    ours = stats.probability_of_improvement(-x.ravel(), -y.ravel(), tasks, tasks)
    assert ours == pytest.approx(metrics.probability_of_improvement(x, y))
