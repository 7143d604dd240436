"""The fitted climatology: reading the carried files, and the correlations between variables and regions.

The model is stated in the header of `climatology.yaml`. Two things it leaves open are decided here.

*Correlation between regions* (`cross_region.yaml`) is that of daily means. It is given to the parts of the
process that make up a daily mean: in full to the time constants of 48 and 400 h, 0.7 to 10 h, half to the
daily waves, none to 2 h and to the noise. On the open years the daily means, daily waves and hourly steps of
neighbours (DE-LU and GB, PJM and New York, Ontario and New York) correlate at about 0.7, 0.35 and 0.15, hence
these shares `SHARE`. What the shares and unequal weights take away from the daily mean is given back by
dividing by it.

*Joint correlation* of (region, variable) pairs: within a region X_v = sum_j A[v, j] f_j with A the Cholesky
factor of the fitted matrix between variables; the factors f_j are independent of each other and correlate
between regions by a matrix F_j solved so that every variable meets its own cross-region figure. Matrices that
are not positive semi-definite are replaced by their projection (eigenvalues cut at a small positive number,
unit diagonal restored).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.errors import nearest
from gcn_env.signals.calendar import BANK_HOURS
from gcn_env.signals.errors import DataError

Array = npt.NDArray[Any]

VARIABLES = (
    "drybulb",
    "wbd",
    "price",
    "carbon",
)  # order of the Cholesky factors: weather, then what it drives
# cross-region share of: tau 2, 10, 48, 400 h, waves 60, 1000 h, noise
SHARE = (0.0, 0.7, 1.0, 1.0, 0.5, 0.5, 0.0)
# cross-region figure of the wet-bulb depression over that of the dry bulb (open years: 0.67-0.93)
WET_BULB_SHARE = 0.7
GROUP = ("fast", "fast", "mid", "slow", "wave", "wave", "fast")  # fitted correlation used by each part
MAX_CORRELATION = 0.97
TABLE_Z = 4.5  # the quantile table spans -TABLE_Z..TABLE_Z; the outermost fitted quantiles lie at |z| = 3.29
TABLE_N = 2305
SBASIS = (0, 1, 2, 5, 6, 7, 8)  # rows of the basis that scale the residual


@dataclass(frozen=True)
class Site:
    """Where a profile's weather was taken: elevation [m], standard offset from UTC [h], IANA zone."""

    elevation_m: float
    utc_offset_h: float
    zone: str


@dataclass(frozen=True, eq=False)
class Fit:
    """One variable of one profile.

    Attributes:
        levels: calendar year -> level; empty for weather.
        beta: float64 [42], zero where the basis term is not used.
        log_var: float64 [7].
        weights: float64 [7], sum 1: four AR(1), two daily waves, noise.
        quantiles: float64 [21] of the unit-variance residual.
        clip: lowest and highest multiple of the level (price only, else infinite).
        link: float64 [7] (wet-bulb depression only, else zero).
        remap: float64 [2, 33], the fitted distribution of y and the observed one at the same probabilities (price
            only, else empty).
    """

    levels: dict[int, float]
    beta: Array
    log_var: Array
    weights: Array
    quantiles: Array
    clip: tuple[float, float]
    link: Array
    remap: Array


@dataclass(frozen=True, eq=False)
class Climatology:
    """All fitted profiles.

    Attributes:
        names: profile names in the fixed order of the correlation factors.
        fits: profile -> variable -> fit (a profile without price lacks that key).
        quantile_p: float64 [21].
        tau_h: the four AR(1) time constants [h].
        smooth_h: time constant of the low pass behind them [h].
        tau_diurnal_h: the two daily waves' time constants [h].
        years: calendar years that the levels of any profile cover.
        mixing: part -> float64 [13 * 4, 13 * 4]: rows (profile, variable), columns (profile, factor).
    """

    names: tuple[str, ...]
    fits: dict[str, dict[str, Fit]]
    quantile_p: Array
    tau_h: tuple[float, ...]
    smooth_h: float
    tau_diurnal_h: tuple[float, ...]
    years: tuple[int, ...]
    mixing: tuple[Array, ...]

    def fit(self, profile: str, variable: str) -> Fit:
        """The fit of one variable.

        Raises:
            DataError: for an unknown profile, or one without that variable.
        """
        if profile not in self.fits:
            raise DataError(
                f"no fitted profile {profile!r}{nearest(profile, self.names)} (have: {', '.join(self.names)})"
            )
        if variable not in self.fits[profile]:
            have = [n for n in self.names if variable in self.fits[n]]
            raise DataError(
                f"profile {profile} has no fitted {variable}: name another profile's for it "
                f"(`{variable}_profiles`; those with one: {', '.join(have)})"
            )
        return self.fits[profile][variable]


def _read(name: str) -> Any:
    import yaml  # only when a file is really read: importing this package stays cheap

    # the C loader reads the file in 0.05 s, the other in 0.7 s
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = resources.files("gcn_env.signals").joinpath(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=loader)


