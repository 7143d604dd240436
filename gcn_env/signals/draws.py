"""Random numbers of synthetic years: streams named by (seed, year, profile, purpose), and smooth series of them."""

from __future__ import annotations

import zlib
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@cache
def normal_table() -> Array:
    """Midpoint quantiles of the standard normal at 16-bit resolution, unit variance, float32 [65536].

    Looking normals up from raw bits costs a tenth of NumPy's own sampler, and NumPy promises that a bit
    generator's stream never changes, which it does not promise of its samplers.
    """
    normal = NormalDist()
    half = np.array([normal.inv_cdf((i + 0.5) / 65536.0) for i in range(32768)])
    table = np.concatenate([half, -half[::-1]])
    return np.asarray(table / np.sqrt(np.mean(table**2)), np.float32)


def raw_bits(seed: int, year_id: int, profile: str, purpose: int, n: int) -> Array:
    """`n` random 16-bit numbers (a multiple of 4) of one purpose in one year of a profile, uint16."""
    key = (year_id, zlib.crc32(profile.encode()), purpose)
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))
    return bits.random_raw(n // 4).astype("<u8", copy=False).view("<u2")


def smooth(white: Array, tau_h: float) -> Array:
    """Hourly AR(1) of time constant `tau_h` [h] from unit-variance white noise, its end joined to its beginning.

    The stationary solution that is periodic in its length: a circular convolution with phi**k.
    """
    n, phi = len(white), float(np.exp(-1.0 / tau_h))
    step = np.fft.rfft(white * np.sqrt(1.0 - phi**2))
    return np.asarray(np.fft.irfft(step * np.fft.rfft(phi ** np.arange(n)) / (1.0 - phi**n), n))
