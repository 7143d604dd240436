"""Kernels as plain Python: coverage looks into them, and floating-point warnings are errors there."""

import sys

import pytest

from tests.house.tools import run

NO_TESTS = 5  # pytest's exit status where a selection is empty


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "marks"),
    [("core", "not compiled and not slow"), ("env", "smoke"), ("agents", "smoke")],
)
def test_kernels_run_as_plain_python(request, root, folder, marks):
    """Repeats a selection with NUMBA_DISABLE_JIT=1; pytest-cov combines its coverage file at the end."""
    selection = root / "tests" / folder
    if not list(selection.glob("**/test_*.py")):
        pytest.skip(f"no tests in {selection.name} yet")
    option = request.config.getoption
    measured = option("cov_source", None) and not option("no_cov", False)
    counted = ["-m", "coverage", "run", "--parallel-mode"] if measured else []
    command = [sys.executable, *counted, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "-m", marks]
    done = run([*command, selection], root, timeout_s=900, NUMBA_DISABLE_JIT="1")
    assert done.returncode in (0, NO_TESTS), done.stdout[-6000:]
