"""Drivers: kernels that step and encode a batch, or a range of it, joint or one head at a time.

Each environment is independent, so any split into ranges and any block size give the same bits.
"""

from __future__ import annotations

import numpy as np

from gcn_env.core.costs import state_gb
from gcn_env.core.jit import kernel
from gcn_env.core.network import count_transfer, count_transfers, fetch
from gcn_env.core.params import INFERENCE
from gcn_env.core.placement import devices_needed, legal_pool, quota_left
from gcn_env.core.slots import count_devices, fill_slots
from gcn_env.core.state import N_HEADS
from gcn_env.core.step import step_range
from gcn_env.encoder import encode_job, encode_pairs
from gcn_env.fleet_encoder import encode_fleet
from gcn_env.observation import JOBS, POOLS, REGIONS

PRESENT = JOBS.index("present")
R_CURRENT = REGIONS.index("is_current")
P_CURRENT = POOLS.index("current_region")
PLACEMENT = 0  # columns of `head`: placement, then the heads of a region


@kernel()
def encode_joint_range(lo, hi, n_levels, timing, state, world, view):
    """Observations of the joint view, every slot against every pool, for environments [lo, hi)."""
    clock, signals, sources, jobs, pools, plants, links, _ledger = state
    fleet, geo, money, work, _bank, plant, _site, _market = world
    low, high = plant.head_low, plant.head_high
    n_slots, n_pools = jobs.slot.shape[1], fleet.region.shape[0]
    for b in range(lo, hi):
        now, v = clock.now_h[b], b % low.shape[0]
        encode_fleet(b, timing, state, world, view)
        for q in range(n_slots):
            j = jobs.slot[b, q]
            mask = view.mask[b, q * (n_pools + 1) : (q + 1) * (n_pools + 1)]
            if j < 0:
                mask[:] = 0.0
                mask[0] = 1.0
                if view.jobs[b, q, PRESENT] > 0.0:
                    view.jobs[b, q] = 0.0
                    view.pairs[b, q] = 0.0
                continue
            rows, cost, totals = view.pairs[b, q], view.cost[b], view.totals[b]
            row, regions = view.jobs[b, q], view.regions[b]
            encode_job(b, j, now, row, mask, regions, jobs, sources, pools, plants, fleet, geo, work)
            encode_pairs(
                b,
                j,
                now,
                rows,
                mask,
                cost,
                totals,
                jobs,
                pools,
                plants,
                signals,
                links,
                fleet,
                geo,
                money,
                work,
            )
        at = n_slots * (n_pools + 1)
        for r in range(low.shape[1]):
            for h in range(N_HEADS):
                one = high[v, r, h] <= low[v, r, h]
                for k in range(n_levels):
                    view.mask[b, at + k] = 1.0 if k == 0 or not one else 0.0
                at += n_levels


@kernel()
def refill(lo, hi, timing, state, world):
    """New slots for environments [lo, hi): once a control step, before it is shown."""
    clock, signals, sources, jobs, pools, plants, _links, _ledger = state
    fleet, geo, _money, work, _bank, _plant, _site, _market = world
    for b in range(lo, hi):
        fill_slots(b, timing.dt_h, clock, signals, sources, jobs, pools, plants, fleet, geo, work)


@kernel()
def joint_range(lo, hi, block, shown, split, actions, n_levels, timing, state, world, view, reward, done):
    """Step environments [lo, hi), and encode them where `shown`, in blocks small enough for a core's cache.

    Threads each take a range: the kernel runs without the interpreter's lock. (`numba.prange` does not take groups, and
    would compile the step a second time.)
    """
    for k in range(lo, hi, block):
        end = min(k + block, hi)
        step_range(k, end, split, actions, n_levels, timing, state, world, reward, done)
        if shown:
            refill(k, end, timing, state, world)
            encode_joint_range(k, end, n_levels, timing, state, world, view)


@kernel()
def forced_choice(b, head, jobs, sources, pools, plants, fleet, geo, work, plant):
    """The only legal choice of a head, or -1 if there are several."""
    n_slots = jobs.slot.shape[1]
    if head >= n_slots:
        r, h = (head - n_slots) // N_HEADS, (head - n_slots) % N_HEADS
        v = b % plant.head_low.shape[0]
        return -1 if plant.head_high[v, r, h] > plant.head_low[v, r, h] else 0
    j = jobs.slot[b, head]
    if j < 0:
        return 0
    legal, last, room = 0, 0, quota_left(b, j, jobs, sources, work)
    for p in range(fleet.region.shape[0]):
        if legal_pool(b, j, p, room, jobs, pools, plants, fleet, geo):
            legal += 1
            last = p + 1
    if legal == 0:
        return 0
    if legal == 1 and jobs.kind[b, j] == INFERENCE:
        return last
    return -1


