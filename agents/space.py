"""What a search over a recipe varies: the search, its space, and what of it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agents import recipe as recipes
from agents import runs
from gcn_env.errors import UserError
from gcn_env.scenario.load import read_yaml

# What is searched where no space is given. `[low, high]` is a range (of whole numbers if both are), `log` one that is
# searched by ratio, `choices` a list.
SPACES: dict[str, dict[str, Any]] = {
    "ppo": {
        "ppo.learning_rate": {"log": [5e-5, 1e-3]},
        "ppo.entropy": {"log": [3e-4, 3e-2]},
        "ppo.epochs": [1, 4],
        "ppo.gae_lambda": [0.9, 0.995],
        "ppo.target_kl": {"log": [0.01, 0.2]},
        "ppo.gamma": {"choices": [0.99, 0.995, 0.999]},
    },
    "dqn": {
        "dqn.learning_rate": {"log": [3e-5, 1e-3]},
        "dqn.n_steps": [1, 40],
        "dqn.exploration_initial": {"log": [0.005, 0.2]},
        "dqn.margin_weight": {"log": [0.1, 3.0]},
        "dqn.tau": {"choices": [1.0, 0.1, 0.01]},
    },
}


@dataclass(frozen=True)
class Search:
    """One search.

    Attributes:
        config: recipe that trials vary.
        out: folder of the search.
        trials: how many there will be in all.
        overrides: dotted recipe fields that hold for all trials.
        scenario: dotted scenario fields that hold for all trials.
        space: YAML file of what is searched; None: `SPACES` of the algorithm.
        data: folder of real series.
        seed: of the sampler; trial k trains with seed `seed + k`.
    """

    config: str
    out: Path
    trials: int
    overrides: Mapping[str, Any]
    scenario: Mapping[str, Any]
    space: Path | None
    data: Path | None
    seed: int


def read_space(search: Search) -> dict[str, Any]:
    """What is searched, checked against the recipe's fields and bounds.

    Raises:
        UserError: for an unknown field, or a range whose ends the recipe refuses.
    """
    base = recipes.load(search.config, search.overrides)
    space: dict[str, Any] = SPACES[base.algo] if search.space is None else read_yaml(search.space)
    for name, values in space.items():
        kind, ends = kind_of(values)
        ranged = kind != "choices" and len(ends) == 2 and ends[0] < ends[1]
        if not ends or (kind != "choices" and not ranged):
            raise UserError(
                f"{search.space}: {name}: {values!r} is no range; write [low, high], {{log: [low, high]}} or "
                "{choices: [a, b, ...]}"
            )
        for end in ends:
            recipes.load(search.config, {**search.overrides, name: end})
    return space


def kind_of(values: Any) -> tuple[str, list[Any]]:
    """What an entry of a space is (`range`, `log` or `choices`) and its ends; no ends if it is none of them."""
    if isinstance(values, dict) and len(values) == 1:
        kind, ends = next(iter(values.items()))
    else:
        kind, ends = "range", values
    numbers = isinstance(ends, list) and all(isinstance(e, int | float) for e in ends)
    if kind == "choices" and isinstance(ends, list):
        return kind, ends
    return (kind, ends) if kind in ("range", "log") and numbers else ("range", [])


def open_folder(search: Search) -> None:
    """Make the search's folder and write down what it is.

    Raises:
        UserError: if the folder holds a search of something else.
    """
    search.out.mkdir(parents=True, exist_ok=True)
    words = {"config": search.config, "overrides": dict(search.overrides), "scenario": dict(search.scenario),
             "space": read_space(search), "seed": search.seed}  # fmt: skip
    said = search.out / "tune.yaml"
    if said.is_file() and read_yaml(said) != words:
        raise UserError(f"{said} describes another search; name another --out, or give the same choices")
    runs.write_text(said, yaml.safe_dump(words, sort_keys=False))


def values_text(values: Mapping[str, Any]) -> str:
    """Values of a trial in a cell of a table."""
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
