"""The value of a set of prices: a lower bound of every policy's bill, whatever the prices.

With prices for device-hours (`capacity`), for the month's peak (`peak`) and for coverage of traffic by nobody (`idle`)
the linear program falls apart into one small problem per job, per region and hour, and per source of leases, each
solved here in closed form or by a search in one variable. So no solver's tolerance enters the bound: good prices, which
`agents.bound.program` takes from HiGHS, only make it higher.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.bound.model import Rates, Sites, Traffic, Work
from gcn_env.core.params import INFERENCE
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
CHUNK = 128  # jobs at a time: what fits a cache
HALVINGS = 40


class Prices(NamedTuple):
    """Multipliers, all at least 0."""

    capacity: Array  # [P, H] USD per device-hour
    peak: Array  # [R, H] USD per kW at the meter; sums over a month to at most the demand charge
    idle: Array  # [len(traffic)] USD per device-hour covered by no live lease


def full_clock_usd(world: World, site: Sites, rate: Rates, prices: Prices) -> Array:
    """USD [K, P, H] of an hour of a busy device at full clock."""
    node = node_usd(site, prices)[world.pool_region]
    return np.asarray(rate.kw[:, :, -1, None] * node + prices.capacity)


def device_usd(world: World, site: Sites, rate: Rates, prices: Prices) -> Array:
    """USD [K, P, H] of an hour of run at full clock on a device, or of the same work at the clock that is cheapest."""
    node = node_usd(site, prices)[world.pool_region]
    full = full_clock_usd(world, site, rate, prices)
    for i in range(rate.kw.shape[2] - 1):
        time = rate.time[:, i, None, None]
        usd = np.minimum(rate.kw[:, :, i, None] * node, rate.kw[:, :, i + 1, None] * node)
        usd += rate.heat_usd[:, i, None] + prices.capacity
        full = np.minimum(full, np.minimum(time * usd, rate.time[:, i + 1, None, None] * usd))
    return full


def node_usd(site: Sites, prices: Prices) -> Array:
    """USD per kWh of node power [R, H]."""
    return np.asarray(site.price * site.slope + prices.peak * site.low_slope)


def value_of_sites(site: Sites, prices: Prices) -> dict[str, float]:
    """What regions cost that run nothing, by term."""
    drawn = site.price * (site.fixed + site.slope * site.base)
    idle = np.where(drawn > 0.0, np.minimum(drawn, site.trip_usd[:, None]), drawn)
    low = site.low_fixed + site.low_slope * site.base - site.base_peak[:, None]
    both = np.maximum(site.price, 0.0) + prices.peak
    rises = both[:, 0] + np.maximum(np.diff(both, axis=1), 0.0).sum(1)
    return {
        "base": float(idle.sum()), "peak": float((prices.peak * low).sum()),
        "storage": -float((site.storage * rises).sum()),
    }  # fmt: skip


def value_of_jobs(work: Work, hour_usd: Array) -> float:
    """Sum over jobs of the least cost of doing, settling or dropping each; `hour_usd` is that of `device_usd`."""
    hours, total = hour_usd.shape[2], 0.0
    clock = np.arange(hours, dtype=np.float64)
    usd = hour_usd[work.kind, work.pools]
    for at in range(0, len(work.due), CHUNK):
        rows = slice(at, at + CHUNK)
        run, ready = work.run[rows], work.ready[rows]
        may = np.isfinite(run)
        length = np.where(may, run, 1.0)
        cost = (work.devices[rows, None] * length)[..., None] * usd + work.move_usd[rows, :, None]
        cost += (work.late_usd[rows, None] * np.maximum(clock - work.due[rows, None], 0.0))[:, None]
        open_h = np.clip(clock + 1.0 - ready[..., None], 0.0, 1.0) * may[..., None]
        cost = np.where(open_h > 0.0, cost, np.inf)
        share = open_h.max(1)[:, None] / length[..., None]  # of the job that an hour can do, by pool
        total += float(
            _least(cost, share, work.spare[rows], work.settle_usd[rows], work.drop_usd[rows]).sum()
        )
    return total


def _least(cost: Array, share: Array, spare: Array, settle: Array, drop: Array) -> Array:
    """Least cost of each job [J]: share-weighted over pools and hours, at most one pool's rate in an hour.

    The dual in one variable per job, `y - sum_h max_p share (y - cost)+ - settlement`, is concave; every `y` up to
    `drop` gives a lower bound, and the best of them is the answer.
    """
    flat = cost.reshape(len(cost), -1)
    low = np.minimum(np.minimum(flat.min(1), settle[:, 0]), drop)
    high = np.minimum(settle[:, 1], drop)
    low = np.minimum(low, high)

    def gain(y: Array) -> Array:
        return np.asarray((share * np.maximum(y[:, None, None] - cost, 0.0)).max(1))

    def value(y: Array) -> Array:
        taken = spare * np.maximum(y - settle[:, 0], 0.0) + (1.0 - spare) * np.maximum(y - settle[:, 1], 0.0)
        return np.asarray(y - gain(y).sum(1) - taken)

    for _ in range(HALVINGS):
        width = high - low
        if (width <= 1e-9 * np.maximum(1.0, np.abs(high))).all():
            break
        a, b = low + width * 0.49, low + width * 0.51
        up = value(b) >= value(a)
        low, high = np.where(up, a, low), np.where(up, high, b)
    return value(0.5 * (low + high))


def value_of_traffic(
    world: World, traffic: Traffic, rate: Rates, site: Sites, prices: Prices, k: int
) -> float:
    """Least cost of covering a source's traffic: served, waiting, covered by nobody, or refused."""
    fleet = world.params.fleet
    node = node_usd(site, prices)[fleet.region]
    able = np.flatnonzero(fleet.speed[INFERENCE] > 0.0)
    kw, heat = rate.kw[INFERENCE][able], rate.heat_usd[able]
    run = kw[:, -1, None] * node[able]
    for i in range(kw.shape[1] - 1):
        slower = np.minimum(kw[:, i, None] * node[able], kw[:, i + 1, None] * node[able]) + heat[:, i, None]
        run = np.minimum(run, slower)
    speed = fleet.speed[INFERENCE, able, None]
    hour = (run + prices.capacity[able]) / speed
    fixed, slope = traffic.slack
    idle = min(float(prices.idle[k]), min(traffic.settle_usd, traffic.drop_usd) / max(slope, 1e-12))
    cost = traffic.credit[:, able, None] + hour - slope * idle
    worth = np.minimum(cost.min(1), min(idle, traffic.value, traffic.skip_usd))
    paid = np.minimum(cost.min(0), 0.0) * speed * fleet.devices[able, None]  # by a negative price
    return float((np.maximum(worth, 0.0) * traffic.wanted).sum() + paid.sum()) - idle * fixed


def total(
    world: World, site: Sites, rate: Rates, works: list[Work], leases: list[Traffic], prices: Prices
) -> dict[str, float]:
    """The bound of one episode by part [USD]."""
    hour = device_usd(world, site, rate, prices)
    out = value_of_sites(site, prices)
    out["capacity"] = -float((prices.capacity * world.params.fleet.devices[:, None]).sum())
    for w in works:
        out[f"jobs_{w.kind}"] = value_of_jobs(w, hour)
    out["leases"] = sum(value_of_traffic(world, t, rate, site, prices, k) for k, t in enumerate(leases))
    return out
