"""Planted schedules: traces cut from a plan that keeps every device busy; who follows the plan is never late."""

from dataclasses import replace

import numpy as np
import pytest

from gcn_env.core.params import HPC, REPLAY, TRAINING
from gcn_env.core.state import N_HEADS
from gcn_env.ledger import COUNTS, FLOWS
from gcn_env.sim import Sim
from tests.worlds import CALM, world

C, F = COUNTS.ix, FLOWS.ix
STEP_H, BLOCK, FLOW = 0.25, 8, 1
END_H = 44.0  # of the plan; the training window is 48 h
LAG_H = 2.0  # most hours between a job's coming and its planned start
MINUTE = 1.0 / 60.0  # margin of the deadlines: round trips, rounding


def cut(rand, begins, ends, devices):
    """Cut a rectangle of time and devices into jobs: rows (start, end, devices) that fill it without a gap."""
    hours = ends - begins
    wide = devices > BLOCK or (devices > 1 and rand.random() < 0.5)
    if hours > 4.0 or (hours > STEP_H and not wide and rand.random() < 0.6):
        middle = begins + STEP_H * rand.integers(1, round(hours / STEP_H))
        return cut(rand, begins, middle, devices) + cut(rand, middle, ends, devices)
    if wide and not (devices == 2 * BLOCK and rand.random() < 0.3):
        half = BLOCK * (devices // BLOCK // 2) if devices > BLOCK else devices // 2
        return cut(rand, begins, ends, half) + cut(rand, begins, ends, devices - half)
    return [(begins, ends, devices)]


def planted(seed, fleet, pools, kind):
    """Rows (come, start, end, devices, pool, work) of one class's plan, by hour of coming; hours of the trace."""
    rand = np.random.default_rng(seed)
    rows = []
    for p in pools:
        jobs = cut(rand, LAG_H, END_H, int(fleet.devices[p]))
        rows += [(*job, p, (job[1] - job[0]) * fleet.speed[kind, p]) for job in jobs]
    rows.sort(key=lambda row: (row[0], -row[2]))  # of those that start together the largest come first
    starts = np.array([row[0] for row in rows])
    lag = LAG_H * rand.random(len(rows))
    lag = lag[np.lexsort((-lag, starts))]
    return [(row[0] - ahead, *row) for row, ahead in zip(rows, lag, strict=True)]


def planted_world(seed, folder):
    """The smoke world with two planted traces and nothing else, and its plan: (source, hour of coming) -> row."""
    fleet, plan = world().params.fleet, {}
    over = {"time.episode_days": 2, "decisions.slots": 128, "data_dir": str(folder), **CALM}
    over |= {"jobs.batch.load": 0.0, "jobs.inference.load": 0.0, "network.cuts_per_year": 0.0}
    for pool in ("north.pools.gpu", "north.pools.cpu", "south.pools.gpu"):
        over |= {f"regions.{pool}.sleep": "none", f"regions.{pool}.slow_mtb_days": 1e9}
        over |= {f"regions.{pool}.devices_per_node": 1}  # best fit picks other nodes than a plan would
    for s, (name, kind, pools) in enumerate((("training", TRAINING, (0, 2)), ("hpc", HPC, (1,)))):
        rows = planted([seed, s], fleet, pools, kind)
        plan |= {(name, round(row[0], 8)): row for row in rows}
        lines = [f"{come},{work},{gang},1,0" for come, _, _, gang, _, work in sorted(rows)]
        others = [f"{hour},1,1,1,0" for hour in (71, 95)]  # the other splits are not empty
        columns = "arrival_h,duration_h,gang,memory_gib,data_gb"
        (folder / f"{name}.csv").write_text("\n".join([columns, *lines, *others, ""]))
        trace = {"file": f"{name}.csv", "format": "csv"}
        trace |= {"train_h": [0, 48], "validation_h": [48, 72], "test_h": [72, 96]}
        given = {"trace": trace, "max_gang": 32, "min_h": 0.01, "cores_per_device": 1}
        given |= {"slack_min_share": 0.0, "slack_mean_share": 0.0, "slack_h": LAG_H + MINUTE}
        over |= {f"jobs.{name}.{key}": value for key, value in given.items()}
    w = world(overrides=over)
    work = w.params.work  # each row once, none standing there before
    alone = work._replace(rate=np.ones_like(work.rate) * (work.mode == REPLAY), standing=0.0 * work.standing)
    return replace(w, params=w.params._replace(work=alone)), plan


def cool(sim):
    """Actions that place nothing and cool as the plants can."""
    act = np.zeros((1, len(sim.head_sizes)), np.int64)
    act[0, sim.world.n_slots :].reshape(-1, N_HEADS)[:, FLOW] = sim.world.n_levels - 1
    return act


def follow(sim, plan, hour):
    """Every job whose start is planned for `hour` goes to its pool, all others wait."""
    jobs, names, act = sim.state.jobs, sim.world.source_names, cool(sim)
    for q, j in enumerate(jobs.slot[0]):
        if j >= 0:
            row = plan[names[jobs.source[0, j]], round(jobs.arrival[0, j] - sim.state.clock.start_h[0], 8)]
            act[0, q] = row[4] + 1 if abs(row[1] - hour) < 1e-6 else 0
    return act


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_schedule_replays_without_a_late_job(seed, tmp_path):
    w, plan = planted_world(seed, tmp_path)
    sim = Sim(w, 1, autoreset=False)
    sim.reset([seed])
    sim.state.sources.offset[:], sim.state.sources.cursor[:] = 0.0, 0  # the window from its first hour
    pools, counts = sim.state.pools, sim.state.ledger.counts_sum
    for k in range(w.timing.horizon):
        hour = k * STEP_H
        sim.step(follow(sim, plan, hour))
        assert (sim.state.plants.throttle == 1.0).all()
        if LAG_H <= hour < END_H:
            np.testing.assert_allclose(pools.busy_h[0], STEP_H * w.params.fleet.devices, rtol=1e-3)
    assert counts[0, C.arrived] == counts[0, C.completed] == counts[0, C.placed] == len(plan) > 250
    assert counts[0, C.late] == counts[0, C.late_hours] == counts[0, C.illegal] == counts[0, C.killed] == 0
    device_h = (END_H - LAG_H) * w.params.fleet.devices.sum()
    assert sim.state.ledger.flows_sum[..., F.busy].sum() == pytest.approx(device_h, rel=1e-9)


def test_who_ignores_the_plan_is_late(tmp_path):
    """The same jobs sent as they come to the pool with fewest queued device-hours: the planted plan is not easy."""
    w, _ = planted_world(0, tmp_path)
    sim = Sim(w, 1, autoreset=False)
    sim.reset([0])
    sim.state.sources.offset[:], sim.state.sources.cursor[:] = 0.0, 0
    q, p = w.n_slots, w.n_pools
    for _ in range(w.timing.horizon):
        mask = sim.obs["mask"][0, : q * (p + 1)].reshape(q, p + 1)[:, 1:] > 0.5
        act = cool(sim)
        load = np.where(mask, sim.state.pools.queued[0], np.inf)
        act[0, :q] = np.where(mask.any(1), load.argmin(1) + 1, 0)
        sim.step(act)
    assert sim.state.ledger.counts_sum[0, C.late] > 10
