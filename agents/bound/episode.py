"""What no policy can change about an episode: its jobs, traffic, prices, carbon, weather, outages, faults.

The kernels of the simulator are replayed from the reset with every dispatcher's place empty, so that draws are exactly
those of the episode: arrivals and failures have streams that no action touches (`core.rng`). Only leases answer to the
past: the autoscaler asks for more until what is leased covers the traffic, less half a device. So it is the traffic
that is kept, and the sequence of leases from which it takes, whichever region they go to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core import rng
from gcn_env.core.failures import fail
from gcn_env.core.grid import month_of
from gcn_env.core.nodes import reset_nodes
from gcn_env.core.params import INFERENCE, LEASES, SPLITS
from gcn_env.core.state import PENDING
from gcn_env.core.step import advance
from gcn_env.core.workload import arrive, traffic
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim

Array = npt.NDArray[Any]
FIELDS = (
    "kind", "source", "data_at", "legal", "trust", "gang", "memory", "work", "arrival", "deadline", "value", "data",
)  # fmt: skip
MOST_LEASES = 50_000  # of the sequence; an episode of the largest world takes a fifth


class Episode(NamedTuple):
    """One episode as it is for every policy. H hours, R regions, P pools, S sources, J jobs."""

    start_h: float
    hours: int  # H
    jobs: dict[str, Array]  # FIELDS -> [J]; hours from the start; no leases
    placed: Array  # bool [J] it stood on a pool when the episode began
    standing: Array  # [S] device-hours that the leases which stood then will still run
    standing_n: Array  # [S] their devices
    wanted: Array  # [S, R, H] device-hours of traffic less half a device per step
    most_wanted: Array  # [S, R] devices, the most that a step asked for
    leases: dict[
        int, Array
    ]  # source -> [2, n] devices and h of run: in the order in which they are drawn if it is the
    # only source of leases, else all that its table holds
    price: Array  # [R, H] USD/kWh of grid energy, carbon included
    weather: Array  # [R, H + 3, 2] dry and wet bulb [degC], from two hours before the start to the end
    month: Array  # int [H]
    dark: Array  # bool [R, H] grid supply was out in this hour or the one before
    faulty: Array  # bool [R, H] the plant had a fault in this hour or one of the two before
    broken: Array  # [P, H] nodes that may have been out of service, at most


def replay(world: World, seed: int, split: str) -> Episode:
    """The episode of a seed."""
    sim = Sim(world, 1, split=split, autoreset=False)
    sim.reset(np.array([seed], np.uint64))
    clock, _, sources, jobs, pools, plants, _, ledger = sim.state
    fleet, geo, money, work, bank, _, site, _ = world.params
    at, start = SPLITS.index(split), float(clock.start_h[0])
    first = _harvest(jobs, start)
    placed = jobs.status[0, : jobs.n_live[0]] != PENDING
    lease = first["kind"] == INFERENCE
    n_sources = len(work.kind)
    standing, devices = (np.bincount(first["source"][lease], w, n_sources) for w in (
        (first["gang"] * first["work"])[lease], first["gang"][lease].astype(float)))  # fmt: skip
    drawn = _sequences(world, clock.rng[0, rng.LEASING], at)
    # Every event as a failure that is mended at once: their number bounds the nodes out of service.
    fragile = fleet._replace(
        fail=fleet.fail + fleet.degrade,
        degrade=0.0 * fleet.degrade,
        repair_h=np.full_like(fleet.repair_h, 1e-9),
    )
    with np.errstate(over="ignore"):  # as in kernels, 64 bits wrap around
        reset_nodes(0, clock.seed[0], pools, fleet)
    jobs.n_live[0] = 0
    steps, dt, n_regions = world.horizon, world.step_h, world.n_regions
    found = [{k: x[~lease] for k, x in first.items()}]
    wanted = np.zeros((n_sources, n_regions, steps))
    dark, faulty = (np.zeros((n_regions, steps), np.bool_) for _ in range(2))
    events = np.zeros((world.n_pools, steps))
    weekday = bank.weekday[clock.year[0]]
    for k in range(steps):
        dark[:, k], faulty[:, k] = plants.outage_h[0] > 0.0, plants.fault_h[0].max(1) > 0.0
        sources.leased[:] = np.iinfo(np.int32).max // 2  # nothing is missing, so no lease takes a place
        arrive(0, 1, dt, at, clock, sources, jobs, work, geo, bank, money, ledger)
        for s in drawn:
            for r in range(n_regions):
                wanted[s, r, k] = traffic(0, clock.now_h[0], s, r, at, weekday, sources, work, geo)
        new = _harvest(jobs, start)
        found.append({n: x[new["kind"] != INFERENCE] for n, x in new.items()})
        jobs.n_live[0] = 0
        advance(0, 1, dt, clock)
        fail(0, 1, dt, clock, jobs, pools, plants, fragile, geo, site, ledger)
        events[:, k] = pools.repairing[0]
    every = {k: np.concatenate([x[k] for x in found]) for k in FIELDS}
    hours, per = round(steps * dt), round(1.0 / dt)

    def hourly(x: Array) -> Array:
        return x.reshape(*x.shape[:-1], hours, per)

    values = bank.values[clock.year[0]].astype(np.float64)
    span = int(start) + np.arange(-2, hours + 1)
    rows = values[np.clip(span, 0, len(values) - 1)]
    now = rows[2:-1]
    known = np.zeros(len(every["kind"]), np.bool_)
    known[: int((~lease).sum())] = placed[~lease]
    return Episode(
        start, hours, every, known, standing, devices,
        hourly(np.maximum(wanted - 0.5, 0.0)).sum(-1) * dt,
        wanted.max(2),
        drawn,
        (now[..., 0] / 1e3 + now[..., 1] / 1e3 * money.carbon_usd).T.copy(),
        rows[..., 2:4].transpose(1, 0, 2).copy(),
        np.array([month_of(start + h, bank.hours[clock.year[0]]) for h in range(hours)]),
        _spread(np.asarray(hourly(dark).any(-1)), 1),
        _spread(np.asarray(hourly(faulty).any(-1)), 2),
        np.minimum(hourly(np.cumsum(events, 1)).max(-1), (fleet.devices // fleet.node)[:, None]),
    )  # fmt: skip


def _harvest(jobs: Any, start: float) -> dict[str, Array]:
    """The live jobs of environment 0, times in hours from `start`."""
    n = int(jobs.n_live[0])
    out = {k: getattr(jobs, k)[0, :n].copy() for k in FIELDS}
    for k in ("arrival", "deadline"):
        out[k] = out[k] - start
    return out


def _sequences(world: World, state: Any, split: int) -> dict[int, Array]:
    """Devices and hours of leases by source: `Episode.leases`."""
    work = world.params.work
    sources = [int(s) for s in np.flatnonzero(work.mode == LEASES)]
    out = {}
    for s in sources:
        first, n = int(work.first[split, s]), int(work.rows[split, s])
        rows = first + np.arange(n)
        if len(sources) == 1:  # a lease draws three numbers: its row, whether it is restricted, its slack
            with np.errstate(over="ignore"):  # as in kernels, 64 bits wrap around
                random = rng.hashed(state, np.arange(0, 3 * MOST_LEASES, 3, dtype=np.uint64))
            unit = (random >> np.uint64(11)).astype(np.float64) * 2.0**-53
            rows = first + np.minimum((unit * n).astype(np.int64), n - 1)
        out[s] = np.stack([work.gang[rows].astype(np.float64), work.work_h[rows]])
    return out


def _spread(x: Array, hours: int) -> Array:
    """True also in the `hours` after each True."""
    out = x.copy()
    for k in range(1, hours + 1):
        out[:, k:] |= x[:, :-k]
    return out
