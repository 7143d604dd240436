"""The controller: looks at the queue, asks the policy where each new job should go, and lets it go there.

It stands outside slurmctld and holds nothing: which jobs wait for a decision is read from the queue each time, so it
may be killed and started again at any moment. Where the policy is down, slow or wrong nothing is done, and a job starts
by itself when its delay ends; jobs that job_submit.lua held are released to all their partitions after that delay.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from agents.adapters.asking import Asker, Choice
from agents.adapters.slurm.fleet import Fleet, name_of, read_feeds
from agents.adapters.slurm.queue import Job, Slurm, SlurmError
from agents.adapters.slurm.site import Site
from gcn_env.errors import UserError

Say = Callable[[dict[str, Any]], None]
SNAPSHOT_S = 30.0  # between snapshots while nothing is decided
STALE = 0.05  # share of the fleet's devices that decisions may take before the policy sees a new snapshot
AGAIN = 1.0 / 3.0  # of the delay: a job that was told to wait is asked about again, and its delay begins anew


class Controller:
    """Decides on the jobs of one cluster.

    Args:
        site: partitions, pools, what jobs do not say.
        slurm: the cluster.
        asker: client of the policy.
        say: takes each event, a dictionary of plain values; `event` says which.
        clock: s since 1970.

    Attributes:
        counts: how often each thing happened: `placed`, `waited`, `fallback:REASON`, `unknown`, `failed`, ...
    """

    def __init__(
        self, site: Site, slurm: Slurm, asker: Asker, say: Say, clock: Callable[[], float] = time.time
    ) -> None:
        self.site, self.slurm, self.asker, self.say, self.clock = site, slurm, asker, say, clock
        self.counts = Counter[str]()
        self._again: dict[int, float] = {}  # job -> when it is asked about again
        self._told: set[tuple[int, str]] = set()  # what was said of jobs that stay as they are
        self._trouble = ""  # of feeds and snapshots, said once
        self._sent, self._taken, self._named = -float("inf"), 0, frozenset[str]()

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Poll until `stop`; what Slurm does not answer is tried again at the next poll."""
        while not stop.is_set():
            began = time.monotonic()
            self.poll(stop)
            stop.wait(max(every_s - (time.monotonic() - began), 0.0))

    def poll(self, stop: threading.Event | None = None) -> None:
        """Look at the queue once and decide on what waits for a decision."""
        now = self.clock()
        self.counts["polls"] += 1
        try:
            fleet = Fleet(self.site, self.slurm.jobs(), (), now)
            waiting = [j for j in fleet.asked() if self._again.get(j.id, 0.0) <= now]
            if waiting or now - self._sent > SNAPSHOT_S:
                fleet.nodes = self.slurm.nodes()
                self._send(fleet)
        except SlurmError as error:
            self._event("unreachable", why=str(error))
            return
        self._forget(fleet)
        most = max(STALE * fleet.healthy, 1.0)
        for job in waiting:
            if stop is not None and stop.is_set():
                return
            if self._taken >= most:
                self._send(fleet)
            try:
                self._decide(fleet, job)
            except SlurmError as error:  # it ended, or Slurm is busy: the next poll sees
                self._event("failed", job=job.id, why=str(error))

    def _forget(self, fleet: Fleet) -> None:
        """Keep notes of jobs in the queue only."""
        self._again = {j: at for j, at in self._again.items() if j in fleet.jobs}
        self._told = {(j, why) for j, why in self._told if j in fleet.jobs}

    def _event(self, event: str, **fields: Any) -> None:
        self.counts[event] += 1
        self.say({"event": event, **fields})

    def _send(self, fleet: Fleet) -> None:
        """A snapshot; trouble with it is said when it changes, and is no reason not to ask."""
        feeds, trouble = read_feeds(self.site, self.clock())
        document = fleet.document(feeds)
        refusal = self.asker.send(document)
        self._sent, self._taken = fleet.now, 0
        self._named = frozenset() if refusal else frozenset(j["id"] for j in document["jobs"])
        self.counts["snapshots" if not refusal else "snapshots_refused"] += 1
        trouble = refusal or trouble
        if trouble != self._trouble:
            self.say({"event": "snapshot", "trouble": trouble})
            self._trouble = trouble

    def _decide(self, fleet: Fleet, job: Job) -> None:
        """Ask about one job and act."""
        assert job.tag is not None
        start, names = job.tag
        pools = {self.site.partitions[n].pool: n for n in reversed(names) if n in self.site.partitions}
        try:
            fields = fleet.fields(job)
        except UserError as error:
            self._leave(fleet, job, "words", str(error))
            return
        if not pools:
            self._leave(fleet, job, "partitions", f"{','.join(names)} are not in the site file")
            return
        name = name_of(job)
        choice = self.asker.choose(name if name in self._named else fields, list(pools))
        if not choice.answered:
            self._leave(fleet, job, choice.reason.split(":")[0], choice.reason)
            return
        pool = choice.pool
        if pool is None and fleet.now - start >= 3600.0 * self.site.wait_h and choice.ranking:
            pool = choice.ranking[0]
        if pool is None:
            self._wait(fleet, job, choice)
        else:
            self._place(fleet, job, pools[pool], choice)

    def _place(self, fleet: Fleet, job: Job, partition: str, choice: Choice) -> None:
        began = time.monotonic()
        self.slurm.place(job, partition, fleet.now, job.partition == self.site.intake)
        fleet.placed(job, partition)
        self._taken += fleet.devices(job) * job.tasks
        self._again.pop(job.id, None)
        self.counts[f"placed:{choice.by}"] += 1
        self._event(
            "placed", job=job.id, partition=partition, by=choice.by, reason=choice.reason,
            waited_s=round(self.clock() - job.submitted, 3), ask_ms=round(1e3 * choice.seconds, 3),
            place_ms=round(1e3 * (time.monotonic() - began), 3),
        )  # fmt: skip

    def _wait(self, fleet: Fleet, job: Job, choice: Choice) -> None:
        """The policy says wait: the delay begins anew, so that it still ends if nobody is here to renew it."""
        assert job.tag is not None
        if fleet.now - job.tag[0] >= 3600.0 * self.site.wait_h:  # no pool may take it
            self._leave(fleet, job, "refused", f"no pool: {dict(choice.refused)}")
            return
        self._again[job.id] = fleet.now + AGAIN * self.site.grace_s
        if job.partition != self.site.intake:
            self.slurm.delay(job, self.clock() + self.site.grace_s)
        self._event("waited", job=job.id, by=choice.by)

    def _leave(self, fleet: Fleet, job: Job, why: str, words: str) -> None:
        """No answer: the job starts by itself when its delay ends; a held one is let go by us."""
        assert job.tag is not None
        start, names = job.tag
        if job.partition == self.site.intake and fleet.now >= start + self.site.grace_s:
            self.slurm.place(job, ",".join(names), fleet.now, held=True)
            self._event("released", job=job.id, why=why)
        if (job.id, why) not in self._told:
            self._told.add((job.id, why))
            self.counts[f"left:{why}"] += 1
            self._event("left", job=job.id, why=words)
