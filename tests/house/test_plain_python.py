"""Kernels as plain Python: coverage looks into them, and floating-point warnings are errors there."""

import json
import sys

import numpy as np
import pytest

from tests.house.drive import STEPS, drive
from tests.house.tools import run, succeeds


@pytest.fixture(scope="module")
def python(request):
    """A Python that counts lines where this run does, in a file of its own that pytest-cov adds."""
    option = request.config.getoption
    counts = option("cov_source", None) and not option("no_cov", False)
    return [sys.executable, *(["-m", "coverage", "run", "--parallel-mode"] if counts else [])]


@pytest.mark.slow
def test_machine_code_books_what_plain_python_books(python, root, compiled_step):
    """Both views through the smallest world; the libraries' last bits may differ, so not bit for bit."""
    command = [*python, "-m", "tests.house.drive"]
    plain = json.loads(succeeds(command, root, PYTHONPATH=str(root), NUMBA_DISABLE_JIT="1").splitlines()[-1])
    for view in STEPS:
        compiled = drive(view)
        for name, booked in compiled.items():
            expected, where = plain[view][name], f"{view} {name}"
            np.testing.assert_allclose(booked, expected, rtol=1e-9, atol=1e-9, err_msg=where)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "marks"),
    [(("core", "env"), "smoke"), pytest.param(("core",), "not smoke", marks=pytest.mark.long)],
)
def test_tests_pass_without_compiling(python, root, names, marks):
    """A selection once more with NUMBA_DISABLE_JIT=1; where GCN_LONG=1, all of the kernels' own."""
    command = [*python, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider"]
    folders = [root / "tests" / name for name in names]
    done = run(
        [*command, "-m", f"{marks} and not compiled and not slow", *folders], root, NUMBA_DISABLE_JIT="1"
    )
    assert done.returncode == 0, done.stdout[-6000:]
