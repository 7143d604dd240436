"""Many seeds of a recipe: ordinary run folders, in parallel, resumable; what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from agents import seeds
from agents.__main__ import main
from agents.runs import RunFolder, write_text
from gcn_env.errors import UserError
from tests.agents.test_tune import TINY

SET = [f"recipe.{k}={yaml.safe_dump(v).splitlines()[0]}" for k, v in TINY.items()]
QUICK = [
    "--set",
    *SET,
    "recipe.evaluation.every=100000",
    "recipe.checkpoints.every=512",
    "recipe.evaluation.episodes=1",
    "time.episode_days=0.5",
]


def words(out, *names):
    return ["seeds", "smoke", "--out", str(out), "--seeds", *names, "--jobs", "2", *QUICK]


@pytest.mark.long
def test_seeds_are_ordinary_runs_and_go_on(tmp_path, capsys):
    out = tmp_path / "many"
    assert main(words(out, "3", "4")) == 0
    printed = capsys.readouterr().out
    assert "seed-3 is finished" in printed
    assert f"many=run:{out / 'seed-3'},run:{out / 'seed-4'}" in printed
    runs = [RunFolder(out / f"seed-{n}") for n in (3, 4)]
    for n, run in zip((3, 4), runs, strict=True):
        assert run.recipe().seed == n
        assert run.best.is_file()
        assert run.progress()["status"] == "finished"
        assert "python -m agents seeds smoke" in (run.path / "command.txt").read_text()
    assert runs[0].progress()["best_validation_usd"] != runs[1].progress()["best_validation_usd"]
    # One is set back to where it might have been killed, one is new: both are trained, the third is left alone.
    last = runs[0].steps()[-1]
    untouched = runs[1].steps()[-1].stat().st_mtime_ns
    runs[0].note(status="running")
    last.unlink()
    assert runs[0].timesteps == 512
    assert main(words(out, "3", "4", "5")) == 0
    said = capsys.readouterr().out
    assert "seed-5 is finished" in said
    assert "seed-4 is finished" not in said
    assert runs[0].progress()["status"] == "finished"
    assert runs[0].timesteps == 1024
    assert runs[1].steps()[-1].stat().st_mtime_ns == untouched


def test_wrong_plans_are_one_line(tmp_path, capsys):
    out = tmp_path / "many"
    for given, said in (
        (["smoke", "--seeds", "1", "1"], "name each seed once"),
        (["smok", "--seeds", "1"], "did you mean 'smoke'"),
        (["smoke", "--seeds", "-1"], "seed"),
        (["smoke", "--seeds", "1", "--jobs", "0"], "at least 1"),
        (["smoke", "--seeds", "1", "--set", "recipe.ppo.gama=1"], "did you mean 'gamma'"),
    ):
        assert main(["seeds", *given, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert not out.exists()
    (out / "seed-1").mkdir(parents=True)
    write_text(out / "seed-1" / "config.yaml", "algo: dqn\n")
    assert main(["seeds", "smoke", "--seeds", "1", "--out", str(out)]) == 2
    assert "another recipe" in capsys.readouterr().err


def plan(out, names=(1, 2)):
    return seeds.plan("smoke", names, out, {}, {}, None, "made up")


def test_one_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "work", fails_for_one)
    told = []
    with pytest.raises(UserError, match="seeds 1 stopped with an error"):
        seeds.side_by_side(plan(tmp_path), [1, 2], 1, told.append)
    assert told == ["seed-2"]


def fails_for_one(new, seed):
    raise SystemExit(3 if seed == 1 else 0)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="sends SIGTERM")
def test_sigterm_saves_as_ctrl_c_does_every_run(tmp_path, root):
    out = tmp_path / "many"
    command = [sys.executable, "-m", "agents", *words(out, "1", "2"), "recipe.timesteps=100000000"]
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]  # as a background job of a shell
    child = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)
    runs = [RunFolder(out / f"seed-{n}") for n in (1, 2)]
    end = time.monotonic() + 400
    while not all(r.steps() for r in runs) and time.monotonic() < end and child.poll() is None:
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)  # to the command alone: it tells its workers
    _, error = child.communicate(timeout=200)
    assert child.returncode == 130, error
    assert "interrupted" in error
    for run in runs:
        assert json.loads((run.path / "progress.json").read_text())["status"] == "interrupted"
        assert run.steps()
