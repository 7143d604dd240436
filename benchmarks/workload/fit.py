"""Fits of arrivals, request rates and NASA's durations. See `benchmarks/fit_workload.py`."""

from __future__ import annotations

import numpy as np

from gcn_env.errors import UserError
from gcn_env.jobs.arrivals import SECTIONS, multi_share
from gcn_env.jobs.fits import fits
from gcn_env.jobs.rates import read_rates
from gcn_env.jobs.traces import load_trace

from .excursions import BURST, excess, excursions
from .samples import SOURCES, arrivals, hourly_means, recorded

LAGS_H = np.arange(1, 97)
FAST_H, SLOW_H = (0.7, 12.0), (18.0, 120.0)  # ranges of the two scales [h]
GANGS = {"1": (1, 1), "2-16": (2, 16), ">16": (17, 10**6)}


def everything(folder):
    """All figures, by section of fits.yaml."""
    out = {}
    for source in SOURCES:
        if not (folder / source.path).is_file():
            raise UserError(f"{folder / source.path}: no such file; give --data the folder that holds jobs/")
        if source.is_rate:
            out.setdefault("llm_request_rate", {})[source.name] = rate(folder / source.path)
        else:
            section = SECTIONS["inference" if source.name == "serving" else source.name]
            gap_s = fits()[section]["arrivals"]["batch"]["gap_s"]
            out[section] = {"arrivals": batches(*arrivals(source, folder), gap_s, source.dated)}
    table, _ = load_trace(folder / next(s.path for s in SOURCES if s.name == "nasa"), "swf")
    out[SECTIONS["nasa"]]["duration_lognormal_mixture_s"] = {
        name: mixture(table.work_h[(table.gang >= a) & (table.gang <= b)] * 3600.0)
        for name, (a, b) in GANGS.items()
    }
    return out


