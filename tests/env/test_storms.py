"""Every event of a site at once and often: states stay finite, energy and jobs are conserved, regions come back."""

import numpy as np
import pytest

from gcn_env.core.state import PENDING
from gcn_env.ledger import COUNTS, FLOWS
from tests.env.test_invariants import check_jobs, check_law, run_checked
from tests.worlds import STORMY, make, wild_actions

C, F = COUNTS.ix, FLOWS.ix


@pytest.mark.smoke
def test_a_storm_in_brief():
    counts = run_checked(make(overrides=STORMY), 5, 6, wild_actions)
    assert (counts >= 0).all()


@pytest.mark.slow
@pytest.mark.compiled
def test_ten_thousand_steps_of_storms():
    """64 environments, 160 steps of all kinds of actions; a region that is down comes back when power does."""
    sim = make(overrides=STORMY, n_envs=64, autoreset=True)
    rng = np.random.default_rng(8)
    sim.reset(np.arange(64))
    plants, flows = sim.state.plants, sim.state.ledger.flows
    trips, faults, powered_h, longest, back = 0.0, 0.0, np.zeros((64, 2)), 0.0, 0
    seen = dict.fromkeys(("generator", "storage_out", "storage_in", "fuel", "pv"), 0.0)
    for _ in range(160):
        down = plants.down_h > 0.0
        sim.step(wild_actions(rng, sim))
        for group in sim.state:
            for name, array in group._asdict().items():
                if name not in ("deadline", "slo", "checkpoint"):  # infinite where there is none
                    assert np.isfinite(array).all(), name
        check_jobs(sim)
        check_law(sim)
        used = flows[..., [F.it, F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers]].sum(-1)
        used += flows[..., [F.ups_loss, F.pdu_loss, F.misc]].sum(-1)
        given = (
            flows[..., [F.grid, F.pv, F.wind, F.generator, F.storage_out]].sum(-1) - flows[..., F.storage_in]
        )
        np.testing.assert_allclose(given, used, rtol=1e-9, atol=1e-9)
        heat = flows[..., F.heat_rejected] + flows[..., F.heat_reused] + flows[..., F.heat_stored]
        np.testing.assert_allclose(heat, used, rtol=1e-9, atol=1e-6)
        trips += sim.state.ledger.counts[:, C.trips].sum()
        faults += sim.state.ledger.counts[:, C.faults].sum()
        for name in seen:
            seen[name] += flows[..., getattr(F, name)].sum()
        still = plants.down_h > 0.0
        back += (down & ~still).sum()
        powered_h = np.where(still & (plants.outage_h == 0.0) & ~sim.done[:, None], powered_h + 0.25, 0.0)
        longest = max(longest, powered_h.max())
    assert trips > 200
    assert faults > 200
    assert back > 100
    assert longest <= 1.5, "h with power until nodes run again"
    assert all(v > 0.0 for v in seen.values()), seen
    assert (sim.state.jobs.status[sim.state.jobs.pool < 0] <= PENDING).all()
