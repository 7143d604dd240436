"""The commands of the page on building management, as they stand there."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.__main__ import main
from agents.adapters.bacnet.brick import turtle
from agents.adapters.bacnet.points import page

ROOT = Path(__file__).resolve().parents[3]
SECTION = (ROOT / "agents" / "README.md").read_text().split("## Building management\n")[1].split("\n## ")[0]
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", SECTION, re.S) for line in block.splitlines() if line
]
WAIT_S = 240.0


def start(command, folder):
    """A command of the page in a process of its own, with this Python."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def until(happens, process):
    """Wait for something, as long as the process lives."""
    end = time.monotonic() + WAIT_S
    while not happens():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)


def lines(path):
    """JSON lines of a file that may not be there yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.long
def test_the_page_s_two_processes_drive_a_plant_and_leave_it_to_itself(tmp_path, compiled_step):
    device, supervisor = COMMANDS[:2]
    plant = start(device, tmp_path)
    processes = [plant]
    try:
        until((tmp_path / "rest.json").exists, plant)
        loop = start(supervisor, tmp_path)
        processes.append(loop)
        until(lambda: any(row["by"] == "policy" for row in lines(tmp_path / "decisions.jsonl")), loop)
        until(lambda: any(row["priority"]["cold"] == 14 for row in lines(tmp_path / "plant.jsonl")), loop)
        loop.send_signal(signal.SIGINT)
        assert loop.wait(60) == 0
        seen = len(lines(tmp_path / "plant.jsonl"))
        until(lambda: len(lines(tmp_path / "plant.jsonl")) > seen + 1, plant)
        last = lines(tmp_path / "plant.jsonl")[-1]
        assert set(last["priority"].values()) == {None}
        assert last["setpoint"] == pytest.approx(last["b1"], abs=1e-4)
        plant.send_signal(signal.SIGTERM)
        assert plant.wait(60) == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_the_page_s_lists_are_printed(capsys):
    assert main(["bms-points", "b"]) == 0
    assert capsys.readouterr().out == page("b")
    assert main(["bms-points", "b", "--brick"]) == 0
    assert capsys.readouterr().out == turtle("b")
    assert {"python -m agents bms-points b", "python -m agents bms-points b --brick"} <= set(COMMANDS)


def test_what_cannot_be_is_said(capsys):
    device = ["bms-device", "smoke", "--region"]
    for words, why in (
        ([*device, "nort"], "no region 'nort'"),
        ([*device, "north", "--speed", "0"], "--speed 0"),
        ([*device, "north", "--address", "nowhere"], "BACnet address"),
        (
            ["bms", "rule:cost-greedy+b2", "--scenario", "smoke", "--region", "north", "--device", "x:y"],
            "'x:y'",
        ),
        (["bms", "rule:no", "--scenario", "smoke", "--region", "north", "--device", "127.0.0.1:1"], "rule"),
        (["bms-points", "z"], "plants: a, b"),
    ):
        assert main(words) == 2
        assert why in capsys.readouterr().err
