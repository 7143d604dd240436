"""Cooling controllers: B2 from its table, static in hindsight, MPC; all legal everywhere, and in their order."""

import numpy as np
import pytest

from agents.policy import load, standard_rules
from agents.rules import cooling, placement, predictive, reset, static, tuning
from gcn_env.action import level_values
from gcn_env.core.search import head_levels
from gcn_env.core.state import BATTERY, CAP, N_HEADS
from gcn_env.core.study import COOLING, FACILITY, R, competent, reset_commands, run, weather_reset
from gcn_env.errors import UserError
from gcn_env.ledger import FLOWS
from gcn_env.observation import REGIONS
from gcn_env.scenario.load import load_scenario
from gcn_env.scenario.plants import archetypes
from tests.worlds import CALM, world

F = FLOWS.ix
PLANT = "regions.{}.plant.archetype"
POWER = [F.it, F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers, F.ups_loss, F.pdu_loss, F.misc]


def with_plants(north, south, **more):
    """The small world, nothing breaking, with two archetypes."""
    plants = {PLANT.format("north"): north, PLANT.format("south"): south}
    return world(overrides={**CALM, **plants, **more})


def play(w, spec, n=2):
    """Flows [R, F] of test episodes, summed over `n` of them."""
    return static.played(w, load(spec, w), n).flows.sum(0)


def per_node(flows):
    """Facility energy over node energy (IT less server fans and leakage), [R]."""
    return flows[:, POWER].sum(1) / (flows[:, F.it] - flows[:, F.server_fans] - flows[:, F.leakage])


# ------------------------------------------------------------------------------------------------------------ table


def test_the_table_names_training_years_only():
    """The years that B2 was tuned on are those `default` trains on; no shipped scenario tests on them."""
    made = reset.table()["made"]
    signals = load_scenario("default").signals
    assert made["scenario"] == "default"
    assert made["training_years"] == list(signals.train)
    assert made["signals_seed"] == signals.seed
    assert not set(made["training_years"]) & {*signals.validation, *signals.test}
    assert "tune-cooling" in made["command"]
    assert tuple(made["columns"]) == reset.COLUMNS


@pytest.mark.parametrize("key", archetypes())
def test_the_table_holds_every_archetype_in_every_climate_of_default(key):
    entries = [e for e in reset.table()["entries"] if e["archetype"] == key]
    assert {r.profile for r in load_scenario("default").regions.values()} <= {e["profile"] for e in entries}
    for e in entries:
        assert len(e["reset"]) == len(reset.COLUMNS)
        assert np.isfinite(e["reset"]).all()
        assert e["least_margin_k"] > 0.0, "no excursion in the weeks it was tuned on"


def test_a_region_takes_the_entry_of_its_own_climate():
    w = world("default")
    for entry, key, region in zip(
        reset.WeatherReset(w).entries, w.archetypes, w.scenario.regions.values(), strict=True
    ):
        assert (entry["archetype"], entry["profile"]) == (key, region.profile)
    hot, cold = {"archetype": "b", "climate": [27, 25, 26]}, {"archetype": "b", "climate": [10, 8, 19]}
    assert reset.entry_for("b", [12, 9, 20], [hot, cold]) is cold
    assert reset.entry_for("b", [30, 26, 28], [hot, cold]) is hot
    assert reset.entry_for("c", [30, 26, 28], [hot, cold]) is None


def test_without_an_entry_b2_is_b1(monkeypatch):
    monkeypatch.setattr(reset, "table", lambda: {"entries": []})
    w = world()
    seen = np.random.default_rng(0).normal(0.4, 0.3, (6, w.n_regions, len(REGIONS)))
    np.testing.assert_array_equal(reset.WeatherReset(w).act(seen), cooling.Competent(w).act(seen))


def test_the_rule_is_the_reset_of_the_study():
    w = world("default")
    policy, rng = reset.WeatherReset(w), np.random.default_rng(3)
    seen = np.zeros((40, w.n_regions, len(REGIONS)))
    dry = rng.uniform(-20, 45, (40, w.n_regions))
    wet = dry - rng.uniform(0, 10, dry.shape)
    seen[..., REGIONS.ix.dry_now], seen[..., REGIONS.ix.wet] = dry / 30, wet / 30
    plant = w.params.plant
    for r, entry in enumerate(policy.entries):
        low, high = plant.head_low[0, r], plant.head_high[0, r]
        wanted = np.stack([np.broadcast_to(x, 40) for x in policy.wanted(r, seen[:, r])], 1)
        for b in range(40):
            theirs = reset_commands(
                plant.values[0, r], np.array(entry["reset"]), low, high, dry[b, r], wet[b, r]
            )
            np.testing.assert_allclose(wanted[b], theirs, atol=1e-9)


