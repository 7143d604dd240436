"""Static best in hindsight: for each region the one triple of set-points that would have needed least energy.

It looks at the evaluation windows themselves: weather and load of the first `EPISODES` test episodes are recorded
under the same placement rule with B1, and candidates are replayed through all of them. So it is a yardstick that
nobody could run in advance, and its description says so.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.evaluation import episode_seeds
from agents.rules.cooling import Cooling, rule
from gcn_env.core.plant_table import PlantParams
from gcn_env.core.search import EXCURSION_KWH, Course, Pace
from gcn_env.core.state import DRY, HUMID, N_COOLING
from gcn_env.core.study import FACILITY, R, fixed, run
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
Triple = tuple[int, ...]
EPISODES = 20


def pace_of(world: World) -> Pace:
    """Step and sub-steps of a world."""
    return Pace(world.step_h * 3600.0, world.timing.n_plant, world.timing.n_zone)


class Played(NamedTuple):
    """Paired episodes under one policy."""

    courses: list[list[Course]]  # [R][episodes] weather and load that every plant met
    flows: Array  # [episodes, R, len(FLOWS)] what the episodes booked


def played(world: World, policy: Any, episodes: int, seed: int = 0, split: str = "test") -> Played:
    """Play paired episodes and keep weather and load of every plant."""
    from gcn_env.sim import Sim

    sim, memory = Sim(world, episodes, split=split, autoreset=False), None
    sim.reset(episode_seeds(seed, episodes))
    plants, signals, design = sim.state.plants, sim.state.signals, world.params.geo.design_kw
    weather = np.empty((world.horizon, episodes, world.n_regions, HUMID + 1 - DRY))
    node, awake = (np.empty((world.horizon, episodes, world.n_regions)) for _ in range(2))
    for t in range(world.horizon):
        weather[t] = signals.now[..., DRY : HUMID + 1]
        actions, memory = policy.predict(sim.obs, memory, np.full(episodes, t == 0))
        sim.step(actions)
        node[t], awake[t] = plants.node_kw / design, plants.awake
    courses = [
        [
            Course(*(np.ascontiguousarray(x[:, b, r]) for x in (weather, node, np.maximum(awake, node))))
            for b in range(episodes)
        ]
        for r in range(world.n_regions)
    ]
    return Played(courses, sim.state.ledger.flows_sum.copy())


def held_cost(params: PlantParams, region: int, courses: list[Course], triple: Array, pace: Pace) -> float:
    """Facility energy [kWh/kW] of holding three set-points through courses, with excursions priced."""
    total = 0.0
    for course in courses:
        record = run(params, region, course, fixed(triple), pace).record
        total += record[:, FACILITY].sum() + EXCURSION_KWH * record[:, R.excursion].sum()
    return float(total)


def best_held(params: PlantParams, region: int, courses: list[Course], levels: Array, pace: Pace) -> Triple:
    """Levels of the best fixed triple: lines along each head and diagonals, from two starts, until nothing pays.

    Args:
        params: the fleet's plants.
        region: which of them.
        courses: what they are to go through.
        levels: [3, L].
        pace: step and sub-steps.
    """
    known: dict[Triple, float] = {}
    n = levels.shape[1]

    def cost(k: Triple) -> float:
        if k not in known:
            triple = levels[np.arange(N_COOLING), list(k)]
            known[k] = held_cost(params, region, courses, triple, pace)
        return known[k]

    def better(k: Triple) -> Triple:
        lines: list[Triple] = [(*k[:h], i, *k[h + 1 :]) for h in range(N_COOLING) for i in range(n)]
        near = [
            tuple(a + d for a, d in zip(k, by, strict=True)) for by in itertools.product((-1, 0, 1), repeat=3)
        ]
        return min((x for x in [k, *lines, *near] if min(x) >= 0 and max(x) < n), key=cost)

    ends: list[Triple] = []
    starts: list[Triple] = [(n // 2,) * 3, (0, n // 2, 0)]
    for k in starts:
        while (found := better(k)) != k:
            k = found
        ends.append(k)
    return min(ends, key=cost)


@rule(
    "static", "the best fixed set-points of each region, chosen with hindsight on the test weeks themselves"
)
class Static(Cooling):
    """Static best: fixed set-points chosen on the weeks they are judged on."""

    def __init__(self, world: World, placement: str = "cost-greedy") -> None:
        """Record the test weeks under `placement` with B1 and search."""
        from agents.policy import load

        super().__init__(world, placement)
        pace, plant = pace_of(world), world.params.plant
        weeks = played(world, load(f"rule:{placement}+b1", world), EPISODES).courses
        self.triples = [
            best_held(plant, r, courses, self.levels[r, :N_COOLING], pace) for r, courses in enumerate(weeks)
        ]

    def setpoints(self, regions: Array) -> Array:
        """Levels of the cooling heads, int64 [B, R, 3]."""
        out = np.empty((*regions.shape[:2], N_COOLING), np.int64)
        out[:] = self.triples
        return out
