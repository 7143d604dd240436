"""Scheduling gates, from the pod to the selector: policy up, down, slow, wrong; pods changed, controller killed."""

import contextlib
import json
import os
import threading

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from agents.adapters.asking import Asker
from agents.adapters.kubernetes.access import Access
from agents.adapters.kubernetes.api import LIST, Api
from agents.adapters.kubernetes.controller import Health, run
from agents.adapters.kubernetes.fleet import Fleet
from agents.adapters.kubernetes.gates import GATE, Gates, Patience
from agents.adapters.kubernetes.pods import Nodes
from tests.agents.serving.conftest import Server
from tests.agents.serving.kubefake import FakeKube, FakePolicy, node, pod, status
from tests.agents.serving.test_kube_api import until

DEFAULTS = {
    "origin": "eu",
    "jurisdictions": "any",
    "class": "batch",
    "work": 1.0,
    "gang": 1,
    "trust": "public",
}
SITE = {
    "units": {"regions": {"price": "USD/MWh"}},
    "regions": {"eu": {"price": 60.0}, "us": {"price": 40.0}},
}
OLD = "2020-01-01T00:00:00Z"


class Cluster:
    """A fake API server and a fake policy server, running, and what a controller needs."""

    def __init__(self, folder):
        self.kube, self.policy = FakeKube(), FakePolicy()
        for k in range(2):
            self.kube.put("nodes", node(f"eu-{k}", "eu", "gpu"))
            self.kube.put("nodes", node(f"us-{k}", "us", "gpu", labels={"disk": "ssd"}))
        self.servers = [Server(self.kube.app), Server(self.policy.app)]
        self.site = folder / "site.json"
        self.site.write_text(json.dumps(SITE))
        self.apis = []

    def gates(self, patience=None, timeout_s=1.0, **options):
        api = Api(Access(f"http://127.0.0.1:{self.servers[0].port}", token=self.kube.token), watch_s=5.0)
        asker = Asker(f"http://127.0.0.1:{self.servers[1].port}", timeout_s=timeout_s)
        self.apis += [api, asker]
        return Gates(
            api, asker, Fleet([api], asker, Nodes(defaults=DEFAULTS), self.site), patience, **options
        )

    def close(self):
        self.kube.cut += 1
        for api in self.apis:
            api.close()
        for server in self.servers:
            server.stop()

    def selector(self, name):
        spec = self.kube.get("pods", name)["spec"]
        gated = GATE in [g["name"] for g in spec.get("schedulingGates", [])]
        assert spec["schedulingGates"][:1] == [{"name": "example.com/other"}]  # another's gate stays
        return "gated" if gated else spec.get("nodeSelector")


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.close()


def turn(gates):
    """One list of all pods, one look at what is due."""
    gates.fleet.tick()
    gates.see(LIST, gates.api.list(gates.path, **gates.params)[0])
    gates.step()
    return gates.outcomes


WHERE = {"topology.kubernetes.io/region": "us", "gcn.io/pool": "gpu"}


def test_a_pod_goes_where_the_policy_says(cluster):
    cluster.policy.choose = lambda job, pools: "us/gpu"
    cluster.kube.put("pods", pod("a", gpus=4, annotations={"gcn.io/work": "2.5", "gcn.io/class": "training"}))
    cluster.kube.put("pods", pod("bystander", gate=False, nodeSelector={"x": "y"}))
    assert turn(cluster.gates()) == {"placed": 1}
    assert cluster.selector("a") == WHERE
    asked = cluster.policy.asked[0]
    assert asked["candidates"] == ["eu/gpu", "us/gpu"]
    wanted = {"id": "default/a", "gang": 4.0, "work": 2.5, "class": "training", "origin": "eu"}
    assert wanted.items() <= asked["job"].items()
    assert cluster.kube.get("pods", "bystander")["spec"]["nodeSelector"] == {"x": "y"}


def test_a_pods_own_selector_narrows_the_candidates_and_stays(cluster):
    cluster.kube.put("pods", pod("a", nodeSelector={"disk": "ssd"}))
    cluster.kube.put("pods", pod("b", nodeSelector={"disk": "tape"}))
    assert turn(cluster.gates()) == {"placed": 1, "unanswered": 1}
    assert cluster.policy.asked[0]["candidates"] == ["us/gpu"]
    assert cluster.selector("a") == WHERE | {"disk": "ssd"}
    assert cluster.selector("b") == "gated"


