"""The API client: who it is, what it asks again, and list-then-watch through everything a server does to it."""

import base64
import itertools
import ssl
import threading

import pytest
import yaml
from starlette.responses import PlainTextResponse

from agents.adapters.kubernetes.access import Access, in_cluster, kubeconfig
from agents.adapters.kubernetes.api import JSON_PATCH, LIST, LONGEST_S, Api, ApiError, Backoff
from gcn_env.errors import UserError
from tests.agents.serving.conftest import Server
from tests.agents.serving.kubefake import FakeKube, pod, status
from tests.agents.serving.test_server import certificate

pytestmark = pytest.mark.stepless

PODS = "/api/v1/pods"


@pytest.fixture
def kube():
    return FakeKube()


@pytest.fixture
def running(kube):
    server = Server(kube.app)
    yield server
    kube.cut += 1
    server.stop()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def api(kube, running, waits):
    made = Api(Access(f"http://127.0.0.1:{running.port}", token=kube.token), watch_s=1.0)
    made.wait = lambda seconds: waits.append(seconds) or made.stop.wait(min(seconds, 0.01))
    yield made
    made.stop.set()
    made.close()


def follow(api, **params):
    """Events in a list that grows."""
    seen = []

    def listen():
        for event in api.follow(PODS, **params):
            seen.append(event)

    threading.Thread(target=listen, daemon=True).start()
    return seen


def until(condition, seconds=10.0):
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come to that")


def names(seen, kind):
    return [e[1]["metadata"]["name"] for e in seen if e[0] == kind]


# ------------------------------------------------------------------------------------------------------------- requests
def test_a_busy_server_is_asked_again_as_it_says(kube, api, waits):
    kube.put("pods", pod("a"))
    kube.faults = [status(429, "slow down", {"Retry-After": "3"}), status(500, "oops"), status(504, "etcd")]
    items, _ = api.list(PODS)
    assert [i["metadata"]["name"] for i in items] == ["a"]
    assert len(waits) == 3
    assert waits[0] == 3.0
    assert 0.5 <= waits[1] <= 1.0 <= 2.0 * waits[2]


def test_it_gives_up_in_the_end(kube, api, waits):
    kube.faults = [status(503, "not now")] * 9
    with pytest.raises(ApiError, match="503 not now"):
        api.list(PODS)
    assert len(waits) == 4
    assert len(kube.faults) == 4


@pytest.mark.parametrize(
    "fault", [PlainTextResponse("<html>"), PlainTextResponse("[1]"), PlainTextResponse('{"items": 7}')]
)
def test_answers_that_are_none_are_errors(kube, api, fault):
    kube.faults = [fault]
    with pytest.raises(ApiError):
        api.list(PODS)


def test_refusals_are_not_asked_again(kube, running, waits):
    stranger = Api(Access(f"http://127.0.0.1:{running.port}", token="wrong"))
    with pytest.raises(ApiError, match="401 Unauthorized") as error:
        stranger.list(PODS)
    assert error.value.status == 401
    stranger.close()


def test_nobody_there(waits):
    alone = Api(Access("http://127.0.0.1:9"), timeout_s=1.0)
    alone.wait = lambda seconds: waits.append(seconds) or False
    with pytest.raises(ApiError, match="ConnectError"):
        alone.list(PODS)
    assert len(waits) == 4
    alone.close()


def test_long_lists_come_in_pages_and_begin_again_when_forgotten(kube, api):
    for k in range(7):
        kube.put("pods", pod(f"p{k}"))
    kube.page = 3
    assert len(api.list(PODS)[0]) == 7
    kube.faults = [None, status(410, "The provided continue parameter is too old")]
    assert [i["metadata"]["name"] for i in api.list(PODS)[0]] == [f"p{k}" for k in range(7)]


