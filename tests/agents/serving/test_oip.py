"""The Open Inference Protocol v2, by NVIDIA's own client, and what is no tensor."""

import json

import numpy as np
import pytest

from agents.bundle import open_bundle
from agents.bundle.manifest import OUTPUTS
from agents.bundle.policy import feed_joint
from gcn_env.sim import Sim
from tests.agents.serving.conftest import TOKEN
from tests.worlds import world

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
INFER = "/v2/models/tested/infer"


@pytest.fixture(scope="module")
def given():
    sim = Sim(world(), 3)
    sim.reset(6)
    return {k: v.copy() for k, v in feed_joint(sim.obs, world().n_levels).items()}


@pytest.fixture
def triton(server):
    http = pytest.importorskip("tritonclient.http")
    made = http.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield http, made
    made.close()


def test_conformance_with_tritonclient(triton, given, served):
    http, c = triton
    assert c.is_server_live()
    assert c.is_server_ready()
    assert c.is_model_ready("tested", headers=HEADERS)
    assert c.get_server_metadata(headers=HEADERS)["extensions"] == ["binary_tensor_data"]
    meta = c.get_model_metadata("tested", headers=HEADERS)
    assert [x["name"] for x in meta["inputs"]] == list(given)
    expected = dict(zip(OUTPUTS, served.graph.session.run(None, given), strict=True))
    answers = []
    for binary in (False, True):
        inputs = []
        for name, value in given.items():
            tensor = http.InferInput(name, value.shape, "FP32")
            tensor.set_data_from_numpy(value, binary_data=binary)
            inputs.append(tensor)
        outputs = [http.InferRequestedOutput(name, binary_data=binary) for name in expected]
        found = c.infer("tested", inputs, outputs=outputs, headers=HEADERS, request_id="r7")
        assert found.get_response()["id"] == "r7"
        answers.append({name: found.as_numpy(name) for name in expected})
    for name, value in expected.items():
        assert np.array_equal(answers[1][name], value)
        assert np.allclose(answers[0][name], value)
    with pytest.raises(http.InferenceServerException, match="bearer token"):
        c.infer("tested", inputs, headers={"Authorization": "Bearer wrong"})


def body(given, **changes):
    inputs = [
        {"name": k, "datatype": "FP32", "shape": list(v.shape), "data": v.ravel().tolist()}
        for k, v in given.items()
    ]
    return {"inputs": inputs} | changes


def test_json_by_hand(client, given):
    answer = client.post(INFER, json=body(given)).json()
    assert [o["name"] for o in answer["outputs"]] == list(OUTPUTS)
    only = client.post(INFER, json=body(given, outputs=[{"name": "value"}])).json()
    assert [o["name"] for o in only["outputs"]] == ["value"]


def spoil(given, name, **changes):
    found = body(given)
    next(x for x in found["inputs"] if x["name"] == name).update(changes)
    return json.dumps(found).encode()


CASES = {
    "not JSON": lambda g: b"{",
    "a list": lambda g: b"[]",
    "no inputs": lambda g: b"{}",
    "missing": lambda g: json.dumps({"inputs": body(g)["inputs"][:-1]}).encode(),
    "unhashable": lambda g: b'{"inputs": [{"name": {"a": {}}}]}',
    "twice": lambda g: json.dumps({"inputs": [*body(g)["inputs"], body(g)["inputs"][0]]}).encode(),
    "unknown": lambda g: json.dumps({"inputs": [{"name": "cats"}]}).encode(),
    "datatype": lambda g: spoil(g, "jobs", datatype="BYTES"),
    "shape of text": lambda g: spoil(g, "jobs", shape="3"),
    "negative shape": lambda g: spoil(g, "jobs", shape=[-1, 6, 25]),
    "huge shape": lambda g: spoil(g, "jobs", shape=[1 << 19, 1 << 19, 25]),
    "rank": lambda g: spoil(g, "globals", shape=[3, 14, 1]),
    "short data": lambda g: spoil(g, "jobs", data=[1.0]),
    "text data": lambda g: spoil(g, "jobs", data=["a"] * 450),
    "ragged data": lambda g: spoil(g, "jobs", data=[[1.0], [1.0, 2.0]]),
    "null data": lambda g: spoil(g, "jobs", data=[None] * 450),
    "huge number": lambda g: spoil(g, "jobs", data=[1e300] * 450),
    "other slots": lambda g: spoil(g, "jobs", shape=[3, 5, 25], data=[0.0] * 375),
    "other output": lambda g: json.dumps(body(g, outputs=[{"name": "secrets"}])).encode(),
    "binary size": lambda g: spoil(g, "jobs", parameters={"binary_data_size": 1 << 40}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_tensor_is_refused(client, given, case):
    answer = client.post(INFER, content=CASES[case](given))
    assert answer.status_code == 400, answer.text[:200]
    assert "error" in answer.json()


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "9" * 30])
def test_a_wrong_header_length_is_refused(client, given, length):
    headers = {"inference-header-content-length": length}
    assert client.post(INFER, content=json.dumps(body(given)), headers=headers).status_code == 400


def test_other_models_are_not_there(client):
    assert client.get("/v2/models/other").status_code == 404
    assert client.get("/v2/models/tested/versions/2").status_code == 404
    assert client.get("/v2/models/tested/versions/1").status_code == 200


def test_the_name_is_the_bundles(exported):
    assert open_bundle(exported, trial=False).manifest.name == "tested"
