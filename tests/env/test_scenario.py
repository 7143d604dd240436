"""Scenarios: what is shipped loads; each mistake is one message: value, what is allowed, remedy."""

import json

import numpy as np
import pytest

import gcn_env
from gcn_env.core.params import CLASSES, INFERENCE
from gcn_env.errors import UserError
from gcn_env.scenario.compile import compile_world
from gcn_env.scenario.load import find, load_scenario, shipped
from gcn_env.scenario.plants import PlantSite, archetypes, parameters
from gcn_env.scenario.random_plants import UNCERTAIN
from gcn_env.scenario.schema import Scenario
from gcn_env.sim import Sim
from tests.worlds import ROOT, SCENARIOS, legal_actions, world

DATA = ROOT.parent / "shared" / "data" / "open"
SMOKE = str(SCENARIOS / "smoke.yaml")


def arrays(group):
    for value in group:
        if isinstance(value, tuple):
            yield from arrays(value)
        else:
            yield np.asarray(value)


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(arrays(a), arrays(b), strict=True))


def test_the_shipped_scenarios():
    assert {"default", "real", "smoke"} < set(shipped())
    for name, path in shipped().items():
        assert load_scenario(name).name == name
        assert load_scenario(path) == load_scenario(name)
        assert find(f"configs/scenarios/{name}.yaml").resolve() == path.resolve()


@pytest.mark.parametrize("name", ["smoke", "default"])
def test_compiled_worlds_are_whole(name):
    w = world(name)
    assert w.name == name
    assert len(w.pool_names) == len(w.pool_region) == w.n_pools
    assert w.horizon * w.step_h == w.scenario.time.episode_days * 24
    for group in w.params:
        for value in arrays([group]):
            if value.dtype.kind == "f":
                assert not np.isnan(value).any()
    geo, fleet, work = w.params.geo, w.params.fleet, w.params.work
    np.testing.assert_array_equal(geo.rtt_ms, geo.rtt_ms.T)
    assert (geo.rtt_ms[~np.eye(w.n_regions, dtype=bool)] > 1.0).all()
    assert (fleet.asleep_kw <= fleet.idle_kw).all()
    assert (fleet.idle_kw < fleet.peak_kw).all()
    np.testing.assert_allclose(
        np.bincount(w.pool_region, fleet.devices * fleet.peak_kw, w.n_regions), geo.design_kw
    )
    np.testing.assert_allclose(work.origin[:, -1], 1.0)
    np.testing.assert_allclose(work.hours.mean(1), 1.0, rtol=1e-6)
    assert set(w.bank.split_rows) == {"train", "validation", "test"}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no folder of recorded data here")
def test_the_real_scenario_compiles():
    w = gcn_env.load_world("real", None, DATA)
    assert any(name.startswith("jobs/") for name in w.data_fingerprints)
    assert (w.params.work.series_rows[:, list(w.source_names).index("inference")] > 0).all()
    assert (
        gcn_env.load_world("real", {"signals.train": [2022], "signals.validation": [2021]}, DATA).fingerprint
        != w.fingerprint
    )


def test_fits_hold_in_some_legal_pool():
    """No job can be so large that none of its legal pools would ever take it."""
    for name in ("smoke", "default"):
        w = world(name)
        fleet, geo, work = w.params.fleet, w.params.geo, w.params.work
        for s in range(len(work.kind)):
            share, lease = np.diff(work.origin[s], prepend=0.0), work.kind[s] == INFERENCE
            for r in np.flatnonzero(share > 1e-12):
                for bound, law in enumerate((work.anywhere[s, r], work.home[s, r])):
                    if bound and work.restricted[s] == 0:
                        continue
                    speed = fleet.speed[work.kind[s]]
                    legal = (speed > 0) & (fleet.trust >= work.trust[s])
                    legal &= (law >> geo.jurisdiction[fleet.region]) & 1 == 1
                    gang = work.fit_gang[s, r, bound]
                    held = np.full(len(speed), gang)
                    if lease:
                        held = np.ceil(gang / np.maximum(speed, 1e-9) - 1e-9)
                    fits = legal & (held <= fleet.devices) & (fleet.memory >= work.fit_memory[s, r, bound])
                    assert fits.any(), (name, w.source_names[s], r, bound)


