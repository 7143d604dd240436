"""What a plant costs: nanoseconds per region and sub-step of 60 s, on one core.

    python benchmarks/plant_cost.py [--environments 64] [--steps 200] [--out plant_cost.json]

Plants of every archetype side by side at random loads, weather and set-points, advanced by the phase of the simulator
with its five zone sub-steps in each sub-step; then each archetype alone. Best and median of control steps (the machine
may be shared), and the same over a calibration loop of exponentials, which travels better between machines.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gcn_env.core import air
from gcn_env.core.groups import zeros
from gcn_env.core.integrate import integrate, reset_plants
from gcn_env.core.jit import kernel
from gcn_env.core.params import Site
from gcn_env.core.state import FAULTS, allocate
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants

DT_H, SUB_STEPS, ZONE_STEPS = 0.25, 15, 5  # control step, sub-steps of 60 s in it, zone sub-steps in those
LIMIT_NS = 300.0


@kernel()
def exponentials(n: int) -> float:
    """Calibration: a chain of `n` exponentials, none of which can begin before the last is done."""
    x = 0.5
    for _ in range(n):
        x = math.exp(-x)
    return x


def world(keys: tuple[str, ...], n: int) -> Callable[[], None]:
    """What advances `n` environments of one plant of each key by a control step."""
    rng = np.random.default_rng(0)
    params = compile_plants([PlantSite(key, 1000.0) for key in keys])
    state, shape = allocate(n, 2, 1, 1, len(keys), 1), (n, len(keys))
    plants, signals, ledger = state.plants, state.signals, state.ledger
    plants.node_kw[:], plants.awake[:] = rng.uniform(350.0, 1000.0, shape), 1.0
    dry, rh = rng.uniform(-5.0, 38.0, shape), rng.uniform(20.0, 95.0, shape)
    ratio = air.humidity_ratio(dry, rh)
    signals.now[..., 2:] = np.stack([dry, air.wet_bulb_c(dry, rh), air.dew_point_c(ratio), ratio], -1)
    reset_plants(0, n, plants, signals, params)
    level = rng.integers(0, 8, plants.command.shape) / 7
    plants.command[:] = params.head_low + (params.head_high - params.head_low) * level

    wide = np.zeros((len(keys), len(FAULTS)))
    grid_alone = zeros(Site, len(keys), faults=wide, mend_h=wide)

    def step() -> None:
        integrate(0, n, DT_H, SUB_STEPS, ZONE_STEPS, plants, signals, params, grid_alone, ledger)

    return step


def seconds(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Best and median seconds of a call."""
    call()
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begin)
    return min(spent), float(np.median(spent))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=int, default=64, help="environments in the batch")
    parser.add_argument("--steps", type=int, default=200, help="control steps to time")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    args = parser.parse_args()
    keys = archetypes()
    loop = seconds(lambda: exponentials(100_000), 20)[0] / 100_000 * 1e9
    result: dict[str, dict[str, float]] = {}
    for name, chosen in [("all", keys), *((key, (key,)) for key in keys)]:
        step = world(chosen, args.environments)
        plant_steps = args.environments * len(chosen) * SUB_STEPS
        best, median = (1e9 * s / plant_steps for s in seconds(step, args.steps))
        result[name] = {"best_ns": best, "median_ns": median, "best_over_exp": best / loop}
        print(f"{name:4s} {best:6.0f} ns best {median:6.0f} ns median {best / loop:6.1f} exponentials")
    verdict = "within" if result["all"]["best_ns"] <= LIMIT_NS else "above"
    print(f"{verdict} {LIMIT_NS:.0f} ns; one exponential of the chain {loop:.1f} ns")
    if args.out:
        args.out.write_text(json.dumps({"exponential_ns": loop, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
