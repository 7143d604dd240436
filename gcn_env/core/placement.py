"""What a placement may be, and carrying the chosen ones out."""

from __future__ import annotations

import math

from gcn_env.core.execution import leave_queue
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.moves import load, may_move, save
from gcn_env.core.network import begin
from gcn_env.core.params import INFERENCE
from gcn_env.core.plant_table import SIGNED, SQUARED
from gcn_env.core.state import N_COOLING, N_HEADS, PENDING, QUEUED, RUNNING, TRANSIT
from gcn_env.ledger import COUNTS, TERMS

C = COUNTS.ix
T = TERMS.ix


@inlined()
def devices_needed(kind, gang, speed):
    """Devices held on a pool: a gang runs on as many as it has ranks; replicas of a lease shrink with speed."""
    if kind == INFERENCE:
        return int(math.ceil(gang / speed - 1e-9))
    return gang


@inlined()
def quota_left(b, j, jobs, sources, work):
    """Devices that the tenant of job `j` may hold besides those of its other jobs."""
    tenant = jobs.tenant[b, j]
    return work.quota[tenant] - sources.devices[b, tenant] + jobs.held[b, j]


@inlined()
def legal_pool(b, j, p, room, jobs, pools, plants, fleet, geo):
    """Whether job `j`, whose tenant may hold `room` devices for it, may be sent to pool `p`, where it is not yet.

    Hardware, memory, size, law, trust and quota allow it; region and pool are up.
    """
    kind = jobs.kind[b, j]
    speed = fleet.speed[kind, p]
    if speed <= 0.0 or jobs.memory[b, j] > fleet.memory[p] or jobs.trust[b, j] > fleet.trust[p]:
        return False
    r = fleet.region[p]
    if (jobs.legal[b, j] >> geo.jurisdiction[r]) & 1 == 0 or plants.down_h[b, r] > 0.0:
        return False
    if jobs.pool[b, j] == p or pools.away_h[b, p] > 0.0:
        return False
    return devices_needed(kind, jobs.gang[b, j], speed) <= min(room, fleet.devices[p])


@inlined()
def send(b, j, p, now, jobs, links, fleet, geo, ledger):
    """Send job `j` to pool `p` at hour `now`; what it needs begins to travel."""
    begin(b, j, fleet.region[p], now, jobs, links, geo)
    kind = jobs.kind[b, j]
    jobs.status[b, j] = TRANSIT
    jobs.pool[b, j] = p
    jobs.speed[b, j] = 1.0 if kind == INFERENCE else fleet.speed[kind, p]
    jobs.held[b, j] = devices_needed(kind, jobs.gang[b, j], fleet.speed[kind, p])
    ledger.counts[b, C.placed] += 1.0


@inlined()
def any_legal(b, j, room, jobs, pools, plants, fleet, geo):
    """Whether some pool may run job `j`."""
    found = False
    for p in range(fleet.region.shape[0]):
        found = found or legal_pool(b, j, p, room, jobs, pools, plants, fleet, geo)
    return found


@inlined()
def _place(b, a, j, now, dt, jobs, sources, pools, plants, links, fleet, geo, work, ledger):
    """Carry out choice `a` for job `j` (-1: no job); returns 1 if it is illegal, which leaves the job as it is.

    So it stays if its tenant's quota has no more room for it after the step's earlier placements.
    """
    if j < 0:
        return 0 if a == 0 else 1
    status, held, room = jobs.status[b, j], jobs.held[b, j], quota_left(b, j, jobs, sources, work)
    if a == 0:  # inference may wait only where nothing may run it
        waits = status == PENDING and jobs.kind[b, j] == INFERENCE
        return 1 if waits and any_legal(b, j, room, jobs, pools, plants, fleet, geo) else 0
    if a < 0 or a > fleet.region.shape[0]:
        return 1
    if status != PENDING and not may_move(b, j, now, dt, jobs, plants, fleet, work):
        return 1
    if not legal_pool(b, j, a - 1, room, jobs, pools, plants, fleet, geo):
        return 1
    tenant = jobs.tenant[b, j]
    kind = jobs.kind[b, j]
    if devices_needed(kind, jobs.gang[b, j], fleet.speed[kind, a - 1]) > room - sources.sent[b, tenant]:
        ledger.counts[b, C.refused] += 1.0
        return 0
    if status == RUNNING:
        save(b, j, jobs, pools, fleet, work)
    elif status == QUEUED:
        leave_queue(b, j, jobs, pools)
    send(b, j, a - 1, now, jobs, links, fleet, geo, ledger)
    sources.sent[b, tenant] += jobs.held[b, j] - held
    if status == RUNNING:
        load(b, j, jobs, fleet, work, ledger)
        ledger.counts[b, C.relocated] += 1.0
    return 0


@inlined()
def level_share(level, n_levels, curve):
    """Where a level lies in its head's range, 0..1; with `SIGNED`, level n // 2 is its middle exactly."""
    if curve == SIGNED:
        return level / (2.0 * (n_levels // 2))
    share = level / (n_levels - 1.0)
    return share * share if curve == SQUARED else share


@inlined()
def _command(b, r, h, a, n_levels, plants, plant, money, ledger):
    """Command level `a` of head `h` of region `r`; returns 1 if it is illegal, which leaves the set-point as it is."""
    v = b % plant.head_low.shape[0]
    low, high = plant.head_low[v, r, h], plant.head_high[v, r, h]
    if a < 0 or a >= n_levels or (a > 0 and high <= low):
        return 1
    if high > low:
        share = level_share(a, n_levels, plant.head_curve[v, r, h])
        if h < N_COOLING:
            before = (plants.command[b, r, h] - low) / (high - low)
            ledger.terms[b, T.wear] += abs(share - before) * money.travel_usd
        plants.command[b, r, h] = low + (high - low) * share
    return 0


@kernel()
def dispatch(
    lo, hi, actions, n_levels, dt, clock, jobs, sources, pools, plants, links, fleet, geo, money, work, plant, ledger
):  # fmt: skip
    """Phase: carry out `actions` [B, Q + 5R]; what is illegal becomes 'leave as it is' and is counted."""
    slot, now_h, n_slots = jobs.slot, clock.now_h, jobs.slot.shape[1]
    for b in range(lo, hi):
        illegal = 0
        sources.sent[b] = 0
        for q in range(n_slots):
            a, j = actions[b, q], slot[b, q]
            illegal += _place(
                b, a, j, now_h[b], dt, jobs, sources, pools, plants, links, fleet, geo, work, ledger
            )
        for t in range(sources.sent.shape[1]):
            sources.devices[b, t] += sources.sent[b, t]
        for r in range(plants.command.shape[1]):
            for h in range(N_HEADS):
                a = actions[b, n_slots + r * N_HEADS + h]
                illegal += _command(b, r, h, a, n_levels, plants, plant, money, ledger)
        ledger.counts[b, C.illegal] += illegal
        clock.illegal[b] = illegal
