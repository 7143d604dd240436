"""From state to observation: kernels that write the columns of `gcn_env.observation`, and the masks.

One function writes one entity's row; the joint view calls it for every slot, the sequential view for the job being
decided, with the devices claimed earlier in the same step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gcn_env.core import costs
from gcn_env.core.costs import price_placement
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import BATCH, HPC, INFERENCE, TRAINING
from gcn_env.core.placement import legal_pool
from gcn_env.core.signals import outlook_mean
from gcn_env.core.state import CARBON, DEW, DRY, LEADS_H, N_COOLING, N_HEADS, PENDING, PRICE, WET, Array
from gcn_env.core.workload import local_time
from gcn_env.observation import GLOBALS, JOBS, PAIRS, POOLS, REGIONS

J, P, R, X, G = JOBS.ix, POOLS.ix, REGIONS.ix, PAIRS.ix, GLOBALS.ix
_N_LEADS = len(LEADS_H)
_LIMITS = tuple((t.low, t.high) for t in (JOBS, POOLS, REGIONS, PAIRS, GLOBALS))
(
    (JOBS_LOW, JOBS_HIGH),
    (POOLS_LOW, POOLS_HIGH),
    (REGIONS_LOW, REGIONS_HIGH),
    (PAIRS_LOW, PAIRS_HIGH),
    (GLOBALS_LOW, GLOBALS_HIGH),
) = _LIMITS
_TWO_PI = 2.0 * math.pi
_FRACTION, _ONE = (
    np.int64(0x000FFFFFFFFFFFFF),
    np.int64(0x3FF0000000000000),
)  # bits of a double's fraction, and of 1.0
_ROOT_2, _LOG_2 = math.sqrt(2.0), math.log(2.0)
SHORT_H = 2.0  # h of slack below which a job keeps its slot


class View(NamedTuple):
    """Observation arrays of a batch, float32, and the scratch that fills them."""

    jobs: Array  # [B, Q or 1, len(JOBS)]
    pools: Array  # [B, P, len(POOLS)]
    regions: Array  # [B, R, len(REGIONS)]
    pairs: Array  # [B, Q or 1, P, len(PAIRS)]
    globals: Array  # [B, len(GLOBALS)]
    mask: Array  # [B, number of choices]
    cost: Array  # float64 [B, N_COSTS] scratch
    totals: Array  # float64 [B, P, 2] scratch: cost now and best per pool


@inlined()
def squash(x):
    """Asinh to 1e-6, a tenth of the library's time: the logarithm from the bits of a double and a short series."""
    if x == 0.0:
        return 0.0
    y = abs(x) + math.sqrt(x * x + 1.0)
    bits = np.float64(y).view(np.int64)
    mantissa = np.int64((bits & _FRACTION) | _ONE).view(np.float64)
    s = (mantissa - _ROOT_2) / (mantissa + _ROOT_2)
    q = s * s
    series = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (0.2 + q / 7.0)))
    log = series + _LOG_2 * (float((bits >> 52) - 1023) + 0.5)
    return log if x > 0.0 else -log


@inlined()
def clip_row(row, low, high):
    """Clip a row to its table's bounds, in place."""
    for k in range(row.shape[0]):
        row[k] = min(max(row[k], low[k]), high[k])


@inlined()
def fill_slots(b, now, step, jobs):
    """Give the Q slots to pending jobs: leases first, then those short of slack, then those not seen for longest.

    A job left waiting makes room for others, and comes round again: else a few patient jobs would hold every slot.
    """
    slot, status, urgency = jobs.slot, jobs.status, jobs.urgency
    n_slots, filled = slot.shape[1], 0
    for q in range(n_slots):
        slot[b, q] = -1
    for j in range(jobs.n_live[b]):
        if status[b, j] != PENDING:
            continue
        slack = jobs.deadline[b, j] - now - jobs.work[b, j]
        if jobs.kind[b, j] == INFERENCE:
            slack = -1e9
        elif slack < SHORT_H:
            slack = max(slack, -1e6) - 1e6
        else:
            slack = min(slack, 999.0) + 1e3 * jobs.shown[b, j]
        urgency[b, j] = slack
        if filled == n_slots:
            last = slot[b, n_slots - 1]
            if slack > urgency[b, last] or (
                slack == urgency[b, last] and jobs.order[b, j] > jobs.order[b, last]
            ):
                continue
            q = n_slots - 1
        else:
            q = filled
            filled += 1
        while q > 0:
            k = slot[b, q - 1]
            if urgency[b, k] < slack or (urgency[b, k] == slack and jobs.order[b, k] < jobs.order[b, j]):
                break
            slot[b, q] = k
            q -= 1
        slot[b, q] = j
    for q in range(filled):
        jobs.shown[b, slot[b, q]] = step


