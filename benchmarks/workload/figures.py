"""Figures of the validation of the work: the trace in black, generated samples in colour with their 5-95 % band."""

from __future__ import annotations

import numpy as np

from agents.figures.style import DPI, OKABE_ITO, STYLE

from .measures import LIMIT, autocorrelation, daily, dispersion, variation

BLUE, ORANGE = OKABE_ITO[:2]
WINDOWS_H = (1, 2, 3, 4, 6, 8, 12, 24)
CAPTIONS = {
    "ratios": "Distance of generated from real in yardsticks; the line is the limit, triangles lie beyond the axis.",
    "courses": "Arrivals per hour (rates: over their mean) of one week of the trace and of one generated sample.",
    "dispersion": "Index of dispersion (rates: coefficient of variation) by window; band: 5-95 % of generated samples.",
    "autocorrelation": "Autocorrelation of hourly counts by lag; band: 5-95 % of generated samples.",
    "daily": "Arrivals by local hour over their mean; band: 5-95 % of generated samples.",
    "durations": "Distribution functions of durations: trace and generated table.",
}


def draw(rows, results):
    """Every figure by name. `results`: source name -> (source, real sample, generated samples)."""
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, "font.size": 9, "axes.titlesize": 10}):
        timed = [(s, real, made) for s, real, made in results.values() if s.jobs]
        return {
            "ratios": ratios(rows),
            "courses": panels(results.values(), course, "hours", "arrivals per hour", 1, 8.5),
            "dispersion": panels(results.values(), spread, "window [h]", "variance / mean"),
            "autocorrelation": panels(results.values(), memory, "lag [h]", "autocorrelation"),
            "daily": panels(results.values(), day, "local hour", "over mean"),
            **({"durations": panels(timed, durations, "duration [h]", "share of jobs")} if timed else {}),
        }


def panels(results, plot, x, y, columns=2, width=9.0):
    """One panel a source."""
    from matplotlib.figure import Figure

    results = list(results)
    lines = -(-len(results) // columns)
    fig = Figure(figsize=(width, 1.9 * lines + 0.5), dpi=DPI, layout="constrained")
    axes = fig.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(results) :]:
        ax.set_visible(False)
    for ax, (source, real, made) in zip(axes, results, strict=False):
        plot(ax, source, real, made)
        ax.set_title(f"{source.name}: {source.what}")
        ax.set_ylabel("rate over mean" if source.is_rate and plot is course else y)
        if source.is_rate and plot is spread:
            ax.set_ylabel("s.d. / mean")
    for ax in axes[max(0, len(results) - columns) : len(results)]:
        ax.set_xlabel(x)
    axes[0].legend(loc="best", fontsize=8)
    return fig


def ratios(rows):
    """A dot for every statistic, by source."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(r.measure for r in rows))
    sources = list(dict.fromkeys(r.source for r in rows))
    fig = Figure(figsize=(9.0, 0.3 * len(names) + 1.2), dpi=DPI, layout="constrained")
    ax, most = fig.subplots(), 4.0
    for k, source in enumerate(sources):
        mine = [r for r in rows if r.source == source]
        for beyond, marker in ((False, "o"), (True, ">")):
            those = [r for r in mine if (r.ratio > most) == beyond]
            y = [names.index(r.measure) + 0.08 * (k - len(sources) / 2) for r in those]
            label = source if not beyond else None
            ax.plot([min(r.ratio, most) for r in those], y, marker, color=OKABE_ITO[k % 8], ms=5, label=label)
    ax.axvline(LIMIT, color="black", lw=1)
    ax.axvline(1.0, color="#8C8C8C", lw=1, ls=":")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0.0, most + 0.1)
    ax.set_xlabel("distance over yardstick")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def _band(ax, x, lines, real, log=False):
    from matplotlib.ticker import LogLocator, NullFormatter

    low, middle, high = np.quantile(lines, [0.05, 0.5, 0.95], axis=0)
    ax.fill_between(x, low, high, color=BLUE, alpha=0.25, lw=0)
    ax.plot(x, middle, color=BLUE, label="generated")
    ax.plot(x, real, color="black", label="trace", lw=1.2)
    if log:
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(x, [f"{v:g}" for v in x])
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())


def course(ax, source, real, made):
    """One week of each."""
    hours = min(168, len(real.counts))
    at = max(0, (len(real.counts) // 168 // 2) * 168)
    for sample, colour, label in ((made[0], BLUE, "generated"), (real, "black", "trace")):
        counts = sample.counts / sample.counts.mean() if source.is_rate else sample.counts
        ax.plot(np.arange(hours), counts[at : at + hours], color=colour, lw=0.9, label=label)
    if not source.is_rate:
        ax.set_yscale("symlog", linthresh=10)
    ax.set_xticks(range(0, hours + 1, 24))
    ax.set_xlim(0, hours)


def spread(ax, source, real, made):
    """Dispersion by window."""
    of = variation if source.is_rate else dispersion
    hours = [h for h in WINDOWS_H if len(real.counts) >= 4 * h]
    _band(ax, hours, [[of(h)(s) for h in hours] for s in made], [of(h)(real) for h in hours], log=True)


def memory(ax, source, real, made):
    """Autocorrelation by lag."""
    lags = np.arange(1, min(200, len(real.counts) // 2))
    _band(
        ax,
        lags,
        [[autocorrelation(k)(s) for k in lags] for s in made],
        [autocorrelation(k)(real) for k in lags],
    )
    ax.set_xlim(0, lags[-1])


def day(ax, source, real, made):
    """Daily profile."""
    _band(ax, np.arange(24), [24.0 * daily(s) for s in made], 24.0 * daily(real))
    ax.set_xticks(range(0, 25, 6))


def durations(ax, source, real, made):
    """Distribution functions."""
    pooled = np.concatenate([s.work_h for s in made])
    for work_h, colour, label in ((pooled, BLUE, "generated"), (real.work_h, "black", "trace")):
        share = np.linspace(0.0, 1.0, 2001)
        ax.plot(np.quantile(work_h, share), share, color=colour, label=label)
    ax.set_xscale("log")
    ax.set_xlim(1e-3, 1e3)
