"""A policy server that does whatever a test wants: answers, dawdles, talks nonsense."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def scores(pool, candidates, by="policy"):
    """An answer of `/v1/score` that chooses `pool` (None: wait)."""
    rows = [
        {"pool": c, "score": 0.9 if c == pool else 0.1 / len(candidates), "refused": []} for c in candidates
    ]
    return {"job": "j", "choice": pool, "wait": 0.0, "candidates": rows, "by": by, "reason": ""}


class FakePolicy:
    """HTTP on 127.0.0.1.

    Attributes:
        reply: called with the body of `/v1/score`; returns a dictionary, or (status, bytes).
        delay_s: before each answer.
        asked, snapshots: bodies that came.
    """

    def __init__(self, reply=None, delay_s=0.0):
        self.reply, self.delay_s, self.asked, self.snapshots = reply, delay_s, [], []
        fake, self.headers = self, []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _answer(self):
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                fake.headers.append(dict(self.headers))
                (fake.snapshots if self.path == "/v1/snapshot" else fake.asked).append(body)
                time.sleep(fake.delay_s)
                found = {} if self.path == "/v1/snapshot" or fake.reply is None else fake.reply(body)
                status, raw = found if isinstance(found, tuple) else (200, json.dumps(found).encode())
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:
                    self.close_connection = True  # the client did not wait

            do_POST = do_PUT = _answer  # noqa: N815 - names that http.server calls

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()
