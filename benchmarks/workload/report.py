"""What the validation of the work writes: Markdown, JSON, PNG figures."""

from __future__ import annotations

import json

import numpy as np

from agents.report import png, table

from .figures import CAPTIONS
from .measures import LIMIT
from .misses import MISSES

FORMAT = 1


def number(value):
    """Three significant figures; nothing where there is no single number."""
    return "" if not np.isfinite(value) else f"{value:.3g}"


def verdict(row):
    """Pass or miss."""
    return "pass" if row.passed else "**miss**"


def rows_table(rows):
    """One line a statistic."""
    head = [
        "source",
        "statistic",
        "real",
        "generated 5 %",
        "50 %",
        "95 %",
        "distance",
        "yardstick",
        "ratio",
        "of",
        "",
    ]
    body = []
    for r in rows:
        parts = f"{r.parts} x {r.part_days:g} d" if not r.borrowed else f"as {r.borrowed}"
        figures = (r.real, r.low, r.middle, r.high, r.distance, r.yardstick)
        ratio = f"{r.ratio:.2f}" if np.isfinite(r.ratio) else "inf"
        body.append([r.source, f"{r.measure} ({r.meaning})", *map(number, figures), ratio, parts, verdict(r)])
    return table(head, body)


def summary(rows):
    """Rows inside, by source and in all."""
    names = list(dict.fromkeys(r.source for r in rows))
    lines = [
        [n, str(sum(r.passed for r in rows if r.source == n)), str(sum(r.source == n for r in rows))]
        for n in names
    ]
    total = ["all", str(sum(r.passed for r in rows)), str(len(rows))]
    return table(["source", "inside", "of"], [*lines, total])


def misses_list(rows):
    """Why each miss misses."""
    missed = [r for r in rows if not r.passed]
    lines = [
        f"- **{r.source}, {r.measure}** ({r.ratio:.2f} yardsticks): "
        + MISSES.get((r.source, r.measure), "not explained.")
        for r in missed
    ]
    return "\n".join(lines) or "None."


def pages(rows, sources, meta):
    """Sections of the page, in reading order."""
    inside = sum(r.passed for r in rows)
    share = 100.0 * inside / len(rows)
    traces = [[s.name, s.what, s.file.removesuffix(".gz"), meta["fingerprints"][s.name]] for s in sources]
    return [
        f"## {inside} of {len(rows)} statistics within {LIMIT:g} yardsticks ({share:.0f} %)\n\n"
        "The yardstick of a statistic is its mean distance between parts of the real trace (column `of`); the "
        "generator's is the mean distance between a part of the trace and an equally long part of a generated sample: "
        f"one law on both sides gives a ratio of 1. {meta['replicas']} generated samples as long as the trace; the "
        "columns 5, 50, 95 % are theirs, `real` is the whole trace's. The generated side is the simulator's own "
        "kernels (`gcn_env.core.workload.arrive`, `traffic`) on a compiled world.\n\n" + summary(rows),
        "## Statistics\n\n" + rows_table(rows).replace("---:", "---"),
        "## Misses\n\n" + misses_list(rows),
        "## Traces\n\n" + table(["source", "trace", "file", "SHA-256"], traces).replace("---:", "---"),
    ]


def to_json(rows, meta):
    """Everything as plain values; what is not finite becomes null."""

    def plain(value):
        return None if isinstance(value, float) and not np.isfinite(value) else value

    listed = [
        {k: plain(v) for k, v in vars(r).items()}
        | {
            "ratio": plain(float(r.ratio)),
            "passed": bool(r.passed),
            "explanation": MISSES.get((r.source, r.measure)),
        }
        for r in rows
    ]
    return {
        "format": FORMAT,
        "meta": meta,
        "passed": sum(r.passed for r in rows),
        "of": len(rows),
        "rows": listed,
    }


def write(out, rows, sources, meta, figures):
    """Write everything below `out`; returns the sections of the page."""
    sections = pages(rows, sources, meta)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (out / "figures" / f"{name}.png").write_bytes(png(figure))
    gallery = "\n\n".join(f"![{CAPTIONS[n]}](figures/{n}.png)\n\n*{CAPTIONS[n]}*" for n in figures)
    head = ["# Validation of the generated work", f"`{meta['command']}`"]
    (out / "validation.md").write_text(
        "\n\n".join([*head, *sections, gallery]).rstrip() + "\n", encoding="utf-8"
    )
    text = json.dumps(to_json(rows, meta), indent=1, allow_nan=False)
    (out / "validation.json").write_text(text + "\n", encoding="utf-8")
    return sections
