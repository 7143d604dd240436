"""The simulator as a live cluster: it sends its own snapshots to a server and carries out what comes back.

This closes the loop that a deployment would close, so that what is served can be held against what was trained: the
same weeks must cost the same. `Served.predict` needs the simulator, since snapshots say more than observations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.serving.guard import HEADS
from gcn_env.core.state import N_HEADS
from gcn_env.sim import Sim
from gcn_env.snapshot import document

Array = npt.NDArray[Any]
Call = Callable[[str, str, Any], Any]  # method, path, JSON body -> JSON answer


def actions(sim: Sim, b: int, call: Call) -> Array:
    """Choices int64 [Q + 5R] of a server for environment `b`.

    Args:
        sim: a simulator of the joint view.
        b: environment.
        call: sends one request and returns the decoded answer; raises for anything but 200.
    """
    world = sim.world
    sent = document(world, sim.state, b)
    call("PUT", "/v1/snapshot", sent)
    chosen = np.zeros(len(sim.head_sizes), np.int64)
    slots = {name: q for q, name in enumerate(sent["slots"]) if name is not None}
    for row in call("POST", "/v1/place", {})["placements"]:
        if row["pool"] is not None:
            chosen[slots[row["job"]]] = world.pool_names.index(row["pool"]) + 1
    plants = call("POST", "/v1/setpoints", {})["regions"]
    for r, region in enumerate(world.region_names):
        for head, answer in plants[region]["heads"].items():
            chosen[world.n_slots + N_HEADS * r + HEADS.index(head)] = answer["level"]
    return chosen
