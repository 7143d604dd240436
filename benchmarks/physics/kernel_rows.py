"""Rows that need single kernels or a settled plant: 13, 15, 16, 18, 19, 21-25, 32, 33."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gcn_env.core import compressor, electrical, plant, thermal, water

from .kernels import HALLS, P, b1, it_power, moist, row_of, seconds_to, settled, supply_step, without_cooling
from .table import Check, measures, shown, within
from .year import Lab

Measured = tuple[Iterable[Check], str]


def slope_percent(p: object, hot: float, cold: float) -> float:
    """Percent of compressor power per K of cold side at rating (E20), central difference of 1 K."""

    def of(c: float) -> float:
        return float(compressor.energy_input(hot, c, p[P.eir_loss], p[P.eir_lift]))  # type: ignore[index]

    return 100.0 * (of(cold + 1.0) - of(cold - 1.0)) / (2.0 * of(cold))


@measures(13)
def chiller_slope(lab: Lab) -> Measured:
    """E20 at the rating points of both compressor families."""
    tower, air = row_of("b"), row_of("g" if "g" in lab.keys else "d")
    checks = [
        within("water-cooled centrifugal", slope_percent(tower, 29.4, 7.0), -3.2, -2.0, "%/K"),
        within("air-cooled screw", slope_percent(air, 35.0, 7.0), -3.2, -2.0, "%/K"),
    ]
    return checks, "compressor.energy_input at 29.4/7 degC (water) and 35/7 degC (air)"


@measures(15)
def it_slope(lab: Lab) -> Measured:
    """E6-E9 in a settled plant."""
    low, high = it_power("b", 23.0), it_power("b", 30.0)
    value = 100.0 * (high / low - 1.0) / 7.0
    return [within("mean slope", value, 0.35, 0.50, "%/K")], "plant.advance at rest, b, utilisation 60 %"


@measures(16)
def it_energy(lab: Lab) -> Measured:
    """E6-E9 in a settled plant."""
    value = 100.0 * (it_power("b", 28.0) / it_power("b", 22.0) - 1.0)
    return [within("IT energy", value, 0.5, 2.5, "%")], "plant.advance at rest, b, utilisation 60 %"


@measures(18)
def fan_law(lab: Lab) -> Measured:
    """E12 of the air handlers, and E7 in the booked energy of a whole plant."""
    share = 100.0 * thermal.cubic_fan(0.5)
    return [within("power at half flow", share, 12.5, 16.0, "% of full", 1)], "thermal.cubic_fan(0.5)"


@measures(19)
def tower_design(lab: Lab) -> Measured:
    """E24 at the design point."""
    value = water.tower_approach(5.55, 1.0, water.wet_factor(25.6))
    return [
        within("approach", value, 3.8 - 0.3, 3.8 + 0.3, "K")
    ], "water.tower_approach, range 5.55 K, design flows"


@measures(21)
def old_ups(lab: Lab) -> Measured:
    """E44, E45 at a quarter of the rating."""
    p = row_of("a")
    x = 0.25
    ups = electrical.ups_loss(x, p[P.ups_a0], p[P.ups_a1], p[P.ups_a2])
    pdu = electrical.pdu_loss(x, p[P.pdu_d0], p[P.pdu_d2])
    checks = [
        within("UPS and PDU at 25 % load", 100.0 * x / (x + ups + pdu), 82.0, 88.0, "%", 1),
        shown("UPS alone", 100.0 * x / (x + ups), "%", 1),
    ]
    return checks, "electrical.ups_loss and pdu_loss of archetype a"


@measures(22)
def shutdown(lab: Lab) -> Measured:
    """Zone kernel without cooling, to 40 degC inlet."""
    five, ten = (without_cooling(h) for h in HALLS[:2])
    checks = [
        within("5 kW a rack, to 40 degC", seconds_to(40.0, five), 189 / 2, 189 * 2, "s", 0),
        within("10 kW a rack, to 40 degC", seconds_to(40.0, ten), 60 / 2, 60 * 2, "s", 0),
        shown("5 kW, to 45 degC", seconds_to(45.0, five), "s", 0),
        shown("10 kW, to 45 degC", seconds_to(45.0, ten), "s", 0),
    ]
    return (
        checks,
        "plant.advance, a at both densities; air handlers and coils stopped, servers run, inlet 22 degC at first",
    )


@measures(23)
def time_constant(lab: Lab) -> Measured:
    """E10 in the archetypes' own halls."""
    checks = []
    for key in (k for k in "abc" if k in lab.keys):
        fast, slow = supply_step(key)
        checks += [within(f"{key}, 63 %", fast, 150.0, 600.0, "s", 0), shown(f"{key}, 95 %", slow, "s", 0)]
    return (
        checks,
        "thermal.zone_step in the hall of each archetype: return air after a supply step of 1 K, server fans constant",
    )


@measures(24)
def heating_law(lab: Lab) -> Measured:
    """Shape of the trajectory of row 22."""
    inlet = without_cooling(HALLS[0])
    minute = np.diff(inlet[::12])  # rise in each minute
    checks = [
        within("first minute", minute[0], 5.0, None, "K", 1),
        within(
            "first minute over the mean of minutes 3-5", minute[0] / minute[2:5].mean(), 3.0, None, "1", 1
        ),
        within(
            "greatest minute after the first over the first", minute[1:].max() / minute[0], None, 1.0, "1"
        ),
        shown("minutes 3-5", minute[2:5].mean(), "K/min", 1),
    ]
    return checks, "as row 22, 5 kW a rack; fast: at least 5 K; slower: at most a third; never faster again"


@measures(25)
def hot_spots(lab: Lab) -> Measured:
    """E14-E16 at rest under B1."""
    air, checks = moist(15.0, 60.0), []
    for key, name, low, high in (
        ("b", "contained aisles (b)", 0.5, 2.0),
        ("a", "legacy room (a)", 2.5, 10.0),
    ):
        if key in lab.keys:
            there = settled(row_of(key), air, 0.35 + 0.65 * 0.6, b1(key))
            checks.append(within(name, there.hottest_c - there.supply_c, low, high, "K"))
    return checks, "plant.advance at rest under B1, utilisation 60 %"


def server_fan_share(key: str) -> float:
    """Server fans over IT power at rest, percent; for the page."""
    there = settled(row_of(key), moist(15.0, 60.0), 0.74, b1(key))
    return float(100.0 * there.energy[plant.E_SERVER_FANS] / there.energy[plant.E_IT])
