"""Gates against a real API server and scheduler, where KUBEBUILDER_ASSETS names a folder with their binaries.

Kubernetes 1.27 or later. Nodes are API objects without kubelets: a pod is scheduled, and then nothing runs.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from agents.adapters.asking import Asker
from agents.adapters.kubernetes.access import kubeconfig
from agents.adapters.kubernetes.api import Api, ApiError
from agents.adapters.kubernetes.fleet import Fleet
from agents.adapters.kubernetes.gates import Gates
from agents.adapters.kubernetes.pods import Nodes
from tests.agents.serving.conftest import Server
from tests.agents.serving.kubefake import FakePolicy, node, pod
from tests.agents.serving.test_gates import DEFAULTS, SITE, WHERE, start
from tests.agents.serving.test_kube_api import config, until
from tests.agents.serving.test_server import certificate

BINARIES = Path(os.environ.get("KUBEBUILDER_ASSETS", ""))
MISSING = [n for n in ("etcd", "kube-apiserver", "kube-scheduler") if not (BINARIES / n).is_file()]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"no {', '.join(MISSING)}: set KUBEBUILDER_ASSETS to a folder that holds them"
    ),
]


@pytest.fixture
def control_plane(tmp_path):
    """A kubeconfig of etcd, kube-apiserver and kube-scheduler on loopback."""
    ca, _, issuer = certificate(tmp_path, "ca", authority=True)
    crt, key, _ = certificate(tmp_path, "server", issuer)
    store, peer, port = (free_port() for _ in range(3))
    (tmp_path / "tokens.csv").write_text("a-token,admin,admin,system:masters\n")
    path = config(
        tmp_path, {"server": f"https://127.0.0.1:{port}", "certificate-authority": ca}, {"token": "a-token"}
    )
    commands = [
        ["etcd", f"--data-dir={tmp_path / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{store}",
         f"--advertise-client-urls=http://127.0.0.1:{store}", f"--listen-peer-urls=http://127.0.0.1:{peer}"],
        ["kube-apiserver", f"--etcd-servers=http://127.0.0.1:{store}", "--bind-address=127.0.0.1",
         f"--secure-port={port}", f"--tls-cert-file={crt}", f"--tls-private-key-file={key}",
         f"--token-auth-file={tmp_path / 'tokens.csv'}", "--authorization-mode=AlwaysAllow",
         f"--cert-dir={tmp_path}", "--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://gcn",
         f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
         "--disable-admission-plugins=ServiceAccount"],
        ["kube-scheduler", f"--kubeconfig={path}", "--leader-elect=false", "--secure-port=0"],
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        trust = ssl.create_default_context(cafile=ca)
        for k, command in enumerate(commands):
            log = stack.enter_context(open(tmp_path / f"{command[0]}.log", "w"))
            running = subprocess.Popen([str(BINARIES / command[0]), *command[1:]], stdout=log, stderr=log)
            stack.callback(running.wait, 30)
            stack.callback(running.terminate)
            if k == 1:
                until(lambda: ready(f"https://127.0.0.1:{port}/readyz", trust), 60)
        yield path


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ready(url, trust):
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, verify=trust, headers={"Authorization": "Bearer a-token"}).status_code == 200
    return False


def test_gated_pods_are_scheduled_where_the_policy_says(control_plane, tmp_path):
    """20 pods; kube-scheduler binds each to a node of the chosen pool. What is no gate of ours stays gated."""
    policy = FakePolicy(lambda job, pools: "us/gpu")
    behind, api = Server(policy.app), Api(kubeconfig(control_plane), watch_s=5.0)
    for region in ("eu", "us"):
        made = api.request("POST", "/api/v1/nodes", node(f"{region}-0", region, "gpu", gpus=100))
        stat = node("x", region, "gpu", gpus=100)["status"]
        stat["allocatable"] |= {"pods": "200", "memory": "64Gi"}
        path = f"/api/v1/nodes/{made['metadata']['name']}/status"
        api.patch(path, {"status": stat | {"capacity": stat["allocatable"]}}, "application/merge-patch+json")
        taints = {"spec": {"taints": None}}  # not-ready, which no controller manager is here to take away
        api.patch(path.removesuffix("/status"), taints, "application/merge-patch+json")
    pods = "/api/v1/namespaces/default/pods"
    until(lambda: there(api, "/api/v1/namespaces/default"), 30)
    for k in range(20):
        item = pod(f"p{k}")
        item["spec"]["containers"][0]["image"] = "none"
        item["spec"]["schedulingGates"] = [{"name": "gcn.io/placement"}]
        api.request("POST", pods, item | {"status": {}})
    (tmp_path / "site.json").write_text(json.dumps(SITE))
    asker = Asker(f"http://127.0.0.1:{behind.port}")
    mine = Api(kubeconfig(control_plane), watch_s=5.0)
    gates = Gates(mine, asker, Fleet([mine], asker, Nodes(defaults=DEFAULTS), tmp_path / "site.json"))
    began, thread = time.monotonic(), start(gates)
    until(lambda: sum(bool(p["spec"].get("nodeName")) for p in api.list(pods)[0]) == 20, 60)
    print(f"20 pods placed and bound in {time.monotonic() - began:.2f} s")
    found = api.list(pods)[0]
    assert {p["spec"]["nodeName"] for p in found} == {"us-0"}
    assert all(p["spec"]["nodeSelector"] == WHERE and "schedulingGates" not in p["spec"] for p in found)
    mine.stop.set()
    thread.join(20)
    for end in (api.close, asker.close, behind.stop):
        end()


def there(api, path):
    with contextlib.suppress(ApiError):
        return bool(api.request("GET", path))
    return False
