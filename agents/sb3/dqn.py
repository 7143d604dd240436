"""Double DQN with masks, on the sequential view.

Illegal choices are left out of the greedy choice, of the random one and of the bootstrapped maximum; the
discount is each transition's own. What is not here is `stable_baselines3.DQN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor
from torch.nn import functional

from agents.networks import ILLEGAL, LEGAL, EntityNetwork
from agents.sb3.predict import AnySize, to_tensors
from agents.sb3.replay import SequentialReplay

Array = npt.NDArray[Any]


class EntityQNetwork(AnySize):
    """Values of the choices of one head: a state value plus what each legal choice adds to their mean.

    Wang et al., "Dueling network architectures for deep reinforcement learning", ICML 2016: here what a
    choice adds is small beside the value of the state.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        network: Mapping[str, Any],
    ) -> None:
        super().__init__(observation_space, action_space)
        self.net = EntityNetwork(**network)

    def forward(self, obs: Any) -> Tensor:
        """Values `[N, A]`; illegal choices have `ILLEGAL`."""
        scores, value = self.net.sequential(obs)
        legal = scores > LEGAL
        gain = scores.masked_fill(~legal, 0.0)
        mean = gain.sum(1, keepdim=True) / legal.sum(1, keepdim=True).clamp(min=1)
        return torch.where(legal, value.unsqueeze(1) + gain - mean, ILLEGAL)

    def _predict(self, observation: Any, deterministic: bool = True) -> Tensor:
        values: Tensor = self(observation)
        return values.argmax(1)


class EntityQPolicy(AnySize, DQNPolicy):
    """Online and target `EntityQNetwork`.

    Args:
        observation_space: of the sequential view.
        action_space: `Discrete`.
        lr_schedule: of the optimiser.
        network: keyword arguments of `EntityNetwork`.
        kwargs: of Stable-Baselines3's policy.
    """

    q_net: EntityQNetwork  # type: ignore[assignment]
    q_net_target: EntityQNetwork  # type: ignore[assignment]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        network: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        self._network = dict(network)  # before the base class, which calls `make_q_net`
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)  # type: ignore[arg-type]

    def make_q_net(self) -> EntityQNetwork:  # type: ignore[override]
        """A network with weights of its own."""
        return EntityQNetwork(self.observation_space, self.action_space, self._network).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "network": self._network}


def random_legal(mask: Array) -> Array:
    """One choice per row of `mask [B, A]` (above 0.5: legal), all legal ones equally likely."""
    lots: Array = np.where(mask > 0.5, np.random.random(mask.shape), -1.0)  # noqa: NPY002
    return np.asarray(lots.argmax(1))


class MaskedDQN(DQN):
    """DQN on the sequential view.

    Args:
        args: of `stable_baselines3.DQN`.
        margin: how much better (on the learner's scale) a demonstrator's choice is held to be than any other,
            in the large-margin loss of Hester et al., "Deep Q-learning from demonstrations", AAAI 2018.
        margin_weight: weight of that loss; 0 leaves it out.
        kwargs: of `stable_baselines3.DQN`.
    """

    policy: EntityQPolicy
    q_net: EntityQNetwork  # type: ignore[assignment]
    q_net_target: EntityQNetwork  # type: ignore[assignment]
    replay_buffer: SequentialReplay

    def __init__(self, *args: Any, margin: float = 0.05, margin_weight: float = 0.0, **kwargs: Any) -> None:
        self.margin, self.margin_weight = margin, margin_weight
        super().__init__(*args, **kwargs)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Greedy, or with the exploration rate a random legal choice, drawn per environment."""
        actions, state = self.policy.predict(observation, state, episode_start, deterministic)
        if not deterministic:
            mask = self.open_choices(observation)
            explore = np.random.random(len(mask)) < self.exploration_rate  # noqa: NPY002
            actions = np.where(explore, random_legal(mask), actions).reshape(np.shape(actions))
        return actions, state

    def open_choices(self, observation: Any) -> Array:
        """What the network may choose, `[B, A]`."""
        tensors, _ = to_tensors(observation, self.device)
        return np.asarray(self.q_net.net.open_choices(tensors).cpu().numpy())

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[Array, Array]:
        obs: Any = self._last_obs
        if self.num_timesteps < learning_starts:
            actions = random_legal(self.open_choices(obs))
        else:
            actions, _ = self.predict(obs, deterministic=False)
        return actions, actions

    def _store_transition(
        self, replay_buffer: Any, buffer_action: Array, new_obs: Any, reward: Array, dones: Array, infos: Any
    ) -> None:
        # The library deep-copies the next observation; ours is stored with the next step.
        replay_buffer.add(self._last_obs, new_obs, buffer_action, reward, dones, infos)
        self._last_obs = new_obs

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Take `gradient_steps` minibatches of `batch_size` from the replay buffer."""
        if not self.replay_buffer.ready():
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses, spreads = [], []
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size)
            with torch.no_grad():
                best = self.q_net(batch.next_observations).argmax(1, keepdim=True)
                following = self.q_net_target(batch.next_observations).gather(1, best)
                target = batch.rewards + (1 - batch.dones) * batch.discounts * following  # type: ignore[operator]
            values = self.q_net(batch.observations)
            chosen = values.gather(1, batch.actions)
            loss = functional.smooth_l1_loss(chosen, target)
            if self.margin_weight:
                loss = loss + self.margin_weight * self._imitation(values, chosen, batch.actions)
            losses.append(loss.item())
            spreads.append((chosen - target).abs().mean().item())
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.q_net.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(np.mean(losses)))
        self.logger.record("train/td_error", float(np.mean(spreads)))

    def _imitation(self, values: Tensor, chosen: Tensor, actions: Tensor) -> Tensor:
        """Mean over demonstrated transitions of how far the best other choice comes within `margin`."""
        demo = self.replay_buffer.sampled_demo.to(values.device)
        other = torch.full_like(values, self.margin).scatter(1, actions, 0.0)
        short = (values + other).max(1).values - chosen.squeeze(1)
        return (short * demo).sum() / demo.sum().clamp(min=1)
