"""What PPO needs: a policy that masks by itself, and a rollout buffer that does not copy twice.

The mask is part of the observation, so every prediction is legal. The learner is `agents.sb3.headwise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, Schedule
from torch import Tensor
from torch.nn import functional

from agents.networks import LEGAL, EntityNetwork, Joint, decide
from agents.sb3.predict import AnySize

Array = npt.NDArray[Any]
UNIFORM_FLOOR = 1e-20  # keeps the Gumbel noise finite


class Heads:
    """All heads' choices as one distribution: a log-softmax for placements and one for cooling.

    A head without a choice has one legal value: probability 1, log-likelihood 0, entropy 0.
    """

    def __init__(self, joint: Joint, n_slots: int) -> None:
        self.joint, self._n, self._q = joint, joint.cooling.shape[0], n_slots
        self.placement = functional.log_softmax(joint.placement, 1)  # [M, P+1]
        self.cooling = functional.log_softmax(joint.cooling, 2)  # [N, 5R, L]

    def _choose(self, logits: Tensor) -> Tensor:
        # Gumbel-max: the argmax of logits plus Gumbel noise is a sample (one pass for all heads).
        noise = -torch.log(
            (-torch.log(torch.rand_like(logits).clamp(min=UNIFORM_FLOOR))).clamp(min=UNIFORM_FLOOR)
        )
        return (logits + noise).argmax(-1)

    def actions(self, cooling: bool = True) -> Tensor:
        """Sampled choices int64 `[N, Q + 5R]`; the likeliest set-points without `cooling`."""
        place = self.placement.new_zeros(self._n * self._q, dtype=torch.int64)
        place = place.index_copy(0, self.joint.rows, self._choose(self.joint.placement))
        cool = self._choose(self.joint.cooling) if cooling else self.joint.cooling.argmax(2)
        return torch.cat([place.view(self._n, self._q), cool], 1)

    def _split(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        place = actions[:, : self._q].flatten().index_select(0, self.joint.rows)
        return place.unsqueeze(1), actions[:, self._q :].unsqueeze(2)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-likelihoods `[N, Q + 5R]` of choices int64 `[N, Q + 5R]`, head by head."""
        place, cool = self._split(actions)
        chosen = self.placement.gather(1, place).squeeze(1)
        placed = chosen.new_zeros(self._n * self._q).index_copy(0, self.joint.rows, chosen)
        return torch.cat([placed.view(self._n, self._q), self.cooling.gather(2, cool).squeeze(2)], 1)

    def entropy(self, cooling: bool = True) -> Tensor:
        """Entropy `[N]` over that of uniform choice among what is legal: 0..1 for any number of heads."""
        placing = self._of(self.placement, self.joint.env)
        if not cooling:
            return placing[:, 0] / placing[:, 1].clamp(min=1e-6)
        spread = torch.cat([placing, self._of(self.cooling, None)], 1)
        return spread[:, [0, 2]].sum(1) / spread[:, [1, 3]].sum(1).clamp(min=1e-6)

    def _of(self, logp: Tensor, env: Tensor | None) -> Tensor:
        """Sums `[N, 2]` over heads of the entropy and of its greatest value."""
        # p log p of an illegal choice is 0 x (-1e30), exactly 0
        both = torch.stack([-(logp.exp() * logp).sum(-1), (logp > LEGAL).sum(-1).to(logp.dtype).log()], -1)
        return both.sum(1) if env is None else both.new_zeros(self._n, 2).index_add(0, env, both)

    def imitation(self, actions: Tensor, slip: float) -> tuple[Tensor, Tensor, Tensor]:
        """What behaviour cloning lowers: cross-entropies of a demonstrator's choices, and how often we agree.

        The target leaves `slip` of its weight to other legal choices, so that the clone still explores: for a
        placement any of them, for a set-point the next lower and the next higher level.

        Returns:
            Mean over placement heads where the demonstrator's choice is open, mean over cooling heads with a choice,
            share of equal choices among these.
        """
        place, cool = self._split(actions)
        allowed = self.joint.placement > LEGAL
        target = slip * allowed / allowed.sum(1, keepdim=True)
        target = target.scatter_add(1, place, torch.full_like(target[:, :1], 1.0 - slip))
        own = allowed.gather(1, place)[:, 0]  # not where the demonstrator waits and the network may not
        by_place = -(target * self.placement)[own].sum(1)
        legal = self.joint.cooling > LEGAL
        level = torch.arange(legal.shape[2], device=cool.device)
        near = ((level - cool).abs() <= 1) & legal
        weight = torch.where(level == cool, 1.0 - slip, slip * 0.5) * near
        weight = weight / weight.sum(2, keepdim=True).clamp(min=1e-6)
        real = legal.sum(2) > 1
        by_cool = -(weight * self.cooling).sum(2)[real]
        agree = torch.cat(
            [(self.placement.argmax(1) == place[:, 0])[own], (self.cooling.argmax(2) == cool[..., 0])[real]]
        )
        return (
            by_place.sum() / max(len(by_place), 1),
            by_cool.sum() / max(len(by_cool), 1),
            agree.float().mean(),
        )


