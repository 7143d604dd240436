"""Arrivals: loads, profiles, origins, law, replayed traces, leases that follow traffic, refusals."""

import numpy as np
import pytest

from benchmarks.workload.generator import begin
from gcn_env.core.jit import kernel
from gcn_env.core.params import INFERENCE, LEASES, PROCESS, REPLAY
from gcn_env.core.state import FREE, PENDING, allocate
from gcn_env.core.workload import arrive, release_lease, traffic
from gcn_env.ledger import COUNTS, TERMS
from tests.worlds import world

C, T = COUNTS.ix, TERMS.ix
INFER = 2  # the smoke world's source of inference


@kernel()
def _traffic(b, t, s, r, split, weekday, sources, work, geo):
    return traffic(b, t, s, r, split, weekday, sources, work, geo)


@kernel()
def _release(b, j, jobs, sources):
    release_lease(b, j, jobs, sources)


class Door:
    """Where jobs arrive: a world's sources, and places that a test may empty."""

    def __init__(self, n=4, places=256, overrides=None, seed=1, at_h=48.0, **changes):
        self.world = world(overrides=overrides)
        p = self.world.params
        self.p, self.work, self.n = p, p.work._replace(**changes), n
        regions, pools = self.world.n_regions, self.world.n_pools
        self.s = allocate(n, places, 2, pools, regions, len(self.world.source_names))
        self.s.clock.now_h[:] = self.s.clock.start_h[:] = at_h
        begin(n, seed, 0, self.s.clock, self.s.sources, self.s.jobs, self.work)

    def step(self, dt=1.0):
        """Hours pass; returns the ledger of the step."""
        s, p = self.s, self.p
        s.ledger.counts[:] = 0.0
        s.ledger.terms[:] = 0.0
        arrive(0, self.n, dt, 0, s.clock, s.sources, s.jobs, self.work, p.geo, p.bank, p.money, s.ledger)
        s.clock.step[:] += 1
        s.clock.now_h[:] = s.clock.start_h + s.clock.step * dt
        return s.ledger

    def arrived(self, *fields):
        """Fields of the live jobs of all environments, in order of arrival."""
        jobs = self.s.jobs
        at = [(b, j) for b in range(self.n) for j in range(jobs.n_live[b])]
        b, j = np.array(at, np.int64).reshape(-1, 2).T
        return [getattr(jobs, f)[b, j] for f in fields]

    def empty(self):
        self.s.jobs.n_live[:] = 0
        self.s.jobs.status[:] = FREE
        self.s.sources.leased[:] = 0


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["smoke", "default"])
def test_offered_load_is_what_the_scenario_says(name):
    """Reference device-hours that arrive per hour are `load` of the class's capacity, over whole weeks."""
    w = world(name)
    door = Door.__new__(Door)
    door.world, door.p, door.work, door.n = w, w.params, w.params.work, 96
    door.s = allocate(door.n, 4096, 2, w.n_pools, w.n_regions, len(w.source_names))
    begin(door.n, 7, 0, door.s.clock, door.s.sources, door.s.jobs, door.work)
    got, jobs, hours = np.zeros(len(w.source_names)), door.s.jobs, 3 * 168
    for _ in range(hours):
        door.step(1.0)
        live = np.arange(jobs.status.shape[1]) < jobs.n_live[:, None]
        got += np.bincount(jobs.source[live], (jobs.gang * jobs.work)[live], len(got))
        door.empty()
    fleet = w.params.fleet
    for k, (source, spec) in enumerate(w.scenario.jobs.items()):
        if w.params.work.mode[k] == PROCESS:
            kind = w.params.work.kind[k]
            wanted = spec.load * (fleet.devices * fleet.speed[kind]).sum()
            assert got[k] / hours / door.n == pytest.approx(wanted, rel=0.08), source


