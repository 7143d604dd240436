"""From state to observation: kernels that write the rows of jobs and pairs, and their masks.

One function writes one entity's row; the joint view calls it for every slot, the sequential view for the job being
decided, with the devices claimed earlier in the same step. Pools, regions and the fleet: `gcn_env.fleet_encoder`.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from gcn_env.core import costs
from gcn_env.core.costs import price_placement
from gcn_env.core.groups import group
from gcn_env.core.jit import inlined
from gcn_env.core.nodes import fits
from gcn_env.core.params import BATCH, HPC, INFERENCE, TRAINING
from gcn_env.core.placement import legal_pool, quota_left
from gcn_env.core.state import QUEUED, RUNNING, Array
from gcn_env.observation import JOBS, PAIRS, REGIONS
from gcn_env.tables import Table

J, X, R = JOBS.ix, PAIRS.ix, REGIONS.ix
N_JOBS, JOBS_LOW, JOBS_HIGH = len(JOBS), JOBS.low, JOBS.high
N_PAIRS, PAIRS_LOW, PAIRS_HIGH = len(PAIRS), PAIRS.low, PAIRS.high
_FRACTION, _ONE_BITS = np.int32(0x007FFFFF), np.int32(0x3F800000)  # bits of a float32's fraction, and of 1
_ZERO, _ONE, _TWO, _THIRD, _FIFTH, _SEVENTH, _ROOT_2, _LOG_2, _BIAS = np.array(
    [0, 1, 2, 1 / 3, 1 / 5, 1 / 7, math.sqrt(2), math.log(2), 126.5], np.float32
)  # half of the bias of a float32's exponent stands for the root of 2
WIDE = 16  # columns with an asinh stand among so many first ones: a whole number of vectors


@group
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


def compression(table: Table) -> Array:
    """What the units of a table's columns say: float32 `[len]`, k for `asinh(...) * k`, 0 for a plain number."""
    found = (re.fullmatch(r"asinh(?:\(.*\))?(?:/(\d+))?", row.unit) for row in table.rows)
    return np.array([0.0 if m is None else 1.0 / float(m[1] or 1) for m in found], np.float32)


JOBS_SCALE, PAIRS_SCALE = compression(JOBS), compression(PAIRS)


@inlined()
def squash(x):
    """Asinh of a float32 to 1e-6: its logarithm from the bits of the number and a short series.

    Free of branches and calls, so that loops over columns become vector instructions; so are the comparisons below.
    """
    y = abs(x) + math.sqrt(x * x + _ONE)
    bits = np.float32(y).view(np.int32)
    mantissa = np.int32((bits & _FRACTION) | _ONE_BITS).view(np.float32)
    s = (mantissa - _ROOT_2) / (mantissa + _ROOT_2)
    q = s * s
    series = _TWO * s * (_ONE + q * (_THIRD + q * (_FIFTH + q * _SEVENTH)))
    return math.copysign(series + _LOG_2 * (np.float32(np.int32(bits >> 23)) - _BIAS), x)


@inlined(literal=True)
def clip(row, first, n, low, high):
    """Clip columns `first`..`n`-1 of a row to their bounds, in place."""
    for k in range(first, n):
        x = row[k]
        x = low[k] if x < low[k] else x
        row[k] = high[k] if x > high[k] else x


@inlined(literal=True)
def finish(row, n, scale, low, high):
    """Compress the first `WIDE` columns of a row where their units say so, and clip the first `n`, in place."""
    for k in range(min(n, WIDE)):
        x = row[k]
        small = squash(x) * scale[k]
        x = small if scale[k] > _ZERO else x
        x = low[k] if x < low[k] else x
        row[k] = high[k] if x > high[k] else x
    clip(row, WIDE, n, low, high)


