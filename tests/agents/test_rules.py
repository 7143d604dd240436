"""Rules: each runs in batch as alone, does what its name says, and a replay of its choices is its episode."""

import numpy as np
import pytest

from agents.policy import KINDS, load, rule_names
from agents.rules import cooling, placement
from gcn_env.action import level_values
from gcn_env.core.state import N_HEADS
from gcn_env.errors import UserError
from gcn_env.ledger import COUNTS, TERMS
from gcn_env.observation import JOBS, PAIRS, POOLS, REGIONS
from gcn_env.sim import Sim
from tests.worlds import ROUGH, make, world

C, T = COUNTS.ix, TERMS.ix
STEPS = 40


def play(sim, policy, seeds, steps=STEPS):
    """Actions [steps, B, heads] and ledger sums of a policy."""
    sim.reset(seeds)
    state, chosen = None, []
    start = np.ones(sim.n_envs, bool)
    for _ in range(steps):
        act, state = policy.predict(sim.obs, state, start)
        chosen.append(act)
        sim.step(act)
        start = sim.done.copy()
    return np.array(chosen), sim.state.ledger.terms_sum.copy(), sim.state.ledger.counts_sum.copy()


class Replay:
    """Plays recorded choices back."""

    view = "joint"

    def __init__(self, chosen):
        self.chosen = chosen

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        at = 0 if state is None else state
        return self.chosen[at], at + 1


@pytest.mark.parametrize("spec", rule_names())
def test_every_rule_runs_in_batch_as_alone(spec):
    w = world(overrides=ROUGH)
    policy = load(spec, w)
    assert policy.view == "joint"
    chosen, terms, counts = play(Sim(w, 4), policy, [30])
    assert chosen.dtype == np.int64
    assert (counts[:, C.illegal] == 0).all(), "a rule stays inside the mask"
    assert (counts[:, C.placed] > 0).all()
    if spec.startswith("rule:random"):
        return  # its draws belong to the batch
    for i in (0, 3):
        alone, usd, _ = play(Sim(w, 1), policy, [30 + i])
        np.testing.assert_array_equal(alone[:, 0], chosen[:, i])
        np.testing.assert_array_equal(usd[0], terms[i])


@pytest.mark.parametrize("spec", ["rule:random+b0", "rule:cost-greedy-migration+b1", "rule:round-robin+b1"])
def test_a_replay_of_recorded_choices_is_the_same_episode(spec):
    w = world(overrides=ROUGH)
    chosen, terms, counts = play(Sim(w, 3), load(spec, w), [8], 96)
    again, terms2, counts2 = play(Sim(w, 3), Replay(chosen), [8], 96)
    np.testing.assert_array_equal(chosen, again)
    np.testing.assert_array_equal(terms, terms2)
    np.testing.assert_array_equal(counts, counts2)


def test_a_policy_object_keeps_nothing():
    w = world()
    policy = load("rule:round-robin+b1", w)
    first = play(Sim(w, 2), policy, [1])[0]
    np.testing.assert_array_equal(play(Sim(w, 2), policy, [1])[0], first)
    random = load("rule:random+b1", w)
    np.testing.assert_array_equal(play(Sim(w, 2), random, [1])[0], play(Sim(w, 2), random, [1])[0])


def test_observations_are_not_changed():
    sim = make(n_envs=2)
    sim.reset([0])
    before = {k: v.copy() for k, v in sim.obs.items()}
    for spec in rule_names(("b1",)):
        load(spec, sim.world).predict(sim.obs)
    for name, array in sim.obs.items():
        np.testing.assert_array_equal(array, before[name])


def scene(pools=4, slots=3):
    """An observation with one legal, roomy job in each slot, made by hand."""
    obs = {
        "jobs": np.zeros((1, slots, len(JOBS))),
        "pools": np.zeros((1, pools, len(POOLS))),
        "regions": np.zeros((1, pools, len(REGIONS))),
        "pairs": np.zeros((1, slots, pools, len(PAIRS))),
    }
    obs["jobs"][..., JOBS.ix.present] = 1.0
    obs["pairs"][..., PAIRS.ix.legal] = 1.0
    obs["pairs"][..., PAIRS.ix.share] = 0.1
    obs["pools"][..., POOLS.ix.free] = 1.0
    return obs


def place(name, obs, turn=0):
    pools = obs["pools"].shape[1]
    turns = np.full(1, turn)
    return list(placement.place(name, obs, np.arange(pools), turns, np.random.default_rng(0))[0])


def test_rules_do_what_their_names_say():
    obs = scene()
    obs["regions"][0, :, REGIONS.ix.price_now] = [3, 1, 2, 4]
    obs["regions"][0, :, REGIONS.ix.carbon_now] = [3, 4, 1, 2]
    obs["regions"][0, :, REGIONS.ix.wet] = [0.1, 0.4, 0.2, 0.0]
    obs["pairs"][0, :, :, PAIRS.ix.rtt] = np.array([2.0, 3, 1, 4])
    obs["pairs"][0, :, :, PAIRS.ix.speed] = np.array([0.0, 0.1, 0.5, 0.2])
    obs["pairs"][0, :, :, PAIRS.ix.cost] = np.array([0.4, 0.2, 0.3, 0.1])
    assert place("cheapest", obs) == [2, 2, 2]
    assert place("greenest", obs) == [3, 3, 3]
    assert place("coolest", obs) == [4, 4, 4]
    assert place("nearest", obs) == [3, 3, 3]
    assert place("fastest", obs) == [3, 3, 3]
    assert place("cost-greedy", obs) == [4, 4, 4]
    assert place("static-order", obs) == [1, 1, 1]
    assert place("round-robin", obs) == [1, 2, 3]
    assert place("round-robin", obs, turn=3) == [4, 1, 2]
    obs["pools"][0, :, POOLS.ix.free] = [0.5, 0.9, 0.3, 0.85]
    assert place("least-loaded", obs) == [2, 4, 2]
    assert place("most-packed", obs) == [3, 3, 3]


