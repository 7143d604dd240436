"""What happens between rollouts: figures, validation, checkpoints, stopping when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agents.evaluation import evaluate
from agents.runs import RunFolder, layout
from agents.sb3.dqn import MaskedDQN
from agents.sb3.vecenv import named_kpis
from agents.training.checkpoints import save
from agents.training.learner import Learner
from agents.training.policy import TrainedPolicy
from agents.training.progress import Bar
from gcn_env.ledger import TERMS
from gcn_env.metrics import MORE_IS_BETTER


class Interrupted(Exception):  # noqa: N818  (no error: somebody asked)
    """Training was asked to stop; everything up to here is saved."""


class Flag:
    """Set from a signal handler: stop at the next place where a run can be resumed exactly."""

    raised = False


class Steward(BaseCallback):
    """Acts where a rollout begins: there the learner's state is whole and small.

    Args:
        learner: what is trained.
        world: compiled scenario, for validation.
        run: folder of the run.
        flag: asks to stop.
        bar: progress bar, in environment steps.
        saved: `steward` part of the checkpoint resumed from.
        watch: told of every validation.
    """

    def __init__(
        self,
        learner: Learner,
        world: Any,
        run: RunFolder,
        flag: Flag,
        bar: Bar,
        saved: dict[str, Any],
        watch: Callable[[int, float], None] | None = None,
    ) -> None:
        super().__init__()
        self._watch = watch
        self.learner, self.world, self.run, self.flag, self.bar = learner, world, run, flag, bar
        recipe = learner.recipe
        self._validate, self._checkpoints, self._total = (
            recipe.evaluation,
            recipe.checkpoints,
            recipe.timesteps,
        )
        self._saved_at = int(saved.get("saved_at", 0))
        self._validated_at = int(saved.get("validated_at", 0))
        self._shown_at = int(saved.get("shown_at", 0))
        self.best = float(saved.get("best", np.inf))
        self.last = float(saved.get("last", np.nan))
        self._score = float(
            saved.get("score", np.inf)
        )  # of the best policy, by the recipe's key figure; low is good
        self._rule: float | None = saved.get("rule")
        # One entry per rollout for PPO; DQN's rollouts are a few steps, so figures come once per rollout's
        # worth.
        self._every = recipe.envs * recipe.ppo.n_steps if recipe.algo == "dqn" else 1
        self._clock = time.perf_counter()

    @property
    def over_rule(self) -> float:
        """Per cent by which the best policy so far is dearer than the best rule; NaN without one."""
        return 100.0 * (self.best / self._rule - 1.0) if self._rule else np.nan

    def _on_training_start(self) -> None:
        self._meet_rules()
        if self.num_timesteps == 0 and self.learner.recipe.warm_start.policy is not None:
            self.validate()  # the clone: what learning must improve on

    def _on_step(self) -> bool:
        self.bar.step(self.num_timesteps - self.bar.done)
        return True

    def _on_rollout_start(self) -> None:
        self._rescale()
        self._figures(dump=isinstance(self.model, MaskedDQN))
        if self.num_timesteps - self._validated_at >= self._validate.every:
            self.validate()
        if self.num_timesteps - self._saved_at >= self._checkpoints.every:
            self.checkpoint()
        if self.flag.raised:
            self.checkpoint()
            self.run.note(status="interrupted")
            raise Interrupted

    def _rescale(self) -> None:
        if isinstance(self.model, MaskedDQN):
            # A replay buffer's targets all move with the scale: it is set once, before the first update.
            if self.learner.scale.weight == 0.0 and self.num_timesteps >= self.model.learning_starts:
                self.learner.refresh_scale()
            return
        self.learner.refresh_scale()

    def _on_rollout_end(self) -> None:
        if not isinstance(self.model, MaskedDQN):
            self._figures(dump=False)  # the library writes them out after this

    def _figures(self, dump: bool) -> None:
        """Ledger figures since the last time: `reward/` per control step, `kpi/` per episode."""
        books = self.learner.env.books
        if books.steps == 0 or self.num_timesteps - self._shown_at < self._every:
            return
        self._shown_at = self.num_timesteps
        steps, terms, flows, counts = books.take()
        world = self.learner.env.sim.world  # of several, the one that is played
        per_step = -terms / (steps * world.reference_usd)
        for name, value in zip(TERMS.names, per_step, strict=True):
            self.logger.record(f"reward/{name}", float(value))
        self.logger.record("reward/total", float(per_step.sum()))
        episode = world.horizon / steps
        for name, value in named_kpis(terms * episode, flows * episode, counts * episode).items():
            self.logger.record(f"kpi/{name}", value)
        scale = self.learner.scale
        self.logger.record("train/reward_mean", scale.mean)
        self.logger.record("train/return_spread", scale.spread)
        self.bar.figures = f"reward {per_step.sum():.3f}"
        if np.isfinite(self.last):
            self.bar.figures += f"  validation {self.last:,.0f} USD"
        if dump:
            model: Any = self.model
            model.dump_logs()

    def _meet_rules(self) -> None:
        """What the best of the rules named in the recipe costs on the validation weeks."""
        from agents.policy import load  # here: rules are not needed otherwise

        v = self._validate
        if self._rule is None and v.against and v.episodes:
            rules = {spec: load(spec, self.world) for spec in v.against}
            results = evaluate(self.world, rules, v.episodes, v.seed, "validation", keep=0)
            self._rule = float(results.kpi("total_usd").mean(axis=1).min())

    def validate(self) -> float:
        """Mean cost of validation episodes of the first world in USD; the best policy so far becomes `best.pt`."""
        self._validated_at = self.num_timesteps
        policy = TrainedPolicy(self.learner.net, self.learner.recipe.view)
        v = self._validate
        if v.episodes == 0:
            return np.nan
        results = evaluate(self.world, {"policy": policy}, v.episodes, v.seed, "validation", keep=0)
        cost = self.last = float(results.kpi("total_usd").mean())
        shown = (
            "total_usd",
            "late_share",
            "slo_miss_share",
            "pue",
            "excursion_kh",
            "usd_per_device_hour",
            v.kpi,
        )
        for name in dict.fromkeys(shown):
            self.logger.record(f"eval/{name}", float(results.kpi(name).mean()))
        if self._rule:
            self.logger.record("eval/best_rule_usd", self._rule)
            self.logger.record("eval/over_best_rule_percent", 100.0 * (cost / self._rule - 1.0))
        line = {"timesteps": self.num_timesteps, "total_usd": cost, "best_rule_usd": self._rule}
        with (self.run.path / "validation.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        score = float(results.kpi(v.kpi).mean()) * (-1.0 if v.kpi in MORE_IS_BETTER else 1.0)
        if score < self._score:
            self._score, self.best = score, cost
            save(self.run.best, {**self.learner.weights(), "observation": layout(), "total_usd": cost})
        if self._watch is not None:
            self._watch(self.num_timesteps, cost)
        return cost

    def checkpoint(self) -> None:
        """Save everything; the run resumes from here as if it had not stopped."""
        self._saved_at = self.num_timesteps
        content = {
            **self.learner.state(),
            "observation": layout(),
            "steward": {
                "saved_at": self._saved_at, "validated_at": self._validated_at, "shown_at": self._shown_at,
                "best": self.best, "last": self.last, "score": self._score, "rule": self._rule,
            },
        }  # fmt: skip
        save(self.run.step_file(self.num_timesteps), content)
        self.run.prune(self._checkpoints.keep)
        note: dict[str, Any] = {"timesteps": self.num_timesteps, "of": self._total, "status": "running"}
        if np.isfinite(self.best):
            note["best_validation_usd"] = self.best
        self.run.note(**note)
