"""Units of an evaluation: one policy through one batch of episodes, wherever that is done.

What comes of a unit depends on nothing else, so it can be kept, done elsewhere, and done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from gcn_env.metrics import KPIS, kpis
from gcn_env.record import Record, Recorder

Progress = Callable[[str, float], None]  # policy, share of all environment steps done


class Policy(Protocol):
    """What Stable-Baselines3 calls a policy; `view` may be "joint" (assumed) or "sequential"."""

    def predict(
        self,
        observation: dict[str, npt.NDArray[Any]],
        state: Any = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], Any]:
        """Actions `[B, ...]` for observations with leading axis B, and the policy's next state."""
        ...


class Unit(NamedTuple):
    """One policy (of a team, one run) through episodes first..last-1; a record is kept of the first `keep`."""

    policy: str
    run: int
    first: int
    last: int
    keep: int

    @property
    def size(self) -> int:
        """Episodes."""
        return self.last - self.first

    @property
    def rows(self) -> slice:
        """Episodes, as an index."""
        return slice(self.first, self.last)


class Done(NamedTuple):
    """What a unit gave: key figures `[size, len(KPIS)]`, starts `[size, 2]` (see `Results`), the record or None."""

    kpis: npt.NDArray[np.float64]
    start: npt.NDArray[np.float64]
    record: Record | None


@dataclass(frozen=True)
class Job:
    """A unit with all that it needs. What comes of it depends on nothing else, so it can be done anywhere, and again.

    Attributes:
        unit: which part of the evaluation it is.
        policy: who decides.
        seeds: uint64 `[B]` of the unit's episodes.
        split: data window.
        threads: of the simulator.
    """

    unit: Unit
    policy: Policy
    seeds: npt.NDArray[np.uint64]
    split: str
    threads: int

    def play(self, world: Any, tick: Callable[[float], None]) -> Done:
        """Do it; `tick` is told the share of the episodes that has passed."""
        from gcn_env.sim import Sim  # here, so that reports of stored results need no compiled kernels

        view: Any = getattr(self.policy, "view", "joint")
        size, horizon = self.seeds.size, int(world.horizon)
        sim = Sim(world, size, split=self.split, view=view, autoreset=False, threads=self.threads)
        sim.reset(self.seeds)
        clock = sim.state.clock
        start = np.stack([clock.year.astype(np.float64), clock.start_h], axis=-1)
        recorder, memory = None, None
        if self.unit.keep:
            kept = min(self.unit.keep, size)
            recorder = Recorder(world.pool_region, world.n_regions, horizon, world.step_h, kept)
        begins, done = np.ones(size, np.bool_), np.zeros(size, np.bool_)
        out = np.empty((size, len(KPIS)))
        while not done.all():
            actions, memory = self.policy.predict(
                sim.obs, state=memory, episode_start=begins, deterministic=True
            )
            sim.step(actions)
            begins[:] = False
            if recorder is not None:
                recorder.add(sim.state, sim.closed & ~done)
            ended = sim.done & ~done
            if ended.any():
                sums = sim.last_terms_sum[ended], sim.last_flows_sum[ended], sim.last_counts_sum[ended]
                out[ended] = kpis(*sums)
                done |= ended
            tick(float(np.minimum(sim.state.clock.step, horizon).mean()) / horizon)
        return Done(out, start, None if recorder is None else recorder.finish())


# Of a world, jobs and what is told (number, share done): numbers of jobs and what came of them, in any order.
Runner = Callable[[Any, Sequence[Job], Callable[[int, float], None]], Iterator[tuple[int, Done]]]


def one_by_one(
    world: Any, jobs: Sequence[Job], tick: Callable[[int, float], None]
) -> Iterator[tuple[int, Done]]:
    """Jobs in their order, in this process."""
    for k, job in enumerate(jobs):
        yield k, job.play(world, partial(tick, k))


class Tick:
    """Reports shares of units as a share of everything: `total` episodes, of which `before` were there."""

    def __init__(self, progress: Progress | None, units: Sequence[Unit], total: int, before: int) -> None:
        self._progress, self._units, self._total, self._before = progress, units, total, before
        self._shares = np.zeros(len(units))

    def __call__(self, k: int, share: float) -> None:
        """Unit `k` has done this share of its episodes."""
        self._shares[k] = share
        if self._progress is not None:
            done = sum(s * u.size for s, u in zip(self._shares.tolist(), self._units, strict=True))
            self._progress(self._units[k].policy, (self._before + done) / self._total)
