"""A search over a recipe by Ray Tune with ASHA: a core and an ordinary run folder for each trial.

The same command again goes on where the last one stopped, also on another cluster. ASHA (Li et al., "A system for
massively parallel hyperparameter tuning", MLSys 2020) lets the best third of the trials past each mark, at 1, 3,
9, ... times the steps between validations.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents import recipe as recipes
from agents import runs
from agents.cluster.folders import desk, mirrored
from agents.cluster.session import RETRIES, Cluster, compiled, opened, plain_errors, prepare
from agents.seeds import go_on
from agents.space import Search, kind_of, open_folder, read_space, values_text
from gcn_env.errors import UserError
from gcn_env.scenario.load import apply_overrides

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs write TensorBoard themselves
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

STATE = "ray"  # folder in that of the search


def domain(values: Any) -> Any:
    """An entry of a space as Ray Tune samples it."""
    kind, ends = kind_of(values)
    if kind == "choices":
        return tune.choice(ends)
    low, high = ends
    if all(isinstance(end, int) for end in ends):
        return tune.lograndint(low, high + 1) if kind == "log" else tune.randint(low, high + 1)
    return tune.loguniform(low, high) if kind == "log" else tune.uniform(low, high)


def search(cluster: Cluster, choices: Search, command: str) -> str:
    """Search until all trials are finished or stopped; the best ones as a Markdown table.

    Raises:
        UserError: if the folder holds another search, or trials failed.
    """
    from gcn_env import load_world

    open_folder(choices)
    state = choices.out / STATE
    if not state.exists() and list(choices.out.glob("trial-*")):
        raise UserError(f"{choices.out} holds a search without --ray; name another --out, or leave --ray out")
    base = recipes.load(choices.config, choices.overrides)
    first = load_world(base.scenario, dict(choices.scenario), choices.data)
    others = base.further(choices.data)
    with plain_errors(cluster.address):
        files = desk(cluster, choices.out)  # it is there as long as this name is
        given = tune.with_parameters(
            trial, here=cluster.here, worlds=pickle.dumps([first, *others]), files=files,
            base=base.model_dump(mode="json"), seed=choices.seed, command=command,
        )  # fmt: skip
        trainable = tune.with_resources(given, {"cpu": 1})
        if tune.Tuner.can_restore(str(state.resolve())):
            _same_number(choices)
            tuner = tune.Tuner.restore(str(state.resolve()), trainable, restart_errored=True)
        else:
            state.mkdir()
            runs.write_text(state / "trials", f"{choices.trials}\n")
            tuner = _tuner(trainable, choices, base)
        results = tuner.fit()
    if results.num_errors:
        raise UserError(
            f"{results.num_errors} trials failed: {results.errors[0]}; the same command tries them again"
        )
    return _table(choices, [(r.metrics or {}, r.config or {}) for r in results])


def _same_number(choices: Search) -> None:
    said = int((choices.out / STATE / "trials").read_text())
    if said != choices.trials:
        raise UserError(
            f"{choices.out} was begun with --trials {said}, which Ray Tune cannot change; for more, name another --out "
            "and --seed"
        )


def _tuner(trainable: Any, choices: Search, base: recipes.Recipe) -> Any:
    space = {name: domain(values) for name, values in read_space(choices).items()}
    # Trials end by themselves, after their last validation: the scheduler must not do it first.
    marks = ASHAScheduler(
        time_attr="timesteps", max_t=4 * base.timesteps, reduction_factor=3,
        grace_period=min(base.evaluation.every, base.timesteps),
    )  # fmt: skip
    return tune.Tuner(
        trainable, param_space=space,
        tune_config=tune.TuneConfig(
            metric="best_usd", mode="min", num_samples=choices.trials, scheduler=marks,
            search_alg=BasicVariantGenerator(random_state=choices.seed),
        ),
        run_config=tune.RunConfig(
            name=STATE, storage_path=str(choices.out.resolve()), verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )  # fmt: skip


def trial(
    config: Mapping[str, Any], *, here: dict[str, Any], worlds: bytes, files: Any, base: dict[str, Any], seed: int,
    command: str,
) -> None:  # fmt: skip
    """In a worker: one run, from where it stopped; its validations are reported."""
    prepare(here)
    fleets = opened(worlds)
    number = int(tune.get_context().get_trial_id().rsplit("_", 1)[1])
    recipe = recipes.checked(apply_overrides(base, {**config, "seed": seed + number}), f"trial {number}")
    compiled(fleets[0], recipe.view)
    with mirrored(f"trial-{number:04d}", files) as (run, send):
        if not run.path.exists():
            runs.create(run.path, recipe, fleets[0], f"{command} # trial {number}: {values_text(config)}")
        best = float(run.progress().get("best_validation_usd", np.inf))

        def watch(timesteps: int, usd: float) -> None:
            nonlocal best
            best = min(best, usd)
            send()
            tune.report({"timesteps": timesteps, "usd": usd, "best_usd": best, "run": run.path.name})

        if run.timesteps >= recipe.timesteps:
            watch(run.timesteps, best)
        go_on(run, recipe, fleets, watch=watch)


def _table(
    choices: Search, trials: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], best: int = 10
) -> str:
    """The best trials as a Markdown table: validation cost, steps, run folder, values."""
    done = sorted((t for t in trials if "best_usd" in t[0]), key=lambda t: float(t[0]["best_usd"]))
    lines = ["| validation USD | steps | run | values |", "|---:|---:|---|---|"]
    for metrics, config in done[:best]:
        lines.append(
            f"| {metrics['best_usd']:,.0f} | {metrics['timesteps']:,} | {choices.out / metrics['run']} | "
            f"{values_text(config)} |"
        )
    return "\n".join(lines)