@kernel()
def claim(b, head, choice, jobs, sources, pools, plants, links, fleet, geo, work):
    """Count the devices of a placement just chosen as taken, and its transfer, for the decisions that follow."""
    if head >= jobs.slot.shape[1] or choice < 1 or choice > fleet.region.shape[0]:
        return
    j = jobs.slot[b, head]
    if j < 0:
        return
    room = quota_left(b, j, jobs, sources, work)
    if legal_pool(b, j, choice - 1, room, jobs, pools, plants, fleet, geo):
        kind = jobs.kind[b, j]
        held = devices_needed(kind, jobs.gang[b, j], fleet.speed[kind, choice - 1])
        pools.claimed[b, choice - 1] += held
        sources.devices[b, jobs.tenant[b, j]] += held - jobs.held[b, j]
        r = fleet.region[choice - 1]
        via, gb, _ = fetch(b, j, r, state_gb(b, j, jobs, fleet, work), jobs, links, geo)
        count_transfer(b, via, r, gb, links)


@kernel()
def next_head(b, head, choices, jobs, sources, pools, plants, links, fleet, geo, work, plant):
    """First head from `head` on with more than one choice; forced ones are filled in on the way."""
    n_heads = choices.shape[1]
    while head < n_heads:
        forced = forced_choice(b, head, jobs, sources, pools, plants, fleet, geo, work, plant)
        if forced < 0:
            break
        choices[b, head] = forced
        claim(b, head, forced, jobs, sources, pools, plants, links, fleet, geo, work)
        head += 1
    return head


@kernel()
def encode_head(b, cursor, n_levels, timing, state, world, view, head):
    """Observation of the sequential view: the fleet, and the one head being decided."""
    clock, signals, sources, jobs, pools, plants, links, _ledger = state
    fleet, geo, money, work, _bank, plant, _site, _market = world
    low = plant.head_low
    n_slots = jobs.slot.shape[1]
    encode_fleet(b, timing, state, world, view)
    head[b] = 0.0
    view.mask[b] = 0.0
    at = cursor[b]
    if at < n_slots and jobs.slot[b, at] >= 0:
        j = jobs.slot[b, at]
        mask = view.mask[b, : fleet.region.shape[0] + 1]
        head[b, PLACEMENT] = 1.0
        now, row, rows, regions = clock.now_h[b], view.jobs[b, 0], view.pairs[b, 0], view.regions[b]
        cost, totals = view.cost[b], view.totals[b]
        encode_job(b, j, now, row, mask, regions, jobs, sources, pools, plants, fleet, geo, work)
        encode_pairs(
            b, j, now, rows, mask, cost, totals, jobs, pools, plants, signals, links, fleet, geo, money, work
        )
        return
    view.jobs[b, 0] = 0.0
    view.pairs[b, 0] = 0.0
    if at >= choices_end(n_slots, low):
        view.mask[b, 0] = 1.0  # no head is open: the episode's last observation
        return
    r = (at - n_slots) // N_HEADS
    head[b, 1 + (at - n_slots) % N_HEADS] = 1.0
    view.mask[b, :n_levels] = 1.0
    view.regions[b, r, R_CURRENT] = 1.0
    for p in range(fleet.region.shape[0]):
        if fleet.region[p] == r:
            view.pools[b, p, P_CURRENT] = 1.0


@kernel()
def choices_end(n_slots, low):
    """Number of heads of the joint view."""
    return n_slots + N_HEADS * low.shape[1]


@kernel()
def open_step(b, cursor, choices, timing, state, world):
    """Begin a control step of the sequential view: slots, and the first head with a choice."""
    clock, signals, sources, jobs, pools, plants, links, _ledger = state
    fleet, geo, _money, work, _bank, plant, _site, _market = world
    for p in range(pools.claimed.shape[1]):
        pools.claimed[b, p] = 0
    fill_slots(b, timing.dt_h, clock, signals, sources, jobs, pools, plants, fleet, geo, work)
    # A literal would be a type of its own: everything that heads run through, compiled twice.
    start = np.int64(0)
    cursor[b] = next_head(b, start, choices, jobs, sources, pools, plants, links, fleet, geo, work, plant)


@kernel()
def choose(actions, cursor, choices, closed, state, world, reward, done):
    """One choice of every environment; `closed` where it was the last one before a control step is carried out."""
    _clock, _signals, sources, jobs, pools, plants, links, _ledger = state
    fleet, geo, _money, work, _bank, plant, _site, _market = world
    n_heads = choices.shape[1]
    for b in range(actions.shape[0]):
        at = cursor[b]
        reward[b], done[b] = 0.0, False
        if at < n_heads:
            choices[b, at] = actions[b]
            claim(b, at, actions[b], jobs, sources, pools, plants, links, fleet, geo, work)
            cursor[b] = next_head(
                b, at + 1, choices, jobs, sources, pools, plants, links, fleet, geo, work, plant
            )
        closed[b] = cursor[b] >= n_heads
        if closed[b]:
            for p in range(pools.claimed.shape[1]):
                pools.claimed[b, p] = 0
            count_devices(b, jobs, sources)
            count_transfers(b, jobs, links, fleet)


@kernel()
def show(lo, hi, opening, n_levels, cursor, choices, timing, state, world, view, head):
    """Observations of the sequential view for environments [lo, hi), after new slots where `opening`."""
    for b in range(lo, hi):
        if opening[b]:
            open_step(b, cursor, choices, timing, state, world)
        encode_head(b, cursor, n_levels, timing, state, world, view, head)
