"""Figures of money: what the bill is made of, paired differences, trade-offs, profiles, the bill as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents import stats
from agents.compare import COST, Comparison
from agents.evaluation import Results
from agents.figures import style
from gcn_env.ledger import TERMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cost_by_term(results: Results, comparison: Comparison) -> Figure:
    """Mean bill by term, cheapest policy on top."""
    order = [x.policy for x in comparison.lines][::-1]
    usd = np.stack([[results.kpi(f"usd_{t}", p).mean() for t in TERMS.names] for p in order]) / 1e3
    seen = [i for i in range(len(TERMS)) if np.abs(usd[:, i]).max() > 0.002 * np.abs(usd).sum(axis=1).max()]
    other = usd.sum(axis=1) - usd[:, seen].sum(axis=1)
    fig = style.figure(1.7 + 0.36 * len(order))
    ax = fig.add_subplot()
    plus, minus = np.zeros(len(order)), np.zeros(len(order))
    parts = [(TERMS.names[i], usd[:, i], style.TERM_COLOURS[i]) for i in seen]
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
    style.mark_learned(ax, comparison)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    return fig


def paired_differences(results: Results, comparison: Comparison) -> Figure:
    """Difference of the bill to the reference in the same episodes: dots, interquartile mean, interval."""
    lines = [x for x in comparison.lines if x.diff is not None][::-1]
    looks = style.looks(results, comparison)
    base = results.kpi(COST, comparison.reference)
    fig = style.figure(1.5 + 0.38 * len(lines))
    ax = fig.add_subplot()
    rng = np.random.default_rng(0)  # only spreads the dots
    for y, x in enumerate(lines):
        assert x.diff is not None
        d, look = (results.kpi(COST, x.policy) - base) / 1e3, looks[x.policy]
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
    ax.set_title(f"Cost minus that of {style.what(comparison)}: left of zero is cheaper")
    style.mark_learned(ax, comparison)
    return fig


def tradeoffs(results: Results, comparison: Comparison) -> Figure:
    """Cost against carbon and against late work: interquartile means with intervals."""
    fig = style.figure(3.6 + 0.21 * -(-len(results.policies) // 3))
    axes = fig.subplots(1, 2, sharey=True)
    looks = style.looks(results, comparison)
    for ax, name, label in (
        (axes[0], "carbon_t", "carbon [t CO2e per episode]"),
        (axes[1], "late_hours", "late work [job-hours per episode]"),
    ):
        for x in comparison.lines:
            look = looks[x.policy]
            e = stats.interval(results.kpi(name, x.policy), seed=0)
            ax.errorbar(
                e.value, x.cost.value / 1e3, xerr=style.bars(e, 1.0), yerr=style.bars(x.cost, 1e3),
                fmt=look.marker, color=look.colour, ms=9, mec="white", mew=1.2, elinewidth=1.0,
                label=x.policy,
            )  # fmt: skip
        ax.set_xlabel(label)
    style.log_if_wide(
        axes[0], "y", np.array([v / 1e3 for x in comparison.lines for v in (x.cost.low, x.cost.high)])
    )
    axes[0].set_ylabel("cost [kUSD per episode]")
    axes[0].set_title("Cost against carbon")
    axes[1].set_title("Cost against late work")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


def profile(results: Results, comparison: Comparison) -> Figure:
    """Performance profile: share of episodes that cost at most so much."""
    fig = style.figure(3.7 + 0.21 * -(-len(results.policies) // 3))
    ax, looks = fig.add_subplot(), style.looks(results, comparison)
    costs = results.kpi(COST) / 1e3
    low, high = float(np.nanmin(costs)), float(np.nanmax(costs))
    grid = np.unique([low - 0.02 * (high - low), *costs[np.isfinite(costs)], high + 0.02 * (high - low)])
    for x in comparison.lines:
        look = looks[x.policy]
        share = 100 * stats.performance_profile(results.kpi(COST, x.policy) / 1e3, grid)
        ax.plot(grid, share, look.line, color=look.colour, lw=2, label=x.policy, drawstyle="steps-post")
    style.log_if_wide(ax, "x", costs)
    ax.set_xlabel("cost [kUSD per episode]")
    ax.set_ylabel("episodes at or below [%]")
    ax.set_title("Share of episodes by cost (further left is cheaper)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


def bill(results: Results, comparison: Comparison) -> Figure:
    """The first episode's bill as it grows, and its lead over the reference."""
    shown = style.recorded(results, comparison)[: style.LINES_AT_MOST]
    fig = style.figure(5.2 + 0.21 * -(-len(shown) // 3))
    axes = fig.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    looks = style.looks(results, comparison)
    base = results.records[comparison.reference].usd[0].sum(axis=-1).cumsum() / 1e3
    for x in (y for y in comparison.lines if y.policy in shown):
        rec, look = results.records[x.policy], looks[x.policy]
        usd = rec.usd[0].sum(axis=-1).cumsum() / 1e3
        days = (np.arange(usd.size) + 1) * rec.bucket_h / 24
        axes[0].plot(days, usd, look.line, color=look.colour, lw=1.8, label=x.policy)
        axes[1].plot(days, usd - base, look.line, color=look.colour, lw=1.8)
    axes[0].set_ylabel("bill so far [kUSD]")
    axes[0].set_title("First episode: the bill as it grows, unfinished work settled at the end")
    axes[1].set_ylabel(f"minus {style.what(comparison)}\n[kUSD]")
    axes[1].set_xlabel("days from the start of the episode")
    fig.align_ylabels(axes)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig
