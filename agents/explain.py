"""What policies would do at one hour of one episode, job by job and plant by plant, and why in money.

One policy leads through the episode up to the hour; there, all are asked about the same state. What a choice costs is
what the encoder expects of it (the `pairs` table that all of them see), not what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.evaluation import episode_seeds
from agents.expected import expected_usd
from agents.units import Policy
from gcn_env.action import level_values
from gcn_env.core.params import CLASSES
from gcn_env.core.state import N_HEADS, PENDING
from gcn_env.errors import UserError
from gcn_env.observation import PAIRS
from gcn_env.sim import Sim

Array = npt.NDArray[Any]
_TERMS = tuple(n for n in PAIRS.names if n.endswith("_usd"))
_COST, _LEGAL = PAIRS.index("cost"), PAIRS.index("legal")


def explain(world: Any, policies: Mapping[str, Policy], hour: float, seed: int, split: str) -> str:
    """A Markdown page.

    Args:
        world: compiled scenario.
        policies: by name, of the joint view; the first leads up to the hour.
        hour: hours from the start of the episode.
        seed: base of the episode seeds; the first episode is explained.
        split: data window.

    Raises:
        UserError: for an hour outside the episode, or if no policy decides all heads at once.
    """
    steps, horizon = round(hour / world.step_h), int(world.horizon)
    if not 0 <= steps < horizon:
        raise UserError(f"--explain {hour:g}: the episode has hours 0 to {(horizon - 1) * world.step_h:g}")
    joint = {n: p for n, p in policies.items() if getattr(p, "view", "joint") == "joint"}
    if not joint:
        raise UserError("--explain needs a policy of the joint view; these decide one head at a time")
    sim = Sim(world, 1, split=split, autoreset=False)
    sim.reset(episode_seeds(seed, 1))
    memory: dict[str, Any] = dict.fromkeys(joint)
    begins, lead = np.ones(1, np.bool_), next(iter(joint))
    for step in range(steps + 1):
        chosen = {}
        for name, policy in joint.items():
            chosen[name], memory[name] = policy.predict(
                sim.obs, state=memory[name], episode_start=begins, deterministic=True
            )
        begins = np.zeros(1, np.bool_)
        if step < steps:
            sim.step(chosen[lead])
    actions = {name: a[0] for name, a in chosen.items()}
    lines = [
        f"## Hour {hour:g} of the first episode",
        "",
        f"**{lead}** led up to here; all see the same fleet. Expected cost of each choice in USD, as the observation "
        "says it: of waiting, at the best forecast hour that still meets the deadline.",
        "",
        *_jobs(sim, actions),
        "",
        *_plants(sim, actions),
    ]
    if len(joint) < len(policies):
        left = ", ".join(n for n in policies if n not in joint)
        lines += ["", f"Not asked, since they decide one head at a time: {left}."]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], text: int) -> list[str]:
    lines = [list(head), ["---"] * text + ["---:"] * (len(head) - text), *map(list, rows)]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _usd(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _jobs(sim: Sim, actions: Mapping[str, Array]) -> list[str]:
    state, world, names = sim.state.jobs, sim.world, list(actions)
    now = float(sim.state.clock.now_h[0])
    rows, why = [], []
    for q, place in enumerate(state.slot[0]):
        if place < 0:
            continue
        j = int(place)
        kind = CLASSES[int(state.kind[0, j])]
        slack = float(state.deadline[0, j] - now - state.work[0, j])
        job = f"{q}: {kind} of {world.region_names[int(state.origin[0, j])]}"
        stands = (
            "" if int(state.status[0, j]) == PENDING else f" at {world.pool_names[int(state.pool[0, j])]}"
        )
        picks = [int(actions[n][q]) for n in names]
        rows.append(
            [
                job + stands, f"{int(state.gang[0, j])} x {float(state.work[0, j]):.1f} h",
                "lease" if kind == "inference" else f"{slack:.1f} h",
                *(f"{_where(world, a, bool(stands))} ({_usd(expected_usd(sim.obs, q, a))})" for a in picks),
            ]
        )  # fmt: skip
        if len(set(picks)) > 1:
            why += [[f"{q}", *row] for row in _why(sim, q, sorted({*picks, _cheapest(sim, q)} - {0}))]
    head = ["slot: job", "devices x work", "slack", *names]
    out = ["### Jobs", "", *(_table(head, rows, 2) if rows else ["No job is shown at this hour."])]
    if why:
        parts = ["slot", "pool", "run [h]", "wait [h]", "transfer [h]", *_TERMS, "cost"]
        used = [k for k in range(len(parts)) if any(row[k] not in ("0.00", "-0.00") for row in why)]
        parts, why = [parts[k] for k in used], [[row[k] for k in used] for row in why]
        out += ["", "Where they differ, what each choice is made of (and the cheapest pool now):", ""]
        out += _table(parts, why, 2)
    return out


def _where(world: Any, action: int, stands: bool) -> str:
    if action == 0:
        return "stay" if stands else "wait"
    return str(world.pool_names[action - 1])


def _cheapest(sim: Sim, q: int) -> int:
    """The legal choice of least expected cost now; 0 without one."""
    pairs = sim.obs["pairs"][0, q]
    cost = np.where(pairs[:, _LEGAL] > 0.0, pairs[:, _COST], np.inf)
    return int(cost.argmin()) + 1 if np.isfinite(cost).any() else 0


def _why(sim: Sim, q: int, choices: Sequence[int]) -> list[list[str]]:
    out = []
    for action in choices:
        pair = dict(zip(PAIRS.names, sim.obs["pairs"][0, q, action - 1].astype(float), strict=True))
        hours = [float(np.sinh(4.0 * pair[n])) for n in ("run", "wait", "transfer")]
        money = [float(np.sinh(pair[n])) for n in (*_TERMS, "cost")]
        cells = [*(f"{h:.2f}" for h in hours), *(_usd(m) for m in money)]
        out.append([sim.world.pool_names[action - 1], *cells])
    return out


def _plants(sim: Sim, actions: Mapping[str, Array]) -> list[str]:
    from gcn_env.scenario.plants import archetype

    world, names = sim.world, list(actions)
    values, now = level_values(world), sim.state.plants.command[0]
    plant = world.params.plant
    rows = []
    for r, region in enumerate(world.region_names):
        for h, (head, what) in enumerate(archetype(world.archetypes[r])["heads"].items()):
            if plant.head_high[0, r, h] <= plant.head_low[0, r, h]:
                continue
            at = world.n_slots + N_HEADS * r + h
            rows.append(
                [
                    region, f"{what['means']} [{what['unit']}]", f"{now[r, h]:.3g}",
                    *(f"{values[r, h, int(actions[n][at])]:.3g}" for n in names),
                ]
            )  # fmt: skip
            del head
    return ["### Set-points", "", *_table(["region", "set-point", "now", *names], rows, 2)]
