"""Verbs that stand between a served policy and Kubernetes: scheduling gates, MultiKueue's dispatcher."""

from __future__ import annotations

import argparse
from typing import Any

from gcn_env.errors import UserError


def add(verbs: Any) -> None:
    """Add this group's verbs."""
    gates = verbs.add_parser(
        "gates",
        help="place pods that carry the scheduling gate gcn.io/placement",
        description="Watches pods with the scheduling gate gcn.io/placement, asks a served policy, and lets them go "
        "with a node selector. Tells the server of the cluster's pools and jobs meanwhile.",
    )
    gates.add_argument("--namespace", default=None, help="only pods of this namespace (all)")
    gates.add_argument(
        "--pool-label", default="gcn.io/pool", help="label of a node that names its pool (gcn.io/pool)"
    )
    queues = verbs.add_parser(
        "multikueue",
        help="nominate worker clusters for Kueue's MultiKueue",
        description="Watches Workloads of a manager cluster and writes status.nominatedClusterNames as a served policy "
        "says.",
    )
    queues.add_argument(
        "--clusters", required=True,
        help='JSON file: {"NAME": {"pools": ["REGION/POOL"], "kubeconfig": "FILE"}}; kubeconfigs are for snapshots',
    )  # fmt: skip
    queues.add_argument("--check", default=None, help="name of the MultiKueue admission check (any)")
    for verb in (gates, queues):
        _common(verb)
    gates.set_defaults(act=_gates)
    queues.set_defaults(act=_multikueue)


def _common(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("--policy", default="http://127.0.0.1:8710", help="policy server (http://127.0.0.1:8710)")
    add(
        "--token-file",
        default=None,
        help="file with its bearer token; else the environment variable GCN_TOKEN",
    )
    add("--ca", default=None, help="PEM file of the authority of its certificate")
    add("--certificate", default=None, help="PEM file of our certificate to it (mTLS)")
    add("--key", default=None, help="PEM file of the key")
    add("--timeout-ms", type=float, default=1000.0, help="within which it answers (1000)")
    add(
        "--site",
        default=None,
        help="JSON file of prices, carbon and weather: snapshots are sent to the server",
    )
    add("--snapshot-s", type=float, default=30.0, help="between two snapshots (30)")
    add("--pod-defaults", default=None, help="JSON file of a job's fields for pods that do not say them")
    add("--kubeconfig", default=None, help="file; without it, the service account of the pod we run in")
    add("--again-s", type=float, default=60.0, help="until the policy is asked again that said wait (60)")
    add(
        "--deadline-s",
        type=float,
        default=3600.0,
        help="age after which things go on without a choice (3600)",
    )
    add("--stay", action="store_true", help="they never do")
    add("--health", default=None, metavar="HOST:PORT", help="serve /livez, /readyz and /metrics there")


def _gates(args: argparse.Namespace) -> None:
    from agents.adapters.kubernetes.gates import Gates

    api, server, how, patience = _parts(args)
    _run(args, Gates(api, server, _fleet(args, [api], server, how), patience, args.namespace))


def _multikueue(args: argparse.Namespace) -> None:
    from agents.adapters.kubernetes.access import access
    from agents.adapters.kubernetes.api import Api
    from agents.adapters.kubernetes.multikueue import Dispatcher, read_clusters

    clusters = read_clusters(args.clusters)
    api, server, how, patience = _parts(args)
    workers = [Api(access(c["kubeconfig"]), stop=api.stop) for c in clusters.values() if c.get("kubeconfig")]
    if args.site is not None and len(workers) < len(clusters):
        raise UserError(f"--site with --clusters {args.clusters}: give each cluster its kubeconfig")
    pools = {name: c["pools"] for name, c in clusters.items()}
    fleet = _fleet(args, workers, server, how)
    _run(args, Dispatcher(api, server, fleet, pools, patience, args.check))


def _parts(args: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """What both verbs need."""
    import os
    from pathlib import Path

    try:
        from agents.adapters.asking import Asker
        from agents.adapters.kubernetes.access import access
        from agents.adapters.kubernetes.api import Api
        from agents.adapters.kubernetes.gates import Patience
    except ImportError as error:
        raise UserError(
            f"controllers need one more package ({error}): pip install 'gcn-env[controllers]'"
        ) from None
    from agents.adapters.kubernetes.pods import Nodes, pod_defaults

    if (args.certificate is None) != (args.key is None):
        raise UserError("--certificate and --key belong together")
    try:
        token = (
            Path(args.token_file).read_text().strip()
            if args.token_file
            else os.environ.get("GCN_TOKEN") or None
        )
    except OSError as error:
        raise UserError(f"--token-file {args.token_file}: {error}") from None
    mine = None if args.certificate is None else (Path(args.certificate), Path(args.key))
    ca = None if args.ca is None else Path(args.ca)
    try:
        server = Asker(args.policy, token, args.timeout_ms / 1e3, ca, mine)
    except OSError as error:  # also what OpenSSL says of files
        raise UserError(f"--ca, --certificate, --key: {error}") from None
    how = Nodes(vars(args).get("pool_label", "gcn.io/pool"), None, pod_defaults(args.pod_defaults))
    return Api(access(args.kubeconfig)), server, how, Patience(args.again_s, args.deadline_s, args.stay)


def _fleet(args: argparse.Namespace, apis: list[Any], server: Any, how: Any) -> Any:
    from agents.adapters.kubernetes.fleet import Fleet

    return Fleet(apis, server, how, args.site, args.snapshot_s)


def _run(args: argparse.Namespace, controller: Any) -> None:
    """Until SIGTERM or Ctrl-C."""
    import logging
    import signal

    from agents.adapters.kubernetes.controller import Health, run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: controller.api.stop.set())
    health = None
    if args.health is not None:
        host, _, port = args.health.rpartition(":")
        if not port.isdigit() or not host:
            raise UserError(f"--health {args.health}: wanted HOST:PORT")
        health = Health(host, int(port))
    run(controller, health)
