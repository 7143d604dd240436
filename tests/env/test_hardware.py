"""The device catalogue: complete, sourced, and ordered as the devices are: what work costs depends on where it runs."""

import numpy as np
import pytest

from gcn_env.core.params import CLASSES
from gcn_env.errors import UserError
from gcn_env.scenario.compile import compile_world, hardware_catalogue
from gcn_env.scenario.load import load_scenario
from tests.worlds import SCENARIOS

SMOKE = str(SCENARIOS / "smoke.yaml")
FAMILIES = (
    "cpu_", "gpu_", "apu_", "tpu_", "asic_", "fpga_", "edge_", "workstation_", "desktop_", "laptop_",
    "neuromorphic_", "qpu_",
)  # fmt: skip


def fleet(*types):
    """Compiled fleet of one pool of each type, beside those that the scenario's jobs need."""
    add = {f"regions.north.pools.{t}": {"hardware": t, "devices": 8} for t in types}
    world = compile_world(load_scenario(SMOKE, add))
    return world.params.fleet, [
        world.hardware_names.index(t) if t in world.hardware_names else -1 for t in types
    ]


def kwh_per_hour_of_work(kind, types):
    """Busy kWh per reference device-hour of work, by type, from the arrays that kernels read."""
    f, at = fleet(*types)
    k = CLASSES.index(kind)
    kw = f.idle_kw + (f.peak_kw - f.idle_kw) * f.load[k]
    return (kw[at] / f.speed[k][at]).tolist()


def test_every_family_is_there_and_sourced():
    catalogue = hardware_catalogue()
    for family in FAMILIES:
        assert [n for n in catalogue if n.startswith(family)], family
    for name, h in catalogue.items():
        assert name.startswith(FAMILIES), name
        assert h.source[:2] in ("V ", "R ", "E "), name
        assert h.idle_w < h.peak_w, name
        assert set(h.power) <= set(h.speed), name
        estimated = name.startswith(("neuromorphic_", "qpu_"))
        assert h.what.startswith("ESTIMATE.") == estimated, name


# Cheapest first. Training: newer silicon wins; inference: chips made for it beat what was made for training or games;
# batch and hpc of CPU codes: CPUs beat accelerators that are not ported to, desks and quantum computers.
ORDERS = {
    "training": (
        "gpu_b200_sxm_180gb", "gpu_h100_sxm_80gb", "gpu_a100_sxm_80gb", "gpu_v100_sxm_32gb", "workstation_rtx4090",
    ),
    "inference": (
        "asic_inferentia2", "tpu_v5e", "gpu_l4", "gpu_a100_sxm_80gb", "gpu_t4", "gpu_v100_sxm_32gb", "laptop_rtx4060",
        "fpga_alveo_u250",
    ),
    "batch": ("cpu_epyc7763_slice", "gpu_l4", "fpga_alveo_u250", "gpu_h100_sxm_80gb", "desktop_8core"),
    "hpc": (
        "apu_mi300a_128gb", "gpu_gh200_96gb", "cpu_epyc7763_slice", "cpu_xeon8380_slice", "desktop_8core",
        "qpu_superconducting",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ORDERS)
def test_energy_per_work_is_ordered(kind):
    found = kwh_per_hour_of_work(kind, ORDERS[kind])
    assert found == sorted(found), dict(zip(ORDERS[kind], found, strict=True))
    assert found[-1] > 2.0 * found[0]


def test_the_best_device_depends_on_the_work():
    cpu, gpu = "cpu_xeon8380_slice", "gpu_a100_sxm_64gb"
    batch, hpc = kwh_per_hour_of_work("batch", (cpu, gpu)), kwh_per_hour_of_work("hpc", (cpu, gpu))
    assert batch[0] < batch[1]
    assert hpc[0] > hpc[1]


def test_power_of_a_class_replaces_the_law():
    f, (tpu, fpga) = fleet("tpu_v4", "fpga_alveo_u250")
    assert f.load[CLASSES.index("training"), tpu] == 0.78  # measured mean power of the chip
    assert f.load[CLASSES.index("batch"), fpga] == 0.35
    assert f.load[CLASSES.index("inference"), tpu] == pytest.approx(0.55**0.7)


def test_a_refrigerator_never_sleeps():
    pool = {
        "regions.north.pools.q": {
            "hardware": "qpu_superconducting",
            "devices": 1,
            "devices_per_node": 1,
            "sleep": "none",
        }
    }
    world = compile_world(load_scenario(SMOKE, pool))
    f, at = world.params.fleet, world.pool_names.index("north/q")
    assert f.asleep_kw[at] == f.idle_kw[at] == 24.0
    assert f.wake_h[at] == 0.0


def test_a_bare_off_is_a_word():
    world = load_scenario(SMOKE, {"regions.north.pools.gpu.sleep": "off"})  # YAML 1.1 reads it as false
    assert world.regions["north"].pools["gpu"].sleep == "off"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed": {}}, ["speed", "at least 1"]),
        ({"speed": {"trainig": 1}}, ["trainig"]),
        ({"power": {"training": 1.2}}, ["power", "less than or equal to 1"]),
    ],
)
def test_mistakes_in_a_device(change, words):
    device = {"idle_w": 10, "peak_w": 100, "memory_gib": 16, "speed": {"batch": 1.0}} | change
    with pytest.raises(UserError) as caught:
        load_scenario(SMOKE, {"hardware.mine": device})
    for word in words:
        assert word in str(caught.value)


def test_node_power_lies_between_idle_and_peak():
    f, _ = fleet(*(n for n in hardware_catalogue() if n != "cpu_epyc7763_slice"))
    assert ((f.load >= 0.0) & (f.load <= 1.0)).all()
    assert (f.asleep_kw <= f.idle_kw).all()
    assert np.isfinite(f.speed).all()
