"""What the encoder does with numbers: compression as the units say, bounds, and readings instead of temperatures."""

import numpy as np
import pytest

from gcn_env.core.plant_table import column
from gcn_env.core.sensors import CHIP, HOTTEST, LOOP
from gcn_env.core.state import SENSORS
from gcn_env.encoder import WIDE, compression, finish
from gcn_env.observation import PAIRS, POOLS, REGIONS, TABLES
from gcn_env.tables import Row, Table
from tests.worlds import legal_actions, make

R = REGIONS.ix


def test_units_name_the_compression():
    units = {
        "asinh": 1.0,
        "asinh(USD)": 1.0,
        "asinh(h)/4": 0.25,
        "asinh(USD/MWh / 50)": 1.0,
        "asinh/8": 0.125,
    }
    plain = ("share", "h/24", "log2/8", "(degC-24)/10", "0/1")
    rows = [Row(f"c{i}", unit, 0, 1, "") for i, unit in enumerate([*units, *plain])]
    found = compression(Table("t", tuple(rows)))
    np.testing.assert_array_equal(found, [*units.values(), *[0.0] * len(plain)])
    for table in TABLES:
        said = np.array(["asinh" in r.unit for r in table.rows])
        np.testing.assert_array_equal(compression(table) > 0, said)
        moving = said[: POOLS.ix.devices] if table is POOLS else said
        assert not moving[WIDE:].any(), "finish() compresses the first columns only"


@pytest.mark.smoke
def test_rows_are_compressed_to_a_millionth_and_clipped():
    draw = np.random.default_rng(0)
    shape = (400, len(PAIRS))
    raw = (draw.normal(size=shape) * 10.0 ** draw.uniform(-6, 9, shape)).astype(np.float32)
    raw[0], raw[1] = 0.0, -0.0
    scale = compression(PAIRS)
    wanted = np.where(scale > 0, np.arcsinh(raw.astype(np.float64)) * scale, raw)
    for row in raw:
        finish(row, len(PAIRS) - 1, scale, PAIRS.low, PAIRS.high)
    np.testing.assert_allclose(raw[:, :-1], np.clip(wanted, PAIRS.low, PAIRS.high)[:, :-1], rtol=0, atol=2e-6)
    assert np.abs(raw[2:, -1]).max() > 1e3, "beyond the first n columns nothing is touched"


@pytest.mark.smoke
def test_temperatures_are_what_sensors_read():
    sim = make("plants", n_envs=2)
    sim.reset([3])
    draw = np.random.default_rng(3)
    for _ in range(3):
        sim.step(legal_actions(draw, sim))
    seen, shown = sim.state.plants.seen, sim.obs["regions"].astype(np.float64)
    for k, name in enumerate(SENSORS):
        middle, span = (60.0, 20.0) if name == "chip" else (24.0, 10.0)
        np.testing.assert_allclose(shown[..., REGIONS.index(name)] * span + middle, seen[..., k], atol=1e-4)
    plant = sim.world.params.plant
    room = [
        column(plant, limit) - seen[..., k]
        for limit, k in (("hot_limit_c", HOTTEST), ("loop_limit_c", LOOP), ("chip_limit_c", CHIP))
    ]
    np.testing.assert_allclose(shown[..., R.margin], np.clip(np.min(room, 0) / 5, -8, 8), atol=1e-5)
    assert (np.abs(seen[..., HOTTEST] - sim.state.plants.hot_c) > 1e-3).any()
