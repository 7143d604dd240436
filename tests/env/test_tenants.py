"""Tenants: quotas bind masks and kernel, also within one step; what each used is told."""

import numpy as np
import pytest

from gcn_env.core.params import UNLIMITED
from gcn_env.core.state import FREE
from gcn_env.envs import FleetEnv, FleetVectorEnv
from gcn_env.ledger import COUNTS, FLOWS
from gcn_env.observation import PAIRS
from tests.worlds import CALM, legal_actions, legal_choice, make, wild_actions, world

C, F = COUNTS.ix, FLOWS.ix
SHARED = {
    "tenants.lab.quota_share": 0.15,
    "tenants.shop.quota_share": 0.2,
    "jobs.training.tenant": "lab",
    "jobs.inference.tenant": "shop",
    "jobs.batch.tenant": "shop",
}


def held(sim):
    """Devices that tenants' jobs hold, queue for or travel to, int64 [B, T]."""
    jobs, n = sim.state.jobs, len(sim.world.tenant_names)
    on = jobs.held * (jobs.status != FREE)
    return np.array([np.bincount(jobs.tenant[b], on[b], n) for b in range(sim.n_envs)]).astype(int)


def test_quotas_come_from_the_scenario():
    w = world(overrides=CALM | SHARED)
    assert w.tenant_names == ("lab", "shop", "all")
    assert list(w.params.work.quota) == [int(0.15 * 80), int(0.2 * 80), UNLIMITED]
    work = w.params.work
    assert (work.gang <= work.quota[work.owner]).all(), "a gang above the quota could never run"


@pytest.mark.parametrize("choose", [legal_actions, wild_actions])
def test_no_tenant_exceeds_its_quota(choose):
    """Whatever is chosen; what earlier placements of a step leave no quota for is refused, not illegal."""
    sim = make(overrides=CALM | SHARED, n_envs=2)
    sim.reset([0])
    rng, quota, refused, tight = np.random.default_rng(0), sim.world.params.work.quota, 0, 0
    for _ in range(96):
        mask = sim.obs["mask"]
        tight += (sim.obs["pairs"][..., PAIRS.ix.legal].sum(-1) == 0)[sim.state.jobs.slot >= 0].sum()
        sim.step(choose(rng, sim))
        assert (held(sim) <= quota).all()
        refused += sim.state.ledger.counts[:, C.refused].sum()
        if choose is legal_actions:
            assert (sim.state.clock.illegal == 0).all()
        assert mask is sim.obs["mask"]
    assert tight > 0, "masks close when a quota is used up"
    assert refused > 0


def test_a_job_is_legal_where_its_tenant_has_room():
    """The mask against the devices counted here."""
    sim = make(overrides=CALM | SHARED, n_envs=2)
    sim.reset([3])
    rng, fleet, quota = np.random.default_rng(0), sim.world.params.fleet, sim.world.params.work.quota
    opened = 0
    for _ in range(48):
        used, jobs = held(sim), sim.state.jobs
        for b, q in zip(*np.nonzero(jobs.slot >= 0), strict=True):
            j = jobs.slot[b, q]
            legal = sim.obs["pairs"][b, q, :, PAIRS.ix.legal] > 0
            tenant, kind, gang = jobs.tenant[b, j], jobs.kind[b, j], jobs.gang[b, j]
            with np.errstate(divide="ignore"):
                needs = np.ceil(gang / fleet.speed[kind] - 1e-9) if kind == 2 else np.full(len(legal), gang)
            room = quota[tenant] - used[b, tenant] + jobs.held[b, j]
            assert not legal[needs > room].any()
            opened += legal.any()
        sim.step(legal_actions(rng, sim))
    assert opened > 0


def test_the_sequential_view_refuses_nothing_within_its_mask():
    """There, each decision knows of those before it."""
    sim = make(view="sequential", overrides=CALM | SHARED)
    sim.reset([0])
    rng, quota = np.random.default_rng(0), sim.world.params.work.quota
    for _ in range(700):
        sim.step(legal_choice(rng, sim))
        assert sim.state.ledger.counts[0, C.refused] == 0
        assert (held(sim) <= quota).all()


def test_device_hours_of_tenants_are_told():
    w = world(overrides=CALM | SHARED)
    env, many = FleetEnv(w), FleetVectorEnv(2, w)
    env.reset(seed=0)
    many.reset(seed=0)
    for _ in range(8):
        *_, info = env.step(np.zeros(len(env.sim.head_sizes), np.int64))
        *_, infos = many.step(np.zeros((2, len(env.sim.head_sizes)), np.int64))
        told = [info[f"device_h_{name}"] for name in w.tenant_names]
        assert sum(told) == pytest.approx(env.sim.state.ledger.flows[0, :, F.busy].sum(), rel=1e-12)
        assert told == [infos[f"device_h_{name}"][0] for name in w.tenant_names]
    assert min(told) > 0
