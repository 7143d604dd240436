"""B2: weather resets tuned for an archetype and a climate (`b2.yaml`, written by `python -m agents tune-cooling`).

A region takes the entry of its archetype whose climate is nearest to its own training years (mean dry bulb, mean wet
bulb, wet bulb that 2 % of hours exceed); an archetype without entries keeps B1.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from agents.rules.cooling import Competent, after_pads, rule
from gcn_env.core.state import DRY, WET
from gcn_env.core.study import AFTER_PADS, WET_BULB
from gcn_env.observation import REGIONS
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
COLUMNS = (  # follows: 0 dry bulb, 1 wet bulb, 2 air behind adiabatic pads
    "follows", "begins_degc", "ends_degc",
    "cold_below", "flow_below", "reject_below", "cold_above", "flow_above", "reject_above",
)  # fmt: skip
_DRY, _WET = REGIONS.index("dry_now"), REGIONS.index("wet")


@cache
def table() -> dict[str, Any]:
    """The shipped table: how it was made, and its entries."""
    document: dict[str, Any] = yaml.safe_load(files("agents.rules").joinpath("b2.yaml").read_text("utf-8"))
    return document


def climate(weather: Array) -> list[float]:
    """Mean dry bulb, mean wet bulb and the wet bulb that 2 % of hours exceed [degC] of weather [..., 2 or more]."""
    dry, wet = weather[..., 0], weather[..., 1]
    return [float(dry.mean()), float(wet.mean()), float(np.quantile(wet, 0.98))]


def training_weather(world: World, r: int) -> Array:
    """Dry and wet bulb of all training years of region `r`, [hours, 2]."""
    bank = world.bank
    return np.concatenate([bank.values[y, : bank.hours[y], r, [DRY, WET]].T for y in bank.rows("train")])


def entry_for(archetype: str, here: list[float], entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry of `archetype` nearest in climate; None if it has none."""
    known = [e for e in entries if e["archetype"] == archetype]
    return min(known, key=lambda e: float(np.hypot.reduce(np.subtract(e["climate"], here))), default=None)


@rule("b2", "weather resets tuned on training years for archetype and climate")
class WeatherReset(Competent):
    """B2: each set-point on a line between two values, over wet or dry bulb."""

    def __init__(self, world: World, placement: str = "") -> None:
        """Look up the world's regions in the table."""
        super().__init__(world, placement)
        entries = table()["entries"]
        self.entries = [
            entry_for(a, climate(training_weather(world, r)), entries) for r, a in enumerate(world.archetypes)
        ]

    def wanted(self, r: int, seen: Array) -> list[Any]:
        """As `core.study.reset_commands`, for a batch."""
        entry = self.entries[r]
        if entry is None:
            return super().wanted(r, seen)
        row = entry["reset"]
        if row[0] == AFTER_PADS:
            ambient = after_pads(seen)
        else:
            ambient = 30.0 * seen[:, _WET if row[0] == WET_BULB else _DRY].astype(np.float64)
        share = np.clip((ambient - row[1]) / max(row[2] - row[1], 0.01), 0.0, 1.0)
        return [below + share * (above - below) for below, above in zip(row[3:6], row[6:9], strict=True)]
