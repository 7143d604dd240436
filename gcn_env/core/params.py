"""Constants of a compiled world: named tuples of arrays and floats, shared by all environments of a batch.

K job classes, S job sources, P pools, R regions, N rows of job tables. Human units were turned into these once, in
`gcn_env.scenario.compile`.
"""

from __future__ import annotations

from typing import NamedTuple

from gcn_env.core.groups import group
from gcn_env.core.plant_table import PlantParams
from gcn_env.core.state import Array

TRAINING, BATCH, INFERENCE, HPC = 0, 1, 2, 3
CLASSES = ("training", "batch", "inference", "hpc")
PROCESS, REPLAY, LEASES = 0, 1, 2  # Work.mode
SPLITS = ("train", "validation", "test")
UNLIMITED = 2**31 - 1  # Work.quota of a tenant without one


@group
class Timing(NamedTuple):
    """Steps and sizes of loops."""

    dt_h: float  # h per control step
    horizon: int  # control steps per episode
    n_plant: int  # plant sub-steps per control step
    n_zone: int  # zone sub-steps per plant sub-step


@group
class Fleet(NamedTuple):
    """Pools of devices."""

    region: Array  # int64 [P]
    devices: Array  # int64 [P]
    node: Array  # int64 [P] devices per node
    idle_kw: Array  # float64 [P] per device, its share of the host included
    peak_kw: Array  # float64 [P]
    asleep_kw: Array  # float64 [P]
    reserve: Array  # float64 [P] share of idle devices kept awake
    wake_h: Array  # float64 [P] h at idle power to wake a device
    speed: Array  # float64 [K, P] reference hours of work per hour; 0 = cannot run it
    load: Array  # float64 [K, P] share of idle-to-peak power that the class draws
    memory: Array  # float64 [P] GiB per device
    trust: Array  # int64 [P] 0 public, 1 private, 2 TEE
    service_ms: Array  # float64 [P] service time of one inference request
    device_usd: Array  # float64 [P] USD per device-hour of lost work
    static: Array  # float64 [P] share of peak power that does not fall with clock frequency (E51)
    bound: Array  # float64 [K] share of a class's time bound by memory or communication (E52)
    fail: Array  # float64 [P] failures per node and hour
    repair_h: Array  # float64 [P] mean h to repair a node
    degrade: Array  # float64 [P] nodes that turn slow, per node and hour
    detect_h: Array  # float64 [P] mean h until that is noticed and the node drains
    slow: Array  # float64 [P] speed of a job on a slow node over full speed


@group
class Geo(NamedTuple):
    """Regions, law and the network between them."""

    jurisdiction: Array  # int64 [R] bit number
    utc_offset_h: Array  # float64 [R] standard time
    rtt_ms: Array  # float64 [R, R]
    gbit_s: Array  # float64 [R, R] rate of the link from row to column, shared by its transfers
    egress_usd: Array  # float64 [R, R] USD per GB from row to column
    link_usd: float  # USD per hour for private links, whatever they carry
    outage: Array  # float64 [R] outages per hour
    outage_h: Array  # float64 [R] mean h
    design_kw: Array  # float64 [R] nameplate node power of the region's pools
    replica: Array  # int8 [S, R] 1: a copy of the source's data set lies in the region
    copies: Array  # int64 [S] how many regions hold such a copy
    kwh_gb: float  # kWh per GB carried between regions
    cut: Array  # float64 [R, R] cuts of the link per hour
    cut_h: Array  # float64 [R, R] mean h to repair either
    fade: Array  # float64 [R, R] losses of part of its rate per hour
    fade_share: float  # of the rate that is left then


