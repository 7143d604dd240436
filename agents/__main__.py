"""`python -m agents VERB`: tools around policies and worlds.

Verbs:
    describe [SCENARIO]   regions, pools and jobs of a scenario, in tables
    describe --tables     observation, action, ledger and key figures, in tables (gcn_env/README.md holds this)
    policies              names of all rules
"""

from __future__ import annotations

import argparse
import sys

from gcn_env.errors import UserError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m agents", description="Tools around policies and worlds.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    describe = verbs.add_parser("describe", help="a scenario, or the environment's tables, as Markdown")
    describe.add_argument("scenario", nargs="?", default="default", help="name or path of a scenario")
    describe.add_argument(
        "--tables", action="store_true", help="observation, action, ledger and key figures instead"
    )
    describe.add_argument("--data", default=None, help="folder of real data, for scenarios that read files")
    verbs.add_parser("policies", help="names of all rules")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code (2 for what a user can mend)."""
    args = _parser().parse_args(argv)
    try:
        if args.verb == "policies":
            from agents.policy import rule_names
            from agents.rules import cooling, placement

            for name, (_, _, doc) in placement.RULES.items():
                print(f"{name:22s} {doc}")
            for name, (_, doc) in cooling.RULES.items():
                print(f"+{name:21s} {doc}")
            print(f"{len(rule_names())} pairs, written rule:PLACEMENT+COOLING")
        elif args.tables:
            from gcn_env.describe import environment_page

            print(environment_page(), end="")
        else:
            from gcn_env import load_world
            from gcn_env.describe import scenario_page

            print(scenario_page(load_world(args.scenario, data_dir=args.data)), end="")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
