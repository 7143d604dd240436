"""Clock frequency under power caps and throttling: E51, E52, and what they do to pools, jobs and leases."""

import numpy as np
import pytest

from gcn_env.core.costs import ENERGY, N_COSTS, RUN_H, SLO_USD, price_placement
from gcn_env.core.jit import kernel
from gcn_env.core.params import BATCH, CLASSES, INFERENCE, TRAINING
from gcn_env.core.power import capped_clock, full_clocks, node_power, power_at, set_clocks, speed_at
from gcn_env.core.state import CAP, N_CLASSES, RUNNING, allocate
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.core.yard import run_pools, settle_down, sound_nodes
from tests.worlds import world

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix


@kernel()
def _set(pools, plants, fleet):
    return set_clocks(0, pools, plants, fleet)


@kernel()
def _full(pools, plants):
    full_clocks(0, pools, plants)


@kernel()
def _price(p, now, jobs, pools, plants, signals, links, fleet, geo, money, work, cost):
    price_placement(b=0, j=0, p=p, now=now, jobs=jobs, pools=pools, plants=plants, signals=signals, links=links,
                    fleet=fleet, geo=geo, money=money, work=work, cost=cost)  # fmt: skip


class Rack:
    """The smoke world's pools with one running job each, as a test sets them."""

    def __init__(self, kind=BATCH):
        p = world().params
        self.p, self.geo = p, p.geo
        self.fleet = p.fleet._replace(wake_h=np.zeros(3), speed=np.ones_like(p.fleet.speed))
        self.s = s = allocate(1, 4, 2, 3, 2, 4)
        sound_nodes(1, s.pools, self.fleet)
        s.pools.first[:], s.pools.last[:] = -1, -1
        s.plants.throttle[:], s.plants.overhead[:], s.links.up[:] = 1.0, 1.2, 1.0
        s.plants.command[..., CAP] = 1.0
        _full(s.pools, s.plants)
        jobs = s.jobs
        jobs.n_live[0] = 3
        values = {
            "status": RUNNING,
            "held": 4,
            "gang": 4,
            "kind": kind,
            "speed": 1.0,
            "work": 10.0,
            "finish": 10.0,
        }
        values |= {"deadline": 1e6, "value": 2.0, "slo": 1e6, "pool": np.arange(3), "order": np.arange(3)}
        for name, value in values.items():
            getattr(jobs, name)[0, :3] = value
        settle_down(1, jobs, s.pools, self.fleet)

    def run(self, dt=0.25):
        s = self.s
        run_pools(s, dt, self.fleet, self.geo, self.p.work)
        node_power(0, 1, dt, s.pools, s.plants, self.fleet, self.geo, s.ledger)
        return s.ledger


def test_classes_are_as_many_as_the_state_has_room_for():
    assert len(CLASSES) == N_CLASSES


def test_the_capped_gpu_of_the_literature():
    """Validation row 32: P_s .3, gamma 2.5, m .5, cap .81: 93.7 % of the speed for 13.6 % less energy."""
    freq = capped_clock(0.81, 0.3)
    speed = speed_at(freq, 0.5)
    assert freq == pytest.approx(0.885, abs=0.01)
    assert power_at(freq, 0.3) == pytest.approx(0.81)
    assert speed == pytest.approx(0.937, abs=0.003)
    assert power_at(freq, 0.3) / speed - 1.0 == pytest.approx(-0.136, abs=0.002)


def test_energy_per_work_has_an_interior_minimum():
    """E51, E52 at device level, P_s .28: f = .56 for m = .1 and .46 for m = .5."""
    freqs = np.linspace(0.3, 1.0, 701)
    for bound, best in ((0.1, 0.56), (0.5, 0.46)):
        cost = [power_at(f, 0.28) / speed_at(f, bound) for f in freqs]
        assert freqs[int(np.argmin(cost))] == pytest.approx(best, abs=0.01)


