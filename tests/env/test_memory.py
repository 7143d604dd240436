"""A batch that does not fit into memory is refused before it is allocated."""

import pytest

from gcn_env import load_world, memory
from gcn_env.errors import UserError
from gcn_env.memory import free_bytes
from gcn_env.sim import Sim

pytestmark = pytest.mark.stepless


def machine(root, available_kb=None, limit=None, used=None):
    for name, text in (
        ("proc/meminfo", available_kb and f"MemTotal: 1 kB\nMemAvailable: {available_kb} kB\n"),
        ("sys/fs/cgroup/memory.max", limit),
        ("sys/fs/cgroup/memory.current", used),
    ):
        if text:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(str(text))
    return root


@pytest.mark.parametrize(
    ("given", "free"),
    [
        ({"available_kb": 2000}, 2_048_000),
        ({"available_kb": 2000, "limit": "max\n", "used": "5\n"}, 2_048_000),
        ({"available_kb": 2000, "limit": "1000\n", "used": "400\n"}, 600),
        ({}, float("inf")),
    ],
)
def test_the_smaller_of_machine_and_control_group_is_free(tmp_path, given, free):
    assert free_bytes(machine(tmp_path, **given)) == free


def test_a_batch_too_large_names_need_room_and_remedy(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 2.0**31)
    world = load_world("smoke")
    with pytest.raises(
        UserError, match=r"1,000,000 environments of 'smoke' need [\d.]+ GiB, 2.0 GiB are free"
    ) as said:
        Sim(world, 1_000_000)
    fit = int(str(said.value).rsplit(" ", 1)[1].replace(",", ""))
    with pytest.raises(UserError, match="lower --envs"):
        Sim(world, fit * 2)
    Sim(world, fit // 8)


def test_what_is_checked_is_what_is_taken(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "check", lambda each, n, name: asked.append(each * n))
    for view in ("joint", "sequential"):
        sim = Sim(load_world("smoke"), 8, view=view)
        taken = sum(a.nbytes for g in sim.state for a in g) + sum(
            o.nbytes for d in (sim.obs, sim.final_obs) for o in d.values()
        )
        assert 0.9 * taken < asked[-1] < 1.1 * taken
