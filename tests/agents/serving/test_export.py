"""A bundle says what the network says, in every fleet, and serves without torch."""

import subprocess
import sys

import numpy as np
import pytest

from agents.bundle import BundlePolicy, open_bundle
from agents.bundle.manifest import TOLERANCE
from agents.policy import load
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from tests.agents.serving.conftest import fresh_policy
from tests.worlds import ROOT, world

FOURTH = {"regions.south.pools.cpu": {"hardware": "cpu_epyc7763_slice", "devices": 8}}
SHAPES = [(1, 6, None), (7, 6, None), (3, 2, FOURTH)]


@pytest.fixture(scope="module")
def policies(exported):
    return fresh_policy(), BundlePolicy(open_bundle(exported))


def test_the_manifest_proves_parity(exported):
    manifest = open_bundle(exported).manifest
    assert manifest.parity.observations == 1000
    assert manifest.parity.worst <= TOLERANCE
    assert manifest.parity.equal_decisions == manifest.parity.decisions == 1000 * (6 + 10)
    assert {x.plant for x in manifest.limits} == set("abcdefg")
    assert manifest.training == {
        "source": "tests",
        "exported_at_commit": manifest.training["exported_at_commit"],
    }


@pytest.mark.parametrize(("envs", "slots", "more"), SHAPES)
def test_it_decides_as_the_network_in_other_fleets(policies, envs, slots, more):
    """Other numbers of environments, slots and pools than it was traced with; weeks that were not recorded."""
    ours, theirs = policies
    fleet = world("smoke", {"decisions.slots": slots, **(more or {})})
    sim, seen = Sim(fleet, envs), set()
    sim.reset(90)
    for _ in range(30):
        a, b = ours.predict(sim.obs)[0], theirs.predict(sim.obs)[0]
        assert np.array_equal(a, b)
        choices, placement = theirs.place(sim.obs)
        assert np.array_equal(choices, b[:, :slots])
        assert np.allclose(placement, theirs.answer(sim.obs).placement, rtol=0, atol=TOLERANCE)
        seen |= set(a.ravel().tolist())
        sim.step(a)
    assert len(seen) > 4  # a policy that always chose the same would prove little


def test_one_observation_without_a_batch(policies):
    sim = Sim(world(), 1)
    sim.reset(3)
    one = {k: v[0] for k, v in sim.obs.items()}
    assert np.array_equal(policies[1].predict(one)[0], policies[1].predict(sim.obs)[0][0])


def test_sampling_is_legal_and_varies(policies):
    sim = Sim(world(), 4)
    sim.reset(3)
    rng = np.random.default_rng(0)
    drawn = [policies[1].predict(sim.obs, deterministic=False, rng=rng)[0] for _ in range(20)]
    assert len({d.tobytes() for d in drawn}) > 1
    ends = np.cumsum(sim.head_sizes)
    for d in drawn:
        assert np.take_along_axis(sim.obs["mask"], ends - sim.head_sizes + d, 1).all()


def test_bundle_is_a_policy_spec(exported):
    assert load(f"bundle:{exported}", world()).view == "joint"
    with pytest.raises(UserError, match="8 levels per cooling head"):
        load(f"bundle:{exported}", world("smoke", {"decisions.cooling_levels": 6}))
    with pytest.raises(UserError, match="no bundle folder"):
        load("bundle:nowhere", world())


def test_a_bundle_is_evaluated_like_any_policy(exported):
    from agents.evaluation import evaluate

    results = evaluate(
        world(), {"bundle": load(f"bundle:{exported}", world()), "net": fresh_policy()}, episodes=2
    )
    assert np.array_equal(results.kpis[0], results.kpis[1])


def test_rules_and_existing_folders_are_refused(exported, tmp_path):
    from agents.export import export

    with pytest.raises(UserError, match="no trained network"):
        export(load("rule:cheapest+b1", world()), world(), tmp_path / "x", "rule", {})
    with pytest.raises(UserError, match="never overwritten"):
        export(fresh_policy(), world(), exported, "again", {})


def test_another_margin_can_be_exported(monkeypatch, tmp_path):
    from agents import export

    seen = []
    monkeypatch.setattr(
        export, "export", lambda policy, *rest: seen.append((policy.net.margin_h, rest[3]["margin_h"]))
    )
    export.export_spec("trained:ppo-default", tmp_path / "x", margin_h=8.0)
    assert seen == [(8.0, 8.0)]
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="at least 0"):
            export.export_spec("trained:ppo-default", tmp_path / "x", margin_h=wrong)


def test_serving_loads_no_torch(exported):
    code = (
        "import sys, agents.serving.server, agents.adapters.simulator\n"
        f"from agents.bundle import BundlePolicy, open_bundle\nBundlePolicy(open_bundle({str(exported)!r}))\n"
        "print(sorted({'torch', 'stable_baselines3', 'pickle5', 'cloudpickle', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_sequential_view_is_exported_too(tmp_path):
    from agents.export import export

    ours = fresh_policy("sequential")
    export(ours, world(), tmp_path / "s", "sequential", {"source": "tests"})
    theirs = load(f"bundle:{tmp_path / 's'}", world())
    sim = Sim(world("smoke", FOURTH), 5, view="sequential")
    sim.reset(4)
    for _ in range(150):
        a, b = ours.predict(sim.obs)[0], theirs.predict(sim.obs)[0]
        assert np.array_equal(a, b)
        sim.step(a)
