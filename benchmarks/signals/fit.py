"""Fit what gives `climatology.yaml` its memory: weights and correlations of the processes, and the remap of prices.

Means, standard deviations and quantiles of the file are taken as they are. Two steps for each region:

1. *Scores.* Real years are turned into the Gaussian z of the model. The weights of each variable are the non-negative
   ones whose mixture of autocorrelations is nearest to that of z up to 200 h; the correlations of each group of parts
   are the least-squares ones for the cross-covariances of z (the linear model of coregionalisation).
2. *Simulated moments* (McFadden 1989, Econometrica 57, 995). The model is not linear, so weights, and the correlation
   of dry bulb with depression, are moved until simulated years have the mean autocorrelation of the real years at
   `LAGS_H`, and lie no further from them than those from each other. A penalty holds them near step 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares, lsq_linear, nnls
from scipy.signal import lfilter
from scipy.stats import norm

from gcn_env.signals.calendar import first_weekday
from gcn_env.signals.climatology import (
    GROUP,
    TABLE_N,
    TABLE_Z,
    climatology,
    curves,
    low_pass_variance,
    quantile_table,
    sites,
    smooth_autocorrelation,
)

from .measure import Array, autocorrelation, shape

VARIABLES = ("price", "carbon", "drybulb", "wbd")  # order in the file
GROUPS = tuple(dict.fromkeys(GROUP))
OF_GROUP = [GROUPS.index(g) for g in GROUP]
HOURS = 8760
COVARIANCE_H = 200
LAGS_H = (1, 2, 3, 6, 12, 24, 48, 168)
LAG_WEIGHT = np.array([1.0, 0.5, 0.5, 1.0, 0.5, 1.0, 0.5, 1.5])
REMAP_P = np.array([
    1e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6,
    0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999,
])  # fmt: skip
RIDGE, STRONGEST = 1.0, 0.95  # of the least squares for correlations
HOLD_WEIGHT, HOLD_CORRELATION, HIGHEST = 0.8, 1.5, 0.98
Real = Mapping[str, Mapping[int, Array]]  # variable -> year -> values


class Fitted(NamedTuple):
    """Figures of one region."""

    weights: dict[str, Array]  # variable -> [7]
    correlation: dict[tuple[str, str], Array]  # variables -> [groups]
    remap: Array  # [2, len(REMAP_P)], empty where there is no price


def scores(region: str, real: Real) -> list[dict[str, Array]]:
    """z of every variable, one dictionary for each year."""
    c, out = climatology(), []
    p = norm.ppf(c.quantile_p)
    for year in sorted(real["drybulb"]):
        z, dry_residual = {}, np.zeros(HOURS)
        for v in ("drybulb", "wbd", "carbon", "price"):
            fit = c.fits[region].get(v)
            if fit is None or (
                v in real and (year not in real[v] or (fit.levels and year not in fit.levels))
            ):
                continue
            mean, sd, link = (
                np.asarray(a, np.float64) for a in curves(region, v, first_weekday(year), HOURS)
            )
            residual = _transformed(v, real, year, fit.levels.get(year, 1.0)) - link * dry_residual - mean
            if v == "drybulb":
                dry_residual = residual
            rising = np.maximum.accumulate(fit.quantiles + 1e-9 * np.arange(len(p)))
            z[v] = np.interp(residual / sd, rising, p)
        out.append(z)
    return out


def _transformed(variable: str, real: Real, year: int, level: float) -> Array:
    if variable == "price":
        return np.asarray(np.arcsinh(real["price"][year][:HOURS] / (0.25 * level)))
    if variable == "carbon":
        return np.asarray(np.log(np.maximum(real["carbon"][year][:HOURS], 1e-3) / level))
    dry = real["drybulb"][year][:HOURS]
    return dry if variable == "drybulb" else np.sqrt(depression(dry, real["wetbulb"][year][:HOURS]))


def depression(dry: Array, wet: Array) -> Array:
    """Dry less wet bulb [K]."""
    return np.asarray(np.maximum(dry - wet, 0.0))


def _covariance(a: Array, b: Array) -> Array:
    """Mean over both directions at lags 0 to `COVARIANCE_H`, over hours that are there."""
    there = [np.isfinite(x) for x in (a, b)]
    a, b = (np.where(t, x, 0.0) for t, x in zip(there, (a, b), strict=True))
    out = []
    for x, y, tx, ty in ((a, b, *there), (b, a, *reversed(there))):
        n = len(x)
        out.append(
            [(x[: n - k] @ y[k:]) / max((tx[: n - k] & ty[k:]).sum(), 1) for k in range(COVARIANCE_H + 1)]
        )
    return np.mean(out, axis=0)


def part_correlations(lag: Array) -> Array:
    """Autocorrelation of the seven parts of z, [7, lags]."""
    c = climatology()
    slow = [smooth_autocorrelation(t, c.smooth_h, lag) for t in c.tau_h]
    waves = [np.exp(-lag / t) * np.cos(2.0 * np.pi * lag / 24.0) for t in c.tau_diurnal_h]
    return np.array([*slow, *waves, lag == 0], np.float64)


def first_weights(years: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Weights of every variable from the scores."""
    lag = np.arange(COVARIANCE_H + 1)
    parts, importance = part_correlations(lag), _importance(lag)
    importance[1], importance[2] = 20.0, 12.0
    sum_to_one, out = 100.0 * np.ones((1, len(parts))), {}
    for v in VARIABLES:
        own = [_covariance(z[v], z[v]) for z in years if v in z]
        if own:
            target = np.mean(own, axis=0)
            goal = np.r_[target / target[0] * importance, 100.0]
            w, _ = nnls(np.r_[parts.T * importance[:, None], sum_to_one], goal)
            out[v] = w / w.sum()
    return out


