"""Every file in configs/ is read by what it is written for, by path and by name alone."""

from pathlib import Path

import pytest

from agents import recipe
from gcn_env.scenario.load import find, load_scenario

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SCENARIOS = sorted((CONFIGS / "scenarios").rglob("*.yaml"))
RECIPES = sorted((CONFIGS / "train").rglob("*.yaml"))


def test_nothing_else_lies_there():
    assert sorted(CONFIGS.rglob("*.*")) == sorted(SCENARIOS + RECIPES)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_scenario_loads(path):
    assert load_scenario(path) == load_scenario(path.stem)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_loads(path):
    loaded = recipe.load(path, {})
    assert loaded == recipe.load(path.stem, {})
    assert find(loaded.scenario) in SCENARIOS
