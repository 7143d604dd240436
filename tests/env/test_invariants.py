"""What holds after every step, whatever the actions, the failures and the outages are."""

import numpy as np
import pytest

from gcn_env.core.params import INFERENCE
from gcn_env.core.state import CARBON, FREE, PENDING, PRICE, QUEUED, RUNNING
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.worlds import CALM, ROUGH, legal_actions, make, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
COOLING = [F.air_fans, F.compressors, F.pumps, F.rejection]


def check_jobs(sim):
    """Each live job is in one state; pools, queues and leases count what is there."""
    s, w = sim.state, sim.world.params
    jobs, pools = s.jobs, s.pools
    for b in range(sim.n_envs):
        n = jobs.n_live[b]
        assert sorted(jobs.live[b]) == list(range(jobs.live.shape[1])), "the live list is a permutation"
        live = jobs.live[b, :n]
        assert (jobs.status[b, live] != FREE).all()
        assert (jobs.status[b, jobs.live[b, n:]] == FREE).all()
        assert len(set(jobs.order[b, live])) == n, "orders of arrival differ"
        assert (jobs.work[b, live] >= 0.0).all()
        assert (jobs.unsaved[b, live] >= 0.0).all()
        status, pool, held = jobs.status[b, live], jobs.pool[b, live], jobs.held[b, live]
        assert ((pool >= 0) == (status != PENDING)).all()
        assert (held[status == PENDING] == 0).all()
        for p in range(len(w.fleet.region)):
            there = pool == p
            assert pools.busy[b, p] == held[there & (status == RUNNING)].sum()
            assert pools.waiting[b, p] == (there & (status == QUEUED)).sum()
        lease = jobs.kind[b, live] == INFERENCE
        leased = np.zeros_like(s.sources.leased[b])
        np.add.at(
            leased, (jobs.source[b, live][lease], jobs.origin[b, live][lease]), jobs.gang[b, live][lease]
        )
        np.testing.assert_array_equal(s.sources.leased[b], leased)
        shown = jobs.slot[b][jobs.slot[b] >= 0]
        assert len(set(shown)) == len(shown)
        assert (jobs.status[b, shown] == PENDING).all()
    assert (pools.busy >= 0).all()
    assert (pools.busy <= pools.healthy).all()
    assert (pools.healthy >= 0).all()
    assert (pools.healthy <= w.fleet.devices).all()
    assert (pools.healthy % w.fleet.node == 0).all()


def check_law(sim):
    """No job is sent, queued or run where law, trust, memory, hardware or an outage forbid it."""
    s, fleet, geo = sim.state, sim.world.params.fleet, sim.world.params.geo
    jobs = s.jobs
    b, j = np.nonzero((jobs.status != FREE) & (jobs.status != PENDING))
    p = jobs.pool[b, j]
    r = fleet.region[p]
    speed = fleet.speed[jobs.kind[b, j], p]
    assert (speed > 0).all()
    assert (jobs.memory[b, j] <= fleet.memory[p]).all()
    assert (jobs.trust[b, j] <= fleet.trust[p]).all()
    assert ((jobs.legal[b, j] >> geo.jurisdiction[r].astype(np.uint32)) & 1 == 1).all()
    assert (s.plants.outage_h[b, r] == 0.0).all()
    gang = jobs.gang[b, j]
    wanted = np.where(jobs.kind[b, j] == INFERENCE, np.ceil(gang / speed - 1e-9), gang)
    np.testing.assert_array_equal(jobs.held[b, j], wanted)
    assert (jobs.held[b, j] <= fleet.devices[p]).all()


