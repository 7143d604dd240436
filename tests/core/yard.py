"""One pool's yard: jobs on their way to it, run by the kernel; and EASY backfill as a slow reference says it."""

import heapq
import math

import numpy as np

from gcn_env.core.execution import execute
from gcn_env.core.jit import kernel
from gcn_env.core.nodes import give_back, reset_nodes, take
from gcn_env.core.params import BATCH
from gcn_env.core.state import FREE, RUNNING, TRANSIT, allocate
from tests.worlds import world


@kernel()
def sound_nodes(n_envs, pools, fleet):
    """Every node of every pool is sound and empty."""
    for b in range(n_envs):
        reset_nodes(b, b, pools, fleet)


@kernel()
def settle_down(n_envs, jobs, pools, fleet):
    """Jobs that are said to run take their devices."""
    for b in range(n_envs):
        for j in range(jobs.n_live[b]):
            if jobs.status[b, j] == RUNNING:
                take(b, j, jobs, pools, fleet)


@kernel()
def give_back_all(n_envs, jobs, pools, fleet):
    """Jobs that run leave their devices, and are gone."""
    for b in range(n_envs):
        for j in range(jobs.n_live[b]):
            if jobs.status[b, j] == RUNNING:
                give_back(b, j, jobs, pools, fleet)
                jobs.status[b, j] = FREE


def run_pools(s, dt, fleet, geo, work, lo=0, hi=None):
    """Pools of environments [lo, hi) at work for `dt` h, with an empty ledger before; returns the ledger."""
    hi = len(s.clock.now_h) if hi is None else hi
    for part in ("terms", "flows", "counts"):
        getattr(s.ledger, part)[:] = 0.0
    execute(lo, hi, dt, s.clock, s.jobs, s.sources, s.pools, s.plants, fleet, geo, work, s.ledger)
    s.clock.now_h[lo:hi] += dt
    return s.ledger


class Yard:
    """One pool of the smoke world, as many devices as asked for, and jobs on their way to it."""

    def __init__(self, devices, n_jobs, n_envs=1, node=1):
        p = world().params
        self.geo, self.work = p.geo, p.work
        sizes = {"devices": np.full(3, devices, np.int64), "node": np.full(3, node, np.int64)}
        self.fleet = p.fleet._replace(**sizes, wake_h=np.zeros(3))
        self.s = s = allocate(n_envs, n_jobs, 2, 3, 2, 4, int(np.max(node)))
        sound_nodes(n_envs, s.pools, self.fleet)
        s.pools.first[:] = -1
        s.pools.last[:] = -1
        for whole in (s.plants.throttle, s.plants.command, s.pools.pace, s.pools.freq, s.pools.drawn):
            whole[:] = 1.0
        s.jobs.pool[:], s.jobs.node[:] = -1, -1
        s.jobs.slo[:] = math.inf

    def serve(self, nodes):
        """So many nodes in service: a number, or one a pool."""
        pools = self.s.pools
        pools.empty[:] = nodes
        pools.healthy[:] = pools.room[:] = pools.empty * self.fleet.node

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
        values |= {"gang": held, "least": held, "kind": kind, "speed": 1.0, "order": np.arange(n)}
        values |= {"deadline": 1e6, "value": 1.0, "checkpoint": checkpoint}
        for name, value in values.items():
            getattr(jobs, name)[b, :n] = value

    def run(self, dt, lo=0, hi=None):
        return run_pools(self.s, dt, self.fleet, self.geo, self.work, lo, hi)


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


class Racks:
    """Nodes of `size` devices each, as a list that says what is free on each."""

    def __init__(self, nodes, size):
        self.size, self.free, self.touched, self.held, self.clock = size, [size] * nodes, [0] * nodes, {}, 0

    def room_for(self, held, free):
        """[(node, devices)] for a job: whole empty nodes, and for the rest the shared one with least room.

        Of equals the one last touched; None if it does not fit. `free` says what is free on each node.
        """
        whole, part = divmod(held, self.size)
        empty = [k for k, f in enumerate(free) if f == self.size]
        shared = [(f, -self.touched[k], k) for k, f in enumerate(free) if part and part <= f < self.size]
        if shared:
            return (
                [(k, self.size) for k in empty[:whole]] + [(min(shared)[2], part)]
                if len(empty) >= whole
                else None
            )
        if len(empty) < whole + (part > 0):
            return None
        return [(k, self.size) for k in empty[:whole]] + [(k, part) for k in empty[whole : whole + 1] if part]

    def take(self, i, held):
        """Job `i` gets its devices."""
        self.held[i] = self.room_for(held, self.free)
        self._change(i, -1)

    def leave(self, i):
        """Job `i` leaves them."""
        self._change(i, 1)
        del self.held[i]

    def _change(self, i, sign):
        self.clock += 1
        for k, n in self.held[i]:
            self.free[k] += sign * n
            self.touched[k] = self.clock

    def then(self, ends, hour, taken=()):
        """What is free on each node at `hour`, if `taken` were taken now and nothing else started."""
        free = list(self.free)
        for i, end in ends.items():
            for k, n in self.held[i] if end <= hour else ():
                free[k] += n
        for k, n in taken:
            free[k] -= n
        return free


def easy(ready, work, held, first, nodes, size=1):
    """Start times under EASY on `nodes` nodes of `size` devices: a slow reference that says what it does.

    Events (a job comes, a job ends) in order of time, then of arrival number. After each, in queue order
    (inference, then time of coming): start heads while they fit; the next head is promised the hour at which it
    would fit if only running jobs ended; start later jobs that fit and, if they run beyond that hour, leave it room
    then.
    """
    start, events = {}, [(t, i, "comes") for i, t in enumerate(ready)]
    heapq.heapify(events)
    queue, ends, racks = [], {}, Racks(nodes, size)
    while events:
        now, who, what = heapq.heappop(events)
        if what == "comes":
            queue.append(who)
            queue.sort(key=lambda i: (not first[i], ready[i], i))
        else:
            racks.leave(who)
            del ends[who]

        def begin(i, now=now):
            racks.take(i, held[i])
            queue.remove(i)
            start[i], ends[i] = now, now + work[i]
            heapq.heappush(events, (ends[i], i, "ends"))

        while queue and racks.room_for(held[queue[0]], racks.free):
            begin(queue[0])
        if not queue:
            continue
        head = held[queue[0]]
        promised = next(
            (t for t in sorted(set(ends.values())) if racks.room_for(head, racks.then(ends, t))), math.inf
        )
        for i in list(queue[1:]):
            nodes = racks.room_for(held[i], racks.free)
            if nodes and (
                now + work[i] <= promised or racks.room_for(head, racks.then(ends, promised, nodes))
            ):
                begin(i)
    return np.array([start[i] for i in range(len(ready))])
