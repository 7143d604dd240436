"""From state to observation: kernels that write the rows of pools, regions and the whole fleet.

What an operator knows: readings of sensors (`core.sensors`), meters, commands, alarms, announcements, forecasts. Not
shown: true temperatures, fouling, that a sensor sticks, how long an outage or a repair will last.
"""

from __future__ import annotations

import math

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.plant import margin
from gcn_env.core.sensors import CHIP, HOTTEST, LOOP
from gcn_env.core.state import CARBON, CARRIES, DEW, DRY, LEADS_H, N_CLASSES, N_HEADS, PENDING, PRICE, WET
from gcn_env.core.workload import local_time
from gcn_env.encoder import clip, compression, finish
from gcn_env.observation import ALARMS, GLOBALS, POOLS, REGIONS

P, R, G = POOLS.ix, REGIONS.ix, GLOBALS.ix
POOLS_SCALE, POOLS_LOW, POOLS_HIGH = compression(POOLS), POOLS.low, POOLS.high
REGIONS_SCALE, REGIONS_LOW, REGIONS_HIGH = compression(REGIONS), REGIONS.low, REGIONS.high
GLOBALS_SCALE, GLOBALS_LOW, GLOBALS_HIGH = compression(GLOBALS), GLOBALS.low, GLOBALS.high
N_POOLS, N_REGIONS = P.devices, R.plant_a  # columns from there on never change
TWO_PI = 2.0 * math.pi
_N_LEADS = len(LEADS_H)


@kernel()
def encode_constants(pools, regions, fleet, geo, money, kinds):
    """Columns of pools [B, P, len(POOLS)] and regions [B, R, len(REGIONS)] that never change.

    Written once, into zeros, and kept by every later encoding: so are columns without a meaning in this world.
    """
    for b in range(pools.shape[0]):
        for p in range(fleet.region.shape[0]):
            row = pools[b, p]
            row[P.devices] = math.log2(fleet.devices[p]) / 8.0
            row[P.idle] = math.asinh(fleet.idle_kw[p])
            row[P.peak] = math.asinh(fleet.peak_kw[p])
            for k in range(N_CLASSES):
                row[P.training + k] = math.asinh(fleet.speed[k, p])
            row[P.memory] = fleet.memory[p] / 80.0
            row[P.trust] = fleet.trust[p] / 2.0
            clip(row, 0, len(POOLS_SCALE), POOLS_LOW, POOLS_HIGH)
        for r in range(geo.design_kw.shape[0]):
            row = regions[b, r]
            row[R.plant_a + kinds[r]] = 1.0
            row[R.design] = math.log2(geo.design_kw[r]) / 8.0
            row[R.demand_price] = money.demand_usd[r] / 20.0
            clip(row, 0, len(REGIONS_SCALE), REGIONS_LOW, REGIONS_HIGH)


@inlined()
def encode_pool(b, p, row, pools, plants, signals, fleet, money):
    """Columns of one pool."""
    r, devices, healthy = fleet.region[p], fleet.devices[p], pools.healthy[b, p]
    busy, claimed = pools.busy[b, p], pools.claimed[b, p]
    there = pools.away_h[b, p] == 0.0
    row[P.free] = max(0, healthy - busy - claimed) / devices if there else 0.0
    row[P.busy] = busy / devices
    row[P.failed] = (devices - healthy) / devices
    row[P.claimed] = claimed / devices
    row[P.queued] = pools.queued[b, p] / devices
    row[P.running] = pools.running[b, p] / devices
    overhead, now = plants.overhead[b, r], signals.now
    row[P.price] = (now[b, r, PRICE] + now[b, r, CARBON] * money.carbon_usd) * overhead / 50.0
    row[P.outlook] = signals.both_sum[b, r, 24] * overhead * (1e3 / 24.0 / 50.0)
    row[P.overhead] = overhead - 1.0
    row[P.frequency] = pools.freq[b, p]
    row[P.dead] = plants.down_h[b, r] > 0.0
    row[P.draining] = pools.draining[b, p] * fleet.node[p] / devices
    row[P.let] = pools.let[b, p] / devices
    row[P.rent] = pools.price[b, p]
    row[P.notice] = 1.0 / (1.0 + pools.notice_h[b, p]) if pools.notice_h[b, p] > 0.0 else 0.0
    row[P.away] = not there
    row[P.current_region] = 0.0
    finish(row, N_POOLS, POOLS_SCALE, POOLS_LOW, POOLS_HIGH)


