"""The Slurm adapter without a Slurm: what Slurm tells, site files, snapshots."""

import json
from pathlib import Path

import pytest

from agents.__main__ import main
from agents.adapters.slurm.fleet import Fleet, hour_of_year, read_feeds
from agents.adapters.slurm.queue import Node, array_tasks, gpus, job_of, node_of, number
from agents.adapters.slurm.site import load_site, lua
from gcn_env.errors import UserError
from gcn_env.snapshot import LiveFleet
from tests.agents.slurm.conftest import NOW


# ---------------------------------------------------------------------------------------------------- what Slurm tells
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gres:gpu:2", 2), ("gres:gpu", 1), ("gres:gpu:h100:3", 3), ("gres/gpu=2,gres/gpu:h100=2", 2), ("", 0),
        ("gpu:h100:4(S:0-1)", 4), ("gpu:h100:2(IDX:0-1)", 2), ("gpu:0", 0), ("cpu=1,mem=100M,node=1", 0), (None, 0),
        ("license:gpufarm:4", 0),
    ],
)  # fmt: skip
def test_gpus(text, count):
    assert gpus(text) == count


@pytest.mark.parametrize(
    ("text", "count"), [("", 1), (None, 1), ("1-3", 3), ("7", 1), ("0-9:3", 4), ("1-3,7,10-20:5%2", 7)]
)
def test_array_tasks(text, count):
    assert array_tasks(text) == count


def test_numbers_of_both_kinds_of_json():
    assert number(3) == 3.0
    assert number({"set": True, "infinite": False, "number": 4}) == 4.0
    assert number({"set": False, "infinite": False, "number": 0}) is None
    assert number({"set": True, "infinite": True, "number": 0}) is None
    assert number(None) is None
    assert number(True) is None


def test_jobs_as_22_05_tells_them(recorded):
    running, done, array, open_, cpu = map(job_of, recorded["jobs"])
    assert (running.state, running.gpus, running.limit_h, running.user) == (
        "RUNNING",
        2,
        0.5,
        "gcn.class=training",
    )
    assert (done.state, done.tag) == ("COMPLETED", None)
    assert (array.tasks, array.device) == (3, "cpu")
    assert open_.tag == (1796011405.0, ("north-gpu", "south-gpu"))
    assert (open_.begin, open_.gpus, open_.state) == (1796011465.0, 2, "PENDING")
    assert (cpu.cpus, cpu.gpus, cpu.partition) == (3, 0, "north-cpu")


def test_nodes_as_22_05_tells_them(recorded):
    nodes = {n.name: n for n in map(node_of, recorded["nodes"])}
    assert nodes["north-gpu1"] == Node("north-gpu1", ("intake", "north-gpu"), True, False, 4, 2, 16, 1)
    assert not node_of({"name": "x", "state": "down", "state_flags": ["NOT_RESPONDING"]}).up
    drained = node_of(
        {"name": "x", "state": ["IDLE", "DRAIN"], "partitions": "a,b", "cpus": {"set": True, "number": 8}}
    )
    assert (drained.up, drained.draining, drained.partitions, drained.cpus) == (False, True, ("a", "b"), 8)


# ---------------------------------------------------------------------------------------------------------- site files
def test_words_of_comments(site):
    said = site.fields("gpu", "nightly gcn.work=2.5 gcn.jurisdictions=eu,sg", "gcn.trust=private")
    assert (said["work"], said["jurisdictions"], said["trust"]) == (2.5, ["eu", "sg"], "private")
    assert site.fields("cpu", "", "")["jurisdictions"] == ["eu"]
    assert site.fields("gpu", "gcn.jurisdictions=eu", "gcn.jurisdictions=any")["jurisdictions"] == "any"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("gcn.work=soon", r"wanted a number \[h\]"),
        ("gcn.work=-1", r"wanted 0\.\.1e\+06 h"),
        ("gcn.work=nan", "wanted 0"),
        ("gcn.wrk=1", "did you mean 'work'"),
        ("gcn.class=poetry", "one of: training"),
        ("gcn.origin=moon", "one of: north, south"),
        ("gcn.jurisdictions=eu,us", "'us'"),
        ("gcn.held=4", "no such field"),
        ("gcn.tenant=root", "no such field"),
        ("gcn.work", "wanted a number"),
    ],
)
def test_words_that_mean_nothing(site, words, why):
    with pytest.raises(UserError, match=why):
        site.fields("gpu", words, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"jobs": {"gpu": {"class": "training", "origin": "north"}}}, "jobs.gpu.jurisdictions"),
        ({"jobs": {"gpu": {"class": "x", "origin": "north", "jurisdictions": "any"}}}, "jobs.gpu.class"),
        (
            {"jobs": {"gpu": {"class": "hpc", "origin": "nort", "jurisdictions": "any"}}},
            "did you mean 'north'",
        ),
        ({"jobs": {"gpu": {"class": "hpc", "origin": "north", "jurisdictions": ["us"]}}}, "one of: eu"),
        ({"jobs": {}}, "jobs.gpu is missing"),
        ({"partitions": {}}, "partitions"),
        ({"partitions": {'a"; os.exit()': {"pool": "north/gpu", "jurisdiction": "eu"}}}, "partitions"),
        ({"partitions": {"a": {"pool": "north", "jurisdiction": "eu"}}}, "partitions.a.pool"),
        ({"intake": "a"}, "where jobs arrive"),
        ({"grace": 3}, "grace"),
    ],
)
def test_site_files_are_checked(tmp_path, change, why):
    good = {
        "jobs": {"gpu": {"class": "training", "origin": "north", "jurisdictions": "any"}},
        "partitions": {"a": {"pool": "north/gpu", "jurisdiction": "eu"}},
    }
    path = tmp_path / "site.yaml"
    path.write_text(json.dumps(good))
    assert load_site(path).grace_s == 60
    path.write_text(json.dumps(good | change))
    with pytest.raises(UserError, match=why):
        load_site(path)


