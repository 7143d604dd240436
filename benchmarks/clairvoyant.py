"""How much of the way to the clairvoyant bound there is at least: whole jobs, placed by a player that knows the week.

The bound (`agents.bound`) lets jobs stop, move and go on for nothing. This player may do what policies may and no more:
it sends whole jobs to pools in the simulator. But it knows the week's prices, carbon and weather, and what an hour of
every device and a kW of every peak is worth in the bound's program (its shadow prices). A job goes where and when that,
its haul and its lateness come to least; leases, cooling and urgent jobs that have room nowhere are another policy's. It
has two numbers to set, and what it pays in a week is the least over the settings tried: it knows the week. So perfect
knowledge reaches at least this far; the best way lies between it and the bound. It is greedy, one job after the other,
and takes hours in which the grid is out for free, as the program does.

    python benchmarks/clairvoyant.py             # `default`, 20 test weeks, to reports/clairvoyant.md and .json
    python benchmarks/clairvoyant.py --results reports/default/results.json   # beside an evaluation of the same weeks
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents import bound
from agents.bound import dual
from agents.bound.model import haul, settled_usd
from agents.bound.plants import Envelope
from agents.evaluation import episode_seeds
from agents.policy import load
from agents.provenance import provenance
from agents.stats import iqm
from gcn_env import load_world
from gcn_env.core.params import INFERENCE
from gcn_env.core.placement import devices_needed
from gcn_env.core.state import PENDING
from gcn_env.errors import UserError
from gcn_env.ledger import COUNTS, TERMS
from gcn_env.observation import PAIRS
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim

LEGAL = PAIRS.index("legal")
NEVER_H = 1e6
BEST = "the best of these in each week"
# (h of slack below which a job no longer waits for a better hour, share of the later cost that waiting must save)
SETTINGS = ((2.0, 0.01), (3.0, 0.02), (4.0, 0.01), (6.0, 0.02), (6.0, 0.05))


class Future(NamedTuple):
    """What one episode's program says. Classes K, pools P, regions R, hours H."""

    usd: np.ndarray  # [K, P, H + 1] running sum over hours of USD per device
    haul_usd: np.ndarray  # [R, R] per GB
    haul_h: np.ndarray  # [R, R] per GB
    bound: float  # USD


def future(world: World, seed: int, split: str, envelope: Envelope) -> Future:
    """Solve the program of an episode."""
    of = bound.solved(world, seed, split, envelope)
    usd = dual.full_clock_usd(world, of.sites[1], of.rate, of.shadow)
    usd_gb, h_gb, _ = haul(world, of.episode)
    summed = np.concatenate([np.zeros_like(usd[..., :1]), usd.cumsum(2)], 2)
    h_gb = np.minimum(h_gb, NEVER_H)  # no link leads there
    return Future(summed, usd_gb, h_gb, bound.value(world, of))


