"""Sites to plant parameters: `archetypes.yaml`, elevation and overrides become the kernels' columns."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from gcn_env.core.air import CP_WATER, SEA_LEVEL_KPA, humidity_ratio, pressure_kpa
from gcn_env.core.plant_table import LINEAR, OUTSIDE, PLANT, SIGNED, UNIT, WATER, PlantParams
from gcn_env.errors import UserError

HEADS = ("cold", "flow", "reject")
DIVISORS = (
    "compressor_cop_rated", "dry_air_range_k", "loop_range_k", "server_rise_at_full_fan_k", "tower_range_k",
)  # fmt: skip
_AIR = {"water": WATER, "outside": OUTSIDE, "unit": UNIT}


@dataclass(frozen=True)
class PlantSite:
    """One region's plant: archetype key, nameplate IT power [kW], elevation [m], parameters and heads that differ."""

    archetype: str
    design_it_kw: float
    elevation_m: float = 0.0
    overrides: Mapping[str, float] = field(default_factory=dict)
    cap_floor: float = 1.0  # lowest power cap, share of the devices' peak; 1: no such head
    battery: bool = False


@cache
def _document() -> dict[str, Any]:
    text = files("gcn_env.scenario").joinpath("archetypes.yaml").read_text("utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def _choose(what: str, name: str, allowed: Iterable[str], remedy: str) -> str:
    known = sorted(allowed)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)}). {remedy}")
    return name


def archetypes() -> tuple[str, ...]:
    """Keys of the archetypes that can be named in a site."""
    return tuple(_document()["archetypes"])


def archetype(key: str) -> dict[str, Any]:
    """The entry of one archetype: name, air, heads, rules, set.

    Raises:
        UserError: if there is no such archetype.
    """
    known = _document()["archetypes"]
    entry: dict[str, Any] = known[_choose("archetype", key, known, "See archetypes.yaml.")]
    return entry


def rules_for(key: str) -> dict[str, dict[str, float]]:
    """Set-points of the shipped cooling rules for an archetype.

    Returns:
        `{"b0": {cold, flow, reject}, "b1": {...}}` in physical units. `float_k` in b1 means that the cold
        side floats that many K over the dry bulb after the pads, from `cold` to `cold_max`.
    """
    return {name: {k: float(v) for k, v in rule.items()} for name, rule in archetype(key)["rules"].items()}


def heads_for(key: str) -> dict[str, dict[str, Any]]:
    """Range, unit and meaning of the three cooling heads: `{cold|flow|reject: {low, high, unit, means}}`."""
    return dict(archetype(key)["heads"])


def parameters(site: PlantSite) -> dict[str, float]:
    """Named parameters of a site as in `archetypes.yaml`: common, archetype's, then its overrides.

    Raises:
        UserError: on an unknown archetype or override.
    """
    document = _document()
    entry = archetype(site.archetype)
    values = {k: float(v["value"]) for k, v in {**document["common"], **entry["set"]}.items()}
    remedy = "Names are in gcn_env/scenario/archetypes.yaml."
    for name, value in site.overrides.items():
        values[_choose("plant parameter", name, values, remedy)] = float(value)
        if not math.isfinite(value):
            raise UserError(f"plant parameter {name} = {value} must be a finite number. {remedy}")
    for name in DIVISORS:
        if not values[name] > 0.0:
            raise UserError(f"plant parameter {name} = {values[name]:g} must be above 0. {remedy}")
    if (
        values["structure_kw_per_k_kw"] * 900.0 > values["structure_kj_per_k_kw"]
    ):  # a sub-step would overshoot
        raise UserError(
            f"plant parameter structure_kj_per_k_kw = {values['structure_kj_per_k_kw']:g} must be at least 900 s of "
            f"structure_kw_per_k_kw = {values['structure_kw_per_k_kw']:g}. {remedy}"
        )
    if values["compressor_units"] % 1.0:
        raise UserError(
            f"plant parameter compressor_units = {values['compressor_units']:g} must be whole. {remedy}"
        )
    return values


def sources(key: str) -> dict[str, tuple[float, str]]:
    """Parameters of an archetype with where each value comes from: `{name: (value, source)}`; tags as in the file.

    Raises:
        UserError: if there is no such archetype.
    """
    rows = {**_document()["common"], **archetype(key)["set"]}
    return {name: (float(row["value"]), str(row["source"])) for name, row in rows.items()}


