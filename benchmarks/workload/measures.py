"""Statistics of a sample and how far two of them lie apart, with the yardstick of how far parts of a trace lie apart.

A trace is cut into parts of equal length. The yardstick of a statistic is its mean distance over all pairs of parts;
the generator's distance is the mean over pairs of one part of the trace and one equally long part of a generated
sample. A generator of the same law as the trace, whose parts were independent, would have a ratio of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .excursions import excursions
from .samples import FINE

LIMIT = 1.5  # times the yardstick
WEEK, FORTNIGHT, HALF = 7, 14, 0  # days of a part; HALF: two parts, whatever the length
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
TINY = 1e-6


@dataclass(frozen=True)
class Measure:
    """A statistic and its distance."""

    name: str
    of: Callable  # Sample -> number or vector
    distance: Callable  # two of them -> number
    meaning: str  # of the distance
    part_days: int  # length of the parts of a job trace
    rate_days: int | None  # of a week of rates; None: not measured there
    needs_jobs: bool = False


def windows(sample, hours):
    """Sums over windows of `hours` h."""
    n = len(sample.counts) // hours * hours
    return sample.counts[:n].reshape(-1, hours).sum(1)


def dispersion(hours):
    """Index of dispersion of counts (variance over mean; Poisson: 1)."""
    return lambda x: float(windows(x, hours).var() / max(windows(x, hours).mean(), TINY))


def variation(hours):
    """Coefficient of variation of rates."""
    return lambda x: float(windows(x, hours).std() / max(windows(x, hours).mean(), TINY))


def autocorrelation(lag):
    """Of hourly counts, without any removal of the daily profile."""

    def of(x):
        c = x.counts - x.counts.mean()
        return float((c[lag:] * c[:-lag]).mean() / max((c * c).mean(), TINY))

    return of


def daily(x):
    """Share of arrivals by hour of the day."""
    total = x.counts.reshape(-1, 24).sum(0)
    return total / max(total.sum(), TINY)


def weekly(x):
    """Share of arrivals by day of the week, Monday first."""
    days = x.counts.reshape(-1, 24).sum(1)
    at = (np.arange(len(days)) + x.weekday) % 7
    mean = np.array([days[at == k].mean() if (at == k).any() else 0.0 for k in range(7)])
    return mean / max(mean.sum(), TINY)


def log_ratio(a, b):
    """|ln(a / b)|."""
    return abs(float(np.log(max(a, TINY) / max(b, TINY))))


def difference(a, b):
    """|a - b|."""
    return abs(a - b)


def moved(a, b):
    """Share that would have to move: half the sum of absolute differences."""
    return float(np.abs(a - b).sum() / 2.0)


def mean_log_ratio(a, b):
    """Mean of |ln(a / b)| over quantiles."""
    return float(np.mean(np.abs(np.log(np.maximum(a, TINY) / np.maximum(b, TINY)))))


def kolmogorov(a, b):
    """Largest distance of two distribution functions of sorted values."""
    both = np.concatenate([a, b])
    left = np.searchsorted(a, both, side="right") / len(a)
    return float(np.abs(left - np.searchsorted(b, both, side="right") / len(b)).max())


def marginal(x):
    """Hourly counts over their mean, sorted."""
    return np.sort(x.counts / max(x.counts.mean(), TINY))


_LN, _ABS, _TV, _KS = "log ratio", "difference", "share moved", "KS distance"  # absolute values
MEASURES = (
    *(Measure(f"index of dispersion, {h} h", dispersion(h), log_ratio, _LN, WEEK, None)
      for h in (1, 6, 24)),
    *(Measure(f"coefficient of variation, {h} h", variation(h), log_ratio, _LN, 0, HALF if h == 24 else 1)
      for h in (1, 6, 24)),
    *(Measure(f"autocorrelation, {h} h", autocorrelation(h), difference, _ABS, FORTNIGHT if h > 24 else WEEK,
              {1: 1, 6: 1, 24: HALF}.get(h)) for h in (1, 6, 24, 168)),
    Measure("hourly counts over their mean", marginal, kolmogorov, _KS, WEEK, HALF),
    Measure("bursts a day", lambda x: float(excursions(x.fine, 1.0 / FINE)[0]), difference, _ABS, 0, HALF),
    Measure("excess of bursts", lambda x: float(excursions(x.fine, 1.0 / FINE)[2]), difference, _ABS, 0, HALF),
    Measure("daily profile", daily, moved, _TV, WEEK, 1),
    Measure("weekly profile", weekly, moved, _TV, FORTNIGHT, None),
    Measure("duration", lambda x: np.sort(x.work_h), kolmogorov, _KS, WEEK, None, True),
    Measure("duration, quantiles", lambda x: np.quantile(x.work_h, QUANTILES), mean_log_ratio, _LN, WEEK, None, True),
    Measure("gang size", lambda x: np.sort(x.gang), kolmogorov, _KS, WEEK, None, True),
    Measure("work per job", lambda x: float((x.gang * x.work_h).mean()), log_ratio, _LN, WEEK, None, True),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One statistic of one source."""

    source: str
    measure: str
    meaning: str
    real: float  # of the whole trace; a vector or distribution: NaN
    low: float  # 5 % of the generated samples of the same length
    middle: float
    high: float  # 95 %
    distance: float
    yardstick: float
    parts: int  # of the trace
    part_days: float
    borrowed: str = ""  # source whose yardstick this is

    @property
    def ratio(self):
        """Distance in yardsticks."""
        return self.distance / self.yardstick if self.yardstick > 0.0 else np.inf

    @property
    def passed(self):
        """Within 1.5 yardsticks."""
        return self.ratio <= LIMIT


def parts_of(sample, days):
    """Parts of `days` days (HALF: two halves of whole days)."""
    length = sample.days // 2 if days == HALF else days
    return [sample.part(k, length) for k in range(0, sample.days - length + 1, length)] if length else []


def values(measure, parts):
    """The statistic of each part that has what it needs."""
    return [measure.of(p) for p in parts if (len(p.work_h) > 1 if measure.needs_jobs else p.counts.sum() > 0)]


def yardstick(measure, found):
    """Mean distance over all pairs."""
    return (
        float(np.mean([measure.distance(a, b) for a, b in combinations(found, 2)]))
        if len(found) > 1
        else np.nan
    )


def compare(source, measure, real, made, lent=None):
    """The row of one statistic; None where the trace is too short for it and no yardstick is lent."""
    days = measure.rate_days if source.is_rate else measure.part_days
    if days is None or (not source.is_rate and days == HALF):
        return None
    parts = parts_of(real, days)
    ours = values(measure, parts)
    scale, borrowed = yardstick(measure, ours), ""
    if not np.isfinite(scale) and lent is not None and ours:
        scale, borrowed = lent
    if not np.isfinite(scale):
        return None
    theirs = [v for sample in made for v in values(measure, parts_of(sample, days))]
    distance = float(np.mean([measure.distance(a, b) for a in ours for b in theirs]))
    whole = [measure.of(sample) for sample in made]
    scalar = isinstance(whole[0], float)
    low, middle, high = np.quantile(whole, [0.05, 0.5, 0.95]).tolist() if scalar else [np.nan] * 3
    at = measure.of(real) if scalar else np.nan
    return Row(
        source.name, measure.name, measure.meaning, at, low, middle, high, distance, scale, len(parts),
        real.days / 2 if days == HALF else days, borrowed,
    )  # fmt: skip