@inlined()
def encode_region(b, r, v, row, month_left, utc_hour, plants, signals, geo, plant, site):
    """Columns of one region: what its plant operator sees, and the market."""
    now, ahead, per_kw = signals.now, signals.ahead, 1.0 / geo.design_kw[r]
    row[R.price_now] = now[b, r, PRICE] / 50.0
    row[R.carbon_now] = now[b, r, CARBON] / 500.0
    row[R.dry_now] = now[b, r, DRY] / 30.0
    for k in range(_N_LEADS):
        row[R.price_1h + k] = ahead[b, r, k, PRICE] / 50.0
        row[R.carbon_1h + k] = ahead[b, r, k, CARBON] / 500.0
        row[R.dry_1h + k] = ahead[b, r, k, DRY] / 30.0
        row[R.green_1h + k] = signals.green[b, r, k] * per_kw
    row[R.wet] = now[b, r, WET] / 30.0
    row[R.dew] = now[b, r, DEW] / 30.0
    angle = (utc_hour + geo.utc_offset_h[r]) * TWO_PI / 24.0
    row[R.hour_sin] = math.sin(angle)
    row[R.hour_cos] = math.cos(angle)
    row[R.load] = plants.node_kw[b, r] * per_kw
    row[R.awake] = plants.awake[b, r]
    row[R.cooling] = plants.cool_kw[b, r] / max(plants.it_kw[b, r], 0.01 * geo.design_kw[r])
    row[R.overhead] = plants.overhead[b, r] - 1.0
    row[R.grid] = plants.grid_kw[b, r] * per_kw
    row[R.peak] = max(plants.peak_kw[b, r], site.ratchet[r] * plants.highest_kw[b, r]) * per_kw
    row[R.month_left] = month_left
    for h in range(N_HEADS):
        low, high = plant.head_low[v, r, h], plant.head_high[v, r, h]
        if high > low:
            width = 1.0 / (high - low)
            row[R.cold_command + h] = (plants.command[b, r, h] - low) * width
            row[R.cold_actual + h] = (plants.actual[b, r, h] - low) * width
    seen = plants.seen[b, r]
    for k in range(CHIP):
        row[R.inlet + k] = (seen[k] - 24.0) / 10.0
    row[R.chip] = (seen[CHIP] - 60.0) / 20.0
    row[R.margin] = margin(plant.values[v, r], seen[HOTTEST], seen[LOOP], seen[CHIP]) / 5.0
    row[R.air_need] = plants.air_need[b, r]
    row[R.server_fan] = plants.fan[b, r]
    row[R.compressors] = plants.compressor[b, r] / 4.0
    row[R.lockout] = plants.lock_s[b, r] / 600.0
    row[R.throttle] = plants.throttle[b, r]
    row[R.frequency] = plants.freq[b, r]
    for k in range(len(ALARMS)):
        row[R.alarm_fan + k] = plants.fault_h[b, r, k] > 0.0
    row[R.is_current] = 0.0
    encode_supply(b, r, row, per_kw, plants, site)
    finish(row, N_REGIONS, REGIONS_SCALE, REGIONS_LOW, REGIONS_HIGH)


@inlined()
def encode_supply(b, r, row, per_kw, plants, site):
    """Columns of one region's power supply."""
    row[R.outage] = plants.outage_h[b, r] > 0.0
    row[R.restart] = plants.down_h[b, r] * 6.0
    row[R.generator] = plants.generator[b, r] == CARRIES
    if site.ups_kwh[r] > 0.0:
        row[R.ups] = plants.ups_kwh[b, r] / site.ups_kwh[r]
    if site.battery_kwh[r] > 0.0:
        row[R.charge] = plants.battery_kwh[b, r] / site.battery_kwh[r]
    row[R.sun] = plants.pv_kw[b, r] * per_kw
    row[R.wind] = plants.wind_kw[b, r] * per_kw
    row[R.breaker] = plants.breaker[b, r]
    notice, called = plants.curtail_in_h[b, r], plants.curtail_h[b, r] > 0.0
    row[R.curtail_in] = 1.0 / (1.0 + notice) if called else 0.0
    row[R.curtail] = called and notice == 0.0
    row[R.curtail_limit] = plants.curtail_kw[b, r] * per_kw


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
    angle = utc_hour * TWO_PI / 24.0
    row[G.hour_sin], row[G.hour_cos] = math.sin(angle), math.cos(angle)
    angle = (weekday + utc_hour / 24.0) * TWO_PI / 7.0
    row[G.week_sin], row[G.week_cos] = math.sin(angle), math.cos(angle)
    angle = now / hours * TWO_PI
    row[G.year_sin], row[G.year_cos] = math.sin(angle), math.cos(angle)
    row[G.pending] = pending
    row[G.hidden] = max(0, pending - shown)
    row[G.live] = jobs.n_live[b] / jobs.status.shape[1]
    row[G.busy] = busy / devices
    row[G.queued] = queued / devices
    row[G.carbon_price] = money.carbon_usd * 10.0
    row[G.scale] = money.reference_usd
    finish(row, len(GLOBALS_SCALE), GLOBALS_SCALE, GLOBALS_LOW, GLOBALS_HIGH)


@inlined()
def encode_fleet(b, timing, state, world, view):
    """Pools, regions and globals of environment `b`: what both views share."""
    clock, signals, _sources, jobs, pools, plants, _links, _ledger = state
    fleet, geo, money, _work, bank, plant, site, _market = world
    now, v = clock.now_h[b], b % plant.head_low.shape[0]
    hours = bank.hours[clock.year[b]]
    utc_hour, weekday = local_time(now, 0.0, bank.weekday[clock.year[b]])
    month_left = 1.0 - (now % 730.5) / 730.5
    for p in range(fleet.region.shape[0]):
        encode_pool(b, p, view.pools[b, p], pools, plants, signals, fleet, money)
    for r in range(geo.design_kw.shape[0]):
        row = view.regions[b, r]
        encode_region(b, r, v, row, month_left, utc_hour, plants, signals, geo, plant, site)
    shown, elapsed = jobs.slot.shape[1], clock.step[b] / timing.horizon
    encode_globals(
        b, elapsed, weekday, utc_hour, now, hours, view.globals[b], shown, jobs, pools, fleet, money
    )
