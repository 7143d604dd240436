"""One set of weights for every fleet: permutations, sizes, masks, export path, scales."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.networks import (
    AT_POOL,
    HIDDEN,
    ILLEGAL,
    LEASE,
    LEGAL,
    PENDING,
    SLACK,
    EntityNetwork,
    decide,
    lots,
    send,
)
from agents.sb3.ppo import Heads
from agents.training.warmstart import nearest_open
from gcn_env.core.state import N_HEADS
from gcn_env.observation import PAIRS
from tests.agents.fakes import COLUMNS, CURRENT, FakeSim, world

pytestmark = pytest.mark.stepless

LEVELS = 4


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    network = EntityNetwork(COLUMNS, LEVELS, width=12, pair_width=8, current=CURRENT)
    with torch.no_grad():  # far from the nearly uniform start, so that differences would show
        for p in network.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return network


def joint_obs(slots=4, pools=3, regions=2, n=5, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "jobs": (slots, COLUMNS["jobs"]), "pools": (pools, COLUMNS["pools"]),
        "globals": (COLUMNS["globals"],), "regions": (regions, COLUMNS["regions"]),
        "pairs": (slots, pools, COLUMNS["pairs"]),
    }  # fmt: skip
    obs = {k: torch.tensor(rng.normal(size=(n, *s)), dtype=torch.float32) for k, s in shapes.items()}
    place = rng.random((n, slots, pools + 1)) < 0.7
    place[:, :, 0] = True
    place[:, -1, 1:] = False
    cool = rng.random((n, N_HEADS * regions, LEVELS)) < 0.7
    cool[..., 1] = True
    mask = np.concatenate([place.reshape(n, -1), cool.reshape(n, -1)], 1)
    return {**obs, "mask": torch.tensor(mask, dtype=torch.float32)}


def parted(obs):
    """An observation as `EntityNetwork.dense` takes it."""
    n, q, p = obs["pairs"].shape[:3]
    placing, cooling = obs["mask"].split([q * (p + 1), obs["mask"].shape[1] - q * (p + 1)], 1)
    parts = {"mask_placement": placing.view(n, q, p + 1), "mask_cooling": cooling.reshape(n, -1, LEVELS)}
    return {**obs, **parts}


def unpacked(net, obs):
    """Placement [N, Q, P+1] with NaN where there is no choice, cooling [N, R, 5, L], value."""
    out = net.joint(obs)
    n, q = obs["jobs"].shape[:2]
    place = torch.full((n * q, out.placement.shape[1]), torch.nan)
    place[out.rows] = out.placement
    place = place.view(n, q, -1)
    choice = obs["mask"][:, : place[0].numel()].view_as(place)[..., 1:].any(-1)
    place[~choice] = torch.nan
    return place, out.cooling.view(n, -1, N_HEADS, LEVELS), out.value


def close(a, b):
    return torch.allclose(a, b, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_permuting_entities_permutes_the_outputs(net, seed):
    obs = joint_obs(seed=seed)
    n, q, p, r = 5, 4, 3, 2
    rng = np.random.default_rng(seed)
    slots, pools, regions = (rng.permutation(k) for k in (q, p, r))
    place_mask = obs["mask"][:, : q * (p + 1)].view(n, q, p + 1)
    columns = np.concatenate([[0], 1 + pools])
    cool_mask = obs["mask"][:, q * (p + 1) :].view(n, r, N_HEADS, LEVELS)
    moved = {
        "jobs": obs["jobs"][:, slots], "pools": obs["pools"][:, pools],
        "regions": obs["regions"][:, regions], "pairs": obs["pairs"][:, slots][:, :, pools],
        "globals": obs["globals"],
        "mask": torch.cat(
            [place_mask[:, slots][:, :, columns].flatten(1), cool_mask[:, regions].flatten(1)], 1
        ),
    }  # fmt: skip
    place, cool, value = unpacked(net, obs)
    place2, cool2, value2 = unpacked(net, moved)
    assert close(place[:, slots][:, :, columns], place2)
    assert close(cool[:, regions], cool2)
    assert close(value, value2)


def test_slots_without_a_choice_change_nothing(net):
    obs = joint_obs()
    place, cool, value = unpacked(net, obs)
    dense = net.dense(parted(obs))
    assert close(torch.where(place.isnan(), torch.nan, dense[0]), place)
    assert close(dense[1].view_as(cool), cool)
    assert close(dense[2], value)
    assert (dense[0][..., 1:][place[..., 1:].isnan()] < LEGAL).all()


def test_observations_of_a_batch_do_not_meet(net):
    obs = joint_obs(n=5)
    alone = {k: v[2:3] for k, v in obs.items()}
    for a, b in zip(unpacked(net, obs), unpacked(net, alone), strict=True):
        assert close(a[2:3], b)


def test_parameters_do_not_know_the_size_of_the_fleet(net):
    for slots, pools, regions in ((1, 1, 1), (9, 7, 4)):
        place, cool, value = unpacked(net, joint_obs(slots, pools, regions))
        assert place.shape == (5, slots, pools + 1)
        assert cool.shape == (5, regions, N_HEADS, LEVELS)
        assert torch.isfinite(value).all()


def test_nothing_to_decide_is_survived(net):
    obs = joint_obs()
    obs["mask"][:] = 0.0
    obs["mask"][:, 0 : 4 * 4 : 4] = 1.0
    obs["mask"][:, 16::LEVELS] = 1.0
    out = net.joint(obs)
    heads = Heads(out, 4)
    actions = heads.actions()
    assert (actions == 0).all()
    assert torch.equal(heads.log_prob(actions), torch.zeros(actions.shape))
    assert torch.equal(heads.entropy(), torch.zeros(5))


@given(st.integers(0, 10_000), st.floats(0.01, 1e3), st.booleans())
def test_masks_hold_for_any_logits(seed, size, deterministic):
    torch.manual_seed(seed)
    sim = FakeSim(world(), 6)
    sim.reset(np.arange(6) + seed)
    obs = {k: torch.from_numpy(v) for k, v in sim.obs.items()}
    network = EntityNetwork(COLUMNS, LEVELS, width=4, pair_width=4, current=CURRENT)
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(size)
        heads = Heads(network.joint(obs), 3)
        actions = decide(heads.joint, obs["jobs"]) if deterministic else heads.actions()
        assert sim.legal(actions.numpy()).all()
        assert torch.isfinite(heads.log_prob(actions)).all()
        entropy = heads.entropy()
    assert ((entropy >= 0) & (entropy <= 1.0001)).all()


def test_log_likelihoods_are_those_of_the_samples(net):
    obs = {
        k: v[:1].expand(20_000, *v.shape[1:])
        for k, v in joint_obs(slots=2, pools=2, regions=1, seed=4).items()
    }
    with torch.no_grad():
        heads = Heads(net.joint(obs), 2)
        actions = heads.actions()
        logp = heads.log_prob(actions).sum(1)
    first, count = torch.unique(actions, dim=0, return_counts=True)
    for choice, k in zip(first, count, strict=True):
        where = (actions == choice).all(1)
        assert logp[where][0].exp().item() == pytest.approx(k.item() / 20_000, abs=0.02)


def likeliest(heads):
    n = heads.cooling.shape[0]
    place = torch.zeros(n * 4, dtype=torch.int64)
    place[heads.joint.rows] = heads.placement.argmax(1)
    return torch.cat([place.view(n, 4), heads.cooling.argmax(2)], 1)


def test_repeatable_choices_wait_as_often_as_sampled_ones(net):
    obs = joint_obs(slots=6, n=3000, seed=2)
    obs["jobs"][..., AT_POOL] = 0.0
    with torch.no_grad():
        joint = net.joint(obs)
        actions = decide(joint, obs["jobs"])
        placement, cooling, _ = net.dense(parted(obs))
        assert torch.equal(actions, torch.cat([send(placement, obs["jobs"]), cooling.argmax(2)], 1))
    heads = Heads(joint, 6)
    chosen = actions[:, :6].flatten()[joint.rows]
    waits = heads.placement[:, 0].exp()
    for low in (0.0, 0.25, 0.5, 0.75):
        some = (waits >= low) & (waits < low + 0.25)
        share = (chosen[some] == 0).float().mean().item()
        assert share == pytest.approx(waits[some].mean().item(), abs=1.5 / some.sum().item() ** 0.5)
    sent = chosen > 0
    assert torch.equal(chosen[sent], heads.placement[sent][:, 1:].argmax(1) + 1)
    assert torch.equal(actions[:, 6:], heads.cooling.argmax(2))


def test_jobs_at_a_pool_leave_it_only_where_that_is_likelier(net):
    obs = joint_obs(slots=6, n=500, seed=2)
    obs["jobs"][..., AT_POOL[1]] = 1.0
    with torch.no_grad():
        joint = net.joint(obs)
        chosen = decide(joint, obs["jobs"])[:, :6].flatten()[joint.rows]
    stay = torch.softmax(joint.placement, 1)[:, 0] > 0.5
    assert torch.equal(chosen == 0, stay)
    assert stay.any()
    assert not stay.all()


def test_lots_are_even_and_change_with_the_row():
    rng = np.random.default_rng(0)
    rows = torch.tensor(rng.normal(size=(20_000, COLUMNS["jobs"])), dtype=torch.float32)
    draw = lots(rows)
    assert torch.equal(draw, lots(rows))
    assert ((draw >= 0) & (draw < 1)).all()
    assert torch.histc(draw, 10, 0, 1).sub(2000).abs().max() < 250
    later = rows.clone()
    later[:, 7] += 0.01  # slack
    both = torch.stack([draw, lots(later)])
    assert torch.corrcoef(both)[0, 1].abs() < 0.03


def test_clones_of_a_rule_are_rewarded_for_agreeing(net):
    obs = joint_obs()
    heads = Heads(net.joint(obs), 4)
    same = likeliest(heads)
    place, cool, agree = heads.imitation(same, slip=0.0)
    assert agree == 1.0
    other = same.clone()
    other[:, 0] = 0
    assert heads.imitation(other, slip=0.0)[0] >= place
    assert torch.isfinite(cool)


def test_clones_do_not_learn_to_wait_where_they_may_not(net):
    heads = Heads(net.joint(joint_obs()), 4)
    same = likeliest(heads)
    first = int(heads.joint.rows[0])
    heads.joint.placement[0, 0] = heads.placement[0, 0] = ILLEGAL
    same[first // 4, first % 4] = 0  # the demonstrator waits
    place, _, agree = heads.imitation(same, slip=0.1)
    assert 0.0 < place < 10.0
    assert agree == 1.0  # the others


def test_value_survives_a_change_of_scale(net):
    obs = joint_obs()
    before = net.joint(obs).value
    net.rescale_value(0.5, -3.0)
    assert close(net.joint(obs).value, 0.5 * before - 3.0)
    net.rescale_value(2.0, 6.0)


def test_column_statistics_are_those_of_real_rows(net):
    torch.manual_seed(0)
    network = EntityNetwork(COLUMNS, LEVELS, width=4, pair_width=4, current=CURRENT)
    obs = joint_obs(n=400)
    obs["jobs"][:, :3] = obs["jobs"][:, :3] * 2.0 + 5.0
    obs["jobs"][:, 3] = 1e6  # an empty slot: padding
    network.standardise([obs])
    real = obs["jobs"][:, :3]
    standard = (real - network.jobs.mean) * network.jobs.scale
    assert standard.mean().abs() < 0.2
    assert (standard.std() - 1).abs() < 0.2
    plain = torch.nn.functional.linear(standard, network.jobs.linear.weight, network.jobs.linear.bias)
    assert torch.allclose(network.jobs(real), plain, atol=1e-3)


def test_sequential_scores_are_masked_and_padded():
    sim = FakeSim(world(pools=2, levels=LEVELS), 5, view="sequential")
    sim.reset(np.arange(5))
    network = EntityNetwork(COLUMNS, LEVELS, width=8, pair_width=8, current=CURRENT)
    for _ in range(sim.n_heads):
        obs = {k: torch.from_numpy(v) for k, v in sim.obs.items()}
        scores, value = network.sequential(obs)
        assert scores.shape == (5, 4)
        assert ((scores > LEGAL) == (obs["mask"] > 0)).all()
        assert value.shape == (5,)
        sim.step(scores.argmax(1).numpy())


def test_a_job_without_a_margin_is_sent():
    """By the most slack of its legal pools, and how soon it comes round; never a lease, nor a job at a pool."""
    network = EntityNetwork(COLUMNS, LEVELS, width=8, pair_width=8, current=CURRENT, margin_h=5.0)
    sim = FakeSim(world(slots=6, pools=2, levels=LEVELS), 1)
    sim.reset(np.arange(1))
    obs = {k: torch.from_numpy(v.copy()) for k, v in sim.obs.items()}
    obs["mask"][:, :18] = 1.0
    obs["mask"][0, 3 * 5 + 2] = 0.0  # the sixth job may not go to the second pool
    obs["jobs"][..., [*AT_POOL, LEASE]] = 0.0
    obs["jobs"][0, 2, LEASE] = obs["jobs"][0, 3, AT_POOL[0]] = 1.0
    hours = torch.tensor([[4.0, 4.9], [4.0, 5.1], [0.0, 0.0], [0.0, 0.0], [-50.0, -9.0], [4.0, 90.0]])
    obs["pairs"][..., SLACK] = torch.asinh(hours) / 4.0
    obs["globals"][0, PENDING], obs["globals"][0, HIDDEN] = math.asinh(6.0) / 4.0, 0.0
    network.leave_score.bias.data += 50.0  # it would rather wait
    with torch.no_grad():
        joint, (placement, _, _) = network.joint(obs), network.dense(parted(obs))
        hurried = [True, False, False, False, True, True]
        assert (joint.placement[:, 0] < LEGAL).tolist() == (placement[0, :, 0] < LEGAL).tolist() == hurried
        chosen = decide(joint, obs["jobs"])[0, :6]
        assert (chosen > 0).tolist() == hurried
        assert torch.equal(chosen, send(placement, obs["jobs"])[0])
        assert (Heads(joint, 6).actions()[0, :6] > 0).tolist() == hurried  # as it acts, so it learns
        there = torch.tensor([[1, 1], [0, 1], [1, 1], [1, 1], [1, 1], [1, 0]]) > 0
        assert torch.equal(joint.placement[:, 1:] > LEGAL, there)  # late pools only where all are late
        obs["mask"][0, 1:3] = 0.0  # without any pool the first job may wait, pressed or not
        assert network.dense(parted(obs))[0][0, 0, 0] > LEGAL
        obs["mask"][0, 1:3] = 1.0
        obs["globals"][0, PENDING], obs["globals"][0, HIDDEN] = math.asinh(60.0) / 4.0, math.asinh(54.0) / 4.0
        later = network.joint(obs).placement[:, 0] < LEGAL  # in ten steps: 50 h
        assert later.tolist() == [True, True, False, False, True, True]
        network.margin_h = None
        assert (decide(network.joint(obs), obs["jobs"])[:, :6] == 0).all()


def test_margins_hold_in_the_sequential_view():
    """Pools in time, no waiting where none is, set-points as they were; a demonstrator keeps to it too."""
    network = EntityNetwork(COLUMNS, LEVELS, width=8, pair_width=8, current=CURRENT, margin_h=5.0)
    sim = FakeSim(world(pools=2, levels=LEVELS), 5, view="sequential")
    sim.reset(np.arange(5))
    obs = {k: torch.from_numpy(v.copy()) for k, v in sim.obs.items()}
    obs["jobs"][..., [*AT_POOL, LEASE]] = obs["globals"][:, HIDDEN] = 0.0
    obs["mask"][:, :3] = 1.0
    obs["head"][:] = 0.0
    obs["head"][:4, 0] = obs["head"][4, 1] = 1.0
    hours = torch.tensor([[4.0, 9.0], [9.0, 9.0], [4.0, 3.0], [4.0, 3.0], [4.0, 3.0]])
    obs["pairs"][:, 0, :, SLACK] = torch.asinh(hours) / 4.0
    obs["jobs"][3, 0, LEASE] = 1.0
    found = network.open_choices(obs)
    wanted = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]) > 0
    assert torch.equal(found[:, :3], wanted)
    assert torch.equal(found[4], obs["mask"][4] > 0.5)
    with torch.no_grad():
        assert torch.equal(network.sequential(obs)[0] > LEGAL, found)
    obs["pairs"][:, 0, :, PAIRS.index("cost")] = torch.tensor([[1.0, 2.0]] * 4 + [[2.0, 1.0]])
    given = {k: v.numpy() for k, v in obs.items()}
    assert nearest_open(given, np.array([1, 2, 0, 0, 1]), found.numpy()).tolist() == [0, 2, 1, 0, 1]


def test_jobs_at_a_pool_are_not_looked_at_without_moves():
    """Joint, dense and sequential: the only choice is to leave them, whatever the mask offers."""
    network = EntityNetwork(COLUMNS, LEVELS, width=8, pair_width=8, current=CURRENT, moves=False)
    sim = FakeSim(world(slots=3, pools=2, levels=LEVELS), 6)
    sim.reset(np.arange(6))
    obs = {k: torch.from_numpy(v.copy()) for k, v in sim.obs.items()}
    obs["jobs"][..., AT_POOL] = 0.0
    obs["jobs"][:, 2, AT_POOL[0]] = 1.0
    with torch.no_grad():
        sparse, (placement, _, value) = network.joint(obs), network.dense(parted(obs))
        assert (decide(sparse, obs["jobs"])[:, 2] == 0).all()
        assert (send(placement, obs["jobs"])[:, 2] == 0).all()
        for _ in range(20):
            assert (Heads(sparse, 3).actions()[:, 2] == 0).all()
        assert (Heads(sparse, 3).actions()[:, 1] > 0).any()  # the others are sent
        assert torch.allclose(sparse.value, value, atol=1e-5)
    sim = FakeSim(world(pools=2, levels=LEVELS), 6, view="sequential")
    sim.reset(np.arange(6))
    obs = {k: torch.from_numpy(v.copy()) for k, v in sim.obs.items()}
    obs["jobs"][..., AT_POOL] = 0.0
    obs["jobs"][:3, :, AT_POOL[1]] = 1.0
    free = network.open_choices(obs)
    assert (free[:3, 1:] == 0).all()
    assert free[:3, 0].all()
    assert torch.equal(free[3:], obs["mask"][3:] > 0.5)
    with torch.no_grad():
        assert (network.sequential(obs)[0][:3].argmax(1) == 0).all()
