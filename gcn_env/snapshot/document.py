"""Writing snapshots: the document that a live cluster would send, of one environment of a `Sim`.

Numbers are those of the state, so that reading the document back gives the same observation bit for bit. Hidden
things stay hidden: how long an outage or a fault will last is sent as 0 or 1, which is all that the encoder uses.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gcn_env.core.params import CLASSES
from gcn_env.core.state import CARRIES, PENDING, State
from gcn_env.scenario.compile import TRUST, World
from gcn_env.snapshot.readings import FORMAT, JOBS, LINKS, POOL_READINGS, REGION_READINGS, TABLES

NEVER = "never"  # a job that saves no work has that for `checkpoint`
STATUS = ("free", "pending", "transit", "queued", "running")  # by `Jobs.status`
TRUST_NAMES = tuple(sorted(TRUST, key=TRUST.__getitem__))
_FLAGS = {"outage_h", "fault_h", "curtail_h"}  # hours in the state, 0 or 1 here
_JOB_FIELDS = {
    "gang": "gang", "work": "work", "least": "least", "held": "held", "priority": "priority", "memory": "memory",
    "checkpoint": "checkpoint", "arrival": "arrival", "deadline": "deadline", "finish": "finish", "started": "ready",
    "value": "value", "slo": "slo", "data": "data", "state": "state_gb", "comm": "comm",
}  # fmt: skip


@cache
def units() -> dict[str, dict[str, str]]:
    """The `units` that a document declares, as this project writes them: table -> reading -> unit."""
    return {t.name: {r.name: r.unit for r in t.rows} for t in TABLES}


def laws(world: World) -> list[str]:
    """Names of jurisdictions, by bit number."""
    return sorted({r.jurisdiction for r in world.scenario.regions.values()})


def _number(value: Any) -> float | int | None:
    """A plain JSON number; None for infinity."""
    plain = value.item()
    if isinstance(plain, float) and not np.isfinite(plain):
        return None
    return plain  # type: ignore[no-any-return]


def _readings(readings: Any, state: State, b: int, at: int) -> dict[str, Any]:
    found = {}
    for row, group, field, index, _ in readings:
        value = getattr(getattr(state, group), field)[(b, at, *index)]
        if field in _FLAGS:
            value = np.int64(value > 0.0)
        elif field == "generator":
            value = np.int64(value == CARRIES)
        found[row.name] = _number(value)
    return found


def job_id(order: int) -> str:
    """Name of the job that arrived as number `order`."""
    return f"job-{order}"


def document(
    world: World, state: State, b: int = 0, *, slots: bool = True, placed: dict[str, str] | None = None
) -> dict[str, Any]:
    """The snapshot of environment `b` after a reset or a step.

    Args:
        world: of the simulator.
        state: of the simulator.
        b: environment.
        slots: say which jobs stand in the slots; without, the reader fills slots itself.
        placed: jobs that were sent to a pool since the snapshot before, for logs: some end before the next one.
    """
    clock, jobs, links = state.clock, state.jobs, state.links
    year = int(clock.year[b])
    bank = world.params.bank
    found: dict[str, Any] = {
        "format": FORMAT,
        "time": {
            "hour_of_year": float(clock.now_h[b]), "hours_in_year": int(bank.hours[year]),
            "weekday_of_1_january": int(bank.weekday[year]),
        },
        "step": int(clock.step[b]),
        "units": units(),
        "regions": {n: _readings(REGION_READINGS, state, b, r) for r, n in enumerate(world.region_names)},
        "pools": {n: _readings(POOL_READINGS, state, b, p) for p, n in enumerate(world.pool_names)},
        "links": _links(world, links, b),
        "jobs": [_job(world, jobs, b, j) for j in range(int(jobs.n_live[b]))],
    }  # fmt: skip
    if placed:
        found["placed"] = placed
    if slots:
        found["slots"] = [None if j < 0 else job_id(int(jobs.order[b, j])) for j in jobs.slot[b]]
    return found


def _links(world: World, links: Any, b: int) -> list[dict[str, Any]]:
    """Links that are not whole and empty."""
    names, found = world.region_names, []
    for a in range(len(names)):
        for c in range(len(names)):
            up, n = float(links.up[b, a, c]), int(links.n[b, a, c])
            if up != 1.0 or n != 0:
                found.append(
                    {"from": names[a], "to": names[c], **dict(zip(LINKS.names, (up, n), strict=True))}
                )
    return found


def _job(world: World, jobs: Any, b: int, j: int) -> dict[str, Any]:
    pool, status = int(jobs.pool[b, j]), int(jobs.status[b, j])
    may, names = int(jobs.legal[b, j]), laws(world)
    found: dict[str, Any] = {
        "id": job_id(int(jobs.order[b, j])),
        "class": CLASSES[int(jobs.kind[b, j])],
        "source": world.source_names[int(jobs.source[b, j])],
        "tenant": world.tenant_names[int(jobs.tenant[b, j])],
        "status": STATUS[status],
        "origin": world.region_names[int(jobs.origin[b, j])],
        "data_at": world.region_names[int(jobs.data_at[b, j])],
        "pool": world.pool_names[pool] if status != PENDING and pool >= 0 else None,
        "jurisdictions": [n for k, n in enumerate(names) if (may >> k) & 1],
        "trust": TRUST_NAMES[int(jobs.trust[b, j])],
        "shown_step": int(jobs.shown[b, j]),
    }
    for name in JOBS.names:
        found[name] = _number(getattr(jobs, _JOB_FIELDS[name])[b, j])
    if found["checkpoint"] is None:
        found["checkpoint"] = NEVER
    return found
