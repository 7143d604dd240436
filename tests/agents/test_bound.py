"""The clairvoyant bound: below every placement there is, below every rule, near a known optimum, and monotone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from agents import policy
from agents.bound import TERMS, bound, bounds, dual, program, refuse
from agents.bound.episode import replay
from agents.bound.model import rates, sites, traffic_of, work_of
from agents.bound.plants import NODES, Envelope, below
from agents.evaluation import episode_seeds, evaluate
from gcn_env.core.params import BATCH, HPC, INFERENCE, LEASES, REPLAY, TRAINING
from gcn_env.core.state import N_HEADS
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from tests.worlds import CALM, world

RULES = ("cost-greedy+b1", "cost-greedy-deferral+b2", "cost-greedy-migration+b1", "least-loaded+b0")
JOBS = ((2.0, 3.0, 16), (3.0, 2.0, 8), (9.0, 4.0, 16))  # hour of coming, hours of run, devices
GPUS = (0, 2)  # pools of the smoke world that can run training
WAITS = (0, 12, None)  # steps from a job's coming to its placement; None: never
COOL = ((5, 0, 7), (1, 1, 3))  # levels of the two plants: cold enough for chips whose fans lag behind a start
SEED = 2


def planted(folder, jobs=JOBS, over=None):
    """The smoke world with these training jobs and nothing else, in every lap of its one-day window."""
    lines = [f"{come},{hours},{gang},1,0" for come, hours, gang in jobs]
    others = [f"{hour},1,1,1,0" for hour in (30, 50)]  # the other splits are not empty
    (folder / "training.csv").write_text(
        "\n".join(["arrival_h,duration_h,gang,memory_gib,data_gb", *lines, *others, ""])
    )
    trace = {
        "file": "training.csv",
        "format": "csv",
        "train_h": [0, 24],
        "validation_h": [24, 48],
        "test_h": [48, 72],
    }
    given = {
        "trace": trace,
        "max_gang": 32,
        "min_h": 0.01,
        "slack_min_share": 0.0,
        "slack_mean_share": 0.0,
        "slack_h": 6.0,
        "restricted_share": 0.0,
    }
    w = world(overrides={
        "data_dir": str(folder), **CALM, **{f"jobs.training.{key}": value for key, value in given.items()},
        **{f"jobs.{name}.load": 0.0 for name in ("batch", "inference", "hpc")}, **(over or {}),
    })  # fmt: skip
    work = w.params.work
    alone = work._replace(rate=1.0 * (work.mode == REPLAY), standing=0.0 * work.standing)
    return replace(w, params=w.params._replace(work=alone))


def exhaustive(w):
    """Bills [N] of every choice of pool and wait for every job of the episode, set-points as B1 would hold them."""
    one = [(p, k) for p in GPUS for k in WAITS if k is not None] + [(0, None)]
    plans = list(itertools.product(one, repeat=len(JOBS)))
    sim = Sim(w, len(plans), autoreset=False)
    sim.reset(np.full(len(plans), SEED))
    jobs, q = sim.state.jobs, w.n_slots
    heads = np.zeros((len(plans), len(sim.head_sizes) - q), np.int64)
    heads.reshape(len(plans), -1, N_HEADS)[..., :3] = COOL
    known: dict[float, int] = {}  # arrival -> step in which it was first seen
    for k in range(w.horizon):
        act = np.concatenate([np.zeros((len(plans), q), np.int64), heads], 1)
        for n, choices in enumerate(plans):
            for s, j in enumerate(jobs.slot[n]):
                if j >= 0 and jobs.pool[n, j] < 0:
                    came = float(jobs.arrival[n, j])
                    first = known.setdefault(came, k)
                    pool, wait = choices[list(known).index(came)]
                    if wait is not None and k >= first + wait:
                        act[n, s] = pool + 1
        sim.step(act)
    assert len(known) == len(JOBS)  # each comes once in a day
    return sim.state.ledger.terms_sum.sum(1)


def bills(w, names, episodes, split="test", first=0):
    """Bills [rule, episode] and their seeds."""
    found = evaluate(w, {n: policy.load(f"rule:{n}", w) for n in names}, episodes, first, split)
    return found.kpi("total_usd"), found.seeds


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def played(small):
    return exhaustive(small)


# ------------------------------------------------------------------------------------------------- it is a bound


def test_below_every_placement_of_a_planted_day_and_near_the_best(small, played):
    usd = bound(small, [SEED], "train")[0]
    assert 0.0 < usd <= played.min()
    assert usd >= 0.85 * played.min()
    assert played.max() > 2.0 * played.min()  # what is placed where matters


def test_below_every_rule_on_that_day(small):
    from gcn_env.metrics import kpis

    usd = bound(small, [SEED], "train")[0]
    for name in RULES:
        chosen, sim = policy.load(f"rule:{name}", small), Sim(small, 1, autoreset=False)
        sim.reset([SEED])
        for _ in range(small.horizon):
            sim.step(chosen.predict(sim.obs)[0])
        ledger = sim.state.ledger
        assert usd <= kpis(ledger.terms_sum, ledger.flows_sum, ledger.counts_sum)[0, 0]


@pytest.mark.slow
def test_below_every_rule_on_many_days():
    w = world()
    usd, seeds = bills(w, RULES, 16)
    lower = bounds(w, seeds, "test")
    assert (lower.usd <= usd).all()
    assert (lower.usd > 0.1 * usd.min(0)).all()
    np.testing.assert_allclose(lower.terms.sum(1), lower.usd)
    assert lower.terms.shape == (16, len(TERMS))


def test_waiting_for_ever_is_not_below_it(small):
    """What is never run costs its settlement, as in the program."""
    sim = Sim(small, 1, autoreset=False)
    sim.reset([SEED])
    for _ in range(small.horizon):
        act = np.zeros((1, len(sim.head_sizes)), np.int64)
        sim.step(act)
    assert bound(small, [SEED], "train")[0] <= sim.state.ledger.terms_sum.sum()


# ------------------------------------------------------------------------------------------------- it moves as it must


def test_more_of_anything_never_makes_it_cheaper(small, tmp_path):
    base = bound(small, [SEED], "train")[0]
    one_more = bound(planted(tmp_path, (*JOBS, (12.0, 3.0, 16))), [SEED], "train")[0]
    assert one_more > 1.02 * base
    dear = bound(planted(tmp_path, JOBS, {"prices.carbon_usd_per_t": 300}), [SEED], "train")[0]
    assert dear > 1.1 * base
    free = bound(planted(tmp_path, JOBS, {"prices.carbon_usd_per_t": 0}), [SEED], "train")[0]
    assert free < base


def test_more_capacity_never_makes_it_dearer(tmp_path):
    """Devices that draw nothing while they are idle: others cost what idling costs."""
    jobs = tuple((1.0 * k, 6.0, 16) for k in range(24))  # more than fits
    w = planted(tmp_path, jobs, {"jobs.training.late_usd_per_device_h": 5.0, "jobs.training.slack_h": 0.1})
    fleet = w.params.fleet
    quiet = fleet._replace(asleep_kw=0.0 * fleet.asleep_kw, reserve=0.0 * fleet.reserve)
    usd = [
        bound(
            replace(w, params=w.params._replace(fleet=quiet._replace(devices=n * quiet.devices))),
            [SEED],
            "train",
        )[0]
        for n in (1, 2, 4)
    ]
    assert usd[0] > usd[1] >= usd[2] - 1e-6


def test_any_prices_give_a_bound(small, played):
    """The dual holds whatever its multipliers: the program only chooses good ones."""
    episode, rate = replay(small, SEED, "train"), rates(small)
    site = sites(small, episode, Envelope(small), np.full((small.n_regions, episode.hours), 0.7))
    works, rng = [work_of(small, episode, k) for k in (TRAINING, BATCH, HPC)], np.random.default_rng(0)
    shadow, _, _ = program.solve(small, site, rate, works, [])
    best = sum(dual.total(small, site, rate, works, [], shadow).values())
    for scale in (0.0, 0.01, 0.1, 1.0):
        capacity = scale * rng.random(shadow.capacity.shape)
        peak = rng.random(shadow.peak.shape)
        peak *= scale * site.demand_usd[:, None] / peak.sum(1, keepdims=True)
        value = sum(
            dual.total(small, site, rate, works, [], dual.Prices(capacity, peak, np.zeros(0))).values()
        )
        assert value <= played.min()
        assert value <= best + 1e-6 * abs(best)


# ------------------------------------------------------------------------------------------------- its parts


def test_replay_meets_the_jobs_and_the_traffic_of_an_episode():
    w = world()
    episode, sim = replay(w, 5, "train"), Sim(w, 1, autoreset=False)
    sim.reset([5])
    jobs, start = sim.state.jobs, float(sim.state.clock.start_h[0])
    chosen = policy.load("rule:cost-greedy+b1", w)
    seen = set()

    def look():
        for j in range(jobs.n_live[0]):
            if jobs.kind[0, j] != INFERENCE:
                seen.add(
                    (
                        round(jobs.arrival[0, j] - start, 9),
                        round(jobs.deadline[0, j] - start, 9),
                        int(jobs.gang[0, j]),
                    )
                )

    look()
    s = int(np.flatnonzero(w.params.work.mode == LEASES)[0])
    covered = np.zeros((w.n_regions, w.horizon))
    for k in range(w.horizon):
        sim.step(chosen.predict(sim.obs)[0])
        live = slice(0, int(jobs.n_live[0]))
        lease = jobs.kind[0, live] == INFERENCE
        covered[:, k] = np.bincount(jobs.origin[0, live][lease], jobs.gang[0, live][lease], w.n_regions)
        look()
    mine = {
        (round(a, 9), round(d, 9), int(g))
        for a, d, g in zip(*(episode.jobs[n] for n in ("arrival", "deadline", "gang")), strict=True)
    }
    assert seen <= mine
    assert len(mine - seen) <= 2  # came and went within a step
    assert covered.sum() * w.step_h >= 0.7 * episode.wanted[s].sum() > 0.0


def test_leases_cover_the_traffic_in_any_run():
    """What the program asks of leases holds in the simulator, for a policy that lets them wait, too."""
    w = world()
    s = int(np.flatnonzero(w.params.work.mode == LEASES)[0])
    for name in ("cost-greedy+b1", "random+b0"):
        episode, sim = replay(w, 11, "train"), Sim(w, 1, autoreset=False)
        sim.reset([11])
        chosen, live_h, run_h = policy.load(f"rule:{name}", w), 0.0, 0.0
        begun = {}
        jobs = sim.state.jobs
        for _ in range(w.horizon):
            n = int(jobs.n_live[0])
            lease = jobs.kind[0, :n] == INFERENCE
            live_h += float(jobs.gang[0, :n][lease].sum()) * w.step_h
            for j in np.flatnonzero(lease):
                begun.setdefault((int(jobs.order[0, j])), float(jobs.gang[0, j] * jobs.work[0, j]))
            sim.step(chosen.predict(sim.obs)[0])
        run_h = sum(begun.values())
        t = traffic_of(w, episode, s)
        assert live_h + t.slack[0] + t.slack[1] * run_h >= t.wanted.sum()


def test_plants_never_draw_less_than_their_envelope():
    """A search that cools well, on four days: the meter against the line at the hour's node power."""
    w = world()
    envelope, design = Envelope(w), w.params.geo.design_kw
    sim, chosen = Sim(w, 4, autoreset=False), policy.load("rule:cost-greedy+mpc", w)
    sim.reset([1, 2, 3, 4])
    weather, node, drawn = [], [], []
    for _ in range(w.horizon):
        weather.append(sim.state.signals.now[..., 2:4].copy())
        sim.step(chosen.predict(sim.obs)[0])
        node.append(sim.state.plants.node_kw / design)
        drawn.append(sim.state.plants.grid_kw / design)
    weather, node, drawn = (
        np.array(x).reshape(24, 4, *np.array(x).shape[1:]) for x in (weather, node, drawn)
    )
    share = []
    for b, r, h in itertools.product(range(4), range(w.n_regions), range(24)):
        if (drawn[h, :, b, r] == 0.0).any():
            continue  # without grid
        span = slice(max(0, h - 2), h + 1)
        fixed, slope = below(envelope.at(r, weather[span, :, b, r].reshape(-1, 2))[0], 0.7)
        share.append(drawn[h, :, b, r].mean() / (fixed + slope * node[h, :, b, r].mean()))
    assert min(share) >= 1.0
    assert np.median(share) < 1.1


def test_lines_lie_below_all_samples():
    rng = np.random.default_rng(0)
    for near in (0.0, 0.2, 0.5, 0.9, 1.5):
        power = NODES * 1.1 + 0.05 * rng.random(len(NODES))
        fixed, slope = below(power, near)
        assert (fixed + slope * NODES <= power + 1e-12).all()


@pytest.mark.parametrize("feature", [
    {"regions.north.supply.battery_h": 1.0}, {"regions.north.supply.pv_share": 0.3},
    {"regions.south.supply.heat_demand_share": 0.2},
    {"regions.south.pools.gpu.rent": {"usd_per_device_h": 1.0}},
    {"regions.south.pools.gpu.let": {"usd_per_device_h": 1.0}},
])  # fmt: skip
def test_worlds_that_it_does_not_cover_are_refused(feature):
    with pytest.raises(UserError, match="does not cover"):
        refuse(world(overrides=feature))
    refuse(world())


def test_seeds_are_those_of_an_evaluation():
    w = world()
    a = bound(w, episode_seeds(0, 2), "test")
    assert a[1] == bound(w, episode_seeds(1, 1), "test")[0]
    assert a[0] != bound(w, episode_seeds(0, 1), "validation")[0]
