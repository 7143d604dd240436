"""The server: token, limits, closed loop, reload, health, metrics, TLS and the command itself."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest

from agents.__main__ import main
from agents.adapters.simulator import actions
from agents.policy import load
from agents.serving.app import ROUTES, application
from agents.serving.gate import OPEN, Limits, Rates
from agents.serving.server import ServeOptions, tls_of, token_of
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from tests.agents.serving.conftest import JOB, TOKEN, Server, ask, caller, service
from tests.worlds import ROOT, fingerprint, world

ASK = {"job": JOB, "units": {"jobs": {"gang": "devices", "work": "h"}}}


def test_a_served_policy_costs_exactly_what_it_costs_in_process(client, exported):
    """A day over HTTP through snapshots, beside the same day in process: every booked number, bit for bit."""
    policy = load(f"bundle:{exported}", world())
    far, near, call = Sim(world(), 1, split="test"), Sim(world(), 1, split="test"), caller(client)
    far.reset(5)
    near.reset(5)
    for _ in range(world().horizon):
        far.step(actions(far, 0, call)[None])
        near.step(policy.predict(near.obs)[0])
        assert fingerprint(far) == fingerprint(near)
    assert np.array_equal(far.last_terms_sum, near.last_terms_sum)
    assert far.last_terms_sum.sum() > 0.0


def test_every_route_asks_for_the_token(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as nobody:
        for method, path, _ in ROUTES:
            path = path.format(name="tested", version="1")
            answer = nobody.request(method, path, content=b"{}")
            assert (answer.status_code != 401) == (path in OPEN), path
        for value in (
            "Bearer",
            "Bearer wrong",
            f"Basic {TOKEN}",
            TOKEN,
            f"Bearer {TOKEN}x",
            f"bearer {TOKEN}",
        ):
            assert nobody.get("/v1/snapshot", headers={"authorization": value}).status_code == 401
        twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")]
        assert nobody.get("/v1/snapshot", headers=twice).status_code == 401


def test_scores_and_who_decided(client, snapshots):
    assert client.put("/v1/snapshot", json=snapshots[3]).json()["vital"] == []
    answer = client.post("/v1/score", json=ASK, headers={"x-request-id": "r1"}).json()
    assert answer["by"] == "policy"
    assert [c["pool"] for c in answer["candidates"]] == list(world().pool_names)
    legal = [c for c in answer["candidates"] if not c["refused"]]
    assert answer["wait"] + sum(c["score"] for c in legal) == pytest.approx(1.0)
    two = client.post("/v1/score", json=ASK | {"candidates": ["south/gpu"]}).json()
    assert [c["pool"] for c in two["candidates"]] == ["south/gpu"]
    assert two["wait"] + two["candidates"][0]["score"] == pytest.approx(1.0)
    late = client.post("/v1/score", json=ASK, headers={"x-deadline-ms": "0"}).json()
    assert (late["by"], late["reason"]) == ("rule", "deadline")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/score", b"{", 400, "no JSON"),
        ("/v1/score", b"[]", 422, "list where an object"),
        ("/v1/score", b'{"job": "nobody"}', 422, "no job of the snapshot"),
        ("/v1/score", json.dumps(ASK | {"candidates": ["moon/gpu"]}).encode(), 422, "one of: north/gpu"),
        ("/v1/score", json.dumps(ASK | {"candidates": []}).encode(), 422, "list of 1..3"),
        ("/v1/score", json.dumps({"job": JOB}).encode(), 422, "units.jobs.gang is missing"),
        ("/k8s/filter", b"{}", 400, "Pod"),
        ("/nothing", b"", 404, ""),
    ],
)
def test_wrong_requests_are_told_why(client, snapshots, path, body, status, words):
    client.put("/v1/snapshot", json=snapshots[3])
    answer = client.post(path, content=body)
    assert answer.status_code == status
    assert words in answer.text


def test_large_bodies_are_refused(client, server):
    assert client.post("/v1/score", content=b" " * ((1 << 20) + 1)).status_code == 413
    pieces = (b" " * 65536 for _ in range(40))  # chunked: no length is announced
    with contextlib.suppress(httpx.HTTPError):  # the server may close before all pieces were sent
        assert client.post("/v1/score", content=pieces).status_code == 413
    compressed = client.post("/v1/score", content=b"x", headers={"content-encoding": "gzip"})
    assert compressed.status_code == 415


def test_rates_are_limited_by_peer():
    now = [0.0]
    rates = Rates(2.0, 3, lambda: now[0])
    assert [rates.admits("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert rates.admits("b")
    now[0] += 0.5
    assert [rates.admits("a") for _ in range(2)] == [True, False]
    for k in range(10_000):
        rates.admits(f"peer-{k}")
    assert len(rates._left) <= 4096


def test_too_many_requests_get_429(served):
    app = application(served, None, Limits(rate=1.0, burst=5))
    codes = [ask(app, "GET", "/livez")[0] for _ in range(8)]
    assert codes == [200] * 5 + [429] * 3


def test_health(exported, snapshots):
    made = service(exported)
    app = application(made, TOKEN.encode())
    assert ask(app, "GET", "/livez")[0] == 200
    assert ask(app, "GET", "/readyz")[0] == 503
    token = [("authorization", f"Bearer {TOKEN}")]
    assert ask(app, "POST", "/v1/place", b"{}", token)[0] == 503
    assert ask(app, "PUT", "/v1/snapshot", json.dumps(snapshots[0]).encode(), token)[0] == 200
    assert ask(app, "GET", "/readyz")[0] == 200
    made.ready = False
    assert ask(app, "GET", "/readyz")[0] == 503


def test_metrics_count(client, snapshots):
    client.put("/v1/snapshot", json=snapshots[3])
    before = metric(client, 'gcn_decisions_total{by="policy",kind="score",reason=""}')
    client.post("/v1/score", json=ASK)
    client.post("/v1/score", json=ASK)
    assert metric(client, 'gcn_decisions_total{by="policy",kind="score",reason=""}') == before + 2
    assert metric(client, 'gcn_requests_total{code="200",route="/v1/score"}') >= 2
    assert metric(client, "gcn_snapshot_age_seconds") >= 0.0
    assert "gcn_bundle_info{" in client.get("/metrics").text


def metric(client, name):
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def test_reload_takes_a_good_bundle_and_refuses_a_bad_one(bundle, snapshots):
    made = service(bundle)
    app, token = application(made, TOKEN.encode()), [("authorization", f"Bearer {TOKEN}")]
    ask(app, "PUT", "/v1/snapshot", json.dumps(snapshots[3]).encode(), token)
    first = made.bundle.digest
    manifest = bundle / "manifest.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b'"equal_decisions"', b'"equal_decision"'))
    status, _, body = ask(app, "POST", "/v1/reload", b"", token)
    assert status == 422
    assert b"manifest.json" in body
    assert made.bundle.digest == first
    assert json.loads(ask(app, "POST", "/v1/place", b"", token)[2])["by"] == "policy"
    manifest.write_bytes(good.replace(b'"name": "tested"', b'"name": "second"'))
    status, _, body = ask(app, "POST", "/v1/reload", b"", token)
    assert status == 200
    assert json.loads(body)["digest"] == made.bundle.digest != first
    assert json.loads(ask(app, "POST", "/v1/place", b"", token)[2])["by"] == "policy"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "16 or more printable"),
        ({"host": "0.0.0.0", "no_token": True}, "loopback only"),
        ({"token_file": "nowhere"}, "nowhere"),
    ],
)
def test_no_server_without_a_token(monkeypatch, options, words):
    monkeypatch.delenv("GCN_TOKEN", raising=False)
    with pytest.raises(UserError, match=words):
        token_of(ServeOptions("x", "smoke", **options))


def test_tls_is_needed_beyond_loopback(tmp_path):
    with pytest.raises(UserError, match="needs TLS"):
        tls_of(ServeOptions("x", "smoke", host="10.0.0.1"))
    with pytest.raises(UserError, match="belong together"):
        tls_of(ServeOptions("x", "smoke", certificate="a"))
    with pytest.raises(UserError, match="no file"):
        tls_of(ServeOptions("x", "smoke", certificate=str(tmp_path / "a"), key=str(tmp_path / "b")))


def certificate(folder, name, issuer=None, authority=False):
    """A key and a certificate for 127.0.0.1, signed by `issuer` or by itself: (PEM files, objects)."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    by, signing = (who, key) if issuer is None else (issuer[0].subject, issuer[1])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(who).issuer_name(by).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(signing, hashes.SHA256())
    )  # fmt: skip
    pem, private = folder / f"{name}.crt", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(s.Encoding.PEM))
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    return str(pem), str(private), (made, key)


