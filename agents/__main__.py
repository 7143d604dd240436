"""`python -m agents VERB`: tools around policies and worlds.

Verbs:
    describe [SCENARIO]   regions, pools and jobs of a scenario, in tables
    describe --tables     observation, action, ledger and key figures, in tables (gcn_env/README.md holds this)
    describe --plants     parameters of the plants with their sources, in tables (gcn_env/core/README.md holds this)
    describe --snapshot   readings of a live cluster, in tables (agents/README.md holds this)
    describe --jobs       columns of a job trace of one's own, in a table (gcn_env/jobs/README.md holds this)
    policies              names of all rules and of the shipped policies
    cards                 cards of the shipped policies (agents/trained/README.md holds this)
    ship RUN NAME         make the best policy of a run one of the shipped policies (agents/trained)
    tune                  search over a recipe with Optuna: parallel, resumable
    tune-cooling          tune the weather resets of B2 on training years and write their table
    worlds                shipped scenarios, one line each
    export RUN            write a trained policy as a bundle: ONNX, manifest, proof of parity (agents/README.md)
    verify DIR            check a bundle as a server would, and say what it is
    serve DIR             answer real schedulers and plants over HTTP (agents/README.md)
    shadow LOG            what a shadowed policy would have saved, from a decision log
    counterfactual LOG    a recorded cluster log under other policies, in money
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

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
    describe.add_argument("--snapshot", action="store_true", help="readings of a live cluster instead")
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
    verbs.add_parser("cards", help="cards of the shipped policies (agents/trained/README.md holds this)")
    ship = verbs.add_parser("ship", help="make the best policy of a run one of the shipped policies")
    ship.add_argument("run", help="run folder")
    ship.add_argument("name", help="trained:NAME will be its name")
    ship.add_argument("--results", default=None, help="results.json of an evaluation, for the policy's card")
    verbs.add_parser("worlds", help="shipped scenarios, one line each")
    _bundle_verbs(verbs)
    return parser


def _bundle_verbs(verbs: Any) -> None:
    out = verbs.add_parser(
        "export", help="write a trained policy as a bundle that schedulers can be served from"
    )
    out.add_argument(
        "policy", metavar="RUN|SPEC", help="folder of a training run, or a policy spec of a trained one"
    )
    out.add_argument("--out", required=True, metavar="DIR", help="folder to write, which must not exist")
    out.add_argument("--scenario", default=None, help="where parity is measured (default: the run's own)")
    out.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    out.add_argument(
        "--sign", default=None, metavar="KEY", help="PEM file of an Ed25519 private key to sign with"
    )
    check = verbs.add_parser("verify", help="check a bundle as a server would, and say what it is")
    check.add_argument("bundle", metavar="DIR")
    check.add_argument(
        "--signer", default=None, help="public key that must have signed it: 64 hex digits or a PEM file"
    )
    _serve_verbs(verbs)


def _serve_verbs(verbs: Any) -> None:
    serve = verbs.add_parser("serve", help="answer real schedulers and plants over HTTP")
    add = serve.add_argument
    add("policy", metavar="DIR|rule:NAME", help="folder of a bundle, or a rule")
    add("--scenario", required=True, help="name or path of the scenario that describes the live fleet")
    add("--data", default=None, help="folder of real data, for scenarios that read files")
    add("--host", default="127.0.0.1", help="address to bind to (127.0.0.1); others need TLS")
    add("--port", type=int, default=8710, help="port (8710)")
    add(
        "--token-file",
        default=None,
        help="file with the bearer token; else the environment variable GCN_TOKEN",
    )
    add("--no-token", action="store_true", help="ask for no token; loopback only")
    add("--certificate", default=None, help="PEM file of the server's certificate chain: TLS")
    add("--key", default=None, help="PEM file of its key")
    add(
        "--client-ca",
        default=None,
        help="PEM file of the authority whose client certificates are needed: mTLS",
    )
    add(
        "--signer",
        default=None,
        help="public key that must have signed the bundle: 64 hex digits or a PEM file",
    )
    add("--fallback", default="rule:cost-greedy+b1", help="rule that decides where the policy must not")
    add(
        "--shadow",
        action="store_true",
        help="answer with the fallback rule; log what the policy would have done",
    )
    add("--canary", type=float, default=1.0, help="share of jobs and regions that the policy decides (1)")
    add("--compare", action="store_true", help="log the rule's choice beside the policy's")
    add(
        "--deadline-ms",
        type=float,
        default=100.0,
        help="within which the policy answers, else the rule (100)",
    )
    add("--max-age-s", type=float, default=300.0, help="age after which a snapshot is stale (300)")
    add("--log", default=None, help="file of the decision log: JSON lines, rotated")
    add("--log-mib", type=int, default=64, help="size at which it is rotated (64); five old files stay")
    add("--record", default=None, help="file of snapshots, for counterfactual: JSON lines, rotated")
    add("--body-mib", type=float, default=4.0, help="largest body of a request (4)")
    add("--rate", type=float, default=0.0, help="requests a second of a peer (0: no limit)")
    add("--memory-mib", type=int, default=0, help="bound of the process' address space (0: none)")
    add("--pool-label", default="gcn.io/pool", help="Kubernetes: label of a node that names its pool")
    add(
        "--node-pattern",
        default=None,
        help="Kubernetes: regular expression over node names, groups region and pool",
    )
    add(
        "--pod-defaults",
        default=None,
        help="Kubernetes: JSON file of a job's fields for pods that do not say them",
    )
    add(
        "--k8s-without-token",
        action="store_true",
        help="Kubernetes: take extender calls without a token; loopback only",
    )
    shadow = verbs.add_parser("shadow", help="what a shadowed policy would have saved, from a decision log")
    shadow.add_argument("decisions", metavar="LOG", help="file that `serve --log` wrote")
    other = verbs.add_parser("counterfactual", help="a recorded cluster log under other policies, in money")
    other.add_argument(
        "snapshots", metavar="LOG", help="file that `serve --record` wrote: a snapshot each control step"
    )
    other.add_argument(
        "--scenario", required=True, help="name or path of the scenario that describes the fleet"
    )
    other.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    other.add_argument(
        "--policies", nargs="+", default=["rule:cost-greedy+b1"], help="policy specs of the joint view"
    )


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
    elif args.snapshot:
        from gcn_env.snapshot.page import snapshot_page

        page = snapshot_page()
    elif args.jobs:
        page = schema_page()
    else:
        page = describe.scenario_page(load_world(args.scenario, data_dir=args.data))
    print(page, end="")


def _search(args: argparse.Namespace) -> None:
    from pathlib import Path

    try:
        from agents import tune
    except ImportError as error:
        raise UserError(f"a search needs one more package ({error}): pip install 'gcn-env[tune]'") from None
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


def _bundle(args: argparse.Namespace) -> None:
    from agents.bundle import open_bundle, summary

    if args.verb == "export":
        from agents.export import export_spec

        export_spec(args.policy, args.out, args.scenario, args.data, args.sign)
        print(f"wrote {args.out}")
        bundle = open_bundle(args.out)
    else:
        bundle = open_bundle(args.bundle, args.signer)
    print(summary(bundle))


def _serve(args: argparse.Namespace) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        from agents.serving.server import ServeOptions, run
    except ImportError as error:
        raise UserError(f"serving needs more packages ({error}): pip install 'gcn-env[serve]'") from None
    run(ServeOptions(**{k: v for k, v in vars(args).items() if k not in ("verb", "command")}))


def _shadow(args: argparse.Namespace) -> None:
    from agents.serving.log import report

    print(report(args.decisions), end="")


def _counterfactual(args: argparse.Namespace) -> None:
    from agents.policy import load
    from gcn_env import load_world
    from gcn_env.snapshot.replay import Log, page, read_log

    world = load_world(args.scenario, data_dir=args.data)
    policies = {spec: load(spec, world) for spec in args.policies}
    log = Log(world, read_log(args.snapshots))
    outcomes = {"recorded": log.replay()}
    for spec, policy in policies.items():
        if policy.view != "joint":
            raise UserError(
                f"{spec} decides one head at a time; a log is replayed by policies of the joint view"
            )
        outcomes[spec] = log.replay(policy)
    print(page(outcomes, log.jobs, (len(log.moments) - 1) * world.step_h), end="")
    if log.unseen:
        print(f"{len(log.unseen)} jobs ended before a snapshot showed where they ran: left out on all sides.")


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
    "cards": _cards, "counterfactual": _counterfactual, "describe": _describe, "export": _bundle, "policies": _policies,
    "serve": _serve, "shadow": _shadow, "ship": _ship, "tune": _search, "tune-cooling": _tune, "verify": _bundle,
    "worlds": _worlds,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
