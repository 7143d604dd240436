"""`python -m agents VERB`: tools around policies and worlds.

Verbs:
    describe [SCENARIO]   regions, pools and jobs of a scenario, in tables
    describe --tables     observation, action, ledger and key figures, in tables (gcn_env/README.md holds this)
    describe --plants     parameters of the plants with their sources, in tables (gcn_env/core/README.md holds this)
    describe --jobs       columns of a job trace of one's own, in a table (gcn_env/jobs/README.md holds this)
    policies              names of all rules and of the shipped policies
    cards                 cards of the shipped policies (agents/trained/README.md holds this)
    ship RUN NAME         make the best policy of a run one of the shipped policies (agents/trained)
    tune                  search over a recipe with Optuna: parallel, resumable
    tune-cooling          tune the weather resets of B2 on training years and write their table
    worlds                shipped scenarios, one line each
"""

from __future__ import annotations

import argparse
import shlex
import sys

from gcn_env.errors import UserError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m agents", description="Tools around policies and worlds.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    describe = verbs.add_parser("describe", help="a scenario, or the environment's tables, as Markdown")
    describe.add_argument(
        "scenario", nargs="?", default="default", help="name or path of a scenario (see worlds)"
    )
    describe.add_argument(
        "--tables", action="store_true", help="observation, action, ledger and key figures instead"
    )
    describe.add_argument("--plants", action="store_true", help="parameters of the plants instead")
    describe.add_argument("--jobs", action="store_true", help="columns of a job trace of one's own instead")
    describe.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    verbs.add_parser("policies", help="names of all rules")
    tune = verbs.add_parser(
        "tune-cooling",
        help="tune the weather resets of B2 on training years and write their table",
        description="Tunes the cooling rule B2 for every archetype in every climate, on training years only, and "
        "writes the table with its provenance. The shipped table is agents/rules/b2.yaml.",
    )
    tune.add_argument(
        "--scenario", default="default", help="gives training years, signals and levels (default)"
    )
    tune.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    tune.add_argument("--archetypes", default="", help="letters, e.g. bcd; all if not given")
    tune.add_argument(
        "--profiles", nargs="*", default=[], help="climates; `all` shipped ones, or the scenario's own"
    )
    tune.add_argument("--seed", type=int, default=0, help="of weeks and loads")
    tune.add_argument("--weeks", type=int, default=12, help="training weeks each candidate runs through")
    tune.add_argument("--out", default="b2.yaml", help="file to write (b2.yaml)")
    search = verbs.add_parser(
        "tune",
        help="search over a recipe with Optuna: parallel, resumable",
        description="Trains one run a trial and judges it by its best validation cost; bad ones are stopped early. "
        "The same command again goes on where the last one stopped, also after Ctrl-C.",
    )
    search.add_argument("--config", default="quick", help="recipe that trials vary (quick)")
    search.add_argument("--out", default="tunes/quick", help="folder of the search (tunes/quick)")
    search.add_argument("--trials", type=int, default=20, help="how many there will be in all (20)")
    search.add_argument("--jobs", type=int, default=1, help="parallel processes, one core each (1)")
    search.add_argument(
        "--space", default=None, help="YAML file: FIELD: [low, high], {log: [...]}, {choices: [...]}"
    )
    search.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    search.add_argument("--seed", type=int, default=0, help="of the sampler and of the trials' training")
    search.add_argument(
        "--set", nargs="*", default=[], dest="pairs", metavar="PATH=VALUE",
        help="fields that hold for all trials: of the scenario, or of the recipe with `recipe.` before them",
    )  # fmt: skip
    ship = verbs.add_parser("ship", help="make the best policy of a run one of the shipped policies")
    verbs.add_parser("cards", help="cards of the shipped policies (agents/trained/README.md holds this)")
    ship.add_argument("run", help="run folder")
    ship.add_argument("name", help="trained:NAME will be its name")
    ship.add_argument("--results", default=None, help="results.json of an evaluation, for the policy's card")
    verbs.add_parser("worlds", help="shipped scenarios, one line each")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code (2 for what a user can mend, 130 for Ctrl-C)."""
    args = _parser().parse_args(argv)
    args.command = shlex.join(["python", "-m", "agents", *(sys.argv[1:] if argv is None else argv)])
    try:
        VERBS[args.verb](args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _policies(args: argparse.Namespace) -> None:
    from agents.cards import headlines
    from agents.policy import standard_rules
    from agents.rules import cooling, placement

    for name, (_, _, doc) in placement.RULES.items():
        print(f"{name:22s} {doc}")
    for name, (_, doc) in cooling.RULES.items():
        print(f"+{name:21s} {doc}")
    print(headlines(), end="")
    pairs = len(placement.RULES) * len(cooling.RULES)
    print(
        f"{pairs} pairs, written rule:PLACEMENT+COOLING; `rules` stands for {len(standard_rules())} of them"
    )


def _worlds(args: argparse.Namespace) -> None:
    from gcn_env.describe import catalogue_page

    print(catalogue_page(), end="")


def _cards(args: argparse.Namespace) -> None:
    from agents.cards import page

    print(page(), end="")


def _describe(args: argparse.Namespace) -> None:
    from gcn_env import describe, load_world
    from gcn_env.jobs.generic import schema_page

    if args.tables:
        page = describe.environment_page()
    elif args.plants:
        page = describe.plants_page()
    elif args.jobs:
        page = schema_page()
    else:
        page = describe.scenario_page(load_world(args.scenario, data_dir=args.data))
    print(page, end="")


def _search(args: argparse.Namespace) -> None:
    from pathlib import Path

    from agents import tune
    from agents.recipe import split_overrides

    if args.trials < 1 or args.jobs < 1:
        raise UserError(f"--trials {args.trials} --jobs {args.jobs}: both are at least 1")
    for_recipe, for_scenario = split_overrides(args.pairs)
    space, data = (None if path is None else Path(path) for path in (args.space, args.data))
    search = tune.Search(
        args.config, Path(args.out), args.trials, for_recipe, for_scenario, space, data, args.seed
    )
    print(tune.table(tune.tune(search, args.jobs)))


def _ship(args: argparse.Namespace) -> None:
    from pathlib import Path

    from agents.runs import RunFolder
    from agents.training.shipped import ship

    print(ship(RunFolder(Path(args.run)), args.name, args.results and Path(args.results)))


def _tune(args: argparse.Namespace) -> None:
    from contextlib import ExitStack

    from agents import console
    from agents.rules import tuning
    from gcn_env import load_world

    world = load_world(args.scenario, data_dir=args.data)
    with ExitStack() as stack:
        bar = console.progress_bar(stack)
        entries = tuning.tune(world, args.archetypes, args.profiles, args.seed, args.weeks, bar)
    tuning.write(args.out, tuning.document(world, entries, args.command, args.seed, args.weeks))
    print(f"{len(entries)} entries: {args.out}")


VERBS = {
    "cards": _cards, "describe": _describe, "policies": _policies, "ship": _ship, "tune": _search,
    "tune-cooling": _tune, "worlds": _worlds,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
