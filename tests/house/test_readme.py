"""Commands in the README are run, so that they stay true."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tools import succeeds

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"<!-- (?P<name>[\w-]+) -->\n```(?:sh|bash|console)\n(?P<command>.*?)```", re.S)
BLOCKS = {found["name"]: found["command"].strip() for found in BLOCK.finditer(README.read_text())}
# Making a virtual environment and filling it is what the reader, and `.ci/run`, did to get here.
SET_UP = re.compile(r"^python3 -m venv .*?(?=\.venv/bin/python)", re.S)


def test_the_two_lines_are_there():
    assert {"run-line", "test-line"} <= set(BLOCKS)
    assert "\n" not in BLOCKS["run-line"]
    assert "\n" not in BLOCKS["test-line"]
    assert "tensorboard --logdir" in README.read_text()


def test_every_shell_block_is_named():
    """A block without a name is run by no test; `<!-- not-run: why -->` before it says that this is meant."""
    text = README.read_text()
    fenced = len(re.findall(r"^```(?:sh|bash|console)$", text, re.M))
    excused = len(re.findall(r"<!-- not-run: .+? -->\n```(?:sh|bash|console)\n", text))
    assert fenced == len(BLOCKS) + excused


def test_ci_runs_the_test_line(root, tmp_path):
    """`.ci/run` with a harmless README: it prints the line, runs it, and passes its failure on."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(root / ".ci" / "run", tmp_path / ".ci" / "run")
    wrong = "```sh\necho wrong\n```\n"
    readme = f"<!-- run-line -->\n{wrong}<!-- test-line -->\n```sh\n{{}}\n```\n{wrong}"
    for command, status in (("echo right $((1 + 1))", 0), ("false && echo no", 1)):
        (tmp_path / "README.md").write_text(readme.format(command))
        done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert f"+ {command}" in done.stdout
        assert ("right 2" in done.stdout) == (status == 0)
        assert "wrong" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "test-line"])
def test_command_runs(root, tmp_path, compiled_step, name):
    """In a folder of links, with this Python instead of `.venv`: outputs stay out of the checkout.

    The recipe of a few minutes gives way to that of a few seconds; every flag stays as it is printed.
    """
    for item in ("train.py", "evaluate.py", "configs", "gcn_env", "agents"):
        (tmp_path / item).symlink_to(root / item)
    command = SET_UP.sub("", BLOCKS[name])
    assert ".venv" not in command.replace(".venv/bin/python", ""), "this test can stand in for Python only"
    command = command.replace(".venv/bin/python", f"'{sys.executable}'")
    for recipe in re.findall(r"configs/train/[\w-]+\.yaml", command):
        assert (root / recipe).exists()
        command = command.replace(recipe, "configs/train/smoke.yaml")
    assert "evaluate.py " in command
    command = command.replace("evaluate.py ", "evaluate.py --episodes 2 ")
    succeeds(["bash", "-euo", "pipefail", "-c", command], tmp_path)
    for folder in re.findall(r"--(?:run|out) (\S+)", command):
        assert any((tmp_path / folder).iterdir())


def test_links_and_paths_lead_somewhere(root):
    """Markdown links, and files of this project named in backticks."""
    names = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)|`((?:gcn_env|agents|configs|tests)/[\w/.-]+)`")
    pages = (
        "CONTRIBUTING.md",
        "gcn_env/README.md",
        "gcn_env/core/README.md",
        "gcn_env/jobs/README.md",
        "benchmarks/README.md",
        "agents/README.md",
        "agents/cluster/README.md",
    )
    for page in [README, *(root / name for name in pages)]:
        for link, path in names.findall(page.read_text()):
            target = page.parent / link if link else root / path
            assert target.exists(), f"{page.name} names {link or path}"


def test_results_are_those_that_were_measured(root):
    """The table of results is written by command from what an evaluation left."""
    from agents.summary import page

    shown = README.read_text().split("<!-- results -->\n")[1].split("<!-- /results -->")[0]
    assert shown == page(json.loads((root / "benchmarks" / "results.json").read_text()))


@pytest.mark.slow
def test_python_runs(root, compiled_step):
    """The Python blocks, in order, as one program with warnings as errors."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert blocks
    succeeds([sys.executable, "-W", "error", "-c", "\n".join(blocks)], root, PYTHONPATH=str(root))


@pytest.mark.parametrize(
    "command", re.findall(r"`python (-m agents [^`]+|\w+\.py --help)`", README.read_text()), ids=str
)
def test_short_commands_run(root, command):
    """What the tables offer and costs nothing to try."""
    succeeds([sys.executable, *command.split()], root)
