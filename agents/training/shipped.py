"""Policies that travel with the package: weights in safetensors, everything else in JSON beside them.

`agents/trained/NAME.safetensors` holds numbers only, `NAME.json` what they mean: the network's sizes, the observation
columns they were trained on, and the card (recipe, data windows, steps, hours, measured results, limits).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.cards import FOLDER, document, figures, of_run
from agents.runs import RunFolder, atomic_write, check_layout, write_text
from agents.training.checkpoints import read
from agents.training.policy import TrainedPolicy, assemble, check_levels
from gcn_env.errors import UserError


def load_shipped(name: str, world: Any, folder: Path = FOLDER) -> TrainedPolicy:
    """The shipped policy `name`, for `world`; it may be another fleet than the one it was trained on.

    Raises:
        UserError: for an unknown name, damaged files, other observation columns or another number of levels.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    about = document(name, folder)
    check_layout(about["observation"], f"trained:{name}")
    check_levels(about["network"]["levels"], world, f"trained:{name}")
    try:
        return assemble(about["network"], load_file(folder / f"{name}.safetensors"), about["view"])
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"trained:{name} cannot be read: {error}; install the package again") from error


def ship(run: RunFolder, name: str, results: Path | None = None, folder: Path = FOLDER) -> Path:
    """Write the best policy of a run as shipped policy `name`; returns the file of its weights.

    Args:
        run: a training run that has validated at least once.
        name: lower-case letters, digits and hyphens.
        results: `results.json` of an evaluation of the run, for the card.
        folder: where to.

    Raises:
        UserError: for a name that is none, or a run without a validated policy.
    """
    from safetensors.torch import save

    if not name or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-"):
        raise UserError(f"{name!r}: a name has lower-case letters, digits and hyphens only")
    recipe, content = run.recipe(), read(run.best)
    weights = {k: v.contiguous() for k, v in content["net"].items()}
    card = {
        **of_run(run),
        "trained_at_steps": content["timesteps"],
        "validation_usd": content["total_usd"],
        "results": None if results is None else figures(results, run.path),
    }
    page = {
        "view": recipe.view,
        "network": content["network"],
        "observation": content["observation"],
        "card": card,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.safetensors"
    atomic_write(file, lambda out: out.write(save(weights)))
    write_text(folder / f"{name}.json", json.dumps(page, indent=1) + "\n")
    return file
