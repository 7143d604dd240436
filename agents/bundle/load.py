"""Opening a bundle: every byte is checked before anything runs it, and first runs in a process of its own.

In this order: the folder and its four plain files, sizes, signature, manifest, hashes, graph, then the recorded
observations through the graph in a child process of bounded memory and time, whose decisions must be those of the
export. What was checked is what is opened: files are read once.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.bundle.graph import MAX_GRAPH_BYTES, check_graph
from agents.bundle.manifest import (
    GOLDEN,
    GRAPH,
    INPUTS,
    MANIFEST,
    OUTPUTS,
    SEQUENTIAL_INPUTS,
    SEQUENTIAL_OUTPUTS,
    SIGNATURE,
    BundleError,
    Manifest,
    parse_manifest,
)
from agents.bundle.signing import verify
from gcn_env.core.state import N_HEADS
from gcn_env.observation import GLOBALS, HEADS, JOBS, PAIRS, POOLS, REGIONS

Array = npt.NDArray[Any]
MOST_BYTES = {MANIFEST: 1 << 20, GRAPH: MAX_GRAPH_BYTES, GOLDEN: 64 << 20, SIGNATURE: 4096}
CHILD_MEMORY = 4 << 30  # bytes of address space; an idle ONNX Runtime reserves about one tenth of it
CHILD_SECONDS = 60  # of CPU; a trial takes about one
CHILD_WAIT_S = 300  # on a clock on the wall: the machine may be busy with something else


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked.

    Attributes:
        manifest: what it says of itself.
        graph: bytes of the ONNX file.
        golden: bytes of the recorded observations.
        digest: SHA-256 of the manifest, which names every other file's: the bundle's identity.
        signed_by: public key in hex, None if it is not signed.
    """

    manifest: Manifest
    graph: bytes
    golden: bytes
    digest: str
    signed_by: str | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        return INPUTS if self.manifest.view == "joint" else SEQUENTIAL_INPUTS

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order; the first are the decisions."""
        return OUTPUTS if self.manifest.view == "joint" else SEQUENTIAL_OUTPUTS

    @cached_property
    def observations(self) -> dict[str, Array]:
        """The recorded observations, as the graph takes them: name -> float32 array."""
        found, at = {}, 0
        for name, shape in golden_shapes(self.manifest).items():
            n = prod(shape)
            found[name] = np.frombuffer(self.golden, "<f4", n, at).reshape(shape)
            at += 4 * n
        return found


def golden_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Shapes of the recorded observations, in the order in which they are stored."""
    g, levels = manifest.golden, manifest.levels
    b, q, p, r = g.batch, g.slots, g.pools, g.regions
    rows = q if manifest.view == "joint" else 1
    shapes: dict[str, tuple[int, ...]] = {
        "jobs": (b, rows, len(JOBS)), "pools": (b, p, len(POOLS)), "regions": (b, r, len(REGIONS)),
        "pairs": (b, rows, p, len(PAIRS)), "globals": (b, len(GLOBALS)),
    }  # fmt: skip
    if manifest.view == "joint":
        return shapes | {"mask_placement": (b, q, p + 1), "mask_cooling": (b, N_HEADS * r, levels)}
    return shapes | {"mask": (b, max(p + 1, levels)), "head": (b, len(HEADS))}


def decisions_digest(actions: Array) -> str:
    """SHA-256 of decisions as little-endian int64."""
    return hashlib.sha256(np.ascontiguousarray(actions, "<i8").tobytes()).hexdigest()


def open_bundle(path: str | Path, signer: str | None = None, *, trial: bool = True) -> Bundle:
    """Check the bundle in folder `path`.

    Args:
        path: the folder.
        signer: public key that must have signed it: 64 hex digits or a PEM file; None requires no signature.
        trial: run the recorded observations in a child process; False only for what this process has just written.

    Raises:
        BundleError: with the reason why it is refused.
    """
    files = _read_folder(Path(path))
    raw = files[MANIFEST]
    signed_by = verify(raw, files.get(SIGNATURE), signer)
    manifest = parse_manifest(raw)
    if set(manifest.files) != {GRAPH, GOLDEN}:
        raise BundleError(
            f"{MANIFEST} names files {sorted(manifest.files)!r:.200}; a bundle has {GRAPH} and {GOLDEN}"
        )
    for name, entry in manifest.files.items():
        digest = hashlib.sha256(files[name]).hexdigest()
        if len(files[name]) != entry.bytes or digest != entry.sha256:
            raise BundleError(
                f"{name} has {len(files[name]):,} bytes and SHA-256 {digest[:12]}..., the manifest says "
                f"{entry.bytes:,} and {entry.sha256[:12]}...: it was changed or cut; fetch the bundle again"
            )
    bundle = Bundle(manifest, files[GRAPH], files[GOLDEN], hashlib.sha256(raw).hexdigest(), signed_by)
    expected = 4 * sum(prod(s) for s in golden_shapes(manifest).values())
    if len(bundle.golden) != expected:
        raise BundleError(f"{GOLDEN} has {len(bundle.golden):,} bytes; its shapes make {expected:,}")
    check_graph(bundle.graph, bundle.inputs, bundle.outputs, manifest.operators)
    if trial:
        _trial(bundle)
    return bundle