def check_money(sim, before, reset_counts, sums):
    """The bill adds up: terms to reward, steps to episode, flows to grid, grid to money."""
    ledger, money = sim.state.ledger, sim.world.params.money
    for b in range(sim.n_envs):
        usd = 0.0
        for k in range(len(TERMS)):
            usd += ledger.terms[b, k]
        assert sim.reward[b] * money.reference_usd == pytest.approx(-usd, rel=1e-15, abs=0)
        assert sim.reward[b] == -usd / money.reference_usd
    for name, table in (("terms", TERMS), ("flows", FLOWS), ("counts", COUNTS)):
        step = getattr(ledger, name)
        assert np.isfinite(step).all()
        assert (step >= table.low).all(), [
            table.names[k] for k in np.unique(np.nonzero(step < table.low)[-1])
        ]
        sums[name] = sums.get(name, reset_counts if name == "counts" else 0.0) + step
        np.testing.assert_allclose(getattr(ledger, f"{name}_sum"), sums[name], rtol=1e-12, atol=1e-12)
    f = ledger.flows
    used = f[..., F.it] + f[..., COOLING].sum(-1) + f[..., F.ups_loss] + f[..., F.pdu_loss] + f[..., F.misc]
    np.testing.assert_allclose(f[..., F.grid], used, rtol=1e-12)
    np.testing.assert_allclose(f[..., F.carbon], f[..., F.grid] * before[..., CARBON] / 1e3, rtol=1e-12)
    np.testing.assert_allclose(
        ledger.terms[:, T.energy], (f[..., F.grid] * before[..., PRICE]).sum(1) / 1e3, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        ledger.terms[:, T.carbon], f[..., F.carbon].sum(1) * money.carbon_usd, rtol=1e-12
    )
    np.testing.assert_allclose(
        ledger.terms[:, T.water], (f[..., F.water] * money.water_usd).sum(1), rtol=1e-12
    )
    rejected, stored = f[..., F.heat_rejected], f[..., F.heat_stored]
    scale = np.maximum(np.abs(rejected) + np.abs(stored), 1.0)
    assert (np.abs(used - rejected - stored) / scale).max() < 1e-9, "first law"
    quiet = f[..., F.idle] + f[..., F.server_fans] + f[..., F.leakage]
    assert (quiet <= f[..., F.it] + 1e-9).all()


def check_flow_of_jobs(sim):
    counts, jobs = sim.state.ledger.counts_sum, sim.state.jobs
    np.testing.assert_array_equal(
        counts[:, C.arrived], counts[:, C.completed] + jobs.n_live + counts[:, C.dropped]
    )
    assert (counts[:, C.late] <= counts[:, C.completed]).all()


def run_checked(sim, seed, steps, choose):
    rng, sums = np.random.default_rng(seed), {}
    sim.reset([seed])
    start = sim.state.ledger.counts_sum.copy()
    check_jobs(sim)
    for _ in range(steps):
        before = sim.state.signals.now.copy()
        sim.step(choose(rng, sim))
        check_jobs(sim)
        check_law(sim)
        check_money(sim, before, start, sums)
        check_flow_of_jobs(sim)
    return sim.state.ledger.counts_sum


@pytest.mark.smoke
def test_every_phase_in_brief():
    """A few steps of a rough day: what the plain-Python run repeats."""
    run_checked(make(overrides=ROUGH), 3, 6, wild_actions)


@pytest.mark.parametrize("choose", [wild_actions, legal_actions])
@pytest.mark.parametrize("seed", [0, 1000])
def test_rough_days(choose, seed):
    counts = run_checked(make(overrides=ROUGH, n_envs=6, autoreset=False), seed, 96, choose)
    assert (counts[:, C.killed] > 0).all()
    assert (counts[:, C.placed] > 0).all()


def test_a_full_memory_drops_and_charges():
    overrides = ROUGH | {"decisions.job_places": 24, "jobs.batch.load": 0.3}
    sim = make(overrides=overrides, n_envs=4, autoreset=False)
    counts = run_checked(sim, 5, 60, wild_actions)
    assert (counts[:, C.dropped] > 0).any()
    dropped = sim.state.ledger.terms_sum[:, T.dropped] > 0
    np.testing.assert_array_equal(dropped, counts[:, C.dropped] > 0)


def test_the_default_world():
    run_checked(make("default", n_envs=2, autoreset=False), 11, 40, wild_actions)


