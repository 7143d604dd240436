"""Before learning: look around, spread the environments over the episode, imitate a rule.

All environments begin an episode together; left so, every rollout would hold one part of the week only. While
a rule (or chance) plays the first episode, the state of environment i is kept at its share i / B of the
horizon, and learning starts from these. The same pass gives the encoders' column statistics and the first
reward scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from agents.sb3.dqn import MaskedDQN, random_legal
from agents.training.learner import Learner
from gcn_env.core.state import N_HEADS
from gcn_env.observation import PAIRS, REGIONS

Array = npt.NDArray[Any]
Choose = Callable[[dict[str, Array]], Array]
COST = PAIRS.index("cost")
SAMPLES = 2048  # observations from which column statistics are taken
LOOK = 64  # vector steps of the look around where environments are not spread
VALUE_WEIGHT = 0.1  # of the value's squared error beside the imitation: heavy tails must not crowd it out
Say = Callable[[str, float], None]  # what is being done, share done


def copy_rows(target: Any, source: Any, rows: Array) -> None:
    """Overwrite rows (environments) of every array of a tree by those of another of the same shape."""
    if isinstance(target, np.ndarray):
        target[rows] = source[rows]
    elif isinstance(target, dict):
        for key in target:
            copy_rows(target[key], source[key], rows)
    elif isinstance(target, list | tuple):
        for a, b in zip(target, source, strict=True):
            copy_rows(a, b, rows)


class Spread:
    """Keeps each environment's state at its own time of the episode."""

    def __init__(self, learner: Learner, horizon: int) -> None:
        self._env = learner.env
        n, twins = self._env.num_envs, self._env.twins
        self._due = np.arange(n) // twins * twins * horizon // n
        self._kept: Any = None
        self._reward = np.zeros(n)
        self._have = np.zeros(n, np.bool_)

    def visit(self) -> None:
        """Keep those environments that have just come to their time."""
        env = self._env
        rows = np.flatnonzero((env.episode_steps >= self._due) & ~self._have)
        if rows.size:
            now = env.sim.snapshot()
            if self._kept is None:
                self._kept = now
            copy_rows(self._kept, now, rows)
            self._reward[rows] = env.episode_reward[rows]
            self._have[rows] = True

    def apply(self) -> dict[str, Array]:
        """Go to the kept states (to the present one where the time was never reached)."""
        env = self._env
        self._due = np.where(self._have, self._due, env.episode_steps)
        self.visit()
        env.sim.restore(self._kept)
        env.episode_reward[:], env.episode_steps[:] = self._reward, self._due
        env.begin()
        return env.observe()


def explore(learner: Learner) -> Choose:
    """Choices of a learner that knows nothing yet: legal and nearly uniform."""
    if learner.recipe.algo == "dqn":
        return lambda obs: random_legal(obs["mask"])
    return lambda obs: learner.model.policy.predict(obs, deterministic=False)[0]


def look_around(learner: Learner, choose: Choose, horizon: int, say: Say) -> dict[str, Tensor]:
    """Play up to an episode by `choose`, set the reward scale, spread the environments, and be ready to learn there.

    Args:
        learner: newly built.
        choose: choices for observations.
        horizon: control steps of an episode.
        say: told how far it is.

    Returns:
        A sample of what was seen, for the encoders' statistics.
    """
    env = learner.env
    obs = env.reset()
    spread = Spread(learner, horizon) if learner.recipe.stagger else None
    steps = horizon if spread else min(LOOK, horizon)
    every = max(steps * env.num_envs * len(learner.envs) // SAMPLES, 1)
    seen: list[dict[str, Array]] = []
    t = 0
    while env.episode_steps.max() < steps - 1:
        if spread:
            spread.visit()
        if t % every == 0:
            seen.append(obs)
        obs, _, _, _ = env.step(choose(obs))  # type: ignore[assignment]
        t += 1
        say("look around", float(env.episode_steps.max()) / steps)
    learner.refresh_scale()
    learner.start(spread.apply() if spread else obs)
    device = learner.model.device
    return {k: torch.from_numpy(np.concatenate([o[k] for o in seen])).to(device) for k in obs}


def imitate(learner: Learner, chooses: Sequence[Choose], say: Say) -> None:
    """Clone the demonstrators (one a world) for the recipe's number of steps, the value of their states included.

    PPO: cross-entropy to their choices and the value's squared error, chunk by chunk, worlds in turn. DQN: their
    transitions are put into the replay buffer, marked as demonstrated, and learned from with the margin loss.
    """
    start = learner.recipe.warm_start
    if learner.recipe.algo == "dqn":
        _demonstrate(learner, chooses[0], say)
        return
    model: Any = learner.model
    buffer = model.rollout_buffer
    optimizer = model.policy.optimizer  # its moments are kept: they temper the first steps of learning
    chunks = max(-(-start.steps // (buffer.buffer_size * buffer.n_envs)), len(chooses))
    for chunk in range(chunks):
        for group in optimizer.param_groups:
            group["lr"] = start.learning_rate * (1.0 - chunk / chunks)
        learner.enter(chunk % len(chooses))
        _play(learner, chooses[chunk % len(chooses)])
        agree = _fit(learner, optimizer)
        learner.refresh_scale()
        say(f"imitate (agreement {agree:.0%})", (chunk + 1) / chunks)


def _play(learner: Learner, choose: Choose) -> None:
    """Fill the rollout buffer with a demonstrator's choices."""
    model: Any = learner.model
    env, buffer, policy = learner.env, model.rollout_buffer, model.policy
    obs, begins = model._last_obs, model._last_episode_starts
    buffer.reset()
    for _ in range(buffer.buffer_size):
        actions = choose(obs)
        with torch.no_grad():
            value = policy.predict_values(_tensors(obs, model.device))
        new, reward, done, _ = env.step(actions)
        buffer.add(obs, actions, reward, begins, value, torch.zeros(actions.shape))
        obs, begins = new, done
    with torch.no_grad():
        last = policy.predict_values(_tensors(obs, model.device))
    buffer.compute_returns_and_advantage(last, begins)
    model._last_obs, model._last_episode_starts = obs, begins


def _fit(learner: Learner, optimizer: torch.optim.Optimizer) -> float:
    """Passes over one chunk; returns how often clone and rule agree."""
    start = learner.recipe.warm_start
    model: Any = learner.model
    agreed = []
    for _ in range(start.epochs):
        for batch in model.rollout_buffer.get(model.batch_size):
            heads, value = model.policy.heads(batch.observations)
            place, cool, agree = heads.imitation(batch.actions.long(), start.slip)
            loss: Tensor = place + cool + VALUE_WEIGHT * functional.mse_loss(value, batch.returns)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.policy.parameters(), model.max_grad_norm)
            optimizer.step()
            agreed.append(float(agree))
    return float(np.mean(agreed))


def _tensors(obs: dict[str, Array], device: torch.device) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v).to(device) for k, v in obs.items()}


