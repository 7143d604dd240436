"""Compare policies on held-out weeks they all share, and write a report: words, tables, figures, TensorBoard.

Examples:
    python evaluate.py --policies rules --episodes 20 --out reports/rules
    python evaluate.py --policies rules run:runs/ppo --out reports/ppo
    python evaluate.py --policies rules run:runs/ppo --out reports/ppo --resume      after Ctrl-C
    tensorboard --logdir reports/ppo/tensorboard
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents import console, report, windows
from agents.cards import card_of
from agents.evaluation import Results, evaluate, name_policies
from agents.parts import Parts
from agents.provenance import provenance
from agents.stopping import on_sigterm_too
from agents.units import Progress, Runner
from gcn_env import load_world
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World
from gcn_env.scenario.load import load_scenario


@dataclass(frozen=True)
class Args:
    """Choices of an evaluation."""

    policies: tuple[str, ...] = ("rules",)
    """Policies to compare: `rule:PLACEMENT+COOLING`, `run:DIR` (a training run), `rules` (the standard set of
    rules). `NAME=SPEC` gives one another name, `NAME=run:A,run:B` makes one of several training seeds."""

    scenario: str | None = None
    """Name of a shipped scenario (`python -m agents worlds` lists them), or path of a YAML file; default: that of
    the first run among the policies, else `default`."""

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

    bound: bool = False
    """Also compute the clairvoyant bound: USD per episode below which no policy can go (`agents/bound`)."""

    explain: float | None = None
    """Hour of the first episode: what each policy would do with every job and plant then, and why in money; the first
    policy leads up to it. Only that is printed; nothing is evaluated."""

    video: Path | None = None
    """File (.gif, .mp4) to film the first episode in, up to two policies side by side; nothing is evaluated."""

    keep: int = 1
    """Episodes whose hourly record is kept for the figures of a week."""

    threads: int = 1
    """Threads of the simulator; results do not depend on it."""

    ray: str | None = None
    """Evaluate on a Ray cluster: its address (HOST:PORT or auto), or `local`; results do not depend on it."""

    overwrite: bool = False
    """Replace an earlier report in --out."""

    resume: bool = False
    """Go on with the evaluation in --out, interrupted or not, also with other policies: what is measured is taken."""

    quiet: bool = False
    """Print errors only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 a mistake of the user, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = tyro.cli(Args, args=words, prog="evaluate.py", description=__doc__)
    on_sigterm_too()
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
    from agents.bound import refuse

    world = load_world(args.scenario or scenario_of(args.policies), overrides(args.overrides), args.data)
    if args.bound:
        refuse(world)
    for note in () if args.quiet else world.data_notes:
        print(f"data: {note}", file=sys.stderr)
    specs = name_policies(args.policies, policy.standard_rules())
    refuse_overlap(world, specs, args.split)
    policies = {name: [policy.load(s, world) for s in team] for name, team in specs.items()}
    if args.explain is not None or args.video is not None:
        return look_closer(args, world, {name: team[0] for name, team in policies.items()})
    if args.resume and args.out is None:
        raise UserError("--resume needs --out: the folder of the report that was interrupted")
    out = args.out or report.free_folder(Path("reports") / world.name)
    report.prepare(out, overwrite=args.overwrite, resume=args.resume)
    parts = Parts(out, plan_of(args, world, specs), resume=args.resume)
    learned = [name for name, team in specs.items() if not team[0].startswith("rule:")]
    with ExitStack() as stack:
        work = None if args.ray is None else runner(stack, args.ray)
        bar = None if args.quiet else console.progress_bar(stack)
        results = evaluate(
            world, policies, args.episodes, args.seed, args.split, bar,
            keep=args.keep, threads=args.threads, learned=learned, store=parts, run=work,
        )  # fmt: skip
        if args.bound:
            results = bounded(world, results, args.split, bar)
    meta = {
        "scenario": world.name,
        "scenario_fingerprint": world.fingerprint,
        "data_fingerprints": dict(world.data_fingerprints),
        "specs": specs,
        **provenance(command, _plain(asdict(args))),
    }
    pages = {"Scenario": report.scenario_page(world, args.split)}
    cards = [text for team in specs.values() for spec in team if (text := card_of(spec))]
    if cards:
        pages["Learned policies"] = "\n\n".join(cards)
    parts.note(results, {"meta": meta, "pages": pages})
    files = {"scenario.yaml": report.scenario_yaml(world)}
    comparison = report.write(out, results, meta, pages, files)
    if not args.quiet:
        console.show(comparison, out)
    if results.interrupted or (args.bound and results.bound is None):
        print(
            f"interrupted: the report in {out} is of what is done; go on with the same command, "
            f"--out {out} and --resume",
            file=sys.stderr,
        )
        return 130
    return 0


