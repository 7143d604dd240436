"""Figures of the validation: ours in colour, published bands and points in grey and black; units on every axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agents.figures.style import DPI, LINES, MARKERS, OKABE_ITO, STYLE
from gcn_env.core import compressor, electrical, thermal, water

from .annual_rows import BANDS, EVERY
from .kernels import HALLS, P, it_power, row_of, without_cooling
from .year import POLICIES, Lab

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY, BAND = "#555555", "#D9D9D9"
LOOK = dict(zip(POLICIES, zip(OKABE_ITO, MARKERS, strict=False), strict=False))
SHORT = {"Stockholm": "Stock.", "Frankfurt": "Frankf.", "San Jose": "S. Jose", "Singapore": "Singap."}
NAMES = [SHORT.get(c, c) for c in EVERY]
PANELS = {"a": "legacy DX room", "b": "chilled water, tower", "c": "outdoor air", "d": "direct-to-chip",
          "e": "immersion", "f": "edge, split DX", "g": "air-cooled chiller"}  # fmt: skip


def draw(lab: Lab) -> dict[str, Figure]:
    """Every figure by name; names are file stems and TensorBoard tags."""
    import matplotlib as mpl

    style: Any = STYLE
    with mpl.rc_context({**style, "font.size": 9, "axes.titlesize": 10}):
        return {
            "pue": bands(lab, "pue"),
            "wue": bands(lab, "wue"),
            "savings": savings(lab),
            "monthly_pue": monthly(lab),
            "curves": curves(lab),
            "loss_of_cooling": outage(),
        }


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _grid(n: int, width: float = 10.0, height: float = 2.5, columns: int = 2) -> tuple[Figure, list[Axes]]:
    rows = -(-n // columns)
    fig = _figure(width, height * rows + 0.6)
    axes = list(fig.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[n:]:
        ax.set_visible(False)
    return fig, axes[:n]


def _policies(lab: Lab) -> list[str]:
    return [p for p in POLICIES if any(y[2] == p for y in lab.years)]


def bands(lab: Lab, what: str) -> Figure:
    """PUE or WUE of every archetype in every climate by policy, over the published bands."""
    dry = [k for k in lab.keys if max(lab.year(k, c, "B1").wue for c in EVERY) < 0.01]
    keys = [k for k in lab.keys if what == "pue" or k not in dry]
    fig, axes = _grid(len(keys))
    for ax, key in zip(axes, keys, strict=True):
        for i, climate in enumerate(EVERY):
            limits = _band(key, climate, what)
            if limits:
                ax.bar(i, limits[1] - limits[0], bottom=limits[0], width=0.9, color=BAND, zorder=0.5)
                ax.plot([i, i], limits, alpha=0.0)  # the whole band is on the axis
        for k, policy in enumerate(_policies(lab)):
            colour, marker = LOOK[policy]
            values = [getattr(lab.year(key, c, policy), what) for c in EVERY]
            at = np.arange(len(EVERY)) + 0.16 * (k - 1.5)
            ax.plot(at, values, marker, color=colour, ms=5, mec="white", mew=0.6, ls="", label=policy)
        ax.set_xticks(range(len(EVERY)), NAMES, rotation=30, ha="right", fontsize=8)
        ax.set_title(f"{key}: {PANELS.get(key, '')}")
        ax.set_ylabel("PUE [kWh/kWh]" if what == "pue" else "WUE [L/kWh]")
        ax.grid(visible=False, axis="x")
        if what == "wue":
            ax.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    from matplotlib.patches import Patch

    fig.legend(
        [*handles, Patch(color=BAND)], [*labels, "published band"], loc="outside upper center", ncols=5
    )
    return fig


def _band(key: str, climate: str, what: str) -> tuple[float, float] | None:
    """Published limits of `what`: of that climate, else of the archetype anywhere."""
    for at in ((key, climate), (key, "*")):
        limits = getattr(BANDS[at], what) if at in BANDS else None
        if limits:
            return tuple(limits)
    return None


def savings(lab: Lab) -> Figure:
    """Cooling energy saved, percent: rows archetypes, columns climates."""
    from matplotlib.colors import TwoSlopeNorm

    pairs = [("SP", "B0"), ("oracle", "B0"), ("B2", "B0"), ("B2", "B1"), ("oracle", "B1"), ("oracle", "B2")]
    have = {p for _, _, p in lab.years}
    pairs = [p for p in pairs if set(p) <= have]
    names = {"SP": "SP (temperatures only)", "oracle": "joint search (oracle)", "B2": "B2 (tuned reset)"}
    fig, axes = _grid(len(pairs), height=2.6)
    for ax, (policy, base) in zip(axes, pairs, strict=True):
        values = np.array([[lab.saving(k, c, policy, base) for c in EVERY] for k in lab.keys])
        norm = TwoSlopeNorm(0.0, -20.0, 70.0)
        image = ax.imshow(values, cmap="PuOr", norm=norm, aspect="auto")
        for (y, x), v in np.ndenumerate(values):
            light = v > 45 or v < -12
            ax.text(
                x, y, f"{v:.0f}", ha="center", va="center", fontsize=8, color="white" if light else "black"
            )
        ax.set_xticks(range(len(EVERY)), NAMES, rotation=30, ha="right", fontsize=8)
        ax.set_yticks(range(len(lab.keys)), lab.keys)
        ax.grid(visible=False)
        ax.set_title(f"{names[policy]} against {base}")
    bar = fig.colorbar(image, ax=axes, fraction=0.025, pad=0.01)
    bar.set_label("cooling energy saved [%]")
    return fig


def monthly(lab: Lab) -> Figure:
    """PUE of each month under B1."""
    fig, axes = _grid(len(lab.keys))
    for ax, key in zip(axes, lab.keys, strict=True):
        for i, climate in enumerate(EVERY):
            line, marker = LINES[i // 7], MARKERS[i // 7]
            pue = lab.year(key, climate, "B1").monthly_pue
            ax.plot(
                range(1, 13), pue, line, marker=marker, ms=3.5, lw=1.5, color=OKABE_ITO[i % 7], label=climate
            )
        ax.set_xticks(range(1, 13))
        ax.set_xlabel("month")
        ax.set_ylabel("PUE [kWh/kWh]")
        ax.set_title(f"{key}: {PANELS.get(key, '')}")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def curves(lab: Lab) -> Figure:
    """Component curves with the published points."""
    fig, axes = _grid(6, width=11.0, height=3.0, columns=3)
    _chiller(axes[0])
    _part_load(axes[1])
    _fan(axes[2])
    _tower(axes[3])
    _chain(axes[4], lab)
    _it(axes[5])
    return fig


def _chiller(ax: Axes) -> None:
    cold = np.linspace(5.0, 20.0, 61)
    for i, (key, hot, name) in enumerate(
        (
            ("b", 29.4, "water-cooled, 29.4 °C"),
            ("b", 18.0, "water-cooled, 18 °C"),
            ("d", 35.0, "air-cooled, 35 °C"),
        )
    ):
        p = row_of(key)
        y = [compressor.energy_input(hot, c, p[P.eir_loss], p[P.eir_lift]) for c in cold]
        ax.plot(cold, 100 * np.array(y), LINES[i], color=OKABE_ITO[i], lw=1.8, label=name)
    near = np.array([4.5, 10.0])
    ax.fill_between(
        near,
        100 * (1 - 0.02 * (near - 7)),
        100 * (1 - 0.032 * (near - 7)),
        color=BAND,
        label="-2 to -3.2 %/K",
    )
    ax.set(xlabel="leaving chilled water [°C]", ylabel="power per heat [% of rating]", title="Chillers (E20)")
    ax.legend(fontsize=7.5)


def _part_load(ax: Axes) -> None:
    x = np.linspace(0.0, 1.0, 101)
    ax.plot(
        100 * x,
        [100 * compressor.part_load(v) for v in x],
        color=OKABE_ITO[0],
        lw=1.8,
        label="variable speed (E21)",
    )
    ax.plot([0, 100], [0, 100], ":", color=GREY, lw=1.2, label="proportional")
    ax.plot(
        100 * x,
        [100 * compressor.pump_share(v) for v in x],
        "--",
        color=OKABE_ITO[1],
        lw=1.8,
        label="pumps (E23)",
    )
    ax.set(xlabel="load or flow [% of rating]", ylabel="power [% of rating]", title="Part load")
    ax.legend(fontsize=7.5)


def _fan(ax: Axes) -> None:
    s = np.linspace(0.0, 1.0, 101)
    ax.plot(100 * s, [100 * thermal.cubic_fan(v) for v in s], color=OKABE_ITO[0], lw=1.8, label="ours (E12)")
    ax.plot(100 * s, 100 * s**3, ":", color=GREY, lw=1.4, label="affinity law, cube")
    ax.errorbar(
        [50],
        [14.25],
        yerr=[[1.75], [1.75]],
        fmt="none",
        color="black",
        capsize=4,
        lw=2,
        label="12.5-16 % at half flow",
    )
    ax.set(xlabel="air flow [% of rating]", ylabel="fan power [% of rating]", title="Fans")
    ax.legend(fontsize=7.5)


def _tower(ax: Axes) -> None:
    wet = np.linspace(-5.0, 28.0, 67)
    for i, share in enumerate((1.0, 0.75, 0.5)):
        y = [water.tower_approach(5.55 * share, 1.0, water.wet_factor(w)) for w in wet]
        ax.plot(wet, y, LINES[i], color=OKABE_ITO[i], lw=1.8, label=f"{100 * share:.0f} % heat")
    ax.errorbar([25.6], [3.8], yerr=0.3, fmt="o", color="black", capsize=4, ms=5, label="YorkCalc 3.8 K")
    ax.set(
        xlabel="wet bulb [°C]", ylabel="approach at full fan [K]", title="Cooling tower (E24)", ylim=(0, None)
    )
    ax.legend(fontsize=7.5)


def _chain(ax: Axes, lab: Lab) -> None:
    x = np.linspace(0.05, 1.0, 96)
    for i, key in enumerate(k for k in "abcd" if k in lab.keys):
        p = row_of(key)
        loss = np.array([electrical.ups_loss(v, p[P.ups_a0], p[P.ups_a1], p[P.ups_a2]) for v in x])
        loss += np.array([electrical.pdu_loss(v, p[P.pdu_d0], p[P.pdu_d2]) for v in x])
        ax.plot(100 * x, 100 * x / (x + loss), LINES[i], color=OKABE_ITO[i], lw=1.8, label=key)
    ax.fill_between([20, 25], 82, 88, color=BAND, label="old UPS, 85 ± 3 %")
    ax.set(
        xlabel="load [% of rating]",
        ylabel="UPS and PDU efficiency [%]",
        title="Power chain (E44, E45)",
        ylim=(60, 100),
    )
    ax.legend(fontsize=7.5, ncols=2)


def _it(ax: Axes) -> None:
    inlet = np.arange(16.0, 35.1, 1.0)
    at_23 = it_power("b", 23.0)
    y = 100.0 * (np.array([it_power("b", t) for t in inlet]) / at_23 - 1.0)
    ax.plot(inlet, y, color=OKABE_ITO[0], lw=1.8, label="ours (E6-E9)")
    near = np.array([23.0, 30.0])
    ax.fill_between(
        near, 0.35 * (near - 23), 0.50 * (near - 23), color=BAND, label="0.35-0.50 %/K, two halls"
    )
    ax.set(
        xlabel="inlet [°C]", ylabel="IT power over that at 23 °C [%]", title="Servers over inlet temperature"
    )
    ax.legend(fontsize=7.5)


def outage() -> Figure:
    """Inlet after loss of cooling, by density, with the shutdowns measured in the field."""
    fig = _figure(8.0, 4.4)
    ax = fig.add_subplot()
    for i, hall in enumerate(HALLS):
        inlet = without_cooling(hall, minutes=10.0)
        t = np.arange(len(inlet)) * 5.0 / 60.0
        ax.plot(t, inlet, LINES[i], color=OKABE_ITO[i], lw=2, label=hall.name)
    for limit, what in (
        (27.0, "recommended limit"),
        (40.0, "rows 22 and 24"),
        (45.0, "trip"),
        (60.0, "servers cut their own power"),
    ):
        ax.axhline(limit, color=GREY, lw=1, ls=":")
        ax.annotate(f"{limit:g} °C, {what}", (10.0, limit), ha="right", va="bottom", fontsize=8, color=GREY)
    for seconds, colour, label in (
        (189, OKABE_ITO[0], "shutdown in the field, 5 kW: 189 s"),
        (60, OKABE_ITO[1], "10 kW: under 60 s"),
    ):
        ax.plot(seconds / 60.0, 40.0, "v", color=colour, mec="black", ms=9, ls="", label=label)
    ax.set(
        xlabel="time after coil and air-handler fans stop [min]",
        ylabel="inlet [°C]",
        xlim=(0, 10),
        ylim=(20, 80),
    )
    ax.set_title("Loss of cooling, server fans running")
    ax.legend(fontsize=8, loc="upper left", ncols=2)
    return fig
