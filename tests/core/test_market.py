"""Rented pools, spare devices let, pods: prices, notice and absence as declared, whom a reclaim hits, timetables."""

import numpy as np
import pytest

from gcn_env.core.jit import kernel
from gcn_env.core.market import asked_share, lend, reset_market, trade
from gcn_env.core.params import BATCH, Market
from gcn_env.core.rng import seed_streams
from gcn_env.core.state import PENDING, QUEUED, RUNNING, TRANSIT, allocate
from gcn_env.errors import UserError
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.scenario.compile_market import compile_market, presence
from gcn_env.scenario.load import load_scenario
from tests.core.yard import settle_down, sound_nodes
from tests.worlds import SCENARIOS, world

pytestmark = pytest.mark.smoke

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
POOLS = 3  # of the smoke world: north/gpu, north/cpu, south/gpu


@kernel()
def _seed(n, state):
    for b in range(n):
        seed_streams(state, b, np.uint64(b))


@kernel()
def _reset(n, clock, pools, market):
    for b in range(n):
        reset_market(b, clock, pools, market)


@kernel()
def _asked(mean, x):
    return asked_share(mean, x)


def rates(**columns):
    """A market in which nothing happens, but for the columns given (a number each, or one per pool)."""
    base = {name: np.zeros(POOLS) for name in Market._fields}
    base |= {"absent_h": np.ones(POOLS), "travel_h": np.ones(POOLS), "pod": np.full(POOLS, -1, np.int64)}
    base |= dict.fromkeys(("comes", "leaves"), np.full((POOLS, 1), np.inf))
    return Market(**base)._replace(**{k: np.zeros(POOLS) + v for k, v in columns.items()})


class Bazaar:
    """The market of the smoke world's pools alone: no step, no actions."""

    def __init__(self, market, n=1, dt=0.25, places=16):
        p = world().params
        self.n, self.dt, self.market, self.fleet, self.money = n, dt, market, p.fleet, p.money
        movable = np.array([1, 0] + [0] * (len(p.work.movable) - 2))  # source 0 moves, source 1 does not
        self.work = p.work._replace(movable=movable)
        self.s = s = allocate(n, places, 2, POOLS, 2, len(movable))
        sound_nodes(n, s.pools, self.fleet)
        s.pools.drawn[:] = s.plants.throttle[:] = s.plants.overhead[:] = 1.0
        s.pools.first[:] = s.pools.last[:] = s.jobs.pool[:] = -1
        _seed(n, s.clock.rng)
        _reset(n, s.clock, s.pools, market)

    def step(self):
        s = self.s
        s.ledger.terms[:] = s.ledger.flows[:] = s.ledger.counts[:] = 0.0
        lend(0, self.n, self.dt, s.signals, s.pools, s.plants, self.fleet, self.money, self.market)
        s.clock.step[:] += 1
        s.clock.now_h[:] = s.clock.start_h + s.clock.step * self.dt
        trade(
            0,
            self.n,
            self.dt,
            s.clock,
            s.jobs,
            s.pools,
            s.plants,
            self.fleet,
            self.work,
            self.market,
            s.ledger,
        )
        return s

    def courses(self, steps, *names):
        """Arrays [T, B, P] of fields of the pools after each step."""
        seen = [[getattr(self.step().pools, k).copy() for k in names] for _ in range(steps)]
        return [np.array(column) for column in zip(*seen, strict=True)]


@pytest.mark.compiled
def test_prices_have_the_mean_the_spread_and_the_memory_declared():
    sigma, phi, usd = 0.4, 0.9, 2.5
    bazaar = Bazaar(rates(rent_usd=usd, sigma=sigma, phi=phi), n=400, dt=1.0)
    first = bazaar.s.pools.price.copy()
    (price,) = bazaar.courses(400, "price")
    logs = np.log(price)
    # 400 environments x 3 pools are independent; sums below have less than 1 % error
    assert price.mean() == pytest.approx(usd, rel=0.02)
    assert first.mean() == pytest.approx(usd, rel=0.06), "an episode begins in the long-run distribution"
    assert logs.std() == pytest.approx(sigma, rel=0.02)
    assert np.log(first).std() == pytest.approx(sigma, rel=0.08)
    for lag in (1, 6):
        assert np.corrcoef(logs[:-lag].ravel(), logs[lag:].ravel())[0, 1] == pytest.approx(phi**lag, abs=0.02)
    assert abs(np.corrcoef(logs[:, :, 0].ravel(), logs[:, :, 1].ravel())[0, 1]) < 0.03, (
        "pools are independent"
    )


