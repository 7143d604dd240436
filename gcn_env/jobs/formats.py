"""The trace formats: from a file's columns to arrivals, durations and devices.

A reader drops what never ran and counts why; it never repairs a number. Durations are taken as work on
devices of reference speed: the devices of the trace are the reference. Anybody's own trace is `csv` (or `parquet`
with the same columns): see `gcn_env.jobs.generic`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.jobs.generic import read_generic
from gcn_env.jobs.parse import Columns, need_columns, numbers, stamps, swf_table
from gcn_env.jobs.raw import Raw, keep, not_negative
from gcn_env.signals.errors import DataError

Array = npt.NDArray[Any]

KIB_PER_GIB = 1024.0**2
CSV, SWF, PARQUET = "csv", "swf", "parquet"

# Seconds per token of Llama2-70B on 8 H100 without batching [E], after the paper that published the Azure
# trace (Patel et al., "Splitwise", ISCA 2024): median time to first token 95 ms at the coding service's
# median prompt of 1500 tokens, 31 ms between tokens, 493 ms end to end at 13 tokens (95 + 13 x 31 = 498).
# Its table is quoted from memory, hence [E]; batching would share the devices among tens of requests.
AZURE_PROMPT_S = 0.095 / 1500.0
AZURE_TOKEN_S = 0.031
AZURE_GANG = 8


class Format(NamedTuple):
    """A trace format."""

    read: Callable[[Columns, Path], Raw]
    needs: tuple[str, ...]  # columns
    kind: str  # job class whose engineering figures fill what the trace does not have
    doc: str


def _philly(c: Columns, path: Path) -> Raw:
    duration = not_negative(numbers(c, "duration_s", path), "duration_s", path)
    gpus = numbers(c, "n_gpu", path)
    kept, dropped = keep({"no device": gpus <= 0}, len(gpus))
    return Raw(stamps(c, "arrival_utc", path)[kept], duration[kept], gpus[kept], dropped, 0, True)


def _cerit(c: Columns, path: Path) -> Raw:
    # -1 = unknown; one job of the published log has a start in 1970 and so a duration of -43 years
    duration, cores = numbers(c, "duration_s", path), numbers(c, "cpu_cores", path)
    memory = numbers(c, "mem_gib", path, blank=True)
    kept, dropped = keep({"unknown duration": duration < 0.0, "no device": cores <= 0}, len(duration))
    memory = np.where(memory > 0.0, memory, np.nan)[kept]
    arrival = stamps(c, "arrival_utc", path)[kept]
    return Raw(arrival, duration[kept], cores[kept], dropped, 0, True, memory)


def _last_seen(*columns: Array) -> float:
    """The latest time in any of the columns: the end of what the trace saw."""
    seen = np.concatenate([x[~np.isnan(x)] for x in columns])
    return float(seen.max()) if len(seen) else 0.0


def _alibaba_pods(c: Columns, path: Path) -> Raw:
    # A pod with a share of a GPU (44 % of the single-GPU pods) holds a whole device here.
    # `mem_gib` is the host's memory, so device memory is filled in.
    arrival = not_negative(numbers(c, "arrival_s", path), "arrival_s", path)
    start, end = numbers(c, "scheduled_s", path, blank=True), numbers(c, "end_s", path, blank=True)
    gpus = numbers(c, "n_gpu", path)
    duration = np.where(np.isnan(end), _last_seen(arrival, start, end), end) - start
    kept, dropped = keep({"never scheduled": np.isnan(start), "no device": gpus <= 0}, len(gpus))
    not_negative(np.where(kept, duration, 0.0), "end_s - scheduled_s", path)
    alive = np.array([s == "Running" for s in c["status"]], bool)
    return Raw(arrival[kept], duration[kept], gpus[kept], dropped, int((kept & alive).sum()), False)


def _alibaba_serving(c: Columns, path: Path) -> Raw:
    # Instances alive at the start have no arrival; those alive at the end are cut at the last time seen.
    arrival = not_negative(numbers(c, "arrival_s", path, blank=True), "arrival_s", path)
    start, end = numbers(c, "scheduled_s", path, blank=True), numbers(c, "end_s", path, blank=True)
    gpus = numbers(c, "n_gpu", path)
    alive = np.isnan(end)
    duration = np.where(alive, _last_seen(arrival, start, end), end) - start
    drops = {
        "alive at start": np.isnan(arrival),
        "never scheduled": np.isnan(start),
        "no device": gpus <= 0,
    }
    kept, dropped = keep(drops, len(gpus))
    not_negative(np.where(kept, duration, 0.0), "end_s - scheduled_s", path)
    return Raw(arrival[kept], duration[kept], gpus[kept], dropped, int((kept & alive).sum()), False)


def _genai(c: Columns, path: Path) -> Raw:
    # One device a request; 14 GiB hold a diffusion model and its adapters, an image is 2 MB [E].
    arrival = not_negative(numbers(c, "arrival_s", path), "arrival_s", path)
    duration = not_negative(numbers(c, "exec_s", path, blank=True), "exec_s", path)
    images = numbers(c, "images", path, blank=True)
    pending = np.array([s == "PENDING" for s in c["status"]], bool)
    kept, dropped = keep({"never scheduled": pending, "unknown duration": np.isnan(duration)}, len(arrival))
    n = int(kept.sum())
    data = np.maximum(np.nan_to_num(images[kept], nan=1.0), 1.0) * 0.002
    return _requests(arrival[kept], duration[kept], np.ones(n), dropped, (14.0, data, 0.3))


def _azure_llm(c: Columns, path: Path) -> Raw:
    # Service time from the token counts; 4 bytes a token; a 70-billion model with its cache on 8 devices.
    arrival = not_negative(numbers(c, "arrival_s", path), "arrival_s", path)
    context = not_negative(numbers(c, "context_tokens", path), "context_tokens", path)
    generated = not_negative(numbers(c, "generated_tokens", path), "generated_tokens", path)
    duration = context * AZURE_PROMPT_S + generated * AZURE_TOKEN_S
    data = (context + generated) * 4e-9
    comm = np.where(duration > 0, generated * AZURE_TOKEN_S / np.maximum(duration, 1e-12), 0.0)
    return _requests(arrival, duration, np.full(len(arrival), float(AZURE_GANG)), {}, (22.0, data, comm))


def _requests(
    arrival: Array, duration: Array, gang: Array, dropped: dict[str, int], figures: tuple[float, Array, Any]
) -> Raw:
    memory, data, comm = figures
    none = np.full(len(arrival), np.inf)
    share = np.broadcast_to(np.asarray(comm, np.float64), arrival.shape)
    return Raw(arrival, duration, gang, dropped, 0, False, memory * gang, data, none, share)


def read_swf(text: str, path: Path) -> Raw:
    """Jobs of a Standard Workload Format log.

    Devices are the processors allocated, or those requested where that is unknown (-1); memory is that used,
    or requested, per processor [KiB]. Jobs whose run time is unknown never ran, and are dropped.
    """
    table, header = swf_table(text, path)
    submit, run = table[:, 1], table[:, 3]
    procs = np.where(table[:, 4] > 0, table[:, 4], table[:, 7])
    kib = np.where(table[:, 6] > 0, table[:, 6], table[:, 9])
    not_negative(submit, "submit time", path)
    wrong = (run < 0.0) & (run != -1.0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{path}: job line {at + 1}, run time is {run[at]:g}; only -1 (unknown) may be negative"
        )
    kept, dropped = keep({"unknown duration": run < 0.0, "no device": procs <= 0}, len(run))
    memory = np.where(kib > 0.0, kib * procs / KIB_PER_GIB, np.nan)[kept]
    try:
        zero = float(header.get("UnixStartTime", "0").split()[0])
    except (ValueError, IndexError):
        zero = 0.0
    return Raw(submit[kept] + zero, run[kept], procs[kept], dropped, 0, zero > 0.0, memory)


FORMATS: dict[str, Format] = {
    CSV: Format(
        read_generic, ("arrival_h", "duration_h", "gang"), "batch", "one's own: see gcn_env/jobs/README.md"
    ),
    "philly": Format(
        _philly, ("arrival_utc", "duration_s", "n_gpu"), "training", "Microsoft Philly 2017, GPU training"
    ),
    "cerit": Format(
        _cerit, ("arrival_utc", "duration_s", "cpu_cores", "mem_gib"), "hpc", "CERIT-SC 2013, CPU cores"
    ),
    "alibaba_pods": Format(
        _alibaba_pods,
        ("arrival_s", "scheduled_s", "end_s", "n_gpu", "status"),
        "batch",
        "Alibaba gpu-v2023, pods of a mixed GPU cluster",
    ),
    "alibaba_serving": Format(
        _alibaba_serving,
        ("arrival_s", "scheduled_s", "end_s", "n_gpu"),
        "inference",
        "Alibaba gpu-v2025, serving instances",
    ),
    "genai": Format(
        _genai,
        ("arrival_s", "exec_s", "status", "images"),
        "inference",
        "Alibaba v2026-GenAI, image requests",
    ),
    "azure_llm": Format(
        _azure_llm,
        ("arrival_s", "context_tokens", "generated_tokens"),
        "inference",
        "Azure LLM inference 2023, requests by tokens",
    ),
}
TRACE_FORMATS = (*FORMATS, SWF, PARQUET)


def read_columns(name: str, columns: Columns, path: Path) -> Raw:
    """Jobs of a table in one of `FORMATS`; a missing column says which format the header looks like."""
    form = FORMATS[name]
    fits = [n for n, f in FORMATS.items() if set(f.needs) <= set(columns)]
    hint = f"; it looks like format {fits[0]!r}" if fits else f"; {name} needs {', '.join(form.needs)}"
    # the reader of csv checks its other columns, which have alternatives
    need_columns(columns, ("gang",) if name == CSV else form.needs, path, hint)
    return form.read(columns, path)
