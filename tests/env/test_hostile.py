"""Every archetype under random legal and illegal actions, weather of -40..55 degC, faults, outages, caps, batteries.

The accounting identities of gcn_env/core/README.md hold at every step; states stay finite; outages end.
"""

import numpy as np
import pytest

from gcn_env.core.outage import RUSH_K
from gcn_env.core.state import CAP, N_COOLING, N_HEADS
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.sim import Sim
from tests import hostile
from tests.hostile import Before, accounts, off, par
from tests.worlds import legal_actions, make, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
TOLERANCE = 1e-9
LATENT_KWH_PER_L = 2430.0 / 3600.0
TEMPERATURES = (
    "mass_c",
    "air_c",
    "inlet_c",
    "hot_c",
    "supply_c",
    "loop_c",
    "chip_c",
    "cond_c",
    "structure_c",
)
PLANT_TERMS = [T.energy, T.demand, T.carbon, T.water, T.thermal]
NEVER_NEGATIVE = [k for k, row in enumerate(FLOWS.rows) if row.low == 0]


def least(sim):
    """kWh [R] below which a flow is not looked at: a millionth of an hour at design load."""
    return 1e-6 * par(sim, "design_kw")


def walked(sim, before):
    """Regions whose step `core.outage` walked in sub-steps of its own."""
    was, now = before.plants, sim.state.plants
    out = (was.outage_h > 0) | (was.down_h > 0) | (was.lock_s > 0) | (now.throttle <= 0) | (now.down_h > 0)
    return out | (np.abs(now.air_c - was.air_c) > 0.8 * RUSH_K)


def envelope(sim, before):
    """Conductance times hours [kWh/K], and the least and most that it was colder in the hall than outside [K]."""
    s, area = sim.state.plants, par(sim, "envelope") * par(sim, "design_kw") * sim.world.step_h
    gap = [before.now[..., 2] - getattr(p, f) for p in (before.plants, s) for f in ("air_c", "inlet_c")]
    return area, np.min(gap, 0), np.max(gap, 0)


def check_identities(sim, before, one_sub_step):
    """Identities 1 to 6; the zone's exactly where a step is one sub-step, else with the envelope's heat bounded."""
    flows, small = sim.state.ledger.flows, least(sim)
    books = accounts(sim, before)
    through = books.pop("2 zone less envelope")
    for name, terms in books.items():
        assert off(terms, small).max() < TOLERANCE, (name, off(terms, small))
    area, low, high = envelope(sim, before)
    missing = -np.sum(np.broadcast_arrays(*through), 0)
    swing = 5.0 + 2.0 * (
        high - low
    )  # the hall may move within a step: twice the range seen at its ends, and 5 K
    assert (missing >= area * (low - swing) - small).all()
    assert (missing <= area * (high + swing) + small).all()
    if one_sub_step:
        s = sim.state.plants
        inward = area * (before.now[..., 2] - 0.5 * (s.air_c + s.inlet_c))
        assert off([*through, inward], small)[~walked(sim, before)].max() < TOLERANCE
    check_water(sim, flows)
    check_work(sim, before, flows)


def check_water(sim, flows):
    """5: make-up is evaporation, blow-down and drift; towers evaporate at most 1.4 times what they reject."""
    tower = (par(sim, "tower") > 0.5) & (par(sim, "air_kind") == 0)
    evaporated = flows[..., F.water] / par(sim, "make_up") * LATENT_KWH_PER_L
    rejected = np.maximum(flows[..., F.heat_rejected], 0.0) + flows[..., F.compressors] + flows[..., F.pumps]
    room = (
        1.4 * rejected
        + least(sim)
        + 1.4 * par(sim, "envelope") * par(sim, "design_kw") * 60 * sim.world.step_h
    )
    assert (evaporated <= room)[:, tower].all()
    dry = (
        ~tower
        & (par(sim, "wet_share") <= 0.0)
        & (par(sim, "fresh_air") <= 0.0)
        & (par(sim, "rehumidify") <= 0.0)
    )
    assert (flows[..., F.water][:, dry] == 0.0).all()


