"""What is shown: inside its bounds, alive, nothing hidden, and decisions that the bill feels."""

import dataclasses

import numpy as np
import pytest

from gcn_env.core.state import FAULTS, N_HEADS
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.observation import GLOBALS, JOBS, PAIRS, POOLS, REGIONS
from gcn_env.spaces import observation_space
from tests.env.test_conservation import EVENTS
from tests.worlds import CALM, ROUGH, arrays, legal_actions, legal_choice, make, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
TABLES = {"jobs": JOBS, "pools": POOLS, "regions": REGIONS, "pairs": PAIRS, "globals": GLOBALS}

# State that no observation may depend on: hidden temperatures, truth of random draws, scratch, bookkeeping.
HIDDEN = (
    "Clock.rng", "Clock.seed", "Clock.illegal", "Clock.start_h",
    "Signals.noise_at",
    "Sources.modulation", "Sources.burst", "Sources.offset", "Sources.cursor", "Sources.leased", "Sources.used_h",
    "Jobs.unsaved", "Jobs.queue", "Jobs.event", "Jobs.behind", "Jobs.ready",
    "Jobs.via", "Jobs.left_gb", "Links.down_h", "Links.under_way",
    "Jobs.urgency", "Jobs.order", "Jobs.shown", "Jobs.speed",
    "Pools.awake", "Pools.busy_h", "Pools.load_h", "Pools.first", "Pools.last",
    "Plants.mass_c", "Plants.month", "Plants.past",
    "Plants.inlet_c", "Plants.hot_c", "Plants.supply_c", "Plants.air_c", "Plants.loop_c", "Plants.chip_c",
    "Plants.limit_gap", "Plants.cond_c", "Plants.timer_s", "Plants.heeded",
    "Plants.structure_c", "Plants.still_h", "Pools.up",
    "Ledger.terms", "Ledger.flows", "Ledger.counts",
    "Ledger.terms_sum", "Ledger.flows_sum", "Ledger.counts_sum",
)  # fmt: skip

# Columns of the joint view that stand still on all three worlds in which everything happens, and why.
CONSTANT = {
    "jobs": {"trust"},  # no source asks for more than public pools
    "pools": {"claimed", "current_region"},  # sequential view
    "regions": {"is_current"},  # sequential view
    "pairs": set(),
    "globals": {"carbon_price"},  # for agents trained on several worlds
}  # fmt: skip


def check_bounds(sim):
    for name, array in sim.obs.items():
        assert array.dtype == np.float32
        assert np.isfinite(array).all(), name
        if name in TABLES:
            t = TABLES[name]
            assert (array >= t.low).all(), [t.names[k] for k in np.nonzero(array < t.low)[-1]]
            assert (array <= t.high).all(), [t.names[k] for k in np.nonzero(array > t.high)[-1]]
    mask = sim.obs["mask"]
    assert set(np.unique(mask)) <= {0.0, 1.0}


@pytest.mark.parametrize("view", ["joint", "sequential"])
@pytest.mark.parametrize(
    ("name", "overrides"), [("smoke", ROUGH | {"jobs.training.load": 2.0}), ("plants", {}), ("default", {})]
)
def test_always_inside_the_bounds(name, overrides, view):
    sim = make(name, n_envs=4, view=view, overrides=overrides)
    sim.reset([7])
    rng = np.random.default_rng(7)
    space = observation_space(sim.world, view)
    for name, box in space.items():
        assert sim.obs[name].shape[1:] == box.shape
    for t in range(250):
        sim.step(wild_actions(rng, sim) if view == "joint" else rng.integers(-2, 12, 4))
        if t % 5 == 0:
            check_bounds(sim)


def test_every_head_has_a_legal_choice_and_a_width():
    sim = make(n_envs=3, overrides=ROUGH)
    sim.reset([1])
    rng = np.random.default_rng(1)
    for _ in range(60):
        at = 0
        for n in sim.head_sizes:
            assert (sim.obs["mask"][:, at : at + n].sum(1) >= 1).all()
            at += n
        assert at == sim.obs["mask"].shape[1]
        legal = sim.obs["pairs"][..., PAIRS.ix.legal]
        q, p = legal.shape[1:]
        heads = sim.obs["mask"][:, : q * (p + 1)].reshape(-1, q, p + 1)
        np.testing.assert_array_equal(heads[..., 1:], legal)
        here = sim.obs["pairs"][..., PAIRS.ix.here]
        np.testing.assert_array_equal(sim.obs["pairs"][legal + here == 0], 0.0)
        empty = sim.obs["jobs"][..., JOBS.ix.present] == 0
        assert (sim.obs["jobs"][empty] == 0).all()
        assert (heads[empty][:, 0] == 1).all()
        assert (heads[empty][:, 1:] == 0).all()
        sim.step(legal_actions(rng, sim))
        assert (sim.state.clock.illegal == 0).all()


