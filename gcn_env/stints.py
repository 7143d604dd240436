"""Which job ran where, and when: one row a stint, an uninterrupted run of one job on one pool.

Read from the state after each step, so a job that starts and ends within one step is not seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import RUNNING, State
from gcn_env.tables import Row, Table

Array = npt.NDArray[np.float64]

STINT = Table(
    "stint",
    (
        Row("job", "1", 0, 1e9, "number of the job's arrival in the episode"),
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
_POOL, _START, _END, _DEVICES = (STINT.index(n) for n in ("pool", "start", "end", "devices"))


class _Log:
    """One environment's rows."""

    def __init__(self) -> None:
        self.rows = np.zeros((256, len(STINT)))
        self.until = np.zeros(256)  # when each was expected to end, as last seen
        self.n = 0
        self.row_of = np.full(1024, -1, np.int64)  # by job: the stint it is in
        self.open = np.zeros(0, np.int64)  # jobs that ran when last seen

    def room(self, jobs: int, stints: int) -> None:
        """Make room for job numbers below `jobs` and for so many rows."""
        if jobs > self.row_of.size:
            more = np.full(max(jobs, 2 * self.row_of.size) - self.row_of.size, -1, np.int64)
            self.row_of = np.concatenate([self.row_of, more])
        if stints > len(self.rows):
            size = max(stints, 2 * len(self.rows)) - len(self.rows)
            self.rows = np.concatenate([self.rows, np.zeros((size, len(STINT)))])
            self.until = np.concatenate([self.until, np.zeros(size)])


class Stints:
    """Collects the stints of the first `k` environments of a batch; call `add` after each step."""

    def __init__(self, k: int) -> None:
        self._logs = [_Log() for _ in range(k)]

    def add(self, state: State, b: int) -> None:
        """Look at environment `b`."""
        log, jobs = self._logs[b], state.jobs
        begin, now = float(state.clock.start_h[b]), float(state.clock.now_h[b])
        here = np.flatnonzero(jobs.status[b] == RUNNING)
        job, pool = jobs.order[b, here], jobs.pool[b, here]
        start = jobs.ready[b, here] - begin
        log.room(int(job.max(initial=0)) + 1, log.n + here.size)
        row = log.row_of[job]
        known = row >= 0
        same = known & (log.rows[row, _POOL] == pool) & (np.abs(log.rows[row, _START] - start) < 1e-6)
        self._close(log, np.setdiff1d(log.open, job[same], assume_unique=True), now - begin)
        fresh = here[~same]
        at = np.arange(log.n, log.n + fresh.size)
        log.rows[at, :_START] = np.stack(
            [
                jobs.order[b, fresh], jobs.kind[b, fresh], jobs.origin[b, fresh], jobs.pool[b, fresh],
                jobs.arrival[b, fresh] - begin, jobs.deadline[b, fresh] - begin,
            ],
            axis=-1,
        )  # fmt: skip
        log.rows[at, _START] = start[~same]
        log.n += fresh.size
        log.row_of[job[~same]] = at
        row = log.row_of[job]
        log.until[row] = jobs.finish[b, here] - begin
        log.rows[row, _END] = np.minimum(log.until[row], now - begin)
        log.rows[row, _DEVICES] = jobs.held[b, here]
        log.open = job.copy()

    @staticmethod
    def _close(log: _Log, jobs: npt.NDArray[np.int64], now: float) -> None:
        """Jobs that do not run there any more ended when it was expected, at the latest now."""
        row = log.row_of[jobs]
        log.rows[row, _END] = np.clip(log.until[row], log.rows[row, _END], now)

    def finish(self) -> tuple[Array, ...]:
        """Rows of each environment, `[n, len(STINT)]`, by when they began."""
        found = (log.rows[: log.n] for log in self._logs)
        return tuple(rows[np.argsort(rows[:, _START], kind="stable")].copy() for rows in found)
