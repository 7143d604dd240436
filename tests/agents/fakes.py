"""A simulator that is none: random observations of the real shapes, a reward that depends on state and
choices.

It follows the interface of `gcn_env.sim.Sim` to the letter, so that learners, run folders and resuming are
tested without compiling a simulator, and every number in it is drawn from state that `snapshot` carries.
"""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from gcn_env.core.state import N_HEADS
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.observation import GLOBALS, JOBS, PAIRS, POOLS, REGIONS

COLUMNS = {
    "jobs": len(JOBS), "pools": len(POOLS), "regions": len(REGIONS), "pairs": len(PAIRS),
    "globals": len(GLOBALS),
}  # fmt: skip
CURRENT = REGIONS.index("is_current")
MULTIPLIER, INCREMENT = np.uint64(6364136223846793005), np.uint64(1442695040888963407)


class FakeScenario(SimpleNamespace):
    """What is saved of a scenario."""

    def model_dump(self, **_):
        return {"name": "fake"}


def world(slots=3, pools=3, regions=2, levels=4, horizon=12):
    """What the learners read of a world."""
    return SimpleNamespace(
        name="fake", n_slots=slots, n_pools=pools, n_regions=regions, n_levels=levels, horizon=horizon,
        step_h=0.25, reference_usd=100.0, fingerprint="fake", data_fingerprints={},
        scenario=FakeScenario(regions={}, doc="", prices=SimpleNamespace(carbon_usd_per_t=0.0)),
        region_names=tuple(f"region-{i}" for i in range(regions)),
        pool_names=tuple(f"pool-{i}" for i in range(pools)),
    )  # fmt: skip


class Ledger(NamedTuple):
    terms_sum: np.ndarray
    flows_sum: np.ndarray
    counts_sum: np.ndarray


class State(NamedTuple):
    ledger: Ledger


