"""A Gymnasium environment of a global compute network: job placement and cooling, in one step, paid in money."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcn_env.scenario.compile import World

try:
    __version__ = metadata.version("gcn-env")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.1.0"


def load_world(
    name: str | Path = "default",
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
) -> World:
    """Load, check and compile a scenario.

    Args:
        name: path of a YAML file, or the name of a shipped scenario.
        overrides: dotted path -> value, e.g. `{"jobs.training.load": 0.7}`.
        data_dir: folder of real series and traces, for scenarios that read files; defaults to the scenario's
            `data_dir`, then to the environment variable GCN_DATA.

    Raises:
        gcn_env.errors.UserError: for anything a user can mend.
    """
    from gcn_env.scenario.compile import compile_world
    from gcn_env.scenario.load import load_scenario

    return compile_world(load_scenario(name, overrides), data_dir)


def register() -> None:
    """Register `gcn/Fleet-v0` and `gcn/FleetSequential-v0` with Gymnasium (importing this package does)."""
    from gymnasium.envs.registration import register as add
    from gymnasium.envs.registration import registry

    for name, view in (("gcn/Fleet-v0", "joint"), ("gcn/FleetSequential-v0", "sequential")):
        if name not in registry:
            add(
                name,
                entry_point="gcn_env.envs:FleetEnv",
                vector_entry_point="gcn_env.envs:FleetVectorEnv",
                kwargs={"view": view},
            )


register()

__all__ = ["__version__", "load_world", "register"]
