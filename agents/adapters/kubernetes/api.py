"""The Kubernetes API over plain HTTP: requests that are tried again, and list-then-watch that never ends by itself."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from agents.adapters.kubernetes.access import Access
from gcn_env.errors import UserError

log = logging.getLogger("gcn.kubernetes")
Object = Mapping[str, Any]
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
AGAIN = frozenset(
    {429, 500, 502, 503, 504}
)  # asked again; whoever patches sends a test, so twice does no harm
GONE = 410  # the version to watch from is forgotten: list again
TRIES = 5
LONGEST_S = 30.0  # between two tries, whatever the server says
PAGE = 500  # objects of a list in one answer
FAILURES = (httpx.HTTPError, RuntimeError, OSError)  # RuntimeError: closed meanwhile; OSError: no token file
LIST = "LIST"  # the kind of event that holds all objects


class ApiError(UserError):
    """An answer of the API server that is none, after all tries.

    Attributes:
        status: of HTTP; 0 if there was no answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Backoff:
    """Seconds to wait before the next try: doubling from half a second, a random share of it, until `reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """After a success."""
        self._next = 0.5

    def next(self, asked: float | None = None) -> float:
        """The next wait; at least what the server asked for."""
        wait = self._next * random.uniform(0.5, 1.0)
        self._next = min(2.0 * self._next, LONGEST_S)
        return min(max(wait, asked or 0.0), LONGEST_S)


class Api:
    """One API server.

    Args:
        access: how to reach it.
        timeout_s: of one answer.
        watch_s: after which the server is asked to end a watch, and it is begun again.
        stop: set when all is to end: no more tries.
        wait: how seconds are waited for; returns early, with True, when `stop` is set.
    """

    def __init__(
        self, access: Access, timeout_s: float = 10.0, watch_s: float = 240.0, stop: threading.Event | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:  # fmt: skip
        self.stop = stop or threading.Event()
        self.wait, self.watch_s, self.timeout_s = wait or self.stop.wait, watch_s, timeout_s
        self._client = httpx.Client(
            base_url=access.server, auth=access.auth(), timeout=timeout_s, trust_env=False,
            verify=access.tls or False,  # without: plain HTTP on loopback, for which no authorities need be read
            headers={"Accept": "application/json", "User-Agent": "gcn-env"},
        )  # fmt: skip

    def close(self) -> None:
        """Close all connections; a watch under way ends."""
        self._client.close()

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **params: Any
    ) -> Any:
        """One request, tried again while the server is busy or away; the decoded answer.

        Raises:
            ApiError: for any other status, or when all tries have failed.
        """
        content = None if body is None else json.dumps(body).encode()
        headers, backoff = {} if body is None else {"Content-Type": kind}, Backoff()
        for left in reversed(range(TRIES)):
            asked = None
            try:
                reply = self._client.request(method, path, params=params, content=content, headers=headers)
            except FAILURES as error:
                failure = ApiError(0, f"{method} {path}: {type(error).__name__}: {error}")
            else:
                if reply.is_success:
                    return _decoded(reply.content, path)
                failure = _failed(reply, method, path)
                if reply.status_code not in AGAIN:
                    raise failure
                asked = _seconds(reply.headers.get("Retry-After"))
            if left == 0 or self.wait(backoff.next(asked)):
                break
        raise failure

    def patch(self, path: str, body: Any, kind: str, **params: Any) -> Any:
        """A patch; `kind` is one of `JSON_PATCH`, `MERGE_PATCH`."""
        return self.request("PATCH", path, body, kind, **params)

    def list(self, path: str, **params: Any) -> tuple[list[Object], str]:
        """All objects, page by page, and the version of the list."""
        items: list[Object] = []
        after: dict[str, str] = {}
        while True:
            try:
                page = self.request("GET", path, **params, limit=PAGE, **after)
            except ApiError as error:
                if error.status == GONE and after:  # the list was too slow: from the beginning
                    items, after = [], {}
                    continue
                raise
            if not isinstance(page, dict) or not isinstance(page.get("items") or [], list):
                raise ApiError(0, f"GET {path}: no list")
            items += page.get("items") or []
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion", ""))
            after = {"continue": meta["continue"]}

    def watch(self, path: str, version: str, **params: Any) -> Iterator[tuple[str, Object]]:
        """Events after `version` until the server ends the stream: (`ADDED`, ..., `BOOKMARK`, object).

        Raises:
            ApiError: for a refusal, also one within the stream.
        """
        asked = {
            **params, "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(self.watch_s))),
        }  # fmt: skip
        patience = httpx.Timeout(self.timeout_s, read=self.watch_s + self.timeout_s)
        try:
            with self._client.stream("GET", path, params=asked, timeout=patience) as reply:
                if not reply.is_success:
                    reply.read()
                    raise _failed(reply, "WATCH", path)
                for line in _lines(reply):
                    event = _decoded(line, path)
                    kind, item = event.get("type"), event.get("object")
                    if not isinstance(kind, str) or not isinstance(item, dict):
                        raise ApiError(0, f"WATCH {path}: no event")
                    if kind == "ERROR":
                        raise ApiError(int(item.get("code") or 0), f"WATCH {path}: {item.get('message')}")
                    yield kind, item
        except FAILURES as error:
            raise ApiError(0, f"WATCH {path}: {type(error).__name__}: {error}") from None

    def follow(self, path: str, **params: Any) -> Iterator[tuple[str, Any]]:
        """What is there and what happens to it, until `stop`: (`LIST`, all objects), then (kind, object).

        A lost connection, a busy server, a refusal: all are waited for and logged. A forgotten version (410) is
        answered by another `LIST`, which stands for all that was missed.
        """
        backoff = Backoff()
        while not self.stop.is_set():
            try:
                items, version = self.list(path, **params)
            except ApiError as error:
                log.warning("%s", error)
                self.wait(backoff.next())
                continue
            yield LIST, items
            yield from self._watched(path, version, backoff, params)

    def _watched(
        self, path: str, version: str, backoff: Backoff, params: Mapping[str, Any]
    ) -> Iterator[tuple[str, Object]]:
        """Events after `version`, over as many watches as it takes; ends when a list is needed, or on `stop`."""
        while not self.stop.is_set():
            heard = False
            try:
                for kind, item in self.watch(path, version, **params):
                    version, heard = str((item.get("metadata") or {}).get("resourceVersion") or version), True
                    if kind != "BOOKMARK":
                        yield kind, item
            except ApiError as error:
                if self.stop.is_set():
                    return
                if error.status == GONE:
                    log.info("%s: list again", error)
                    return
                log.warning("%s", error)
                if error.status not in (0, *AGAIN):  # a list says more of what is wrong
                    self.wait(backoff.next())
                    return
            if heard:
                backoff.reset()
            else:  # a server that ends watches at once is not asked in a tight loop
                self.wait(backoff.next())


def _lines(reply: httpx.Response) -> Iterator[bytes]:
    """Lines of a stream. Not `iter_lines`: that also splits at U+0085 and the like, which Go writes into strings."""
    rest = b""
    for piece in reply.iter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def _decoded(raw: bytes, path: str) -> Any:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise ApiError(0, f"{path}: no JSON: {error!s:.100}") from None
    if not isinstance(found, dict):
        raise ApiError(0, f"{path}: {type(found).__name__} where an object is wanted")
    return found


def _failed(reply: httpx.Response, method: str, path: str) -> ApiError:
    """A `Status` in words; anything else as it is."""
    try:
        message = str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = reply.text
    return ApiError(reply.status_code, f"{method} {path}: {reply.status_code} {message[:300]}")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() and len(text) < 6 else None
