"""The clairvoyant bound: USD per episode below which no policy can go (`bound`).

For one seed, everything that policies cannot change is replayed (`episode`), turned into coefficients that no policy
undercuts (`plants`, `model`), and priced by a linear program (`program`); the bound is the value of its Lagrangian dual
(`dual`), which holds for any prices, so no tolerance of a solver enters it.

Exact: jobs and their numbers, traffic, prices and carbon by the hour, weather, failures' number, outages and faults;
the settlement at the horizon, dropped jobs' charge, fixed charges of links, legality of pools.

Relaxed (each makes the bound lower):

- Jobs are divisible in time and over pools, at most at one pool's rate at a time; they stop, go on and move for nothing
  but egress in proportion to the work done away from their data. Lateness counts by share of work, from its hour's
  start. All devices are healthy; nodes that failures may have taken only save their idle power.
- Leases: only that at every step what is leased covers the traffic, less half a device (`core.workload`). A lease that
  ends covers up to two steps in which it does not run; how many leases there can be follows from the sequence in which
  the autoscaler draws them. What covers traffic runs, waits at its full value, or was refused.
- Peaks are those of hourly means. Water, wear, lost work, heat above limits, fuel and curtailment cost at least 0.
- Where the grid may have been out, a region draws nothing; where the plant had a fault, it cools for nothing.

Best-case cooling: the plant at rest at the best of all set-points, for the best weather around each hour, under a line
in node power (`plants`). Clocks below nominal, by cap or by heat, are allowed wherever they pay after the least
excursion that they take.

Allowances, subtracted: `plants.MARGIN` of what is drawn beside node power (grid of set-points, weather and load); what
cooling early could earn as a lossless store of heat; what bytes would earn where the grid pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.bound import dual, program
from agents.bound.episode import Episode, replay
from agents.bound.model import Rates, Sites, Traffic, Work, haul, rates, sites, traffic_of, work_of
from agents.bound.plants import Envelope
from gcn_env.core.params import BATCH, HPC, TRAINING
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World

Array = npt.NDArray[Any]
TYPICAL = 0.7  # node power over design at which lines are close before the program has said where it will be
TERMS = ("energy", "egress", "late", "settlement", "slo", "demand", "rest")


class Bounds(NamedTuple):
    """Lower bounds by episode.

    `terms` are those of the program's optimum, which leaves light classes of jobs out, carbon in `energy`; `rest` is
    what the bound is more or less: those classes, allowances, whole jobs in place of the program's fractions.
    """

    usd: Array  # float64 [E]
    terms: Array  # float64 [E, len(TERMS)] USD


def bound(world: World, seeds: Iterable[int], split: str = "test") -> npt.NDArray[np.float64]:
    """USD per episode that no policy can undercut, float64 [episodes].

    Raises:
        UserError: for worlds with features that the bound does not cover.
    """
    return np.asarray(bounds(world, seeds, split).usd)


def bounds(
    world: World, seeds: Iterable[int], split: str = "test", progress: Callable[[float], None] | None = None
) -> Bounds:
    """As `bound`, with the program's terms; `progress` is told the share done."""
    refuse(world)
    seeds = [int(s) for s in seeds]
    envelope, usd, terms = Envelope(world), [], []
    for k, seed in enumerate(seeds):
        of = solved(world, seed, split, envelope)
        usd.append(value(world, of))
        terms.append([of.terms.get(t, 0.0) for t in TERMS[:-1]])
        terms[-1].append(usd[-1] - sum(terms[-1]))
        if progress is not None:
            progress((k + 1) / len(seeds))
    return Bounds(np.array(usd), np.array(terms).reshape(len(usd), len(TERMS)))


class Solved(NamedTuple):
    """One episode's coefficients and what the linear program says of them."""

    episode: Episode
    rate: Rates
    works: list[Work]
    leases: list[Traffic]
    sites: tuple[Sites, Sites]  # lines close at typical node powers, and at those of the program's optimum
    shadow: dual.Prices
    terms: dict[str, float]  # USD that the optimum pays


def solved(world: World, seed: int, split: str, envelope: Envelope) -> Solved:
    """The linear program of an episode, solved."""
    episode = replay(world, seed, split)
    rate = rates(world)
    works = [w for w in (work_of(world, episode, k) for k in (TRAINING, BATCH, HPC)) if len(w.due)]
    leases = [traffic_of(world, episode, s) for s in episode.leases]
    near = np.full((world.n_regions, episode.hours), TYPICAL)
    site = sites(world, episode, envelope, near)
    shadow, node_kw, terms = program.solve(world, site, rate, program.heavy(works, rate), leases)
    closer = sites(world, episode, envelope, node_kw / world.params.geo.design_kw[:, None])
    return Solved(episode, rate, works, leases, (site, closer), shadow, terms)


def value(world: World, of: Solved) -> float:
    """USD that no policy can undercut in that episode."""
    best = max(sum(dual.total(world, s, of.rate, of.works, of.leases, of.shadow).values()) for s in of.sites)
    return best + haul(world, of.episode)[2] + world.params.geo.link_usd * of.episode.hours


def refuse(world: World) -> None:
    """Raise where the bound does not cover what a world has.

    Raises:
        UserError: naming the features.
    """
    site, market = world.params.site, world.params.market
    present = {
        "batteries": site.battery_kwh.any(), "sun": site.pv_kw.any(), "wind": site.wind_kw.any(),
        "heat sold": site.reuse_kw.any(), "rented pools": market.rent_usd.any(),
        "devices let to others": market.let_usd.any(), "pods": (market.pod >= 0).any(),
        "episodes of broken hours": abs(world.horizon * world.step_h % 1.0) > 1e-9,
    }  # fmt: skip
    found = [name for name, there in present.items() if there]
    if found:
        raise UserError(
            f"the clairvoyant bound does not cover {', '.join(found)}, which {world.name!r} has; leave --bound out"
        )
