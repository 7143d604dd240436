"""Nothing appears or vanishes, whatever happens at once: jobs, devices, bytes, work and money, recounted every step."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gcn_env.core.network import GB_PER_H
from gcn_env.core.params import INFERENCE
from gcn_env.core.state import PENDING, RUNNING, TRANSIT
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.env.test_invariants import check_flow_of_jobs, check_jobs, check_law, check_money
from tests.worlds import STORMY, legal_actions, make, places, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
POOLS = ("north.pools.gpu", "north.pools.cpu", "south.pools.gpu")
# On top of storms: slow nodes, links that are narrow, cut and fade, copies of data, owners who take pools back, spare
# devices let, gangs that shrink and grow, priorities, quotas, jobs of every class that move.
EVENTS = {
    **STORMY,
    **{f"regions.{pool}.{key}": v for pool in POOLS for key, v in (("slow_mtb_days", 0.3), ("detect_mean_h", 1.0))},
    "network.gbit_per_s": 0.2,
    "network.default_egress_usd_per_gb": 0.3,
    "network.cuts_per_year": 3000.0,
    "network.cut_mean_h": 0.5,
    "network.fades_per_year": 6000.0,
    "data_sets.corpus.regions": ["south"],
    "tenants.lab.quota_share": 0.6,
    "tenants.shop.quota_share": 0.5,
    "regions.north.pools.gpu.rent": {
        "usd_per_device_h": 2.0, "reclaims_per_week": 80, "notice_h": 0.5, "absent_mean_h": 1.5,
    },
    "regions.north.pools.cpu.rent": {
        "usd_per_device_h": 0.3, "reclaims_per_week": 40, "notice_h": 0.0, "absent_mean_h": 1.0,
    },
    "regions.south.pools.gpu.let": {"usd_per_device_h": 1.0, "demand_share": 0.6},
    "decisions.slots": 16,
    "jobs.training.data_set": "corpus",
    "jobs.training.min_gang": 4,
    "jobs.hpc.min_gang": 2,
    "jobs.training.least_share": 0.25,
    "jobs.training.tenant": "lab",
    "jobs.batch.priority": 5,
    "jobs.batch.movable": True,
    "jobs.batch.tenant": "shop",
    "jobs.batch.load": 0.1,
    "jobs.hpc.least_share": 0.5,
    "jobs.hpc.movable": True,
}  # fmt: skip
# Pods instead of rent: two places of equal devices, one pod that changes place every other day.
PODS = {
    **{key: value for key, value in EVENTS.items() if "rent" not in key.split(".")},
    "regions.south.pools.gpu.hardware": "gpu_a100_sxm_80gb",
    "regions.north.pools.gpu.devices": 16,
    "pods.rover": {
        "timetable": {d: ("north/gpu", "south/gpu")[d // 2 % 2] for d in range(2, 362, 2)},
        "travel_days": 0.5, "usd_per_move": 500.0, "notice_h": 3.0,
    },
}  # fmt: skip
WORLDS = {"storms": STORMY, "events": EVENTS, "pods": PODS, "full": EVENTS | {"decisions.job_places": 40}}


FIELDS = (
    "kind", "gang", "work", "status", "pool", "left_gb", "value", "arrival", "deadline", "source", "data", "data_at",
    "state_gb",
)  # fmt: skip


class Audit:
    """One environment before a step; after it, what the ledger should have booked."""

    def __init__(self, sim, b):
        self.sim, self.b, jobs = sim, b, sim.state.jobs
        self.jobs = self.rows()
        self.pools = {
            name: array[b].copy() for name, array in sim.state.pools._asdict().items() if name[:4] != "node"
        }
        self.peak_kw, self.month = sim.state.plants.peak_kw[b].copy(), sim.state.plants.month[b].copy()
        assert len(self.jobs) == jobs.n_live[b]

    def rows(self):
        """Each live job's figures, by its number of arrival."""
        jobs, b = self.sim.state.jobs, self.b
        return {
            int(jobs.order[b, j]): {n: getattr(jobs, n)[b, j].item() for n in FIELDS} for j in places(jobs, b)
        }

    def check(self, most):
        """Recount the step; `most` holds the most work of each job, by its number of arrival."""
        after, ledger = self.rows(), self.sim.state.ledger
        counts, terms, flows = (getattr(ledger, name)[self.b] for name in ("counts", "terms", "flows"))
        ended, new = self.jobs.keys() - after.keys(), after.keys() - self.jobs.keys()
        assert len(ended) == counts[C.completed], "who leaves has finished"
        assert len(new) == counts[C.arrived] - counts[C.dropped]
        self.check_work(after, ended, new, counts, most)
        self.check_lateness(after, ended, counts, terms)
        self.check_bytes(after, counts, terms, flows)
        self.check_bill(counts, terms, flows)

    def check_work(self, after, ended, new, counts, most):
        """Work done is what jobs have less to do, and what was done in vain."""
        less = sum(
            row["gang"] * (row["work"] - after.get(o, {"work": 0.0})["work"]) for o, row in self.jobs.items()
        )
        assert counts[C.work] - counts[C.lost_work] == pytest.approx(less, rel=1e-9, abs=1e-6)
        loads = counts[C.relocated] + counts[C.preempted] + counts[C.resized]  # of a state: work to do again
        for o, row in after.items():
            most.setdefault(o, self.jobs.get(o, row)["work"])
            most[o] = max(most[o], row["work"]) if loads else most[o]
            assert row["work"] <= most[o] * (1 + 1e-9), "no job has more to do than when it came"
        if counts[C.killed] + loads == 0.0:
            for o in after.keys() - new:
                assert after[o]["work"] <= self.jobs[o]["work"] + 1e-9

    def to_bring(self, row, region):
        """GB that a job must bring to a region: its checkpoint, and its input unless a copy lies there."""
        geo = self.sim.world.params.geo
        if row["data_at"] == region:
            return 0.0
        return row["state_gb"] + (0.0 if geo.replica[row["source"], region] else row["data"])

    def transfers(self, after):
        """(GB carried at least, at most [R, R]) in the step: from and to by what each transfer still had to go.

        The world has two regions: what is not where it should be lies in the other. A transfer broken off in this step
        had carried what nobody knows now; so had a job that was sent, or that ended, in it.
        """
        region, low, high = self.sim.world.params.fleet.region, np.zeros((2, 2)), np.zeros((2, 2))
        for o, old in self.jobs.items():
            new = after.get(o)
            if old["status"] == TRANSIT:
                to = region[old["pool"]]
                before = old["left_gb"]
                known = new is None or new["pool"] == old["pool"]
            elif old["status"] == PENDING and (new is None or new["status"] != PENDING):
                to = region[new["pool"]] if new else 1 - old["data_at"]
                before, known = self.to_bring(old, to), new is not None
            elif (
                new and new["status"] != PENDING and new["pool"] != old["pool"]
            ):  # moved, with its state if it ran
                at = region[old["pool"]] if old["status"] == RUNNING else old["data_at"]
                to = region[new["pool"]]
                before, known = self.to_bring(old | {"data_at": at, "state_gb": new["state_gb"]}, to), True
            else:
                continue
            left = new["left_gb"] if known and new and new["status"] == TRANSIT else 0.0
            high[1 - to, to] += before - left
            low[1 - to, to] += before - left if known else 0.0
            assert left <= before * (1 + 1e-12), "a transfer has less and less to go"
        for o, old in self.jobs.items():  # sent, and pending again or ended
            new = after.get(o)
            if old["status"] != TRANSIT and (new is None or new["status"] == PENDING):
                for to in (0, 1):
                    high[1 - to, to] += (new or old)["state_gb"] + old["data"]
        return low, high

    def check_bytes(self, after, counts, terms, flows):
        """What was sent was carried, is on its way, or was broken off; egress and energy follow what was carried."""
        geo, dt = self.sim.world.params.geo, self.sim.world.step_h
        low, high = self.transfers(after)
        scale = 1e-9 * high.sum() + 1e-9
        assert low.sum() - scale <= counts[C.moved] <= high.sum() + scale
        usd = geo.egress_usd
        assert (low * usd).sum() - scale <= terms[T.egress] <= (high * usd).sum() + scale
        gb = flows[:, F.network] / geo.kwh_gb
        assert (low.sum(1) - scale <= gb).all()
        assert (gb <= np.minimum(high, GB_PER_H * geo.gbit_s * dt).sum(1) + scale).all()
        assert gb.sum() == pytest.approx(counts[C.moved], rel=1e-9)
        np.testing.assert_allclose(terms[T.egress], (gb * usd[[0, 1], [1, 0]]).sum(), rtol=1e-9)

    def check_lateness(self, after, ended, counts, terms):
        """Hours past deadlines of those that stay are exact; those that end cost at most the step."""
        now, dt = self.sim.state.clock.now_h[self.b], self.sim.world.step_h
        hours = usd = hours_open = usd_open = 0.0
        for o, row in (self.jobs | after).items():
            if row["kind"] == INFERENCE:
                continue
            late = max(0.0, now - max(now - dt, row["arrival"], row["deadline"]))
            if o in ended:
                hours_open, usd_open = hours_open + late, usd_open + late * row["value"]
            else:
                hours, usd = hours + late, usd + late * row["value"]
        assert hours - 1e-7 <= counts[C.late_hours] <= hours + hours_open + 1e-7
        assert usd - 1e-7 <= terms[T.late] * (1 + 1e-12) <= (usd + usd_open) * (1 + 1e-9) + 1e-7
        leases = [row["value"] * dt for row in (self.jobs | after).values() if row["kind"] == INFERENCE]
        assert terms[T.slo] <= sum(leases) * (1 + 1e-9) + 1e-9

    def check_bill(self, counts, terms, flows):
        """Money that follows from flows and counts."""
        s, b, w = self.sim.state, self.b, self.sim.world
        p, dt = w.params, w.step_h
        fleet, money, site, market = p.fleet, p.money, p.site, p.market
        np.testing.assert_allclose(terms[T.fuel], (flows[:, F.fuel] * site.fuel_usd).sum(), rtol=1e-9)
        np.testing.assert_allclose(terms[T.heat], -(flows[:, F.heat_reused] * site.heat_usd).sum(), rtol=1e-9)
        excess = flows[:, F.excursion] * p.geo.design_kw
        np.testing.assert_allclose(terms[T.thermal], excess.sum() * money.thermal_usd, rtol=1e-9)
        np.testing.assert_allclose(
            terms[T.curtailment], (flows[:, F.above_limit] * site.curtail_usd).sum(), rtol=1e-9
        )
        same = s.plants.month[b] == self.month
        if same.all():
            rise = (s.plants.peak_kw[b] - self.peak_kw) * money.demand_usd
            np.testing.assert_allclose(terms[T.demand], rise.sum(), rtol=1e-9, atol=1e-9)
        busy = s.pools.busy_h[b]
        np.testing.assert_allclose(terms[T.rent], (busy * self.pools["price"]).sum(), rtol=1e-9)
        by_region = np.bincount(fleet.region, busy, len(flows))
        np.testing.assert_allclose(flows[:, F.busy], by_region, rtol=1e-9, atol=1e-12)
        assert (busy <= dt * fleet.devices * (1 + 1e-12)).all(), "held at most all the time"
        let = s.pools.let[b] * np.maximum(0.0, dt - s.plants.still_h[b, fleet.region])
        np.testing.assert_allclose(terms[T.let], -(let * market.let_usd).sum(), rtol=1e-9)
        np.testing.assert_allclose(flows[:, F.let], np.bincount(fleet.region, let, len(flows)), rtol=1e-9)
        left = (self.pools["away_h"] == 0.0) & (s.pools.away_h[b] > 0.0)
        assert counts[C.reclaimed] == (left & (market.rent_usd > 0.0)).sum()
        stops = market.pod >= 0  # of one pod, if there is one
        road = stops.any() and (self.pools["away_h"][stops] > 0.0).all()
        journey = market.move_usd[stops].max(initial=0.0) * dt / market.travel_h[stops].max(initial=1.0)
        np.testing.assert_allclose(terms[T.pods], road * journey, rtol=1e-9, atol=1e-12)
        per_work = fleet.device_usd / np.where(fleet.speed > 0, fleet.speed, np.nan)
        low, high = np.nanmin(per_work), np.nanmax(per_work / fleet.slow)  # work on slow nodes takes longer
        lost = counts[C.lost_work]
        assert low * lost * (1 - 1e-9) <= terms[T.restart] <= high * lost * (1 + 1e-9)
        assert (terms[T.dropped] > 0.0) == (counts[C.dropped] > 0.0)
        if not self.sim.done[b]:
            assert terms[T.settlement] == 0.0


