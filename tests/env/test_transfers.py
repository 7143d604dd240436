"""Transfers in the whole simulation, recomputed: bytes, egress, energy, what is left, and what is broken off."""

import numpy as np
import pytest

from gcn_env.core.network import GB_PER_H, HALF_MS_PER_H
from gcn_env.core.placement import dispatch
from gcn_env.core.state import TRANSIT, copied
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.transfers import shared
from tests.worlds import ROUGH, legal_actions, legal_choice, make, places, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
# Links so narrow, and in such trouble, that transfers share, wait and are broken off where their region goes dark.
NARROW = {
    **{f"regions.{name}.supply.generator_share": 0.0 for name in ("north", "south")},
    **{f"regions.{name}.grid.outage_mean_h": 2.0 for name in ("north", "south")},
    "network.gbit_per_s": 0.1,
    "network.default_egress_usd_per_gb": 0.3,
    "network.kwh_per_gb": 0.01,
    "network.cuts_per_year": 2000.0,
    "network.cut_mean_h": 0.4,
    "network.fades_per_year": 4000.0,
    "data_sets.corpus.regions": ["south"],
    "jobs.training.data_set": "corpus",
}


def dispatched(sim, actions):
    """The state after the phase that carries out `actions`, and nothing else."""
    s, w = copied(sim.state), sim.world.params
    dispatch(
        0, sim.n_envs, actions, sim.world.n_levels, sim.world.timing.dt_h, s.clock, s.jobs, s.sources, s.pools,
        s.plants, s.links, w.fleet, w.geo, w.money, w.work, w.plant, s.ledger,
    )  # fmt: skip
    return s


def under_way(sim, state, b):
    """Number of arrival -> (from, to, GB left) of the jobs that travel."""
    jobs, region = state.jobs, sim.world.params.fleet.region
    on = [j for j in places(jobs, b) if jobs.status[b, j] == TRANSIT]
    return {
        int(jobs.order[b, j]): (int(jobs.via[b, j]), int(region[jobs.pool[b, j]]), jobs.left_gb[b, j])
        for j in on
    }


class Carrier:
    """What the links of one environment should carry in a step, from how they stood and who was sent before it."""

    def __init__(self, sim, sent, b):
        links, geo = sim.state.links, sim.world.params.geo
        self.sent, dt = under_way(sim, sent, b), sim.world.timing.dt_h
        self.carried, self.left, self.due = np.zeros_like(geo.rtt_ms), {}, set()
        for a, c in {x[:2] for x in self.sent.values() if x[2] > 0}:
            on = [order for order, x in self.sent.items() if x[:2] == (a, c) and x[2] > 0]
            trouble = [(0.0, links.down_h[b, a, c], links.up[b, a, c])] if links.down_h[b, a, c] > 0 else []
            known = [(0.0, self.sent[order][2]) for order in on]
            ends, left = shared(known, geo.gbit_s[a, c] * GB_PER_H, trouble, dt)
            self.carried[a, c] = sum(gb for _, gb in known) - left.sum()
            self.left.update(zip(on, left, strict=True))
            self.due |= {
                o for o, t in zip(on, ends, strict=True) if t + geo.rtt_ms[a, c] / HALF_MS_PER_H < dt
            }


def recounted(sim, rng, steps, choose):
    """Run, and compare each step with its recount; returns GB (sent, carried, left, broken off) by environment."""
    geo, total = sim.world.params.geo, np.zeros((4, sim.n_envs))
    for _ in range(steps):
        actions = choose(rng, sim)
        sent = dispatched(sim, actions)
        before = [under_way(sim, sim.state, b) for b in range(sim.n_envs)]
        carriers = [Carrier(sim, sent, b) for b in range(sim.n_envs)]
        sim.step(actions)
        ledger = sim.state.ledger
        for b, x in enumerate(carriers):
            after = under_way(sim, sim.state, b)
            assert ledger.counts[b, C.moved] == pytest.approx(x.carried.sum(), rel=1e-9, abs=1e-9)
            assert ledger.terms[b, T.egress] == pytest.approx(
                (x.carried * geo.egress_usd).sum(), rel=1e-9, abs=1e-9
            )
            np.testing.assert_allclose(
                ledger.flows[b, :, F.network], x.carried.sum(1) * geo.kwh_gb, rtol=1e-9, atol=1e-12
            )
            assert not x.due & set(after), "who is there has arrived"
            for order, (via, _, left) in after.items():
                assert via == x.sent[order][0]
                assert left == pytest.approx(x.left.get(order, 0.0), abs=1e-9)
            count = np.zeros_like(geo.rtt_ms)
            for via, to, left in after.values():
                count[via, to] += left > 0
            np.testing.assert_array_equal(sim.state.links.n[b], count)
            assert sim.state.links.under_way[b] == count.sum()
            total[0, b] += sum(gb for order, (*_, gb) in x.sent.items() if order not in before[b])
            total[1, b] += ledger.counts[b, C.moved]
            total[2, b] = sum(left for *_, left in after.values())
            total[3, b] += sum(left for order, left in x.left.items() if order not in after)
    return total


