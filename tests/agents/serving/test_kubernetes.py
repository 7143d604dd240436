"""The scheduler extender: every recorded exchange answered in the types of k8s.io/kube-scheduler/extender/v1."""

import json
from pathlib import Path

import pytest

from agents.adapters.kubernetes import (
    MAX_SCORE,
    Nodes,
    arguments,
    filter_nodes,
    job_of,
    node_pattern,
    prioritize_nodes,
)
from agents.serving.app import application
from gcn_env.errors import UserError
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from tests.agents.serving.conftest import ask, service
from tests.worlds import world

RECORDED = Path(__file__).parent / "kube-extender"
EXCHANGES = sorted(p.name for p in RECORDED.iterdir())
PATTERN = r"(?P<region>[a-z]+)-(?P<pool>[a-z]+)-\d+"
DEFAULTS = {"origin": "eu", "jurisdictions": "any", "class": "batch", "work": 1.0, "gang": 1}
# Go: ExtenderFilterResult {Nodes, NodeNames, FailedNodes, FailedAndUnresolvableNodes, Error}
FILTER_FIELDS = ["Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error"]


@pytest.fixture(scope="module")
def cluster():
    """The recorded cluster's fleet: regions eu, us, ap with pools cpu and gpu."""
    smoke = world().scenario.model_dump(mode="json", exclude_none=True)
    north, south = (smoke["regions"][n] for n in ("north", "south"))
    cpu = {"cpu": {"hardware": "cpu_epyc7763_slice", "devices": 64, "devices_per_node": 8}}
    gpu = {"gpu": {"hardware": "gpu_a100_sxm_80gb", "devices": 32, "devices_per_node": 8}}
    regions = {
        "eu": {**north, "jurisdiction": "eu", "pools": cpu | gpu},
        "us": {
            **north,
            "jurisdiction": "us",
            "profile": "US-CAL-CISO",
            "longitude_deg": -120.0,
            "pools": cpu | gpu,
        },
        "ap": {**south, "jurisdiction": "sg", "pools": cpu | gpu},
    }
    import yaml

    from gcn_env.scenario.compile import compile_world
    from gcn_env.scenario.load import load_scenario

    def make(folder):
        path = folder / "cluster.yaml"
        path.write_text(yaml.safe_dump(smoke | {"name": "cluster", "regions": regions}))
        return compile_world(load_scenario(str(path)))

    return make


@pytest.fixture(scope="module")
def made(cluster, exported, tmp_path_factory):
    """A service for that fleet, with a snapshot."""
    from agents.serving.server import ServeOptions, service_of

    fleet = cluster(tmp_path_factory.mktemp("cluster"))
    found = service_of(ServeOptions(str(exported), "cluster", deadline_ms=5000), fleet)
    found.nodes = Nodes("fleet/pool", node_pattern(PATTERN), DEFAULTS)
    sim = Sim(fleet, 1)
    sim.reset(2)
    found.decider.update(document(fleet, sim.state))
    return found


def read(exchange, verb, what):
    return (RECORDED / exchange / f"{verb}-1.{what}.json").read_bytes()


def names_of(request):
    listed = request["NodeNames"]
    return listed if listed is not None else [n["metadata"]["name"] for n in request["Nodes"]["items"]]


def test_eight_exchanges_were_recorded():
    assert EXCHANGES == ["v1.20-full-nodes", "v1.20-names-only", "v1.36-full-nodes", "v1.36-names-only"]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_filter_is_answered_in_its_type(made, exchange):
    """Nothing stands against a small batch pod: all nodes come back, byte for byte as they were sent."""
    raw = read(exchange, "filter", "request")
    sent, recorded = json.loads(raw), json.loads(read(exchange, "filter", "response"))
    status, headers, body = ask(application(made, None), "POST", "/k8s/filter", raw)
    answer = json.loads(body)
    assert status == 200
    assert headers[b"content-type"] == b"application/json"
    assert list(answer) == FILTER_FIELDS
    assert answer == recorded  # the recorded answer kept all nodes, too
    assert answer["Nodes"] == sent["Nodes"]
    assert answer["NodeNames"] == sent["NodeNames"]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_prioritize_is_answered_in_its_type(made, exchange):
    raw = read(exchange, "prioritize", "request")
    sent, recorded = json.loads(raw), json.loads(read(exchange, "prioritize", "response"))
    status, _, body = ask(application(made, None), "POST", "/k8s/prioritize", raw)
    answer = json.loads(body)
    assert status == 200
    assert (
        [set(row) for row in answer]
        == [set(row) for row in recorded]
        == [{"Host", "Score"}] * len(names_of(sent))
    )
    assert [row["Host"] for row in answer] == [row["Host"] for row in recorded]
    assert all(type(row["Score"]) is int and 0 <= row["Score"] <= MAX_SCORE for row in answer)
    assert max(row["Score"] for row in answer) == MAX_SCORE
    by_pool = {}
    for row in answer:  # nodes of one pool are one candidate
        by_pool.setdefault(row["Host"].rsplit("-", 1)[0], set()).add(row["Score"])
    assert all(len(scores) == 1 for scores in by_pool.values())


def test_the_policys_favourite_gets_ten(made):
    raw = json.loads(read(EXCHANGES[0], "prioritize", "request"))
    scores, decision = prioritize_nodes(made.decider, raw, made.nodes)
    best = max(decision.answer["candidates"], key=lambda c: c["score"])["pool"]
    assert {
        row["Host"].rsplit("-", 1)[0].replace("-", "/") for row in scores if row["Score"] == MAX_SCORE
    } >= {best}


