"""The manifests hold together: names, ports, mounts and arguments fit each other, rights are those that are used."""

import argparse
import contextlib
import itertools
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import agents.adapters.kubernetes
from agents.__main__ import GROUPS
from agents.adapters.asking import Asker
from agents.adapters.kubernetes.api import LIST
from tests.agents.serving.conftest import Server
from tests.agents.serving.kubefake import FakeKube, FakePolicy, node, pod, workload
from tests.agents.serving.test_gates import OLD, WHERE, cluster, turn
from tests.agents.serving.test_kube_api import config, until
from tests.agents.serving.test_multikueue import manager

pytestmark = pytest.mark.stepless

__all__ = ["cluster", "manager"]  # fixtures
FOLDER = Path(agents.adapters.kubernetes.__file__).parent / "manifests"


class Strict(yaml.SafeLoader):
    """Refuses keys that stand twice, as the API server does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep) for k, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice: {keys} {node.start_mark}"
        return super().construct_mapping(node, deep)


FILES = {p.name: list(yaml.load_all(p.read_text(), Strict)) for p in sorted(FOLDER.glob("*.yaml"))}
OBJECTS = [o for name, docs in FILES.items() for o in docs if name != "scheduler.yaml"]
DEPLOYMENTS = {o["metadata"]["name"]: o["spec"]["template"] for o in OBJECTS if o["kind"] == "Deployment"}


def named(kind):
    return {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] == kind}


def parsed(args):
    """Arguments as our own parser reads them."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for group in GROUPS:
        group.add(verbs)
    with contextlib.suppress(SystemExit):
        return parser.parse_args(args)
    pytest.fail(f"our own parser refuses {args}")