def test_rules_count_what_they_placed_in_the_same_step():
    obs = scene()
    obs["pairs"][..., PAIRS.ix.share] = 0.6
    assert place("static-order", obs) == [1, 2, 3]
    obs["pairs"][0, 0, 0, PAIRS.ix.legal] = 0.0
    assert place("static-order", obs) == [2, 1, 3]
    obs["pairs"][0, 1, :, PAIRS.ix.legal] = 0.0
    assert place("static-order", obs) == [2, 0, 1]


def test_a_compressed_zero_is_no_wait():
    """Columns in asinh show up to 1e-7 for 0; a wait of that size once made every pool look full."""
    obs = scene()
    obs["pairs"][..., PAIRS.ix.share] = 0.6
    obs["pairs"][..., PAIRS.ix.wait] = 6e-8
    assert place("static-order", obs) == [1, 2, 3]


@pytest.mark.parametrize("name", placement.RULES)
def test_jobs_at_a_pool_are_left_there_but_for_a_clear_saving(name):
    obs = scene(slots=1)
    obs["jobs"][0, 0, JOBS.ix.running] = 1.0
    obs["pairs"][0, 0, 0, [PAIRS.ix.here, PAIRS.ix.legal]] = 1.0, 0.0
    obs["pairs"][0, 0, :, PAIRS.ix.cost] = np.arcsinh([10.0, 9.0, 5.0, 8.0])
    moves = name in placement.MOVING
    assert place(name, obs) == [3 if moves else 0]
    obs["pairs"][0, 0, 2, PAIRS.ix.cost] = np.arcsinh(10.0 * (1.01 - placement.MOVE_GAIN))
    assert place(name, obs) == [0]
    obs["pairs"][0, 0, 2, PAIRS.ix.cost] = np.arcsinh(1.0)
    obs["pairs"][0, 0, 2, PAIRS.ix.wait] = 0.1
    assert place(name, obs) == [0], "a pool without room"


def test_deferral_waits_only_for_a_clear_gain():
    obs = scene(slots=2)
    obs["pairs"][..., PAIRS.ix.cost] = np.arcsinh(1.0)
    obs["pairs"][..., PAIRS.ix.patience] = 0.5 * placement.DEFER_GAIN
    assert 0 not in place("cost-greedy-deferral", obs)
    obs["pairs"][0, 0, 2, PAIRS.ix.patience] = 0.5
    assert place("cost-greedy-deferral", obs) == [0, 1]
    obs["pairs"][0, 0, 2, PAIRS.ix.legal] = 0.0
    assert place("cost-greedy-deferral", obs) == [1, 1], "a pool where it may not run is nothing to wait for"


def test_inference_is_never_left_waiting():
    w = world(overrides={"jobs.inference.load": 0.8})
    sim, policy, state = Sim(w, 6), load("rule:cost-greedy-deferral+b1", w), None
    sim.reset([1])
    seen = 0
    for _ in range(STEPS):
        act, state = policy.predict(sim.obs, state)
        lease = sim.obs["jobs"][..., JOBS.ix.inference] * (sim.obs["pairs"][..., PAIRS.ix.legal].sum(-1) > 0)
        seen += lease.sum()
        assert (act[:, : w.n_slots][lease > 0] > 0).all()
        sim.step(act)
    assert seen > 20


@pytest.mark.parametrize("name", ["smoke", "default"])
def test_cooling_rules_choose_the_nearest_level(name):
    w = world(name)
    seen = np.zeros((3, w.n_regions, len(REGIONS)))
    seen[..., REGIONS.ix.dry_now] = np.array([-10.0, 20.0, 40.0])[:, None] / 30
    seen[..., REGIONS.ix.wet] = np.array([-11.0, 15.0, 27.0])[:, None] / 30
    levels = level_values(w)
    for rule in ("b0", "b1", "b2"):
        policy = cooling.RULES[rule][0](w)
        act = policy.act(seen)
        assert act.shape == (3, w.n_regions, N_HEADS)
        assert (act >= 0).all()
        assert (act < w.n_levels).all()
        for r in range(w.n_regions):
            for h, wanted in enumerate(policy.wanted(r, seen[:, r])):
                missed = np.abs(levels[r, h][act[:, r, h]] - wanted)
                best = np.abs(levels[r, h][:, None] - np.broadcast_to(wanted, 3)).min(0)
                np.testing.assert_allclose(missed, best, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("rule:cheepest+b1", ["cheepest", "did you mean 'cheapest'", "greenest"]),
        ("rule:cheapest+b7", ["cooling rule 'b7'", "b0", "b1"]),
        ("rul:cheapest", ["rul:cheapest", "rule:PLACEMENT+COOLING", "did you mean 'rule'"]),
        ("cheapest", ["'cheapest'", "run:DIR"]),
        ("", ["rule:PLACEMENT+COOLING"]),
    ],
)
def test_unknown_names(spec, words):
    with pytest.raises(UserError) as caught:
        load(spec, world())
    for word in words:
        assert word in str(caught.value)
    assert KINDS == ("rule", "run", "trained", "bundle")


@pytest.mark.smoke
def test_default_cooling_and_a_short_run():
    w = world()
    assert load("rule:cost-greedy", w).cooling_name == "b1"
    for spec in ("rule:cost-greedy-deferral+b1", "rule:random+b0"):
        _, terms, _ = play(Sim(w, 2), load(spec, w), [3], 3)
        assert np.isfinite(terms).all()