def test_pods_of_a_group_go_to_one_pool(cluster):
    """The policy is asked once, for all of them; later ones follow, also by another controller."""
    answers = iter(["us/gpu"])
    cluster.policy.choose = lambda job, pools: next(answers)
    for k in range(3):
        cluster.kube.put("pods", pod(f"g{k}", gpus=2, labels={"gcn.io/group": "g"}))
    assert turn(cluster.gates()) == {"placed": 3}
    assert cluster.policy.asked[0]["job"]["gang"] == 6.0
    cluster.kube.put("pods", pod("late", labels={"gcn.io/group": "g"}))
    assert turn(cluster.gates()) == {"placed": 1}
    assert {cluster.selector(n)["topology.kubernetes.io/region"] for n in ("g0", "g1", "g2", "late")} == {
        "us"
    }


def test_wait_is_asked_again_and_ends_at_the_deadline(cluster):
    cluster.policy.choose = lambda job, pools: None
    now = [0.0]
    gates = cluster.gates(Patience(again_s=60.0, deadline_s=3600.0), clock=lambda: now[0])
    gates.fleet.clock = lambda: now[0]
    cluster.kube.put("pods", pod("a"))
    assert turn(gates) == {"waits": 1}
    now[0] = 59.0
    assert turn(gates) == {"waits": 1}
    assert gates.due_s == pytest.approx(1.0)
    now[0] = 60.0
    assert turn(gates) == {"waits": 2}
    cluster.kube.put(
        "pods", pod("a", annotations={"gcn.io/work": "9"})
    )  # what changes is asked about at once
    assert turn(gates) == {"waits": 3}
    assert cluster.selector("a") == "gated"
    cluster.kube.put("pods", pod("old", created=OLD))
    assert turn(gates) == {"waits": 3, "dropped": 1}
    assert cluster.selector("old") is None


def test_whoever_must_not_run_everywhere_stays_gated(cluster):
    """No deadline opens the door to a pod with jurisdictions or trust, nor to any pod where the operator says stay."""
    cluster.policy.choose = lambda job, pools: None
    cluster.kube.put("pods", pod("law", created=OLD, annotations={"gcn.io/jurisdictions": "eu, ch"}))
    cluster.kube.put("pods", pod("secret", created=OLD, annotations={"gcn.io/trust": "tee"}))
    assert turn(cluster.gates()) == {"waits": 2}
    assert cluster.policy.asked[0]["job"]["jurisdictions"] == ["eu", "ch"]
    cluster.kube.put("pods", pod("free", created=OLD))
    assert turn(cluster.gates(Patience(stay=True))) == {"waits": 3}
    assert cluster.selector("law") == cluster.selector("secret") == cluster.selector("free") == "gated"


