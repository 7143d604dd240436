"""Statistics of comparisons: few episodes, heavy tails, paired seeds. NumPy only, and every draw is seeded.

Values are costs: lower is better. `n` is the number of episodes (or runs), `strata` are labels `[n]`;
resampling is with replacement within each stratum, so that each keeps its share. Definitions follow Agarwal
et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021. Their package
(rliable 1.2) ignores the random state it is given, hence this module; a test compares the point estimates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]  # reduces the last axis
Verdict = Literal["better", "worse", "no difference"]

RESAMPLES = 4000  # the 2.5 % tail then holds 100 draws: its quantile moves by a few per cent of the interval
_CHUNK = 2_000_000  # numbers held at once while resampling (16 MB)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate and its interval, in the unit of what was estimated."""

    value: float
    low: float
    high: float


def mean(values: npt.ArrayLike) -> Array:
    """Arithmetic mean over the last axis."""
    return np.asarray(np.asarray(values, np.float64).mean(axis=-1))


def iqm(values: npt.ArrayLike) -> Array:
    """Interquartile mean over the last axis: the mean without the floor(n/4) lowest and highest.

    Robust like the median, but it uses half of the sample instead of one or two members of it.

    Args:
        values: `[..., n]`, n >= 1.
    """
    x = np.sort(np.asarray(values, np.float64), axis=-1)
    n = x.shape[-1]
    if n == 0:
        raise ValueError("the interquartile mean of no values is not defined")
    cut = n // 4
    return np.asarray(x[..., cut : n - cut].mean(axis=-1))


def bootstrap_rows(
    n: int, strata: npt.ArrayLike | None, size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Row numbers `[size, n]` of `size` resamples: each stratum is drawn from itself, with replacement."""
    if strata is None:
        return rng.integers(0, n, (size, n))
    labels = np.asarray(strata)
    if labels.shape != (n,):
        raise ValueError(f"strata must be one label per value, [{n}]; got shape {labels.shape}")
    rows = np.empty((size, n), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows[:, members] = members[rng.integers(0, members.size, (size, members.size))]
    return rows


def interval(
    values: npt.ArrayLike,
    *,
    seed: int,
    statistic: Statistic = iqm,
    strata: npt.ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Point estimate with a stratified percentile-bootstrap interval.

    The interval is the (1-level)/2 and (1+level)/2 quantile of the statistic over `resamples` resamples. With
    fewer than about ten values a percentile interval is too narrow; callers say so.

    Args:
        values: `[n]`.
        seed: of the resampling; equal seeds and sizes give equal resamples for every policy.
        statistic: reduces the last axis; default the interquartile mean.
        strata: labels `[n]` (training seeds, scenarios), or one stratum.
        level: coverage.
        resamples: bootstrap size.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"values must be a vector of at least one number, got shape {x.shape}")
    point = float(statistic(x))
    if not np.isfinite(x).all():
        return Estimate(point, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    size = max(1, _CHUNK // x.size)
    for at in range(0, resamples, size):
        rows = bootstrap_rows(x.size, strata, min(size, resamples - at), rng)
        draws[at : at + rows.shape[0]] = statistic(x[rows])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(point, float(low), float(high))


def crossed_interval(
    values: npt.ArrayLike,
    *,
    seed: int,
    statistic: Statistic = iqm,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Interval of several training runs on the same episodes: both are resampled, each as a whole.

    The statistic is taken over episodes of the mean over runs. With few runs the interval is rough, but does
    not pretend that another training seed would give the same policy.

    Args:
        values: `[runs, episodes]`; with one run this is `interval` over episodes.
        seed: of the resampling.
        statistic: reduces the last axis.
        level: coverage.
        resamples: bootstrap size.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"values must be [runs, episodes], got shape {x.shape}")
    runs, episodes = x.shape
    if runs == 1:
        return interval(x[0], seed=seed, statistic=statistic, level=level, resamples=resamples)
    point = float(statistic(x.mean(axis=0)))
    if not np.isfinite(x).all():
        return Estimate(point, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    size = max(1, _CHUNK // x.size)
    for at in range(0, resamples, size):
        n = min(size, resamples - at)
        means = x[rng.integers(0, runs, (n, runs))].mean(axis=1)
        draws[at : at + n] = statistic(np.take_along_axis(means, rng.integers(0, episodes, (n, episodes)), 1))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(point, float(low), float(high))


def paired_difference(a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int, **options: Any) -> Estimate:
    """`statistic(a - b)` over pairs (same episode seed), with its interval; negative means `a` costs less.

    Differences are taken first, so what the weeks have in common cancels. `options` are those of `interval`.
    """
    return interval(_pairs(a, b), seed=seed, **options)


def wins(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """1 where `a` costs less than `b`, 0.5 on a tie, 0 where it costs more; same shape as the pairs."""
    d = _pairs(a, b)
    return np.where(np.isnan(d), np.nan, (d < 0) + 0.5 * (d == 0))


def paired_improvement(a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int, **options: Any) -> Estimate:
    """P(a < b) + P(a = b)/2 for the same week under both policies: the mean of `wins`, with its interval."""
    return interval(wins(a, b), seed=seed, statistic=mean, **options)


def probability_of_improvement(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    strata_a: npt.ArrayLike | None = None,
    strata_b: npt.ArrayLike | None = None,
) -> float:
    """P(A < B) + P(A = B)/2 for independent draws A of `a` and B of `b`, averaged over strata.

    Within a stratum it is the Mann-Whitney U over the number of pairs. With one value of each per stratum it
    equals the mean of `wins`; with several training seeds per episode (strata = episodes) it averages over
    seed pairs.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sx = np.zeros(x.size) if strata_a is None else np.asarray(strata_a)
    sy = np.zeros(y.size) if strata_b is None else np.asarray(strata_b)
    if set(sx.tolist()) != set(sy.tolist()):
        raise ValueError("both policies must have values in the same strata")
    shares = []
    for label in np.unique(sx):
        p, q = x[sx == label][:, None], y[sy == label][None, :]
        shares.append(float(((p < q) + 0.5 * (p == q)).mean()))
    return float(np.mean(shares))


def performance_profile(values: npt.ArrayLike, thresholds: npt.ArrayLike) -> Array:
    """Share of `values` at or below each threshold, same shape as `thresholds`."""
    x, t = np.sort(np.asarray(values, np.float64).ravel()), np.asarray(thresholds, np.float64)
    return np.asarray(np.searchsorted(x, t, side="right") / max(1, x.size), np.float64)


def verdict(diff: float, low: float, high: float) -> Verdict:
    """What a cost difference and its interval allow one to say: nothing where it touches zero."""
    if not (np.isfinite(diff) and np.isfinite(low) and np.isfinite(high)) or low <= 0.0 <= high:
        return "no difference"
    return "better" if diff < 0 else "worse"


def _pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        raise ValueError(f"pairs need equal shapes, got {x.shape} and {y.shape}")
    return np.asarray(x - y)
