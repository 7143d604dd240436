"""PPO whose surrogate is summed over heads, each with an advantage of its own.

A step has some thirty heads and one reward. Under one ratio for all of them a small change of each leaves the clip
range; so every head has its own ratio. And what a placement adds to the expected cost is known when it is chosen (its
pair's columns say it, and rewards as they accrue pay it at once): from a head's advantage the other placements'
surprises are taken out. Other heads' choices are independent of this one's, so no gradient is biased by that (Wu et
al., "Variance reduction for policy gradient with action-dependent factorized baselines", ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from torch import Tensor
from torch.nn import functional

from agents.networks import LEGAL, Joint
from agents.sb3.ppo import EntityPolicy, RolloutBuffer
from agents.sb3.vecenv import SimVecEnv
from gcn_env.observation import GLOBALS, PAIRS

LEAST_USD = 0.01  # that a step is taken to cost
PAID = [PAIRS.index(f"{name}_usd") for name in ("energy", "carbon", "egress", "rent")]
AT_ONCE = [PAIRS.index(f"{name}_usd") for name in ("late", "slo")]  # certain where nothing waits
WAIT, HERE, SCALE = PAIRS.index("wait"), PAIRS.index("here"), GLOBALS.index("scale")
MOST = 5.0  # mean deviations that an advantage counts at most
NO_WAIT = 1e-5  # what a compressed column may show for zero


def surprises(joint: Joint, placement: Tensor, obs: Mapping[str, Tensor], place: Tensor) -> Tensor:
    """What each chosen placement raises the expected cost by, beyond the policy's mean, in reference steps `[M]`.

    Args:
        joint: what the network says.
        placement: its log-probabilities `[M, P+1]`.
        obs: observations of the joint view.
        place: choices of the rows `[M]`.
    """
    pairs = obs["pairs"].flatten(0, 1).index_select(0, joint.rows)
    reference = obs["globals"][:, SCALE].sinh().clamp(min=LEAST_USD)
    usd = pairs[..., PAID].sinh().sum(-1)
    usd = usd + pairs[..., AT_ONCE].sinh().sum(-1) * (pairs[..., WAIT] < NO_WAIT)
    usd = usd / reference.index_select(0, joint.env).unsqueeze(1)
    legal = joint.placement[:, 1:] > LEGAL
    stay = (usd * pairs[..., HERE]).sum(1, keepdim=True)
    there = pairs[..., HERE].amax(1, keepdim=True) > 0
    least = torch.where(there, stay, usd.masked_fill(~legal, torch.inf).amin(1, keepdim=True))
    # To leave a job costs nothing at once.
    extra = functional.pad(torch.where(legal, usd - least, 0.0), (1, 0))
    return extra.gather(1, place.unsqueeze(1)).squeeze(1) - (extra * placement.exp()).sum(1)


@dataclass
class Stage:
    """A world that is learned in: its environments, their rollout, and where they are."""

    env: SimVecEnv
    buffer: RolloutBuffer
    obs: Any = None
    starts: Any = None


class HeadwisePPO(PPO):
    """`stable_baselines3.PPO` with a ratio and an advantage for each head, in one world or several.

    Several worlds take turns, a rollout each; the network does not know how many jobs, pools and regions there are.

    Args:
        policy: class of the policy.
        env: environments of the first world.
        others: as many environments of each further world.
        twins: see `RolloutBuffer`.
        kwargs: of the library's.
    """

    policy: EntityPolicy
    rollout_buffer: RolloutBuffer
    gather: Callable[[HeadwisePPO, Any], bool] | None = None  # fills the buffer instead of `env`'s steps

    def __init__(
        self,
        policy: type[EntityPolicy],
        env: SimVecEnv,
        others: Sequence[SimVecEnv] = (),
        twins: int = 1,
        **kwargs: Any,
    ) -> None:
        alike = {"twins": twins}
        super().__init__(
            policy, env, rollout_buffer_class=RolloutBuffer, rollout_buffer_kwargs=alike, **kwargs
        )
        self.stages = [Stage(env, self.rollout_buffer)]
        for other in others:
            space: Any = other.observation_space
            buffer = RolloutBuffer(
                self.n_steps, space, other.action_space, self.device, self.gae_lambda, self.gamma,
                self.n_envs, twins=twins,
            )  # fmt: skip
            self.stages.append(Stage(other, buffer))
        self.turn = 0

    def enter(self, turn: int) -> None:
        """Go to another stage, at the place where it was left."""
        old, new = self.stages[self.turn], self.stages[turn]
        old.obs, old.starts = self._last_obs, self._last_episode_starts
        self.turn, self.env, self.rollout_buffer = turn, new.env, new.buffer
        self._last_obs, self._last_episode_starts = new.obs, new.starts

    def whose_turn(self, timesteps: int) -> int:
        """The stage of the rollout that begins at so many timesteps."""
        return timesteps // (self.n_steps * self.n_envs) % len(self.stages)

    def collect_rollouts(self, env: Any, callback: Any, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        """As the library's, in the world whose turn it is."""
        self.enter(self.whose_turn(self.num_timesteps))
        if self.gather is not None:
            return self.gather(self, callback)
        assert self.env is not None
        return super().collect_rollouts(self.env, callback, self.rollout_buffer, n_rollout_steps)

    def _advantages(self, heads: Any, batch: Any, actions: Tensor) -> Tensor:
        """Advantages `[N, H]` of the heads, each kind of head on a scale of its own."""
        n, q = heads.joint.cooling.shape[0], batch.observations["jobs"].shape[1]
        joint, own = heads.joint, torch.zeros(n * q, device=actions.device)
        env: Any = self.env
        if env.shaping:
            place = actions[:, :q].flatten().index_select(0, joint.rows)
            extra = surprises(joint, heads.placement.detach(), batch.observations, place)
            own = own.index_copy(0, joint.rows, extra / env.scale.spread)
        own = own.view(n, q)
        without = (batch.advantages + own.sum(1)).unsqueeze(1)
        placing, real = without - own, torch.zeros(n * q, dtype=torch.bool, device=actions.device)
        real = real.index_fill(0, joint.rows, True).view(n, q)
        learned = torch.full_like(without, self.policy.cooling, dtype=torch.bool)
        cooling = _standardised(without, learned).expand(-1, actions.shape[1] - q)
        return torch.cat([_standardised(placing, real), cooling], 1)

    def train(self) -> None:
        """Passes over the rollout, until the policy has moved as far as `target_kl`."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        said: dict[str, list[float]] = {}
        moving = True
        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.get(self.batch_size):
                actions = batch.actions.long()
                heads, value = self.policy.heads(batch.observations)
                with torch.no_grad():
                    advantage = self._advantages(heads, batch, actions)
                change = heads.log_prob(actions) - batch.old_log_prob
                ratio = change.exp()
                gain = torch.minimum(advantage * ratio, advantage * ratio.clamp(1 - clip, 1 + clip))
                policy_loss = -gain.sum(1).mean()
                value_loss = functional.mse_loss(batch.returns, value)
                entropy = heads.entropy(self.policy.cooling).mean()
                loss = policy_loss - self.ent_coef * entropy + self.vf_coef * value_loss
                with torch.no_grad():
                    kl = (ratio - 1 - change).sum(1).mean().item()
                figures = {
                    "policy_gradient_loss": policy_loss, "value_loss": value_loss, "entropy_loss": -entropy,
                    "clip_fraction": ((ratio - 1).abs() > clip).float().sum() / len(actions),
                }  # fmt: skip
                for name, figure in figures.items():
                    said.setdefault(name, []).append(figure.item())
                said.setdefault("approx_kl", []).append(kl)
                if self.target_kl is not None and kl > 1.5 * self.target_kl:
                    moving = False
                    break
                self.policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
            if not moving:
                break
        self._tell(said, loss.item(), clip)

    def _tell(self, said: dict[str, list[float]], loss: float, clip: float) -> None:
        """The library's tags."""
        buffer = self.rollout_buffer
        spread = np.var(buffer.returns)
        explained = np.nan if spread == 0 else 1 - np.var(buffer.returns - buffer.values) / spread
        for name, values in said.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))
        self.logger.record("train/loss", loss)
        self.logger.record("train/explained_variance", float(explained))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip)


def _standardised(values: Tensor, real: Tensor) -> Tensor:
    """Values `[N, K]` less their mean, over their mean deviation, within +-`MOST`; both over the entries `real`.

    Tails are heavy (an outage, a job of a thousand devices): over a standard deviation, which they make, everyday
    choices would hardly count.
    """
    sample = values[real]
    if sample.numel() < 2:
        return torch.zeros_like(values)
    centre = sample.mean()
    scaled = (values - centre) / ((sample - centre).abs().mean() + 1e-8)
    return torch.where(real, scaled.clamp(-MOST, MOST), 0.0)
