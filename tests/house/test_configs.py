"""Every file in configs/ is read by what it is written for, from the checkout and by name alone."""

from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SCENARIOS = sorted((CONFIGS / "scenarios").rglob("*.yaml"))
OTHERS = sorted(set(CONFIGS.rglob("*.yaml")) - set(SCENARIOS))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_scenario_loads(path):
    load = pytest.importorskip("gcn_env.scenario.load")
    assert load.load_scenario(path) == load.load_scenario(path.stem)


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_recipe_is_plain_values(path):
    recipe = yaml.safe_load(path.read_text())
    assert isinstance(recipe, dict)
    assert recipe
