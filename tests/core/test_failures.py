"""Failures: their rates, whole nodes, whom they hit, what they cost."""

import numpy as np
import pytest

from gcn_env.core.failures import fail
from gcn_env.core.jit import kernel
from gcn_env.core.params import BATCH, INFERENCE
from gcn_env.core.placement import send
from gcn_env.core.rng import seed_streams
from gcn_env.core.state import FAULTS, PENDING, RUNNING, TRANSIT, allocate
from gcn_env.ledger import COUNTS, TERMS
from tests.core.plant_fleet import no_site
from tests.core.yard import settle_down, sound_nodes
from tests.worlds import world

pytestmark = pytest.mark.smoke

C, T = COUNTS.ix, TERMS.ix
DT = 0.25


@kernel()
def _seed(n, state):
    for b in range(n):
        seed_streams(state, b, np.uint64(b))


@kernel()
def _send(j, p, now, jobs, links, fleet, geo, ledger):
    send(0, j, p, now, jobs, links, fleet, geo, ledger)


class Luck:
    """Pools and grids of the smoke world that break at the rates a test sets."""

    def __init__(
        self,
        n=1,
        places=32,
        fail_per_h=0.0,
        repair_h=10.0,
        outage_per_h=0.0,
        outage_h=2.0,
        node=8,
        slow_per_h=0.0,
        detect_h=6.0,
    ):
        p = world().params
        self.n = n
        self.fleet = p.fleet._replace(
            fail=np.full(3, fail_per_h),
            repair_h=np.full(3, repair_h),
            node=np.full(3, node, np.int64),
            degrade=np.full(3, slow_per_h),
            detect_h=np.full(3, detect_h),
        )
        self.geo = p.geo._replace(outage=np.full(2, outage_per_h), outage_h=np.full(2, outage_h))
        self.site = no_site(2)
        self.s = s = allocate(n, places, 2, 3, 2, 4, node)
        sound_nodes(n, s.pools, self.fleet)
        s.plants.throttle[:], s.pools.pace[:] = 1.0, 1.0
        s.pools.first[:] = -1
        s.pools.last[:] = -1
        s.jobs.pool[:], s.jobs.node[:] = -1, -1
        _seed(n, s.clock.rng)

    def run_jobs(self, pool, held, unsaved=0.5):
        """Jobs that run on `pool` everywhere."""
        jobs, k = self.s.jobs, len(held)
        jobs.n_live[:] = k
        for name, value in {
            "status": RUNNING,
            "pool": pool,
            "held": held,
            "gang": held,
            "speed": 1.0,
            "kind": BATCH,
        }.items():
            getattr(jobs, name)[:, :k] = value
        jobs.unsaved[:, :k], jobs.work[:, :k] = unsaved, 2.0
        settle_down(self.n, jobs, self.s.pools, self.fleet)

    def step(self, dt=DT):
        s = self.s
        fail(0, self.n, dt, s.clock, s.jobs, s.pools, s.plants, self.fleet, self.geo, self.site, s.ledger)
        return s


def test_nothing_breaks_without_rates():
    luck = Luck(4)
    luck.run_jobs(0, [8, 8])
    for _ in range(50):
        s = luck.step()
    np.testing.assert_array_equal(s.pools.healthy, np.broadcast_to(luck.fleet.devices, (4, 3)))
    assert (s.plants.outage_h == 0).all()
    assert (s.ledger.counts == 0).all()


@pytest.mark.compiled
def test_availability_of_nodes():
    """Failures at rate f and repairs of mean r: 1 / (1 + f r) of nodes are up."""
    luck = Luck(500, fail_per_h=0.02, repair_h=10.0, node=4)
    up = []
    for t in range(600):
        s = luck.step()
        assert (s.pools.healthy % 4 == 0).all()
        assert (s.pools.healthy >= 0).all()
        assert (s.pools.healthy <= luck.fleet.devices).all()
        if t > 200:
            up.append(s.pools.healthy / luck.fleet.devices)
    assert np.mean(up) == pytest.approx(1 / 1.2, rel=0.01)


