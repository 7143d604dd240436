"""Pools that are rented, spare devices that are let, pods that move."""

from __future__ import annotations

from typing import Any

import numpy as np

from gcn_env.core.params import Market
from gcn_env.core.state import Array
from gcn_env.errors import UserError, nearest
from gcn_env.scenario.schema import Pod, Pool, Scenario

_WEEK_H, _YEAR_H = 168.0, 8760.0


def _stops(name: str, pod: Pod, pools: dict[str, Pool]) -> list[tuple[str, float, float]]:
    """(pool, hour of the year at which the pod is there, hour at which it sets out again), by entry.

    Hours run on past the year's end; a pod without a second place stands for ever.
    """
    where = f"pods.{name}.timetable"
    for to in pod.timetable.values():
        if to not in pools:
            raise UserError(
                f"{where}: unknown pool {to!r}{nearest(to, pools)} (REGION/POOL: {', '.join(pools)})"
            )
        if pools[to].rent is not None:
            raise UserError(f"{where}: {to} is rented; a pod's pools are one's own, take `rent` away")
        alike, first = pools[to], pools[next(iter(pod.timetable.values()))]
        for field in ("hardware", "devices", "devices_per_node"):
            mine, theirs = getattr(alike, field), getattr(first, field)
            if mine != theirs:
                raise UserError(
                    f"{where}: {to} has {field} = {mine}, others {theirs}; the same devices travel"
                )
    entries = sorted(pod.timetable.items())
    if len(entries) == 1:
        return [(entries[0][1], -np.inf, np.inf)]
    out = []
    for (day, to), (later, then) in zip(entries, [*entries[1:], entries[0]], strict=True):
        sets_out = (later - 1) * 24.0 + (_YEAR_H if later <= day else 0.0)
        comes = (day - 1 + pod.travel_days) * 24.0
        if to == then:
            raise UserError(
                f"{where}: on day {later} it sets out for {then}, where it stands; leave that entry out"
            )
        if comes >= sets_out:
            raise UserError(
                f"{where}: it sets out for {to} on day {day}, travels {pod.travel_days:g} days, and leaves on day "
                f"{later} before it is there; move the days apart or lower travel_days"
            )
        out.append((to, comes, sets_out))
    return out


def _pods(s: Scenario, pools: dict[str, Pool]) -> dict[str, Array]:
    """Columns `pod`, `comes`, `leaves`, `travel_h`, `move_usd` of `Market`, and notice in h [P]."""
    names = list(pools)
    pod = np.full(len(names), -1, np.int64)
    usd, notice, travel_h = np.zeros(len(names)), np.zeros(len(names)), np.ones(len(names))
    visits: list[set[tuple[float, float]]] = [set() for _ in names]
    for k, (name, spec) in enumerate(s.pods.items()):
        for to, comes, leaves in _stops(name, spec, pools):
            p = names.index(to)
            if pod[p] not in (-1, k):
                raise UserError(
                    f"pods: {to} is in the timetables of {list(s.pods)[pod[p]]} and {name}; give each its own"
                )
            pod[p], usd[p], notice[p], travel_h[p] = (
                k,
                spec.usd_per_move,
                spec.notice_h,
                spec.travel_days * 24.0,
            )
            for year in (
                -_YEAR_H,
                0.0,
                _YEAR_H,
            ):  # the last stay of a year, or the last journey, reaches into the next
                if leaves + year > 0.0 and comes - travel_h[p] + year < _YEAR_H + 24.0:
                    visits[p].add((comes + year, leaves + year))
    most = max(1, *(len(v) for v in visits))
    times = np.full((2, len(names), most), np.inf)
    for p, found in enumerate(visits):
        for i, stay in enumerate(sorted(found)):
            times[:, p, i] = stay
    return {
        "pod": pod, "comes": times[0], "leaves": times[1], "travel_h": travel_h, "move_usd": usd, "notice_h": notice
    }  # fmt: skip


def presence(market: Market) -> Array:
    """Mean share of time that each pool is there, [P]: rented ones in the long run, pods over a year of 365 days."""
    here = 1.0 / np.maximum(market.reclaim, 1e-12) + market.notice_h
    share = np.where(market.reclaim > 0.0, here / (here + market.absent_h), 1.0)
    stays = np.clip(market.leaves, 0.0, _YEAR_H) - np.clip(market.comes, 0.0, _YEAR_H)
    return np.where(market.pod >= 0, stays.sum(axis=1) / _YEAR_H, share)


def compile_market(s: Scenario) -> Market:
    """Prices and habits of owners and renters, and the timetables of pods, by pool in the order of the fleet.

    Raises:
        UserError: a pod's timetable that names an unknown pool, unequal pools, or leaves before it arrives.
    """
    pools = s.pools
    pods = _pods(s, pools)
    notice_h = pods.pop("notice_h")

    def rented(pick: Any, own: float) -> Array:
        return np.array([own if p.rent is None else pick(p.rent) for p in pools.values()], np.float64)

    return Market(
        rent_usd=rented(lambda r: r.usd_per_device_h, 0.0),
        sigma=rented(lambda r: r.sigma, 0.0),
        phi=rented(lambda r: r.phi, 0.0),
        reclaim=rented(lambda r: r.reclaims_per_week / _WEEK_H, 0.0),
        notice_h=rented(lambda r: r.notice_h, 0.0) + notice_h,
        absent_h=rented(lambda r: r.absent_mean_h, 1.0),
        **pods,
        let_usd=np.array([0.0 if p.let is None else p.let.usd_per_device_h for p in pools.values()]),
        let_share=np.array([0.0 if p.let is None else p.let.demand_share for p in pools.values()]),
    )