def _columns(site: PlantSite) -> dict[str, float]:
    a, entry = parameters(site), archetype(site.archetype)
    kpa = pressure_kpa(site.elevation_m)
    density = kpa / SEA_LEVEL_KPA
    liquid = a["liquid_share"]
    air = 1.0 - liquid
    per_rise = density / a["server_rise_at_full_fan_k"]
    at_25 = 1.0 + a["server_fan_slope_per_k"] * max(0.0, 25.0 - a["server_fan_knee_degc"])
    b1, heads = entry["rules"]["b1"], entry["heads"]
    loop_kj = a["loop_l_per_kw"] * CP_WATER + a["loop_extra_kj_per_k_kw"]
    return {
        "design_kw": site.design_it_kw,
        "air_kind": float(_AIR[entry["air"]]),
        "liquid_share": liquid,
        "kpa": kpa,
        "idle_share": a["idle_share_of_nameplate"],
        "fan_pu": a["server_fan_kw_per_kw"] * density,
        "fan_base": a["server_fan_flow_at_full_load"],
        "fan_slope": a["server_fan_slope_per_k"],
        "fan_knee_c": a["server_fan_knee_degc"],
        "server_flow": per_rise * air,
        "chip_k": a["chip_rise_at_nameplate_k"],
        "chip_still": a["chip_still_share"],
        "leak_share": a["leakage_share"],
        "leak_slope": a["leakage_slope_per_k"],
        "leak_ref_c": a["leakage_reference_degc"],
        "mass_kj": a["it_mass_kj_per_k_kw"] * air,
        "air_kj": 0.5 * a["room_air_kj_per_k_kw"],
        "cold_kj": 0.5 * a["room_air_kj_per_k_kw"],
        "recirculation": a["recirculation_share"],
        "hot_share": a["hot_rack_share"],
        "bypass": a["bypass_share"],
        "envelope": a["envelope_kw_per_k_kw"],
        "structure": a["structure_kw_per_k_kw"],
        "structure_kj": a["structure_kj_per_k_kw"],
        "loss_inside": a["loss_inside_share"],
        "misc_inside": a["misc_inside_share"],
        "supply_flow": a["supply_oversize"] * a["server_fan_flow_at_full_load"] * at_25 * per_rise * air,
        "air_fan_pu": a["supply_fan_kw_per_kw"] * density * air,
        "coil_ntu": a["coil_ntu"],
        "air_set_c": a["air_set_degc"],
        "air_follow": a["air_follow"],
        "units": a["compressor_units"],
        "unit_pu": a["compressor_total_kw_per_kw"] / max(a["compressor_units"], 1.0),
        "eir": 1.0 / a["compressor_cop_rated"],
        "eir_loss": a["compressor_loss"],
        "eir_lift": a["compressor_lift"],
        "cold_slope": a["capacity_cold_slope_per_k"],
        "cold_ref_c": a["capacity_cold_ref_degc"],
        "hot_slope": a["capacity_hot_slope_per_k"],
        "hot_ref_c": a["capacity_hot_ref_degc"],
        "cap_low": a["capacity_low"],
        "cap_high": a["capacity_high"],
        "min_load": a["compressor_min_load"],
        "min_on_s": a["compressor_min_on_min"] * 60.0,
        "min_off_s": a["compressor_min_off_min"] * 60.0,
        "ramp_s": a["compressor_ramp_min"] * 60.0,
        "restart_s": a["compressor_restart_min"] * 60.0,
        "hot_offset_k": a["condenser_air_offset_k"],
        "head_floor_c": a["head_floor_degc"],
        "loop_kj": loop_kj * (liquid or 1.0),
        "loop_flow": a["loop_oversize"] / a["loop_range_k"],
        "loop_pump_pu": a["loop_pump_kw_per_kw"] * (1.0 if liquid else a["loop_oversize"]),
        "other_pump_pu": a["other_pump_kw_per_kw"],
        "tower": a["cooling_tower"],
        "cond_kj": a["condenser_l_per_kw"] * CP_WATER,
        "tower_flow": a["tower_oversize"] / a["tower_range_k"],
        "tower_pu": a["tower_oversize"],
        "tower_l1": 0.5**1.057,
        "tower_l2": 1.0,
        "tower_l3": 1.5**1.057,
        "reject_fan_pu": a["reject_fan_kw_per_kw"],
        "approach_k": a["approach_k"] / (density**0.75 if liquid else 1.0),
        "basin_c": a["basin_degc"],
        "exchanger_k": a["exchanger_k"],
        "make_up": a["make_up_l_per_l"],
        "wet_share": a["wet_effectiveness"],
        "wet_from_c": a["wet_from_degc"],
        "wet_least": a["wet_least_share"],
        "ratio_min": float(humidity_ratio(np.array(a["dew_point_min_degc"]), np.array(100.0), kpa)),
        "fresh_air": a["ventilation_kg_per_s_kw"],
        "ratio_max": float(humidity_ratio(np.array(a["dew_point_max_degc"]), np.array(100.0), kpa)),
        "dew_max_c": a["dew_point_max_degc"],
        "humid_max": a["humidity_max_percent"] / 100.0,
        "lift_k": a["evaporator_offset_k"],
        "latent_slope": a["latent_slope_per_k"],
        "cycling": a["cycling_degradation"],
        "rehumidify": a["rehumidify_share"],
        "unit_free": a["unit_free_cooling"],
        "air_unit_pu": a["air_unit_kw_per_kw"],
        "air_unit_pump": a["air_unit_pump_kw_per_kw"],
        "trim_range_k": a["trim_range_k"],
        "dry_flow": 1.1 / a["dry_air_range_k"],
        "reuse_min_c": a["reuse_return_degc"],
        "ups_a0": a["ups_no_load"],
        "ups_a1": a["ups_linear"],
        "ups_a2": a["ups_square"],
        "pdu_d0": a["pdu_no_load"],
        "pdu_d2": a["pdu_square"],
        "misc_pu": a["misc_kw_per_kw"],
        "hot_limit_c": a["inlet_limit_degc"],
        "loop_limit_c": a["coolant_limit_degc"],
        "chip_limit_c": a["chip_limit_degc"],
        "throttle_c": a["throttle_degc"],
        "trip_k": a["trip_over_throttle_k"],
        "trip_inlet_c": a["trip_inlet_degc"],
        "lag_0": a["cold_lag_s"],
        "lag_1": a["flow_lag_s"],
        "lag_2": a["reject_lag_s"],
        "slew_0": a["cold_slew_k_per_min"] / 60.0,
        "slew_1": a["flow_slew_per_min"] / 60.0,
        "slew_2": a["reject_slew_per_min"] / 60.0,
        "rule_cold": b1["cold"],
        "rule_cold_max": b1.get("cold_max", heads["cold"]["high"]),
        "rule_float_k": b1.get("float_k", -1.0),
        "rule_flow": b1.get("flow", 1.0),
        "rule_reject": b1["reject"],
    }


