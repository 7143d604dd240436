"""What clusters tell of a fleet: devices of pools from nodes, devices in use and jobs from pods."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.adapters.asking import Asker
from agents.adapters.kubernetes.api import Api, ApiError, Object
from agents.adapters.kubernetes.pods import GPU, REGION_LABEL, Nodes, PodError, job_of, quantity, requested
from agents.adapters.telemetry import Site, document, hour_of_year, read_site
from gcn_env.errors import UserError

log = logging.getLogger("gcn.kubernetes")
NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
ALIVE = "status.phase!=Succeeded,status.phase!=Failed"
TAKEN_S = 10.0  # within which a snapshot of thousands of pods has to be taken
SOON = 50  # placements after which the server is told again before its time: it cannot see them by itself


@dataclass
class _Node:
    """A node that runs pods: labels, what it has and what is taken [devices], whether it takes more."""

    pool: str
    labels: Mapping[str, str]
    devices: float
    open: bool
    resource: str
    each: float
    taken: float = 0.0


@dataclass
class Observed:
    """Attributes: `pools` readings by pool; `jobs` as snapshots have them; `labels` of open nodes, by pool."""

    pools: dict[str, dict[str, float]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, list[Mapping[str, str]]] = field(default_factory=dict)


def observe(
    nodes: Iterable[Object], pods: Iterable[Object], site: Site, how: Nodes, now: datetime
) -> Observed:
    """Pools and jobs of one cluster.

    Args:
        nodes: as listed.
        pods: as listed, those that have ended left out.
        site: says what a device is in each pool, if not `nvidia.com/gpu`.
        how: nodes to pools, and what pods do not say.
        now: of the lists.
    """
    ready = {name: node for name, node in (_node(n, site, how) for n in nodes) if node is not None}
    found = Observed()
    for node in ready.values():
        row = found.pools.setdefault(
            node.pool, dict.fromkeys(("healthy", "busy", "room", "waiting", "draining", "away"), 0.0)
        )
        row["healthy"] += node.devices
        row["draining"] += not node.open
        if node.open:
            found.labels.setdefault(node.pool, []).append(node.labels)
    for pod in pods:
        try:
            _count(pod, ready, found, how, now)
        except (PodError, ValueError) as error:  # one pod that says what means nothing must not hide the rest
            log.warning("a pod is left out of the snapshot: %s", error)
    for node in ready.values():
        row = found.pools[node.pool]
        row["busy"] += min(node.taken, node.devices)
        if node.open:
            row["room"] += math.floor(max(node.devices - node.taken, 0.0) + 1e-9)
    return found


def _node(node: Object, site: Site, how: Nodes) -> tuple[str, _Node | None]:
    meta, status = node.get("metadata") or {}, node.get("status") or {}
    name, labels = str(meta.get("name")), meta.get("labels") or {}
    pool = how.pool(name, labels)
    ready = any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or []
    )
    if pool is None or not ready:
        return name, None
    shape = site.devices.get(pool, {})
    resource, each = str(shape.get("resource", GPU)), float(shape.get("each", 1.0))
    amount = quantity((status.get("allocatable") or {}).get(resource)) or 0.0
    closed = bool((node.get("spec") or {}).get("unschedulable"))
    return name, _Node(pool, labels, amount / each, not closed, resource, each)


def _count(pod: Object, ready: Mapping[str, _Node], found: Observed, how: Nodes, now: datetime) -> None:
    """Book a pod on its node or in the queue of its pool, and as a job where it says enough."""
    spec, meta = pod.get("spec") or {}, pod.get("metadata") or {}
    node = ready.get(spec.get("nodeName") or "")
    if node is not None:
        node.taken += requested(pod, node.resource) / node.each
        pool, status = node.pool, "running"
    elif spec.get("nodeName") or spec.get("schedulingGates"):
        return  # on a node that is lost or of no pool; or not placed yet
    else:
        chosen = spec.get("nodeSelector") or {}
        pool, status = f"{chosen.get(REGION_LABEL)}/{chosen.get(how.pool_label)}", "queued"
        if pool not in found.pools:
            return
        found.pools[pool]["waiting"] += 1
    job = job_of(pod, how.defaults)
    if not {"origin", "jurisdictions"} <= set(job):
        return
    began = (pod.get("status") or {}).get("startTime") if status == "running" else None
    created = datetime.fromisoformat(meta["creationTimestamp"]) if "creationTimestamp" in meta else now
    start = created if began is None else datetime.fromisoformat(began)
    done_h = 0.0 if began is None else (now - start).total_seconds() / 3600.0
    job["work"] = max(float(job["work"]) - max(done_h, 0.0), 0.0)
    job |= {"status": status, "pool": pool, "started": hour_of_year(start, now)}
    found.jobs.append({"arrival": hour_of_year(created, now), **job})


class Fleet:
    """Watches clusters on behalf of a policy server, and knows which pools a pod could go to.

    Args:
        apis: of all clusters that hold pools of the fleet.
        server: that is told.
        how: nodes to pools, and what pods do not say.
        site: site file; None where somebody else sends snapshots.
        every_s: between two snapshots.
        clock: seconds, monotonic.
    """

    def __init__(
        self, apis: Sequence[Api], server: Asker, how: Nodes, site: str | Path | None, every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.apis, self.server, self.how, self.site = apis, server, how, site
        self.every_s, self.clock = every_s, clock
        self.labels: dict[str, list[Mapping[str, str]]] = {}  # of open nodes, by pool known to the server
        self.trouble = "no snapshot yet"  # why the last snapshot was not sent; empty if it was
        self._due, self._placed = -math.inf, 0
        if site is not None:
            read_site(site)  # a wrong path is better told at once

    def tick(self) -> None:
        """Look and tell, when it is time."""
        if self.clock() < self._due and self._placed < SOON:
            return
        self._due, self._placed = self.clock() + self.every_s, 0
        try:
            self.trouble = self._look()
        except (ApiError, UserError) as error:
            self.trouble = str(error)
        if self.trouble:
            log.warning("no snapshot was sent: %s", self.trouble)

    @property
    def due_s(self) -> float:
        """Seconds until the next snapshot."""
        return max(self._due - self.clock(), 0.0)

    def placed(self) -> None:
        """One more pod was sent somewhere."""
        self._placed += 1

    def _look(self) -> str:
        known = self.server.known()
        if known is None:
            return "the policy server does not answer, or refuses the token"
        pools, now = set(known["pools"]), datetime.now(UTC)
        site = Site() if self.site is None else read_site(self.site, now=now)
        seen = [
            observe(api.list(NODES)[0], api.list(PODS, fieldSelector=ALIVE)[0], site, self.how, now)
            for api in self.apis
        ]
        self.labels = {p: labels for one in seen for p, labels in one.labels.items() if p in pools}
        if self.site is None:
            return ""
        nothing = {p: {"healthy": 0.0, "busy": 0.0, "room": 0.0, "waiting": 0.0, "away": 0.0} for p in pools}
        rows = nothing | {p: row for one in seen for p, row in one.pools.items() if p in pools}
        jobs = [job for one in seen for job in one.jobs if job["pool"] in pools]
        most = max(
            int(known.get("job_places", 1)) - 1, 0
        )  # one place stays free for the job that is asked about
        if len(jobs) > most:
            log.warning("%d jobs; the server has places for %d (decisions.job_places)", len(jobs), most)
        return self.server.send(document(site, rows, jobs[:most], now), max(self.server.timeout_s, TAKEN_S))

    def candidates(self, selector: Mapping[str, str] | None = None) -> list[str]:
        """Pools with an open node that fits a pod's own node selector."""
        asked = (selector or {}).items()
        return sorted(p for p, nodes in self.labels.items() if any(asked <= n.items() for n in nodes))
