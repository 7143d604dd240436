"""Looking closer: an hour explained, an episode filmed, a policy watched, runs compared, overlaps refused."""

import json
import shutil

import numpy as np
import pytest

import evaluate
import gcn_env
from agents import windows
from agents.__main__ import main
from agents.curves import compare_runs, groups, read
from agents.recipe import checked
from gcn_env.errors import UserError
from gcn_env.render import HEIGHT, WIDTH
from gcn_env.scenario.load import load_scenario

LOOK = ["--scenario", "smoke", "--quiet"]


def test_an_hour_is_explained(capsys):
    rules = ["rule:cost-greedy+b1", "rule:random+b0"]
    assert evaluate.main(["--policies", *rules, *LOOK, "--explain", "7"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("## Hour 7 of the first episode")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    head = next(line for line in rows if line.startswith("| slot: job"))
    assert [c.strip() for c in head.strip("|").split("|")][-2:] == ["cost-greedy+b1", "random+b0"]
    assert "### Set-points" in page
    assert "degC" in page
    world = gcn_env.load_world("smoke")
    for region in world.region_names:
        assert any(region in line for line in rows)
    assert evaluate.main(["--policies", *rules, *LOOK, "--explain", "7"]) == 0
    assert capsys.readouterr().out == page
    assert evaluate.main(["--policies", *rules, *LOOK, "--explain", "1e4"]) == 2
    assert "the episode has hours 0 to" in capsys.readouterr().err


def test_an_episode_is_filmed(tmp_path, capsys):
    from PIL import Image

    out = tmp_path / "new" / "film.gif"
    words = ["--policies", "rule:cost-greedy+b1", "rule:random+b0", *LOOK, "--video", str(out)]
    assert evaluate.main([*words, "--set", "time.episode_days=0.25"]) == 0
    with Image.open(out) as film:
        assert film.n_frames == 7  # six hours and the end
        assert film.size == (2 * WIDTH * 3 // 4, (HEIGHT + 30) * 3 // 4)
        first = np.asarray(film.convert("RGB"))
        film.seek(6)
        assert (np.asarray(film.convert("RGB")) != first).any()
    assert evaluate.main(["--policies", "rules", *LOOK, "--video", str(out)]) == 2
    assert "one or two policies" in capsys.readouterr().err
    assert evaluate.main(["--policies", "rule:random+b0", *LOOK, "--video", "film.avi"]) == 2
    assert ".gif or .mp4" in capsys.readouterr().err


def test_a_policy_is_watched(capsys):
    assert main(["watch", "rule:cost-greedy+b1", "--scenario", "smoke", "--steps-per-s", "1e9"]) == 0
    printed = capsys.readouterr().out
    world = gcn_env.load_world("smoke")
    assert f"step {world.horizon}/{world.horizon}" in printed
    assert main(["watch", "--scenario", "smoke", "--steps-per-s", "0"]) == 2


def run_folder(path, seed, usd, **choices):
    recipe = checked({"seed": seed, "scenario": "smoke", **choices}, "test")
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    lines = [{"timesteps": 1000 * k, "total_usd": x, "best_rule_usd": 100.0} for k, x in enumerate(usd)]
    (path / "validation.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return path


def test_runs_are_compared_by_recipe(tmp_path):
    a = [run_folder(tmp_path / f"a{s}", s, [120, 100 - s, 95 + s]) for s in range(5)]
    b = [run_folder(tmp_path / "b0", 0, [120, 130], envs=32)]
    found = groups([read(x) for x in (*a, *b)])
    assert {name: len(runs) for name, runs in found.items()} == {"envs=64": 5, "envs=32": 1}
    text = compare_runs([*a, *b], tmp_path / "out")
    assert "| envs=64 | 5 | 96 USD |" in text
    assert "fewer than five seeds: envs=32." in text
    html = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png" in html
    assert len(list((tmp_path / "out" / "tensorboard").glob("*/events*"))) == 7
    with pytest.raises(UserError, match="not empty"):
        compare_runs(a, tmp_path / "out")
    compare_runs(a, tmp_path / "out", overwrite=True)
    shutil.rmtree(a[0])
    assert main(["compare", str(a[0])]) == 2
    (tmp_path / "a1" / "validation.jsonl").unlink()
    with pytest.raises(UserError, match="no validation yet"):
        read(a[1])


def test_nothing_is_judged_on_its_training_years(tmp_path, capsys):
    smoke = load_scenario("smoke")
    years = smoke.signals
    assert windows.overlap(smoke, smoke, "test") == ""
    assert f"{years.train[0]}" in windows.overlap(smoke, smoke, "train")
    turned = load_scenario("smoke", {"signals.train": list(years.test), "signals.test": list(years.train)})
    assert windows.overlap(turned, smoke, "test") == f"year {', '.join(map(str, sorted(years.test)))}"
    other = load_scenario("smoke", {"signals.seed": years.seed + 1})
    assert windows.overlap(other, smoke, "train") == ""
    run = tmp_path / "run"
    run.mkdir()
    (run / "scenario.yaml").write_text(json.dumps(turned.model_dump(mode="json", exclude_none=True)))
    words = ["--policies", f"run:{run}", *LOOK, "--out", str(tmp_path / "out")]
    assert evaluate.main(words) == 2
    assert "was trained on what it would be judged on" in capsys.readouterr().err
