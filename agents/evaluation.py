"""Every policy through the same weeks: paired seeds, one batch per policy, key figures from the ledger.

Episode e has seed `EVAL_SEED_BASE + seed + e` for every policy, whatever the number of policies or of
environments in a batch. Training seeds are below `EVAL_SEED_BASE`, so the two never meet; weather, price and
trace windows are kept apart by the split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gcn_env.errors import UserError
from gcn_env.metrics import KPIS, kpis
from gcn_env.record import Record, Recorder

EVAL_SEED_BASE = 1 << 61  # `Sim` multiplies seeds by four to keep splits apart: 2**63 once there
MAX_SEED = 1 << 60  # seeds of training and of evaluation stay below this, so the two never meet
BATCH = 32  # environments of one batch; more gain little per step and cost memory
Progress = Callable[[str, float], None]  # policy, share of all environment steps done


class Policy(Protocol):
    """What Stable-Baselines3 calls a policy; `view` may be "joint" (assumed) or "sequential"."""

    def predict(
        self,
        observation: dict[str, npt.NDArray[Any]],
        state: Any = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], Any]:
        """Actions `[B, ...]` for observations with leading axis B, and the policy's next state."""
        ...


@dataclass(frozen=True)
class Results:
    """What an evaluation measured.

    Attributes:
        policies: names, in the order asked for.
        kpis: float64 `[policy, episode, len(KPIS)]`, units in `KPIS`.
        seeds: uint64 `[episode]`.
        start: float64 `[episode, 2]`: row of the signal bank, hour of that year (UTC) at which the episode
        began. records: per policy, the hourly record of the first episodes.
        region_names: R names.
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
    region_names: tuple[str, ...]
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
    run: Runner | None = None,
) -> Results:
    """Run every policy through the same episodes.

    Batches of episodes are the outer loop, policies the inner one, so that an interrupt (Ctrl-C) leaves whole
    paired episodes: finished batches are kept for all policies; inside the first batch, the policies finished
    so far.

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
        run: does the units of work, here and one after the other if not given; results do not depend on it.

    Raises:
        UserError: if there is nothing to evaluate.
        KeyboardInterrupt: if nothing at all was finished.
    """
    if episodes < 1 or not policies:
        raise UserError(f"nothing to evaluate: {len(policies)} policies x {episodes} episodes")
    seeds = episode_seeds(seed, episodes)
    teams = {n: list(p) if isinstance(p, Sequence) else [p] for n, p in policies.items()}
    out = {n: np.full((len(team), episodes, len(KPIS)), np.nan) for n, team in teams.items()}
    start = np.zeros((episodes, 2))
    records: dict[str, Record] = {}
    starts = range(0, episodes, batch)
    units = [
        Unit(n, i, policy, at, seeds[at : at + batch], split, keep if at == i == 0 else 0, threads)
        for at in starts
        for n, team in teams.items()
        for i, policy in enumerate(team)
    ]
    left = {at: [(u.name, u.member) for u in units if u.first == at] for at in starts}
    tick = _Tick(progress, units)
    interrupted = False
    try:
        for k, (values, began, record) in (run or one_by_one)(world, units, tick):
            unit = units[k]
            rows = slice(unit.first, unit.first + unit.seeds.size)
            out[unit.name][unit.member, rows], start[rows] = values, began
            if record is not None:
                records[unit.name] = record
            left[unit.first].remove((unit.name, unit.member))
            tick(k, 1.0)
    except KeyboardInterrupt:
        interrupted = True
    whole = [at for at, missing in left.items() if not missing]
    whole = [at for k, at in enumerate(whole) if at == k * batch]  # without gaps
    if interrupted and not whole:  # inside the first batch: keep the policies that are through it
        teams = {n: team for n, team in teams.items() if n not in {name for name, _ in left[0]}}
        whole = [0]
        if not teams:
            raise KeyboardInterrupt
    finished = min(len(whole) * batch, episodes)
    kept = {n: out[n][:, :finished] for n in teams}
    return Results(
        policies=tuple(teams),
        kpis=np.stack([x.mean(axis=0) for x in kept.values()]),
        seeds=seeds[:finished],
        start=start[:finished],
        records={n: records[n] for n in teams if n in records},
        region_names=tuple(world.region_names),
        asked=episodes,
        unfinished=tuple(n for n in policies if n not in teams),
        learned=frozenset(learned) & set(teams),
        runs={n: x for n, x in kept.items() if len(x) > 1},
    )


@dataclass(frozen=True)
class Unit:
    """A unit of work: one policy through one batch of episodes. What comes of it depends on nothing else.

    Attributes:
        name: of the policy.
        member: its place in a team.
        policy: it.
        first: number of the batch's first episode.
        seeds: uint64 `[B]`.
        split: data window.
        keep: episodes whose hourly record is kept.
        threads: of the simulator.
    """

    name: str
    member: int
    policy: Policy
    first: int
    seeds: npt.NDArray[np.uint64]
    split: str
    keep: int
    threads: int

    def play(self, world: Any, tick: Callable[[float], None]) -> Outcome:
        """Do it; `tick` is told the share of the episodes that has passed."""
        from gcn_env.sim import Sim  # here, so that reports of stored results need no compiled kernels

        view: Any = getattr(self.policy, "view", "joint")
        size, horizon = self.seeds.size, int(world.horizon)
        sim = Sim(world, size, split=self.split, view=view, autoreset=False, threads=self.threads)
        sim.reset(self.seeds)
        clock = sim.state.clock
        start = np.stack([clock.year.astype(np.float64), clock.start_h], axis=-1)
        recorder, memory = None, None
        if self.keep:
            recorder = Recorder(
                world.pool_region, world.n_regions, horizon, world.step_h, min(self.keep, size)
            )
        begins, done = np.ones(size, np.bool_), np.zeros(size, np.bool_)
        out = np.empty((size, len(KPIS)))
        while not done.all():
            actions, memory = self.policy.predict(
                sim.obs, state=memory, episode_start=begins, deterministic=True
            )
            sim.step(actions)
            begins[:] = False
            if recorder is not None:
                recorder.add(sim.state, sim.closed & ~done)
            ended = sim.done & ~done
            if ended.any():
                out[ended] = kpis(
                    sim.last_terms_sum[ended], sim.last_flows_sum[ended], sim.last_counts_sum[ended]
                )
                done |= ended
            tick(float(np.minimum(sim.state.clock.step, horizon).mean()) / horizon)
        return out, start, None if recorder is None else recorder.finish()


# Key figures `[B, len(KPIS)]`, year and hour at which each episode began `[B, 2]`, hourly record of the first ones.
Outcome = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Record | None]
# Of a world, units of it and what is told (number of a unit, its share done): numbers of units and what came of them,
# in any order.
Runner = Callable[[Any, Sequence[Unit], Callable[[int, float], None]], Iterator[tuple[int, Outcome]]]


def one_by_one(
    world: Any, units: Sequence[Unit], tick: Callable[[int, float], None]
) -> Iterator[tuple[int, Outcome]]:
    """Units in their order, in this process."""
    for k, unit in enumerate(units):
        yield k, unit.play(world, partial(tick, k))


class _Tick:
    """Reports shares of units as a share of everything."""

    def __init__(self, progress: Progress | None, units: Sequence[Unit]) -> None:
        self._progress, self._names = progress, [u.name for u in units]
        self._sizes = np.array([u.seeds.size for u in units], np.float64)
        self._shares = np.zeros(len(units))

    def __call__(self, k: int, share: float) -> None:
        self._shares[k] = share
        if self._progress is not None:
            self._progress(self._names[k], float(self._shares @ self._sizes / self._sizes.sum()))