def batches(hour, days, weekday, gap_s, dated):
    """Batches (jobs that follow each other within `gap_s`), their profiles and the modulation of their rate."""
    hour = np.sort(hour)
    first = np.concatenate([[True], np.diff(hour) * 3600.0 > gap_s])
    sizes = np.diff(np.append(np.flatnonzero(first), len(hour)))
    counts = np.histogram(hour[first], np.arange(24 * days + 1))[0].astype(float)
    at = np.arange(24 * days)
    by_hour = counts.reshape(-1, 24).mean(0)
    by_day = np.ones(7)
    if dated:
        day = (np.arange(days) + weekday) % 7
        by_day = np.array([counts.reshape(-1, 24).sum(1)[day == k].mean() for k in range(7)])
    by_hour, by_day = by_hour / by_hour.mean(), by_day / by_day.mean()
    shape = by_hour[at % 24] * by_day[(at // 24 + weekday) % 7]
    # of jobs, not of batches: users send one batch after the other, and what comes is as persistent as all of it
    jobs = np.histogram(hour, np.arange(24 * days + 1))[0]
    shape *= jobs.sum() / shape.sum()
    rest = jobs - shape
    spread = np.array([(rest[k:] * rest[:-k]).sum() / (shape[k:] * shape[:-k]).sum() for k in LAGS_H])
    sigma, phi = two_scales(np.log1p(np.maximum(spread, -0.5)))
    found = {
        "mean_per_h": len(hour) / (24.0 * days),
        **({"weekday_profile": by_day} if dated else {}),
        "batch": {
            "gap_s": gap_s,
            "mean_size": float(sizes.mean()),
            "share_of_jobs_in_batches_ge_2": float(sizes[sizes > 1].sum() / sizes.sum()),
            "size_quantiles_p50_p90_p99_max": np.quantile(sizes, [0.5, 0.9, 0.99, 1.0]),
            "pareto_alpha_ge_2": pareto_alpha(sizes),
            "batches_per_h": float(first.sum() / (24.0 * days)),
        },
        "batch_rate_profile_hour": by_hour,
        "modulation_lognormal_ar1_hourly": {"sigma": sigma, "phi": phi},
    }
    return found


def pareto_alpha(sizes):
    """Exponent with which batches of the trace's mean size have its mean square too: what the counts' variance needs.

    The maximum-likelihood exponent of a heavy tail, cut at the largest batch seen, puts several batches there for one.
    """
    n, largest = np.arange(2, sizes.max() + 1), int(sizes.max())

    def mean_square(alpha):
        tail = (1.5 / (n - 0.5)) ** alpha  # P(size >= n)
        square = 1.0 + float(((2 * n - 1) * tail).sum())
        return 1.0 + multi_share(float(sizes.mean()), alpha, largest) * (square - 1.0)

    tried = np.linspace(0.5, 4.0, 701)
    return float(
        tried[np.argmin([abs(np.log(mean_square(a) / np.mean(sizes.astype(float) ** 2))) for a in tried])]
    )


def two_scales(covariance):
    """Standard deviations and hourly autocorrelations of two AR(1) whose covariances at `LAGS_H` add up to this."""
    best = (np.inf, None)
    for fast_h in np.geomspace(*FAST_H, 24):
        for slow_h in np.geomspace(*SLOW_H, 24):
            phi = np.exp([-1.0 / fast_h, -1.0 / slow_h])
            basis = phi[None, :] ** LAGS_H[: len(covariance), None]
            weight = 1.0 / np.sqrt(LAGS_H[: len(covariance)])
            part = np.maximum(
                np.linalg.lstsq(basis * weight[:, None], covariance * weight, rcond=None)[0], 0.0
            )
            error = (((basis @ part - covariance) * weight) ** 2).sum()
            if error < best[0]:
                best = (error, (np.sqrt(part), phi))
    return best[1]


def burst_process(seen, step_h):
    """Rate per h, mean length [h] and mean height above `BURST` of the bursts that would look like this.

    Bursts shorter than a step look longer and lower than they are, and some are not seen: the three figures are
    those of a Poisson process of exponential lengths and heights (from `BURST` on) that gives what was seen after the
    same averaging over steps.
    """
    best = (np.inf, None)
    for length_h in np.geomspace(0.08, 0.6, 13):
        for more in np.geomspace(0.05, 0.8, 13):
            rng = np.random.default_rng(0)
            per_h, hours = 1.0 / 24.0, 24 * 400
            start = np.sort(rng.uniform(0, hours, rng.poisson(per_h * hours)))
            end = start + rng.exponential(length_h, len(start))
            height = BURST + rng.exponential(more, len(start))
            fine = np.zeros(hours * 60)
            for a, b, h in zip(start, end, height, strict=True):
                fine[int(a * 60) : int(b * 60) + 1] = h
            rate_seen = 1.0 + fine.reshape(-1, round(step_h * 60)).mean(1)
            found = excursions(rate_seen, step_h)
            error = (np.log(found[1:] / seen[1:]) ** 2).sum()
            if error < best[0]:
                best = (error, (per_h * seen[0] / found[0], length_h, more))
    return best[1]


def rate(path):
    """Profile, modulation and bursts of a request rate."""
    series = read_rates(path)
    r = recorded(series.rate)
    hourly = np.log(hourly_means(np.where(excess(r) > BURST, np.nan, r), round(1.0 / series.step_h)))
    days = len(hourly) // 24
    profile = np.exp(hourly.reshape(-1, 24).mean(0))
    rest = hourly - np.tile(hourly.reshape(-1, 24).mean(0), days)
    out = {"hour_profile": profile / profile.mean()}
    if days > 1:
        n = min(48, len(rest) // 3)
        # a profile from these very days takes 1/days of the variance with it
        covariance = np.array([(rest[k:] * rest[:-k]).mean() for k in range(1, n)]) * days / (days - 1.0)
        sigma, phi = two_scales(covariance)
        out["modulation_lognormal_ar1_hourly"] = {"sigma": sigma, "phi": phi}
    seen = excursions(r, series.step_h)
    per_h, length_h, more = burst_process(seen, series.step_h)
    out["bursts"] = {
        "per_h": per_h,
        "mean_h": length_h,
        "least": BURST,
        "mean_above_least": more,
        "seen": seen,
    }
    return out


def mixture(seconds, k=2, rounds=400):
    """Lognormal mixture of durations by expectation and maximisation."""
    x = np.log(np.maximum(seconds, 1.0))
    mu, sd, w = np.quantile(x, (np.arange(k) + 0.5) / k), np.full(k, x.std()), np.full(k, 1.0 / k)
    for _ in range(rounds):
        density = w * np.exp(-0.5 * ((x[:, None] - mu) / sd) ** 2) / sd
        share = density / density.sum(1, keepdims=True)
        n = share.sum(0)
        w, mu = n / len(x), (share * x[:, None]).sum(0) / n
        sd = np.maximum(np.sqrt((share * (x[:, None] - mu) ** 2).sum(0) / n), 0.2)
    return {
        "w": w, "mu_ln_s": mu, "sd_ln_s": sd, "n": len(x), "median_s": float(np.median(seconds)),
        "mean_s": float(seconds.mean()), "max_s": float(seconds.max()),
    }  # fmt: skip
