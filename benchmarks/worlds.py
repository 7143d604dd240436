"""Rules in every world: who is cheapest where, and what a step costs.

    python benchmarks/worlds.py [--worlds gaia-x dgx-cloud] [--episodes 20] [--out worlds]

Runs the rules through the same held-out weeks of each world and writes OUT.md and OUT.json: USD per episode
(interquartile mean with a 95 % bootstrap interval), difference to what most fleets do (least-loaded with a fixed
plant) in the same weeks, energy, carbon, lateness, and how busy the accelerators are under the cheapest rule. Beside
them stand the world's size, env-steps per second of the simulator on one core and megabytes per environment. Without
--worlds all worlds of configs/scenarios/worlds are run; a path or any scenario's name will do too. First use compiles
for a minute or two.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from agents import console, policy, stats
from agents.evaluation import Results, episode_seeds, evaluate
from agents.provenance import provenance
from gcn_env import load_world
from gcn_env.core.params import INFERENCE, TRAINING
from gcn_env.core.state import nbytes
from gcn_env.scenario.compile import World
from gcn_env.scenario.load import shipped
from gcn_env.sim import Sim

COMMON = "rule:least-loaded+b0"  # the default spirit of Kubernetes under a conservative plant
RULES = (
    COMMON, "rule:random+b1", "rule:nearest+b1", "rule:cheapest+b1", "rule:greenest+b1", "rule:cost-greedy+b1",
    "rule:cost-greedy-deferral+b1",
)  # fmt: skip
SPEED_ENVS = 16  # environments of the batch that is timed
COLUMNS = ("energy_mwh", "carbon_t", "water_m3", "late_share", "slo_miss_share", "pue", "killed", "dropped")


def world_names() -> list[str]:
    """Names of the shipped worlds."""
    return [name for name, path in shipped().items() if path.parent.name == "worlds"]


def accelerators(world: World) -> np.ndarray:
    """Pools that run training or inference, bool [P]."""
    return np.asarray((world.params.fleet.speed[[TRAINING, INFERENCE]] > 0).any(axis=0))


def size(world: World) -> dict[str, Any]:
    """What the world consists of."""
    devices = world.params.fleet.devices * np.array(world.scenario.counted)
    return {
        "regions": world.n_regions,
        "pools": world.n_pools,
        "devices": int(devices.sum()),
        "accelerators": int(devices[accelerators(world)].sum()),
        "nameplate_mw": float(world.params.geo.design_kw.sum() / 1e3),
    }


def pace(world: World, spec: str, seed: int, steps: int) -> dict[str, float]:
    """Env-steps per second of `Sim.step` alone, use of accelerators, jobs alive and bytes, under one rule."""
    sim, rule, memory = Sim(world, SPEED_ENVS, split="test"), policy.load(spec, world), None
    sim.reset(episode_seeds(seed, SPEED_ENVS))
    fast, fleet = accelerators(world), world.params.fleet
    begins, spent, busy, there, live = np.ones(SPEED_ENVS, np.bool_), [], 0.0, 0.0, 0.0
    for t in range(steps):
        actions, memory = rule.predict(sim.obs, memory, begins)
        begins[:] = False
        there += float((fleet.devices * (sim.state.pools.away_h == 0.0))[:, fast].sum()) / SPEED_ENVS
        begin = time.perf_counter()
        sim.step(actions)
        if t:  # the first step compiles
            spent.append(time.perf_counter() - begin)
        busy += float(sim.state.pools.busy_h[:, fast].sum()) / SPEED_ENVS / world.step_h
        live += float(sim.state.jobs.n_live.mean())
    held = nbytes(sim.state) + 2 * sum(v.nbytes for v in sim.obs.values())
    return {
        "env_steps_per_s": SPEED_ENVS / float(np.median(spent)),
        "use_of_accelerators": busy / there,
        "live_jobs": live / steps,
        "mb_per_env": held / SPEED_ENVS / 1e6,
        "mb_shared": world.bank.nbytes / 1e6,
    }


def rows(results: Results, seed: int) -> dict[str, Any]:
    """Figures of each rule."""
    common, out = results.kpi("total_usd", COMMON), {}
    for name in results.policies:
        usd = results.kpi("total_usd", name)
        cost = stats.interval(usd, seed=seed)
        gain = stats.interval(100.0 * (usd - common) / common.mean(), seed=seed)
        out[name] = {
            "usd": [cost.value, cost.low, cost.high],
            "against_common_percent": [gain.value, gain.low, gain.high],
            **{c: float(results.kpi(c, name).mean()) for c in COLUMNS},
        }
    return out


def run(
    name: str, rules: Sequence[str], episodes: int, seed: int, overrides: dict[str, str]
) -> dict[str, Any]:
    """One world's entry."""
    world = load_world(name, overrides)
    policies = {spec: policy.load(spec, world) for spec in dict.fromkeys((COMMON, *rules))}
    with ExitStack() as stack:
        bar = console.progress_bar(stack)
        results = evaluate(
            world,
            policies,
            episodes,
            seed,
            progress=lambda spec, share: bar(f"{world.name} {spec}", share),
            keep=0,
        )
    found = rows(results, seed)
    best = min(found, key=lambda spec: found[spec]["usd"][0])
    return {
        "world": world.name,
        "doc": world.scenario.doc.strip(),
        "fingerprint": world.fingerprint,
        "episodes": results.episodes,
        "days": world.scenario.time.episode_days,
        "interrupted": results.interrupted,
        **size(world),
        **pace(world, best, seed, world.horizon),
        "best": best,
        "rules": found,
    }