@inlined()
def encode_job(b, j, now, row, mask, jobs, plants, fleet, geo, utc_hour):
    """Columns of one pending job, and the mask [P + 1] of where it may be sent. Returns the number of legal pools."""
    kind = jobs.kind[b, j]
    n_pools = fleet.region.shape[0]
    legal = 0
    for p in range(n_pools):
        ok = legal_pool(b, j, p, jobs, plants, fleet, geo)
        mask[p + 1] = 1.0 if ok else 0.0
        legal += ok
    mask[0] = 0.0 if kind == INFERENCE and legal > 0 else 1.0  # inference is never deferred
    row[:] = 0.0
    row[J.present] = 1.0
    row[J.training] = kind == TRAINING
    row[J.batch] = kind == BATCH
    row[J.inference] = kind == INFERENCE
    row[J.hpc] = kind == HPC
    row[J.gang] = math.log2(jobs.gang[b, j]) / 8.0
    work = jobs.work[b, j]
    row[J.work] = squash(work) / 4.0
    if kind == INFERENCE:
        row[J.slo] = 100.0 / jobs.slo[b, j]
    else:
        row[J.slack] = squash(jobs.deadline[b, j] - now - work) / 4.0
    row[J.waited] = squash(now - jobs.arrival[b, j]) / 4.0
    row[J.value] = squash(jobs.value[b, j]) / 4.0
    row[J.data] = squash(jobs.data[b, j]) / 8.0
    row[J.checkpoint] = 1.0 / (1.0 + jobs.checkpoint[b, j])
    row[J.comm] = jobs.comm[b, j]
    row[J.memory] = jobs.memory[b, j] / 80.0
    row[J.trust] = jobs.trust[b, j] / 2.0
    row[J.choices] = legal / n_pools
    angle = (utc_hour + geo.utc_offset_h[jobs.origin[b, j]]) * _TWO_PI / 24.0
    row[J.hour_sin] = math.sin(angle)
    row[J.hour_cos] = math.cos(angle)
    clip_row(row, JOBS_LOW, JOBS_HIGH)
    return legal


@inlined()
def encode_pairs(b, j, now, rows, mask, cost, totals, jobs, pools, plants, signals, fleet, geo, money):
    """Columns [P, len(PAIRS)] of one job against every pool."""
    cheapest = 1e18
    lease = jobs.kind[b, j] == INFERENCE
    for p in range(fleet.region.shape[0]):
        row = rows[p]
        row[:] = 0.0
        if mask[p + 1] == 0.0:
            continue
        price_placement(b, j, p, now, jobs, pools, plants, signals, fleet, geo, money, cost)
        r, held = fleet.region[p], cost[costs.HELD]
        rtt = geo.rtt_ms[jobs.origin[b, j], r]
        total, best, delay = cost[costs.TOTAL], cost[costs.BEST], max(cost[costs.WAIT_H], cost[costs.MOVE_H])
        totals[p, 0], totals[p, 1] = total, best
        cheapest = min(cheapest, total)
        row[X.legal] = 1.0
        row[X.fits] = (
            pools.healthy[b, p] - pools.busy[b, p] - pools.claimed[b, p] >= held and pools.waiting[b, p] == 0
        )
        row[X.share] = held / fleet.devices[p]
        row[X.speed] = math.log2(fleet.speed[jobs.kind[b, j], p]) / 4.0
        row[X.run] = squash(cost[costs.RUN_H]) / 4.0
        row[X.wait] = squash(cost[costs.WAIT_H]) / 4.0
        row[X.transfer] = squash(cost[costs.MOVE_H]) / 4.0
        if lease:
            row[X.latency] = (rtt + fleet.service_ms[p]) / jobs.slo[b, j]
        else:
            row[X.slack] = squash(jobs.deadline[b, j] - now - delay - cost[costs.RUN_H]) / 4.0
        row[X.rtt] = rtt / 100.0
        row[X.energy_usd] = squash(cost[costs.ENERGY_USD])
        row[X.carbon_usd] = squash(cost[costs.CARBON_USD])
        row[X.demand_usd] = squash(cost[costs.DEMAND_USD])
        row[X.egress_usd] = squash(cost[costs.EGRESS_USD])
        row[X.late_usd] = squash(cost[costs.LATE_USD])
        row[X.slo_usd] = squash(cost[costs.SLO_USD])
        row[X.cost] = squash(total)
        row[X.best_lead] = cost[costs.BEST_H] / 24.0
    for p in range(fleet.region.shape[0]):
        row = rows[p]
        if row[X.legal] > 0.0:
            row[X.regret] = (totals[p, 0] - cheapest) / (abs(cheapest) + 0.01)
            row[X.patience] = (totals[p, 0] - totals[p, 1]) / (abs(totals[p, 0]) + 0.01)
            clip_row(row, PAIRS_LOW, PAIRS_HIGH)


