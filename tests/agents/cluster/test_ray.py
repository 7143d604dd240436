"""With Ray: the same results as without it, whatever is lost on the way. Skipped where Ray is not installed."""

import json
import socket
import sys
from importlib.util import find_spec

import pytest
import yaml

from agents.runs import RunFolder
from tests.agents.test_tune import TINY
from tests.house.tools import run, succeeds

if find_spec("ray") is None:
    pytest.skip("Ray is an extra: pip install 'gcn-env[ray]'", allow_module_level=True)

pytestmark = pytest.mark.slow
SET = [f"recipe.{k}={yaml.safe_dump(v).splitlines()[0]}" for k, v in TINY.items()]


def call(root, *words, code=0, **env):
    """Output of a command of this checkout, each in a process of its own."""
    done = run([sys.executable, *words], root, PYTHONPATH=str(root), **env)
    assert done.returncode == code, done.stdout[-6000:]
    return done.stdout


def plain(path):
    """A results.json but for the command that made it and the commit, which may be made meanwhile."""
    said = json.loads((path / "results.json").read_text())
    for name in ("command", "git_commit"):
        said["meta"].pop(name)
    for name in ("out", "ray"):
        said["meta"]["config"].pop(name)
    return said


def test_an_evaluation_is_the_same_as_without_ray(root, tmp_path):
    words = [
        "evaluate.py",
        "--scenario",
        "smoke",
        "--episodes",
        "40",
        "--quiet",
        "--set",
        "time.episode_days=0.5",
    ]
    words += ["--policies", "rule:nearest+b1", "rule:random+b0", "rule:cost-greedy+b2"]
    call(root, *words, "--out", str(tmp_path / "a"))
    call(root, *words, "--out", str(tmp_path / "b"), "--ray", "local")
    assert plain(tmp_path / "a") == plain(tmp_path / "b")


def test_workers_and_nodes_are_lost_and_nothing_is_missed(root, tmp_path):
    said = json.loads(
        call(root, "-W", "ignore", "-m", "tests.agents.cluster.faults", str(tmp_path)).splitlines()[-1]
    )
    assert said["cpus"] == 2
    assert said["evaluation"]["identical"]
    killed, node = said["evaluation"]["befell"]
    assert killed.startswith("ray::play")
    assert node == "node"
    training = said["training"]
    assert training["lost"] >= 2
    assert training["timesteps"] >= 8 * 16 * 12
    assert training["rollouts"] > 13  # smaller batches: more rollouts than 12, and the look at the end
    assert training["again"] >= training["timesteps"] + 8 * 16
    assert training["status"] == "finished"


def test_training_by_collectors_from_the_command_line(root, tmp_path):
    path = tmp_path / "run"
    words = [
        "train.py",
        "--config",
        "smoke",
        "--quiet",
        "--run",
        str(path),
        "--ray",
        "local",
        "--collectors",
        "2",
    ]
    call(root, *words, "--set", *SET)
    assert RunFolder(path).progress()["status"] == "finished"
    assert RunFolder(path).best.is_file()
    call(root, "train.py", "--resume", str(path), "--timesteps", "1536", "--quiet")  # without Ray
    assert RunFolder(path).progress()["timesteps"] == 1536
    said = call(
        root, *words[:5], str(tmp_path / "no"), "--ray", "local", "--collectors", "3", "--set", *SET, code=2
    )
    assert "3 collectors cannot share 8 environments" in said
    assert not (tmp_path / "no").exists()


def test_seeds_and_a_search_leave_ordinary_runs(root, tmp_path):
    words = [
        "-m",
        "agents",
        "seeds",
        "smoke",
        "--seeds",
        "1",
        "2",
        "--out",
        str(tmp_path / "seeds"),
        "--ray",
        "local",
    ]
    assert "seed-2 is finished" in call(root, *words, "--set", *SET)
    assert "seed-2 is finished" not in call(root, *words, "--set", *SET)
    for n in (1, 2):
        assert RunFolder(tmp_path / "seeds" / f"seed-{n}").progress()["status"] == "finished"
    words = ["-m", "agents", "tune", "--config", "smoke", "--out", str(tmp_path / "tune"), "--ray", "local"]
    table = call(root, *words, "--trials", "3", "--set", *SET)
    assert table.count("trial-000") == 3
    for k in range(3):
        trial = RunFolder(tmp_path / "tune" / f"trial-{k:04d}")
        assert trial.recipe().seed == k
        assert trial.best.is_file()
    assert call(root, *words, "--trials", "3", "--set", *SET) == table  # nothing is left to do
    assert "cannot change" in call(root, *words, "--trials", "4", "--set", *SET, code=2)


def test_wrong_addresses_and_tokens_are_one_line(root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "evaluate.py",
        "--scenario",
        "smoke",
        "--policies",
        "rule:random+b0",
        "--out",
        str(tmp_path / "out"),
        "--ray",
    ]
    said = call(root, *words, f"127.0.0.1:{port}", code=2)
    assert f"no Ray cluster can be reached at 127.0.0.1:{port}" in said
    assert "no Ray cluster answers at auto" in call(root, *words, "auto", code=2, RAY_TMPDIR=str(tmp_path))


CHECKS = """
import pytest
from agents.cluster import session
from gcn_env.errors import UserError
here = session.probe.look(session.MUST_AGREE)
there = {"versions": {**here["versions"], "numba": "0.1"}, "code": here["code"]}
with pytest.raises(UserError, match=r"10.0.0.2 has numba 0.1 \\(here"):
    session.refuse_differences("x:1", here, [("10.0.0.1", here), ("10.0.0.2", there)])
with pytest.raises(UserError, match="no node of the cluster"):
    session.refuse_differences("x:1", here, [])
said = session.explained("x:1", RuntimeError("Version mismatch: The cluster was started with: Ray: 2.9"))
assert "Ray: 2.9" in said and "install the same" in said
assert "RAY_AUTH_TOKEN_PATH" in session.explained("x:1", RuntimeError("Unauthenticated: invalid token"))
assert "ray start --head" in session.explained("x:1", ConnectionError("nobody"))
"""


def test_what_ray_says_is_explained(root):
    succeeds([sys.executable, "-c", CHECKS], root, PYTHONPATH=str(root))
