"""From state to observation: kernels that write the rows of jobs and pairs, and their masks; who gets a slot.

One function writes one entity's row; the joint view calls it for every slot, the sequential view for the job being
decided, with the devices claimed earlier in the same step. Pools, regions and the fleet: `gcn_env.fleet_encoder`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gcn_env.core import costs
from gcn_env.core.costs import price_placement
from gcn_env.core.jit import inlined
from gcn_env.core.params import BATCH, HPC, INFERENCE, TRAINING
from gcn_env.core.placement import legal_pool
from gcn_env.core.state import PENDING, Array
from gcn_env.observation import JOBS, PAIRS

J, X = JOBS.ix, PAIRS.ix
JOBS_LOW, JOBS_HIGH = JOBS.low, JOBS.high
PAIRS_LOW, PAIRS_HIGH = PAIRS.low, PAIRS.high
TWO_PI = 2.0 * math.pi
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
    angle = (utc_hour + geo.utc_offset_h[jobs.origin[b, j]]) * TWO_PI / 24.0
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
