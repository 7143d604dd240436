"""The story of a run: build, warm up or resume, learn, validate, save."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from stable_baselines3.common.logger import configure

from agents.recipe import Recipe
from agents.runs import RunFolder
from agents.training import board, checkpoints
from agents.training.beside import Beside
from agents.training.collecting import Crew, hand_over
from agents.training.learner import Learner, MakeSim, build
from agents.training.progress import Bar
from agents.training.steward import Flag, Steward
from agents.training.warmstart import demonstrator, explore, imitate, look_around
from gcn_env.errors import UserError


def train(
    world: Any,
    recipe: Recipe,
    run: RunFolder,
    *,
    resume: bool = False,
    device: str = "auto",
    quiet: bool = False,
    flag: Flag | None = None,
    factory: MakeSim | None = None,
    watch: Callable[[int, float], None] | None = None,
    others: Sequence[Any] = (),
    crew: Callable[[Learner], Crew] | None = None,
) -> dict[str, Any]:
    """Train a policy in a run folder that exists.

    Args:
        world: compiled scenario.
        recipe: all choices.
        run: where everything goes.
        resume: go on from the last checkpoint instead of starting.
        device: `auto`, `cpu` or `cuda`.
        quiet: no progress bar.
        flag: raise it to stop at the next place where the run can be resumed exactly.
        factory: makes the simulator (tests).
        watch: told of every validation (steps, USD per episode); what it raises ends the training.
        others: compiled `worlds` of the recipe.
        crew: hires collectors, which play the rollouts (`collecting`).

    Returns:
        timesteps, steps per second, validation cost of the last and of the best policy [USD per episode], per cent by
        which the best is dearer than the best rule (NaN if the recipe names none).

    Raises:
        Interrupted: after the flag was raised and everything was saved.
        KeyboardInterrupt: if the flag was raised before there was anything to save.
        UserError: if there is nothing to resume, or the run is finished.
    """
    flag = flag or Flag()
    learner = build(world, recipe, device, factory, others)
    saved: dict[str, Any] = {}
    with Bar(recipe.timesteps, quiet) as bar, ExitStack() as stack:
        if resume:
            content = checkpoints.latest(run)
            if content["timesteps"] >= recipe.timesteps:
                raise UserError(
                    f"{run.path} is finished ({content['timesteps']:,} steps); give --timesteps more to go on"
                )
            learner.load(content)
            saved = content["steward"]
            bar.resume(learner.model.num_timesteps)
        else:
            _warm_up(learner, bar, flag)
        if crew is None and recipe.algo == "ppo" and recipe.ppo.ahead:
            crew = partial(Beside, factory=factory)
        if crew is not None:
            gatherer = hand_over(learner, crew(learner))
            stack.callback(gatherer.dismiss)
            if resume:
                gatherer.go_on(content.get("asked"))
        learner.model.set_logger(configure(str(run.tensorboard), ["tensorboard"]))
        if not resume:
            board.begin(run, recipe, world)
        steward = Steward(learner, world, run, flag, bar, saved, watch)
        before, start = learner.model.num_timesteps, time.perf_counter()
        learner.model.learn(
            recipe.timesteps - before, callback=steward, log_interval=None if recipe.algo == "dqn" else 1,  # type: ignore[arg-type]
            reset_num_timesteps=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        learner.refresh_scale()
        cost = steward.validate()
        steward.checkpoint()
        learner.model.logger.dump(learner.model.num_timesteps)
    spent = run.progress().get("seconds", 0.0) + seconds
    run.note(status="finished", seconds=round(spent, 1))
    result = {
        "timesteps": learner.model.num_timesteps,
        "steps_per_s": (learner.model.num_timesteps - before) / seconds,
        "validation_usd": cost,
        "best_validation_usd": steward.best,
        "over_best_rule_percent": steward.over_rule,
    }
    board.finish(run, recipe, result, spent / 3600.0)
    return result


def _warm_up(learner: Learner, bar: Bar, flag: Flag) -> None:
    """Look around in every world, imitate if the recipe says so, and hand the learner its first observation.

    Imitation takes minutes and has nothing to save: it ends at once when asked to.
    """

    def say(what: str, share: float) -> None:
        if spec is not None and flag.raised:
            raise KeyboardInterrupt
        bar.phase(f"{what} {share:.0%}")

    from agents.policy import load  # here: rules are not needed otherwise

    spec = learner.recipe.warm_start.policy
    chooses, samples = [], []
    for k, world in enumerate(learner.worlds):
        learner.enter(k)
        choose = explore(learner)
        if spec is not None:
            choose = demonstrator(learner, load(spec, world), world.n_levels)
        samples.append(look_around(learner, choose, world.horizon, say))
        chooses.append(choose)
    learner.net.standardise(samples)
    if spec is not None:
        imitate(learner, chooses, say)
    learner.freeze()
    for env in learner.envs:
        env.books.restart()
    bar.phase("train")
