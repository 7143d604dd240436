"""Training recipes: every choice of a run as checked, plain values. Files: `configs/train/*.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gcn_env import load_world
from gcn_env.errors import UserError, nearest
from gcn_env.metrics import KPIS
from gcn_env.scenario.compile import World
from gcn_env.scenario.load import apply_overrides, read_yaml


class Strict(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(Strict):
    """Sizes of `agents.networks.EntityNetwork`."""

    width: int = Field(64, ge=4)
    pair_width: int = Field(48, ge=4)
    moves: bool = Field(True, description="whether jobs that run or queue at a pool may be sent elsewhere")
    margin_h: float | None = Field(
        None,
        ge=0,
        description="hours of slack left to a job where it is sent, and for every step that it is left waiting",
    )


class Ppo(Strict):
    """What `agents.sb3.headwise.HeadwisePPO` is given; learning rates go linearly from the first to the last."""

    n_steps: int = Field(64, ge=2)
    batch_size: int = Field(1024, ge=2)
    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(2.5e-4, gt=0, description="after a rise within the first 5 %")
    final_learning_rate: float = Field(3e-5, ge=0)
    gamma: float = Field(0.999, ge=0, lt=1, description="0.99 forgives a cost put off by a day 62 % of it")
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip_range: float = Field(0.2, gt=0)
    entropy: float = Field(0.01, ge=0)
    value_weight: float = Field(0.5, ge=0)
    max_grad_norm: float = Field(0.5, gt=0)
    target_kl: float | None = Field(0.03, gt=0)
    cooling: bool = Field(
        True, description="whether set-points are explored and learned; else they stay the clone's"
    )
    ahead: bool = Field(
        False, description="play the next rollout in another process while this one is learned from"
    )
    twins: int = Field(1, ge=1, description="environments that share their seeds, each others' baseline")


class Dqn(Strict):
    """What `agents.sb3.dqn.MaskedDQN` is given. Steps are sub-decisions, over all environments."""

    learning_rate: float = Field(3e-4, gt=0)
    final_learning_rate: float = Field(1e-4, ge=0)
    buffer_size: int = Field(200_000, ge=1)
    learning_starts: int = Field(20_000, ge=0)
    batch_size: int = Field(256, ge=2)
    gamma: float = Field(0.999, ge=0, lt=1)
    n_steps: int = Field(1, ge=1)
    train_freq: int = Field(4, ge=1)
    gradient_steps: int = Field(1, ge=1)
    target_update_interval: int = Field(10_000, ge=1)
    tau: float = Field(1.0, gt=0, le=1)
    exploration_fraction: float = Field(0.3, ge=0, le=1)
    exploration_initial: float = Field(0.2, ge=0, le=1)
    exploration_final: float = Field(0.02, ge=0, le=1)
    max_grad_norm: float = Field(10.0, gt=0)
    margin: float = Field(0.05, ge=0)
    margin_weight: float = Field(0.0, ge=0)


class WarmStart(Strict):
    """Imitation of a rule before learning: `policy` is a spec as `agents.policy.load` reads it, or null."""

    policy: str | None = None
    steps: int = Field(40_000, ge=0, description="environment steps (PPO) or sub-decisions (DQN) of the rule")
    epochs: int = Field(2, ge=1, description="passes over each chunk of the rule's steps")
    learning_rate: float = Field(3e-3, gt=0)
    slip: float = Field(0.05, ge=0, lt=1, description="weight that the clone leaves to other choices")


class Evaluation(Strict):
    """Validation weeks during training: they choose `best.pt` and are never trained on."""

    every: int = Field(200_000, ge=1, description="environment steps between evaluations")
    episodes: int = Field(8, ge=0, description="0: no evaluation")
    seed: int = Field(0, ge=0)
    kpi: str = Field("total_usd", description="key figure whose mean chooses the best policy")
    against: tuple[str, ...] = Field(
        (), description="specs of rules; the best of them on these weeks stands beside every evaluation"
    )

    @field_validator("kpi")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in KPIS.names:
            raise ValueError(f"no key figure {name!r}{nearest(name, KPIS.names)}")
        return name


class Checkpoints(Strict):
    """How often everything is saved."""

    every: int = Field(100_000, ge=1, description="environment steps between checkpoints")
    keep: int = Field(2, ge=1, description="how many of the last ones stay")


class Recipe(Strict):
    """Everything that decides a training run, except the scenario's own values."""

    algo: Literal["ppo", "dqn"] = "ppo"
    scenario: str = "default"
    worlds: tuple[str, ...] = Field(
        (), description="further scenarios, trained on in turn, a rollout each (PPO)"
    )
    random_plants: int | None = Field(
        None,
        ge=0,
        lt=1 << 30,
        description="seed by which further scenarios get other plants; null: their own",
    )
    seed: int = Field(0, ge=0, lt=1 << 31)
    timesteps: int = Field(500_000, ge=1)
    envs: int = Field(64, ge=1)
    threads: int = Field(1, ge=1, description="of torch; the networks are too small to gain from a second")
    stagger: bool = True
    shaping: bool = Field(
        True, description="rewards as they accrue: a choice is paid by what it raises expected cost"
    )
    network: Network = Network()
    ppo: Ppo = Ppo()
    dqn: Dqn = Dqn()
    warm_start: WarmStart = WarmStart()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _together(self) -> Recipe:
        if self.algo == "ppo" and self.envs % self.ppo.twins:
            raise ValueError(f"envs: {self.envs} is no multiple of ppo.twins, {self.ppo.twins}")
        if self.algo == "ppo" and not self.ppo.cooling and self.warm_start.policy is None:
            raise ValueError(
                "ppo.cooling: false keeps a demonstrator's set-points; name one, warm_start.policy"
            )
        if self.worlds and self.algo == "dqn":
            raise ValueError(
                "worlds: a replay buffer holds one shape of observation; DQN learns in one world"
            )
        return self

    def further(self, data: Path | str | None) -> list[World]:
        """The compiled `worlds`, each with plants of its own draw where plants are random.

        Raises:
            UserError: if a scenario cannot be read or compiled.
        """
        plants = self.random_plants
        return [
            load_world(name, {} if plants is None else {"random_plants": plants + k}, data)
            for k, name in enumerate(self.worlds)
        ]

    @property
    def view(self) -> Literal["joint", "sequential"]:
        """The view of the step that the learner takes."""
        return "joint" if self.algo == "ppo" else "sequential"

    @property
    def gamma(self) -> float:
        """Discount per control step."""
        return self.ppo.gamma if self.algo == "ppo" else self.dqn.gamma


