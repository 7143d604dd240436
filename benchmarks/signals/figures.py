"""Figures of the validation of signals: real years in grey and black, synthetic ones in colour; units on every axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.figures.style import DPI, OKABE_ITO, STYLE

from .measure import LIMIT, STATISTICS, VARIABLES, Cross, Row, Years, autocorrelation, day_profile, shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL, MADE = "#3C3C3C", OKABE_ITO[0]
SHAPE = {
    "price": "price / median",
    "carbon": "carbon / mean",
    "drybulb": "dry bulb [°C]",
    "wetbulb": "wet bulb [°C]",
}
CURVES_AT_MOST = 6  # synthetic years drawn
CURVE_LAGS = (*range(1, 25), *range(27, 169, 3))
Data = Mapping[tuple[str, str], Years]


def draw(data: Data, rows: Sequence[Row], crosses: Sequence[Cross]) -> dict[str, Figure]:
    """Every figure by name; names are file stems and TensorBoard tags."""
    import matplotlib as mpl

    style: Any = STYLE
    with mpl.rc_context({**style, "font.size": 8, "axes.titlesize": 9, "axes.titlepad": 4}):
        out = {"ratios": ratios(rows)}
        for v in VARIABLES:
            if any(variable == v for _, variable in data):
                out[f"distribution-{v}"] = _panels(
                    data, v, _distribution, "share of hours below [%]", SHAPE[v]
                )
                out[f"autocorrelation-{v}"] = _panels(data, v, _memory, "autocorrelation", "lag [h]")
                out[f"day-{v}"] = _panels(data, v, _day, SHAPE[v], "local hour")
        if crosses:
            out["cross_region"] = pairs(crosses)
    return out


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def ratios(rows: Sequence[Row]) -> Figure:
    """Gap over yardstick: regions down, statistics across, one panel for each variable."""
    from matplotlib.colors import TwoSlopeNorm

    have = [v for v in VARIABLES if any(r.variable == v and r.judged for r in rows)]
    most = max(sum(r.variable == v and r.judged for r in rows) for v in have)
    fig = _figure(3.1 * len(have) + 0.6, 0.3 * most + 1.6)
    axes = fig.subplots(1, len(have), squeeze=False)[0]
    for ax, v in zip(axes, have, strict=True):
        shown = [r for r in rows if r.variable == v and r.judged]
        values = np.array([[r.ratio(s) for s in STATISTICS] for r in shown])
        image = ax.imshow(
            np.log2(values / LIMIT), cmap="PuOr_r", norm=TwoSlopeNorm(0.0, -2.5, 2.5), aspect="auto"
        )
        for (y, x), value in np.ndenumerate(values):
            dark = abs(np.log2(value / LIMIT)) > 1.6
            ax.text(
                x, y, f"{value:.1f}", ha="center", va="center", fontsize=7, color="white" if dark else "black"
            )
        names = [s.replace("_", " ") for s in STATISTICS]
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set_yticks(range(len(shown)), [r.region for r in shown])
        ax.grid(visible=False)
        ax.set_title(v)
    ticks = np.array([0.3, 0.5, 1.0, LIMIT, 3.0, 6.0])
    bar = fig.colorbar(image, ax=list(axes), fraction=0.02, pad=0.01, ticks=np.log2(ticks / LIMIT))
    bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
    bar.set_label("over the yardstick")
    return fig


def _panels(data: Data, variable: str, draw_one: Callable[..., None], y: str, x: str) -> Figure:
    """One panel for each region: real years grey, synthetic ones coloured."""
    have = sorted(r for r, v in data if v == variable)
    columns = min(4, len(have))
    lines = -(-len(have) // columns)
    fig = _figure(2.6 * columns + 0.4, 1.9 * lines + 0.7)
    axes = list(fig.subplots(lines, columns, squeeze=False).ravel())
    for ax in axes[len(have) :]:
        ax.set_visible(False)
    for ax, region in zip(axes, have, strict=False):
        years = data[region, variable]
        for values in years.made[:CURVES_AT_MOST]:
            draw_one(ax, variable, values, years.utc_offset_h, color=MADE, lw=0.9, alpha=0.55)
        for values in years.real.values():
            draw_one(ax, variable, values, years.utc_offset_h, color=REAL, lw=1.1, ls="--")
        ax.set_title(region)
    fig.supxlabel(x, fontsize=9)
    fig.supylabel(y, fontsize=9)
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=REAL, ls="--"), Line2D([], [], color=MADE)]
    fig.legend(handles, ["real years", "synthetic years"], loc="outside upper right", ncols=2)
    return fig


def _distribution(ax: Axes, variable: str, values: Any, offset: float, **look: Any) -> None:
    del offset
    ordered = np.sort(shape(variable, values[np.isfinite(values)]))
    share = np.linspace(0.0, 1.0, len(ordered))
    cut = slice(len(ordered) // 500, -(len(ordered) // 100) or None)  # a spike would flatten the rest
    ax.plot(ordered[cut], 100.0 * share[cut], **look)


def _memory(ax: Axes, variable: str, values: Any, offset: float, **look: Any) -> None:
    del variable, offset
    ax.plot(CURVE_LAGS, autocorrelation(values, CURVE_LAGS), **look)
    ax.set_xticks(range(0, 169, 48))


def _day(ax: Axes, variable: str, values: Any, offset: float, **look: Any) -> None:
    ax.plot(range(24), day_profile(shape(variable, values), offset), **look)
    ax.set_xticks(range(0, 25, 6))


def pairs(crosses: Sequence[Cross]) -> Figure:
    """Correlation between regions: synthetic over real, mean over years."""
    fig = _figure(2.7 * len(crosses) + 0.3, 3.1)
    axes = fig.subplots(1, len(crosses), squeeze=False)[0]
    for ax, c in zip(axes, crosses, strict=True):
        low = min(c.real.min(), c.made.min(), -0.2) - 0.05
        ax.plot([low, 1], [low, 1], color=REAL, lw=0.8)
        ax.plot(c.real, c.made, "o", ms=4, color=MADE, alpha=0.7, mec="white", mew=0.4)
        ax.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel="real", title=c.variable, aspect="equal")
    axes[0].set_ylabel("synthetic")
    return fig
