"""The 34 rows: what is published, by whom, and how near is near enough. What we measure is in the other modules.

Kind: "calibration" where the figure chose a parameter (the water of rows 6 and 8 did), "validation" where it did not.
Source tags: V read in the named source; R recalled from the literature and not checked again, so an assumption; C
computed by an independent implementation of the same equations; E engineering judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

CALIBRATION, VALIDATION = "calibration", "validation"


class Row(NamedTuple):
    """One published figure."""

    number: int
    target: str
    published: str
    tolerance: str
    kind: str
    source: str


class Check(NamedTuple):
    """One number of ours against its limits; without limits it is shown, and judges nothing."""

    label: str
    value: float
    low: float | None
    high: float | None
    unit: str
    digits: int = 2

    @property
    def judged(self) -> bool:
        """Whether it has limits."""
        return self.low is not None or self.high is not None

    @property
    def inside(self) -> bool:
        """Within the limits; a value that is not finite is within none."""
        low = float("-inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        return not self.judged or low <= self.value <= high


class Finding(NamedTuple):
    """What our kernels gave for a row."""

    row: Row
    checks: tuple[Check, ...]
    how: str  # conditions of the measurement, and the weather

    @property
    def passed(self) -> bool:
        """Every judged check is inside, and there is one."""
        return any(c.judged for c in self.checks) and all(c.inside for c in self.checks)


def shown(label: str, value: float, unit: str, digits: int = 2) -> Check:
    """A number for the reader, without limits."""
    return Check(label, float(value), None, None, unit, digits)


def within(
    label: str, value: float, low: float | None, high: float | None, unit: str, digits: int = 2
) -> Check:
    """A number with its limits."""
    return Check(label, float(value), low, high, unit, digits)


_CLOUD = "V Green Software Foundation, Cloud_Region_Metadata (operators' 2022-2024 figures)"
_UPTIME = "V Uptime Institute UII 221 (2023) and 2024 survey; R for the upper end"
_COPPER = "V PNNL copper, 369 chiller curve sets"
_SWISS = "V Coroama, Temperature Optimisation in Data Centres, arXiv 2509.26163"
_SHUTDOWN = "V Opengate / Active Power study (missioncriticalmagazine.com)"
_RAPS = "V ExaDigiT/RAPS power.py and frontier.yaml; arXiv 2603.01198, 2605.15516"
_LOSSES = "V Schneider, Riello loss definitions"
_DEEPMIND = "V DeepMind blogs 2016 and 2018"
_META = "V Meta engineering post on simulator-based RL; sustainability.fb.com"
_IMMERSION = "V Elektor on Intel; ASME J. Electron. Packag. 139(4) 041005; Energies 14(5) 1395"
_C, _V = CALIBRATION, VALIDATION

ROWS: tuple[Row, ...] = (
    Row(
        1,
        "PUE, DX legacy room (a), any climate, B0",
        "industry mean 1.56 (2024), legacy to 2.0",
        "1.40-2.00",
        _C,
        _UPTIME,
    ),
    Row(
        2,
        "PUE and WUE, chilled water and tower (b), Singapore",
        "AWS 1.32 / 1.68 L/kWh, Microsoft 1.358 / 2.06, Google 1.16",
        "1.16-1.36; 1.6-2.1",
        _C,
        _CLOUD,
    ),
    Row(
        3, "PUE and WUE, b, Phoenix", "Microsoft Arizona 1.223 / 2.24 L/kWh", "1.15-1.25; 1.8-2.6", _V, _CLOUD
    ),
    Row(
        4,
        "PUE and WUE, b, Dallas",
        "Microsoft Texas 1.307 / 1.82 L/kWh; Google 1.12",
        "1.12-1.31; 1.5-2.1",
        _V,
        _CLOUD,
    ),
    Row(5, "PUE, b, Mumbai", "AWS 1.42-1.44", "1.20-1.44", _V, _CLOUD),
    Row(
        6,
        "PUE and WUE, outdoor air (c), Stockholm",
        "AWS 1.10 / 0.02 L/kWh, Microsoft Sweden 1.172 / 0.16",
        "1.07-1.17; <= 0.16",
        _C,
        _CLOUD,
    ),
    Row(
        7,
        "PUE and WUE, c, Dublin (London weather)",
        "AWS Ireland 1.11 / 0.03 L/kWh, Microsoft 1.197 / 0.03",
        "1.07-1.20; <= 0.10",
        _V,
        _CLOUD,
    ),
    Row(
        8,
        "PUE and WUE, c, Northern Virginia",
        "Google 1.09, Microsoft 1.144 / 0.17 L/kWh, AWS 1.15 / 0.12",
        "1.08-1.16; 0.05-0.25",
        _C,
        _CLOUD,
    ),
    Row(9, "PUE, c, Phoenix and Las Vegas", "Google 1.08, Microsoft 1.22", "1.08-1.23", _V, _CLOUD),
    Row(
        10,
        "PUE, c, Meta's fleet (temperate climates)",
        "PUE 1.08-1.09 (WUE 0.18-0.26 L/kWh; Prineville 0.22)",
        "PUE +-0.03",
        _V,
        _META,
    ),
    Row(
        11,
        "PUE, direct-to-chip (d), warm water",
        "NREL ESIF 1.04 over twelve months; Frontier 1.03-1.06 (R)",
        "1.03-1.12",
        _C,
        "V NREL/PR-2C00-70433; R Frontier",
    ),
    Row(
        12,
        "(IT + cooling) / IT, immersion (e)",
        "1.02-1.03, 1.03; two-phase 1.037-1.053",
        "1.01-1.06",
        _V,
        _IMMERSION,
    ),
    Row(
        13,
        "Chiller power per K of chilled water",
        "-2 to -3 %/K (JCI); 38 chillers, median -2.5 %/K",
        "-2.0 to -3.2 %/K",
        _C,
        "V DCD, Hot water, cold water; " + _COPPER[2:],
    ),
    Row(
        14,
        "Whole cooling plant per K of chilled water, b, 7 to 12 degC",
        "2-4 %/degF with economiser hours and fan slow-down",
        "same sign, 1-7 %/K",
        _V,
        "V Willdan (missioncriticalmagazine.com)",
    ),
    Row(15, "IT power over inlet temperature, 23-30 degC", "0.35-0.50 %/K, two halls", "inside", _C, _SWISS),
    Row(
        16,
        "IT energy, inlet 22 to 28 degC",
        "+0.9 to +1.4 % in a summary of the same study (scope unclear, weak)",
        "0.5-2.5 %",
        _V,
        _SWISS,
    ),
    Row(
        17,
        "Interior optimum of the supply temperature, b, Singapore",
        "exists (Dell tests); some 25-27 degC inlet for colocation",
        "hottest inlet 21-27 degC, interior",
        _V,
        "V Dell, Energy impact of increased server inlet temperature; " + _SWISS[2:],
    ),
    Row(
        18,
        "Fan law",
        "power as the cube of the flow; half flow at most 16 %",
        "12.5-16 %",
        _V,
        "V affinity laws",
    ),
    Row(
        19,
        "Tower approach at 25.6 degC wet bulb, 35/29.4 degC water",
        "3.8 K (YorkCalc)",
        "+-0.3 K",
        _C,
        "V EnergyPlus engineering reference, YorkCalc",
    ),
    Row(
        20,
        "WUE of tower plants (b)",
        "some 1.8 L/kWh (R); 1.7-2.2 in rows 2-4",
        "1.2-2.5 L/kWh",
        _V,
        "R classic figure; " + _CLOUD,
    ),
    Row(
        21,
        "Efficiency of an old UPS at 20-25 % load (a, UPS and PDU)",
        "85 %",
        "+-3 points (with PDU)",
        _C,
        _LOSSES,
    ),
    Row(
        22,
        "Shutdown after loss of cooling, 5 and 10 kW a rack",
        "189 s; under 60 s",
        "within a factor 2",
        _C,
        _SHUTDOWN,
    ),
    Row(
        23,
        "Time constant of servers",
        "several minutes",
        "150-600 s",
        _V,
        "V Ibrahim et al., Thermal Mass Characterization of a Server",
    ),
    Row(
        24,
        "Law of heating after loss of cooling",
        "fast start, then a slower tail",
        "shape: see checks",
        _V,
        "V Khankari, ASHRAE Trans. 117(1); Schneider WP 179",
    ),
    Row(
        25,
        "Rise of the hottest inlet over supply",
        "1 K contained, 5 K average, up to 15 K",
        "within a factor 2",
        _C,
        "V Upsite, recommended vs allowable, part 4",
    ),
    Row(
        26,
        "Liquid cooling, optimum of flow and temperature (d, Ashburn)",
        "flow only 20.4 %, joint 30.1 %, with ramp limits 27.8 %",
        "+-10 points",
        _V,
        "V arXiv 2603.01198 (Frontier)",
    ),
    Row(
        27,
        "Advice to operators: cooling energy, fixed to competent rules",
        "-40 % cooling energy, -15 % overhead (2016)",
        "30-65 %",
        _V,
        _DEEPMIND,
    ),
    Row(
        28,
        "Autonomous control: cooling energy over competent rules (b, temperate)",
        "12 to 30 % over nine months, 5-min steps",
        "20-40 %",
        _V,
        _DEEPMIND,
    ),
    Row(
        29,
        "Chiller plants, live RL (b, hot climates)",
        "9 % and 13 %",
        "4-20 %",
        _V,
        "V Luo et al., arXiv 2211.07357",
    ),
    Row(
        30,
        "Air-cooled units, offline RL in production (a, f)",
        "14-21 %",
        "10-30 %",
        _V,
        "V Zhan et al., ICLR 2025, arXiv 2501.15085",
    ),
    Row(
        31,
        "Outdoor air, RL: supply-fan energy (c, temperate)",
        "-20 % supply-fan energy, -4 % water",
        "10-30 %",
        _V,
        _META,
    ),
    Row(
        32,
        "GPU power cap at 60 %",
        "-13.7 % energy per work",
        "+-3 points",
        _C,
        "V McDonald et al., arXiv 2205.09646; R slowdown",
    ),
    Row(
        33,
        "Frontier: power range and return water",
        "8-30 MW; return water 30-38 degC",
        "ends within 20 %; water within the range",
        _V,
        _RAPS,
    ),
    Row(
        34,
        "Monthly PUE, hottest less coldest month (c, Ashburn)",
        "a swing from winter to summer",
        "> 0.04",
        _V,
        "C independent reference implementation of the same equations",
    ),
)

Measure = Callable[..., tuple[Iterable[Check], str]]
MEASURES: dict[int, Measure] = {}


def measures(number: int) -> Callable[[Measure], Measure]:
    """Register what measures row `number`; it returns checks and one sentence on the conditions."""

    def register(function: Measure) -> Measure:
        if number in MEASURES:
            raise ValueError(f"row {number} has two measures: {MEASURES[number]}, {function}")
        MEASURES[number] = function
        return function

    return register


def find(number: int, *args: object) -> Finding:
    """Measure one row."""
    row = next(r for r in ROWS if r.number == number)
    checks, how = MEASURES[number](*args)
    return Finding(row, tuple(checks), how)
