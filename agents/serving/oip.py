"""The Open Inference Protocol v2 (KServe, Triton): the bare graph, with JSON or binary tensors. No guards: no actions.

What it answers are tensors; it never sees a snapshot and carries nothing out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from agents.bundle.load import Bundle
from agents.serving.gate import Refused
from gcn_env.core.state import N_HEADS
from gcn_env.observation import GLOBALS, JOBS, PAIRS, POOLS, REGIONS

Array = npt.NDArray[Any]
VERSION = "1"
MOST = {"N": 64, "Q": 4096, "P": 4096, "R": 512}
_TYPES = {"actions": "INT64", "placement": "FP32", "cooling": "FP32", "value": "FP32", "choices": "INT64"}


def shapes(levels: int) -> dict[str, tuple[Any, ...]]:
    """Shapes of the inputs; letters are free, the same letter is the same number."""
    return {
        "jobs": ("N", "Q", len(JOBS)), "pools": ("N", "P", len(POOLS)), "regions": ("N", "R", len(REGIONS)),
        "pairs": ("N", "Q", "P", len(PAIRS)), "globals": ("N", len(GLOBALS)),
        "mask_placement": ("N", "Q", ("P", 1, 1)), "mask_cooling": ("N", ("R", N_HEADS, 0), levels),
    }  # fmt: skip


def metadata(bundle: Bundle) -> dict[str, Any]:
    """Model metadata."""
    levels = bundle.manifest.levels
    ins = [
        {"name": k, "datatype": "FP32", "shape": [d if isinstance(d, int) else -1 for d in s]}
        for k, s in shapes(levels).items()
    ]
    outs = {
        "actions": [-1, -1], "placement": [-1, -1, -1], "cooling": [-1, -1, levels], "value": [-1], "choices": [-1, -1],
    }  # fmt: skip
    return {
        "name": bundle.manifest.name, "versions": [VERSION], "platform": "onnxruntime_onnx", "inputs": ins,
        "outputs": [{"name": k, "datatype": _TYPES[k], "shape": s} for k, s in outs.items()],
    }  # fmt: skip


def _bad(message: str) -> Refused:
    return Refused(400, message)


def parse(body: bytes, header_length: str | None, levels: int) -> tuple[dict[str, Array], Mapping[str, Any]]:
    """Input tensors and the JSON header of an inference request.

    Raises:
        Refused: for what is no request for this model.
    """
    if header_length is not None and not (
        header_length.isdigit() and len(header_length) < 10 and int(header_length) <= len(body)
    ):
        raise _bad("Inference-Header-Content-Length: wanted the length of the JSON part")
    cut = len(body) if header_length is None else int(header_length)
    try:
        head = orjson.loads(body[:cut])
    except orjson.JSONDecodeError as error:
        raise _bad(f"no JSON: {error!s:.100}") from None
    if not isinstance(head, dict) or not isinstance(head.get("inputs"), list):
        raise _bad("wanted {inputs: [...]}")
    wanted, found, at = shapes(levels), {}, cut
    for tensor in head["inputs"][: len(wanted) + 1]:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or name not in wanted or name in found:
            raise _bad(f"inputs: wanted each of {', '.join(wanted)} once")
        found[name], at = _tensor(tensor, body, at)
    if set(found) != set(wanted):
        raise _bad(f"inputs: {', '.join(sorted(set(wanted) - set(found)))} missing")
    if at != len(body) and header_length is not None:
        raise _bad("the binary part is longer than the inputs say")
    _check_shapes(found, wanted)
    return found, head


def _tensor(tensor: Mapping[str, Any], body: bytes, at: int) -> tuple[Array, int]:
    """One input as float32, and where the next binary part begins."""
    name, shape = tensor["name"], tensor.get("shape")
    if tensor.get("datatype") != "FP32":
        raise _bad(f"input {name}: datatype {tensor.get('datatype')!r:.20}; wanted FP32")
    if (
        not isinstance(shape, list)
        or len(shape) > 4
        or not all(type(d) is int and 0 < d < 1 << 20 for d in shape)
    ):
        raise _bad(f"input {name}: shape {shape!r:.60}")
    parameters = tensor.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    n = prod(shape)
    if size is not None:
        if type(size) is not int or size != 4 * n or at + size > len(body):
            raise _bad(f"input {name}: {size!r:.20} binary bytes; its shape makes {4 * n}")
        array = np.frombuffer(body, "<f4", n, at)
        at += size
    else:
        try:
            with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
                array = np.asarray(tensor.get("data"), np.float32).ravel()
        except (ValueError, TypeError, OverflowError):
            raise _bad(f"input {name}: data is no array of numbers") from None
    if array.size != n:
        raise _bad(f"input {name}: {array.size} numbers; its shape makes {n}")
    if not np.isfinite(array).all():
        raise _bad(f"input {name}: not all numbers are finite")
    return array.reshape(shape), at


def _check_shapes(found: Mapping[str, Array], wanted: Mapping[str, tuple[Any, ...]]) -> None:
    sizes: dict[str, int] = {}
    for name, shape in wanted.items():
        if len(found[name].shape) != len(shape):
            raise _bad(f"input {name}: rank {found[name].ndim}; wanted {len(shape)}")
        for is_, want in zip(found[name].shape, shape, strict=True):
            if isinstance(want, str):
                want = sizes.setdefault(want, min(is_, MOST[want] + 1))
            elif isinstance(want, tuple):
                letter, factor, more = want
                want = sizes[letter] * factor + more
            if is_ != want:
                raise _bad(
                    f"input {name}: shape {list(found[name].shape)} does not fit the others (wanted {want}, not {is_})"
                )
    over = [k for k, v in sizes.items() if v > MOST[k]]
    if over:
        raise _bad(f"at most {MOST} are taken; {', '.join(over)} is more")


def answer(
    bundle: Bundle, results: Mapping[str, Array], head: Mapping[str, Any]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an inference response: JSON, or binary tensors where the request asks for them.

    Raises:
        Refused: for an output that there is not.
    """
    asked = head.get("outputs") or [{"name": k} for k in results]
    parameters = head.get("parameters")
    all_binary = bool(parameters.get("binary_data_output")) if isinstance(parameters, dict) else False
    outputs, tail = [], []
    if not isinstance(asked, list) or len(asked) > len(results):
        raise _bad(f"outputs: wanted a list of {', '.join(results)}")
    for entry in asked:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in results:
            raise _bad(f"outputs: wanted {', '.join(results)}")
        own = entry.get("parameters")
        array = np.ascontiguousarray(results[name])
        row: dict[str, Any] = {"name": name, "datatype": _TYPES[name], "shape": list(array.shape)}
        if all_binary or (isinstance(own, dict) and own.get("binary_data")):
            tail.append(array.tobytes())
            row["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            row["data"] = array.ravel()
        outputs.append(row)
    base: dict[str, Any] = {"model_name": bundle.manifest.name, "model_version": VERSION, "outputs": outputs}
    if isinstance(head.get("id"), str):
        base["id"] = head["id"][:200]
    raw = orjson.dumps(base, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tail:
        return raw, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(raw))}
    return raw + b"".join(tail), headers
