"""Windows of a trace: hours from the midnight before its first row."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from gcn_env.errors import nearest
from gcn_env.signals.errors import DataError

SPLITS = ("train", "validation", "test")


def checked_window(
    window_h: tuple[float, float] | None, extent_h: float, what: object, low: float = 0.0
) -> tuple[float, float]:
    """The window, or all of `low..extent_h` for None.

    Raises:
        DataError: for hours outside the trace.
    """
    if window_h is None:
        return low, extent_h
    first, last = float(window_h[0]), float(window_h[1])
    if not (0.0 <= first < last <= extent_h):  # also false for NaN
        raise DataError(
            f"{what}: window {first:g}-{last:g} h; need 0 <= from < to <= {extent_h:g} h, the trace's length"
        )
    return first, last


def split_windows(
    windows: Mapping[str, tuple[float, float]], extent_h: float
) -> dict[str, tuple[float, float]]:
    """The windows of a trace by split, checked: ordered, inside the trace, disjoint.

    Args:
        windows: hours `(from, to)` for any of `train`, `validation`, `test`.
        extent_h: length of the trace (`trace_extent_h`).

    Raises:
        DataError: naming the windows at fault.
    """
    checked: dict[str, tuple[float, float]] = {}
    for name, window in windows.items():
        if name not in SPLITS:
            raise DataError(unknown("split", name, SPLITS))
        checked[name] = checked_window(window, extent_h, f"{name} window")
    ordered = sorted(checked.items(), key=lambda item: item[1])
    for (left, a), (right, b) in pairwise(ordered):
        if b[0] < a[1]:
            raise DataError(
                f"{left} window {a[0]:g}-{a[1]:g} h overlaps {right} window {b[0]:g}-{b[1]:g} h; "
                "training and evaluation must not share jobs"
            )
    return checked


def unknown(what: str, name: str, allowed: tuple[str, ...]) -> str:
    """What to say of a name that is none of `allowed`."""
    return f"unknown {what} {name!r}{nearest(name, allowed)} (allowed: {', '.join(allowed)})"
