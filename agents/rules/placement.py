"""Placement rules. Each scores pools for one job slot at a time, for a whole batch, from what the policy sees.

`score(obs, q, taken) -> float [B, P]`, lower is better; `taken` [B, P] is the share of each pool's devices given to
earlier slots of the same step, so that a rule does not send every job of a step to one pool. A rule may also say
`wait(obs, q, chosen) -> bool [B]`: leave the job for now. Jobs that run or queue at a pool stay there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.observation import JOBS, PAIRS, POOLS, REGIONS

Array = npt.NDArray[Any]
Obs = dict[str, Array]

_X = {n: PAIRS.index(n) for n in PAIRS.names}
_P = {n: POOLS.index(n) for n in POOLS.names}
_J = {n: JOBS.index(n) for n in JOBS.names}
_R = {n: REGIONS.index(n) for n in REGIONS.names}
NOTHING = 1e-6  # what a compressed column may show for zero
_FULL = 1e3  # beyond any score: pools without room come after all pools with room


@dataclass
class Context:
    """What a rule may look at for slot `q`: the observation, what this step already took, and the world's map."""

    obs: Obs
    q: int
    taken: Array  # float [B, P] share of devices taken by earlier slots of this step
    pool_region: Array  # int [P]
    turn: Array  # int [B] counter for round-robin
    rng: np.random.Generator

    def pair(self, name: str) -> Array:
        """Column of this slot's pairs, [B, P]."""
        return self.obs["pairs"][:, self.q, :, _X[name]]

    def pool(self, name: str) -> Array:
        """Column of the pools, [B, P]."""
        return self.obs["pools"][:, :, _P[name]]

    def region(self, name: str) -> Array:
        """Column of the pools' regions, [B, P]."""
        return self.obs["regions"][:, :, _R[name]][:, self.pool_region]

    def usd(self, name: str) -> Array:
        """A money column of this slot's pairs in USD, [B, P]."""
        return np.sinh(self.pair(name).astype(np.float64))

    def crowding(self) -> Array:
        """1 where the pool has no room left for this job in this step, else 0, [B, P]."""
        room = self.pool("free") - self.taken
        return ((room + 1e-6 < self.pair("share")) | (self.pair("wait") > NOTHING)).astype(np.float64)


Score = Callable[[Context], Array]
RULES: dict[str, tuple[Score, bool, str]] = {}


def rule(name: str, doc: str, spill: bool = True) -> Callable[[Score], Score]:
    """Register a placement rule; with `spill`, pools without room come after pools with room."""

    def add(score: Score) -> Score:
        RULES[name] = (score, spill, doc)
        return score

    return add


@rule("random", "any legal pool", spill=False)
def _random(c: Context) -> Array:
    return c.rng.random(c.taken.shape)


@rule("round-robin", "the next legal pool in turn", spill=False)
def _round_robin(c: Context) -> Array:
    n = c.taken.shape[1]
    return np.asarray((np.arange(n)[None, :] - c.turn[:, None]) % n)


@rule("static-order", "always the first legal pool with room, in the scenario's order")
def _static(c: Context) -> Array:
    return np.broadcast_to(np.arange(c.taken.shape[1], dtype=np.float64), c.taken.shape)


@rule("least-loaded", "the pool with the largest free share (Kubernetes LeastAllocated)")
def _least_loaded(c: Context) -> Array:
    return np.asarray(c.taken - c.pool("free") + c.pool("queued"))


@rule("most-packed", "the fullest pool that has room (MostAllocated)")
def _most_packed(c: Context) -> Array:
    return c.pool("free") - c.taken


@rule("nearest", "the pool with the shortest round trip to the job's users")
def _nearest(c: Context) -> Array:
    return c.pair("rtt")


@rule("cheapest", "the pool with the lowest energy price now")
def _cheapest(c: Context) -> Array:
    return c.region("price_now")


