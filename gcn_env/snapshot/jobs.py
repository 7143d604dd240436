"""Jobs of a snapshot: names become numbers of the world, and what is unknown takes the source's own figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from gcn_env.core.params import CLASSES, INFERENCE, SPLITS
from gcn_env.core.state import PENDING, QUEUED, RUNNING, TRANSIT, State
from gcn_env.scenario.compile import World
from gcn_env.snapshot.document import NEVER, STATUS, TRUST_NAMES, laws
from gcn_env.snapshot.parse import SnapshotError, Units, choice, finite, known_keys, mapping, sequence
from gcn_env.snapshot.readings import JOBS

Array = Any
NAMES = (
    "id", "class", "source", "tenant", "status", "origin", "data_at", "pool", "jurisdictions", "trust", "shown_step",
)  # fmt: skip
ANYWHERE = "any"
MAX_ID = 200
_KEYS = (*NAMES, *JOBS.names)
_REQUIRED = ("gang", "work")
_FIELD = {"started": "ready", "state": "state_gb"}
_TRAIN = SPLITS.index("train")


class JobReader:
    """Writes jobs into a state of batch one."""

    def __init__(self, world: World, state: State) -> None:
        self.world, self.state = world, state
        self.laws, self.work = laws(world), world.params.work
        kinds = [CLASSES[int(k)] for k in self.work.kind]
        self.first_source = {k: kinds.index(k) for k in CLASSES if k in kinds}
        self.kinds = kinds
        self.everywhere = sum(1 << k for k in range(len(self.laws)))
        self.usual = [self._usual(s) for s in range(len(kinds))]
        self._columns = [(n, getattr(state.jobs, _FIELD.get(n, n))[0]) for n in JOBS.names]

    def _usual(self, s: int) -> dict[str, float]:
        """Medians of the source's table of jobs."""
        w = self.work
        part = slice(int(w.first[_TRAIN, s]), int(w.first[_TRAIN, s] + w.rows[_TRAIN, s]))
        columns = {"memory": w.memory_gib, "data": w.data_gb, "checkpoint": w.checkpoint_h, "comm": w.comm}
        return {k: float(np.median(v[part])) for k, v in columns.items()}

    def read(
        self, j: int, entry: Any, units: Units, now: float, where: str
    ) -> tuple[str, int | None, list[str]]:
        """Write a job to place `j`; returns its name, the step in which it last had a slot, unknown readings.

        Raises:
            SnapshotError: for a job that says too little, or names what the world has not.
        """
        row = mapping(entry, where)
        known_keys(row, _KEYS, where)
        name = row.get("id")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
            raise SnapshotError(f"{where}.id: {name!r:.80}; wanted a name of 1..{MAX_ID} characters")
        source = self._source(row, where)
        self._identity(j, row, source, where)
        numbers = self._numbers(row, units, where)
        unknown = self._fill(j, source, numbers, now)
        shown = row.get("shown_step")
        if shown is not None and (
            isinstance(shown, bool) or not isinstance(shown, int) or abs(shown) > 1 << 40
        ):
            raise SnapshotError(f"{where}.shown_step: {shown!r:.40}; wanted a whole number or none")
        return name, shown, unknown

    def _source(self, row: Any, where: str) -> int:
        kind = choice(row.get("class"), CLASSES, f"{where}.class")
        given = row.get("source")
        if given is None:
            if kind not in self.first_source:
                raise SnapshotError(
                    f"{where}.class: {kind}: the scenario has no source of that class (jobs.*.job_class)"
                )
            return self.first_source[kind]
        source = self.world.source_names.index(choice(given, self.world.source_names, f"{where}.source"))
        if self.kinds[source] != kind:
            raise SnapshotError(f"{where}.source: {given} has jobs of class {self.kinds[source]}, not {kind}")
        return source

    def _identity(self, j: int, row: Any, source: int, where: str) -> None:
        jobs, regions = self.state.jobs, self.world.region_names
        jobs.kind[0, j], jobs.source[0, j] = self.work.kind[source], source
        origin = regions.index(choice(row.get("origin"), regions, f"{where}.origin"))
        data_at = row.get("data_at")
        jobs.origin[0, j] = origin
        jobs.data_at[0, j] = (
            origin if data_at is None else regions.index(choice(data_at, regions, f"{where}.data_at"))
        )
        tenants = self.world.tenant_names
        tenant = row.get("tenant")
        jobs.tenant[0, j] = 0 if tenant is None else tenants.index(choice(tenant, tenants, f"{where}.tenant"))
        jobs.trust[0, j] = TRUST_NAMES.index(choice(row.get("trust"), TRUST_NAMES, f"{where}.trust"))
        jobs.legal[0, j] = self._jurisdictions(row.get("jurisdictions"), where)
        status = row.get("status")
        code = PENDING if status is None else STATUS.index(choice(status, STATUS[1:], f"{where}.status"))
        pool = row.get("pool")
        if (pool is None) != (code == PENDING):
            raise SnapshotError(
                f"{where}: status {STATUS[code]} with pool {pool!r:.60}; pending jobs have none, others one"
            )
        jobs.status[0, j] = code
        jobs.pool[0, j] = (
            -1
            if pool is None
            else self.world.pool_names.index(choice(pool, self.world.pool_names, f"{where}.pool"))
        )

    def _jurisdictions(self, given: Any, where: str) -> int:
        """Bit mask of the jurisdictions a job may run in; it must be said, since any default might break a law."""
        if given == ANYWHERE:
            return self.everywhere
        if given is None:
            raise SnapshotError(f"{where}.jurisdictions: missing; list where it may run, or say {ANYWHERE!r}")
        found = 0
        for k, law in enumerate(sequence(given, f"{where}.jurisdictions", len(self.laws))):
            found |= 1 << self.laws.index(choice(law, self.laws, f"{where}.jurisdictions[{k}]"))
        return found

    def _numbers(self, row: Any, units: Units, where: str) -> dict[str, float]:
        """Known numbers of a job, in our units."""
        found = {}
        for spec in JOBS.rows:
            name = spec.name
            given = row.get(name)
            if name == "checkpoint" and given == NEVER:
                found[name] = np.inf
                continue
            try:
                number = finite(given)
            except (ValueError, OverflowError) as error:
                raise SnapshotError(f"{where}.{name}: {error}") from None
            if number is None:
                if name in _REQUIRED:
                    raise SnapshotError(
                        f"{where}.{name}: missing; a job says its gang [devices] and work [h]"
                    )
                continue
            number = units.value("jobs", name, number)
            if not spec.low <= number <= spec.high:
                raise SnapshotError(
                    f"{where}.{name}: {number:g} {spec.unit} is not in {spec.low:g}..{spec.high:g}"
                )
            found[name] = number
        return found

    def _fill(self, j: int, source: int, known: dict[str, float], now: float) -> list[str]:
        """Write numbers, and assumptions for the rest; returns the names of the latter."""
        jobs, work = self.state.jobs, self.work
        kind, pool = int(jobs.kind[0, j]), int(jobs.pool[0, j])
        gang, left = known["gang"], known["work"]
        slack = float(work.slack_min[source] + work.slack_mean[source]) * left + float(work.slack_h[source])
        lease = kind == INFERENCE
        assumed = {
            "least": gang, "held": gang if pool >= 0 else 0.0, "priority": 0.0, "arrival": now,
            "deadline": now + left + slack, "finish": now + left, "started": now - 1e3,
            "value": float(work.value[source]) * gang, "slo": float(work.slo_ms[source]) if lease else np.inf,
            "state": 0.0, **self.usual[source],
        }  # fmt: skip
        values = assumed | known
        for name, column in self._columns:
            column[j] = values.get(name, 0.0)
        speed = self.world.params.fleet.speed[kind, pool] if pool >= 0 else 1.0
        jobs.speed[0, j] = 1.0 if lease else speed
        jobs.bad[0, j] = 0
        idle = {"held", "finish", "started"} if pool < 0 else set()
        return [n for n in JOBS.names if n not in known and n not in idle and not (n == "slo" and not lease)]

    # ---------------------------------------------------------------------------------------------- sums over jobs
    def _live(self) -> slice:
        return slice(0, int(self.state.jobs.n_live[0]))

    def count_devices(self) -> None:
        """Devices that each tenant's jobs hold, queue for or travel to: as `core.slots.count_devices`."""
        jobs, live = self.state.jobs, self._live()
        devices = self.state.sources.devices
        devices[0] = np.bincount(jobs.tenant[0, live], jobs.held[0, live], devices.shape[1])

    def queue_up(self) -> None:
        """Link the queues of pools: by priority, then by when a job began to wait."""
        jobs, pools, live = self.state.jobs, self.state.pools, self._live()
        pools.first[:], pools.last[:] = -1, -1
        jobs.behind[0, live] = -1
        queued = np.flatnonzero(jobs.status[0, live] == QUEUED)
        rank = np.lexsort((jobs.ready[0, queued], -jobs.priority[0, queued].astype(np.int64)))
        counts = np.zeros(pools.waiting.shape[1], np.int64)
        for j in queued[rank]:
            p = int(jobs.pool[0, j])
            if pools.first[0, p] < 0:
                pools.first[0, p] = j
            else:
                jobs.behind[0, pools.last[0, p]] = j
            pools.last[0, p] = j
            counts[p] += 1
        pools.waiting[0] = counts  # what the lists hold: the simulator walks them by this number

    def add_up(self, unknown: set[str], report: dict[str, list[str]]) -> None:
        """Sums over jobs for pools whose own reading is unknown."""
        if not unknown:
            return
        jobs, pools, live = self.state.jobs, self.state.pools, self._live()
        n, p = pools.queued.shape[1], jobs.pool[0, live]
        status = jobs.status[0, live]
        pace = pools.pace[0, p, jobs.kind[0, live]]
        hours = jobs.held[0, live] * jobs.work[0, live] / jobs.speed[0, live]
        sums = {
            "queued": np.where((status == QUEUED) | (status == TRANSIT), hours, 0.0),
            "running": np.where(status == RUNNING, hours / pace, 0.0),
            "waiting": (status == QUEUED).astype(float),
        }
        names = self.world.pool_names
        at = np.maximum(p, 0)
        for name in unknown:
            total = np.bincount(at, np.where(p >= 0, sums[name], 0.0), n)
            for pool in report[f"pools.{name}"]:
                k = names.index(pool)
                getattr(pools, name)[0, k] = total[k]
