"""SkyPilot's RESTful admin policy: narrows `resources.any_of` of a task to the region that the policy likes best.

SkyPilot posts each request before its optimizer sees it: a JSON string that holds JSON, whose `task` is YAML. An entry
of `any_of` (`infra: CLOUD/REGION`, or `region: REGION`) stands for the pools of the scenario's region of that name. The
job is described by the task's `envs`: `GCN_WORK`, `GCN_JURISDICTIONS`, ...: fields of a snapshot's job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from agents.adapters.kubernetes.pods import DEFAULTS, PLAIN, PREFIX, PodError, job_of, restricted
from agents.serving.decide import Decider
from agents.serving.decision import Decision, NotReady
from gcn_env.errors import UserError
from gcn_env.snapshot.parse import SnapshotError

ENV = "GCN_"
MOST_BYTES = 256 << 10  # of a request: YAML is read slowly
MOST_PARTS = 20_000  # values of a task
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Rejected(UserError):  # noqa: N818 - an answer, not a fault
    """A request that SkyPilot is to refuse; its user reads why."""


def admit(
    decider: Decider, body: bytes, defaults: Mapping[str, Any] | None = None, deadline_s: float | None = None
) -> tuple[str, Decision | None]:
    """Answer one request.

    Args:
        decider: of the live fleet.
        body: as SkyPilot sends it.
        defaults: fields of a job that tasks do not say.
        deadline_s: within which the policy answers.

    Returns:
        What SkyPilot decodes once more after its JSON decoder, and the decision, None where there was none to take.

    Raises:
        Rejected: for what is no request, and for a task that may run in none of its regions.
    """
    request, task = _request(body)
    said = task.get("resources")
    resources: dict[str, Any] = said if isinstance(said, dict) else {}
    entries = resources.get("any_of")
    if not entries:
        return _answer(request, request["task"]), None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise Rejected("resources.any_of: wanted a list of resources")
    by_entry = [_pools(decider, e) for e in entries]
    candidates = sorted({p for pools in by_entry for p in pools})
    if not candidates:
        return _answer(request, request["task"]), None  # no region of this fleet
    try:
        job = _job(task, resources, defaults or {})
        decision = decider.score({"job": job, "candidates": candidates, "units": PLAIN}, deadline_s)
    except NotReady:
        if restricted(job):
            raise Rejected(
                f"{job['id']} may not run everywhere, and the policy server has no snapshot yet"
            ) from None
        return _answer(request, request["task"]), None
    except (PodError, SnapshotError, TypeError, ValueError) as error:
        raise Rejected(f"task {task.get('name')}: {error}") from None
    kept = _kept(decision, entries, by_entry)
    rest = {k: v for k, v in resources.items() if k != "any_of"}
    task["resources"] = rest | dict(kept[0]) if len(kept) == 1 else rest | {"any_of": kept}
    return _answer(request, yaml.safe_dump(task, sort_keys=False)), decision


def _request(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request and its task."""
    if len(body) > MOST_BYTES:
        raise Rejected(f"a request of more than {MOST_BYTES:,} bytes")
    try:
        request = json.loads(json.loads(body))
        task = next(iter(yaml.load_all(request["task"], _Loader)))
        config = request["skypilot_config"]
    except (
        ValueError,
        KeyError,
        TypeError,
        StopIteration,
        RecursionError,
        yaml.YAMLError,
        AttributeError,
    ) as error:
        raise Rejected(f"no request of SkyPilot: {type(error).__name__}: {error!s:.200}") from None
    if not _small(task):
        raise Rejected(f"no request of SkyPilot: a task of more than {MOST_PARTS:,} parts")
    if not isinstance(task, dict) or not isinstance(config, str):
        raise Rejected("no request of SkyPilot: task and skypilot_config are YAML in text")
    return request, task


def _small(value: Any) -> bool:
    """Whether a value has few parts, aliases followed: YAML's can make a short text endless."""
    left = [value]
    for _ in range(MOST_PARTS):
        if not left:
            return True
        one = left.pop()
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
    return False


def _answer(request: Mapping[str, Any], task: str) -> str:
    return json.dumps({"task": task, "skypilot_config": request["skypilot_config"]})


def _pools(decider: Decider, entry: Mapping[str, Any]) -> list[str]:
    """Pools of the region that an entry names."""
    parts = str(entry.get("infra") or "").split("/")
    region = parts[1] if len(parts) > 1 else entry.get("region")
    return [p for p in decider.world.pool_names if p.split("/", 1)[0] == region]


def _job(
    task: Mapping[str, Any], resources: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """A task as a job: its `envs` over its nodes and accelerators over the operator's defaults."""
    envs = task.get("envs") or {}
    if not isinstance(envs, dict):
        raise PodError("envs: wanted an object of names")
    notes = {PREFIX + k.removeprefix(ENV).lower(): v for k, v in envs.items() if str(k).startswith(ENV)}
    name = str(task.get("name") or "task")
    job = job_of(
        {"metadata": {"namespace": "skypilot", "name": name, "annotations": notes}}, {**DEFAULTS, **defaults}
    )
    if PREFIX + "gang" not in notes:
        first: Mapping[str, Any] = next(
            (r for r in (resources, *resources["any_of"]) if r.get("accelerators")), {}
        )
        job["gang"] = float(task.get("num_nodes") or 1) * _count(first.get("accelerators"))
    return job


def _count(accelerators: Any) -> float:
    """Accelerators of a node: `H100:8`, `{H100: 8}`; 1 where none are named."""
    if isinstance(accelerators, dict):
        return float(next(iter(accelerators.values()), 1) or 1)
    _, _, number = str(accelerators or "").partition(":")
    return float(number) if number.replace(".", "", 1).isdigit() else 1.0


def _kept(
    decision: Decision, entries: Sequence[Mapping[str, Any]], by_entry: Sequence[Sequence[str]]
) -> list[Mapping[str, Any]]:
    """Entries of the chosen region; without a choice those that no constraint refuses. Foreign ones give way.

    Raises:
        Rejected: if that leaves none.
    """
    chosen = decision.answer["choice"]
    if chosen is not None:
        return [e for e, pools in zip(entries, by_entry, strict=True) if chosen in pools]
    refused = {c["pool"]: c["refused"] for c in decision.answer["candidates"] if c["refused"]}
    kept = [e for e, pools in zip(entries, by_entry, strict=True) if not pools or set(pools) - set(refused)]
    if not kept:
        reasons = "; ".join(f"{p}: {', '.join(why)}" for p, why in refused.items())
        raise Rejected(f"no region may run this task: {reasons}")
    return kept
