"""`python -m agents VERB`: tools around policies and worlds.

Verbs:
    describe [SCENARIO]   regions, pools and jobs of a scenario, in tables
    describe --tables     observation, action, ledger and key figures, in tables (gcn_env/README.md holds this)
    describe --plants     parameters of the plants with their sources, in tables (gcn_env/core/README.md holds this)
    describe --jobs       columns of a job trace of one's own, in a table (gcn_env/jobs/README.md holds this)
    policies              names of all rules
    tune-cooling          tune the weather resets of B2 on training years and write their table
    worlds                shipped scenarios, one line each
    export RUN            write a trained policy as a bundle: ONNX, manifest, proof of parity (agents/README.md)
    verify DIR            check a bundle as a server would, and say what it is
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
    verbs.add_parser("worlds", help="shipped scenarios, one line each")
    _bundle_verbs(verbs)
    return parser


def _bundle_verbs(verbs: Any) -> None:
    out = verbs.add_parser("export", help="write a trained policy as a bundle that schedulers can be served from")
    out.add_argument("policy", metavar="RUN|SPEC", help="folder of a training run, or a policy spec of a trained one")
    out.add_argument("--out", required=True, metavar="DIR", help="folder to write, which must not exist")
    out.add_argument("--scenario", default=None, help="where parity is measured (default: the run's own)")
    out.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    out.add_argument("--sign", default=None, metavar="KEY", help="PEM file of an Ed25519 private key to sign with")
    check = verbs.add_parser("verify", help="check a bundle as a server would, and say what it is")
    check.add_argument("bundle", metavar="DIR")
    check.add_argument("--signer", default=None, help="public key that must have signed it: 64 hex digits or a PEM file")


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code (2 for what a user can mend)."""
    args = _parser().parse_args(argv)
    try:
        if args.verb == "policies":
            from agents.policy import standard_rules
            from agents.rules import cooling, placement

            for name, (_, _, doc) in placement.RULES.items():
                print(f"{name:22s} {doc}")
            for name, (_, doc) in cooling.RULES.items():
                print(f"+{name:21s} {doc}")
            pairs = len(placement.RULES) * len(cooling.RULES)
            print(
                f"{pairs} pairs, written rule:PLACEMENT+COOLING; `rules` stands for {len(standard_rules())} of them"
            )
        elif args.verb == "tune-cooling":
            _tune(args, shlex.join(["python", "-m", "agents", *(sys.argv[1:] if argv is None else argv)]))
        elif args.verb in ("export", "verify"):
            _bundle(args)
        elif args.verb == "worlds":
            from gcn_env.describe import catalogue_page

            print(catalogue_page(), end="")
        elif args.tables:
            from gcn_env.describe import environment_page

            print(environment_page(), end="")
        elif args.plants:
            from gcn_env.describe import plants_page

            print(plants_page(), end="")
        elif args.jobs:
            from gcn_env.jobs.generic import schema_page

            print(schema_page(), end="")
        else:
            from gcn_env import load_world
            from gcn_env.describe import scenario_page

            print(scenario_page(load_world(args.scenario, data_dir=args.data)), end="")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


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


def _tune(args: argparse.Namespace, command: str) -> None:
    from contextlib import ExitStack

    from agents import console
    from agents.rules import tuning
    from gcn_env import load_world

    world = load_world(args.scenario, data_dir=args.data)
    with ExitStack() as stack:
        bar = console.progress_bar(stack)
        entries = tuning.tune(world, args.archetypes, args.profiles, args.seed, args.weeks, bar)
    tuning.write(args.out, tuning.document(world, entries, command, args.seed, args.weeks))
    print(f"{len(entries)} entries: {args.out}")


if __name__ == "__main__":
    sys.exit(main())
