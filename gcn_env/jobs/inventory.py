"""What comes with some traces: the nodes of the cluster, and the clients behind a request rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from gcn_env.jobs.parse import Columns, csv_columns, decode, need_columns, numbers, read_bytes
from gcn_env.jobs.raw import not_negative

Array = npt.NDArray[Any]


class Nodes(NamedTuple):
    """Machines of a cluster: what turns a trace's offered device-hours into a load."""

    cpu_cores: Array  # float64 [n]
    mem_gib: Array  # float64 [n]
    n_gpu: Array  # float64 [n]
    gpu_type: tuple[str, ...]  # [n]; "" = no GPU


class Clients(NamedTuple):
    """Users of an inference service: the few large ones shape its traffic."""

    mean_rate_per_s: Array  # float64 [n] requests/s
    interarrival_cv: (
        Array  # float64 [n] median coefficient of variation of the times between requests; Poisson: 1
    )
    active_share: Array  # float64 [n] share of the time with any request


def read_nodes(path: str | Path) -> Nodes:
    """Nodes of Alibaba gpu-v2023 (columns cpu_cores, mem_gib, n_gpu, gpu_type).

    Raises:
        DataError: for a file that cannot be read, a missing column or a value that is no number at least 0.
    """
    c, file = _columns(path, ("cpu_cores", "mem_gib", "n_gpu", "gpu_type"))
    cores, memory, gpus = (
        not_negative(numbers(c, n, file), n, file) for n in ("cpu_cores", "mem_gib", "n_gpu")
    )
    return Nodes(cores, memory, gpus, tuple(c["gpu_type"]))


def read_clients(path: str | Path) -> Clients:
    """Clients of ServeGen (columns mean_rate_per_s, median_interarrival_cv, active_share).

    Raises:
        DataError: as `read_nodes`.
    """
    names = ("mean_rate_per_s", "median_interarrival_cv", "active_share")
    c, file = _columns(path, names)
    return Clients(*(not_negative(numbers(c, n, file, blank=True), n, file) for n in names))


def _columns(path: str | Path, names: tuple[str, ...]) -> tuple[Columns, Path]:
    file = Path(path)
    columns = csv_columns(decode(read_bytes(file), file), file)
    need_columns(columns, names, file)
    return columns, file
