"""A policy without a server decides what it decides in the simulator."""

import numpy as np
import pytest

from agents.adapters.plain import Brain
from agents.policy import load
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from tests.worlds import world


@pytest.mark.parametrize("spec", ["rule:cost-greedy+b1", "bundle"])
def test_decisions_are_the_policys_own(exported, spec):
    """Over some hours: where its choice was legal, each job goes where the policy sends it in process."""
    brain = Brain(str(exported) if spec == "bundle" else spec, "smoke", deadline_s=30.0)
    policy = load(f"bundle:{exported}" if spec == "bundle" else spec, world())
    sim, placed = Sim(world(), 1), 0
    sim.reset(3)
    for _ in range(12):
        told = document(world(), sim.state)
        got = brain.decide(told)
        chosen = policy.predict(sim.obs)[0]
        wanted = {
            name: world().pool_names[int(a) - 1]
            for name, a in zip(told["slots"], chosen[0], strict=False)
            if name is not None and a > 0
        }
        assert got.placements == wanted
        assert (got.by, got.reason) == (("policy", "") if got.by == "policy" else ("rule", got.reason))
        assert set(got.setpoints) == set(world().region_names)
        assert got.unknown == {}
        placed += len(wanted)
        sim.step(np.asarray(chosen))
    assert placed > 0


def test_what_a_snapshot_lacks_is_said_and_vital_readings_bring_the_rule(exported):
    brain = Brain(f"bundle:{exported}", "smoke", deadline_s=30.0)
    sim = Sim(world(), 1)
    sim.reset(3)
    told = document(world(), sim.state)
    del told["regions"]["north"]["price"], told["regions"]["south"]["wet"]
    got = brain.decide(told)
    assert got.unknown == {"regions.price": ["north"], "regions.wet": ["south"]}
    assert (got.by, got.reason) == ("rule", "unknown")


def test_wrong_names_are_told(exported, tmp_path):
    with pytest.raises(UserError, match="wanted a rule"):
        Brain("rule:cost-greedy+b1", "smoke", fallback=f"bundle:{exported}")
    with pytest.raises(UserError):
        Brain(str(tmp_path / "nothing"), "smoke")
    with pytest.raises(UserError, match="format"):
        Brain("rule:cost-greedy+b1", "smoke").decide({})
