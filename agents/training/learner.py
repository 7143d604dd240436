"""A learner from a recipe: simulator, vector environment, model, and all of its state in and out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import Logger

from agents.recipe import Recipe
from agents.sb3.dqn import EntityQPolicy, MaskedDQN
from agents.sb3.headwise import HeadwisePPO
from agents.sb3.ppo import EntityPolicy
from agents.sb3.replay import SequentialReplay
from agents.sb3.scaling import RewardScale
from agents.sb3.vecenv import SimLike, SimVecEnv
from agents.training.checkpoints import pack, random_state, set_random_state, unpack
from gcn_env.errors import UserError
from gcn_env.observation import GLOBALS, JOBS, PAIRS, POOLS, REGIONS

RISE = 0.05
MakeSim = Callable[[Any, int, str], SimLike]


def make_sim(world: Any, n_envs: int, view: str) -> SimLike:
    """The simulator on the training years."""
    from gcn_env.sim import Sim  # here: compiling kernels is no business of whoever only loads a policy

    sim: SimLike = Sim(world, n_envs, split="train", view="sequential" if view == "sequential" else "joint")
    return sim


def network_arguments(recipe: Recipe, levels: int) -> dict[str, Any]:
    """Keyword arguments of `EntityNetwork`."""
    tables = {"jobs": JOBS, "pools": POOLS, "regions": REGIONS, "pairs": PAIRS, "globals": GLOBALS}
    return {
        "columns": {name: len(table) for name, table in tables.items()},
        "levels": levels,
        "width": recipe.network.width,
        "pair_width": recipe.network.pair_width,
        "current": REGIONS.index("is_current"),
        "moves": recipe.network.moves,
        "margin_h": recipe.network.margin_h,
    }


def schedule(first: float, last: float) -> Callable[[float], float]:
    """A learning rate that rises to `first` within `RISE` of the training and then falls linearly to `last`.

    Adam's first steps have full length whatever the gradient; at full rate they undid an imitated policy (a
    divergence of 0.3 in the first update, where 0.02 is sound).
    """

    def rate(remaining: float) -> float:
        return (last + (first - last) * remaining) * min(1.0, (1.0 - remaining) / RISE + 0.01)

    return rate


@dataclass
class Learner:
    """What is trained, and everything that a resumed run needs of it."""

    recipe: Recipe
    worlds: list[Any]
    envs: list[SimVecEnv]
    model: HeadwisePPO | MaskedDQN
    network: dict[str, Any]
    # Where others play (`collecting`): what brings `envs` up to date, and what was asked for and is not here yet.
    recall: Callable[[], None] | None = None
    asked: Any = None

    @property
    def env(self) -> SimVecEnv:
        """The environments that are played now."""
        env: Any = self.model.env
        return env  # type: ignore[no-any-return]

    @property
    def scale(self) -> RewardScale:
        """Their reward scale."""
        assert self.env.scale is not None
        return self.env.scale

    @property
    def net(self) -> Any:
        """The network that acts."""
        policy: Any = self.model.policy
        return policy.net if self.recipe.algo == "ppo" else policy.q_net.net

    def freeze(self) -> None:
        """Hold the cloned set-points, where the recipe says so, from here on."""
        if self.recipe.algo == "ppo" and not self.recipe.ppo.cooling:
            for name, parameter in self.net.named_parameters():
                if name.startswith("cool"):
                    parameter.requires_grad_(False)
                    parameter.grad = None

    def refresh_scale(self) -> None:
        """Bring the reward scale up to date, and the value with it.

        Several worlds share a value: the scale of each is set once.
        """
        if len(self.envs) > 1:
            if self.scale.weight == 0.0:
                self.scale.refresh()
            return
        change = self.scale.refresh()
        self.net.rescale_value(change.gain, change.shift)
        if self.recipe.algo == "dqn":
            policy: Any = self.model.policy
            policy.q_net_target.load_state_dict(policy.q_net.state_dict())

    def state(self) -> dict[str, Any]:
        """Everything, as a checkpoint's content."""
        if self.recall is not None:
            self.recall()
        m = self.model
        policy: Any = m.policy
        learner = {
            "num_timesteps": m.num_timesteps,
            "n_updates": m._n_updates,
            "episode_num": m._episode_num,
            "progress_remaining": m._current_progress_remaining,
            "starts": self._starts(),
            "episodes": [[e["r"], e["l"], e["t"]] for e in m.ep_info_buffer or ()],
        }
        replay = None
        if isinstance(m, MaskedDQN):
            learner |= {"n_calls": m._n_calls, "exploration_rate": m.exploration_rate}
            replay = pack(m.replay_buffer.state())
        return {
            **self.weights(),
            "policy": policy.state_dict(),
            "optimizer": policy.optimizer.state_dict(),
            "learner": pack(learner),
            "env": pack(self._places()),
            "replay": replay,
            "random": random_state(),
            "asked": None if self.asked is None else pack(self.asked._asdict()),
        }

    def weights(self) -> dict[str, Any]:
        """What is needed to act."""
        return {
            "algo": self.recipe.algo,
            "network": self.network,
            "timesteps": self.model.num_timesteps,
            "net": self.net.state_dict(),
        }

    def load(self, content: dict[str, Any]) -> None:
        """Go on exactly where a checkpoint stopped."""
        m = self.model
        policy: Any = m.policy
        policy.load_state_dict(content["policy"])
        policy.optimizer.load_state_dict(content["optimizer"])
        learner = content["learner"]
        m.num_timesteps = int(learner["num_timesteps"])
        m._n_updates = int(learner["n_updates"])
        m._episode_num = int(learner["episode_num"])
        m._current_progress_remaining = float(learner["progress_remaining"])
        m.ep_info_buffer = deque(
            ({"r": r, "l": n, "t": t} for r, n, t in learner["episodes"]), maxlen=m._stats_window_size
        )
        m.ep_success_buffer = deque(maxlen=m._stats_window_size)
        if isinstance(m, MaskedDQN):
            m._n_calls, m.exploration_rate = int(learner["n_calls"]), float(learner["exploration_rate"])
            m.replay_buffer.load(unpack_replay(content["replay"]))
        for k, place in enumerate(unpack(content["env"], self._places())):
            self.enter(k)
            self.go_on(self.env.load(place["vec"]), learner["starts"][k].numpy())
            self.scale.load(place["scale"])
        self.freeze()
        set_random_state(content["random"])

    def _places(self) -> list[dict[str, Any]]:
        return [
            {"vec": env.state(), "scale": env.scale.state()} for env in self.envs if env.scale is not None
        ]

    def _starts(self) -> list[Any]:
        m = self.model
        if not isinstance(m, HeadwisePPO):
            return [m._last_episode_starts]
        return [m._last_episode_starts if k == m.turn else stage.starts for k, stage in enumerate(m.stages)]

    def enter(self, turn: int) -> None:
        """Go to the environments of world `turn`."""
        if isinstance(self.model, HeadwisePPO):
            self.model.enter(turn)

    def go_on(self, obs: Any, starts: Any) -> None:
        """Go on at observation `obs`; `starts` says which environments begin an episode with it."""
        m: Any = self.model
        m._last_obs, m._last_episode_starts = obs, starts

    def start(self, obs: Any) -> None:
        """Begin to learn at observation `obs` of the environments' present state."""
        self.go_on(obs, np.ones(self.env.num_envs, np.bool_))


