"""Verbs of learning: searches over recipes, tuning of rules, shipping a trained policy."""

from __future__ import annotations

import argparse
from typing import Any

from gcn_env.errors import UserError

RAY = "address of a Ray cluster (HOST:PORT or auto), or `local`: as many at a time as it has cores"


def add(verbs: Any) -> None:
    """Add this group's verbs."""
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
        "--ray", default=None, metavar="ADDRESS", help=RAY + ": random values, stopped by ASHA"
    )
    search.add_argument(
        "--space", default=None, help="YAML file: FIELD: [low, high], {log: [...]}, {choices: [...]}"
    )
    search.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    search.add_argument("--seed", type=int, default=0, help="of the sampler and of the trials' training")
    search.add_argument(
        "--set", nargs="*", default=[], dest="pairs", metavar="PATH=VALUE",
        help="fields that hold for all trials: of the scenario, or of the recipe with `recipe.` before them",
    )  # fmt: skip
    search.set_defaults(act=_search)
    seeds = verbs.add_parser(
        "seeds",
        help="train many seeds of a recipe side by side: ordinary run folders, resumable",
        description="Trains OUT/seed-N for each seed N. The same command again goes on where the last one stopped, "
        "also after Ctrl-C: finished runs are left alone, others go on from their last checkpoint.",
    )
    seeds.add_argument("recipe", help="name of a shipped recipe, or path of a YAML file")
    seeds.add_argument("--seeds", type=int, nargs="+", required=True, metavar="N", help="seeds of the runs")
    seeds.add_argument("--out", required=True, metavar="DIR", help="folder of the run folders")
    where = seeds.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, help="processes at a time, one core each (1)")
    where.add_argument("--ray", default=None, metavar="ADDRESS", help=RAY)
    seeds.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    seeds.add_argument(
        "--set", nargs="*", default=[], dest="pairs", metavar="PATH=VALUE",
        help="fields that differ: of the scenario, or of the recipe with `recipe.` before them",
    )  # fmt: skip
    seeds.set_defaults(act=_seeds)
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
    tune.set_defaults(act=_tune)
    ship = verbs.add_parser("ship", help="make the best policy of a run one of the shipped policies")
    ship.add_argument("run", help="run folder")
    ship.add_argument("name", help="trained:NAME will be its name")
    ship.add_argument("--results", default=None, help="results.json of an evaluation, for the policy's card")
    ship.set_defaults(act=_ship)


def _search(args: argparse.Namespace) -> None:
    from pathlib import Path

    from agents.recipe import split_overrides
    from agents.space import Search, read_space

    if args.trials < 1 or args.jobs < 1:
        raise UserError(f"--trials {args.trials} --jobs {args.jobs}: both are at least 1")
    for_recipe, for_scenario = split_overrides(args.pairs)
    space, data = (None if path is None else Path(path) for path in (args.space, args.data))
    search = Search(
        args.config, Path(args.out), args.trials, for_recipe, for_scenario, space, data, args.seed
    )
    if args.ray is not None:
        from agents.cluster import connect

        read_space(search)  # a user's mistakes before a cluster is waited for
        with connect(args.ray) as cluster:
            from agents.cluster import search as on_cluster

            print(on_cluster.search(cluster, search, args.command))
        return
    try:
        from agents import tune
    except ImportError as error:
        raise UserError(f"a search needs one more package ({error}): pip install 'gcn-env[tune]'") from None
    print(tune.table(tune.tune(search, args.jobs)))


def _seeds(args: argparse.Namespace) -> None:
    from pathlib import Path

    from agents import seeds
    from agents.recipe import split_overrides

    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: at least 1")
    for_recipe, for_scenario = split_overrides(args.pairs)
    data = None if args.data is None else Path(args.data)
    plan = seeds.plan(args.recipe, args.seeds, Path(args.out), for_recipe, for_scenario, data, args.command)
    worlds = seeds.worlds(plan)

    def done(name: str) -> None:
        print(f"{name} is finished", flush=True)

    if args.ray is None:
        seeds.side_by_side(plan, seeds.open_folders(plan, worlds[0]), args.jobs, done)
    else:
        from agents.cluster import connect

        with connect(args.ray) as cluster:
            from agents.cluster.folders import train_seeds

            recipes = {plan.folder(s).path.name: plan.of(s) for s in seeds.open_folders(plan, worlds[0])}
            train_seeds(cluster, worlds, recipes, plan.out, done)
    print(seeds.table(plan))


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


def _ship(args: argparse.Namespace) -> None:
    from pathlib import Path

    from agents.runs import RunFolder
    from agents.training.shipped import ship

    print(ship(RunFolder(Path(args.run)), args.name, args.results and Path(args.results)))
