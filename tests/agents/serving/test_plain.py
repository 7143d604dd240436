"""A policy without a server decides what it decides in the simulator."""

import re
import subprocess
import sys

import numpy as np
import pytest

from agents.adapters.plain import Brain
from agents.policy import load
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from tests.worlds import world


@pytest.mark.parametrize("spec", ["rule:cost-greedy+b1", "bundle"])
def test_decisions_are_the_policys_own(request, spec):
    """Over some hours each job goes where the policy sends it in process."""
    spec = f"bundle:{request.getfixturevalue('exported')}" if spec == "bundle" else spec
    brain, policy = Brain(spec, "smoke", deadline_s=30.0), load(spec, world())
    sim, placed = Sim(world(), 1), 0
    sim.reset(3)
    for _ in range(12):
        told = document(world(), sim.state)
        got = brain.decide(told)
        chosen = policy.predict(sim.obs)[0]
        wanted = {
            name: world().pool_names[int(a) - 1]
            for name, a in zip(told["slots"], chosen[0][: world().n_slots], strict=True)
            if name is not None and a > 0
        }
        assert got.placements == wanted
        assert (got.by, got.reason) == ("policy", "")
        assert set(got.setpoints) == set(world().region_names)
        assert got.unknown == {}
        placed += len(wanted)
        sim.step(np.asarray(chosen))
    assert placed > 0


def test_what_a_snapshot_lacks_is_said_and_vital_readings_bring_the_rule():
    brain = Brain("rule:cost-greedy+b1", "smoke")
    sim = Sim(world(), 1)
    sim.reset(3)
    told = document(world(), sim.state)
    del told["regions"]["north"]["price"], told["regions"]["south"]["wet"]
    got = brain.decide(told)
    assert got.unknown == {"regions.price": ["north"], "regions.wet": ["south"]}
    assert (got.by, got.reason) == ("rule", "unknown")


def test_the_page_is_true(root):
    """The Python blocks of agents/README.md, each a program of its own, with warnings as errors."""
    blocks = re.findall(r"```python\n(.*?)```", (root / "agents" / "README.md").read_text(), re.S)
    said = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", b],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for b in blocks
    ]
    assert said[0] == "{}\n"  # nobody answers there: Ray places by itself
    assert said[1].startswith("policy {")


def test_wrong_names_are_told(tmp_path):
    with pytest.raises(UserError):
        Brain("rule:cost-greedy+b1", "smoke", fallback="rule:nonsense+b1")
    with pytest.raises(UserError):
        Brain(str(tmp_path / "nothing"), "smoke")
    with pytest.raises(UserError, match="format"):
        Brain("rule:cost-greedy+b1", "smoke").decide({})
