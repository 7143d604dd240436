"""What a few episodes looked like hour by hour: means per region and fleet sums, small enough to keep.

A week of one episode is 168 buckets x (R regions x 19 + 20) numbers: about 100 kB at eight regions. Beside them stands
where each job ran and when (`gcn_env.stints`), 72 bytes a stint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import CARBON, DRY, PENDING, PRICE, QUEUED, RUNNING, TRANSIT, State
from gcn_env.ledger import FLOWS, TERMS
from gcn_env.metrics import site_energy
from gcn_env.stints import Stints
from gcn_env.tables import Row, Table

REGION = Table(
    "record_region",
    (
        Row("load", "1", 0, 1, "device-hours run over device-hours in service"),
        Row("price", "USD/MWh", -1e4, 1e5, "electricity price"),
        Row("carbon", "gCO2e/kWh", 0, 5e3, "life-cycle intensity of grid energy"),
        Row("dry", "degC", -90, 70, "outside air, dry bulb"),
        Row("inlet", "degC", -50, 150, "mean server inlet"),
        Row("hot", "degC", -50, 150, "hottest rack inlet"),
        Row("supply", "degC", -50, 150, "supply air as delivered"),
        Row("chip", "degC", -50, 200, "chip"),
        Row("set_cold", "head unit", -1e3, 1e3, "commanded cold-side set-point"),
        Row("set_flow", "head unit", -1e3, 1e3, "commanded flow"),
        Row("set_rejection", "head unit", -1e3, 1e3, "commanded heat-rejection set-point"),
        Row(
            "queue", "device h", 0, 1e9, "work waiting at the pools or on its way there, at the pools' speed"
        ),
        Row("it", "kW", 0, 1e9, "IT power"),
        Row("cooling", "kW", 0, 1e9, "cooling power"),
        Row("grid", "kW", 0, 1e9, "power drawn from the grid"),
        Row("gap", "K", -1e3, 1e3, "from the hottest inlet or coolant to its limit; negative: above"),
        Row("site", "kW", 0, 1e9, "power from all sources that did not stay in store (over `it`: PUE)"),
        Row("compute", "kW", 0, 1e9, "IT power without server fans and extra leakage (under `site`: TUE)"),
    ),
)

FLEET = Table(
    "record_fleet",
    (
        Row("pending", "jobs", 0, 1e9, "jobs waiting for a decision"),
        Row("travelling", "jobs", 0, 1e9, "jobs whose data is moving"),
        Row("queued", "jobs", 0, 1e9, "jobs in a pool's queue"),
        Row("running", "jobs", 0, 1e9, "jobs running"),
    ),
)


@dataclass(frozen=True)
class Record:
    """Bucket means of `k` episodes, T buckets of `bucket_h` hours, R regions.

    Attributes:
        regions: float32 `[k, T, R, len(REGION)]`.
        fleet: float32 `[k, T, len(FLEET)]`.
        usd: float64 `[k, T, len(TERMS)]`, sums (not means) of each money term.
        bucket_h: hours per bucket.
        stints: per episode float64 `[n, len(STINT)]`: which job ran where, from when to when.
    """

    regions: npt.NDArray[np.float32]
    fleet: npt.NDArray[np.float32]
    usd: npt.NDArray[np.float64]
    bucket_h: float
    stints: tuple[npt.NDArray[np.float64], ...] = ()

    def region(self, name: str, episode: int = 0) -> npt.NDArray[np.float32]:
        """One region column of one episode, `[T, R]`."""
        return self.regions[episode, :, :, REGION.index(name)]

    def hours(self) -> npt.NDArray[np.float64]:
        """Hours from the start of the episode at the middle of each bucket, `[T]`."""
        return np.asarray((np.arange(self.regions.shape[1]) + 0.5) * self.bucket_h, np.float64)


class Recorder:
    """Collects the first `k` environments of a batch; call `add` after each call of `Sim.step`.

    Args:
        pool_region: `[P]` region of each pool.
        n_regions: R.
        horizon: control steps per episode.
        step_h: hours per control step.
        k: environments kept, from the first.
    """

    def __init__(
        self, pool_region: npt.ArrayLike, n_regions: int, horizon: int, step_h: float, k: int
    ) -> None:
        self._bucket_h = max(1.0, step_h)
        self._step_h, self._horizon = step_h, horizon
        buckets = max(1, math.ceil(horizon * step_h / self._bucket_h - 1e-9))
        region = np.asarray(pool_region, np.int64)
        self._in_region = (region[:, None] == np.arange(n_regions)).astype(np.float64)  # [P, R]
        self._regions = np.zeros((k, buckets, n_regions, len(REGION)))
        self._fleet = np.zeros((k, buckets, len(FLEET)))
        self._usd = np.zeros((k, buckets, len(TERMS)))
        self._seen = np.zeros((k, buckets))
        self._steps = np.zeros(k, np.int64)
        self._stints = Stints(k)

    def add(self, state: State, closed: npt.NDArray[np.bool_]) -> None:
        """Add the step that ended in the environments where `closed`; full episodes take no more."""
        k = self._steps.size
        rows = np.flatnonzero(closed[:k] & (self._steps < self._horizon))
        if rows.size == 0:
            return
        at = (self._steps[rows] * self._step_h / self._bucket_h + 1e-9).astype(np.int64)
        self._regions[rows, at] += self._region_columns(state, rows)
        self._fleet[rows, at] += _job_counts(state, rows)
        self._usd[rows, at] += state.ledger.terms[rows]
        for b in rows:
            self._stints.add(state, int(b))
        self._seen[rows, at] += 1
        self._steps[rows] += 1

    def finish(self) -> Record:
        """The record; buckets without a step (an episode cut short) are NaN means and zero sums."""
        with np.errstate(invalid="ignore"):
            regions = self._regions / self._seen[:, :, None, None]
            fleet = self._fleet / self._seen[:, :, None]
        return Record(
            regions.astype(np.float32),
            fleet.astype(np.float32),
            self._usd,
            self._bucket_h,
            self._stints.finish(),
        )

    def _region_columns(self, state: State, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        pools, plants, now = state.pools, state.plants, state.signals.now
        flows = {name: state.ledger.flows[rows, :, i] for i, name in enumerate(FLOWS.names)}
        ran = pools.busy_h[rows] @ self._in_region
        could = pools.healthy[rows] @ self._in_region * self._step_h
        values: dict[str, Any] = {
            "load": np.divide(ran, could, out=np.zeros_like(ran), where=could > 0),
            "price": now[rows, :, PRICE],
            "carbon": now[rows, :, CARBON],
            "dry": now[rows, :, DRY],
            "inlet": plants.inlet_c[rows],
            "hot": plants.hot_c[rows],
            "supply": plants.supply_c[rows],
            "chip": plants.chip_c[rows],
            "set_cold": plants.command[rows, :, 0],
            "set_flow": plants.command[rows, :, 1],
            "set_rejection": plants.command[rows, :, 2],
            "queue": pools.queued[rows] @ self._in_region,
            "it": plants.it_kw[rows],
            "cooling": plants.cool_kw[rows],
            "grid": plants.grid_kw[rows],
            "gap": plants.limit_gap[rows],
            "site": site_energy(flows) / self._step_h,
            "compute": (flows["it"] - flows["server_fans"] - flows["leakage"]) / self._step_h,
        }
        return np.stack([values[name] for name in REGION.names], axis=-1)


def _job_counts(state: State, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    status = state.jobs.status[rows]  # free places are FREE, so the whole row can be counted
    kinds = (PENDING, TRANSIT, QUEUED, RUNNING)
    return np.stack([(status == s).sum(axis=1) for s in kinds], axis=-1).astype(np.float64)
