"""Ray: the policy chooses where a task, an actor or a job runs; Ray holds to it by labels of nodes.

Nodes say what they are when they start: `ray start --labels="gcn.io/region=eu,gcn.io/pool=gpu"`. Ray itself is not
imported: what comes back is a dictionary for `.options(**...)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.adapters.asking import Asker, Choice

REGION, POOL = "gcn.io/region", "gcn.io/pool"


def selector(pool: str) -> dict[str, str]:
    """Labels of the nodes of a pool `REGION/POOL`."""
    region, _, name = pool.partition("/")
    return {REGION: region, POOL: name}


def options(ranking: Sequence[str]) -> dict[str, Any]:
    """For `task.options(**...)` and `Actor.options(**...)`: the first pool, and the others should no node be there.

    Args:
        ranking: pools `REGION/POOL`, best first. An empty one gives no options: Ray places by itself. With one pool,
            a task waits for it, for ever if need be; with more, Ray may also take another while the first is full.
    """
    if not ranking:
        return {}
    first, *others = ranking
    found: dict[str, Any] = {"label_selector": selector(first)}
    if others:
        found["fallback_strategy"] = [{"label_selector": selector(p)} for p in others]
    return found


def job_options(ranking: Sequence[str]) -> dict[str, Any]:
    """For `JobSubmissionClient.submit_job(**...)`, which knows no fallback: the first pool."""
    return {"entrypoint_label_selector": selector(ranking[0])} if ranking else {}


def place(asker: Asker, job: Mapping[str, Any], candidates: Sequence[str]) -> tuple[list[str], Choice]:
    """Ask a served policy: pools for `options`, best first, and its answer.

    Where the policy says wait (`choice.answered` and no `choice.pool`), the caller may; the pools are those that it
    would take next. Where nobody answers there are none, and Ray places by itself. Pools that a constraint refuses are
    never among them.
    """
    choice = asker.choose(job, candidates)
    first = [] if choice.pool is None else [choice.pool]
    return [*first, *(p for p in choice.ranking if p != choice.pool)], choice
