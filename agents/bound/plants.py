"""Best-case cooling: lines below (or above) what a site can draw from the grid, by weather and node power.

The simulator's own plant is brought to rest at every combination of `LEVELS` set-points, seven node powers and five
shares of awake nameplate, on a grid of dry and wet bulbs `CELL_K` apart; an hour takes the least of the corners around
its own weather and that of the two hours before and the one after. Power and node power are per kW of design IT power.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.envelope import rest_range
from gcn_env.core.plant_table import PLANT
from gcn_env.core.state import N_COOLING
from gcn_env.scenario.compile import World
from gcn_env.signals.psychro import dew_and_humidity

Array = npt.NDArray[Any]
P = PLANT.ix
LEVELS = 5  # set-points of each head
CELL_K = 3.0
NODES = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 1.0])
SLACK = np.array(
    [1.0, 0.7, 0.45, 0.25, 0.15]
)  # node power over awake nameplate: from all at peak to all idle
MARGIN = 0.03  # of what is drawn beside node power: five levels miss 1.3 % against twelve, corners and loads the rest
MARGIN_MOST = 0.25  # the same above the most
LEAK_COLDEST_K = 40.0  # E9


class Envelope:
    """Least and most facility power of each region's plant at rest, computed where it is asked for and kept."""

    def __init__(self, world: World) -> None:
        """Nothing is computed yet."""
        self.params = world.params.plant
        self._known: dict[tuple[int, int, int], Array] = {}

    def at(self, region: int, weather: Array) -> Array:
        """(least, most) [2, len(NODES)] over the corners of the cells of some weather [n, 2] (dry, wet bulb)."""
        cells = np.unique(np.floor(weather / CELL_K).astype(int), axis=0)
        corners = {(d + i, min(w + j, d + i)) for d, w in cells.tolist() for i in (0, 1) for j in (0, 1)}
        found = np.stack([self._corner(region, *c) for c in sorted(corners)])
        return np.stack([found[:, 0].min(0), found[:, 1].max(0)])

    def _corner(self, region: int, dry: int, wet: int) -> Array:
        key = (region, dry, wet)
        if key not in self._known:
            p = np.ascontiguousarray(self.params.values[0, region])
            low, high = self.params.head_low[0, region], self.params.head_high[0, region]
            levels = np.stack([np.linspace(low[h], high[h], LEVELS) for h in range(N_COOLING)])
            t, w = np.array([CELL_K * dry]), np.array([CELL_K * wet])
            dew, humid = dew_and_humidity(t, w, p[P.kpa])
            out = np.empty((2, len(NODES)))
            rest_range(
                p, levels, (float(t[0]), float(w[0]), float(dew[0]), float(humid[0])), NODES, SLACK, out
            )
            beside = out - NODES
            out[0] -= MARGIN * np.abs(beside[0])
            out[1] += MARGIN_MOST * np.abs(beside[1])
            self._known[key] = out
        return self._known[key]

    def uncooled(self, region: int) -> Array:
        """Least facility power [len(NODES)] without any fan or cooling, chips at their coldest: whatever is broken."""
        p = self.params.values[0, region]
        it = NODES * (1.0 + p[P.leak_share] * (np.exp(-p[P.leak_slope] * LEAK_COLDEST_K) - 1.0))
        ups = p[P.ups_a0] + p[P.ups_a1] * it + p[P.ups_a2] * it**2
        return np.asarray(it + ups + p[P.pdu_d0] + p[P.pdu_d2] * it**2 + p[P.misc_pu])

    def storage_kwh(self, region: int, slope: float) -> float:
        """Electricity [kWh/kW] that a plant can shift by cooling early, if removing heat takes `slope` kWh/kWh.

        Heat that IT mass, air, loops and structure take up when set-points move across their whole range; the
        structure at its conductance over half a day.
        """
        p = self.params.values[0, region]
        span = self.params.head_high[0, region, :N_COOLING] - self.params.head_low[0, region, :N_COOLING]
        heat = (p[P.mass_kj] + p[P.air_kj] + p[P.cold_kj]) * span[0]
        heat += min(p[P.structure_kj] * span[0], p[P.structure] * span[0] * 21_600.0)
        if p[P.liquid_share] > 0.0:
            heat += p[P.loop_kj] * span[0]
        elif int(p[P.air_kind]) == 0:
            heat += p[P.loop_kj] * span[2] + p[P.cond_kj] * 10.0
        return float(max(slope, 0.0) * heat / 3600.0)


def below(power: Array, near: float) -> tuple[float, float]:
    """(power at 0, slope) of a line that no sample [len(NODES)] lies under, and that is close at node power `near`."""
    k = int(np.clip(np.searchsorted(NODES, near), 2, len(NODES) - 1))
    slope = (power[k] - power[k - 2]) / (NODES[k] - NODES[k - 2])
    return float((power - slope * NODES).min()), float(slope)


def above(power: Array) -> tuple[float, float]:
    """The same of a line that no sample lies above."""
    slope = (power[-1] - power[0]) / (NODES[-1] - NODES[0])
    return float((power - slope * NODES).max()), float(slope)