def _row(site: PlantSite) -> list[float]:
    if not -500.0 <= site.elevation_m <= 5000.0:
        raise UserError(
            f"elevation_m = {site.elevation_m:g} is outside -500..5000. Give the site's height in metres."
        )
    columns = _columns(site)
    for row in PLANT.rows:
        value = columns[row.name]
        if not row.low <= value <= row.high:
            raise UserError(
                f"plant of archetype {site.archetype!r}: {row.name} = {value:g} {row.unit} is outside "
                f"{row.low:g}..{row.high:g} ({row.doc}). Check the site's overrides and design_it_kw."
            )
    return [columns[name] for name in PLANT.names]


def _heads(site: PlantSite) -> list[tuple[float, float, float]]:
    """Lowest value, highest value and curve of the heads of a region; the last two are power cap and battery."""
    ranges = heads_for(site.archetype)
    cooling = [
        (float(h["low"]), float(h["high"]), float(h.get("curve", 1))) for h in (ranges[k] for k in HEADS)
    ]
    battery = (-1.0, 1.0) if site.battery else (0.0, 0.0)
    return [*cooling, (site.cap_floor, 1.0, LINEAR), (*battery, SIGNED)]


def compile_plants(sites: Sequence[PlantSite]) -> PlantParams:
    """Kernel parameters of the plants of a fleet, one variant.

    Raises:
        UserError: on an unknown archetype or override, or a parameter outside its bounds.
    """
    ranges = np.array([[_heads(s) for s in sites]], np.float64)
    rows = np.array([[_row(s) for s in sites]], np.float64)
    return PlantParams(rows, *(np.ascontiguousarray(ranges[..., k]) for k in range(3)))


def stack_variants(variants: Sequence[PlantParams]) -> PlantParams:
    """Several compiled fleets as variants of one: environment b uses variant b % V."""
    return PlantParams(*(np.concatenate(arrays) for arrays in zip(*variants, strict=True)))
