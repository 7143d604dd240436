"""The Kubernetes scheduler extender, v1: `filter` and `prioritize` of `k8s.io/kube-scheduler/extender/v1`.

With `nodeCacheCapable` only names of nodes are sent, so that a pattern over names is all there is. Nodes of no pool are
none of our business: they pass the filter and score 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.adapters.kubernetes.pods import PLAIN, Nodes, PodError, an_object, job_of
from agents.serving.decide import Decider
from agents.serving.decision import Decision

MAX_SCORE = 10  # extender v1: MaxExtenderPriority
MAX_NODES = 20_000


def _field(value: Mapping[str, Any], name: str) -> Any:
    """A Go field by its name; Go reads field names in any case."""
    if name in value:
        return value[name]
    return next((v for k, v in value.items() if k.lower() == name.lower()), None)


@dataclass(frozen=True)
class Arguments:
    """`ExtenderArgs`: a pod and its candidate nodes, in the order sent."""

    job: dict[str, Any]
    names: list[str]
    pools: list[str | None]
    nodes: Mapping[str, Any] | None  # the NodeList, None with nodeCacheCapable


def arguments(document: Any, nodes: Nodes) -> Arguments:
    """Check the body of a request.

    Raises:
        PodError: for what no scheduler sends.
    """
    body = an_object(document, "ExtenderArgs")
    pod = an_object(_field(body, "Pod"), "Pod")
    listed, cached = _field(body, "Nodes"), _field(body, "NodeNames")
    if cached is not None:
        if not isinstance(cached, list) or not all(isinstance(n, str) for n in cached):
            raise PodError("NodeNames: wanted a list of names")
        names: list[Any] = list(cached)
        labels: list[Mapping[str, Any]] = [{}] * len(cached)
    elif listed is not None:
        items = an_object(listed, "Nodes").get("items") or []
        if not isinstance(items, list):
            raise PodError("Nodes.items: wanted a list")
        metas = [an_object(an_object(n, "Node").get("metadata"), "Node.metadata") for n in items]
        names = [m.get("name") for m in metas]
        if not all(isinstance(n, str) for n in names):
            raise PodError("Node.metadata.name: wanted a name")
        labels = [an_object(m.get("labels"), "Node.metadata.labels", True) for m in metas]
    else:
        raise PodError("ExtenderArgs: neither Nodes nor NodeNames")
    if len(names) > MAX_NODES:
        raise PodError(f"{len(names):,} nodes; at most {MAX_NODES:,} are taken")
    pools = [nodes.pool(n, m) for n, m in zip(names, labels, strict=True)]
    return Arguments(job_of(pod, nodes.defaults), names, pools, None if cached is not None else listed)


def _ask(
    decider: Decider, args: Arguments, deadline_s: float | None
) -> tuple[dict[str, Any], Decision | None]:
    """Candidates by pool, and the decision; without a known pool there is nothing to ask."""
    known = decider.live.pool_index
    pools = list(dict.fromkeys(p for p in args.pools if p is not None and p in known))
    if not pools:
        return {}, None
    request = {"job": args.job, "candidates": pools, "units": PLAIN}
    decision = decider.score(request, deadline_s)
    return {c["pool"]: c for c in decision.answer["candidates"]}, decision


def filter_nodes(
    decider: Decider, document: Any, nodes: Nodes, deadline_s: float | None = None
) -> tuple[dict[str, Any], Decision | None]:
    """`ExtenderFilterResult`: without the nodes whose pool the pod may not run on; the reasons name the constraint."""
    args = arguments(document, nodes)
    by_pool, decision = _ask(decider, args, deadline_s)
    failed = {}
    for name, pool in zip(args.names, args.pools, strict=True):
        refused = by_pool.get(pool or "", {}).get("refused")
        if refused:
            failed[name] = "; ".join(refused)
    kept = [k for k, name in enumerate(args.names) if name not in failed]
    if args.nodes is None:
        found: dict[str, Any] = {"Nodes": None, "NodeNames": [args.names[k] for k in kept]}
    else:
        items = args.nodes.get("items") or []
        found = {"Nodes": {**args.nodes, "items": [items[k] for k in kept]}, "NodeNames": None}
    return found | {"FailedNodes": failed, "FailedAndUnresolvableNodes": {}, "Error": ""}, decision


def prioritize_nodes(
    decider: Decider, document: Any, nodes: Nodes, deadline_s: float | None = None
) -> tuple[list[dict[str, Any]], Decision | None]:
    """`HostPriorityList`: 0..10 a node, 10 for the pool that the policy likes best."""
    args = arguments(document, nodes)
    by_pool, decision = _ask(decider, args, deadline_s)
    best = max((c["score"] for c in by_pool.values()), default=0.0)
    scores = {p: round(MAX_SCORE * c["score"] / best) if best > 0.0 else 0 for p, c in by_pool.items()}
    return [
        {"Host": n, "Score": scores.get(p or "", 0)} for n, p in zip(args.names, args.pools, strict=True)
    ], decision
