"""Running a command-line tool of this Python from a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def tool(name):
    """Path of the tool that lies beside this Python or on the path; skips the test where there is none."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed here; pip install -e '.[dev]' brings it")
    return found


def run(command, cwd, timeout_s=600.0, **env):
    """The finished process, its output and errors as one text. Coverage of the parent is not inherited."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def succeeds(command, cwd, timeout_s=600.0, **env):
    """Output of a command that must end with 0; where it does not, the end of its output is the failure."""
    done = run(command, cwd, timeout_s, **env)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}"
    return done.stdout
