"""Clock frequency of devices, and node power from what the pools ran (E50-E52).

`P = P_idle + (P_peak - P_idle) * load` per busy device, with `load = u**beta` fixed per class and hardware. A clock
below nominal, set by a power cap or by throttling for heat (the lower counts), takes the dynamic part of the peak with
it (E51) and slows each class by its share of time that the clock decides (E52). A cap is a share of each device's peak,
so that pools of one region differ in frequency by their static shares. Idle devices beyond the reserve sleep; waking
costs `wake_h` hours at idle power, and a job that starts on sleepers begins that much later.
"""

from __future__ import annotations

from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import BATCH, INFERENCE
from gcn_env.core.state import CAP
from gcn_env.core.thermal import raised
from gcn_env.ledger import FLOWS

F = FLOWS.ix
GAMMA = 2.5  # E51 exponent of dynamic power over frequency (2.0-3.0)
CLOCK_FLOOR = 0.4  # E51 least frequency that a power cap reaches
HEAT_FLOOR = 0.3  # least frequency that throttling reaches (section 1.8)


@kernel()
def capped_clock(cap, static):
    """E51 clock frequency under a power cap, both over nominal; `static` is the share that no clock changes."""
    if cap >= 1.0:
        return 1.0
    share = (cap - static) / (1.0 - static)
    return max(raised(share, 1.0 / GAMMA), CLOCK_FLOOR) if share > 0.0 else CLOCK_FLOOR


@kernel()
def power_at(freq, static):
    """E51 peak power at a clock frequency, over nominal peak."""
    return static + (1.0 - static) * raised(freq, GAMMA) if freq < 1.0 else 1.0


@kernel()
def speed_at(freq, bound):
    """E52 speed at a clock frequency of work bound by memory or communication for a share `bound` of its time."""
    return 1.0 / ((1.0 - bound) / freq + bound) if freq < 1.0 else 1.0


@inlined()
def full_clocks(b, pools, plants):
    """Every pool of environment `b` at nominal frequency, nothing capped or throttled."""
    for p in range(pools.freq.shape[1]):
        pools.freq[b, p], pools.drawn[b, p] = 1.0, 1.0
        for k in range(pools.pace.shape[2]):
            pools.pace[b, p, k] = 1.0
    for r in range(plants.freq.shape[1]):
        plants.freq[b, r], plants.heeded[b, r], plants.actual[b, r, CAP] = 1.0, 1.0, 1.0


@inlined()
def set_clocks(b, pools, plants, fleet):
    """Clocks of environment `b` follow caps and throttling; returns whether any changed.

    Leases keep pace with the clock on the wall at any frequency: what they cannot serve in time is missed, not late.
    """
    region, changed = fleet.region, False
    for r in range(plants.freq.shape[1]):
        cap, heat = plants.command[b, r, CAP], plants.throttle[b, r]
        if heat == plants.heeded[b, r] and cap == plants.actual[b, r, CAP]:
            continue
        changed = True
        plants.heeded[b, r], plants.actual[b, r, CAP] = heat, cap
        mean, weight = 0.0, 0.0
        for p in range(region.shape[0]):
            if region[p] != r:
                continue
            freq = min(capped_clock(cap, fleet.static[p]), max(heat, HEAT_FLOOR))
            pools.freq[b, p] = freq
            pools.drawn[b, p] = power_at(freq, fleet.static[p])
            for k in range(pools.pace.shape[2]):
                pools.pace[b, p, k] = 1.0 if k == INFERENCE else speed_at(freq, fleet.bound[k])
            peak = fleet.devices[p] * fleet.peak_kw[p]
            mean += freq * peak
            weight += peak
        plants.freq[b, r] = mean / weight
    return changed


@kernel()
def node_power(lo, hi, dt, pools, plants, fleet, geo, ledger):
    """Phase: mean node power of the step per pool and region, and the share of nameplate that is awake.

    Where nodes are down, it is the idle power at which they will boot. Devices let to others run batch work; a pool
    that is not there draws nothing.
    """
    busy_h, load_h, awake, kw, let, away_h = (
        pools.busy_h, pools.load_h, pools.awake, pools.kw, pools.let, pools.away_h,
    )  # fmt: skip
    flows, node_kw, zone_awake, down = ledger.flows, plants.node_kw, plants.awake, plants.down_h
    region, idle_kw, peak_kw, asleep_kw = fleet.region, fleet.idle_kw, fleet.peak_kw, fleet.asleep_kw
    for b in range(lo, hi):
        for r in range(node_kw.shape[1]):
            node_kw[b, r] = 0.0
            zone_awake[b, r] = 0.0
        for p in range(region.shape[0]):
            r = region[p]
            busy, guests = busy_h[b, p] / dt, let[b, p]
            spare = max(0.0, pools.healthy[b, p] - busy - guests) if away_h[b, p] == 0.0 else 0.0
            up = spare if down[b, r] > 0.0 else spare * fleet.reserve[p]
            woken = max(0.0, busy + guests + up - awake[b, p]) * fleet.wake_h[p] / dt
            quiet = (up + woken) * idle_kw[p] + (spare - up) * asleep_kw[p]
            dynamic = peak_kw[p] * pools.drawn[b, p] - idle_kw[p]
            load = load_h[b, p] / dt + guests * fleet.load[BATCH, p]
            kw[b, p] = (busy + guests) * idle_kw[p] + load * dynamic + quiet
            awake[b, p] = busy + guests + up
            flows[b, r, F.idle] += quiet * dt
            node_kw[b, r] += kw[b, p]
            zone_awake[b, r] += awake[b, p] * peak_kw[p] / geo.design_kw[r]