def test_all_is_there_and_in_one_place():
    assert set(FILES) == {"base.yaml", "gates.yaml", "multikueue.yaml", "scheduler.yaml", "server.yaml"}
    assert set(DEPLOYMENTS) == {"gcn-server", "gcn-gates", "gcn-multikueue"}
    for o in OBJECTS:
        assert o["apiVersion"] == {
            "Namespace": "v1", "ServiceAccount": "v1", "Service": "v1", "Deployment": "apps/v1",
            "ClusterRole": "rbac.authorization.k8s.io/v1", "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
            "NetworkPolicy": "networking.k8s.io/v1",
        }[o["kind"]]  # fmt: skip
        if not o["kind"].startswith(("Cluster", "Namespace")):
            assert o["metadata"]["namespace"] == "gcn-system"
    names = [(o["kind"], o["metadata"]["name"]) for o in OBJECTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_locked_down(name):
    """What the `restricted` standard asks for, and more."""
    spec = DEPLOYMENTS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["serviceAccountName"] in named("ServiceAccount")
    (one,) = spec["containers"]
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert one["resources"]["limits"]["memory"]
    assert one["resources"]["requests"].keys() == {"cpu", "memory"}
    ports = {p["name"]: p["containerPort"] for p in one["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        action = one[probe].get("httpGet") or one[probe]["tcpSocket"]
        assert action["port"] in ports
        assert action.get("path", "/livez") in ("/livez", "/readyz")
    mounts = {m["name"]: m["mountPath"] for m in one["volumeMounts"]}
    assert set(mounts) == {v["name"] for v in spec["volumes"]}
    for v in spec["volumes"]:
        assert v.get("secret", {}).get("defaultMode", 0o440) == 0o440


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_arguments_are_ours_and_files_are_mounted(name):
    spec = DEPLOYMENTS[name]["spec"]
    (one,) = spec["containers"]
    args = parsed(one["args"])
    mounts = tuple(m["mountPath"] + "/" for m in one["volumeMounts"])
    files = [v for v in vars(args).values() if isinstance(v, str) and v.startswith("/")]
    assert len(files) >= 5
    assert all(f.startswith(mounts) for f in files)
    ports = [p["containerPort"] for p in one["ports"]]
    if name == "gcn-server":
        assert [args.port] == ports
        (service,) = named("Service").values()
        assert service["spec"]["selector"].items() <= DEPLOYMENTS[name]["metadata"]["labels"].items()
        assert service["spec"]["ports"][0]["port"] == args.port
    else:
        assert [int(args.health.split(":")[1])] == ports
        assert args.policy == "https://gcn-server.gcn-system.svc:8710"
        assert DEPLOYMENTS[name]["metadata"]["labels"]["gcn-client"] == "true"


def test_network_policies_name_pods_and_ports_that_exist():
    labels = [t["metadata"]["labels"] for t in DEPLOYMENTS.values()]
    ports = {p["name"] for t in DEPLOYMENTS.values() for c in t["spec"]["containers"] for p in c["ports"]}
    for policy in named("NetworkPolicy").values():
        rules = policy["spec"].get("ingress", []) + policy["spec"].get("egress", [])
        peers = [
            p["podSelector"] for r in rules for p in r.get("from", []) + r.get("to", []) if "podSelector" in p
        ]
        for chosen in [policy["spec"]["podSelector"], *peers]:
            wanted = chosen.get("matchLabels", {})
            assert any(wanted.items() <= have.items() for have in labels)
        for rule, port in ((r, p["port"]) for r in rules for p in r["ports"]):
            assert port in ports if isinstance(port, str) else port in (53, 443, 6443), rule


def test_the_extenders_configuration():
    """As kube-scheduler reads it; the addresses are those of the Service and of our routes."""
    from agents.serving.app import ROUTES

    (config_,) = FILES["scheduler.yaml"]
    assert (config_["apiVersion"], config_["kind"]) == (
        "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration",
    )  # fmt: skip
    (one,) = config_["extenders"]
    assert one["urlPrefix"] == "https://gcn-server.gcn-system.svc:8710/k8s"
    assert ("POST", f"/k8s/{one['prioritizeVerb']}") in {(m, p) for m, p, _ in ROUTES}
    assert one["ignorable"] is True
    assert one["enableHTTPS"] is True
    assert set(one["tlsConfig"]) == {"certFile", "keyFile", "caFile"}


def rights(role):
    """(group, resource, verb) that a role grants."""
    rules = named("ClusterRole")[role]["rules"]
    return {x for r in rules for x in itertools.product(r["apiGroups"], r["resources"], r["verbs"])}


def test_rights_are_those_that_are_used(cluster, manager):
    """Everything a controller does, and nothing else, is granted; bindings name accounts and roles that exist."""
    cluster.kube.put("pods", pod("a", labels={"gcn.io/group": "g"}))
    cluster.kube.put("pods", pod("old", created=OLD))
    gates = cluster.gates()
    turn(gates)
    manager.kube.put("workloads", workload("w"))
    dispatcher = manager.dispatcher()
    turn(dispatcher)
    for controller in (gates, dispatcher):
        events = controller.api.follow(controller.path, **controller.params)
        assert next(events)[0] == LIST
        controller.api.watch_s = 1.0
        list(controller.api.watch(controller.path, "999", **controller.params))
    assert cluster.kube.calls == rights("gcn-gates")
    assert manager.kube.calls == rights("gcn-multikueue")
    for binding in named("ClusterRoleBinding").values():
        assert binding["roleRef"]["name"] in named("ClusterRole")
        (subject,) = binding["subjects"]
        assert subject["name"] in named("ServiceAccount")
        assert subject["name"] == binding["roleRef"]["name"]


@pytest.mark.slow
def test_the_command_itself(root, tmp_path):
    """`python -m agents gates`, with a kubeconfig, killed without a word and started anew; SIGTERM ends it."""
    kube, policy = FakeKube(), FakePolicy(lambda job, pools: "us/gpu")
    front, behind = Server(kube.app), Server(policy.app)
    for region in ("eu", "us"):
        kube.put("nodes", node(f"{region}-0", region, "gpu"))
    path = config(tmp_path, {"server": f"http://127.0.0.1:{front.port}"}, {"token": kube.token})
    (tmp_path / "site.json").write_text("{}")
    command = [
        sys.executable, "-m", "agents", "gates", f"--kubeconfig={path}", f"--policy=http://127.0.0.1:{behind.port}",
        f"--site={tmp_path / 'site.json'}", "--timeout-ms=5000",
    ]  # fmt: skip
    codes = []
    for number, name in ((signal.SIGKILL, "a"), (signal.SIGTERM, "b")):
        kube.put("pods", pod(name))
        env = os.environ | {"PYTHONPATH": str(root)}
        with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as running:
            until(lambda name=name: kube.get("pods", name)["spec"].get("nodeSelector") == WHERE, 60)
            kube.cut += 1
            running.send_signal(number)
            codes.append(running.wait(30))
    assert codes == [-signal.SIGKILL, 0]
    assert len(policy.told) >= 2
    for server in (front, behind):
        kube.cut += 1
        server.stop()


def blocks(root, section):
    """Shell blocks of a section of agents/README.md."""
    text = (root / "agents" / "README.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", text, re.S)


def test_the_certificates_of_the_page_work(root, tmp_path):
    """The page's own openssl lines: a server asks for them, a controller shows them, a stranger cannot."""
    script = next(b for b in blocks(root, "Kubernetes") if "openssl req" in b)
    made = "\n".join(line for line in script.splitlines() if not line.startswith("kubectl"))
    assert "kubectl create secret" in script
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", made], cwd=tmp_path, check=True, capture_output=True, timeout=60
    )
    pem = {
        n: str(tmp_path / f"{n}") for n in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key")
    }
    secure = Server(
        FakePolicy().app, ssl_certfile=pem["server.crt"], ssl_keyfile=pem["server.key"], ssl_ca_certs=pem["ca.crt"],
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )  # fmt: skip
    url, ca = f"https://127.0.0.1:{secure.port}", tmp_path / "ca.crt"
    mine = Asker(url, "t", 5.0, ca, (tmp_path / "client.crt", tmp_path / "client.key"))
    assert mine.choose({"id": "a"}, ["eu/gpu"]).pool == "eu/gpu"
    nobody, stranger = Asker(url, "t", 5.0, ca), Asker(url, "t", 5.0)
    assert (
        nobody.choose({"id": "a"}, ["eu/gpu"]).reason
        == stranger.choose({"id": "a"}, ["eu/gpu"]).reason
        == "down"
    )
    names = subprocess.run(
        ["openssl", "x509", "-in", pem["server.crt"], "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DNS:gcn-server.gcn-system.svc" in names
    for asker in (mine, nobody, stranger):
        asker.close()
    secure.stop()


def test_commands_of_the_page_are_ours(root, tmp_path):
    """Every `python -m agents` of the sections is read by our parser, every JSON file by what reads it."""
    from agents.adapters.kubernetes.multikueue import read_clusters
    from agents.adapters.kubernetes.pods import pod_defaults
    from agents.adapters.telemetry import read_site

    lines = [
        line.replace("\\\n", " ")
        for name in ("Kubernetes", "SkyPilot")
        for b in blocks(root, name)
        for line in re.findall(r"python -m agents ((?:[^\n]*\\\n)*[^\n]*)", b)
    ]
    assert len(lines) >= 3
    for line in lines:
        parsed(shlex.split(line.removesuffix("&")))
    found = {}
    text = (root / "agents" / "README.md").read_text()
    for name, body in re.findall(r"cat > (\w+\.json) <<'END'\n(.*?)\nEND", text, re.S):
        found[name] = tmp_path / name
        found[name].write_text(body)
    assert read_site(found["site.json"]).regions["eu"]["price"] == 61.0
    assert pod_defaults(str(found["pods.json"]))["jurisdictions"] == "any"
    assert set(read_clusters(found["clusters.json"])) == {"europe", "america"}
    for name in FILES:
        assert name in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["gates"], "this is no pod; give --kubeconfig"),
        (["gates", "--key=x"], "--certificate and --key belong together"),
        (["gates", "--policy=localhost"], "wanted http://HOST:PORT"),
        (["gates", "--token-file=/nothing"], "--token-file /nothing"),
        (["gates", "--pod-defaults=/nothing"], "--pod-defaults /nothing"),
        (["gates", "--policy=https://h", "--ca=/nothing"], "--ca, --certificate, --key"),
        (["multikueue", "--clusters=/nothing"], "clusters file /nothing"),
    ],
)
def test_what_an_operator_can_mend_is_told(args, words, capsys, monkeypatch):
    from agents.__main__ import main

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(args) == 2
    assert words in capsys.readouterr().err