class EntityPolicy(AnySize, MultiInputActorCriticPolicy):
    """Actor and critic of one `EntityNetwork`; actions are always legal.

    Args:
        observation_space: of the joint view.
        action_space: Q + 5R heads.
        lr_schedule: of the optimiser.
        network: keyword arguments of `EntityNetwork`.
        cooling: explore set-points.
        kwargs: of Stable-Baselines3's policy.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        network: Mapping[str, Any],
        cooling: bool = True,
        **kwargs: Any,
    ) -> None:
        self._network, self.cooling = dict(network), cooling  # before the base class, which calls `_build`
        kwargs.setdefault("optimizer_kwargs", {"eps": 1e-5})
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.net = EntityNetwork(**self._network)
        self.optimizer = self.optimizer_class(
            self.net.parameters(),
            lr=lr_schedule(1),
            **self.optimizer_kwargs,  # type: ignore[call-arg]
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "network": self._network, "cooling": self.cooling}

    def heads(self, obs: Mapping[str, Tensor]) -> tuple[Heads, Tensor]:
        """The distribution over choices, and values `[N]`."""
        joint = self.net.joint(obs)
        return Heads(joint, obs["jobs"].shape[1]), joint.value

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Choices `[N, Q + 5R]`, values `[N]` and log-likelihoods `[N, Q + 5R]`."""
        heads, value = self.heads(obs)
        actions = decide(heads.joint, obs["jobs"]) if deterministic else heads.actions(self.cooling)
        return actions, value, heads.log_prob(actions)

    def predict_values(self, obs: Any) -> Tensor:
        """Values `[N]`."""
        return self.net.joint(obs).value

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        if deterministic:
            return decide(self.net.joint(observation), observation["jobs"])
        return self.heads(observation)[0].actions(self.cooling)


class RolloutBuffer(DictRolloutBuffer):
    """`DictRolloutBuffer` that keeps its arrays from rollout to rollout and gathers minibatches in torch.

    The library's zeroes every array at each reset, copies all of them to flatten, and copies each minibatch
    twice: at 14 kB an observation that was a fifth of the update's time.

    Args:
        args: of the library's.
        twins: environments in a row that live through the same events. What befalls all of them is no merit of
            any one's choices: the mean advantage of the others at the same time is a baseline that knows the
            events (Mao et al., "Variance reduction for reinforcement learning in input-driven environments",
            ICLR 2019).
        kwargs: of the library's.
    """

    def __init__(self, *args: Any, twins: int = 1, **kwargs: Any) -> None:
        self.twins = twins
        super().__init__(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Array) -> None:
        """As the library's; then advantages are compared among twins."""
        super().compute_returns_and_advantage(last_values, dones)
        if self.twins > 1:
            by_twin = self.advantages.reshape(self.buffer_size, -1, self.twins)
            others = (by_twin.sum(2, keepdims=True) - by_twin) / (self.twins - 1)
            self.advantages = (by_twin - others).reshape(self.buffer_size, -1)

    def reset(self) -> None:
        """Start to fill again; what was stored is overwritten."""
        self.pos, self.full, self.generator_ready = 0, False, True
        shape = (self.buffer_size, self.n_envs)
        if hasattr(self, "values") and self.values.shape == shape:
            return
        self.observations = {k: np.zeros((*shape, *v), np.float32) for k, v in self.obs_shape.items()}
        self.actions = np.zeros((*shape, self.action_dim), np.int64)
        self.log_probs = np.zeros((*shape, self.action_dim), np.float32)  # of each head
        for name in ("rewards", "returns", "episode_starts", "values", "advantages"):
            setattr(self, name, np.zeros(shape, np.float32))

    def _get_samples(  # type: ignore[override]
        self, batch_inds: Array, env: Any = None
    ) -> DictRolloutBufferSamples:
        rows = torch.from_numpy(batch_inds)

        def take(array: Array) -> Tensor:
            flat = torch.from_numpy(array).flatten(0, 1)
            return flat.index_select(0, rows).to(self.device)

        return DictRolloutBufferSamples(
            observations={k: take(v) for k, v in self.observations.items()},
            actions=take(self.actions),
            old_values=take(self.values),
            old_log_prob=take(self.log_probs),
            advantages=take(self.advantages),
            returns=take(self.returns),
        )
