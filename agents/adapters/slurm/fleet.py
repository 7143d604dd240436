"""The live fleet as a snapshot: Slurm's own pools and queues, and the operator's feeds for the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agents.adapters.slurm.queue import Job, Node
from agents.adapters.slurm.site import Device, Partition, Site
from gcn_env.errors import UserError
from gcn_env.snapshot import units
from gcn_env.snapshot.readings import FORMAT

COUNTED = (
    "healthy",
    "busy",
    "room",
    "draining",
    "waiting",
    "queued",
    "running",
)  # readings of a pool that are ours
FEEDS = ("time", "units", "regions", "pools", "links")
WAITS, RUNS = "PENDING", ("RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING")


def name_of(job: Job) -> str:
    """Its name in snapshots and decision logs."""
    return f"slurm-{job.id}"


def hour_of_year(at: float) -> float:
    """Hours since 1 January 00:00 UTC of a time [s since 1970]'s year."""
    stamp = datetime.fromtimestamp(at, UTC)
    return (stamp - datetime(stamp.year, 1, 1, tzinfo=UTC)).total_seconds() / 3600.0


def read_feeds(site: Site, now: float) -> tuple[dict[str, Any], str]:
    """The operator's readings, and why there are none: missing, unreadable or older than the site allows.

    They are left out rather than believed: the server then says what is unknown, and its rule decides.
    """
    if site.feeds is None:
        return {}, ""
    try:
        found = json.loads(site.feeds.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not set(found) <= set(FEEDS):
            return {}, f"{site.feeds}: wanted a JSON object of {', '.join(FEEDS)}"
        stamp = datetime.fromisoformat(found.pop("time"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {}, f"{site.feeds}: {error!r:.200}"
    if stamp.utcoffset() is None:
        return {}, f"{site.feeds}: time has no time zone; write it in UTC with a Z at its end"
    age = now - stamp.timestamp()
    if age > site.feeds_max_age_s:
        return {}, f"{site.feeds}: {age:.0f} s old, {site.feeds_max_age_s:g} s are allowed"
    return found, ""


class Fleet:
    """Slurm's view of one moment.

    Args:
        site: partitions and pools.
        jobs, nodes: as Slurm tells them.
        now: s since 1970.
    """

    def __init__(self, site: Site, jobs: Sequence[Job], nodes: Sequence[Node], now: float) -> None:
        self.site, self.nodes, self.now = site, nodes, now
        self.jobs = {j.id: j for j in jobs}

    def unplaced(self, job: Job) -> bool:
        """Whether a pending job still waits for a decision: it lies in the intake, or its delay runs."""
        if job.tag is None or job.state != WAITS:
            return False
        return job.partition == self.site.intake or job.begin > max(job.tag[0] + 0.5, self.now)

    def asked(self) -> list[Job]:
        """Jobs to decide on now, oldest first: their own earliest start has come, and they are whole jobs."""
        found = [j for j in self.jobs.values() if not j.part and self.unplaced(j)]
        return sorted((j for j in found if j.tag and j.tag[0] <= self.now), key=lambda j: (j.submitted, j.id))

    def partition(self, job: Job) -> Partition | None:
        """The partition where a job runs or waits; None while that is open, and for partitions that are not ours."""
        return None if self.unplaced(job) else self.site.partitions.get(job.partition)

    def devices(self, job: Job) -> int:
        """Devices of a job: its GPUs, or its CPUs in devices of the partitions that it may run in."""
        if job.gpus:
            return job.gpus
        names = job.tag[1] if job.tag else job.partition.split(",")
        cores = [
            p.cores for n in names if (p := self.site.partitions.get(n)) is not None and p.device == "cpu"
        ]
        return max(math.ceil(job.cpus / min(cores, default=1)), 1)

    def placed(self, job: Job, partition: str) -> None:
        """Take over that a job was given a partition, until Slurm tells it itself."""
        self.jobs[job.id] = replace(job, partition=partition, begin=self.now)

    @property
    def healthy(self) -> int:
        """Devices in service."""
        return sum(int(row["healthy"]) for row in self._pools().values())

    def fields(self, job: Job) -> dict[str, Any]:
        """A job of a snapshot.

        Raises:
            UserError: for a word in its comments that means nothing.
        """
        device: Device = "gpu" if job.gpus else "cpu"
        found, hour = self.site.fields(device, job.user, job.admin), hour_of_year(self.now)
        found.setdefault("gang", self.devices(job))
        found.setdefault(
            "work", self.site.jobs[device].work if job.limit_h is None else max(job.limit_h, 1e-3)
        )
        found |= {
            "id": name_of(job),
            "arrival": hour - (self.now - job.submitted) / 3600.0,
            "status": "pending",
        }
        if job.deadline > self.now:
            found["deadline"] = hour + (job.deadline - self.now) / 3600.0
        partition = self.partition(job)
        if partition is None:
            return found
        found |= {
            "status": "queued",
            "pool": partition.pool,
            "held": found["gang"],
            "started": found["arrival"],
        }
        if job.state in RUNS:
            ran = (self.now - job.started) / 3600.0
            left = max(found["work"] - ran, 0.0)
            found |= {"status": "running", "work": left, "finish": hour + left, "started": hour - ran}
        return found

    def document(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """The snapshot; jobs beyond the site's `most_jobs` stand in the pools' sums only."""
        pools = self._pools()
        for name, row in (feeds.get("pools") or {}).items():
            pools[name] = row | pools.get(name, {})
        for row in pools.values():
            row.setdefault("away", 0)
        given = feeds.get("units") or {}
        theirs = {k: v for k, v in (given.get("pools") or {}).items() if k not in COUNTED}
        own = units()
        declared = given | {"jobs": own["jobs"], "pools": own["pools"] | theirs}
        declared["regions"] = {"restart": "h"} | (given.get("regions") or {})
        stamp = datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "format": FORMAT, "time": stamp, "units": declared, "regions": self._regions(feeds, pools), "pools": pools,
            "links": feeds.get("links") or [], "jobs": self._listed(),
        }  # fmt: skip

    def _listed(self) -> list[dict[str, Any]]:
        """Jobs that run, then those that wait."""
        order = {state: k for k, state in enumerate((*RUNS, WAITS))}
        found: list[dict[str, Any]] = []
        for job in sorted(self.jobs.values(), key=lambda j: (order.get(j.state, 99), j.id)):
            if len(found) >= self.site.most_jobs or job.state not in order:
                break
            if self.partition(job) is None and not self.unplaced(job):
                continue
            try:
                found.append(self.fields(job))
            except UserError:
                continue
        return found

    def _pools(self) -> dict[str, dict[str, Any]]:
        """Readings of each pool, from nodes and jobs."""
        names = list(dict.fromkeys(p.pool for p in self.site.partitions.values()))
        found: dict[str, dict[str, Any]] = {n: dict.fromkeys(COUNTED, 0) for n in names}
        for node in self.nodes:
            mine = next((p for n, p in self.site.partitions.items() if n in node.partitions), None)
            if mine is not None:
                self._count_node(node, mine, found[mine.pool])
        for job in self.jobs.values():
            partition = self.partition(job)
            if partition is not None:
                self._count_job(job, found[partition.pool])
        return found

    @staticmethod
    def _count_node(node: Node, partition: Partition, row: dict[str, Any]) -> None:
        row["draining"] += node.draining
        if partition.device == "gpu":
            there, used = node.gpus, node.gpus_used
        else:
            there, used = node.cpus // partition.cores, math.ceil(node.cpus_used / partition.cores)
        row["busy"] += used
        row["healthy"] += there if node.up else used  # what still runs there is in service until it ends
        row["room"] += there - used if node.up else 0

    def _count_job(self, job: Job, row: dict[str, Any]) -> None:
        devices, limit = self.devices(job), 1.0 if job.limit_h is None else job.limit_h
        if job.state == WAITS:
            row["waiting"] += job.tasks
            row["queued"] += job.tasks * devices * limit
        elif job.state in RUNS:
            row["running"] += devices * max(limit - (self.now - job.started) / 3600.0, 0.0)

    def _regions(self, feeds: dict[str, Any], pools: dict[str, Any]) -> dict[str, Any]:
        """The feeds' readings; a region with a node in service is not restarting."""
        found = {n: dict(row) for n, row in (feeds.get("regions") or {}).items()}
        for name, row in pools.items():
            if row.get("healthy"):
                found.setdefault(name.split("/")[0], {}).setdefault("restart", 0)
        return found
