"""Every policy through the same weeks: paired seeds, one batch per policy, key figures from the ledger.

Episode e has seed `EVAL_SEED_BASE + seed + e` for every policy, whatever the number of policies or of
environments in a batch. Training seeds are below `EVAL_SEED_BASE`, so the two never meet; weather, price and
trace windows are kept apart by the split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from agents.units import Done, Job, Policy, Progress, Runner, Tick, Unit, one_by_one
from gcn_env.action import REGION_HEADS
from gcn_env.core.state import N_COOLING
from gcn_env.errors import UserError
from gcn_env.metrics import KPIS
from gcn_env.record import Record
from gcn_env.scenario.plants import archetype

EVAL_SEED_BASE = 1 << 61  # `Sim` multiplies seeds by four to keep splits apart: 2**63 once there
MAX_SEED = 1 << 60  # seeds of training and of evaluation stay below this, so the two never meet
BATCH = 32  # environments of one batch; more gain little per step and cost memory


class Store(Protocol):
    """Keeps finished units, so that an interrupted evaluation goes on where it stopped."""

    def get(self, unit: Unit) -> Done | None:
        """A unit that was finished before."""
        ...

    def put(self, unit: Unit, done: Done) -> None:
        """Keep a unit."""
        ...


class Fleet(NamedTuple):
    """What figures need to know of the world."""

    regions: tuple[str, ...]
    longitude_deg: tuple[float, ...]
    pools: tuple[str, ...]  # REGION/POOL
    pool_region: tuple[int, ...]
    pool_devices: tuple[int, ...]
    archetypes: tuple[str, ...]  # of the regions' plants
    heads: tuple[
        tuple[str, ...], ...
    ]  # [R][3] meaning and unit of each cooling set-point; empty where there is none

    @classmethod
    def of(cls, world: Any) -> Fleet:
        """Read off a compiled world."""
        there = world.params.plant.head_high[0] > world.params.plant.head_low[0]
        described = [archetype(a)["heads"] for a in world.archetypes]
        return cls(
            tuple(world.region_names),
            tuple(map(float, world.longitude_deg)),
            tuple(world.pool_names),
            tuple(map(int, world.pool_region)),
            tuple(map(int, world.params.fleet.devices)),
            tuple(world.archetypes),
            tuple(
                tuple(
                    f"{heads[n]['means']} [{heads[n]['unit']}]" if there[r, h] else ""
                    for h, n in enumerate(REGION_HEADS.names[:N_COOLING])
                )
                for r, heads in enumerate(described)
            ),
        )


@dataclass(frozen=True)
class Results:
    """What an evaluation measured.

    Attributes:
        policies: names, in the order asked for.
        kpis: float64 `[policy, episode, len(KPIS)]`, units in `KPIS`.
        seeds: uint64 `[episode]`.
        start: float64 `[episode, 2]`: row of the signal bank, hour of that year (UTC) at which the episode
            began.
        records: per policy, the hourly record of the first episodes.
        fleet: regions and pools.
        asked: episodes asked for; fewer in `kpis` if the run was interrupted.
        unfinished: policies asked for that are not in `policies`.
        bound: USD per episode below which no policy can go, or None.
        learned: names of the policies that were trained; the others are rules.
        runs: for teams of training runs, `[run, episode, len(KPIS)]`; `kpis` holds the mean over runs.
    """

    policies: tuple[str, ...]
    kpis: npt.NDArray[np.float64]
    seeds: npt.NDArray[np.uint64]
    start: npt.NDArray[np.float64]
    records: Mapping[str, Record]
    fleet: Fleet
    asked: int
    unfinished: tuple[str, ...] = ()
    bound: npt.NDArray[np.float64] | None = None
    learned: frozenset[str] = field(default_factory=frozenset)
    runs: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    @property
    def episodes(self) -> int:
        """Episodes every policy in `policies` has finished."""
        return int(self.kpis.shape[1])

    @property
    def region_names(self) -> tuple[str, ...]:
        """R names."""
        return self.fleet.regions

    @property
    def interrupted(self) -> bool:
        """Whether less was done than was asked."""
        return self.episodes < self.asked or bool(self.unfinished)

    def kpi(self, name: str, policy: str | None = None) -> npt.NDArray[np.float64]:
        """One key figure, `[policy, episode]`, or `[episode]` of one policy."""
        column = self.kpis[:, :, KPIS.index(name)]
        return column if policy is None else column[self.policies.index(policy)]

    def each_run(self, name: str, policy: str) -> npt.NDArray[np.float64]:
        """One key figure of one policy, `[run, episode]`; one run unless the policy is a team of several."""
        if policy in self.runs:
            return self.runs[policy][:, :, KPIS.index(name)]
        return self.kpi(name, policy)[None]


def episode_seeds(seed: int, episodes: int) -> npt.NDArray[np.uint64]:
    """Seeds of evaluation episodes: `EVAL_SEED_BASE + seed + 0, 1, ...`.

    Raises:
        UserError: if the seed is out of range.
    """
    if not 0 <= seed < MAX_SEED:
        raise UserError(f"seed {seed} is not in 0..2**60-1; choose a smaller one")
    return np.arange(episodes, dtype=np.uint64) + np.uint64(EVAL_SEED_BASE + seed)


def name_policies(specs: Iterable[str], rules: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Report names of policy specs: a rule's name, a run's folder, or what stands before `NAME=`.

    Args:
        specs: of the command line; `rules` is the whole standard set, `NAME=SPEC,SPEC` a team of runs.
        rules: the standard set, with or without `rule:`.

    Returns:
        Specs by name; more than one where a policy is a team of training runs.

    Raises:
        UserError: if two policies would have the same name.
    """
    out: dict[str, tuple[str, ...]] = {}
    standard = [r if r.startswith("rule:") else f"rule:{r}" for r in rules]
    for spec in specs:
        for one in standard if spec == "rules" else [spec]:
            name, team = _name(one)
            if out.get(name, team) != team:
                raise UserError(
                    f"two policies are called {name!r}; tell them apart with NAME={','.join(team)}"
                )
            out[name] = team
    return out


