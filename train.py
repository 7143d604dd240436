"""Train a policy: PPO on the joint view or DQN on the sequential one, from a recipe.

Examples:
    python train.py                                             the quick recipe on the default scenario
    python train.py --config full --seed 3 --run runs/mine
    python train.py --set prices.carbon_usd_per_t=200 recipe.ppo.gamma=0.995
    python train.py --resume runs/mine
    tensorboard --logdir runs/mine/tensorboard
"""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents import policy, runs
from agents import recipe as recipes
from agents.recipe import Recipe
from agents.stopping import on_sigterm_too
from gcn_env import load_world
from gcn_env.errors import UserError


@dataclass(frozen=True)
class Args:
    """Choices of a training run; what is not given here comes from the recipe."""

    config: str = "quick"
    """Recipe: name of a shipped one (configs/train) or path of a YAML file."""

    scenario: str | None = None
    """Name of a shipped scenario, or path of a YAML file."""

    algo: Literal["ppo", "dqn"] | None = None
    """Learner."""

    seed: int | None = None
    """Seed of weights, exploration and training episodes (environment i has seed + i // twins)."""

    timesteps: int | None = None
    """Environment steps in all (DQN: sub-decisions); with --resume, the new end of the run."""

    envs: int | None = None
    """Environments stepped together."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network computes; auto takes a GPU if there is one."""

    run: Path | None = None
    """Folder of the run, which must not exist; default `runs/SCENARIO-ALGO-SEED`, numbered if that exists."""

    resume: Path | None = None
    """Run folder to continue exactly where it stopped; recipe and scenario are its own."""

    data: Path | None = None
    """Folder of real series and traces, for scenarios that read files."""

    eval_every: int | None = None
    """Environment steps between validations."""

    checkpoint_every: int | None = None
    """Environment steps between checkpoints."""

    threads: int | None = None
    """Threads of torch."""

    ray: str | None = None
    """Have rollouts collected on a Ray cluster: its address (HOST:PORT or auto), or `local`. PPO only."""

    collectors: int | None = None
    """How many collectors share the environments there, a core each; default: as many as the cores allow."""

    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = ()
    """Scenario fields to change, e.g. `jobs.training.load=0.7`; `recipe.` before it changes the recipe."""

    quiet: bool = False
    """Print errors only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 2 a mistake of the user, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = tyro.cli(Args, args=words, prog="train.py", description=__doc__)
    on_sigterm_too()
    try:
        return start(args, shlex.join(["train.py", *words]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; the last checkpoint, if there is one, stays readable (--resume RUN)",
            file=sys.stderr,
        )
        return 130


def start(args: Args, command: str) -> int:
    """Load, train, say what came of it."""
    if args.collectors is not None and args.ray is None:
        raise UserError(
            "--collectors says how many collect on a cluster; name it with --ray ADDRESS, or --ray local"
        )
    recipe, world, folder = (begin if args.resume is None else again)(args, command)
    # After the user's other mistakes: torch takes seconds.
    from agents.training import Flag, Interrupted, check_device, train

    check_device(args.device)
    flag = Flag()
    resume = args.resume is not None
    others = recipe.further(args.data)
    with ExitStack() as stack:
        crew = None if args.ray is None else hire(stack, args, recipe)
        run = folder()
        signal.signal(signal.SIGINT, lambda *_: stop(flag))
        try:
            result = train(
                world, recipe, run, resume=resume, device=args.device, quiet=args.quiet, flag=flag,
                others=others, crew=crew,
            )  # fmt: skip
        except Interrupted:
            print(f"stopped and saved; go on with: python train.py --resume {run.path}", file=sys.stderr)
            return 130
    if not args.quiet:
        print(
            f"{result['timesteps']:,} steps at {result['steps_per_s']:,.0f}/s; best validation cost "
            f"{result['best_validation_usd']:,.0f} USD per episode\n"
            f"compare: python evaluate.py --scenario {recipe.scenario} --policies rules run:{run.path}"
        )
    return 0


def hire(stack: ExitStack, args: Args, recipe: Recipe) -> Any:
    """Collectors on a cluster, until `stack` is left."""
    from agents.cluster import connect

    cluster = stack.enter_context(connect(str(args.ray)))
    from agents.cluster import collectors  # once it is known that Ray is installed

    return collectors.crew(cluster, args.collectors, recipe)


def stop(flag: Any) -> None:
    """First Ctrl-C: stop where the run can be resumed exactly; second: at once."""
    if flag.raised:
        raise KeyboardInterrupt
    flag.raised = True
    print("stopping after this update (Ctrl-C again: at once, keeping the last checkpoint)", file=sys.stderr)


def begin(args: Args, command: str) -> tuple[Recipe, Any, Callable[[], runs.RunFolder]]:
    """A new run, and what makes its folder."""
    for_recipe, for_scenario = recipes.split_overrides(args.overrides)
    flags = {
        "scenario": args.scenario, "algo": args.algo, "seed": args.seed, "timesteps": args.timesteps,
        "envs": args.envs, "threads": args.threads, "evaluation.every": args.eval_every,
        "checkpoints.every": args.checkpoint_every,
    }  # fmt: skip
    given = {k: v for k, v in flags.items() if v is not None}
    recipe = recipes.load(args.config, {**for_recipe, **given})
    if args.run is not None and args.run.exists():  # before a world is compiled for nothing
        raise UserError(f"{args.run} exists; continue it with --resume {args.run}, or name another --run")
    world = load_world(recipe.scenario, for_scenario, args.data)
    if recipe.warm_start.policy is not None:
        policy.load(recipe.warm_start.policy, world)  # before a folder is made for a rule that does not exist
    tell(args, world)
    stem = f"{world.name}-{recipe.algo}-{recipe.seed}"
    path = args.run or runs.free_name(Path("runs"), stem)
    return recipe, world, partial(runs.create, path, recipe, world, command)


def again(args: Args, command: str) -> tuple[Recipe, Any, Callable[[], runs.RunFolder]]:
    """A run that goes on, and what opens its folder."""
    new = (args.scenario, args.algo, args.seed, args.envs, args.run, *args.overrides)
    if any(v is not None for v in new) or args.config != Args.config:
        raise UserError("--resume takes recipe and scenario from the run; only --timesteps can change them")
    run = runs.RunFolder(Path(str(args.resume)))
    recipe = run.recipe()
    if args.timesteps is not None:
        recipe = recipes.checked({**recipe.model_dump(), "timesteps": args.timesteps}, "--timesteps")
    world = load_world(run.path / "scenario.yaml", {}, args.data)
    run.check_world(world)
    tell(args, world)
    if run.timesteps >= recipe.timesteps:
        raise UserError(f"{run.path} is finished ({run.timesteps:,} steps); give more --timesteps to go on")

    def opened() -> runs.RunFolder:
        run.log_command(command)
        return run

    return recipe, world, opened


def tell(args: Args, world: Any) -> None:
    """Say what the data lacked."""
    for note in () if args.quiet else world.data_notes:
        print(f"data: {note}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
