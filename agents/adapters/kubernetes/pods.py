"""Kubernetes' objects as a fleet's: a pod is a job, described by annotations `gcn.io/FIELD` (fields of a job).

A node belongs to a pool: by labels, else by a pattern over its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcn_env.errors import UserError
from gcn_env.snapshot import units
from gcn_env.snapshot.readings import JOBS

PREFIX = "gcn.io/"
REGION_LABEL = "topology.kubernetes.io/region"
POOL_LABEL = "gcn.io/pool"
GPU = "nvidia.com/gpu"
_TEXT = ("class", "source", "tenant", "origin", "data_at", "trust")
PLAIN = {"jobs": units()["jobs"]}  # numbers of annotations are in the project's own units
DEFAULTS: Mapping[str, Any] = {"class": "batch", "gang": 1, "work": 1.0, "trust": "public"}


class PodError(UserError):
    """A pod or node that cannot be read, or one that says of itself what means nothing."""


@dataclass(frozen=True)
class Nodes:
    """Which pool a node belongs to.

    Attributes:
        pool_label: label that names the pool within its region; the region's is Kubernetes' own.
        pattern: regular expression with groups `region` and `pool`, for names without labels; None for none.
        defaults: fields of a job that a pod does not annotate. Jurisdictions have no default of their own: an operator
            who writes `any` here says that pods without a word may run anywhere.
    """

    pool_label: str = POOL_LABEL
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


def pod_defaults(path: str | None) -> dict[str, Any]:
    """What pods do not say: the fields in a JSON file, over `DEFAULTS`.

    Raises:
        UserError: if there is no such file, or it holds no object.
    """
    if path is None:
        return dict(DEFAULTS)
    try:
        given = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--pod-defaults {path}: {error}") from None
    if not isinstance(given, dict):
        raise UserError(f"--pod-defaults {path}: wanted a JSON object of a job's fields")
    return {**DEFAULTS, **given}


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


def an_object(value: Any, where: str, optional: bool = False) -> Mapping[str, Any]:
    """A JSON object; raises PodError for anything else."""
    if value is None and optional:
        return {}
    if not isinstance(value, dict):
        raise PodError(f"{where}: {type(value).__name__} where an object is wanted")
    return value


def job_of(pod: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A pod as a job of a snapshot: its annotations over its requests over the operator's defaults."""
    meta = an_object(pod.get("metadata"), "Pod.metadata")
    name, namespace = meta.get("name"), meta.get("namespace", "default")
    if not isinstance(name, str) or not isinstance(namespace, str):
        raise PodError("Pod.metadata: name and namespace are text")
    job: dict[str, Any] = {**DEFAULTS, **defaults, "id": f"{namespace}/{name}"[:200]}
    gpus = requested(pod, GPU)
    if gpus:
        job["gang"] = gpus
    for key, value in an_object(meta.get("annotations"), "Pod.metadata.annotations", True).items():
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
                raise PodError(f"annotation {key}: {value!r:.40} is no number") from None
        else:
            raise PodError(f"annotation {key!r:.80} is no field of a job")
    return job


def requested(pod: Mapping[str, Any], resource: str) -> float:
    """How much of a resource a pod's containers request together (init containers ask for theirs before)."""
    total = 0.0
    containers = an_object(pod.get("spec"), "Pod.spec", True).get("containers") or []
    if not isinstance(containers, list):
        raise PodError("Pod.spec.containers: wanted a list")
    for container in containers:
        resources = an_object(an_object(container, "container").get("resources"), "resources", True)
        for part in ("limits", "requests"):
            amount = quantity(an_object(resources.get(part), part, True).get(resource))
            if amount is not None:
                total += amount
                break
    return total


def quantity(given: Any) -> float | None:
    """A Kubernetes quantity of devices or cores (`8`, `"8"`, `"500m"`, `"2k"`); None if it is none."""
    if isinstance(given, bool) or not isinstance(given, int | str):
        return None
    found = _QUANTITY.fullmatch(str(given))
    return float(found[1]) * _SUFFIX[found[2]] if found else None


_QUANTITY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(m|k|)")
_SUFFIX = {"m": 1e-3, "k": 1e3, "": 1.0}


def restricted(job: Mapping[str, Any]) -> bool:
    """Whether a job may not run everywhere: nobody sends such a job anywhere without an answer of the policy server."""
    anywhere = job.get("jurisdictions", "any") == "any"
    return not anywhere or job.get("trust", "public") != "public"
