"""One pool's yard: jobs on their way to it, run by the kernel; and EASY backfill as a slow reference says it."""

import heapq
import math

import numpy as np

from gcn_env.core.execution import execute
from gcn_env.core.params import BATCH
from gcn_env.core.state import RUNNING, TRANSIT, allocate
from tests.worlds import world


class Yard:
    """One pool of the smoke world, as many devices as asked for, and jobs on their way to it."""

    def __init__(self, devices, n_jobs, n_envs=1):
        p = world().params
        self.geo = p.geo
        self.fleet = p.fleet._replace(devices=np.full(3, devices, np.int64), wake_h=np.zeros(3))
        self.s = s = allocate(n_envs, n_jobs, 2, 3, 2, 4)
        s.pools.healthy[:] = devices
        s.pools.first[:] = -1
        s.pools.last[:] = -1
        for whole in (s.plants.throttle, s.plants.command, s.pools.pace, s.pools.freq, s.pools.drawn):
            whole[:] = 1.0
        s.jobs.pool[:] = -1
        s.jobs.slo[:] = math.inf

    def send(self, ready, work, held, kind=BATCH, b=slice(None), checkpoint=0.0, pool=0):
        """Jobs on their way, one a place, in the order given."""
        jobs, n = self.s.jobs, len(np.atleast_1d(np.asarray(ready).T))
        jobs.n_live[b] = n
        values = {
            "status": TRANSIT,
            "pool": pool,
            "ready": ready,
            "arrival": ready,
            "work": work,
            "held": held,
        }
        values |= {"gang": held, "kind": kind, "speed": 1.0, "order": np.arange(n)}
        values |= {"deadline": 1e6, "value": 1.0, "checkpoint": checkpoint}
        for name, value in values.items():
            getattr(jobs, name)[b, :n] = value

    def run(self, dt, lo=0, hi=None):
        s = self.s
        hi = len(s.clock.now_h) if hi is None else hi
        for part in ("terms", "flows", "counts"):
            getattr(s.ledger, part)[:] = 0.0
        execute(lo, hi, dt, s.clock, s.jobs, s.sources, s.pools, s.plants, self.fleet, self.geo, s.ledger)
        s.clock.now_h[lo:hi] += dt
        return s.ledger


def run_through(yard, n, dt, steps=10**6):
    """Start of each of `n` jobs [B, n] (NaN: not seen to run), and the step's end at which it was gone.

    `steps` control steps, or as many as there are jobs for.
    """
    jobs, now = yard.s.jobs, yard.s.clock.now_h
    start, gone = np.full((2, len(now), n), np.nan)
    while steps > 0 and jobs.n_live.any():
        yard.run(dt)
        steps -= 1
        b, j = np.nonzero(np.arange(jobs.status.shape[1]) < jobs.n_live[:, None])
        order, ran = jobs.order[b, j], jobs.status[b, j] == RUNNING
        start[b[ran], order[ran]] = jobs.ready[b[ran], j[ran]]
        left = np.isnan(gone)
        left[b, order] = False
        gone[left] = np.broadcast_to(now[:, None], gone.shape)[left]
    return start, gone


def reserved(need, room, running, held):
    """(when `need` devices will be free, how many are spare then)."""
    for end in sorted(set(running.values())):
        room += sum(held[i] for i in running if running[i] == end)
        if room >= need:
            return end, room - need
    return math.inf, 0


def easy(ready, work, held, first, devices):
    """Start times under EASY: a slow reference that says what it does.

    Events (a job comes, a job ends) in order of time, then of arrival number. After each, in queue order
    (inference, then time of coming): start heads while they fit; give the next head a reservation at the time
    when enough devices are free; start later jobs that end by then, or that leave enough for the head then.
    """
    start, events = {}, [(t, i, "comes") for i, t in enumerate(ready)]
    heapq.heapify(events)
    queue, running = [], {}
    while events:
        now, who, what = heapq.heappop(events)
        if what == "comes":
            queue.append(who)
            queue.sort(key=lambda i: (not first[i], ready[i], i))
        else:
            del running[who]

        def begin(i, now=now):
            queue.remove(i)
            start[i], running[i] = now, now + work[i]
            heapq.heappush(events, (running[i], i, "ends"))

        def free():
            return devices - sum(held[i] for i in running)

        while queue and held[queue[0]] <= free():
            begin(queue[0])
        if not queue:
            continue
        shadow, spare = reserved(held[queue[0]], free(), running, held)
        for i in list(queue[1:]):
            if held[i] > free():
                continue
            if now + work[i] <= shadow:
                begin(i)
            elif held[i] <= spare:
                spare -= held[i]
                begin(i)
    return np.array([start[i] for i in range(len(ready))])