def test_a_json_patch_is_all_or_nothing(kube, api):
    kube.put("pods", pod("a"))
    path = "/api/v1/namespaces/default/pods/a"
    steps = [
        {"op": "remove", "path": "/spec/schedulingGates/1"},
        {"op": "test", "path": "/metadata/uid", "value": "no"},
    ]
    with pytest.raises(ApiError) as error:
        api.patch(path, steps, JSON_PATCH)
    assert error.value.status == 422
    assert len(kube.get("pods", "a")["spec"]["schedulingGates"]) == 2
    api.patch(path, steps[:1], JSON_PATCH)
    assert len(kube.get("pods", "a")["spec"]["schedulingGates"]) == 1


def test_waits_double_up_to_a_limit():
    backoff = Backoff()
    waits = [backoff.next() for _ in range(12)]
    assert all(0.25 * 2**k <= w <= 0.5 * 2**k for k, w in enumerate(waits[:6]))
    assert all(LONGEST_S / 2.0 <= w <= LONGEST_S for w in waits[8:])
    assert backoff.next(1e6) == LONGEST_S
    backoff.reset()
    assert backoff.next() <= 0.5


# ------------------------------------------------------------------------------------------------------- list and watch
def test_what_is_there_and_what_happens(kube, api):
    kube.put("pods", pod("a"))
    seen = follow(api)
    until(lambda: seen)
    assert seen[0][0] == LIST
    assert [i["metadata"]["name"] for i in seen[0][1]] == ["a"]
    kube.put(
        "pods", pod("b", annotations={"note": "one\u0085two\u2028three"})
    )  # Go writes these into strings as they are
    kube.put("pods", pod("a", phase="Running"))
    kube.remove("pods", "b")
    until(lambda: names(seen, "DELETED") == ["b"])
    assert names(seen, "ADDED") == ["b"]
    assert names(seen, "MODIFIED") == ["a"]
    assert seen[1][1]["metadata"]["annotations"]["note"] == "one\u0085two\u2028three"


def test_a_pod_that_leaves_the_selection_is_told_as_deleted(kube, api):
    seen = follow(api, fieldSelector="spec.nodeName=,status.phase=Pending")
    until(lambda: seen)
    kube.put("pods", pod("a"))
    kube.put("pods", pod("a", phase="Running", nodeName="n"))
    until(lambda: names(seen, "DELETED") == ["a"])


def test_watches_that_end_go_on_where_they_ended(kube, api):
    """By their own time with a bookmark, by a lost connection, by a busy server: nothing is listed again or missed."""
    seen = follow(api)
    until(lambda: kube.watches == 1)
    kube.put("pods", pod("a"))
    until(lambda: kube.watches >= 2)  # after a second
    kube.cut += 1
    kube.put("pods", pod("b"))
    until(lambda: names(seen, "ADDED") == ["a", "b"])
    kube.faults = [status(500, "oops"), status(429, "busy")]
    kube.cut += 1
    kube.put("pods", pod("c"))
    until(lambda: names(seen, "ADDED") == ["a", "b", "c"])
    assert [kind for kind, _ in seen].count(LIST) == 1


def test_a_forgotten_version_is_listed_again(kube, api):
    seen = follow(api)
    until(lambda: kube.watches == 1)
    kube.put("pods", pod("a"))
    until(lambda: names(seen, "ADDED") == ["a"])
    kube.faults = [status(410, "too old resource version")]
    kube.cut += 1
    until(lambda: [kind for kind, _ in seen].count(LIST) == 2)
    kube.put("pods", pod("b"))
    until(lambda: names(seen, "ADDED") == ["a", "b"])
    kube.compact()  # history goes, and with it the version that the next watch would begin from
    until(lambda: [kind for kind, _ in seen].count(LIST) == 3)
    assert len(seen[-1][1]) == 2


def test_a_server_that_starts_late_and_goes_away(kube, running, waits):
    api = Api(Access(f"http://127.0.0.1:{running.port}", token=kube.token), watch_s=1.0)
    api.wait = lambda seconds: waits.append(seconds) or api.stop.wait(0.01)
    kube.faults = [status(503, "starting")] * 7  # more than one list's tries
    seen = follow(api)
    until(lambda: seen)
    assert len(waits) >= 6
    api.stop.set()
    api.close()