def correlations(
    years: Sequence[Mapping[str, Array]], weights: Mapping[str, Array]
) -> dict[tuple[str, str], Array]:
    """Correlation of each pair of variables in each group of parts, from the scores, for given weights."""
    lag = np.arange(COVARIANCE_H + 1)
    parts, importance, out = part_correlations(lag), _importance(lag), {}
    ridge = RIDGE * np.eye(len(GROUPS))  # a group that hardly matters to a pair stays near 0
    for i, a in enumerate(VARIABLES):
        for b in VARIABLES[i + 1 :]:
            both = [z for z in years if a in z and b in z]
            if not both:
                continue
            spread = [np.sqrt(np.mean([np.nanmean(z[v] ** 2) for z in both])) for v in (a, b)]
            target = np.mean([_covariance(z[a], z[b]) for z in both], axis=0) / (spread[0] * spread[1])
            columns = np.zeros((len(lag), len(GROUPS)))
            for k, g in enumerate(OF_GROUP):
                columns[:, g] += np.sqrt(weights[a][k] * weights[b][k]) * parts[k]
            goal = np.r_[target * importance, np.zeros(len(GROUPS))]
            bound = (-STRONGEST, STRONGEST)
            out[a, b] = lsq_linear(np.r_[columns * importance[:, None], ridge], goal, bounds=bound).x
    return out


def _importance(lag: Array) -> Array:
    return np.where(lag <= 6, 6.0, np.where(lag <= 30, 2.0, 1.0))


