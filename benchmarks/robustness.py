"""What a policy does when the world turns against it: failures, bad forecasts, blind sensors, price crises, heat.

    python benchmarks/robustness.py [--policies trained:ppo-default] [--episodes 20] [--out robustness]

Runs each policy through the same held-out weeks of the scenario as it is and under each stress below, beside a floor
(least-loaded placement with competent cooling) and the best rules, and writes OUT.md and OUT.json: USD per episode
with paired differences to the floor, late work, and heat above the limit. The first lines say where a policy is worse
than the floor. No policy was trained under these stresses. First use compiles for a minute or two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agents import console, policy, stats
from agents.evaluation import Results, evaluate
from agents.provenance import provenance
from gcn_env import load_world
from gcn_env.scenario.schema import Scenario

FLOOR = "rule:least-loaded+b1"
RULES = ("rule:cost-greedy+b1", "rule:cost-greedy-deferral+b1")
SIDE = ("late_share", "slo_miss_share", "excursion_kh", "trips", "killed")
SEED = 20240  # of the bootstrap

# Name -> (what it means, overrides of every region, overrides of every pool, other overrides).
Stress = tuple[str, Mapping[str, float], Mapping[str, float], Mapping[str, Any]]
STRESSES: dict[str, Stress] = {
    "as it is": ("the scenario", {}, {}, {}),
    "failures": (
        "nodes fail every 12 days, the grid ten times and each link fifty times a year",
        {"grid.outages_per_year": 10.0}, {"node_mtbf_days": 12.0},
        {"network.cuts_per_year": 10.0, "network.fades_per_year": 40.0},
    ),
    "plant faults": ("fans, compressors, pumps, towers and sensors fail twenty times as often",
                     {"supply.fault_scale": 20.0}, {}, {}),
    "blind sensors": ("readings err by 1.5 K, in steps of 0.5 K, ten minutes late", {}, {},
                      {"sensors.noise_k": 1.5, "sensors.step_k": 0.5, "sensors.delay_s": 600.0}),
    "bad forecasts": ("forecast errors four times as large", {}, {}, {"signals.forecast.error_scale": 4.0}),
    "price crisis": ("electricity at three times its price, spikes included", {"price_scale": 3.0}, {}, {}),
    "heat wave": ("8 K hotter, day and night, everywhere", {"weather_shift_k": 8.0}, {}, {}),
    "crowd": ("a quarter more work", {}, {}, {"load": 1.25}),
}  # fmt: skip


def overrides(scenario: Scenario, stress: Stress) -> dict[str, Any]:
    """Dotted overrides of a scenario for a stress."""
    _, regions, pools, others = stress
    out = {k: v for k, v in others.items() if k != "load"}
    for name, region in scenario.regions.items():
        out |= {f"regions.{name}.{k}": v for k, v in regions.items()}
        if regions:
            out[f"regions.{name}.source"] = "an assumption, to see what a policy does under stress"
        out |= {f"regions.{name}.pools.{p}.{k}": v for p in region.pools for k, v in pools.items()}
    if "load" in others:
        out |= {
            f"jobs.{n}.load": j.load * others["load"] for n, j in scenario.jobs.items() if j.load is not None
        }
    return out


def row(results: Results, name: str) -> dict[str, Any]:
    """Figures of one policy under one stress."""
    mine, floor = results.each_run("total_usd", name), results.kpi("total_usd", FLOOR)
    cost = stats.crossed_interval(mine, seed=SEED)
    diff = stats.crossed_interval(mine - floor, seed=SEED)
    return {
        "usd": [cost.value, cost.low, cost.high],
        "mean_usd": float(mine.mean()),
        "against_floor_usd": [diff.value, diff.low, diff.high],
        "verdict": stats.verdict(diff.value, diff.low, diff.high),
        **{k: float(results.each_run(k, name).mean()) for k in SIDE},
    }


def through(name: str, world: Any, policies: Mapping[str, Any], episodes: int, seed: int) -> Results:
    """Every policy through the same weeks of `world`, with a progress bar."""
    with ExitStack() as stack:
        bar = console.progress_bar(stack)
        return evaluate(
            world,
            policies,
            episodes,
            seed,
            progress=lambda spec, share: bar(f"{name}: {spec}", share),
            keep=0,
        )


def run(
    scenario: str, specs: Sequence[str], episodes: int, seed: int, stresses: Sequence[str]
) -> list[dict[str, Any]]:
    """One entry for each stress."""
    plain, entries = load_world(scenario), []
    for name in stresses:
        world = load_world(scenario, overrides(plain.scenario, STRESSES[name]))
        policies: dict[str, Any] = {s: policy.load(s, world) for s in dict.fromkeys((FLOOR, *RULES))}
        for spec in specs:
            label, equals, team = spec.rpartition("=")
            policies[label if equals else spec] = [policy.load(s, world) for s in team.split(",")]
        results = through(name, world, policies, episodes, seed)
        entries.append(
            {
                "stress": name,
                "what": STRESSES[name][0],
                "episodes": results.episodes,
                "policies": {p: row(results, p) for p in results.policies},
            }
        )
        if results.interrupted:
            break
    return entries


def verdict(entries: Sequence[Mapping[str, Any]]) -> str:
    """First lines of the page: where a policy is worse than the floor."""
    floor, bad = FLOOR.removeprefix("rule:"), []
    for e in entries:
        for name, r in e["policies"].items():
            if r["verdict"] == "worse":
                bad.append(f"{name} under '{e['stress']}'")
    if bad:
        return f"**Worse than {floor}: {'; '.join(bad)}.**"
    return f"No policy is worse than {floor} under any stress."


def page(entries: Sequence[Mapping[str, Any]], command: str) -> str:
    """Markdown of all stresses."""
    lines = [
        "# Under stress\n\n", verdict(entries), "\n\n",
        f"Made by `{command}`. Held-out years, the same weeks for every policy under a stress; interquartile "
        "means with 95 % intervals, other figures are means. Nothing was trained under a stress.\n",
    ]  # fmt: skip
    for e in entries:
        what = e["what"][0].upper() + e["what"][1:]
        lines.append(
            f"\n## {e['stress'].capitalize()}\n\n{what}. {e['episodes']} episodes.\n\n| policy | USD per episode "
            f"| against {FLOOR.removeprefix('rule:')} | mean USD | late | out of objective | K h "
            "above limit | trips |\n|---|---|---|---:|---:|---:|---:|---:|\n"
        )
        for name, r in sorted(e["policies"].items(), key=lambda item: item[1]["usd"][0]):
            usd, low, high = r["usd"]
            d, dl, dh = r["against_floor_usd"]
            lines.append(
                f"| {name.removeprefix('rule:')} | {usd:,.0f} ({low:,.0f} to {high:,.0f}) "
                f"| {d:+,.0f} ({dl:+,.0f} to {dh:+,.0f}) | {r['mean_usd']:,.0f} | {100 * r['late_share']:.1f} % "
                f"| {100 * r['slo_miss_share']:.1f} % | {r['excursion_kh']:.2f} | {r['trips']:.2f} |\n"
            )
    return "".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", default="default", help="scenario that is put under stress")
    parser.add_argument(
        "--policies", nargs="+", default=["trained:ppo-default"], help="specs, or NAME=SPEC,SPEC"
    )
    parser.add_argument("--stresses", nargs="+", default=list(STRESSES), choices=list(STRESSES), help="which")
    parser.add_argument("--episodes", type=int, default=20, help="held-out episodes")
    parser.add_argument("--seed", type=int, default=0, help="base of the episode seeds")
    parser.add_argument("--out", type=Path, default=Path("robustness"), help="OUT.md and OUT.json")
    args = parser.parse_args(argv)
    command = (
        f"python benchmarks/robustness.py --scenario {args.scenario} --policies {' '.join(args.policies)} "
        f"--episodes {args.episodes} --seed {args.seed}"
    )
    entries = run(args.scenario, args.policies, args.episodes, args.seed, args.stresses)
    text = page(entries, command)
    args.out.with_suffix(".md").write_text(text)
    meta = provenance(command, {"stresses": list(args.stresses)})
    args.out.with_suffix(".json").write_text(json.dumps({"entries": entries, **meta}, indent=2) + "\n")
    print(text)


if __name__ == "__main__":
    main()
