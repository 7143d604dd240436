"""Speed and memory against the size of the batch, and of the fleet.

    python -m benchmarks.sizes [--steps 60] [--out sizes.json]

`batch`: env-steps per second of `default` on one core for batches of 1 to 4,096, and the memory an environment takes:
as `Sim` states it before it allocates, and as the process grew. `fleet`: `default` copied, 5 regions and 9 pools to
60 regions and 168 pools (load per device and decisions a step stay), batch 32; the last column is the time a step
takes over what it takes at 5 regions, divided by the growth of regions x pools: at most 1 is at most linear.

Random legal actions, whose choice is not timed. One core; best and median of blocks, since the machine may be shared.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.said import parser, tell
from benchmarks.throughput import batch_rate
from gcn_env import load_world
from gcn_env.core.state import nbytes
from gcn_env.scenario.load import load_scenario
from gcn_env.sim import Sim

BATCHES = (1, 8, 64, 256, 1024, 4096)
COPIES = (
    (1, 0),
    (2, 0),
    (4, 0),
    (4, 1),
    (8, 1),
    (12, 1),
)  # of the five regions; further pools in each region
ROOT = Path(__file__).resolve().parent.parent
GROWN = """
import sys
from benchmarks.scale import resident_mb
from gcn_env import load_world
from gcn_env.sim import Sim
world, n = load_world({scenario!r}), {batch}
Sim(world, 1).reset(0)
before = resident_mb()
sim = Sim(world, n)
sim.reset(0)
for group in sim.state:
    for array in group:
        array.reshape(-1)[::256] += 0
for array in (*sim.obs.values(), *sim.final_obs.values()):
    array.reshape(-1)[::256] += 0
print((resident_mb() - before) / n)
"""


def enlarged(copies: int, more: int) -> dict[str, Any]:
    """Overrides of `default`: each region `copies` times, each with `more` further pools."""
    out: dict[str, Any] = {}
    for name, region in load_scenario("default").regions.items():
        given = region.model_dump(exclude_unset=True, mode="json")
        pools = dict(given["pools"])
        first = next(iter(pools.values()))
        pools |= {f"more-{k}": first for k in range(more)}
        for k in range(copies):
            out[f"regions.{name}-{k}" if k else f"regions.{name}"] = {**given, "pools": pools}
    return out


def fleet(steps: int) -> list[dict[str, Any]]:
    """Rows of the fleet's size."""
    rows: list[dict[str, Any]] = []
    for copies, more in COPIES:
        world = load_world("default", enlarged(copies, more) if copies + more > 1 else {})
        rate = batch_rate(world, 32, steps, 1)
        size = world.n_regions * world.n_pools
        row = {"regions": world.n_regions, "pools": world.n_pools, **rate}
        first = rows[0] if rows else {**row, "size": size}
        row |= {"size": size, "growth": (first["best"] / rate["best"]) / (size / first["size"])}
        rows.append(row)
        print(f"  {world.n_regions} regions, {world.n_pools} pools: {rate['best']:,.0f}/s", flush=True)
    return rows


def batches(scenario: str, steps: int) -> list[dict[str, Any]]:
    """Rows of the batch's size."""
    world, rows = load_world(scenario), []
    for batch in BATCHES:
        rate = batch_rate(world, batch, max(20, steps if batch <= 256 else steps // 3), 1)
        rows.append({"batch": batch, **rate})
        print(f"  batch {batch}: {rate['best']:,.0f}/s", flush=True)
    return rows


def memory(scenario: str, batch: int = 256) -> dict[str, float]:
    """Megabytes of an environment, stated and taken."""
    sim = Sim(load_world(scenario), 1)
    stated = nbytes(sim.state) + sum(a.nbytes for d in (sim.obs, sim.final_obs) for a in d.values())
    code = GROWN.format(scenario=scenario, batch=batch)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {"stated_mb": stated / 1e6, "taken_mb": float(done.stdout)}


def table(said: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    lines = ["| batch | env-steps/s best | median |", "|---:|---:|---:|"]
    lines += [f"| {r['batch']:,} | {r['best']:,.0f} | {r['median']:,.0f} |" for r in said["batch"]]
    m = said["memory"]
    took = f"{m['taken_mb']:.2f} MB; {m['stated_mb']:.2f} are stated."
    lines += ["", f"An environment of `{said['scenario']}` takes {took}", "",
              "| regions | pools | env-steps/s best | median | growth over linear |",
              "|---:|---:|---:|---:|---:|"]  # fmt: skip
    lines += [
        f"| {r['regions']} | {r['pools']} | {r['best']:,.0f} | {r['median']:,.0f} | {r['growth']:.2f} |"
        for r in said["fleet"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--scenario", default="default", help="of `batch` and of the memory (default)")
    options.add_argument("--steps", type=int, default=60, help="steps to time in each row (60)")
    args = options.parse_args()
    said = {
        "scenario": args.scenario,
        "batch": batches(args.scenario, args.steps),
        "memory": memory(args.scenario),
        "fleet": fleet(args.steps),
    }
    tell(said, table(said), args.out)


if __name__ == "__main__":
    main()
