"""Verbs that say what there is: scenarios, tables, policies, cards."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    """Add this group's verbs."""
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
    describe.set_defaults(act=_describe)
    verbs.add_parser("policies", help="names of all rules and of the shipped policies").set_defaults(
        act=_policies
    )
    verbs.add_parser(
        "cards", help="cards of the shipped policies (agents/trained/README.md holds this)"
    ).set_defaults(act=_cards)
    verbs.add_parser("worlds", help="shipped scenarios, one line each").set_defaults(act=_worlds)


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


def _cards(args: argparse.Namespace) -> None:
    from agents.cards import page

    print(page(), end="")


def _worlds(args: argparse.Namespace) -> None:
    from gcn_env.describe import catalogue_page

    print(catalogue_page(), end="")
