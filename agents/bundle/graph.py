"""What an ONNX file may hold before anything runs it: known operators, small constants, nothing outside the file."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from agents.bundle.manifest import OPSET, BundleError

MAX_GRAPH_BYTES = 64 << 20
MAX_NODES = 5_000
MAX_ELEMENTS = 16 << 20  # of one constant
MAX_RANK = 6
MAX_CONSTANT = 1 << 16  # largest entry of a constant that may become a size
# What the exporter writes for networks of this project, and close relatives. No control flow, no strings, no random
# numbers, no sequences, nothing that reads files: each is a plain function of its inputs.
OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "CumSum",
        "Div",
        "Einsum",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Gelu",
        "Gemm",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "IsInf",
        "IsNaN",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "LogSoftmax",
        "MatMul",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "NonZero",
        "Not",
        "OneHot",
        "Or",
        "Pad",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Size",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "TopK",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
        "Xor",
    ]
)
_SIZED = {"Expand": 1, "ConstantOfShape": 0, "Tile": 1, "Reshape": 1, "Range": 1, "Pad": 1, "OneHot": 1}
_INPUT_TYPES = {1: "float32"}  # onnx.TensorProto.FLOAT


def check_graph(raw: bytes, inputs: Iterable[str], outputs: Iterable[str], operators: Iterable[str]) -> None:
    """Refuse a graph that is not a plain function of the given inputs.

    Args:
        raw: bytes of the ONNX file.
        inputs: names its inputs must have, in order; all float32.
        outputs: names its outputs must have, in order.
        operators: what the manifest says that it is made of.

    Raises:
        BundleError: naming what is wrong.
    """
    import onnx

    if len(raw) > MAX_GRAPH_BYTES:
        raise BundleError(f"the graph has {len(raw):,} bytes; at most {MAX_GRAPH_BYTES:,} are taken")
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as error:  # protobuf raises its own classes
        raise BundleError(
            f"the graph is no ONNX file ({type(error).__name__}); export the policy again"
        ) from None
    domains = [(o.domain, o.version) for o in model.opset_import]
    if domains != [("", OPSET)]:
        raise BundleError(f"the graph imports operator sets {domains!r:.200}; only ('', {OPSET}) is taken")
    if (
        model.functions
        or model.training_info
        or model.graph.sparse_initializer
        or model.graph.quantization_annotation
    ):
        raise BundleError("the graph carries functions, training information, or sparse or quantised tensors")
    _check_nodes(model.graph, set(operators))
    for tensor in model.graph.initializer:
        _check_tensor(tensor, tensor.name)
    _check_sizes(model.graph)
    found = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
    if found != (list(inputs), list(outputs)):
        raise BundleError(
            f"the graph maps {found[0]!r:.200} to {found[1]!r:.200}; wanted {list(inputs)} to {list(outputs)}"
        )
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        if kind not in _INPUT_TYPES:
            raise BundleError(f"input {value.name} has ONNX type {kind}; all inputs are float32")


def operators_of(raw: bytes) -> tuple[str, ...]:
    """Operators of a graph, sorted."""
    import onnx

    return tuple(sorted({n.op_type for n in onnx.load_model_from_string(raw).graph.node}))


def part(raw: bytes, inputs: Iterable[str], outputs: Iterable[str]) -> bytes:
    """The part of a checked graph that computes some of its outputs from some of its inputs."""
    import onnx

    whole = onnx.load_model_from_string(raw)
    return bytes(onnx.utils.Extractor(whole).extract_model(list(inputs), list(outputs)).SerializeToString())


def _check_nodes(graph: Any, declared: set[str]) -> None:
    import onnx

    if len(graph.node) > MAX_NODES:
        raise BundleError(f"the graph has {len(graph.node):,} nodes; at most {MAX_NODES:,} are taken")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise BundleError(
                f"operator {node.domain}:{node.op_type:.60} is not on the list of allowed operators"
            )
        if node.op_type not in declared:
            raise BundleError(f"operator {node.op_type} is not declared in the manifest")
        for attribute in node.attribute:
            kinds = onnx.AttributeProto
            if attribute.type in (kinds.GRAPH, kinds.GRAPHS, kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS):
                raise BundleError(f"node {node.name:.60} ({node.op_type}) carries a graph inside")
            for tensor in [attribute.t] if attribute.type == kinds.TENSOR else list(attribute.tensors):
                _check_tensor(tensor, node.name)


def _check_tensor(tensor: Any, name: str) -> None:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise BundleError(f"tensor {name:.60} lies outside the file")
    dims = list(tensor.dims)
    if len(dims) > MAX_RANK or any(d < 0 for d in dims) or prod(dims) > MAX_ELEMENTS:
        raise BundleError(
            f"tensor {name:.60} has shape {dims!r:.100}; at most {MAX_ELEMENTS:,} elements are taken"
        )
    if tensor.data_type == onnx.TensorProto.STRING:
        raise BundleError(f"tensor {name:.60} holds text")
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # onnx raises what NumPy raises
        raise BundleError(f"tensor {name:.60} cannot be read: {error!s:.100}") from None
    if list(array.shape) != dims:
        raise BundleError(f"tensor {name:.60} holds {array.shape} where it declares {dims}")


def _check_sizes(graph: Any) -> None:
    """Constants that some operator takes for a size stay small."""
    import onnx

    known = {t.name: t for t in graph.initializer}
    known |= {
        n.output[0]: a.t
        for n in graph.node
        if n.op_type == "Constant"
        for a in n.attribute
        if a.name == "value"
    }
    for node in graph.node:
        at = _SIZED.get(node.op_type)
        if at is None or at >= len(node.input) or node.input[at] not in known:
            continue
        sizes = onnx.numpy_helper.to_array(known[node.input[at]])
        if sizes.size and (
            abs(sizes.astype(float)).max() > MAX_CONSTANT
            or prod(map(abs, sizes.ravel().tolist())) > MAX_ELEMENTS
        ):
            raise BundleError(
                f"{node.op_type} makes a tensor of size {sizes.tolist()!r:.100}; that is more than is taken"
            )