class Player:
    """Chooses for the pending jobs of one environment `b` of a simulator."""

    def __init__(self, sim: Sim, b: int, told: Future, urgent_h: float, gain: float) -> None:
        """`told` of this environment; the numbers are `SETTINGS`'."""
        self.world, self.b, self.told = sim.world, b, told
        self.clock, _, _, self.jobs, self.pools, *_ = sim.state
        self.urgent_h, self.gain = urgent_h, gain
        self.hours = np.arange(told.usd.shape[2])

    def choose(self, legal: np.ndarray, choices: np.ndarray) -> None:
        """Write 1 + pool or 0 (wait) into `choices` [Q] for every pending job; `legal` is [Q, P]."""
        b, jobs, fleet = self.b, self.jobs, self.world.params.fleet
        room = np.where(self.pools.waiting[b] > 0, 0, self.pools.room[b])
        for q, j in enumerate(jobs.slot[b]):
            if j < 0 or jobs.status[b, j] != PENDING or not legal[q].any():
                continue
            kind = jobs.kind[b, j]
            held = np.array(
                [devices_needed(kind, jobs.gang[b, j], s) if s > 0 else 0 for s in fleet.speed[kind]]
            )
            if kind == INFERENCE:
                if choices[q] > 0:
                    room[choices[q] - 1] -= held[choices[q] - 1]
                continue
            fits = legal[q] & (room >= held)
            usd, wait = self._job(j, legal[q], fits)
            if wait:
                choices[q] = 0
            elif fits.any():
                best = int(np.where(fits, usd, np.inf).argmin())
                choices[q] = best + 1
                room[best] -= held[best]

    def _now(self) -> float:
        return float(self.clock.now_h[self.b] - self.clock.start_h[self.b])

    def _between(self, kind: int, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """USD per device from `begin` to `end` [P, T]; nothing beyond the episode."""
        rows = zip(begin, end, self.told.usd[kind], strict=True)
        return np.array([np.interp(e, self.hours, s) - np.interp(a, self.hours, s) for a, e, s in rows])

    def _job(self, j: int, legal: np.ndarray, fits: np.ndarray) -> tuple[np.ndarray, bool]:
        """(USD [P] if it starts now, whether it had better wait)."""
        world, jobs, b, told = self.world, self.jobs, self.b, self.told
        fleet, geo = world.params.fleet, world.params.geo
        kind, gang, now, region = jobs.kind[b, j], jobs.gang[b, j], self._now(), fleet.region
        speed = np.maximum(fleet.speed[kind], 1e-9)
        run = (jobs.work[b, j] / speed)[:, None]
        copies = [int(jobs.data_at[b, j]), *np.flatnonzero(geo.replica[jobs.source[b, j]])]
        move, hours = (jobs.data[b, j] * x[copies][:, region].min(0) for x in (told.haul_usd, told.haul_h))
        last = self.hours[-1]
        starts = np.concatenate([[now], np.arange(np.floor(now) + 1.0, last)])
        begin = starts + hours[:, None]
        end = begin + run
        left_usd = settled_usd(world, kind, np.flatnonzero(fleet.speed[kind] > 0.0)).mean()
        left = np.clip(end - last, 0.0, run) * speed[:, None]
        due = float(jobs.deadline[b, j] - self.clock.start_h[b])
        usd = gang * (self._between(kind, begin, end) + left * left_usd) + move[:, None]
        usd = usd + jobs.value[b, j] * np.maximum(end - max(due, now), 0.0)
        usd = np.where(legal[:, None], usd, np.inf)
        later = float(usd[:, 1:].min()) if len(starts) > 1 else np.inf
        best = float(np.where(fits, usd[:, 0], np.inf).min())
        patient = due - float(end[legal, 0].min()) > self.urgent_h
        return usd[:, 0], patient and best > later + self.gain * abs(later)


def play(
    world: World,
    seeds: list[int],
    split: str,
    other: str,
    futures: list[Future],
    urgent_h: float,
    gain: float,
) -> tuple[np.ndarray, np.ndarray]:
    """USD by term [E, len(TERMS)], and illegal choices [E]; `other` does the rest."""
    policy, state = load(other, world), None
    sim = Sim(world, len(seeds), split=split, autoreset=False)
    sim.reset(np.array(seeds, np.uint64))
    players = [Player(sim, b, t, urgent_h, gain) for b, t in enumerate(futures)]
    for _ in range(world.horizon):
        actions, state = policy.predict(sim.obs, state)
        for b, player in enumerate(players):
            player.choose(sim.obs["pairs"][b, :, :, LEGAL] > 0.0, actions[b, : world.n_slots])
        sim.step(actions)
    ledger = sim.state[-1]
    return ledger.terms_sum.copy(), ledger.counts_sum[:, COUNTS.index("illegal")].copy()


def read_results(path: Path, world: World, split: str, seeds: list[int]) -> dict[str, Any]:
    """An evaluation of the same episodes: results.json.

    Raises:
        UserError: if it is none, or of other episodes.
    """
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        meta = results["meta"]
        theirs = (meta["scenario_fingerprint"], meta["config"]["split"], results["seeds"][: len(seeds)])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"--results: {path} is no results.json of an evaluation ({e})") from None
    if theirs != (world.fingerprint, split, [str(s) for s in seeds]):
        raise UserError(
            f"--results: {path} is of other episodes; evaluate this scenario with the same --split and --seed, "
            f"and at least {len(seeds)} episodes"
        )
    return results