class FakeSim:
    """Joint or sequential view over `world`; the reward falls with the mean of the chosen numbers."""

    def __init__(self, world, n_envs, split="train", view="joint", autoreset=True):
        self.world, self.n_envs, self.split, self.view, self.autoreset = world, n_envs, split, view, autoreset
        w, b = world, n_envs
        self.sequential = view == "sequential"
        slots = 1 if self.sequential else w.n_slots
        choices = max(w.n_pools + 1, w.n_levels)
        flat = w.n_slots * (w.n_pools + 1) + N_HEADS * w.n_regions * w.n_levels
        shapes = {
            "jobs": (slots, COLUMNS["jobs"]), "pools": (w.n_pools, COLUMNS["pools"]),
            "regions": (w.n_regions, COLUMNS["regions"]), "pairs": (slots, w.n_pools, COLUMNS["pairs"]),
            "globals": (COLUMNS["globals"],), "mask": (choices if self.sequential else flat,),
        }  # fmt: skip
        if self.sequential:
            shapes["head"] = (1 + N_HEADS,)
        self.obs = {k: np.zeros((b, *s), np.float32) for k, s in shapes.items()}
        self.final_obs = {k: np.zeros_like(v) for k, v in self.obs.items()}
        self.reward, self.done, self.closed = np.zeros(b), np.zeros(b, bool), np.ones(b, bool)
        self.rng = np.zeros(b, np.uint64)
        self.time, self.head = np.zeros(b, np.int64), np.zeros(b, np.int64)
        self.state = State(
            Ledger(
                np.zeros((b, len(TERMS))), np.zeros((b, w.n_regions, len(FLOWS))), np.zeros((b, len(COUNTS)))
            )
        )
        self.last_terms_sum, self.last_flows_sum, self.last_counts_sum = (a.copy() for a in self.state.ledger)

    @property
    def n_heads(self):
        return self.world.n_slots + N_HEADS * self.world.n_regions

    def reset(self, seeds):
        self.rng[:] = np.asarray(seeds, np.uint64) * np.uint64(7919) + np.uint64(1)
        self.time[:] = self.head[:] = 0
        for a in self.state.ledger:
            a[:] = 0
        self.done[:] = False
        self._see()

    def _uniform(self, count):
        """`[B, count]` in [0, 1) from each environment's own counter."""
        out = np.empty((self.n_envs, count))
        with np.errstate(over="ignore"):
            for i in range(count):
                self.rng = self.rng * MULTIPLIER + INCREMENT
                out[:, i] = (self.rng >> np.uint64(40)).astype(float) / 2**24
        return out

    def _see(self):
        w = self.world
        u = self._uniform(8)
        for i, key in enumerate(("jobs", "pools", "regions", "pairs", "globals")):
            a = self.obs[key]
            grid = np.arange(a[0].size).reshape(a.shape[1:])
            a[:] = np.sin(grid[None] * 0.37 + 6.28 * u[:, i].reshape(-1, *[1] * (a.ndim - 1)))
        self.obs["regions"][..., CURRENT] = 0.0
        mask = self.obs["mask"]
        if self.sequential:
            self._see_head(mask)
            return
        mask[:] = 1.0
        place = mask[:, : w.n_slots * (w.n_pools + 1)].reshape(-1, w.n_slots, w.n_pools + 1)
        place[:, 0, 1:] = 0.0  # an empty slot
        place[np.arange(self.n_envs), 1, 1 + (u[:, 5] * w.n_pools).astype(int)] = 0.0
        cool = mask[:, w.n_slots * (w.n_pools + 1) :].reshape(-1, N_HEADS * w.n_regions, w.n_levels)
        cool[:, -1, 1:] = 0.0  # a head that this plant does not have

    def _see_head(self, mask):
        w = self.world
        mask[:] = 0.0
        self.obs["head"][:] = 0.0
        for i, h in enumerate(self.head):
            if h < w.n_slots:
                mask[i, : w.n_pools + 1] = 1.0
                mask[i, 1 + (i + h) % w.n_pools] = 0.0
                self.obs["head"][i, 0] = 1.0
            else:
                region, k = divmod(h - w.n_slots, N_HEADS)
                mask[i, : w.n_levels] = 1.0
                self.obs["head"][i, 1 + k] = 1.0
                self.obs["regions"][i, region, CURRENT] = 1.0
                self.obs["jobs"][i] = self.obs["pairs"][i] = 0.0

    def legal(self, actions):
        """Whether each environment's choices are inside the mask of the present observation."""
        w, mask = self.world, self.obs["mask"]
        actions = np.asarray(actions)
        if self.sequential:
            return mask[np.arange(self.n_envs), actions.reshape(-1)] > 0
        sizes = [w.n_pools + 1] * w.n_slots + [w.n_levels] * (N_HEADS * w.n_regions)
        start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return (np.take_along_axis(mask, start + actions, 1) > 0).all(1)

    def step(self, actions):
        assert self.legal(actions).all()
        actions = np.asarray(actions).reshape(self.n_envs, -1)
        self.closed = np.ones(self.n_envs, bool)
        if self.sequential:
            self.head = (self.head + 1) % self.n_heads
            self.closed = self.head == 0
        usd = 50.0 + 10.0 * actions.mean(1) + 5.0 * self.obs["globals"][:, 0]
        usd = np.where(self.closed, usd, 0.0)
        ledger = self.state.ledger
        ledger.terms_sum[:, 0] += usd
        ledger.flows_sum[:, :, [FLOWS.index("it"), FLOWS.index("grid")]] += (self.closed * 1.0)[:, None, None]
        ledger.counts_sum[:, COUNTS.index("completed")] += self.closed
        self.reward = -usd / self.world.reference_usd
        self.time += self.closed
        self.done = self.time >= self.world.horizon
        self._see()
        if self.done.any() and self.autoreset:
            self._finish()

    def _finish(self):
        d = self.done
        for k, v in self.obs.items():
            self.final_obs[k][d] = v[d]
        lasts = (self.last_terms_sum, self.last_flows_sum, self.last_counts_sum)
        for last, a in zip(lasts, self.state.ledger, strict=True):
            last[d] = a[d]
            a[d] = 0.0
        self.time[d] = self.head[d] = 0
        if self.sequential:
            self._see()

    def commitments(self, of=None):
        return 30.0 * self.obs["globals"][:, 1].astype(float) + self.time

    def snapshot(self):
        return {
            "rng": self.rng.copy(), "time": self.time.copy(), "head": self.head.copy(),
            "ledger": Ledger(*(a.copy() for a in self.state.ledger)),
            "obs": {k: v.copy() for k, v in self.obs.items()},
        }  # fmt: skip

    def restore(self, snapshot):
        self.rng, self.time, self.head = (snapshot[k].copy() for k in ("rng", "time", "head"))
        for a, v in zip(self.state.ledger, snapshot["ledger"], strict=True):
            a[...] = v
        for k, v in snapshot["obs"].items():
            self.obs[k][...] = v
