"""MultiKueue's external dispatcher: the policy nominates worker clusters, Kueue does all the rest.

The manager's configuration names a dispatcher of its own (`multiKueue.dispatcherName: gcn.io/policy`); whoever that is
writes `status.nominatedClusterNames` of Workloads that have reserved quota.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents.adapters.asking import Asker, Choice
from agents.adapters.kubernetes.api import MERGE_PATCH, Api, Object
from agents.adapters.kubernetes.controller import Controller
from agents.adapters.kubernetes.fleet import Fleet
from agents.adapters.kubernetes.gates import SOON_S, Patience
from agents.adapters.kubernetes.pods import GPU, PREFIX, PodError, an_object, job_of, requested, restricted
from gcn_env.errors import UserError

log = logging.getLogger("gcn.kubernetes")
GROUP = "/apis/kueue.x-k8s.io/v1beta2"
MANAGER = "kueue-admission"  # the field manager whose fields Kueue leaves alone
MOST = 10  # nominated clusters that every Kueue with dispatchers takes
ROUND_S = 300.0  # until all other clusters are nominated too, as Kueue's own incremental dispatcher does


def read_clusters(path: str | Path) -> dict[str, dict[str, Any]]:
    """Worker clusters: a JSON object, name -> {"pools": ["REGION/POOL", ...], "kubeconfig": FILE or none}.

    Raises:
        UserError: if it is none.
    """
    try:
        found: Any = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"clusters file {path}: {error}") from None
    right = isinstance(found, dict) and all(
        isinstance(c, dict)
        and set(c) <= {"pools", "kubeconfig"}
        and isinstance(c.get("pools"), list)
        and c["pools"]
        for c in found.values()
    )
    if not right or not found:
        raise UserError(
            f'clusters file {path}: wanted {{"NAME": {{"pools": ["REGION/POOL"], "kubeconfig": "FILE"}}}}'
        )
    clusters: dict[str, dict[str, Any]] = found
    return clusters


class Dispatcher(Controller):
    """Nominates worker clusters of Workloads.

    Args:
        api: of the manager cluster.
        asker: of the policy.
        fleet: says what Workloads do not say of themselves.
        clusters: name in `MultiKueueConfig` -> pools `REGION/POOL`.
        patience: how long Workloads wait.
        check: name of the MultiKueue admission check; None for any.
        now: seconds since 1970, as the API server's stamps.
        clock: seconds, monotonic.
    """

    name = "multikueue"
    path = f"{GROUP}/workloads"

    def __init__(
        self, api: Api, asker: Asker, fleet: Fleet, clusters: Mapping[str, list[str]],
        patience: Patience | None = None, check: str | None = None, now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__(api, fleet, clock)
        self.asker, self.patience, self.check, self.now = asker, patience or Patience(), check, now
        self.clusters = {p: name for name, pools in clusters.items() for p in pools}
        self.params = {}
        self._nominated: dict[str, float] = {}  # UID -> clock

    def wanted(self, item: Object) -> bool:
        """Quota is reserved, no check has been finished, and no cluster has it or all are nominated."""
        status = item.get("status") or {}
        checks = [
            c.get("state") for c in status.get("admissionChecks") or [] if self.check in (None, c.get("name"))
        ]
        done = item["metadata"].get("deletionTimestamp") or status.get("clusterName") or _is(item, "Finished")
        if done or not _is(item, "QuotaReserved") or not checks or any(s != "Pending" for s in checks):
            return False
        return len(status.get("nominatedClusterNames") or []) < min(len(set(self.clusters.values())), MOST)

    def act(self, item: Object) -> tuple[str, float]:
        """Nominate the best cluster; all that may have it where it is not taken, or nobody answers in time."""
        nominated = (item.get("status") or {}).get("nominatedClusterNames") or []
        since = _is(item, "QuotaReserved") or item["metadata"]["creationTimestamp"]
        if nominated and self._left_s(item) > 0.0:
            return "nominated", self._left_s(item)
        try:
            job = job_of_workload(item, self.fleet.how.defaults)
            choice = self.asker.choose(job, list(self.clusters))
        except PodError as error:
            job, choice = {}, Choice(None, "none", f"refused: {error}")
        late = self.patience.over(since, self.now())
        ranked = list(dict.fromkeys(self.clusters[p] for p in choice.ranking))
        if choice.pool is not None:
            best = self.clusters[choice.pool]
            rest = [c for c in ranked if c != best] if nominated else []
            return self._nominate(item, [best, *rest], nominated, choice)
        if choice.answered and ranked and (nominated or late):  # the policy would wait, but has waited enough
            return self._nominate(item, ranked, nominated, choice)
        if not choice.answered and late and not restricted(job):
            return self._nominate(item, list(dict.fromkeys(self.clusters.values())), nominated, choice)
        if choice.answered:
            return "waits", self.patience.again_s
        return "unanswered", min(SOON_S, self.patience.again_s)

    def _left_s(self, item: Object) -> float:
        """Seconds that the nominated clusters have left to take a Workload, from when we first saw them nominated."""
        if len(self._nominated) > 2 * len(self.waiting) + 100:
            self._nominated = {u: t for u, t in self._nominated.items() if u in self.waiting}
        return self._nominated.setdefault(item["metadata"]["uid"], self.clock()) + ROUND_S - self.clock()

    def _nominate(
        self, item: Object, names: list[str], before: list[str], choice: Choice
    ) -> tuple[str, float]:
        """Write the nomination, if nobody has changed the Workload meanwhile; what was nominated stays so."""
        meta = item["metadata"]
        names = [*before, *(n for n in names if n not in before)][:MOST]
        if names == before:
            return "nominated", self.patience.again_s
        patch = {
            "metadata": {"resourceVersion": meta["resourceVersion"]},
            "status": {"nominatedClusterNames": names},
        }
        path = f"{GROUP}/namespaces/{meta['namespace']}/workloads/{meta['name']}/status"
        self.api.patch(path, patch, MERGE_PATCH, fieldManager=MANAGER)
        self.fleet.placed()
        log.info("%s/%s -> %s (%s %s)", meta["namespace"], meta["name"], names, choice.by, choice.reason)
        return "placed", 0.0


def _is(item: Object, condition: str) -> str | None:
    """Since when a condition is true; None if it is not."""
    for row in (item.get("status") or {}).get("conditions") or []:
        if row.get("type") == condition and row.get("status") == "True":
            return str(row.get("lastTransitionTime") or item["metadata"]["creationTimestamp"])
    return None


def job_of_workload(item: Object, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A Workload as a job: its own annotations over those of its pod sets; all GPUs, or else all pods, are its gang.

    Raises:
        PodError: for annotations that mean nothing.
    """
    sets = (item.get("spec") or {}).get("podSets") or []
    notes: dict[str, Any] = {}
    gpus = pods = 0.0
    for one in sets:
        template, count = an_object(one.get("template"), "podSets.template", True), float(one.get("count", 1))
        gpus += count * requested(template, GPU)
        pods += count
        notes |= an_object((template.get("metadata") or {}).get("annotations"), "annotations", True)
    meta = item["metadata"]
    notes |= an_object(meta.get("annotations"), "annotations", True)
    job = job_of({"metadata": {**meta, "annotations": notes}}, defaults)
    if PREFIX + "gang" not in notes:
        job["gang"] = gpus or pods or job["gang"]
    return job