@pytest.mark.compiled
def test_rate_and_length_of_outages():
    """Poisson, and log-normal in length with the scenario's mean (E57)."""
    luck = Luck(400, outage_per_h=0.05, outage_h=3.0)
    began, out, hours = 0, 0.0, 500 * DT
    before = np.zeros((400, 2))
    for _ in range(500):
        now = luck.step().plants.outage_h.copy()
        began += ((now > 0) & ((before == 0) | (now > before))).sum()
        out += (now > 0).sum() * DT
        before = now
    up_h = 400 * 2 * hours - out
    assert began / up_h == pytest.approx(0.05, rel=0.06)
    assert out / began == pytest.approx(3.0 + DT / 2, rel=0.08), "rounded up to whole steps"


def test_outages_begin_and_end_and_stop_no_job_by_themselves():
    luck = Luck(1, outage_per_h=1e9, outage_h=1.0)
    luck.run_jobs(2, [8, 4])
    s = luck.step()
    left = s.plants.outage_h.copy()
    assert (left > 0).all()
    luck.geo = luck.geo._replace(outage=np.zeros(2))
    for k in range(1, 60):
        np.testing.assert_allclose(luck.step().plants.outage_h, np.maximum(0.0, left - k * DT), atol=1e-12)
    assert (s.jobs.status[0, :2] == RUNNING).all()
    assert s.ledger.counts[0, C.killed] == 0


@pytest.mark.compiled
def test_generators_start_as_often_as_they_should():
    luck = Luck(500, outage_per_h=1e9)
    luck.site = no_site(2, generator_start=0.7, generator_kw=1.0)
    assert luck.step().plants.generator.mean() == pytest.approx(0.7, abs=0.05)
    luck = Luck(50, outage_per_h=1e9)
    luck.site = no_site(2, generator_start=1.0, generator_kw=0.0)
    assert (luck.step().plants.generator == 0).all()


@pytest.mark.parametrize("why", ["throttle", "breaker"])
def test_a_region_that_stops_loses_its_jobs(why):
    luck = Luck(1)
    luck.run_jobs(2, [8, 4])
    getattr(luck.s.plants, why)[0, 1] = 0.0 if why == "throttle" else 1.0
    s = luck.step()
    assert (s.jobs.status[0, :2] == PENDING).all()
    assert (s.pools.busy == 0).all()
    assert s.ledger.counts[0, C.killed] == 2
    assert s.ledger.counts[0, C.trips] == 1
    assert s.ledger.terms[0, T.restart] == pytest.approx(12 * 0.5 * luck.fleet.device_usd[2])
    assert s.plants.down_h[0, 1] == pytest.approx(1 / 6)
    assert s.plants.down_h[0, 0] == 0.0
    assert s.plants.breaker[0, 1] == 0.0


@pytest.mark.parametrize(
    ("interval", "unsaved", "dark_h", "lost"),
    [
        (0.0, 0.5, 0.2, 0.5),  # never saved: everything
        (0.4, 0.3, 0.2, 0.3),  # the checkpoint came before the nodes stopped
        (0.4, 0.1, 0.2, 0.5),  # it would have come in the dark: the one before counts
        (0.05, 0.0, 0.2, 0.2),
        (np.inf, 0.5, 0.2, 0.5),
    ],
)
def test_what_jobs_seemed_to_do_in_the_dark_is_lost(interval, unsaved, dark_h, lost):
    luck = Luck(1)
    luck.run_jobs(2, [4], unsaved=unsaved)
    s = luck.s
    s.clock.now_h[0], s.jobs.ready[0, 0], s.jobs.speed[0, 0], s.jobs.checkpoint[0, 0] = (
        10.0,
        9.0,
        1.0,
        interval,
    )
    s.pools.pace[:] = 1.0
    s.plants.throttle[0, 1], s.plants.still_h[0, 1] = 0.0, dark_h
    luck.step()
    assert s.jobs.work[0, 0] == pytest.approx(2.0 + lost)
    assert s.ledger.counts[0, C.lost_work] == pytest.approx(4 * lost)