def test_prices_move_on_the_hour_only():
    bazaar = Bazaar(rates(rent_usd=1.0, sigma=0.5, phi=0.5), n=4)
    (price,) = bazaar.courses(16, "price")
    hourly = price.reshape(
        4, 4, 4, POOLS
    )  # [hour, quarter]: the fourth step of an hour ends on the full hour
    assert (hourly[:, :3] == np.concatenate([hourly[:1, :1], hourly[:-1, 3:]])).all()
    assert (hourly[1:, 3] != hourly[:-1, 3]).all()


@pytest.mark.parametrize("mean", [0.1, 0.5, 0.9, 1.0])
def test_demand_has_the_mean_declared(mean):
    x = np.linspace(-6.0, 6.0, 4001)
    weight = np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi) * (x[1] - x[0])
    share = np.array([_asked(mean, v) for v in x])
    assert (share * weight).sum() == pytest.approx(mean, abs=1e-3)
    assert (np.diff(share) >= 0.0).all()
    assert share.min() >= 0.0
    assert share.max() <= 1.0


@pytest.mark.compiled
def test_reclaims_come_with_notice_and_last_as_declared():
    rate, notice, absent, dt = 0.1, 0.6, 2.0, 0.25
    market = rates(rent_usd=1.0, reclaim=rate, notice_h=notice, absent_h=absent)
    bazaar = Bazaar(market, n=300, dt=dt)
    begins = (bazaar.s.pools.away_h > 0.0).mean()
    counts, notices, away = [], [], []
    for _ in range(2000):
        s = bazaar.step()
        counts.append(s.ledger.counts[:, C.reclaimed].copy())
        notices.append(s.pools.notice_h.copy())
        away.append(s.pools.away_h.copy())
    notices, away = np.array(notices), np.array(away)
    gone = away > 0.0
    taken = gone[1:] & ~gone[:-1]
    # whole steps of notice: 0.5 and 0.25 h are shown, at the next boundary the pool is gone
    assert set(np.unique(notices)) == {0.0, 0.25, 0.5}
    assert (notices[:-1][taken] == dt).all(), "nothing is taken without notice"
    assert (gone[1:][notices[:-1] == dt]).all(), "what is announced happens"
    assert not (gone & (notices > 0.0)).any()
    drawn = away[1:][taken]
    assert drawn.mean() == pytest.approx(absent, rel=0.02)
    assert drawn.std() == pytest.approx(absent, rel=0.03)
    assert np.array(counts)[1:].sum() == taken.sum()
    here = (~gone & (notices == 0.0)).sum() * dt
    assert (notices == 0.5).sum() / here == pytest.approx(rate, rel=0.03)
    waits, lasts = (dt / (1.0 - np.exp(-dt / mean)) for mean in (1.0 / rate, absent))  # in whole steps
    assert gone.mean() == pytest.approx(lasts / (waits + 0.5 + lasts), rel=0.03)
    cycle = 1.0 / rate + 0.5 + absent
    assert begins == pytest.approx(absent / cycle, abs=0.03)
    assert presence(market)[0] == pytest.approx(1.0 - absent / cycle, abs=2e-3)


def put(jobs, pools, pool, rows):
    """Jobs (status, source, held, unsaved) at `pool` of the first environment, in places 0, 1, ..."""
    jobs.n_live[0] = len(rows)
    for j, (status, source, held, unsaved) in enumerate(rows):
        jobs.status[0, j], jobs.source[0, j], jobs.kind[0, j] = status, source, BATCH
        jobs.pool[0, j], jobs.held[0, j], jobs.gang[0, j] = pool, held, held
        jobs.memory[0, j] = 40.0
        jobs.speed[0, j], jobs.work[0, j], jobs.unsaved[0, j] = 1.0, 5.0, unsaved
        jobs.behind[0, j] = -1
        if status == QUEUED:
            pools.first[0, pool] = pools.last[0, pool] = j
            pools.waiting[0, pool] = 1