def shipped_dirs() -> list[Path]:
    """Folders in which recipe names are looked up: the checkout's, then the installed package's."""
    import gcn_env

    here = Path(gcn_env.__file__).resolve().parent
    return [here.parent / "configs" / "train", here / "configs" / "train"]


def find(name: str | Path) -> Path:
    """File of a recipe given by path, or by the name of a shipped one.

    Raises:
        UserError: if there is none; names the shipped ones and the nearest.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {p.stem: p for folder in shipped_dirs()[::-1] for p in sorted(folder.glob("*.yaml"))}
    if path.stem in shipped and path.suffix in ("", ".yaml"):
        return shipped[path.stem]
    raise UserError(
        f"no recipe {str(name)!r}{nearest(path.stem, shipped)} (shipped: {', '.join(sorted(shipped))})"
    )


def _allowed(place: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in place[:-1]:
        inner = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def checked(data: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from plain values.

    Raises:
        UserError: one message with every problem: unknown keys with the nearest name, wrong types, bounds.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            place = ".".join(map(str, e["loc"]))
            if e["type"] == "extra_forbidden":
                allowed = _allowed(e["loc"])
                last = str(e["loc"][-1])
                lines.append(f"{place}: unknown key{nearest(last, allowed)} (allowed: {', '.join(allowed)})")
            elif not e["loc"]:  # of the recipe as a whole
                lines.append(e["msg"].removeprefix("Value error, "))
            else:
                lines.append(f"{place}: {e['input']!r}: {e['msg'].removeprefix('Value error, ')}")
        raise UserError(f"{where}: " + "; ".join(lines)) from None


def load(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe `name` (a path, or the name of a shipped one) with dotted overrides applied.

    Raises:
        UserError: for a missing file, an unknown key or a wrong value.
    """
    path = find(name)
    return checked(apply_overrides(read_yaml(path), overrides or {}), str(path))


def split_overrides(pairs: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """`PATH=VALUE` words as dictionaries, for the recipe (`recipe.` before the path) and for the scenario.

    Raises:
        UserError: where there is no `=`.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--set {pair!r} is not PATH=VALUE, e.g. jobs.training.load=0.7")
    words = dict(pair.split("=", 1) for pair in pairs)
    prefix = "recipe."
    recipe = {k.removeprefix(prefix): v for k, v in words.items() if k.startswith(prefix)}
    return recipe, {k: v for k, v in words.items() if not k.startswith(prefix)}


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested choices by dotted path; lists as text, None as `none`."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= flat(value, f"{before}{key}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            out[before + key] = value if plain else ", ".join(map(str, value or ())) or "none"
    return out
