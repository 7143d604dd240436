"""What a supervisory layer may write to a plant: range and rate of every head, whoever decides.

The range is that of the simulator's head, cut to the clamp of the plug-in contract for building-management systems:
supply air 18..27 degC, chilled water 7..20 degC, fans and pumps 0.3..1, coolant and oil up to 45 degC (W45). Rates are
those of the plant's actuators (`archetypes.yaml`): supply air 1 K in 5 min, chilled water 1 K in 10 min, and so on.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from gcn_env.action import REGION_HEADS
from gcn_env.core.state import N_COOLING
from gcn_env.scenario.plants import PlantSite, archetype, archetypes, parameters

AIR, WATER, FLOW, LIQUID = (18.0, 27.0), (7.0, 20.0), (0.3, 1.0), (20.0, 45.0)
_CLAMPS = {
    "supply air": AIR,
    "chilled-water supply": WATER,
    "coolant supply": LIQUID,
    "coolant flow": FLOW,
    "facility-water flow": FLOW,
}
# Power caps and batteries obey within a control step; a minute for the whole range [E].
_ELECTRIC = {"cap": ("power cap of the devices, share of their peak", 0.0, 1.0, 1.0),
             "battery": ("battery power, share of its rating", -1.0, 1.0, 2.0)}  # fmt: skip
_SLEW = {"cold": "cold_slew_k_per_min", "flow": "flow_slew_per_min", "reject": "reject_slew_per_min"}


class Limit(NamedTuple):
    """One head of one kind of plant."""

    plant: str
    head: str
    meaning: str
    unit: str
    low: float
    high: float
    rate_per_min: float  # greatest change of the set-point, units a minute


@cache
def limits(plant: str) -> tuple[Limit, ...]:
    """Limits of all heads of a kind of plant, in the order of `REGION_HEADS`; absent heads have low = high."""
    found, values = [], parameters(PlantSite(plant, 100.0))
    heads = archetype(plant)["heads"]
    for name in REGION_HEADS.names[:N_COOLING]:
        head = heads[name]
        clamp = next(
            (
                c
                for what, c in _CLAMPS.items()
                if head["means"].startswith(what) and "over" not in head["means"]
            ),
            None,
        )
        low, high = (
            (head["low"], head["high"])
            if clamp is None
            else (max(head["low"], clamp[0]), min(head["high"], clamp[1]))
        )
        found.append(
            Limit(
                plant, name, head["means"], head["unit"], float(low), float(high), float(values[_SLEW[name]])
            )
        )
    found += [Limit(plant, n, m, "1", lo, hi, rate) for n, (m, lo, hi, rate) in _ELECTRIC.items()]
    return tuple(found)


def head_limits() -> list[dict[str, object]]:
    """Limits of all kinds of plant, as plain values."""
    return [limit._asdict() for key in archetypes() for limit in limits(key)]
