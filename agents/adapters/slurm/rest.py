"""Slurm through slurmrestd: the newest version that it serves, a JWT, and patience with its `try again`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import httpx

from agents.adapters.slurm.queue import Job, Node, SlurmError, job_of, node_of, relative
from gcn_env.errors import UserError

AGAIN = 11  # EAGAIN: 24.11 answers some requests with HTTP 500 and this error
TRIES, PAUSE_S = 4, 0.05
STRUCTURED = (0, 0, 40)  # from this version on a time is an object; before, it is what `sbatch --begin` takes
_PATH = re.compile(r"^/slurm/v(\d+)\.(\d+)\.(\d+)/jobs/?$")


class Rest:
    """A client of slurmrestd.

    Args:
        url: e.g. `http://127.0.0.1:6820`.
        user: Slurm user of the token, an operator.
        token: gives the JWT (`scontrol token`), asked before each request, since tokens expire.
        timeout_s: of one request.
        sleep: waits between tries.
    """

    def __init__(
        self, url: str, user: str, token: Callable[[], str], timeout_s: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        if not url.startswith(("http://", "https://")):
            raise UserError(f"slurmrestd {url!r}: wanted http://HOST:PORT or https://HOST:PORT")
        self.user, self.token, self.sleep = user, token, sleep
        self._version: tuple[int, ...] | None = None
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _send(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        headers = {"X-SLURM-USER-NAME": self.user, "X-SLURM-USER-TOKEN": self.token()}
        try:
            reply = self._client.request(method, path, json=body, headers=headers)
            answer = reply.json() if reply.content else {}
        except (httpx.HTTPError, ValueError) as error:
            raise SlurmError(f"slurmrestd {method} {path}: {error!r:.200}") from None
        if not isinstance(answer, dict):
            raise SlurmError(f"slurmrestd {method} {path}: HTTP {reply.status_code}, no JSON object")
        return reply.status_code, answer

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One answer without errors; those that ask to try again are tried again."""
        for left in reversed(range(TRIES)):
            status, answer = self._send(method, path, body)
            errors = answer.get("errors") or []  # 22.05 sends errors with HTTP 200, too
            if status < 400 and not errors:
                found: dict[str, Any] = answer
                return found
            again = any(isinstance(e, dict) and e.get("error_number") == AGAIN for e in errors)
            if not again or not left:
                words = "; ".join(" ".join(map(str, e.values())) for e in errors if isinstance(e, dict))
                raise SlurmError(f"slurmrestd {method} {path}: HTTP {status} {words:.300}")
            self.sleep(PAUSE_S)
        raise AssertionError("unreachable")

    def _served(self) -> tuple[int, ...]:
        """The newest version that is served."""
        if self._version is None:
            paths = self._call("GET", "/openapi/v3").get("paths") or {}
            found = [tuple(map(int, m.groups())) for p in paths if (m := _PATH.match(p))]
            if not found:
                raise SlurmError(
                    "slurmrestd serves no /slurm/vX.Y.Z/jobs: start it with the plugin openapi/slurmctld"
                )
            self._version = max(found)
        return self._version

    def _at(self, rest: str) -> str:
        """A path of that version."""
        return f"/slurm/v{'.'.join(map(str, self._served()))}/{rest}"

    def jobs(self) -> list[Job]:
        """All jobs that Slurm still remembers."""
        return [job_of(row) for row in self._call("GET", self._at("jobs")).get("jobs") or []]

    def nodes(self) -> list[Node]:
        """All nodes."""
        return [node_of(row) for row in self._call("GET", self._at("nodes")).get("nodes") or []]

    def place(self, job: Job, partitions: str, begin: float, held: bool) -> None:
        """One request that Slurm carries out as a whole."""
        what = {"partition": partitions, **({"hold": False} if held else {"begin_time": self._time(begin)})}
        try:
            self._call("POST", self._at(f"job/{job.id}"), what)
        except SlurmError:  # 22.05 may move an array, and then fail to tell
            if job.tasks == 1 or not self._stands(job, partitions):
                raise

    def _stands(self, job: Job, partitions: str) -> bool:
        """Whether an array is where it was sent."""
        rows = self._call("GET", self._at(f"job/{job.id}")).get("jobs") or []
        return bool(rows) and all(row.get("partition") == partitions for row in rows)

    def delay(self, job: Job, begin: float) -> None:
        """Move the earliest start."""
        self._call("POST", self._at(f"job/{job.id}"), {"begin_time": self._time(begin)})

    def _time(self, at: float) -> Any:
        if self._served() >= STRUCTURED:
            return {"set": True, "infinite": False, "number": int(at)}
        return relative(at)