def test_overrides_by_dotted_path():
    plain = load_scenario(SMOKE)
    changed = load_scenario(
        SMOKE, {"jobs.training.load": 0.7, "time.step_min": "30", "signals.train": "[3, 4]"}
    )
    assert changed.jobs["training"].load == 0.7
    assert changed.time.step_min == 30
    assert changed.signals.train == (3, 4)
    assert changed.jobs["batch"] == plain.jobs["batch"]
    assert load_scenario(SMOKE, {"jobs.batch": None}).jobs.keys() == plain.jobs.keys() - {"batch"}
    new = load_scenario(SMOKE, {"regions.south.pools.more": {"hardware": "gpu_l4", "devices": 8}})
    assert new.regions["south"].pools["more"].devices == 8


def test_plants_drawn_at_random():
    """By seed and region alone; every kind comes; what is uncertain stays within its bounds; the rest is the file's."""
    own, drawn = load_scenario("default"), [load_scenario("default", {"random_plants": k}) for k in range(20)]
    assert load_scenario("default", {"random_plants": "3"}) == drawn[3]
    assert len({str(s.regions) for s in drawn}) == 20
    plants = [r.plant for s in drawn for r in s.regions.values()]
    assert {p.archetype for p in plants} == set(archetypes())
    for plant in plants:
        usual = parameters(PlantSite(plant.archetype, 1.0))
        assert set(plant.overrides) == set(UNCERTAIN)
        for name, value in plant.overrides.items():
            assert abs(value - usual[name]) <= UNCERTAIN[name] * usual[name] + 1e-6
    undone = {n: r.model_copy(update={"plant": own.regions[n].plant}) for n, r in drawn[0].regions.items()}
    assert drawn[0].model_copy(update={"regions": undone}) == own


@pytest.mark.parametrize("seed", range(4))
def test_plants_drawn_at_random_run(seed):
    fleet = world("smoke", {"random_plants": seed})
    sim = Sim(fleet, 2)
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    for _ in range(100):
        sim.step(legal_actions(rng, sim))
        assert np.isfinite(sim.obs["regions"]).all()
        assert np.isfinite(sim.obs["pools"]).all()


@pytest.mark.parametrize("seed", ["x", 1.5, -1, True, [3]])
def test_random_plants_wants_a_seed(seed):
    with pytest.raises(UserError, match=r"random_plants.*wanted a seed"):
        load_scenario("smoke", {"random_plants": seed})


def test_units_of_the_file_become_the_units_of_the_kernels():
    w = compile_world(
        load_scenario(
            SMOKE,
            {
                "prices.carbon_usd_per_t": 100,
                "regions.north.grid.water_usd_per_m3": 4,
                "regions.north.pools.gpu.node_mtbf_days": 10,
                "prices.reference_usd_per_mwh": 50,
                "time.step_min": 20,
            },
        )
    )
    p = w.params
    assert p.money.carbon_usd == pytest.approx(0.1)
    assert p.money.water_usd[0] == pytest.approx(0.004)
    assert p.fleet.fail[0] == pytest.approx(1 / 240)
    assert p.money.outlook_usd[0] == pytest.approx(0.05)
    assert (w.step_h, w.horizon) == (pytest.approx(1 / 3), 72)
    assert p.fleet.load.shape == (len(CLASSES), w.n_pools)


def test_a_resolved_scenario_survives_json():
    resolved = load_scenario("default", {"jobs.hpc.load": 0.2})
    again = Scenario.model_validate(json.loads(resolved.model_dump_json()))
    assert again == resolved
    smoke = load_scenario(SMOKE)
    w = compile_world(Scenario.model_validate(json.loads(smoke.model_dump_json())))
    assert w.fingerprint == world().fingerprint
    assert same(w.params, world().params)
    assert world(overrides={"jobs.hpc.load": 0.2}).fingerprint != w.fingerprint


