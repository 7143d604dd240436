"""Key figures of an episode, computed from what the ledger booked and from nothing else.

Ratios are ratios of episode sums, never means of ratios. A ratio without a denominator (no work, no lease) is
its neutral value, named in its row, so that a report never averages over NaN.
"""

from __future__ import annotations

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
        Row("pue", "1", 0, 100, "grid energy over IT energy of the episode (ISO/IEC 30134-2); 1: none"),
        Row("tue", "1", 0, 100, "grid energy over IT energy without server fans and extra leakage; 1: none"),
        Row("wue_l_per_kwh", "L/kWh", 0, 1e4, "site water per IT energy (ISO/IEC 30134-9)"),
        Row("cue_kg_per_kwh", "kgCO2e/kWh", 0, 1e4, "life-cycle emissions per IT energy (ISO/IEC 30134-8)"),
        Row("carbon_t", "tCO2e", 0, BIG, "life-cycle emissions of grid energy"),
        Row("water_m3", "m3", 0, BIG, "make-up water"),
        Row("arrived", "jobs", 0, BIG, "jobs that arrived"),
        Row("completed", "jobs", 0, BIG, "jobs that finished"),
        Row("late_share", "1", 0, 1, "late jobs among those that finished; 0: none finished"),
        Row("late_hours", "job h", 0, BIG, "job-hours past deadlines"),
        Row("slo_miss_share", "1", 0, 1, "lease-hours that waited or were served too far away; 0: no leases"),
        Row("wait_h_per_job", "h", 0, BIG, "hours pending, travelling or queued per job that arrived"),
        Row("killed", "jobs", 0, BIG, "job runs ended by a failure or outage"),
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
        Row("moved_tb", "TB", 0, BIG, "data moved between regions"),
    ),
)

# What a reader asks first; the report's main table shows these, in this order.
HEADLINE = (
    "total_usd", "usd_per_device_hour", "energy_mwh", "pue", "tue", "carbon_t", "water_m3", "completed",
    "late_share", "late_hours", "slo_miss_share", "wait_h_per_job", "excursion_kh", "lost_device_h",
    "idle_share",
)  # fmt: skip

# KPIs for which more is better; every other one is a cost, a burden or neutral.
MORE_IS_BETTER = frozenset({"completed"})


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
    compute = f["it"] - f["server_fans"] - f["leakage"]
    values: dict[str, Any] = {
        "total_usd": total,
        **{f"usd_{name}": t[..., i] for i, name in enumerate(TERMS.names)},
        "usd_per_device_hour": _ratio(total, c["work"] - c["lost_work"], 0.0),
        "energy_mwh": f["grid"] / 1e3,
        "it_mwh": f["it"] / 1e3,
        "cooling_mwh": sum(f[k] for k in ("air_fans", "compressors", "pumps", "rejection", "humidifiers"))
        / 1e3,
        "pue": _ratio(f["grid"], f["it"], 1.0),
        "tue": _ratio(f["grid"], compute, 1.0),
        "wue_l_per_kwh": _ratio(f["water"], f["it"], 0.0),
        "cue_kg_per_kwh": _ratio(f["carbon"], f["it"], 0.0),
        "carbon_t": f["carbon"] / 1e3,
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
    }
    return np.stack([values[n] if n in values else c[n] for n in KPIS.names], axis=-1)


def _columns(table: Table, sums: Array) -> dict[str, Array]:
    return {name: sums[..., i] for i, name in enumerate(table.names)}


def _ratio(over: Array, under: Array, neutral: float) -> Array:
    some = under > 1e-9  # kWh, jobs or hours: below that nothing happened
    return np.where(some, over / np.where(some, under, 1.0), neutral)