def test_mutual_tls_stands_for_the_token_of_kubernetes(served, tmp_path):
    """A client certificate is needed to connect at all; with one, only the extender's routes go without a token."""
    ca, _, issuer = certificate(tmp_path, "ca", authority=True)
    crt, key, _ = certificate(tmp_path, "server", issuer)
    mine, mine_key, _ = certificate(tmp_path, "client", issuer)
    other, other_key, _ = certificate(tmp_path, "stranger")
    options = ServeOptions("x", "smoke", certificate=crt, key=key, client_ca=ca)
    running = Server(application(served, TOKEN.encode(), tokenless=("/k8s/",)), **tls_of(options))
    try:
        base = f"https://127.0.0.1:{running.port}"
        for pair, welcome in (((mine, mine_key), True), ((other, other_key), False), (None, False)):
            context = ssl.create_default_context(cafile=ca)
            if pair:
                context.load_cert_chain(*pair)
            with httpx.Client(base_url=base, verify=context) as c:
                if not welcome:
                    with pytest.raises(httpx.HTTPError):
                        c.get("/livez")
                    continue
                assert c.get("/livez").status_code == 200
                assert c.get("/v1/snapshot").status_code == 401
                assert c.post("/k8s/filter", content=b"{}").status_code == 400
    finally:
        running.stop()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_the_command_serves_reloads_and_stops(bundle, snapshots, tmp_path):
    """`python -m agents serve` as an operator starts it: ready, decides, survives SIGHUP, ends on SIGTERM."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "agents",
        "serve",
        bundle,
        "--scenario",
        "smoke",
        "--port",
        port,
        "--log",
        tmp_path / "d.jsonl",
    ]
    env = {**os.environ, "GCN_TOKEN": TOKEN}
    with subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {TOKEN}"}
            ) as c:
                for _ in range(600):
                    try:
                        c.get("/livez")
                        break
                    except httpx.HTTPError:
                        assert process.poll() is None, process.stderr.read()
                        time.sleep(0.1)
                c.put("/v1/snapshot", json=snapshots[3]).raise_for_status()
                assert c.post("/v1/score", json=ASK).json()["by"] == "policy"
                (bundle / "manifest.json").write_bytes(b"spoilt")
                process.send_signal(signal.SIGHUP)
                time.sleep(1.0)
                assert c.post("/v1/score", json=ASK).json()["by"] == "policy"
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "the one before goes on" in errors
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 2
    assert TOKEN not in errors


def test_mistakes_are_told_and_cost_nothing(tmp_path, bundle, capsys):
    def said(*words):
        assert main([str(w) for w in words]) == 2
        return capsys.readouterr().err

    serving = ("--scenario", "smoke", "--no-token")
    assert "no bundle folder" in said("serve", tmp_path / "none", *serving)
    assert "wanted a rule" in said("serve", bundle, *serving, "--fallback", f"bundle:{bundle}")
    assert "wanted a share" in said("serve", bundle, *serving, "--canary", "2")
    assert "no decision log" in said("shadow", tmp_path / "none")
    assert "no run folder" in said(
        "export", tmp_path / "run", "--out", tmp_path / "out", "--scenario", "smoke"
    )
