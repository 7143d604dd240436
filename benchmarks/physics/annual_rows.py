"""Rows that need plant-years: 1-12, 14, 17, 20, 26-31, 34."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from gcn_env.core import study
from gcn_env.scenario.plants import rules_for

from . import kernels
from .table import Check, measures, shown, within
from .weather import CLIMATES
from .year import Lab, flows_only, run

Measured = tuple[Iterable[Check], str]
TEMPERATE = ("Stockholm", "London", "Frankfurt", "Ashburn", "San Jose")
HOT = ("Dallas", "Phoenix", "Mumbai", "Singapore")
EVERY = tuple(CLIMATES)
PUE, WUE = "kWh/kWh", "L/kWh"


class Band(NamedTuple):
    """Published range of an archetype in a climate ("*": in any)."""

    pue: tuple[float, float] | None
    wue: tuple[float, float] | None = None


BANDS = {
    ("a", "*"): Band((1.40, 2.00)),
    ("b", "*"): Band(None, (1.2, 2.5)),
    ("b", "Singapore"): Band((1.16, 1.36), (1.6, 2.1)),
    ("b", "Phoenix"): Band((1.15, 1.25), (1.8, 2.6)),
    ("b", "Dallas"): Band((1.12, 1.31), (1.5, 2.1)),
    ("b", "Mumbai"): Band((1.20, 1.44)),
    ("c", "Stockholm"): Band((1.07, 1.17), (0.0, 0.16)),
    ("c", "London"): Band((1.07, 1.20), (0.0, 0.10)),
    ("c", "Ashburn"): Band((1.08, 1.16), (0.05, 0.25)),
    ("c", "Phoenix"): Band((1.08, 1.23)),
    ("d", "*"): Band((1.03, 1.12)),
}


def spread(
    name: str, values: Sequence[float], low: float | None, high: float | None, unit: str
) -> list[Check]:
    """Least and greatest of several values, both judged."""
    digits = 3 if unit == PUE else 2
    return [
        within(f"{name}, least", min(values), low, high, unit, digits),
        within(f"{name}, greatest", max(values), low, high, unit, digits),
    ]


def site(lab: Lab, key: str, climate: str) -> Measured:
    """PUE and WUE of one archetype in one climate under the competent rules."""
    year, band = lab.year(key, climate, "B1"), BANDS[key, climate]
    checks = [within("PUE", year.pue, *band.pue, PUE, 3)]
    checks.append(within("WUE", year.wue, *band.wue, WUE) if band.wue else shown("WUE", year.wue, WUE))
    return checks, f"annual, B1; {lab.origins([climate])}"


@measures(1)
def legacy(lab: Lab) -> Measured:
    """Archetype a under B0 in every climate."""
    values = [lab.year("a", c, "B0").pue for c in EVERY]
    return spread("PUE", values, *BANDS["a", "*"].pue, PUE), f"annual, B0, {len(EVERY)} climates"


for _row, _key, _climate in (  # row 7 is Dublin: no weather of it is stored, London's stands in
    (2, "b", "Singapore"), (3, "b", "Phoenix"), (4, "b", "Dallas"), (5, "b", "Mumbai"),
    (6, "c", "Stockholm"), (7, "c", "London"), (9, "c", "Phoenix"),
):  # fmt: skip
    measures(_row)(partial(site, key=_key, climate=_climate))


@measures(8)
def c_virginia(lab: Lab) -> Measured:
    """Archetype c; and what the humidity limit makes of its water."""
    checks, how = site(lab, "c", "Ashburn")
    wetter = run(lab.variant("c", "Ashburn", dew_point_min_degc=-9.0), study.competent())
    return [*checks, shown("WUE if humidified to -9 degC only (recommended today)", wetter.wue, WUE)], how


@measures(10)
def c_fleet(lab: Lab) -> Measured:
    """Mean of archetype c over the temperate climates, as a fleet would report it."""
    years = [lab.year("c", c, "B1") for c in TEMPERATE]
    facility, it = sum(y.facility for y in years), sum(y.total("it") for y in years)
    checks = [
        within("fleet PUE", facility / it, 1.08 - 0.03, 1.09 + 0.03, PUE, 3),
        shown("fleet WUE", sum(y.total("water") for y in years) / it, WUE),
    ]
    return checks, f"annual, B1, equal plants in {', '.join(TEMPERATE)}"


@measures(11)
def d_everywhere(lab: Lab) -> Measured:
    """Archetype d under B1 in every climate."""
    values = [lab.year("d", c, "B1").pue for c in EVERY]
    return spread("PUE", values, *BANDS["d", "*"].pue, PUE), f"annual, B1, {len(EVERY)} climates"


@measures(12)
def e_everywhere(lab: Lab) -> Measured:
    """Archetype e under B1 in every climate, without electrical losses, as the sources count."""
    years = [lab.year("e", c, "B1") for c in EVERY]
    values = [1.0 + y.cooling / y.total("it") for y in years]
    return spread("(IT + cooling) / IT", values, 1.01, 1.06, PUE), f"annual, B1, {len(EVERY)} climates"


@measures(14)
def plant_slope(lab: Lab) -> Measured:
    """Archetype b under B1, but for the chilled water."""
    rule, checks = rules_for("b")["b1"], []
    for climate in ("Singapore", "London"):
        low, high = (lab.held("b", climate, [rule["cold"], rule["flow"], w]).cooling for w in (7.0, 12.0))
        checks.append(within(climate, 100.0 * (1.0 - high / low) / 5.0, 1.0, 7.0, "%/K saved"))
    return checks, "annual cooling energy, B1 with chilled water held at 7 and at 12 degC"


@measures(17)
def sweet_spot(lab: Lab) -> Measured:
    """Archetype b: facility energy over the supply temperature, all else B1; and the hottest inlet at the optimum."""
    rule = rules_for("b")["b1"]
    heads = lab.plant("b", "Singapore").params
    low, high = float(heads.head_low[0, 0, 0]), float(heads.head_high[0, 0, 0])
    supply = np.arange(low, high + 0.01, 0.5)
    spent = np.array([lab.held("b", "Singapore", [t, rule["flow"], rule["reject"]]).facility for t in supply])
    best = float(supply[spent.argmin()])
    air = tuple(lab.weather("Singapore").values.mean(axis=0))
    hot = kernels.settled(kernels.row_of("b"), air, 0.74, [best, rule["flow"], rule["reject"]]).hottest_c
    checks = [
        within("hottest inlet at the optimum", hot, 21.0, 27.0, "degC", 1),
        within(
            "supply at the optimum (ends of the range excluded)", best, low + 0.25, high - 0.25, "degC", 1
        ),
        shown(
            "facility energy at the ends over the optimum, least",
            100 * (min(spent[0], spent[-1]) / spent.min() - 1),
            "%",
        ),
    ]
    return checks, f"annual facility energy over supply air {low:g}-{high:g} degC, else B1"


@measures(20)
def tower_water(lab: Lab) -> Measured:
    """Archetype b under B1 in every climate."""
    values = [lab.year("b", c, "B1").wue for c in EVERY]
    return spread("WUE", values, 1.2, 2.5, WUE), f"annual, B1, {len(EVERY)} climates"


@measures(26)
def liquid_optimum(lab: Lab) -> Measured:
    """Archetype d against floating coolant, cooling energy alone minimised as in the source."""
    base, flow = lab.year("d", "Ashburn", "B1"), flows_only(lab, "d", "Ashburn")
    checks = [
        within("flow only", 100.0 * (1.0 - flow.cooling / base.cooling), 10.4, 30.4, "%", 1),
        within(
            "joint, with ramp limits", lab.saving("d", "Ashburn", "oracle-cooling", "B1"), 17.8, 37.8, "%", 1
        ),
    ]
    return checks, "cooling energy saved against floating coolant (B1); actuators with lags and slew limits"


@measures(27)
def advice(lab: Lab) -> Measured:
    """B1 against B0."""
    checks = [within(f"{k}, London", lab.saving(k, "London", "B1", "B0"), 30.0, 65.0, "%", 1) for k in "bc"]
    return checks, f"cooling energy, B1 against B0; {lab.origins(['London'])}"


def searched(
    lab: Lab, keys: Sequence[str], climates: Sequence[str], what: str = "cooling"
) -> dict[str, float]:
    """Percent that the search saves over B1, mean over archetypes and climates, by what the search minimised."""
    at = [(k, c) for k in keys for c in climates]
    return {
        aim: float(np.mean([lab.saving(k, c, policy, "B1", what) for k, c in at]))
        for aim, policy in (("cooling energy", "oracle-cooling"), ("facility energy", "oracle"))
    }


def agent_row(lab: Lab, keys: Sequence[str], climates: Sequence[str], low: float, high: float) -> list[Check]:
    """A published agent's saving against ours: the search minimises cooling energy, as those agents did."""
    mean = searched(lab, keys, climates)
    checks = [within("search for cooling energy, mean", mean["cooling energy"], low, high, "%")]
    checks.append(shown("search for facility energy, mean", mean["facility energy"], "%"))
    for c in climates if len(keys) == 1 else ():
        checks.append(shown(c, lab.saving(keys[0], c, "oracle-cooling", "B1"), "%", 1))
    for k in keys if len(keys) > 1 else ():
        checks.append(shown(k, searched(lab, [k], climates)["cooling energy"], "%", 1))
    return checks


