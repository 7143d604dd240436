"""Which job ran where, and when: one row a stint, an uninterrupted run of one job on one pool.

Read from the state after each step, so a job that starts and ends within one step is not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import RUNNING, State
from gcn_env.tables import Row, Table

Array = npt.NDArray[np.float64]

STINT = Table(
    "stint",
    (
        Row("job", "1", -1e12, 1e12, "rank of the job's arrival; jobs found at the start may share one"),
        Row("kind", "1", 0, 9, "job class"),
        Row("origin", "1", 0, 1e4, "region of its users"),
        Row("pool", "1", 0, 1e4, "where it runs"),
        Row("arrival", "h", -1e6, 1e6, "from the start of the episode, as the next three"),
        Row("deadline", "h", -1e6, 1e9, "when it should have ended"),
        Row("start", "h", -1e6, 1e6, "when it began to run here"),
        Row("end", "h", -1e6, 1e6, "when it ended here, or was last seen"),
        Row("devices", "1", 0, 1e9, "devices held at the end"),
    ),
)
_START, _END, _DEVICES = (STINT.index(n) for n in ("start", "end", "devices"))


class _Log:
    """One environment's rows."""

    def __init__(self) -> None:
        self.rows = np.zeros((256, len(STINT)))
        self.until = np.zeros(256)  # when each was expected to end, as last seen
        self.n = 0
        self.keys = np.zeros(0, "V32")  # stints that ran when last seen, and their rows
        self.at = np.zeros(0, np.int64)

    def append(self, rows: Array) -> npt.NDArray[np.int64]:
        """Add rows; returns their numbers."""
        end = self.n + len(rows)
        if end > len(self.rows):
            more = max(end, 2 * len(self.rows)) - len(self.rows)
            self.rows = np.concatenate([self.rows, np.zeros((more, len(STINT)))])
            self.until = np.concatenate([self.until, np.zeros(more)])
        at = np.arange(self.n, end)
        self.rows[at], self.n = rows, end
        return at


def _keys(order: npt.NDArray[Any], pool: npt.NDArray[Any], start: Array) -> npt.NDArray[Any]:
    """What tells stints apart: job, pool and beginning, and the place among those that are equal in all three."""
    columns = np.stack([order, pool, np.round(start, 6), np.zeros(len(order))], axis=1).astype(np.float64)
    by = np.lexsort(columns[:, :3].T)
    equal = (
        np.r_[False, (np.diff(columns[by, :3], axis=0) == 0.0).all(axis=1)] if len(by) else np.zeros(0, bool)
    )
    count = np.arange(len(by))
    columns[by, 3] = count - np.maximum.accumulate(np.where(equal, 0, count)) if len(by) else 0.0
    return np.ascontiguousarray(columns + 0.0).view("V32").ravel()  # + 0.0: no negative zeros among the bytes


class Stints:
    """Collects the stints of the first `k` environments of a batch; call `add` after each step."""

    def __init__(self, k: int) -> None:
        self._logs = [_Log() for _ in range(k)]

    def add(self, state: State, b: int) -> None:
        """Look at environment `b`."""
        log, jobs = self._logs[b], state.jobs
        begin, now = float(state.clock.start_h[b]), float(state.clock.now_h[b])
        here = np.flatnonzero(jobs.status[b] == RUNNING)
        start = jobs.ready[b, here] - begin
        keys = _keys(jobs.order[b, here], jobs.pool[b, here], start)
        _, old, mine = np.intersect1d(log.keys, keys, assume_unique=True, return_indices=True)
        gone = np.delete(log.at, old)  # they ended when it was expected, at the latest now
        log.rows[gone, _END] = np.clip(log.until[gone], log.rows[gone, _END], now - begin)
        at = np.full(len(here), -1, np.int64)
        at[mine] = log.at[old]
        fresh = np.flatnonzero(at < 0)
        who = here[fresh]
        columns = (
            jobs.order[b, who], jobs.kind[b, who], jobs.origin[b, who], jobs.pool[b, who],
            jobs.arrival[b, who] - begin, jobs.deadline[b, who] - begin, start[fresh], start[fresh],
            jobs.held[b, who],
        )  # fmt: skip
        at[fresh] = log.append(np.stack(columns, axis=-1).astype(np.float64))
        log.until[at] = jobs.finish[b, here] - begin
        log.rows[at, _END] = np.minimum(log.until[at], now - begin)
        log.rows[at, _DEVICES] = jobs.held[b, here]
        log.keys, log.at = keys, at

    def finish(self) -> tuple[Array, ...]:
        """Rows of each environment, `[n, len(STINT)]`, by when they began."""
        found = (log.rows[: log.n] for log in self._logs)
        return tuple(rows[np.argsort(rows[:, _START], kind="stable")].copy() for rows in found)
