"""A report of an evaluation: results.json, report.md and .html with figures, TensorBoard files; verdict first."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents import board, stats
from agents.compare import BOOTSTRAP_SEED, Comparison, Line, compare, money, money_interval, number
from agents.evaluation import EVAL_SEED_BASE, Results
from agents.figures import CAPTIONS, draw
from agents.page import page
from agents.parts import FOLDER as PARTS
from agents.parts import PLAN
from gcn_env.errors import UserError
from gcn_env.ledger import TERMS
from gcn_env.metrics import HEADLINE, KPIS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1  # of results.json; rises when a reader would have to change
OTHER_FILES = ("scenario.yaml",)


def prepare(out: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Make the folder of a report; an earlier report in it stays until `write` replaces it.

    Raises:
        UserError: if `out` is a file, or holds something without `overwrite`, or holds what is no report; with
            `resume`, if it holds no parts of an evaluation.
    """
    if resume:
        if not (out / PARTS / PLAN).is_file():
            raise UserError(f"{out} holds no interrupted evaluation; leave out --resume to begin one")
        return
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out needs a folder")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise UserError(
                f"{out} is not empty; choose another --out, add --overwrite to replace its report, "
                "or --resume to go on with an interrupted one"
            )
        if not any((out / name).exists() for name in ("results.json", f"{PARTS}/{PLAN}")):
            raise UserError(
                f"{out} holds something that is not a report; it is left as it is: choose another --out"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}; choose another --out") from None


