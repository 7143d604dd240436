"""slurmrestd's versions, errors and patience, and commands that fail."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from agents.adapters.slurm.commands import Commands
from agents.adapters.slurm.queue import Job, SlurmError
from agents.adapters.slurm.rest import Rest
from gcn_env.errors import UserError

pytestmark = pytest.mark.stepless

JOB = Job(7, "PENDING", "a,b")


class FakeRest:
    """slurmrestd of a version, with errors to come first."""

    def __init__(self, versions, errors=()):
        self.seen, errors, fake = [], list(errors), self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def _answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                fake.seen.append((self.command, self.path, json.loads(body or b"null")))
                status, found = 200, {"errors": [], "jobs": [], "nodes": []}
                if self.path == "/openapi/v3":
                    found = {"paths": {f"/slurm/{v}/jobs/": {} for v in versions}}
                elif errors:
                    status, number = errors.pop(0)
                    found = {"errors": [{"error_number": number, "description": "no"}]}
                raw = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = _answer  # noqa: N815

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def rest():
    """`rest(versions, errors)`: a client, its server, and the pauses that it made."""
    made = []

    def make(versions, errors=()):
        fake, pauses = FakeRest(versions, errors), []
        client = Rest(fake.url, "root", lambda: "jwt", sleep=pauses.append)
        made.append((fake, client))
        return fake, client, pauses

    yield make
    for fake, client in made:
        client.close()
        fake.server.shutdown()
        fake.server.server_close()


def test_the_newest_version_is_taken(rest):
    fake, client, _ = rest(["v0.0.36", "v0.0.38", "v0.0.9"])
    assert client.jobs() == client.nodes() == []
    client.place(JOB, "a", time.time() - 5, held=False)
    client.place(JOB, "b", 0, held=True)
    client.delay(JOB, time.time() + 59.5)
    paths = [path for _, path, _ in fake.seen]
    assert (
        paths == ["/openapi/v3", "/slurm/v0.0.38/jobs", "/slurm/v0.0.38/nodes"] + ["/slurm/v0.0.38/job/7"] * 3
    )
    bodies = [body for _, _, body in fake.seen[-3:]]
    assert bodies == [{"partition": "a", "begin_time": "now"}, {"partition": "b", "hold": False},
                      {"begin_time": "now+60"}]  # fmt: skip


def test_later_versions_take_times_as_objects(rest):
    fake, client, _ = rest(["v0.0.40", "v0.0.42"])
    client.place(JOB, "a", 1234.5, held=False)
    assert fake.seen[-1] == (
        "POST", "/slurm/v0.0.42/job/7",
        {"partition": "a", "begin_time": {"set": True, "infinite": False, "number": 1234}},
    )  # fmt: skip


def test_try_again_is_tried_again_and_nothing_else(rest):
    _, client, pauses = rest(["v0.0.42"], [(500, 11), (200, 11)])
    client.delay(JOB, 0)
    assert len(pauses) == 2
    _, client, pauses = rest(["v0.0.42"], [(500, 11)] * 9)
    with pytest.raises(SlurmError, match="HTTP 500 11"):
        client.delay(JOB, 0)
    assert len(pauses) == 3
    _, client, pauses = rest(["v0.0.42"], [(200, 2021)])
    with pytest.raises(SlurmError, match="HTTP 200 2021"):
        client.place(JOB, "a", 0, held=False)
    assert pauses == []


def test_a_rest_that_is_away_or_serves_nothing(rest):
    _, client, _ = rest([])
    with pytest.raises(SlurmError, match="openapi/slurmctld"):
        client.jobs()
    away = Rest("http://127.0.0.1:9", "root", lambda: "jwt", timeout_s=0.5)
    with pytest.raises(SlurmError, match="GET /openapi/v3"):
        away.jobs()
    away.close()
    with pytest.raises(UserError, match="wanted http"):
        Rest("127.0.0.1:6820", "root", lambda: "jwt")


def test_commands_that_fail_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="squeue"):
        Commands().jobs()
    for name, text in (
        ("squeue", "echo no JSON"),
        ("sinfo", 'echo "{\\"nodes\\": 3}"'),
        ("scontrol", "echo wrong >&2; exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(SlurmError, match="no JSON with 'jobs'"):
        Commands().jobs()
    with pytest.raises(SlurmError, match="is no list"):
        Commands().nodes()
    with pytest.raises(SlurmError, match="wrong"):
        Commands().delay(JOB, 0)
    (tmp_path / "squeue").write_text("#!/bin/sh\nwhile :; do :; done\n")
    with pytest.raises(SlurmError, match="timed out"):
        Commands(timeout_s=0.2).jobs()
