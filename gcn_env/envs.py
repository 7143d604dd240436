"""Gymnasium environments: thin hosts of one `Sim`. `FleetEnv` is a batch of one, `FleetVectorEnv` a batch of B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from gcn_env import load_world
from gcn_env.errors import UserError, nearest
from gcn_env.ledger import TERMS
from gcn_env.scenario.compile import World
from gcn_env.sim import Obs, Sim, ViewName
from gcn_env.spaces import action_space, observation_space

Array = npt.NDArray[Any]
RENDER_MODES = ("ansi", "rgb_array")
_METADATA = {"render_modes": list(RENDER_MODES), "render_fps": 4}
_VECTOR_METADATA = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": list(RENDER_MODES)}
_SEED_SPAN = 2**48  # seeds drawn for a reset without one


def _world(
    world: World | str | Path, overrides: Mapping[str, Any] | None, data_dir: str | Path | None
) -> World:
    return world if isinstance(world, World) else load_world(world, overrides, data_dir)


def _info(sim: Sim, b: int) -> dict[str, Any]:
    """Small plain scalars of the control step that this decision closed (else 0).

    Cost by term [USD], device-hours by tenant, counts.
    """
    clock = sim.state.clock
    terms = sim.state.ledger.terms[b] * sim.closed[b]
    info: dict[str, Any] = {f"usd_{name}": float(v) for name, v in zip(TERMS.names, terms, strict=True)}
    info["cost_usd"] = -float(sim.reward[b]) * sim.world.reference_usd
    info["illegal_choices"] = int(clock.illegal[b] * sim.closed[b])
    info["hour_of_year"] = float(clock.now_h[b])
    used_h = sim.state.sources.used_h[b] * sim.closed[b]
    info |= {f"device_h_{t}": float(v) for t, v in zip(sim.world.tenant_names, used_h, strict=True)}
    return info


class FleetEnv(gym.Env[Obs, Any]):
    """One fleet (`gcn/Fleet-v0`; `gcn/FleetSequential-v0` decides one head at a time).

    An episode ends by truncation at the scenario's horizon; the last reward then holds the settlement of what is left.
    """

    metadata = _METADATA

    def __init__(
        self,
        world: World | str | Path = "default",
        *,
        view: ViewName = "joint",
        split: str = "train",
        render_mode: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        data_dir: str | Path | None = None,
    ) -> None:
        """Make the environment.

        Args:
            world: a compiled world, or what `gcn_env.load_world` takes.
            view: `joint` (MultiDiscrete) or `sequential` (Discrete).
            split: `train`, `validation` or `test`: which years and trace windows episodes come from.
            render_mode: None, `ansi` or `rgb_array`.
            overrides: dotted scenario path -> value.
            data_dir: folder of real data, for scenarios that read files.
        """
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UserError(
                f"no render mode {render_mode!r}{nearest(render_mode, RENDER_MODES)} (modes: {', '.join(RENDER_MODES)})"
            )
        self.world = _world(world, overrides, data_dir)
        self.sim = Sim(self.world, 1, split=split, view=view, autoreset=False)
        self.render_mode = render_mode
        self.observation_space: gym.Space[Any] = observation_space(self.world, view)
        self.action_space = action_space(self.world, view)
        self._begun = False

    def _obs(self) -> Obs:
        return {name: array[0].copy() for name, array in self.sim.obs.items()}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Start an episode; without a seed, the one that follows the last."""
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self.sim.reset([int(self.np_random.integers(_SEED_SPAN)) if seed is None else seed])
        else:
            self.sim.begin_next()
        self._begun = True
        return self._obs(), _info(self.sim, 0)

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Take one decision: all heads in the joint view, one in the sequential view."""
        if not self._begun:
            raise gym.error.ResetNeeded("call reset() before step()")
        self.sim.step(
            np.asarray(action)[None] if self.sim.view == "joint" else np.atleast_1d(np.asarray(action))
        )
        info = _info(self.sim, 0)
        info["closed_step"] = bool(self.sim.closed[0])
        return self._obs(), float(self.sim.reward[0]), False, bool(self.sim.done[0]), info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Legal choices, flattened in head order: what sb3-contrib's maskable learners ask for."""
        return np.asarray(self.sim.obs["mask"][0] > 0.5)

    def render(self) -> Any:
        """The fleet as text (`ansi`) or as a picture uint8 [H, W, 3] (`rgb_array`); None without a render mode."""
        if self.render_mode is None:
            return None
        from gcn_env import render

        return render.ansi(self.sim) if self.render_mode == "ansi" else render.frame(self.sim)


