"""Search over a recipe: spaces, parallel workers, resuming, what is wrong."""

import pytest
import yaml
from optuna.trial import TrialState

from agents import tune
from agents.__main__ import main
from gcn_env.errors import UserError

TINY = {
    "timesteps": 1024, "envs": 8, "ppo.n_steps": 32, "ppo.batch_size": 64, "warm_start.policy": None, "stagger": False,
    "network.width": 8, "network.pair_width": 8, "evaluation.every": 1024, "evaluation.episodes": 1,
}  # fmt: skip


def search(out, trials=2, **changes):
    given = {"config": "smoke", "out": out, "trials": trials, "overrides": TINY, "scenario": {}, "space": None,
             "data": None, "seed": 5, **changes}  # fmt: skip
    return tune.Search(**given)


def test_spaces_lie_inside_the_recipe():
    for algo in tune.SPACES:
        space = tune.read_space(search(None, overrides={"algo": algo}))
        assert space == tune.SPACES[algo]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"ppo.learning_rat": [1e-4, 1e-3]}, "did you mean 'learning_rate'"),
        ({"ppo.epochs": [0, 3]}, "ppo.epochs"),
        ({"ppo.epochs": 3}, "is no range"),
        ({"ppo.epochs": {"log": [1, 2], "choices": [1]}}, "is no range"),
    ],
)
def test_a_wrong_space_is_one_line(tmp_path, space, words):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(space))
    with pytest.raises(UserError, match=words):
        tune.read_space(search(tmp_path, space=path))


@pytest.mark.slow
def test_a_search_runs_in_parallel_and_goes_on(tmp_path, capsys):
    out = tmp_path / "tune"
    pairs = [f"recipe.{k}={yaml.safe_dump(v).splitlines()[0]}" for k, v in TINY.items()]
    words = ["tune", "--config", "smoke", "--out", str(out), "--seed", "5", "--set", *pairs]
    assert main([*words, "--trials", "2", "--jobs", "2"]) == 0
    first = tune.open_study(search(out, overrides=dict(p.split("=", 1) for p in _recipe(pairs))))
    assert len(first.trials) == 2
    first.ask()  # as if a worker had been killed in it
    assert main([*words, "--trials", "3"]) == 0
    states = [t.state for t in first.get_trials()]
    assert states.count(TrialState.FAIL) == 1
    assert tune.left(first, 3) == 0
    table = capsys.readouterr().out
    assert table.count("trial-") >= 3
    for t in first.get_trials(states=[TrialState.COMPLETE]):
        assert (out / t.user_attrs["run"] / "checkpoints" / "best.pt").is_file()
    assert main([*words, "--seed", "6", "--trials", "3"]) == 2
    assert "another search" in capsys.readouterr().err


def _recipe(pairs):
    return [p.removeprefix("recipe.") for p in pairs]


def test_numbers_of_trials_are_checked(capsys):
    assert main(["tune", "--trials", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
