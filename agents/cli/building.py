"""Verbs for building management: a simulated plant on BACnet/IP, the loop that drives one, their point list."""

from __future__ import annotations

import argparse
from typing import Any

from gcn_env.errors import UserError


def add(verbs: Any) -> None:
    """Add this group's verbs."""
    device = verbs.add_parser("bms-device", help="a simulated plant as a BACnet/IP device")
    add = device.add_argument
    add("scenario", help="name or path of the scenario whose simulator runs")
    add("--region", required=True, help="region whose plant it is")
    add("--data", default=None, help="folder of real data, for scenarios that read files")
    add("--address", default="127.0.0.1:47808", help="HOST[:PORT] to bind to (127.0.0.1:47808)")
    add("--instance", type=int, default=1001, help="number of the device object (1001)")
    add("--speed", type=float, default=1.0, help="plant seconds in a real one (1)")
    add(
        "--timeout", type=int, default=60, help="plant seconds without heartbeat until it goes by itself (60)"
    )
    add("--hours", type=float, default=None, help="plant hours after which it ends (none)")
    add("--seed", type=int, default=0, help="of the episode (0)")
    add("--record", default=None, help="file of a JSON line each plant minute")
    add("--rest", default=None, help="file for the rest of the fleet's snapshot, written each plant minute")
    device.set_defaults(act=_device)
    bms = verbs.add_parser("bms", help="drive a plant's set-points over BACnet/IP by a policy")
    add = bms.add_argument
    add("policy", metavar="URL|rule:NAME|DIR", help="a policy server, or a rule or bundle in this process")
    add("--scenario", required=True, help="name or path of the scenario that describes the fleet")
    add("--region", required=True, help="region whose plant it is")
    add("--device", required=True, metavar="HOST:PORT", help="address of the plant's BACnet device")
    add("--address", default="127.0.0.1:47809", help="HOST[:PORT] to bind to (127.0.0.1:47809)")
    add("--data", default=None, help="folder of real data, for scenarios that read files")
    add(
        "--objects",
        default=None,
        metavar="FILE",
        help='JSON file {"point": "analog-input,3001", ...} of a site',
    )
    add(
        "--rest",
        default=None,
        metavar="FILE",
        help="file with the rest of the fleet's snapshot, kept up to date",
    )
    add(
        "--token-file",
        default=None,
        help="file with the server's token; else the environment variable GCN_TOKEN",
    )
    add("--priority", type=int, default=14, help="BACnet priority of its set-points, 10..16 (14)")
    add(
        "--period",
        type=float,
        default=None,
        metavar="S",
        help="plant seconds between decisions (the scenario's step)",
    )
    add("--speed", type=float, default=1.0, help="plant seconds in a real one, of a simulated device (1)")
    add("--read-only", action="store_true", help="read, ask and log, but write nothing")
    add("--log", default=None, help="file of decisions: JSON lines, rotated")
    bms.set_defaults(act=_bms)
    points = verbs.add_parser("bms-points", help="point list of a plant, as Markdown or as a Brick model")
    points.add_argument("plant", help="archetype, a to g")
    points.add_argument("--brick", action="store_true", help="Turtle instead")
    points.set_defaults(act=_points)


def _points(args: argparse.Namespace) -> None:
    from agents.adapters.bacnet.brick import turtle
    from agents.adapters.bacnet.points import page

    print((turtle if args.brick else page)(args.plant), end="")


def _device(args: argparse.Namespace) -> None:
    if not args.speed > 0.0:
        raise UserError(f"--speed {args.speed:g}: wanted a number above 0")
    _run("serve_device", args)


def _bms(args: argparse.Namespace) -> None:
    _run("drive", args)


def _run(what: str, args: argparse.Namespace) -> None:
    import asyncio
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line for each question otherwise
    try:
        from agents.adapters.bacnet import processes
    except ImportError as error:
        raise UserError(
            f"building management needs more packages ({error}): pip install 'gcn-env[bms]'"
        ) from None
    given = {k: v for k, v in vars(args).items() if k not in ("verb", "command", "act")}
    asyncio.run(getattr(processes, what)(**given))