class Simulator:
    """Simulated years of one region from processes drawn once, so that they move smoothly with the weights."""

    def __init__(self, region: str, n_years: int, seed: int) -> None:
        self.region, self.n, self.fits = region, n_years, climatology().fits[region]
        rng = np.random.default_rng(seed)
        self.parts = {v: [self._parts(rng) for _ in range(n_years)] for v in self.fits}
        self.curves = {(v, day): curves(region, v, day, HOURS) for v in self.fits for day in range(7)}

    def _parts(self, rng: np.random.Generator) -> Array:
        c, warm = climatology(), 4000
        angle = 2.0 * np.pi * (np.arange(HOURS) + sites()[self.region].utc_offset_h) / 24.0

        def ar1(tau: float) -> Array:
            phi = np.exp(-1.0 / tau)
            return lfilter([np.sqrt(1.0 - phi**2)], [1.0, -phi], rng.standard_normal(HOURS + warm))

        q = np.exp(-1.0 / c.smooth_h)
        slow = [
            lfilter([1.0 - q], [1.0, -q], ar1(t)) / np.sqrt(low_pass_variance(np.array(t), c.smooth_h))
            for t in c.tau_h
        ]
        waves = [np.cos(angle) * ar1(t)[warm:] + np.sin(angle) * ar1(t)[warm:] for t in c.tau_diurnal_h]
        return np.array([*(x[warm:] for x in slow), *waves, rng.standard_normal(HOURS)])

    def residual(self, variable: str, z: Array, year: int) -> tuple[Array, Array, Array]:
        """Mean, sd * u and link of a variable."""
        mean, sd, link = self.curves[variable, year % 7]
        grid = np.linspace(-TABLE_Z, TABLE_Z, TABLE_N)
        return mean, sd * np.interp(z, grid, quantile_table(self.region, variable)), link

    def years(self, variable: str, weights: Array) -> list[Array]:
        """y of price, carbon or dry bulb."""
        root = np.sqrt(weights)
        out = []
        for k in range(self.n):
            mean, residual, _ = self.residual(variable, root @ self.parts[variable][k], k)
            out.append(mean + residual)
        return out

    def prices(self, weights: Array, remap: Array) -> list[Array]:
        """Prices over their median."""
        low, high = self.fits["price"].clip
        out = []
        for y in self.years("price", weights):
            unit = unit_price(y)
            price = np.clip(0.25 * np.sinh(np.interp(unit, *remap) if len(remap) else unit), low, high)
            out.append(price / np.median(price))
        return out

    def weather(
        self, dry_weights: Array, weights: Array, correlation: Array
    ) -> tuple[list[Array], list[Array]]:
        """Wet bulb and depression."""
        root, dry_root, r = np.sqrt(weights), np.sqrt(dry_weights), correlation[OF_GROUP]
        wet, gaps = [], []
        for k in range(self.n):
            dry_mean, dry_residual, _ = self.residual("drybulb", dry_root @ self.parts["drybulb"][k], k)
            z = (root * r) @ self.parts["drybulb"][k] + (root * np.sqrt(1.0 - r**2)) @ self.parts["wbd"][k]
            mean, residual, link = self.residual("wbd", z, k)
            gaps.append(np.maximum(mean + residual + link * dry_residual, 0.0) ** 2)
            wet.append(dry_mean + dry_residual - gaps[-1])
        return wet, gaps


def unit_price(y: Array) -> Array:
    """The asinh scale of a year's prices over their median."""
    unit = np.sinh(y)
    return np.asarray(np.arcsinh(unit * (4.0 / np.median(unit))))


class Moments:
    """Autocorrelation of real years, and how far simulated ones are from it in units of the years' own differences."""

    def __init__(self, years: Sequence[Array]) -> None:
        self.real = np.array([autocorrelation(x, LAGS_H) for x in years])
        self.mean = self.real.mean(axis=0)
        apart = np.abs(self.real[:, None] - self.real[None]).sum((0, 1)) / max(
            len(years) * (len(years) - 1), 1
        )
        self.scale = np.maximum(apart, 0.03 * (1.0 - self.mean) + 5e-4)

    def misfit(self, years: Sequence[Array]) -> Array:
        """Of the mean, and of the mean distance beyond the scale, [2 * lags]."""
        made = np.array([autocorrelation(x, LAGS_H) for x in years])
        gap = np.abs(made[:, None] - self.real[None]).mean(axis=(0, 1)) / self.scale
        mean = (made.mean(axis=0) - self.mean) / self.scale
        return np.r_[LAG_WEIGHT * mean, LAG_WEIGHT * np.maximum(gap - 1.0, 0.0)]


def refined(misfit: Callable[[Array, Array], Array], weights: Array, more: Array) -> tuple[Array, Array]:
    """Weights, and the values after them, that are best by `misfit` and not far from where they begin (step 2)."""
    n, held = len(weights), np.clip(np.r_[np.sqrt(weights), more], -HIGHEST, None)

    def parts(a: Array) -> tuple[Array, Array]:
        return a[:n] ** 2 / (a[:n] ** 2).sum(), a[n:]

    def residuals(a: Array) -> Array:
        w, rest = parts(a)
        hold = [HOLD_WEIGHT * (np.sqrt(w) - held[:n]), HOLD_CORRELATION * (rest - held[n:])]
        return np.r_[misfit(w, rest), *hold, 0.01 * ((a[:n] ** 2).sum() - 1.0)]

    low, high = (
        np.r_[np.zeros(n), -HIGHEST * np.ones(len(more))],
        np.r_[1.5 * np.ones(n), HIGHEST * np.ones(len(more))],
    )
    start = np.clip(np.r_[np.maximum(held[:n], 0.08), held[n:]], low + 1e-3, high - 1e-3)
    return parts(least_squares(residuals, start, bounds=(low, high), max_nfev=20, diff_step=1e-3).x)


