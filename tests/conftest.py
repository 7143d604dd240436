"""What all tests share: one thread per worker, one hypothesis profile, and the step, compiled once."""

import os

# Before NumPy, torch and matplotlib are imported: workers that each start a thread per core fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import sys
from pathlib import Path
from zlib import crc32

import pytest
from coverage import Coverage
from filelock import FileLock
from hypothesis import HealthCheck, settings

from gcn_env.core.jit import CACHE_DIR
from tests.house.tools import succeeds

ROOT = Path(__file__).resolve().parent.parent

LONG = os.environ.get("GCN_LONG", "0") != "0"
PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"  # kernels as plain Python, a hundred times as slow

# No deadline, since the first example compiles; derandomised, since a run must repeat; no files left behind.
settings.register_profile(
    "house",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=3 if PLAIN else 25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("house")

# One worker compiles the step while the other does what needs no step. The kernels' own tests come after that: what the
# step calls is in the cache by then, and need not be compiled twice at the same time.
ORDER = {
    "test_plain_python.py": 0, "test_tools.py": 1, "house": 2, "core": 4, "test_readme.py": 5, "test_guides.py": 5,
}  # fmt: skip
STEPLESS = 3


COMPILE = """
import numpy as np, gcn_env
from gcn_env.sim import Sim
for view in ("joint", "sequential"):
    sim = Sim(gcn_env.load_world("smoke"), 1, view=view)
    sim.reset(np.zeros(1, np.uint64))
    sim.step(np.zeros((1, len(sim.head_sizes)) if view == "joint" else 1, np.int64))
"""


def pytest_collection_modifyitems(items):
    if not LONG:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: runs where GCN_LONG=1"))
    items.sort(key=_rank)


def _rank(item):
    if item.get_closest_marker("stepless"):
        return STEPLESS
    return ORDER.get(item.path.name, ORDER.get(item.path.parent.name, 1 + max(ORDER.values())))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Slow tests and what is set up for them are not traced: before Python 3.12 a tracer takes half on top and more."""
    stopped = []  # a worker has two: pytest-cov starts one early, and another for the session
    while item.get_closest_marker("slow") and (tracing := Coverage.current()):
        tracing.stop()
        stopped.append(tracing)
    try:
        return (yield)
    finally:
        for tracing in reversed(stopped):
            tracing.start()


def pytest_make_parametrize_id(val, argname):
    """Bytes by their length: a gzip header holds the time of day, and two workers have to agree on names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def root():
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="module")
def few_figures():
    """Reports without the figures of the first episode: those take most of a short evaluation, and have own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.figures._first_episode", lambda *_: {})
        yield


@pytest.fixture(scope="session")
def job_traces(root):
    """Folder of the real job traces, which are not part of the project."""
    path = root.parent / "shared" / "data" / "open" / "jobs"
    if not path.is_dir():
        pytest.skip("no folder of real job traces beside the checkout (shared/data/open/jobs)")
    return path


@pytest.fixture(scope="session")
def compiled_step():
    """The step is in Numba's cache: the first worker compiles it, others wait.

    In a process of its own, since coverage's tracer more than doubles the time that the compiler takes.
    """
    if PLAIN:
        return
    # Numba looks for what it compiled by the files' paths: a copy of a checkout compiles anew.
    done = Path(CACHE_DIR) / f"step-compiled-{crc32(str(ROOT).encode()):08x}"
    with FileLock(f"{done}.lock"):
        if not done.exists():
            succeeds([sys.executable, "-c", COMPILE], ROOT, PYTHONPATH=str(ROOT))
            done.touch()


@pytest.fixture(autouse=True)
def _compile_once(request):
    """Tests above the kernels wait for the compiled step; kernels' own tests compile what they call."""
    above = {"env", "agents", "cli"} & set(request.path.relative_to(ROOT).parts)
    if above and not request.node.get_closest_marker("stepless"):
        request.getfixturevalue("compiled_step")
