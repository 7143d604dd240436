"""Gymnasium spaces of a world, from the same tables as the encoder."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from gcn_env.action import head_sizes
from gcn_env.observation import GLOBALS, HEADS, JOBS, PAIRS, POOLS, REGIONS
from gcn_env.scenario.compile import World
from gcn_env.tables import Table


def _box(table: Table, *shape: int) -> spaces.Box:
    full = (*shape, len(table))
    low, high = np.broadcast_to(table.low, full), np.broadcast_to(table.high, full)
    return spaces.Box(low.copy(), high.copy(), dtype=np.float32)


def observation_space(world: World, view: str) -> spaces.Dict:
    """Observation space of a view (see `gcn_env.observation` for the columns)."""
    p, r = world.n_pools, world.n_regions
    joint = view == "joint"
    rows = world.n_slots if joint else 1
    sizes = head_sizes(world.n_slots, p, r, world.n_levels)
    choices = int(sizes.sum()) if joint else max(p + 1, world.n_levels)
    found: dict[str, spaces.Space[np.ndarray]] = {
        "jobs": _box(JOBS, rows),
        "pools": _box(POOLS, p),
        "regions": _box(REGIONS, r),
        "pairs": _box(PAIRS, rows, p),
        "globals": _box(GLOBALS),
        "mask": spaces.Box(0.0, 1.0, (choices,), np.float32),
    }
    if not joint:
        found["head"] = spaces.Box(0.0, 1.0, (len(HEADS),), np.float32)
    return spaces.Dict(found)


def action_space(world: World, view: str) -> spaces.MultiDiscrete | spaces.Discrete:
    """`MultiDiscrete` of all heads (joint), or `Discrete` over the choices of one head (sequential)."""
    sizes = head_sizes(world.n_slots, world.n_pools, world.n_regions, world.n_levels)
    if view == "joint":
        return spaces.MultiDiscrete(sizes)
    return spaces.Discrete(int(max(world.n_pools + 1, world.n_levels)))
