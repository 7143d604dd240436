"""Transfers that share links, against a slow reference; where data is fetched; cuts, fades and repairs."""

import numpy as np
import pytest

from gcn_env.core import rng
from gcn_env.core.execution import kill
from gcn_env.core.jit import kernel
from gcn_env.core.network import GB_PER_H, begin, carry, fetch, tend
from gcn_env.core.state import FREE, PENDING, TRANSIT, allocate
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from tests.transfers import shared
from tests.worlds import world

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
R = 3
CALM = {"cut": 0.0, "fade": 0.0, "cut_h": 6.0, "rtt_ms": 0.0, "egress_usd": 0.0}


@kernel()
def _begin(b, j, r, now, jobs, links, geo):
    begin(b, j, r, now, jobs, links, geo)


@kernel()
def _fetch(b, j, r, jobs, links, geo):
    return fetch(b, j, r, jobs.state_gb[b, j], jobs, links, geo)


@kernel()
def _kill(b, j, jobs, pools, fleet, ledger):
    kill(b, j, jobs, pools, fleet, ledger)


class Wires:
    """Three regions of one pool each, links of a GB per hour unless said otherwise, and jobs that only travel."""

    def __init__(
        self, n_jobs=64, n_envs=1, rate=1.0, copies=(0, 0, 0), kwh_gb=0.002, fade_share=0.3, **matrices
    ):
        p = world().params
        values = {**CALM, "gbit_s": np.divide(rate, GB_PER_H), **matrices}
        values = {name: np.broadcast_to(value, (R, R)).astype(float) for name, value in values.items()}
        replica = np.array([copies], np.int8)
        self.geo = p.geo._replace(
            **values,
            replica=replica,
            copies=replica.sum(1, dtype=np.int64),
            kwh_gb=kwh_gb,
            fade_share=fade_share,
        )
        self.fleet = p.fleet._replace(region=np.arange(R))
        self.s = s = allocate(n_envs, n_jobs, 2, R, R, 1)
        s.links.up[:] = 1.0
        seeds = np.random.default_rng(1).integers(0, 2**63, (n_envs, rng.N_STREAMS))
        s.clock.rng[:] = seeds.astype(np.uint64)

    def send(self, at, to, gb, state=0.0):
        """A job whose data sets out now; returns its place."""
        s = self.s
        j = int(s.jobs.n_live[0])
        s.jobs.n_live[0] = j + 1
        s.jobs.status[0, j], s.jobs.data_at[0, j], s.jobs.pool[0, j] = TRANSIT, at, to
        s.jobs.data[0, j], s.jobs.state_gb[0, j] = gb, state
        _begin(0, j, to, s.clock.now_h[0], s.jobs, s.links, self.geo)
        return j

    def step(self, dt):
        """Carry for a step; a job that arrives in it leaves (its place stays)."""
        s, n = self.s, len(self.s.clock.now_h)
        for part in ("terms", "flows", "counts"):
            getattr(s.ledger, part)[:] = 0.0
        carry(0, n, dt, s.clock, s.jobs, s.links, self.fleet, self.geo, s.ledger)
        s.clock.now_h[:] += dt
        s.jobs.status[(s.jobs.status == TRANSIT) & (s.jobs.ready <= s.clock.now_h[:, None])] = FREE
        tend(0, n, dt, s.clock, s.jobs, s.links, self.fleet, self.geo, s.ledger)
        return s.ledger

    def harm(self, a, c, up, hours):
        for x, y in ((a, c), (c, a)):
            self.s.links.up[0, x, y], self.s.links.down_h[0, x, y] = up, hours


def instance(seed):
    """(h per step, GB/h by link, [(from, to, step, GB)] in order, {(step, from, to): (share left, h)})."""
    rand = np.random.default_rng(seed)
    dt, rate = float(rand.choice([0.25, 1.0, 7.0])), rand.uniform(0.2, 20.0, (R, R))
    sizes = (rand.exponential(5.0), 2.0, 0.25)
    sent = [
        (*map(int, rand.choice(R, 2, replace=False)), int(t), float(rand.choice(sizes)))
        for t in np.sort(rand.integers(0, 20, rand.integers(1, 60)))
    ]
    trouble = {
        (int(t), *sorted(map(int, rand.choice(R, 2, replace=False)))): (
            rand.choice([0.0, 0.3]),
            3 * dt * rand.random(),
        )
        for t in np.sort(rand.integers(0, 20, rand.integers(0, 6)))
    }
    return dt, rate, sent, trouble