@rule("greenest", "the pool with the lowest grid carbon now")
def _greenest(c: Context) -> Array:
    return c.region("carbon_now")


@rule("coolest", "the pool whose region has the lowest wet bulb now")
def _coolest(c: Context) -> Array:
    return c.region("wet")


@rule("fastest", "the pool with the fastest hardware for the job")
def _fastest(c: Context) -> Array:
    return -c.pair("speed")


@rule(
    "cost-greedy-migration",
    "cost-greedy, that also sends running and queued jobs elsewhere where that clearly saves",
    spill=False,
)
@rule(
    "cost-greedy-deferral",
    "cost-greedy, but wait when a forecast hour within the slack is clearly cheaper",
    spill=False,
)
@rule("cost-greedy", "least expected USD over all terms, if sent now", spill=False)
def _cost_with_crowding(c: Context) -> Array:
    """Expected USD now, plus what waiting behind this step's own placements would cost."""
    delay_h = c.crowding() * (0.25 + np.sinh(4.0 * c.pool("running").astype(np.float64)) * 0.1)
    value = np.sinh(4.0 * c.obs["jobs"][:, c.q, _J["value"]].astype(np.float64))[:, None]
    tight = np.where(c.obs["jobs"][:, c.q, _J["inference"]][:, None] > 0, 1.0, c.pair("slack") < 0.3)
    return c.usd("cost") + delay_h * value * tight


DEFERRING, MOVING = ("cost-greedy-deferral",), ("cost-greedy-migration",)
MOVE_GAIN = 0.3  # move if that saves more than this share of what staying costs: estimates err
DEFER_GAIN = 0.08  # wait if the best forecast hour saves more than this share: forecasts err, and queues fill


def _better_later(c: Context, legal: Array, best: Array) -> Array:
    """Whether a forecast hour within the slack is clearly cheaper than pool `best` now, bool [B]; leases never wait."""
    usd = c.usd("cost")
    later = usd - c.pair("patience") * (np.abs(usd) + 0.01)
    now = usd[np.arange(len(usd)), best]
    patient = c.obs["jobs"][:, c.q, _J["inference"]] == 0  # a crowded pool may be cheaper too
    return np.asarray(patient & (now - np.where(legal, later, np.inf).min(1) > DEFER_GAIN * np.abs(now)))


def _worth_moving(c: Context, values: Array, best: Array) -> Array:
    """Whether a job at a pool would clearly be better off at pool `best`, which has room for it, bool [B]."""
    rows = np.arange(len(values))
    stay = (c.usd("cost") * (c.pair("here") > 0)).sum(1)
    room = c.crowding()[rows, best] == 0
    return np.asarray(room & (stay - values[rows, best] > MOVE_GAIN * np.abs(stay)))


def place(name: str, obs: Obs, pool_region: Array, turn: Array, rng: np.random.Generator) -> Array:
    """Choices int64 [B, Q] of rule `name`; advances `turn` in place."""
    score, spill, _ = RULES[name]
    batch, slots, pools = obs["pairs"].shape[:3]
    out = np.zeros((batch, slots), np.int64)
    taken = np.zeros((batch, pools))
    rows = np.arange(batch)
    for q in range(slots):
        c = Context(obs, q, taken, pool_region, turn, rng)
        legal, there = c.pair("legal") > 0, (c.pair("here") > 0).any(1)
        active = legal.any(1) & (~there | (name in MOVING))
        if not active.any():
            continue
        values = np.asarray(score(c), np.float64)
        if spill:
            values = values + _FULL * c.crowding()
        best = np.where(legal, values, np.inf).argmin(1)
        if name in DEFERRING:
            active &= there | ~_better_later(c, legal, best)
        if name in MOVING:
            active &= ~there | _worth_moving(c, values, best)
        out[:, q] = np.where(active, best + 1, 0)
        taken[rows[active], best[active]] += c.pair("share")[rows[active], best[active]]
        turn[active] = best[active] + 1
    return out
