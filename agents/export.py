"""From a trained policy to a bundle: ONNX graph, recorded observations, manifest, and the proof that both agree.

The graph is traced through `EntityNetwork.dense` or `.sequential` and `agents.networks.send`, whatever they hold.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agents.bundle import manifest as form
from agents.bundle.graph import operators_of
from agents.bundle.limits import head_limits
from agents.bundle.load import Bundle, decisions_digest, open_bundle, session
from agents.bundle.policy import feed_joint
from agents.bundle.signing import sign
from agents.networks import LEGAL, EntityNetwork, send
from agents.policy import load
from agents.provenance import git_commit, versions
from agents.runs import RunFolder
from agents.training import TrainedPolicy
from gcn_env import load_world
from gcn_env.action import REGION_HEADS
from gcn_env.core.state import N_HEADS
from gcn_env.errors import UserError
from gcn_env.observation import TABLES
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim

Array = npt.NDArray[Any]
OBSERVATIONS = 1000  # on which graph and network are compared
GOLDEN = 8  # observations that travel with the bundle
_ENVS = 20  # environments that record them
_SEED = 77


class _Joint(nn.Module):
    """The joint view as a function of plain tensors; the mask comes in two parts, so that shapes stay linear."""

    def __init__(self, net: EntityNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, jobs: Tensor, pools: Tensor, regions: Tensor, pairs: Tensor, globals: Tensor,
        mask_placement: Tensor, mask_cooling: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """(actions, placement logits [N, Q, P+1], cooling logits, value, the part of actions that is jobs')."""
        obs = {
            "jobs": jobs, "pools": pools, "regions": regions, "pairs": pairs, "globals": globals,
            "mask_placement": mask_placement, "mask_cooling": mask_cooling,
        }  # fmt: skip
        placement, cooling, value = self.net.dense(obs)
        choices = send(placement, jobs)
        return torch.cat([choices, cooling.argmax(-1)], 1), placement, cooling, value, choices


class _Sequential(nn.Module):
    """The sequential view: one head at a time."""

    def __init__(self, net: EntityNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, jobs: Tensor, pools: Tensor, regions: Tensor, pairs: Tensor, globals: Tensor, mask: Tensor,
        head: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """(actions [N], scores [N, A], value)."""
        obs = {
            "jobs": jobs, "pools": pools, "regions": regions, "pairs": pairs, "globals": globals, "mask": mask,
            "head": head,
        }  # fmt: skip
        scores, value = self.net.sequential(obs)
        return scores.argmax(1), scores, value


def _shapes(view: str) -> tuple[dict[int, Any], ...]:
    dim = torch.export.Dim
    b, p, r = dim("B", min=1, max=4096), dim("P", min=1, max=4096), dim("R", min=1, max=512)
    if view == "joint":
        q = dim("Q", min=1, max=4096)
        return (
            {0: b, 1: q}, {0: b, 1: p}, {0: b, 1: r}, {0: b, 1: q, 2: p}, {0: b}, {0: b, 1: q, 2: p + 1},
            {0: b, 1: N_HEADS * r},
        )  # fmt: skip
    auto = torch.export.Dim.AUTO
    return (
        {0: auto},
        {0: auto, 1: auto},
        {0: auto, 1: auto},
        {0: auto, 2: auto},
        {0: auto},
        {0: auto, 1: auto},
        {0: auto},
    )


def _traced(module: nn.Module, example: dict[str, Array], view: str, outputs: tuple[str, ...]) -> bytes:
    """Bytes of the ONNX graph of `module`."""
    given = tuple(torch.from_numpy(np.array(v, np.float32)) for v in example.values())
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of the exporter: axis names that coincide, packages not installed
            program = torch.onnx.export(
                module.eval(), given, dynamo=True, input_names=list(example), output_names=list(outputs),
                opset_version=form.OPSET, dynamic_shapes=_shapes(view), verbose=False,
            )  # fmt: skip
    finally:
        quiet.setLevel(level)
    assert program is not None
    raw: bytes = _plain(program.model_proto).SerializeToString()
    return raw


def _plain(model: Any) -> Any:
    """Without what only the exporter wrote for people: paths of source files, notes on nodes."""
    for thing in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        thing.doc_string = ""
        del thing.metadata_props[:]
    del model.graph.value_info[:]
    return model


def recorded(policy: TrainedPolicy, world: World, count: int) -> dict[str, Array]:
    """Observations that `policy` meets in training weeks of `world`, as its graph takes them: name -> [count, ...].

    Every other step takes random legal choices instead, so that unusual situations are among them.
    """
    view: Any = policy.view
    sim, rng = Sim(world, _ENVS, view=view), np.random.default_rng(_SEED)
    sim.reset(_SEED)
    found: list[dict[str, Array]] = []
    for step in range(-(-count // _ENVS)):
        found.append({k: v.copy() for k, v in sim.obs.items()})
        actions, _ = policy.predict(sim.obs, deterministic=step % 2 == 0)
        if view == "joint" and step % 4 == 3:
            actions = rng.integers(
                0, np.broadcast_to(sim.head_sizes, actions.shape)
            )  # what is illegal leaves things
        sim.step(actions)
    obs = {k: np.concatenate([f[k] for f in found])[:count] for k in found[0]}
    return feed_joint(obs, world.n_levels) if view == "joint" else {k: obs[k] for k in form.SEQUENTIAL_INPUTS}


def compare(
    module: nn.Module, opened: Any, outputs: tuple[str, ...], given: dict[str, Array]
) -> tuple[float, int, int]:
    """(worst difference of legal logits and values, equal decisions, decisions) of graph and network.

    A difference is taken over the larger of 1 and the network's number.
    """
    with torch.no_grad():
        ours = [t.numpy() for t in module(*(torch.from_numpy(np.array(v)) for v in given.values()))]
    theirs = opened.run(list(outputs), {k: np.ascontiguousarray(v) for k, v in given.items()})
    worst = 0.0
    for a, b in zip(ours[1:4], theirs[1:4], strict=True):
        legal = a > LEGAL
        if not np.array_equal(legal, b > LEGAL):
            return float("inf"), 0, ours[0].size
        gap = np.abs(a - b) / np.maximum(1.0, np.abs(a))
        worst = max(worst, float(gap[legal].max(initial=0.0)))
    return worst, int((ours[0] == theirs[0]).sum()), ours[0].size


def training_card(spec: str) -> dict[str, Any]:
    """What is known of how the policy `spec` was trained: recipe, world, data, seed, commit, validation cost."""
    kind, _, path = spec.partition(":")
    folder = RunFolder(Path(path))
    if kind != "run" or not (folder.path / "config.yaml").is_file():
        return {"source": spec}
    about, progress = folder.about(), folder.progress()
    kept: dict[str, Any] = {
        k: about[k] for k in ("seed", "world", "data", "git_commit", "versions") if k in about
    }
    return {
        "source": f"run:{folder.path.name}",
        **kept,
        "recipe": folder.recipe().model_dump(mode="json"),
        "progress": progress,
    }


def export_spec(
    named: str, out: str, scenario: str | None = None, data: str | None = None, sign_with: str | None = None,
    margin_h: float | None = None,
) -> Bundle:  # fmt: skip
    """`export` of a run folder or a policy spec, in its own scenario unless another is named, with another margin."""
    if margin_h is not None and not 0.0 <= margin_h < math.inf:
        raise UserError(f"--margin-h {margin_h:g}: wanted hours of slack, at least 0")
    spec = named if ":" in named else f"run:{named}"
    card = training_card(spec)
    own = Path(spec.partition(":")[2]) / "scenario.yaml"
    world = load_world(scenario or (str(own) if own.is_file() else "default"), data_dir=data)
    name, policy = Path(spec.partition(":")[2]).name, load(spec, world)
    if margin_h is not None and isinstance(policy, TrainedPolicy):
        policy.net.margin_h = margin_h
        card["margin_h"] = margin_h
    return export(policy, world, out, name, card, sign_with)


def envelope(given: dict[str, Array]) -> dict[str, list[list[float]]]:
    """Least and greatest value of every column in the recorded observations; jobs without a choice are padding."""
    offered = given["head"][:, :1] if "head" in given else given["mask_placement"][..., 1:].max(-1)
    real = offered > 0.5
    rows = {k: given[k] for k in ("pools", "regions", "globals")}
    rows |= {"jobs": given["jobs"][real], "pairs": given["pairs"][real]}
    flat = {t.name: rows[t.name].reshape(-1, len(t)) for t in TABLES}
    return {
        k: [[float(a), float(b)] for a, b in zip(v.min(0), v.max(0), strict=True)] for k, v in flat.items()
    }


def _actions_table() -> list[dict[str, str]]:
    first = {
        "head": "placement",
        "meaning": "one per job slot: 0 leave the job as it is, p send it to pool p - 1",
    }
    return [first, *({"head": row.name, "meaning": row.doc} for row in REGION_HEADS.rows)]


def export(
    policy: Any, world: World, out: str | Path, name: str, card: dict[str, Any], sign_with: str | None = None
) -> Bundle:
    """Write the bundle of `policy` to the new folder `out`, and open it again as a server would.

    Args:
        policy: a torch policy as `agents.policy.load` gives it.
        world: where it is recorded and compared; its heads have the policy's number of levels.
        out: folder that does not exist yet.
        name: of the policy.
        card: training card: what it was trained on and how.
        sign_with: PEM file of an Ed25519 private key.

    Raises:
        UserError: if the policy has no torch network, the folder exists, or graph and network differ.
    """
    net = getattr(policy, "net", None)
    if not isinstance(policy, TrainedPolicy) or net is None:
        raise UserError(f"{name} is no trained network; a rule needs no bundle: serve it by its name")
    folder = Path(out)
    if folder.exists():
        raise UserError(f"{folder} exists; a bundle is never overwritten: name another --out")
    joint = policy.view == "joint"
    module: nn.Module = _Joint(net.cpu().eval()) if joint else _Sequential(net.cpu().eval())
    outputs = form.OUTPUTS if joint else form.SEQUENTIAL_OUTPUTS
    given = recorded(policy, world, OBSERVATIONS)
    graph = _traced(module, {k: v[:3] for k, v in given.items()}, policy.view, outputs)
    golden = {k: np.ascontiguousarray(v[:: len(v) // GOLDEN][:GOLDEN], "<f4") for k, v in given.items()}
    document = _document(policy, world, name, card, graph, golden) | {"envelope": envelope(given)}
    draft = Bundle(
        form.Manifest.model_validate(
            document | {"parity": _NO_PARITY, "golden": _sizes(golden, world, "0" * 64)}
        ),
        graph,
        b"",
        "",
        None,
    )
    opened = session(draft.graph)
    worst, equal, decisions = compare(module, opened, outputs, given)
    if worst > form.TOLERANCE or equal != decisions:
        raise UserError(
            f"the exported graph differs from the network: worst {worst:.2g} (allowed {form.TOLERANCE:g}), "
            f"{decisions - equal} of {decisions} decisions; report this"
        )
    parity = {
        "observations": OBSERVATIONS, "worst": worst, "equal_decisions": equal, "decisions": decisions,
        "scenario": world.name,
    }  # fmt: skip
    actions = opened.run([outputs[0]], golden)[0]
    document |= {"parity": parity, "golden": _sizes(golden, world, decisions_digest(actions))}
    raw = json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"
    _write(folder, raw, graph, golden, None if sign_with is None else sign(raw, sign_with))
    return open_bundle(folder)


_NO_PARITY = {"observations": 1, "worst": 0.0, "equal_decisions": 1, "decisions": 1, "scenario": ""}


def _sizes(golden: dict[str, Array], world: World, digest: str) -> dict[str, Any]:
    return {
        "batch": len(golden["jobs"]), "slots": world.n_slots, "pools": world.n_pools, "regions": world.n_regions,
        "actions_sha256": digest,
    }  # fmt: skip


def _document(
    policy: TrainedPolicy,
    world: World,
    name: str,
    card: dict[str, Any],
    graph: bytes,
    golden: dict[str, Array],
) -> dict[str, Any]:
    stored = b"".join(v.tobytes() for v in golden.values())
    files = {
        n: {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
        for n, raw in ((form.GRAPH, graph), (form.GOLDEN, stored))
    }
    wanted = ("python", "gcn-env", "numpy", "torch", "stable-baselines3")
    from importlib.metadata import version

    made_with = {k: v for k, v in versions().items() if k in wanted} | {"onnx": version("onnx")}
    return {
        "format": form.FORMAT, "name": name, "view": policy.view, "levels": policy.net.levels,
        "opset": form.OPSET, "operators": operators_of(graph), "files": files,
        "spaces": form.spaces_fingerprint(), "observation": form.layout(), "choices": _actions_table(),
        "limits": head_limits(), "training": card | {"exported_at_commit": git_commit()}, "versions": made_with,
    }  # fmt: skip


def _write(
    folder: Path, manifest: bytes, graph: bytes, golden: dict[str, Array], signature: bytes | None
) -> None:
    """The whole folder or nothing: written beside, then renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        draft = Path(scratch) / "bundle"
        draft.mkdir()
        (draft / form.GRAPH).write_bytes(graph)
        (draft / form.GOLDEN).write_bytes(b"".join(v.tobytes() for v in golden.values()))
        (draft / form.MANIFEST).write_bytes(manifest)
        if signature is not None:
            (draft / form.SIGNATURE).write_bytes(signature)
        draft.rename(folder)