def page(entries: Sequence[dict[str, Any]], command: str) -> str:
    """Markdown of all worlds."""
    lines = [
        "# Rules in the worlds\n\n",
        f"Made by `{command}`. Held-out years, the same weeks for every rule of a world. Worlds differ in scale: "
        "compare rules within a world, never worlds.\n\n",
        "| world | regions | pools | accelerators | nameplate MW | best rule | saved against least-loaded+b0 | busy "
        "accelerators | live jobs | env-steps/s | MB/env |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    ]
    for e in entries:
        value, low, high = (-x for x in e["rules"][e["best"]]["against_common_percent"])
        lines.append(
            f"| {e['world']} | {e['regions']} | {e['pools']} | {e['accelerators']:,} | {e['nameplate_mw']:,.1f} "
            f"| {e['best'].removeprefix('rule:')} | {value:.1f} % ({high:.1f} to {low:.1f}) "
            f"| {100 * e['use_of_accelerators']:.0f} % | {e['live_jobs']:,.0f} | {e['env_steps_per_s']:,.0f} "
            f"| {e['mb_per_env']:.2f} |\n"
        )
    for e in entries:
        lines.append(
            f"\n## {e['world']}\n\n{e['doc']}\n\n{e['episodes']} episodes of {e['days']:g} days each.\n\n"
        )
        lines.append(
            "| rule | USD per episode (95 %) | MWh | tCO2e | m3 | late | out of objective | PUE |\n"
            "|---|---|---|---|---|---|---|---|\n"
        )
        for spec, r in sorted(e["rules"].items(), key=lambda item: item[1]["usd"][0]):
            value, low, high = r["usd"]
            lines.append(
                f"| {spec.removeprefix('rule:')} | {value:,.0f} ({low:,.0f} to {high:,.0f}) | {r['energy_mwh']:,.0f} "
                f"| {r['carbon_t']:,.0f} | {r['water_m3']:,.0f} | {100 * r['late_share']:.1f} % "
                f"| {100 * r['slo_miss_share']:.1f} % | {r['pue']:.3f} |\n"
            )
    return "".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--worlds", nargs="+", default=None, help="names or paths; default: all shipped worlds"
    )
    parser.add_argument("--policies", nargs="+", default=list(RULES), help="rules to run")
    parser.add_argument("--episodes", type=int, default=20, help="held-out episodes per rule and world")
    parser.add_argument("--seed", type=int, default=0, help="base of the episode seeds")
    parser.add_argument("--days", type=float, default=None, help="length of an episode; default: the world's")
    parser.add_argument("--out", type=Path, default=Path("worlds"), help="OUT.md and OUT.json")
    args = parser.parse_args(argv)
    overrides = {} if args.days is None else {"time.episode_days": str(args.days)}
    command = f"python benchmarks/worlds.py --episodes {args.episodes} --seed {args.seed}"
    entries = []
    for name in args.worlds or world_names():
        entries.append(run(name, args.policies, args.episodes, args.seed, overrides))
        text = page(entries, command)  # after every world: an interrupt keeps what is done
        args.out.with_suffix(".md").write_text(text)
        meta = provenance(command, {"policies": list(args.policies), "days": args.days})
        args.out.with_suffix(".json").write_text(json.dumps({"worlds": entries, **meta}, indent=2) + "\n")
        if entries[-1]["interrupted"]:
            break
    print(text.split("\n## ")[0])
    print(f"wrote {args.out.with_suffix('.md')} and {args.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
