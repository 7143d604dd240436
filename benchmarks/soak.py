"""Ten million random steps: memory stays flat, and what must hold at every step still holds.

    python -m benchmarks.soak [--steps 10000000] [--batch 64] [--days 7] [--out soak.json]

Random legal actions. Every `--every` env-steps the whole batch is put to the tests' own checks (`tests/env`): each
job is in one place, pools, nodes, queues and leases count what is there, law, trust and quotas hold, energy in is
energy out, and the reward is minus the bill. `--days 363` makes a year-long episode of each environment (a day is left
at each end of the year). Prints resident memory and rate as it goes, a table at the end; ends with 1 if memory grew by
more than 2 % after the first tenth.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from benchmarks.said import parser, tell
from benchmarks.scale import resident_mb
from benchmarks.throughput import random_legal
from gcn_env import load_world
from gcn_env.ledger import FLOWS
from gcn_env.sim import Sim
from tests.env.test_invariants import check_jobs, check_law

F = FLOWS.ix
USED = [
    F.it, F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers, F.ups_loss, F.pdu_loss, F.misc,
    F.storage_in,
]  # fmt: skip
BOUGHT = [F.grid, F.pv, F.wind, F.generator, F.storage_out]
GROWTH = 1.02


def check(sim: Sim) -> float:
    """The invariants; returns the largest gap between energy in and out, kWh."""
    check_jobs(sim)
    check_law(sim)
    flows, ledger = sim.state.ledger.flows, sim.state.ledger
    gap = np.abs(flows[..., BOUGHT].sum(-1) - flows[..., USED].sum(-1))
    assert (gap <= 1e-9 * (1.0 + flows[..., USED].sum(-1))).all()
    assert all(
        np.isfinite(a).all() for a in (ledger.terms_sum, ledger.flows_sum, ledger.counts_sum, sim.reward)
    )
    assert all(np.isfinite(obs).all() for obs in sim.obs.values())
    np.testing.assert_allclose(
        sim.reward * sim.world.params.money.reference_usd, -ledger.terms.sum(1), rtol=1e-12, atol=1e-9
    )
    return float(gap.max())


def soak(scenario: str, steps: int, batch: int, days: float, every: int) -> dict[str, Any]:
    """Step, check, and note memory."""
    sim = Sim(load_world(scenario, {"time.episode_days": days}), batch)
    rng, rows, worst = np.random.default_rng(0), [], 0.0
    sim.reset(0)
    taken = due = 0
    begin = time.perf_counter()
    while taken < steps:
        sim.step(random_legal(sim.obs["mask"], sim.head_sizes, rng))
        taken += batch
        if taken >= due:
            worst = max(worst, check(sim))
            due += every
            if not rows or taken >= len(rows) * steps / 20:
                rows.append(
                    {"steps": taken, "resident_mb": resident_mb(), "seconds": time.perf_counter() - begin}
                )
                print(f"  {rows[-1]}", flush=True)
    rows.append({"steps": taken, "resident_mb": resident_mb(), "seconds": time.perf_counter() - begin})
    early = max(r["resident_mb"] for r in rows if r["steps"] <= max(steps / 10, rows[0]["steps"]))
    return {
        "scenario": scenario, "batch": batch, "days": days, "steps": taken, "checks": taken // every + 1,
        "largest_energy_gap_kwh": worst, "growth": rows[-1]["resident_mb"] / early, "rows": rows,
    }  # fmt: skip


def table(said: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    first, last = said["rows"][0], said["rows"][-1]
    what = f"{said['steps']:,} random env-steps of `{said['scenario']}`"
    how = f"{said['batch']} environments, episodes of {said['days']:g} days"
    return (
        f"{what} ({how}) in {last['seconds'] / 60:.0f} min: {said['checks']:,} checks of the whole batch held; "
        f"energy in and out differ by {said['largest_energy_gap_kwh']:.1e} kWh at most. Resident memory "
        f"{first['resident_mb']:.0f} MB at first, {last['resident_mb']:.0f} MB at last "
        f"({said['growth']:.3f} times that of the first tenth)."
    )


def main() -> int:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--scenario", default="default", help="name or path of a scenario")
    options.add_argument("--steps", type=int, default=10_000_000, help="env-steps (10000000)")
    options.add_argument("--batch", type=int, default=64, help="environments in the batch (64)")
    options.add_argument("--days", type=float, default=7.0, help="length of an episode (7)")
    options.add_argument("--every", type=int, default=100_000, help="env-steps between two checks (100000)")
    args = options.parse_args()
    said = soak(args.scenario, args.steps, args.batch, args.days, args.every)
    tell(said, table(said), args.out)
    return int(said["growth"] > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
