"""The Kubernetes scheduler extender, v1: `filter` and `prioritize` of `k8s.io/kube-scheduler/extender/v1`.

A pod is a job, described by annotations `gcn.io/FIELD` (fields of a snapshot's jobs); what it does not say comes from
the operator's defaults. A node belongs to a pool: by labels, else by a pattern over its name, which is all there is
with `nodeCacheCapable`. Nodes of no pool are none of our business: they pass the filter and score 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.serving.decide import Decider
from agents.serving.decision import Decision
from gcn_env.errors import UserError
from gcn_env.snapshot.readings import JOBS

PREFIX = "gcn.io/"
MAX_SCORE = 10  # extender v1: MaxExtenderPriority
MAX_NODES = 20_000
REGION_LABEL = "topology.kubernetes.io/region"
_TEXT = ("class", "source", "tenant", "origin", "data_at", "trust")
_GPU = "nvidia.com/gpu"
DEFAULTS: Mapping[str, Any] = {"class": "batch", "gang": 1, "work": 1.0, "trust": "public"}


class ExtenderError(UserError):
    """A request that is none of the extender's protocol."""


@dataclass(frozen=True)
class Nodes:
    """Which pool a node belongs to.

    Attributes:
        pool_label: label that names the pool within its region; the region's is Kubernetes' own.
        pattern: regular expression with groups `region` and `pool`, for names without labels; None for none.
        defaults: fields of a job that a pod does not annotate. Jurisdictions have no default of their own: an operator
            who writes `any` here says that pods without a word may run anywhere.
        units: of the numbers in annotations; the project's own unless said otherwise.
    """

    pool_label: str = "gcn.io/pool"
    pattern: re.Pattern[str] | None = None
    defaults: Mapping[str, Any] = field(default_factory=lambda: DEFAULTS)

    def pool(self, name: str, labels: Mapping[str, Any]) -> str | None:
        """Name of the pool of a node, None if nothing says."""
        region, pool = labels.get(REGION_LABEL), labels.get(self.pool_label)
        if isinstance(region, str) and isinstance(pool, str):
            return f"{region}/{pool}"
        if self.pattern is not None:
            found = self.pattern.fullmatch(name)
            if found:
                return f"{found['region']}/{found['pool']}"
        return None


def node_pattern(text: str | None) -> re.Pattern[str] | None:
    """A pattern over names of nodes.

    Raises:
        UserError: if it does not compile or lacks a group.
    """
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"node pattern {text!r}: {error}") from None
    if not {"region", "pool"} <= set(pattern.groupindex):
        raise UserError(rf"node pattern {text!r}: name two groups, e.g. (?P<region>\w+)-(?P<pool>\w+)-\d+")
    return pattern


def _field(value: Mapping[str, Any], name: str) -> Any:
    """A Go field by its name; Go reads field names in any case."""
    if name in value:
        return value[name]
    return next((v for k, v in value.items() if k.lower() == name.lower()), None)


def _object(value: Any, where: str, optional: bool = False) -> Mapping[str, Any]:
    if value is None and optional:
        return {}
    if not isinstance(value, dict):
        raise ExtenderError(f"{where}: {type(value).__name__} where an object is wanted")
    return value


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
        ExtenderError: for what no scheduler sends.
    """
    body = _object(document, "ExtenderArgs")
    pod = _object(_field(body, "Pod"), "Pod")
    listed, cached = _field(body, "Nodes"), _field(body, "NodeNames")
    if cached is not None:
        if not isinstance(cached, list) or not all(isinstance(n, str) for n in cached):
            raise ExtenderError("NodeNames: wanted a list of names")
        names: list[Any] = list(cached)
        labels: list[Mapping[str, Any]] = [{}] * len(cached)
    elif listed is not None:
        items = _object(listed, "Nodes").get("items") or []
        if not isinstance(items, list):
            raise ExtenderError("Nodes.items: wanted a list")
        metas = [_object(_object(n, "Node").get("metadata"), "Node.metadata") for n in items]
        names = [m.get("name") for m in metas]
        if not all(isinstance(n, str) for n in names):
            raise ExtenderError("Node.metadata.name: wanted a name")
        labels = [_object(m.get("labels"), "Node.metadata.labels", True) for m in metas]
    else:
        raise ExtenderError("ExtenderArgs: neither Nodes nor NodeNames")
    if len(names) > MAX_NODES:
        raise ExtenderError(f"{len(names):,} nodes; at most {MAX_NODES:,} are taken")
    pools = [nodes.pool(n, m) for n, m in zip(names, labels, strict=True)]
    return Arguments(job_of(pod, nodes.defaults), names, pools, None if cached is not None else listed)


def job_of(pod: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A pod as a job of a snapshot: its annotations over its requests over the operator's defaults."""
    meta = _object(pod.get("metadata"), "Pod.metadata")
    name, namespace = meta.get("name"), meta.get("namespace", "default")
    if not isinstance(name, str) or not isinstance(namespace, str):
        raise ExtenderError("Pod.metadata: name and namespace are text")
    job: dict[str, Any] = {**DEFAULTS, **defaults, "id": f"{namespace}/{name}"[:200]}
    gpus = _gpus(pod)
    if gpus:
        job["gang"] = gpus
    for key, value in _object(meta.get("annotations"), "Pod.metadata.annotations", True).items():
        if not key.startswith(PREFIX):
            continue
        what = key.removeprefix(PREFIX)
        if what == "jurisdictions":
            job[what] = value if value == "any" else [part.strip() for part in str(value).split(",")]
        elif what in _TEXT:
            job[what] = value
        elif what in JOBS.names:
            try:
                job[what] = float(value)
            except (TypeError, ValueError):
                raise ExtenderError(f"annotation {key}: {value!r:.40} is no number") from None
        else:
            raise ExtenderError(f"annotation {key!r:.80} is no field of a job")
    return job


def _gpus(pod: Mapping[str, Any]) -> int:
    """GPUs that a pod's containers request."""
    total = 0
    containers = _object(pod.get("spec"), "Pod.spec", True).get("containers", [])
    if not isinstance(containers, list):
        raise ExtenderError("Pod.spec.containers: wanted a list")
    for container in containers:
        resources = _object(_object(container, "container").get("resources"), "resources", True)
        for part in ("limits", "requests"):
            amount = _object(resources.get(part), part, True).get(_GPU)
            if isinstance(amount, str | int) and str(amount).isdigit() and len(str(amount)) < 9:
                total += int(amount)
                break
    return total


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


PLAIN = {"jobs": {r.name: r.unit for r in JOBS.rows}}  # annotations are in the project's own units


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
