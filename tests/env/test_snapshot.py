"""A snapshot reads back as the observation it came from; what is unknown is said; what is wrong is refused."""

import copy
import json

import numpy as np
import pytest

from gcn_env import drivers
from gcn_env.core.state import PENDING
from gcn_env.observation import JOBS, POOLS, REGIONS
from gcn_env.sim import Sim
from gcn_env.snapshot import LiveFleet, document
from gcn_env.snapshot.page import snapshot_page
from gcn_env.snapshot.parse import SnapshotError, Units
from tests.worlds import ROOT, STORMY, seeded, wild_actions, world

CASES = [("smoke", None), ("smoke", STORMY), ("plants", None)]


def test_the_page_is_not_stale():
    page = (ROOT / "agents" / "README.md").read_text()
    shown = page.split("<!-- snapshot -->\n")[1].split("<!-- /snapshot -->")[0]
    assert shown == snapshot_page(), (
        "run: python -m agents describe --snapshot, and put it between the markers"
    )


def same(a, b, at=0):
    return all(np.array_equal(a[k][0], b[k][at]) for k in b)


@pytest.mark.parametrize(("name", "overrides"), CASES, ids=["calm", "stormy", "plants"])
def test_a_simulator_reads_back_bit_for_bit(name, overrides):
    fleet = world(name, overrides)
    sim, live, act = Sim(fleet, 2), LiveFleet(fleet), seeded(5, wild_actions)
    sim.reset([3, 4])
    for t in range(40):
        for b in range(2):
            report = live.read(json.loads(json.dumps(document(fleet, sim.state, b))))
            assert not report.unknown
            assert not report.implausible
            assert same(live.observe(), sim.obs, b)
        sim.step(act(t, sim))


def test_no_kernel_is_compiled_for_it():
    fleet = world()
    sim = Sim(fleet, 1)
    sim.reset(0)
    before = len(getattr(drivers.encode_joint_range, "signatures", ()))
    live = LiveFleet(fleet)
    live.read(document(fleet, sim.state))
    live.observe()
    assert len(getattr(drivers.encode_joint_range, "signatures", ())) == before


@pytest.fixture
def taken():
    """A world, its simulator some hours in, and the document of that moment."""
    fleet = world()
    sim = Sim(fleet, 1)
    sim.reset(8)
    for t in range(20):
        sim.step(seeded(1)(t, sim))
    return fleet, sim, document(fleet, sim.state)


def test_slots_are_filled_as_the_simulator_fills_them(taken):
    """Without word on slots, the pending jobs come first, leases before others."""
    fleet, _, sent = taken
    del sent["slots"]
    for job in sent["jobs"]:
        del job["shown_step"]
    live = LiveFleet(fleet)
    live.read(sent)
    jobs = live.state.jobs
    shown = [j for j in jobs.slot[0] if j >= 0]
    pending = np.flatnonzero(jobs.status[0, : jobs.n_live[0]] == PENDING)
    assert set(shown) >= set(pending[: len(shown)]) or len(pending) > len(shown)
    assert live.observe()["jobs"][0, 0, JOBS.index("present")] == 1.0


def test_sums_over_jobs_stand_in_for_unknown_pools(taken):
    fleet, sim, sent = taken
    for pool in sent["pools"].values():
        for name in ("queued", "running", "waiting", "room", "frequency"):
            del pool[name]
    live = LiveFleet(fleet)
    report = live.read(sent)
    assert report.unknown["pools.running"] == list(fleet.pool_names)
    assert not report.vital
    a, b = live.observe()["pools"][0], sim.obs["pools"][0]
    for name in ("queued", "running", "frequency"):
        assert np.allclose(a[:, POOLS.index(name)], b[:, POOLS.index(name)], atol=0.02), name


def test_unknown_readings_are_named_and_never_zero(taken):
    fleet, _, sent = taken
    region = sent["regions"]["south"]
    for name in ("price", "wet", "inlet", "peak_power", "overhead"):
        region[name] = None
    del region["price_3h"], region["throttle"], region["cold_command"]
    live = LiveFleet(fleet)
    report = live.read(sent)
    for name in ("price", "wet", "inlet", "peak_power", "overhead", "price_3h", "throttle", "cold_command"):
        assert report.unknown[f"regions.{name}"] == ["south"]
    assert report.vital == ["regions.price of south"]
    row = live.observe()["regions"][0, 1]
    for name in ("price_now", "price_3h", "wet", "inlet", "peak", "overhead", "throttle", "cold_command"):
        assert row[REGIONS.index(name)] != 0.0, name


def test_an_earlier_reading_stands_in_for_an_hour(taken):
    fleet, _, sent = taken
    live = LiveFleet(fleet)
    live.read(sent)
    price = live.state.signals.now[0, 1, 0]
    later = copy.deepcopy(sent)
    later["regions"]["south"]["price"] = None
    later["time"]["hour_of_year"] += 0.5
    report = live.read(later)
    assert report.held == {"regions.price": ["south"]}
    assert not report.vital
    assert live.state.signals.now[0, 1, 0] == price
    later["time"]["hour_of_year"] += 1.0
    assert live.read(later).vital == ["regions.price of south"]


