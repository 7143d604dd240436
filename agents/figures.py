"""Figures of a report: units on every axis, one colour per policy everywhere, safe for colour-blind readers.

Colours are those of Okabe and Ito, "Color universal design", 2008, with grey for yellow, which is unreadable
on white; policies past the eighth repeat them with another marker and line. matplotlib is imported by the
functions that draw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents import stats
from agents.compare import COST, Comparison
from agents.evaluation import Results
from gcn_env.ledger import TERMS
from gcn_env.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
MARKERS, LINES = ("o", "s", "^", "D", "v", "P"), ("-", "--", ":", "-.")
# Tol's muted set and two greys: one fixed colour per money term, apart from those of the policies.
TERM_COLOURS = (
    "#332288", "#88CCEE", "#117733", "#44AA99", "#999933", "#CC6677", "#AA4499", "#882255", "#661100",
    "#6699CC", "#888888", "#DDCC77", "#000000", "#EE7733", "#009988", "#0077BB", "#CCBB44", "#EE3377", "#FFAABB",
)  # fmt: skip
WIDTH, DPI = 7.2, 140  # inches, dots per inch: 1008 pixels; large letters, since TensorBoard shows thumbnails
STRIPS_AT_MOST, LINES_AT_MOST = 4, 8  # policies with a page of strips, and lines in the figure of a week
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow":
    True, "axes.grid": True, "grid.color": "#E3E3E3", "grid.linewidth": 0.8, "legend.frameon": False,
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.titlepad": 10,
}  # fmt: skip


class Look(NamedTuple):
    """How one policy is drawn in every figure."""

    colour: str
    marker: str
    line: str


def looks(results: Results, comparison: Comparison) -> dict[str, Look]:
    """Colour, marker and line of each policy: learned ones first, then the reference, then as asked for."""
    learned = [p for p in results.policies if p in results.learned]
    policies = list(dict.fromkeys([*learned, comparison.reference, *results.policies]))
    n = len(OKABE_ITO)
    return {
        p: Look(OKABE_ITO[i % n], MARKERS[i // n % len(MARKERS)], LINES[i // n % len(LINES)])
        for i, p in enumerate(policies)
    }


def draw(results: Results, comparison: Comparison) -> dict[str, Figure]:
    """Every figure the results allow, by name; names are file stems and TensorBoard tags."""
    import matplotlib as mpl

    style: Any = STYLE
    with mpl.rc_context(style):
        out = {
            "cost_by_term": cost_by_term(results, comparison),
            "cost_carbon_late": tradeoffs(results, comparison),
            "profile": profile(results, comparison),
        }
        if len(results.policies) > 1:
            out["paired_difference"] = paired_differences(results, comparison)
        shown = recorded(results, comparison)[:STRIPS_AT_MOST]
        if shown:
            out["bill_over_time"] = bill(results, comparison)
            limits = _limits([results.records[p] for p in shown])
            for p in shown:
                out[f"strips/{slug(p)}"] = strips(results.records[p], p, results.region_names, limits)
    return out


def recorded(results: Results, comparison: Comparison) -> list[str]:
    """Policies with a record, most wanted first: the reference, learned ones, then the cheapest."""
    first = [comparison.reference, *(x.policy for x in comparison.lines if x.learned)]
    order = dict.fromkeys([*first, *(x.policy for x in comparison.lines)])
    return [p for p in order if p in results.records]


def slug(policy: str) -> str:
    """A policy's name as a file and run name."""
    return re.sub(r"[^\w.+=-]+", "-", policy).strip("-") or "policy"


