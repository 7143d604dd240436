"""Where the time of a step goes, phase by phase, and the floor under it: the same arithmetic without anything else.

    python -m benchmarks.phases [--scenario default] [--batch 64] [--steps 200] [--out phases.json]

The phases of `gcn_env.core.step` are called one by one, each on blocks of a batch as in a step, and timed; the last
row is the whole step as one kernel. Then one environment is stepped as plain Python under a tracer that counts the
operations that the source asks for: arithmetic, comparisons, calls of mathematical functions, array elements read and
written. How long this machine takes for as many of them in loops over an array that fits its cache is the floor.

Prints a table and writes JSON. One core; the lowest tenth of all blocks, since the machine may be shared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.said import parser, tell
from benchmarks.throughput import random_legal
from gcn_env import drivers, load_world
from gcn_env.core import step as phases
from gcn_env.core.jit import entry
from gcn_env.sim import BLOCK, Sim

ROOT = Path(__file__).resolve().parent.parent
COUNT_STEPS = 3  # environment steps whose operations are counted


def calls(sim: Sim, actions: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The phases by name: kernel and what follows its range."""
    w, timing = sim.world, sim.world.timing
    clock, signals, sources, jobs, pools, plants, links, ledger = sim.state
    fleet, geo, money, work, bank, plant, site, market = w.params
    dt = timing.dt_h
    arguments = {
        "clear": (ledger,),
        "dispatch": (
            actions, w.n_levels, dt, clock, jobs, sources, pools, plants, links, fleet, geo, money, work, plant, ledger,
        ),
        "arrive": (dt, 0, clock, sources, jobs, work, geo, bank, money, ledger),
        "carry": (dt, clock, jobs, links, fleet, geo, ledger),
        "adapt": (clock, jobs, sources, pools, fleet, work, ledger),
        "execute": (dt, clock, jobs, sources, pools, plants, fleet, geo, work, ledger),
        "lend": (dt, signals, pools, plants, fleet, money, market),
        "node_power": (dt, pools, plants, fleet, geo, ledger),
        "integrate": (dt, timing.n_plant, timing.n_zone, plants, signals, plant, site, ledger),
        "supply": (dt, clock, signals, plants, geo, bank, site, ledger),
        "bill": (dt, clock, signals, plants, geo, bank, money, site, ledger),
        "advance": (dt, clock),
        "sense": (dt, clock, plants, site),
        "fail": (dt, clock, jobs, pools, plants, fleet, geo, site, ledger),
        "trade": (dt, clock, jobs, pools, plants, fleet, work, market, ledger),
        "tend": (dt, clock, jobs, links, fleet, geo, ledger),
        "look_out": (False, clock, signals, bank, money, site),
        "close": (timing, clock, jobs, plants, fleet, money, site, market, ledger, sim.reward, sim.done),
    }  # fmt: skip
    found = {name: (getattr(phases, name), rest) for name, rest in arguments.items()}
    found["refill"] = (drivers.refill, (timing, sim.state, w.params))
    found["encode"] = (drivers.encode_joint_range, (w.n_levels, timing, sim.state, w.params, sim._view))
    return found


def timed(world: Any, batch: int, steps: int) -> dict[str, float]:
    """Microseconds per environment and phase, and of the whole step."""
    whole, parts, rng = Sim(world, batch), Sim(world, batch), np.random.default_rng(0)
    whole.reset(0)
    parts.reset(0)
    actions = np.zeros((batch, len(parts.head_sizes)), np.int64)
    table = calls(parts, actions)
    run = {name: (entry(kernel, 0, 1, *rest), rest) for name, (kernel, rest) in table.items()}
    spent: dict[str, list[float]] = {name: [] for name in (*run, "step")}
    for _ in range(steps):
        actions[:] = random_legal(parts.obs["mask"], parts.head_sizes, rng)
        begin = time.perf_counter()
        whole.step(actions)
        spent["step"].append((time.perf_counter() - begin) / batch)
        for lo in range(0, batch, BLOCK):
            n = min(BLOCK, batch - lo)
            for name, (code, rest) in run.items():
                begin = time.perf_counter()
                code(lo, lo + n, *rest)
                spent[name].append((time.perf_counter() - begin) / n)
        if parts.done.any():
            parts.reset(0)
            whole.reset(0)
    return {name: 1e6 * float(np.percentile(times, 10)) for name, times in spent.items()}


