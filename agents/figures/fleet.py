"""Figures of what policies do with the fleet: where work goes, whether it follows price and sun, how plants are run."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agents.compare import Comparison
from agents.evaluation import Results
from agents.figures import style
from gcn_env.record import Record
from gcn_env.stints import STINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
_REGIONS_AT_MOST = 6  # with panels of their own; those that draw most power


def following(results: Results, comparison: Comparison) -> Figure:
    """Does work follow price and sun? Load against how dear a region is at that hour, and against its solar time."""
    fig = style.figure(3.7 + 0.21 * -(-len(_shown(results, comparison)) // 3))
    left, right = fig.subplots(1, 2, sharey=True)
    size = _devices(results)
    for policy, record, look in _shown(results, comparison):
        load = 100 * record.region("load")
        price = record.region("price") - record.region("price").mean(axis=1, keepdims=True)
        edges = np.unique(np.percentile(price, np.linspace(0, 100, 9)))
        x, y = _binned(price, load, np.broadcast_to(size, load.shape), edges)
        left.plot(x, y, look.line, marker=look.marker, ms=4, color=look.colour, lw=1.8, label=policy)
        x, y = _binned(
            _solar(results, record), load, np.broadcast_to(size, load.shape), np.arange(0, 25, 2.0)
        )
        right.plot(x, y, look.line, marker=look.marker, ms=4, color=look.colour, lw=1.8)
    left.set_xlabel("price minus the mean of all regions\nat that hour [USD/MWh]")
    left.set_ylabel("load [% of devices]")
    left.set_title("Work against price")
    right.set_xlabel("local solar time [h]")
    right.set_xticks(range(0, 25, 6))
    right.set_title("Work against the sun")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


def matrix(results: Results, comparison: Comparison) -> Figure:
    """Device-hours from each origin (row) to each region (column) in the first episode, in per cent of the whole."""
    shown = [x for x in _shown(results, comparison) if x[1].stints and len(x[1].stints[0])]
    names = [n if len(n) <= 14 else n[:13] + "…" for n in results.fleet.regions]
    tables = [_flows(results, record) for _, record, _ in shown]
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    fig = style.figure(0.6 + lines * (1.6 + 0.24 * len(names)))
    grid = fig.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    most = max(float(t.max()) for t in tables)
    for ax in grid.ravel()[len(shown) :]:
        ax.set_axis_off()
    for ax, (policy, _, _), table in zip(grid.ravel(), shown, tables, strict=False):
        ax.imshow(table, cmap="Blues", vmin=0, vmax=most, aspect="auto")
        for i, j in np.argwhere(table >= 0.5) if len(names) <= 8 else ():
            colour = "white" if table[i, j] > 0.6 * most else "#333333"
            ax.annotate(f"{table[i, j]:.0f}", (j, i), ha="center", va="center", fontsize=8, color=colour)
        ax.grid(visible=False)
        ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        home = float(np.trace(table))
        ax.set_title(f"{policy}\n{home:.0f} % at home", fontsize=10, pad=4)
    for ax in grid[:, 0]:
        ax.set_ylabel("users in")
    fig.suptitle(
        "Where work runs (column), by where its users are (row): % of device-hours, first episode",
        x=0.01, ha="left", fontweight="bold", fontsize=12,
    )  # fmt: skip
    return fig


def efficiency(results: Results, comparison: Comparison) -> Figure:
    """PUE and TUE of the fleet by hour of the day and by outside temperature, first episode."""
    fig = style.figure(5.6 + 0.21 * -(-len(_shown(results, comparison)) // 3))
    axes = fig.subplots(2, 2, sharey="row", sharex="col")
    for policy, record, look in _shown(results, comparison):
        site, outside = record.region("site"), record.region("dry")
        for row, (name, under) in enumerate((("PUE", "it"), ("TUE", "compute"))):
            load = record.region(under)
            for ax, x, edges in (
                (axes[row, 0], _solar(results, record), np.arange(0, 25, 2.0)),
                (axes[row, 1], outside, np.arange(-30, 52, 4.0)),
            ):
                at, energy = _binned(x, site, None, edges)
                _, below = _binned(x, load, None, edges)
                ax.plot(at, energy / below, look.line, marker=look.marker, ms=4, color=look.colour, lw=1.8,
                        label=policy if row == 0 else None)  # fmt: skip
            axes[row, 0].set_ylabel(f"{name} [1]")
    axes[0, 0].set_title("By local solar time")
    axes[0, 1].set_title("By outside temperature")
    axes[1, 0].set_xlabel("local solar time [h]")
    axes[1, 0].set_xticks(range(0, 25, 6))
    axes[1, 1].set_xlabel("outside air [degC]")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


_HEADS = ("set_cold", "set_flow", "set_rejection")


def heads(results: Results, comparison: Comparison) -> Figure:
    """Cooling set-points against outside temperature, region by region."""
    shown, fleet = _shown(results, comparison), results.fleet
    power = shown[0][1].region("it").mean(axis=0)
    regions = np.sort(np.argsort(-power, kind="stable")[:_REGIONS_AT_MOST])
    fig = style.figure(1.2 + 1.5 * len(regions) + 0.21 * -(-len(shown) // 3))
    grid = fig.subplots(len(regions), len(_HEADS), squeeze=False, sharex=True)
    for i, r in enumerate(regions):
        for ax, column, meaning in zip(grid[i], _HEADS, fleet.heads[r], strict=True):
            ax.tick_params(labelsize=8)
            if not meaning:
                ax.set_axis_off()
                continue
            for policy, record, look in shown:
                x, y = record.region("dry")[:, r], record.region(column)[:, r]
                ax.plot(x, y, look.marker, color=look.colour, ms=2.6, mew=0, alpha=0.55, label=policy)
            words, _, unit = meaning.rpartition(" [")
            ax.set_title(textwrap.fill(words, 32, max_lines=2), fontsize=7.5, pad=2, fontweight="normal")
            ax.set_ylabel(f"[{unit}", fontsize=8)
        grid[i, 0].annotate(
            f"{fleet.regions[r]} (plant {fleet.archetypes[r]})", (-0.36, 0.5), xycoords="axes fraction",
            rotation=90, va="center", ha="right", fontsize=9, fontweight="bold",
        )  # fmt: skip
    for ax in grid[-1]:
        ax.set_xlabel("outside air [degC]", fontsize=9)
    fig.suptitle(
        "Set-points against the weather, first episode", x=0.01, ha="left", fontweight="bold", fontsize=12
    )
    fig.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize=9,
        markerscale=2.5,
    )
    return fig


def _shown(results: Results, comparison: Comparison) -> list[tuple[str, Record, style.Look]]:
    looks = style.looks(results, comparison)
    names = style.recorded(results, comparison)[: style.SHOWN]
    return [(p, results.records[p], looks[p]) for p in names]


def _devices(results: Results) -> Array:
    """Devices of each region, [R]."""
    size = np.zeros(len(results.fleet.regions))
    np.add.at(size, np.asarray(results.fleet.pool_region), np.asarray(results.fleet.pool_devices, float))
    return size


def _solar(results: Results, record: Record) -> Array:
    """Local solar hour of each bucket and region, [T, R]."""
    utc = results.start[0, 1] + record.hours()
    return np.asarray((utc[:, None] + np.asarray(results.fleet.longitude_deg)[None, :] / 15.0) % 24.0)


def _flows(results: Results, record: Record) -> Array:
    """Per cent of device-hours by origin and region, [R, R]."""
    rows, n = record.stints[0], len(results.fleet.regions)
    hours = (rows[:, STINT.index("end")] - np.maximum(rows[:, STINT.index("start")], 0.0)).clip(0)
    region = np.asarray(results.fleet.pool_region)[rows[:, STINT.index("pool")].astype(int)]
    table = np.zeros((n, n))
    np.add.at(
        table, (rows[:, STINT.index("origin")].astype(int), region), hours * rows[:, STINT.index("devices")]
    )
    return np.asarray(100.0 * table / max(table.sum(), 1e-9))


def _binned(x: Array, y: Array, weight: Array | None, edges: Array) -> tuple[Array, Array]:
    """Mean x and (weighted) mean y of the bins that hold something; without weights, sums of y."""
    ok = np.isfinite(x) & np.isfinite(y)
    x, y = x[ok], y[ok]
    w = np.ones(x.shape) if weight is None else weight[ok]
    if len(edges) < 2:
        edges = np.array([x.min(initial=0.0), x.max(initial=1.0) + 1e-9])
    at = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    count, size = np.bincount(at, minlength=len(edges) - 1), np.bincount(at, w, len(edges) - 1)
    some = (count > 0) & (size > 0)
    total = np.bincount(at, w * y, len(edges) - 1)[some]
    mean_x = np.bincount(at, x, len(edges) - 1)[some] / count[some]
    return mean_x, total if weight is None else total / size[some]
