"""Who is asked for set-points: a policy server over HTTP, or a policy in this process. Both are a `Call`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from agents.policy import RulePolicy, load
from agents.serving.decide import Decider
from agents.serving.decision import Options
from agents.serving.opening import open_scorer
from agents.serving.scorers import RuleScorer
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World

Call = Callable[
    [str, str, Any], Any
]  # method, path, JSON body -> JSON answer, as in `agents.adapters.simulator`
FALLBACK = "rule:cost-greedy+b1"


class PolicyDown(Exception):  # noqa: N818 - a reason to relinquish, not an error of the operator
    """Why there is no answer."""


def over_http(url: str, token: str | None, timeout_s: float) -> Call:
    """A policy server (`python -m agents serve`).

    Args:
        url: e.g. `http://127.0.0.1:8710`.
        token: bearer token; None for none.
        timeout_s: s within which each request is answered.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    client = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False)

    def call(method: str, path: str, body: Any) -> Any:
        try:
            reply = client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise PolicyDown(f"{path}: {type(error).__name__}") from None
        if reply.status_code != 200:
            raise PolicyDown(f"{path}: {reply.status_code} {reply.text[:200]}")
        try:
            return reply.json()
        except ValueError:
            raise PolicyDown(f"{path}: no JSON") from None

    return call


def in_process(spec: str, world: World) -> Call:
    """A rule (`rule:NAME`) or a bundle (`bundle:DIR` or `DIR`), inside the same guards as in a server.

    Raises:
        UserError: for a policy that cannot be had.
    """
    rule = load(FALLBACK, world)
    assert isinstance(rule, RulePolicy)
    scorer, envelope = open_scorer(spec, world)
    decider = Decider(world, scorer, RuleScorer(rule), Options(deadline_s=1.0), envelope)

    def call(method: str, path: str, body: Any) -> Any:
        try:
            if (method, path) == ("PUT", "/v1/snapshot"):
                return decider.update(body).as_dict()
            decision = decider.setpoints()
        except UserError as error:
            raise PolicyDown(f"{path}: {error}") from None
        return {**decision.answer, "by": decision.by, "reason": decision.reason}

    return call
