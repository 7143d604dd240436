"""A recorded log replayed: what was done costs what it cost, and a policy's difference is that of the simulator."""

import json

import numpy as np
import pytest

from agents.__main__ import main
from agents.policy import load
from gcn_env.errors import UserError
from gcn_env.ledger import TERMS
from gcn_env.sim import Sim
from gcn_env.snapshot import document
from gcn_env.snapshot.replay import Log, page, read_log
from tests.worlds import CALM, world

RULE, OTHER = "rule:cost-greedy+b1", "rule:greenest+b0"
STEPS = 95


def drive(rule, seed=4):
    """USD by term of a day in which nothing breaks, and its log; the log says which jobs were sent where."""
    fleet = world("smoke", CALM)
    policy, sim, log, placed = load(rule, fleet), Sim(fleet, 1, autoreset=False), [], {}
    sim.reset(seed)
    for _ in range(STEPS):
        log.append(json.loads(json.dumps(document(fleet, sim.state, slots=False, placed=placed))))
        actions, jobs = policy.predict(sim.obs)[0], sim.state.jobs
        placed = {
            f"job-{jobs.order[0, j]}": fleet.pool_names[actions[0, q] - 1]
            for q, j in enumerate(jobs.slot[0])
            if j >= 0 and actions[0, q] > 0
        }
        sim.step(actions)
    log.append(json.loads(json.dumps(document(fleet, sim.state, slots=False, placed=placed))))
    return sim.state.ledger.terms_sum[0].copy(), log


@pytest.fixture(scope="module")
def recorded():
    terms, sent = drive(RULE)
    return terms, sent, Log(world("smoke", CALM), iter(sent))


def test_what_was_done_costs_what_it_cost(recorded):
    """Within two percent without the settlement, which the run of 95 of 96 steps has not made."""
    terms, _, log = recorded
    done = log.replay()
    settled = TERMS.index("settlement")
    was, again = terms.sum() - terms[settled], done.usd - done.terms[settled]
    assert abs(again - was) < 0.02 * was
    assert np.array_equal(done.terms, log.replay().terms)  # and it repeats
    assert done.unplaced < 0.02 * log.jobs


def test_the_policy_that_was_recorded_costs_the_same(recorded):
    log = recorded[2]
    done, again = log.replay(), log.replay(load(RULE, world("smoke", CALM)))
    assert abs(again.usd - done.usd) < 0.03 * done.usd


def test_another_policy_differs_as_it_does_in_the_simulator(recorded):
    terms, _, log = recorded
    settled = TERMS.index("settlement")
    other, _ = drive(OTHER)
    replayed = log.replay(load(OTHER, world("smoke", CALM)))
    truth = (other.sum() - other[settled]) - (terms.sum() - terms[settled])
    found = (replayed.usd - replayed.terms[settled]) - (log.replay().usd - log.replay().terms[settled])
    assert abs(truth) > 0.05 * terms.sum()  # the two rules do differ
    assert found == pytest.approx(truth, rel=0.5)


def test_jobs_that_nobody_saw_running_are_left_out(recorded):
    sent = [{k: v for k, v in s.items() if k != "placed"} for s in recorded[1]]
    log = Log(world("smoke", CALM), iter(sent))
    assert log.unseen
    assert log.jobs == recorded[2].jobs - len(log.unseen)
    assert log.replay().unplaced < 0.05 * log.jobs


def test_gaps_and_empty_logs_are_refused(recorded, tmp_path):
    fleet, sent = world("smoke", CALM), recorded[1]
    with pytest.raises(UserError, match=r"snapshot 2 of the log is 30.0 min after"):
        Log(fleet, iter([sent[0], sent[2]]))
    with pytest.raises(UserError, match="fewer than two"):
        Log(fleet, iter(sent[:1]))
    with pytest.raises(UserError, match="no cluster log"):
        list(read_log(tmp_path / "none"))
    (tmp_path / "bad").write_text("{}\n{")
    with pytest.raises(UserError, match="bad:2"):
        list(read_log(tmp_path / "bad"))


def test_the_command(recorded, tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(s) + "\n" for s in recorded[1][:20]))
    assert main(["counterfactual", str(path), "--scenario", "smoke", "--policies", RULE, OTHER]) == 0
    out = capsys.readouterr().out
    assert "| USD | recorded | rule:cost-greedy+b1 | rule:greenest+b0 |" in out
    assert "rule:greenest+b0 costs" in out
    assert main(["counterfactual", str(tmp_path / "none"), "--scenario", "smoke"]) == 2


def test_a_page_names_terms_that_count(recorded):
    done = recorded[2].replay()
    text = page({"recorded": done, "again": done}, recorded[2].jobs, 24.0)
    assert "| energy |" in text
    assert "| pods |" not in text
    assert "again costs 0.00 USD (0.0 %) less than recorded" in text
