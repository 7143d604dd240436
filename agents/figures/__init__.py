"""Every figure of a report, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.compare import Comparison
from agents.evaluation import Results
from agents.figures import costs, fleet, style, week

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {  # by the first part of a figure's name, in reading order
    "paired_difference": "Cost of every policy minus the reference's in the same episodes.",
    "cost_by_term": "What the bill is made of, mean over episodes.",
    "cost_carbon_late": "Cost against carbon and against late work: interquartile means, 95 % intervals.",
    "profile": "Share of episodes that cost at most so much.",
    "bill_over_time": "The bill of the first episode as it grows.",
    "following": "Does work follow price and sun? Load of regions that are dearer or cheaper than "
    "the others at that hour, and by the hour of the local day; first episode.",
    "matrix": "Where work runs, by where its users are; jobs that start and end within one control step are not seen.",
    "efficiency": "Energy of the sites over IT energy (PUE) and over IT energy without server fans and leakage (TUE).",
    "heads": "Cooling set-points against outside temperature; regions that draw most power.",
    "envelope": "Distance of the hottest inlet or coolant from its limit.",
    "work": "The first episode hour by hour: load, queue, price, carbon.",
    "halls": "The first episode hour by hour: weather, hottest inlet, set-point, cooling share.",
    "timeline": "The largest jobs of two days on their pools.",
}


def draw(results: Results, comparison: Comparison) -> dict[str, Figure]:
    """Every figure the results allow, by name; names are file stems and TensorBoard tags."""
    import matplotlib as mpl

    rc: Any = style.STYLE
    with mpl.rc_context(rc):
        out = {
            "cost_by_term": costs.cost_by_term(results, comparison),
            "cost_carbon_late": costs.tradeoffs(results, comparison),
            "profile": costs.profile(results, comparison),
        }
        if len(results.policies) > 1:
            out["paired_difference"] = costs.paired_differences(results, comparison)
        shown = style.recorded(results, comparison)[: style.SHOWN]
        if shown:
            out |= _first_episode(results, comparison, shown)
    return out


def _first_episode(results: Results, comparison: Comparison, shown: list[str]) -> dict[str, Figure]:
    """Figures that stand on the hourly record."""
    out = {
        "bill_over_time": costs.bill(results, comparison),
        "following": fleet.following(results, comparison),
        "efficiency": fleet.efficiency(results, comparison),
        "heads": fleet.heads(results, comparison),
        "envelope": week.envelope(results, comparison),
    }
    records = [results.records[p] for p in shown]
    if any(len(rows) for r in records for rows in r.stints[:1]):
        out["matrix"] = fleet.matrix(results, comparison)
    for name, rows in (("work", week.WORK), ("halls", week.HALLS)):
        scales = week.limits(records, rows)
        for p, record in zip(shown, records, strict=True):
            out[f"{name}/{style.slug(p)}"] = week.strips(record, p, results.fleet, rows, scales)
    for p, record in zip(shown, records, strict=True):
        if record.stints and len(record.stints[0]):
            out[f"timeline/{style.slug(p)}"] = week.timeline(record, p, results.fleet)
    return out