@kernel()
def encode_hardware(rows, fleet):
    """Columns of every pool [B, P, len(POOLS)] that never change: written once, kept by every later encoding."""
    for b in range(rows.shape[0]):
        for p in range(fleet.region.shape[0]):
            row, devices = rows[b, p], fleet.devices[p]
            row[P.devices] = math.log2(devices) / 8.0
            row[P.idle] = squash(fleet.idle_kw[p])
            row[P.peak] = squash(fleet.peak_kw[p])
            row[P.training] = squash(fleet.speed[TRAINING, p])
            row[P.batch] = squash(fleet.speed[BATCH, p])
            row[P.inference] = squash(fleet.speed[INFERENCE, p])
            row[P.hpc] = squash(fleet.speed[HPC, p])
            row[P.memory] = fleet.memory[p] / 80.0
            row[P.trust] = fleet.trust[p] / 2.0


@inlined()
def encode_pool(b, p, row, pools, plants, signals, fleet, money):
    """Columns of one pool."""
    r, devices, healthy = fleet.region[p], fleet.devices[p], pools.healthy[b, p]
    busy, claimed = pools.busy[b, p], pools.claimed[b, p]
    row[P.free] = max(0, healthy - busy - claimed) / devices
    row[P.busy] = busy / devices
    row[P.failed] = (devices - healthy) / devices
    row[P.claimed] = claimed / devices
    row[P.queued] = squash(pools.queued[b, p] / devices) / 4.0
    row[P.running] = squash(pools.running[b, p] / devices) / 4.0
    overhead = plants.overhead[b, r]
    carbon_usd = money.carbon_usd
    now = signals.now[b, r, PRICE] + signals.now[b, r, CARBON] * carbon_usd
    day = outlook_mean(b, r, 0.0, 24.0, signals.both_sum)
    row[P.price] = squash(now * overhead / 50.0)
    row[P.outlook] = squash(day * 1e3 * overhead / 50.0)
    row[P.overhead] = overhead - 1.0
    row[P.throttle] = plants.throttle[b, r]
    row[P.dead] = plants.outage_h[b, r] > 0.0
    row[P.current_region] = 0.0
    clip_row(row, POOLS_LOW, POOLS_HIGH)


@inlined()
def encode_region(
    b, r, v, row, month_left, utc_hour, plants, signals, geo, money, kinds, head_low, head_high
):
    """Columns of one region: what its plant operator sees, and the market."""
    row[:] = 0.0
    row[kinds[r]] = 1.0
    now, ahead, design = signals.now, signals.ahead, geo.design_kw[r]
    row[R.price_now] = squash(now[b, r, PRICE] / 50.0)
    row[R.carbon_now] = now[b, r, CARBON] / 500.0
    row[R.dry_now] = now[b, r, DRY] / 30.0
    for k in range(_N_LEADS):
        at = R.price_1h + 3 * k
        row[at] = squash(ahead[b, r, k, PRICE] / 50.0)
        row[at + 1] = ahead[b, r, k, CARBON] / 500.0
        row[at + 2] = ahead[b, r, k, DRY] / 30.0
    row[R.wet] = now[b, r, WET] / 30.0
    row[R.dew] = now[b, r, DEW] / 30.0
    angle = (utc_hour + geo.utc_offset_h[r]) * _TWO_PI / 24.0
    row[R.hour_sin] = math.sin(angle)
    row[R.hour_cos] = math.cos(angle)
    row[R.design] = math.log2(design) / 8.0
    row[R.load] = plants.node_kw[b, r] / design
    row[R.awake] = plants.awake[b, r]
    row[R.cooling] = plants.cool_kw[b, r] / max(plants.it_kw[b, r], 0.01 * design)
    row[R.overhead] = plants.overhead[b, r] - 1.0
    row[R.grid] = plants.grid_kw[b, r] / design
    row[R.peak] = plants.peak_kw[b, r] / design
    row[R.month_left] = month_left
    row[R.demand_price] = money.demand_usd[r] / 20.0
    for h in range(N_COOLING):
        low, high = head_low[v, r, h], head_high[v, r, h]
        if high > low:
            row[R.cold_command + h] = (plants.command[b, r, h] - low) / (high - low)
            row[R.cold_actual + h] = (plants.actual[b, r, h] - low) / (high - low)
    row[R.inlet] = (plants.inlet_c[b, r] - 24.0) / 10.0
    row[R.hottest] = (plants.hot_c[b, r] - 24.0) / 10.0
    row[R.supply] = (plants.supply_c[b, r] - 24.0) / 10.0
    row[R.return_air] = (plants.air_c[b, r] - 24.0) / 10.0
    row[R.loop] = (plants.loop_c[b, r] - 24.0) / 10.0
    row[R.chip] = (plants.chip_c[b, r] - 60.0) / 20.0
    row[R.margin] = plants.limit_gap[b, r] / 5.0
    row[R.air_need] = plants.air_need[b, r]
    row[R.server_fan] = plants.fan[b, r]
    row[R.compressors] = plants.compressor[b, r] / 4.0
    row[R.throttle] = plants.throttle[b, r]
    row[R.outage] = squash(plants.outage_h[b, r])
    clip_row(row, REGIONS_LOW, REGIONS_HIGH)


