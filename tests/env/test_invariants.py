"""What holds after every step, whatever the actions, the failures and the outages are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.core.grid import FUEL_KG
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import CARBON, FREE, PENDING, PRICE, QUEUED, RUNNING
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.core.racks import check_nodes
from tests.worlds import CALM, ROUGH, legal_actions, make, places, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
COOLING = [F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers]


def in_line(b, p, jobs, pools):
    """Places of the jobs in a pool's own queue, first to last: inference, then by priority, then as they came."""
    found, j = [], pools.first[b, p]
    while j >= 0:
        found.append(j)
        assert len(found) <= jobs.n_live[b], "a queue has an end"
        j = jobs.behind[b, j]
    assert pools.last[b, p] == (found[-1] if found else -1)
    rank = [(jobs.kind[b, j] != INFERENCE, -int(jobs.priority[b, j]), jobs.ready[b, j]) for j in found]
    assert rank == sorted(rank)
    return found


def check_jobs(sim):
    """Each live job is in one state; pools, queues and leases count what is there."""
    s, w = sim.state, sim.world.params
    jobs, pools = s.jobs, s.pools
    for b in range(sim.n_envs):
        n = jobs.n_live[b]
        live = places(jobs, b)
        assert (jobs.status[b, :n] != FREE).all()
        assert (jobs.status[b, n:] == FREE).all()
        assert len(set(jobs.order[b, live])) == n, "orders of arrival differ"
        assert (jobs.work[b, live] >= 0.0).all()
        assert (jobs.unsaved[b, live] >= 0.0).all()
        status, pool, held = jobs.status[b, live], jobs.pool[b, live], jobs.held[b, live]
        assert ((pool >= 0) == (status != PENDING)).all()
        assert (held[status == PENDING] == 0).all()
        for p in range(len(w.fleet.region)):
            there = pool == p
            assert pools.busy[b, p] == held[there & (status == RUNNING)].sum()
            queue = set(live[there & (status == QUEUED)])
            assert pools.waiting[b, p] == len(queue)
            assert set(in_line(b, p, jobs, pools)) == queue
        lease = jobs.kind[b, live] == INFERENCE
        leased = np.zeros_like(s.sources.leased[b])
        np.add.at(
            leased, (jobs.source[b, live][lease], jobs.origin[b, live][lease]), jobs.gang[b, live][lease]
        )
        np.testing.assert_array_equal(s.sources.leased[b], leased)
        shown = jobs.slot[b][jobs.slot[b] >= 0]
        assert len(set(shown)) == len(shown)
        check_moves(b, shown, sim)
    check_nodes(s, w.fleet)
    assert (pools.busy >= 0).all()
    assert (pools.busy <= pools.healthy).all()
    assert (pools.healthy >= 0).all()
    assert (pools.healthy <= w.fleet.devices).all()
    assert (pools.healthy % w.fleet.node == 0).all()


def check_moves(b, shown, sim):
    """Jobs with a slot are pending, or those at a pool that may go elsewhere: no lease runs or queues in a slot."""
    jobs, w = sim.state.jobs, sim.world.params
    there = shown[jobs.status[b, shown] != PENDING]
    assert (jobs.kind[b, there] != INFERENCE).all()
    assert (jobs.status[b, there] >= QUEUED).all()
    runs = there[jobs.status[b, there] == RUNNING]
    assert (w.work.movable[jobs.source[b, runs]] == 1).all()
    assert (sim.state.plants.down_h[b, w.fleet.region[jobs.pool[b, runs]]] == 0).all()
    waiting = (jobs.status[b] == PENDING).sum() > (jobs.status[b, shown] == PENDING).sum()
    assert not (waiting and len(there)), "pending jobs come first"


