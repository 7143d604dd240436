"""One exported policy, one server, and one way to speak with it."""

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path

import httpx
import orjson
import pytest
import uvicorn
from filelock import FileLock

from agents.serving.app import application
from agents.serving.gate import Limits
from agents.serving.server import ServeOptions, service_of
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from tests.worlds import world

TOKEN = "a-token-for-tests-of-32-letters!"
WIDTH, PAIR_WIDTH = 16, 12
JOB = {
    "id": "t/1",
    "class": "training",
    "origin": "north",
    "jurisdictions": "any",
    "trust": "public",
    "gang": 8,
    "work": 4,
}


def fresh_policy(view="joint", seed=1):
    """A network with weights far from zero, so that choices differ from a uniform policy's."""
    import torch

    from agents.networks import EntityNetwork
    from agents.training import TrainedPolicy
    from gcn_env.observation import REGIONS, TABLES

    torch.manual_seed(seed)
    columns = {t.name: len(t) for t in TABLES}
    net = EntityNetwork(
        columns, world().n_levels, WIDTH, PAIR_WIDTH, REGIONS.index("is_current"), margin_h=1.0
    )
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return TrainedPolicy(net.eval(), view)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Folder of a bundle; read-only by convention. Exported once, also where two workers ask for it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "exported-bundle"
    with FileLock(str(folder) + ".lock"):
        if not folder.exists():
            from agents.export import export

            export(fresh_policy(), world(), folder, "tested", {"source": "tests"})
    return folder


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy of the bundle that a test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def snapshots():
    """Documents of one simulated day of `smoke`, each second step."""
    sim, found = Sim(world(), 1), []
    sim.reset(11)
    from agents.policy import load

    rule = load("rule:cost-greedy+b1", world())
    for step in range(world().horizon - 1):
        if step % 2 == 0:
            found.append(document(world(), sim.state))
        sim.step(rule.predict(sim.obs)[0])
    return found


def service(exported, **options):
    """A service of the bundle, or of a rule."""
    return service_of(ServeOptions(str(exported), "smoke", **options), world())


@pytest.fixture(scope="module")
def served(exported):
    """A service that tests of one module share."""
    made = service(exported)
    yield made
    made.log.close()


class Server:
    """uvicorn in a thread on 127.0.0.1."""

    def __init__(self, app, **options):
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="error", access_log=False, lifespan="off", **options
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        for _ in range(1000):
            if self.server.started:
                break
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture(scope="module")
def server(served):
    """The service behind HTTP, with a token."""
    running = Server(application(served, TOKEN.encode(), Limits(body=1 << 20)))
    yield running
    running.stop()


@pytest.fixture
def client(server):
    """Sends the token."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=30) as made:
        yield made


def caller(client):
    """`call(method, path, body)` of `agents.adapters.simulator`."""

    def call(method, path, body):
        answer = client.request(method, path, content=orjson.dumps(body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    return call


def ask(app, method, path, body=b"", headers=()):
    """One request straight to an ASGI application: (status, headers, body)."""
    sent, parts = [], [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"},
        "root_path": "",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    answer = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return sent[0]["status"], dict(sent[0]["headers"]), answer
