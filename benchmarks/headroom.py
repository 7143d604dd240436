"""How much cooling there is to save: fixed set-points, rules, prediction and perfect knowledge on the same weeks.

Every controller runs the scenario's own regions in the simulator, under the same placement rule, through the same
paired test episodes. The oracle, which knows weather and load ahead, replays the weather and load that B1 met on the
same plants; its row is B1's times the ratio of the two replays. Controllers change what regions cost, and so what the
placement rule sends there: savings are at equal node energy (IT energy less server fans and leakage).

    python benchmarks/headroom.py                       # `default`, 20 weeks, to reports/headroom.md and .json
    python benchmarks/headroom.py --scenario smoke --episodes 4 --out /tmp/headroom
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np

from agents.policy import load
from agents.provenance import provenance
from agents.rules.static import pace_of, played
from gcn_env import load_world
from gcn_env.core.search import head_levels
from gcn_env.core.study import COOLING, FACILITY, R, competent, given, oracle, run
from gcn_env.errors import UserError
from gcn_env.ledger import FLOWS
from gcn_env.metrics import COOLING as COOLING_ROWS

F = FLOWS.ix
COOLING_FLOWS = [FLOWS.index(name) for name in COOLING_ROWS]
FACILITY_FLOWS = [F.it, *COOLING_FLOWS, F.ups_loss, F.pdu_loss, F.misc]
CONTROLLERS = ("b0", "static", "b1", "b2", "mpc")
COLUMNS = (
    "cooling_kwh",
    "facility_kwh",
    "it_kwh",
    "water_l",
    "node_kwh",
    "excursion_kh",
    "throttled_h",
    "starts",
)
COOL, FAC, IT, WATER, NODE, HOT = range(6)
DECIDE_H, AHEAD_H = 1.0, 3.0  # how often the oracle decides, and how far it looks


def measured(flows):
    """Figures [R, len(COLUMNS)] of flows [episodes, R, F], sums over the episodes."""
    f = flows.sum(0)
    node = f[:, F.it] - f[:, F.server_fans] - f[:, F.leakage]
    parts = (f[:, COOLING_FLOWS].sum(1), f[:, FACILITY_FLOWS].sum(1), f[:, F.it], f[:, F.water], node)
    return np.stack([*parts, f[:, F.excursion], f[:, F.throttled], f[:, F.starts]], 1)


def replayed(world, courses):
    """Cooling, facility energy, IT energy, water, excursion of B1 and of the oracle on courses, two arrays [R, 5]."""
    pace, n, plant = pace_of(world), world.n_levels, world.params.plant
    every, ahead = (max(1, round(h / world.step_h)) for h in (DECIDE_H, AHEAD_H))
    out = np.zeros((2, world.n_regions, 5))
    for r in range(world.n_regions):
        levels = head_levels(plant, r, n)
        best = oracle(levels, every, ahead, n_plant=pace.n_plant)
        for course in courses[r]:
            wanted = run(plant, r, course, competent(), pace).commands
            nearest = np.abs(levels[None] - wanted[..., None]).argmin(
                2
            )  # B1 of the simulator moves in levels, too
            rule = run(plant, r, course, given(), pace, levels[np.arange(3), nearest])
            for k, outcome in enumerate((rule, run(plant, r, course, best, pace))):
                columns = (COOLING, FACILITY, [R.it], [R.water], [R.excursion])
                out[k, r] += [outcome.record[:, c].sum() for c in columns]
    return out


def headroom(world, placement, episodes, seed, split, say=print):
    """Figures of every controller: name -> [R, len(COLUMNS)]; the oracle's starts and throttling are not known."""
    out, courses = {}, None
    for name in CONTROLLERS:
        say(f"{name} ...")
        weeks = played(world, load(f"rule:{placement}+{name}", world), episodes, seed, split)
        out[name] = measured(weeks.flows)
        courses = weeks.courses if name == "b1" else courses
    say("oracle ...")
    rule, best = replayed(world, courses)
    row = np.full_like(out["b1"], np.nan)
    row[:, :NODE] = out["b1"][:, :NODE] * best[:, :NODE] / np.maximum(rule[:, :NODE], 1e-9)
    row[:, NODE], row[:, HOT] = out["b1"][:, NODE], best[:, -1]
    out["oracle"] = row
    return out