@pytest.mark.parametrize("seed", range(12))
def test_shared_links_equal_the_slow_reference(seed):
    """25 random instances each: every end to 1e-9 h, and every byte is carried or left after every step."""
    for k in range(25):
        dt, rate, sent, trouble = instance([seed, k])
        wires, carried, steps = Wires(len(sent), rate=rate), 0.0, 40
        jobs, harmed, set_out = wires.s.jobs, {}, 0.0
        for t in range(steps):
            for (when, *ends), (up, hours) in trouble.items():
                if when == t:
                    wires.harm(*ends, up, hours)
                    harmed.setdefault(tuple(ends), []).append((t * dt, hours, up))
            for a, c, begins, gb in sent:
                if begins == t:
                    wires.send(a, c, gb)
                    set_out += gb
            carried += wires.step(dt).counts[0, C.moved]
            assert set_out == pytest.approx(carried + jobs.left_gb[0].sum(), rel=1e-12)
        for a, c in {x[:2] for x in sent}:
            on = [i for i, x in enumerate(sent) if x[:2] == (a, c)]
            known = [(sent[i][2] * dt, sent[i][3]) for i in on]
            ends, left = shared(known, rate[a, c], harmed.get((min(a, c), max(a, c)), ()), steps * dt)
            done = ~np.isnan(ends)
            np.testing.assert_allclose(jobs.ready[0, on][done], ends[done], atol=1e-9)
            np.testing.assert_allclose(jobs.left_gb[0, on], left, atol=1e-9)
            assert (jobs.left_gb[0, on][~done] > 0).all()


def test_what_a_step_books():
    """Bytes, egress by link, energy at the source; the ends of two equal and one larger transfer, a latency later."""
    egress = np.arange(9.0).reshape(3, 3)
    wires = Wires(rate=4.0, egress_usd=egress, kwh_gb=0.5, rtt_ms=7.2e5)  # half a round trip: 0.1 h
    places = [wires.send(0, 1, gb) for gb in (1.0, 3.0, 1.0)] + [wires.send(2, 0, 10.0)]
    assert wires.s.links.n[0].tolist() == [[0, 3, 0], [0, 0, 0], [1, 0, 0]]
    ledger = wires.step(1.0)
    np.testing.assert_allclose(wires.s.jobs.ready[0, places], [0.85, 1.35, 0.85, 2.6])
    np.testing.assert_allclose(wires.s.jobs.left_gb[0, places], [0.0, 1.0, 0.0, 6.0])
    assert ledger.counts[0, C.moved] == pytest.approx(8.0)
    assert ledger.terms[0, T.egress] == pytest.approx(4.0 * egress[0, 1] + 4.0 * egress[2, 0])
    np.testing.assert_allclose(ledger.flows[0, :, F.network], [2.0, 0.0, 2.0])
    assert wires.s.links.n[0, 0, 1] == 1
    assert wires.s.links.under_way[0] == 2


def test_transfers_wait_for_a_cut_link():
    """Cut for 1.5 h: nothing moves in the first hour, half of the second hour's bytes in the second."""
    wires = Wires(cut_h=2.0)
    wires.harm(0, 1, 0.0, 1.5)
    j = wires.send(0, 1, 2.0)
    assert wires.s.jobs.ready[0, j] == pytest.approx(4.0), "the mean time to repair, and then the bytes"
    assert wires.step(1.0).counts[0, C.moved] == 0.0
    assert wires.s.jobs.ready[0, j] == pytest.approx(5.0)
    assert wires.step(1.0).counts[0, C.moved] == pytest.approx(0.5)
    assert wires.s.jobs.ready[0, j] == pytest.approx(3.5), "whole again, though nobody knew before"
    wires.step(2.0)
    assert wires.s.jobs.ready[0, j] == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("copies", "to", "state", "wanted"),
    [
        ((0, 0, 0), 0, 5.0, (-1, 0.0)),  # at home
        ((0, 0, 0), 1, 0.0, (0, 8.0)),
        ((0, 0, 0), 1, 5.0, (0, 13.0)),  # a checkpoint, and the input beside it
        ((0, 1, 0), 1, 0.0, (-1, 0.0)),  # a copy is there
        ((0, 1, 0), 1, 5.0, (0, 5.0)),
        ((0, 0, 1), 1, 0.0, (2, 8.0)),  # by the faster link
        ((0, 0, 1), 1, 5.0, (0, 13.0)),
        ((0, 0, 1), 2, 0.0, (-1, 0.0)),
        ((1, 1, 1), 2, 0.0, (-1, 0.0)),
    ],
)
def test_where_data_is_fetched(copies, to, state, wanted):
    """A job with 8 GB of input in region 0, where its checkpoint lies too; links from region 2 are twice as fast."""
    wires = Wires(rate=np.array([[1.0, 2.0, 4.0]] * 3).T, copies=copies)
    wires.geo.gbit_s[0] = 0.5 / GB_PER_H
    s = wires.s
    s.jobs.data_at[0, 0], s.jobs.data[0, 0], s.jobs.state_gb[0, 0] = 0, 8.0, state
    via, gb, hours = _fetch(0, 0, to, s.jobs, s.links, wires.geo)
    assert (via, gb) == wanted
    assert hours == pytest.approx(gb / (wires.geo.gbit_s[via, to] * GB_PER_H) if gb else 0.0)


