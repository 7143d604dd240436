"""Checkpoints: plain tensors, numbers, text, lists and dictionaries, so that loading one can run no code.

Stable-Baselines3's own archives are pickles; these load with `weights_only=True`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.runs import RunFolder, atomic_write
from gcn_env.errors import UserError

FORMAT = 1


def pack(tree: Any) -> Any:
    """Arrays to tensors, tuples of any kind to lists, NumPy scalars to Python ones."""
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(tree).copy())
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Mapping):
        return {k: pack(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [pack(v) for v in tree]
    return tree


def unpack(tree: Any, like: Any) -> Any:
    """The inverse of `pack`, in the types of `like`: a tree of the same shape.

    Raises:
        UserError: if the shapes differ, which means that the checkpoint is of another version.
    """
    if isinstance(like, np.ndarray):
        array = tree.numpy()
        if array.shape != like.shape:
            raise UserError(
                f"the checkpoint holds an array {array.shape} where this version has {like.shape}"
            )
        return array.astype(like.dtype, copy=True)
    if isinstance(like, Mapping):
        return {k: unpack(tree[k], v) for k, v in like.items()}
    if isinstance(like, list | tuple):
        if len(tree) != len(like):
            raise UserError(f"the checkpoint holds {len(tree)} values where this version has {len(like)}")
        values = [unpack(t, v) for t, v in zip(tree, like, strict=True)]
        return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)
    return tree


def random_state() -> dict[str, Any]:
    """Of Python, NumPy (the global generator, which Stable-Baselines3 uses) and torch."""
    version, words, gauss = random.getstate()
    name, keys, pos, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).copy()), int(pos), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """The inverse of `random_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; at any moment the file is whole."""
    atomic_write(path, lambda file: torch.save({"format": FORMAT, **content}, file))


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Raises:
        UserError: if it is missing, damaged, or of a format that this version does not know.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}") from None
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"{path} is no readable checkpoint: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path} has checkpoint format {found!r}; this version reads {FORMAT}")
    return content


def latest(run: RunFolder) -> dict[str, Any]:
    """The newest full checkpoint of a run that can be read.

    Raises:
        UserError: if there is none.
    """
    problem = f"{run.path} has no checkpoint to resume from"
    for path in reversed(run.steps()):
        try:
            return read(path)
        except UserError as error:
            problem = str(error)
    raise UserError(problem)