@cache
def sites() -> dict[str, Site]:
    """Sites by profile."""
    return {name: Site(**row) for name, row in _read("sites.yaml")["sites"].items()}


def _padded(values: list[float] | None, length: int) -> Array:
    out = np.zeros(length)
    if values is not None:
        out[: len(values)] = values
    return out


def _parse_fit(row: dict[str, Any], n_basis: int) -> Fit:
    low, high = row.get("clip_multiple", (-np.inf, np.inf))
    return Fit(
        levels={int(y): float(v) for y, v in row.get("levels", {}).items()},
        beta=_padded(row["beta"], n_basis),
        log_var=np.array(row["log_var"]),
        # three printed digits do not sum to 1 exactly
        weights=np.array(row["weights"]) / np.sum(row["weights"]),
        quantiles=np.array(row["quantiles"]),
        clip=(float(low), float(high)),
        link=_padded(row.get("link"), 7),
        remap=np.array([row[k] for k in ("remap_from", "remap_to") if k in row], np.float32),
    )


def projected(matrix: Array, floor: float = 1e-3) -> Array:
    """A valid correlation matrix near `matrix`: eigenvalues of at least about `floor`, unit diagonal."""
    out = np.array(matrix, np.float64)
    for _ in range(100):
        values, vectors = np.linalg.eigh(out)
        if values[0] >= 0.5 * floor:
            break
        out = (vectors * np.maximum(values, floor)) @ vectors.T
        scale = 1.0 / np.sqrt(np.diag(out))
        out = out * scale[:, None] * scale[None, :]
    np.fill_diagonal(out, 1.0)
    return out


def _symmetric(pairs: dict[str, float], names: tuple[str, ...]) -> Array:
    out = np.eye(len(names))
    for key, value in pairs.items():
        i, j = (names.index(n) for n in key.split("~"))
        out[i, j] = out[j, i] = value
    return out


def low_pass_variance(tau_h: Array, smooth_h: float) -> Array:
    """Variance of unit-variance AR(1) of time constants `tau_h` [h] after y(t) = q y(t-1) + (1-q) x(t)."""
    p, q = np.exp(-1.0 / np.asarray(tau_h)), np.exp(-1.0 / smooth_h)
    return np.asarray((1.0 + p * q) / (1.0 - p * q) * (1.0 - q) / (1.0 + q))


def smooth_autocorrelation(tau_h: float, smooth_h: float, lag_h: Array) -> Array:
    """Autocorrelation at `lag_h` [h] of an AR(1) of time constant `tau_h` behind that low pass: an AR(2).

    Box and Jenkins, Time Series Analysis, 1970, on two real roots; the time constants must differ.
    """
    p, q = np.exp(-1.0 / tau_h), np.exp(-1.0 / smooth_h)
    lag = np.asarray(lag_h) + 1.0
    return np.asarray((p**lag * (1 - q * q) - q**lag * (1 - p * p)) / ((p - q) * (1 + p * q)))


def daily_mean_variance(tau_h: float, smooth_h: float) -> float:
    """Variance of the 24-h mean of a unit-variance hourly AR(2) with time constants `tau_h` and `smooth_h` [h]."""
    lag = np.arange(1, 24)
    return float((24.0 + 2.0 * np.sum((24 - lag) * smooth_autocorrelation(tau_h, smooth_h, lag))) / 24.0**2)


def _targets(
    names: tuple[str, ...], fits: dict[str, dict[str, Fit]], cross: Any, tau_h: list[float], smooth_h: float
) -> list[Array]:
    """Cross-region correlation of the fully shared parts of each variable, [13, 13] per variable."""
    v = np.array([daily_mean_variance(t, smooth_h) for t in tau_h] + [0.0, 0.0, 1.0 / 24.0])
    share = np.array(SHARE)
    out = []
    for variable in VARIABLES:
        table = cross["drybulb"] if variable == "wbd" else cross[variable]
        target = _symmetric(table, names)
        if variable == "wbd":
            target = WET_BULB_SHARE * target
        w = np.array(
            [fits[n][variable].weights if variable in fits[n] else np.full(7, 1.0 / 7.0) for n in names]
        )
        reach = np.sqrt(w * v * share) @ np.sqrt(w * v * share).T / np.sqrt(np.outer(w @ v, w @ v))
        target = np.clip(target / reach, -MAX_CORRELATION, MAX_CORRELATION)
        np.fill_diagonal(target, 1.0)
        out.append(projected(target))
    return out


def _group_factors(within: Array, targets: list[Array]) -> tuple[Array, list[Array]]:
    """Factors A [13, 4, 4] between variables, and the correlation matrices F_j [13, 13] of the factors."""
    a = np.linalg.cholesky(np.array([projected(m, 0.02) for m in within]))
    factors: list[Array] = []
    for j, target in enumerate(targets):
        explained = sum(
            (np.outer(a[:, j, i], a[:, j, i]) * factors[i] for i in range(j)), np.zeros_like(target)
        )
        f = np.clip(
            (target - explained) / np.outer(a[:, j, j], a[:, j, j]), -MAX_CORRELATION, MAX_CORRELATION
        )
        np.fill_diagonal(f, 1.0)
        factors.append(projected(f))
    return a, factors


