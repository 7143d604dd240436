"""Nodes: best fit against explicit lists of nodes, room, fragmentation, slow members of gangs."""

import copy
import heapq
import math

import numpy as np
import pytest

from gcn_env.core import nodes
from gcn_env.core.jit import kernel
from gcn_env.core.params import BATCH, INFERENCE
from gcn_env.core.places import pack
from gcn_env.core.state import FREE, PENDING, RUNNING, allocate
from tests.core.racks import check_nodes
from tests.core.yard import Yard, easy, run_through, sound_nodes
from tests.worlds import world

pytestmark = pytest.mark.smoke


@kernel()
def _take(b, j, jobs, pools, fleet):
    nodes.take(b, j, jobs, pools, fleet)


@kernel()
def _give_back(b, j, jobs, pools, fleet):
    nodes.give_back(b, j, jobs, pools, fleet)


@kernel()
def _pack(b, jobs, pools):
    pack(b, jobs, pools)


class Hall:
    """Pools of the smoke world with nodes of one size, whose jobs a test starts and ends."""

    def __init__(self, devices, node, places=64):
        sizes = {"devices": np.full(3, devices, np.int64), "node": np.full(3, node, np.int64)}
        self.fleet = world().params.fleet._replace(**sizes, slow=np.full(3, 0.5))
        self.s = allocate(1, places, 2, 3, 2, 4, node)
        self.s.pools.first[:] = self.s.pools.last[:] = -1
        sound_nodes(1, self.s.pools, self.fleet)
        self.serial = 0

    def start(self, pool, held, kind=BATCH):
        """Start a job; returns its number."""
        jobs = self.s.jobs
        j = jobs.n_live[0]
        jobs.n_live[0] += 1
        jobs.status[0, j], jobs.pool[0, j], jobs.held[0, j], jobs.kind[0, j] = RUNNING, pool, held, kind
        jobs.speed[0, j], jobs.order[0, j], self.serial = 1.0, self.serial, self.serial + 1
        _take(0, j, jobs, self.s.pools, self.fleet)
        return self.serial - 1

    def place(self, number):
        return int(np.flatnonzero(self.s.jobs.order[0, : self.s.jobs.n_live[0]] == number)[0])

    def end(self, number):
        j, jobs = self.place(number), self.s.jobs
        _give_back(0, j, jobs, self.s.pools, self.fleet)
        jobs.status[0, j] = FREE
        _pack(0, jobs, self.s.pools)


class ListedNodes:
    """Best fit as one would write it down: every node by itself, with its free devices.

    Of several nodes with equally little room, the one whose occupation changed last.
    """

    def __init__(self, n, node):
        self.node, self.free, self.changed, self.time = node, [node] * n, [0] * n, 0
        self.where = {}

    def spots(self, held):
        """[(node, devices)] of a job that comes now, or None."""
        whole, part = divmod(held, self.node)
        empty = [k for k, f in enumerate(self.free) if f == self.node]
        shared = [k for k, f in enumerate(self.free) if part <= f < self.node]
        out = [(k, self.node) for k in empty[:whole]]
        if len(out) < whole:
            return None
        if part > 0 and shared:
            out.append((min(shared, key=lambda k: (self.free[k], -self.changed[k])), part))
        elif part > 0:
            if len(empty) == whole:
                return None
            out.append((empty[whole], part))
        return out

    def move(self, spots, sign):
        self.time += 1
        for k, devices in spots:
            self.free[k] += sign * devices
            self.changed[k] = self.time

    def start(self, number, held):
        self.where[number] = self.spots(held)
        self.move(self.where[number], -1)

    def end(self, number):
        self.move(self.where.pop(number), 1)


def course(seed, steps=60):
    """Jobs that come and go on two pools: kernel and reference find the same room at every moment."""
    rand = np.random.default_rng(seed)
    node, n = int(rand.choice([1, 2, 3, 4, 8, 16])), int(rand.integers(1, 9))
    hall, listed = Hall(n * node, node), [ListedNodes(n, node) for _ in range(2)]
    alive = []
    for _ in range(steps):
        pool = int(rand.integers(2))
        small = rand.random() < 0.7
        held = int(rand.integers(1, (node if small else n * node) + 1))
        if rand.random() < 0.55 and len(alive) < 60:
            room = hall.s.pools.room[0, pool]
            for wanted in range(1, n * node + 1):
                assert (listed[pool].spots(wanted) is not None) == (wanted <= room)
            if held <= room:
                number = hall.start(pool, held)
                listed[pool].start(number, held)
                alive.append((number, pool))
        elif alive:
            number, pool = alive.pop(int(rand.integers(len(alive))))
            hall.end(number)
            listed[pool].end(number)
        for p in range(2):
            records = np.flatnonzero(hall.s.pools.node_pool[0] == p)
            mine = [*hall.s.pools.node_free[0, records], *[node] * hall.s.pools.empty[0, p]]
            taken = n - len(mine)
            assert sorted(mine + [0] * taken) == sorted(listed[p].free)
        check_nodes(hall.s, hall.fleet)


SEEDS = [*range(8), *(pytest.param(seed, marks=pytest.mark.compiled) for seed in range(8, 300))]


@pytest.mark.parametrize("seed", SEEDS)
def test_best_fit_equals_lists_of_nodes(seed):
    course(seed)


