"""Job attributes that no public trace records. All of them are engineering choices `[E]`, in one place.

Memory per device follows the device sizes on the market (16, 24, 40 and 80 GiB): a job asks for a little less
than a device holds. Data are lognormal, cut at a maximum. Every function takes the job class and the gangs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

KINDS = ("training", "batch", "hpc", "nasa", "inference")


class Attributes(NamedTuple):
    """The columns of a `JobTable` that a trace does not have."""

    memory_gib: Array  # float64 [n] GiB per device
    data_gb: Array  # float64 [n] GB
    checkpoint_h: Array  # float64 [n] h of work between checkpoints, inf = none
    comm: Array  # float64 [n] share 0..1


# Sizes [GiB per device] and their shares, by least gang.
_MEMORY: dict[str, tuple[tuple[int, tuple[float, ...], tuple[float, ...]], ...]] = {
    "training": (
        (1, (12.0, 22.0, 38.0, 70.0), (0.40, 0.30, 0.15, 0.15)),
        (2, (22.0, 38.0, 70.0), (0.40, 0.20, 0.40)),
        (8, (38.0, 70.0), (0.30, 0.70)),
    ),
    "batch": ((1, (8.0, 14.0, 22.0, 40.0), (0.50, 0.25, 0.20, 0.05)),),
    "inference": ((1, (14.0, 22.0, 70.0), (0.40, 0.35, 0.25)), (2, (22.0, 70.0), (0.20, 0.80))),
}
# Median [GB], standard deviation of the logarithm, maximum [GB] of the data to move.
_DATA: dict[str, tuple[float, float, float]] = {
    "training": (20.0, 1.2, 2000.0),
    "batch": (5.0, 1.8, 2000.0),
    "hpc": (2.0, 1.5, 500.0),
    "nasa": (2.0, 1.5, 500.0),
    "inference": (20.0, 0.8, 150.0),
}
# Communication or memory share: of one device, rise per doubling of the gang, half width of the spread.
_COMM: dict[str, tuple[float, float, float]] = {
    "training": (0.15, 0.07, 0.10),
    "batch": (0.10, 0.05, 0.10),
    "hpc": (0.25, 0.05, 0.15),
    "nasa": (0.20, 0.05, 0.10),
    "inference": (0.55, 0.05, 0.15),
}
_CHECKPOINT_RANGE_H = (0.25, 4.0)
_HPC_MEMORY_MAX_GIB = 512.0


def attributes(
    kind: str, gang: Array, work_h: Array, cores_per_device: int, rng: np.random.Generator
) -> Attributes:
    """Attributes for jobs of one class, drawn independently of each other given the gang.

    - memory: sizes above by gang class; HPC: lognormal GiB per core fitted to CERIT, times cores per device.
    - data: training: a dataset shard (lognormal, median 20 GB) plus a checkpoint of 1-50 GB that grows with
      the gang; batch: median 5 GB, heavy tail; HPC: median 2 GB; inference: image and weights, median 20 GB.
    - checkpoints: training jobs longer than the interval write one every 0.25-4 h (median 1 h); half of the
      HPC jobs longer than 2 h write one every 2 h; batch and inference write none.
    - comm: grows with the logarithm of the gang; decoding is bound by memory bandwidth, hence inference's
      high share.

    Args:
        kind: one of `KINDS`.
        gang: int `[n]` devices.
        work_h: float `[n]` h at reference speed.
        cores_per_device: CPU cores that make one device (HPC only).
        rng: source of randomness.
    """
    gang = np.asarray(gang)
    return Attributes(
        _memory(kind, gang, cores_per_device, rng),
        _data(kind, gang, rng),
        _checkpoints(kind, np.asarray(work_h), rng),
        _comm(kind, gang, rng),
    )


def _memory(kind: str, gang: Array, cores_per_device: int, rng: np.random.Generator) -> Array:
    u = rng.random(len(gang))
    if kind in ("hpc", "nasa"):
        # CERIT: ln(GiB per core) has mean 0.078 and standard deviation 1.53
        per_core = np.exp(0.07826 + 1.53 * rng.standard_normal(len(gang)))
        host: Array = np.clip(per_core * cores_per_device, 0.1, _HPC_MEMORY_MAX_GIB)
        return host
    out = np.zeros(len(gang))
    for least, sizes, shares in _MEMORY[kind]:
        pick = np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(sizes) - 1)
        out = np.where(gang >= least, np.array(sizes)[pick], out)
    return out


def _data(kind: str, gang: Array, rng: np.random.Generator) -> Array:
    median, spread, most = _DATA[kind]
    gb = median * np.exp(spread * rng.standard_normal(len(gang)))
    if kind == "training":
        gb = gb + np.clip(rng.uniform(1.0, 4.0, len(gang)) * np.sqrt(gang) * 2.0, 1.0, 50.0)
    elif kind == "inference":
        gb = gb * np.sqrt(gang)  # larger leases serve larger models
    return np.clip(gb, 0.01, most)


def _checkpoints(kind: str, work_h: Array, rng: np.random.Generator) -> Array:
    u, z = rng.random(len(work_h)), rng.standard_normal(len(work_h))
    if kind == "training":
        every = np.clip(np.exp(0.7 * z), *_CHECKPOINT_RANGE_H)
        return np.where(work_h > every, every, np.inf)
    if kind in ("hpc", "nasa"):
        return np.where((u < 0.5) & (work_h > 2.0), 2.0, np.inf)
    return np.full(len(work_h), np.inf)


def _comm(kind: str, gang: Array, rng: np.random.Generator) -> Array:
    base, slope, spread = _COMM[kind]
    mean: Array = base + slope * np.log2(np.maximum(gang, 1))
    share: Array = np.clip(mean + spread * rng.uniform(-1.0, 1.0, len(gang)), 0.0, 0.8)
    return share
