"""`Sim`: the one owner of state. A batch of environments of one world, stepped together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env import drivers, memory
from gcn_env.action import head_sizes
from gcn_env.core.commitments import commitments
from gcn_env.core.costs import N_COSTS
from gcn_env.core.jit import Calls
from gcn_env.core.params import SPLITS
from gcn_env.core.rng import next_seed
from gcn_env.core.state import N_HEADS, State, allocate, copied, copy_into, nbytes
from gcn_env.core.step import reset_one
from gcn_env.encoder import View
from gcn_env.errors import UserError, nearest
from gcn_env.fleet_encoder import encode_constants
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.observation import GLOBALS, HEADS, JOBS, PAIRS, POOLS, REGIONS
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
Obs = dict[str, Array]
ViewName = Literal["joint", "sequential"]
BLOCK = 8  # environments whose state stays in a core's cache through all phases


class Snapshot(NamedTuple):
    """Everything that changes in a `Sim`."""

    state: State
    cursor: Array
    choices: Array


class Sim:
    """B environments of one world.

    Attributes:
        obs: name -> float32 array [B, ...], overwritten by every reset and step.
        reward: float64 [B], minus the USD of the control step over the reference cost (0 inside a step of the
            sequential view).
        done: bool [B], the horizon was reached in this step.
        closed: bool [B], this decision closed a control step (joint view: always).
        final_obs: observations before an automatic reset; rows are valid where `done`.
        state: the groups of `gcn_env.core.state`; its `ledger` holds the last step and the episode so far.
        last_terms_sum, last_flows_sum, last_counts_sum: totals of each environment's last finished episode.
        last_seed: uint64 [B], seed of that episode.
    """

    def __init__(
        self,
        world: World,
        n_envs: int,
        *,
        split: str = "train",
        view: ViewName = "joint",
        autoreset: bool = True,
        threads: int = 1,
    ) -> None:
        """Allocate `n_envs` environments; call `reset` before the first `step`.

        Args:
            world: compiled scenario.
            n_envs: B.
            split: which years and trace windows episodes come from.
            view: `joint` (all heads at once) or `sequential` (one head a call, time standing still in between).
            autoreset: start the next episode in the step that ends one.
            threads: how many ranges of the batch are stepped at the same time (joint view).

        Raises:
            UserError: for an unknown split or view, or a batch below 1 or larger than memory.
        """
        if split not in SPLITS:
            raise UserError(f"no split {split!r}{nearest(split, SPLITS)} (splits: {', '.join(SPLITS)})")
        if view not in ("joint", "sequential"):
            raise UserError(
                f"no view {view!r}{nearest(view, ('joint', 'sequential'))} (views: joint, sequential)"
            )
        if n_envs < 1:
            raise UserError(f"n_envs = {n_envs}: a batch needs at least one environment")
        self.world, self.n_envs, self.split, self.view = world, int(n_envs), split, view
        self.autoreset, self.threads = autoreset, threads
        self._parts = max(1, min(int(threads), self.n_envs)) if view == "joint" else 1
        self._pool = ThreadPoolExecutor(self._parts) if self._parts > 1 else None
        d, q, p, r = world.scenario.decisions, world.n_slots, world.n_pools, world.n_regions
        self.head_sizes = head_sizes(q, p, r, world.n_levels)
        node = int(world.params.fleet.node.max())
        tenants = len(world.params.work.quota)
        joint = view == "joint"
        n_rows, n_mask = (q, int(self.head_sizes.sum())) if joint else (1, max(p + 1, world.n_levels))
        b = self.n_envs
        sizes = (d.job_places, q, p, r, len(world.source_names), node, tenants)
        seen = (
            n_rows * (len(JOBS) + p * len(PAIRS)) + p * len(POOLS) + r * len(REGIONS) + len(GLOBALS) + n_mask
        )
        memory.check(
            nbytes(allocate(1, *sizes)) + 2 * 4 * seen, b, world.name
        )  # seen twice: also `final_obs`
        self.state = allocate(b, *sizes)

        def zeros(*shape: int) -> Array:
            return np.zeros((b, *shape), np.float32)

        self._view = View(
            zeros(n_rows, len(JOBS)), zeros(p, len(POOLS)), zeros(r, len(REGIONS)), zeros(n_rows, p, len(PAIRS)),
            zeros(len(GLOBALS)), zeros(n_mask), np.zeros((b, N_COSTS)), np.zeros((b, p, 2)),
        )  # fmt: skip
        self.obs: Obs = {
            k: getattr(self._view, k) for k in ("jobs", "pools", "regions", "pairs", "globals", "mask")
        }
        w = world.params
        encode_constants(self._view.pools, self._view.regions, w.fleet, w.geo, w.money, world.plant_kind)
        self._head = zeros(len(HEADS))
        if not joint:
            self.obs["head"] = self._head
        self.final_obs: Obs = {k: np.zeros_like(v) for k, v in self.obs.items()}
        self.reward = np.zeros(b)
        self.done = np.zeros(b, np.bool_)
        self.closed = np.ones(b, np.bool_)
        self.last_terms_sum = np.zeros((b, len(TERMS)))
        self.last_flows_sum = np.zeros((b, r, len(FLOWS)))
        self.last_counts_sum = np.zeros((b, len(COUNTS)))
        self.last_seed = np.zeros(b, np.uint64)
        self._cursor = np.zeros(b, np.int64)
        self._choices = np.zeros((b, q + N_HEADS * r), np.int64)
        self._split = SPLITS.index(split)
        self._call = Calls()
        self._years = world.bank.rows(split)

    def reset(self, seeds: npt.ArrayLike) -> Obs:
        """Start an episode in every environment.

        Args:
            seeds: integers [B] (or one, from which environment i takes seed + i). Splits have seeds of their own: the
                same number gives other episodes in training than in test.
        """
        given = np.atleast_1d(np.asarray(seeds))
        if not np.issubdtype(given.dtype, np.integer):
            raise UserError(f"seeds must be integers, not {given.dtype}")
        if given.size == 1 and self.n_envs > 1:
            given = given[0] + np.arange(self.n_envs)
        if given.shape != (self.n_envs,):
            raise UserError(
                f"{given.size} seeds for {self.n_envs} environments; give one each, or one for all"
            )
        for b in range(self.n_envs):
            seed = (int(given[b]) * 4 + self._split) % 2**64
            self._begin(b, np.uint64(seed))
        self.done[:] = False
        self.closed[:] = True
        self.reward[:] = 0.0
        self.state.clock.illegal[:] = 0
        return self.obs

    def step(self, actions: npt.ArrayLike) -> None:
        """Take one decision in every environment.

        Args:
            actions: joint view: int [B, Q + 5R]; sequential view: int [B]. Any integer is survived: what the mask
                forbids becomes 'leave as it is' and is counted.

        Raises:
            UserError: for another shape or type.
        """
        given = np.asarray(actions)
        shape = (self.n_envs, len(self.head_sizes)) if self.view == "joint" else (self.n_envs,)
        if given.shape != shape or not np.issubdtype(given.dtype, np.integer):
            raise UserError(
                f"actions are {given.dtype} {list(given.shape)}; this view takes integers {list(shape)}"
            )
        acts = np.ascontiguousarray(given, np.int64)
        if self.view == "joint":
            ends = [self.n_envs * k // self._parts for k in range(self._parts + 1)]
            ranges = list(pairwise(ends))
            if self._pool is None:
                self._step_range(acts, ranges[0])
            else:
                list(self._pool.map(partial(self._step_range, acts), ranges))
        else:
            self._choose(acts)
        if self.done.any():
            self._finish(np.flatnonzero(self.done))

    def _choose(self, acts: Array) -> None:
        w = self.world
        self._call(
            drivers.choose,
            acts,
            self._cursor,
            self._choices,
            self.closed,
            self.state,
            w.params,
            self.reward,
            self.done,
        )
        for b in np.flatnonzero(self.closed):
            self._step_range(self._choices, (int(b), int(b) + 1), shown=False)
        self._show((0, self.n_envs), self.closed)

    def _step_range(self, acts: Array, part: tuple[int, int], shown: bool = True) -> None:
        w = self.world
        self._call(
            drivers.joint_range, *part, BLOCK, shown, self._split, acts, w.n_levels, w.timing, self.state, w.params,
            self._view, self.reward, self.done,
        )  # fmt: skip

    def _show(self, part: tuple[int, int], opening: Array) -> None:
        w = self.world
        self._call(
            drivers.show, *part, opening, w.n_levels, self._cursor, self._choices, w.timing, self.state, w.params,
            self._view, self._head,
        )  # fmt: skip

    def _finish(self, ended: npt.NDArray[np.intp]) -> None:
        ledger = self.state.ledger
        self.last_terms_sum[ended] = ledger.terms_sum[ended]
        self.last_flows_sum[ended] = ledger.flows_sum[ended]
        self.last_counts_sum[ended] = ledger.counts_sum[ended]
        self.last_seed[ended] = self.state.clock.seed[ended]
        for name, array in self.obs.items():
            self.final_obs[name][ended] = array[ended]
        if self.autoreset:
            booked = (ledger.terms, ledger.flows, ledger.counts, self.state.sources.used_h)
            keep = [a[ended].copy() for a in booked]
            for b in ended:
                self._begin(int(b), next_seed(self.state.clock.seed[b]))
            for array, kept in zip(booked, keep, strict=True):
                array[ended] = kept  # the last step's booking stays readable

    def begin_next(self, b: int = 0) -> None:
        """Start the next episode of environment `b`: what an automatic reset would have started."""
        self._begin(b, next_seed(self.state.clock.seed[b]))
        self.reward[b], self.done[b], self.closed[b] = 0.0, False, True
        self.state.clock.illegal[b] = 0

    def commitments(self, of: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float64]:
        """What all unfinished work is expected to cost from now on, USD [B]: for learners, never booked.

        Args:
            of: environments [B] that are asked about, all if left out; 0 is said of the others.
        """
        usd = np.zeros(self.n_envs)
        ranges = [(0, self.n_envs)] if of is None or of.all() else [(b, b + 1) for b in np.flatnonzero(of)]
        for lo, hi in ranges:
            self._call(commitments, lo, hi, self.state, self.world.params, usd)
        return usd

    def _begin(self, b: int, seed: Any) -> None:
        w = self.world
        self._call(reset_one, b, np.uint64(seed), self._split, self._years, w.timing, self.state, w.params)
        self._encode(b, opening=True)

    def _encode(self, b: int, opening: bool) -> None:
        w = self.world
        if self.view == "joint":
            if opening:
                self._call(drivers.refill, b, b + 1, w.timing, self.state, w.params)
            self._call(
                drivers.encode_joint_range, b, b + 1, w.n_levels, w.timing, self.state, w.params, self._view
            )
            return
        self._show((b, b + 1), np.full(self.n_envs, opening))

    def snapshot(self) -> Snapshot:
        """An independent copy of everything that changes."""
        return Snapshot(copied(self.state), self._cursor.copy(), self._choices.copy())

    def restore(self, snapshot: Snapshot) -> Obs:
        """Go back to a snapshot of this or of an equal `Sim`; what follows replays exactly."""
        copy_into(self.state, snapshot.state)
        self._cursor[:] = snapshot.cursor
        self._choices[:] = snapshot.choices
        for b in range(self.n_envs):
            self._encode(b, opening=False)
        return self.obs
