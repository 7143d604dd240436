"""Collectors of rollouts as Ray actors: one that is lost makes one batch smaller and is replaced."""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from agents.cluster.session import Cluster, compiled, line, opened, plain_errors, prepare
from agents.recipe import Recipe
from agents.training.collecting import Collector, Crew, Order, Rollout, most_collectors, places_of, shares
from agents.training.learner import Learner
from gcn_env.errors import UserError

FIRST_S = 900.0  # for the collectors to come up: the first may compile for minutes
MOST = 5  # times in a row that all collectors may be lost
LEAST_S, TIMES = (
    60.0,
    5.0,
)  # a rollout is given up after so many seconds, and so many times the longest before


class Actor:
    """A `Collector` in a worker."""

    def start(self, here: dict[str, Any], worlds: bytes, recipe: Recipe, envs: int, places: bytes) -> None:
        """Be ready to collect."""
        prepare(here)
        fleets = opened(worlds)
        compiled(fleets[0], recipe.view)
        self._collector = Collector(fleets, recipe, envs, pickle.loads(places))

    def collect(self, order: Order) -> Rollout:
        """One rollout."""
        return self._collector.collect(order)

    def places(self, before: bool) -> list[Any]:
        """Where the environments are, or were before the last rollout."""
        return self._collector.places(before)


class Seat:
    """One collector and its share of the environments; it may be taken by one after the other."""

    def __init__(self, rows: slice, hire: Callable[[slice], tuple[Any, Any]]) -> None:
        self.rows, self._hire = rows, hire
        self.actor, self.started = hire(rows)
        self.ready = False

    def again(self) -> None:
        """Hire another."""
        self.leave()
        self.actor, self.started = self._hire(self.rows)
        self.ready = False

    def leave(self) -> None:
        """Free the core."""
        with contextlib.suppress(Exception):  # it may be gone
            ray.kill(self.actor)


class RayCrew:
    """Collectors on a cluster.

    Args:
        cluster: where.
        learner: at its first rollout; its environments' places are where collectors start.
        collectors: how many.
    """

    def __init__(self, cluster: Cluster, learner: Learner, collectors: int) -> None:
        self._cluster, self._learner = cluster, learner
        self._worlds = cluster.put(learner.worlds)
        self._actor = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(Actor)
        self.lost, self._longest = 0, 0.0
        self._in_a_row = 0  # losses since the last rollout
        self.seats = [Seat(rows, self._hire) for rows in shares(learner.recipe, collectors)]

    def _hire(self, rows: slice) -> tuple[Any, Any]:
        places = self._cluster.put(places_of(self._learner, rows))
        actor, size = self._actor.remote(), rows.stop - rows.start
        started = actor.start.remote(self._cluster.here, self._worlds, self._learner.recipe, size, places)
        return actor, started

    def collect(self, order: Order) -> list[Rollout]:
        """See `agents.training.collecting.Crew`."""
        told = ray.put(order)
        while True:
            seats = self._ready(everyone=self._longest == 0.0)
            began = time.monotonic()
            refs = {seat.actor.collect.remote(told): seat for seat in seats}
            answers = self._answers(refs)
            if answers:
                self._in_a_row = 0
                self._longest = max(self._longest, time.monotonic() - began)
                logger = self._learner.model.logger
                logger.record("ray/collectors", len(answers))
                logger.record("ray/lost", self.lost)
                return [rollout for _, rollout in answers]

    def recall(self, before: bool) -> list[tuple[slice, list[Any]]]:
        """See `agents.training.collecting.Crew`."""
        refs = {seat.actor.places.remote(before): seat for seat in self.seats if seat.ready}
        return [(seat.rows, places) for seat, places in self._answers(refs)]

    def dismiss(self) -> None:
        """See `agents.training.collecting.Crew`."""
        for seat in self.seats:
            seat.leave()

    def _ready(self, everyone: bool) -> list[Seat]:
        """Seats whose collectors have started: all of them the first time, later those that have by now."""
        end = time.monotonic() + FIRST_S
        while True:
            starting = {seat.started: seat for seat in self.seats if not seat.ready}
            if starting:
                none_yet = len(starting) == len(self.seats)
                patience = max(end - time.monotonic(), 0.0) if everyone or none_yet else 0.0
                count = len(starting) if everyone else 1
                done, _ = ray.wait(list(starting), num_returns=count, timeout=patience)
                for ref in done:
                    self._settle(starting[ref], ref)
            seats = [seat for seat in self.seats if seat.ready]
            if seats and (not everyone or len(seats) == len(self.seats) or time.monotonic() > end):
                return seats
            if time.monotonic() > end:
                raise UserError(
                    f"no collector came up on {self._cluster.address} within {FIRST_S:.0f} s; look at `ray status` "
                    "and go on with train.py --resume"
                )

    def _settle(self, seat: Seat, ref: Any) -> None:
        try:
            with plain_errors(self._cluster.address):
                _get(ref)
            seat.ready = True
        except _Lost as why:
            self._replace(seat, str(why))

    def _answers(self, refs: dict[Any, Seat]) -> list[tuple[Seat, Any]]:
        """What comes back in time; who does not answer is replaced."""
        patience = max(LEAST_S, TIMES * self._longest) if self._longest else FIRST_S
        done, late = ray.wait(list(refs), num_returns=len(refs), timeout=patience) if refs else ([], [])
        found: list[tuple[Seat, Any]] = []
        for ref in done:
            try:
                with plain_errors(self._cluster.address):
                    found.append((refs[ref], _get(ref)))
            except _Lost as why:
                self._replace(refs[ref], str(why))
        for ref in late:
            self._replace(refs[ref], f"no answer within {patience:.0f} s")
        return sorted(found, key=lambda answer: answer[0].rows.start)  # the order decides minibatches

    def _replace(self, seat: Seat, why: str) -> None:
        self.lost += 1
        self._in_a_row += 1
        if self._in_a_row > MOST * len(self.seats):
            raise UserError(
                f"collectors on {self._cluster.address} are lost as soon as they are there ({why}); go on with "
                "train.py --resume"
            )
        print(
            f"ray: the collector of environments {seat.rows.start}..{seat.rows.stop - 1} is lost; another goes on from "
            "the last checkpoint",
            file=sys.stderr,
        )
        seat.again()


class _Lost(Exception):  # noqa: N818  (no error: it is replaced)
    """A collector, its node, or what it sent is gone."""


def _get(ref: Any) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError:
        raise  # our own code failed: another collector would fail as well
    except RayError as error:
        raise _Lost(line(error)) from None


def crew(cluster: Cluster, collectors: int | None, recipe: Recipe) -> Callable[[Learner], Crew]:
    """Hires `collectors` (None: as many as the cores allow) once the learner is there.

    Raises:
        UserError: if they are more than the cluster's cores, or cannot share the environments.
    """
    count = collectors or most_collectors(recipe, cluster.cpus)
    shares(recipe, count)
    if count > cluster.cpus:
        raise UserError(f"{count} collectors need a core each; the cluster has {cluster.cpus}")
    return lambda learner: RayCrew(cluster, learner, count)