def check_work(sim, before, flows):
    """6: IT is nodes, fans and leakage; no more work is done than devices ran, at the clock they ran at."""
    s, fleet = sim.state, sim.world.params.fleet
    nodes = flows[..., F.it] - flows[..., F.server_fans] - flows[..., F.leakage]
    drawn = np.zeros_like(nodes)
    np.add.at(drawn, (slice(None), fleet.region), s.pools.kw * sim.world.step_h)
    assert (nodes <= drawn * (1 + TOLERANCE) + least(sim)).all()
    calm = (before.plants.outage_h == 0) & (before.plants.down_h == 0) & (s.plants.down_h == 0)
    calm &= (np.maximum(before.plants.inlet_c, s.plants.inlet_c) < 40.0) & (s.plants.throttle > 0)
    assert off([nodes, -drawn], least(sim))[calm].max(initial=0.0) < TOLERANCE
    pace = np.swapaxes(s.pools.pace, 1, 2) if hasattr(s.pools, "pace") else 1.0
    most = (fleet.speed[None] * pace).max(1)  # reference hours per device-hour [B, P]
    assert (s.ledger.counts[:, C.work] <= (s.pools.busy_h * most).sum(1) * (1 + TOLERANCE) + 1e-9).all()
    assert (s.pools.busy_h <= fleet.devices * sim.world.step_h * (1 + TOLERANCE)).all()


def check_state(sim):
    """Everything is finite, temperatures lie in -40..150 degC, nothing that cannot be negative is."""
    s = sim.state
    for group in s:
        for name, array in zip(group._fields, group, strict=True):
            if array.dtype.kind == "f":  # a job may have no checkpoint, deadline or latency objective: inf
                assert not np.isnan(array).any(), name
                assert group is s.jobs or np.isfinite(array).all(), name
    for name in TEMPERATURES:
        value = getattr(s.plants, name)
        assert value.min() > -60.0, name
        assert value.max() < 150.0, name
    assert ((s.plants.throttle >= 0) & (s.plants.throttle <= 1)).all()
    assert (s.ledger.flows[..., NEVER_NEGATIVE] >= -1e-12).all()
    assert np.isfinite(sim.reward).all()


def play(sim, seed, steps, choose, one_sub_step=False):
    rng = np.random.default_rng(seed)
    sim.reset([seed])
    for _ in range(steps):
        before = Before(sim)
        sim.step(choose(rng, sim))
        check_state(sim)
        check_identities(sim, before, one_sub_step)
    return sim


@pytest.mark.smoke
def test_every_identity_in_brief():
    play(Sim(hostile.world(1, 60, 60), 1, autoreset=False), 1, 8, legal_actions, one_sub_step=True)


@pytest.mark.parametrize("choose", [legal_actions, wild_actions])
def test_accounts_balance_in_every_minute(choose):
    """A control step is one sub-step of a minute, so that every flux is known from the state before and after."""
    sim = play(Sim(hostile.world(1, 60, 60), 6, autoreset=False), 2, 240, choose, one_sub_step=True)
    assert sim.state.ledger.counts_sum[:, C.killed].sum() > 0


@pytest.mark.parametrize("seed", [3, 4])
def test_accounts_balance_in_every_quarter_of_an_hour(seed):
    play(Sim(hostile.world(), 12, autoreset=False), seed, 96, legal_actions)


def test_accounts_balance_in_the_shipped_world_of_plants():
    play(make("plants", 4, autoreset=False), 6, 96, wild_actions)


def test_the_accounts_notice_a_millionth():
    """Each flow in turn, scaled by 1 + 1e-6, and each temperature moved by 1e-4 K, breaks an account."""
    sim = Sim(hostile.world(1, 60, 60), 4, autoreset=False)
    rng, noticed = np.random.default_rng(5), set()
    sim.reset([5])
    heat = [F.heat_removed, F.heat_reused, F.heat_rejected, F.heat_stored]
    used = [*hostile.USED, *hostile.SOURCES, F.storage_in, F.storage_out, F.storage_loss, *heat]
    for _ in range(120):
        before = Before(sim)
        sim.step(legal_actions(rng, sim))
        s = sim.state.plants
        area, _, _ = envelope(sim, before)
        inward = area * (before.now[..., 2] - 0.5 * (s.air_c + s.inlet_c))
        for k in used:
            bad = sim.state.ledger.flows.copy()
            seen = np.abs(bad[..., k]) > 0.05 * np.abs(bad[..., F.it]) + least(sim)
            bad[..., k] *= 1 + 1e-6
            books = accounts(sim, before, bad)
            books["2 zone less envelope"] = [*books["2 zone less envelope"], inward]
            seen &= ~walked(sim, before)
            if seen.any():
                worst = np.max([off(terms, least(sim)) for terms in books.values()], 0)
                assert (worst[seen] > TOLERANCE).all(), FLOWS.names[k]
                noticed.add(k)
    small = {
        F.humidifiers,
        F.rejection,
        F.pumps,
        F.misc,
        F.pdu_loss,
        F.heat_reused,
        F.generator,
        F.storage_loss,
    }
    assert noticed >= {*used} - small, [FLOWS.names[k] for k in {*used} - noticed]