@inlined()
def encode_job(b, j, now, row, mask, regions, jobs, sources, pools, plants, fleet, geo, work):
    """Columns of one job, and the mask [P + 1] of where it may be sent. `regions` are the encoded regions."""
    kind = jobs.kind[b, j]
    n_pools = fleet.region.shape[0]
    legal, room = 0, quota_left(b, j, jobs, sources, work)
    for p in range(n_pools):
        ok = legal_pool(b, j, p, room, jobs, pools, plants, fleet, geo)
        mask[p + 1] = 1.0 if ok else 0.0
        legal += ok
    mask[0] = 0.0 if kind == INFERENCE and legal > 0 else 1.0  # inference is never deferred
    row[:] = 0.0
    row[J.present] = 1.0
    row[J.training] = kind == TRAINING
    row[J.batch] = kind == BATCH
    row[J.inference] = kind == INFERENCE
    row[J.hpc] = kind == HPC
    row[J.gang] = jobs.gang[b, j]
    left = jobs.work[b, j]
    row[J.work] = left
    if kind == INFERENCE:
        row[J.slo] = 100.0 / jobs.slo[b, j]
    else:
        row[J.slack] = jobs.deadline[b, j] - now - left
    row[J.waited] = now - jobs.arrival[b, j]
    row[J.value] = jobs.value[b, j]
    row[J.data] = jobs.data[b, j]
    row[J.state] = costs.state_gb(b, j, jobs, fleet, work)
    row[J.queued] = jobs.status[b, j] == QUEUED
    row[J.running] = jobs.status[b, j] == RUNNING
    gang = jobs.gang[b, j]
    row[J.least] = jobs.least[b, j] / gang
    row[J.held] = min(jobs.held[b, j], gang) / gang if jobs.status[b, j] == RUNNING else 0.0
    row[J.priority] = jobs.priority[b, j] / 10.0
    row[J.checkpoint] = 1.0 / (1.0 + jobs.checkpoint[b, j])
    row[J.comm] = jobs.comm[b, j]
    row[J.memory] = jobs.memory[b, j] / 80.0
    row[J.trust] = jobs.trust[b, j] / 2.0
    row[J.choices] = legal / n_pools
    origin = regions[jobs.origin[b, j]]
    row[J.hour_sin], row[J.hour_cos] = origin[R.hour_sin], origin[R.hour_cos]
    finish(row, N_JOBS, JOBS_SCALE, JOBS_LOW, JOBS_HIGH)


@inlined()
def encode_pairs(
    b, j, now, rows, mask, cost, totals, jobs, pools, plants, signals, links, fleet, geo, money, work
):
    """Columns [P, len(PAIRS)] of one job against every pool where it may be sent, and the one where it is."""
    cheapest = 1e18
    kind = jobs.kind[b, j]
    lease = kind == INFERENCE
    for p in range(fleet.region.shape[0]):
        row = rows[p]
        row[:] = 0.0
        here = jobs.pool[b, j] == p
        if mask[p + 1] == 0.0 and not here:
            continue
        price_placement(b, j, p, now, jobs, pools, plants, signals, links, fleet, geo, money, work, cost)
        r, held = fleet.region[p], cost[costs.HELD]
        rtt = geo.rtt_ms[jobs.origin[b, j], r]
        total, best, delay = cost[costs.TOTAL], cost[costs.BEST], max(cost[costs.WAIT_H], cost[costs.MOVE_H])
        totals[p, 0], totals[p, 1] = total, best
        cheapest = min(cheapest, total)
        row[X.legal], row[X.here] = mask[p + 1], here
        free = fits(b, p, held + pools.claimed[b, p], pools) and pools.waiting[b, p] == 0
        row[X.fits] = jobs.status[b, j] == RUNNING if here else free
        row[X.share] = held / fleet.devices[p]
        row[X.speed] = fleet.speed[kind, p] * pools.pace[b, p, kind]
        row[X.run] = cost[costs.RUN_H]
        row[X.wait] = cost[costs.WAIT_H]
        row[X.transfer] = cost[costs.MOVE_H]
        if lease:
            row[X.latency] = (rtt + fleet.service_ms[p]) / jobs.slo[b, j]
        else:
            row[X.slack] = jobs.deadline[b, j] - now - delay - cost[costs.RUN_H]
        row[X.rtt] = rtt / 100.0
        row[X.energy_usd] = cost[costs.ENERGY_USD]
        row[X.carbon_usd] = cost[costs.CARBON_USD]
        row[X.demand_usd] = cost[costs.DEMAND_USD]
        row[X.egress_usd] = cost[costs.EGRESS_USD]
        row[X.move_usd] = cost[costs.MOVE_USD]
        row[X.late_usd] = cost[costs.LATE_USD]
        row[X.slo_usd] = cost[costs.SLO_USD]
        row[X.rent_usd] = cost[costs.RENT_USD]
        row[X.cost] = total
        row[X.best_lead] = cost[costs.BEST_H] / 24.0
    for p in range(fleet.region.shape[0]):
        row = rows[p]
        if row[X.legal] + row[X.here] > 0.0:
            row[X.regret] = (totals[p, 0] - cheapest) / (abs(cheapest) + 0.01)
            row[X.patience] = (totals[p, 0] - totals[p, 1]) / (abs(totals[p, 0]) + 0.01)
            finish(row, N_PAIRS, PAIRS_SCALE, PAIRS_LOW, PAIRS_HIGH)
