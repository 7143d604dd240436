"""What a placement may be, and carrying the chosen ones out (with the data transfer they need)."""

from __future__ import annotations

import math

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import N_HEADS, PENDING, TRANSIT
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
def legal_pool(b, j, p, jobs, plants, fleet, geo):
    """Whether job `j` may be sent to pool `p`: hardware, memory, size, law, trust, and a region that has power."""
    kind = jobs.kind[b, j]
    speed = fleet.speed[kind, p]
    if speed <= 0.0 or jobs.memory[b, j] > fleet.memory[p] or jobs.trust[b, j] > fleet.trust[p]:
        return False
    r = fleet.region[p]
    if (jobs.legal[b, j] >> geo.jurisdiction[r]) & 1 == 0 or plants.outage_h[b, r] > 0.0:
        return False
    return devices_needed(kind, jobs.gang[b, j], speed) <= fleet.devices[p]


@inlined()
def transfer_h(b, j, r, jobs, geo):
    """Hours to bring the job's data to region `r`: half a round trip and its size at the link's rate."""
    at = jobs.data_at[b, j]
    if at == r:
        return 0.0
    return geo.rtt_ms[at, r] / 7.2e6 + jobs.data[b, j] * 8.0 / (geo.gbit_s[at, r] * 3600.0)


@inlined()
def send(b, j, p, now, jobs, pools, fleet, geo, ledger):
    """Send job `j` to pool `p` at hour `now`; egress is paid when the transfer starts."""
    r = fleet.region[p]
    at = jobs.data_at[b, j]
    jobs.ready[b, j] = now + transfer_h(b, j, r, jobs, geo)
    if at != r:
        ledger.terms[b, T.egress] += jobs.data[b, j] * geo.egress_usd[at, r]
        ledger.counts[b, C.moved] += jobs.data[b, j]
    kind = jobs.kind[b, j]
    jobs.status[b, j] = TRANSIT
    jobs.pool[b, j] = p
    jobs.data_at[b, j] = r
    jobs.speed[b, j] = 1.0 if kind == INFERENCE else fleet.speed[kind, p]
    jobs.held[b, j] = devices_needed(kind, jobs.gang[b, j], fleet.speed[kind, p])
    ledger.counts[b, C.placed] += 1.0


@kernel()
def dispatch(lo, hi, actions, n_levels, clock, jobs, pools, plants, fleet, geo, money, plant, ledger):
    """Phase: carry out `actions` [B, Q + 3R]; what is illegal becomes 'leave as it is' and is counted."""
    slot, status, now_h = jobs.slot, jobs.status, clock.now_h
    head_low, head_high, head_curve = plant.head_low, plant.head_high, plant.head_curve
    command, terms, counts = plants.command, ledger.terms, ledger.counts
    n_slots, n_pools = slot.shape[1], fleet.region.shape[0]
    for b in range(lo, hi):
        illegal = 0
        for q in range(n_slots):
            a, j = actions[b, q], slot[b, q]
            if a == 0:
                continue
            if j < 0 or a < 0 or a > n_pools or status[b, j] != PENDING:
                illegal += 1
            elif legal_pool(b, j, a - 1, jobs, plants, fleet, geo):
                send(b, j, a - 1, now_h[b], jobs, pools, fleet, geo, ledger)
            else:
                illegal += 1
        v = b % head_low.shape[0]
        for r in range(command.shape[1]):
            for h in range(N_HEADS):
                a = actions[b, n_slots + r * N_HEADS + h]
                low, high = head_low[v, r, h], head_high[v, r, h]
                if a < 0 or a >= n_levels:
                    illegal += 1
                elif high > low:
                    share = a / (n_levels - 1.0)
                    if head_curve[v, r, h] == 2.0:
                        share *= share
                    before = (command[b, r, h] - low) / (high - low)
                    terms[b, T.wear] += abs(share - before) * money.travel_usd
                    command[b, r, h] = low + (high - low) * share
        counts[b, C.illegal] += illegal
        clock.illegal[b] = illegal