def rows(found: dict[str, Any], results: dict[str, Any] | None) -> list[dict[str, Any]]:
    """By player, policy and bound: mean and interquartile mean, and shares of the ways from the best rule."""
    usd = {
        f"settings {u:g} h, {100 * g:g} %": x
        for (u, g), x in zip(found["settings"], found["usd"], strict=True)
    }
    usd |= {BEST: found["best_usd"], "bound": found["bound_usd"]}
    if results is not None:
        n = len(found["seeds"])
        shown = (results["reference"], *results["learned"])
        usd = {name: results["policies"][name]["total_usd"][:n] for name in shown} | usd
    out = [
        {"name": k, "mean_usd": float(np.mean(x)), "iqm_usd": float(iqm(np.array(x)))} for k, x in usd.items()
    ]
    if results is not None:
        at = {row["name"]: row["iqm_usd"] for row in out}
        rule = at[results["reference"]]
        for row in out:
            row["to_player"], row["to_bound"] = (
                (rule - row["iqm_usd"]) / (rule - at[end]) if rule > at[end] else None
                for end in (BEST, "bound")
            )
    return out


def page(found: dict[str, Any], command: str) -> str:
    """The findings as Markdown."""
    out = [
        f"# Knowing the week: `{found['scenario']}`\n",
        f"{len(found['seeds'])} {found['split']} episodes, the rest by `{found['other']}`. `{command}`\n",
        "Settings: slack down to which a job waits, and for what saving. Shares: of the ways from the best rule, by "
        "interquartile means.\n",
        "| | mean, USD | interquartile mean | to the best player | to the bound |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in found["rows"]:
        parts = ("" if row.get(k) is None else f"{row[k]:.0%}" for k in ("to_player", "to_bound"))
        out.append(
            f"| {row['name']} | {row['mean_usd']:,.0f} | {row['iqm_usd']:,.0f} | {' | '.join(parts)} |"
        )
    terms = ", ".join(f"{k} {v:,.0f}" for k, v in found["terms"].items() if abs(v) >= 0.5)
    return "\n".join([*out, "", f"The best player's bill by term (means, USD): {terms}.", ""])


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Solve, play, compare.

    Raises:
        UserError: where the bound does not cover the world, or `--results` is of other episodes.
    """
    world = load_world(args.scenario)
    bound.refuse(world)
    seeds = [int(s) for s in episode_seeds(args.seed, args.episodes)]
    results = read_results(args.results, world, args.split, seeds) if args.results else None
    envelope, futures = Envelope(world), []
    for k, seed in enumerate(seeds):
        futures.append(future(world, seed, args.split, envelope))
        print(f"program {k + 1} of {len(seeds)}: bound {futures[-1].bound:,.0f} USD", file=sys.stderr)
    terms = []
    for setting in SETTINGS:
        paid, illegal = play(world, seeds, args.split, args.other, futures, *setting)
        assert not illegal.any(), "the player did what policies may not"
        terms.append(paid)
        print(f"played {setting}: {paid.sum(1).mean():,.0f} USD", file=sys.stderr)
    usd = np.array([t.sum(1) for t in terms])
    won = np.array(terms)[usd.argmin(0), np.arange(len(seeds))].mean(0)
    found = {
        "scenario": world.name, "split": args.split, "seeds": seeds, "other": args.other, "settings": SETTINGS,
        "usd": usd.tolist(), "best_usd": usd.min(0).tolist(), "bound_usd": [f.bound for f in futures],
        "terms": dict(zip(TERMS.names, won.tolist(), strict=True)),
    }  # fmt: skip
    return {**found, "rows": rows(found, results)}


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, write; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", default="default", help="a shipped scenario or a YAML file")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="base of the episode seeds")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--other", default="rule:cost-greedy+mpc", help="joint policy that does the rest")
    parser.add_argument("--results", type=Path, help="results.json of an evaluation of the same episodes")
    parser.add_argument(
        "--out", type=Path, default=Path("reports/clairvoyant"), help="OUT.md and OUT.json are written"
    )
    args = parser.parse_args(argv)
    command = shlex.join(["python", "benchmarks/clairvoyant.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        found = measured(args)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    text = page(found, command)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(
        json.dumps({**found, **provenance(command, {})}, indent=1) + "\n"
    )
    args.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