def audited(sim, seed, steps, choose):
    """Run `steps` steps with every check; the episode's counts."""
    rng, sums = np.random.default_rng(seed), {}
    sim.reset([seed + b for b in range(sim.n_envs)])
    start, most = sim.state.ledger.counts_sum.copy(), [{} for _ in range(sim.n_envs)]
    for _ in range(steps):
        audits, before = [Audit(sim, b) for b in range(sim.n_envs)], sim.state.signals.now.copy()
        sim.step(choose(rng, sim))
        check_jobs(sim)
        check_law(sim)
        check_money(sim, before, start, sums)
        check_flow_of_jobs(sim)
        for b, audit in enumerate(audits):
            audit.check(most[b])
    return sim.state.ledger


CHOICES = {"wild": wild_actions, "legal": legal_actions}
worlds, choices, seeds = (
    st.sampled_from(sorted(WORLDS)),
    st.sampled_from(sorted(CHOICES)),
    st.integers(0, 2**31),
)


@pytest.mark.smoke
def test_every_event_in_brief():
    audited(make(overrides=EVENTS, autoreset=False), 4, 6, wild_actions)


@pytest.mark.slow
@pytest.mark.compiled
@settings(max_examples=40)
@given(worlds, choices, seeds)
@example("full", "wild", 3)
def test_nothing_appears_or_vanishes(name, choice, seed):
    audited(make(overrides=WORLDS[name], autoreset=False), seed, 32, CHOICES[choice])


@pytest.mark.compiled
def test_every_event_happens():
    """Whole days of everything at once: the checks above had something to check."""
    ledger = audited(make(overrides=EVENTS, n_envs=3, autoreset=False), 11, 96, legal_actions)
    counts, terms = ledger.counts_sum, ledger.terms_sum
    for name in (
        "killed",
        "lost_work",
        "moved",
        "reclaimed",
        "trips",
        "faults",
        "drained",
        "cuts",
        "relocated",
        "resized",
        "preempted",
    ):
        assert (counts[:, COUNTS.index(name)] > 0).any(), name
    for name in ("rent", "let", "restart", "late", "slo", "demand", "fuel"):
        assert (terms[:, TERMS.index(name)] != 0.0).any(), name
