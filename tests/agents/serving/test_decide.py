"""Guards: constraints, limits, deadlines, telemetry that is stale or strange, canary and shadow."""

import copy
import json
import time

import numpy as np
import pytest

from agents.bundle import BundlePolicy, open_bundle
from agents.bundle.limits import limits
from agents.policy import load
from agents.serving.decide import Decider
from agents.serving.decision import NotReady, Options, in_canary
from agents.serving.guard import Envelope
from agents.serving.log import DecisionLog, lines, report, savings
from agents.serving.scorers import BundleScorer, Outcome, RuleScorer
from gcn_env.action import level_values
from gcn_env.core.state import N_HEADS
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from tests.agents.serving.conftest import JOB
from tests.worlds import seeded, world

UNITS = {"jobs": {"gang": "devices", "work": "h", "memory": "GiB"}}


class Fixed:
    """A policy that always says the same: what a broken network might."""

    name = "fixed"

    def __init__(self, action=0, preference=None, wait_s=0.0, error=None):
        self.action, self.preference, self.wait_s, self.error = action, preference, wait_s, error

    def decide(self, obs, cooling=True):
        time.sleep(self.wait_s)
        if self.error:
            raise self.error
        slots, pools = obs["pairs"].shape[1:3]
        heads = N_HEADS * obs["regions"].shape[1]
        preference = (
            np.full((slots, pools + 1), 1.0 / (pools + 1)) if self.preference is None else self.preference
        )
        return Outcome(
            np.concatenate([np.full(slots, self.action), np.full(heads, 7 * (self.action > 0))]), preference
        )


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def decider(policy, envelope=None, clock=time.monotonic, **options):
    rule = RuleScorer(load("rule:cost-greedy+b1", world()))
    return Decider(world(), policy, rule, Options(**options), envelope, clock)


def pools(decision):
    return [row["pool"] for row in decision.answer["placements"]]


@pytest.fixture
def sent(snapshots):
    return copy.deepcopy(snapshots[10])


def test_nothing_is_decided_without_a_snapshot(sent):
    d = decider(Fixed(1))
    for ask in (d.place, d.setpoints, lambda: d.score({"job": JOB, "units": UNITS})):
        with pytest.raises(NotReady):
            ask()
    d.update(sent)
    assert d.place().by == "policy"


@pytest.mark.parametrize(
    ("change", "pool", "words"),
    [
        ({"jurisdictions": ["eu"]}, "south/gpu", "residency: not allowed in sg"),
        ({"trust": "tee"}, "north/gpu", "trust: public < tee"),
        ({}, "north/cpu", "hardware: cannot run training"),
        ({"memory": 81.0}, "north/gpu", "memory: 81 GiB > 80 GiB"),
        ({"gang": 17}, "south/gpu", "capacity: 17 devices > 16"),
    ],
)
def test_constraints_hold_whatever_the_policy_says(sent, change, pool, words):
    """The policy names the forbidden pool each time; it is taken back, scored 0, and said."""
    number = world().pool_names.index(pool) + 1
    d = decider(Fixed(number), deadline_s=5.0)
    d.update(sent)
    decision = d.score({"job": JOB | change, "units": UNITS})
    assert decision.answer["choice"] is None
    assert words in decision.corrections[0]
    row = next(c for c in decision.answer["candidates"] if c["pool"] == pool)
    assert row["score"] == 0.0
    assert words in row["refused"][0]


def test_constraints_are_the_simulators_own(snapshots):
    """Word for word the same set as the kernel's mask, for every job in a slot of a day."""
    d = decider(None)
    seen = 0
    for sent in snapshots:
        d.update(sent)
        obs = d.live.observe()
        n = world().n_pools + 1
        for q, place in enumerate(d.live.state.jobs.slot[0]):
            if place < 0:
                continue
            here = int(d.live.state.jobs.pool[0, place])
            legal = {p for p in range(n - 1) if obs["mask"][0, q * n + p + 1] > 0.5}
            assert set(range(n - 1)) - set(d.constraints.broken(int(place))) - {here} == legal
            seen += 1
    assert seen > 50


def test_quota_is_kept_over_a_request(sent):
    """Two placements that each fit a quota but not together: the second is left where it is."""
    fleet = world()
    d = decider(Fixed(1), deadline_s=5.0)
    jobs = [JOB | {"id": f"j{k}", "gang": 4} for k in range(4)]
    d.update(sent | {"jobs": jobs, "slots": [j["id"] for j in jobs]})
    quota = d.world.params.work.quota
    before = quota[0]
    quota[0] = 10
    try:
        rows = d.place().answer["placements"]
    finally:
        quota[0] = before
    assert [r["pool"] for r in rows] == [fleet.pool_names[0]] * 2 + [None] * 2


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Fixed(1, wait_s=4.0), "deadline"),
        (Fixed(1, preference=np.full((6, 4), np.nan)), "nan"),
        (Fixed(1, error=RuntimeError("boom")), "error"),
        (None, "none"),
    ],
)
def test_the_rule_answers_where_the_policy_fails(sent, policy, reason):
    d, rule = decider(policy, deadline_s=0.1), decider(load_rule())
    d.update(sent)
    rule.update(sent)
    began = time.monotonic()
    decision = d.place()
    assert time.monotonic() - began < 3.5
    assert (decision.by, decision.reason) == ("rule", reason)
    assert [r["pool"] for r in decision.answer["placements"]] == [
        r["pool"] for r in rule.place().answer["placements"]
    ]


