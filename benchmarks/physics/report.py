"""What the validation writes: Markdown, JSON, PNG figures and TensorBoard files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.events import Events
from agents.report import png, table

from .annual_rows import EVERY
from .misses import MISSES
from .table import ROWS, Check, Finding
from .year import MEANING, POLICIES, Lab

CAPTIONS = {
    "pue": "PUE by archetype, climate and policy; grey: published band of that kind of plant there.",
    "wue": "Site water per IT energy; archetypes that evaporate nothing are left out.",
    "savings": "Cooling energy saved by climate (columns) and archetype (rows); negative: spends more.",
    "monthly_pue": "PUE of each month under B1.",
    "curves": "Component curves of the kernels with the published points.",
    "loss_of_cooling": "Inlet temperature after coil and air-handler fans stop, server fans running.",
}


def shown(check: Check) -> str:
    """One number with its unit, its limits where it misses them."""
    unit = "" if check.unit in ("1", "kWh/kWh") else f" {check.unit}"
    text = f"{check.label} {check.value:.{check.digits}f}{unit}"
    return text if check.inside else f"**{text}**"


def verdict(finding: Finding) -> str:
    """Pass or miss."""
    return "pass" if finding.passed else "**miss**"


def rows_table(findings: Sequence[Finding]) -> str:
    """Markdown: one line a row."""
    head = ["#", "target", "published", "tolerance", "kind", "ours", "verdict"]
    body = [
        [
            str(f.row.number), f.row.target, f.row.published, f.row.tolerance, f.row.kind,
            "; ".join(shown(c) for c in f.checks), verdict(f),
        ]
        for f in findings
    ]  # fmt: skip
    return table(head, body).replace("---:", "---")


def misses_list(findings: Sequence[Finding]) -> str:
    """Why each miss misses."""
    missed = [f for f in findings if not f.passed]
    if not missed:
        return "None."
    return "\n".join(
        f"- **Row {f.row.number}**, {f.row.target}: {MISSES.get(f.row.number, 'not explained.')}"
        for f in missed
    )


def how_list(findings: Sequence[Finding]) -> str:
    """Conditions and source of each row."""
    head = ["#", "measured by", "source of the published figure"]
    return table(head, [[str(f.row.number), f.how, f.row.source] for f in findings]).replace("---:", "---")


def years_table(lab: Lab) -> str:
    """Markdown: what was simulated, one line for each archetype and climate."""
    policies = [p for p in POLICIES if any(y[2] == p for y in lab.years)]
    head = ["plant", "climate", *(f"PUE {p}" for p in policies), *(f"WUE {p}" for p in policies), "TUE B1"]
    head += [f"saves {p} over B1 [%]" for p in policies[2:]]
    head += ["oracle: facility over B1 [%]", "oracle: K h over limits"] if "oracle" in policies else []
    body = []
    for key in lab.keys:
        for climate in EVERY:
            years = [lab.year(key, climate, p) for p in policies]
            line = [
                key,
                climate,
                *(f"{y.pue:.3f}" for y in years),
                *(f"{y.wue:.2f}" for y in years),
                f"{years[1].tue:.3f}",
            ]
            line += [f"{lab.saving(key, climate, p, 'B1'):.1f}" for p in policies[2:]]
            if "oracle" in policies:
                line += [
                    f"{lab.saving(key, climate, 'oracle', 'B1', 'facility'):.1f}",
                    f"{years[-1].total('excursion'):.2f}",
                ]
            body.append(line)
    return table(head, body)


def pages(findings: Sequence[Finding], lab: Lab, meta: Mapping[str, Any], study: bool) -> dict[str, str]:
    """Sections of the page by name; names sort in reading order."""
    passed = sum(f.passed for f in findings)
    calibrated = sum(f.row.kind == "calibration" for f in findings)
    out = {
        "1_rows": f"## {passed} of {len(findings)} rows inside tolerance\n\n"
        f"{calibrated} of them chose parameters (calibration), {len(findings) - calibrated} did not. {meta['mode']} "
        "PUE bands are wide and falsify gross errors only; the curves (rows 13 on) are the strong tests.\n\n"
        + rows_table(findings),
        "2_misses": "## Misses\n\n" + misses_list(findings),
        "3_how": "## How each row is measured\n\nSource tags: V read there; R recalled from the literature and not "
        "checked again, so an assumption; C computed; E engineering judgement.\n\n" + how_list(findings),
        "4_weather": "## Weather\n\n"
        + table(["climate", "weather"], [[c, lab.weather(c).origin] for c in EVERY]).replace("---:", "---"),
    }  # fmt: skip
    if study:
        policies = "\n".join(f"- {p}: {MEANING[p]}" for p in MEANING if any(y[2] == p for y in lab.years))
        seconds = sum(y.seconds for (_, _, p), y in lab.years.items() if p in POLICIES)
        count = sum(p in POLICIES for _, _, p in lab.years)
        out["5_years"] = (
            f"## Plant-years\n\n{count} plant-years ({len(lab.keys)} archetypes, {len(EVERY)} climates; decisions "
            f"every hour, full dynamics) took {seconds:.0f} s on one core. Savings are of cooling energy unless "
            "they say facility.\n\n"
            f"{policies}\n\n{years_table(lab)}"
        )
    return out


def to_json(findings: Sequence[Finding], lab: Lab, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as plain values; a number that is not finite becomes text."""
    rows = []
    for f in findings:
        checks = [
            {**c._asdict(), "value": _finite(c.value), "inside": c.inside, "judged": c.judged}
            for c in f.checks
        ]
        miss = None if f.passed else MISSES.get(f.row.number, "not explained")
        rows.append(
            {**f.row._asdict(), "passed": f.passed, "how": f.how, "checks": checks, "explanation": miss}
        )
    years = [
        {
            "archetype": k, "climate": c, "policy": p, "pue": y.pue, "wue_l_per_kwh": y.wue, "tue": y.tue,
            "cooling_kwh_per_kw": y.cooling, "facility_kwh_per_kw": y.facility, "excursion_k_h": y.total("excursion"),
            "hottest_inlet_c": y.hottest_c, "monthly_pue": y.monthly_pue.tolist(), "seconds": y.seconds,
        }
        for (k, c, p), y in lab.years.items()
    ]  # fmt: skip
    weather = {c: lab.weather(c).origin for c in EVERY}
    passed = sum(f.passed for f in findings)
    return {
        "format": 1,
        "meta": dict(meta),
        "passed": passed,
        "of": len(ROWS),
        "rows": rows,
        "weather": weather,
        "years": years,
    }