def nearest_open(obs: dict[str, Array], actions: Array, open_: Array) -> Array:
    """Choices `[B]` of the sequential view; where the network may not make one, to leave the job, else the cheapest."""
    rows = np.arange(len(actions))
    usd = np.where(open_[:, 1 : 1 + obs["pools"].shape[1]], obs["pairs"][:, 0, :, COST], np.inf)
    instead = np.where(open_[:, 0], 0, 1 + usd.argmin(1))
    return np.where(open_[rows, actions], actions, instead)


def _demonstrate(learner: Learner, choose: Choose, say: Say) -> None:
    start, env = learner.recipe.warm_start, learner.env
    model: Any = learner.model
    obs = model._last_obs
    assert isinstance(model, MaskedDQN)
    model.replay_buffer.demonstrating = True
    steps = -(-start.steps // env.num_envs)
    for t in range(steps):
        actions = nearest_open(obs, choose(obs), model.open_choices(obs))
        new, reward, done, infos = env.step(actions)
        model.replay_buffer.add(obs, new, actions, reward, done, infos)
        obs = new
        if t % 64 == 0:
            say("demonstrate", t / steps)
    model.replay_buffer.demonstrating = False
    model.replay_buffer.keep()
    updates = start.epochs * steps * env.num_envs // model.batch_size
    usual, model.lr_schedule = model.lr_schedule, lambda _: start.learning_rate
    for done_updates in range(updates):
        model.train(1, model.batch_size)
        if (done_updates + 1) % 200 == 0:  # a target that stands still for a while, as in learning
            model.q_net_target.load_state_dict(model.q_net.state_dict())
            say("imitate", done_updates / updates)
    model.q_net_target.load_state_dict(model.q_net.state_dict())
    model.lr_schedule = usual
    learner.start(obs)


class OneHead:
    """A joint policy asked for one head at a time: it is shown a fleet with a single slot.

    Rules choose each head from that head's own columns, so what they say of the head being decided is what
    they would say in the joint view; earlier choices of the step are visible as claimed devices.
    """

    def __init__(self, policy: Any, levels: int) -> None:
        self._policy, self._levels = policy, levels

    def __call__(self, obs: dict[str, Array]) -> Array:
        """Choices `[B]` of the heads being decided."""
        b, p = obs["pools"].shape[:2]
        r = obs["regions"].shape[1]
        head = obs["head"].argmax(1)
        region = obs["regions"][..., REGIONS.index("is_current")].argmax(1)
        placing = head == 0
        mask = np.ones((b, p + 1 + N_HEADS * r * self._levels), np.float32)
        mask[:, 1 : p + 1] = 0.0
        mask[placing, : p + 1] = obs["mask"][placing, : p + 1]
        at = np.where(placing, 0, 1 + N_HEADS * region + head - 1)
        cooled = np.flatnonzero(~placing)
        first = p + 1 + (at[cooled] - 1) * self._levels
        mask[cooled[:, None], first[:, None] + np.arange(self._levels)] = obs["mask"][cooled, : self._levels]
        joint = {k: v for k, v in obs.items() if k != "head"} | {"mask": mask}
        actions, _ = self._policy.predict(joint, deterministic=True)
        return np.asarray(actions)[np.arange(b), at]


def demonstrator(learner: Learner, policy: Any, levels: int) -> Choose:
    """Choices of a policy in the learner's view."""
    if learner.recipe.algo == "dqn" and getattr(policy, "view", "joint") == "joint":
        return OneHead(policy, levels)

    def choose(obs: dict[str, Array]) -> Array:
        return np.asarray(policy.predict(obs, deterministic=True)[0])

    return choose
