"""Node power from what the pools ran: busy devices, idle ones kept awake, and sleepers (physics.md, 2.1, E50).

`P = P_idle + (P_peak - P_idle) * load` per busy device, with `load = u**beta` fixed per class and hardware. Idle
devices beyond the reserve sleep; waking costs `wake_h` hours at idle power.
"""

from __future__ import annotations

from gcn_env.core.jit import kernel
from gcn_env.ledger import FLOWS

F = FLOWS.ix


@kernel()
def node_power(lo, hi, dt, pools, plants, fleet, geo, ledger):
    """Phase: mean node power of the step per pool and region, and the share of nameplate that is awake."""
    busy_h, load_h, awake, kw = pools.busy_h, pools.load_h, pools.awake, pools.kw
    flows, node_kw, zone_awake, outage = ledger.flows, plants.node_kw, plants.awake, plants.outage_h
    region, idle_kw, peak_kw, asleep_kw = fleet.region, fleet.idle_kw, fleet.peak_kw, fleet.asleep_kw
    for b in range(lo, hi):
        for r in range(node_kw.shape[1]):
            node_kw[b, r] = 0.0
            zone_awake[b, r] = 0.0
        for p in range(region.shape[0]):
            r = region[p]
            if outage[b, r] > 0.0:
                kw[b, p], awake[b, p] = 0.0, 0.0
                continue
            busy = busy_h[b, p] / dt
            spare = max(0.0, pools.healthy[b, p] - busy)
            up = spare * fleet.reserve[p]
            woken = max(0.0, busy + up - awake[b, p]) * fleet.wake_h[p] / dt
            quiet = (up + woken) * idle_kw[p] + (spare - up) * asleep_kw[p]
            kw[b, p] = busy * idle_kw[p] + load_h[b, p] / dt * (peak_kw[p] - idle_kw[p]) + quiet
            awake[b, p] = busy + up
            flows[b, r, F.idle] += quiet * dt
            node_kw[b, r] += kw[b, p]
            zone_awake[b, r] += awake[b, p] * peak_kw[p] / geo.design_kw[r]
