"""A controller's loop: what waits is looked at, again and again, until it is placed; and its health for the kubelet."""

from __future__ import annotations

import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agents.adapters.kubernetes.api import AGAIN, LIST, Api, ApiError, Object
from agents.adapters.kubernetes.fleet import Fleet

log = logging.getLogger("gcn.kubernetes")
AT_ONCE = 50  # objects looked at between two looks at events
_PATCHED = {404: "gone", 409: "changed", 422: "changed"}  # statuses of patches that came too late
STUCK_S = 120.0  # without a turn of the loop after which a kubelet should start it anew


@dataclass
class Waiting:
    """An object that waits for a decision.

    Attributes:
        item: as last seen.
        due: clock at which it is looked at again.
    """

    item: Object
    due: float


class Controller(ABC):
    """Decides on objects of one kind; all it knows lies in the API server, so that it may die at any time.

    Attributes:
        name: of its metric.
        path: of the objects.
        params: selectors of the objects.
        waiting: by UID.
        outcomes: how often each came out.
    """

    name: str
    path: str
    params: dict[str, str]

    def __init__(self, api: Api, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        self.api, self.fleet, self.clock = api, fleet, clock
        self.waiting: dict[str, Waiting] = {}
        self.outcomes: Counter[str] = Counter()
        self.listed = False

    @abstractmethod
    def wanted(self, item: Object) -> bool:
        """Whether the object waits for us."""

    @abstractmethod
    def act(self, item: Object) -> tuple[str, float]:
        """Look at an object that waits: the outcome in a word, and seconds until it is looked at again.

        Raises:
            ApiError: if it could not be patched.
        """

    def see(self, kind: str, seen: Any) -> None:
        """Take in an event of `Api.follow`."""
        if kind == LIST:
            before, self.waiting, self.listed = self.waiting, {}, True
            for item in seen:
                self._keep(item, before.get(_uid(item)))
        elif kind == "DELETED":
            self.waiting.pop(_uid(seen), None)
        else:
            self._keep(seen, self.waiting.pop(_uid(seen), None))

    def _keep(self, item: Object, before: Waiting | None) -> None:
        if not self.wanted(item):
            return
        same = before is not None and _said(before.item) == _said(item)
        self.waiting[_uid(item)] = Waiting(item, before.due if before is not None and same else self.clock())

    @property
    def due_s(self) -> float:
        """Seconds until something is to be looked at."""
        return max(min((w.due for w in self.waiting.values()), default=float("inf")) - self.clock(), 0.0)

    def step(self) -> None:
        """Look at what is due, oldest first."""
        now = self.clock()
        due = [u for u, w in self.waiting.items() if w.due <= now]
        due.sort(key=lambda u: str(self.waiting[u].item["metadata"].get("creationTimestamp")))
        for uid in due[:AT_ONCE]:
            one = self.waiting[uid]
            try:
                outcome, again_s = self.act(one.item)
            except ApiError as error:
                log.warning("%s", error)
                if error.status in (0, *AGAIN):  # it is away: what else is due would only wait for it, too
                    one.due = self.clock() + 1.0
                    self.outcomes["failed"] += 1
                    return
                outcome, again_s = _PATCHED.get(error.status, "failed"), 10.0
            one.due = self.clock() + again_s
            self.outcomes[outcome] += 1
            meta = one.item["metadata"]
            log.info("%s/%s: %s", meta.get("namespace"), meta.get("name"), outcome)
            if outcome in ("placed", "dropped", "gone"):
                self.waiting.pop(uid, None)

    def metrics(self) -> str:
        """For Prometheus."""
        rows = [f'gcn_{self.name}_total{{outcome="{k}"}} {n}' for k, n in sorted(self.outcomes.items())]
        return "\n".join(
            [
                f"# TYPE gcn_{self.name}_total counter",
                *rows,
                f"# TYPE gcn_{self.name}_waiting gauge",
                f"gcn_{self.name}_waiting {len(self.waiting)}\n",
            ]
        )


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid"))


def _said(item: Object) -> Any:
    """What an object says of itself to us: when that changes, it is looked at anew."""
    return item["metadata"].get("annotations"), item.get("spec")


def run(controller: Controller, health: Health | None = None) -> None:
    """Until `controller.api.stop` is set: events in one thread, decisions and snapshots in this one."""
    api, events = controller.api, queue.SimpleQueue[tuple[str, Any]]()

    def listen() -> None:
        for event in api.follow(controller.path, **controller.params):
            events.put(event)

    listener = threading.Thread(target=listen, name="watch", daemon=True)
    listener.start()
    while not api.stop.is_set():
        controller.fleet.tick()
        pause = min(controller.due_s, controller.fleet.due_s, 1.0)
        try:
            event = events.get(timeout=max(pause, 1e-3))
            while True:
                controller.see(*event)
                event = events.get_nowait()
        except queue.Empty:
            pass
        controller.step()
        if health is not None:
            health.beat(controller)
    api.close()
    listener.join(1.0)  # it may hang in a watch, and keeps nothing


class Health:
    """`/livez`, `/readyz` and `/metrics` of a controller, on a port of its own.

    Args:
        host: address to bind to.
        port: 0 for any.
    """

    def __init__(self, host: str, port: int) -> None:
        self._at, self._ready, self._text = time.monotonic(), False, ""
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = health.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=self.server.serve_forever, name="health", daemon=True).start()

    def beat(self, controller: Controller) -> None:
        """A turn of the loop is done."""
        self._at, self._text = time.monotonic(), controller.metrics()
        self._ready = controller.listed and not controller.fleet.trouble

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text."""
        alive = time.monotonic() - self._at < STUCK_S
        if path == "/livez":
            return (200, "ok\n") if alive else (503, "the loop stands still\n")
        if path == "/readyz":
            return (
                (200, "ok\n")
                if alive and self._ready
                else (503, "no list of the API server or no snapshot yet\n")
            )
        return (200, self._text) if path == "/metrics" else (404, "livez, readyz, metrics\n")

    def close(self) -> None:
        """Free the port."""
        self.server.shutdown()
        self.server.server_close()