def look_closer(args: Args, world: World, policies: Mapping[str, Any]) -> int:
    """One episode instead of an evaluation: an hour of it explained, or all of it filmed."""
    if args.explain is not None:
        from agents.explain import explain

        console.pages([explain(world, policies, args.explain, args.seed, args.split)])
    if args.video is not None:
        from agents.film import film

        with ExitStack() as stack:
            bar = None if args.quiet else console.progress_bar(stack)
            film(args.video, world, policies, args.seed, args.split, bar)
        print(f"wrote {args.video}")
    return 0


def refuse_overlap(world: World, specs: Mapping[str, Sequence[str]], split: str) -> None:
    """Refuse to judge a run on years or trace windows that it was trained on; `--split train` asks for just that.

    Raises:
        UserError: naming the run and what overlaps.
    """
    for spec in (s for team in specs.values() for s in team):
        kind, _, folder = spec.partition(":")
        path = Path(folder) / "scenario.yaml"
        if kind != "run" or split == "train" or not path.is_file():
            continue
        shared = windows.overlap(load_scenario(path), world.scenario, split)
        if shared:
            raise UserError(
                f"{spec} was trained on what it would be judged on: {shared}. Choose a scenario whose {split} windows "
                "lie elsewhere, or --split train to look at training weeks"
            )


def plan_of(args: Args, world: World, specs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What decides the numbers of an evaluation, so that parts of another one are never taken for its own."""
    from agents.policy import fingerprint

    return {
        "scenario": world.fingerprint,
        "data": dict(world.data_fingerprints),
        "policies": {name: {s: fingerprint(s) for s in team} for name, team in specs.items()},
        "episodes": args.episodes, "seed": args.seed, "split": args.split, "keep": args.keep,
        "version": version("gcn-env"),
    }  # fmt: skip


def runner(stack: ExitStack, address: str) -> Runner:
    """Does units of work on a cluster, until `stack` is left."""
    from agents.cluster import connect

    cluster = stack.enter_context(connect(address))
    from agents.cluster import episodes  # once it is known that Ray is installed

    return episodes.runner(cluster)


def bounded(world: World, results: Results, split: str, bar: Progress | None) -> Results:
    """The results with the clairvoyant bound of their episodes; as they are after an interrupt (Ctrl-C)."""
    from agents.bound import bounds

    def tick(share: float) -> None:
        if bar is not None:
            bar("clairvoyant bound", share)

    tick(0.0)
    try:
        return replace(results, bound=bounds(world, results.seeds, split, tick).usd)
    except KeyboardInterrupt:
        return results


def scenario_of(policies: Sequence[str]) -> str:
    """The scenario that the first run among the policies was trained on, else `default`."""
    for spec in policies:
        _, colon, folder = spec.partition("run:")
        if colon and (Path(folder) / "scenario.yaml").is_file():
            return str(Path(folder) / "scenario.yaml")
    return "default"


def overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`["a.b=1"]` as `{"a.b": "1"}`; the scenario reads the values.

    Raises:
        UserError: where there is no `=`.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--set {pair!r} is not PATH=VALUE, e.g. prices.carbon_usd_per_t=0")
    return dict(pair.split("=", 1) for pair in pairs)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v
        for k, v in values.items()
    }


if __name__ == "__main__":
    sys.exit(main())
