"""Arrival processes of the job classes and the daily shape of inference traffic, from the fits.

The generator (header of `fits.yaml`): batches arrive as a Poisson process of rate
`batches_per_h * hour_profile[h] * weekday_profile[d] * exp(x - var(x) / 2)`, where x is the sum of two Gaussian
AR(1) with one step an hour (standard deviations `sigma`, autocorrelations `phi`), one of hours and one of days. A
batch holds one job, or with probability `multi_share` a Pareto number `round(1.5 * U^(-1 / pareto_alpha))` of jobs,
at most `batch_max`. Request rates vary in the same way, and burst: bursts begin as a Poisson process, last an
exponential time and raise the rate by a share of it, `least` and an exponential number more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.errors import nearest
from gcn_env.jobs.engineering import KINDS
from gcn_env.jobs.fits import fits
from gcn_env.signals.errors import DataError

Array = npt.NDArray[np.float64]

SECTIONS = {
    "training": "training_philly",
    "batch": "mixed_alibaba_2023",
    "hpc": "hpc_cerit_2013",
    "nasa": "hpc_nasa_ipsc_1993",
    "inference": "serving_instances_alibaba_2025",
}
RATES = ("m-small", "m-mid", "mm-image")


class ArrivalProcess(NamedTuple):
    """One class's arrivals. Profiles have mean 1 and follow the local clock of the trace's users."""

    hour_profile: Array  # float64 [24] rate of batches by hour of the local day
    weekday_profile: Array  # float64 [7] by day, 0 = Monday; ones where the trace's dates are unknown
    sigma: Array  # float64 [2] standard deviations of the log-rate modulation: hours, days
    phi: Array  # float64 [2] their autocorrelations over one hour
    mean_batch: float  # jobs per batch
    pareto_alpha: float  # tail exponent of the batches of two or more
    batch_max: int  # largest batch
    multi_share: float  # probability that a batch has a Pareto size (two or more) rather than one job
    batches_per_h: float  # of the trace; a scenario scales it to its own load


class RateProfile(NamedTuple):
    """Inference requests relative to their mean."""

    hour_profile: Array  # float64 [24] mean 1, local time
    day_profile: Array  # float64 [7] mean 1, Monday first
    sigma: Array  # float64 [2] standard deviations of the log-rate modulation: hours, days
    phi: Array  # float64 [2] their autocorrelations over one hour
    burst: Array  # float64 [4] bursts per hour, mean hours, least height, mean height above that (shares of the rate)


def check_kind(kind: str) -> str:
    """`kind` if it is a job class.

    Raises:
        DataError: naming the classes and the nearest one.
    """
    if kind not in KINDS:
        raise DataError(f"unknown job class {kind!r}{nearest(kind, KINDS)} (allowed: {', '.join(KINDS)})")
    return kind


def pareto_mean(pareto_alpha: float, batch_max: int) -> float:
    """Mean of `min(round(1.5 * U^(-1 / alpha)), batch_max)`: 1 + sum of P(size >= n), n = 2..batch_max."""
    n = np.arange(2, max(2, int(batch_max)) + 1)
    return 1.0 + float(np.sum((1.5 / (n - 0.5)) ** pareto_alpha))


def multi_share(mean_batch: float, pareto_alpha: float, batch_max: int) -> float:
    """Probability of a Pareto batch that gives batches of `mean_batch` jobs on average; cut at 1."""
    return float(np.clip((mean_batch - 1.0) / (pareto_mean(pareto_alpha, batch_max) - 1.0), 0.0, 1.0))


def mean_batch_size(share: float, pareto_alpha: float, batch_max: int) -> float:
    """Mean jobs per batch if a share of the batches has a Pareto size: what the generator gives."""
    return 1.0 + share * (pareto_mean(pareto_alpha, batch_max) - 1.0)


def batch_sizes(process: ArrivalProcess, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`n` batch sizes as the generator draws them; the reference for the kernel's draw."""
    tail = np.rint(1.5 * (1.0 - rng.random(n)) ** (-1.0 / process.pareto_alpha))
    pareto = np.minimum(tail, process.batch_max)
    return np.where(rng.random(n) < process.multi_share, pareto, 1.0).astype(np.int64)


def arrival_process(kind: str, batch_max: int | None = None) -> ArrivalProcess:
    """The fitted arrivals of a job class.

    Args:
        kind: `training`, `batch`, `hpc`, `nasa` or `inference` (new serving instances).
        batch_max: largest batch; None = the largest seen. A smaller one keeps `mean_batch` as far
            as batches of two and more can (`multi_share` rises, at most to 1).

    Raises:
        DataError: for an unknown class or a `batch_max` below 2.
    """
    figures: dict[str, Any] = fits()[SECTIONS[check_kind(kind)]]["arrivals"]
    batch, wave = figures["batch"], figures["modulation_lognormal_ar1_hourly"]
    largest = int(batch["size_quantiles_p50_p90_p99_max"][3]) if batch_max is None else int(batch_max)
    if largest < 2:
        raise DataError(f"batch_max is {batch_max}; give 2 or more, or None for the trace's largest")
    alpha = float(batch["pareto_alpha_ge_2"])
    share = multi_share(float(batch["mean_size"]), alpha, largest)
    return ArrivalProcess(
        hour_profile=_mean_one(figures["batch_rate_profile_hour"]),
        weekday_profile=_mean_one(figures.get("weekday_profile", [1.0] * 7)),
        sigma=np.array(wave["sigma"], np.float64),
        phi=np.array(wave["phi"], np.float64),
        mean_batch=mean_batch_size(share, alpha, largest),
        pareto_alpha=alpha,
        batch_max=largest,
        multi_share=share,
        batches_per_h=float(batch["batches_per_h"]),
    )


def rate_profile(kind: str = "m-small") -> RateProfile:
    """Shape of inference traffic: ServeGen's `m-small`, `m-mid` or `mm-image`.

    `m-small` follows people (the hour explains 75 % of its logarithm), `m-mid` is mixed (9 %) and wanders for days.
    The weekly profile is an estimate [E]: a week of data cannot tell a weekday from a level.

    Raises:
        DataError: for an unknown name.
    """
    if kind not in RATES:
        raise DataError(f"unknown request rate {kind!r}{nearest(kind, RATES)} (allowed: {', '.join(RATES)})")
    figures = fits()["llm_request_rate"][kind]
    wave, burst = figures["modulation_lognormal_ar1_hourly"], figures["bursts"]
    return RateProfile(
        hour_profile=_mean_one(figures["hour_profile"]),
        day_profile=_mean_one(figures["day_profile"]),
        sigma=np.array(wave["sigma"], np.float64),
        phi=np.array(wave["phi"], np.float64),
        burst=np.array([burst[k] for k in ("per_h", "mean_h", "least", "mean_above_least")], np.float64),
    )


def _mean_one(values: list[float]) -> Array:
    profile = np.array(values, np.float64)
    scaled: Array = profile / profile.mean()
    return scaled