@pytest.mark.parametrize("notice_h", [0.0, 0.1, 0.25])
def test_a_reclaim_hits_all_jobs_of_the_pool_and_no_others(notice_h):
    market = rates(rent_usd=[1.0, 0.0, 0.0], reclaim=[1e9, 0.0, 0.0], notice_h=notice_h, absent_h=5.0)
    bazaar = Bazaar(market)
    s = bazaar.s
    s.pools.away_h[:] = 0.0
    rows = [
        (RUNNING, 0, 4, 0.5),
        (RUNNING, 1, 4, 0.5),
        (QUEUED, 0, 4, 0.0),
        (TRANSIT, 1, 4, 0.0),
        (RUNNING, 0, 4, 0.5),
    ]
    put(s.jobs, s.pools, 0, rows)
    s.jobs.pool[0, 4] = 2
    settle_down(1, s.jobs, s.pools, bazaar.fleet)
    while s.ledger.counts[0, C.reclaimed] == 0.0:
        assert (s.jobs.status[0, :5] == [r[0] for r in rows]).all(), "until then all go on"
        bazaar.step()
    assert s.clock.step[0] == (2 if notice_h == 0.25 else 1)
    np.testing.assert_array_equal(s.jobs.status[0, :5], [PENDING] * 4 + [RUNNING])
    np.testing.assert_array_equal(s.jobs.pool[0, :5], [-1] * 4 + [2])
    np.testing.assert_array_equal(s.pools.busy[0], [0, 0, 4])
    assert s.pools.waiting[0, 0] == 0
    assert s.pools.away_h[0, 0] > 0.0
    lost = [0.0 if notice_h > 0.0 else 0.5, 0.5]
    np.testing.assert_allclose(s.jobs.work[0, :2], 5.0 + np.array(lost))
    saved = [bazaar.work.state_share[0] * 40.0 * 4 if notice_h > 0.0 else 0.0, 0.0]
    np.testing.assert_allclose(s.jobs.state_gb[0, :2], saved)
    assert s.ledger.counts[0, C.lost_work] == pytest.approx(4 * sum(lost))
    assert s.ledger.counts[0, C.killed] == 2
    assert s.ledger.terms[0, T.restart] == pytest.approx(4 * sum(lost) * bazaar.fleet.device_usd[0])


def test_rent_is_paid_for_device_hours_held_and_for_nothing_else():
    bazaar = Bazaar(rates(rent_usd=[2.0, 0.0, 3.0], sigma=0.3, phi=0.9))
    price = bazaar.s.pools.price[0].copy()
    bazaar.s.pools.busy_h[0] = (1.5, 4.0, 2.0)
    s = bazaar.step()
    assert s.ledger.terms[0, T.rent] == pytest.approx(1.5 * price[0] + 2.0 * price[2])
    assert price[1] == 0.0
    assert (np.delete(s.ledger.terms[0], T.rent) == 0.0).all()


def test_guests_take_what_own_work_leaves_and_pay_while_nodes_run():
    bazaar = Bazaar(rates(let_usd=[0.0, 0.5, 2.0], let_share=1.0))
    s, devices = bazaar.s, bazaar.fleet.devices
    s.pools.busy[0] = (0, 3, 5)
    s.pools.busy_h[0] = (0.0, 4 * 0.25, 5 * 0.25)  # the second ran 4 on average and 3 at the end
    s.plants.still_h[0] = (0.0, 0.1)
    bazaar.step()
    np.testing.assert_allclose(s.pools.let[0], (0.0, devices[1] - 4.0, devices[2] - 5.0))
    hours = s.pools.let[0] * (0.25, 0.25, 0.15)
    np.testing.assert_allclose(s.ledger.flows[0, :, F.let], (hours[1], hours[2]))
    assert s.ledger.terms[0, T.let] == pytest.approx(-0.5 * hours[1] - 2.0 * hours[2])


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("plants", "down_h", 0.1),
        ("plants", "outage_h", 0.1),
        ("plants", "throttle", 0.9),
        ("plants", "breaker", 0.1),
        ("plants", "curtail_h", 1.0),
        ("pools", "away_h", 1.0),
        ("signals", "now", 1e5),
    ],
)
def test_nobody_is_let_in_where_power_or_cooling_is_short_or_too_dear(group, field, value):
    bazaar = Bazaar(rates(let_usd=0.5, let_share=1.0))
    assert (bazaar.step().pools.let > 0.0).all()
    getattr(getattr(bazaar.s, group), field)[:] = value
    assert (bazaar.step().pools.let == 0.0).all()
    assert bazaar.s.ledger.terms[0, T.let] == 0.0


def podded(timetable, **more):
    """The smoke world's market with a pod between its two equal pools."""
    overrides = {"pods.a": {"timetable": timetable, **more}, **EQUAL}
    return compile_market(load_scenario(str(SCENARIOS / "smoke.yaml"), overrides))


EQUAL = {f"regions.{r}.pools.gpu.{k}": v for r in ("north", "south") for k, v in
         {"devices": 16, "devices_per_node": 8, "hardware": "gpu_a100_sxm_80gb"}.items()}  # fmt: skip