@group
class Money(NamedTuple):
    """Prices and weights."""

    demand_usd: Array  # float64 [R] USD per kW of the month's peak
    base_peak_kw: Array  # float64 [R] peak assumed reached at the start of a month
    water_usd: Array  # float64 [R] USD per litre
    carbon_usd: float  # USD per kgCO2e
    thermal_usd: float  # USD per K h above the limit and kW of design IT power
    start_usd: float  # USD per compressor start
    travel_usd: float  # USD for a set-point moved across its whole range
    drop_h: float  # hours of lateness charged for a refused job
    reference_usd: float  # USD per step; reward = -cost / reference
    outlook_usd: Array  # float64 [R] USD per kWh of node power: reference price for settling unfinished work


@group
class Market(NamedTuple):
    """Pools rented from others, spare devices let to others, pods that move."""

    rent_usd: Array  # float64 [P] mean USD per device-hour held; 0 own devices
    sigma: Array  # float64 [P] s.d. of the logarithm of that price
    phi: Array  # float64 [P] its autocorrelation over one hour
    reclaim: Array  # float64 [P] times per hour that the owner takes the pool back
    notice_h: Array  # float64 [P] h of notice
    absent_h: Array  # float64 [P] mean h that it stays away
    pod: Array  # int64 [P] pod that may stand here, -1 none
    comes: (
        Array  # float64 [P, K] h of the year at which it begins to stand here, by visit; inf: no such visit
    )
    leaves: Array  # float64 [P, K] h of the year at which it sets out for another pool
    travel_h: Array  # float64 [P] h that it was on the road when it comes
    move_usd: Array  # float64 [P] USD of that journey, paid evenly over it
    let_usd: Array  # float64 [P] USD per spare device-hour let; 0 not offered
    let_share: Array  # float64 [P] mean share of the pool's devices that others ask for


@group
class Site(NamedTuple):
    """The regions' connection, UPS, generator, battery, sun, wind, heat sold, faults, sensors."""

    feeder_kw: Array  # float64 [R] rating of the feeder's breaker (E47); inf: none
    ratchet: Array  # float64 [R] share of the highest peak below which no month's peak is billed (E56)
    ups_kwh: Array  # float64 [R] energy of the UPS strings when full
    ups_fans: Array  # float64 [R] 1: air handlers and chilled-water or coolant pumps stand on the UPS
    generator_kw: Array  # float64 [R] 0: none
    generator_start: Array  # float64 [R] probability that it starts
    fuel_usd: Array  # float64 [R] USD per litre
    pv_kw: Array  # float64 [R] peak power at standard test conditions (E53)
    wind_kw: Array  # float64 [R] rated power (E54)
    hub_m: Array  # float64 [R] hub height
    latitude: Array  # float64 [R] rad
    longitude_h: Array  # float64 [R] h of solar time ahead of UTC
    battery_kwh: Array  # float64 [R] 0: none (E48)
    battery_kw: Array  # float64 [R] rating at its terminals
    battery_usd: Array  # float64 [R] wear per kWh through its terminals
    reuse_kw: Array  # float64 [R] heat wanted in the coldest weather (E43)
    heat_usd: Array  # float64 [R] USD per kWh of heat sold
    faults: Array  # float64 [R, len(FAULTS)] per hour
    mend_h: Array  # float64 [R, len(FAULTS)] mean h to repair
    curtail: Array  # float64 [R] curtailments per hour (E57)
    curtail_notice_h: Array  # float64 [R]
    curtail_h: Array  # float64 [R] mean h
    curtail_share: Array  # float64 [R] mean depth, share of the design load
    curtail_usd: Array  # float64 [R] penalty per kWh above the limit
    sensor_noise_k: float  # standard deviation of a reading
    sensor_step_k: float  # readings are multiples of this; 0: exact
    sensor_delay_h: float  # age of a reading


