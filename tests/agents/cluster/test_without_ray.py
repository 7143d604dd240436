"""What needs no Ray: what is said where it is missing, how nodes are compared, and work that another may do."""

import argparse
import json
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tyro

import agents.cluster
import evaluate
import train
from agents.__main__ import GROUPS, main
from agents.cluster import probe
from agents.evaluation import evaluate as evaluated
from agents.evaluation import one_by_one
from gcn_env.errors import UserError
from tests.agents.test_evaluation import Masked
from tests.agents.test_tune import TINY
from tests.house.tools import succeeds
from tests.worlds import world


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (evaluate.main, ["--scenario", "smoke", "--policies", "rule:random+b0", "--out", "{}/out"]),
        (train.main, ["--config", "smoke", "--run", "{}/out"]),
        (main, ["tune", "--config", "smoke", "--out", "{}/out"]),
        (main, ["seeds", "smoke", "--seeds", "1", "--out", "{}/out"]),
    ],
)
def test_without_ray_every_command_says_what_to_install(tmp_path, monkeypatch, capsys, call, words):
    monkeypatch.setattr(agents.cluster, "find_spec", lambda _: None)
    assert call([*(w.format(tmp_path) for w in words), "--ray", "local"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "error: --ray needs one more package: pip install 'gcn-env[ray]'"
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_collectors_need_a_cluster(capsys):
    assert train.main(["--config", "smoke", "--collectors", "2"]) == 2
    assert "--ray local" in capsys.readouterr().err


def test_the_probe_runs_where_nothing_is_installed(root):
    """No site packages, no checkout: as on a node that has only Ray."""
    code = (
        f"import json; text = open({str(root / 'agents' / 'cluster' / 'probe.py')!r}).read(); space = {{}}; "
        "exec(compile(text, 'probe', 'exec'), space); print(json.dumps(space['look'](('numpy',))))"
    )
    said = json.loads(succeeds([sys.executable, "-I", "-S", "-c", code], "/"))
    assert said["code"] is None
    assert said["versions"]["numpy"] == "not installed"


def test_what_differs_is_named():
    here = probe.look(("numpy", "no-such-package"))
    assert probe.differences(here, probe.look(("numpy", "no-such-package"))) == []
    assert len(here["code"]) == 64
    there = {"versions": {**here["versions"], "numpy": "1.0"}, "code": None}
    assert probe.differences(here, there) == [f"numpy 1.0 (here {np.__version__})"]


def backwards(fleet, units, tick):
    """The last unit first."""
    done = list(one_by_one(fleet, units, tick))
    yield from reversed(done)


def test_units_may_be_done_in_any_order():
    fleet = world()
    heads = [fleet.n_pools + 1] * fleet.n_slots + [fleet.n_levels] * (5 * fleet.n_regions)
    policies = {"a": Masked(heads), "team": [Masked(heads, salt=1.0), Masked(heads, salt=2.0)]}
    told = []
    serial = evaluated(fleet, policies, episodes=3, batch=2)
    other = evaluated(
        fleet, policies, episodes=3, batch=2, run=backwards, progress=lambda _, s: told.append(s)
    )
    np.testing.assert_array_equal(serial.kpis, other.kpis)
    np.testing.assert_array_equal(serial.runs["team"], other.runs["team"])
    np.testing.assert_array_equal(serial.start, other.start)
    np.testing.assert_array_equal(serial.records["team"].regions, other.records["team"].regions)
    assert told[-1] == 1.0


def test_an_interrupt_keeps_whole_batches_whatever_the_order():
    fleet = world()
    heads = [fleet.n_pools + 1] * fleet.n_slots + [fleet.n_levels] * (5 * fleet.n_regions)
    policies = {"a": Masked(heads), "b": Masked(heads, salt=1.0)}

    def cut(order):
        def run(fleet, units, tick):
            done = dict(one_by_one(fleet, units, tick))
            for k in order:
                yield k, done[k]
            raise KeyboardInterrupt

        return run

    kept = evaluated(fleet, policies, episodes=3, batch=1, run=cut([4, 0, 1, 5, 2]))
    assert (kept.policies, kept.episodes, kept.interrupted) == (("a", "b"), 1, True)
    first = evaluated(fleet, policies, episodes=3, batch=1, run=cut([1, 4, 5, 2, 3]))
    assert (first.policies, first.episodes, first.unfinished) == (("b",), 1, ("a",))
    with pytest.raises(KeyboardInterrupt):
        evaluated(fleet, policies, episodes=3, batch=1, run=cut([2, 3]))


def test_an_address_without_ray_is_one_line(monkeypatch):
    monkeypatch.setattr(agents.cluster, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"gcn-env\[ray\]"):
        agents.cluster.connect("local")


PAGE = Path(agents.cluster.__file__).with_name("README.md")
BLOCK = re.compile(r"<!-- (?P<name>[\w-]+) -->\n```python\n(?P<code>.*?)```", re.S)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed; pip install submitit")
@pytest.mark.parametrize(("name", "printed"), [("submitit", "seed-2"), ("submitit-evaluation", "[")])
def test_what_the_page_says_of_submitit(root, tmp_path, name, printed):
    """Smaller, and by submitit's local executor where there is no Slurm."""
    code = {found["name"]: found["code"] for found in BLOCK.finditer(PAGE.read_text())}[name]
    tiny = {**TINY, "timesteps": 256, "evaluation.episodes": 1}
    smaller = {
        '"full", [0, 1, 2]': '"smoke", [0, 1, 2]',
        "{}, {},": f"{tiny}, {{}},",
        '("default")': '("smoke")',
        "200, run": "40, run",
        'AutoExecutor("slurm-logs")': 'AutoExecutor("slurm-logs", cluster="local")',
    }
    for old, new in smaller.items():
        code = code.replace(old, new)
    (tmp_path / "script.py").write_text(code)
    said = succeeds([sys.executable, "script.py"], tmp_path, PYTHONPATH=str(root))
    assert printed in "".join(said.splitlines()[-2:])


def test_the_page_names_commands_that_exist():
    """Every command of the table and of the shell blocks parses, `ray` itself apart."""
    text = PAGE.read_text()
    words = [
        shlex.split(w) for w in re.findall(r"python ((?:evaluate|train)\.py[^\n`]*|-m agents [^\n`]*)", text)
    ]
    assert len(words) >= 5
    for line in words:
        if line[0] == "-m":
            parser_of_agents().parse_args(line[2:])
        else:
            module = {"evaluate.py": evaluate, "train.py": train}[line[0]]
            tyro.cli(module.Args, args=line[1:])


def parser_of_agents():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    for group in GROUPS:
        group.add(verbs)
    return parser