def load_rule():
    return RuleScorer(load("rule:cost-greedy+b1", world()))


def test_a_late_policy_is_not_asked_while_it_is_busy(sent):
    d = decider(Fixed(1, wait_s=1.0), deadline_s=0.05)
    d.update(sent)
    assert d.place().reason == "deadline"
    assert d.place().reason == "busy"
    d.policy.scorer.wait_s = 0.0
    time.sleep(2.0)
    d.options = Options(deadline_s=5.0)
    assert d.place().by == "policy"


def test_a_quick_policy_that_is_late_for_once(sent):
    """Asked directly while it is quick; late, the rule answers; then the thread is used and left behind in time."""
    d = decider(Fixed(1), deadline_s=1.0)
    for _ in range(5):
        d.update(sent)
        assert d.place().by == "policy"
    d.policy.scorer.wait_s = 4.0
    d.update(sent)
    assert (d.place().by, d.place().reason) == ("rule", "deadline")
    d.update(sent)
    began = time.monotonic()
    assert d.place().by == "rule"
    assert time.monotonic() - began < 3.5


def test_stale_telemetry_falls_back(sent):
    clock = Clock()
    d = decider(Fixed(1), clock=clock, max_age_s=300.0)
    d.update(sent)
    assert d.place().by == "policy"
    clock.now += 301.0
    assert (d.place().by, d.place().reason) == ("rule", "stale")
    assert d.setpoints().reason == "stale"
    d.update(sent)
    assert d.place().by == "policy"


def test_unknown_vital_readings_fall_back(sent):
    d = decider(Fixed(1))
    sent["regions"]["north"]["price"] = None
    d.update(sent)
    assert (d.place().by, d.place().reason) == ("rule", "unknown")
    assert d.status()["vital"] == ["regions.price of north"]


def test_a_refused_snapshot_leaves_the_one_before(sent):
    d = decider(Fixed(1))
    d.update(sent)
    before = {k: v.copy() for k, v in d.live.observe().items()}
    bad = copy.deepcopy(sent)
    bad["regions"]["north"]["price"] = 77.0
    bad["jobs"][-1] |= {"gang": -5}
    with pytest.raises(ValueError, match="gang"):
        d.update(bad)
    assert all(np.array_equal(before[k], v) for k, v in d.live.observe().items())
    assert d.place().by == "policy"


@pytest.fixture(scope="module")
def guarded(exported):
    opened = open_bundle(exported, trial=False)
    return BundlePolicy(opened), Envelope(opened.manifest.envelope)


def test_usual_weeks_are_not_strange(guarded):
    """Validation weeks that were not recorded: hardly any of them is called strange."""
    d = decider(BundleScorer(guarded[0]), guarded[1], deadline_s=5.0)
    sim, strange, steps = Sim(world(), 1, split="validation"), 0, 0
    sim.reset(123)
    for t in range(90):
        d.update(document(world(), sim.state))
        strange += d.status()["trouble"] != ""
        steps += 1
        sim.step(seeded(3)(t, sim))
    assert strange <= 0.02 * steps


def test_a_strange_snapshot_falls_back(guarded, sent):
    """Prices and weather of another planet, inside what is plausible for each reading."""
    d = decider(BundleScorer(guarded[0]), guarded[1], deadline_s=5.0)
    d.update(sent)
    assert d.place().by == "policy"
    for region in sent["regions"].values():
        for name, spec in region.items():
            if name.startswith("price"):
                region[name] = spec * 80.0
            elif name.startswith("dry"):
                region[name] = -55.0
    d.update(sent)
    assert d.place().reason == "unlike"
    assert "regions.price_now" in d.status()["outside"]


def test_set_points_stay_within_limits_and_rates(sent):
    clock = Clock()
    d = decider(Fixed(1), clock=clock, max_age_s=1e9)
    d.update(sent)
    values = level_values(world())
    names = ("cold", "flow", "reject")
    for region, plant in zip(world().region_names, world().archetypes, strict=True):
        for name in names:
            sent["regions"][region][f"{name}_command"] = limits(plant)[names.index(name)].low
    d.update(sent)
    before = None
    for _ in range(12):
        heads = d.setpoints().answer["regions"]["south"]["heads"]
        assert heads["cold"]["target"] == values[1, 0, 7]
        limit = limits("b")[0]
        assert limit.low <= heads["cold"]["setpoint"] <= limit.high
        if before is not None:
            assert abs(heads["cold"]["setpoint"] - before) <= limit.rate_per_min * 5.0 + 1e-9
        before = heads["cold"]["setpoint"]
        clock.now += 300.0
    assert before == heads["cold"]["target"]


def test_set_points_outside_the_clamp_are_cut():
    """A plant of kind `a` may be told 16 degC by its levels; a supervisory layer may not write below 18."""
    fleet = world("smoke", {"regions.north.plant.archetype": "a"})
    sim = Sim(fleet, 1)
    sim.reset(1)
    d = Decider(fleet, Fixed(0), RuleScorer(load("rule:cheapest+b1", fleet)))
    d.update(document(fleet, sim.state))
    decision = d.setpoints()
    head = decision.answer["regions"]["north"]["heads"]["cold"]
    assert head["target"] == 18.0
    assert level_values(fleet)[0, 0, head["level"]] == pytest.approx(18.0, abs=0.8)
    assert "north.cold: cut to 18" in decision.corrections


def test_a_canary_is_a_share_and_always_the_same(sent):
    names = [f"job-{k}" for k in range(4000)]
    chosen = [in_canary(n, 0.2) for n in names]
    assert 0.17 < np.mean(chosen) < 0.23
    assert chosen == [in_canary(n, 0.2) for n in names]
    assert all(in_canary(n, 0.5) for n in names if in_canary(n, 0.2))
    d = decider(Fixed(0), canary=0.5)
    d.update(sent)
    by = {row["job"]: row["by"] for row in d.place().answer["placements"]}
    assert by == {name: "policy" if in_canary(name, 0.5) else "rule" for name in by}


def test_shadow_mode_answers_with_the_rule_and_reports(guarded, snapshots, tmp_path):
    d = decider(BundleScorer(guarded[0]), deadline_s=5.0, mode="shadow")
    rule = decider(load_rule(), deadline_s=5.0)
    log = DecisionLog(tmp_path / "decisions.jsonl")
    for sent in snapshots[:30]:
        d.update(sent)
        rule.update(sent)
        decision = d.place()
        log.write(decision, "", "x")
        log.write(d.setpoints(), "", "x")
        assert (decision.by, decision.reason) == ("rule", "shadow")
        assert [r["pool"] for r in decision.answer["placements"]] == [
            r["pool"] for r in rule.place().answer["placements"]
        ]
    log.close()
    found = savings(tmp_path / "decisions.jsonl")
    assert found["decisions"] == {"place": 30, "setpoints": 30}
    assert found["differ"] > 0
    assert found["plants_set_otherwise"] > 0
    by_hand = {"policy": 0.0, "rule": 0.0}
    for entry in lines(tmp_path / "decisions.jsonl"):
        for both in entry["shadow"].values() if entry["kind"] == "place" else ():
            if None not in (both["policy"]["usd"], both["rule"]["usd"]):
                for who in by_hand:
                    by_hand[who] += both[who]["usd"]
    assert found["saved_usd"] == pytest.approx(by_hand["rule"] - by_hand["policy"])
    assert "USD less" in report(tmp_path / "decisions.jsonl")


def test_a_policy_that_copies_the_rule_saves_nothing(snapshots, tmp_path):
    d = decider(load_rule(), deadline_s=5.0, mode="shadow")
    log = DecisionLog(tmp_path / "d.jsonl")
    for sent in snapshots[:10]:
        d.update(sent)
        log.write(d.place(), "", "")
    log.close()
    found = savings(tmp_path / "d.jsonl")
    assert (found["differ"], found["saved_usd"]) == (0, 0.0)
    assert found["compared"] > 10


def test_the_log_is_rotated(sent, tmp_path):
    d = decider(Fixed(1))
    d.update(sent)
    log = DecisionLog(tmp_path / "d.jsonl", most_bytes=3000, keep=2)
    for k in range(40):
        log.write(d.place(), f"request-{k}", "abc")
    log.close()
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["d.jsonl", "d.jsonl.1", "d.jsonl.2"]
    assert all(p.stat().st_size <= 3000 for p in tmp_path.iterdir())
    last = json.loads((tmp_path / "d.jsonl").read_text().splitlines()[-1])
    assert last["request"] == "request-39"
    assert {"inputs", "answer", "reason", "seconds", "by"} <= set(last)
    assert [e["request"] for e in lines(tmp_path / "d.jsonl")][-1] == "request-39"
    assert (tmp_path / "d.jsonl").stat().st_mode & 0o077 == 0
