"""How the step scales: ten thousand jobs on a quarter of a million accelerators, jobs, pools, nodes, a million jobs.

    python benchmarks/scale.py [--parts rate jobs pools nodes million] [--steps 672] [--out scale]

The world is `supercomputer-net` with its training jobs as small as they were fitted (`BUSY` below): some 12,000 jobs
run at a time instead of 150 large ones. One environment, one core. Jobs go to random pools that may run them, weighted
by free devices; choosing is not timed. Times are processor time of that core (the machine may be shared), over
consecutive steps of one episode; a step includes the observations.

    rate     env-steps per second at ten thousand jobs, how many really run, bytes of an environment
    jobs     milliseconds per step against jobs alive: training load changes, nothing else
    pools    against pools: every pool is cut into equal parts, nothing else changes
    nodes    against nodes: every pool grows, loads shrink in proportion, so that the same jobs run
    million  a million jobs in one episode: resident memory and step time for every 50,000

Writes OUT.json, OUT.md and OUT.png. First use compiles for a minute or two.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.provenance import provenance
from gcn_env import load_world
from gcn_env.core.state import CAP, N_HEADS, RUNNING, nbytes
from gcn_env.ledger import COUNTS
from gcn_env.scenario.compile import World
from gcn_env.scenario.load import load_scenario
from gcn_env.sim import Sim

C, FLOW = COUNTS.ix, 1
SCENARIO = "supercomputer-net"
# Training gangs as in the fitted trace (mean 3 devices, most of one) instead of 128 times as large, and jobs of 12 h
# and more at reference speed: what fits into 192 decisions a quarter of an hour.
BUSY: dict[str, Any] = {
    "jobs.training.min_gang": 1, "jobs.training.gang_scale": 1, "jobs.training.min_h": 12.0,
    "jobs.training.load": 0.19, "jobs.simulation.load": 0.3, "decisions.slots": 192, "decisions.job_places": 32_000,
}  # fmt: skip
LOADS = (0.02, 0.05, 0.1, 0.19, 0.3)  # of training, for `jobs`
PARTS = (1, 2, 4, 8)  # of each pool, for `pools`
GROWTH = (1, 2, 4, 8)  # of each pool, for `nodes`
MEGABYTES = 16.0  # bound of an environment's state and observations at 32,000 job places
BLOCK = 50_000  # jobs between two readings of `million`
MILLION_DAYS = 300.0  # room for a million jobs; the episode is left as soon as they have come


class Spread:
    """A policy for measuring: jobs spread over pools as their free devices are, plants well cooled."""

    def __init__(self, sim: Sim, seed: int = 0) -> None:
        self.sim, self.rng = sim, np.random.default_rng(seed)
        self.action = np.zeros((1, len(sim.head_sizes)), np.int64)
        heads = self.action[0, sim.world.n_slots :].reshape(-1, N_HEADS)
        heads[:] = sim.world.n_levels // 2
        heads[:, [FLOW, CAP]] = sim.world.n_levels - 1
        heads[
            sim.obs["mask"][0, -heads.size * sim.world.n_levels :].reshape(*heads.shape, -1)[..., -1] < 0.5
        ] = 0

    def choose(self) -> npt.NDArray[np.int64]:
        """Actions of the joint view for the one environment."""
        w, pools = self.sim.world, self.sim.state.pools
        q, p = w.n_slots, w.n_pools
        legal = self.sim.obs["mask"][0, : q * (p + 1)].reshape(q, p + 1)[:, 1:]
        free = np.where(pools.waiting[0] > 0, 0, pools.healthy[0] - pools.busy[0])
        key = legal * (1.0 + free) / self.rng.exponential(size=legal.shape)
        self.action[0, :q] = np.where(legal.any(1), key.argmax(1) + 1, 0)
        return self.action


def timed(sim: Sim, steps: int, warm: int = 4) -> dict[str, Any]:
    """Step times [ms], jobs alive and running, of consecutive steps from a reset."""
    sim.reset(0)
    policy, jobs = Spread(sim), sim.state.jobs
    ms, live, running = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    for k in range(-warm, steps):  # the first steps load machine code
        action = policy.choose()
        begin = time.thread_time()
        sim.step(action)
        ms[k] = 1e3 * (time.thread_time() - begin)
        live[k] = jobs.n_live[0]
        running[k] = (jobs.status[0, : jobs.n_live[0]] == RUNNING).sum()
    counts = sim.state.ledger.counts_sum[0]
    return {
        "steps": steps,
        "ms_median": float(np.median(ms)), "ms_mean": float(ms.mean()), "ms_p99": float(np.quantile(ms, 0.99)),
        "steps_per_s_median": float(1e3 / np.median(ms)), "steps_per_s_mean": float(1e3 / ms.mean()),
        "live": float(live.mean()), "running": float(running.mean()),
        "running_p5": float(np.quantile(running, 0.05)), "share_10k_running": float((running >= 10_000).mean()),
        "arrived": int(counts[C.arrived]), "placed": int(counts[C.placed]), "dropped": int(counts[C.dropped]),
    }  # fmt: skip


def size(world: World) -> dict[str, int]:
    """What there is."""
    fleet = world.params.fleet
    nodes = int((fleet.devices // fleet.node).sum())
    return {
        "regions": world.n_regions,
        "pools": world.n_pools,
        "nodes": nodes,
        "devices": int(fleet.devices.sum()),
    }


def memory(sim: Sim) -> dict[str, float]:
    """Megabytes of an environment, and of what all environments share."""
    state, obs = nbytes(sim.state), 2 * sum(v.nbytes for v in sim.obs.values())
    return {
        "state_mb": state / sim.n_envs / 1e6, "observations_mb": obs / sim.n_envs / 1e6,
        "mb_per_env": (state + obs) / sim.n_envs / 1e6, "bound_mb": MEGABYTES,
        "bytes_per_job_place": sum(a.nbytes for a in sim.state.jobs) / sim.n_envs / sim.state.jobs.status.shape[1],
        "shared_mb": sim.world.bank.nbytes / 1e6,
    }  # fmt: skip


def split_pools(parts: int) -> dict[str, Any]:
    """Overrides that cut every pool into `parts` pools of whole nodes."""
    out: dict[str, Any] = {}
    for region, spec in load_scenario(SCENARIO).regions.items():
        for name, pool in spec.pools.items():
            nodes, at = pool.devices // pool.devices_per_node, f"regions.{region}.pools"
            given = pool.model_dump(exclude_unset=True)
            for k in range(parts):
                share = nodes * (k + 1) // parts - nodes * k // parts
                out[f"{at}.{name}-{k}"] = {**given, "devices": share * pool.devices_per_node}
            out[f"{at}.{name}"] = None
    return out


def grown(factor: int) -> dict[str, Any]:
    """Overrides that make every pool `factor` times as large for the same jobs and the same failures an hour."""
    scenario, out = load_scenario(SCENARIO, BUSY), {}
    for region, spec in scenario.regions.items():
        for name, pool in spec.pools.items():
            at = f"regions.{region}.pools.{name}"
            out[f"{at}.devices"] = factor * pool.devices
            out[f"{at}.node_mtbf_days"] = factor * pool.node_mtbf_days
            out[f"{at}.slow_mtb_days"] = factor * pool.slow_mtb_days
    return out | {f"jobs.{name}.load": jobs.load / factor for name, jobs in scenario.jobs.items()}


def curve(variants: dict[float, dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """Size and step times of each variant of the busy world."""
    rows = []
    for at, overrides in variants.items():
        world = load_world(SCENARIO, {**BUSY, **overrides})
        rows.append({"at": at, **size(world), **timed(Sim(world, 1, autoreset=False), steps)})
        print(f"  {at:g}: {rows[-1]['live']:,.0f} jobs, {rows[-1]['ms_median']:.2f} ms", flush=True)
    return rows


def resident_mb() -> float:
    """Resident memory of this process [MB] (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def million(jobs: int) -> dict[str, Any]:
    """`jobs` jobs in one episode: memory and step time for every `BLOCK` of them."""
    world = load_world(SCENARIO, {**BUSY, "time.episode_days": MILLION_DAYS})
    sim = Sim(world, 1, autoreset=False)
    sim.reset(0)
    policy, counts = Spread(sim), sim.state.ledger.counts_sum[0]
    rows, ms, live, due = [], [], [], BLOCK
    while counts[C.arrived] < jobs and not sim.done[0]:
        action = policy.choose()
        begin = time.thread_time()
        sim.step(action)
        ms.append(1e3 * (time.thread_time() - begin))
        live.append(int(sim.state.jobs.n_live[0]))
        if counts[C.arrived] >= due:
            rows.append({
                **{name: int(counts[COUNTS.index(name)]) for name in ("arrived", "completed", "dropped")},
                "steps": int(sim.state.clock.step[0]), "live": float(np.mean(live)), "resident_mb": resident_mb(),
                "ms_median": float(np.median(ms)), "us_per_job": 1e3 * float(np.mean(ms) / np.mean(live)),
            })  # fmt: skip
            print(f"  {rows[-1]}", flush=True)
            ms, live, due = [], [], due + BLOCK
    return {"jobs": int(counts[C.arrived]), "rows": rows}


HEADINGS = {
    "jobs": ("Jobs", "live", "jobs alive"), "pools": ("Pools", "pools", "pools"), "nodes": ("Nodes", "nodes", "nodes"),
}  # fmt: skip


def page(result: dict[str, Any]) -> str:
    """Markdown of what was measured."""
    lines = [f"# Scale\n\nMade by `{result['command']}`; one environment, one core.\n"]
    if "rate" in result:
        r, m = result["rate"], result["rate"]["memory"]
        lines.append(
            f"\n`{SCENARIO}`, {r['devices']:,} accelerators in {r['nodes']:,} nodes, {r['pools']} pools, "
            f"{r['regions']} regions: {r['steps_per_s_median']:,.0f} env-steps/s median, "
            f"{r['steps_per_s_mean']:,.0f} mean over {r['steps']} steps, with {r['running']:,.0f} jobs running on "
            f"average (5th percentile {r['running_p5']:,.0f}; at least 10,000 in {100 * r['share_10k_running']:.0f} % "
            f"of the steps), {r['live']:,.0f} alive. An environment holds {m['mb_per_env']:.1f} MB "
            f"(bound {m['bound_mb']:g}), {m['bytes_per_job_place']:.0f} bytes a job place; {m['shared_mb']:.1f} MB "
            "of signals are shared.\n"
        )
    for part, (title, _, _) in HEADINGS.items():
        if part in result:
            lines.append(
                f"\n## {title}\n\n| pools | nodes | jobs alive | running | ms median | ms mean | ms p99 |\n"
            )
            lines.append("|---|---|---|---|---|---|---|\n")
            lines += [
                f"| {r['pools']} | {r['nodes']:,} | {r['live']:,.0f} | {r['running']:,.0f} | {r['ms_median']:.2f} "
                f"| {r['ms_mean']:.2f} | {r['ms_p99']:.1f} |\n"
                for r in result[part]
            ]
    if "million" in result:
        lines.append(f"\n## {result['million']['jobs']:,} jobs in one episode\n\n")
        lines.append(
            "| arrived | completed | dropped | steps | alive | resident MB | ms median | us per job and step |\n"
        )
        lines.append("|---|---|---|---|---|---|---|---|\n")
        lines += [
            f"| {r['arrived']:,} | {r['completed']:,} | {r['dropped']:,} | {r['steps']:,} | {r['live']:,.0f} "
            f"| {r['resident_mb']:.0f} | {r['ms_median']:.2f} | {r['us_per_job']:.3f} |\n"
            for r in result["million"]["rows"]
        ]
    return "".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """One panel per curve."""
    from matplotlib.figure import Figure

    parts = [k for k in (*HEADINGS, "million") if k in result]
    if not parts:
        return
    figure = Figure(figsize=(4.0 * len(parts), 3.2), layout="constrained")
    for ax, part in zip(np.atleast_1d(figure.subplots(1, len(parts))), parts, strict=True):
        if part == "million":
            rows = result[part]["rows"]
            x = [r["arrived"] / 1e3 for r in rows]
            ax.plot(x, [r["us_per_job"] for r in rows], "o-")
            ax.set(xlabel="thousand jobs so far", ylabel="us per job and step")
            memory = ax.twinx()
            memory.plot(x, [r["resident_mb"] for r in rows], "k:")
            memory.set(ylabel="resident MB (dotted)", ylim=(0, None))
        else:
            _, column, label = HEADINGS[part]
            ax.plot([r[column] for r in result[part]], [r["ms_median"] for r in result[part]], "o-")
            ax.set(xlabel=label, ylabel="ms per step, median", xlim=(0, None))
        ax.set_ylim(0, None)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("rate", "jobs", "pools", "nodes", "million")
    parser.add_argument("--parts", nargs="+", choices=names, default=list(names), help="what to measure")
    parser.add_argument("--steps", type=int, default=668, help="steps per measurement; a week has 672")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs of the part `million`")
    parser.add_argument("--out", type=Path, default=Path("scale"), help="OUT.json, OUT.md, OUT.png")
    args = parser.parse_args(argv)
    command = (
        f"python benchmarks/scale.py --parts {' '.join(args.parts)} --steps {args.steps} --jobs {args.jobs}"
    )
    result: dict[str, Any] = {"overrides": BUSY, **provenance(command, {})}
    curves = {
        "jobs": lambda: {x: {"jobs.training.load": x} for x in LOADS},
        "pools": lambda: {n: split_pools(n) if n > 1 else {} for n in PARTS},
        "nodes": lambda: {k: grown(k) for k in GROWTH},
    }
    for part in args.parts:
        print(part, flush=True)
        if part == "rate":
            world = load_world(SCENARIO, BUSY)
            sim = Sim(world, 1, autoreset=False)
            result["rate"] = {**size(world), **timed(sim, args.steps), "memory": memory(sim)}
        elif part == "million":
            result["million"] = million(args.jobs)
        else:
            result[part] = curve(curves[part](), args.steps)
        text = page(result)
        args.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
        args.out.with_suffix(".md").write_text(text)
    draw(result, args.out.with_suffix(".png"))
    print(text + f"\nwrote {args.out}.json, .md and .png")


if __name__ == "__main__":
    main()