@measures(28)
def autonomous(lab: Lab) -> Measured:
    """The search against B1, archetype b."""
    return agent_row(
        lab, "b", TEMPERATE, 20.0, 40.0
    ), f"cooling energy, joint search against B1 in {', '.join(TEMPERATE)}"


@measures(29)
def live_plants(lab: Lab) -> Measured:
    """The search against B1, archetype b."""
    return agent_row(lab, "b", HOT, 4.0, 20.0), f"cooling energy, joint search against B1 in {', '.join(HOT)}"


@measures(30)
def air_units(lab: Lab) -> Measured:
    """The search against B1, archetypes with their own air-cooled units."""
    checks = agent_row(lab, "af", EVERY, 10.0, 30.0)
    constant = [lab.saving(k, c, "oracle", "B0") for k in "af" for c in EVERY]
    checks.append(shown("against constant fans and 18 degC (B0)", float(np.mean(constant)), "%", 1))
    return checks, f"cooling energy, joint search against B1, a and f, mean of {len(EVERY)} climates"


@measures(31)
def supply_fans(lab: Lab) -> Measured:
    """The search against B1, archetype c."""
    mean = searched(lab, "c", TEMPERATE, "air_fans")
    checks = [within("search for cooling energy, mean", mean["cooling energy"], 10.0, 30.0, "%", 1)]
    checks.append(shown("search for facility energy, mean", mean["facility energy"], "%", 1))
    return checks, f"energy of air-handler fans, joint search against B1 in {', '.join(TEMPERATE)}"


@measures(34)
def monthly_swing(lab: Lab) -> Measured:
    """Archetype c under B1."""
    pue = lab.year("c", "Ashburn", "B1").monthly_pue
    check = within("greatest less least month", float(pue.max() - pue.min()), 0.04, None, PUE, 3)
    return [check], f"annual, B1; {lab.origins(['Ashburn'])}"