def test_moves_and_illegal_choices_are_counted():
    """Data moved, egress and illegal choices follow from the actions and what the mask said before them."""
    sim = make(overrides=ROUGH, n_envs=4, autoreset=False)
    sim.reset([9])
    w, rng = sim.world, np.random.default_rng(9)
    q, p = w.n_slots, w.n_pools
    for _ in range(96):
        mask = sim.obs["mask"][:, : q * (p + 1)].reshape(-1, q, p + 1) > 0.5
        jobs = sim.state.jobs
        slot, data, at = jobs.slot.copy(), jobs.data.copy(), jobs.data_at.copy()
        act = wild_actions(rng, sim)
        gb, usd, placed, illegal = np.zeros((4, 4))
        for b in range(4):
            for k in range(q):
                a = act[b, k]
                if a == 0:
                    continue
                if not 0 < a <= p or not mask[b, k, a]:
                    illegal[b] += 1
                    continue
                placed[b] += 1
                j, to = slot[b, k], w.pool_region[a - 1]
                if at[b, j] != to:
                    gb[b] += data[b, j]
                    usd[b] += data[b, j] * w.params.geo.egress_usd[at[b, j], to]
            cooling = act[b, q:]
            illegal[b] += ((cooling < 0) | (cooling >= w.n_levels)).sum()
        sim.step(act)
        counts = sim.state.ledger.counts
        np.testing.assert_allclose(counts[:, C.moved], gb, rtol=1e-12)
        np.testing.assert_allclose(sim.state.ledger.terms[:, T.egress], usd, rtol=1e-12)
        np.testing.assert_array_equal(counts[:, C.placed], placed)
        np.testing.assert_array_equal(counts[:, C.illegal], illegal)


def test_waiting_lateness_work_and_service_recomputed():
    """On a calm day, the step's hours follow from the jobs before and after it."""
    sim = make(
        overrides=CALM | {"jobs.training.load": 0.9, "jobs.batch.slack_h": 0.0}, n_envs=4, autoreset=False
    )
    sim.reset([21])
    rng = np.random.default_rng(21)
    fleet, geo = sim.world.params.fleet, sim.world.params.geo
    for _ in range(95):
        jobs, t0 = sim.state.jobs, sim.state.clock.now_h.copy()
        before = [(jobs.live[b, : jobs.n_live[b]].copy(), jobs.work[b].copy()) for b in range(4)]
        throttle = sim.state.plants.throttle.copy()
        assert (throttle > 0).all()
        sim.step(legal_actions(rng, sim))
        t1, counts, terms = sim.state.clock.now_h, sim.state.ledger.counts, sim.state.ledger.terms
        for b in range(4):
            live = set(jobs.live[b, : jobs.n_live[b]])
            new = [
                j for j in live | set(np.flatnonzero(jobs.arrival[b] > t0[b])) if j not in set(before[b][0])
            ]
            wait = late = late_usd = lease = slo = work = ended_late = 0.0
            for j in sorted(set(before[b][0]) | set(new)):
                done = j not in live
                end = jobs.finish[b, j] if done else t1[b]
                since = max(t0[b], jobs.arrival[b, j])
                ran = done or jobs.status[b, j] == RUNNING
                waited = max(0.0, (min(end, jobs.ready[b, j]) if ran else end) - since)
                wait += waited
                had = before[b][1][j] if j in set(before[b][0]) else jobs.total[b, j]
                work += jobs.gang[b, j] * (had - (0.0 if done else jobs.work[b, j]))
                if jobs.kind[b, j] == INFERENCE:
                    served = end - since - waited
                    lease += end - since
                    over = 0.0
                    if served > 0:
                        p = jobs.pool[b, j]
                        rtt = geo.rtt_ms[jobs.origin[b, j], fleet.region[p]]
                        over = (rtt + fleet.service_ms[p]) / jobs.slo[b, j] - 1
                    slo += (waited + served * min(1.0, max(0.0, over))) * jobs.value[b, j]
                else:
                    overdue = max(0.0, end - max(since, jobs.deadline[b, j]))
                    late, late_usd = late + overdue, late_usd + overdue * jobs.value[b, j]
                    ended_late += done and jobs.finish[b, j] > jobs.deadline[b, j]
            near = {"rel": 1e-9, "abs": 1e-9}
            assert counts[b, C.wait] == pytest.approx(wait, **near)
            assert counts[b, C.late_hours] == pytest.approx(late, **near)
            assert terms[b, T.late] == pytest.approx(late_usd, **near)
            assert counts[b, C.lease] == pytest.approx(lease, **near)
            assert terms[b, T.slo] == pytest.approx(slo, **near)
            assert counts[b, C.late] == ended_late
            assert counts[b, C.work] == pytest.approx(work, rel=1e-6, abs=1e-6)
