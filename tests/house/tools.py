"""Running a command-line tool of this Python from a test."""

import os
import shutil
import signal
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
    """The finished process, its output and errors as one text; past its time its children end too."""
    words = [str(part) for part in command]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(
        words, cwd=cwd, env={**os.environ, **env}, start_new_session=True, **piped
    ) as process:
        try:
            out, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            pytest.fail(f"more than {timeout_s:.0f} s: {' '.join(words)}\n{out[-6000:]}")
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out)


def succeeds(command, cwd, timeout_s=600.0, **env):
    """Output of a command that must end with 0; where it does not, the end of its output is the failure."""
    done = run(command, cwd, timeout_s, **env)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}"
    return done.stdout
