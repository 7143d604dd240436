"""Ways to spoil a bundle: files, links, manifests, graphs."""

import hashlib
import json
import os
import pickle

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agents.bundle.manifest import GOLDEN, GRAPH, MANIFEST


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
