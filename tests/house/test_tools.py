"""Lint, format, types and floors are tests, so that one pytest run shows all that a change breaks."""

import re
import shutil

from tests.house.tools import run, succeeds, tool


def test_ruff_check(root):
    succeeds([tool("ruff"), "check", "."], root)


def test_ruff_format(root):
    succeeds([tool("ruff"), "format", "--check", "."], root)


def test_mypy(root):
    succeeds([tool("mypy")], root)


def test_floors(root):
    succeeds([tool("lint-imports"), "--no-cache"], root)


WRONG = (
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
    ("gcn_env/record.py", "import gcn_env.jobs", "worlds, encoders and records"),
)


def test_violations_are_found(root, tmp_path):
    """The contracts are worth something only if they break: wrong imports in a copy, each named by its contract."""
    for name in ("gcn_env", "agents"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    for file, line, _ in WRONG:
        with (tmp_path / file).open("a") as out:
            out.write(f"\n{line}\n")
    done = run([tool("lint-imports"), "--no-cache"], tmp_path, PYTHONPATH=str(tmp_path), COLUMNS="200")
    assert done.returncode == 1, done.stdout
    _, *sections = re.split(r"\n(?=[^\n]+\n-{3,}\n)", done.stdout)  # a heading with a line under it
    for file, line, contract in WRONG:
        importer = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        wrong = (
            re.escape(importer)
            + r" -> "
            + re.escape(line.split("import ")[-1] if "from" not in line else "torch")
        )
        mine = [x for x in sections if x.startswith(contract)]
        assert any(re.search(wrong, x) for x in mine), f"{contract}: {importer}: {line}\n{done.stdout}"