class FleetVectorEnv(VectorEnv[Obs, Any, Array]):
    """B fleets in one batch; environment i of seed s is `FleetEnv` of seed s + i, bit for bit.

    Autoreset happens in the step that ends an episode; the last observation is in `info["final_obs"]`.
    """

    metadata = _VECTOR_METADATA

    def __init__(
        self,
        num_envs: int = 1,
        world: World | str | Path = "default",
        *,
        view: ViewName = "joint",
        split: str = "train",
        threads: int = 1,
        render_mode: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        data_dir: str | Path | None = None,
    ) -> None:
        """As `FleetEnv`, for `num_envs` environments; `threads` ranges of the batch run at a time."""
        self.world = _world(world, overrides, data_dir)
        self.sim = Sim(self.world, num_envs, split=split, view=view, threads=threads)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space = observation_space(self.world, view)
        self.single_action_space = action_space(self.world, view)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._begun = False

    def _obs(self) -> Obs:
        return {name: array.copy() for name, array in self.sim.obs.items()}

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Start an episode everywhere; `seed` s gives environment i the seed s + i."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        n = self.num_envs
        if isinstance(seed, (list, tuple)):
            if len(seed) != n:
                raise UserError(f"{len(seed)} seeds for {n} environments; give one each, or one for all")
            drawn = self.np_random.integers(_SEED_SPAN, size=n)
            seeds = [int(d) if s is None else s for s, d in zip(seed, drawn, strict=True)]
            self.sim.reset(seeds)
        elif seed is not None:
            self.sim.reset(seed + np.arange(n))
        elif not self._begun:
            self.sim.reset(self.np_random.integers(_SEED_SPAN, size=n))
        else:
            for b in range(n):
                self.sim.begin_next(b)
        self._begun = True
        return self._obs(), {}

    def step(self, actions: Any) -> tuple[Obs, Array, Array, Array, dict[str, Any]]:
        """One decision in every environment."""
        if not self._begun:
            raise gym.error.ResetNeeded("call reset() before step()")
        sim = self.sim
        sim.step(np.asarray(actions))
        terms = sim.state.ledger.terms * sim.closed[:, None]
        info: dict[str, Any] = {f"usd_{name}": terms[:, k].copy() for k, name in enumerate(TERMS.names)}
        info["cost_usd"] = -sim.reward * self.world.reference_usd
        info["illegal_choices"] = sim.state.clock.illegal * sim.closed
        used_h = sim.state.sources.used_h * sim.closed[:, None]
        info |= {f"device_h_{t}": used_h[:, k].copy() for k, t in enumerate(self.world.tenant_names)}
        info["closed_step"] = sim.closed.copy()
        if sim.done.any():
            last = np.empty(self.num_envs, object)
            for b in np.flatnonzero(sim.done):
                last[b] = {name: array[b].copy() for name, array in sim.final_obs.items()}
            info["final_obs"], info["_final_obs"] = last, sim.done.copy()
        done = sim.done.copy()
        return self._obs(), sim.reward.copy(), np.zeros_like(done), done, info

    def render(self) -> Any:
        """The first environment, as `FleetEnv.render`."""
        if self.render_mode is None:
            return None
        from gcn_env import render

        return (render.ansi(self.sim) if self.render_mode == "ansi" else render.frame(self.sim),)
