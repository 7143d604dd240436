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
    tune                  search over a recipe with Optuna, or on a cluster with Ray Tune: parallel, resumable
    seeds RECIPE          train many seeds of a recipe side by side: ordinary run folders, resumable
    tune-cooling          tune the weather resets of B2 on training years and write their table
    worlds                shipped scenarios, one line each
    compare RUN ...       training runs side by side: learning curves over seeds, what they differ in
    report DIR            make a report again from what its evaluation measured
    results FILE          the table of results that pages quote, condensed from an evaluation
    watch [POLICY]        one policy at work, live on the terminal
    export RUN            write a trained policy as a bundle: ONNX, manifest, proof of parity (agents/README.md)
    verify DIR            check a bundle as a server would, and say what it is
    serve DIR             answer real schedulers and plants over HTTP (agents/README.md)
    shadow LOG            what a shadowed policy would have saved, from a decision log
    counterfactual LOG    a recorded cluster log under other policies, in money
    gates                 place pods of a Kubernetes cluster that carry a scheduling gate (agents/README.md)
    multikueue            nominate worker clusters for Kueue's MultiKueue (agents/README.md)
    slurm SITE            place the jobs of a Slurm cluster by a served policy (agents/README.md)
    bms POLICY            drive a plant's set-points over BACnet/IP by a policy (agents/README.md)
    bms-device SCENARIO   a simulated plant as a BACnet/IP device
    bms-points PLANT      point list of a plant, as Markdown or as a Brick model
"""

from __future__ import annotations

import argparse
import shlex
import sys

from agents.cli import building, catalogue, kubernetes, learning, looking, serving, slurm
from agents.stopping import on_sigterm_too
from gcn_env.errors import UserError

GROUPS = (catalogue, learning, looking, serving, kubernetes, slurm, building)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code (2 for what a user can mend, 130 for Ctrl-C)."""
    parser = argparse.ArgumentParser("python -m agents", description="Tools around policies and worlds.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in GROUPS:
        group.add(verbs)
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "-m", "agents", *(sys.argv[1:] if argv is None else argv)])
    on_sigterm_too()
    try:
        args.act(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
