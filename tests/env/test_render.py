"""Text and picture of a simulator's state: complete, quick, and blind to nothing that is shown."""

import time

import numpy as np
import pytest

import gcn_env
from gcn_env import render
from gcn_env.core.state import TRANSIT
from gcn_env.land import land
from gcn_env.sim import Sim


@pytest.fixture
def sim(root):
    world = gcn_env.load_world(str(root / "configs" / "scenarios" / "smoke.yaml"))
    sim = Sim(world, 2)
    sim.reset(0)
    for _ in range(3):
        sim.step(np.zeros((2, len(sim.head_sizes)), np.int64))
    return sim


def test_text_names_everything(sim):
    text = render.ansi(sim, 1)
    lines = text.splitlines()
    assert lines[0].startswith("smoke  ")
    assert "step 3/96" in lines[0]
    for name in sim.world.region_names:
        (line,) = [x for x in lines if x.startswith(name)]
        r = sim.world.region_names.index(name)
        assert f"{sim.state.plants.hot_c[1, r]:.1f}" in line
    assert len({len(x.split("  ")[0]) for x in lines[3:4]}) == 1
    assert "OUTAGE" not in text
    sim.state.plants.outage_h[1, 0] = 0.5
    assert "OUTAGE" in render.ansi(sim, 1)
    assert "OUTAGE" not in render.ansi(sim, 0)


def test_text_tells_of_supply_and_faults(root):
    world = gcn_env.load_world(str(root / "configs" / "scenarios" / "plants.yaml"))
    sim = Sim(world, 1)
    sim.reset(0)
    plants, texas = sim.state.plants, world.region_names.index("texas")
    plants.fault_h[0, texas, 5], plants.curtail_in_h[0, texas], plants.battery_kw[0, texas] = 1.0, 0.5, 3.0
    plants.breaker[0, texas], plants.freq[0, texas] = 0.7, 0.8
    sim.state.links.up[0, texas, :2] = 0.0, 0.3
    names = world.region_names
    (line,) = [x for x in render.ansi(sim).splitlines() if x.startswith("texas")]
    for words in (
        "sun ",
        "charging at 50 %",
        "sensor",
        "curtailment in 30 min",
        "breaker 70 %",
        "clock 80 %",
        f"link to {names[0]} cut",
        f"link to {names[1]} weak",
    ):
        assert words in line
    assert render.frame(sim).shape == (render.HEIGHT, render.WIDTH, 3)


def test_drawing_changes_nothing(sim):
    before = sim.snapshot()
    render.ansi(sim)
    render.frame(sim)
    for a, b in zip(before.state, sim.snapshot().state, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_frame_shows_heat_outage_bill_and_data_on_its_way(sim):
    first = render.frame(sim)
    assert first.shape == (render.HEIGHT, render.WIDTH, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, render.frame(sim))
    for change in (
        lambda s: s.plants.limit_gap.__setitem__((0, 0), -3.0),
        lambda s: s.plants.outage_h.__setitem__((0, 1), 1.0),
        lambda s: s.plants.generator.__setitem__((0, 1), 2),
        lambda s: s.plants.fault_h.__setitem__((0, 0, 4), 2.0),
        lambda s: s.plants.down_h.__setitem__((0, 0), 0.1),
        lambda s: s.plants.curtail_h.__setitem__((0, 0), 1.0),
        lambda s: s.ledger.terms_sum.__setitem__((0, 0), 1e6),
        lambda s: s.pools.queued.__setitem__((0, 2), 1e4),
    ):
        before = render.frame(sim)
        change(sim.state)
        assert (render.frame(sim) != before).any()
    before = render.frame(sim)
    jobs = sim.state.jobs
    jobs.status[0, 0], jobs.via[0, 0], jobs.pool[0, 0] = TRANSIT, 0, 2
    assert (render.frame(sim) != before).any()


@pytest.mark.compiled
def test_frame_is_quick(sim):
    render.frame(sim)  # fonts and background are made once
    best = min(_seconds(sim) for _ in range(5))
    assert best < 0.2


def _seconds(sim):
    start = time.perf_counter()
    render.frame(sim)
    return time.perf_counter() - start


def test_many_regions_fit(root):
    regions = {
        f"region-{i}": {
            "profile": "SG",
            "jurisdiction": "sg",
            "longitude_deg": -170.0 + 28 * i,
            "latitude_deg": 85.0 - 14 * i,
            "plant": {"archetype": "b"},
            "pools": {"gpu": {"hardware": "gpu_h100_sxm_80gb", "devices": 16}},
        }
        for i in range(12)
    }
    smoke = str(root / "configs" / "scenarios" / "smoke.yaml")
    world = gcn_env.load_world(smoke, {"regions": regions})
    sim = Sim(world, 1)
    sim.reset(0)
    assert render.frame(sim).shape == (render.HEIGHT, render.WIDTH, 3)
    assert "region-11" in render.ansi(sim)


def test_land_lies_where_it_should():
    def at(latitude, longitude):
        return land()[int(80 - latitude), int(longitude + 180)]

    assert all([at(50.1, 8.7), at(39.0, -100.0), at(-25.0, 134.0), at(0.5, 20.5)])
    assert not any([at(0.5, -30.5), at(-40.5, 80.5), at(30.5, -160.5)])


@pytest.mark.parametrize(
    ("gap", "hot"), [(-5.0, True), (0.0, True), (10.0, False), (99.0, False), (float("nan"), False)]
)
def test_colours_of_heat(gap, hot):
    red, _, blue = render._heat(gap)
    assert (red > blue) is hot
