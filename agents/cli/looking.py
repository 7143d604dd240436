"""Verbs for looking at what was done: reports made again, runs compared, a policy at work on the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gcn_env.errors import UserError


def add(verbs: Any) -> None:
    """Add this group's verbs."""
    compare = verbs.add_parser(
        "compare",
        help="training runs side by side: learning curves over seeds, what they differ in",
        description="Groups runs by recipe (seeds of one recipe are one group), draws learning curves with intervals "
        "and writes Markdown, HTML and TensorBoard pages.",
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="folders of training runs")
    compare.add_argument(
        "--out", default=None, help="folder to write (reports/compare, numbered if it exists)"
    )
    compare.add_argument("--overwrite", action="store_true", help="replace an earlier comparison in --out")
    compare.set_defaults(act=_compare)
    again = verbs.add_parser(
        "report", help="make a report again from what its evaluation measured, without evaluating anew"
    )
    again.add_argument("report", metavar="DIR", help="folder that evaluate.py wrote")
    again.set_defaults(act=_report)
    results = verbs.add_parser(
        "results", help="the table of results that pages quote, condensed from an evaluation"
    )
    results.add_argument("file", help="results.json of a report, or a summary that --save wrote")
    results.add_argument("--save", default=None, help="also write the summary to this JSON file")
    results.set_defaults(act=_results)
    watch = verbs.add_parser("watch", help="one policy at work, live on the terminal")
    watch.add_argument(
        "policy", nargs="?", default="rule:cost-greedy+b1", help="policy spec (rule:cost-greedy+b1)"
    )
    watch.add_argument("--scenario", default="default", help="name or path of a scenario (default)")
    watch.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    watch.add_argument("--seed", type=int, default=0, help="of the episode")
    watch.add_argument("--steps-per-s", type=float, default=8.0, help="control steps a second (8)")
    watch.set_defaults(act=_watch)


def _compare(args: argparse.Namespace) -> None:
    from agents.console import pages
    from agents.curves import compare_runs
    from agents.report import free_folder

    out = free_folder(Path("reports/compare")) if args.out is None else Path(args.out)
    pages([compare_runs([Path(r) for r in args.runs], out, overwrite=args.overwrite)])
    print(f"wrote {out / 'report.html'}; look closer: tensorboard --logdir {out / 'tensorboard'}")


def _report(args: argparse.Namespace) -> None:
    from agents.console import show
    from agents.parts import report_again

    show(report_again(Path(args.report)), Path(args.report))


def _results(args: argparse.Namespace) -> None:
    import json

    from agents.runs import write_text
    from agents.summary import page, read

    summary = read(Path(args.file))
    if args.save is not None:
        write_text(Path(args.save), json.dumps(summary, indent=1) + "\n")
    print(page(summary), end="")


def _watch(args: argparse.Namespace) -> None:
    import time

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from agents.film import Player
    from agents.policy import load
    from gcn_env import load_world
    from gcn_env.render import ansi

    if not args.steps_per_s > 0:
        raise UserError(f"--steps-per-s {args.steps_per_s:g}: wanted more than 0")
    world = load_world(args.scenario, data_dir=args.data)
    player = Player(world, args.policy, load(args.policy, world), args.seed, "test")
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(Text(f"{args.policy}\n{ansi(player.sim)}", no_wrap=True), refresh=True)
            if player.sim.done[0]:
                return
            player.until(player.hour + world.step_h)
            time.sleep(1.0 / args.steps_per_s)