def _name(spec: str) -> tuple[str, tuple[str, ...]]:
    name, equals, value = spec.partition("=")
    if equals and ":" not in name:
        return name, tuple(value.split(","))
    kind, colon, rest = spec.partition(":")
    if not colon:
        return spec, (spec,)
    return (rest if kind == "rule" else PurePath(rest).name or rest), (spec,)


def evaluate(
    world: Any,
    policies: Mapping[str, Policy | Sequence[Policy]],
    episodes: int = 20,
    seed: int = 0,
    split: str = "test",
    progress: Progress | None = None,
    *,
    keep: int = 1,
    batch: int = BATCH,
    threads: int = 1,
    learned: Iterable[str] = (),
    store: Store | None = None,
    run: Runner | None = None,
) -> Results:
    """Run every policy through the same episodes.

    An interrupt (Ctrl-C) leaves whole paired episodes: finished batches are kept for all policies; inside the first
    batch, the policies finished so far.

    Args:
        world: what `gcn_env.load_world` returns.
        policies: by the name used in reports; a sequence is a team of training runs, reported as their mean.
        episodes: paired episodes per policy.
        seed: base of the episode seeds.
        split: data window: "train", "validation" or "test".
        progress: called with (policy, share done).
        keep: episodes whose hourly record is kept.
        batch: most environments in one batch; results do not depend on it.
        threads: of the simulator; results do not depend on it.
        learned: names of the policies that were trained.
        store: where finished units are kept, and taken from.
        run: does the jobs; here and one after the other if not given. Results do not depend on it.

    Raises:
        UserError: if there is nothing to evaluate.
        KeyboardInterrupt: if nothing at all was finished.
    """
    if episodes < 1 or not policies:
        raise UserError(f"nothing to evaluate: {len(policies)} policies x {episodes} episodes")
    seeds = episode_seeds(seed, episodes)
    teams = {n: list(p) if isinstance(p, Sequence) else [p] for n, p in policies.items()}
    units = plan({n: len(team) for n, team in teams.items()}, episodes, keep, batch)
    done = {u: found for u in units if store is not None and (found := store.get(u)) is not None}
    jobs = [Job(u, teams[u.policy][u.run], seeds[u.rows], split, threads) for u in units if u not in done]
    tick = Tick(progress, [j.unit for j in jobs], sum(u.size for u in units), sum(u.size for u in done))
    try:
        for k, found in (run or one_by_one)(world, jobs, tick) if jobs else ():
            unit = jobs[k].unit
            if store is not None:
                store.put(unit, found)
            done[unit] = found
            tick(k, 1.0)
    except KeyboardInterrupt:
        if not any(_through(units, done, name, 0) for name in teams):
            raise
    return assemble(Fleet.of(world), {n: len(t) for n, t in teams.items()}, units, done, seeds, learned)


def plan(teams: Mapping[str, int], episodes: int, keep: int, batch: int) -> list[Unit]:
    """All units of an evaluation: batches of episodes outermost, so that an interrupt leaves whole paired ones."""
    return [
        Unit(name, run, at, min(at + batch, episodes), keep if at == run == 0 else 0)
        for at in range(0, episodes, batch)
        for name, runs in teams.items()
        for run in range(runs)
    ]


def _through(units: Sequence[Unit], done: Mapping[Unit, Done], name: str, first: int) -> bool:
    """Whether a policy has finished the batch that begins with this episode."""
    return all(u in done for u in units if (u.policy, u.first) == (name, first))


def assemble(
    fleet: Fleet,
    teams: Mapping[str, int],
    units: Sequence[Unit],
    done: Mapping[Unit, Done],
    seeds: npt.NDArray[np.uint64],
    learned: Iterable[str],
) -> Results:
    """Results of what is done: whole batches of all policies; inside the first batch, the policies through it."""
    ends, finished = sorted({u.last for u in units}), 0
    for first, last in zip([0, *ends], ends, strict=False):
        if not all(_through(units, done, name, first) for name in teams):
            break
        finished = last
    names = list(teams) if finished else [n for n in teams if _through(units, done, n, 0)]
    finished = finished or ends[0]
    used = [u for u in units if u in done and u.policy in names and u.last <= finished]
    kept = {n: np.full((teams[n], finished, len(KPIS)), np.nan) for n in names}
    start = np.zeros((finished, 2))
    for u in used:
        kept[u.policy][u.run, u.rows], start[u.rows] = done[u].kpis, done[u].start
    return Results(
        policies=tuple(names),
        kpis=np.stack([x.mean(axis=0) for x in kept.values()]),
        seeds=seeds[:finished],
        start=start,
        records={u.policy: record for u in used if (record := done[u].record) is not None},
        fleet=fleet,
        asked=seeds.size,
        unfinished=tuple(n for n in teams if n not in names),
        learned=frozenset(learned) & set(names),
        runs={n: x for n, x in kept.items() if len(x) > 1},
    )