def remapped(simulator: Simulator, weights: Array, real: Sequence[Array]) -> Array:
    """The model's distribution of y and the observed one, [2, len(REMAP_P)]."""
    model = np.quantile(np.concatenate([unit_price(y) for y in simulator.years("price", weights)]), REMAP_P)
    seen = np.concatenate([np.arcsinh(4.0 * shape("price", x[np.isfinite(x)])) for x in real])
    return np.array([np.maximum.accumulate(model + 1e-6 * np.arange(len(model))), np.quantile(seen, REMAP_P)])


def fit_region(region: str, real: Real, n_years: int = 40, seed: int = 0) -> Fitted:
    """Both steps for one region; `real` as `measure.real_years` gives it."""
    z = scores(region, real)
    weights = first_weights(z)
    pair, near = ("drybulb", "wbd"), correlations(z, weights)
    simulator, nothing, remap = Simulator(region, n_years, seed), np.empty(0), np.empty((0, 0))
    if "price" in weights:
        prices = [x for y, x in real["price"].items() if y in climatology().fit(region, "price").levels]
        plain = Moments(prices)
        squeezed = Moments(
            [np.arcsinh(4.0 * shape("price", x)) for x in prices]
        )  # spikes do not decide alone

        def price(w: Array, _: Array) -> Array:
            years = simulator.prices(w, remap)
            return np.r_[plain.misfit(years), 0.5 * squeezed.misfit([np.arcsinh(4.0 * x) for x in years])]

        for _ in range(2):
            remap = remapped(simulator, weights["price"], prices)
            weights["price"], _ = refined(price, weights["price"], nothing)
        remap = remapped(simulator, weights["price"], prices)
    for v, back in (("carbon", np.exp), ("drybulb", np.asarray)):
        own = Moments(list(real[v].values()))
        weights[v], _ = refined(
            lambda w, _, v=v, back=back, own=own: own.misfit([back(y) for y in simulator.years(v, w)]),
            weights[v], nothing,
        )  # fmt: skip
    wet = Moments(list(real["wetbulb"].values()))
    gaps = Moments([depression(real["drybulb"][y], real["wetbulb"][y]) for y in real["wetbulb"]])

    def weather(w: Array, r: Array) -> Array:
        made = simulator.weather(weights["drybulb"], w, r)
        return np.r_[wet.misfit(made[0]), 0.5 * gaps.misfit(made[1])]

    weights["wbd"], moist = refined(weather, weights["wbd"], near[pair])
    return Fitted(weights, {**correlations(z, weights), pair: moist}, remap)


def _listed(values: Array, digits: int) -> str:
    return "[" + ", ".join(f"{float(f'{x:.{digits}g}')}" if abs(x) >= 1e-3 else "0.0" for x in values) + "]"


def written(text: str, fits: Mapping[str, Fitted]) -> str:
    """The climatology file with the figures of `fits` in place of its own."""
    out: list[str] = []
    region = variable = ""
    for line in text.split("\n"):
        if found := re.match(r"^  ([A-Z][\w-]*):$", line):
            region, variable = found[1], ""
        elif found := re.match(r"^    (\w+):$", line):
            variable = found[1]
        fit = fits.get(region)
        if fit is not None and variable in fit.weights and line.startswith("      weights: "):
            line = f"      weights: {_listed(fit.weights[variable], 3)}"
            if variable == "price" and len(fit.remap):
                for name, values in zip(("from", "to"), fit.remap, strict=True):
                    line += f"\n      remap_{name}: {_listed(values, 4)}"
        elif fit is not None and line.startswith("      remap_"):
            continue
        elif (
            fit is not None
            and variable.startswith("corr_")
            and (found := re.match(r"^      (\w+)~(\w+): ", line))
        ):
            value = fit.correlation[found[1], found[2]][GROUPS.index(variable[5:])]
            line = f"{found[0]}{round(value, 2) + 0.0:g}"
        out.append(line)
    return "\n".join(out)
