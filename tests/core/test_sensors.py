"""Readings: how far they are from the truth, how old, how coarse, and what a sensor that sticks shows."""

import numpy as np
import pytest

from gcn_env.core import rng
from gcn_env.core.sensors import STUCK, sense, weak_sensor
from gcn_env.core.state import SENSORS
from tests.worlds import CALM, legal_actions, make

TRUE = ("inlet_c", "hot_c", "supply_c", "air_c", "loop_c", "chip_c")
EXACT = {"sensors.noise_k": 0.0, "sensors.step_k": 0.0, "sensors.delay_s": 0.0}


def truth(plants):
    """The six temperatures, [B, R, 6]."""
    return np.stack([getattr(plants, n) for n in TRUE], -1)


def set_truth(plants, value):
    for n in TRUE:
        getattr(plants, n)[...] = value


def read_at(sim, step, dt_h=0.25):
    """Readings at a control step, [B, R, 6]."""
    sim.state.clock.step[:] = step
    w = sim.world.params
    sense(0, sim.n_envs, dt_h, sim.state.clock, sim.state.plants, w.site)
    return sim.state.plants.seen.copy()


def still(n_envs=2, **sensors):
    """A fleet at 25 degC everywhere, and its sensors."""
    sim = make(n_envs=n_envs, overrides=CALM | {f"sensors.{k}": v for k, v in sensors.items()})
    sim.state.clock.seed[:] = np.arange(n_envs)
    set_truth(sim.state.plants, 25.0)
    sim.state.plants.past[...] = 25.0
    return sim


def test_the_bell_is_nearly_normal():
    """Of the sum of four uniform numbers: mean 0, variance 1, excess kurtosis -0.3, 4.56 % beyond two sigma."""
    keys = np.arange(20000, dtype=np.uint64)
    x = np.array([rng.bell(np.uint64(rng.hashed(np.uint64(7), k))) for k in keys])
    assert abs(x.mean()) < 4 / np.sqrt(len(x))
    assert abs(x.std() - 1) < 0.02
    assert abs((x**4).mean() - 2.7) < 0.15
    assert abs((np.abs(x) > 2).mean() - 0.0456) < 0.006
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4 / np.sqrt(len(x))
    assert np.abs(x).max() < 3.47


def test_errors_have_the_stated_size_and_are_independent():
    sim = still(n_envs=20, step_k=0.0, noise_k=0.2)
    error = np.stack([read_at(sim, t) for t in range(100)]) - 25.0  # [T, B, R, 6]
    assert abs(error.mean()) < 4 * 0.2 / np.sqrt(error.size)
    np.testing.assert_allclose(error.std((0, 1)), 0.2, rtol=0.08)
    flat = error.reshape(100, -1)
    across = np.corrcoef(error.reshape(-1, error.shape[2] * len(SENSORS)).T)
    assert np.abs(across - np.eye(len(across))).max() < 0.1
    assert abs(np.mean(flat[1:] * flat[:-1])) < 0.04 * 4 / np.sqrt(flat.size)


@pytest.mark.smoke
def test_readings_are_multiples_of_the_step_and_nearest_to_the_value():
    sim = still(noise_k=0.0, step_k=0.1)
    for value in (24.96, 25.04, -3.26, 25.0):
        set_truth(sim.state.plants, value)
        sim.state.plants.past[...] = value
        np.testing.assert_allclose(read_at(sim, 1), round(10 * value) / 10, rtol=0, atol=1e-12)


@pytest.mark.smoke
def test_a_reading_is_as_old_as_stated():
    """After a step from 20 to 30 degC in 15 min, 45 s earlier it was 29.5 degC; older than the step: its start."""
    for delay_s, expected in ((45.0, 29.5), (0.0, 30.0), (1800.0, 20.0)):
        sim = still(noise_k=0.0, step_k=0.0, delay_s=delay_s)
        set_truth(sim.state.plants, 30.0)
        sim.state.plants.past[...] = 20.0
        np.testing.assert_allclose(read_at(sim, 1), expected, rtol=1e-12)
        np.testing.assert_array_equal(sim.state.plants.past, 30.0)


@pytest.mark.smoke
def test_one_sensor_of_the_region_sticks_until_mended():
    sim = still(noise_k=0.0, step_k=0.0, delay_s=0.0)
    plants = sim.state.plants
    read_at(sim, 0)
    plants.fault_h[0, 1, STUCK] = 5.0
    for t, value in enumerate((26.0, 27.0, 31.0), 1):
        set_truth(plants, value)
        seen = read_at(sim, t)
        wrong = np.argwhere(seen != value)
        assert len(wrong) == 1
        assert tuple(wrong[0][:2]) == (0, 1)
        assert wrong[0][2] == weak_sensor(sim.state.clock.seed[0], 1)
        assert seen[tuple(wrong[0])] == 25.0
    plants.fault_h[...] = 0.0
    np.testing.assert_array_equal(read_at(sim, 9), 31.0)


def test_every_sensor_is_the_weak_one_somewhere():
    counts = np.bincount([weak_sensor(np.uint64(s), r) for s in range(400) for r in range(3)], minlength=6)
    assert len(counts) == len(SENSORS)
    assert counts.min() > 140  # 200 expected


@pytest.mark.smoke
def test_without_errors_the_truth_is_shown():
    sim = make(n_envs=2, overrides=CALM | EXACT)
    sim.reset([1])
    plants, draw = sim.state.plants, np.random.default_rng(1)
    for _ in range(4):
        np.testing.assert_array_equal(plants.seen, truth(plants))
        sim.step(legal_actions(draw, sim))


def test_errors_depend_on_the_seed_and_not_on_actions():
    """Two policies from one seed read different temperatures with the same errors."""
    sims = [
        make(n_envs=3, overrides=CALM | {"sensors.step_k": 0.0, "sensors.delay_s": 0.0}) for _ in range(2)
    ]
    for sim in sims:
        sim.reset([4])
    a, b = sims
    draw = np.random.default_rng(2)
    for _ in range(20):
        errors = [s.state.plants.seen - truth(s.state.plants) for s in sims]
        np.testing.assert_allclose(errors[0], errors[1], rtol=0, atol=1e-12)
        assert np.abs(errors[0]).max() > 0
        assert len(np.unique(errors[0].round(9))) == errors[0].size  # no two sensors alike
        a.step(legal_actions(draw, a))
        b.step(np.zeros((3, len(b.head_sizes)), np.int64))
    assert np.abs(truth(a.state.plants) - truth(b.state.plants)).max() > 0.5