# ---------------------------------------------------------------------------------------------------------- heads

CALM = {
    "supply": {"fault_scale": 0.0, "generator_start_probability": 1.0},
    "grid": {"outages_per_year": 0.0, "curtailment": {"per_year": 0.0}, "feeder_share": None},
}


def absent_heads(world):
    """bool [5 R]: heads that a region does not have."""
    return (world.params.plant.head_high <= world.params.plant.head_low)[0].ravel()


def middle_levels(world):
    """Levels [5 R] in the middle of every head, no cap, battery at rest."""
    middle = np.full(world.n_regions * N_HEADS, world.n_levels // 2)
    middle[CAP::N_HEADS] = world.n_levels - 1
    middle[absent_heads(world)] = 0
    return middle


def held_levels(sim, choices, hours):
    """Play `hours` with every slot left alone but for its first legal pool, and the heads of regions at `choices`."""
    q = sim.world.n_slots
    for _ in range(round(hours / sim.world.step_h)):
        actions = np.zeros((sim.n_envs, len(sim.head_sizes)), np.int64)
        mask = sim.obs["mask"][:, : q * (sim.world.n_pools + 1)].reshape(sim.n_envs, q, -1)
        actions[:, :q] = np.where(mask[..., 1:].any(-1), mask[..., 1:].argmax(-1) + 1, 0)
        actions[:, q:] = choices
        sim.step(actions)


def test_every_head_of_every_archetype_moves_the_bill_or_is_masked():
    """One environment for each end of each head, all under one seed, against the middle of all heads."""
    world = hostile.world(days=2, **CALM)
    n, levels = world.n_regions * N_HEADS, world.n_levels
    choices = np.tile(middle_levels(world), (2 * n + 1, 1))
    for h in range(n):
        choices[1 + h, h], choices[1 + n + h, h] = 0, levels - 1
    absent = absent_heads(world)
    choices[:, absent] = 0
    sim = Sim(world, 2 * n + 1, autoreset=False)
    sim.reset(np.full(2 * n + 1, 9))
    heads = sim.obs["mask"][:, -n * levels :].reshape(-1, n, levels)
    assert (heads[:, absent].sum(-1) == 1).all()
    assert (heads[:, ~absent].sum(-1) > 1).all()
    held_levels(sim, choices, 24.0)
    bill = sim.state.ledger.terms_sum[:, PLANT_TERMS].sum(1)
    moved = np.maximum(np.abs(bill[1 : n + 1] - bill[0]), np.abs(bill[n + 1 :] - bill[0])) / bill[0]
    names = [f"{key}.{k}" for key in world.archetypes for k in ("cold", "flow", "reject", "cap", "battery")]
    assert [names[h] for h in np.flatnonzero(absent)] == ["a.reject", "f.reject"]
    assert (moved[absent] == 0.0).all()
    assert (moved[~absent] > 1e-5).all(), [names[h] for h in np.flatnonzero(~absent & (moved <= 1e-5))]


def test_caps_and_batteries_are_masked_where_the_scenario_gives_none():
    bare = {"supply": {"power_cap_floor_share": 1.0, "battery_h": 0.0}}
    sim = Sim(hostile.world(**bare), 1)
    sim.reset([1])
    n, levels = sim.world.n_regions, sim.world.n_levels
    heads = sim.obs["mask"][:, -n * N_HEADS * levels :].reshape(n, N_HEADS, levels)
    assert (heads[:, N_COOLING:].sum(-1) == 1).all()
