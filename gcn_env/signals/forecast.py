"""Forecast errors of price, carbon intensity, dry bulb, cloud cover and wind, 1 to 24 h ahead.

Four kinds: `perfect` (the truth), `persistence` (the value a day before the target hour), `climatology`
(the mean of the training years at that hour of the day and time of the year) and `noisy` (truth plus
Gaussian errors). For `noisy` the error's standard deviation is a share of what persistence misses in that
region: `s = SHARE[variable][lead] * scale of |x(t) - x(t - 24 h)|`, so that a calm grid is forecast well
and a wild one badly. The scale is sqrt(pi / 2) times the mean absolute error of persistence, errors cut at
their 99th percentile: what a Gaussian with the same mean absolute error has, without a year's few price
spikes swamping every other hour.

The shares are engineering figures. At 24 h, half of persistence: benchmarks of day-ahead price models state
their errors relative to a naive copy of an earlier day for the same reason (rMAE; Lago et al. 2021, Applied
Energy 293, 116983); for carbon it gives errors of 4-17 % of the mean in grids with wind and sun, where Great
Britain's official forecast of 2017-2023 missed by 7.1 % on average; for dry bulb 1-2 K. Towards 1 h the last
reading counts for more. Cloud and wind, which hardly persist, are worse known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import LEADS_H
from gcn_env.errors import nearest
from gcn_env.signals.bank import COLUMNS, SignalBank
from gcn_env.signals.calendar import BANK_HOURS
from gcn_env.signals.draws import smooth
from gcn_env.signals.errors import DataError

Array = npt.NDArray[Any]

KINDS = ("noisy", "perfect", "persistence", "climatology")
VARIABLES = ("price", "carbon", "drybulb", "cloud", "wind")  # what is forecast
TAU_H = 6.0  # memory of forecast errors over target hours [h]; an engineering figure
SHARE: Mapping[str, tuple[float, ...]] = {  # of the persistence scale, at LEADS_H
    "price": (0.15, 0.25, 0.33, 0.42, 0.50),
    "carbon": (0.15, 0.25, 0.33, 0.42, 0.50),
    "drybulb": (0.20, 0.27, 0.34, 0.42, 0.50),
    "cloud": (0.25, 0.35, 0.45, 0.55, 0.60),
    "wind": (0.20, 0.30, 0.40, 0.50, 0.60),
}
FLOOR = (
    0.5,
    2.0,
    0.3,
    0.05,
    0.3,
)  # USD/MWh, gCO2e/kWh, K, 1, m/s: no forecast of tomorrow is better than this
_CUT = 99.0  # percentile at which persistence errors are cut
NORMAL_DAYS = 15  # either side of a day: its normal is the mean over that month, hour by hour


def noise_table(seed: int, n: int = 16384) -> Array:
    """Forecast noise by target hour, float32 [n]: unit-variance Gaussian AR(1) of 6 h, to be read modulo `n`.

    Args:
        seed: 0 or more.
        n: length, at least 256.

    Raises:
        DataError: negative seed or too short a table.
    """
    if seed < 0 or n < 256:
        raise DataError(
            f"noise table of seed {seed} and length {n}: seed must be 0 or more, length at least 256"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x6E6F6973,)))
    out = smooth(rng.standard_normal(n), TAU_H)
    out -= out.mean()
    return np.asarray(out / out.std(), np.float32)


def normals(bank: SignalBank, split: str | None = "train") -> Array:
    """What is usual at each hour of a UTC year, float32 [8784, R, 8]: no other split is looked at.

    The mean over the years of a split and over the 31 days around each, at the same hour of the day; the year is taken
    as a circle, and hours beyond a common year repeat its last day.

    Args:
        bank: the signals.
        split: whose years are used; None, or a bank without that split: all years.
    """
    days = BANK_HOURS // 24 - 1  # of a common year; a leap year's last day is left out
    mean = bank.values[_rows(bank, split), : days * 24].mean(axis=0, dtype=np.float64)
    by_day = mean.reshape(days, 24, *mean.shape[1:])
    around = np.concatenate([by_day[-NORMAL_DAYS:], by_day, by_day[:NORMAL_DAYS]])
    total = np.concatenate([np.zeros_like(around[:1]), np.cumsum(around, axis=0)])
    width = 2 * NORMAL_DAYS + 1
    smooth_days = (total[width:] - total[:-width]) / width
    out = np.concatenate([smooth_days, smooth_days[-1:]]).reshape(BANK_HOURS, *mean.shape[1:])
    return np.ascontiguousarray(out, np.float32)


def _rows(bank: SignalBank, split: str | None) -> Array:
    return bank.split_rows[split] if split in bank.split_rows else np.arange(len(bank.labels))


def persistence_scale(bank: SignalBank, split: str | None = "train") -> Array:
    """Scale of |x(t) - x(t - 24 h)|, float64 [R, 5] in the variables' units.

    Args:
        bank: the signals.
        split: whose years are used; None, or a bank without that split: all years.
    """
    rows = _rows(bank, split)
    out = np.empty((bank.n_regions, len(VARIABLES)))
    for r in range(bank.n_regions):
        for v, column in enumerate(map(COLUMNS.index, VARIABLES)):
            missed = np.concatenate(
                [
                    np.abs(
                        np.diff(bank.values[y, : bank.hours[y], r, column].reshape(-1, 24), axis=0)
                    ).ravel()
                    for y in rows
                ]
            ).astype(np.float64)
            out[r, v] = np.sqrt(np.pi / 2.0) * np.minimum(missed, np.percentile(missed, _CUT)).mean()
    return out


def forecast_sd(bank: SignalBank, kind: str, error_scale: float = 1.0, split: str | None = "train") -> Array:
    """Standard deviation of the noise added to the truth, float64 [R, len(LEADS_H), 5].

    Args:
        bank: the signals; only the years of `split` are looked at.
        kind: one of `KINDS`; all but noisy add no noise and give zeros.
        error_scale: factor on the errors of `noisy`, 0 or more.
        split: see `persistence_scale`.

    Raises:
        DataError: unknown kind or negative scale.
    """
    if kind not in KINDS:
        raise DataError(f"forecast kind {kind!r} is not one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    if not error_scale >= 0.0:
        raise DataError(f"forecast error_scale {error_scale!r} must be 0 or more")
    if kind != "noisy":
        return np.zeros((bank.n_regions, len(LEADS_H), len(VARIABLES)))
    share = np.array([SHARE[v] for v in VARIABLES]).T  # [leads, 3]
    scale = np.maximum(
        persistence_scale(bank, split)[:, None, :] * share[None, :, :], np.array(FLOOR) * share / share[-1]
    )
    return np.asarray(error_scale * scale)