def test_fragmentation_blocks_a_gang_that_would_fit_by_count():
    """Two nodes of 8 with 5 of each taken: 6 devices are free, and no job of more than 3 starts."""
    yard = Yard(16, 5, node=8)
    yard.send([0.0, 0.01, 0.02, 0.03], [2.0, 1.0, 1.0, 0.5], [5, 5, 4, 3])
    yard.run(0.25)
    status = yard.s.jobs.status[0, :4]
    assert list(status == RUNNING) == [True, True, False, True]
    assert yard.s.pools.healthy[0, 0] - yard.s.pools.busy[0, 0] == 3
    assert yard.s.pools.room[0, 0] == 3
    check_nodes(yard.s, yard.fleet)
    for _ in range(4):
        yard.run(0.25)
    jobs = yard.s.jobs
    (gang,) = np.flatnonzero(jobs.order[0, : jobs.n_live[0]] == 2)
    assert jobs.ready[0, gang] == pytest.approx(1.01), "when a node has room for all four"


def test_slow_nodes_are_given_out_in_proportion():
    """Of 10 empty nodes 3 are slow: a job of 4 nodes gets 1.2 of them in the mean, and runs at half its speed."""
    got = []
    hall = Hall(80, 8)
    pools = hall.s.pools
    pools.slow[0, 0] = pools.degraded[0, 0] = 3
    for _ in range(1000):
        number = hall.start(0, 32)
        j = hall.place(number)
        bad = hall.s.jobs.bad[0, j]
        assert hall.s.jobs.speed[0, j] == (0.5 if bad > 0 else 1.0)
        got.append(bad)
        check_nodes(hall.s, hall.fleet)
        hall.end(number)
        assert pools.slow[0, 0] == 3
    assert np.mean(got) == pytest.approx(1.2, abs=0.08)
    assert np.mean(np.equal(got, 0)) == pytest.approx(35 / 210, abs=0.04)  # (7 choose 4) / (10 choose 4)


def test_leases_keep_their_own_time_on_slow_nodes():
    hall = Hall(8, 8)
    hall.s.pools.slow[0, 0] = hall.s.pools.degraded[0, 0] = 1
    j = hall.place(hall.start(0, 3, INFERENCE))
    assert hall.s.jobs.bad[0, j] == 1
    assert hall.s.jobs.speed[0, j] == 1.0
    assert hall.s.jobs.status[0, j] != PENDING


def reserve(now, need, nodes, running, ends):
    """(hour at which `need` devices fit, the nodes' state once all who end by then are gone)."""
    then, shadow = copy.deepcopy(nodes), math.inf
    for end in sorted({ends[i] for i in running}):
        if end > shadow:
            break
        for i in [i for i in running if ends[i] == end]:
            then.end(i)
        if then.spots(need) is not None:
            shadow = end
    return shadow, then


def easy_on_nodes(ready, work, held, n, node):
    """Start times under EASY on explicit nodes: as `yard.easy`, but whoever starts must find its nodes.

    A later job that ends after the head's hour may start if the head would still find its nodes then.
    """
    nodes, start, ends, queue, running = ListedNodes(n, node), {}, {}, [], []
    events = [(t, i, "comes") for i, t in enumerate(ready)]
    heapq.heapify(events)
    while events:
        now, who, what = heapq.heappop(events)
        if what == "comes":
            queue.append(who)
        else:
            running.remove(who)
            nodes.end(who)
        shadow, then = None, None
        head = None
        for i in list(queue):
            spots = nodes.spots(held[i])
            if spots is None:
                head = i if head is None else head
                continue
            if head is not None:
                if shadow is None:
                    shadow, then = reserve(now, held[head], nodes, running, ends)
                if now + work[i] > shadow:
                    after = copy.deepcopy(then)
                    after.move(spots, -1)
                    if after.spots(held[head]) is None:
                        continue
                    then = after
            queue.remove(i)
            nodes.start(i, held[i])
            start[i], ends[i] = now, now + work[i]
            running.append(i)
            heapq.heappush(events, (ends[i], i, "ends"))
    return np.array([start[i] for i in range(len(ready))])


@pytest.mark.parametrize("n_envs", [2, pytest.param(300, marks=pytest.mark.compiled)])
def test_easy_keeps_whole_nodes_for_the_head(n_envs):
    """Random queues on few nodes, in sixty-fourths of an hour: starts are the reference's, not those by count."""
    rand = np.random.default_rng(n_envs)
    n, jobs, node = 3, 30, 4
    ready = np.sort(rand.integers(1, 64 * 4, (n_envs, jobs)), 1) / 64
    work = rand.integers(1, 65, (n_envs, jobs)) / 64
    held = np.where(rand.random((n_envs, jobs)) < 0.6, rand.integers(1, node + 1, (n_envs, jobs)), 0)
    held = np.where(held == 0, rand.integers(1, n * node + 1, (n_envs, jobs)), held)
    yard = Yard(n * node, jobs, n_envs, node)
    yard.send(ready, work, held)
    wanted = np.array([easy_on_nodes(ready[b], work[b], held[b], n, node) for b in range(n_envs)])
    start, gone = run_through(yard, jobs, 1 / 64)
    np.testing.assert_array_equal(start, wanted)
    np.testing.assert_array_equal(gone, wanted + work)
    by_count = np.array(
        [easy(ready[b], work[b], held[b], np.zeros(jobs, bool), n * node) for b in range(n_envs)]
    )
    assert (wanted != by_count).any(1).mean() > 0.4, "nodes matter"
