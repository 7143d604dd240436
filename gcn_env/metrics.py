"""Key figures of an episode, computed from what the ledger booked and from nothing else.

Ratios are ratios of episode sums, never means of ratios; none is ever part of a reward. The ratios of ISO/IEC 30134
stand on E_DC, all energy that came in and did not stay in store (grid, generator, sun and wind that were used, and what
storage gave less what it took), on E_IT, which counts server fans and leakage, and on an episode where the standards
ask for a year. A ratio without a denominator (no work, no lease) is
its neutral value, named in its row, so that a report never averages over NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.ledger import BIG, COUNTS, FLOWS, TERMS
from gcn_env.tables import Row, Table

Array = npt.NDArray[np.float64]

KPIS = Table(
    "kpis",
    (
        Row("total_usd", "USD", -BIG, BIG, "the whole bill: the sum of every money term"),
        *(Row(f"usd_{r.name}", "USD", r.low, r.high, r.doc) for r in TERMS.rows),
        Row(
            "usd_per_device_hour",
            "USD/device h",
            -BIG,
            BIG,
            "bill per reference device-hour of kept work; 0: none",
        ),
        Row("energy_mwh", "MWh", 0, BIG, "energy drawn from the grid"),
        Row("it_mwh", "MWh", 0, BIG, "IT energy, server fans and leakage included"),
        Row(
            "cooling_mwh",
            "MWh",
            0,
            BIG,
            "air-handler fans, compressors, pumps, heat rejection and humidifiers",
        ),
        Row(
            "site_mwh", "MWh", 0, BIG, "E_DC: energy that came in from all sources and did not stay in store"
        ),
        Row("pue", "1", 0, 100, "E_DC over E_IT (ISO/IEC 30134-2); 1: no IT energy"),
        Row("tue", "1", 0, 100, "E_DC over E_IT without server fans and extra leakage; 1: no IT energy"),
        Row("wue_l_per_kwh", "L/kWh", 0, 1e4, "make-up water of the site over E_IT (ISO/IEC 30134-9)"),
        Row(
            "cue_kg_per_kwh",
            "kgCO2e/kWh",
            0,
            1e4,
            "emissions of grid energy and fuel over E_IT (ISO/IEC 30134-8)",
        ),
        Row("erf", "1", 0, 1, "heat sold over E_DC (ISO/IEC 30134-6)"),
        Row("ref", "1", 0, 1, "energy of the site's own sun and wind over E_DC (ISO/IEC 30134-3)"),
        Row("cer", "1", -BIG, BIG, "heat removed over energy of cooling (ISO/IEC 30134-7); 0: no cooling"),
        Row("renewable_mwh", "MWh", 0, BIG, "energy of the site's own sun and wind that was used or stored"),
        Row("spilled_share", "1", 0, 1, "share of sun and wind that nothing could use; 0: no sun or wind"),
        Row("stored_mwh", "MWh", 0, BIG, "energy out of batteries and UPS strings"),
        Row("generator_mwh", "MWh", 0, BIG, "energy of generators"),
        Row("fuel_l", "L", 0, BIG, "fuel burnt"),
        Row("above_limit_mwh", "MWh", 0, BIG, "grid energy above the limits of curtailments"),
        Row("heat_sold_mwh", "MWh", 0, BIG, "heat sold"),
        Row("carbon_t", "tCO2e", 0, BIG, "emissions of grid and network energy (life-cycle) and of fuel"),
        Row("water_m3", "m3", 0, BIG, "make-up water"),
        Row("arrived", "jobs", 0, BIG, "jobs that arrived"),
        Row("completed", "jobs", 0, BIG, "jobs that finished"),
        Row("late_share", "1", 0, 1, "late jobs among those that finished; 0: none finished"),
        Row("late_hours", "job h", 0, BIG, "job-hours past deadlines"),
        Row("slo_miss_share", "1", 0, 1, "lease-hours that waited or were served too far away; 0: no leases"),
        Row("wait_h_per_job", "h", 0, BIG, "hours pending, travelling or queued per job that arrived"),
        Row("killed", "jobs", 0, BIG, "job runs ended by a failure, an outage or a pool that leaves"),
        Row("dropped", "jobs", 0, BIG, "jobs refused because the dispatcher's memory is full"),
        Row("illegal", "choices", 0, BIG, "choices outside the mask"),
        Row("placed", "jobs", 0, BIG, "placements made"),
        Row("excursion_kh", "K h", 0, BIG, "kelvin-hours above the thermal limit, all regions"),
        Row("throttled_h", "h", 0, BIG, "region-hours in which chips were throttled"),
        Row("busy_device_h", "device h", 0, BIG, "device-hours that ran jobs"),
        Row("work_device_h", "device h", 0, BIG, "reference device-hours of work done, lost work included"),
        Row("lost_device_h", "device h", 0, BIG, "reference device-hours of work lost to kills"),
        Row("idle_share", "1", 0, 1, "share of IT energy used by devices that ran nothing; 0: no IT energy"),
        Row("compressor_starts", "1", 0, BIG, "compressor starts"),
        Row("trips", "1", 0, BIG, "regions whose nodes stopped for heat, breaker or loss of power"),
        Row("faults", "1", 0, BIG, "faults of cooling plants that began"),
        Row("moved_tb", "TB", 0, BIG, "data moved between regions"),
        Row("network_mwh", "MWh", 0, BIG, "energy of moving it, beside that of the sites"),
        Row("let_device_h", "device h", 0, BIG, "device-hours let to others"),
        Row("reclaimed", "1", 0, BIG, "rented pools taken back by their owners"),
    ),
)

# What a reader asks first; the report's main table shows these, in this order.
HEADLINE = (
    "total_usd", "usd_per_device_hour", "energy_mwh", "pue", "tue", "carbon_t", "water_m3", "completed",
    "late_share", "late_hours", "slo_miss_share", "wait_h_per_job", "excursion_kh", "lost_device_h",
    "idle_share",
)  # fmt: skip

# KPIs for which more is better; every other one is a cost, a burden or neutral.
MORE_IS_BETTER = frozenset(
    {"completed", "erf", "ref", "cer", "renewable_mwh", "heat_sold_mwh", "let_device_h"}
)
COOLING = ("air_fans", "compressors", "pumps", "rejection", "humidifiers")  # rows of FLOWS


def kpis(terms: npt.ArrayLike, flows: npt.ArrayLike, counts: npt.ArrayLike) -> Array:
    """Key figures of episodes from the ledger's episode sums.

    Args:
        terms: `[..., len(TERMS)]` USD.
        flows: `[..., R, len(FLOWS)]` in the units of `FLOWS`.
        counts: `[..., len(COUNTS)]` in the units of `COUNTS`.

    Returns:
        float64 `[..., len(KPIS)]` in the units of `KPIS`.
    """
    t = np.asarray(terms, np.float64)
    f = _columns(FLOWS, np.asarray(flows, np.float64).sum(axis=-2))
    c = _columns(COUNTS, np.asarray(counts, np.float64))
    total = t.sum(axis=-1)
    site = site_energy(f)
    green, cooling = f["pv"] + f["wind"], sum((f[k] for k in COOLING), np.zeros(total.shape))
    compute = f["it"] - f["server_fans"] - f["leakage"]
    values: dict[str, Any] = {
        "total_usd": total,
        **{f"usd_{name}": t[..., i] for i, name in enumerate(TERMS.names)},
        "usd_per_device_hour": _ratio(total, c["work"] - c["lost_work"], 0.0),
        "energy_mwh": f["grid"] / 1e3,
        "it_mwh": f["it"] / 1e3,
        "cooling_mwh": cooling / 1e3,
        "site_mwh": site / 1e3,
        "pue": _ratio(site, f["it"], 1.0),
        "tue": _ratio(site, compute, 1.0),
        "wue_l_per_kwh": _ratio(f["water"], f["it"], 0.0),
        "cue_kg_per_kwh": _ratio(f["carbon"], f["it"], 0.0),
        "erf": _ratio(f["heat_reused"], site, 0.0),
        "ref": _ratio(green, site, 0.0),
        "cer": _ratio(f["heat_removed"], cooling, 0.0),
        "renewable_mwh": green / 1e3,
        "spilled_share": _ratio(f["spilled"], green + f["spilled"], 0.0),
        "stored_mwh": f["storage_out"] / 1e3,
        "generator_mwh": f["generator"] / 1e3,
        "fuel_l": f["fuel"],
        "above_limit_mwh": f["above_limit"] / 1e3,
        "heat_sold_mwh": f["heat_reused"] / 1e3,
        "carbon_t": (f["carbon"] + f["network_carbon"]) / 1e3,
        "water_m3": f["water"] / 1e3,
        "late_share": _ratio(c["late"], c["completed"], 0.0),
        "slo_miss_share": _ratio(c["slo_miss"], c["lease"], 0.0),
        "wait_h_per_job": _ratio(c["wait"], c["arrived"], 0.0),
        "excursion_kh": f["excursion"],
        "throttled_h": f["throttled"],
        "busy_device_h": f["busy"],
        "work_device_h": c["work"],
        "lost_device_h": c["lost_work"],
        "idle_share": _ratio(f["idle"], f["it"], 0.0),
        "compressor_starts": f["starts"],
        "moved_tb": c["moved"] / 1e3,
        "network_mwh": f["network"] / 1e3,
        "let_device_h": f["let"],
    }
    return np.stack([values[n] if n in values else c[n] for n in KPIS.names], axis=-1)


def site_energy(flows: Mapping[str, Array]) -> Array:
    """E_DC: energy that came in from all sources and did not stay in store [kWh], from flows by name [kWh]."""
    f = flows
    sources = f["grid"] + f["generator"] + f["pv"] + f["wind"]
    return np.asarray(sources + f["storage_out"] - f["storage_in"] + f["storage_loss"])


def _columns(table: Table, sums: Array) -> dict[str, Array]:
    return {name: sums[..., i] for i, name in enumerate(table.names)}


def _ratio(over: Array, under: Array, neutral: float) -> Array:
    some = under > 1e-9  # kWh, jobs or hours: below that nothing happened
    return np.where(some, over / np.where(some, under, 1.0), neutral)
