"""Model-predictive cooling: at every step a search of set-points on the plant's own kernel.

It knows what an operator knows: sensor readings, actuators, alarms, the weather now and forecast, the load now,
tariffs, and the plant's nameplate parameters (of the first variant). It does not know the IT mass temperature, coming
load, fouling, or what sensors hide; it keeps `RESERVE_K` to every limit for that, and where a reading comes closer to
a limit than `ALARM_K` it falls back to the conservative set-points, as a supervisory layer in a building does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agents.rules.cooling import FixedConservative, rule
from gcn_env.core.plant import AWAKE_FLOOR
from gcn_env.core.search import EXCURSION_KWH, Pace, Readings, Tariff, careful, plan_batch
from gcn_env.core.state import FAULTS, LEADS_H, N_COOLING
from gcn_env.observation import ALARMS, REGIONS
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
RESERVE_K = 0.6
ALARM_K = 0.3
PACE = Pace(3600.0, 6, 5)  # two steps of an hour, sub-steps of ten minutes
MID_H = np.array([0.5, 1.5])  # middle of the steps of the plan [h]
LOAD_RISE = np.array([0.0, 0.15])  # of nameplate: the second hour is planned for a load that has grown
WET_PER_DRY = 0.35  # K of wet bulb per K of dry bulb at constant moisture near 15 degC (psychrometric chart)
LEAST_USD_PER_MWH = 10.0  # energy never counts less: at negative prices waste would pay
_R = {n: REGIONS.index(n) for n in REGIONS.names}


@rule("mpc", "search on the plant model over the next two hours, from readings and forecasts")
class Predictive(FixedConservative):
    """MPC: receding-horizon search of the three set-points, for least money over the next two hours."""

    def __init__(self, world: World, placement: str = "") -> None:
        """Take the world's plants, prices and levels."""
        super().__init__(world, placement)
        plant, money = world.params.plant, world.params.money
        self.plans = np.stack([careful(p, RESERVE_K) for p in plant.values[0]])
        self.low = np.ascontiguousarray(plant.head_low[0, :, :N_COOLING])
        self.high = np.ascontiguousarray(plant.head_high[0, :, :N_COOLING])
        self.cooling_levels = np.ascontiguousarray(self.levels[:, :N_COOLING])
        self.carbon_usd = float(money.carbon_usd)
        design = world.params.geo.design_kw
        self.fees = (money.water_usd, money.start_usd / design, money.travel_usd / design)

    def setpoints(self, regions: Array) -> Array:
        """Levels of the cooling heads, int64 [B, R, 3]."""
        seen = regions.astype(np.float64)
        water, start, travel = self.fees
        usd = (
            50.0 * np.sinh(seen[..., _R["price_now"]]) + 500.0 * self.carbon_usd * seen[..., _R["carbon_now"]]
        )
        energy = np.maximum(usd, LEAST_USD_PER_MWH) / 1e3
        out = np.empty((*seen.shape[:2], N_COOLING), np.int64)
        plan_batch(
            self.plans, self.cooling_levels, self.low, self.high, self.readings(seen),
            Tariff(energy, water, start, travel, EXCURSION_KWH), PACE, out,
        )  # fmt: skip
        alarm = 5.0 * seen[..., _R["margin"]] < ALARM_K
        return np.where(alarm[..., None], super().setpoints(regions), out)

    def readings(self, seen: Array) -> Readings:
        """Columns of the regions in physical units, and the weather of the plan."""

        def celsius(name: str) -> Array:
            return 24.0 + 10.0 * seen[..., _R[name]]

        def heads(kind: str) -> Array:
            share = seen[..., _R[f"cold_{kind}"] : _R[f"cold_{kind}"] + N_COOLING]
            return np.asarray(self.low + (self.high - self.low) * share)

        load = seen[..., _R["load"], None] + LOAD_RISE
        node = np.minimum(load, 1.0)
        awake = np.clip(np.maximum(seen[..., _R["awake"], None], load), AWAKE_FLOOR, 1.0)
        return Readings(
            celsius("inlet"), celsius("supply"), celsius("return_air"), celsius("loop"),
            seen[..., _R["server_fan"]].copy(), np.rint(4.0 * seen[..., _R["compressors"]]),
            heads("actual"), heads("command"), self.weather(seen),
            self.faults(seen), node, awake,
        )  # fmt: skip

    def faults(self, seen: Array) -> Array:
        """Faults that announce themselves, [B, R, len(FAULTS)]."""
        known = seen[..., _R["alarm_fan"] : _R["alarm_fan"] + len(ALARMS)]
        return np.concatenate([known, np.zeros((*known.shape[:2], len(FAULTS) - len(ALARMS)))], -1)

    def weather(self, seen: Array) -> Array:
        """Weather expected in the middle of each step: dry bulb as forecast, moisture as now, [B, R, H, 4]."""
        now = 30.0 * seen[..., _R["dry_now"]]
        known = np.stack([now] + [30.0 * seen[..., _R[f"dry_{h}h"]] for h in LEADS_H[:2]], -1)
        at = np.array([0.0, *LEADS_H[:2]])
        k = np.searchsorted(at, MID_H) - 1
        share = (MID_H - at[k]) / (at[k + 1] - at[k])
        dry = known[..., k] + share * (known[..., k + 1] - known[..., k])
        dew = np.broadcast_to(30.0 * seen[..., _R["dew"], None], dry.shape)
        wet = 30.0 * seen[..., _R["wet"], None] + WET_PER_DRY * (dry - now[..., None])
        wet = np.clip(wet, np.minimum(dew, dry), dry)
        return np.stack([dry, wet, np.minimum(dew, wet), np.zeros_like(dry)], -1)
