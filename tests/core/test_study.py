"""One plant by itself: the same physics as the fleet's phase, and a search that finds what there is to find."""

import itertools

import numpy as np
import pytest

from gcn_env.core import search, study
from gcn_env.core.integrate import reset_plants
from gcn_env.core.plant import HEALTHY, at_rest
from gcn_env.core.plant_table import PLANT
from gcn_env.core.search import Course, Pace, Prices, head_levels
from gcn_env.core.study import COOLING, FACILITY, R
from gcn_env.ledger import FLOWS
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants
from gcn_env.signals.bank import synthetic_bank
from tests.core.plant_fleet import fleet

F = FLOWS.ix
ALL = archetypes()
QUICK = Pace(3600.0, 4, 3)


def course(hours=48, profile="DE-LU", start=2000, load=0.6):
    """Weather of a synthetic year and a daily load."""
    bank = synthetic_bank([profile], {"train": [0]}, 2026)
    weather = bank.values[0, start : start + hours, 0, 2:6].astype(np.float64)
    use = np.clip(load + 0.14 * np.sin(2 * np.pi * (np.arange(hours) - 9) / 24), 0, 1)
    return Course(np.ascontiguousarray(weather), 0.35 + 0.65 * use, np.ones(hours))


def plant(key, kw=1000.0):
    return compile_plants([PlantSite(key, kw)])


def total(outcome, columns=FACILITY):
    return outcome.record[:, columns].sum()


@pytest.mark.smoke
@pytest.mark.parametrize("key", ALL)
def test_a_study_is_the_phase_of_the_simulator(key):
    """B1's commands, given to `integrate` hour by hour, book the same energies (no hall moves fast here)."""
    c = course(6)
    found = study.run(plant(key), 0, c, study.competent())
    whole = fleet((key,), load=c.node[0], dry=15.0)
    s = whole.state
    s.signals.now[0, 0, 2:6] = c.weather[0]
    reset_plants(0, 1, s.plants, s.signals, whole.params)
    for t, command in enumerate(found.commands):
        s.signals.now[0, 0, 2:6] = c.weather[t]
        s.plants.node_kw[:] = c.node[t] * 1000.0
        s.plants.command[0, 0, :3] = command
        flows = whole.run(1, 1.0, 12, 5)[0, 0] / 1000.0
        row = found.record[t]
        for name in ("it", "server_fans", "air_fans", "compressors", "pumps", "rejection", "misc", "water"):
            mine, booked = row[study.RECORD.index(name)], flows[FLOWS.index(name)]
            np.testing.assert_allclose(mine, booked, rtol=1e-12, atol=1e-15, err_msg=name)
        np.testing.assert_allclose(row[R.losses], flows[F.ups_loss] + flows[F.pdu_loss], rtol=1e-12)
        assert row[R.margin] == s.plants.limit_gap[0, 0]


@pytest.mark.smoke
@pytest.mark.parametrize("key", ALL)
def test_given_commands_replay_exactly(key):
    c, pp = course(12), plant(key)
    found = study.run(pp, 0, c, study.oracle(head_levels(pp, 0, 4)), QUICK)
    again = study.run(pp, 0, c, study.given(), QUICK, found.commands)
    np.testing.assert_array_equal(found.record, again.record)
    assert total(found) > 0


@pytest.mark.compiled
@pytest.mark.parametrize("key", ALL)
@pytest.mark.parametrize("profile", ["DE-LU", "SG"])
def test_the_search_is_near_the_best_of_all_triples(key, profile):
    """Exhaustive over 6 x 6 x 6 levels for hours of all seasons: 0.2 % of facility energy at most on the mean."""
    pp = plant(key)
    p, levels = pp.values[0, 0], head_levels(pp, 0, 6)
    low, high = pp.head_low[0, 0, :3].copy(), pp.head_high[0, 0, :3].copy()
    gaps = []
    for start in range(100, 8700, 700):
        c = course(3, profile, start)
        weather, node, awake = search.at(c, 0)
        rule = study.rule_commands(p, low, high, weather[0], weather[1])
        state, _, _, _, _ = at_rest(p, rule, weather, node, awake)
        k0 = search.nearest_levels(levels, rule)
        args = (HEALTHY, state, Pace(), Prices())
        best, cost = search.best_point(p, levels, c, 0, 3, k0, k0, *args)
        grid = itertools.product(range(6), repeat=3)
        least = min(search.trial(p, c, 0, 3, search.valued(levels, k), *args) for k in grid)
        first = search.trial(p, c, 0, 3, search.valued(levels, k0), *args)
        assert least <= cost + 1e-12
        assert cost <= first
        assert cost == search.trial(p, c, 0, 3, search.valued(levels, best), *args)
        gaps.append(cost / least - 1.0)
    assert np.mean(gaps) < 2e-3


