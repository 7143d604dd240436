"""MultiKueue's external dispatcher: who is nominated, when, and what becomes of Workloads without a policy."""

import json

import pytest

from agents.adapters.asking import Asker
from agents.adapters.kubernetes.access import Access
from agents.adapters.kubernetes.api import LIST, Api
from agents.adapters.kubernetes.fleet import Fleet
from agents.adapters.kubernetes.gates import Patience
from agents.adapters.kubernetes.multikueue import ROUND_S, Dispatcher, job_of_workload, read_clusters
from agents.adapters.kubernetes.pods import Nodes
from gcn_env.errors import UserError
from tests.agents.serving.conftest import Server
from tests.agents.serving.kubefake import FakeKube, FakePolicy, node, pod, status, workload
from tests.agents.serving.test_gates import DEFAULTS, OLD, SITE, start, turn
from tests.agents.serving.test_kube_api import until

pytestmark = pytest.mark.stepless

CLUSTERS = {"europe": ["eu/gpu", "eu/cpu"], "america": ["us/gpu"], "asia": ["ap/gpu"]}


class Manager:
    """A manager cluster with a policy server; Kueue's part is played by the tests."""

    def __init__(self):
        self.kube, self.policy, self.now = FakeKube(), FakePolicy(), [0.0]
        self.servers = [Server(self.kube.app), Server(self.policy.app)]
        self.apis = []

    def dispatcher(self, patience=None, fleet=None, **options):
        api = Api(Access(f"http://127.0.0.1:{self.servers[0].port}", token=self.kube.token), watch_s=5.0)
        asker = Asker(f"http://127.0.0.1:{self.servers[1].port}")
        self.apis += [api, asker]
        fleet = fleet or Fleet([], asker, Nodes(defaults=DEFAULTS), None)
        return Dispatcher(api, asker, fleet, CLUSTERS, patience, clock=lambda: self.now[0], **options)

    def nominated(self, name):
        return self.kube.get("workloads", name)["status"].get("nominatedClusterNames")

    def close(self):
        self.kube.cut += 1
        for api in self.apis:
            api.close()
        for server in self.servers:
            server.stop()


@pytest.fixture
def manager():
    made = Manager()
    yield made
    made.close()


def test_the_policys_cluster_is_nominated(manager):
    manager.policy.choose = lambda job, pools: "us/gpu"
    manager.kube.put("workloads", workload("a", pods=4, gpus=2, annotations={"gcn.io/work": "3"}))
    assert turn(manager.dispatcher()) == {"placed": 1}
    assert manager.nominated("a") == ["america"]
    asked = manager.policy.asked[0]
    assert asked["candidates"] == ["eu/gpu", "eu/cpu", "us/gpu", "ap/gpu"]
    assert (asked["job"]["gang"], asked["job"]["work"], asked["job"]["id"]) == (8.0, 3.0, "default/a")


