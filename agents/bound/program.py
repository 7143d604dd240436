"""The linear program whose shadow prices make `agents.bound.dual` tight; solved by HiGHS.

Divisible jobs by pool and hour, leases by origin, pool and hour, one peak per region and month:

    min  sum cost y + sum settle u + sum hour x + sum demand P
    s.t. sum_ph y_jph + u_j = 1                           every job
         sum device-hours <= devices                      every pool and hour
         low_fixed + low_slope node <= base_peak + P      every region and hour
         sum_p x + wait + idle >= wanted                  every origin and hour, by source of leases
         sum idle - slope (sum x + settled) <= fixed      every source of leases
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from agents.bound.dual import Prices, value_of_sites
from agents.bound.model import Rates, Sites, Traffic, Work
from gcn_env.core.params import INFERENCE
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
HEAVY = 0.1  # light classes multiply the time and hardly move the prices


class Columns:
    """A linear program that grows by blocks of columns."""

    def __init__(self) -> None:
        """Empty."""
        self.cost: list[Array] = []
        self.most: list[Array] = []
        self.rows: list[Array] = []
        self.cols: list[Array] = []
        self.data: list[Array] = []
        self.n = 0

    def add(self, cost: Array, most: Array | float, *entries: tuple[Array, Array | float]) -> Array:
        """Columns of `cost`, between 0 and `most`; `entries` are (row of each, coefficient). Returns their numbers."""
        cost = np.asarray(cost, np.float64).ravel()
        index = self.n + np.arange(cost.size)
        self.n += cost.size
        self.cost.append(cost)
        self.most.append(np.broadcast_to(np.asarray(most, np.float64), cost.shape))
        for row, value in entries:
            self.rows.append(np.broadcast_to(row, cost.shape))
            self.cols.append(index)
            self.data.append(np.broadcast_to(np.asarray(value, np.float64), cost.shape))
        return index

    def matrix(self, n_rows: int) -> Any:
        """Coefficients [n_rows, columns]."""
        parts = (np.concatenate(self.data), (np.concatenate(self.rows), np.concatenate(self.cols)))
        return sparse.csr_matrix(parts, shape=(n_rows, self.n))


class Paid:
    """What blocks of columns cost, by term."""

    def __init__(self) -> None:
        """Nothing noted."""
        self.blocks: list[tuple[Array, dict[str, Array]]] = []

    def note(self, index: Array, parts: dict[str, Array]) -> None:
        """Costs of columns `index` by term."""
        self.blocks.append((index, parts))

    def terms(self, x: Array | None) -> dict[str, float]:
        """USD by term of a solution."""
        out: dict[str, float] = {}
        if x is None:
            return out
        for index, parts in self.blocks:
            for name, usd in parts.items():
                out[name] = out.get(name, 0.0) + float((x[index] * usd).sum())
        return out


def solve(
    world: World, site: Sites, rate: Rates, works: list[Work], leases: list[Traffic]
) -> tuple[Prices, Array, dict[str, float]]:
    """Shadow prices, node power by region and hour [kW], and what the program's optimum pays by term [USD]."""
    fleet, n_pools, n_regions = world.params.fleet, world.n_pools, world.n_regions
    hours = site.price.shape[1]
    n_jobs = sum(len(w.due) for w in works)
    # rows: capacity, peak, coverage, idle (all <=); then jobs (=)
    cap, peak = 0, n_pools * hours
    cover = peak + n_regions * hours
    idle = cover + len(leases) * n_regions * hours
    job = idle + len(leases)
    lp, node_kw, paid = Columns(), [], Paid()
    region, clock = world.pool_region, np.arange(hours)
    node = site.price * site.slope
    at = job
    for w in works:
        j, q, h = _open(w, hours)
        p = w.pools[q]
        r = region[p]
        device_h = w.devices[j] * w.run[j, q]
        kw = rate.kw[w.kind, p, -1]
        parts = {
            "energy": device_h * kw * node[r, h], "egress": w.move_usd[j, q],
            "late": w.late_usd[j] * np.maximum(h - w.due[j], 0.0),
        }  # fmt: skip
        index = lp.add(
            sum(parts.values()), 1.0 / w.run[j, q], (at + j, 1.0), (cap + p * hours + h, device_h),
            (peak + r * hours + h, device_h * kw * site.low_slope[r, h]),
        )  # fmt: skip
        node_kw.append((index, r * hours + h, device_h * kw))
        paid.note(index, parts)
        every = at + np.arange(len(w.due))
        for usd, most in ((w.settle_usd[:, 0], w.spare), (np.minimum(w.settle_usd[:, 1], w.drop_usd), 1.0)):
            paid.note(lp.add(usd, most, (every, 1.0)), {"settlement": usd})
        at += len(w.due)
    able = np.flatnonzero(fleet.speed[INFERENCE] > 0.0)
    o, p, h = (x.ravel() for x in np.meshgrid(np.arange(n_regions), able, clock, indexing="ij"))
    for k, t in enumerate(leases):
        first = cover + k * n_regions * hours
        per = 1.0 / fleet.speed[INFERENCE, p]
        r, kw = region[p], rate.kw[INFERENCE, p, -1] * per
        parts = {"slo": t.credit[o, p], "energy": kw * node[r, h]}
        index = lp.add(
            sum(parts.values()), np.inf, (cap + p * hours + h, per), (first + o * hours + h, -1.0),
            (peak + r * hours + h, kw * site.low_slope[r, h]), (np.full(o.shape, idle + k), -t.slack[1]),
        )  # fmt: skip
        node_kw.append((index, r * hours + h, kw))
        paid.note(index, parts)
        row = first + np.arange(n_regions * hours)
        usd = np.full(row.shape, min(t.value, t.skip_usd))
        paid.note(lp.add(usd, np.inf, (row, -1.0)), {"slo": usd})
        lp.add(np.zeros(row.shape), np.inf, (row, -1.0), (np.full(row.shape, idle + k), 1.0))
        usd = np.array([min(t.settle_usd, t.drop_usd)])
        paid.note(lp.add(usd, np.inf, (np.array([idle + k]), -t.slack[1])), {"settlement": usd})
    months, month = np.unique(site.month, return_inverse=True)
    usd = np.repeat(site.demand_usd, len(months))
    rise = lp.add(usd, np.inf)
    paid.note(rise, {"demand": usd})
    matrix = lp.matrix(at)
    r, h = (x.ravel() for x in np.meshgrid(np.arange(n_regions), clock, indexing="ij"))
    rises = sparse.csr_matrix(
        (-np.ones(r.size), (peak + r * hours + h, rise[r * len(months) + month[h]])), shape=matrix.shape
    )
    matrix = (matrix + rises).tocsr()
    low = site.low_fixed + site.low_slope * site.base
    limit = np.concatenate([
        np.repeat(fleet.devices, hours).astype(float), (site.base_peak[:, None] - low).ravel(),
        *(-t.wanted.ravel() for t in leases), np.array([t.slack[0] for t in leases]),
    ])  # fmt: skip
    found = linprog(
        np.concatenate(lp.cost), A_ub=matrix[:job], b_ub=limit, A_eq=matrix[job:], b_eq=np.ones(n_jobs),
        bounds=np.stack([np.zeros(lp.n), np.concatenate(lp.most)], 1), method="highs-ds",
    )  # fmt: skip
    prices = _prices(world, site, found, n_pools, n_regions, hours, len(leases), month)
    kw = np.zeros(n_regions * hours)
    if found.x is not None:
        for index, where, per_unit in node_kw:
            np.add.at(kw, where, found.x[index] * per_unit)
    terms = paid.terms(found.x)
    terms["energy"] = terms.get("energy", 0.0) + value_of_sites(site, prices)["base"]
    return prices, kw.reshape(n_regions, hours) + site.base, terms


