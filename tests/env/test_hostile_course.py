"""Long and unlucky courses: thousands of random sequences, every fault at once, outages that have to end."""

import numpy as np
import pytest

from gcn_env.core.state import RUNNING
from gcn_env.ledger import COUNTS, FLOWS
from gcn_env.metrics import KPIS, kpis
from gcn_env.sim import Sim
from tests import hostile
from tests.conftest import LONG
from tests.env.test_hostile import CALM, check_identities, check_state, held_levels, middle_levels
from tests.hostile import Before, par
from tests.worlds import legal_actions, wild_actions

C, F = COUNTS.ix, FLOWS.ix


def sequences(total, steps, seed, batch=250):
    """`total` random sequences of `steps` quarters of an hour, a third of them beginning with every fault at once."""
    world, seen = hostile.world(), {"down": 0, "back": 0, "faults": 0, "dark": 0}
    for k in range(-(-total // batch)):
        sim, rng = Sim(world, batch, autoreset=False), np.random.default_rng([seed, k])
        sim.reset(np.arange(batch) + 1000 * k + seed)
        sim.state.plants.fault_h[::3] = 2.0
        was_down = np.zeros((batch, world.n_regions), bool)
        for t in range(steps):
            before = Before(sim)
            sim.step((wild_actions if t % 4 == 3 else legal_actions)(rng, sim))
            check_state(sim)
            check_identities(sim, before, one_sub_step=False)
            down, dark = sim.state.plants.down_h > 0, sim.state.plants.outage_h > 0
            seen["back"] += int((was_down & ~down).sum())
            seen["down"] += int((~was_down & down).sum())
            seen["dark"] += int(dark.sum())
            seen["faults"] += int((sim.state.plants.fault_h > 0).sum())
            was_down = down
        assert (sim.state.ledger.counts_sum[:, C.trips] > 0).any()
        check_figures(sim)
    return seen


def check_figures(sim):
    """Key figures are finite, within their declared ranges, and no site uses less than its IT."""
    ledger = sim.state.ledger
    figures = kpis(ledger.terms_sum, ledger.flows_sum, ledger.counts_sum)
    assert np.isfinite(figures).all()
    assert (figures >= KPIS.low).all()
    assert (figures <= KPIS.high).all()
    assert (figures[:, KPIS.index("pue")] >= 1.0).all()


def test_hundreds_of_random_sequences_under_every_trouble():
    seen = sequences(300, 24, 1, batch=300)
    assert seen["dark"] > 100
    assert seen["faults"] > 1000
    assert seen["down"] > 100
    assert seen["back"] > 0.7 * seen["down"]


@pytest.mark.slow
def test_thousands_of_random_sequences_under_every_trouble():
    seen = sequences(10_000 if LONG else 2_000, 24, 2)
    assert seen["back"] > 0.8 * seen["down"] > 100


OUTAGES = {"supply": CALM["supply"], "grid": {**CALM["grid"], "outages_per_year": 0.0}}


def busy_world(**supply):
    """Calm weather, no faults: what goes wrong is what a test does."""
    return hostile.world(days=2, extreme=False, supply={**OUTAGES["supply"], **supply}, grid=OUTAGES["grid"])


def run_on(sim, rng, hours):
    """Flows of each step [t, B, R, F] and the states of the regions' nodes."""
    flows, down, running = [], [], []
    for _ in range(round(hours / sim.world.step_h)):
        before = Before(sim)
        sim.step(legal_actions(rng, sim))
        check_state(sim)
        check_identities(sim, before, one_sub_step=False)
        flows.append(sim.state.ledger.flows.copy())
        down.append(sim.state.plants.down_h.copy())
        held = np.zeros(down[-1].shape)
        np.add.at(held, (slice(None), sim.world.params.fleet.region), sim.state.pools.busy)
        running.append(held)
    return np.array(flows), np.array(down), np.array(running)


@pytest.mark.parametrize("generator", [0.0, 1.3])
def test_an_outage_stops_the_nodes_or_not_and_ends(generator):
    """Without a generator every hall goes dark, loses its jobs and boots again; with one the jobs run through."""
    sim = Sim(busy_world(generator_share=generator, ups_min=10.0), 4, autoreset=False)
    rng = np.random.default_rng(1)
    sim.reset([5])
    run_on(sim, rng, 6.0)
    assert (sim.state.plants.down_h == 0).all()
    sim.state.plants.outage_h[:] = 1.0
    sim.state.plants.generator[:] = 1 if generator else 0
    during, down, _ = run_on(sim, rng, 1.0)
    used = during[..., hostile.USED].sum(-1)
    assert during[..., F.grid].max() == 0.0
    if generator:
        assert (used > 0.01 * 0.25 * par(sim, "design_kw")).all()
        assert during[..., F.fuel].min() > 0.0
    else:
        assert (used[-1] == 0.0).all()  # strings of ten minutes are empty
        assert (down[-1] > 0.0).all()
    _, down, running = run_on(sim, rng, 8.0)
    assert (down[12:] == 0.0).all()  # three hours are enough for the warmest hall
    assert (running[-1] > 0.0).mean() > 0.9
    counts = sim.state.ledger.counts_sum
    assert (counts[:, C.trips] > 0).all() == (generator == 0.0)
    assert (sim.state.plants.ups_kwh > 0.0).all()


def test_every_fault_at_once_costs_heat_and_mends():
    """Of two environments under one seed and the same heads, one loses a part of everything for half a day."""
    sim = Sim(busy_world(), 4, autoreset=False)
    sim.reset([6, 6, 7, 7])
    heads = np.tile(middle_levels(sim.world), (4, 1))
    held_levels(sim, heads, 3.0)
    sim.state.plants.fault_h[1::2] = 12.0
    before = sim.state.ledger.flows_sum.copy()
    held_levels(sim, heads, 12.0)
    check_state(sim)
    lost = sim.state.ledger.flows_sum - before
    for k in (F.excursion, F.throttled):
        assert (lost[1::2, :, k] >= lost[::2, :, k] - 1e-9).all()
    cooling = lost[..., hostile.COOLING].sum(-1)
    hurt = (cooling[1::2] > 1.001 * cooling[::2]) | (
        lost[1::2, :, F.excursion] > lost[::2, :, F.excursion] + 0.01
    )
    assert hurt.any(0)[par(sim, "liquid_share") == 0.0].all()  # dry coolers have room to spare at half load
    assert (sim.state.plants.fault_h == 0.0).all()
    held_levels(sim, heads, 8.0)
    assert (sim.state.plants.throttle == 1.0).all()
    assert (sim.state.plants.down_h == 0.0).all()
    np.testing.assert_allclose(sim.state.plants.inlet_c[1::2], sim.state.plants.inlet_c[::2], atol=1.0)
    assert (sim.state.jobs.status == RUNNING).any(1).all()
