"""What a policy decides: one placement head per job slot; per region three cooling heads, power cap, battery."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.plant_table import head_values
from gcn_env.core.state import N_HEADS
from gcn_env.tables import Row, Table

REGION_HEADS = Table(
    "region_heads",
    (
        Row("cold", "level", 0, 63, "cold-side set-point: supply air (a, b, c, f, g), coolant (d), oil (e)"),
        Row("flow", "level", 0, 63, "flow: supply over server air flow (air), coolant pump (d, e)"),
        Row(
            "reject",
            "level",
            0,
            63,
            "heat rejection: chilled water (b, g), wet stage (c), facility water (d, e)",
        ),
        Row("cap", "level", 0, 63, "power cap of the devices, share of their peak; highest level: none"),
        Row(
            "battery",
            "level",
            0,
            63,
            "battery power, share of its rating: below the middle level out, above it in",
        ),
    ),
)


def head_sizes(n_slots: int, n_pools: int, n_regions: int, n_levels: int) -> npt.NDArray[np.int64]:
    """Choices per head of the joint view, int64 [Q + 5R]: P + 1 per slot, then L per head of a region."""
    return np.array([n_pools + 1] * n_slots + [n_levels] * (N_HEADS * n_regions), np.int64)


def level_values(world: Any) -> npt.NDArray[np.float64]:
    """Physical value of every level of the regions' heads, float64 [R, 5, L] (first plant variant)."""
    return head_values(world.params.plant, world.n_levels)