BROKEN = {
    "down": lambda c: c.servers.pop().stop(),
    "slow": lambda c: setattr(c.policy, "delay_s", 2.0),
    "garbage": lambda c: setattr(c.policy, "raw", PlainTextResponse("<html>")),
    "foreign pool": lambda c: setattr(c.policy, "choose", lambda job, pools: "mars/gpu"),
    "refuses": lambda c: setattr(c.policy, "raw", JSONResponse({"error": "no snapshot yet"}, 503)),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_policy_delays_and_loses_nothing(cluster, how):
    """Young pods wait for it, old ones go on without; when it is back, pods are placed."""
    gates = cluster.gates(timeout_s=0.2)
    gates.fleet.tick()
    BROKEN[how](cluster)
    cluster.kube.put("pods", pod("young"))
    cluster.kube.put("pods", pod("old", created=OLD))
    assert turn(gates) == {"unanswered": 1, "dropped": 1}
    assert cluster.selector("young") == "gated"
    assert cluster.selector("old") is None
    cluster.policy.delay_s, cluster.policy.raw = 0.0, None
    cluster.policy.choose = lambda job, pools: "us/gpu"
    if how == "down":
        cluster.servers.append(Server(cluster.policy.app))
    assert turn(cluster.gates()) == {"placed": 1}
    assert cluster.selector("young") == WHERE


def test_a_pod_that_says_nonsense_waits_and_harms_nobody(cluster):
    cluster.kube.put("pods", pod("odd", annotations={"gcn.io/wrok": "1"}))
    cluster.kube.put("pods", pod("worse", annotations={"gcn.io/work": "long"}))
    cluster.kube.put("pods", pod("fine"))
    assert turn(cluster.gates()) == {"unanswered": 2, "placed": 1}


def test_a_pod_that_changed_or_went_meanwhile(cluster):
    """The patch tests what it takes away: another was faster, a new pod has the name, the pod is gone."""
    gates = cluster.gates()
    for name in ("placed", "again", "gone"):
        cluster.kube.put("pods", pod(name))
    gates.fleet.tick()
    gates.see(LIST, gates.api.list(gates.path, **gates.params)[0])
    assert turn(cluster.gates())["placed"] == 3  # another controller was faster
    cluster.kube.remove("pods", "again")
    cluster.kube.put("pods", pod("again"))
    cluster.kube.remove("pods", "gone")
    before = cluster.kube.get("pods", "placed")
    gates.step()
    assert gates.outcomes == {"changed": 2, "gone": 1}
    assert cluster.kube.get("pods", "placed") == before
    assert cluster.selector("again") == "gated"
    assert turn(gates)["placed"] == 1


def test_an_api_server_that_is_away_ends_the_turn(cluster):
    gates = cluster.gates()
    gates.api.wait = lambda seconds: False
    for k in range(3):
        cluster.kube.put("pods", pod(f"p{k}"))
    gates.fleet.tick()
    gates.see(LIST, gates.api.list(gates.path, **gates.params)[0])
    cluster.kube.faults = [status(504, "etcd")] * 5
    gates.step()
    assert gates.outcomes == {"failed": 1}
    gates.clock = lambda: 1e9
    gates.step()
    assert gates.outcomes == {"failed": 1, "placed": 3}


def start(gates, health=None):
    thread = threading.Thread(target=run, args=(gates, health))
    thread.start()
    return thread


def test_a_stream_of_pods_and_a_controller_that_dies(cluster):
    """60 pods while the controller is killed between two patches and another takes over: each is placed once."""
    cluster.policy.choose = lambda job, pools: pools[int(job["id"].removeprefix("default/p")) % 2]
    first = cluster.gates()
    health = Health("127.0.0.1", 0)
    web = httpx.Client(base_url=f"http://127.0.0.1:{health.server.server_port}", trust_env=False)
    assert web.get("/readyz").status_code == 503
    thread = start(first, health)
    for k in range(30):
        cluster.kube.put("pods", pod(f"p{k}"))
    until(lambda: first.outcomes["placed"] >= 10)
    until(lambda: web.get("/readyz").status_code == 200)
    assert web.get("/livez").status_code == 200
    first.api.stop.set()
    thread.join(20)
    for k in range(30, 60):
        cluster.kube.put("pods", pod(f"p{k}"))
    second = cluster.gates()
    thread = start(second, health)
    until(lambda: all(cluster.selector(f"p{k}") != "gated" for k in range(60)), 30)
    second.api.stop.set()
    thread.join(20)
    assert first.outcomes["placed"] + second.outcomes["placed"] == 60
    regions = [cluster.selector(f"p{k}")["topology.kubernetes.io/region"] for k in range(60)]
    assert regions == ["eu", "us"] * 30
    assert 'gcn_gates_total{outcome="placed"}' in web.get("/metrics").text
    assert web.get("/else").status_code == 404
    web.close()
    health.close()


# ------------------------------------------------------------------------------------------------------------ telemetry
def test_the_server_is_told_of_pools_and_jobs(cluster):
    kube = cluster.kube
    kube.put("nodes", node("eu-sick", "eu", "gpu", ready="False"))
    kube.put("nodes", node("eu-closed", "eu", "gpu", unschedulable=True))
    kube.put("nodes", node("eu-far", "eu", "unknown"))
    kube.put("nodes", {"metadata": {"name": "plain"}, "status": {}})
    run_ = {"gate": False, "phase": "Running"}
    kube.put("pods", pod("run", gpus=3, nodeName="eu-0", annotations={"gcn.io/work": "1e6"}, **run_))
    kube.put("pods", pod("sick", gpus=3, nodeName="eu-sick", **run_))
    kube.put("pods", pod("odd", gpus=2, nodeName="eu-1", annotations={"gcn.io/x": ""}, **run_))
    kube.put("pods", pod("done", gpus=3, nodeName="eu-0", gate=False, phase="Succeeded"))
    kube.put("pods", pod("queue", gpus=5, gate=False, nodeSelector=WHERE))
    kube.put("pods", pod("gated", gpus=5))
    fleet = cluster.gates().fleet
    fleet.tick()
    assert fleet.trouble == ""
    told = cluster.policy.told[0]
    eu, us = told["pools"]["eu/gpu"], told["pools"]["us/gpu"]
    assert eu == {"healthy": 24, "busy": 5, "room": 11, "waiting": 0, "draining": 1, "away": 0}
    assert us == {"healthy": 16, "busy": 0, "room": 16, "waiting": 1, "draining": 0, "away": 0}
    assert set(told["pools"]) == {"eu/gpu", "us/gpu"}
    assert told["regions"] == SITE["regions"]
    assert told["units"]["regions"] == SITE["units"]["regions"]
    jobs = {j["id"]: j for j in told["jobs"]}
    assert set(jobs) == {"default/run", "default/queue"}
    assert (jobs["default/run"]["status"], jobs["default/run"]["pool"]) == ("running", "eu/gpu")
    assert (jobs["default/queue"]["status"], jobs["default/queue"]["gang"]) == ("queued", 5.0)


def test_a_job_that_the_server_refuses_costs_only_itself(cluster):
    cluster.policy.refuses = lambda told: next(
        (f"jobs[{k}].origin: 'moon'" for k, j in enumerate(told["jobs"]) if j["origin"] == "moon"), None
    )
    for k, origin in enumerate(["eu", "moon", "us", "moon"]):
        note = {"gcn.io/origin": origin}
        cluster.kube.put("pods", pod(f"p{k}", gate=False, phase="Running", nodeName="eu-0", annotations=note))
    fleet = cluster.gates().fleet
    fleet.tick()
    assert [j["origin"] for j in cluster.policy.told[0]["jobs"]] == ["eu", "us"]
    cluster.policy.refuses = lambda told: "jobs[0]: all are refused" if told["jobs"] else None
    fleet._due = 0.0
    fleet.tick()
    assert cluster.policy.told[1]["jobs"] == []


def test_old_prices_are_unknown_prices(cluster):
    os.utime(cluster.site, (1e9, 1e9))
    cluster.gates().fleet.tick()
    assert cluster.policy.told[0]["regions"] == {}


def test_a_cluster_that_cannot_be_read_sends_nothing(cluster):
    fleet = cluster.gates().fleet
    cluster.kube.token = "changed"
    fleet.tick()
    assert "401" in fleet.trouble
    assert cluster.policy.told == []
    cluster.servers.pop().stop()
    fleet._due = 0.0
    fleet.tick()
    assert "does not answer" in fleet.trouble


def test_the_whole_way_with_a_real_server(tmp_path):
    """In front of the served rule: snapshot from the cluster, choice by the rule, selector on the pod."""
    from agents.serving.app import application
    from agents.serving.server import ServeOptions, service_of
    from tests.worlds import world

    served = service_of(ServeOptions("rule:cost-greedy+b1", "smoke", deadline_ms=5000), world())
    kube, behind = FakeKube(), Server(application(served, b"a-token-of-enough-letters"))
    front = Server(kube.app)
    for region, pool in (("north", "gpu"), ("north", "cpu"), ("south", "gpu")):
        kube.put("nodes", node(f"{region}-{pool}-0", region, pool, gpus=16))
    names = ("price", "carbon", "dry", "restart")
    site = {
        "units": {"regions": dict(zip(names, ("USD/MWh", "gCO2e/kWh", "degC", "h"), strict=True))},
        "regions": {
            "north": dict(zip(names, (300.0, 500.0, 30.0, 0.0), strict=True)),
            "south": dict(zip(names, (10.0, 20.0, 5.0, 0.0), strict=True)),
        },
    }
    (tmp_path / "site.json").write_text(json.dumps(site))
    api = Api(Access(f"http://127.0.0.1:{front.port}", token=kube.token), watch_s=5.0)
    asker = Asker(f"http://127.0.0.1:{behind.port}", "a-token-of-enough-letters", timeout_s=10.0)
    how = Nodes(defaults=DEFAULTS | {"origin": "north", "class": "training"})
    gates = Gates(api, asker, Fleet([api], asker, how, tmp_path / "site.json"))
    kube.put("pods", pod("free", gpus=2, annotations={"gcn.io/work": "4", "gcn.io/data": "1"}))
    kube.put("pods", pod("bound", gpus=2, annotations={"gcn.io/work": "4", "gcn.io/jurisdictions": "eu"}))
    kube.put("pods", pod("busy", gpus=2, gate=False, phase="Running", nodeName="north-gpu-0"))
    with contextlib.ExitStack() as stack:
        for end in (api.close, asker.close, front.stop, behind.stop):
            stack.callback(end)
        assert turn(gates)["placed"] == 2
        assert gates.fleet.trouble == ""
        assert served.decider.status()["vital"] == []
        assert served.decider.live.ids == ["default/busy"]
        region = "topology.kubernetes.io/region"
        assert kube.get("pods", "free")["spec"]["nodeSelector"][region] == "south"
        assert kube.get("pods", "bound")["spec"]["nodeSelector"][region] == "north"
