"""Ray as the target: options from rankings always; tasks on a real cluster of three nodes where Ray is installed.

Ray takes the machine's outward address even where it is told 127.0.0.1, so the cluster runs in a network namespace that
has loopback only, in a process of its own.
"""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from agents.adapters.asking import Asker
from agents.adapters.ray import job_options, options, place
from tests.agents.serving.conftest import Server
from tests.agents.serving.kubefake import FakePolicy

JOB = {"id": "r/1", "class": "batch", "origin": "eu", "jurisdictions": "any", "gang": 1, "work": 0.1}
EU, US = ({"gcn.io/region": r, "gcn.io/pool": "gpu"} for r in ("eu", "us"))


def test_rankings_become_options():
    assert options([]) == job_options([]) == {}
    assert options(["eu/gpu"]) == {"label_selector": EU}
    assert options(["eu/gpu", "us/gpu"]) == {
        "label_selector": EU,
        "fallback_strategy": [{"label_selector": US}],
    }
    assert job_options(["us/gpu", "eu/gpu"]) == {"entrypoint_label_selector": US}


def test_a_served_policy_is_asked():
    policy = FakePolicy(lambda job, pools: "us/gpu")
    server = Server(policy.app)
    asker = Asker(f"http://127.0.0.1:{server.port}")
    pools, choice = place(asker, JOB, ["eu/gpu", "us/gpu"])
    assert (pools, choice.by) == (["us/gpu", "eu/gpu"], "policy")
    policy.choose = lambda job, pools: None
    pools, choice = place(asker, JOB, ["eu/gpu", "us/gpu"])
    assert (sorted(pools), choice.pool, choice.answered) == (["eu/gpu", "us/gpu"], None, True)
    server.stop()
    pools, choice = place(asker, JOB, ["eu/gpu", "us/gpu"])
    assert (options(pools), choice.answered) == ({}, False)
    asker.close()


CLUSTER = """
import collections, json, time, ray
from ray.cluster_utils import Cluster
from agents.adapters.ray import options
small = {"object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
for region in ("eu", "us"):
    cluster.add_node(num_cpus=1, labels={"gcn.io/region": region, "gcn.io/pool": "gpu"}, **small)
ray.init(address=cluster.address, log_to_driver=False)

def where():
    mine = ray.get_runtime_context().get_node_id()
    return next(n["Labels"].get("gcn.io/region") for n in ray.nodes() if n["NodeID"] == mine)

task, actor = ray.remote(num_cpus=1)(where), ray.remote(num_cpus=1)(type("Actor", (), {"where": staticmethod(where)}))
found, began = {}, time.monotonic()
for name, ranking in {"us": ["us/gpu"], "eu": ["eu/gpu"], "mars": ["mars/gpu", "us/gpu"]}.items():
    refs = [task.options(**options(ranking)).remote() for _ in range(10)]
    found[name] = dict(collections.Counter(ray.get(refs, timeout=60)))
found["seconds"] = round(time.monotonic() - began, 2)
one = actor.options(**options(["eu/gpu", "us/gpu"])).remote()
found["actor"] = ray.get(one.where.remote(), timeout=60)
print(json.dumps(found))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_tasks_and_actors_run_where_the_policy_says(root, tmp_path):
    """30 tasks and an actor; a pool that no node has gives way to the next."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'gcn-env[ray]'")
    alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "lo"]
    if (
        shutil.which("unshare") is None
        or shutil.which("ip") is None
        or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no network namespaces here: unshare -n and ip are needed, and the right to use them")
    done = subprocess.run(
        [*alone, sys.executable, "-c", CLUSTER], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env={
            "PYTHONPATH": str(root), "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert (found["us"], found["eu"], found["mars"], found["actor"]) == (
        {"us": 10},
        {"eu": 10},
        {"us": 10},
        "eu",
    )
