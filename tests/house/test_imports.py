"""What an import drags in, seen in a fresh interpreter: a rule or a simulator must serve without torch."""

import json
import pkgutil
import sys

import pytest

from tests.house.tools import succeeds

LEARNERS = {"torch", "stable_baselines3", "sb3_contrib", "tensorboard"}
# Modules of agents that may import torch, and what is installed as an extra only.
TORCH_FLOOR = ("networks", "sb3", "training", "export", "tune", "cluster", "__main__")


def loaded_by(root, *modules):
    """Top-level names in `sys.modules` after importing `modules`; warnings are errors there too."""
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    out = succeeds([sys.executable, "-W", "error", "-c", code], root, PYTHONPATH=str(root))
    return {name.split(".")[0] for name in json.loads(out.splitlines()[-1])}


def modules_of(root, package, leave_out=()):
    """Dotted names of a package's modules, without those below the names in `leave_out`."""
    found = [
        m.name for m in pkgutil.walk_packages([str(root / package)], prefix=f"{package}.", onerror=print)
    ]
    return [name for name in found if not set(name.split(".")[1:]) & set(leave_out)]


def test_the_simulator_is_light(root):
    assert not loaded_by(root, "gcn_env") & {*LEARNERS, "matplotlib", "pandas"}


def test_the_core_is_numpy_and_numba(root):
    loaded = loaded_by(root, *[n for n in modules_of(root, "gcn_env") if n.startswith("gcn_env.core")])
    # Numba itself looks for PyYAML and SciPy; the package above registers its ids with Gymnasium.
    assert not loaded & {*LEARNERS, "matplotlib", "pandas", "pydantic"}


def test_no_simulator_module_loads_a_learner(root):
    assert not loaded_by(root, *modules_of(root, "gcn_env")) & LEARNERS


def test_rules_serve_without_torch(root):
    if not (root / "agents" / "policy.py").exists():
        pytest.skip("agents.policy is not there yet")
    assert not loaded_by(root, "agents.rules", "agents.policy") & {*LEARNERS, "matplotlib", "pandas"}


def test_agents_below_the_torch_floor_load_no_torch(root):
    names = modules_of(root, "agents", TORCH_FLOOR)
    if {"torch", "stable_baselines3"} & loaded_by(root, "agents", *names):
        guilty = [name for name in names if {"torch", "stable_baselines3"} & loaded_by(root, name)]
        pytest.fail(f"torch is loaded by {guilty}: import it in agents.{'/'.join(TORCH_FLOOR[:-1])}")