def _mixing(a: Array, factors: list[Array], share: float) -> Array:
    """Rows (profile, variable) times columns (profile, factor): independent normals to correlated ones."""
    n = len(a)
    out = np.zeros((n, 4, n, 4))
    for j, f in enumerate(factors):
        lower = np.linalg.cholesky(share * f + (1.0 - share) * np.eye(n)) if share > 0.0 else np.eye(n)
        out[:, :, :, j] = a[:, :, j][:, :, None] * lower[:, None, :]
    return out.reshape(4 * n, 4 * n)


@cache
def climatology() -> Climatology:
    """The carried fits, read once per process (some 60 ms)."""
    raw, cross = _read("climatology.yaml"), _read("cross_region.yaml")
    regions, n_basis = raw["regions"], len(raw["basis"])
    names = tuple(sorted(regions))
    fits = {n: {v: _parse_fit(regions[n][v], n_basis) for v in VARIABLES if v in regions[n]} for n in names}
    targets = _targets(names, fits, cross, raw["tau_h"], raw["smooth_h"])
    groups = {
        g: _group_factors(np.array([_symmetric(regions[n][f"corr_{g}"], VARIABLES) for n in names]), targets)
        for g in dict.fromkeys(GROUP)
    }
    return Climatology(
        names=names,
        fits=fits,
        quantile_p=np.array(raw["quantile_p"]),
        tau_h=tuple(raw["tau_h"]),
        smooth_h=float(raw["smooth_h"]),
        tau_diurnal_h=tuple(raw["tau_diurnal_h"]),
        years=tuple(sorted({y for f in fits.values() for v in f.values() for y in v.levels})),
        mixing=tuple(_mixing(*groups[g], s) for g, s in zip(GROUP, SHARE, strict=True)),
    )


@lru_cache(maxsize=16)
def _basis(utc_offset_h: float) -> tuple[Array, Array]:
    """The 37 basis functions without weekends, float32 [37, 8784], and local days since 1 January, [8784]."""
    local = np.arange(BANK_HOURS) + utc_offset_h
    day = 2.0 * np.pi * local / 24.0
    a = day / 365.25
    ca = [f(k * a) for k in (1, 2) for f in (np.cos, np.sin)]  # cA1, sA1, cA2, sA2
    cd = [f(k * day) for k in (1, 2, 3, 4) for f in (np.cos, np.sin)]  # cD1, sD1, ... sD4
    rows = [np.ones(BANK_HOURS), *ca, *cd]
    for season in (ca[:2], ca[2:]):
        for k in range(3):
            rows += [s * c for s in season for c in cd[2 * k : 2 * k + 2]]
    return np.array(rows, np.float32), np.floor(local / 24.0)


@lru_cache(maxsize=128)
def _seasonal(profile: str, variable: str) -> tuple[Array, Array, Array, Array, Array]:
    """What does not depend on the weekday: mean, weekend's added mean, s.d., link, local day; [8784]."""
    fit = climatology().fit(profile, variable)
    b, day = _basis(sites()[profile].utc_offset_h)
    s, beta = b[list(SBASIS)], fit.beta.astype(np.float32)
    weekend = beta[37:] @ b[[0, 5, 6, 7, 8]]
    sd = np.exp(0.5 * (fit.log_var.astype(np.float32) @ s))
    return beta[:37] @ b, weekend, sd, fit.link.astype(np.float32) @ s, day


def curves(profile: str, variable: str, first_weekday: int, hours: int) -> tuple[Array, Array, Array]:
    """Mean, s.d. and link of a variable at the hours of a UTC year, float32 [hours] each.

    The yearly angle runs on across the turn of the local year (a quarter of a day at most).

    Args:
        profile: fitted profile.
        variable: price, carbon, drybulb or wbd.
        first_weekday: weekday of 1 January UTC, Monday 0.
        hours: length of the year.
    """
    mean, weekend, sd, link, day = _seasonal(profile, variable)
    mean = np.where((first_weekday + day) % 7 >= 5, mean + weekend, mean)
    return mean[:hours], sd[:hours], link[:hours]


@cache
def quantile_table(profile: str, variable: str) -> Array:
    """Q(Phi(z)) on an even grid of z, float32 [TABLE_N]; constant beyond the outermost fitted quantiles."""
    c = climatology()
    normal = NormalDist()
    p = np.array([normal.cdf(z) for z in np.linspace(-TABLE_Z, TABLE_Z, TABLE_N)])
    return np.asarray(np.interp(p, c.quantile_p, c.fit(profile, variable).quantiles), np.float32)
