"""TensorBoard files of an evaluation.

One sub-run per policy, so that policies share a chart; figures and pages are in the sub-run `report`. Scalars
of `kpi`, `kpi_usd` and `kpi_more` have the paired episode as their step, those of `timeline` the hour of the
first episode; `kpi_iqm` holds the interquartile means, which the HParams tab tabulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents import stats
from agents.compare import Comparison
from agents.evaluation import Results
from agents.events import Events
from agents.figures.style import slug
from gcn_env.metrics import HEADLINE, KPIS
from gcn_env.record import FLEET, Record

REPORT_RUN = "report"
MOST = 30  # policies; TensorBoard hides everything by default where there are more than forty runs
LAYOUT = {  # of the Custom Scalars tab
    "What it costs": {
        "whole bill [USD per episode]": ["kpi/total_usd"],
        "bill per device-hour of work [USD]": ["kpi/usd_per_device_hour"],
        "energy [USD]": ["kpi_usd/energy"],
        "demand charge [USD]": ["kpi_usd/demand"],
        "carbon [USD]": ["kpi_usd/carbon"],
        "late work and latency credits [USD]": ["kpi_usd/late", "kpi_usd/slo"],
    },
    "Service": {
        "late jobs [share of those finished]": ["kpi/late_share"],
        "late work [job-hours]": ["kpi/late_hours"],
        "latency misses [share of lease-hours]": ["kpi/slo_miss_share"],
        "waiting [h per job]": ["kpi/wait_h_per_job"],
        "jobs finished": ["kpi/completed"],
    },
    "Energy, carbon, water, heat": {
        "energy [MWh]": ["kpi/energy_mwh"],
        "carbon [t CO2e]": ["kpi/carbon_t"],
        "water [m3]": ["kpi/water_m3"],
        "PUE": ["kpi/pue"],
        "TUE": ["kpi/tue"],
        "heat above the limit [K h]": ["kpi/excursion_kh"],
    },
    "First episode, hour by hour": {
        "bill so far [kUSD]": ["timeline/bill_kusd"],
        "power from the grid [MW]": ["timeline/grid_mw"],
        "cooling over IT power [%]": ["timeline/cooling_percent"],
        "hottest inlet [degC]": ["timeline/hottest_inlet_c"],
        "load [% of devices]": ["timeline/load_percent"],
    },
}


def write(
    folder: Path,
    results: Results,
    comparison: Comparison,
    images: Mapping[str, bytes],
    pages: Mapping[str, str],
) -> None:
    """Write event files below `folder`, which must not hold any yet.

    Args:
        folder: what `tensorboard --logdir` is to be pointed at.
        results: measured; of more than `MOST` policies, the learned and the cheapest get a run.
        comparison: of the results.
        images: PNG files by tag.
        pages: Markdown by tag.
    """
    units = {row.name: row.unit for row in KPIS.rows}
    with Events(folder / REPORT_RUN) as run:
        run.experiment(
            ("kind", "placement", "cooling"), {f"kpi_iqm/{n}": f"{n} [{units[n]}]" for n in HEADLINE}
        )
        run.layout(LAYOUT)
        for tag, text in pages.items():
            run.text(tag, text)
        for tag, png in images.items():
            run.image(f"figures/{tag}", png)
    first = dict.fromkeys(
        [x.policy for x in comparison.lines if x.learned] + [x.policy for x in comparison.lines]
    )
    for name in [*first][:MOST]:
        with Events(folder / slug(name)) as run:
            run.session(name, _kind(name, learned=name in results.learned))
            for row, values in zip(KPIS.rows, results.kpis[results.policies.index(name)].T, strict=True):
                what = f"{row.doc} [{row.unit}]; step: paired episode"
                run.scalars(kpi_tag(row.name), values, what)
            for kpi in HEADLINE:
                value = float(stats.iqm(results.kpi(kpi, name)))
                unit = KPIS.rows[KPIS.index(kpi)].unit
                run.scalars(f"kpi_iqm/{kpi}", np.array([value]), f"interquartile mean over episodes [{unit}]")
            if name in results.records:
                for tag, (values, unit) in hourly(results.records[name]).items():
                    run.scalars(f"timeline/{tag}", values, f"[{unit}]; first episode, step: hour")


def kpi_tag(name: str) -> str:
    """Tag of a key figure: headline figures share the first group, money terms and the rest have theirs."""
    if name in HEADLINE:
        return f"kpi/{name}"
    return f"kpi_usd/{name.removeprefix('usd_')}" if name.startswith("usd_") else f"kpi_more/{name}"


def hourly(record: Record) -> dict[str, tuple[npt.NDArray[Any], str]]:
    """Fleet series of a record's first episode: tag to (values `[T]`, unit)."""
    fleet = {n: record.fleet[0, :, i] for i, n in enumerate(FLEET.names)}
    return {
        "bill_kusd": (record.usd[0].sum(axis=-1).cumsum() / 1e3, "kUSD so far"),
        "grid_mw": (record.region("grid").sum(axis=-1) / 1e3, "MW from the grid"),
        "load_percent": (100 * record.region("load").mean(axis=-1), "% of devices, mean over regions"),
        "hottest_inlet_c": (record.region("hot").max(axis=-1), "degC, hottest region"),
        "cooling_percent": (
            100 * record.region("cooling").sum(axis=-1) / np.maximum(record.region("it").sum(axis=-1), 1e-9),
            "% of IT power",
        ),
        "queued_device_h": (
            record.region("queue").sum(axis=-1),
            "device-hours waiting at pools or on the way",
        ),
        "jobs_pending": (fleet["pending"], "jobs waiting for a decision"),
        "jobs_running": (fleet["running"], "jobs running"),
    }


def _kind(policy: str, *, learned: bool) -> dict[str, str]:
    """What the HParams tab says of a policy."""
    if learned:
        return dict.fromkeys(("kind", "placement", "cooling"), "learned")
    placement, _, cooling = policy.removeprefix("rule:").partition("+")
    return {"kind": "rule", "placement": placement, "cooling": cooling or "none"}
