"""The worlds: data that loads, says where its figures come from, runs, and is named by no code."""

import re

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gcn_env
from agents import policy
from agents.evaluation import evaluate
from benchmarks import worlds as bench
from gcn_env.core.state import nbytes
from gcn_env.describe import catalogue_page, scenario_page
from gcn_env.envs import FleetEnv
from gcn_env.errors import UserError
from gcn_env.observation import JOBS, PAIRS
from gcn_env.scenario.load import load_scenario
from gcn_env.sim import Sim
from tests.worlds import ROOT

WORLDS = [
    "chasing-the-sun", "compute-market", "dgx-cloud", "east-data-west-compute", "edge-continuum", "enterprise-mesh",
    "gaia-x", "neocloud-gigawatt", "supercomputer-net",
]  # fmt: skip
TAGGED = re.compile(r"^(V|R|E) ")
# One year a split: a world then loads in a second or two.
SHORT = {"time.episode_days": 1, "signals.train": [0], "signals.validation": [100], "signals.test": [200]}
MB_PER_ENV = 3.0

_LOADED = {}


def short(name):
    """A world of one day and one year a split, loaded once."""
    if name not in _LOADED:
        _LOADED[name] = gcn_env.load_world(name, SHORT)
    return _LOADED[name]


def test_the_worlds_are_shipped_and_found_by_name():
    assert bench.world_names() == WORLDS
    page = catalogue_page()
    for name in WORLDS:
        assert load_scenario(name).name == name
        assert f"| {name} |" in page
    with pytest.raises(UserError, match=r"no scenario named 'gaiax'; did you mean 'gaia-x'\?.*dgx-cloud"):
        load_scenario("gaiax")
    assert load_scenario("configs/scenarios/worlds/gaia-x.yaml") == load_scenario("gaia-x")


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_says_what_it_is_and_where_its_figures_come_from(name):
    s = load_scenario(name)
    assert len(s.doc.split()) >= 60
    assert "Not built yet and left out:" in s.doc
    assert len(s.sources) >= 2
    texts = [*s.sources, *(r.source for r in s.regions.values() if r.source)]
    texts += [h.source for h in s.hardware.values()]
    for text in texts:
        assert TAGGED.match(text), text
    for r in s.regions.values():
        assert r.profile or r.source


def test_no_code_names_a_world():
    for path in [*ROOT.glob("*.py"), *(p for d in ("gcn_env", "agents") for p in (ROOT / d).rglob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        assert not [n for n in WORLDS if n in text], path


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_is_an_environment(name):
    world = short(name)
    check_env(FleetEnv(world), skip_render_check=True)
    sim = Sim(world, 1)
    assert (nbytes(sim.state) + 2 * sum(v.nbytes for v in sim.obs.values())) / 1e6 < MB_PER_ENV
    assert scenario_page(world).count("\n") > world.n_regions + world.n_pools


@pytest.mark.parametrize("name", WORLDS)
def test_rules_run_a_day(name):
    world = short(name)
    rules = {spec: policy.load(spec, world) for spec in ("rule:cost-greedy+b1", "rule:least-loaded+b0")}
    found = evaluate(world, rules, episodes=2, keep=0)
    for spec in rules:
        for kpi in ("illegal", "dropped"):
            assert (found.kpi(kpi, spec) == 0).all(), (spec, kpi)
        for kpi in ("total_usd", "arrived", "completed", "energy_mwh", "work_device_h"):
            assert (found.kpi(kpi, spec) > 0).all(), (spec, kpi)
        assert np.isfinite(found.kpis).all()
        assert (found.kpi("pue", spec) < 2.5).all()
    usd = (found.kpi("total_usd") - found.kpi("usd_settlement")) / world.horizon
    assert 0.3 < usd[0].mean() / world.reference_usd < 3.0, "a sane policy scores about -1 before settlement"


@pytest.mark.parametrize("name", WORLDS)
def test_accelerators_have_work(name):
    """A day of a good rule keeps them busy, neither idle nor swamped (a company's laptops are mostly left alone)."""
    use = bench.pace(short(name), "rule:cost-greedy+b1", seed=1, steps=short(name).horizon)
    assert 0.25 < use["use_of_accelerators"] < 0.9
    assert use["live_jobs"] > 20


def test_the_market_matches_work_to_hardware():
    """What a rule sees of a job's energy bill differs between devices of one site as their energy per work does."""
    world = short("compute-market")
    sim = Sim(world, 8, split="test")
    sim.reset(0)
    owner = "hyperscaler-virginia/"
    asic, h100, a100 = (world.pool_names.index(owner + n) for n in ("inferentia", "h100", "a100"))
    column = PAIRS.index("energy_usd")
    legal, usd = sim.obs["pairs"][..., PAIRS.index("legal")] > 0, sim.obs["pairs"][..., column]
    seen = 0
    for better, worse in ((asic, a100), (h100, a100)):
        both = legal[:, :, better] & legal[:, :, worse]
        both &= sim.obs["jobs"][:, :, JOBS.index("inference")] > 0
        assert (
            np.sinh(usd[:, :, better][both]).sum() < 0.9 * np.sinh(usd[:, :, worse][both]).sum()
        )  # whole devices
        seen += both.sum()
    assert seen


def test_results_in_one_command(tmp_path, capsys):
    rules = ["rule:cost-greedy+b1", "rule:nearest+b1"]
    words = ["--worlds", "smoke", "--policies", *rules, "--episodes", "3", "--days", "0.25"]
    bench.main([*words, "--out", str(tmp_path / "small")])
    text = (tmp_path / "small.md").read_text()
    assert "| smoke | 2 | 3 | 48 |" in text
    assert text.count("least-loaded+b0 |") >= 1
    assert "wrote" in capsys.readouterr().out
