"""Parameters of zones and plants as the kernels read them: one row of numbers a region.

Everything is per kW of design IT power ("pu") so that one set of kernels serves every size; temperatures in
degC. `scenario.plants` derives these columns from `archetypes.yaml`, where the sources are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core.groups import group
from gcn_env.tables import Row, Table

LINEAR, SQUARED, SIGNED = (
    1.0,
    2.0,
    3.0,
)  # head_curve: equal steps, steps that grow, equal steps with an exact zero
WATER, OUTSIDE, UNIT = 0, 1, 2  # air_kind: chilled-water coil, outdoor air with wet stage, own cooling unit


def _row(name: str, unit: str, low: float, high: float, doc: str) -> Row:
    return Row(name, unit, low, high, doc)


PLANT = Table(
    "plant",
    (
        _row("design_kw", "kW", 1e-3, 1e7, "nameplate IT power of the zone"),
        _row("air_kind", "1", -0.5, 2.5, "what cools the air: 0 chilled water, 1 outdoor air, 2 own unit"),
        _row("liquid_share", "1", -1e-9, 0.99, "share of IT heat taken by liquid"),
        _row("kpa", "kPa", 50, 110, "barometric pressure of the site"),
        # servers E5-E9
        _row("idle_share", "1", 0, 0.9, "E5 idle power over nameplate"),
        _row("fan_pu", "kW/kW", -1e-9, 0.3, "E7 server fans at full speed"),
        _row("fan_base", "1", 0.1, 1, "E6 fan flow at full load below the knee"),
        _row("fan_slope", "1/K", 0, 0.3, "E6 rise of fan flow above the knee"),
        _row("fan_knee_c", "degC", 10, 40, "E6 inlet at which fans begin to rise"),
        _row("server_flow", "kW/K", 0, 1, "heat capacity flow of all servers at full fan speed"),
        _row("chip_k", "K/pu", 1, 100, "E8 chip rise over inlet or coolant at nameplate"),
        _row("chip_still", "1", 0, 1, "E8 share of that rise that no flow changes"),
        _row("leak_share", "1", 0, 0.5, "E9 leakage share at the reference chip temperature"),
        _row("leak_slope", "1/K", 0, 0.05, "E9 exponent"),
        _row("leak_ref_c", "degC", 20, 100, "E9 reference chip temperature"),
        # zone E10-E19
        _row("mass_kj", "kJ/K/kW", 0.1, 200, "E10 heat capacity of IT mass in the air stream"),
        _row("air_kj", "kJ/K/kW", 0.01, 20, "E11 heat capacity of hot-aisle and return air"),
        _row("cold_kj", "kJ/K/kW", 0.01, 20, "heat capacity of cold-aisle air"),
        _row("recirculation", "1", -1e-9, 0.5, "E14 share of intake from the hot aisle when supply suffices"),
        _row("hot_share", "1", -1e-9, 0.5, "E16 further share at the hottest rack"),
        _row("bypass", "1", -1e-9, 0.5, "E14 share of supply that bypasses the racks"),
        _row("envelope", "kW/K", -1e-9, 0.05, "E18 conductance of the hall's envelope"),
        _row("structure", "kW/K", -1e-9, 0.1, "E11 conductance from the hall's air to walls and floor"),
        _row("structure_kj", "kJ/K/kW", 1, 1e5, "heat capacity of walls and floor"),
        _row("loss_inside", "1", -1e-9, 1.001, "E18 share of electrical losses heating the hall"),
        _row("misc_inside", "1", -1e-9, 1.001, "E18 share of lighting and house load heating the hall"),
        # air handlers E12, E17
        _row("supply_flow", "kW/K", 1e-4, 1, "heat capacity flow of supply air at full fan"),
        _row("air_fan_pu", "kW/kW", 0, 0.5, "E12 air-handler fans at full speed"),
        _row("coil_ntu", "1", 0.1, 5, "E17 coil NTU at full fan"),
        _row("air_set_c", "degC", 10, 35, "supply air of the local rule (liquid-cooled zones)"),
        _row("air_follow", "1", 0.5, 3, "supply over server flow of the local rule (liquid-cooled zones)"),
        # compressors E20-E22
        _row("units", "1", 1, 12, "compressor units"),
        _row("unit_pu", "kW/kW", 1e-4, 5, "capacity of one unit at rating"),
        _row("eir", "kW/kW", 0.02, 1, "E20 power over capacity at rating"),
        _row("eir_loss", "1", 0, 1, "E20 e0"),
        _row("eir_lift", "1", 0, 20, "E20 k"),
        _row("cold_slope", "1/K", -0.1, 0.1, "E22 capacity per K of cold side"),
        _row("cold_ref_c", "degC", 0, 40, "E22 cold side at rating"),
        _row("hot_slope", "1/K", -0.1, 0.1, "E22 capacity per K of hot side"),
        _row("hot_ref_c", "degC", 0, 60, "E22 hot side at rating"),
        _row("cap_low", "1", 0.05, 1, "E22 least capacity factor"),
        _row("cap_high", "1", 1, 3, "E22 greatest capacity factor"),
        _row("min_load", "1", 0.02, 0.8, "load share below which the local controller stages down"),
        _row("min_on_s", "s", 0, 7200, "least time between a start and a stop"),
        _row("min_off_s", "s", 0, 7200, "least time between a stop and a start"),
        _row("ramp_s", "s", 1, 3600, "from start to full load"),
        _row("restart_s", "s", 0, 7200, "from power back to the first start"),
        _row("hot_offset_k", "K", -1e-9, 10, "air at air-cooled condensers over outdoors"),
        _row("head_floor_c", "degC", -20, 40, "lowest hot-side temperature of the compressors"),
        # loop: chilled water or coolant
        _row("loop_kj", "kJ/K/kW", 0.1, 2000, "heat capacity of the loop"),
        _row("loop_flow", "kW/K", 1e-4, 5, "heat capacity flow of chilled water at full flow"),
        _row("loop_pump_pu", "kW/kW", -1e-9, 0.2, "E23 chilled-water or coolant pumps at full flow"),
        _row("other_pump_pu", "kW/kW", -1e-9, 0.2, "one condenser pump; wet-stage pump"),
        # tower E24-E29
        _row("tower", "1", -0.5, 1.5, "condensers of the chillers: 1 water from a tower, 0 outdoor air"),
        _row("cond_kj", "kJ/K/kW", 0.1, 1000, "heat capacity of the condenser-water loop"),
        _row("tower_flow", "kW/K", 1e-4, 5, "heat capacity flow of condenser water by design"),
        _row("tower_pu", "kW/kW", 1e-3, 5, "heat the tower is designed for"),
        _row("tower_l1", "1", 0, 10, "E24 (l)^1.057 with one condenser pump"),
        _row("tower_l2", "1", 0, 10, "E24 (l)^1.057 with two condenser pumps"),
        _row("tower_l3", "1", 0, 10, "E24 (l)^1.057 with three condenser pumps"),
        _row("reject_fan_pu", "kW/kW", -1e-9, 0.2, "tower or dry-cooler fans at full speed"),
        _row("approach_k", "K", 0.5, 30, "E29 tower reset over wet bulb; E41 dry-cooler approach by design"),
        _row("basin_c", "degC", 0, 20, "E26 lowest condenser water"),
        _row("exchanger_k", "K", 0.1, 10, "E28 economiser approach; E39 approach of the coolant exchanger"),
        _row("make_up", "L/L", 1, 5, "make-up over evaporation: cycles of concentration or bleed"),
        # outdoor air E34-E38, pads E41
        _row("wet_share", "1", -1e-9, 1.001, "effectiveness of wet stage or pads"),
        _row("wet_from_c", "degC", -60, 60, "dry bulb above which pads run"),
        _row("wet_least", "1", -1e-9, 1.001, "least share of the wet stage that can run"),
        _row("ratio_min", "kg/kg", -1e-9, 0.02, "humidity ratio at the lowest dew point"),
        _row("fresh_air", "kg/s/kW", -1e-9, 0.01, "ventilation that steam humidifiers serve"),
        _row("ratio_max", "kg/kg", 1e-3, 0.1, "E34 humidity ratio at the highest dew point"),
        _row("dew_max_c", "degC", 0, 30, "E34 highest dew point of supply air"),
        _row("humid_max", "1", 0.2, 1.01, "E34 highest relative humidity of supply air"),
        # air-cooled units E30-E33, residual air unit, dry cooler E39-E43
        _row("lift_k", "K", 0, 20, "E30 supply air over evaporator"),
        _row("latent_slope", "1/K", -1e-9, 0.1, "E31 fall of the sensible share below 14 degC supply"),
        _row("cycling", "1", -1e-9, 0.5, "E32 degradation of cycling units"),
        _row("rehumidify", "1", -1e-9, 1.001, "E33 share of condensed moisture that humidifiers put back"),
        _row("unit_free", "1", -1e-9, 1.001, "share of a unit's heat that free cooling can take"),
        _row("air_unit_pu", "kW/kW", 0, 5, "capacity of the residual air unit"),
        _row("air_unit_pump", "kW/kW", -1e-9, 0.2, "pumps of the residual air unit per heat"),
        _row("trim_range_k", "K", 1, 30, "E41 water range over which the trim chiller takes over"),
        _row("dry_flow", "kW/K", 0, 2, "heat capacity flow of dry-cooler air"),
        _row("reuse_min_c", "degC", 0, 100, "E43 lowest coolant return that a heat network takes"),
        # power chain E44-E45
        _row("ups_a0", "1", -1e-9, 0.2, "E44"),
        _row("ups_a1", "1", -1e-9, 0.2, "E44"),
        _row("ups_a2", "1", -1e-9, 0.2, "E44"),
        _row("pdu_d0", "1", -1e-9, 0.2, "E45"),
        _row("pdu_d2", "1", -1e-9, 0.2, "E45"),
        _row("misc_pu", "kW/kW", -1e-9, 0.2, "lighting and house load"),
        # limits, section 1.8
        _row("hot_limit_c", "degC", 15, 200, "highest inlet"),
        _row("loop_limit_c", "degC", 15, 1000, "highest coolant"),
        _row("chip_limit_c", "degC", 15, 1000, "highest chip"),
        _row("throttle_c", "degC", 40, 200, "chip at which throttling begins"),
        _row("trip_k", "K", 1, 50, "chip above throttling at which nodes trip"),
        _row("trip_inlet_c", "degC", 30, 80, "inlet at which nodes trip"),
        # actuators, section 1.4: first-order lag, then slew
        _row("lag_0", "s", 1, 3600, "lag of the cold-side set-point"),
        _row("lag_1", "s", 1, 3600, "lag of the flow"),
        _row("lag_2", "s", 1, 3600, "lag of the rejection head"),
        _row("slew_0", "1/s", 1e-6, 10, "greatest change of the cold-side set-point"),
        _row("slew_1", "1/s", 1e-6, 10, "greatest change of the flow"),
        _row("slew_2", "1/s", 1e-6, 10, "greatest change of the rejection head"),
        # competent rule B1, the initial commands
        _row("rule_cold", "degC", 0, 60, "cold-side set-point, or its lowest value where it floats"),
        _row("rule_cold_max", "degC", 0, 60, "highest value where it floats"),
        _row("rule_float_k", "K", -1.001, 40, "coolant over ambient; negative: does not float"),
        _row("rule_flow", "1", 0, 3.001, "flow head"),
        _row("rule_reject", "1", -1e-9, 60, "rejection head"),
    ),
)


@group
class PlantParams(NamedTuple):
    """Plants of all regions, in V variants: environment b uses variant b % V."""

    values: npt.NDArray[np.float64]  # [V, R, len(PLANT)]
    head_low: npt.NDArray[np.float64]  # [V, R, N_HEADS] physical value of level 0
    head_high: npt.NDArray[np.float64]  # [V, R, N_HEADS] physical value of the highest level
    head_curve: npt.NDArray[np.float64]  # [V, R, N_HEADS] LINEAR, SQUARED or SIGNED: how levels are spaced


def column(params: PlantParams, name: str) -> npt.NDArray[np.float64]:
    """View [V, R] of one parameter."""
    return params.values[:, :, PLANT.index(name)]


def head_values(params: PlantParams, n_levels: int) -> npt.NDArray[np.float64]:
    """Physical value of every level of the regions' heads, [R, N_HEADS, n_levels] (first variant).

    The arrays' form of `core.placement.level_share`.
    """
    low, high, curve = (a[0, ..., None] for a in (params.head_low, params.head_high, params.head_curve))
    level = np.arange(n_levels)
    share = np.where(curve == SIGNED, level / (2.0 * (n_levels // 2)), (level / (n_levels - 1.0)) ** curve)
    return np.asarray(low + (high - low) * share)
