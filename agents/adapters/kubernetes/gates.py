"""Scheduling gates: pods wait until the policy has chosen their pool; kube-scheduler then does what it always does.

A pod that carries `schedulingGates: [{name: gcn.io/placement}]` is not scheduled. One JSON patch gives it a node
selector and takes the gate away, if it is still there. Nothing stands in kube-scheduler's way, and without this
controller only pods wait that asked for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.adapters.asking import Asker, Choice
from agents.adapters.kubernetes.api import JSON_PATCH, Api, Object
from agents.adapters.kubernetes.controller import Controller
from agents.adapters.kubernetes.fleet import Fleet
from agents.adapters.kubernetes.pods import REGION_LABEL, PodError, job_of, restricted

log = logging.getLogger("gcn.kubernetes")
GATE = "gcn.io/placement"
GROUP_LABEL = "gcn.io/group"  # pods of a namespace with the same value go to one pool
SOON_S = 5.0  # until the policy server is asked again that did not answer


@dataclass(frozen=True)
class Patience:
    """How long things may wait.

    Attributes:
        again_s: until the policy is asked again that said wait.
        deadline_s: since its creation after which an object goes on without a choice.
        stay: it never does; it waits for the policy.
    """

    again_s: float = 60.0
    deadline_s: float = 3600.0
    stay: bool = False

    def over(self, since: str, now: float) -> bool:
        """Whether what waits since a stamp of the API server has waited long enough."""
        return not self.stay and now - datetime.fromisoformat(since).timestamp() > self.deadline_s


class Gates(Controller):
    """Places gated pods.

    Args:
        api: of the cluster.
        asker: of the policy.
        fleet: says which pools there are.
        patience: how long pods wait.
        namespace: only pods of this one; None for all.
        now: seconds since 1970, as the API server's stamps.
        clock: seconds, monotonic.
    """

    name = "gates"

    def __init__(
        self, api: Api, asker: Asker, fleet: Fleet, patience: Patience | None = None, namespace: str | None = None,
        now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__(api, fleet, clock)
        self.asker, self.patience, self.now = asker, patience or Patience(), now
        self.path = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{namespace}/pods"
        self.params = {"fieldSelector": "spec.nodeName=,status.phase=Pending"}

    def wanted(self, item: Object) -> bool:
        """A pod with our gate that is not on its way out."""
        return _gate(item) is not None and not item["metadata"].get("deletionTimestamp")

    def act(self, item: Object) -> tuple[str, float]:
        """Ask, and let the pod go where the policy says; or without a word, where it has waited too long."""
        meta = item["metadata"]
        try:
            job = job_of(item, self.fleet.how.defaults)
            pool, choice = self._choose(item, job)
        except PodError as error:
            return self._leave(item, {}, Choice(None, "none", f"refused: {error}"))
        if pool is None:
            return self._leave(item, job, choice)
        region, name = pool.split("/", 1)
        self._patch(item, {REGION_LABEL: region, self.fleet.how.pool_label: name})
        self.fleet.placed()
        log.info("%s/%s -> %s (%s %s)", meta["namespace"], meta["name"], pool, choice.by, choice.reason)
        return "placed", 0.0

    def _choose(self, item: Object, job: dict[str, Any]) -> tuple[str | None, Choice]:
        """The pool of the pod's group if that has one, else the policy's for all of the group that waits."""
        candidates = self.fleet.candidates(item["spec"].get("nodeSelector"))
        group = (item["metadata"].get("labels") or {}).get(GROUP_LABEL)
        if group is not None:
            pods, _ = self.api.list(
                f"/api/v1/namespaces/{item['metadata']['namespace']}/pods",
                labelSelector=f"{GROUP_LABEL}={group}",
            )
            for pod in pods:
                pool = self._pool(pod)
                if pool in candidates:
                    return pool, Choice(pool, "group", group)
            job["gang"] = sum(job_of(p, self.fleet.how.defaults)["gang"] for p in pods if self.wanted(p))
        if not candidates:
            return None, Choice(None, "none", self.fleet.trouble or "no pool has an open node that fits")
        choice = self.asker.choose(job, candidates)
        return choice.pool, choice

    def _pool(self, pod: Object) -> str | None:
        """Where a pod without our gate was sent."""
        chosen = pod["spec"].get("nodeSelector") or {}
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if ended or _gate(pod) is not None or not {REGION_LABEL, self.fleet.how.pool_label} <= set(chosen):
            return None
        return f"{chosen[REGION_LABEL]}/{chosen[self.fleet.how.pool_label]}"

    def _leave(self, item: Object, job: Mapping[str, Any], choice: Choice) -> tuple[str, float]:
        """No pool was chosen: wait, or go on without one; a pod that may not run everywhere always waits."""
        meta = item["metadata"]
        log.info("%s/%s waits: %s %s", meta["namespace"], meta["name"], choice.by, choice.reason)
        if self.patience.over(meta["creationTimestamp"], self.now()) and not restricted(job):
            self._patch(item, {})
            return "dropped", 0.0
        if choice.answered:
            return "waits", self.patience.again_s
        return "unanswered", min(SOON_S, self.patience.again_s)

    def _patch(self, item: Object, selector: Mapping[str, str]) -> None:
        """Give the pod a selector and take the gate away, at once or not at all."""
        meta, k = item["metadata"], _gate(item)
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "test", "path": f"/spec/schedulingGates/{k}/name", "value": GATE},
            {"op": "remove", "path": f"/spec/schedulingGates/{k}"},
        ]
        if selector and not item["spec"].get("nodeSelector"):
            patch.append({"op": "add", "path": "/spec/nodeSelector", "value": dict(selector)})
        elif selector:
            for key, value in selector.items():
                escaped = key.replace("~", "~0").replace("/", "~1")
                patch.append({"op": "add", "path": f"/spec/nodeSelector/{escaped}", "value": value})
        self.api.patch(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", patch, JSON_PATCH)


def _gate(pod: Object) -> int | None:
    """Where our gate stands among a pod's."""
    names = [g.get("name") for g in pod["spec"].get("schedulingGates") or []]
    return names.index(GATE) if GATE in names else None