def unpack_replay(tree: dict[str, Any]) -> dict[str, Any]:
    """A packed `SequentialReplay.state`."""
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in tree.items()}


def check_device(device: str) -> None:
    """Refuse a device that is not there; Stable-Baselines3 would take the processor without a word.

    Raises:
        UserError: for `cuda` where torch sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device cuda: torch {torch.__version__} sees no CUDA device here; take auto or cpu, or install a CUDA "
            "build of torch and a driver"
        )


def build(
    world: Any,
    recipe: Recipe,
    device: str = "auto",
    factory: MakeSim | None = None,
    others: Sequence[Any] = (),
) -> Learner:
    """Simulators, environments and model; nothing has been reset or learned yet.

    Args:
        world: compiled scenario.
        recipe: all choices.
        device: `auto`, `cpu` or `cuda`.
        factory: makes the simulator; tests put their own here.
        others: further worlds to learn in (PPO).

    Raises:
        UserError: if the worlds differ in their number of cooling levels.
    """
    check_device(device)
    torch.set_num_threads(recipe.threads)
    worlds = [world, *others]
    for other in others:
        if other.n_levels != world.n_levels:
            raise UserError(
                f"{other.name} has {other.n_levels} cooling levels, {world.name} {world.n_levels}: one network "
                "learns in worlds with equal decisions.cooling_levels"
            )
    envs = [_environment(w, recipe, factory or make_sim) for w in worlds]
    network = network_arguments(recipe, world.n_levels)
    common: dict[str, Any] = {
        "policy_kwargs": {"network": network}, "seed": recipe.seed, "device": device, "gamma": recipe.gamma,
    }  # fmt: skip
    model = _ppo(recipe, envs, common) if recipe.algo == "ppo" else _dqn(recipe, envs[0], common)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return Learner(recipe, worlds, envs, model, network)


def _environment(world: Any, recipe: Recipe, factory: MakeSim) -> SimVecEnv:
    scale = RewardScale(recipe.envs, recipe.gamma, world.horizon)
    twins = recipe.ppo.twins if recipe.algo == "ppo" else 1
    sim = factory(world, recipe.envs, recipe.view)
    return SimVecEnv(sim, recipe.seed, scale, raw=recipe.algo == "dqn", shaping=recipe.shaping, twins=twins)


def _ppo(recipe: Recipe, envs: Sequence[SimVecEnv], common: dict[str, Any]) -> HeadwisePPO:
    r = recipe.ppo
    common["policy_kwargs"] = {**common["policy_kwargs"], "cooling": r.cooling}
    return HeadwisePPO(
        EntityPolicy, envs[0], envs[1:], learning_rate=schedule(r.learning_rate, r.final_learning_rate),
        n_steps=r.n_steps, batch_size=r.batch_size, n_epochs=r.epochs, gae_lambda=r.gae_lambda,
        clip_range=r.clip_range, ent_coef=r.entropy, vf_coef=r.value_weight, max_grad_norm=r.max_grad_norm,
        target_kl=r.target_kl, twins=r.twins, **common,
    )  # fmt: skip


def _dqn(recipe: Recipe, env: SimVecEnv, common: dict[str, Any]) -> MaskedDQN:
    r = recipe.dqn
    return MaskedDQN(
        EntityQPolicy, env, learning_rate=schedule(r.learning_rate, r.final_learning_rate),
        buffer_size=r.buffer_size, learning_starts=r.learning_starts, batch_size=r.batch_size, tau=r.tau,
        train_freq=r.train_freq, gradient_steps=r.gradient_steps,
        target_update_interval=r.target_update_interval,
        exploration_fraction=r.exploration_fraction, exploration_initial_eps=r.exploration_initial,
        exploration_final_eps=r.exploration_final, max_grad_norm=r.max_grad_norm, margin=r.margin,
        margin_weight=r.margin_weight, replay_buffer_class=SequentialReplay,
        replay_buffer_kwargs={"gamma": r.gamma, "n_steps": r.n_steps, "scale": env.scale}, **common,
    )  # fmt: skip
