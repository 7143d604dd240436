"""The scenario `plants`: everything beside the grid is used, every kWh and every dollar is accounted for."""

import numpy as np
import pytest

from gcn_env.core.state import BATTERY, CAP, CARBON, PRICE
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.metrics import KPIS, kpis
from tests.worlds import legal_actions, make, wild_actions

C, F, T = COUNTS.ix, FLOWS.ix, TERMS.ix
IN = [F.grid, F.pv, F.wind, F.generator, F.storage_out]
OUT = [
    F.it,
    F.air_fans,
    F.compressors,
    F.pumps,
    F.rejection,
    F.humidifiers,
    F.ups_loss,
    F.pdu_loss,
    F.misc,
    F.storage_in,
]


def check_bus(sim, held):
    """The AC bus; and what storage took, gave, lost and kept."""
    flows, plants, site = sim.state.ledger.flows, sim.state.plants, sim.world.params.site
    used = flows[..., OUT].sum(-1)
    np.testing.assert_allclose(flows[..., IN].sum(-1), used, rtol=1e-9, atol=1e-9)
    kept = flows[..., F.storage_in] - flows[..., F.storage_out] - flows[..., F.storage_loss]
    now = plants.battery_kwh + plants.ups_kwh
    np.testing.assert_allclose(now - held, kept, rtol=1e-9, atol=1e-9)
    assert (flows[..., [F.pv, F.wind, F.spilled, F.grid, F.above_limit, F.storage_loss]] >= -1e-12).all()
    none = site.battery_kwh == 0
    assert (plants.battery_kw[:, none] == 0).all()
    some = ~none
    share = plants.battery_kwh[:, some] / site.battery_kwh[some]
    assert share.min() > 0.099
    assert share.max() < 0.951
    assert (np.abs(plants.battery_kw) <= site.battery_kw + 1e-9).all()
    return now.copy()


def check_bill(sim, price, carbon):
    ledger, p = sim.state.ledger, sim.world.params
    f, terms = ledger.flows, ledger.terms
    kg = f[..., F.grid] * carbon / 1e3 + f[..., F.fuel] * 2.68
    np.testing.assert_allclose(f[..., F.carbon], kg, rtol=1e-12)
    for name, usd in {
        "energy": (f[..., F.grid] + f[..., F.network]) * price / 1e3,
        "carbon": (kg + f[..., F.network] * carbon / 1e3) * p.money.carbon_usd,
        "fuel": f[..., F.fuel] * p.site.fuel_usd,
        "heat": -f[..., F.heat_reused] * p.site.heat_usd,
        "curtailment": f[..., F.above_limit] * p.site.curtail_usd,
        "water": f[..., F.water] * p.money.water_usd,
    }.items():
        np.testing.assert_allclose(terms[:, TERMS.index(name)], usd.sum(1), rtol=1e-9, atol=1e-12)
    for b in range(sim.n_envs):
        usd = 0.0
        for k in range(len(TERMS)):
            usd += terms[b, k]
        assert sim.reward[b] == -usd / p.money.reference_usd


@pytest.mark.parametrize("choose", [legal_actions, wild_actions])
def test_bus_and_bill_at_every_step(choose):
    sim, rng = make("plants", n_envs=8, autoreset=False), np.random.default_rng(0)
    sim.reset([40])
    held = (sim.state.plants.battery_kwh + sim.state.plants.ups_kwh).copy()
    for _ in range(96):
        now = sim.state.signals.now.copy()
        sim.step(choose(rng, sim))
        held = check_bus(sim, held)
        check_bill(sim, now[..., PRICE], now[..., CARBON])


@pytest.mark.smoke
def test_bus_and_bill_in_brief():
    sim, rng = make("plants", autoreset=False), np.random.default_rng(1)
    sim.reset([41])
    held = (sim.state.plants.battery_kwh + sim.state.plants.ups_kwh).copy()
    for _ in range(6):
        now = sim.state.signals.now.copy()
        sim.step(legal_actions(rng, sim))
        held = check_bus(sim, held)
        check_bill(sim, now[..., PRICE], now[..., CARBON])


def test_all_of_it_happens():
    """Within a dozen episodes of two days under random actions, every source, limit, fault and income is met."""
    sim, rng = make("plants", n_envs=12, autoreset=False), np.random.default_rng(2)
    sim.reset([50])
    for _ in range(sim.world.horizon):
        sim.step(legal_actions(rng, sim))
    ledger = sim.state.ledger
    total = ledger.flows_sum.sum((0, 1))
    sources = ("pv", "wind", "spilled", "generator", "fuel", "storage_in", "storage_out", "storage_loss")
    for name in (*sources, "above_limit", "heat_reused", "humidifiers"):
        assert total[FLOWS.index(name)] > 0.0, name
    for name in ("trips", "faults", "killed", "completed"):
        assert ledger.counts_sum[:, COUNTS.index(name)].sum() > 0.0, name
    terms = ledger.terms_sum.sum(0)
    for name in ("demand", "fuel", "curtailment", "wear", "thermal", "restart"):
        assert terms[TERMS.index(name)] > 0.0, name
    assert terms[T.heat] < 0.0
    got = kpis(ledger.terms_sum, ledger.flows_sum, ledger.counts_sum)
    assert ((got >= KPIS.low) & (got <= KPIS.high)).all()
    assert (got[:, KPIS.index("pue")] > 1.0).all()


def test_money_is_money():
    """Each term is an amount of USD; ratios such as PUE are reported and never paid."""
    assert {row.unit for row in TERMS.rows} == {"USD"}
    ratios = {row.name for row in KPIS.rows if row.unit == "1" or "/" in row.unit}
    assert not ratios & {row.name for row in TERMS.rows}
    assert {"pue", "tue", "wue_l_per_kwh", "cue_kg_per_kwh", "erf", "ref", "cer"} <= ratios


@pytest.mark.parametrize("head", [CAP, BATTERY])
def test_power_caps_and_batteries_move_the_bill(head):
    """A day at either end of the head, region by region, against a day in which it rests."""
    sim = make("plants", n_envs=1 + 2 * 7, autoreset=False)
    plant, levels, q = sim.world.params.plant, sim.world.n_levels, sim.world.n_slots
    there = plant.head_high[0, :, head] > plant.head_low[0, :, head]
    rest = levels - 1 if head == CAP else levels // 2
    sim.reset(np.full(15, 60))
    rng = np.random.default_rng(60)
    for _ in range(96):
        act = np.zeros((15, len(sim.head_sizes)), np.int64)
        mask = sim.obs["mask"][:, : q * (sim.world.n_pools + 1)].reshape(15, q, -1)
        liked = mask[..., 1:] * rng.uniform(0.5, 1.0, (q, sim.world.n_pools))  # every region gets work
        act[:, :q] = np.where(mask[..., 1:].any(-1), liked.argmax(-1) + 1, 0)
        heads = act[:, q:].reshape(15, 7, 5)
        heads[..., :3] = levels // 2
        heads[..., head] = np.where(there, rest, 0)
        heads[..., BATTERY + CAP - head] = 0
        for r in np.flatnonzero(there):
            heads[1 + r, r, head], heads[8 + r, r, head] = 0, levels - 1 if head == BATTERY else levels // 2
        sim.step(act)
    bill = sim.state.ledger.terms_sum[:, [T.energy, T.demand, T.carbon, T.wear]].sum(1)
    for r in np.flatnonzero(there):
        assert max(abs(bill[[1 + r, 8 + r]] - bill[0])) > 1e-3 * bill[0], sim.world.region_names[r]
    assert there.sum() >= 3