@pytest.mark.compiled
def test_hours_and_days_follow_the_profile_of_the_users_clock():
    s = 3  # hpc
    door = Door(128, 512, {"jobs.hpc.origins": {"north": 1.0}, "jobs.hpc.load": 2.0}, at_h=0.0)
    only = np.zeros(4)
    only[s] = 2.0
    door.work = door.work._replace(sigma=np.zeros((4, 2)), rate=only, single=np.ones(4))
    door.s.sources.modulation[:] = 0.0
    got = np.zeros(168)
    for t in range(4 * 168):
        got[t % 168] += door.step(1.0).counts[:, C.arrived].sum()
        door.empty()
    offset = int(door.p.geo.utc_offset_h[0])
    first = int(door.p.bank.weekday[0])
    local = np.arange(168) + offset
    wanted = door.work.hours[s, local % 24] * door.work.days[s, (local // 24 + first) % 7]
    expected = wanted * 2.0 * 4 * 128
    assert ((got - expected) ** 2 / expected).mean() < 1.4, "chi squared per degree of freedom"
    assert wanted.mean() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("step_min", [5, 10, 15, 20, 60])
def test_shocks_come_once_an_hour(step_min):
    door = Door(1, 512, at_h=24.0)
    seen, now = [], door.s.sources.modulation[0, 0].copy()
    for _ in range(100 * 60 // step_min):
        door.step(step_min / 60)
        seen.append((door.s.sources.modulation[0, 0] != now).all())
        now = door.s.sources.modulation[0, 0].copy()
        door.empty()
    assert (door.work.sigma[0] > 0).all()
    per_hour = np.reshape(seen, (100, -1))
    np.testing.assert_array_equal(per_hour.sum(1), 1)


@pytest.mark.compiled
def test_modulation_keeps_its_spread_and_memory():
    door = Door(2000, 64, {"jobs.training.load": 0.0, "jobs.inference.load": 0.0})
    door.work = door.work._replace(rate=np.zeros(4))
    start = door.s.sources.modulation.copy()
    for _ in range(6):
        door.step(1.0)
    x = door.s.sources.modulation
    w = door.work
    np.testing.assert_allclose(x.std(0), w.sigma, rtol=0.08)
    np.testing.assert_allclose(np.exp(np.sum(x - w.sigma**2 / 2, 2)).mean(0), 1.0, atol=0.2)
    for k in np.ndindex(4, 2):
        if w.sigma[k] > 0:
            assert np.corrcoef(start[:, *k], x[:, *k])[0, 1] == pytest.approx(w.phi[k] ** 6, abs=0.08)


def flares(dt, hours, n=64):
    """Heights of the bursts of inference, [steps, n, regions], with nothing else that varies."""
    door = Door(n, 16)
    steady = {"sigma": np.zeros((4, 2)), "hours": np.ones((4, 24)), "days": np.ones((4, 7))}
    door.work = door.work._replace(rate=np.where(np.arange(4) == INFER, 1e-6, 0.0), **steady)
    door.s.sources.modulation[:] = 0.0
    seen, levels = [], []
    for _ in range(round(hours / dt)):
        door.step(dt)
        seen.append(door.s.sources.burst[:, INFER].copy())
        t = door.s.clock.now_h[0]
        levels.append(
            [_traffic(b, t, INFER, 0, 0, 0, door.s.sources, door.work, door.p.geo) for b in range(4)]
        )
    return np.array(seen), np.array(levels) / 0.5e-6, door.work.burst[INFER]


@pytest.mark.compiled
@pytest.mark.parametrize("dt", [1 / 12, 0.25, 1.0])
def test_bursts_come_last_and_rise_as_said_whatever_the_step(dt):
    seen, levels, (rate, length, least, more) = flares(dt, 600)
    on = seen > 0.0
    share = rate * length / (1.0 + rate * length)
    assert on.mean() == pytest.approx(share, rel=0.12)
    # autocovariance of a chain that is on for `length` and off for 1 / rate
    kept = np.exp(-dt * (rate + 1.0 / length))
    assert (on[1:] & on[:-1]).mean() / on.mean() == pytest.approx(
        share + (1 - share) * kept, rel=0.1, abs=0.02
    )
    assert seen[on].min() >= least
    assert seen[on].mean() == pytest.approx(least + more, rel=0.06)
    assert np.quantile(seen[on], 0.5) == pytest.approx(least + more * np.log(2.0), rel=0.08)
    assert np.corrcoef(on[..., 0].ravel(), on[..., 1].ravel())[0, 1] == pytest.approx(0.0, abs=0.03), (
        "each region's own"
    )
    assert levels.max() > 1.0 + least - 0.02
    np.testing.assert_allclose(np.unique(levels.min(0)), 1.0 / (1.0 + share * (least + more)))


@pytest.mark.compiled
def test_bursts_keep_the_mean_load():
    """Violent bursts: the traffic's mean is still the load that the scenario asks for."""
    door = Door(400, 16)
    burst = door.work.burst.copy()
    burst[INFER] = 0.5, 2.0, 1.0, 2.0
    door.work = door.work._replace(rate=np.where(np.arange(4) == INFER, 1e-6, 0.0), burst=burst)
    levels = []
    for _ in range(7 * 24):
        t, weekday = door.s.clock.now_h[0], door.p.bank.weekday[0]
        levels.append(
            [_traffic(b, t, INFER, 0, 0, weekday, door.s.sources, door.work, door.p.geo) for b in range(400)]
        )
        door.step(1.0)
    assert np.mean(levels) / 0.5e-6 == pytest.approx(1.0, abs=0.03)


@pytest.mark.compiled
def test_law_origin_slack_and_value_of_what_arrives():
    door = Door(
        200, 1024, {"jobs.batch.restricted_share": 0.3, "jobs.batch.origins": {"north": 3, "south": 1}}
    )
    only = np.zeros(4)
    only[1] = 3.0
    door.work = w = door.work._replace(rate=only)
    for _ in range(24):
        door.step(1.0)
    source, origin, legal, work, gang, value, deadline, arrival, status = door.arrived(
        "source", "origin", "legal", "work", "gang", "value", "deadline", "arrival", "status"
    )
    assert (source == 1).all()
    assert (status == PENDING).all()
    assert np.mean(origin == 0) == pytest.approx(0.75, abs=0.03)
    home = w.home[1][origin]
    bound = legal == home
    assert (bound | (legal == w.anywhere[1][origin])).all()
    assert bound.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(value, w.value[1] * gang)
    slack = (deadline - arrival - w.slack_h[1]) / work - 1.0 - w.slack_min[1]
    assert slack.min() >= -1e-9
    assert slack.mean() == pytest.approx(w.slack_mean[1], rel=0.05)
    assert (arrival >= 48.0).all()
    assert (arrival <= 72.0).all()


def replayed(rate=1.0, seed=1, n=1, places=512):
    """The smoke world with its last source replaying a trace of 60 rows over 40 h."""
    door = Door(n, places, seed=seed)
    w = door.work
    s, rows = 3, 60
    first = w.first[0, s]
    times = np.sort(np.random.default_rng(4).uniform(0, 40, rows))
    arrival = w.arrival_h.copy()
    arrival[first : first + rows] = times
    replace = {
        "mode": np.where(np.arange(4) == s, REPLAY, w.mode),
        "rate": np.where(np.arange(4) == s, rate, 0.0),
        "rows": np.where(np.arange(4) == s, rows, w.rows),
        "window_h": np.full((3, 4), 40.0),
        "arrival_h": arrival,
    }
    door.work = w._replace(**replace)
    begin(n, seed, 0, door.s.clock, door.s.sources, door.s.jobs, door.work)
    return door, times, first


@pytest.mark.parametrize("dt", [0.25, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_trace_is_replayed_at_its_own_times(dt, seed):
    """From a drawn hour of its window on, round and round."""
    door, times, first = replayed(seed=seed)
    offset = door.s.sources.offset[0, 3]
    assert 0 <= offset < 40
    for _ in range(int(100 / dt)):
        t0 = door.s.clock.now_h[0]
        before = door.s.jobs.n_live[0]
        door.step(dt)
        live = np.arange(before, door.s.jobs.n_live[0])
        assert (door.s.jobs.arrival[0, live] >= t0).all()
        assert (door.s.jobs.arrival[0, live] <= t0 + dt + 1e-9).all()
    arrival, work = door.arrived("arrival", "work")
    laps = np.concatenate([times + 40 * k for k in range(4)])
    rows = np.tile(np.arange(60), 4)
    inside = (laps >= offset) & (laps < offset + 100)
    np.testing.assert_allclose(arrival, 48.0 + laps[inside] - offset, rtol=1e-12)
    np.testing.assert_allclose(work, door.work.work_h[first + rows[inside]])


def test_copies_of_a_trace():
    door, _, _ = replayed(rate=2.5, n=20, places=2048)
    for _ in range(40):
        door.step(1.0)
    assert door.s.jobs.n_live.mean() / 60 == pytest.approx(2.5, abs=0.1)


def test_leases_cover_traffic_and_no_more():
    door = Door(6, 1024, {"jobs.inference.load": 1.5})
    s = 2
    assert door.work.mode[s] == LEASES
    assert door.work.kind[s] == INFERENCE
    door.work = door.work._replace(rate=np.where(np.arange(4) == s, door.work.rate, 0.0))
    rand = np.random.default_rng(0)
    jobs, most = door.s.jobs, int(door.work.gang.max())
    levels = []
    for _ in range(48):
        t = door.s.clock.now_h[0]
        before = door.s.sources.leased.copy()
        door.step(1.0)
        for b in range(door.n):
            weekday = door.p.bank.weekday[door.s.clock.year[b]]
            for r in range(2):
                want = _traffic(b, t, s, r, 0, weekday, door.s.sources, door.work, door.p.geo)
                have = door.s.sources.leased[b, s, r]
                assert have + 0.5 >= want
                assert have <= max(before[b, s, r], want + most)
                levels.append(want)
            for j in range(jobs.n_live[b] - 1, -1, -1):  # some leases end
                if rand.random() < 0.3:
                    _release(b, j, jobs, door.s.sources)
                    last = jobs.n_live[b] - 1
                    for name in ("kind", "source", "origin", "gang"):
                        getattr(jobs, name)[b, j] = getattr(jobs, name)[b, last]
                    jobs.status[b, last], jobs.n_live[b] = FREE, last
            live = np.arange(jobs.n_live[b])
            np.testing.assert_array_equal(
                door.s.sources.leased[b, s],
                np.bincount(jobs.origin[b, live], jobs.gang[b, live], 2),
            )
    assert max(levels) > 1.5 * min(levels), "traffic has a day"


def test_refused_jobs_are_charged_in_full():
    door = Door(3, 16, {"jobs.hpc.load": 3.0, "jobs.inference.load": 0.0})
    total = np.zeros(3)
    for _ in range(60):
        ledger = door.step(1.0)
        dropped, usd = ledger.counts[:, C.dropped], ledger.terms[:, T.dropped]
        assert ((usd > 0) == (dropped > 0)).all()
        total += dropped
        least = door.work.value.min() * door.p.money.drop_h
        assert (usd >= dropped * least - 1e-9).all()
    assert (door.s.jobs.n_live == 16).all()
    assert (total > 0).all()


def test_least_priority_and_tenant_are_the_rows_own():
    door = Door(4, 512)
    rand = np.random.default_rng(3)
    n = len(door.work.gang)
    rank, owner = rand.integers(0, 10, n).astype(np.int8), rand.integers(0, 5, n).astype(np.int16)
    door.work = door.work._replace(rank=rank, owner=owner, least=np.maximum(1, door.work.gang // 2))
    rows = {
        (float(h), int(g)): k for k, (h, g) in enumerate(zip(door.work.work_h, door.work.gang, strict=True))
    }
    for _ in range(24):
        door.step(1.0)
    seen = list(zip(*door.arrived("work", "gang", "least", "priority", "tenant"), strict=True))
    assert len(seen) > 20
    for work, gang, least, priority, tenant in seen:
        row = rows.get((work, gang))
        if row is not None:  # else its gang was cut to what a legal pool holds
            assert (least, priority, tenant) == (max(1, gang // 2), rank[row], owner[row])
    assert len({p for *_, p, _ in seen}) > 3
