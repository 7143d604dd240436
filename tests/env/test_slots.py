"""Who gets a slot when there are more jobs than slots."""

import numpy as np

from gcn_env.core.params import INFERENCE
from gcn_env.core.state import PENDING
from tests.worlds import CALM, make


def test_jobs_that_nothing_may_run_leave_the_slots_to_others():
    """A region stops, and every second waiting job, the most urgent ones, may run nowhere else."""
    sim = make(overrides=CALM | {"decisions.slots": 4, "jobs.inference.load": 0.0, "jobs.hpc.load": 0.0})
    sim.reset([3])
    jobs, plants = sim.state.jobs, sim.state.plants
    act = np.zeros((1, len(sim.head_sizes)), np.int64)
    while (jobs.status[0, : jobs.n_live[0]] == PENDING).sum() < 12:
        sim.step(act)
    waiting = np.flatnonzero(jobs.status[0, : jobs.n_live[0]] == PENDING)
    assert (jobs.kind[0, waiting] != INFERENCE).all()
    dead, alive = (1 << int(law) for law in sim.world.params.geo.jurisdiction)
    stuck = waiting[::2]
    jobs.legal[0, waiting], jobs.legal[0, stuck] = alive, dead
    jobs.deadline[0, stuck] = 0.0
    jobs.memory[0, waiting], jobs.gang[0, waiting], jobs.least[0, waiting], jobs.trust[0, waiting] = (
        1.0,
        1,
        1,
        0,
    )
    orders = set(jobs.order[0, stuck])
    plants.down_h[0, 0] = 9.0
    sim.step(act)
    assert plants.down_h[0, 0] > 0.0
    shown = jobs.order[0, jobs.slot[0]]
    assert not orders & set(shown)
    q, p = sim.world.n_slots, sim.world.n_pools
    assert sim.obs["mask"][0, : q * (p + 1)].reshape(q, p + 1)[:, 1:].any(1).all()
    plants.down_h[0, 0] = 0.0
    sim.step(act)
    assert orders & set(jobs.order[0, jobs.slot[0]]), "they come first again once they have a choice"
