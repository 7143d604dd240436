"""What is assumed where a reading is unknown. Every use is reported by name: nothing becomes zero in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gcn_env.core.params import WorldParams
from gcn_env.core.plant_table import WATER, column
from gcn_env.core.state import CAP, CARBON, DRY, PRICE, State
from gcn_env.scenario.compile import World

Array = Any
OVERHEAD = 1.3  # [E] grid over node power of a fleet that has no meter
RISE_K = 12.0  # [E] servers' air over their inlet
CHIP_C = 60.0  # [E]
_SUPPLY, _RETURN, _LOOP = 2, 3, 4  # columns of `Plants.seen`


class Assumptions:
    """Numbers for unknown readings of one world, from its own constants and from what is known of the moment."""

    def __init__(self, world: World, params: WorldParams, state: State) -> None:
        self.params, self.state = params, state
        bank = world.bank
        rows = bank.rows("train")
        past = np.concatenate([bank.values[y, : bank.hours[y]] for y in rows])
        self.mean = past.mean(0, dtype=np.float64)  # [R, N_BANK] of the training years
        plant = params.plant
        self.cold = np.where(
            column(plant, "liquid_share")[0] > 0.0,
            column(plant, "air_set_c")[0],
            column(plant, "rule_cold")[0],
        )
        self.rule = np.stack([column(plant, f"rule_{n}")[0] for n in ("cold", "flow", "reject")], 1)
        self.rule = np.clip(self.rule, plant.head_low[0, :, :3], plant.head_high[0, :, :3])
        self.water = column(plant, "air_kind")[0] == WATER

    def region(self, field: str, index: tuple[int, ...]) -> Array:
        """Assumed values [R] of a region's reading, in the state's units."""
        signals, plants = self.state.signals, self.state.plants
        n = plants.node_kw.shape[1]
        if field == "now":
            return self.mean[:, index[0]]
        if field == "ahead":  # persistence
            return signals.now[0, :, (PRICE, CARBON, DRY)[index[1]]]
        if field == "green":
            return plants.pv_kw[0] + plants.wind_kw[0]
        if field in ("command", "actual"):
            return self._set_point(field, index[0])
        if field == "seen":
            return self._seen(index[0])
        by_field: dict[str, Callable[[], Array]] = {
            "node_kw": self._node_kw,
            "it_kw": lambda: plants.node_kw[0],
            "cool_kw": lambda: np.maximum(plants.overhead[0] - 1.0, 0.0) * plants.it_kw[0],
            "grid_kw": lambda: plants.node_kw[0] * plants.overhead[0],
            "peak_kw": lambda: np.maximum(self.params.money.base_peak_kw, plants.grid_kw[0]),
            "highest_kw": lambda: plants.peak_kw[0],
            "overhead": lambda: np.full(n, OVERHEAD),
            "ups_kwh": lambda: self.params.site.ups_kwh,
            "battery_kwh": lambda: 0.5 * self.params.site.battery_kwh,
        }
        if field in by_field:
            return by_field[field]()
        healthy = {"awake": 1.0, "air_need": 0.6, "fan": 0.5, "throttle": 1.0, "freq": 1.0}  # [E] a usual day
        return np.full(n, healthy.get(field, 0.0))  # no alarm, no outage, nothing announced

    def pool(self, field: str) -> Array:
        """Assumed values [P] of a pool's reading; `queued`, `running` and `waiting` come from the jobs."""
        pools, fleet = self.state.pools, self.params.fleet
        if field == "healthy":
            return fleet.devices
        if field == "room":
            return np.maximum(pools.healthy[0] - pools.busy[0], 0)
        if field == "price":
            return self.params.market.rent_usd
        return np.full(len(fleet.region), 1.0 if field == "freq" else 0.0)

    def _set_point(self, field: str, head: int) -> Array:
        plants = self.state.plants
        if field == "actual":
            return plants.command[0, :, head]
        if head < self.rule.shape[1]:
            return self.rule[:, head]
        return np.full(plants.node_kw.shape[1], 1.0 if head == CAP else 0.0)

    def _seen(self, sensor: int) -> Array:
        """Air as it would be at the set-points: supply at the command, return above it."""
        plants = self.state.plants
        if sensor == _RETURN:
            return self.cold + RISE_K
        if sensor == _LOOP:
            return np.where(self.water, plants.command[0, :, 2], plants.command[0, :, 0])
        return self.cold if sensor <= _SUPPLY else np.full(len(self.cold), CHIP_C)

    def _node_kw(self) -> Array:
        pools, fleet = self.state.pools, self.params.fleet
        kw = pools.busy[0] * fleet.peak_kw + (pools.healthy[0] - pools.busy[0]) * fleet.idle_kw
        return np.bincount(fleet.region, kw, self.state.plants.node_kw.shape[1])