def shares(figures, name, rows):
    """Percent of cooling and facility energy saved over B1 at equal node energy, and share of the oracle's saving."""
    rule = figures["b1"][rows]

    def saved(who):
        x = figures[who][rows]
        energy = x[:, [COOL, FAC]] * (rule[:, NODE] / x[:, NODE])[:, None]
        return 1.0 - energy.sum(0) / rule[:, [COOL, FAC]].sum(0)

    mine, best = saved(name), saved("oracle")[FAC]
    return 100 * mine[COOL], 100 * mine[FAC], mine[FAC] / best if best > 0 else np.nan


def page(world, figures, args, command):
    """The table as Markdown."""
    weeks = args.episodes * world.scenario.time.episode_days / 7.0
    out = [
        f"# Cooling headroom: `{world.name}`\n",
        f"{args.episodes} paired {args.split} episodes ({weeks:g} weeks), placement `{args.placement}`. `{command}`\n",
        "`static` is chosen with hindsight on the weeks it is judged on"
        + ("." if args.seed == 0 and args.split == "test" else " (the first 20 test episodes of seed 0)."),
        "`oracle` knows weather and load ahead, is replayed under B1's load, and decides hourly. "
        "Savings are at equal node energy; share: of what the oracle saves in facility energy over B1.\n",
    ]
    groups = [(n, [r]) for r, n in enumerate(world.region_names)] + [("all", list(range(world.n_regions)))]
    for title, rows in groups:
        plant = f" ({', '.join(world.archetypes[r] for r in rows)})"
        out += [
            f"## {title}{plant}\n",
            "| controller | cooling kWh | facility kWh | cooling / IT | water m3 | cooling saved over B1 % "
            "| facility saved % | share | excursion K h |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, x in figures.items():
            cool, fac, share = shares(figures, name, rows)
            s = x[rows].sum(0)
            out.append(
                f"| {name} | {s[COOL]:,.0f} | {s[FAC]:,.0f} | {s[COOL] / s[IT]:.4f} | {s[WATER] / 1e3:,.1f} "
                f"| {cool:+.1f} | {fac:+.2f} | {share:.2f} | {s[HOT]:.2f} |"
            )
        out.append("")
    hot = {n: {r: round(float(v), 3) for r, v in zip(world.region_names, x[:, HOT], strict=True) if v > 0}
           for n, x in figures.items()}  # fmt: skip
    hot = {n: v for n, v in hot.items() if v}
    out.append(f"Thermal excursions: {hot or 'none'}.\n")
    return "\n".join(out)


def parser():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scenario", default="default", help="name or path of a scenario (default)")
    p.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    p.add_argument("--placement", default="cost-greedy", help="placement rule (cost-greedy)")
    p.add_argument("--episodes", type=int, default=20)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--split", default="test", choices=["train", "validation", "test"])
    p.add_argument("--out", type=Path, default=Path("reports/headroom"), help="files OUT.md and OUT.json")
    return p


def main(argv=None):
    """Run the command line."""
    args = parser().parse_args(argv)
    command = shlex.join(["python", "benchmarks/headroom.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        world = load_world(args.scenario, data_dir=args.data)
        figures = headroom(
            world, args.placement, args.episodes, args.seed, args.split, lambda s: print(s, file=sys.stderr)
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = page(world, figures, args, command)
    rows = {n: {r: [None if np.isnan(v) else round(float(v), 4) for v in x[i]]
                for i, r in enumerate(world.region_names)} for n, x in figures.items()}  # fmt: skip
    config = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    result = {"scenario": world.name, "fingerprint": world.fingerprint, "columns": COLUMNS, "figures": rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text(text, "utf-8")
    args.out.with_suffix(".json").write_text(
        json.dumps({**result, **provenance(command, config)}, indent=1) + "\n"
    )
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