def _finite(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(value)


def write(
    out: Path, findings: Sequence[Finding], lab: Lab, meta: Mapping[str, Any], figures: Mapping[str, Any]
) -> dict[str, str]:
    """Write everything below `out`; returns the sections of the page."""
    sections = pages(findings, lab, meta, study=bool(figures))
    images = {name: png(figure) for name, figure in figures.items()}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in images.items():
        (out / "figures" / f"{name}.png").write_bytes(data)
    gallery = "\n\n".join(f"![{CAPTIONS[n]}](figures/{n}.png)\n\n*{CAPTIONS[n]}*" for n in images)
    page = (
        "\n\n".join(
            ["# Validation of the plant physics", f"`{meta['command']}`", *sections.values(), gallery]
        ).rstrip()
        + "\n"
    )
    (out / "validation.md").write_text(page, encoding="utf-8")
    payload = json.dumps(to_json(findings, lab, meta), indent=1, allow_nan=False)
    (out / "validation.json").write_text(payload + "\n", encoding="utf-8")
    _board(out / "tensorboard", findings, lab, sections, images)
    return sections


def _board(
    folder: Path,
    findings: Sequence[Finding],
    lab: Lab,
    sections: Mapping[str, str],
    images: Mapping[str, bytes],
) -> None:
    with Events(folder / "validation") as run:
        for tag, text in sections.items():
            run.text(tag, text)
        for tag, data in images.items():
            run.image(f"figures/{tag}", data)
        run.scalars(
            "rows/passed", np.array([float(sum(f.passed for f in findings))]), "rows inside tolerance"
        )
        for f in findings:
            judged = np.array([c.value for c in f.checks if c.judged])
            run.scalars(
                f"row/{f.row.number:02d}", judged, f"{f.row.target}; published {f.row.published}; step: check"
            )
    for policy in dict.fromkeys(p for _, _, p in lab.years):
        with Events(folder / policy) as run:
            for key in lab.keys:
                known = [c for c in EVERY if (key, c, policy) in lab.years]
                years = [lab.years[key, c, policy] for c in known]
                note = "; step: " + ", ".join(f"{i} {c}" for i, c in enumerate(known))
                run.scalars(f"pue/{key}", np.array([y.pue for y in years]), "PUE [kWh/kWh]" + note)
                run.scalars(f"wue/{key}", np.array([y.wue for y in years]), "WUE [L/kWh]" + note)
                for climate, year in zip(known, years, strict=True):
                    run.scalars(
                        f"monthly_pue_{key}/{climate}", year.monthly_pue, "PUE [kWh/kWh]; step: month from 0"
                    )