def heavy(works: list[Work], rate: Rates) -> list[Work]:
    """The classes that take at least `HEAVY` of the energy of all jobs: those whose places shape the prices."""
    kwh = [float((w.devices[:, None] * w.run * rate.kw[w.kind, w.pools, -1]).min(1).sum()) for w in works]
    return [w for w, e in zip(works, kwh, strict=True) if e >= HEAVY * sum(kwh)]


def _open(w: Work, hours: int) -> tuple[Array, Array, Array]:
    """(job, place in `Work.pools`, hour) of the columns that may be worth having: up to a day after it was due."""
    last = np.minimum(np.maximum(w.due, w.ready.min(1)) + w.run.min(1) + 24.0, hours)
    h = np.arange(hours)
    fits = (h + 1.0 > w.ready[..., None]) & (h < last[:, None, None]) & np.isfinite(w.run)[..., None]
    return np.nonzero(fits)  # type: ignore[return-value]


def _prices(
    world: World,
    site: Sites,
    found: Any,
    n_pools: int,
    n_regions: int,
    hours: int,
    n_leases: int,
    month: Array,
) -> Prices:
    """Multipliers that `dual` may take: not negative, peaks within the demand charge; zeros if HiGHS gave none."""
    n = (n_pools, n_regions)
    if found.x is None:
        return Prices(np.zeros((n[0], hours)), np.zeros((n[1], hours)), np.zeros(n_leases))
    dual = np.maximum(-found.ineqlin.marginals, 0.0)
    capacity = dual[: n_pools * hours].reshape(n_pools, hours)
    peak = dual[n_pools * hours : (n_pools + n_regions) * hours].reshape(n_regions, hours)
    for m in range(int(month.max()) + 1):
        sums = peak[:, month == m].sum(1)
        peak[:, month == m] *= np.minimum(1.0, site.demand_usd / np.maximum(sums, 1e-12))[:, None]
    return Prices(capacity, peak, dual[len(dual) - n_leases :] if n_leases else np.zeros(0))