def summary(bundle: Bundle) -> str:
    """What a bundle is, in a few lines."""
    m = bundle.manifest
    signed = f"signed by {bundle.signed_by}" if bundle.signed_by else "not signed"
    return (
        f"{m.name}: {m.view} view, {m.levels} levels, spaces {m.spaces}, {len(bundle.graph):,} bytes of "
        f"{len(m.operators)} operators, {signed}\n"
        f"parity with torch: {m.parity.worst:.1e} on {m.parity.observations:,} observations of {m.parity.scenario}, "
        f"{m.parity.equal_decisions:,} of {m.parity.decisions:,} decisions equal\n"
        f"digest {bundle.digest}"
    )


def _read_folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise BundleError(f"no bundle folder {folder}; make one: python -m agents export RUN --out {folder}")
    allowed = set(MOST_BYTES)
    there = {p.name for p in folder.iterdir()}
    if there - allowed:
        raise BundleError(
            f"{folder} holds {sorted(there - allowed)[:5]!r:.200}; a bundle has only {', '.join(sorted(allowed))}"
        )
    missing = allowed - there - {SIGNATURE}
    if missing:
        raise BundleError(f"{folder} lacks {', '.join(sorted(missing))}; fetch the bundle again")
    return {name: _read_file(folder / name, MOST_BYTES[name]) for name in sorted(there)}


def _read_file(path: Path, most: int) -> bytes:
    """Bytes of a plain file: no link, device or pipe, and no more than `most`."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise BundleError(f"{path.name} cannot be opened as a plain file: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BundleError(f"{path.name} is no plain file")
    with os.fdopen(fd, "rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise BundleError(f"{path.name} has more than {most:,} bytes")
    return raw


def session(graph: bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session of a checked graph; `threads` of its own (1: the caller's)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise BundleError(f"the graph does not open: {error!s:.300}") from None


def self_test(bundle: Bundle, opened: Any) -> None:
    """Decisions of a session on the recorded observations must be those of the export.

    Raises:
        BundleError: if they are not, or the graph fails.
    """
    try:
        results = opened.run(list(bundle.outputs), dict(bundle.observations))
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise BundleError(f"the graph fails on its recorded observations: {error!s:.300}") from None
    if not all(np.isfinite(np.asarray(x, np.float64)).all() for x in results):
        raise BundleError("the graph answers with numbers that are not finite")
    if decisions_digest(results[0]) != bundle.manifest.golden.actions_sha256:
        raise BundleError(
            "the graph decides otherwise than at export on the recorded observations: do not use it"
        )


def _trial(bundle: Bundle) -> None:
    """`self_test` in a child process: a graph that crashes, loops or swells takes nobody with it."""
    head = bundle.manifest.model_dump_json().encode()
    message = b"".join(len(part).to_bytes(8, "big") + part for part in (head, bundle.graph, bundle.golden))
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from agents.bundle.load import child; child()"],
            input=message, capture_output=True, timeout=CHILD_WAIT_S, check=False, env=_child_env(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BundleError(
            f"the graph did not answer its recorded observations within {CHILD_WAIT_S} s"
        ) from None
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise BundleError(
            f"the graph failed its trial (exit {done.returncode}): {reason[-1][:300] if reason else 'no message'}"
        )


def _child_env() -> dict[str, str]:
    """No secrets of the server reach the child."""
    keep = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "SYSTEMROOT", "NUMBA_DISABLE_JIT")
    found = {k: os.environ[k] for k in keep if k in os.environ}
    here = str(Path(__file__).resolve().parents[2])  # where this package lies, and nothing else of `sys.path`
    return found | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}


def child() -> None:
    """The child's side of `_trial`."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY, CHILD_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CHILD_SECONDS, CHILD_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parts = []
    for _ in range(3):
        parts.append(sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8), "big")))
    bundle = Bundle(Manifest.model_validate_json(parts[0]), parts[1], parts[2], "", None)
    try:
        self_test(bundle, session(bundle.graph))
    except BundleError as error:
        print(error, file=sys.stderr)
        raise SystemExit(3) from None
    except MemoryError:
        print(f"out of memory ({CHILD_MEMORY >> 20} MiB)", file=sys.stderr)
        raise SystemExit(4) from None