def check_law(sim):
    """No job is sent, queued or run where law, trust, memory, hardware or a standstill forbid it."""
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
    assert (s.plants.down_h[b, r] == 0.0).all()
    gang = jobs.gang[b, j]
    wanted = np.where(jobs.kind[b, j] == INFERENCE, np.ceil(gang / speed - 1e-9), gang)
    elastic = (jobs.status[b, j] >= QUEUED) & (jobs.kind[b, j] != INFERENCE)
    least = np.where(elastic, jobs.least[b, j], wanted)
    assert (jobs.held[b, j] <= np.minimum(wanted, fleet.devices[p])).all()
    assert (jobs.held[b, j] >= least).all()
    for env in range(sim.n_envs):
        held = np.bincount(
            jobs.tenant[env], jobs.held[env] * (jobs.status[env] != FREE), len(sim.world.params.work.quota)
        )
        assert (held <= sim.world.params.work.quota).all()


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
    own = f[..., [F.pv, F.wind, F.generator, F.storage_out]].sum(-1)
    np.testing.assert_allclose(f[..., F.grid] + own, used + f[..., F.storage_in], rtol=1e-9, atol=1e-9)
    carbon = f[..., F.grid] * before[..., CARBON] / 1e3 + f[..., F.fuel] * FUEL_KG
    np.testing.assert_allclose(f[..., F.carbon], carbon, rtol=1e-12)
    np.testing.assert_allclose(
        f[..., F.network_carbon], f[..., F.network] * before[..., CARBON] / 1e3, rtol=1e-12
    )
    bought = f[..., F.grid] + f[..., F.network]
    np.testing.assert_allclose(
        ledger.terms[:, T.energy], (bought * before[..., PRICE]).sum(1) / 1e3, rtol=1e-9, atol=1e-12
    )
    emitted = (f[..., F.carbon] + f[..., F.network_carbon]).sum(1)
    np.testing.assert_allclose(ledger.terms[:, T.carbon], emitted * money.carbon_usd, rtol=1e-12)
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


STRICT = {
    "regions.north.pools.gpu.trust": "private",
    "regions.north.pools.cpu.trust": "tee",
    "regions.south.pools.gpu.trust": "tee",
    "jobs.training.trust": "private",
    "jobs.batch.trust": "private",
    "jobs.hpc.trust": "tee",
    "jobs.batch.restricted_share": 0.6,
    "jobs.training.restricted_share": 0.5,
    "jobs.inference.restricted_share": 0.5,
    "jobs.training.jurisdictions": ["eu"],
    "jobs.training.origins": {"north": 1.0},
}


def test_no_choice_breaks_residency_or_trust():
    """Each slot is aimed at every pool in turn, whatever the mask says."""
    sim = make(overrides=STRICT, n_envs=6, autoreset=False)
    sim.reset([70])
    q, p = sim.world.n_slots, sim.world.n_pools
    act = np.zeros((6, len(sim.head_sizes)), np.int64)
    kinds = set()
    for t in range(96):
        act[:, :q] = (np.arange(q) + t) % p + 1
        sim.step(act)
        check_law(sim)
        status = sim.state.jobs.status
        kinds |= set(sim.state.jobs.kind[status == RUNNING])
    counts = sim.state.ledger.counts_sum
    assert (counts[:, C.illegal] > 50).all()
    assert (counts[:, C.placed] > 10).all()
    assert kinds == {0, 1, 2, 3}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=16, max_size=16), st.integers(0, 2**32))
def test_any_integers_are_survived(heads, seed):
    sim = make(overrides=ROUGH)
    sim.reset([seed])
    for turn in range(3):
        sim.step(np.roll(np.array([heads], np.int64), turn, 1))
        check_jobs(sim)
        check_law(sim)
        check_flow_of_jobs(sim)
    plant = sim.world.params.plant
    command = sim.state.plants.command[0]
    assert (command >= plant.head_low[0]).all()
    assert (command <= plant.head_high[0]).all()


def test_the_default_world():
    run_checked(make("default", n_envs=2, autoreset=False), 11, 40, wild_actions)


def test_placements_and_illegal_choices_are_counted():
    """They follow from the actions and what the mask said before them."""
    sim = make(overrides=ROUGH, n_envs=4, autoreset=False)
    sim.reset([9])
    w, rng = sim.world, np.random.default_rng(9)
    q, p = w.n_slots, w.n_pools
    for _ in range(96):
        mask = sim.obs["mask"][:, : q * (p + 1)].reshape(-1, q, p + 1) > 0.5
        levels = sim.obs["mask"][:, q * (p + 1) :].reshape(4, -1, w.n_levels) > 0.5
        act = wild_actions(rng, sim)
        placed, illegal = np.zeros((2, 4))
        for b in range(4):
            for k in range(q):
                a = act[b, k]
                if a == 0:
                    illegal[b] += not mask[b, k, 0]
                    continue
                if not 0 < a <= p or not mask[b, k, a]:
                    illegal[b] += 1
                    continue
                placed[b] += 1
            heads = act[b, q:]
            known = (heads >= 0) & (heads < w.n_levels)
            allowed = levels[b, np.arange(len(heads)), np.where(known, heads, 0)]
            illegal[b] += (~(known & allowed)).sum()
        sim.step(act)
        counts = sim.state.ledger.counts
        np.testing.assert_array_equal(counts[:, C.placed], placed)
        np.testing.assert_array_equal(counts[:, C.illegal], illegal)


