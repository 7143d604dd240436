"""Random legal choices through the smallest world, in both views; prints what was booked."""

import json
import warnings

import numpy as np

import gcn_env
from gcn_env.sim import Sim

STEPS = {"joint": 110, "sequential": 400}  # the joint episode of 96 steps ends and starts again


def legal(mask, widths, rng):
    """One legal choice a head for each environment."""
    ends = np.cumsum(widths)
    spans = list(zip(ends - widths, ends, strict=True))
    return np.array([[rng.choice(np.flatnonzero(row[i:j])) for i, j in spans] for row in mask], np.int64)


def drive(view):
    """Rewards, and everything booked, of two environments under one stream of choices."""
    world = gcn_env.load_world("smoke")
    sim = Sim(world, 2, split="train", view=view)
    sim.reset(np.arange(2, dtype=np.uint64))
    widths = sim.head_sizes if view == "joint" else [sim.obs["mask"].shape[1]]
    rng, rewards = np.random.default_rng(0), []
    for _ in range(STEPS[view]):
        actions = legal(sim.obs["mask"], widths, rng)
        sim.step(actions if view == "joint" else actions[:, 0])
        rewards.append(sim.reward.tolist())
        assert all(np.isfinite(values).all() for values in sim.obs.values())
    ledger = sim.state.ledger
    booked = {name: getattr(ledger, name).tolist() for name in ("terms_sum", "flows_sum", "counts_sum")}
    return {"reward": rewards, **booked}


if __name__ == "__main__":
    warnings.simplefilter("error")
    wraps = {"message": "overflow encountered in scalar", "module": "gcn_env.core.rng"}  # 64 bits, as meant
    warnings.filterwarnings("ignore", category=RuntimeWarning, **wraps)
    print(json.dumps({view: drive(view) for view in STEPS}))