def test_the_quickest_holder_is_the_one_that_a_newcomer_would_be_served_by():
    """Three equal holders: transfers on a link, a fade and a cut turn the choice; expected hours are its own."""
    wires = Wires(copies=(1, 1, 0), cut_h=1.0)
    s, geo = wires.s, wires.geo
    s.jobs.data_at[0, 0], s.jobs.data[0, 0] = 0, 3.0
    assert _fetch(0, 0, 2, s.jobs, s.links, geo) == (0, 3.0, pytest.approx(3.0))
    s.links.n[0, 0, 2] = 1
    assert _fetch(0, 0, 2, s.jobs, s.links, geo) == (1, 3.0, pytest.approx(3.0))
    wires.harm(1, 2, 0.3, 9.0)
    assert _fetch(0, 0, 2, s.jobs, s.links, geo) == (0, 3.0, pytest.approx(6.0))
    wires.harm(1, 2, 0.0, 9.0)
    assert _fetch(0, 0, 2, s.jobs, s.links, geo) == (1, 3.0, pytest.approx(4.0))


def test_a_transfer_broken_off_leaves_the_data_and_what_was_carried_stays_booked():
    wires = Wires(rate=2.0)
    s = wires.s
    j, other = wires.send(0, 1, 8.0), wires.send(0, 1, 8.0)
    ledger = wires.step(1.0)
    assert ledger.counts[0, C.moved] == pytest.approx(2.0)
    _kill(0, j, s.jobs, s.pools, wires.fleet, s.ledger)
    assert (s.jobs.status[0, j], s.jobs.data_at[0, j], s.jobs.via[0, j]) == (PENDING, 0, -1)
    assert s.jobs.left_gb[0, j] == 0.0
    ledger = wires.step(1.0)
    assert ledger.counts[0, C.moved] == pytest.approx(2.0), "all of it for the other one"
    assert s.jobs.left_gb[0, other] == pytest.approx(5.0)
    assert s.links.n[0].sum() == s.links.under_way[0] == 1


def test_no_bytes_no_transfer():
    """A job without data is there after the latency, whatever the link does."""
    wires = Wires(rtt_ms=7.2e5)
    wires.harm(0, 1, 0.0, 9.0)
    j = wires.send(0, 1, 0.0)
    assert wires.s.jobs.ready[0, j] == pytest.approx(0.1)
    assert wires.s.links.under_way[0] == 0


@pytest.mark.compiled
def test_trouble_comes_and_goes_at_its_rates():
    """Cuts and fades of both directions at once; time in trouble as of an alternating renewal process."""
    n, dt, steps = 400, 0.25, 4000
    wires = Wires(1, n, cut=1 / 200, fade=1 / 100, cut_h=5.0)
    up, events = np.zeros(3), 0.0
    for _ in range(steps):
        events += wires.step(dt).counts[:, C.cuts].sum()
        share = wires.s.links.up
        np.testing.assert_array_equal(share, share.transpose(0, 2, 1))
        np.testing.assert_array_equal(share < 1.0, wires.s.links.down_h > 0.0)
        pairs = share[:, [0, 0, 1], [1, 2, 2]]
        up += [(pairs == x).mean() for x in (1.0, 0.3, 0.0)]
    hours = steps * dt * n * 3
    whole, faded, cut = up / steps
    assert cut == pytest.approx(5 / 205, rel=0.05)
    assert faded == pytest.approx(whole * (1 / 100) / (1 / 5 + 1 / 200), rel=0.05)
    assert events / hours == pytest.approx(1 / 200 + whole / 100, rel=0.03)