def test_clocks_end_at_their_floor_and_at_nominal():
    assert capped_clock(1.0, 0.5) == capped_clock(1.2, 0.5) == 1.0
    assert capped_clock(0.5, 0.5) == capped_clock(0.2, 0.5) == 0.4
    for x in (power_at(1.0, 0.28), speed_at(1.0, 0.3)):
        assert x == 1.0


def test_the_lower_of_cap_and_throttling_counts():
    rack = Rack()
    plants, pools = rack.s.plants, rack.s.pools
    assert not _set(pools, plants, rack.fleet)
    plants.command[0, 0, CAP], plants.throttle[0, 0] = 0.7, 0.9
    assert _set(pools, plants, rack.fleet)
    assert not _set(pools, plants, rack.fleet), "nothing new"
    for p in (0, 1):
        freq = capped_clock(0.7, rack.fleet.static[p])
        assert freq < 0.9
        assert pools.freq[0, p] == freq
        assert pools.pace[0, p, TRAINING] == speed_at(freq, rack.fleet.bound[TRAINING])
        assert pools.pace[0, p, INFERENCE] == 1.0
    peak = rack.fleet.devices * rack.fleet.peak_kw
    assert plants.freq[0, 0] == pytest.approx((pools.freq[0, :2] * peak[:2]).sum() / peak[:2].sum())
    assert (pools.freq[0, 2], plants.freq[0, 1]) == (1.0, 1.0)
    plants.throttle[0, 0] = 0.5
    _set(pools, plants, rack.fleet)
    np.testing.assert_array_equal(pools.freq[0, :2], 0.5)


@pytest.mark.parametrize("cap", [1.0, 0.8, 0.6])
def test_work_and_power_under_a_cap(cap):
    """A capped step does the work E52 says, at the power E51 says; idle devices draw as ever."""
    rack = Rack()
    rack.s.plants.command[..., CAP] = cap
    ledger, fleet = rack.run(), rack.fleet
    freq = np.array([capped_clock(cap, s) for s in fleet.static])
    speed = np.array([speed_at(f, fleet.bound[BATCH]) for f in freq])
    np.testing.assert_allclose(rack.s.jobs.work[0, :3], 10.0 - 0.25 * speed)
    assert ledger.counts[0, C.work] == pytest.approx(4 * 0.25 * speed.sum())
    peak = fleet.peak_kw * np.array([power_at(f, s) for f, s in zip(freq, fleet.static, strict=True)])
    busy = fleet.idle_kw + fleet.load[BATCH] * (peak - fleet.idle_kw)
    spare = fleet.devices - 4
    quiet = spare * (fleet.reserve * fleet.idle_kw + (1 - fleet.reserve) * fleet.asleep_kw)
    np.testing.assert_allclose(rack.s.pools.kw[0], 4 * busy + quiet)
    np.testing.assert_allclose(rack.s.jobs.finish[0, :3], 10.0 / speed)


def test_a_cap_that_comes_and_goes_moves_the_end():
    """Half an hour capped, then none: the job ends later by exactly the work it missed."""
    rack = Rack()
    rack.s.plants.command[..., CAP] = 0.6
    rack.run(0.5)
    rack.s.plants.command[..., CAP] = 1.0
    rack.run(0.5)
    speed = [speed_at(capped_clock(0.6, s), rack.fleet.bound[BATCH]) for s in rack.fleet.static]
    np.testing.assert_allclose(rack.s.jobs.finish[0, :3], 10.0 + 0.5 * (1.0 - np.array(speed)))


def test_leases_do_not_last_longer_but_miss_what_they_cannot_serve():
    rack = Rack(INFERENCE)
    rack.s.plants.command[..., CAP] = 0.6
    ledger, fleet = rack.run(), rack.fleet
    served = np.array([speed_at(capped_clock(0.6, s), fleet.bound[INFERENCE]) for s in fleet.static])
    np.testing.assert_allclose(rack.s.jobs.work[0, :3], 9.75)
    np.testing.assert_allclose(rack.s.jobs.finish[0, :3], 10.0)
    assert ledger.counts[0, C.lease] == pytest.approx(0.75)
    assert ledger.counts[0, C.slo_miss] == pytest.approx(0.25 * (1.0 - served).sum())
    assert ledger.terms[0, T.slo] == pytest.approx(2.0 * 0.25 * (1.0 - served).sum())