def test_leases_are_credited_for_hours_in_the_dark():
    luck = Luck(1)
    luck.run_jobs(2, [4], unsaved=0.0)
    s, jobs = luck.s, luck.s.jobs
    jobs.kind[0, 0], jobs.value[0, 0], jobs.slo[0, 0], jobs.speed[0, 0] = INFERENCE, 3.0, 1e9, 1.0
    s.clock.now_h[0], jobs.ready[0, 0] = 10.0, 9.9
    s.pools.pace[:], s.pools.freq[:] = 1.0, 1.0
    s.plants.throttle[0, 1], s.plants.still_h[0, 1] = 0.0, 0.2
    luck.step()
    assert s.ledger.counts[0, C.slo_miss] == pytest.approx(0.1), "it began 0.1 h ago"
    assert s.ledger.terms[0, T.slo] == pytest.approx(0.3)


@pytest.mark.compiled
def test_faults_of_plants_begin_and_are_mended():
    luck = Luck(400)
    n = len(FAULTS)
    rates = 0.002 * np.arange(1, n + 1)
    luck.site = luck.site._replace(faults=np.tile(rates, (2, 1)), mend_h=np.full((2, n), 3.0))
    began, ill, steps = 0.0, np.zeros(n), 300
    for _ in range(steps):
        s = luck.step()
        ill += (s.plants.fault_h > 0).mean((0, 1))
        began += s.ledger.counts[:, C.faults].sum()
        s.ledger.counts[:] = 0.0
    assert began == pytest.approx(800 * steps * DT * rates.sum(), rel=0.1)
    assert ill[1:] / steps == pytest.approx(rates[1:] * (3.0 + DT / 2), rel=0.2)


def test_failures_do_not_depend_on_what_runs():
    idle, busy = (Luck(8, fail_per_h=0.05, outage_per_h=0.02) for _ in range(2))
    busy.run_jobs(0, [8, 8, 4])
    for _ in range(200):
        a, b = idle.step(), busy.step()
        np.testing.assert_array_equal(a.pools.healthy, b.pools.healthy)
        np.testing.assert_array_equal(a.plants.outage_h, b.plants.outage_h)
        np.testing.assert_array_equal(a.clock.rng, b.clock.rng)
    assert b.ledger.counts[:, C.killed].sum() > 0
    assert a.ledger.counts[:, C.killed].sum() == 0


@pytest.mark.compiled
def test_a_broken_node_hits_a_job_as_often_as_the_job_is_large():
    """Of 32 devices, 16 are held by one job, 8 by another and 8 by none."""
    luck = Luck(4000, fail_per_h=0.02)
    luck.run_jobs(0, [16, 8])
    s = luck.step()
    broken = (luck.fleet.devices[0] - s.pools.healthy[:, 0]) == 8
    hit = s.jobs.status[:, :2] == PENDING
    assert broken.sum() > 50
    assert not hit[s.pools.healthy[:, 0] == 32].any()
    assert hit[broken, 0].mean() == pytest.approx(0.5, abs=0.12)
    assert hit[broken, 1].mean() == pytest.approx(0.25, abs=0.12)
    np.testing.assert_array_equal(s.ledger.counts[:, C.killed], hit.sum(1))


def test_pools_never_run_more_than_is_healthy():
    luck = Luck(200, fail_per_h=2.0, repair_h=1e6)
    luck.run_jobs(0, [4, 4, 4, 4, 4, 4, 4, 4])
    for _ in range(12):
        s = luck.step()
        assert (s.pools.busy <= s.pools.healthy).all()
        jobs, runs = s.jobs, s.jobs.status == RUNNING
        np.testing.assert_array_equal(s.pools.busy[:, 0], (jobs.held * runs).sum(1))
    assert (s.pools.healthy == 0).any()


def test_data_of_a_transfer_that_failed_is_where_it_was():
    """A stop half way through a transfer: bytes that did not arrive cannot be read at the far end."""
    luck = Luck(1)
    luck.s.plants.throttle[:] = 0.0
    jobs = luck.s.jobs
    jobs.n_live[0], jobs.status[0, 0], jobs.gang[0, 0], jobs.kind[0, 0] = 1, PENDING, 4, BATCH
    jobs.data[0, 0], jobs.data_at[0, 0] = 1e6, 0
    luck.s.links.up[:] = 1.0
    _send(0, 2, 0.0, jobs, luck.s.links, luck.fleet, luck.geo, luck.s.ledger)
    assert jobs.status[0, 0] == TRANSIT
    assert jobs.ready[0, 0] > 100.0
    luck.step()
    assert jobs.status[0, 0] == PENDING
    assert jobs.data_at[0, 0] == 0