@pytest.mark.slow
def test_no_column_stands_still():
    low = {k: np.full(len(t), np.inf) for k, t in TABLES.items()}
    high = {k: np.full(len(t), -np.inf) for k, t in TABLES.items()}
    rng = np.random.default_rng(0)
    for name, overrides, steps in (("default", {}, 600), ("plants", {}, 900), ("smoke", EVENTS, 300)):
        sim = make(name, n_envs=8, overrides=overrides)
        sim.reset([0])
        for _ in range(steps):
            sim.step(legal_actions(rng, sim))
            for k, table in TABLES.items():
                flat = sim.obs[k].reshape(-1, len(table))
                low[k], high[k] = np.minimum(low[k], flat.min(0)), np.maximum(high[k], flat.max(0))
    for k, table in TABLES.items():
        still = {table.names[i] for i in np.flatnonzero(low[k] == high[k])}
        assert still == CONSTANT[k], f"{k}: {still ^ CONSTANT[k]}"


def test_the_sequential_view_shows_heads_and_claims():
    powered = {
        f"regions.north.supply.{k}": v for k, v in (("power_cap_floor_share", 0.6), ("battery_h", 1.0))
    }
    sim = make(view="sequential", overrides=powered)
    sim.reset([3])
    rng = np.random.default_rng(3)
    seen = {name: 0.0 for name in ("claimed", "current_region", "is_current")}
    heads = np.zeros(6)
    for _ in range(400):
        heads += sim.obs["head"][0]
        seen["claimed"] += sim.obs["pools"][0, :, POOLS.ix.claimed].sum()
        seen["current_region"] += sim.obs["pools"][0, :, POOLS.ix.current_region].sum()
        now = sim.obs["regions"][0, :, REGIONS.ix.is_current]
        assert now.sum() == (sim.obs["head"][0, 0] == 0)
        if now.any():
            np.testing.assert_array_equal(
                sim.obs["pools"][0, :, POOLS.ix.current_region], now[sim.world.pool_region]
            )
            assert sim.obs["mask"][0].sum() == sim.world.n_levels
            assert (sim.obs["jobs"] == 0).all()
        seen["is_current"] += now.sum()
        sim.step(legal_choice(rng, sim))
    assert all(v > 0 for v in seen.values())
    assert (heads > 0).all()


@pytest.mark.smoke
@pytest.mark.parametrize("view", ["joint", "sequential"])
def test_hidden_state_is_not_shown(view):
    """Poison what no operator knows: after `restore`, the same observation."""
    sim = make(view=view, overrides=ROUGH)
    sim.reset([5])
    rng = np.random.default_rng(5)
    for _ in range(12):
        sim.step(legal_actions(rng, sim) if view == "joint" else legal_choice(rng, sim))
    shown = {k: v.copy() for k, v in sim.obs.items()}
    kept = sim.snapshot()
    for name in HIDDEN:
        array = arrays(kept.state)[name]
        array[...] = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    sim.restore(kept)
    for name, array in sim.obs.items():
        np.testing.assert_array_equal(array, shown[name], err_msg=name)


@pytest.mark.smoke
@pytest.mark.parametrize("view", ["joint", "sequential"])
def test_how_long_it_lasts_and_what_is_silent_is_not_shown(view):
    """An outage is seen, its end is not; of faults only alarms, and not how long the repair takes."""
    sim = make(view=view, overrides=ROUGH)
    sim.reset([5])
    plants = sim.state.plants

    def shown(outage_h, faults, down_h):
        plants.outage_h[0, 0] = outage_h
        plants.down_h[0, 0] = down_h
        for name in FAULTS:
            plants.fault_h[0, 0, FAULTS.index(name)] = faults.get(name, 0.0)
        sim.restore(sim.snapshot())
        return {k: v.copy() for k, v in sim.obs.items()}

    def same(a, b):
        return all((a[k] == b[k]).all() for k in a)

    healthy, alarms = shown(0.0, {}, 0.0), {"fan": 1.0, "pump": 2.0}
    assert same(healthy, shown(0.0, {"fouling": 9.0, "sensor": 3.0}, 0.0))
    broken = shown(0.0, alarms, 0.0)
    assert same(broken, shown(0.0, {"fan": 8.0, "pump": 0.1}, 0.0))
    row = broken["regions"][0, 0] - healthy["regions"][0, 0]
    assert [REGIONS.names[k] for k in np.flatnonzero(row)] == ["alarm_fan", "alarm_pump"]
    dark = shown(0.3, {}, 0.1)
    assert same(dark, shown(7.0, {}, 0.1))
    plants.generator[0, 0] = 1  # it will start
    assert same(dark, shown(7.0, {}, 0.1))
    plants.generator[0, 0] = 0
    assert dark["regions"][0, 0, REGIONS.ix.outage] == 1.0
    waiting = shown(0.0, {}, 0.1)
    row = waiting["regions"][0, 0]
    assert row[REGIONS.ix.outage] == 0.0
    assert row[REGIONS.ix.restart] == pytest.approx(0.6, abs=1e-6)
    assert (waiting["pools"][0, :, POOLS.ix.dead] == (sim.world.pool_region == 0)).all()


