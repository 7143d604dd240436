"""A trained network as a policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from agents.networks import EntityNetwork, decide
from agents.runs import RunFolder, check_layout
from agents.sb3.ppo import Heads
from agents.sb3.predict import to_tensors
from agents.training.checkpoints import latest, read
from gcn_env.errors import UserError

Array = npt.NDArray[Any]


class TrainedPolicy:
    """Stable-Baselines3's `predict` over an `EntityNetwork`, for any fleet with the same columns and levels.

    Args:
        net: the network.
        view: `joint` or `sequential`: what it was trained on and what it must be given.
    """

    def __init__(self, net: EntityNetwork, view: str) -> None:
        self.net, self.view = net, view

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = True,
    ) -> tuple[Array, Any]:
        """Legal choices `[B, Q + 5R]` (joint) or `[B]` (sequential); `state` is handed back."""
        obs, batched = to_tensors(observation, self.net.value_out.weight.device)
        with torch.no_grad():
            if self.view == "joint":
                joint, jobs = self.net.joint(obs), obs["jobs"]
                actions = decide(joint, jobs) if deterministic else Heads(joint, jobs.shape[1]).actions()
            else:
                actions = self.net.sequential(obs)[0].argmax(1)
        chosen: Array = actions.cpu().numpy()
        return (chosen if batched else chosen[0]), state


def check_levels(levels: int, world: Any, what: str) -> None:
    """Refuse a world with another number of cooling levels.

    Raises:
        UserError: naming both.
    """
    if levels != world.n_levels:
        raise UserError(
            f"{what} was trained with {levels} levels per cooling head; {world.name} has {world.n_levels} "
            "(decisions.cooling_levels)"
        )


def assemble(
    network: Mapping[str, Any], weights: Mapping[str, Tensor], view: str, device: str = "cpu"
) -> TrainedPolicy:
    """A policy that acts on its own, from the sizes of its network and its weights.

    It asks torch for one thread: so small a network gains nothing by a second, and on busy cores waits for it.
    """
    net = EntityNetwork(**network)
    net.load_state_dict(weights)
    if torch.device(device).type == "cpu":
        torch.set_num_threads(1)
    return TrainedPolicy(net.to(device).eval(), view)


def load_policy(path: str | Path, world: Any, device: str = "cpu") -> TrainedPolicy:
    """The policy of a run folder (its best on validation weeks, else its last), or of one checkpoint file.

    Args:
        path: run folder, or a `.pt` file of one.
        world: where it is to act; it may be another fleet than the one it was trained on.
        device: where the network computes.

    Raises:
        UserError: if there is no readable checkpoint, or it was trained on other observation columns (the
            message names the first row that differs) or another number of cooling levels.
    """
    where = Path(path)
    if not where.exists():
        raise UserError(f"no run folder or checkpoint {where}")
    run = RunFolder(where)
    if where.is_file():
        content = read(where)
    else:
        run.recipe()  # refuses folders that hold no run
        content = read(run.best) if run.best.is_file() else latest(run)
    check_layout(content["observation"], str(where))
    network = content["network"]
    check_levels(network["levels"], world, str(where))
    view = "joint" if content["algo"] == "ppo" else "sequential"
    return assemble(network, content["net"], view, device)