def free_folder(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def write(
    out: Path,
    results: Results,
    meta: Mapping[str, Any],
    extra: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Comparison:
    """Write everything into `out` (see `prepare`) and return what was concluded.

    Args:
        out: folder.
        results: measured.
        meta: plain values: command, config, versions, fingerprints; saved as they are.
        extra: further pages in Markdown by heading: the scenario, the learned policies.
        files: further text files by name, from those in `OTHER_FILES`.
    """
    _clear(out)
    comparison = compare(results, meta.get("notes", ()))
    images = {name: png(figure) for name, figure in draw(results, comparison).items()}
    for name, data in images.items():
        path = out / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    pages = markdown_pages(results, comparison, meta, extra)
    title = f"Evaluation: {meta.get('scenario', 'fleet')}"
    first, *rest = pages.values()
    text = "\n\n".join([f"# {title}", first, *rest[:-1], _gallery(list(images)), *rest[-1:]]) + "\n"
    (out / "report.md").write_text(text, encoding="utf-8")
    (out / "report.html").write_text(page(title, text, images), encoding="utf-8")
    board.write(out / "tensorboard", results, comparison, images, pages)
    for name, content in (files or {}).items():
        (out / name).write_text(content, encoding="utf-8")
    # Last, since this file marks a folder as a finished report.
    payload = json.dumps(to_json(results, comparison, meta), indent=1, allow_nan=False)
    (out / "results.json").write_text(payload + "\n", encoding="utf-8")
    return comparison


def markdown_pages(
    results: Results, comparison: Comparison, meta: Mapping[str, Any], extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The report's sections by name; names sort in reading order."""
    pages = {
        "1_verdict": _verdict_page(results, comparison),
        "2_policies": "## Policies, cheapest first\n\n" + policy_table(comparison) + runs_table(results),
        "3_key_figures": "## Key figures, mean over episodes\n\n" + kpi_table(results, comparison, HEADLINE)
        + "\n\n### Money by term\n\n"
        + kpi_table(results, comparison, tuple(f"usd_{n}" for n in TERMS.names)),
    }  # fmt: skip
    for heading, text in (extra or {}).items():
        pages[f"{len(pages) + 1}_{heading.lower().replace(' ', '_')}"] = f"## {heading}\n\n{text}"
    pages[f"{len(pages) + 1}_how"] = _how_page(results, meta)
    return pages


def policy_table(comparison: Comparison) -> str:
    """Markdown: interquartile mean, paired difference, improvement (95 % intervals in brackets), verdict."""
    gap = any(x.gap is not None for x in comparison.lines)
    head = [
        "policy", "cost (IQM)", f"minus {comparison.reference}", "in per cent", "P(cheaper)",
        "verdict",
        *(["gap to bound closed"] if gap else []),
    ]  # fmt: skip
    rows = [[*_policy_cells(x), *([_percent(x.gap)] if gap else [])] for x in comparison.lines]
    if comparison.bound is not None:
        b, best = comparison.bound, comparison.line(comparison.reference).cost.value
        percent = f"{100.0 * (b.value / best - 1.0):+.1f} %" if best > 0 else ""
        rows.append(
            [
                "clairvoyant bound",
                money_interval(b),
                money(b.value - best, sign=True),
                percent,
                "",
                "",
                "100 %",
            ]
        )
    return table(head, rows)


def runs_table(results: Results) -> str:
    """Markdown: the training runs behind a policy, one by one; empty if there are none."""
    if not results.runs:
        return ""
    rows = [
        [
            f"{p}, run {i + 1}",
            money_interval(stats.interval(usd, seed=BOOTSTRAP_SEED)),
            money(float(usd.mean())),
        ]
        for p in results.runs
        for i, usd in enumerate(results.each_run("total_usd", p))
    ]
    return "\n\n### Training runs\n\n" + table(["run", "cost (IQM)", "plain mean"], rows)


def _policy_cells(x: Line) -> list[str]:
    name = f"**{x.policy}**" if x.learned else x.policy
    cells = [name, money_interval(x.cost)]
    if x.diff is None or x.improvement is None:
        return [*cells, "reference", "", "", ""]
    p, i = x.percent, x.improvement
    return [
        *cells,
        money_interval(x.diff, sign=True),
        "" if p is None else f"{p.value:+.1f} % ({p.low:+.1f} to {p.high:+.1f})",
        f"{i.value:.2f} ({i.low:.2f} to {i.high:.2f})",
        x.verdict or "",
    ]


def kpi_table(results: Results, comparison: Comparison, names: tuple[str, ...]) -> str:
    """Markdown: one row per key figure, one column per policy, cheapest first."""
    order = [x.policy for x in comparison.lines]
    rows = []
    for name in names:
        values = [float(results.kpi(name, p).mean()) for p in order]
        if any(values):
            unit = KPIS.rows[KPIS.index(name)].unit
            rows.append([f"{name} [{unit}]", *(number(v) for v in values)])
    return table(["key figure", *order], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def to_json(results: Results, comparison: Comparison, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Every per-episode number, the conclusions and the provenance, as plain values."""
    plain = {
        "format": FORMAT,
        "meta": dict(meta),
        "asked": results.asked,
        "episodes": results.episodes,
        "unfinished": list(results.unfinished),
        "seeds": [str(s) for s in results.seeds.tolist()],  # text: they exceed what JSON readers keep exact
        "seed_base": str(EVAL_SEED_BASE),
        "start": [{"year_row": int(y), "hour": float(h)} for y, h in results.start],
        "units": {r.name: r.unit for r in KPIS.rows},
        "learned": sorted(results.learned),
        "policies": {
            p: {n: results.kpi(n, p).tolist() for n in KPIS.names} for p in results.policies
        },
        "runs_total_usd": {p: results.each_run("total_usd", p).tolist() for p in results.runs},
        "bound_usd": None if results.bound is None else results.bound.tolist(),
        "bound": None if comparison.bound is None else {**asdict(comparison.bound), "mean": comparison.bound_mean},
        "bootstrap": {"seed": BOOTSTRAP_SEED, "resamples": stats.RESAMPLES, "level": 0.95},
        "reference": comparison.reference,
        "comparison": [_line_json(x) for x in comparison.lines],
        "verdict": list(comparison.sentences),
        "warnings": list(comparison.warnings),
    }  # fmt: skip
    cleaned: dict[str, Any] = _finite(plain)
    return cleaned


def _line_json(x: Line) -> dict[str, Any]:
    plain = asdict(x)
    plain["side"] = {
        n: {"mean": v, "difference": asdict(d), "verdict": said} for n, (v, d, said) in x.side.items()
    }
    return plain


def _finite(value: Any) -> Any:
    """JSON has no NaN: such numbers become null."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def scenario_yaml(world: Any) -> str:
    """The resolved scenario, loadable as it is."""
    import yaml

    text: str = yaml.safe_dump(world.scenario.model_dump(mode="json", exclude_none=True), sort_keys=False)
    return text


def scenario_page(world: Any, split: str) -> str:
    """The world in Markdown: what it is, its regions and pools."""
    s = world.scenario
    rows = [
        [
            name,
            r.plant.archetype,
            f"{r.latitude_deg:.1f}, {r.longitude_deg:.1f}",
            "; ".join(f"{pool}: {p.devices} x {p.hardware}" for pool, p in r.pools.items()),
        ]
        for name, r in s.regions.items()
    ]
    return (
        f"**{world.name}** (`{world.fingerprint}`): {' '.join(s.doc.split())}\n\n"
        f"Episodes of {world.horizon} steps of {60 * world.step_h:g} min from the {split} windows; carbon at "
        f"{s.prices.carbon_usd_per_t:g} USD/t.\n\n"
        + table(["region", "plant archetype", "latitude, longitude [deg]", "pools [devices]"], rows)
    )


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 2})
    return buffer.getvalue()


def _verdict_page(results: Results, comparison: Comparison) -> str:
    lines = ["## Verdict", "", "\n\n".join(comparison.sentences)]
    if comparison.warnings:
        lines += ["", *(f"- **Note:** {w}" for w in comparison.warnings)]
    lines += [
        "",
        f"*{results.episodes} paired episodes. Costs are interquartile means in USD per episode; intervals "
        "are 95 % percentile bootstraps; an interval that touches zero is called no difference. The "
        "reference is the rule that was cheapest on these very episodes, which favours it. Other figures are "
        "means.*",
    ]
    return "\n".join(lines)


def _how_page(results: Results, meta: Mapping[str, Any]) -> str:
    known = {k: v for k, v in meta.items() if k not in ("notes", "command")}
    return (
        "## How this was made\n\n"
        f"```\n{meta.get('command', '')}\n```\n\n"
        f"Episode seeds {results.seeds[0]} to {results.seeds[-1]}, the same for every policy.\n\n"
        f"```json\n{json.dumps(_finite(known), indent=1)}\n```"
    )


def _gallery(names: list[str]) -> str:
    parts, rank = ["## Figures"], list(CAPTIONS)
    for name in sorted(names, key=lambda n: rank.index(n.partition("/")[0])):
        parts.append(f"{CAPTIONS[name.partition('/')[0]]}\n\n![{name}](figures/{name}.png)")
    return "\n\n".join(parts)


def _percent(x: float | None) -> str:
    return "" if x is None else f"{x:.0f} %"


def _clear(out: Path) -> None:
    """Remove what `write` wrote into `out`, and nothing else."""
    for name in ("results.json", "report.md", "report.html", *OTHER_FILES):
        (out / name).unlink(missing_ok=True)
    for pattern in ("figures/**/*.png", "tensorboard/**/events.out.tfevents.*"):
        for path in sorted(out.glob(pattern)):
            path.unlink()
    for folder in sorted([*out.glob("tensorboard/*"), *out.glob("figures/*")], reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
