"""The verb that puts a served policy in front of a Slurm cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from gcn_env.errors import UserError


def add(verbs: Any) -> None:
    """Add this group's verbs."""
    slurm = verbs.add_parser(
        "slurm",
        help="place the jobs of a Slurm cluster by a served policy",
        description="Looks at the queue, asks the policy that `python -m agents serve` serves, gives each new job "
        "its partition and lets it start. One JSON object a line says what was done; the last one counts it.",
    )
    add = slurm.add_argument
    add("site", metavar="SITE", help="YAML file: partitions, their pools, what jobs do not say")
    add("--lua", action="store_true", help="print job_submit.lua with the site's settings, and end")
    add("--policy", default="http://127.0.0.1:8710", help="policy server (http://127.0.0.1:8710)")
    add(
        "--token-file",
        default=None,
        help="file with its bearer token; else the environment variable GCN_TOKEN",
    )
    add("--ca", default=None, help="PEM file of the authority of the policy server's certificate")
    add("--timeout-ms", type=float, default=1000.0, help="within which the policy answers (1000)")
    add("--rest", default=None, metavar="URL", help="slurmrestd; else squeue, sinfo and scontrol are called")
    add("--rest-user", default="root", help="Slurm operator whose token it is (root)")
    add(
        "--jwt-file",
        default=None,
        help="file with the token of slurmrestd, read again at each request; else SLURM_JWT",
    )
    add("--every", type=float, default=1.0, metavar="S", help="seconds between looks at the queue (1)")
    add("--once", action="store_true", help="look at the queue once, and end")
    slurm.set_defaults(act=_slurm)


def _secret(path: str | None, variable: str) -> Callable[[], str]:
    """Reads a token from a file each time, else from the environment."""
    import os
    from pathlib import Path

    def read() -> str:
        if path is None:
            return os.environ.get(variable, "")
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"token file {path}: {error}") from None

    return read


def _slurm(args: argparse.Namespace) -> None:
    from agents.adapters.slurm.site import load_site, lua

    site = load_site(args.site)
    if args.lua:
        print(lua(site), end="")
        return
    if args.every <= 0.0 or args.timeout_ms <= 0.0:
        raise UserError(f"--every {args.every:g} --timeout-ms {args.timeout_ms:g}: both are above 0")
    try:
        import httpx  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"this needs one more package ({error}): pip install 'gcn-env[controllers]'"
        ) from None
    from pathlib import Path

    from agents.adapters.asking import Asker
    from agents.adapters.slurm.commands import Commands
    from agents.adapters.slurm.controller import Controller
    from agents.adapters.slurm.queue import Slurm
    from agents.adapters.slurm.rest import Rest

    token, jwt = _secret(args.token_file, "GCN_TOKEN")() or None, _secret(args.jwt_file, "SLURM_JWT")
    if args.rest is not None and not jwt():
        raise UserError(
            "slurmrestd asks for a token: --jwt-file FILE or SLURM_JWT (scontrol token username=root)"
        )
    slurm: Slurm = Commands() if args.rest is None else Rest(args.rest, args.rest_user, jwt)
    asker = Asker(args.policy, token, args.timeout_ms / 1e3, None if args.ca is None else Path(args.ca))
    try:
        _run(Controller(site, slurm, asker, _say), args.every, args.once)
    finally:
        asker.close()
        slurm.close()


def _run(controller: Any, every_s: float, once: bool) -> None:
    """Until Ctrl-C or SIGTERM; a decision that has begun is carried out."""
    import signal
    import threading

    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    if once:
        controller.poll(stop)
    else:
        controller.run(every_s, stop)
    _say({"event": "end", **dict(sorted(controller.counts.items()))})


def _say(event: dict[str, Any]) -> None:
    """One line."""
    import json
    from datetime import UTC, datetime

    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(json.dumps({"time": stamp, **event}), flush=True)
