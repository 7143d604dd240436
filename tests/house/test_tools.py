"""Lint, format, types and floors are tests, so that one pytest run shows all that a change breaks."""

import shutil

import pytest

from tests.house.tools import run, succeeds, tool


def test_ruff_check(root):
    succeeds([tool("ruff"), "check", "."], root)


def test_ruff_format(root):
    succeeds([tool("ruff"), "format", "--check", "."], root)


def test_mypy(root):
    succeeds([tool("mypy")], root)


def test_floors(root):
    succeeds([tool("lint-imports"), "--no-cache"], root)


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("gcn_env/core/rng.py", "import yaml", "core is NumPy and Numba"),
        ("gcn_env/core/rng.py", "import logging", "core is NumPy and Numba"),
        ("gcn_env/core/rng.py", "import gcn_env.jobs", "floors"),
        ("gcn_env/tables.py", "import gcn_env.core.state", "floors"),
        ("gcn_env/jobs/__init__.py", "import torch", "the simulator knows no agents"),
        ("gcn_env/signals/__init__.py", "import agents.rules", "the simulator knows no agents"),
        ("gcn_env/scenario/__init__.py", "import gymnasium", "Gymnasium is met"),
        ("agents/rules/__init__.py", "from torch import nn", "torch is met in"),
        ("agents/rules/__init__.py", "import stable_baselines3", "torch is met in"),
        ("agents/rules/__init__.py", "def f():\n    import tyro", "command lines"),
        ("gcn_env/record.py", "import gcn_env.jobs", "(downwards)|(upwards)"),
    ],
)
def test_a_violation_is_found(root, tmp_path, file, line, contract):
    """The contracts are worth something only if they break: one wrong import each, in a copy."""
    linter = tool("lint-imports")
    for name in ("gcn_env", "agents"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as out:
        out.write(f"\n{line}\n")
    done = run([linter, "--no-cache"], tmp_path, PYTHONPATH=str(tmp_path), COLUMNS="200")
    broken = [row for row in done.stdout.splitlines() if "BROKEN" in row]
    assert done.returncode == 1, done.stdout
    assert any(name in row for row in broken for name in contract.split("|")), broken
