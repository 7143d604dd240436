"""The client of controllers: an answer in every case, and no exception for what a server does."""

import json

import pytest

from agents.adapters.asking import Asker
from gcn_env.errors import UserError
from tests.agents.policies import FakePolicy, scores
from tests.agents.serving.conftest import JOB, TOKEN
from tests.worlds import world

POOLS = ["north/gpu", "south/gpu"]


def one(reply, **options):
    """The choice that a server's reply leads to."""
    with FakePolicy(lambda body: reply) as fake:
        asker = Asker(fake.url, **options)
        try:
            return asker.choose(JOB, POOLS)
        finally:
            asker.close()


def test_a_choice_and_its_ranking():
    answer = scores("south/gpu", POOLS)
    answer["candidates"][0]["refused"] = ["health: the pool is down or away"]
    choice = one(answer)
    assert (choice.pool, choice.by, choice.answered) == ("south/gpu", "policy", True)
    assert choice.ranking == ("south/gpu",)
    assert list(choice.refused) == ["north/gpu"]
    assert choice.seconds > 0.0


def test_wait_is_an_answer():
    choice = one(scores(None, POOLS, "rule"))
    assert (choice.pool, choice.by, choice.answered) == (None, "rule", True)
    assert set(choice.ranking) == set(POOLS)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((200, b"<html>"), "wrong: no answer"),
        ((200, b"[]"), "wrong: no answer"),
        ((200, b"null"), "wrong: no answer"),
        ((200, b'{"choice": "north/gpu", "candidates": 3}'), "wrong: no answer"),
        ((200, b"\xff\xfe"), "wrong: no answer"),
        (scores("moon/gpu", [*POOLS, "moon/gpu"]), "wrong: chose 'moon/gpu'"),
        (scores("north/gpu", ["south/gpu"]), "wrong: chose 'north/gpu'"),
        ({**scores("north/gpu", POOLS), "choice": ["north/gpu"]}, "wrong"),
        ({**scores("north/gpu", POOLS), "candidates": [{"pool": [], "score": 1, "refused": []}]}, "wrong"),
        ((200, json.dumps(scores("north/gpu", POOLS)).replace("0.9", "NaN").encode()), "wrong: no answer"),
        ((500, b"{}"), "refused: 500"),
        ((401, b"no token"), "refused: 401 no token"),
        ((307, b""), "refused: 307"),
    ],
)
def test_what_is_no_answer_is_none_with_a_reason(reply, reason):
    choice = one(reply)
    assert (choice.pool, choice.by, choice.answered) == (None, "none", False)
    assert choice.reason.startswith(reason)


def test_a_refused_pool_is_never_chosen():
    answer = scores("north/gpu", POOLS)
    answer["candidates"][0]["refused"] = ["residency: not allowed in eu"]
    assert one(answer).reason.startswith("wrong: chose 'north/gpu'")


def test_slow_is_cut_off_and_then_left_alone():
    """Three late answers, a rest in which nobody is called, and another try."""
    now = [0.0]
    with FakePolicy(lambda body: scores("north/gpu", POOLS), delay_s=1.0) as fake:
        asker = Asker(fake.url, timeout_s=0.05, failures=3, rest_s=10.0, clock=lambda: now[0])
        assert [asker.choose(JOB, POOLS).reason for _ in range(5)] == ["slow"] * 3 + ["resting"] * 2
        assert asker.send({}) == "resting"
        assert len(fake.asked) == 3
        fake.delay_s, now[0] = 0.0, 10.1
        asker.timeout_s = 5.0
        asker._client.timeout = 5.0
        assert asker.choose(JOB, POOLS).pool == "north/gpu"
        asker.close()


def test_down_is_said_and_one_success_starts_the_count_anew():
    with FakePolicy(lambda body: scores("north/gpu", POOLS)) as fake:
        url = fake.url
        asker = Asker(url, failures=2)
        fake.reply = lambda body: (503, b"")
        assert asker.choose(JOB, POOLS).reason.startswith("refused: 503")
        fake.reply = lambda body: scores("north/gpu", POOLS)
        assert asker.choose(JOB, POOLS).answered
        fake.reply = lambda body: (503, b"")
        assert asker.choose(JOB, POOLS).reason.startswith("refused: 503")
        fake.reply = lambda body: (422, b"no such pool")  # the caller's fault is no failure of the server
        assert asker.choose(JOB, POOLS).reason == "refused: 422 no such pool"
        assert asker.send({"format": "x"}) == ""
        asker.close()
    asker = Asker(url, failures=9)
    assert asker.choose(JOB, POOLS).reason == "down"
    assert asker.send({}) == "down"
    asker.close()


def test_token_deadline_and_units_are_sent():
    with FakePolicy(lambda body: scores("north/gpu", POOLS)) as fake:
        asker = Asker(fake.url, token=TOKEN, timeout_s=0.75)
        asker.choose("job-7", POOLS)
        asker.send({"jobs": []})
        asker.close()
    assert fake.headers[0]["Authorization"] == f"Bearer {TOKEN}"
    assert fake.headers[0]["X-Deadline-Ms"] == "750"
    assert fake.asked[0]["job"] == "job-7"
    assert fake.asked[0]["units"]["jobs"]["work"] == "h"
    assert fake.snapshots == [{"jobs": []}]


def test_the_real_server_answers_and_refuses(server, snapshots):
    asker = Asker(f"http://127.0.0.1:{server.port}", token=TOKEN, timeout_s=60.0)  # may compile
    assert asker.send(snapshots[3]) == ""
    choice = asker.choose(JOB, list(world().pool_names))
    assert choice.by == "policy"
    assert asker.choose({**JOB, "class": "poetry"}, POOLS).reason.startswith("refused: 422")
    assert asker.send({"format": "none"}).startswith("refused: 422")
    asker.close()
    nobody = Asker(f"http://127.0.0.1:{server.port}", timeout_s=5.0)
    assert nobody.choose(JOB, POOLS).reason.startswith("refused: 401")
    nobody.close()


def test_only_http():
    with pytest.raises(UserError, match="wanted http://HOST:PORT"):
        Asker("127.0.0.1:8710")
