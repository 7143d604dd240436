"""What needs no Ray: what is said where it is missing, how nodes are compared, and work that another may do."""

import json
import sys

import numpy as np
import pytest

import agents.cluster
import evaluate
import train
from agents.__main__ import main
from agents.cluster import probe
from agents.evaluation import evaluate as evaluated
from agents.evaluation import one_by_one
from gcn_env.errors import UserError
from tests.agents.test_evaluation import Masked
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