def test_errors_within_a_stream_count_too(kube, api, monkeypatch):
    answers = itertools.chain(
        [PlainTextResponse('{"type": "ERROR", "object": {"code": 410, "message": "too old"}}\n')],
        [PlainTextResponse("nonsense\n")],
        [PlainTextResponse('{"type": 7}\n')],
    )
    for answer in answers:
        kube.faults = [answer]
        with pytest.raises(ApiError):
            list(api.watch(PODS, "1"))


# ----------------------------------------------------------------------------------------------------------- who we are
def test_a_pod_takes_its_service_account_and_renewed_tokens(kube, tmp_path):
    crt, key, _ = certificate(tmp_path, "server", authority=True)
    secure = Server(kube.app, ssl_certfile=crt, ssl_keyfile=key)
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("old\n")
    with open(crt) as file:
        (account / "ca.crt").write_text(file.read())
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(secure.port)}
    api = Api(in_cluster(account, environ))
    with pytest.raises(ApiError, match="401"):
        api.list(PODS)
    (account / "token").write_text(kube.token + "\n")
    assert api.list(PODS)[0] == []
    api.close()
    secure.stop()
    with pytest.raises(UserError, match="this is no pod; give --kubeconfig"):
        in_cluster(account, {})


def config(tmp_path, cluster, user):
    path = tmp_path / "config"
    found = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(found))
    return path


def test_a_kubeconfig_with_a_client_certificate(kube, tmp_path):
    """Authority inline, certificate from a file: the server asks for it, and takes nobody without."""
    ca, _, issuer = certificate(tmp_path, "ca", authority=True)
    crt, key, _ = certificate(tmp_path, "server", issuer)
    mine, mine_key, _ = certificate(tmp_path, "client", issuer)
    secure = Server(
        kube.app, ssl_certfile=crt, ssl_keyfile=key, ssl_ca_certs=ca, ssl_cert_reqs=ssl.CERT_REQUIRED
    )
    server = f"https://127.0.0.1:{secure.port}"
    with open(ca, "rb") as file:
        cluster = {"server": server, "certificate-authority-data": base64.b64encode(file.read()).decode()}
    user = {"client-certificate": mine, "client-key": mine_key, "token": kube.token}
    api = Api(kubeconfig(config(tmp_path, cluster, user)))
    assert api.list(PODS)[0] == []
    api.close()
    nobody = Api(kubeconfig(config(tmp_path, cluster, {"token": kube.token})), timeout_s=2.0)
    nobody.wait = lambda seconds: False
    with pytest.raises(ApiError):
        nobody.list(PODS)
    nobody.close()
    secure.stop()


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"server": "https://h", "insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify is not taken"),
        ({"server": "https://h"}, {"exec": {"command": "x"}}, "exec is not taken"),
        ({"server": "http://example.com"}, {"token": "t"}, "or http:// on loopback"),
        ({"server": "ftp://127.0.0.1"}, {}, "wanted https"),
        ({"server": "https://h"}, {"client-certificate": "x"}, "client-certificate: "),
        ({"server": "https://h", "certificate-authority-data": "%%"}, {}, "certificate-authority: "),
        ({"server": "https://h", "certificate-authority-data": "eA=="}, {}, "certificates for the API server"),
    ],
)  # fmt: skip
def test_kubeconfigs_that_are_not_taken(tmp_path, cluster, user, words):
    with pytest.raises(UserError, match=words):
        kubeconfig(config(tmp_path, cluster, user))


@pytest.mark.parametrize("text", ["", "[]", "a: [", "current-context: c\ncontexts: []\n"])
def test_files_that_are_no_kubeconfig(tmp_path, text):
    (tmp_path / "config").write_text(text)
    with pytest.raises(UserError, match="no current context"):
        kubeconfig(tmp_path / "config")