def episode(sim, cooling, steps):
    """USD of days all over the year under random placements, with given levels of all cooling heads."""
    sim.reset([9])
    rng = np.random.default_rng(9)
    act = np.zeros((sim.n_envs, len(sim.head_sizes)), np.int64)
    usd = 0.0
    for _ in range(steps):
        act[:] = legal_actions(rng, sim)
        act[:, sim.world.n_slots :] = cooling
        sim.step(act)
        usd += sim.state.ledger.terms[:, [T.energy, T.carbon, T.water, T.demand, T.thermal]].sum()
    return usd


@pytest.mark.parametrize(("name", "steps"), [("smoke", 96), ("default", 96)])
def test_each_cooling_head_moves_the_bill(name, steps):
    sim = make(name, n_envs=10, overrides=CALM if name == "smoke" else {}, autoreset=False)
    sizes = sim.head_sizes[sim.world.n_slots :]
    base = np.full(len(sizes), 3)
    usd = episode(sim, base, steps)
    plant, design = sim.world.params.plant, sim.world.params.geo.design_kw
    share = design / design.sum()
    for h in range(len(sizes)):
        r, k = divmod(h, N_HEADS)
        where = (sim.world.region_names[r], sim.world.archetypes[r], k)
        if plant.head_high[0, r, k] <= plant.head_low[0, r, k]:
            continue  # a head without a choice
        other = base.copy()
        moved = 0.0
        for level in (0, 7):
            other[h] = level
            moved = max(moved, abs(episode(sim, other, steps) - usd))
        assert moved > 5e-5 * usd * share[r], where  # a wet stage acts in warm hours only


def test_an_empty_fleet_costs_its_idle_power():
    empty = {f"jobs.{k}.load": 0.0 for k in ("training", "batch", "inference", "hpc")}
    sim = make(overrides=CALM | empty, autoreset=False)
    sim.reset([2])
    p, dt = sim.world.params, sim.world.step_h
    spare = p.fleet.devices
    kw = spare * (p.fleet.reserve * p.fleet.idle_kw + (1 - p.fleet.reserve) * p.fleet.asleep_kw)
    idle = np.bincount(sim.world.pool_region, kw, 2)
    act = np.zeros((1, len(sim.head_sizes)), np.int64)
    for _ in range(96):
        sim.step(act)
        flows, counts, terms = (getattr(sim.state.ledger, n)[0] for n in ("flows", "counts", "terms"))
        np.testing.assert_allclose(flows[:, F.idle], idle * dt, rtol=1e-9)
        np.testing.assert_allclose(
            flows[:, F.it] - flows[:, F.server_fans] - flows[:, F.leakage], idle * dt, rtol=1e-9
        )
        assert (counts == 0).all()
        assert terms[[T.late, T.slo, T.egress, T.restart, T.dropped, T.settlement]].sum() == 0
        assert (flows[:, F.grid] > idle * dt).all()


def test_twice_the_price_is_twice_the_energy_term():
    """The same actions under doubled prices: nothing physical moves."""
    once, twice = make(overrides=CALM), make(overrides=CALM)
    bank = twice.world.params.bank
    values = bank.values.copy()
    values[..., 0] *= 2
    values.flags.writeable = bank.values.flags.writeable  # the same type for the compiled step
    params = twice.world.params._replace(bank=bank._replace(values=values))
    twice.world = dataclasses.replace(twice.world, params=params)
    rng = np.random.default_rng(1)
    once.reset([4])
    twice.reset([4])
    for _ in range(90):
        act = legal_actions(rng, once)
        once.step(act)
        twice.step(act)
        np.testing.assert_array_equal(once.state.ledger.flows, twice.state.ledger.flows)
        a, b = once.state.ledger.terms[0].copy(), twice.state.ledger.terms[0].copy()
        assert b[T.energy] == pytest.approx(2 * a[T.energy], rel=1e-6)
        a[T.energy] = b[T.energy] = 0.0
        np.testing.assert_array_equal(a, b)


def test_leaving_inference_that_could_be_placed_counts_as_illegal():
    """`counts.illegal` is what lies outside the mask; inference is never deferred, says the mask."""
    sim = make()
    sim.reset([0])
    outside = 0
    for _ in range(96):
        q, p = sim.world.n_slots, sim.world.n_pools
        mask = sim.obs["mask"][:, : q * (p + 1)].reshape(q, p + 1)
        outside = int((mask[:, 0] == 0).sum())
        sim.step(np.zeros((1, len(sim.head_sizes)), np.int64))
        if outside:
            break
    assert outside > 0
    assert sim.state.ledger.counts[0, C.illegal] == outside