@inlined()
def encode_globals(b, elapsed, weekday, utc_hour, now, hours, row, shown, jobs, pools, fleet, money):
    """Columns of the whole fleet."""
    pending = 0
    for j in range(jobs.n_live[b]):
        pending += jobs.status[b, j] == PENDING
    devices, busy, queued = 0.0, 0.0, 0.0
    for p in range(fleet.region.shape[0]):
        devices += fleet.devices[p]
        busy += pools.busy[b, p]
        queued += pools.queued[b, p]
    row[G.elapsed] = elapsed
    angle = utc_hour * _TWO_PI / 24.0
    row[G.hour_sin], row[G.hour_cos] = math.sin(angle), math.cos(angle)
    angle = (weekday + utc_hour / 24.0) * _TWO_PI / 7.0
    row[G.week_sin], row[G.week_cos] = math.sin(angle), math.cos(angle)
    angle = now / hours * _TWO_PI
    row[G.year_sin], row[G.year_cos] = math.sin(angle), math.cos(angle)
    row[G.pending] = squash(pending) / 4.0
    row[G.hidden] = squash(max(0, pending - shown)) / 4.0
    row[G.live] = jobs.n_live[b] / jobs.status.shape[1]
    row[G.busy] = busy / devices
    row[G.queued] = squash(queued / devices) / 4.0
    row[G.carbon_price] = money.carbon_usd * 10.0
    row[G.scale] = squash(money.reference_usd)
    clip_row(row, GLOBALS_LOW, GLOBALS_HIGH)


@inlined()
def encode_fleet(
    b, v, horizon, shown, view, clock, jobs, pools, plants, signals, fleet, geo, bank, money, kinds, low, high
):
    """Pools, regions and globals of environment `b`: what both views share."""
    now = clock.now_h[b]
    hours = bank.hours[clock.year[b]]
    utc_hour, weekday = local_time(now, 0.0, bank.weekday[clock.year[b]])
    month_left = 1.0 - (now % 730.5) / 730.5
    for p in range(fleet.region.shape[0]):
        encode_pool(b, p, view.pools[b, p], pools, plants, signals, fleet, money)
    for r in range(geo.design_kw.shape[0]):
        encode_region(
            b, r, v, view.regions[b, r], month_left, utc_hour, plants, signals, geo, money, kinds, low, high
        )
    elapsed = clock.step[b] / horizon
    encode_globals(
        b, elapsed, weekday, utc_hour, now, hours, view.globals[b], shown, jobs, pools, fleet, money
    )


@kernel()
def encode_joint(
    lo,
    hi,
    horizon,
    n_levels,
    view,
    clock,
    jobs,
    pools,
    plants,
    signals,
    fleet,
    geo,
    bank,
    money,
    kinds,
    low,
    high,
):
    """The joint view: every slot against every pool."""
    n_slots, n_pools = jobs.slot.shape[1], fleet.region.shape[0]
    for b in range(lo, hi):
        now, v = clock.now_h[b], b % low.shape[0]
        utc_hour, _ = local_time(now, 0.0, 0)
        for q in range(n_slots):
            j = jobs.slot[b, q]
            mask = view.mask[b, q * (n_pools + 1) : (q + 1) * (n_pools + 1)]
            if j < 0:
                mask[:] = 0.0
                mask[0] = 1.0
                if view.jobs[b, q, J.present] > 0.0:
                    view.jobs[b, q] = 0.0
                    view.pairs[b, q] = 0.0
                continue
            encode_job(b, j, now, view.jobs[b, q], mask, jobs, plants, fleet, geo, utc_hour)
            encode_pairs(
                b,
                j,
                now,
                view.pairs[b, q],
                mask,
                view.cost[b],
                view.totals[b],
                jobs,
                pools,
                plants,
                signals,
                fleet,
                geo,
                money,
            )
        at = n_slots * (n_pools + 1)
        for r in range(low.shape[1]):
            for h in range(N_HEADS):
                one = high[v, r, h] <= low[v, r, h]
                for k in range(n_levels):
                    view.mask[b, at + k] = 1.0 if k == 0 or not one else 0.0
                at += n_levels
        encode_fleet(
            b,
            v,
            horizon,
            n_slots,
            view,
            clock,
            jobs,
            pools,
            plants,
            signals,
            fleet,
            geo,
            bank,
            money,
            kinds,
            low,
            high,
        )
