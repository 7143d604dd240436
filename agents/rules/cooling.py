"""Cooling rules: set-points per region from what the plant operator sees (values: archetypes.yaml)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gcn_env.action import level_values
from gcn_env.core.state import N_COOLING, N_HEADS
from gcn_env.observation import REGIONS
from gcn_env.scenario.compile import World
from gcn_env.scenario.plants import rules_for

Array = npt.NDArray[Any]
C = TypeVar("C", bound="Cooling")
_POWER = (1.0, 0.0)  # power cap, battery
_PADS_FROM_C, _PADS = 24.0, 0.75  # adiabatic pads of the dry cooler: on above [degC], effectiveness (E41)
_R = {n: REGIONS.index(n) for n in REGIONS.names}


def nearest_level(values: Array, wanted: Array) -> Array:
    """Level whose value is nearest to `wanted` [B] in `values` [L]."""
    return np.asarray(np.abs(values[None, :] - wanted[:, None]).argmin(1))


def after_pads(seen: Array) -> Array:
    """Dry bulb behind the adiabatic pads of a dry cooler [degC] (E41), float64 [B], from regions' columns [B, F]."""
    dry, wet = (30.0 * seen[:, _R[name]].astype(np.float64) for name in ("dry_now", "wet"))
    return np.where(dry > _PADS_FROM_C, dry - _PADS * np.maximum(dry - wet, 0.0), dry)


RULES: dict[str, tuple[type[Cooling], str]] = {}


def rule(name: str, doc: str) -> Callable[[type[C]], type[C]]:
    """Register a cooling rule."""

    def add(kind: type[C]) -> type[C]:
        RULES[name] = (kind, doc)
        return kind

    return add


class Cooling:
    """A cooling rule for one world: `act(regions [B, R, F]) -> int64 [B, R, 5]`."""

    def __init__(self, world: World, placement: str = "") -> None:
        """Look up the rules' set-points for the world's plants; `placement` is the rule it is paired with."""
        self.levels = level_values(world)
        self.rules = [rules_for(a) for a in world.archetypes]

    def act(self, regions: Array) -> Array:
        """Levels of the regions' heads: the rule's set-points, no power cap, battery at rest."""
        out = np.empty((*regions.shape[:2], N_HEADS), np.int64)
        out[..., :N_COOLING] = self.setpoints(regions)
        for h, wanted in enumerate(_POWER, N_COOLING):
            out[..., h] = np.abs(self.levels[:, h] - wanted).argmin(1)
        return out

    def setpoints(self, regions: Array) -> Array:
        """Levels of the cooling heads, int64 [B, R, 3]."""
        out = np.empty((*regions.shape[:2], N_COOLING), np.int64)
        for r in range(regions.shape[1]):
            for h, wanted in enumerate(self.wanted(r, regions[:, r])):
                out[:, r, h] = nearest_level(self.levels[r, h], np.broadcast_to(wanted, regions.shape[:1]))
        return out

    def wanted(self, r: int, seen: Array) -> list[Any]:
        """Physical set-points of region `r`: a number, or one per environment."""
        raise NotImplementedError


@rule("b0", "fixed conservative set-points, full flow")
class FixedConservative(Cooling):
    """B0: fixed cold set-points, full flow."""

    def wanted(self, r: int, seen: Array) -> list[Any]:
        """The archetype's B0 values."""
        b0 = self.rules[r]["b0"]
        return [b0["cold"], b0["flow"], b0["reject"]]


@rule("b1", "competent resets: warm supply air, flow follows the servers, coolant floats on the weather")
class Competent(Cooling):
    """B1: supply air at a warm set-point, flow following the servers, coolant floating on the weather."""

    def wanted(self, r: int, seen: Array) -> list[Any]:
        """The archetype's B1 values."""
        b1 = self.rules[r]["b1"]
        cold: Any = b1["cold"]
        if "float_k" in b1:
            cold = np.clip(after_pads(seen) + b1["float_k"], b1["cold"], b1["cold_max"])
        return [cold, b1["flow"], b1["reject"]]