class Recount:
    """What a step should have booked for one environment, from its jobs before and after."""

    def __init__(self, sim, b):
        self.s, self.p, self.b = sim.state, sim.world.params, b
        jobs, self.t0 = self.s.jobs, self.s.clock.now_h[b]
        self.before = {jobs.order[b, j]: self.row(j) for j in places(jobs, b)}
        pace = self.s.pools.pace[b]
        for row in self.before.values():
            if row["status"] == RUNNING:
                row["end"] = max(self.t0, row["ready"]) + row["work"] / (
                    row["speed"] * pace[row["pool"], row["kind"]]
                )

    def row(self, j):
        return {name: array[self.b, j] for name, array in self.s.jobs._asdict().items() if is_job(name)}

    def region(self, row):
        return self.p.fleet.region[row["pool"]]

    def known(self):
        """Whether each job that ended ran before, so that its end is known."""
        after = self.after()
        return all(r["status"] == RUNNING for o, r in self.before.items() if o not in after)

    def after(self):
        jobs = self.s.jobs
        return {jobs.order[self.b, j]: self.row(j) for j in places(jobs, self.b)}

    def hours(self):
        """(waited, late, late USD, leased, credits, work, jobs that ended late)."""
        total, after = np.zeros(7), self.after()
        for order in sorted(self.before | after):
            old, new = self.before.get(order), after.get(order)
            row = new or old
            end = self.s.clock.now_h[self.b] if new else old["end"]
            since = max(self.t0, row["arrival"])
            ran = row["status"] == RUNNING
            waited = max(0.0, min(end, row["ready"]) - since) if ran else end - since
            work = row["gang"] * ((old or new)["work"] - (new["work"] if new else 0.0)) if old else 0.0
            lease = row["kind"] == INFERENCE
            late = 0.0 if lease else max(0.0, end - max(since, row["deadline"]))
            credit = waited + (end - since - waited) * self.overshoot(row) if lease else 0.0
            over = float(not lease and not new and end > row["deadline"])
            leased = (end - since) * lease
            total += (waited, late, late * row["value"], leased, credit * row["value"], work, over)
        return total

    def overshoot(self, row):
        if row["status"] != RUNNING:
            return 0.0
        rtt = self.p.geo.rtt_ms[row["origin"], self.region(row)]
        return min(1.0, max(0.0, (rtt + self.p.fleet.service_ms[row["pool"]]) / row["slo"] - 1.0))


def is_job(name):
    return name not in ("n_live", "slot", "queue", "event", "live")


def test_waiting_lateness_work_and_service_recomputed():
    """On a calm day, the step's hours follow from the jobs before and after it."""
    tight = {"jobs.training.load": 0.9, "jobs.batch.slack_h": 0.0, "jobs.batch.min_h": 0.5}
    sim = make(overrides=CALM | tight | {"jobs.inference.min_h": 0.5}, n_envs=4, autoreset=False)
    sim.reset([21])
    rng, checked, ledger = np.random.default_rng(21), 0, sim.state.ledger
    for _ in range(95):
        assert (sim.state.plants.throttle > 0).all()
        recounts = [Recount(sim, b) for b in range(4)]
        sim.step(legal_actions(rng, sim))
        for b, recount in enumerate(recounts):
            if not recount.known():
                continue
            counts, terms = ledger.counts[b], ledger.terms[b]
            booked = [counts[C.wait], counts[C.late_hours], terms[T.late], counts[C.lease], terms[T.slo]]
            booked += [counts[C.work] - counts[C.lost_work], counts[C.late]]
            np.testing.assert_allclose(booked, recount.hours(), rtol=1e-7, atol=1e-7)
            checked += 1
    assert checked > 150
    assert (ledger.terms_sum[:, [T.late, T.slo]] > 0).any(0).all()