@pytest.mark.parametrize(
    ("name", "unit", "value", "ours"),
    [
        ("inlet", "degF", 75.2, 24.0),
        ("inlet", "K", 297.15, 24.0),
        ("node_power", "MW", 0.01, 10.0),
        ("price", "USD/kWh", 0.05, 50.0),
        ("throttle", "percent", 50.0, 0.5),
        ("restart", "min", 30.0, 0.5),
    ],
)
def test_units_are_converted(taken, name, unit, value, ours):
    fleet, _, sent = taken
    sent = copy.deepcopy(sent)
    sent["units"]["regions"][name] = unit
    for region in sent["regions"].values():
        region[name] = value
    live = LiveFleet(fleet)
    live.read(sent)
    spec = next(
        x
        for x in __import__("gcn_env.snapshot.readings", fromlist=["x"]).REGION_READINGS
        if x.row.name == name
    )
    assert np.allclose(getattr(getattr(live.state, spec.group), spec.field)[(0, slice(None), *spec.at)], ours)


def test_a_wrong_unit_shows_as_implausible(taken):
    """75 degF sent as degC is hot but possible; 20 bar as a share is not, nor is a price in ct/MWh."""
    fleet, _, sent = taken
    sent["regions"]["north"]["price"] = 1e6
    sent["pools"]["north/gpu"]["frequency"] = 20.0
    report = LiveFleet(fleet).read(sent)
    assert len(report.implausible) == 2
    assert report.vital == ["regions.price of north"]
    assert report.unknown["pools.frequency"] == ["north/gpu"]


def put(*path, value):
    def change(sent):
        for key in path[:-1]:
            sent = sent[key]
        sent[path[-1]] = value

    return change


def drop(*path):
    def change(sent):
        for key in path[:-1]:
            sent = sent[key]
        del sent[path[-1]]

    return change


JOB = {
    "id": "j", "class": "batch", "origin": "north", "jurisdictions": "any", "trust": "public", "gang": 1, "work": 1,
}  # fmt: skip
REFUSED = {
    "format": (put("format", value="other"), "format 'other'"),
    "unknown key": (put("regoins", value={}), "did you mean 'regions'"),
    "no units": (drop("units"), "units: NoneType"),
    "unit missing": (drop("units", "regions", "price"), "units.regions.price is missing"),
    "foreign unit": (put("units", "regions", "price", value="EUR/MWh"), "one of: USD/MWh, USD/kWh"),
    "unknown unit key": (put("units", "regions", "prize", value="1"), "did you mean 'price'"),
    "unknown region": (put("regions", "nroth", value={}), "did you mean 'north'"),
    "unknown reading": (put("regions", "north", "inlett", value=1), "did you mean 'inlet'"),
    "text reading": (put("regions", "north", "inlet", value="warm"), "no number"),
    "huge integer": (put("regions", "north", "inlet", value=10**400), "not finite"),
    "infinite": (put("regions", "north", "inlet", value=float("inf")), "not finite"),
    "list as region": (put("regions", "north", value=[]), "list where an object"),
    "time": (put("time", value="yesterday"), "write 2026-05-03T12:15:00Z"),
    "no zone": (put("time", value="2026-05-03T12:15:00"), "no time zone"),
    "month 13": (put("time", value={"hour_of_year": 9000, "hours_in_year": 8760, "weekday_of_1_january": 1}), "wanted"),
    "step": (put("step", value=-1), "whole number"),
    "jobs missing": (drop("jobs"), "an idle cluster sends an empty list"),
    "too many jobs": (put("jobs", value=[{}] * 257), "at most 256"),
    "nameless job": (put("jobs", 0, "id", value=""), "1..200 characters"),
    "twice": (lambda sent: sent["jobs"].append(sent["jobs"][0]), "stands twice"),
    "no law": (drop("jobs", 0, "jurisdictions"), "say 'any'"),
    "unknown law": (put("jobs", 0, "jurisdictions", value=["us"]), "one of: eu, sg"),
    "class": (put("jobs", 0, "class", value="gaming"), "one of: training"),
    "no gang": (drop("jobs", 0, "gang"), "says its gang"),
    "gang 0": (put("jobs", 0, "gang", value=0), "not in 0.5"),
    "pending with pool": (put("jobs", 0, value=JOB | {"pool": "north/gpu"}), "pending jobs have none"),
    "unknown pool": (put("jobs", 0, value=JOB | {"status": "queued", "pool": "moon/gpu"}), "one of: north/gpu"),
    "slot": (put("slots", value=["nobody"]), "no job of this snapshot"),
    "link": (put("links", value=[{"from": "north", "to": "moon"}]), "links\\[0\\].to"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_documents_are_refused_with_a_reason(taken, case):
    fleet, _, sent = taken
    change, words = REFUSED[case]
    sent = copy.deepcopy(sent)
    change(sent)
    with pytest.raises(SnapshotError, match=words):
        LiveFleet(fleet).read(sent)


def test_a_stamp_is_the_hour_of_its_year():
    fleet = world()
    live = LiveFleet(fleet)
    sim = Sim(fleet, 1)
    sim.reset(1)
    sent = document(fleet, sim.state) | {"time": "2024-03-01T01:30:00+01:00"}
    assert live.read(sent).hour == (31 + 29) * 24 + 0.5
    assert live.params.bank.hours[0] == 8784
    assert live.params.bank.weekday[0] == 0  # 1 January 2024 was a Monday


def test_a_described_job_comes_and_goes(taken):
    fleet, _, sent = taken
    live = LiveFleet(fleet)
    live.read(sent)
    before = copy.deepcopy(live.observe())
    job = {
        "id": "new",
        "class": "training",
        "origin": "north",
        "jurisdictions": ["eu"],
        "trust": "public",
        "gang": 8,
        "work": 4,
    }
    with live.visitor(job, Units({"jobs": {"gang": "devices", "work": "h"}})) as (name, place):
        seen = live.observe_job(place)
        assert name == "new"
        assert seen["mask"][0, :4].tolist() == [
            1.0,
            1.0,
            0.0,
            0.0,
        ]  # wait, or the one pool of the EU with GPUs
    assert same(live.observe(), before)