def counted(scenario: str) -> dict[str, float]:
    """Operations per environment step, counted in a process of its own that runs kernels as plain Python."""
    code = f"from benchmarks import phases; phases.count({scenario!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def count(scenario: str) -> None:
    """Print operations per environment step as JSON; only where kernels are plain Python."""
    import dis

    sim, rng = Sim(load_world(scenario), 1), np.random.default_rng(0)
    sim.reset(0)
    found: Counter[str] = Counter()
    kinds: dict[Any, dict[int, str]] = {}

    def kind_of(instruction: Any, before: Any) -> str | None:
        name = instruction.opname
        if name in ("BINARY_OP", "UNARY_NEGATIVE", "COMPARE_OP"):
            return "arithmetic"
        if name in ("BINARY_SUBSCR", "STORE_SUBSCR"):
            return "elements"
        return "functions" if name in ("LOAD_METHOD", "LOAD_ATTR") and before.argval == "math" else None

    def steps_of(code: Any) -> dict[int, str]:
        listed = list(dis.get_instructions(code))
        named = {i.offset: kind_of(i, p) for p, i in zip([listed[0], *listed], listed, strict=False)}
        return {k: v for k, v in named.items() if v}

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        if event == "call":
            if "gcn_env" not in frame.f_code.co_filename or frame.f_code.co_filename.endswith("sim.py"):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if frame.f_code not in kinds:
                kinds[frame.f_code] = steps_of(frame.f_code)
        elif event == "opcode":
            kind = kinds[frame.f_code].get(frame.f_lasti)
            if kind:
                found[kind] += 1
        return trace

    for _ in range(COUNT_STEPS):
        actions = random_legal(sim.obs["mask"], sim.head_sizes, rng)
        sys.settrace(trace)
        sim.step(actions)
        sys.settrace(None)
    print(json.dumps({name: n / COUNT_STEPS for name, n in found.items()}))


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _arithmetic(x: Any, rounds: int) -> Any:
    total = 0.0
    for _ in range(rounds):
        for k in range(x.shape[0]):
            total += x[k] * 0.999 if x[k] > total else 0.5 - x[k]
    return total


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _functions(x: Any, rounds: int) -> Any:
    total = 0.0
    for _ in range(rounds):
        for k in range(x.shape[0]):
            total += np.exp(x[k])
    return total


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _elements(x: Any, rounds: int) -> Any:
    for _ in range(rounds):
        for k in range(1, x.shape[0]):
            x[k] = x[k - 1]
    return x[0]


def unit_costs() -> dict[str, float]:
    """Nanoseconds of one operation of each kind on this machine, best of many loops over 8 KiB."""
    x = np.random.default_rng(0).random(1024)
    out = {}
    for name, loop, each in (
        ("arithmetic", _arithmetic, 4),
        ("functions", _functions, 1),
        ("elements", _elements, 2),
    ):
        loop(x, 1)
        best = float("inf")
        for _ in range(200):
            begin = time.perf_counter()
            loop(x, 20)
            best = min(best, time.perf_counter() - begin)
        out[name] = 1e9 * best / (20 * len(x) * each)
    return out


def measure(scenario: str, batch: int, steps: int) -> dict[str, Any]:
    """Everything this benchmark says."""
    world = load_world(scenario)
    times = timed(world, batch, steps)
    whole = times.pop("step")
    operations, costs = counted(scenario), unit_costs()
    floor = sum(operations[name] * costs[name] for name in costs) / 1e3
    seen = sum(v[0].nbytes for v in Sim(world, 1).obs.values())
    return {
        "scenario": world.name, "batch": batch, "us_by_phase": times, "us_sum": sum(times.values()), "us_step": whole,
        "operations": operations, "ns_per_operation": costs, "us_floor": floor, "over_floor": whole / floor,
        "observation_bytes": seen,
    }  # fmt: skip


def table(said: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    rows = sorted(said["us_by_phase"].items(), key=lambda item: -item[1])
    total = said["us_sum"]
    lines = ["| phase | us per env-step | share |", "|---|---:|---:|"]
    lines += [f"| {name} | {us:.2f} | {100 * us / total:.1f} % |" for name, us in rows]
    lines += [
        f"| all, one by one | {total:.2f} | 100 % |",
        f"| the step as one kernel | {said['us_step']:.2f} | |",
    ]
    ops = ", ".join(
        f"{n:,.0f} {name} at {said['ns_per_operation'][name]:.2f} ns"
        for name, n in said["operations"].items()
    )
    lines += [
        "",
        f"Operations in the source per env-step: {ops}: {said['us_floor']:.1f} us. "
        f"The step takes {said['over_floor']:.2f} times as long. "
        f"An observation is {said['observation_bytes']:,} bytes.",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--scenario", default="default", help="name or path of a scenario")
    options.add_argument("--batch", type=int, default=64, help="environments in the batch (64)")
    options.add_argument("--steps", type=int, default=200, help="steps to time (200)")
    args = options.parse_args()
    said = measure(args.scenario, args.batch, args.steps)
    tell(said, table(said), args.out)


if __name__ == "__main__":
    main()
