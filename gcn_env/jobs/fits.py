"""The figures fitted to public job traces (`fits.yaml`) and the lognormal mixtures they hold."""

from __future__ import annotations

import math
from functools import cache
from importlib import resources
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import yaml

Array = npt.NDArray[np.float64]

_NORMAL = NormalDist()
_EDGE = 1e-12  # quantiles are cut here, 7 standard deviations out: `inv_cdf` is undefined at 0 and 1


@cache
def fits() -> dict[str, Any]:
    """Everything in `fits.yaml`."""
    text = resources.files("gcn_env.jobs").joinpath("fits.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


class Mixture(NamedTuple):
    """A mixture of lognormals of seconds, cut at `max_s`, the longest value seen in the trace."""

    weight: Array  # [k]
    mu: Array  # [k] mean of ln(s)
    sd: Array  # [k] standard deviation of ln(s)
    max_s: float

    @classmethod
    def of(cls, figures: dict[str, Any]) -> Mixture:
        """From a `duration_lognormal_mixture_s` entry."""
        w = np.array(figures["w"], np.float64)
        mu, sd = np.array(figures["mu_ln_s"]), np.array(figures["sd_ln_s"])
        return cls(w / w.sum(), mu, sd, float(figures["max_s"]))

    def bounds(self, low_s: float, high_s: float) -> tuple[Array, Array]:
        """Distribution function of every component at the two bounds, `high_s` cut at `max_s`; `[k]` each."""
        high_s = min(high_s, self.max_s)
        low = [_cdf(low_s, m, s) for m, s in zip(self.mu, self.sd, strict=True)]
        high = [_cdf(high_s, m, s) for m, s in zip(self.mu, self.sd, strict=True)]
        return np.array(low), np.maximum(np.array(high), np.array(low))

    def mass(self, low_s: float, high_s: float) -> Array:
        """Probability of every component together with a value inside the bounds, `[k]`."""
        low, high = self.bounds(low_s, high_s)
        inside: Array = self.weight * (high - low) / self.below_max()
        return inside

    def below_max(self) -> float:
        """Probability that the lognormals alone give to values up to `max_s`: what the cut divides by."""
        return float(np.sum(self.weight * self.bounds(0.0, np.inf)[1]))

    def partial_mean_s(self, low_s: float, high_s: float) -> float:
        """E[x; low <= x <= high] in s: mean times probability of the values inside the bounds."""
        high_s = min(high_s, self.max_s)
        total = 0.0
        for w, m, s in zip(self.weight, self.mu, self.sd, strict=True):
            inside = _cdf(high_s, m + s * s, s) - _cdf(low_s, m + s * s, s)
            total += float(w) * math.exp(m + 0.5 * s * s) * max(0.0, inside)
        return total / self.below_max()

    def draw_s(self, component: int, n: int, low_s: float, high_s: float, rng: np.random.Generator) -> Array:
        """`n` seconds of one component inside the bounds, one in each n-th part of the probability."""
        low, high = self.bounds(low_s, high_s)
        u = low[component] + (np.arange(n) + rng.random(n)) / max(n, 1) * (high[component] - low[component])
        seconds = np.exp(self.mu[component] + self.sd[component] * quantile(u))
        inside: Array = np.clip(seconds, low_s, min(high_s, self.max_s))
        return inside


def _cdf(seconds: float, mu: float, sd: float) -> float:
    if seconds <= 0.0:
        return 0.0
    if math.isinf(seconds):
        return 1.0
    return _NORMAL.cdf((math.log(seconds) - mu) / sd)


def quantile(u: Array) -> Array:
    """Standard normal quantiles of `u` (Wichura 1988, AS 241, from the standard library)."""
    inverse = _NORMAL.inv_cdf
    return np.array([inverse(x) for x in np.clip(u, _EDGE, 1.0 - _EDGE).tolist()], np.float64)
