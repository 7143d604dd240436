"""One look for all figures: units on every axis, one colour per policy everywhere, safe for colour-blind readers.

Colours are those of Okabe and Ito, "Color universal design", 2008, with grey for yellow, which is unreadable
on white; policies past the eighth repeat them with another marker and line. matplotlib is imported by the
functions that draw.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from agents import stats
from agents.compare import Comparison
from agents.evaluation import Results

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
SHOWN, LINES_AT_MOST = 4, 8  # policies with figures of their own, and lines in the figure of a week
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


def recorded(results: Results, comparison: Comparison) -> list[str]:
    """Policies with a record, most wanted first: the reference, learned ones, then the cheapest."""
    first = [comparison.reference, *(x.policy for x in comparison.lines if x.learned)]
    order = dict.fromkeys([*first, *(x.policy for x in comparison.lines)])
    return [p for p in order if p in results.records]


def slug(policy: str) -> str:
    """A policy's name as a file and run name."""
    return re.sub(r"[^\w.+=-]+", "-", policy).strip("-") or "policy"


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """The figure as `[height, width, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figure(height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of the usual width; height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, min(height, 20.0)), dpi=DPI, layout=layout)


def bars(e: stats.Estimate, scale: float) -> npt.NDArray[np.float64]:
    """Lengths of an interval's error bars, `[2, 1]`, in units of `scale`."""
    below, above = e.value - e.low, e.high - e.value
    return np.asarray(np.nan_to_num([[max(0.0, below)], [max(0.0, above)]]) / scale, np.float64)


def log_if_wide(ax: Axes, axis: str, values: npt.NDArray[np.float64]) -> None:
    """A logarithmic axis where values span more than a factor of ten."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if 0 < 10 * low < high:
        (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
        target = ax.xaxis if axis == "x" else ax.yaxis
        target.set_major_formatter("{x:g}")


def what(comparison: Comparison) -> str:
    """The reference in words."""
    return "the cheapest policy" if comparison.line(comparison.reference).learned else "the best rule"


def mark_learned(ax: Axes, comparison: Comparison) -> None:
    """Names of learned policies in bold."""
    for label in ax.get_yticklabels():
        name = label.get_text()
        if any(x.policy == name and x.learned for x in comparison.lines):
            label.set_fontweight("bold")
