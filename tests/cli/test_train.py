"""`train.py` from the outside: what it writes, what it refuses, how it stops."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

import train
from agents.runs import RunFolder
from benchmarks.worlds import world_names

pytestmark = pytest.mark.usefixtures("few_figures")

QUICK = [
    "--config", "smoke", "--timesteps", "1024", "--envs", "8", "--checkpoint-every", "512", "--quiet",
    "--set", "recipe.evaluation.episodes=1", "recipe.ppo.n_steps=16", "recipe.ppo.batch_size=64",
    "recipe.dqn.learning_starts=100", "recipe.dqn.buffer_size=2000", "time.episode_days=1",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_run_from_start_to_evaluation(tmp_path, algo, capsys):
    run = tmp_path / "run"
    assert train.main(["--algo", algo, "--run", str(run), "--seed", "5", *QUICK]) == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["algo"], config["seed"], config["ppo"]["n_steps"]) == (algo, 5, 16)
    assert yaml.safe_load((run / "scenario.yaml").read_text())["time"]["episode_days"] == 1
    assert RunFolder(run).best.is_file()
    assert RunFolder(run).progress()["best_validation_usd"] > 0
    assert "--seed 5" in (run / "command.txt").read_text()

    assert train.main(["--resume", str(run), "--quiet"]) == 2  # finished
    assert "finished" in capsys.readouterr().err
    assert train.main(["--resume", str(run), "--timesteps", "1536", "--quiet"]) == 0
    assert RunFolder(run).progress()["timesteps"] >= 1536
    assert (run / "command.txt").read_text().count("\n") == 2

    evaluate = pytest.importorskip("evaluate")
    out = tmp_path / "report"
    words = ["--policies", "rule:random+b1", f"run:{run}", "--scenario", "smoke", "--episodes", "2"]
    assert evaluate.main([*words, "--out", str(out), "--quiet"]) == 0
    assert (out / "results.json").is_file()


@pytest.mark.parametrize("name", world_names())
def test_every_world_trains(tmp_path, name):
    """A smoke budget: a rollout, an update, an evaluation beside the best rule."""
    run = tmp_path / "run"
    sizes = ["--timesteps", "64", "--envs", "4", "--checkpoint-every", "64", "--quiet", "--set"]
    recipe = ["recipe.ppo.n_steps=16", "recipe.ppo.batch_size=64", "recipe.evaluation.episodes=1"]
    recipe += ["recipe.warm_start.steps=64", "time.episode_days=0.25"]
    years = ["signals.train=[0]", "signals.validation=[100]", "signals.test=[200]"]
    assert (
        train.main(["--config", "smoke", "--scenario", name, "--run", str(run), *sizes, *recipe, *years]) == 0
    )
    assert RunFolder(run).progress()["best_validation_usd"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "quik"], "did you mean 'quick'"),
        (["--scenario", "defualt"], "did you mean 'default'"),
        (["--set", "recipe.ppo.gama=1"], "did you mean 'gamma'"),
        (["--set", "jobs.trainin.load=1"], "did you mean|unknown|missing"),
        (["--set", "nonsense"], "not PATH=VALUE"),
        (["--timesteps", "0"], "timesteps: 0"),
        (["--resume", "nowhere"], "holds no training run"),
        (["--resume", "nowhere", "--seed", "3"], "only --timesteps"),
        (["--set", "recipe.warm_start.policy=rule:gredy+b1"], "gredy"),
    ],
)
def test_mistakes_are_one_message_and_exit_2(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    if "--resume" not in words:
        words = [*words, "--run", "run"]
        if "--config" not in words:
            words = ["--config", "smoke", *words]
    assert train.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    assert train.main(["--run", str(tmp_path / "run"), *QUICK]) == 2
    assert "--resume" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious"]


def test_words_that_are_no_flags_exit_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["--algo", "sac"])
    assert stopped.value.code == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGTERM")
def test_sigterm_saves_as_ctrl_c_does_and_says_how_to_go_on(tmp_path, root):
    run = tmp_path / "run"
    words = [w if w != "1024" else "100000000" for w in QUICK]
    command = [sys.executable, str(root / "train.py"), "--run", str(run), *words]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while not RunFolder(run).steps() and time.monotonic() < end and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=120)
    assert child.returncode == 130, error
    assert f"--resume {run}" in error
    assert "Traceback" not in error
    progress = RunFolder(run).progress()
    assert progress["status"] == "interrupted"
    goal = str(progress["timesteps"] + 256)
    assert train.main(["--resume", str(run), "--timesteps", goal, "--quiet"]) == 0