@pytest.mark.parametrize("days", [(80, 266), (1, 181), (100, 364)])
def test_a_pods_devices_are_at_one_place_or_on_the_road(days):
    travel, notice = 3, 36
    market = podded({days[0]: "north/gpu", days[1]: "south/gpu"}, travel_days=travel, notice_h=notice)
    bazaar = Bazaar(market, dt=1.0)
    away, notices, paid = [], [], []
    for _ in range(8783):  # into a leap year's last day
        s = bazaar.step()
        away.append(s.pools.away_h[0].copy())
        notices.append(s.pools.notice_h[0].copy())
        paid.append(s.ledger.terms[0, T.pods])
    away, notices, paid = np.array(away), np.array(notices), np.array(paid)
    here = away == 0.0
    assert here[:, 1].all(), "the pool that belongs to no pod is always there"
    assert (here[:, 0] & here[:, 2]).sum() == 0
    road = ~here[:, 0] & ~here[:, 2]
    assert road[:8760].sum() == 2 * travel * 24
    hour = 1 + np.arange(len(here))
    for day, p in zip(days, (0, 2), strict=True):
        sets_out, comes = (day - 1) * 24, (day - 1) * 24 + travel * 24
        for year in (0, 8760):
            assert not here[(hour > sets_out + year) & (hour < comes + year), p].any()
            assert here[hour == comes + year, p].all()
            away_from = np.array([here[hour == h + year, (2 - p)] for h in (sets_out - 1, sets_out)])
            assert not away_from.size or (away_from[:, 0] == [True, False]).all(), "it leaves on its day"
    np.testing.assert_allclose(paid[1:], 20_000.0 / (24 * travel) * road[:-1], atol=1e-6)
    announced = notices > 0.0
    assert not (announced & ~here).any()
    leaves = (here[:-1] & ~here[1:]).sum()
    assert notice * leaves <= announced.sum() <= notice * (leaves + 1)
    np.testing.assert_allclose(presence(market)[[0, 2]], here[:8760, [0, 2]].mean(axis=0), atol=1e-3)
    assert presence(market)[[0, 2]].sum() == pytest.approx(1.0 - 2 * travel / 365.0)


def test_a_pod_with_one_place_stands_there():
    market = podded({5: "south/gpu"})
    s = Bazaar(market).s
    assert (s.pools.away_h == 0.0).all()
    assert presence(market)[2] == 1.0


@pytest.mark.parametrize(
    ("timetable", "more", "message"),
    [
        ({1: "north/gpo"}, {}, "unknown pool 'north/gpo'; did you mean 'north/gpu'"),
        ({1: "north/gpu", 90: "north/cpu"}, {}, "north/cpu has hardware"),
        ({1: "north/gpu", 90: "north/gpu"}, {}, "where it stands"),
        ({1: "north/gpu", 3: "south/gpu"}, {}, "before it is there"),
        ({1: "north/gpu", 180: "south/gpu"}, {"travel_days": 300}, "before it is there"),
    ],
)
def test_a_timetable_that_cannot_be_says_why(timetable, more, message):
    with pytest.raises(UserError, match=message):
        podded(timetable, **more)


def test_pools_belong_to_one_pod_and_are_not_rented():
    base = {"pods.a.timetable": {1: "north/gpu"}, **EQUAL}
    path = str(SCENARIOS / "smoke.yaml")
    with pytest.raises(UserError, match="timetables of a and b"):
        compile_market(load_scenario(path, {**base, "pods.b.timetable": {1: "north/gpu"}}))
    with pytest.raises(UserError, match="is rented"):
        compile_market(
            load_scenario(path, {**base, "regions.north.pools.gpu.rent": {"usd_per_device_h": 1.0}})
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rent", {"usd_per_device_h": 0}),
        ("rent", {"usd_per_device_h": -1}),
        ("rent", {"usd_per_device_h": 1e5}),
        ("rent", {"usd_per_device_h": float("nan")}),
        ("rent", {"usd_per_device_h": 1, "phi": 1.0}),
        ("rent", {"usd_per_device_h": 1, "sigma": 3}),
        ("rent", {"usd_per_device_h": 1, "absent_mean_h": 0}),
        ("rent", {"usd_per_device_h": 1, "notice_h": -1}),
        ("rent", {"usd_per_device_h": 1, "reclaims_per_week": float("inf")}),
        ("let", {"usd_per_device_h": 1, "demand_share": 1.5}),
        ("let", {}),
    ],
)
def test_hostile_terms_are_refused(key, value):
    with pytest.raises(UserError, match=rf"north\.pools\.gpu\.{key}"):
        load_scenario(str(SCENARIOS / "smoke.yaml"), {f"regions.north.pools.gpu.{key}": value})


def test_a_rented_pool_is_not_let():
    terms = {f"regions.north.pools.gpu.{k}": {"usd_per_device_h": 1.0} for k in ("rent", "let")}
    with pytest.raises(UserError, match="rent and let"):
        load_scenario(str(SCENARIOS / "smoke.yaml"), terms)
