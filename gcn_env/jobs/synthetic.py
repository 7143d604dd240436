"""Synthetic job tables: random rows from the fitted figures.

Durations are truncated by rejection, gang and duration together: the table describes the jobs of the trace
that have `min_h <= duration <= max_h` and at most `max_gang` devices. Nothing piles up at a bound, as
clipping would make it. What that leaves out, in jobs and in work, is `truncation(kind, ...)`.
Rows are stratified (systematic over gang classes and mixture components, stratified quantiles within them):
the mean work of a table of 4096 rows then differs by a few per cent from seed to seed, where independent
draws from these heavy tails differ by 10 %.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.jobs.arrivals import SECTIONS, check_kind
from gcn_env.jobs.engineering import attributes
from gcn_env.jobs.fits import Mixture, fits
from gcn_env.jobs.rows import JobTable, job_table
from gcn_env.signals.errors import DataError

Array = npt.NDArray[Any]

HOUR_S = 3600.0
MAX_GANG = 1024
MAX_H = 168.0
MIN_H = 1.0 / 60.0

# Inference leases [E]: hours for which a service holds replicas. The traces' instance lifetimes are censored
# (22-29 % still alive, medians of days), and a lease here is what one autoscaling decision asks for, so:
# lognormal, median 2 h.
_LEASE = {"w": [1.0], "mu_ln_s": [float(np.log(2.0 * HOUR_S))], "sd_ln_s": [0.6], "max_s": 24.0 * HOUR_S}
# Neighbouring rows are alike, so that a batch that takes consecutive rows is one user's sweep: among
# neighbours within a batch 98 % (Philly) and 95 % (CERIT) have the same gang, and the logarithms of their
# durations correlate by 0.74 and 0.88. Rows taken at random are independent, as before.
_ALIKE, _RUN = 0.86, 10.0  # correlation within a run, mean rows of a run
_LEASE_GANGS = {1: 0.50, 2: 0.22, 4: 0.18, 8: 0.10}


class Cell(NamedTuple):
    """Jobs of one gang size: their share of all jobs and the mixture of their durations."""

    gang: int
    share: float
    duration: Mixture


class Truncation(NamedTuple):
    """What bounds on gang and duration leave of a class, by formula."""

    kept_jobs: float  # share of the jobs inside the bounds
    kept_work: float  # share of the device-hours inside the bounds
    mean_h: float  # mean duration inside the bounds
    full_mean_h: float  # mean duration of the fit
    mean_device_h: float  # mean device-hours inside the bounds
    full_mean_device_h: float  # mean device-hours of the fit


def cells(kind: str, gang_scale: int = 1, cores_per_device: int = 1) -> list[Cell]:
    """Gang sizes of a class with their shares and durations.

    Args:
        kind: job class.
        gang_scale: multiplies gangs of two or more, `[E]`: Philly's gangs are 2017's (mean 1.9 devices); the
            LLM-development clusters of 2023 have means of 5.7 (Seren) and 26.8 (Kalos) and reach 1024.
        cores_per_device: cores (HPC) or processors (NASA) that make one device; gangs are rounded up.
    """
    check_kind(kind)
    if gang_scale < 1 or cores_per_device < 1:
        raise DataError(f"gang_scale {gang_scale} and cores_per_device {cores_per_device} must be at least 1")
    shares, mixture_of = _gangs(kind)
    total = sum(shares.values())
    merged: list[Cell] = []
    for size, share in sorted(shares.items()):
        devices = -(-size // cores_per_device)
        devices = devices * gang_scale if devices > 1 else devices
        merged.append(Cell(devices, share / total, mixture_of(size)))
    return merged


def _gangs(kind: str) -> tuple[dict[int, float], Any]:
    if kind == "inference":
        lease = Mixture.of(_LEASE)
        return _LEASE_GANGS, lambda _: lease
    figures = fits()[SECTIONS[kind]]
    by_class = figures["duration_lognormal_mixture_s"]
    if kind == "training":
        made = {name: Mixture.of(by_class[name]) for name in ("1", "2-4", "8", ">8")}
        return figures["gpus_per_job"], lambda g: made[
            "1" if g == 1 else "2-4" if g <= 4 else "8" if g <= 8 else ">8"
        ]
    if kind in ("hpc", "nasa"):
        made = {name: Mixture.of(by_class[name]) for name in ("1", "2-16", ">16")}
        return figures["cpu_cores_share" if kind == "hpc" else "procs_share"], lambda g: made[
            "1" if g == 1 else "2-16" if g <= 16 else ">16"
        ]
    best_effort = Mixture.of(by_class["BE"])  # pods; those without a GPU (13 %) cannot occupy a device
    return {g: s for g, s in figures["n_gpu_share"].items() if g > 0}, lambda _: best_effort


def truncation(
    kind: str,
    max_gang: int = MAX_GANG,
    max_h: float = MAX_H,
    min_h: float = MIN_H,
    gang_scale: int = 1,
    cores_per_device: int = 1,
) -> Truncation:
    """Effect of the bounds on a class, from the fitted distributions (no sampling)."""
    _check_bounds(max_gang, max_h, min_h)
    low_s, high_s = min_h * HOUR_S, max_h * HOUR_S
    kept = kept_h = kept_device_h = full_h = full_device_h = 0.0
    for cell in cells(kind, gang_scale, cores_per_device):
        mean_h = cell.duration.partial_mean_s(0.0, np.inf) / HOUR_S
        full_h += cell.share * mean_h
        full_device_h += cell.share * mean_h * cell.gang
        if cell.gang <= max_gang:
            inside_h = cell.duration.partial_mean_s(low_s, high_s) / HOUR_S
            kept += cell.share * float(cell.duration.mass(low_s, high_s).sum())
            kept_h += cell.share * inside_h
            kept_device_h += cell.share * inside_h * cell.gang
    if kept <= 0.0:
        raise DataError(_nothing(kind, 1, max_gang, max_h, min_h))
    return Truncation(
        kept, kept_device_h / full_device_h, kept_h / kept, full_h, kept_device_h / kept, full_device_h
    )


def synthetic_table(
    kind: str,
    rng: np.random.Generator,
    n: int = 4096,
    *,
    min_gang: int = 1,
    max_gang: int = MAX_GANG,
    max_h: float = MAX_H,
    min_h: float = MIN_H,
    gang_scale: int = 1,
    cores_per_device: int = 1,
) -> JobTable:
    """A table of `n` random jobs of a class.

    - `training`: Philly, durations conditional on the gang class (1, 2-4, 8, more).
    - `batch`: Alibaba 2023 best-effort pods.
    - `hpc`: CERIT 2013, durations conditional on the core class; `nasa`: iPSC/860 of 1993 (short jobs), likewise.
    - `inference`: leases of 1-8 devices for hours (lognormal, median 2 h), `[E]`.

    Memory, data, checkpoints and communication shares are engineering figures: see `engineering.attributes`.

    Args:
        kind: job class.
        rng: source of randomness; equal generators give equal tables.
        n: rows.
        min_gang: fewest devices of a job; a large fleet may leave small jobs out of sight.
        max_gang: most devices of a job.
        max_h: longest duration at reference speed [h].
        min_h: shortest duration at reference speed [h].
        gang_scale: see `cells`.
        cores_per_device: see `cells`.

    Raises:
        DataError: for an unknown class, or bounds that leave no job.
    """
    if n < 1:
        raise DataError(f"a job table needs at least one row, not n = {n}")
    _check_bounds(max_gang, max_h, min_h)
    low_s, high_s = min_h * HOUR_S, max_h * HOUR_S
    chosen = [c for c in cells(kind, gang_scale, cores_per_device) if min_gang <= c.gang <= max_gang]
    parts = [(c, k, c.share * m) for c in chosen for k, m in enumerate(c.duration.mass(low_s, high_s))]
    mass = np.array([m for _, _, m in parts])
    if not len(parts) or mass.sum() <= 0.0:
        raise DataError(_nothing(kind, min_gang, max_gang, max_h, min_h))
    counts = _systematic(mass / mass.sum(), n, rng)
    gang = np.repeat([c.gang for c, _, _ in parts], counts)
    seconds = np.concatenate(
        [
            c.duration.draw_s(k, m, low_s, high_s, rng)
            for (c, k, _), m in zip(parts, counts.tolist(), strict=True)
        ]
    )
    order = _runs(gang, seconds, rng)
    gang, work_h = gang[order], np.clip(seconds[order] / HOUR_S, min_h, max_h)
    extra = attributes(kind, gang, work_h, cores_per_device, rng)
    return job_table(np.zeros(n), gang, work_h, *extra, window_h=0.0)


def _systematic(shares: Array, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Counts summing to `n`, each within one of `n * share` and unbiased."""
    points = (np.arange(n) + rng.random()) / n
    edges = np.cumsum(shares)
    edges[-1] = 1.0
    counts = np.bincount(np.searchsorted(edges, points, side="right"), minlength=len(shares))
    return counts.astype(np.int64)


