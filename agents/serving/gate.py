"""What every request passes before a handler sees it: token, rate, size, time; and what is counted after it.

One ASGI middleware, since each layer of Starlette's own costs a tenth of a millisecond.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson

from agents.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
log = logging.getLogger("gcn.serve")

OPEN = frozenset({"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"})
PEERS = 4096  # whose rates are remembered
BODY_S = 10.0  # within which a body must be here


@dataclass(frozen=True)
class Limits:
    """Attributes: `body` bytes of a request; `rate` requests a second of a peer, up to `burst` at once; 0: no limit."""

    body: int = 4 << 20
    rate: float = 0.0
    burst: int = 100


class Rates:
    """A token bucket for each peer."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, float(burst), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, peer: str) -> bool:
        """Whether the peer may make one more request now."""
        if self.rate <= 0.0:
            return True
        now = self.clock()
        left, then = self._left.pop(peer, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        self._left[peer] = (left - 1.0 if left >= 1.0 else left, now)
        while len(self._left) > PEERS:
            self._left.popitem(last=False)
        return left >= 1.0


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with an error status."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


class Gate:
    """Wraps an application."""

    def __init__(
        self, app: App, metrics: Metrics, token: bytes | None, limits: Limits, tokenless: tuple[str, ...] = ()
    ) -> None:
        """`tokenless` are prefixes of paths that need no token: their callers prove themselves otherwise."""
        self.app, self.metrics, self.limits = app, metrics, limits
        self._bearer = None if token is None else b"Bearer " + token
        self._tokenless = tokenless
        self._rates = Rates(limits.rate, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        began, status, started = time.perf_counter(), 500, False
        scope["state"] = {"began": time.monotonic()}

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
            await send(message)

        try:
            self._admit(scope)
            body = await self._body(scope, receive)
            scope["state"]["body"] = body
            await self.app(scope, _replay(body), watched)
        except Refused as refusal:  # of this gate, before the application began to answer
            status = refusal.status
            await _answer(send, refusal)
        except Exception:
            log.exception("request failed")
            status = 500
            if not started:
                await _answer(send, Refused(500, "internal error; the log of the server says more"))
        finally:
            self.metrics.request(
                scope.get("state", {}).get("route", "other"), status, time.perf_counter() - began
            )

    def _admit(self, scope: Scope) -> None:
        peer = (scope.get("client") or ("",))[0]
        if not self._rates.admits(peer):
            raise Refused(429, "too many requests", {"retry-after": "1"})
        path = scope["path"]
        if self._bearer is None or path in OPEN or path.startswith(self._tokenless):
            return
        given = [v for k, v in scope["headers"] if k == b"authorization"]
        if len(given) != 1 or not hmac.compare_digest(given[0], self._bearer):
            raise Refused(
                401, "a bearer token is needed: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """All of the body, no more than the limit, soon."""
        for name, value in scope["headers"]:
            if (
                name == b"content-length"
                and value.isdigit()
                and (len(value) > 12 or int(value) > self.limits.body)
            ):
                raise Refused(413, f"a body of more than {self.limits.body:,} bytes", {"connection": "close"})
            if name == b"content-encoding" and value not in (b"", b"identity"):
                raise Refused(415, "bodies are taken as they are, not compressed")
        message = await receive()  # most bodies are here in one piece: no timer for them
        if not message.get("more_body", False):
            return self._checked(message.get("body", b""))
        parts, size = [message.get("body", b"")], len(message.get("body", b""))
        try:
            async with asyncio.timeout(BODY_S):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the connection ended within the body")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.limits.body:
                        raise Refused(
                            413, f"a body of more than {self.limits.body:,} bytes", {"connection": "close"}
                        )
        except TimeoutError:
            raise Refused(
                408, f"the body was not here within {BODY_S:g} s", {"connection": "close"}
            ) from None
        return b"".join(parts)

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self.limits.body:
            raise Refused(413, f"a body of more than {self.limits.body:,} bytes", {"connection": "close"})
        return body


def _replay(body: bytes) -> Receive:
    """A `receive` that gives the body once more."""

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer(send: Send, refusal: Refused) -> None:
    body = orjson.dumps({"error": str(refusal)})
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    raw = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
