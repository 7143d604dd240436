"""Commands and programs of the guides are run, in order, so that they stay true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tools import succeeds

GUIDES = Path(__file__).resolve().parents[2] / "agents" / "guides"


def commands(page):
    """Every line of every shell block."""
    blocks = re.findall(r"```sh\n(.*?)```", (GUIDES / page).read_text(), re.S)
    return [line for block in blocks for line in block.strip().splitlines()]


@pytest.mark.long
def test_the_researchers_guide_runs(root, tmp_path, compiled_step):
    """One process for all commands: importing torch each time would take most of the test."""
    program = "\n".join(
        ["import evaluate, runpy, sys, train", "from agents.__main__ import main as agents", *_calls()]
    )
    succeeds([sys.executable, "-c", program], tmp_path, PYTHONPATH=str(root))
    for made in re.findall(r"--(?:out|run|video) (\S+)", "\n".join(commands("researchers.md"))):
        assert (tmp_path / made).exists(), made


def _calls():
    programs = {"train.py": "train.main", "evaluate.py": "evaluate.main", "-m agents": "agents"}
    for line in commands("researchers.md"):
        assert "'" not in line, "this test splits at spaces"
        name = next(name for name in programs if line.startswith(f"python {name} "))
        words = line.removeprefix(f"python {name} ").split()
        yield f"assert {programs[name]}({words!r}) == 0, {line!r}"


@pytest.mark.slow
def test_python_of_the_guides_runs(root, compiled_step):
    for page in sorted(GUIDES.glob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            succeeds([sys.executable, "-W", "error", "-c", block], root, PYTHONPATH=str(root))


def test_pictures_and_links_are_there():
    for page in GUIDES.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} names {link}"


TEXT = "\n".join(page.read_text() for page in sorted(GUIDES.glob("*.md")))


@pytest.mark.parametrize("words", sorted(set(re.findall(r"`python -m agents ([\w-]+)[^`]*`", TEXT))))
def test_verbs_that_guides_name_exist(root, words):
    done = subprocess.run(
        [sys.executable, "-m", "agents", words, "--help"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