# ----------------------------------------------------------------------------------------------------------- tuning


@pytest.mark.compiled
def test_tuning_beats_b1_on_its_weeks_without_excursion_and_repeats_itself():
    w = world()
    once = tuning.tune(w, "bc", ["DE-LU"], seed=1, n_weeks=2)
    assert once == tuning.tune(w, "bc", ["DE-LU"], seed=1, n_weeks=2)
    bank, column = w.bank, w.bank.profiles.index("DE-LU")
    course = tuning.weeks(bank, column, 1, 2)
    for entry in once:
        params = tuning.plant_of(entry["archetype"], "DE-LU")
        levels = head_levels(params, 0, w.n_levels)
        mine = run(params, 0, course, weather_reset(entry["reset"], levels), tuning.PACE).record
        rule = run(params, 0, course, competent(), tuning.PACE).record
        assert mine[:, FACILITY].sum() < rule[:, FACILITY].sum()
        assert mine[:, R.excursion].sum() == 0.0
        assert mine[:, R.margin].min() >= 0.4
        saved = 100 * (1 - mine[:, COOLING].sum() / rule[:, COOLING].sum())
        assert entry["cooling_saved_over_b1_percent"] == pytest.approx(saved, abs=0.06)


def test_weeks_come_from_training_years():
    w = world()
    course = tuning.weeks(w.bank, 0, 5, 4)
    years = w.bank.values[w.bank.rows("train"), :, 0, 2:6].astype(np.float64)
    for k in range(4):
        week = course.weather[168 * k : 168 * (k + 1)]
        starts = np.argwhere((years[..., 0] == week[0, 0]) & (years[..., 1] == week[0, 1]))
        assert any((years[y, t : t + 168] == week).all() for y, t in starts)
    assert (course.node <= course.awake).all()
    assert course.node.min() > 0.1
    assert course.node.max() <= 1.0


def test_tuning_names_what_it_does_not_know():
    with pytest.raises(UserError, match="no archetype 'x'"):
        tuning.tune(world(), "x")
    with pytest.raises(UserError, match=r"no climate 'DE-LV'.*DE-LU"):
        tuning.tune(world(), "b", ["DE-LV"])


def test_the_table_is_written_as_it_is_read(tmp_path, monkeypatch):
    w = world()
    entry = {"archetype": "b", "profile": "SG", "climate": [1.0, 2.0, 3.0], "reset": [1.0] * 9}
    table = tuning.document(w, [entry], "python -m agents tune-cooling", 0, 2)
    tuning.write(tmp_path / "b2.yaml", table)
    monkeypatch.setattr(reset, "files", lambda _: tmp_path)
    reset.table.cache_clear()
    assert reset.table() == table
    reset.table.cache_clear()


# ------------------------------------------------------------------------------------------------ legal everywhere


@pytest.mark.compiled
@pytest.mark.parametrize("pair", ["ab", "cd", "ef", "gb"])
@pytest.mark.parametrize("name", ["b0", "b1", "b2", "mpc"])
def test_levels_are_legal_for_every_archetype_at_extremes(pair, name):
    w = with_plants(*pair)
    policy = cooling.RULES[name][0](w, "cost-greedy")
    rng = np.random.default_rng(5)
    low, high = np.array([r.low for r in REGIONS.rows]), np.array([r.high for r in REGIONS.rows])
    seen = rng.uniform(low, high, (40, w.n_regions, len(REGIONS))).astype(np.float32)
    seen[0], seen[1], seen[2] = low, high, 0.0
    act = policy.act(seen)
    assert act.shape == (40, w.n_regions, N_HEADS)
    assert act.dtype == np.int64
    assert (act >= 0).all()
    assert (act < w.n_levels).all()
    masked = w.params.plant.head_high[0] <= w.params.plant.head_low[0]
    assert (act[:, masked] == 0).all()


def test_no_cap_and_a_battery_at_rest():
    more = {f"regions.{r}.supply.{k}": v for r in ("north", "south") for k, v in
            (("power_cap_floor_share", 0.6), ("battery_h", 2.0))}  # fmt: skip
    w = world(overrides=more)
    act = cooling.Competent(w).act(np.zeros((1, w.n_regions, len(REGIONS))))
    values = level_values(w)
    for r in range(w.n_regions):
        assert values[r, CAP, act[0, r, CAP]] == 1.0
        assert values[r, BATTERY, act[0, r, BATTERY]] == 0.0