OTHERS = {
    "no quota": workload("x", quota=False),
    "check done": workload("x", checks=("Ready",)),
    "check rejected": workload("x", checks=("Pending", "Rejected")),
    "no check": workload("x", checks=()),
    "taken": workload("x") | {"status": workload("x")["status"] | {"clusterName": "asia"}},
    "finished": workload("x")
    | {
        "status": {
            **workload("x")["status"],
            "conditions": [{"type": c, "status": "True"} for c in ("QuotaReserved", "Finished")],
        }
    },
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_workloads_are_left_alone(manager, what):
    before = manager.kube.put("workloads", OTHERS[what])
    assert turn(manager.dispatcher()) == {}
    assert manager.kube.get("workloads", "x") == before


def test_one_check_of_several_may_be_named(manager):
    manager.kube.put("workloads", workload("a", checks=("Ready", "Pending")))
    assert turn(manager.dispatcher(check="check-0")) == {}
    assert turn(manager.dispatcher(check="check-1")) == {"placed": 1}


def test_the_others_are_nominated_too_where_the_first_does_not_take_it(manager):
    manager.policy.choose = lambda job, pools: "ap/gpu"
    manager.kube.put("workloads", workload("a"))
    dispatcher = manager.dispatcher()
    assert turn(dispatcher)["placed"] == 1
    assert turn(dispatcher)["nominated"] == 1
    manager.now[0] = ROUND_S - 1.0
    assert turn(dispatcher) == {"placed": 1, "nominated": 1}
    manager.policy.choose = lambda job, pools: "us/gpu"
    manager.now[0] = ROUND_S + 1.0
    assert turn(dispatcher)["placed"] == 2
    assert manager.nominated("a") == ["asia", "america", "europe"]  # no cluster loses its nomination
    assert turn(dispatcher)["placed"] == 2


def test_wait_and_silence_end_at_the_deadline(manager):
    manager.policy.choose = lambda job, pools: None
    manager.kube.put("workloads", workload("young"))
    manager.kube.put("workloads", workload("old", created=OLD))
    assert turn(manager.dispatcher()) == {"waits": 1, "placed": 1}
    assert manager.nominated("young") is None
    assert manager.nominated("old") == ["europe", "america", "asia"]
    assert turn(manager.dispatcher(Patience(stay=True)))["waits"] == 1
    dispatcher = manager.dispatcher()
    manager.servers.pop().stop()
    manager.kube.put("workloads", workload("older", created=OLD))
    manager.kube.put("workloads", workload("law", created=OLD, annotations={"gcn.io/jurisdictions": "eu"}))
    manager.kube.put("workloads", workload("odd", created=OLD, annotations={"gcn.io/x": "eu"}))
    assert turn(dispatcher) == {"unanswered": 2, "placed": 2}
    assert manager.nominated("older") == ["europe", "america", "asia"]
    assert manager.nominated("odd") == ["europe", "america", "asia"]
    assert manager.nominated("law") is None


def test_a_workload_that_changed_meanwhile_conflicts(manager):
    """Kueue takes the quota back while the policy thinks: nothing is written over it."""
    manager.kube.put("workloads", workload("a"))
    dispatcher = manager.dispatcher()
    dispatcher.see(LIST, dispatcher.api.list(dispatcher.path)[0])
    manager.kube.put("workloads", workload("a", quota=False))
    dispatcher.step()
    assert dispatcher.outcomes == {"changed": 1}
    assert manager.nominated("a") is None


def test_twenty_workloads_and_a_dispatcher_that_dies(manager):
    """Kueue gives each to the nominated cluster; the second dispatcher goes on where the first was stopped."""
    manager.policy.choose = lambda job, pools: pools[int(job["id"].removeprefix("default/w")) % 4]
    first = manager.dispatcher()
    thread = start(first)
    for k in range(10):
        manager.kube.put("workloads", workload(f"w{k}"))
    until(lambda: first.outcomes["placed"] >= 3)
    manager.kube.faults = [status(504, "etcd")]
    first.api.stop.set()
    thread.join(20)
    for k in range(10, 20):
        manager.kube.put("workloads", workload(f"w{k}"))
    second = manager.dispatcher()
    thread = start(second)
    until(lambda: all(manager.nominated(f"w{k}") for k in range(20)), 30)
    second.api.stop.set()
    thread.join(20)
    assert [manager.nominated(f"w{k}") for k in range(20)] == [
        ["europe"],
        ["europe"],
        ["america"],
        ["asia"],
    ] * 5


def test_worker_clusters_are_one_fleet(manager, tmp_path):
    """Nodes and pods of two worker clusters in one snapshot."""
    workers = [FakeKube("one"), FakeKube("two")]
    for kube, region in zip(workers, ("eu", "us"), strict=True):
        kube.put("nodes", node("n", region, "gpu"))
        kube.put("pods", pod("p", gpus=3, gate=False, phase="Running", nodeName="n"))
    running = [Server(kube.app) for kube in workers]
    apis = [
        Api(Access(f"http://127.0.0.1:{s.port}", token=k.token))
        for s, k in zip(running, workers, strict=True)
    ]
    (tmp_path / "site.json").write_text(json.dumps(SITE))
    asker = Asker(f"http://127.0.0.1:{manager.servers[1].port}")
    fleet = Fleet(apis, asker, Nodes(defaults=DEFAULTS), tmp_path / "site.json")
    manager.kube.put("workloads", workload("a"))
    assert turn(manager.dispatcher(fleet=fleet))["placed"] == 1
    pools = manager.policy.told[0]["pools"]
    assert {p: (r["healthy"], r["busy"]) for p, r in pools.items()} == {"eu/gpu": (8, 3), "us/gpu": (8, 3)}
    for end in (*(a.close for a in apis), asker.close, *(s.stop for s in running)):
        end()


def test_a_workload_as_a_job():
    job = job_of_workload(workload("a", pods=3, gpus=0), DEFAULTS)
    assert job["gang"] == 3.0  # no GPUs: pods
    item = workload("a", annotations={"gcn.io/work": "3", "gcn.io/class": "training"})
    item["metadata"]["annotations"] = {"gcn.io/work": "4", "gcn.io/gang": "5"}
    job = job_of_workload(item, DEFAULTS)
    assert (job["work"], job["class"], job["gang"]) == (4.0, "training", 5.0)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"a": []}', '{"a": {"pools": []}}', '{"a": {"pools": ["x"], "pool": 1}}']
)
def test_clusters_files_that_are_none(tmp_path, text):
    (tmp_path / "clusters.json").write_text(text)
    with pytest.raises(UserError, match="clusters file"):
        read_clusters(tmp_path / "clusters.json")
