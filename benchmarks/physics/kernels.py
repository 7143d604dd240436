"""Our kernels under the conditions of a row: settled plants, curves over one variable, halls without cooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core import plant, thermal
from gcn_env.core.plant_table import PLANT
from gcn_env.scenario.plants import PlantSite, compile_plants, rules_for

Array = npt.NDArray[np.float64]
P = PLANT.ix
# E structure: 5 W/K per m2 of exposed walls and cabinets
STRUCTURE_KW_PER_K_M2 = 0.005


def row_of(key: str, **overrides: float) -> Array:
    """Kernel parameters of one archetype of 1 MW at sea level."""
    return np.ascontiguousarray(compile_plants([PlantSite(key, 1000.0, 0.0, overrides)]).values[0, 0])


def moist(dry: float, relative: float) -> tuple[float, float, float, float]:
    """Weather as `plant.advance` reads it, from dry bulb [degC] and relative humidity [%]."""
    from gcn_env.signals import psychro

    t = np.array(dry)
    vapour = relative / 100.0 * psychro.saturation_pressure(t)
    ratio = psychro.humidity_from_vapour(vapour, psychro.site_pressure(0.0))
    wet = psychro.wet_bulb(t, ratio, psychro.site_pressure(0.0))
    return float(dry), float(wet), float(psychro.dew_point(vapour)), float(ratio)


class Settled(NamedTuple):
    """A plant at rest, mean powers [kW/kW] of an hour."""

    state: tuple[Any, ...]
    energy: Array  # indices plant.E_*
    hottest_c: float
    chip_c: float

    @property
    def inlet_c(self) -> float:
        """Mean inlet."""
        return float(self.state[2])

    @property
    def supply_c(self) -> float:
        """Supply air."""
        return float(self.state[3])


def settled(
    p: Array,
    air: tuple[float, float, float, float],
    node: float,
    command: Sequence[float],
    health: tuple[float, ...] = plant.HEALTHY,
) -> Settled:
    """The plant after a day at constant weather, load and set-points, and its mean powers over the next hour."""
    c = tuple(float(x) for x in command)
    state, *_ = plant.at_rest(p, c, air, node, 1.0)
    for _ in range(4):
        state, *_ = plant.advance(p, air, node, 1.0, c, health, state, 6 * 3600.0, 72, 5)
    state, energy, _, hot, chip, _ = plant.advance(p, air, node, 1.0, c, health, state, 3600.0, 60, 2)
    return Settled(state, np.array(energy) / 3600.0, float(hot), float(chip))


def b1(key: str) -> list[float]:
    """Set-points of the competent rule that do not depend on the weather."""
    rule = rules_for(key)["b1"]
    return [rule["cold"], rule["flow"], rule["reject"]]


def it_power(key: str, inlet_c: float, use: float = 0.6) -> float:
    """IT power [kW/kW] of an air-cooled archetype at a mean inlet: supply chosen so that the inlet is met."""
    p = row_of(key)
    node = p[P.idle_share] + (1.0 - p[P.idle_share]) * use
    supply = inlet_c
    for _ in range(3):
        there = settled(p, moist(10.0, 60.0), node, [supply, 3.0, 7.0])
        supply += inlet_c - there.inlet_c
    return float(there.energy[plant.E_IT])


class Hall(NamedTuple):
    """A hall by its density, as parameters that replace those of an archetype (E, geometry)."""

    name: str
    key: str
    overrides: dict[str, float]


def _hall(name: str, key: str, kw_per_rack: float, mass_kj: float, air_kj: float, exposed_m2: float) -> Hall:
    """A hall: heat capacities [kJ/K per kW of IT] and exposed structure [m2 a rack]."""
    overrides = {
        "it_mass_kj_per_k_kw": mass_kj,
        "room_air_kj_per_k_kw": air_kj,
        "structure_kw_per_k_kw": STRUCTURE_KW_PER_K_M2 * exposed_m2 / kw_per_rack,
        "server_rise_at_full_fan_k": 6.0,  # 12 K over the servers at 22 degC inlet, where fans run at half speed
    }
    return Hall(name, key, overrides)


# The first is archetype a but for the servers' rise; air of the others as the same rule scales it
HALLS = (
    _hall("5 kW a rack, open room", "a", 5.0, 26.0, 2.2, 9.0),
    _hall("10 kW a rack, open room", "a", 10.0, 18.0, 1.0, 8.0),
    _hall("20 kW a rack, contained", "b", 20.0, 15.0, 0.4, 4.0),
    _hall("40 kW a rack, contained", "b", 40.0, 11.0, 0.2, 4.0),
)
# mode normal; no air handler, no compressor, no tower fan, coil without effect
NO_COOLING = (plant.NORMAL, 0.0, 99.0, 1.0, 0.0, 0.0, 0.0)
FULL_NODE = 0.97  # node power of a hall whose IT draws its nameplate with server fans


def without_cooling(hall: Hall, minutes: float = 20.0, start_c: float = 22.0, dt: float = 5.0) -> Array:
    """Inlet [degC] every `dt` s after air handlers and coils stop while servers run on, from a mean inlet `start_c`.

    The whole plant (`plant.advance`) at full load with the hall's own masses, server fans, leakage and structure. Nodes
    are not slowed: how an outage makes jobs suffer is the environment's matter.
    """
    p, air = row_of(hall.key, **hall.overrides), moist(20.0, 50.0)
    supply = start_c
    for _ in range(4):
        rest = settled(p, air, FULL_NODE, [supply, 1.5, 7.0])
        supply += start_c - rest.inlet_c
    state, out = rest.state, [rest.inlet_c]
    command = (supply, 1.5, 7.0)
    for _ in range(int(minutes * 60 / dt)):
        state, *_ = plant.advance(p, air, FULL_NODE, 1.0, command, NO_COOLING, state, dt, 1, 1)
        out.append(float(state[2]))
    return np.array(out)


def seconds_to(limit_c: float, inlet: Array, dt: float = 5.0) -> float:
    """Time until the inlet passes a limit, infinite if it does not."""
    over = np.flatnonzero(inlet > limit_c)
    if not len(over):
        return float("inf")
    k = int(over[0])
    return dt * (k - (inlet[k] - limit_c) / max(inlet[k] - inlet[k - 1], 1e-12)) if k else 0.0


def supply_step(key: str, dt: float = 5.0, minutes: float = 90.0) -> tuple[float, float]:
    """Seconds until the return air of a hall has answered 63 % and 95 % of a supply-air step of 1 K.

    The hall alone (`thermal.zone_step`) at full load with server fans at their floor, no walls: IT mass and air.
    """
    p = row_of(key)
    flow, r = p[P.fan_base] * p[P.server_flow], p[P.recirculation]
    stores = [p[at] / dt for at in (P.mass_kj, P.air_kj, P.cold_kj)]
    rise = 1.0 / flow
    zone = (20.0 + rise / thermal.EXCHANGE, 20.0 + rise, 20.0)
    returned = []
    for k in range(int(2 * minutes * 60 / dt)):
        supply = 20.0 if k < minutes * 60 / dt else 21.0
        zone = thermal.zone_step(*zone, 1.0, 0.0, flow, r, supply, *stores, 0.0, supply)[:3]
        returned.append(zone[1])
    answer = np.array(returned[len(returned) // 2 - 1 :]) - returned[len(returned) // 2 - 1]
    return seconds_to(0.632, answer, dt), seconds_to(0.95, answer, dt)
