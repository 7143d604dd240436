"""A collector in a process of its own on this machine: it plays while the learner learns."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import torch.multiprocessing

from agents.recipe import Recipe
from agents.training.collecting import Collector, Order, Rollout, mapped, places_of
from agents.training.learner import Learner, MakeSim
from gcn_env.errors import UserError


class Beside:
    """A `Crew` of one, who has all environments.

    Args:
        learner: at its first rollout; its environments' places are where the collector starts.
        factory: makes the simulator (tests).
    """

    def __init__(self, learner: Learner, factory: MakeSim | None = None) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        given = (learner.worlds, learner.recipe, places_of(learner), factory)
        self._process = context.Process(target=_work, args=(theirs, *given), name="collector", daemon=True)
        self._process.start()
        theirs.close()
        self._rows = slice(0, learner.recipe.envs)

    def collect(self, order: Order) -> list[Rollout]:
        """See `agents.training.collecting.Crew`."""
        return [self._ask(order)]

    def recall(self, before: bool) -> list[tuple[slice, list[Any]]]:
        """See `agents.training.collecting.Crew`."""
        return [(self._rows, self._ask(before))]

    def dismiss(self) -> None:
        """See `agents.training.collecting.Crew`."""
        self._process.kill()
        self._process.join()

    def _ask(self, what: Order | bool) -> Any:
        try:
            self._pipe.send(what)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(5.0)
            status = self._process.exitcode
            why = " (no room in shared memory, /dev/shm)" if status == -getattr(signal, "SIGBUS", 7) else ""
            raise UserError(
                f"the collecting process ended with status {status}{why}; go on from the last checkpoint with --resume"
            ) from None
        if isinstance(answer, BaseException):
            raise answer
        return mapped(torch.Tensor, torch.Tensor.numpy, answer)


def _work(
    pipe: Connection, worlds: Sequence[Any], recipe: Recipe, places: Sequence[Any], factory: Any
) -> None:
    """Answer orders by rollouts, whether `before` by the environments' places, until the learner is gone."""
    # A terminal and a scheduler tell all processes; the learner decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    collector = Collector(worlds, recipe, recipe.envs, places, factory)
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked = pipe.recv()
            answer: Any
            try:
                answer = collector.collect(asked) if isinstance(asked, Order) else collector.places(asked)
            except Exception as error:  # the learner raises it
                answer = error
            # As tensors, which torch leaves in shared memory; through the pipe they would hold up the learner.
            pipe.send(mapped(np.ndarray, torch.from_numpy, answer))
