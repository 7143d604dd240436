"""What the validation of signals writes: Markdown, JSON, PNG figures and TensorBoard files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.events import Events
from agents.report import png, table

from .measure import LIMIT, NEEDED, STATISTICS, VARIABLES, Cross, Row, Verdict

CAPTIONS = {
    "ratios": f"Distance of synthetic from real years over that of real from real; above {LIMIT:g} is outside.",
    "distribution": "Shares of hours below a value: real years grey, synthetic years coloured.",
    "autocorrelation": "Autocorrelation over the lag: real years grey, synthetic years coloured.",
    "day": "Mean by local hour of the day: real years grey, synthetic years coloured.",
    "cross_region": "Correlation of daily anomalies for each pair of regions, synthetic over real.",
}


def _cell(row: Row, statistic: str) -> str:
    ratio = row.ratio(statistic)
    text = f"{row.gap[statistic]:.3f} / {row.yardstick[statistic]:.3f} = {ratio:.2f}"
    return text if ratio <= LIMIT else f"**{text}**"


def verdict_table(v: Verdict) -> str:
    """Markdown: share of region-variables inside the limit by statistic."""
    lines = [[name, f"{100 * share:.0f} %"] for name, share in v.by_statistic.items()]
    lines += [
        ["autocorrelation, four lags added up", f"{100 * v.acf:.0f} %"],
        ["all region-variables and statistics", f"{100 * v.cells:.0f} %"],
        ["region-variables with all six inside", f"{100 * v.every:.0f} %"],
    ]
    return table(["statistic", f"within {LIMIT:g} x yardstick"], lines)


def rows_table(rows: Sequence[Row], variable: str) -> str:
    """Markdown: distance of synthetic years / yardstick = ratio, one line for each region."""
    body = []
    for r in rows:
        if r.variable == variable:
            cells = [_cell(r, s) for s in STATISTICS] if r.judged else ["one real year"] * len(STATISTICS)
            body.append([r.region, str(len(r.years)), *cells])
    return table(["region", "years", *STATISTICS], body)


def negative_table(rows: Sequence[Row]) -> str:
    """Markdown: share of hours below zero."""
    body = [[r.region, *(f"{100 * x:.2f}" for x in r.negative)] for r in rows if r.variable == "price"]
    return table(["region", "real, mean %", "lowest year %", "highest year %", "synthetic, mean %"], body)


def profile_table(rows: Sequence[Row]) -> str:
    """Markdown: root mean square gap of the hour-of-day profiles."""
    body = [
        [r.region, r.variable, f"{r.profile[1]:.3f}", f"{r.profile[0]:.3f}" if r.judged else "one real year"]
        for r in rows
    ]
    return table(["region", "variable", "synthetic from real", "real from real"], body)


def cross_table(crosses: Sequence[Cross]) -> str:
    """Markdown: mean absolute gap of the correlations between regions."""
    body = [
        [
            c.variable,
            str(len(c.pairs)),
            f"{c.gap:.3f}",
            f"{c.yardstick:.3f}",
            f"{np.abs(c.real - c.made).mean():.3f}",
        ]
        for c in crosses
    ]
    head = ["variable", "pairs", "synthetic from real year", "real from real year", "means of all years"]
    return table(head, body)


def pages(rows: Sequence[Row], v: Verdict, crosses: Sequence[Cross]) -> dict[str, str]:
    """Sections of the page by name; names sort in reading order."""
    state = "reached" if v.passed else "missed"
    have = [x for x in VARIABLES if any(r.variable == x for r in rows)]
    out = {
        "1_verdict": f"## Target {state}\n\nAt least {100 * NEEDED:.0f} % of {v.judged} region-variables within "
        f"{LIMIT:g} times the differences between real years, for each statistic and together.\n\n" + verdict_table(v),
        "2_rows": "## Region by region\n\nDistance of synthetic from real years / of real years from each other = "
        "ratio; outside in bold.\n\n" + "\n\n".join(f"### {x}\n\n{rows_table(rows, x)}" for x in have),
    }  # fmt: skip
    if "price" in have:
        out["3_negative"] = "## Hours with a price below zero\n\n" + negative_table(rows)
    out["4_day"] = (
        "## Hour-of-day profile\n\nRoot mean square gap of mean days, prices and carbon over the year's level, weather "
        "in K.\n\n" + profile_table(rows)
    )
    if crosses:
        out["5_cross"] = (
            "## Correlation between regions\n\nOf daily anomalies, mean absolute gap.\n\n"
            + cross_table(crosses)
        )
    return out


def to_json(
    rows: Sequence[Row], v: Verdict, crosses: Sequence[Cross], meta: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "format": 1,
        "meta": dict(meta),
        "limit": LIMIT,
        "needed": NEEDED,
        "passed": v.passed,
        "verdict": v._asdict(),
        "rows": [
            {
                "region": r.region, "variable": r.variable, "years": list(r.years), "judged": r.judged,
                "yardstick": r.yardstick if r.judged else None, "gap": r.gap,
                "ratio": {s: r.ratio(s) for s in STATISTICS} if r.judged else None,
                "acf_real": r.real_acf.tolist(), "acf_made": r.made_acf.tolist(),
                "negative_share": dict(zip(("real", "lowest", "highest", "made"), r.negative, strict=True))
                if r.variable == "price" else None,
                "day_profile": {"real": r.profile[0] if r.judged else None, "made": r.profile[1]},
            }
            for r in rows
        ],
        "cross_region": [
            {
                "variable": c.variable, "yardstick": c.yardstick, "gap": c.gap,
                "pairs": [
                    {"pair": "~".join(p), "real": x, "made": y}
                    for p, x, y in zip(c.pairs, c.real.tolist(), c.made.tolist(), strict=True)
                ],
            }
            for c in crosses if np.isfinite(c.yardstick)
        ],
    }  # fmt: skip


def caption(name: str) -> str:
    """Of a figure: the variable, if it has one, and what is drawn."""
    kind, _, variable = name.partition("-")
    return f"{variable}: {CAPTIONS[kind]}" if variable else CAPTIONS[kind]


def write(
    out: Path,
    rows: Sequence[Row],
    v: Verdict,
    crosses: Sequence[Cross],
    meta: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> dict[str, str]:
    """Write everything below `out`; returns the sections of the page."""
    sections = pages(rows, v, crosses)
    images = {name: png(figure) for name, figure in figures.items()}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in images.items():
        (out / "figures" / f"{name}.png").write_bytes(data)
    gallery = [f"![{caption(n)}](figures/{n}.png)\n\n*{caption(n)}*" for n in images]
    page = ["# Validation of the synthetic signals", f"`{meta['command']}`", *sections.values(), *gallery]
    (out / "validation.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
    payload = json.dumps(to_json(rows, v, crosses, meta), indent=1, allow_nan=False)
    (out / "validation.json").write_text(payload + "\n", encoding="utf-8")
    with Events(out / "tensorboard" / "signals") as run:
        for tag, text in sections.items():
            run.text(tag, text)
        for tag, data in images.items():
            run.image(f"figures/{tag}", data)
        for name, share in v.by_statistic.items():
            run.scalars(
                f"inside/{name}", np.array([share]), f"share of region-variables within {LIMIT:g} x yardstick"
            )
        for r in rows:
            if r.judged:
                ratios = np.array([r.ratio(s) for s in STATISTICS])
                run.scalars(
                    f"ratio_{r.variable}/{r.region}",
                    ratios,
                    "over the yardstick; step: " + ", ".join(STATISTICS),
                )
    return sections
