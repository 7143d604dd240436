"""Steps per second of PPO training end to end, and where the time goes.

    python -m benchmarks.training [--config quick] [--timesteps 65536] [--threads 1] [--ahead] [--out t.json]

The learner of a recipe, as `train.py` builds it, without imitation, validation and checkpoints. Timed are the calls of
its parts: the simulator's step, the network's choice of actions, and the passes of learning; `rest` is what remains
(buffers, advantages, callbacks, Stable-Baselines3). `--ahead` does so with rollouts played ahead by a second process
(`ppo.ahead`) as well, in turn, twice each: the better of each, and their ratio; it needs a second idle core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from agents.recipe import load as load_recipe
from agents.training.beside import Beside
from agents.training.collecting import hand_over
from agents.training.learner import build
from benchmarks.said import parser, tell
from gcn_env import load_world


class Watch:
    """Seconds spent in calls of methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def over(self, owner: Any, method: str, name: str) -> None:
        """Time every call of `owner.method` as `name`."""
        call: Callable[..., Any] = getattr(owner, method)
        self.seconds[name] = 0.0

        def timed(*given: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.seconds[name] += time.perf_counter() - begin

        setattr(owner, method, timed)


def measure(config: str, scenario: str, timesteps: int, threads: int, ahead: bool = False) -> dict[str, Any]:
    """Rates and shares; of rollouts played ahead, `waiting` is what the learner waits for them."""
    given = {"timesteps": timesteps, "scenario": scenario, "threads": threads, "ppo.ahead": ahead}
    recipe = load_recipe(config, given)
    learner = build(load_world(scenario), recipe)
    model: Any = learner.model
    learner.start(learner.env.reset())
    learner.freeze()  # as after imitation
    watch = Watch()
    gatherer = hand_over(learner, Beside(learner)) if ahead else None
    if gatherer is None:
        watch.over(learner.env.sim, "step", "simulator")
        watch.over(model.policy, "forward", "choosing")
    else:
        watch.over(gatherer, "brought", "waiting")
    watch.over(model, "train", "learning")
    rollout = model.n_steps * model.n_envs
    model.learn(rollout)  # compiles, allocates
    for name in watch.seconds:
        watch.seconds[name] = 0.0
    begin = time.perf_counter()
    model.learn(timesteps, reset_num_timesteps=True)
    seconds = time.perf_counter() - begin
    if gatherer is not None:
        gatherer.dismiss()
    steps = model.num_timesteps
    parts = {**watch.seconds, "rest": seconds - sum(watch.seconds.values())}
    return {
        "config": config, "ahead": ahead, "scenario": scenario,
        "envs": model.n_envs, "rollout": rollout, "timesteps": steps,
        "threads": threads, "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0], "steps_per_s": steps / seconds,
        "us_per_step": {name: 1e6 * s / steps for name, s in parts.items()},
        "parameters": sum(p.numel() for p in model.policy.parameters()),
    }  # fmt: skip


def table(said: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    total = sum(said["us_per_step"].values())
    lines = [
        f"`{said['config']}` on `{said['scenario']}`{', played ahead' * said['ahead']}: "
        f"{said['steps_per_s']:,.0f} env-steps/s, {said['envs']} environments, "
        f"{said['threads']} torch threads, {said['parameters']:,} parameters.",
        "", "| part | us per env-step | share |", "|---|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {n} | {us:.0f} | {100 * us / total:.0f} % |" for n, us in said["us_per_step"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--config", default="quick", help="recipe (quick)")
    options.add_argument("--scenario", default="default", help="name or path of a scenario")
    options.add_argument("--timesteps", type=int, default=65_536, help="env-steps to time (65536)")
    options.add_argument("--threads", type=int, default=1, help="of torch (1)")
    options.add_argument("--ahead", action="store_true", help="also with rollouts played ahead")
    args = options.parse_args()
    given = (args.config, args.scenario, args.timesteps, args.threads)
    if not args.ahead:
        said = measure(*given)
        return tell(said, table(said), args.out)
    rounds = [measure(*given, ahead) for _ in range(2) for ahead in (False, True)]
    plain, ahead = (max(rounds[k::2], key=lambda s: float(s["steps_per_s"])) for k in (0, 1))
    ratio = ahead["steps_per_s"] / plain["steps_per_s"]
    text = f"{table(plain)}\n\n{table(ahead)}\n\nPlayed ahead: {ratio:.2f} times as fast."
    tell({**plain, "played_ahead": ahead, "ratio": ratio, "rounds": rounds}, text, args.out)


if __name__ == "__main__":
    main()
