"""More than fifty bundles that must not be opened: each is refused with its reason, and none runs anything."""

import hashlib
import json
import os
import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agents.bundle import open_bundle
from agents.bundle.manifest import GOLDEN, GRAPH, MANIFEST, SIGNATURE, BundleError
from agents.bundle.signing import sign


def rewrite(folder, change):
    """Change the manifest's document."""
    path = folder / MANIFEST
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(change(document) or document))


def rehash(folder):
    """Make the manifest fit the files, as an attacker would."""

    def change(document):
        for name in (GRAPH, GOLDEN):
            raw = (folder / name).read_bytes()
            document["files"][name] = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}

    rewrite(folder, change)


def graph(change, operators=True):
    """A crafted graph, with a manifest that fits it."""

    def craft(folder):
        model = onnx.load_model_from_string((folder / GRAPH).read_bytes())
        model = change(model) or model
        (folder / GRAPH).write_bytes(model.SerializeToString())
        rehash(folder)
        if operators:
            names = sorted({n.op_type for n in model.graph.node})
            rewrite(folder, lambda d: d.update(operators=names))

    return craft


def field(*path, value):
    def craft(folder):
        def change(document):
            for key in path[:-1]:
                document = document[key]
            document[path[-1]] = value

        rewrite(folder, change)

    return craft


def raw(name, content):
    return lambda folder: (folder / name).write_bytes(content)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(folder):
    (folder / MANIFEST).write_bytes(pickle.dumps(Bomb(folder.parent / "ran")))


def pickled_golden(folder):
    (folder / GOLDEN).write_bytes(pickle.dumps(Bomb(folder.parent / "ran")))
    rehash(folder)


def node(op, inputs, outputs, domain="", **attributes):
    def change(model):
        model.graph.node.append(helper.make_node(op, inputs, outputs, domain=domain, **attributes))

    return change


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def subgraph(op):
    def change(model):
        inner = helper.make_graph(
            [], "inner", [], [helper.make_tensor_value_info("value", TensorProto.FLOAT, [])]
        )
        branches = {"body": inner} if op == "Loop" else {"then_branch": inner, "else_branch": inner}
        model.graph.node.append(helper.make_node(op, ["jobs"], ["never"], **branches))

    return change


def external(model):
    tensor = model.graph.initializer.add(name="far", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def huge_tensor(model):
    model.graph.initializer.add(name="wide", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20])


def short_tensor(model):
    model.graph.initializer.add(name="short", data_type=TensorProto.FLOAT, dims=[100], raw_data=b"1234")


def negative_tensor(model):
    model.graph.initializer.add(name="less", data_type=TensorProto.FLOAT, dims=[-4])


def text_tensor(model):
    model.graph.initializer.add(name="text", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])


def expand(model):
    big = np.array([1 << 15, 1 << 15], np.int64)
    model.graph.initializer.extend([constant("one", np.float32(1)), constant("big", big)])
    model.graph.node.append(helper.make_node("Expand", ["one", "big"], ["bomb"]))


def computed(model):
    """The size is computed, so that no constant shows it: the trial's memory bound has to stop it."""
    model.graph.initializer.extend(
        [constant("one", np.float32(1)), constant("side", np.array([60_000], np.int64))]
    )
    model.graph.node.insert(0, helper.make_node("Concat", ["side", "side"], ["size"], axis=0))
    model.graph.node.insert(1, helper.make_node("Expand", ["one", "size"], ["bomb"]))
    model.graph.node.insert(2, helper.make_node("ReduceSum", ["bomb"], ["total"], keepdims=0))
    last = next(n for n in model.graph.node if "value" in n.output)
    last.output[list(last.output).index("value")] = "value_before"
    model.graph.node.append(helper.make_node("Add", ["value_before", "total"], ["value"]))


def weights(scale):
    def change(model):
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
                tensor.CopyFrom(constant(tensor.name, numpy_helper.to_array(tensor) * np.float32(scale)))

    return change


def rename_output(model):
    model.graph.output[0].name = "deeds"


def double_input(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def extra_input(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def many(model):
    for k in range(6000):
        model.graph.node.append(helper.make_node("Identity", ["jobs"], [f"copy{k}"]))


def functions(model):
    opset = helper.make_opsetid("", 20)
    model.functions.append(
        helper.make_function("own", "f", ["x"], ["y"], [helper.make_node("Abs", ["x"], ["y"])], [opset])
    )


def training(model):
    model.training_info.add()


def sparse(model):
    model.graph.sparse_initializer.add()


def cycle(model):
    model.graph.node.append(helper.make_node("Add", ["egg", "egg"], ["hen"]))
    model.graph.node.append(helper.make_node("Add", ["hen", "hen"], ["egg"]))


def opset(domain, version):
    def change(model):
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, version))
        else:
            model.opset_import[0].version = version

    return change


