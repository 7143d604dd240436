"""Compiled worlds, action streams and comparisons that tests of the whole simulator share."""

import hashlib
from pathlib import Path

import numpy as np

import gcn_env
from gcn_env.sim import Sim

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ROOT / "configs" / "scenarios"
HUGE = 2**62

_POOLS = [f"regions.{name}" for name in ("north.pools.gpu", "north.pools.cpu", "south.pools.gpu")]
_GRIDS = [f"regions.{name}.grid.outages_per_year" for name in ("north", "south")]
# A year of bad luck in every day: nodes break each few hours, the grid four times a day.
ROUGH = {
    **{f"{pool}.node_mtbf_days": 0.4 for pool in _POOLS},
    **{f"{pool}.repair_mean_h": 2.0 for pool in _POOLS},
    **dict.fromkeys(_GRIDS, 1500.0),
}
# Nothing breaks: what a step books can be recomputed from the state before and after.
CALM = {
    **{f"{pool}.node_mtbf_days": 1e9 for pool in _POOLS},
    **dict.fromkeys(_GRIDS, 0.0),
    **{f"regions.{name}.supply.fault_scale": 0.0 for name in ("north", "south")},
}
# Every event of a site often: outages, generators that fail, faults, a tight feeder, curtailment, caps, battery.
STORMY = {
    **ROUGH,
    **{
        f"regions.{name}.{key}": value
        for name in ("north", "south")
        for key, value in {
            "supply.fault_scale": 300.0,
            "supply.generator_start_probability": 0.6,
            "supply.power_cap_floor_share": 0.5,
            "supply.battery_h": 1.0,
            "supply.pv_share": 0.3,
            "grid.feeder_share": 1.0,
            "grid.curtailment.per_year": 800.0,
        }.items()
    },
}


_COMPILED = {}


def world(name="smoke", overrides=None):
    """A compiled shipped scenario; equal requests share it."""
    key = (name, repr(sorted((overrides or {}).items())))
    if key not in _COMPILED:
        _COMPILED[key] = gcn_env.load_world(str(SCENARIOS / f"{name}.yaml"), overrides)
    return _COMPILED[key]


def legal_actions(rng, sim):
    """A legal choice for every head of the joint view, int64 [B, heads]."""
    mask, out, at = sim.obs["mask"], np.zeros((sim.n_envs, len(sim.head_sizes)), np.int64), 0
    for h, n in enumerate(sim.head_sizes):
        score = rng.random((sim.n_envs, n)) * (mask[:, at : at + n] > 0.5)
        out[:, h] = score.argmax(1)
        at += n
    return out


def legal_choice(rng, sim):
    """A legal choice of the sequential view, int64 [B]."""
    mask = sim.obs["mask"]
    return (rng.random(mask.shape) * (mask > 0.5)).argmax(1)


def wild_actions(rng, sim):
    """Choices of all kinds: legal, in range, just outside, negative, and as large as integers go."""
    n, shape = sim.head_sizes, (sim.n_envs, len(sim.head_sizes))
    inside = rng.integers(0, n, shape)
    near = rng.integers(-2, n + 3, shape)
    far = rng.integers(-HUGE, HUGE, shape)
    kind = rng.integers(0, 8, shape)
    return np.select([kind < 3, kind < 6, kind == 6], [legal_actions(rng, sim), inside, near], far)


def places(jobs, b):
    """Places of the live jobs of environment `b`."""
    return np.arange(jobs.n_live[b])


def arrays(state):
    """Name -> array of everything in a state."""
    return {f"{type(g).__name__}.{name}": getattr(g, name) for g in state for name in g._fields}


def digest(*parts):
    """Hash of the bytes of arrays."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def trajectory(sim, seeds, steps, actions):
    """Ledger terms, flows, counts, rewards and observations of each step, as one list of hashes."""
    sim.reset(seeds)
    out = [digest(*sim.obs.values())]
    for t in range(steps):
        sim.step(actions(t, sim))
        out.append(fingerprint(sim))
    return out


def fingerprint(sim):
    """Hash of what the last step booked, paid and showed."""
    ledger = sim.state.ledger
    return digest(ledger.terms, ledger.flows, ledger.counts, sim.reward, sim.done, *sim.obs.values())


def seeded(seed, choose=legal_actions):
    """An action stream that depends on the seed and the step, and on the mask where `choose` looks at it."""
    return lambda t, sim: choose(np.random.default_rng([seed, t]), sim)


def make(name="smoke", n_envs=1, overrides=None, **options):
    """A `Sim` of a shipped scenario."""
    return Sim(world(name, overrides), n_envs, **options)
