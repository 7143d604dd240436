"""What all tests share: one thread per worker, one hypothesis profile, and the step, compiled once."""

import os

# Before NumPy, torch and matplotlib are imported: workers that each start a thread per core fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# No deadline, since the first example compiles; derandomised, since a run must repeat; no files left behind.
settings.register_profile(
    "house",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("house")

# Files of a few long tests start first, so that no worker ends alone with one of them.
FIRST = ("test_plain_python.py", "test_tools.py", "test_readme.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def pytest_make_parametrize_id(val, argname):
    """Bytes by their length: a gzip header holds the time of day, and two workers have to agree on names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def root():
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def compiled_step():
    """Compile the step, or load it from the cache: the first worker compiles, others wait, then load."""
    from filelock import FileLock

    import gcn_env
    from gcn_env.core.jit import CACHE_DIR
    from gcn_env.sim import Sim

    with FileLock(Path(CACHE_DIR) / "warm.lock"):
        for view in ("joint", "sequential"):
            sim = Sim(gcn_env.load_world("smoke"), 1, view=view)
            sim.reset(np.zeros(1, np.uint64))
            sim.step(np.zeros((1, len(sim.head_sizes)) if view == "joint" else 1, np.int64))


@pytest.fixture(autouse=True)
def _compile_once(request):
    """Tests above the kernels wait for the compiled step; kernels' own tests compile what they call."""
    if {"env", "agents", "cli"} & set(request.path.relative_to(ROOT).parts):
        request.getfixturevalue("compiled_step")
