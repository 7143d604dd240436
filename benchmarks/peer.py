"""Another Gymnasium environment beside ours, timed by the same code in the same run.

    python -m benchmarks.peer [--env gcn/Fleet-v0 CartPole-v1] [--import PACKAGE ...] [--kwargs JSON] [--envs 8]

`--import` names packages that register environments; `--kwargs` gives what `gymnasium.make` is to be given for an id.
An action is drawn from the action space (by the observation's `mask` where there is one, as ours has) and not timed.
Rounds of the environments alternate, so that a neighbour on the machine slows all of them; the ratio is that of the
best rounds to the first environment named. `--envs N` times `N` of them in one process as well (`gymnasium.make_vec`,
the environment's own vector form where it has one).
"""

from __future__ import annotations

import importlib
import json
import time
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.said import parser, tell

ROUNDS = 5


def masked(space: Any, obs: Any, rng: np.random.Generator) -> Any:
    """A random action of one environment, legal where the observation says what is."""
    mask = obs.get("mask") if isinstance(obs, dict) else None
    if mask is None:
        return space.sample()
    sizes = space.nvec if isinstance(space, gym.spaces.MultiDiscrete) else [len(mask)]
    ends = np.cumsum(sizes)
    legal = [np.flatnonzero(mask[e - n : e]) for n, e in zip(sizes, ends, strict=True)]
    chosen = np.array([rng.choice(part) if len(part) else 0 for part in legal])
    return chosen if isinstance(space, gym.spaces.MultiDiscrete) else int(chosen[0])


def single(env: Any, seconds: float, rng: np.random.Generator) -> tuple[float, float]:
    """Steps per second of one environment, and the mean milliseconds of its resets."""
    spent = resets = 0.0
    steps = episodes = 0
    while spent < seconds:
        begin = time.perf_counter()
        obs, _ = env.reset(seed=episodes)
        resets += time.perf_counter() - begin
        episodes += 1
        ended = False
        while not ended and spent < seconds:
            action = masked(env.action_space, obs, rng)
            begin = time.perf_counter()
            obs, _, terminated, truncated, _ = env.step(action)
            spent += time.perf_counter() - begin
            steps += 1
            ended = terminated or truncated
    return steps / spent, 1e3 * resets / episodes


def vector(envs: Any, seconds: float) -> float:
    """Environment steps per second of several in one process."""
    envs.reset(seed=0)
    spent, steps = 0.0, 0
    while spent < seconds:
        actions = envs.action_space.sample()
        begin = time.perf_counter()
        envs.step(actions)
        spent += time.perf_counter() - begin
        steps += envs.num_envs
    return steps / spent


def measure(ids: list[str], kwargs: dict[str, Any], n_envs: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each environment."""
    rng = np.random.default_rng(0)
    one = {name: gym.make(name, **kwargs.get(name, {})).unwrapped for name in ids}
    many = (
        {name: gym.make_vec(name, num_envs=n_envs, **kwargs.get(name, {})) for name in ids} if n_envs else {}
    )
    rows: dict[str, dict[str, Any]] = {name: {"env": name, "steps_per_s": [], "reset_ms": []} for name in ids}
    for name in ids:  # what compiles, compiles now
        single(one[name], 0.01, rng)
    for _ in range(ROUNDS):
        for name in ids:
            rate, reset = single(one[name], seconds / ROUNDS, rng)
            rows[name]["steps_per_s"].append(rate)
            rows[name]["reset_ms"].append(reset)
            if name in many:
                rows[name].setdefault("vector_steps_per_s", []).append(vector(many[name], seconds / ROUNDS))
    best = max(rows[ids[0]]["steps_per_s"])
    for row in rows.values():
        row["ratio"] = max(row["steps_per_s"]) / best
    everything: list[Any] = [*one.values(), *many.values()]
    for env in everything:
        env.close()
    return list(rows.values())


def table(said: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    lines = [f"| environment | steps/s | reset ms | {said['envs']} in one process, steps/s | ratio |",
             "|---|---:|---:|---:|---:|"]  # fmt: skip
    for row in said["rows"]:
        many = row.get("vector_steps_per_s")
        lines.append(
            f"| `{row['env']}` | {max(row['steps_per_s']):,.0f} | {min(row['reset_ms']):.2f} "
            f"| {f'{max(many):,.0f}' if many else ''} | {row['ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--env", nargs="+", default=["gcn/Fleet-v0"], help="ids (gcn/Fleet-v0)")
    options.add_argument(
        "--import", nargs="+", default=[], dest="packages", help="packages that register ids"
    )
    options.add_argument(
        "--kwargs", type=json.loads, default={}, help="JSON: id -> arguments of gymnasium.make"
    )
    options.add_argument("--envs", type=int, default=8, help="environments in one process; 0: none (8)")
    options.add_argument("--seconds", type=float, default=10.0, help="of steps for each environment (10)")
    args = options.parse_args()
    for package in ("gcn_env", *args.packages):
        importlib.import_module(package)
    rows = measure(args.env, args.kwargs, args.envs, args.seconds)
    said = {"envs": args.envs, "seconds": args.seconds, "rows": rows}
    tell(said, table(said), args.out)


if __name__ == "__main__":
    main()
