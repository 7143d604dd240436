"""The state of a batch of environments: named tuples of arrays, one group a subject, leading axis B (environment).

Everything that changes from step to step is here, the random streams included, so that a copy of these arrays is a
snapshot. Units stand beside each field. B environments, J job places, Q slots, P pools, R regions, S job sources,
T tenants.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core.groups import group
from gcn_env.core.rng import N_STREAMS
from gcn_env.ledger import COUNTS, FLOWS, TERMS

Array = npt.NDArray[Any]

FREE, PENDING, TRANSIT, QUEUED, RUNNING = 0, 1, 2, 3, 4  # Jobs.status
N_COOLING = 3  # set-points of the cooling plant per region: cold side, flow, rejection
N_HEADS = 5  # heads per region: those, the power cap of its devices, its battery
CAP, BATTERY = 3, 4
N_CLASSES = 4  # job classes, core.params.CLASSES
SENSORS = (
    "inlet",
    "hottest",
    "supply",
    "return_air",
    "loop",
    "chip",
)  # what a building-management system reads
STARTS, CARRIES = 1, 2  # Plants.generator: it will start (nobody knows yet); it carries the load
FAULTS = ("fan", "compressor", "pump", "tower", "fouling", "sensor")  # faults of plants; see core.failures
PRICE, CARBON, DRY, WET, DEW, HUMID = 0, 1, 2, 3, 4, 5  # columns of Signals.now and of the signal bank
N_SIGNALS = 6
CLOUD, WIND = 6, 7  # further columns of the bank: cloud cover 0..1, m/s at 10 m
N_BANK = 8
LEADS_H = (1, 3, 6, 12, 24)  # forecast leads [h]
OUTLOOK_H = 72  # h of price and carbon outlook that marginal costs are averaged over


@group
class Clock(NamedTuple):
    """Time and identity of each episode."""

    step: Array  # int64 [B] control steps taken in this episode
    year: Array  # int64 [B] row of the signal bank
    start_h: Array  # float64 [B] hour of that year (UTC) at which the episode began
    now_h: Array  # float64 [B] hour of that year now
    seed: Array  # uint64 [B] seed of the running episode
    rng: Array  # uint64 [B, N_STREAMS]
    illegal: Array  # int64 [B] illegal choices of the running step


@group
class Signals(NamedTuple):
    """What the world outside is doing."""

    now: Array  # float64 [B, R, N_SIGNALS]: USD/MWh, gCO2e/kWh, degC, degC, degC, kg/kg
    ahead: Array  # float64 [B, R, len(LEADS_H), 3]: forecast price, carbon, dry bulb
    green: Array  # float64 [B, R, len(LEADS_H)] kW forecast of the site's own sun and wind
    noise_at: Array  # int64 [B] offset of this episode into the forecast-noise table
    price_sum: Array  # float64 [B, R, OUTLOOK_H + 1] running sum of the hourly price outlook, USD/kWh h
    carbon_sum: Array  # float64 [B, R, OUTLOOK_H + 1] the same for carbon at the carbon price, USD/kWh h
    both_sum: Array  # float64 [B, R, OUTLOOK_H + 1] their sum, USD/kWh h


@group
class Sources(NamedTuple):
    """Arrival processes."""

    modulation: Array  # float64 [B, S, 2] log-rate modulation: AR(1) of hours and of days
    burst: Array  # float64 [B, S, R] height of the burst of traffic that is on, share of the rate; 0 none
    offset: Array  # float64 [B, S] hours into the trace window at which the episode began
    cursor: Array  # int64 [B, S] next row of a replayed trace
    leased: Array  # int32 [B, S, R] reference devices under lease (waiting or running) by origin
    devices: Array  # int32 [B, T] devices that a tenant's jobs hold, queue for or travel to, as of its slots
    sent: Array  # int32 [B, T] those that placements of this step added
    used_h: Array  # float64 [B, T] device-hours that a tenant's jobs ran in the last step


@group
class Jobs(NamedTuple):
    """Jobs that have arrived and are not yet done: places 0..n_live-1 (see `core.places`)."""

    n_live: Array  # int64 [B]
    slot: Array  # int32 [B, Q] place of the job shown in each slot, -1 none
    status: Array  # int8 [B, J]
    kind: Array  # int8 [B, J] job class
    source: Array  # int16 [B, J] arrival process
    origin: Array  # int16 [B, J] region of the users
    data_at: Array  # int16 [B, J] region where the input (or the last checkpoint) lies
    pool: Array  # int16 [B, J] pool it is sent to, queued at or running on; -1 none
    legal: Array  # uint32 [B, J] bit j: may run in jurisdiction j
    trust: Array  # int8 [B, J] least trust level of a pool (0 public, 1 private, 2 TEE)
    gang: Array  # int32 [B, J] devices of reference speed asked for
    least: Array  # int32 [B, J] fewest of them it can run on (elastic gangs); its gang for others
    priority: Array  # int8 [B, J] higher goes first in a pool's queue
    tenant: Array  # int16 [B, J] whose job it is
    held: Array  # int32 [B, J] devices held on the pool
    memory: Array  # float64 [B, J] GiB per device
    work: Array  # float64 [B, J] h left at reference speed
    unsaved: Array  # float64 [B, J] h of reference work since the last checkpoint
    checkpoint: Array  # float64 [B, J] h of reference work between checkpoints
    speed: Array  # float64 [B, J] reference hours of work per hour on the pool, before throttling
    arrival: Array  # float64 [B, J] h of the year
    deadline: Array  # float64 [B, J] h of the year
    ready: Array  # float64 [B, J] h of the year at which its data arrives (TRANSIT), it queued (QUEUED), it started
    finish: Array  # float64 [B, J] h of the year at which it ends at this pace (RUNNING), or may (QUEUED)
    value: Array  # float64 [B, J] USD per hour late
    slo: Array  # float64 [B, J] ms round trip plus service (inference); inf for others
    data: Array  # float64 [B, J] GB of input to move before it can start where no copy lies
    state_gb: Array  # float64 [B, J] GB of its last checkpoint, at `data_at`; 0 none
    left_gb: Array  # float64 [B, J] GB still on their way (TRANSIT)
    via: Array  # int16 [B, J] region its data travels from (TRANSIT), -1 none
    node: Array  # int32 [B, J] record of the node it shares with others (`Pools.node_*`), -1 none
    bad: Array  # int32 [B, J] nodes it holds that are slow, unnoticed or draining
    drains: Array  # int32 [B, J] those it holds whole that go to repair when it leaves
    comm: Array  # float64 [B, J] share of time bound by memory or communication
    order: Array  # int64 [B, J] number of arrival in the episode (first come, first served)
    shown: Array  # int64 [B, J] control step in which it last had a slot, -1 never
    urgency: Array  # float64 [B, J] rank among jobs that could have a slot, lowest first
    behind: Array  # int32 [B, J] next job in the same pool's queue, -1 none (QUEUED)
    queue: Array  # int32 [B, J] scratch of a local scheduler: one pool's running jobs
    event: Array  # int32 [B, J] scratch of one step: places whose data arrives or whose work ends in it


@group
class Pools(NamedTuple):
    """Devices by pool."""

    healthy: Array  # int32 [B, P] devices in service
    busy: Array  # int32 [B, P] devices held by running jobs
    claimed: (
        Array  # int32 [B, P] devices claimed by choices of this step not yet carried out (sequential view)
    )
    waiting: Array  # int32 [B, P] jobs in the pool's own queue
    first: Array  # int32 [B, P] head of that queue, -1 none
    last: Array  # int32 [B, P] its end, -1 none
    awake: Array  # float64 [B, P] devices not asleep
    queued: Array  # float64 [B, P] device-hours waiting or on their way, at the pool's speed
    running: Array  # float64 [B, P] device-hours left of running jobs, at the pool's present pace
    busy_h: Array  # float64 [B, P] device-hours run in the last step
    load_h: Array  # float64 [B, P] power-weighted device-hours run in the last step (utilisation times hours)
    kw: Array  # float64 [B, P] mean node power of the last step
    freq: Array  # float64 [B, P] clock frequency over nominal: the lower of power cap and throttling
    drawn: Array  # float64 [B, P] peak power at that frequency over peak power (E51)
    pace: Array  # float64 [B, P, N_CLASSES] speed at that frequency over full speed (E52)
    rate: Array  # float64 [B, P + 1, N_CLASSES] scratch: USD per rank and reference hour; last row: lowest
    up: Array  # float64 [B, P] scratch of one step: devices awake by now
    stirred: Array  # int8 [B, P] 1: failures, repairs or kills since its local scheduler last looked
    chain: Array  # int32 [B, P] scratch: first running job that could give or get devices, linked by `Jobs.behind`
    room: Array  # int32 [B, P] devices of the largest job that could start now; every smaller one could too
    empty: Array  # int32 [B, P] nodes in service that run nothing
    slow: Array  # int32 [B, P] those of them that run slow, unnoticed
    roomy: Array  # int32 [B, P, D + 1] first record of a shared node with so many free devices, -1 none
    degraded: Array  # int32 [B, P] nodes that run slow, unnoticed
    draining: Array  # int32 [B, P] slow nodes that take no more work, to be repaired when idle
    repairing: Array  # int32 [B, P] nodes under repair
    dice: Array  # uint64 [B, P] random stream: which nodes a job gets, which slow node is noticed
    price: Array  # float64 [B, P] USD per device-hour of a rented pool now
    notice_h: Array  # float64 [B, P] h until the owner takes the pool back, as announced; 0 nothing is
    away_h: Array  # float64 [B, P] h until the pool is there again: reclaimed, or a pod on the road; 0 there
    mood: Array  # float64 [B, P] standard normal AR(1) behind a rented pool's price, or others' demand for a let one
    let: Array  # float64 [B, P] mean spare devices let to others in the last step
    node_pool: Array  # int16 [B, J] pool of a shared node's record, -1 unused
    node_free: Array  # int32 [B, J] its free devices
    node_next: Array  # int32 [B, J] next record with as many, -1 none
    node_last: Array  # int32 [B, J] the one before, -1 none
    node_bad: Array  # int8 [B, J] its health, core.nodes.SOUND, SLOW, DRAINING
    node_then: Array  # int32 [B, J] scratch of one step: its free devices at the hour reserved in its pool
    reserved: Array  # int32 [B, P] scratch of one step: job for which that hour was reserved, -1 none
    shadow: Array  # float64 [B, P] h of the year, that hour
    empty_then: Array  # int32 [B, P] empty nodes then
    roomy_then: Array  # int32 [B, P] shared nodes with room for the rest of that job then
    unused: Array  # int32 [B] first record not in use, -1 none


@group
class Links(NamedTuple):
    """Links between regions, from row to column."""

    up: Array  # float64 [B, R, R] share of the link's rate that is there: 1, degraded, 0 cut
    down_h: Array  # float64 [B, R, R] h until it is repaired, 0 whole
    n: Array  # int32 [B, R, R] transfers under way
    under_way: Array  # int32 [B] all of them


@group
class Plants(NamedTuple):
    """Thermal zones, cooling plants and their actuators, one zone and one plant a region."""

    node_kw: Array  # float64 [B, R] mean node power of the step before fans and leakage
    awake: Array  # float64 [B, R] share of the zone's nameplate power that is not asleep
    command: Array  # float64 [B, R, N_HEADS] commanded set-points, in the heads' physical units
    actual: Array  # float64 [B, R, N_HEADS] where the actuators are
    mass_c: Array  # float64 [B, R] degC IT mass
    air_c: Array  # float64 [B, R] degC hot aisle / return air
    inlet_c: Array  # float64 [B, R] degC mean server inlet
    hot_c: Array  # float64 [B, R] degC hottest rack inlet
    supply_c: Array  # float64 [B, R] degC supply air as delivered
    loop_c: Array  # float64 [B, R] degC chilled water (b) or coolant (d); NaN-free where absent
    chip_c: Array  # float64 [B, R] degC chip
    fan: Array  # float64 [B, R] server fan flow, share of full speed, lagged
    compressor: Array  # int8 [B, R] compressors running
    limit_gap: Array  # float64 [B, R] K between the limit and the hottest inlet or coolant (negative: above)
    throttle: Array  # float64 [B, R] frequency factor of the next step for heat, 0 tripped
    heeded: Array  # float64 [B, R] `throttle` to which the pools' clocks were last set
    air_need: Array  # float64 [B, R] server air flow over rated supply flow (aisle pressure in a real hall)
    it_kw: Array  # float64 [B, R] mean of the last step
    cool_kw: Array  # float64 [B, R] mean of the last step
    grid_kw: Array  # float64 [B, R] mean of the last step
    overhead: Array  # float64 [B, R] grid over node power, smoothed
    peak_kw: Array  # float64 [B, R] highest step mean of the month so far
    month: Array  # int64 [B, R] month of that peak
    cond_c: Array  # float64 [B, R] degC condenser water (b)
    timer_s: Array  # float64 [B, R] s since a compressor was last started; negative: since one was stopped
    structure_c: Array  # float64 [B, R] degC walls and floor of the hall
    seen: Array  # float64 [B, R, len(SENSORS)] degC readings: noisy, quantised, late, or stuck
    past: Array  # float64 [B, R, len(SENSORS)] degC true values at the last reading
    fault_h: Array  # float64 [B, R, len(FAULTS)] h until each fault is repaired, 0 healthy
    outage_h: Array  # float64 [B, R] h of utility loss left
    down_h: (
        Array  # float64 [B, R] h of restart left once power and inlet are back, 0 up; jobs may not go there
    )
    still_h: Array  # float64 [B, R] h of the last step in which nodes drew nothing
    lock_s: Array  # float64 [B, R] s until compressors may restart after a loss of power
    ups_kwh: Array  # float64 [B, R] energy in the UPS strings
    generator: (
        Array  # int8 [B, R] in this outage the generator 0 does not start, 1 is starting, 2 carries the load
    )
    freq: Array  # float64 [B, R] clock frequency of its pools over nominal, mean by nameplate power
    battery_kwh: Array  # float64 [B, R] energy in the battery
    battery_kw: Array  # float64 [B, R] mean of the last step at its terminals, + charging
    pv_kw: Array  # float64 [B, R] mean photovoltaic power of the last step
    wind_kw: Array  # float64 [B, R] mean wind power of the last step
    breaker: Array  # float64 [B, R] heat of the feeder's breaker, 1 trips (E47)
    highest_kw: Array  # float64 [B, R] highest step mean of the episode, for ratchets
    curtail_in_h: Array  # float64 [B, R] h until an announced curtailment begins
    curtail_h: Array  # float64 [B, R] h of curtailment left once begun
    curtail_kw: Array  # float64 [B, R] most grid power while it lasts


@group
class Ledger(NamedTuple):
    """What the last step booked, and what the episode booked so far."""

    terms: Array  # float64 [B, len(TERMS)] USD
    flows: Array  # float64 [B, R, len(FLOWS)]
    counts: Array  # float64 [B, len(COUNTS)]
    terms_sum: Array  # float64 [B, len(TERMS)]
    flows_sum: Array  # float64 [B, R, len(FLOWS)]
    counts_sum: Array  # float64 [B, len(COUNTS)]


class State(NamedTuple):
    """All groups; kernels receive the groups, not this."""

    clock: Clock
    signals: Signals
    sources: Sources
    jobs: Jobs
    pools: Pools
    plants: Plants
    links: Links
    ledger: Ledger


_TYPES: dict[str, Any] = {
    "step": np.int64, "year": np.int64, "seed": np.uint64, "rng": np.uint64, "illegal": np.int64,
    "noise_at": np.int64, "cursor": np.int64, "leased": np.int32, "n_live": np.int64,
    "devices": np.int32, "sent": np.int32,
    "slot": np.int32, "status": np.int8, "kind": np.int8, "source": np.int16, "origin": np.int16,
    "data_at": np.int16, "pool": np.int16, "legal": np.uint32, "trust": np.int8, "gang": np.int32, "held": np.int32,
    "order": np.int64, "shown": np.int64, "compressor": np.int8, "generator": np.int8,
    "stirred": np.int8, "event": np.int32, "queue": np.int32,
    "behind": np.int32, "first": np.int32, "last": np.int32, "waiting": np.int32, "healthy": np.int32,
    "busy": np.int32, "chain": np.int32, "claimed": np.int32, "month": np.int64, "least": np.int32, "priority": np.int8,
    "tenant": np.int16,
    "via": np.int16, "node": np.int32, "bad": np.int32, "empty": np.int32, "roomy": np.int32, "degraded": np.int32,
    "draining": np.int32, "repairing": np.int32, "node_pool": np.int16, "node_free": np.int32,
    "node_next": np.int32, "node_last": np.int32, "node_bad": np.int8, "node_then": np.int32, "unused": np.int32,
    "reserved": np.int32, "empty_then": np.int32, "roomy_then": np.int32,
    "drains": np.int32, "room": np.int32, "slow": np.int32, "dice": np.uint64,
    "n": np.int32, "under_way": np.int32,
}  # fmt: skip


def allocate(
    n_envs: int,
    n_jobs: int,
    n_slots: int,
    n_pools: int,
    n_regions: int,
    n_sources: int,
    node: int = 8,
    tenants: int = 1,
) -> State:
    """Zeroed state for `n_envs` environments.

    Args:
        n_envs: B.
        n_jobs: J, job places per environment.
        n_slots: Q, job slots shown to the policy.
        n_pools: P.
        n_regions: R.
        n_sources: S, arrival processes.
        node: D, devices of the largest node.
        tenants: T.
    """
    b, r = (n_envs,), (n_envs, n_regions)
    shapes: dict[type[Any], dict[str, tuple[int, ...]]] = {
        Clock: {"*": b, "rng": (*b, N_STREAMS)},
        Signals: {"now": (*r, N_SIGNALS), "ahead": (*r, len(LEADS_H), 3), "green": (*r, len(LEADS_H)), "noise_at": b,
                  "price_sum": (*r, OUTLOOK_H + 1), "carbon_sum": (*r, OUTLOOK_H + 1), "both_sum": (*r, OUTLOOK_H + 1)},
        Sources: {"*": (*b, n_sources), "modulation": (*b, n_sources, 2), "leased": (*b, n_sources, n_regions),
                  "burst": (*b, n_sources, n_regions), **dict.fromkeys(("devices", "sent", "used_h"), (*b, tenants))},
        Jobs: {"*": (*b, n_jobs), "n_live": b, "slot": (*b, n_slots)},
        Pools: {"*": (*b, n_pools), "pace": (*b, n_pools, N_CLASSES), "rate": (*b, n_pools + 1, N_CLASSES),
                "roomy": (*b, n_pools, node + 1), "unused": b,
                **dict.fromkeys(("node_pool", "node_free", "node_next", "node_last", "node_bad", "node_then"),
                                (*b, n_jobs))},
        Plants: {"*": r, "command": (*r, N_HEADS), "actual": (*r, N_HEADS), "seen": (*r, len(SENSORS)),
                 "past": (*r, len(SENSORS)),
                 "fault_h": (*r, len(FAULTS))},
        Links: {"*": (*r, n_regions), "under_way": b},
        Ledger: {
            "terms": (*b, len(TERMS)), "terms_sum": (*b, len(TERMS)),
            "flows": (*r, len(FLOWS)), "flows_sum": (*r, len(FLOWS)),
            "counts": (*b, len(COUNTS)), "counts_sum": (*b, len(COUNTS)),
        },
    }  # fmt: skip

    def group(kind: type[Any]) -> Any:
        sizes = shapes[kind]
        arrays = []
        for name in kind._fields:
            dtype = _TYPES.get(name, np.float64)
            arrays.append(np.zeros(sizes.get(name) or sizes["*"], dtype))
        return kind(*arrays)

    return State(*(group(kind) for kind in shapes))


def nbytes(state: State) -> int:
    """Bytes held by the state."""
    return sum(a.nbytes for g in state for a in g)


def copy_into(target: State, source: State) -> None:
    """Overwrite every array of `target` with the values of `source` (same sizes)."""
    for to, of in zip(target, source, strict=True):
        for a, c in zip(to, of, strict=True):
            a[...] = c


def copied(state: State) -> State:
    """An independent copy."""
    return State._make([type(g)._make(a.copy() for a in g) for g in state])
