"""Search over a recipe: Optuna trials in parallel processes, one run folder each, every trial kept in a journal.

A folder holds `journal.log` (Optuna's journal storage), `tune.yaml` (what is searched) and `trial-NNNN/` run folders.
The same command again goes on where the last one stopped. Trials are judged by their best validation cost; seeds and
years of the test split are never touched.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from agents import recipe as recipes
from agents import runs
from agents.space import SPACES, Search, kind_of, open_folder, read_space, values_text
from gcn_env.errors import UserError

NAME = "recipe"

__all__ = ["SPACES", "Search", "read_space", "tune"]


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    """One trial's values by dotted field."""
    out: dict[str, Any] = {}
    for name, values in space.items():
        kind, ends = kind_of(values)
        if kind == "choices":
            out[name] = trial.suggest_categorical(name, ends)
        elif all(isinstance(end, int) for end in ends):
            out[name] = trial.suggest_int(name, *ends, log=kind == "log")
        else:
            out[name] = trial.suggest_float(name, *map(float, ends), log=kind == "log")
    return out


def storage(out: Path) -> JournalStorage:
    """The search's journal: one file, which processes share."""
    return JournalStorage(JournalFileBackend(str(out / "journal.log")))


def open_study(search: Search) -> optuna.Study:
    """The study of a search: new, or the one in its folder.

    Raises:
        UserError: if the folder holds a search of something else.
    """
    open_folder(search)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=NAME, storage=storage(search.out), direction="minimize", load_if_exists=True
    )
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)  # what an interrupted command left
    return study


def left(study: optuna.Study, trials: int) -> int:
    """How many trials are still to be finished."""
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])
    return max(trials - len(done), 0)


def work(search: Search, share: int, worker: int) -> None:
    """Run `share` trials; workers differ in their sampler's seed."""
    from agents.training import train
    from gcn_env import load_world

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = read_space(search)
    base = recipes.load(search.config, search.overrides)
    world = load_world(base.scenario, dict(search.scenario), search.data)
    others = base.further(search.data)
    study = optuna.load_study(
        study_name=NAME,
        storage=storage(search.out),
        sampler=optuna.samplers.TPESampler(seed=search.seed + 1000 * worker, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )

    def objective(trial: optuna.Trial) -> float:
        values = suggest(trial, space)
        changed = {**search.overrides, **values, "seed": search.seed + trial.number}
        recipe = recipes.load(search.config, changed)
        path = runs.free_name(search.out, f"trial-{trial.number:04d}")
        run = runs.create(path, recipe, world, f"tune {search.config} {values}")
        trial.set_user_attr("run", path.name)

        def watch(timesteps: int, usd: float) -> None:
            trial.report(usd, timesteps)
            if trial.should_prune():
                raise optuna.TrialPruned

        return float(train(world, recipe, run, quiet=True, watch=watch, others=others)["best_validation_usd"])

    study.optimize(objective, n_trials=share, catch=())


def tune(search: Search, jobs: int) -> optuna.Study:
    """Search until `search.trials` trials are finished, in `jobs` processes.

    Raises:
        UserError: if a worker failed.
        KeyboardInterrupt: when asked to stop; finished trials stay, and the same command goes on.
    """
    study = open_study(search)
    todo = left(study, search.trials)
    shares = [todo // jobs + (k < todo % jobs) for k in range(jobs)]
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(search, share, k)) for k, share in enumerate(shares) if share
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
        raise
    if any(worker.exitcode for worker in workers):
        raise UserError(f"a worker stopped with an error (above); what is finished stays in {search.out}")
    return study


def table(study: optuna.Study, best: int = 10) -> str:
    """The best trials as a Markdown table: validation cost, run folder, values."""
    done = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    done.sort(key=lambda t: t.value or 0.0)
    lines = ["| validation USD | run | values |", "|---:|---|---|"]
    for t in done[:best]:
        lines.append(f"| {t.value:,.0f} | {t.user_attrs['run']} | {values_text(t.params)} |")
    return "\n".join(lines)
