"""Probe environments: so small that values and best choices are known, each failing for one kind of mistake.

After Andy Jones' probe environments as collected in rejax. They have the shapes of `gcn_env.sim.Sim` in
either view: one slot, three pools, one region, six heads a control step.
"""

import numpy as np

from tests.agents.fakes import CURRENT, FakeSim, world

POOLS = 3


class Probe(FakeSim):
    """Everything is zero and legal; subclasses say what is seen and what is paid."""

    horizon = 1

    def __init__(self, n_envs, view="joint"):
        super().__init__(
            world(slots=1, pools=POOLS, regions=1, levels=2, horizon=self.horizon), n_envs, view=view
        )
        self.sent = np.zeros(n_envs, np.int64)  # 0: left
        self.mark = np.zeros(n_envs, np.int64)

    def _see(self):
        for v in self.obs.values():
            v[:] = 0.0
        drawn = 1 + (self._uniform(1)[:, 0] * POOLS).astype(np.int64)
        mask = self.obs["mask"]
        if self.sequential:
            placing = self.head == 0
            self.mark = np.where(placing, drawn, self.mark)
            mask[:, : POOLS + 1] = placing[:, None]
            mask[:, :2] = 1.0
            self.obs["head"][np.arange(self.n_envs), self.head] = 1.0
            self.obs["regions"][..., CURRENT] = ~placing[:, None]
            # As in the real view, later heads see what earlier ones have chosen.
            self.obs["pools"][np.arange(self.n_envs), self.sent - 1, 1] = ~placing & (self.sent > 0)
        else:
            self.mark = drawn
            mask[:] = 1.0
        self.look()

    def commitments(self, of=None):
        return np.zeros(self.n_envs)

    def look(self):
        """What is seen."""

    def paid(self):
        """Reward [B] of a control step in which the job was sent to `self.sent` (0: left)."""
        return np.ones(self.n_envs)

    def step(self, actions):
        assert self.legal(actions).all()
        first = np.asarray(actions).reshape(self.n_envs, -1)[:, 0]
        if self.sequential:
            self.sent = np.where(self.head == 0, first, self.sent)
            self.head = (self.head + 1) % self.n_heads
            self.closed = self.head == 0
        else:
            self.sent, self.closed = first, np.ones(self.n_envs, bool)
        self.reward = np.where(self.closed, self.paid(), 0.0)
        self.time += self.closed
        self.done = self.time >= self.horizon
        self.time[self.done] = 0
        self._see()


class OneStep(Probe):
    """Reward 1, episode over: value 1. Fails if rewards or ends are lost."""


class TwoSteps(Probe):
    """Reward 1 at the second step: values gamma, then 1. Fails if discounts or bootstraps are wrong."""

    horizon = 2

    def look(self):
        self.obs["globals"][:, 0] = self.time

    def paid(self):
        return (self.time == 1).astype(float)


class Marked(Probe):
    """Reward 1 for the marked pool, else 0. Fails if choices or observations are mixed up."""

    def look(self):
        env = np.arange(self.n_envs)
        self.obs["pools"][env, self.mark - 1, 0] = 1.0
        self.obs["pairs"][env, 0, self.mark - 1, 3] = self.head == 0

    def paid(self):
        return (self.sent == self.mark).astype(float)


class Forbidden(Probe):
    """Pool 1 would pay 5 and is illegal, pool 2 pays 1, the rest nothing: value 1. Fails if masks leak."""

    def look(self):
        self.obs["pairs"][:, 0, :, 3] = self.obs["pools"][:, :, 0] = np.arange(1, POOLS + 1)
        if self.sequential:
            self.obs["mask"][self.head == 0, 1] = 0.0
        else:
            self.obs["mask"][:, 1] = 0.0

    def paid(self):
        return np.array([0.0, 5.0, 1.0, 0.0])[self.sent]