def pod(annotations=None, gpus=None, name="p"):
    meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
    limits = {"nvidia.com/gpu": gpus} if gpus else {}
    return {"metadata": meta, "spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}}


NODES = ["eu-cpu-1", "eu-gpu-1", "us-gpu-1", "ap-gpu-1", "mystery", "eu-fpga-1"]


@pytest.mark.parametrize(
    ("annotations", "kept"),
    [
        ({"gcn.io/class": "training", "gcn.io/jurisdictions": "eu"}, ["eu-gpu-1", "mystery", "eu-fpga-1"]),
        (
            {"gcn.io/class": "training", "gcn.io/jurisdictions": "us, sg"},
            ["us-gpu-1", "ap-gpu-1", "mystery", "eu-fpga-1"],
        ),
        ({"gcn.io/class": "training", "gcn.io/trust": "tee"}, ["mystery", "eu-fpga-1"]),
        ({"gcn.io/class": "hpc", "gcn.io/jurisdictions": "eu"}, ["eu-cpu-1", "mystery", "eu-fpga-1"]),
    ],
)
def test_filter_keeps_the_law_and_says_why(made, annotations, kept):
    request = {"Pod": pod(annotations, 4), "Nodes": None, "NodeNames": NODES}
    answer, _ = filter_nodes(made.decider, request, made.nodes)
    assert answer["NodeNames"] == kept
    assert set(answer["FailedNodes"]) == set(NODES) - set(kept)
    assert all(answer["FailedNodes"].values())


def test_lower_case_fields_are_read_as_go_reads_them(made):
    request = {"pod": pod(), "nodenames": NODES[:2]}
    assert filter_nodes(made.decider, request, made.nodes)[0]["NodeNames"] == NODES[:2]


def test_a_pod_becomes_a_job():
    job = job_of(pod({"gcn.io/work": "12.5", "gcn.io/class": "training", "else": "x"}, "8"), DEFAULTS)
    assert (job["gang"], job["work"], job["class"], job["id"]) == (8, 12.5, "training", "default/p")
    assert job_of(pod({"gcn.io/gang": "3"}, 8), DEFAULTS)["gang"] == 3.0


def test_nodes_belong_to_pools_by_label_first():
    nodes = Nodes(pattern=node_pattern(PATTERN))
    labels = {"topology.kubernetes.io/region": "us", "gcn.io/pool": "gpu"}
    assert nodes.pool("eu-cpu-1", labels) == "us/gpu"
    assert nodes.pool("eu-cpu-1", {}) == "eu/cpu"
    assert nodes.pool("mystery", {}) is None
    for wrong in ("(", r"\w+", r"(?P<region>\w+)"):
        with pytest.raises(UserError, match="node pattern"):
            node_pattern(wrong)


def annotated(**annotations):
    found = {f"gcn.io/{k}": v for k, v in annotations.items()}
    return {"Pod": {"metadata": {"name": "p", "annotations": found}}, "NodeNames": ["eu-gpu-1"]}


POD = {"metadata": {"name": "p"}}
MALFORMED = {
    "no JSON": b"", "null": None, "list": [], "cut": b"{", "text": "Pod", "empty": {}, "pod only": {"Pod": {}},
    "no pod": {"Pod": None, "NodeNames": []}, "no nodes": {"Pod": POD},
    "name": {"Pod": {"metadata": {"name": 7}}, "NodeNames": ["a"]}, "names as text": {"Pod": POD, "NodeNames": "a"},
    "number as name": {"Pod": POD, "NodeNames": [7]}, "items": {"Pod": POD, "Nodes": {"items": 3}},
    "number as node": {"Pod": POD, "Nodes": {"items": [3]}},
    "nameless node": {"Pod": POD, "Nodes": {"items": [{"metadata": {}}]}},
    "spec": {"Pod": POD | {"spec": []}, "NodeNames": ["eu-gpu-1"]},
    "container": {"Pod": POD | {"spec": {"containers": [1]}}, "NodeNames": ["eu-gpu-1"]},
    "long work": annotated(work="long"), "misspelt": annotated(wrok="1"), "moon": annotated(jurisdictions="moon"),
    "not a number": annotated(work="nan"), "no such class": annotated(**{"class": "gaming"}),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("verb", ["filter", "prioritize"])
def test_malformed_requests_are_refused_cleanly(made, case, verb):
    body = MALFORMED[case] if isinstance(MALFORMED[case], bytes) else json.dumps(MALFORMED[case]).encode()
    status, _, answer = ask(application(made, None), "POST", f"/k8s/{verb}", body)
    assert status in (400, 422)
    assert any(k.lower() == "error" for k in json.loads(answer))


def test_an_extender_without_telemetry_says_so(exported):
    bare = service(exported)
    bare.nodes = Nodes(
        pattern=node_pattern(r"(?P<region>\w+)-(?P<pool>\w+)-\d+"), defaults=DEFAULTS | {"origin": "north"}
    )
    body = json.dumps({"Pod": pod(), "NodeNames": ["north-gpu-1"]}).encode()
    assert ask(application(bare, None), "POST", "/k8s/prioritize", body)[0] == 503


def test_too_many_nodes_are_refused():
    with pytest.raises(UserError, match="at most"):
        arguments({"Pod": pod(), "NodeNames": ["n"] * 20_001}, Nodes())
