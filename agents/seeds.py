"""Many seeds of one recipe, side by side: ordinary run folders `seed-N`, in local processes or on a cluster.

The same command again goes on where the last one stopped: finished runs are left alone, others go on from their last
checkpoint.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from agents import recipe as recipes
from agents import runs
from agents.recipe import Recipe
from agents.runs import RunFolder
from gcn_env.errors import UserError


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        recipe: of all runs but for the seed.
        seeds: of the runs.
        out: folder of the run folders.
        scenario: dotted scenario fields that are changed.
        data: folder of real series.
        command: as it was given.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    out: Path
    scenario: Mapping[str, Any]
    data: Path | None
    command: str

    def folder(self, seed: int) -> RunFolder:
        """The run folder of a seed."""
        return RunFolder(self.out / f"seed-{seed}")

    def of(self, seed: int) -> Recipe:
        """The recipe of a seed."""
        return self.recipe.model_copy(update={"seed": seed})


def plan(
    config: str,
    seeds: Sequence[int],
    out: Path,
    overrides: Mapping[str, Any],
    scenario: Mapping[str, Any],
    data: Path | None,
    command: str,
) -> Plan:
    """A checked plan.

    Raises:
        UserError: for a wrong recipe or seed, or a folder that holds a run of something else.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: name each seed once")
    for seed in seeds:
        recipes.load(config, {**overrides, "seed": seed})
    new = Plan(
        recipes.load(config, {**overrides, "seed": seeds[0]}), tuple(seeds), out, scenario, data, command
    )
    for seed in seeds:
        run = new.folder(seed)
        if run.path.exists() and run.recipe() != new.of(seed):
            raise UserError(
                f"{run.path} holds a run of another recipe; name another --out, or give the same choices"
            )
    return new


def worlds(new: Plan) -> list[Any]:
    """Compiled scenarios of the recipe, the first and the further ones."""
    from gcn_env import load_world

    first = load_world(new.recipe.scenario, dict(new.scenario), new.data)
    return [first, *new.recipe.further(new.data)]


def open_folders(new: Plan, world: Any) -> list[int]:
    """Make the folders that are not there yet; the seeds whose runs are not finished.

    Raises:
        UserError: if a folder's run began in another world.
    """
    for seed in new.seeds:
        run = new.folder(seed)
        if not run.path.exists():
            runs.create(run.path, new.of(seed), world, new.command)
        else:
            run.check_world(world)
    return [s for s in new.seeds if new.folder(s).progress().get("status") != "finished"]


def go_on(run: RunFolder, recipe: Recipe, worlds: Sequence[Any], **options: Any) -> None:
    """Train in a run folder, from its last checkpoint if it has one; `options` are those of `agents.training.train`."""
    from agents.training import train

    if run.timesteps >= recipe.timesteps:
        run.note(status="finished")  # it was stopped between its last checkpoint and this word
        return
    world, *others = worlds
    train(world, recipe, run, resume=bool(run.steps()), quiet=True, others=others, **options)


def work(new: Plan, seed: int) -> None:
    """In a process of its own: train one seed, from its last checkpoint if it has one. Save and stop on a signal."""
    from agents.training import Flag, Interrupted

    flag = Flag()

    def stop(*_: Any) -> None:
        flag.raised = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        go_on(new.folder(seed), new.of(seed), worlds(new), flag=flag)
    except (Interrupted, KeyboardInterrupt):
        raise SystemExit(130) from None


def side_by_side(new: Plan, left: Sequence[int], jobs: int, done: Callable[[str], None]) -> None:
    """Train the seeds that are left, `jobs` at a time, each in a process of one core.

    Args:
        new: the plan.
        left: seeds.
        jobs: processes at a time.
        done: told the folder of each that is finished.

    Raises:
        UserError: if a run failed; the others are finished first.
        KeyboardInterrupt: when asked to stop, after all have saved.
    """
    context = multiprocessing.get_context("spawn")
    waiting, running, failed = list(left), dict[Any, int](), list[int]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                process = context.Process(target=work, args=(new, waiting[0]))
                process.start()
                running[process] = waiting.pop(0)
            wait([p.sentinel for p in running])
            for process in [p for p in running if not p.is_alive()]:
                seed = running.pop(process)
                if process.exitcode:
                    failed.append(seed)
                else:
                    done(new.folder(seed).path.name)
    except KeyboardInterrupt:
        for process in running:
            process.terminate()  # taken as a wish to save, once it listens; SIGINT may be ignored
        for process in running:
            process.join()
        raise
    if failed:
        raise UserError(
            f"seeds {', '.join(map(str, failed))} stopped with an error (above); the same command goes on with them"
        )


def table(new: Plan) -> str:
    """All runs as a Markdown table: steps, best validation cost, folder; and how to compare them."""
    lines = ["| seed | steps | best validation USD | run |", "|---:|---:|---:|---|"]
    for seed in new.seeds:
        run = new.folder(seed)
        said = run.progress()
        best = said.get("best_validation_usd")
        usd = "" if best is None else f"{best:,.0f}"
        lines.append(f"| {seed} | {said.get('timesteps', 0):,} | {usd} | {run.path} |")
    team = ",".join(f"run:{new.folder(s).path}" for s in new.seeds)
    return "\n".join([*lines, f"compare: python evaluate.py --policies rules {new.out.name}={team}"])
