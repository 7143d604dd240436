"""Jobs and traffic out of the simulator's own kernels: `arrive` and `traffic` on the world of `world.yaml`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gcn_env import load_world
from gcn_env.core.jit import kernel
from gcn_env.core.params import LEASES
from gcn_env.core.rng import seed_streams
from gcn_env.core.state import FREE, allocate
from gcn_env.core.workload import arrive, reset_sources, traffic
from gcn_env.jobs.arrivals import arrival_process
from gcn_env.ledger import COUNTS

from .samples import FINE, NO_JOBS, Sample

STEP_H, RATE_STEP_H = 0.25, 1.0 / 30.0  # of rates: short enough for bursts of minutes
SPLIT = 0


@kernel()
def begin(n, seed, split, clock, sources, jobs, work):
    """Seed and reset the sources of `n` environments."""
    for b in range(n):
        seed_streams(clock.rng, b, np.uint64(seed + b))
        reset_sources(b, split, clock, sources, jobs, work)


@kernel()
def rates(n, s, split, clock, sources, work, geo, bank, out):
    """Traffic of source `s` now, over its mean, into `out` [n]."""
    for b in range(n):
        total = 0.0
        for r in range(geo.utc_offset_h.shape[0]):
            total += traffic(b, clock.now_h[b], s, r, split, bank.weekday[clock.year[b]], sources, work, geo)
        out[b] = total / work.rate[s]


class Generator:
    """The compiled world and the draws of its sources."""

    def __init__(self):
        self.world = load_world(Path(__file__).with_name("world.yaml"))
        self.names = list(self.world.source_names)

    def draw(self, name, days, weekday, replicas, seed=0, tick=lambda: None):
        """`replicas` independent samples of `days` days from a `weekday` on, at the trace's own mean rate."""
        p, s = self.world.params, self.names.index(name)
        leases = p.work.mode[s] == LEASES
        only = np.arange(len(self.names)) == s
        rate = 1.0 if leases else arrival_process(p_table(self.world, name)).batches_per_h
        work = p.work._replace(rate=np.where(only, rate, 0.0))
        state = allocate(
            replicas, self.world.scenario.decisions.job_places, 1, self.world.n_pools, 1, len(self.names)
        )
        clock, jobs = state.clock, state.jobs
        clock.start_h[:] = 24.0 * ((weekday - int(p.bank.weekday[0])) % 7)
        clock.now_h[:] = clock.start_h
        begin(replicas, seed, SPLIT, clock, state.sources, jobs, work)
        step_h = RATE_STEP_H if leases else STEP_H
        steps, level = round(24 * days / step_h), np.zeros(replicas)
        fine, found = np.zeros((replicas, FINE * 24 * days)), [[] for _ in range(replicas)]
        for k in range(steps):
            if leases:
                rates(replicas, s, SPLIT, clock, state.sources, work, p.geo, p.bank, level)
                fine[:, int(k * step_h * FINE + 1e-9)] += level * step_h * FINE
            quiet = work._replace(rate=np.zeros_like(rate * only)) if leases else work
            arrive(
                0,
                replicas,
                step_h,
                SPLIT,
                clock,
                state.sources,
                jobs,
                quiet,
                p.geo,
                p.bank,
                p.money,
                state.ledger,
            )
            clock.step[:] += 1
            clock.now_h[:] = clock.start_h + clock.step * step_h
            if not leases:
                collect(state, clock.start_h, found)
            tick()
        if leases:
            return [Sample(f.reshape(-1, FINE).mean(1), weekday, fine=f) for f in fine]
        assert state.ledger.counts[:, COUNTS.ix.dropped].sum() == 0.0
        return [_sample(parts, days, weekday) for parts in found]


def p_table(world, name):
    """The table of a source."""
    return world.scenario.jobs[name].table


def collect(state, start_h, found):
    """Take the jobs that arrived (hour, gang, hours of work) and free their places."""
    jobs = state.jobs
    for b, n in enumerate(jobs.n_live):
        if n:
            row = np.stack(
                [jobs.arrival[b, :n] - start_h[b], jobs.gang[b, :n].astype(float), jobs.work[b, :n]]
            )
            found[b].append(row)
            jobs.status[b, :n] = FREE
    jobs.n_live[:] = 0


def _sample(parts, days, weekday):
    hour, gang, work_h = np.concatenate(parts, 1) if parts else (NO_JOBS, NO_JOBS, NO_JOBS)
    counts = np.histogram(hour, np.arange(24 * days + 1))[0].astype(float)
    return Sample(counts, weekday, hour, gang, work_h)
