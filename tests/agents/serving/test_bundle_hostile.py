"""More than fifty bundles that must not be opened: each is refused with its reason, and none runs anything."""

import json

import numpy as np
import pytest

from agents.bundle import open_bundle
from agents.bundle.manifest import GOLDEN, GRAPH, MANIFEST, SIGNATURE, BundleError
from agents.bundle.signing import sign
from tests.agents.serving.crafts import (
    computed,
    cycle,
    directory,
    double_input,
    expand,
    external,
    extra_input,
    field,
    files_named,
    functions,
    graph,
    huge_tensor,
    link,
    many,
    moved_link,
    nan,
    negative_tensor,
    nested,
    node,
    opset,
    pickled,
    pickled_golden,
    pipe,
    rank,
    raw,
    rehash,
    rename_output,
    rewrite,
    row,
    short_tensor,
    sparse,
    sparse_file,
    subgraph,
    text_tensor,
    training,
    twice,
    weights,
)

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
