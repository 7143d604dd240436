"""What a policy decides: one placement head per job slot, three cooling heads per region."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import N_HEADS
from gcn_env.tables import Row, Table

COOLING = Table(
    "cooling",
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
    ),
)


def head_sizes(n_slots: int, n_pools: int, n_regions: int, n_levels: int) -> npt.NDArray[np.int64]:
    """Choices per head of the joint view, int64 [Q + 3R]: P + 1 per slot, then L per cooling head."""
    return np.array([n_pools + 1] * n_slots + [n_levels] * (N_HEADS * n_regions), np.int64)


def level_values(world: Any) -> npt.NDArray[np.float64]:
    """Physical value of every cooling level, float64 [R, 3, L] (first plant variant)."""
    plant = world.params.plant
    low, high, curve = plant.head_low[0], plant.head_high[0], plant.head_curve[0]
    share = np.linspace(0.0, 1.0, world.n_levels) ** curve[..., None]
    return np.asarray(low[..., None] + (high - low)[..., None] * share)
