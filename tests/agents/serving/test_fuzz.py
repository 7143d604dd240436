"""Ten thousand hostile requests, garbage on the wire, and schemathesis against the OpenAPI document."""

import contextlib
import copy
import json
import random
import socket

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from agents.serving.app import ROUTES, application
from agents.serving.gate import Limits
from agents.serving.openapi import document
from tests.agents.serving.conftest import JOB, TOKEN, ask, service

REQUESTS = 10_000
STRANGE = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.0, 0.5, "", "any", "north", "north/gpu",
    "\x00", "../../etc/passwd", "é" * 300, [], {}, [[]], {"a": {}}, [None] * 50, "NaN", {"__class__": "os"},
    "'; DROP TABLE jobs; --",
)  # fmt: skip
KEYS = (
    "job",
    "jobs",
    "id",
    "regions",
    "pools",
    "units",
    "candidates",
    "Pod",
    "NodeNames",
    "Nodes",
    "inputs",
    "gang",
)
SKY_TASK = "envs: {GCN_ORIGIN: north, GCN_JURISDICTIONS: any}\n"
SKY_TASK += "resources: {any_of: [{infra: a/north}, {infra: b/south}]}"


def mutated(value, rng, depth=0):
    """The same document with something wrong in it."""
    if depth > 6 or rng.random() < 0.08:
        return copy.deepcopy(rng.choice(STRANGE))
    if isinstance(value, dict) and value:
        found = dict(value)
        key = rng.choice(list(found))
        move = rng.random()
        if move < 0.15:
            del found[key]
        elif move < 0.3:
            found[rng.choice(KEYS)] = copy.deepcopy(rng.choice(STRANGE))
        else:
            found[key] = mutated(found[key], rng, depth + 1)
        return found
    if isinstance(value, list) and value:
        found, at = list(value), rng.randrange(len(value))
        if rng.random() < 0.2:
            return found * 2
        found[at] = mutated(found[at], rng, depth + 1)
        return found
    return copy.deepcopy(rng.choice(STRANGE))


def spoiled(raw, rng):
    """Bytes with a piece cut, flipped or doubled."""
    data, at = bytearray(raw), rng.randrange(max(len(raw), 1))
    move = rng.random()
    if move < 0.4 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif move < 0.7:
        del data[at:]
    else:
        data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
    return bytes(data)


@pytest.fixture(scope="module")
def fuzzed(exported):
    made = service(exported, deadline_ms=2000)
    return made


def seeds(snapshots):
    """Good requests to spoil: path -> body."""
    score = {
        "job": JOB,
        "candidates": ["north/gpu", "south/gpu"],
        "units": {"jobs": {"gang": "devices", "work": "h"}},
    }
    pod = {
        "metadata": {"name": "p", "namespace": "d", "annotations": {"gcn.io/work": "3"}},
        "spec": {"containers": []},
    }
    small = copy.deepcopy(snapshots[0])
    small["jobs"], small["slots"] = small["jobs"][:3], []
    infer = {"inputs": [{"name": "jobs", "datatype": "FP32", "shape": [1, 1, 25], "data": [0.0] * 25}]}
    return {
        ("PUT", "/v1/snapshot"): small, ("POST", "/v1/score"): score, ("POST", "/v1/place"): {},
        ("POST", "/v1/setpoints"): {},
        ("POST", "/k8s/filter"): {"Pod": pod, "Nodes": None, "NodeNames": ["north-gpu-1", "b"]},
        ("POST", "/k8s/prioritize"): {"Pod": pod, "Nodes": {"items": [{"metadata": {"name": "a"}}]}, "NodeNames": None},
        ("POST", "/skypilot"): json.dumps({"task": SKY_TASK, "skypilot_config": "{}"}),
        ("POST", "/v2/models/tested/infer"): infer,
    }  # fmt: skip


@pytest.mark.slow
def test_ten_thousand_requests(fuzzed, snapshots):
    """No crash (5xx but 503), no growth, no action without the token; a good request works before and after."""
    import tracemalloc

    app = application(fuzzed, TOKEN.encode(), Limits(body=1 << 20))
    good, rng = seeds(snapshots), random.Random(4)
    paths = list(good)
    token = [("authorization", f"Bearer {TOKEN}")]
    fuzzed.decider.update(snapshots[0])
    before = ask(app, "POST", "/v1/score", orjson.dumps(good[("POST", "/v1/score")]), token)
    codes: dict[int, int] = {}
    silent = 0
    for k in range(REQUESTS):
        method, path = rng.choice(paths)
        body = good[method, path]
        try:
            raw = orjson.dumps(mutated(body, rng)) if rng.random() < 0.7 else spoiled(orjson.dumps(body), rng)
        except TypeError:  # a number that JSON has, and orjson will not write
            raw = json.dumps(mutated(body, rng)).encode(errors="replace")
        nobody = rng.random() < 0.1
        decided = fuzzed.decider.live.count
        status, _, answer = ask(app, method, path, raw, [] if nobody else token)
        codes[status] = codes.get(status, 0) + 1
        assert status < 500 or status == 503, (path, raw[:300], answer[:300])
        assert len(answer) < 1 << 20
        if nobody:
            assert status == 401
            assert fuzzed.decider.live.count == decided
            silent += 1
        if k == 1000:
            tracemalloc.start()
            base = tracemalloc.get_traced_memory()[0]
        if k == 2000:
            grown = tracemalloc.get_traced_memory()[0] - base
            tracemalloc.stop()
            assert grown < 4 << 20
    assert silent > 800
    assert {200, 400, 401, 422} <= set(codes)
    fuzzed.decider.update(snapshots[0])
    after = ask(app, "POST", "/v1/score", orjson.dumps(good[("POST", "/v1/score")]), token)
    assert before[2] == after[2]


POST = b"POST /v1/score HTTP/1.1\r\n"
GARBAGE = (
    b"", b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", POST,
    POST + b"Content-Length: -5\r\n\r\n", POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.1\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/snapshot HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x00\xff\r\n\r\n", b"\x00" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_the_wire(server, client, raw):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := s.recv(65536):
                answer += piece
    assert b" 200 " not in answer.split(b"\r\n")[0] or raw.startswith(b"GET /livez")
    assert client.get("/livez").status_code == 200


def test_the_document_names_every_action():
    paths = document()["paths"]
    for method, path, _ in ROUTES:
        if path.startswith(("/v1", "/k8s")):
            assert method.lower() in paths[path], path


def agrees(operation, base):
    """Generated requests for one operation, each answered with a status that the document names."""
    named = {int(code) for code in operation.definition.raw["responses"]}

    @given(case=operation.as_strategy())
    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    def run(case):
        answer = case.call(base_url=base, headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code in named, (case, answer.status_code, answer.text[:200])

    run()


@pytest.mark.slow
def test_schemathesis_finds_nothing(server, client, snapshots):
    """Requests that fit the schema, in all kinds that it allows: every answer is one that the document names."""
    schemathesis = pytest.importorskip("schemathesis")
    client.put("/v1/snapshot", json=snapshots[0])
    schema = schemathesis.openapi.from_dict(document())
    operations = [o.ok() for o in schema.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        agrees(operation, f"http://127.0.0.1:{server.port}")