def test_a_file_that_extends_another(tmp_path):
    (tmp_path / "child.yaml").write_text("extends: smoke\njobs: {batch: null, hpc: {load: 0.1}}\n")
    (tmp_path / "grandchild.yaml").write_text("extends: child\njobs: {hpc: {max_gang: 4}}\n")
    found = load_scenario(tmp_path / "grandchild.yaml")
    assert found.jobs.keys() == {"training", "inference", "hpc"}
    assert (found.jobs["hpc"].load, found.jobs["hpc"].max_gang) == (0.1, 4)
    assert found.regions == load_scenario(SMOKE).regions


MISTAKES = {
    "misspelt key": ({"jobs.training.laod": 0.5}, ["jobs.training.laod", "did you mean 'load'", "max_gang"]),
    "misspelt group": ({"time.step_mim": 5}, ["time.step_mim", "did you mean 'step_min'"]),
    "misspelt top": ({"pries.drop_h": 5}, ["pries", "did you mean 'prices'"]),
    "misspelt in pool": ({"regions.north.pools.gpu.device": 8}, ["did you mean 'devices'"]),
    "misspelt in plant": ({"regions.north.plant.archetyp": "c"}, ["did you mean 'archetype'"]),
    "misspelt in trace": ({"jobs.hpc.trace.fil": "x"}, ["did you mean 'file'"]),
    "wrong type": ({"jobs.training.load": "high"}, ["jobs.training.load", "'high'", "number"]),
    "a list": ({"time.step_min": [1]}, ["time.step_min", "[1]"]),
    "through a number": ({"time.step_min.x": 3}, ["time.step_min", "number"]),
    "not a number": ({"jobs.training.load": ".nan"}, ["jobs.training.load", "nan"]),
    "infinite": ({"prices.carbon_usd_per_t": ".inf"}, ["prices.carbon_usd_per_t", "finite"]),
    "negative": ({"jobs.training.load": -0.1}, ["jobs.training.load", "-0.1", "greater than or equal to 0"]),
    "zero": ({"regions.north.pools.gpu.devices": 0}, ["devices", "greater than or equal to 1"]),
    "nodes": ({"regions.north.pools.gpu.devices": 33}, ["33", "not a multiple of devices_per_node = 8"]),
    "split twice": ({"signals.test": [0]}, ["year 0", "train", "test", "one split"]),
    "empty split": ({"signals.test": []}, ["signals.test is empty", "at least one year"]),
    "step": (
        {"time.step_min": 7, "time.plant_substep_s": 60},
        ["step_min = 7", "does not divide", "divisor"],
    ),
    "long": ({"time.episode_days": 365}, ["time.episode_days", "365", "do not fit"]),
    "hardware": ({"regions.north.pools.gpu.hardware": "gpu_h100"}, ["'gpu_h100'", "did you mean", "gpu_l4"]),
    "profile": (
        {"regions.north.profile": "DE-LX"},
        ["regions.north.profile", "'DE-LX'", "did you mean 'DE-LU'"],
    ),
    "archetype": ({"regions.north.plant.archetype": "z"}, ["archetype", "'z'", "'a'"]),
    "plant": ({"regions.north.plant.overrides": {"ups_los": 1}}, ["'ups_los'", "known"]),
    "origin": ({"jobs.batch.origins": {"nroth": 1}}, ["'nroth'", "did you mean 'north'", "south"]),
    "law": ({"jobs.batch.jurisdictions": ["eur"]}, ["'eur'", "did you mean 'eu'", "sg"]),
    "link": ({"network.links": {"north-south": {"rtt_ms": 5}}}, ["'north-south'", "REGION~REGION", "north"]),
    "traffic": ({"jobs.inference.traffic": "m-smal"}, ["'m-smal'", "did you mean 'm-small'", "m-mid"]),
    "no objective": ({"jobs.inference.slo_ms": None}, ["jobs.inference", "slo_ms is needed"]),
    "objective": ({"jobs.batch.slo_ms": 5}, ["jobs.batch", "only there"]),
    "class": ({"jobs.batch.job_class": "bach"}, ["job_class", "'bach'", "'batch'"]),
    "no law": (
        {"jobs.training.jurisdictions": []},
        ["jobs.training", "no pool that may run them", "add a pool"],
    ),
    "trust": ({"jobs.hpc.trust": "tee"}, ["jobs.hpc", "no pool that may run them", "trust"]),
    "class without pool": ({"regions.north.pools.cpu": None}, ["jobs.", "no pool"]),
    "regions": ({"regions.north": None, "regions.south": None}, ["regions", "at least 1"]),
    "not yaml": ({"jobs.training.load": "[1"}, ["jobs.training.load", "not valid YAML"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_message(case):
    overrides, words = MISTAKES[case]
    with pytest.raises(UserError) as caught:
        gcn_env.load_world(SMOKE, overrides)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert "\n" not in text
    assert "pydantic" not in text


def test_trace_windows_are_apart():
    trace = {
        "file": "x.csv",
        "format": "philly",
        "train_h": [0, 10],
        "validation_h": [10, 20],
        "test_h": [15, 30],
    }
    for change, words in (
        ({}, ["validation", "test", "overlap"]),
        ({"test_h": [30, 30]}, ["test_h = [30, 30]", "from < to"]),
        ({"test_h": [30, 20]}, ["test_h = [30, 20]"]),
        ({"train_h": [-1, 5], "test_h": [20, 21]}, ["train_h = [-1, 5]"]),
    ):
        with pytest.raises(UserError) as caught:
            load_scenario(SMOKE, {"jobs.hpc.trace": trace | change})
        for word in words:
            assert word in str(caught.value)


FILES = {
    "circle": ("extends: circle\n", ["circle", "extends"]),
    "unknown parent": ("extends: smokey\n", ["'smokey'", "did you mean 'smoke'", "shipped"]),
    "parent of no name": ("extends: [smoke]\n", ["extends"]),
    "key twice": ("time: {step_min: 5}\njobs: {}\ntime: {step_min: 6}\n", ["line 1", "given twice", "time"]),
    "inner key twice": ("time:\n  step_min: 5\n  step_min: 6\n", ["line 2", "given twice", "step_min"]),
    "not yaml": ("time: [1,\n", ["not valid YAML"]),
    "a list": ("- 1\n- 2\n", ["list", "mapping"]),
    "empty": ("", ["mapping"]),
    "numbers as keys": ("extends: smoke\n5: 6\n", ["5"]),
    "nothing given": ("name: x\n", ["signals: missing", "regions: missing", "prices: missing"]),
    "binary": (b"\xff\xfe\x00\x01", ["cannot read"]),
    "code": ("name: !!python/object/apply:os.getcwd []\n", ["not valid YAML"]),
}


@pytest.mark.parametrize("case", FILES)
def test_broken_files_are_one_message(case, tmp_path):
    text, words = FILES[case]
    path = tmp_path / f"{case.split()[0]}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_longer_circle(tmp_path):
    for name, parent in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {parent}\n")
    with pytest.raises(UserError, match="circle"):
        load_scenario(tmp_path / "a.yaml")


def test_names_that_are_not_there(tmp_path):
    with pytest.raises(
        UserError, match=r"no scenario named 'smoek'; did you mean 'smoke'\? \(shipped: .*real"
    ):
        load_scenario("smoek")
    with pytest.raises(UserError, match=r"no scenario file .*smokee.yaml; did you mean 'smoke'"):
        load_scenario(tmp_path / "smokee.yaml")


def test_missing_data(monkeypatch, tmp_path):
    monkeypatch.delenv("GCN_DATA", raising=False)
    with pytest.raises(UserError, match=r"real.*no data folder is named.*--data DIR.*GCN_DATA"):
        gcn_env.load_world("real")
    with pytest.raises(UserError, match=r"data folder .*nowhere does not exist.*--data"):
        gcn_env.load_world("real", None, tmp_path / "nowhere")
    monkeypatch.setenv("GCN_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="elsewhere does not exist"):
        gcn_env.load_world("real")
    with pytest.raises(UserError, match=str(tmp_path)):  # a folder without the files
        gcn_env.load_world("real", None, tmp_path)
