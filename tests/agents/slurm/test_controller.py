"""The controller's decisions over a queue in memory, with a clock to move."""

from dataclasses import replace

import pytest

from agents.adapters.asking import Asker
from agents.adapters.slurm.controller import Controller
from agents.adapters.slurm.queue import Job, Node, SlurmError
from tests.agents.policies import FakePolicy, scores
from tests.agents.slurm.conftest import NOW

pytestmark = pytest.mark.stepless

TAG = "gcn:start={:.0f} gcn:in=north-gpu,south-gpu"


class FakeSlurm:
    """A queue in memory; what it was told stands in `calls`."""

    def __init__(self, jobs):
        self.queue, self.calls, self.broken = {j.id: j for j in jobs}, [], False
        self.node = [Node("n", ("north-gpu",), True, False, 8, 0, 16, 0),
                     Node("s", ("south-gpu",), True, False, 4, 0, 16, 0)]  # fmt: skip

    def jobs(self):
        if self.broken:
            raise SlurmError("slurmctld is away")
        return list(self.queue.values())

    def nodes(self):
        return self.node

    def place(self, job, partitions, begin, held):
        self.calls.append((job.id, partitions, held))
        self.queue[job.id] = replace(job, partition=partitions, begin=begin)

    def delay(self, job, begin):
        self.calls.append((job.id, begin))
        self.queue[job.id] = replace(job, begin=begin)

    def close(self):
        pass


def waiting(number=1, at=NOW, **changes):
    """A job as job_submit.lua leaves it."""
    job = Job(
        number, "PENDING", "north-gpu,south-gpu", admin=TAG.format(at), submitted=at, begin=at + 60, gpus=1
    )
    return replace(job, **changes)


class Play:
    """A controller over a queue in memory, with a clock to move."""

    def __init__(self, fake, site, *jobs, timeout_s=5.0):
        self.slurm, self.said, self.now = FakeSlurm(jobs), [], NOW + 1
        self.asker = Asker(fake.url, timeout_s=timeout_s)
        self.controller = Controller(site, self.slurm, self.asker, self.said.append, lambda: self.now)

    def poll(self, after=0.0):
        self.now += after
        self.controller.poll()
        calls, self.slurm.calls = self.slurm.calls, []
        return calls


@pytest.fixture
def play(fake, site):
    """`play(*jobs, wait_h=1)`: a controller over these jobs."""
    made = []

    def make(*jobs, **changes):
        made.append(Play(fake, site.model_copy(update=changes), *jobs))
        return made[-1]

    yield make
    for one in made:
        one.asker.close()


@pytest.fixture
def fake():
    """A policy that likes the south."""
    with FakePolicy(lambda body: scores("south/gpu", body["candidates"])) as made:
        yield made


def test_a_job_is_placed_once(fake, play):
    queue = play(waiting(), waiting(2, admin=""), waiting(3, at=NOW + 100), waiting(4, part=True))
    assert queue.poll() == [(1, "south-gpu", False)]
    assert queue.poll(1) == []
    assert fake.asked[0]["job"] == "slurm-1"
    assert fake.asked[0]["candidates"] == ["south/gpu", "north/gpu"]
    (event,) = [e for e in queue.said if e["event"] == "placed"]
    assert (event["partition"], event["by"]) == ("south-gpu", "policy")
    assert queue.poll(100) == [(3, "south-gpu", False)]  # its own earliest start has come


def test_a_delay_that_ended_is_left_alone(fake, play):
    queue = play(waiting())
    assert queue.poll(60) == []
    assert fake.asked == []


def test_wait_begins_the_delay_anew_and_ends_at_the_best_pool(fake, play):
    fake.reply = lambda body: scores(None, body["candidates"])
    queue = play(waiting(), wait_h=0.05)
    assert queue.poll() == [(1, NOW + 1 + 60)]
    assert queue.poll(1) == []  # asked again after a third of the delay only
    assert queue.poll(20) == [(1, NOW + 22 + 60)]
    assert queue.poll(60) == []  # it came too late: the job starts by itself
    queue.slurm.queue[2] = waiting(2, at=NOW - 180, begin=queue.now + 50)
    assert queue.poll()[0][0] == 2
    assert queue.slurm.queue[2].partition in ("north-gpu", "south-gpu")


def test_a_policy_sees_what_it_has_just_decided(fake, play):
    """After each twentieth of the fleet, a new snapshot: here after each job."""
    queue = play(*(waiting(n) for n in range(1, 5)))
    assert len(queue.poll()) == 4
    queues = [s["pools"]["south/gpu"]["waiting"] for s in fake.snapshots]
    assert queues == [0, 1, 2, 3]


def test_held_jobs_are_released_after_the_delay_where_there_is_no_answer(fake, play):
    fake.reply = lambda body: (500, b"")
    queue = play(waiting(partition="intake", begin=NOW), hold=True)
    assert queue.poll() == []
    assert queue.poll(60) == [(1, "north-gpu,south-gpu", True)]
    assert [e["event"] for e in queue.said if e["event"] in ("left", "released")] == ["left", "released"]
    fake.reply = lambda body: scores("north/gpu", body["candidates"])
    again = play(waiting(partition="intake", begin=NOW), hold=True)
    assert again.poll() == [(1, "north-gpu", True)]


def test_words_that_mean_nothing_spoil_one_job_only(fake, play):
    queue = play(waiting(1, user="gcn.work=soon"), waiting(2), waiting(3, admin="gcn:start=1 gcn:in=gone"))
    assert queue.poll() == [(2, "south-gpu", False)]
    assert [j["id"] for j in fake.snapshots[0]["jobs"]][:1] == ["slurm-2"]
    assert queue.controller.counts["left:words"] == 1
    queue.poll(1)
    assert queue.controller.counts["left:words"] == 1  # said once


def test_a_slurm_that_is_away_or_refuses_is_tried_again(fake, play):
    queue = play(waiting())
    queue.slurm.broken = True
    assert queue.poll() == []
    assert queue.controller.counts["unreachable"] == 1
    queue.slurm.broken = False
    place, queue.slurm.place = queue.slurm.place, lambda *_: (_ for _ in ()).throw(SlurmError("busy"))
    assert queue.poll(1) == []
    assert queue.controller.counts["failed"] == 1
    queue.slurm.place = place
    assert queue.poll(1) == [(1, "south-gpu", False)]


def test_jobs_beyond_the_snapshot_are_described(fake, play):
    queue = play(waiting(), most_jobs=0)
    queue.poll()
    assert fake.snapshots[0]["jobs"] == []
    assert fake.asked[0]["job"]["gang"] == 1
    assert fake.asked[0]["job"]["class"] == "training"