def test_lua_holds_the_settings_and_the_shipped_file_the_same_code(site, capsys, tmp_path):
    text = lua(site)
    assert 'name = "north-cpu", device = "cpu", jurisdiction = "eu", trust = "public"' in text
    assert 'cpu = { jurisdictions = "eu", trust = "public" }' in text
    code = text.partition("-- end of settings")[2]
    shipped = (Path(__file__).parents[3] / "agents" / "adapters" / "slurm" / "job_submit.lua").read_text()
    assert shipped.endswith(code)
    acts = "\n".join(line.partition("--")[0] for line in text.splitlines())
    for word in ("io.", "popen", "socket.", "require", "os.execute", "dofile"):
        assert word not in acts
    assert main(["slurm", str(Path(__file__).parent / "site.yaml"), "--lua"]) == 0
    assert capsys.readouterr().out == text
    assert main(["slurm", str(tmp_path / "none.yaml"), "--lua"]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_a_token_is_asked_for(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_JWT", raising=False)
    site = str(Path(__file__).parent / "site.yaml")
    assert main(["slurm", site, "--rest", "http://127.0.0.1:1"]) == 2
    assert "SLURM_JWT" in capsys.readouterr().err
    assert main(["slurm", site, "--every", "0"]) == 2
    assert main(["slurm", site, "--policy", "ftp://x"]) == 2


# ----------------------------------------------------------------------------------------------------------- snapshots
def test_a_snapshot_of_the_recorded_cluster_is_one_of_the_scenario(site, recorded, fleet_world):
    """The served policy sees what Slurm said: devices, queues, jobs with their clocks."""
    fleet = Fleet(site, list(map(job_of, recorded["jobs"])), list(map(node_of, recorded["nodes"])), NOW)
    units = {
        "regions": {"price": "USD/kWh", "carbon": "gCO2e/kWh", "dry": "degC"},
        "pools": {"rent": "USD/h"},
    }
    regions = {n: {"price": 0.05, "carbon": 300, "dry": 10} for n in ("north", "south")}
    document = fleet.document(
        {"units": units, "regions": regions, "pools": {"south/gpu": {"rent": 2.0, "busy": 99}}}
    )
    assert {j["id"]: j["status"] for j in document["jobs"]} == {
        "slurm-1": "running", "slurm-3": "queued", "slurm-5": "pending", "slurm-10": "pending"
    }  # fmt: skip
    gpu = document["pools"]["north/gpu"]
    assert (gpu["healthy"], gpu["busy"], gpu["room"], gpu["waiting"]) == (8, 2, 6, 0)
    assert gpu["running"] == pytest.approx(2 * (0.5 - (NOW - 1796010811) / 3600), abs=0.01)
    cpu = document["pools"]["north/cpu"]
    assert (cpu["healthy"], cpu["waiting"]) == (4, 3)  # 16 CPUs, four a device
    assert document["pools"]["south/gpu"]["busy"] == 0  # Slurm knows better than a feed
    live = LiveFleet(fleet_world)
    report = live.read(json.loads(json.dumps(document)))
    assert report.vital == []
    assert report.implausible == []
    assert live.state.signals.now[0, 0, 0] == pytest.approx(50.0)
    assert live.state.pools.healthy[0, 0] == 8


def test_feeds_that_are_old_or_broken_are_left_out(site, tmp_path):
    path = tmp_path / "feeds.json"
    fed = site.model_copy(update={"feeds": path})
    assert "feeds.json" in read_feeds(fed, NOW)[1]
    path.write_text('{"time": "2026-11-30T04:03:00Z", "regions": {"north": {"price": 3}}}')
    assert read_feeds(fed, NOW) == ({"regions": {"north": {"price": 3}}}, "")
    assert "s are allowed" in read_feeds(fed, NOW + 4000)[1]
    for text in (
        '{"time": "2026-11-30T04:03:00"}',
        '{"regions": {}}',
        "{",
        "[]",
        '{"time": "2026-11-30", "jobs": []}',
    ):
        path.write_text(text)
        found, why = read_feeds(fed, NOW)
        assert found == {}
        assert why
    assert read_feeds(site, NOW) == ({}, "")


def test_hours_of_the_year():
    assert hour_of_year(NOW) == pytest.approx((334 - 1) * 24 + 4 + 3 / 60 + 50 / 3600)
