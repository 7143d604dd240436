"""Plants drawn at random: for training that should carry over to plants nobody has measured yet."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from gcn_env.errors import UserError
from gcn_env.scenario.plants import PlantSite, archetypes, parameters
from gcn_env.scenario.schema import Plant, Scenario

KEY = "random_plants"  # of a scenario's file or overrides
UNCERTAIN = {  # what no operator publishes: how far from the archetype's value, as a share of it, either way
    "leakage_share": 0.5,
    "server_fan_kw_per_kw": 0.3,
    "recirculation_share": 0.3,
    "bypass_share": 0.3,
    "approach_k": 0.3,
}


def with_random_plants(scenario: Scenario, seed: Any) -> Scenario:
    """The scenario with another plant in every region: any archetype, its uncertain parameters drawn evenly.

    A region's draw depends on the seed and its name only.

    Raises:
        UserError: if the seed is no whole number from 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 31:
        raise UserError(f"{KEY}: {seed!r:.60}; wanted a seed, a whole number from 0")
    regions = {
        name: region.model_copy(
            update={"plant": _plant(np.random.default_rng([seed, zlib.crc32(name.encode())]))}
        )
        for name, region in scenario.regions.items()
    }
    return scenario.model_copy(update={"regions": regions})


def _plant(rng: np.random.Generator) -> Plant:
    key = str(rng.choice(archetypes()))
    usual = parameters(PlantSite(key, 1.0))
    drawn = {n: usual[n] * (1.0 + share * rng.uniform(-1.0, 1.0)) for n, share in UNCERTAIN.items()}
    return Plant.model_validate({"archetype": key, "overrides": {n: round(v, 6) for n, v in drawn.items()}})
