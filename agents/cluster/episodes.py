"""An evaluation's jobs as tasks: what comes of one depends on nothing else, so lost ones are done again."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from agents.cluster.session import Cluster, compiled, opened, plain_errors, prepare, remote
from agents.units import Done, Job, Runner


def runner(cluster: Cluster) -> Runner:
    """Does jobs of an evaluation on a cluster; results are those of `agents.evaluation.one_by_one`."""

    def run(
        world: Any, jobs: Sequence[Job], tick: Callable[[int, float], None]
    ) -> Iterator[tuple[int, Done]]:
        there = cluster.put(world)
        policies = {id(u.policy): u.policy for u in jobs}
        sent = {key: cluster.put(policy) for key, policy in policies.items()}
        nobody: Any = None
        bare = [replace(u, policy=nobody) for u in jobs]
        task = remote(play, num_cpus=max(u.threads for u in jobs))
        refs = {
            task.remote(cluster.here, there, sent[id(u.policy)], b): k
            for k, (u, b) in enumerate(zip(jobs, bare, strict=True))
        }
        left = list(refs)
        while left:
            with plain_errors(cluster.address):
                (ready, *_), left = ray.wait(left, num_returns=1)
                outcome = ray.get(ready)
            yield refs.pop(ready), outcome

    return run


def play(here: dict[str, Any], world: bytes, policy: bytes, job: Job) -> Done:
    """In a worker: one job."""
    prepare(here)
    fleet, player = opened(world), pickle.loads(policy)
    compiled(fleet, getattr(player, "view", "joint"))
    return replace(job, policy=player).play(fleet, lambda _: None)
