"""What the observation says a choice for a job will cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.observation import JOBS, PAIRS

_COST, _PATIENCE, _LEGAL = (PAIRS.index(n) for n in ("cost", "patience", "legal"))
_LEASE = JOBS.index("inference")


def expected_usd(obs: Mapping[str, npt.NDArray[Any]], q: int, action: int) -> float | None:
    """What the encoder expects a choice for slot `q` to cost [USD]; of waiting, the best forecast hour."""
    pairs = obs["pairs"][0, q].astype(np.float64)
    usd = np.sinh(pairs[:, _COST])
    if action > 0:
        return float(usd[action - 1])
    legal = pairs[:, _LEGAL] > 0.0
    if not legal.any() or obs["jobs"][0, q, _LEASE] > 0.0:
        return None
    later = usd - pairs[:, _PATIENCE] * (np.abs(usd) + 0.01)
    return float(later[legal].min())