def rank(model):
    model.graph.initializer.append(constant("deep", np.zeros((1,) * 9, np.float32)))


def link(name, target):
    def craft(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(target if target else folder.parent / "elsewhere")

    return craft


def moved_link(folder):
    (folder / GRAPH).rename(folder.parent / "real.onnx")
    (folder / GRAPH).symlink_to(folder.parent / "real.onnx")


def pipe(folder):
    (folder / GRAPH).unlink()
    os.mkfifo(folder / GRAPH)


def directory(folder):
    (folder / GRAPH).unlink()
    (folder / GRAPH).mkdir()


def sparse_file(name, size):
    def craft(folder):
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return craft


def files_named(name):
    def change(document):
        document["files"][name] = document["files"].pop(GRAPH)

    return lambda folder: rewrite(folder, change)


def row(**changes):
    def change(document):
        document["observation"]["regions"][3] |= changes

    return lambda folder: rewrite(folder, change)


def nested(folder):
    (folder / MANIFEST).write_bytes(b'{"format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def twice(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("{", '{"levels": 9, ', 1))


def nan(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"levels": 8', '"levels": NaN'))


CASES = {
    "empty manifest": (raw(MANIFEST, b""), "no JSON"),
    "no JSON": (raw(MANIFEST, b"levels: 8"), "no JSON"),
    "pickle for manifest": (pickled, "no JSON"),
    "no UTF-8": (raw(MANIFEST, b'{"format": "\xff\xfe"}'), "no JSON"),
    "a list": (raw(MANIFEST, b"[]"), "format 'list'"),
    "nested": (nested, "no JSON|has format"),
    "a key twice": (twice, "stands twice"),
    "NaN": (nan, "NaN is no JSON number"),
    "large manifest": (sparse_file(MANIFEST, 2 << 20), "more than"),
    "other format": (field("format", value="gcn-policy-bundle/9"), "this version reads"),
    "unknown key": (field("run_me", value="rm"), "Extra inputs"),
    "no files": (field("files", value={}), "a bundle has"),
    "wrong hash": (field("files", GRAPH, "sha256", value="0" * 64), "was changed or cut"),
    "no hash": (field("files", GRAPH, "sha256", value="zz"), "sha256"),
    "wrong size": (field("files", GRAPH, "bytes", value=3), "was changed or cut"),
    "path upwards": (files_named("../policy.onnx"), "a bundle has"),
    "absolute path": (files_named("/etc/passwd"), "a bundle has"),
    "another column": (row(name="temperature"), "another observation: regions"),
    "another unit": (row(unit="furlong"), "another observation: regions"),
    "another bound": (row(high=1e9), "another observation: regions"),
    "another table": (field("observation", "cats", value=[]), "not known here"),
    "other spaces": (field("spaces", value="0" * 12), "made for spaces"),
    "one level": (field("levels", value=1), "levels"),
    "other levels": (field("levels", value=9), "golden.f32 has"),
    "other view": (field("view", value="holistic"), "view"),
    "other opset": (field("opset", value=21), "opset"),
    "poor parity": (field("parity", "worst", value=1.0), "parity.worst"),
    "huge batch": (field("golden", "batch", value=10**9), "golden.batch"),
    "no envelope": (field("envelope", "pools", value=[]), "envelope of pools"),
    "name with a path": (field("name", value="../x"), "name"),
    "fewer operators": (field("operators", value=["Add"]), "not declared"),
    "other decisions": (field("golden", "actions_sha256", value="0" * 64), "decides otherwise"),
    "a script inside": (raw("setup.py", b"print(1)"), "holds .'setup.py'"),
    "a pickle inside": (raw("policy.pkl", b"x"), "holds .'policy.pkl'"),
    "link to a secret": (link(MANIFEST, "/etc/hostname"), "plain file"),
    "link to nothing": (link(GRAPH, None), "plain file"),
    "link to the graph": (moved_link, "plain file"),
    "a folder": (directory, "plain file|cannot be opened|is no plain"),
    "a pipe": (pipe, "no plain file"),
    "graph missing": (lambda folder: (folder / GRAPH).unlink(), "lacks policy.onnx"),
    "golden cut": (raw(GOLDEN, b"1234"), "was changed or cut"),
    "golden for another fleet": (lambda f: (raw(GOLDEN, b"1234")(f), rehash(f)), "its shapes make"),
    "golden is a pickle": (pickled_golden, "its shapes make"),
    "large graph": (sparse_file(GRAPH, 65 << 20), "more than"),
    "garbage": (lambda f: (raw(GRAPH, bytes(range(256)) * 9)(f), rehash(f)), "no ONNX file|operator sets"),
    "cut graph": (
        lambda f: (raw(GRAPH, (f / GRAPH).read_bytes()[:5000])(f), rehash(f)),
        "no ONNX file|operator sets",
    ),
    "empty graph": (lambda f: (raw(GRAPH, b"\x00")(f), rehash(f)), "no ONNX file|operator sets"),
    "foreign operator": (graph(node("Attention", ["jobs"], ["x"], "com.microsoft")), "not on the list"),
    "random operator": (graph(node("RandomNormal", [], ["x"], shape=[2])), "not on the list"),
    "loop": (graph(subgraph("Loop")), "not on the list"),
    "branch": (graph(subgraph("If")), "not on the list"),
    "undeclared operator": (graph(node("Erf", ["jobs"], ["x"]), operators=False), "not declared"),
    "external data": (graph(external), "outside the file"),
    "huge tensor": (graph(huge_tensor), "at most"),
    "short tensor": (graph(short_tensor), "cannot be read"),
    "negative tensor": (graph(negative_tensor), "at most"),
    "deep tensor": (graph(rank), "at most"),
    "text": (graph(text_tensor), "holds text"),
    "expansion": (graph(expand), "Expand makes"),
    "computed expansion": (graph(computed), "failed its trial|fails on"),
    "broken weights": (graph(weights(np.nan)), "not finite|decides otherwise|finite"),
    "other weights": (graph(weights(-1.0)), "decides otherwise"),
    "other output": (graph(rename_output), "wanted"),
    "another input": (graph(extra_input), "wanted"),
    "double input": (graph(double_input), "float32"),
    "too many nodes": (graph(many), "at most 5,000"),
    "functions": (graph(functions), "carries functions"),
    "training": (graph(training), "carries functions"),
    "sparse": (graph(sparse), "carries functions"),
    "cycle": (graph(cycle), "does not open"),
    "other operator set": (graph(opset("", 13)), "operator sets"),
    "more operator sets": (graph(opset("com.evil", 1)), "operator sets"),
}


def test_there_are_fifty():
    assert len(CASES) >= 50


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused(bundle, case):
    craft, words = CASES[case]
    craft(bundle)
    with pytest.raises(BundleError, match=words):
        open_bundle(bundle)
    assert not (bundle.parent / "ran").exists()


def test_the_bundle_itself_opens(bundle):
    assert open_bundle(bundle).signed_by is None


# ------------------------------------------------------------------------------------------------------ signatures
@pytest.fixture
def keys(tmp_path):
    """Two key pairs: (private PEM, public PEM, public hex) each."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    found = []
    for k in range(2):
        key = Ed25519PrivateKey.generate()
        private, public = tmp_path / f"{k}.pem", tmp_path / f"{k}.pub"
        private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
        found.append((private, public, key.public_key().public_bytes_raw().hex()))
    return found


def signed(bundle, key):
    (bundle / SIGNATURE).write_bytes(sign((bundle / MANIFEST).read_bytes(), key))


def test_a_signature_is_asked_for(bundle, keys):
    (private, public, text), (_, other, _) = keys
    with pytest.raises(BundleError, match="not signed"):
        open_bundle(bundle, text)
    signed(bundle, private)
    assert open_bundle(bundle, text, trial=False).signed_by == text
    assert open_bundle(bundle, str(public), trial=False).signed_by == text
    assert open_bundle(bundle, trial=False).signed_by == text
    with pytest.raises(BundleError, match="not by the required signer"):
        open_bundle(bundle, str(other))
    with pytest.raises(BundleError, match="64 hex digits or a PEM file"):
        open_bundle(bundle, "somebody")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d | {"signature": "00" * 64}, "changed after signing"),
        (lambda d: d | {"signature": "no hex"}, "cannot be read"),
        (lambda d: d | {"algorithm": "none"}, "cannot be read"),
        (lambda d: d | {"public_key": "00"}, "cannot be read|64 hex"),
        (lambda d: [], "cannot be read"),
    ],
)
def test_wrong_signatures_are_refused(bundle, keys, change, words):
    signed(bundle, keys[0][0])
    path = bundle / SIGNATURE
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(BundleError, match=words):
        open_bundle(bundle)


def test_a_changed_manifest_is_refused(bundle, keys):
    signed(bundle, keys[0][0])
    rewrite(bundle, lambda d: d["training"].update(source="better than it was"))
    with pytest.raises(BundleError, match="changed after signing"):
        open_bundle(bundle, keys[0][2])