@pytest.mark.compiled
@pytest.mark.parametrize("key", ALL)
def test_the_oracle_beats_every_fixed_triple_which_beats_the_rules(key):
    """Static in hindsight is the best of all level triples and of B1 and B0 held; the oracle is below it."""
    c, pp = course(24 * 28, start=2200), plant(key)
    levels = head_levels(pp, 0, 5)
    best = study.run(pp, 0, c, study.oracle(levels))
    outcomes = [
        study.run(pp, 0, c, study.fixed([levels[h, k] for h, k in enumerate(ks)]))
        for ks in itertools.product(range(5), repeat=3)
    ]
    safe = [total(o) for o in outcomes if o.record[:, R.excursion].sum() == 0.0]
    rule = study.run(pp, 0, c, study.competent())
    assert best.record[:, R.excursion].sum() == 0.0
    assert total(best) < min(safe) * 1.0002
    assert total(best) < total(rule) * 1.0002  # which may have values between the levels
    assert total(best, COOLING) < total(rule, COOLING)


@pytest.mark.parametrize("key", ALL)
@pytest.mark.parametrize("dry", [-40.0, 5.0, 55.0])
def test_extremes_stay_finite_and_in_range(key, dry):
    pp = plant(key)
    weather = np.tile([dry, dry - 2.0, dry - 4.0, 0.004], (24, 1))
    node = np.where(np.arange(24) % 6 < 3, 0.0, 1.0)
    c = Course(weather, node, np.maximum(node, 0.03))
    levels = head_levels(pp, 0, 5)
    reset = np.array([study.WET_BULB, 5.0, 15.0, *levels[:, 0], *levels[:, -1]])
    for controller in (study.competent(), study.weather_reset(reset), study.oracle(levels, 6, 3)):
        out = study.run(pp, 0, c, controller, QUICK)
        assert np.isfinite(out.record).all()
        assert (out.commands >= pp.head_low[0, 0, :3] - 1e-12).all()
        assert (out.commands <= pp.head_high[0, 0, :3] + 1e-12).all()


@pytest.mark.compiled
def test_a_reserve_is_kept():
    """A search that stays 2 K below the limits does, where one of 0.1 K goes nearer."""
    pp, c = plant("c"), course(24 * 7, "SG")
    levels = head_levels(pp, 0, 6)
    near = study.run(pp, 0, c, study.oracle(levels, reserve_k=0.1), QUICK)
    far = study.run(pp, 0, c, study.oracle(levels, reserve_k=2.0), QUICK)
    assert far.record[:, R.margin].min() >= 2.0
    assert near.record[:, R.margin].min() < 2.0
    assert total(near) < total(far)
    limit = PLANT.index("hot_limit_c")
    p = pp.values[0, 0]
    assert search.careful(p, 2.0)[limit] == p[limit] - 2.0


def test_a_reset_is_a_line_between_two_triples():
    low, high, p = np.array([18.0, 1.0, 7.0]), np.array([25.0, 3.0, 17.5]), plant("d").values[0, 0]
    row = np.array([study.WET_BULB, 5.0, 15.0, 24.0, 1.2, 17.0, 20.0, 1.0, 3.0])
    assert study.reset_commands(p, row, low, high, 40.0, 0.0) == (24.0, 1.2, 17.0)
    assert study.reset_commands(p, row, low, high, 40.0, 30.0) == (20.0, 1.0, 7.0), (
        "held within the heads' ranges"
    )
    np.testing.assert_allclose(study.reset_commands(p, row, low, high, 40.0, 10.0), (22.0, 1.1, 10.0))
    row[0] = study.DRY_BULB
    assert study.reset_commands(p, row, low, high, 40.0, 0.0) == (20.0, 1.0, 7.0)
    row[0] = study.AFTER_PADS  # 75 % of the way from 40 to 0 degC leaves 10 degC
    np.testing.assert_allclose(study.reset_commands(p, row, low, high, 40.0, 0.0), (22.0, 1.1, 10.0))