def _runs(gang: Array, seconds: Array, rng: np.random.Generator) -> Array:
    """Row numbers in an order whose neighbours are alike; every row appears once.

    Rows of one gang follow each other with AR(1) ranks of their durations, and are cut into runs of random
    length; the runs are shuffled.
    """
    runs: list[Array] = []
    for size in np.unique(gang):
        rows = np.flatnonzero(gang == size)
        rows = rows[np.argsort(seconds[rows], kind="stable")]
        shocks, level, walk = rng.standard_normal(len(rows)).tolist(), rng.standard_normal(), []
        for shock in shocks:
            level = _ALIKE * level + (1.0 - _ALIKE**2) ** 0.5 * shock
            walk.append(level)
        rows = rows[np.argsort(np.argsort(np.array(walk)))]
        cuts = np.flatnonzero(rng.random(len(rows)) < 1.0 / _RUN)
        runs.extend(part for part in np.split(rows, cuts) if len(part))
    return np.concatenate([runs[i] for i in rng.permutation(len(runs))])


def _check_bounds(max_gang: int, max_h: float, min_h: float) -> None:
    if not (max_gang >= 1 and 0.0 <= min_h < max_h):
        raise DataError(
            f"need max_gang >= 1 and 0 <= min_h < max_h, not {max_gang}, {min_h:g} h, {max_h:g} h"
        )


def _nothing(kind: str, min_gang: int, max_gang: int, max_h: float, min_h: float) -> str:
    return (
        f"no {kind} job has {min_gang}..{max_gang} devices and lasts {min_h:g}..{max_h:g} h; widen the bounds"
    )