def test_leases_too_far_miss_everything_and_are_credited_for_both():
    rack = Rack(INFERENCE)
    rtt = rack.geo.rtt_ms[0, rack.fleet.region] + rack.fleet.service_ms
    rack.s.jobs.slo[0, :3] = rtt / 1.5
    rack.s.plants.command[..., CAP] = 0.6
    ledger, fleet = rack.run(), rack.fleet
    served = np.array([speed_at(capped_clock(0.6, s), fleet.bound[INFERENCE]) for s in fleet.static])
    assert ledger.counts[0, C.slo_miss] == pytest.approx(0.75)
    assert ledger.terms[0, T.slo] == pytest.approx(2.0 * 0.25 * (1.0 - 0.5 * served).sum())


@pytest.mark.parametrize("kind", [BATCH, INFERENCE])
def test_prices_of_placements_follow_the_clock(kind):
    rack, cost = Rack(kind), np.zeros((2, N_COSTS))
    s = rack.s
    s.jobs.data_at[0, 0], s.jobs.origin[0, 0] = 0, 0
    for k, cap in enumerate((1.0, 0.6)):
        s.plants.command[..., CAP] = cap
        _set(s.pools, s.plants, rack.fleet)
        _price(
            1, 0.0, s.jobs, s.pools, s.plants, s.signals, s.links, rack.fleet, rack.geo, rack.p.money, rack.p.work,
            cost[k],
        )  # fmt: skip
    freq, static = capped_clock(0.6, rack.fleet.static[1]), rack.fleet.static[1]
    slower = 1.0 if kind == INFERENCE else speed_at(freq, rack.fleet.bound[kind])
    assert cost[1, RUN_H] == pytest.approx(cost[0, RUN_H] / slower)
    idle, peak, load = rack.fleet.idle_kw[1], rack.fleet.peak_kw[1], rack.fleet.load[kind, 1]
    kw = [idle + load * (peak * x - idle) - rack.fleet.asleep_kw[1] for x in (1.0, power_at(freq, static))]
    assert cost[1, ENERGY] / cost[0, ENERGY] == pytest.approx(kw[1] / kw[0] / slower)
    assert (cost[1, SLO_USD] > cost[0, SLO_USD]) == (kind == INFERENCE)


def test_jobs_wait_for_sleepers_and_not_for_those_awake():
    """A fifth of the idle devices is awake; a gang that needs more begins when the last has woken."""
    rack = Rack()
    rack.fleet = rack.fleet._replace(wake_h=np.full(3, 0.1), reserve=np.full(3, 0.2))
    s, jobs = rack.s, rack.s.jobs
    sound_nodes(1, s.pools, rack.fleet)
    jobs.status[0, :3], jobs.pool[0, :3], jobs.ready[0, :3] = 2, 0, (0.01, 0.02, 0.03)
    jobs.held[0, :3], jobs.gang[0, :3] = (6, 3, 2), (6, 3, 2)
    ledger = rack.run()
    begins = np.array([0.01, 0.12, 0.13])
    np.testing.assert_allclose(jobs.ready[0, :3], begins)
    assert s.pools.up[0, 0] == 11.0
    np.testing.assert_allclose(jobs.work[0, :3], 10.0 - (0.25 - begins))
    assert ledger.counts[0, C.wait] == pytest.approx(begins.sum())
    s.clock.now_h[:] = 0.0
    late = Rack()
    late.fleet = late.fleet._replace(wake_h=np.full(3, 0.1), reserve=np.zeros(3))
    sound_nodes(1, late.s.pools, late.fleet)
    late.s.jobs.status[0, :3], late.s.jobs.ready[0, :3] = 2, 0.2
    late.run()
    np.testing.assert_array_equal(late.s.jobs.work[0, :3], 10.0)
    late.run()
    np.testing.assert_allclose(late.s.jobs.work[0, :3], 10.0 - 0.2)
