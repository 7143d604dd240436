"""Asking a served policy from outside: candidates in, a choice out, and never an exception for what the server does.

Controllers (Slurm, Kubernetes, MultiKueue, SkyPilot, Ray) stand between a policy that may be down, slow or wrong and a
scheduler that must go on. `Asker.choose` therefore answers in every case: where there is no good answer the choice is
None with a reason, and the controller does what it does without a policy.
"""

from __future__ import annotations

import logging
import math
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gcn_env.errors import UserError
from gcn_env.snapshot import units

log = logging.getLogger("gcn.telemetry")
_JOB = re.compile(r"jobs\[(\d+)\]")
MOST_DROPPED = 20  # jobs of one snapshot that the server may refuse one by one; then it goes without jobs
PLAIN = {"jobs": units()["jobs"]}  # numbers are in the project's own units


@dataclass(frozen=True)
class Choice:
    """An answer.

    Attributes:
        pool: `REGION/POOL`, None to leave the job where it is (the policy says wait) or because there is no answer.
        by: `policy`, `rule` (the server's guard decided), or `none`: there is no answer, and `reason` says why.
        reason: `down`, `slow`, `refused: ...`, `wrong: ...`, `resting`; for `rule`, the server's own word.
        ranking: candidates from best to worst by score, those that a constraint refuses left out.
        refused: pool -> constraints that it would break.
        seconds: spent on it.
    """

    pool: str | None
    by: str
    reason: str = ""
    ranking: tuple[str, ...] = ()
    refused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether the server answered; if so, `pool` None means wait."""
        return self.by != "none"


def _tls(ca: Path | None, certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
    """Whom to trust, and who we are."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if certificate is not None:
        context.load_cert_chain(*map(str, certificate))
    return context


class Asker:
    """A client of `POST /v1/score`, with a deadline and a circuit breaker.

    Args:
        url: of the server, e.g. `http://127.0.0.1:8710`.
        token: bearer token; None for none.
        timeout_s: within which an answer is awaited.
        ca: PEM file of the authority that signed the server's certificate.
        certificate: PEM files of the client's certificate and key (mTLS).
        failures: in a row after which the server is left alone for `rest_s` seconds.
        rest_s: see `failures`.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = 1.0,
        ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        failures: int = 5,
        rest_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"policy server {url!r}: wanted http://HOST:PORT or https://HOST:PORT")
        self.timeout_s, self.failures, self.rest_s, self.clock = timeout_s, failures, rest_s, clock
        self._failed, self._until = 0, -float("inf")
        self._client = httpx.Client(
            base_url=url,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            verify=_tls(ca, certificate) if url.startswith("https://") else False,  # False: nothing to verify
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def choose(self, job: Mapping[str, Any] | str, candidates: Sequence[str]) -> Choice:
        """Where a job should go.

        Args:
            job: fields of a snapshot's job (numbers in the project's own units), or the id of one in the snapshot.
            candidates: pools `REGION/POOL` it could go to.
        """
        began = self.clock()
        if began < self._until:
            return Choice(None, "none", "resting")
        body = {
            "job": job if isinstance(job, str) else dict(job),
            "candidates": list(candidates),
            "units": PLAIN,
        }
        try:
            reply = self._client.post(
                "/v1/score", json=body, headers={"X-Deadline-Ms": f"{1000.0 * self.timeout_s:.0f}"}
            )
        except httpx.TimeoutException:
            return self._none("slow", began, failed=True)
        except httpx.HTTPError:
            return self._none("down", began, failed=True)
        if reply.status_code != 200:
            busy = reply.status_code >= 500 or reply.status_code == 429
            return self._none(f"refused: {reply.status_code} {reply.text[:200]}", began, failed=busy)
        return self._read(reply, candidates, began)

    def known(self) -> Mapping[str, Any] | None:
        """`pools` and `job_places` of its scenario, and what it knows of the fleet; None without an answer."""
        try:
            reply = self._client.get("/v1/snapshot")
            found = reply.json() if reply.is_success else None
        except (httpx.HTTPError, ValueError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("pools"), list) else None

    def send(self, snapshot: Mapping[str, Any], timeout_s: float = 2.0) -> str:
        """Send the fleet as it is now (`PUT /v1/snapshot`).

        One job that the server refuses must not cost it all telemetry: it is left out and the rest is sent again.

        Args:
            snapshot: the document.
            timeout_s: within which it has to be taken; reading hundreds of jobs takes longer than one answer.

        Returns:
            Nothing if it was taken, else why not, in the words of `Choice.reason`.
        """
        sent = dict(snapshot)
        for _ in range(MOST_DROPPED):
            reason = self._put(sent, timeout_s)
            found = _JOB.search(reason)
            if found is None or not reason.startswith("refused: 422"):
                return reason
            jobs, k = list(sent["jobs"]), int(found[1])
            if k >= len(jobs):
                break
            log.warning("job %s is left out of the snapshot: %s", jobs[k].get("id"), reason)
            sent["jobs"] = jobs[:k] + jobs[k + 1 :]
        return self._put(sent | {"jobs": []}, timeout_s)

    def _put(self, snapshot: Mapping[str, Any], timeout_s: float) -> str:
        began = self.clock()
        if began < self._until:
            return "resting"
        try:
            reply = self._client.put("/v1/snapshot", json=snapshot, timeout=timeout_s)
        except httpx.TimeoutException:
            return self._none("slow", began, failed=True).reason
        except httpx.HTTPError:
            return self._none("down", began, failed=True).reason
        if reply.status_code != 200:
            return f"refused: {reply.status_code} {reply.text[:300]}"
        return ""

    def _none(self, reason: str, began: float, failed: bool) -> Choice:
        self._failed = self._failed + 1 if failed else 0
        now = self.clock()
        if self._failed >= self.failures:
            self._failed, self._until = 0, now + self.rest_s
        return Choice(None, "none", reason, seconds=now - began)

    def _read(self, reply: httpx.Response, candidates: Sequence[str], began: float) -> Choice:
        """The answer, if it is one: its pool was asked about and is not refused."""
        try:
            answer = reply.json()
            rows = {
                row["pool"]: (_finite(row["score"]), list(row["refused"])) for row in answer["candidates"]
            }
            pool, by = answer["choice"], str(answer.get("by", "policy"))
        except (ValueError, KeyError, TypeError):
            return self._none("wrong: no answer of /v1/score", began, failed=True)
        if pool is not None and (pool not in candidates or pool not in rows or rows[pool][1]):
            return self._none(f"wrong: chose {pool!r:.80}", began, failed=True)
        self._failed = 0
        open_ = [p for p in rows if p in candidates and not rows[p][1]]
        ranking = tuple(sorted(open_, key=lambda p: -rows[p][0]))
        refused = {p: r for p, (_, r) in rows.items() if r}
        return Choice(pool, by, str(answer.get("reason", "")), ranking, refused, self.clock() - began)


def _finite(value: Any) -> float:
    """A score; raises ValueError for NaN and infinities, which JSON of Python's can hold."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
