"""Figures of the first episode: region by region hour by hour, jobs on the pools, distance from the thermal limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.compare import Comparison
from agents.evaluation import Fleet, Results
from agents.figures import style
from gcn_env.core.params import CLASSES
from gcn_env.record import Record
from gcn_env.stints import STINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Limits = tuple[float, float]


class Strip(NamedTuple):
    """One block of rows, a row a region."""

    title: str
    unit: str
    colours: str
    column: str
    factor: float = 1.0


WORK = (
    Strip("load", "% of devices", "cividis", "load", 100.0),
    Strip("work waiting or on its way", "device-hours", "cividis", "queue"),
    Strip("electricity price", "USD/MWh", "viridis", "price"),
    Strip("carbon intensity", "g CO2e/kWh", "viridis", "carbon"),
)
HALLS = (
    Strip("outside air", "degC", "inferno", "dry"),
    Strip("hottest inlet", "degC", "inferno", "hot"),
    Strip("cold-side set-point", "degC", "viridis", "set_cold"),
    Strip("cooling over IT power", "%", "cividis", "share", 100.0),
)


def _values(record: Record, strip: Strip) -> npt.NDArray[Any]:
    if strip.column != "share":
        return strip.factor * record.region(strip.column)
    it = record.region("it")
    share = np.divide(record.region("cooling"), it, out=np.full_like(it, np.nan), where=it > 0)
    return strip.factor * share


def limits(records: Sequence[Record], strips: Sequence[Strip]) -> list[Limits]:
    """Colour limits shared by all policies: 1st and 99th percentile, so that no spike bleaches a week."""
    out = []
    for strip in strips:
        flat = np.concatenate([_values(r, strip).ravel() for r in records])
        flat = flat[np.isfinite(flat)]
        low, high = np.percentile(flat, [1, 99]) if flat.size else (0.0, 1.0)
        out.append((float(low), float(high if high > low else low + 1.0)))
    return out


def strips(
    record: Record, policy: str, fleet: Fleet, rows: Sequence[Strip], scales: Sequence[Limits]
) -> Figure:
    """One episode hour by hour, aligned blocks with a row per region."""
    r, gap, foot = len(fleet.regions), 0.42, 0.5  # inches: rows, between blocks, below them
    block = 0.1 + 0.2 * r
    height = min(0.4 + len(rows) * (block + gap) + foot - 0.1, 20.0)
    fig = style.figure(height, layout=None)  # placed by hand: laying so many axes out takes most of a second
    end = record.regions.shape[1] * record.bucket_h / 24
    names = [n if len(n) <= 22 else n[:21] + "…" for n in fleet.regions]
    left = 0.022 + 0.0104 * max(map(len, names))
    for k, (strip, (low, high)) in enumerate(zip(rows, scales, strict=True)):
        bottom = 1.0 - (0.4 + (k + 1) * (block + gap) - 0.1) / height
        ax = fig.add_axes((left, bottom, 0.9 - left, block / height))
        image = ax.imshow(
            _values(record, strip).T, aspect="auto", interpolation="nearest", cmap=strip.colours, vmin=low,
            vmax=high, extent=(0, end, r - 0.5, -0.5),
        )  # fmt: skip
        ax.set_yticks(range(r), names, fontsize=8)
        ax.grid(visible=False)
        ax.set_title(f"{strip.title} [{strip.unit}]", fontsize=10, pad=4)
        ax.tick_params(axis="x", labelbottom=k == len(rows) - 1)
        fig.colorbar(image, cax=fig.add_axes((0.91, bottom, 0.02, block / height)))
    ax.set_xlabel("days from the start of the episode")
    fig.text(
        0.01, 1.0 - 0.2 / height, f"First episode under {policy}", fontweight="bold", fontsize=12, va="center"
    )
    return fig


BARS = 90  # stints drawn in a timeline; the largest by device-hours
WINDOW_H = 48.0  # two days, the third and fourth where there are so many: by then the work found at the start is gone
_CLASS_COLOURS = dict(zip(CLASSES, ("#0072B2", "#E69F00", "#009E73", "#CC79A7"), strict=False))


def timeline(record: Record, policy: str, fleet: Fleet) -> Figure:
    """Gantt chart of two days: the largest jobs on each pool, from when they waited to when they ended."""
    rows = record.stints[0]
    kind, start, end = (rows[:, STINT.index(n)] for n in ("kind", "start", "end"))
    hours = record.regions.shape[1] * record.bucket_h
    first = WINDOW_H if hours >= 2 * WINDOW_H else 0.0
    length = np.clip(end, first, first + WINDOW_H) - np.clip(start, first, first + WINDOW_H)
    size = length * rows[:, STINT.index("devices")]
    size[(kind == CLASSES.index("inference")) | (length <= 0)] = 0.0
    chosen = np.sort(np.argsort(-size, kind="stable")[:BARS])
    chosen = chosen[size[chosen] > 0]
    lanes = [_lanes(rows[chosen[rows[chosen, STINT.index("pool")] == p]]) for p in range(len(fleet.pools))]
    height = [max(1, 1 + max((lane for lane, _ in x), default=0)) for x in lanes]
    fig = style.figure(2.0 + 0.11 * sum(height) + 0.12 * len(height))
    ax, top = fig.add_subplot(), 0.0
    ticks = []
    for tall, bars in zip(height, lanes, strict=True):
        for lane, row in bars:
            _bar(ax, top + lane, row)
        ticks.append(top + tall / 2 - 0.5)
        top += tall + 1.2
        ax.axhline(top - 1.1, color="#E3E3E3", lw=0.8)
    ax.set_ylim(top - 1.1, -0.8)
    ax.set_xlim(first, first + min(WINDOW_H, hours))
    ax.set_xticks(np.arange(first, first + min(WINDOW_H, hours) + 1, 6))
    ax.set_yticks(ticks, fleet.pools, fontsize=8)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("hours from the start of the episode")
    ax.set_title(f"Where the {len(chosen)} largest jobs of two days ran under {policy}")
    _legend(fig)
    return fig


def _lanes(rows: npt.NDArray[Any]) -> list[tuple[int, npt.NDArray[Any]]]:
    """Stints of one pool in the fewest lanes in which none overlap."""
    free: list[float] = []
    out = []
    for row in rows:  # by when they began
        start, end = row[STINT.index("start")], row[STINT.index("end")]
        lane = next((i for i, until in enumerate(free) if until <= start + 1e-9), len(free))
        free[lane : lane + 1] = [end]
        out.append((lane, row))
    return out


def _bar(ax: Axes, y: float, row: npt.NDArray[Any]) -> None:
    kind, arrival, deadline, start, end = (
        row[STINT.index(n)] for n in ("kind", "arrival", "deadline", "start", "end")
    )
    colour = _CLASS_COLOURS[CLASSES[int(kind)]]
    if start - arrival > 0.25:
        ax.plot([arrival, start], [y, y], color=colour, lw=0.6, alpha=0.6)
    ax.barh(y, end - start, left=start, height=0.86, color=colour, lw=0)
    if end > deadline:
        late = max(start, deadline)
        ax.barh(y, end - late, left=late, height=0.86, color="none", edgecolor="#D55E00", hatch="////", lw=0)


def _legend(fig: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks: list[Any] = [Patch(color=c, label=n) for n, c in _CLASS_COLOURS.items() if n != "inference"]
    marks.append(Line2D([], [], color="#666666", lw=0.8, label="waiting or travelling"))
    marks.append(Patch(facecolor="none", edgecolor="#D55E00", hatch="////", lw=0, label="past the deadline"))
    fig.legend(handles=marks, loc="outside lower center", ncols=5, fontsize=9)


def envelope(results: Results, comparison: Comparison) -> Figure:
    """How far each region's hottest inlet (or coolant) was from its limit in the first episode."""
    shown = style.recorded(results, comparison)[: style.SHOWN]
    looks, regions = style.looks(results, comparison), results.fleet.regions
    fig = style.figure(1.9 + len(regions) * (0.16 + 0.13 * len(shown)) + 0.21 * -(-len(shown) // 3))
    ax = fig.add_subplot()
    step = 0.8 / len(shown)
    for k, policy in enumerate(shown):
        gap = results.records[policy].region("gap")
        for r in range(len(regions)):
            values = gap[:, r][np.isfinite(gap[:, r])]
            if not values.size:
                continue
            low, q1, mid, q3 = np.percentile(values, [0, 25, 50, 75])
            y, colour = r + step * (k - (len(shown) - 1) / 2), looks[policy].colour
            label = policy if r == 0 else None
            ax.plot([low, q3], [y, y], color=colour, lw=1.0)
            ax.plot([q1, q3], [y, y], color=colour, lw=4.5, solid_capstyle="butt", label=label)
            ax.plot([low], [y], "|", color=colour, ms=8, mew=2)
            ax.plot([mid], [y], "o", color="white", ms=3)
    ax.axvline(0, color="#D55E00", lw=1.6)
    ax.annotate("limit", (0, 1.0), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                color="#D55E00", fontsize=9)  # fmt: skip
    ax.set_yticks(range(len(regions)), regions)
    ax.set_ylim(len(regions) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("below the limit [K]; tick: closest hour, thick: middle half of the hours")
    ax.set_title("First episode: distance of the hottest inlet or coolant from its limit", pad=18)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig
