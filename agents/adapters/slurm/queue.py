"""Jobs and nodes as Slurm tells them, in one shape for 22.05's plain JSON and the later one of sets."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

TAG = re.compile(r"\bgcn:start=(?P<start>\d+) gcn:in=(?P<partitions>\S+)")  # what job_submit.lua writes
_GPU = re.compile(r"\bgpu(?::[A-Za-z][\w.-]*)?(?:[:=](\d+))?(?!\w)")
_GONE = {
    "DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "UNKNOWN", "FUTURE", "MAINT", "MAINTENANCE",
    "NOT_RESPONDING", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN", "REBOOT", "INVALID_REG", "INVAL",
}  # fmt: skip
_DRAIN = {"DRAIN", "DRAINING", "DRAINED"}


class SlurmError(Exception):
    """Slurm does not answer, or refuses; the queue is looked at again later."""


@dataclass(frozen=True)
class Job:
    """One job, or the tasks of an array that still wait together.

    Attributes:
        id: Slurm's number, what `scontrol update` and REST are told.
        state: `PENDING`, `RUNNING`, ...
        partition: one, or several with commas.
        user, admin: comments.
        submitted, begin, started, deadline: s since 1970; 0 where there is none. `begin` is the earliest start.
        limit_h: time limit [h], None for none.
        gpus, cpus: asked for, by each task of an array.
        tasks: of an array that wait; else 1.
        part: it is a component of a heterogeneous job.
    """

    id: int
    state: str
    partition: str
    user: str = ""
    admin: str = ""
    submitted: float = 0.0
    begin: float = 0.0
    started: float = 0.0
    deadline: float = 0.0
    limit_h: float | None = None
    gpus: int = 0
    cpus: int = 1
    tasks: int = 1
    part: bool = False

    @property
    def device(self) -> str:
        """`gpu` or `cpu`, as job_submit.lua tells them apart."""
        return "gpu" if self.gpus else "cpu"

    @property
    def tag(self) -> tuple[float, tuple[str, ...]] | None:
        """When it may start at the earliest, and in which partitions; None for a job that is not ours."""
        found = TAG.search(self.admin)
        return None if found is None else (float(found["start"]), tuple(found["partitions"].split(",")))


@dataclass(frozen=True)
class Node:
    """One node; `up`: it takes jobs, `draining`: it takes no more before its repair."""

    name: str
    partitions: tuple[str, ...]
    up: bool
    draining: bool
    gpus: int
    gpus_used: int
    cpus: int
    cpus_used: int


class Slurm(Protocol):
    """What the controller needs of a cluster; every call may raise `SlurmError`."""

    def jobs(self) -> list[Job]:
        """All jobs that Slurm still remembers."""
        ...

    def nodes(self) -> list[Node]:
        """All nodes."""
        ...

    def place(self, job: Job, partitions: str, begin: float, held: bool) -> None:
        """Give a pending job its partitions, let it start from `begin` (s since 1970), release it if it is `held`."""
        ...

    def delay(self, job: Job, begin: float) -> None:
        """Let a pending job start at `begin` at the earliest (s since 1970)."""
        ...

    def close(self) -> None:
        """End."""
        ...


def number(value: Any) -> float | None:
    """A number of either JSON; None for unset and infinite."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def relative(at: float) -> str:
    """A time as `sbatch --begin` takes it, from now on: both sides need not agree on a time zone."""
    left = math.ceil(at - time.time())
    return f"now+{left}" if left > 0 else "now"


def _words(value: Any) -> list[str]:
    """States and flags, upper case: `idle`, `["IDLE", "DRAIN"]`, `IDLE+DRAIN`."""
    parts = value if isinstance(value, list) else [value]
    return [w for part in parts if isinstance(part, str) for w in re.split(r"[+\s*]+", part.upper()) if w]


def gpus(text: Any) -> int:
    """GPUs of a list of resources: `gres:gpu:h100:2`, `gres/gpu=2,gres/gpu:h100=2`, `gpu:h100:4(S:0)`."""
    counts = [
        int(n or 1)
        for n in _GPU.findall(re.sub(r"\([^)]*\)", "", text or "") if isinstance(text, str) else "")
    ]
    return max(counts, default=0)


def array_tasks(text: Any) -> int:
    """Tasks of `1-3,7,10-20:5%2`; 1 for a job that is no array."""
    if not isinstance(text, str) or not text:
        return 1
    count = 0
    for low, high, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", text.partition("%")[0]):
        count += (int(high) - int(low)) // int(step or 1) + 1 if high else 1
    return max(count, 1)


def job_of(row: Mapping[str, Any]) -> Job:
    """A job of `squeue --json` or `GET /jobs`."""

    def at(name: str) -> float:
        return number(row.get(name)) or 0.0

    nodes, tasks = max(at("node_count"), 1.0), max(at("tasks"), 1.0)
    asked = max(
        gpus(row.get("tres_req_str")), gpus(row.get("tres_per_job")), int(gpus(row.get("tres_per_node")) * nodes),
        int(gpus(row.get("tres_per_task")) * tasks),
    )  # fmt: skip
    limit = number(row.get("time_limit"))
    return Job(
        id=int(at("job_id")), state=(_words(row.get("job_state")) or ["UNKNOWN"])[0],
        partition=row.get("partition") or "", user=row.get("comment") or "", admin=row.get("admin_comment") or "",
        submitted=at("submit_time"), begin=at("eligible_time"), started=at("start_time"), deadline=at("deadline"),
        limit_h=None if limit is None else limit / 60.0, gpus=asked, cpus=max(math.ceil(at("cpus")), 1),
        tasks=array_tasks(row.get("array_task_string")), part=at("het_job_id") > 0.0,
    )  # fmt: skip


def node_of(row: Mapping[str, Any]) -> Node:
    """A node of `sinfo --json` (22.05), `scontrol show nodes --json` or `GET /nodes`."""
    states = {*_words(row.get("state")), *_words(row.get("state_flags") or [])}
    listed = row.get("partitions") or []
    partitions = tuple(listed if isinstance(listed, list) else str(listed).split(","))
    count = {n: int(number(row.get(n)) or 0) for n in ("cpus", "alloc_cpus")}
    return Node(
        row["name"], partitions, not states & _GONE, bool(states & _DRAIN), gpus(row.get("gres")),
        gpus(row.get("gres_used")), count["cpus"], count["alloc_cpus"],
    )  # fmt: skip
