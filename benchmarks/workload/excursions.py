"""Bursts of a request rate as they are seen: excursions over its running median."""

from __future__ import annotations

import numpy as np

AROUND = 9  # 10-min steps to each side of the running median: +-1.5 h
BURST = 0.25  # excess over it that makes a burst: m-small has seven in its week, and no dip as deep


def excess(rate):
    """Rate over its running median, minus 1; 0 where nothing was recorded."""
    padded = np.concatenate([np.full(AROUND, np.nan), rate, np.full(AROUND, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    return np.nan_to_num(rate / np.nanmedian(windows, axis=1) - 1.0)


def runs(over):
    """First and last + 1 of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], over.astype(int), [0]])))
    return edges.reshape(-1, 2)


def excursions(rate, step_h):
    """What is seen beyond `BURST`: ups less dips per day, mean length [h] and mean excess of the ups."""
    e = excess(rate)
    up, down = runs(e > BURST), runs(e < -BURST)
    if not len(up):
        return np.zeros(3)
    height = np.mean([e[a:b].mean() for a, b in up])
    days = len(rate) * step_h / 24.0
    return np.array([max(0, len(up) - len(down)) / days, (up[:, 1] - up[:, 0]).mean() * step_h, height])