def cost_by_term(results: Results, comparison: Comparison) -> Figure:
    """Mean bill by term, cheapest policy on top."""
    order = [x.policy for x in comparison.lines][::-1]
    usd = np.stack([[results.kpi(f"usd_{t}", p).mean() for t in TERMS.names] for p in order]) / 1e3
    seen = [i for i in range(len(TERMS)) if np.abs(usd[:, i]).max() > 0.002 * np.abs(usd).sum(axis=1).max()]
    other = usd.sum(axis=1) - usd[:, seen].sum(axis=1)
    fig = _figure(1.7 + 0.36 * len(order))
    ax = fig.add_subplot()
    plus, minus = np.zeros(len(order)), np.zeros(len(order))
    parts = [(TERMS.names[i], usd[:, i], TERM_COLOURS[i]) for i in seen]
    if np.abs(other).max() > 5e-4 * np.abs(usd).sum(axis=1).max():
        parts.append(("other", other, "#CCCCCC"))
    for name, value, colour in parts:
        left = np.where(value >= 0, plus, minus)
        ax.barh(order, value, left=left, color=colour, label=name, height=0.72, edgecolor="white", lw=0.4)
        plus, minus = plus + np.maximum(value, 0), minus + np.minimum(value, 0)
    for y, (end, total) in enumerate(zip(plus, usd.sum(axis=1), strict=True)):
        ax.annotate(f"{total:,.1f}", (end, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    if results.bound is not None:
        ax.axvline(
            float(results.bound.mean()) / 1e3, color="black", ls="--", lw=1.4, label="clairvoyant bound"
        )
    ax.set_xlim(right=plus.max() * 1.1 + 1e-9)
    ax.set_xlabel(f"mean cost of {results.episodes} episodes [kUSD]; order: by interquartile mean")
    ax.grid(visible=False, axis="y")
    ax.set_title("What the bill is made of")
    _mark_learned(ax, comparison)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    return fig


def paired_differences(results: Results, comparison: Comparison) -> Figure:
    """Difference of the bill to the reference in the same episodes: dots, interquartile mean, interval."""
    lines = [x for x in comparison.lines if x.diff is not None][::-1]
    style = looks(results, comparison)
    base = results.kpi(COST, comparison.reference)
    fig = _figure(1.5 + 0.38 * len(lines))
    ax = fig.add_subplot()
    rng = np.random.default_rng(0)  # only spreads the dots
    for y, x in enumerate(lines):
        assert x.diff is not None
        d, look = (results.kpi(COST, x.policy) - base) / 1e3, style[x.policy]
        ax.scatter(d, y + rng.uniform(-0.22, 0.22, d.size), s=9, color=look.colour, alpha=0.3, lw=0)
        low, value, high = x.diff.low / 1e3, x.diff.value / 1e3, x.diff.high / 1e3
        ax.plot([low, high], [y, y], color=look.colour, lw=3.5, solid_capstyle="butt")
        ax.plot(value, y, look.marker, color=look.colour, ms=8, mec="white", mew=1.2)
        share = "" if x.percent is None else f"{x.percent.value:+.1f} %, {x.verdict}"
        ax.annotate(
            share, (1.0, y), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
    ax.axvline(0, color="#444444", lw=1.2)
    shown = np.percentile((results.kpi(COST) - base) / 1e3, [2.5, 97.5], axis=1).ravel()
    ends = [*shown, *(v / 1e3 for x in lines if x.diff for v in (x.diff.low, x.diff.high))]
    pad, scale = 0.04 * (max(ends) - min(ends)) or 1.0, float(stats.iqm(base)) / 1e3
    ax.set_xlim(min(ends) - pad, max(ends) + pad)
    note = ""
    if 0 < 2 * scale < max(ends):  # disasters beside differences of a few per cent
        near = float(f"{0.2 * scale:.1g}")
        ax.set_xscale("symlog", linthresh=near)
        ax.xaxis.set_major_formatter("{x:g}")
        note = f"; logarithmic beyond {near:g}"
    ax.set_yticks(range(len(lines)), [x.policy for x in lines])
    ax.set_ylim(-0.6, len(lines) - 0.4)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(
        f"cost minus {comparison.reference} [kUSD per episode{note}]\n"
        "dots: episodes (the outermost 5 % may lie outside); bar: 95 % interval of the interquartile mean",
        fontsize=9,
    )
    ax.set_title(f"Cost minus that of {_what(comparison)}: left of zero is cheaper")
    _mark_learned(ax, comparison)
    return fig


def tradeoffs(results: Results, comparison: Comparison) -> Figure:
    """Cost against carbon and against late work: interquartile means with intervals."""
    fig = _figure(3.6 + 0.21 * -(-len(results.policies) // 3))
    axes = fig.subplots(1, 2, sharey=True)
    style = looks(results, comparison)
    for ax, name, label in (
        (axes[0], "carbon_t", "carbon [t CO2e per episode]"),
        (axes[1], "late_hours", "late work [job-hours per episode]"),
    ):
        for x in comparison.lines:
            look = style[x.policy]
            e = stats.interval(results.kpi(name, x.policy), seed=0)
            ax.errorbar(
                e.value, x.cost.value / 1e3, xerr=_bars(e, 1.0), yerr=_bars(x.cost, 1e3),
                fmt=look.marker, color=look.colour, ms=9, mec="white", mew=1.2, elinewidth=1.0,
                label=x.policy,
            )  # fmt: skip
        ax.set_xlabel(label)
    _log_if_wide(
        axes[0], "y", np.array([v / 1e3 for x in comparison.lines for v in (x.cost.low, x.cost.high)])
    )
    axes[0].set_ylabel("cost [kUSD per episode]")
    axes[0].set_title("Cost against carbon")
    axes[1].set_title("Cost against late work")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


def profile(results: Results, comparison: Comparison) -> Figure:
    """Performance profile: share of episodes that cost at most so much."""
    fig = _figure(3.7 + 0.21 * -(-len(results.policies) // 3))
    ax, style = fig.add_subplot(), looks(results, comparison)
    costs = results.kpi(COST) / 1e3
    low, high = float(np.nanmin(costs)), float(np.nanmax(costs))
    grid = np.unique([low - 0.02 * (high - low), *costs[np.isfinite(costs)], high + 0.02 * (high - low)])
    for x in comparison.lines:
        look = style[x.policy]
        share = 100 * stats.performance_profile(results.kpi(COST, x.policy) / 1e3, grid)
        ax.plot(grid, share, look.line, color=look.colour, lw=2, label=x.policy, drawstyle="steps-post")
    _log_if_wide(ax, "x", costs)
    ax.set_xlabel("cost [kUSD per episode]")
    ax.set_ylabel("episodes at or below [%]")
    ax.set_title("Share of episodes by cost (further left is cheaper)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


def bill(results: Results, comparison: Comparison) -> Figure:
    """The first episode's bill as it grows, and its lead over the reference."""
    shown = recorded(results, comparison)[:LINES_AT_MOST]
    fig = _figure(5.2 + 0.21 * -(-len(shown) // 3))
    axes = fig.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    style = looks(results, comparison)
    base = results.records[comparison.reference].usd[0].sum(axis=-1).cumsum() / 1e3
    for x in (y for y in comparison.lines if y.policy in shown):
        rec, look = results.records[x.policy], style[x.policy]
        usd = rec.usd[0].sum(axis=-1).cumsum() / 1e3
        days = (np.arange(usd.size) + 1) * rec.bucket_h / 24
        axes[0].plot(days, usd, look.line, color=look.colour, lw=1.8, label=x.policy)
        axes[1].plot(days, usd - base, look.line, color=look.colour, lw=1.8)
    axes[0].set_ylabel("bill so far [kUSD]")
    axes[0].set_title("First episode: the bill as it grows, unfinished work settled at the end")
    axes[1].set_ylabel(f"minus {_what(comparison)}\n[kUSD]")
    axes[1].set_xlabel("days from the start of the episode")
    fig.align_ylabels(axes)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


_STRIPS = (  # (title, unit, colour map)
    ("load", "% of devices", "cividis"),
    ("electricity price", "USD/MWh", "viridis"),
    ("hottest inlet", "degC", "inferno"),
    ("cooling over IT power", "%", "cividis"),
)


def _strip_values(record: Record) -> tuple[npt.NDArray[Any], ...]:
    it = record.region("it")
    share = np.divide(record.region("cooling"), it, out=np.full_like(it, np.nan), where=it > 0)
    return 100 * record.region("load"), record.region("price"), record.region("hot"), 100 * share


def _limits(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Colour limits shared by all policies: 1st and 99th percentile, so that no spike bleaches a week."""
    out = []
    for values in zip(*(_strip_values(r) for r in records), strict=True):
        flat = np.concatenate([v.ravel() for v in values])
        flat = flat[np.isfinite(flat)]
        low, high = np.percentile(flat, [1, 99]) if flat.size else (0.0, 1.0)
        out.append((float(low), float(high if high > low else low + 1.0)))
    return out


def strips(
    record: Record, policy: str, region_names: Sequence[str], limits: Sequence[tuple[float, float]]
) -> Figure:
    """One episode hour by hour, a row per region: load, price, inlet and cooling share."""
    r = len(region_names)
    fig = _figure(1.2 + 4 * (0.34 + 0.2 * r))
    axes = fig.subplots(len(_STRIPS), 1, sharex=True)
    end = record.regions.shape[1] * record.bucket_h / 24
    names = [n if len(n) <= 22 else n[:21] + "…" for n in region_names]
    for ax, (title, unit, colours), values, (low, high) in zip(
        axes, _STRIPS, _strip_values(record), limits, strict=True
    ):
        image = ax.imshow(
            values.T, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=high,
            extent=(0, end, r - 0.5, -0.5),
        )  # fmt: skip
        ax.set_yticks(range(r), names, fontsize=8)
        ax.grid(visible=False)
        ax.set_title(f"{title} [{unit}]", fontsize=10, pad=4)
        fig.colorbar(image, ax=ax, pad=0.01, fraction=0.035, aspect=max(6.0, 1.6 * r))
    axes[-1].set_xlabel("days from the start of the episode")
    fig.suptitle(f"First episode under {policy}", x=0.01, ha="left", fontweight="bold", fontsize=12)
    return fig


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """The figure as `[height, width, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, min(height, 20.0)), dpi=DPI, layout="constrained")


def _bars(e: stats.Estimate, scale: float) -> npt.NDArray[np.float64]:
    below, above = e.value - e.low, e.high - e.value
    return np.asarray(np.nan_to_num([[max(0.0, below)], [max(0.0, above)]]) / scale, np.float64)


def _log_if_wide(ax: Axes, axis: str, values: npt.NDArray[np.float64]) -> None:
    """A logarithmic axis where values span more than a factor of ten."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if 0 < 10 * low < high:
        (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
        target = ax.xaxis if axis == "x" else ax.yaxis
        target.set_major_formatter("{x:g}")


def _what(comparison: Comparison) -> str:
    return "the cheapest policy" if comparison.line(comparison.reference).learned else "the best rule"


def _mark_learned(ax: Axes, comparison: Comparison) -> None:
    for label in ax.get_yticklabels():
        name = label.get_text()
        if any(x.policy == name and x.learned for x in comparison.lines):
            label.set_fontweight("bold")