# ---------------------------------------------------------------------------------------------------------- order


@pytest.mark.compiled
@pytest.mark.parametrize("pair", ["bc", "gd"])
def test_mpc_beats_b1_in_an_economiser_climate_without_excursion(pair):
    w = with_plants(*pair, **{"regions.south.profile": "GB"})
    b1, mpc = (play(w, f"rule:cost-greedy+{name}") for name in ("b1", "mpc"))
    assert (mpc[:, F.excursion] == 0.0).all()
    assert (per_node(mpc) < per_node(b1)).all(), (
        "the placement rule sends each other work: energy per node energy"
    )


@pytest.mark.compiled
def test_static_is_the_best_fixed_triple_of_its_own_windows(monkeypatch):
    """No worse than B0 and B1 at their nearest levels, or than 100 random triples, on the recorded weeks."""
    monkeypatch.setattr(static, "EPISODES", 2)
    w = world(overrides=CALM)
    policy = static.Static(w, "least-loaded")
    pace, rng = static.pace_of(w), np.random.default_rng(1)
    courses = static.played(w, load("rule:least-loaded+b1", w), 2).courses
    seen = np.zeros((1, w.n_regions, len(REGIONS)))
    rules = [cooling.RULES[n][0](w).act(seen)[0, :, :3] for n in ("b0", "b1")]
    for r in range(w.n_regions):
        levels = policy.levels[r, :3]

        def cost(k, r=r, levels=levels):
            return static.held_cost(w.params.plant, r, courses[r], levels[np.arange(3), list(k)], pace)

        best = cost(policy.triples[r])
        others = [*(x[r] for x in rules), *rng.integers(0, w.n_levels, (100, 3))]
        assert best <= min(cost(k) for k in others) + 1e-9
    act = policy.act(np.repeat(seen, 3, 0))
    np.testing.assert_array_equal(act[:, :, :3], np.broadcast_to(policy.triples, (3, w.n_regions, 3)))


@pytest.mark.compiled
def test_a_reading_at_the_limit_falls_back_to_conservative_set_points():
    w = world()
    seen = np.zeros((2, w.n_regions, len(REGIONS)), np.float32)
    seen[..., REGIONS.ix.awake], seen[..., REGIONS.ix.load], seen[..., REGIONS.ix.server_fan] = 1.0, 0.7, 0.5
    seen[0, :, REGIONS.ix.margin] = 1.0
    seen[1, :, REGIONS.ix.margin] = (predictive.ALARM_K - 0.1) / 5.0
    act, safe = predictive.Predictive(w).act(seen), cooling.FixedConservative(w).act(seen)
    np.testing.assert_array_equal(act[1], safe[1])
    assert (act[0] != safe[0]).any()


@pytest.mark.compiled
def test_known_faults_enter_the_plan():
    """With an alarm of pumps or air handlers, MPC plans for what is left; the other rules do not look."""
    w = with_plants("a", "b")
    rng = np.random.default_rng(2)
    seen = np.zeros((30, w.n_regions, len(REGIONS)), np.float32)
    seen[..., REGIONS.ix.awake], seen[..., REGIONS.ix.load], seen[..., REGIONS.ix.server_fan] = 1.0, 0.95, 0.6
    seen[..., REGIONS.ix.margin] = 1.0
    seen[..., REGIONS.ix.dry_now] = rng.uniform(0.2, 1.2, (30, 1))
    for lead in ("1h", "3h"):
        seen[..., REGIONS.index(f"dry_{lead}")] = seen[..., REGIONS.ix.dry_now]
    seen[..., REGIONS.ix.wet] = 0.8 * seen[..., REGIONS.ix.dry_now]
    broken = seen.copy()
    broken[..., REGIONS.ix.alarm_fan] = broken[..., REGIONS.ix.alarm_pump] = 1.0
    for name in ("b0", "b1", "b2", "mpc"):
        policy = cooling.RULES[name][0](w)
        moved = (policy.act(seen) != policy.act(broken)).any((0, 2))
        assert moved.any() == (name == "mpc")


def test_the_standard_rules():
    names = standard_rules()
    assert len(names) == len(set(names)) == 2 * len(placement.RULES) + 4
    assert not any(n.endswith("+static") for n in names), "hindsight is asked for by name"
    assert set(cooling.RULES) == {"b0", "b1", "b2", "mpc", "static"}
