"""Request rates: series of requests per second in equal steps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from gcn_env.jobs.parse import csv_columns, decode, need_columns, numbers, parquet_columns, read_bytes
from gcn_env.jobs.raw import HOUR_S, not_negative
from gcn_env.jobs.rows import RateSeries
from gcn_env.jobs.windows import checked_window, unknown
from gcn_env.signals.errors import DataError

RATE_FORMATS = ("servegen", "csv", "parquet")


def read_rates(
    path: str | Path, window_h: tuple[float, float] | None = None, *, format: str = "servegen"
) -> RateSeries:
    """A request-rate series.

    Args:
        path: plain or gzip-compressed CSV, or Parquet.
        window_h: hours from midnight before the first step; None = all.
        format: `servegen` (window_start_s, request_rate_per_s), `csv` or `parquet` (start_h, rate_per_s).

    Raises:
        DataError: for a file or window that cannot be used, or steps of unequal length.
    """
    if format not in RATE_FORMATS:
        raise DataError(unknown("rate format", format, RATE_FORMATS))
    file = Path(path)
    columns = (
        parquet_columns(file) if format == "parquet" else csv_columns(decode(read_bytes(file), file), file)
    )
    start_name, rate_name = (
        ("window_start_s", "request_rate_per_s") if format == "servegen" else ("start_h", "rate_per_s")
    )
    need_columns(columns, (start_name, rate_name), file, f"; {format} needs {start_name}, {rate_name}")
    start_h = numbers(columns, start_name, file) / (HOUR_S if format == "servegen" else 1.0)
    rate = not_negative(numbers(columns, rate_name, file), rate_name, file)
    if len(start_h) < 2:
        raise DataError(f"{file}: one step only; at least two are needed to know their length")
    steps = np.diff(start_h)
    step_h = float(steps[0])
    wrong = np.abs(steps - step_h) > 1e-6 * max(1.0, abs(step_h))
    if step_h <= 0.0 or wrong.any():
        at = int(np.argmax(wrong)) + 2 if step_h > 0.0 else 2
        raise DataError(
            f"{file}: row {at}: steps must be equal and rise ({step_h:g} h before); fill the gaps first"
        )
    start_h = start_h - math.floor(start_h[0] / 24.0) * 24.0
    first, last = checked_window(window_h, float(start_h[-1] + step_h), path, low=float(start_h[0]))
    pick = (start_h >= first - 1e-9) & (start_h < last - 1e-9)
    if not pick.any():
        raise DataError(f"{file}: no step begins in {first:g}-{last:g} h")
    return RateSeries(float(start_h[pick][0]), step_h, np.ascontiguousarray(rate[pick]))
