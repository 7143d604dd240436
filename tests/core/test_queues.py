"""Queueing theory and EASY backfill, through the kernel: formulas for waits, a slow reference for schedules."""

import math

import numpy as np
import pytest

from gcn_env.core import rng
from gcn_env.core.jit import kernel
from gcn_env.core.params import BATCH, INFERENCE
from gcn_env.core.state import TRANSIT
from gcn_env.ledger import COUNTS, FLOWS
from tests.core.yard import Yard, easy, run_through

pytestmark = pytest.mark.smoke

C, F = COUNTS.ix, FLOWS.ix
EXPONENTIAL, CONSTANT = 0, 1
NODE = (1, 4, 6)  # devices per node, by pool


@kernel()
def _feed(lo, hi, until, rate, law, state, at, came, jobs):
    """Jobs of one device and mean work 1 h that come to pool 0 as a Poisson process; `at`: the next one's hour."""
    for b in range(lo, hi):
        while at[b] < until:
            j = jobs.n_live[b]
            jobs.n_live[b] = j + 1
            jobs.status[b, j], jobs.kind[b, j], jobs.pool[b, j] = TRANSIT, BATCH, 0
            jobs.gang[b, j], jobs.least[b, j], jobs.held[b, j], jobs.node[b, j] = 1, 1, 1, -1
            jobs.ready[b, j], jobs.arrival[b, j], jobs.deadline[b, j] = at[b], at[b], 1e9
            work = 1.0 if law == CONSTANT else -math.log(1.0 - rng.uniform(state, b, rng.ARRIVALS))
            jobs.work[b, j], jobs.speed[b, j], jobs.unsaved[b, j] = work, 1.0, 0.0
            jobs.order[b, j] = came[b]
            came[b] += 1
            at[b] += -math.log(1.0 - rng.uniform(state, b, rng.ARRIVALS)) / rate


def erlang_wait(servers, load):
    """Mean wait in M/M/c, in service times (Erlang 1917): C(c, a) / (c - a) at the offered load a."""
    a = servers * load
    tail = a**servers / math.factorial(servers) / (1.0 - load)
    return tail / (sum(a**k / math.factorial(k) for k in range(servers)) + tail) / (servers - a)


def deterministic_wait(load):
    """Mean wait in M/D/1, in service times (Pollaczek 1930, Khinchine 1932)."""
    return 0.5 * load / (1.0 - load)


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(
    ("servers", "load", "law", "wait"),
    [
        pytest.param(1, 0.5, EXPONENTIAL, erlang_wait(1, 0.5), id="M/M/1 at 0.5"),
        pytest.param(1, 0.7, EXPONENTIAL, erlang_wait(1, 0.7), id="M/M/1 at 0.7"),
        pytest.param(4, 0.8, EXPONENTIAL, erlang_wait(4, 0.8), id="M/M/4 at 0.8"),
        pytest.param(16, 0.85, EXPONENTIAL, erlang_wait(16, 0.85), id="M/M/16 at 0.85"),
        pytest.param(1, 0.7, CONSTANT, deterministic_wait(0.7), id="M/D/1 at 0.7"),
    ],
)
def test_mean_waits_are_those_of_the_formulas(servers, load, law, wait):
    """128 independent queues from empty, the first 5 % left out; hours waited over jobs that came (Little's law)."""
    n_envs, dt, steps, warm = 128, 12.0 / servers**0.5, 2400, 120
    yard = Yard(servers, 640, n_envs)
    state = np.zeros((n_envs, rng.N_STREAMS), np.uint64)
    state[:, rng.ARRIVALS] = np.random.default_rng(servers).integers(0, 2**63, n_envs, np.uint64)
    at, came = np.zeros(n_envs), np.zeros(n_envs, np.int64)
    waited, busy = np.zeros(n_envs), np.zeros(n_envs)
    for k in range(steps):
        if k == warm:
            early = came.copy()
        _feed(0, n_envs, (k + 1) * dt, servers * load, law, state, at, came, yard.s.jobs)
        ledger = yard.run(dt)
        if k >= warm:
            waited += ledger.counts[:, C.wait]
            busy += ledger.flows[:, 0, F.busy]
    jobs = came - early
    error = (waited / jobs).std(ddof=1) / n_envs**0.5 / wait
    assert error < 0.008, "enough jobs to tell 2 %"
    assert waited.sum() / jobs.sum() == pytest.approx(wait, rel=0.02)
    assert busy.mean() / ((steps - warm) * dt) == pytest.approx(servers * load, rel=0.01)


def instances(seed, n_envs, n):
    """Random queues in sixty-fourths of an hour: ties happen, sums are exact. (nodes, ready, work, held, first)."""
    rand = np.random.default_rng(seed)
    shape = (n_envs, len(NODE), n)
    nodes = rand.integers(1, 7, shape[:2])
    ready = np.sort(rand.integers(1, 64 * rand.integers(1, 7, (n_envs, len(NODE), 1)), shape), -1) / 64
    work = rand.integers(1, 65, shape) / 64
    held = 1 + (rand.random(shape) ** 2 * (nodes * NODE)[..., None]).astype(int)
    return nodes, ready, work, held, rand.random(shape) < 0.15


@pytest.mark.parametrize("n_envs", [2, pytest.param(334, marks=pytest.mark.compiled)])
def test_easy_backfill_equals_the_reference(n_envs):
    """A thousand queues, three pools of nodes of 1, 4 and 6 devices: every start and every end, ties included."""
    n = 24
    nodes, ready, work, held, first = instances(n_envs, n_envs, n)
    yard = Yard(6 * max(NODE), len(NODE) * n, n_envs, NODE)
    yard.serve(nodes)
    yard.s.sources.leased[:] = 10_000
    flat = [a.reshape(n_envs, -1) for a in (ready, work, held)]
    kind = np.where(first, INFERENCE, BATCH).reshape(n_envs, -1)
    yard.send(*flat, kind, pool=np.repeat(np.arange(len(NODE)), n))
    wanted = np.array([
        [easy(ready[b, p], work[b, p], held[b, p], first[b, p], nodes[b, p], size) for p, size in enumerate(NODE)]
        for b in range(n_envs)
    ]).reshape(n_envs, -1)  # fmt: skip
    start, gone = run_through(yard, len(NODE) * n, 1 / 64)
    np.testing.assert_array_equal(start, wanted)
    np.testing.assert_array_equal(gone, wanted + flat[1])
    assert (wanted > flat[0]).mean() > 0.3, "queues form"
