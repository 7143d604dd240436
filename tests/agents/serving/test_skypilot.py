"""SkyPilot's RESTful admin policy: the recorded request, regions that are narrowed, tasks that are refused."""

import json
from pathlib import Path

import pytest
import yaml

from agents.adapters.skypilot import MOST_BYTES
from agents.serving.app import application
from agents.serving.server import ServeOptions, _tokenless, service_of
from gcn_env.errors import UserError
from gcn_env.scenario.compile import compile_world
from gcn_env.scenario.load import load_scenario
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from tests.agents.serving.conftest import ask
from tests.worlds import world

RECORDED = json.loads((Path(__file__).parent / "skypilot.request.json").read_text())
DEFAULTS = {"origin": "eu-north-1", "jurisdictions": "any", "class": "batch", "work": 1.0, "trust": "public"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A rule served for a fleet whose regions are named as clouds name theirs; eu-north-1 is by far the cheapest."""
    smoke = world().scenario.model_dump(mode="json", exclude_none=True)
    north, south = (smoke["regions"][n] for n in ("north", "south"))
    regions = {
        "us-east-1": {**south, "jurisdiction": "us", "profile": "US-CAL-CISO", "longitude_deg": -77.0},
        "eu-north-1": {**north, "jurisdiction": "eu"},
    }
    path = tmp_path_factory.mktemp("clouds") / "clouds.yaml"
    path.write_text(yaml.safe_dump(smoke | {"name": "clouds", "regions": regions}))
    fleet = compile_world(load_scenario(str(path)))
    service = service_of(ServeOptions("rule:cost-greedy+b1", "clouds", deadline_ms=5000), fleet)
    service.nodes = type(service.nodes)(defaults=DEFAULTS)
    sim = Sim(fleet, 1)
    sim.reset(2)
    told = document(fleet, sim.state)
    for name, price in (("eu-north-1", 1.0), ("us-east-1", 900.0)):
        told["regions"][name] |= {"price": price, "carbon": price}
    service.decider.update(told)
    return service


def post(made, request):
    body = request if isinstance(request, bytes) else json.dumps(json.dumps(request)).encode()
    return ask(application(made, None), "POST", "/skypilot", body)


def narrowed(made, request=RECORDED, **changes):
    """Resources of the answer to a request whose task is changed."""
    task = yaml.safe_load(request["task"]) | changes
    status, headers, body = post(made, request | {"task": yaml.safe_dump(task)})
    assert status == 200, body
    assert headers[b"content-type"] == b"application/json"
    answer = json.loads(json.loads(body))  # as SkyPilot decodes it: a JSON string that holds JSON
    assert set(answer) == {"task", "skypilot_config"}
    assert answer["skypilot_config"] == request["skypilot_config"]
    got = yaml.safe_load(answer["task"])
    assert {k: v for k, v in got.items() if k != "resources"} == {
        k: v for k, v in task.items() if k != "resources"
    }
    return got["resources"]


def entries(*names, **more):
    return {"any_of": [{"infra": n, **more} for n in names]}


def test_the_recorded_request_is_narrowed_to_one_region(made):
    assert narrowed(made) == {"infra": "aws/eu-north-1", "cpus": "8+"}


def test_tasks_say_what_they_are(made):
    """By envs, nodes and accelerators; a law of its own keeps a task out of the cheap region."""
    envs = {"GCN_WORK": "2.5", "GCN_CLASS": "training", "GCN_JURISDICTIONS": "us", "OTHER": "x"}
    resources = entries("aws/eu-north-1", "aws/us-east-1") | {"accelerators": "H100:2"}
    assert narrowed(made, envs=envs, num_nodes=2, resources=resources)["infra"] == "aws/us-east-1"
    assert narrowed(made, resources=resources)["infra"] == "aws/eu-north-1"
    task = {"resources": entries("aws/eu-north-1", accelerators={"H100": 8}), "num_nodes": 3}
    assert narrowed(made, **task)["accelerators"] == {"H100": 8}


def test_several_entries_of_the_chosen_region_stay(made):
    resources = {
        "any_of": [
            {"infra": "aws/eu-north-1", "accelerators": "A100:1"},
            {"region": "us-east-1"},
            {"infra": "aws/eu-north-1/a", "accelerators": "H100:1"},
        ],
        "disk_size": 100,
    }
    got = narrowed(made, resources=resources)
    assert got == {"disk_size": 100, "any_of": [resources["any_of"][0], resources["any_of"][2]]}


@pytest.mark.parametrize(
    "resources",
    [{}, {"infra": "aws/us-east-1"}, {"any_of": []}, entries("gcp/nowhere", "azure"), {"ordered": [{}, {}]}],
)
def test_what_is_not_ours_passes_unchanged(made, resources):
    assert narrowed(made, resources=resources) == resources


def reject(made, request):
    status, headers, body = post(made, request)
    assert (status, headers[b"content-type"]) == (400, b"text/plain; charset=utf-8")
    return body.decode()


def test_tasks_that_may_run_nowhere_are_refused_with_the_reason(made):
    """400 is what SkyPilot shows its user as a refusal."""
    task = {"resources": entries("aws/us-east-1"), "envs": {"GCN_JURISDICTIONS": "eu"}, "name": "t"}
    assert "us-east-1/gpu: residency: not allowed in us" in reject(
        made, RECORDED | {"task": yaml.safe_dump(task)}
    )
    for envs, words in (
        ({"GCN_WROK": 1}, "no field of a job"), ({"GCN_WORK": "long"}, "no number"), ({"GCN_CLASS": "gaming"}, "class"),
        ([], ""), ({"GCN_WORK": [1]}, "no number"),
    ):  # fmt: skip
        task = {"resources": entries("aws/us-east-1"), "envs": envs or "x", "name": "t"}
        assert words in reject(made, RECORDED | {"task": yaml.safe_dump(task)})


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{y}: &{y} [{', '.join([f'*{x}'] * 9)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "request_",
    [
        b"", b"{}", b'"x"', b"[1]", json.dumps({}), json.dumps({"task": "a: [", "skypilot_config": ""}),
        {"task": "- a"},
        json.dumps({"task": 7, "skypilot_config": ""}), RECORDED | {"task": ""}, RECORDED | {"task": "[" * 5000},
        RECORDED | {"task": BOMB}, RECORDED | {"task": "resources: {any_of: [1]}"}, RECORDED | {"skypilot_config": 1},
        RECORDED | {"task": "!!python/object/apply:os.system ['true']"}, RECORDED | {"task": "#" * MOST_BYTES},
        RECORDED | {"task": "num_nodes: [1]\nresources: {any_of: [{region: us-east-1}]}"},
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_what_is_no_request_is_refused(made, request_):
    reject(made, json.dumps(request_).encode() if isinstance(request_, str) else request_)


def test_without_a_snapshot_only_free_tasks_pass():
    bare = service_of(ServeOptions("rule:cost-greedy+b1", "smoke"), world())
    bare.nodes = type(bare.nodes)(defaults=DEFAULTS | {"origin": "north"})
    assert narrowed(bare, resources=entries("x/north", "x/south")) == entries("x/north", "x/south")
    task = {"resources": entries("x/north"), "envs": {"GCN_JURISDICTIONS": "eu"}}
    assert "no snapshot" in reject(bare, RECORDED | {"task": yaml.safe_dump(task)})


def test_skypilot_needs_no_token_on_loopback_only():
    assert _tokenless(ServeOptions("x", "y", skypilot_without_token=True)) == ("/skypilot",)
    assert _tokenless(ServeOptions("x", "y")) == ()
    with pytest.raises(UserError, match="--skypilot-without-token is for loopback"):
        _tokenless(ServeOptions("x", "y", host="0.0.0.0", skypilot_without_token=True))
