"""Compare policies on held-out weeks they all share, and write a report: words, tables, figures, TensorBoard.

Examples:
    python evaluate.py --policies rules --episodes 20 --out reports/rules
    python evaluate.py --policies rules run:runs/ppo --out reports/ppo
    tensorboard --logdir reports/ppo/tensorboard
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents import report
from agents.compare import Comparison, money_interval
from agents.evaluation import Results, evaluate, name_policies
from agents.provenance import provenance
from gcn_env import load_world
from gcn_env.errors import UserError


@dataclass(frozen=True)
class Args:
    """Choices of an evaluation."""

    policies: tuple[str, ...] = ("rules",)
    """Policies to compare: `rule:PLACEMENT+COOLING`, `run:DIR` (a training run), `rules` (the standard set of
    rules); `NAME=SPEC` gives one another name."""

    scenario: str = "default"
    """Name of a shipped scenario, or path of a YAML file."""

    episodes: int = 20
    """Paired episodes per policy; below 20 the report is a look, not a claim."""

    seed: int = 0
    """Base of the episode seeds; they never meet those of training."""

    split: Literal["test", "validation", "train"] = "test"
    """Which years and trace windows the episodes come from."""

    out: Path | None = None
    """Folder of the report; default `reports/SCENARIO`, with a number if that exists."""

    data: Path | None = None
    """Folder of real series and traces, for scenarios that read files."""

    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = ()
    """Scenario fields to change, e.g. `--set prices.carbon_usd_per_t=0 time.episode_days=2`."""

    keep: int = 1
    """Episodes whose hourly record is kept for the figures of a week."""

    threads: int = 1
    """Threads of the simulator; results do not depend on it."""

    overwrite: bool = False
    """Replace an earlier report in --out."""

    quiet: bool = False
    """Print errors only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 a mistake of the user, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = tyro.cli(Args, args=words, prog="evaluate.py", description=__doc__)
    try:
        return run(args, shlex.join(["evaluate.py", *words]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before any policy had finished; nothing was written", file=sys.stderr)
        return 130


def run(args: Args, command: str) -> int:
    """Load, evaluate, report."""
    from agents import policy

    world = load_world(args.scenario, overrides(args.overrides), args.data)
    specs = name_policies(args.policies, policy.rule_names())
    policies = {name: policy.load(spec, world) for name, spec in specs.items()}
    out = args.out or report.free_folder(Path("reports") / world.name)
    report.prepare(out, overwrite=args.overwrite)
    learned = [name for name, spec in specs.items() if not spec.startswith("rule:")]
    with ExitStack() as stack:
        results = evaluate(
            world, policies, args.episodes, args.seed, args.split, None if args.quiet else bar(stack),
            keep=args.keep, threads=args.threads, learned=learned,
        )  # fmt: skip
    meta = {
        "scenario": world.name,
        "scenario_fingerprint": world.fingerprint,
        "data_fingerprints": dict(world.data_fingerprints),
        "specs": specs,
        **provenance(command, _plain(asdict(args))),
    }
    page, files = report.scenario_page(world, args.split), {"scenario.yaml": report.scenario_yaml(world)}
    comparison = report.write(out, results, meta, page, files)
    if not args.quiet:
        show(results, comparison, out)
    return 130 if results.interrupted else 0


def overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`["a.b=1"]` as `{"a.b": "1"}`; the scenario reads the values.

    Raises:
        UserError: where there is no `=`.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--set {pair!r} is not PATH=VALUE, e.g. prices.carbon_usd_per_t=0")
    return dict(pair.split("=", 1) for pair in pairs)


def bar(stack: ExitStack) -> Any:
    """A progress bar on standard error, as a callback of `evaluate`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
    task = progress.add_task("starting (the first run compiles for a minute or two)", total=1.0)
    return lambda name, share: progress.update(task, completed=share, description=name)


def show(results: Results, comparison: Comparison, out: Path) -> None:
    """Verdict, a small table, and where the rest is."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    console = Console()
    table = Table(box=None)
    for title in ("policy", "cost per episode", f"against {comparison.reference}", "verdict"):
        table.add_column(title, no_wrap=True)
    for x in comparison.lines:
        share = (
            ""
            if x.percent is None
            else f"{x.percent.value:+.1f} % ({x.percent.low:+.1f} to {x.percent.high:+.1f})"
        )
        table.add_row(x.policy, money_interval(x.cost), share, x.verdict or "reference")
    console.print(table)
    for text in (*comparison.sentences, *(f"Note: {w}" for w in comparison.warnings)):
        console.print(Markdown(text))
    console.print(f"\nReport: {out / 'report.md'}", highlight=False, soft_wrap=True)
    console.print(f"Look closer: tensorboard --logdir {out / 'tensorboard'}", highlight=False, soft_wrap=True)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v
        for k, v in values.items()
    }


if __name__ == "__main__":
    sys.exit(main())
