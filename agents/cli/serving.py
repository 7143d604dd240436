"""Verbs that carry a policy into other schedulers: bundles, the server, its logs."""

from __future__ import annotations

import argparse
from typing import Any

from gcn_env.errors import UserError


def add(verbs: Any) -> None:
    """Add this group's verbs."""
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
    out.add_argument(
        "--margin-h", type=float, default=None, metavar="HOURS",
        help="slack left to a job where it is sent, and for every step that it waits (default: as it was trained)",
    )  # fmt: skip
    check = verbs.add_parser("verify", help="check a bundle as a server would, and say what it is")
    check.add_argument("bundle", metavar="DIR")
    check.add_argument(
        "--signer", default=None, help="public key that must have signed it: 64 hex digits or a PEM file"
    )
    out.set_defaults(act=_bundle)
    check.set_defaults(act=_bundle)
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
    add(
        "--skypilot-without-token",
        action="store_true",
        help="SkyPilot: take its requests without a token; loopback only",
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
    serve.set_defaults(act=_serve)
    shadow.set_defaults(act=_shadow)
    other.set_defaults(act=_counterfactual)


def _bundle(args: argparse.Namespace) -> None:
    from agents.bundle import open_bundle, summary

    if args.verb == "export":
        from agents.export import export_spec

        export_spec(args.policy, args.out, args.scenario, args.data, args.sign, args.margin_h)
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
    run(ServeOptions(**{k: v for k, v in vars(args).items() if k not in ("verb", "command", "act")}))


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