@group
class Work(NamedTuple):
    """Job sources and the tables they take their jobs from."""

    kind: Array  # int64 [S] class
    mode: Array  # int64 [S] PROCESS, REPLAY, LEASES
    first: Array  # int64 [3, S] first table row by split
    rows: Array  # int64 [3, S] number of rows by split
    window_h: Array  # float64 [3, S] length of a replayed window
    standing: Array  # float64 [3, S] jobs that a steady fleet holds (Little's law); 0 for LEASES
    longest_h: Array  # float64 [3, S] longest work in the table
    rate: Array  # float64 [S] batches per hour (PROCESS), copies per row (REPLAY), reference devices (LEASES)
    hours: Array  # float64 [S, 24] daily profile, mean 1
    days: Array  # float64 [S, 7] weekly profile, Monday first, mean 1
    sigma: Array  # float64 [S, 2] s.d. of the log modulation: of hours, of days
    phi: Array  # float64 [S, 2] their hourly autocorrelation
    burst: Array  # float64 [S, 4] of traffic: bursts per hour, mean h, least height, mean height above it
    single: Array  # float64 [S] probability that a batch is one job
    alpha: Array  # float64 [S] Pareto exponent of larger batches
    batch_max: Array  # int64 [S]
    origin: Array  # float64 [S, R] cumulative share of origins
    local: Array  # int64 [S] 1: profiles follow the origin's clock, 0: UTC
    slack_min: Array  # float64 [S] least slack, in multiples of the work
    slack_mean: Array  # float64 [S] mean of the exponential slack on top, same unit
    slack_h: Array  # float64 [S] h added to every deadline
    value: Array  # float64 [S] USD per device-hour late (inference: per device-hour out of objective)
    slo_ms: Array  # float64 [S] latency objective; inf if none
    restricted: Array  # float64 [S] share of jobs bound to `home`
    home: Array  # int64 [S, R] jurisdictions (bit mask) where a restricted job of that origin may run
    anywhere: Array  # int64 [S, R] the same for unrestricted jobs
    trust: Array  # int64 [S]
    movable: Array  # int64 [S] 1: running jobs may be moved and preempted (they save their state first)
    resume_h: (
        Array  # float64 [S] h of a run's time to load its state after a move, preemption or change of size
    )
    state_share: Array  # float64 [S] GB of a checkpoint per GiB of device memory of the gang
    quota: Array  # int64 [T] devices a tenant may hold at a time
    fit_gang: Array  # int64 [S, R, 2] largest gang that a legal pool holds (unrestricted, restricted)
    fit_memory: Array  # float64 [S, R, 2] memory of that pool
    series: Array  # float64 [M] traffic relative to its mean (LEASES from a trace)
    series_first: Array  # int64 [3, S]
    series_rows: Array  # int64 [3, S] 0: synthetic traffic
    series_h: Array  # float64 [S] h per entry
    arrival_h: Array  # float64 [N]
    gang: Array  # int32 [N]
    least: Array  # int32 [N] fewest devices it can run on
    rank: Array  # int8 [N] priority: higher goes first in a pool's queue
    owner: Array  # int16 [N] tenant whose job it is
    work_h: Array  # float64 [N]
    memory_gib: Array  # float32 [N]
    data_gb: Array  # float32 [N]
    checkpoint_h: Array  # float32 [N]
    comm: Array  # float32 [N]


TRUTH, DAY_BEFORE, NORMAL = 0, 1, 2  # values of `Bank.forecast`


@group
class Bank(NamedTuple):
    """Hourly signals and how they are forecast."""

    values: Array  # float32 [Y, H, R, N_BANK]
    hours: Array  # int64 [Y]
    weekday: Array  # int64 [Y] weekday of 1 January, Monday 0
    sd: Array  # float64 [R, leads, 5] standard deviation of forecast errors: price, carbon, dry bulb, cloud, wind
    forecast: int  # what the noise is added to: TRUTH, DAY_BEFORE or NORMAL
    normal: (
        Array  # float32 [H, R, N_BANK] mean of the training years by hour of the year; H is 0 unless forecast
    )
    noise: Array  # float32 [n] unit-variance AR(1)


class WorldParams(NamedTuple):
    """All constant groups, in the order in which `step_range` unpacks them."""

    fleet: Fleet
    geo: Geo
    money: Money
    work: Work
    bank: Bank
    plant: PlantParams
    site: Site
    market: Market
