"""The market inside the whole simulator: what is booked, what no policy can do, what own work never notices."""

import numpy as np
import pytest

from gcn_env.core.state import PENDING
from gcn_env.describe import scenario_page
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.observation import PAIRS, POOLS
from tests.worlds import CALM, arrays, legal_actions, make, seeded, wild_actions, world

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
STEPS = 96
NORTH, CPU, SOUTH = range(3)
RENT = {"usd_per_device_h": 2.0, "reclaims_per_week": 40, "notice_h": 0.5, "absent_mean_h": 1.5}
RENTED = {
    "regions.north.pools.gpu.rent": RENT,
    "regions.north.pools.cpu.rent": {**RENT, "usd_per_device_h": 0.3, "notice_h": 0.0},
}
LET = {
    "regions.south.pools.gpu.let": {"usd_per_device_h": 1.0, "demand_share": 0.6},
    "regions.north.pools.cpu.let": {"usd_per_device_h": 0.2, "demand_share": 0.9},
}
# Two pods' places of equal devices; it sets out every other day and is on the road for one.
ROVING = {
    "regions.south.pools.gpu.hardware": "gpu_a100_sxm_80gb",
    "regions.north.pools.gpu.devices": 16,
    "pods.rover": {
        "timetable": {d: ("north/gpu", "south/gpu")[d // 2 % 2] for d in range(2, 362, 2)},
        "travel_days": 0.5,
        "usd_per_move": 500.0,
        "notice_h": 3.0,
    },
}


def test_rent_is_the_price_shown_times_device_hours_held():
    sim, act = make(n_envs=4, overrides=RENTED), seeded(1)
    sim.reset(0)
    paid = 0.0
    for t in range(STEPS - 1):
        price = sim.state.pools.price.copy()
        np.testing.assert_allclose(
            np.sinh(sim.obs["pools"][:, :, POOLS.index("rent")]), price, rtol=1e-5, atol=1e-6
        )
        sim.step(act(t, sim))
        due = (price * sim.state.pools.busy_h).sum(axis=1)
        np.testing.assert_allclose(sim.state.ledger.terms[:, T.rent], due, rtol=1e-12)
        paid += due.sum()
    assert paid > 10.0
    assert (price[:, SOUTH] == 0.0).all()


def test_pairs_show_the_rent_of_a_placement():
    sim, act = make(n_envs=8, overrides=RENTED), seeded(2)
    sim.reset(0)
    seen = 0
    for t in range(20):
        sim.step(act(t, sim))
        pairs, price = sim.obs["pairs"].astype(float), sim.state.pools.price[:, None, :]
        legal = pairs[..., PAIRS.index("legal")] > 0.0
        held = pairs[..., PAIRS.index("share")] * world(overrides=RENTED).params.fleet.devices
        run = np.sinh(4.0 * pairs[..., PAIRS.index("run")])
        rent = np.sinh(pairs[..., PAIRS.index("rent_usd")])
        np.testing.assert_allclose(rent[legal], (held * run * price)[legal], rtol=1e-3, atol=1e-4)
        assert (abs(rent[..., SOUTH]) < 1e-6).all()
        parts = sum(
            np.sinh(pairs[..., PAIRS.index(k)])
            for k in (
                "energy_usd",
                "carbon_usd",
                "demand_usd",
                "egress_usd",
                "late_usd",
                "slo_usd",
                "rent_usd",
                "move_usd",
            )
        )
        cost = np.sinh(pairs[..., PAIRS.index("cost")])
        np.testing.assert_allclose(parts[legal], cost[legal], rtol=2e-3, atol=1e-3)
        seen += legal[..., :SOUTH].sum()
    assert seen > 50


@pytest.mark.parametrize(
    "overrides", [{**RENTED, "regions.south.pools.gpu.let": LET["regions.south.pools.gpu.let"]}]
)
def test_the_market_does_not_listen(overrides):
    """Prices, demand, notices and absences are the same whatever a policy does."""
    courses = []
    for seed in (1, 2):
        sim, act = make(n_envs=3, overrides=overrides), seeded(seed)
        sim.reset(5)
        seen = []
        for t in range(STEPS - 1):
            sim.step(act(t, sim))
            pools = sim.state.pools
            seen.append([pools.price.copy(), pools.mood.copy(), pools.notice_h.copy(), pools.away_h.copy()])
        courses.append((np.array(seen), sim.state.pools.busy_h.copy()))
    np.testing.assert_array_equal(courses[0][0], courses[1][0])
    assert (courses[0][1] != courses[1][1]).any()
    assert np.ptp(courses[0][0][:, 0], axis=0)[:, :SOUTH].min() > 0.0


@pytest.mark.parametrize("overrides", [RENTED, ROVING], ids=["rented", "pod"])
@pytest.mark.parametrize("choose", [wild_actions, legal_actions])
def test_nothing_runs_on_a_pool_that_is_not_there(overrides, choose):
    sim = make(n_envs=6, overrides=overrides)
    devices = sim.world.params.fleet.devices
    absent, hit = 0, 0.0
    for seed in range(3):
        sim.reset(100 * seed)
        act = seeded(seed, choose)
        for t in range(STEPS - 1):
            pools, jobs = sim.state.pools, sim.state.jobs
            gone = pools.away_h > 0.0
            mask = sim.obs["mask"][:, : jobs.slot.shape[1] * 4].reshape(6, -1, 4)[:, :, 1:]
            assert (mask.transpose(0, 2, 1)[gone] == 0.0).all()
            live = np.arange(jobs.status.shape[1]) < jobs.n_live[:, None]
            assert (pools.busy[gone] == 0).all()
            assert (pools.waiting[gone] == 0).all()
            at = np.where(live & (jobs.status != PENDING), jobs.pool, -1)
            for b, p in np.argwhere(gone):
                assert not (at[b] == p).any()
            free = sim.obs["pools"][:, :, POOLS.index("free")]
            assert (free[gone] == 0.0).all()
            assert (sim.obs["pools"][:, :, POOLS.index("away")] == gone).all()
            sim.step(act(t, sim))
            for drawn in (pools.busy_h, pools.kw, pools.let):
                assert (drawn[gone] == 0.0).all()
            assert (pools.busy <= devices).all()
            absent += gone.sum()
            hit += sim.state.ledger.counts[:, C.killed].sum()
    assert absent > 100
    assert hit > 0


def test_notice_is_shown_and_kept():
    """A pool is away in the step after its notice has run out, and never before; jobs there are pending then."""
    sim, act = make(n_envs=8, overrides=RENTED), seeded(3)
    sim.reset(0)
    column, shown = POOLS.index("notice"), 0
    for t in range(STEPS - 1):
        notice, away = sim.state.pools.notice_h.copy(), sim.state.pools.away_h.copy()
        np.testing.assert_allclose(
            sim.obs["pools"][:, :, column], np.where(notice > 0.0, 1.0 / (1.0 + notice), 0.0), rtol=1e-6
        )
        sim.step(act(t, sim))
        after = sim.state.pools
        due = (notice > 0.0) & (notice <= 0.25 + 1e-9)
        assert (after.away_h[due] > 0.0).all()
        taken = (away == 0.0) & (after.away_h > 0.0)
        assert (taken[:, NORTH] == due[:, NORTH]).all()
        assert sim.state.ledger.counts[:, C.reclaimed].sum() == taken.sum()
        shown += due.sum()
    assert shown > 0


def staying(actions, sim):
    """The same actions, but jobs at a pool stay there."""
    jobs = sim.state.jobs
    slots = jobs.slot
    pending = np.take_along_axis(jobs.status, np.maximum(slots, 0), axis=1) == PENDING
    actions[:, : slots.shape[1]] *= (slots >= 0) & pending
    return actions


PRICED = (
    "Jobs.urgency",
    "Jobs.slot",
    "Jobs.shown",
)  # which job at a pool has a slot follows what a move would save


def test_guests_never_cost_own_work_anything():
    """The same days with and without guests: own jobs, their hours and their terms are equal to the bit."""
    sims = [make(n_envs=4, overrides={**CALM, **extra}) for extra in ({}, LET)]
    for sim in sims:
        sim.reset(11)
    own_terms = [TERMS.index(k) for k in ("egress", "late", "slo", "restart", "dropped")]
    act, lent = seeded(4), 0.0
    for t in range(STEPS - 1):
        choices = [staying(act(t, sim), sim) for sim in sims]
        np.testing.assert_array_equal(*choices)
        for sim in sims:
            sim.step(choices[0])
        without, guests = (s.state for s in sims)
        np.testing.assert_array_equal(without.ledger.counts, guests.ledger.counts)
        np.testing.assert_array_equal(without.ledger.terms[:, own_terms], guests.ledger.terms[:, own_terms])
        np.testing.assert_array_equal(without.ledger.flows[:, :, F.busy], guests.ledger.flows[:, :, F.busy])
        for name, array in arrays(without).items():
            if name.startswith("Jobs.") and name not in PRICED:
                np.testing.assert_array_equal(array, arrays(guests)[name], err_msg=name)
        pools = guests.pools
        assert (pools.let >= 0.0).all()
        assert (pools.let + pools.busy <= pools.healthy + 1e-9).all()
        assert (pools.let + pools.busy_h / 0.25 <= pools.healthy + 1e-9).all()
        np.testing.assert_allclose(
            guests.ledger.terms[:, T.let],
            -0.25 * (pools.let @ sims[1].world.params.market.let_usd),
            rtol=1e-12,
        )
        lent += pools.let.sum() * 0.25
        more = guests.ledger.flows[:, :, F.it] - without.ledger.flows[:, :, F.it]
        assert (more[guests.ledger.flows[:, :, F.let] > 0.0] > 0.0).all(), "guests draw power"
    assert lent > 100.0


def test_a_rover_is_somewhere_and_its_journeys_are_paid():
    sim, act = make(n_envs=8, overrides=ROVING), seeded(6)
    sim.reset(0)
    paid, left, killed = 0.0, 0, 0.0
    for t in range(STEPS - 1):
        before = sim.state.pools.away_h == 0.0
        sim.step(act(t, sim))
        here = sim.state.pools.away_h == 0.0
        assert (here[:, NORTH] & here[:, SOUTH]).sum() == 0
        road = ~before[:, NORTH] & ~before[:, SOUTH]
        np.testing.assert_allclose(sim.state.ledger.terms[:, T.pods], 500.0 * road * 0.25 / 12.0, atol=1e-9)
        paid += sim.state.ledger.terms[:, T.pods].sum()
        gone = before & ~here
        left += gone.sum()
        killed += sim.state.ledger.counts[gone.any(axis=1), C.killed].sum()
    assert left > 0
    assert paid > 0.0
    assert killed > 0


def test_loads_count_a_pod_once():
    """A source's rate follows the devices that are there on average, not the places they may stand at."""
    still = {k: v for k, v in ROVING.items() if not k.startswith("pods")}
    twice, once = world(overrides=still).params.work, world(overrides=ROVING).params.work
    share = once.rate / twice.rate
    there = 2 * 16 * (1.0 - 0.5 / 2.0) / 2.0  # of 32 places: one pod, on the road a quarter of its time
    np.testing.assert_allclose(share[[0, 2]], there / 32.0, rtol=0.02)
    assert share[3] == 1.0


def test_pages_say_on_whose_terms_a_pool_is_there():
    rented, let, rover = (scenario_page(world(overrides=o)) for o in (RENTED, LET, ROVING))
    assert (
        "| north/gpu | gpu_a100_sxm_80gb | 32 | 8 | public | rented at 2 USD/h, taken back 40 times a week |"
        in rented
    )
    assert "| own, spare let at 1 USD/h |" in let
    assert rover.count("| place of pod rover |") == 2
    assert world(overrides=ROVING).scenario.counted == (False, True, True)