def conserved(total):
    sent, carried, left, lost = total
    np.testing.assert_allclose(sent, carried + left + lost, rtol=1e-9, atol=1e-9)


@pytest.mark.smoke
def test_a_few_steps_in_brief():
    sim = make(overrides=ROUGH | NARROW)
    sim.reset([3])
    conserved(recounted(sim, np.random.default_rng(3), 8, legal_actions))


@pytest.mark.parametrize("choose", [legal_actions, wild_actions])
def test_what_is_sent_is_carried_left_or_broken_off(choose):
    sim = make(overrides=ROUGH | NARROW, n_envs=6, autoreset=False)
    sim.reset([11])
    total = recounted(sim, np.random.default_rng(11), 96, choose)
    conserved(total)
    assert (total > 0).any(1).all(), "something was left at the end, and something broken off"
    assert (sim.state.ledger.counts_sum[:, C.cuts] > 0).all()


def test_the_default_world():
    """More regions, copies at two of them, sources that share a data set and one that does not."""
    names = list(make("default").world.region_names)
    copies = {
        "data_sets.corpus.regions": names[:2],
        "jobs.training.data_set": "corpus",
        "jobs.batch.data_set": "corpus",
    }
    wires = {name: value for name, value in NARROW.items() if name.startswith("network")}
    sim = make("default", overrides=wires | copies | {"network.gbit_per_s": 1.0}, n_envs=2, autoreset=False)
    sim.reset([5])
    total = recounted(sim, np.random.default_rng(5), 60, legal_actions)
    conserved(total)
    assert (total[1] > 1000.0).all()


def test_trouble_does_not_depend_on_choices():
    found = []
    for seed, choose in ((0, legal_actions), (1, wild_actions)):
        sim, rng = make(overrides=ROUGH | NARROW, n_envs=3, autoreset=False), np.random.default_rng(seed)
        sim.reset([7])
        course = []
        for _ in range(60):
            sim.step(choose(rng, sim))
            course.append(np.concatenate([sim.state.links.up, sim.state.links.down_h]))
        found.append(np.array(course))
    np.testing.assert_array_equal(*found)
    assert (found[0] > 1.0).any()
    assert (found[0] == 0.3).any()


def test_more_room_brings_data_sooner():
    """The same choices over links ten times as fast: more is carried, nobody who travels waits longer."""
    wait = []
    for rate in (0.1, 1.0):
        sim = make(overrides=NARROW | {"network.gbit_per_s": rate}, n_envs=4, autoreset=False)
        sim.reset([9])
        rng, held = np.random.default_rng(9), 0.0
        for _ in range(60):
            sim.step(rng.integers(0, sim.head_sizes, (4, len(sim.head_sizes))))
            held += (sim.state.jobs.status == TRANSIT).sum()
        wait.append(held)
    assert wait[1] < 0.5 * wait[0]


def test_a_private_link_costs_by_the_month_and_nothing_a_byte():
    own = {"network.links.north~south": {"gbit_per_s": 100, "usd_per_gb": 0, "usd_per_month": 73_000}}
    sim = make(overrides=own, n_envs=2, autoreset=False)
    sim.reset([4])
    rng, ledger = np.random.default_rng(4), sim.state.ledger
    for _ in range(24):
        sim.step(legal_actions(rng, sim))
        np.testing.assert_allclose(ledger.terms[:, T.links], 100.0 * sim.world.timing.dt_h)
    assert (ledger.counts_sum[:, C.moved] > 0).all()
    assert (ledger.terms_sum[:, T.egress] == 0).all()
    assert (ledger.flows_sum[..., F.network].sum(1) > 0).all()


def test_the_sequential_view_counts_transfers_chosen_earlier_in_the_step():
    """Until the step is carried out; then those under way are counted, and no other."""
    sim = make(view="sequential", overrides=NARROW)
    sim.reset([6])
    rng, links, raised = np.random.default_rng(6), sim.state.links, 0
    for _ in range(300):
        count, step = links.n.copy(), int(sim.state.clock.step[0])
        sim.step(legal_choice(rng, sim))
        if sim.state.clock.step[0] == step:
            raised += (links.n - count).sum()
            assert (links.n >= count).all()
            assert links.n.sum() == links.under_way[0]
        elif (sim.state.jobs.slot[0] < 0).all():  # no choice was forced since
            assert links.n.sum() == sum(x[2] > 0 for x in under_way(sim, sim.state, 0).values())
    assert raised > 5
