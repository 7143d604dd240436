"""One episode as coefficients: what an hour of each device, a late hour, a byte or an unfinished job costs at least.

Every number is a lower bound for every policy; `agents.bound` says why, term by term.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.bound.episode import Episode
from agents.bound.plants import NODES, Envelope, above, below
from gcn_env.core.network import GB_PER_H
from gcn_env.core.outage import RESTART_K
from gcn_env.core.params import CLASSES, INFERENCE
from gcn_env.core.placement import level_share
from gcn_env.core.plant import THROTTLE_PER_K
from gcn_env.core.plant_table import PLANT
from gcn_env.core.power import HEAT_FLOOR, capped_clock, power_at, speed_at
from gcn_env.core.state import CAP
from gcn_env.core.thermal import FAN_LAG_S, air_chip_c, fan_target
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
P = PLANT.ix
SETTLED_LAGS = 4.0  # of the server fans' lag: 2 % of the way is left
CLOCKS = np.linspace(HEAT_FLOOR, 1.0, 15)
SPREAD_K = (
    2.0  # most that the hottest rack's inlet exceeds the mean where chips throttle: 0.7 K at the design flow
)


class Sites(NamedTuple):
    """Regions by hour: price of a kWh at the meter, and lines from node power to the meter. [R, H] each."""

    price: Array  # USD/kWh, carbon included; 0 where the grid may be out
    fixed: Array  # kW that the site draws at no node power, at least (at most, where the price is negative)
    slope: Array  # kW per kW of node power, likewise
    low_fixed: Array  # kW, at least
    low_slope: Array
    base: Array  # kW of nodes that run nothing
    trip_usd: Array  # [R] USD per hour for which a region could stand still at least
    storage: Array  # [R] kWh that cooling early can shift
    month: Array  # [H]
    base_peak: Array  # [R] kW
    demand_usd: Array  # [R] USD/kW


class Rates(NamedTuple):
    """What running costs besides place and time, by class and pool and clock."""

    kw: Array  # [K, P, F] of a busy device above an idle one, at each clock
    time: Array  # [K, F] h per hour of run at full clock
    heat_usd: Array  # [P, F] USD per device-hour for the heat that such a clock takes


def sites(world: World, episode: Episode, envelope: Envelope, near: Array) -> Sites:
    """Lines that are close at node powers `near` [R, H], per kW of design."""
    fleet, geo, money, _, _, plant, _, _ = world.params
    n_regions, hours = world.n_regions, episode.hours
    fixed, slope, low_fixed, low_slope = (np.zeros((n_regions, hours)) for _ in range(4))
    storage = np.zeros(n_regions)
    price = np.where(episode.dark, 0.0, episode.price)
    for r in range(n_regions):
        steepest, bare = 0.0, envelope.uncooled(r)
        for h in range(hours):
            least, most = envelope.at(r, episode.weather[r, h : h + 4])
            steepest = max(steepest, float(((least[1:] - least[:-1]) / np.diff(NODES)).max()) - 1.0)
            if episode.faulty[r, h]:
                least = bare
            if not episode.dark[r, h]:
                low_fixed[r, h], low_slope[r, h] = below(least, near[r, h])
                fixed[r, h], slope[r, h] = (
                    above(most) if price[r, h] < 0.0 else (low_fixed[r, h], low_slope[r, h])
                )
        storage[r] = envelope.storage_kwh(r, steepest) * geo.design_kw[r]
    low_fixed *= geo.design_kw[:, None]
    fixed *= geo.design_kw[:, None]
    idle = fleet.reserve * fleet.idle_kw + (1.0 - fleet.reserve) * fleet.asleep_kw
    base = np.zeros((n_regions, hours))
    np.add.at(
        base, fleet.region, idle[:, None] * (fleet.devices[:, None] - fleet.node[:, None] * episode.broken)
    )
    v = plant.values[0]
    over = np.maximum(v[:, P.trip_inlet_c] - RESTART_K - v[:, P.hot_limit_c], 0.0)
    return Sites(
        price, fixed, slope, low_fixed, low_slope, base, money.thermal_usd * geo.design_kw * over,
        storage, episode.month, money.base_peak_kw, money.demand_usd,
    )  # fmt: skip


def rates(world: World) -> Rates:
    """Power and time of devices at every clock, and the price of the heat that throttling takes.

    Clocks fall by a power cap, where the scenario has one, or by heat: the least excursion at which chips throttle so
    far is charged for one plant sub-step in each control step, since throttling is set by the last of them. That is the
    excursion at rest: a sudden load on slow fans heats chips above any limit without one, but until the last sub-step
    fans have followed; where they have not, throttling is taken to cost nothing.
    """
    fleet, _, money, _, _, plant, _, _ = world.params
    kw = np.empty((len(CLASSES), world.n_pools, len(CLOCKS)))
    heat = np.empty((world.n_pools, len(CLOCKS)))
    share = level_share(0, world.n_levels, 0)
    before_last = world.step_h * 3600.0 * (1.0 - 1.0 / world.timing.n_plant)
    settled = before_last >= SETTLED_LAGS * FAN_LAG_S
    full = (
        fleet.idle_kw + (fleet.peak_kw - fleet.idle_kw) * fleet.load
    ) / fleet.peak_kw  # [K, P] of a busy device
    for p in range(world.n_pools):
        r = fleet.region[p]
        low, high = plant.head_low[0, r, CAP], plant.head_high[0, r, CAP]
        capped = capped_clock(low + share * (high - low), fleet.static[p]) if low < high else 1.0
        here = fleet.region == r
        x = excursion_k(plant.values[0, r], float(full[:, here].max()))
        idle = fleet.reserve[p] * fleet.idle_kw[p] + (1.0 - fleet.reserve[p]) * fleet.asleep_kw[p]
        for i, f in enumerate(CLOCKS):
            drawn = fleet.peak_kw[p] * power_at(f, fleet.static[p]) - fleet.idle_kw[p]
            kw[:, p, i] = fleet.idle_kw[p] + drawn * fleet.load[:, p] - idle
            free = f >= min(capped, 1.0) or i == len(CLOCKS) - 1
            usd = money.thermal_usd * fleet.peak_kw[p] / world.timing.n_plant
            heat[p, i] = 0.0 if free or not settled else usd * x[min(i + 1, len(CLOCKS) - 1)]
    time = np.array([[1.0 / speed_at(f, b) for f in CLOCKS] for b in fleet.bound])
    return Rates(kw, time, heat)


def excursion_k(p: Array, most: float) -> Array:
    """K above a limit at which the hottest chip throttles to each of `CLOCKS` at least [F]; `most` power of a device.

    Chips in air are hottest just below where server fans speed up, then only far above every limit.
    """
    hotter = (1.0 - CLOCKS) / THROTTLE_PER_K
    if p[P.liquid_share] > 0.0:
        return np.asarray(np.maximum(p[P.throttle_c] + hotter - p[P.chip_limit_c], 0.0))
    inlet = np.linspace(0.0, 80.0, 321)
    chip = np.full(len(inlet), -np.inf)
    for power in np.linspace(p[P.idle_share], most, 5):
        base = p[P.fan_base] * (0.6 + 0.4 * (power - p[P.idle_share]) / (1.0 - p[P.idle_share]))
        fan = [fan_target(base, p[P.fan_slope], p[P.fan_knee_c], t) for t in inlet]
        at = [air_chip_c(t, p[P.chip_k], p[P.chip_still], power, f) for t, f in zip(inlet, fan, strict=True)]
        chip = np.maximum(chip, at)
    enough = chip[None] >= p[P.throttle_c] + hotter[:, None] - SPREAD_K
    coolest = np.where(enough.any(1), inlet[enough.argmax(1)], inlet[-1])
    return np.asarray(np.maximum(coolest - p[P.hot_limit_c], 0.0))


class Work(NamedTuple):
    """Jobs of one class that are no leases. J jobs, Q pools that can run the class."""

    kind: int
    pools: Array  # int [Q]
    devices: Array  # [J] gang
    run: Array  # [J, Q] h that the whole job runs there at full clock; inf: it may not
    ready: Array  # [J, Q] h from the start before which it cannot run there
    due: Array  # [J] h from the start, not before 0
    late_usd: Array  # [J] USD per hour late
    move_usd: Array  # [J, Q] USD to bring it there
    spare: Array  # [J] share of it that the settlement takes without lateness
    settle_usd: Array  # [J, 2] USD for the whole of it at the settlement: without and with lateness
    drop_usd: Array  # [J]


def haul(world: World, episode: Episode) -> tuple[Array, Array, float]:
    """USD and h per GB [R, R] on the cheapest and on the quickest way, and USD that bytes could earn (negative)."""
    geo = world.params.geo
    rate = episode.price.min(1)[:, None] * geo.kwh_gb + geo.egress_usd
    np.fill_diagonal(rate, 0.0)
    earn = float((np.minimum(rate, 0.0) * GB_PER_H * geo.gbit_s).sum()) * episode.hours
    usd, hours = np.maximum(rate, 0.0), 1.0 / (GB_PER_H * geo.gbit_s)
    np.fill_diagonal(hours, 0.0)
    for k in range(len(usd)):
        usd = np.minimum(usd, usd[:, k, None] + usd[None, k])
        hours = np.minimum(hours, hours[:, k, None] + hours[None, k])
    return usd, hours, earn


def settled_usd(world: World, kind: int, pools: Array) -> Array:
    """USD per device and h of work [Q] at which the settlement prices what is left on `pools` [Q]."""
    fleet, _, money, _, _, _, _, market = world.params
    idle, peak = fleet.idle_kw[pools], fleet.peak_kw[pools]
    kw = idle + (peak - idle) * fleet.load[kind, pools]
    usd = kw * money.outlook_usd[fleet.region[pools]] + market.rent_usd[pools]
    return np.asarray(usd / fleet.speed[kind, pools])


def work_of(world: World, episode: Episode, kind: int) -> Work:
    """The jobs of a class as coefficients."""
    fleet, geo, money, *_ = world.params
    usd_gb, h_gb, _ = haul(world, episode)
    mine = episode.jobs["kind"] == kind
    j = {k: x[mine] for k, x in episode.jobs.items()}
    pools = np.flatnonzero(fleet.speed[kind] > 0.0)
    speed, region = fleet.speed[kind, pools], fleet.region[pools]
    legal = (j["legal"][:, None].astype(np.int64) >> geo.jurisdiction[region]) & 1 == 1
    legal &= (j["memory"][:, None] <= fleet.memory[pools]) & (j["trust"][:, None] <= fleet.trust[pools])
    legal &= j["gang"][:, None] <= fleet.devices[pools]
    at = j["data_at"].astype(int)
    gb, usd, hours = j["data"][:, None], usd_gb[at][:, region], h_gb[at][:, region]
    for s in np.unique(j["source"]):
        copies = np.flatnonzero(geo.replica[s])
        if len(copies):
            rows = j["source"] == s
            usd[rows] = np.minimum(usd[rows], usd_gb[copies][:, region].min(0))
            hours[rows] = np.minimum(hours[rows], h_gb[copies][:, region].min(0))
    dt, end = world.step_h, float(episode.hours)
    known = episode.placed[mine] | (j["arrival"] < 0.0)
    placed = np.where(known, 0.0, np.ceil(j["arrival"] / dt - 1e-9) * dt)
    length, gang, value = j["work"], j["gang"].astype(float), j["value"]
    due = np.maximum(j["deadline"], 0.0)
    settle = gang * length * settled_usd(world, kind, pools).mean()
    mean_run = length / speed.mean()
    spare = np.clip((end - due) * -1.0 / np.maximum(mean_run, 1e-12), 0.0, 1.0)
    late = value * (np.maximum(end - due, 0.0) + mean_run)
    return Work(
        kind, pools, gang,
        np.where(legal, length[:, None] / speed, np.inf),
        placed[:, None] + gb * hours,
        due, value, gb * usd, spare, np.stack([settle, settle + late], 1), value * money.drop_h,
    )  # fmt: skip


class Traffic(NamedTuple):
    """Leases of one source. Per reference device and hour."""

    source: int
    wanted: Array  # [R, H] device-hours to be covered
    credit: Array  # [R, P] USD for distance
    value: float  # USD while it waits
    settle_usd: float  # USD for an hour of run left at the end
    skip_usd: float  # USD per hour that a refused lease leaves uncovered, at least
    slack: tuple[float, float]  # hours covered by no live lease: at most slack[0] + slack[1] * hours of run
    drop_usd: float  # USD for an hour of run of a lease that is refused, at least


def traffic_of(world: World, episode: Episode, s: int) -> Traffic:
    """The leases of a source as coefficients."""
    fleet, geo, money, work, *_ = world.params
    slo, value, dt = work.slo_ms[s], float(work.value[s]), world.step_h
    over = geo.rtt_ms[:, fleet.region] + fleet.service_ms - slo
    credit = np.where(over > 0.0, np.minimum(over / slo, 1.0), 0.0) * value
    able = fleet.speed[INFERENCE] > 0.0
    hour_usd = settled_usd(world, INFERENCE, np.flatnonzero(able))
    gangs, hours = episode.leases[s]
    fewest = float(gangs.min())
    skip = value * money.drop_h * fewest / max(float(episode.most_wanted[s].max()) * dt, 1e-9)
    alone = len(episode.leases) == 1 and float(gangs.max()) <= work.fit_gang[s][work.fit_gang[s] > 0].min()
    standing = float(episode.standing[s])
    if alone:
        likely = float(episode.wanted[s].sum()) - standing
        a, b = supporting(np.cumsum(gangs * hours), 2.0 * dt * np.cumsum(gangs), likely)
    else:
        a, b = 0.0, 2.0 * dt / float(hours.min())
    return Traffic(
        s, episode.wanted[s], credit, value, float(hour_usd.mean()), skip,
        (a + dt * float(episode.standing_n[s]) - b * standing, b), value * money.drop_h / float(hours.max()),
    )  # fmt: skip


def supporting(x: Array, y: Array, near: float) -> tuple[float, float]:
    """(value at 0, slope) of the line above all points (x, y) and the origin that is lowest at `near`; both rise."""
    low, high = 0.0, float((y / x).max())
    for _ in range(60):  # what the line is at `near` is convex in its slope
        a, b = low + (high - low) / 3.0, high - (high - low) / 3.0
        at = [max(0.0, float((y - slope * x).max())) + slope * near for slope in (a, b)]
        low, high = (low, b) if at[0] <= at[1] else (a, high)
    return max(0.0, float((y - high * x).max())), high
