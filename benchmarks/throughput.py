"""How fast the simulator steps: default scenario, random legal actions.

    python benchmarks/throughput.py [--scenario default] [--batch 256] [--steps 400] [--out throughput.json]

Writes JSON and prints a table: env-steps per second of the batched simulator on one core (best and median of blocks of
steps, the machine may be shared), of the same batch on all cores, of the single Gymnasium environment, milliseconds per
reset, and seconds to import the package. Choosing random actions is not timed. First use compiles for a minute or two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env import load_world
from gcn_env.envs import FleetEnv
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim

BLOCK = 20  # steps per timed block


def random_legal(
    mask: npt.NDArray[Any], sizes: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """One random legal choice per head, int64 [B, heads]."""
    keys = mask * rng.random(mask.shape, np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return np.stack([keys[:, a:e].argmax(1) for a, e in pairwise(starts)], 1)


def batch_rate(world: World, batch: int, steps: int, threads: int) -> dict[str, float]:
    """Env-steps per second of a batch."""
    sim, rng = Sim(world, batch, threads=threads), np.random.default_rng(0)
    sim.reset(0)
    sim.step(random_legal(sim.obs["mask"], sim.head_sizes, rng))  # compiles
    blocks = []
    for _ in range(max(1, steps // BLOCK)):
        spent = 0.0
        for _ in range(BLOCK):
            actions = random_legal(sim.obs["mask"], sim.head_sizes, rng)
            begin = time.perf_counter()
            sim.step(actions)
            spent += time.perf_counter() - begin
        blocks.append(batch * BLOCK / spent)
    return {"median": float(np.median(blocks)), "best": float(np.max(blocks)), "worst": float(np.min(blocks))}


def single_rate(world: World, steps: int) -> dict[str, float]:
    """Steps per second of one `FleetEnv`, and milliseconds of its resets."""
    env, rng = FleetEnv(world), np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    resets, rates = [], []
    for k in range(1, 11):
        begin = time.perf_counter()
        obs, _ = env.reset(seed=k)
        resets.append(1e3 * (time.perf_counter() - begin))
    for _ in range(max(1, steps // 100)):
        spent = 0.0
        for _ in range(100):
            action = random_legal(obs["mask"][None], env.sim.head_sizes, rng)[0]
            begin = time.perf_counter()
            obs, _, _, truncated, _ = env.step(action)
            spent += time.perf_counter() - begin
            if truncated:
                obs, _ = env.reset()
        rates.append(100 / spent)
    return {
        "median": float(np.median(rates)),
        "best": float(np.max(rates)),
        "reset_ms": float(np.median(resets)),
    }


def import_seconds() -> dict[str, float | bool]:
    """Seconds of `import gcn_env` in a fresh interpreter (median of five), and whether it loads torch."""
    clock = "time.perf_counter()"
    code = f"import sys, time; t = {clock}; import gcn_env; print({clock} - t, 'torch' in sys.modules)"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(5)
    ]
    return {
        "seconds": float(np.median([float(r[0]) for r in runs])),
        "torch": any(r[1] == "True" for r in runs),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", default="default", help="name or path of a scenario")
    parser.add_argument("--batch", type=int, default=256, help="environments in the batch")
    parser.add_argument("--steps", type=int, default=400, help="steps to time")
    parser.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    args = parser.parse_args()
    world = load_world(args.scenario, data_dir=args.data)
    result: dict[str, Any] = {
        "scenario": world.name, "regions": world.n_regions, "pools": world.n_pools, "slots": world.n_slots,
        "batch": args.batch, "steps": args.steps, "python": platform.python_version(), "numpy": np.__version__,
        "cores": os.cpu_count(), "load_average": os.getloadavg()[0],
        "batch_one_core": batch_rate(world, args.batch, args.steps, 1),
        "batch_all_cores": batch_rate(world, args.batch, args.steps, os.cpu_count() or 1),
        "single_env": single_rate(world, args.steps),
        "import": import_seconds(),
    }  # fmt: skip
    single = result["single_env"]
    print(
        f"{world.name}: {world.n_regions} regions, {world.n_pools} pools, load average {result['load_average']:.1f}"
    )
    for name in ("batch_one_core", "batch_all_cores"):
        row = result[name]
        print(
            f"{name:16s} {row['median']:10,.0f} env-steps/s median, {row['best']:,.0f} best, {row['worst']:,.0f} worst"
        )
    print(
        f"{'single_env':16s} {single['median']:10,.0f} steps/s median, {single['best']:,.0f} best; "
        f"reset {single['reset_ms']:.2f} ms"
    )
    print(
        f"{'import gcn_env':16s} {result['import']['seconds']:10.2f} s; loads torch: {result['import']['torch']}"
    )
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
