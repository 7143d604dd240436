"""The policy in front of a real slurmctld: jobs land where it says, and nothing is lost where it says nothing."""

import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from agents.serving.app import application
from agents.serving.server import ServeOptions, service_of
from tests.agents.policies import FakePolicy, scores
from tests.agents.serving.conftest import Server
from tests.agents.slurm.conftest import HERE, TOKEN, Run, until
from tests.worlds import ROOT

pytestmark = pytest.mark.slow
JOBS, MORE = 200, 60  # placed by the policy; submitted while it dies
HEAVY = "gcn.data=0 gcn.work=10"  # nothing to move, and hours of work: the price of power decides
GPU = ("--gpus=1", "-c1", f"--comment={HEAVY}")


@pytest.fixture(scope="module")
def service(fleet_world):
    """A rule, served for the tests' cluster."""
    made = service_of(
        ServeOptions("rule:cost-greedy+b1", str(HERE / "fleet.yaml"), deadline_ms=1000), fleet_world
    )
    yield made
    made.log.close()


@pytest.fixture
def served(service):
    """It behind HTTP, with a token."""
    running = Server(application(service, TOKEN.encode()))
    running.url = f"http://127.0.0.1:{running.port}"
    yield running
    running.stop()


def landed(cluster, numbers):
    """Partitions in which jobs ran to their end."""
    until(lambda: cluster.done(numbers))
    return [cluster.jobs([n])[n][1] for n in numbers]


@pytest.mark.parametrize("rest", [True, False], ids=["slurmrestd", "commands"])
def test_jobs_land_where_the_policy_says(cluster, tuned, feeds, served, path_of, rest):
    """Cheap power in the north, then in the south; residency, hardware and a user's own choice beside it."""
    with Run(cluster, tuned(grace_s=300), served.url, rest) as run:
        feeds.write(north=20, south=400)
        north = [cluster.submit(*GPU) for _ in range(2)]
        cpu = cluster.submit("-n2")
        assert landed(cluster, [*north, cpu]) == ["north-gpu", "north-gpu", "north-cpu"]
        feeds.write(north=400, south=20)
        south = [cluster.submit(*GPU) for _ in range(2)]
        tied = cluster.submit(*GPU, f"--comment={HEAVY} gcn.jurisdictions=eu")
        own = cluster.submit(*GPU, "-p", "north-gpu")
        assert landed(cluster, [*south, tied, own]) == ["south-gpu", "south-gpu", "north-gpu", "north-gpu"]
        placed = {e["job"]: e for e in run.events("placed")}
    assert set(placed) == {*north, cpu, *south, tied}
    assert {e["by"] for e in placed.values()} == {"policy"}, placed
    assert run.controller.counts["failed"] == run.controller.counts["snapshots_refused"] == 0


def test_what_may_run_nowhere_is_refused_at_the_door(cluster, tuned):
    tuned(grace_s=300)
    with pytest.raises(AssertionError, match=r"a gpu job with gcn\.jurisdictions=mars"):
        cluster.submit(*GPU, "--comment=gcn.jurisdictions=mars")
    with pytest.raises(AssertionError, match=r"gcn\.trust=tee"):
        cluster.submit(*GPU, "--comment=gcn.trust=tee")


WRONG = (
    lambda body: (200, b"<html>"),
    lambda body: scores("moon/gpu", ["moon/gpu"]),
    lambda body: (500, b"{}"),
    lambda body: scores("north/cpu", ["north/cpu"]),
)


@pytest.mark.parametrize("trouble", ["down", "slow", "wrong"])
def test_without_an_answer_jobs_start_by_themselves(cluster, tuned, trouble):
    """And slurmctld answers users and operators as if there were no policy."""
    with FakePolicy(lambda body: WRONG[len(fake.asked) % len(WRONG)](body)) as fake:
        fake.delay_s = 30.0 if trouble == "slow" else 0.0
        url = "http://127.0.0.1:9" if trouble == "down" else fake.url
        with Run(cluster, tuned(grace_s=4), url, timeout_s=1.0) as run:
            mark, spent = cluster.submit("-H", "-p", "north-cpu"), []
            numbers = []
            for _ in range(6):
                began = time.monotonic()
                numbers.append(cluster.submit(*GPU))
                spent.append(time.monotonic() - began)
                began = time.monotonic()
                cluster.call(
                    "scontrol", "update", f"JobId={mark}", "Comment=x"
                )  # wants slurmctld's write lock
                spent.append(time.monotonic() - began)
            assert set(landed(cluster, numbers)) <= {"north-gpu", "south-gpu"}
            cluster.call("scancel", mark)
        assert run.events("placed") == []
        left = {
            e["job"] for e in run.events("left")
        }  # while one is asked about, the delay of others may end,
        assert left or trouble == "slow"  # and that of all of them while a snapshot is on its way
        assert left <= set(numbers)
    print(
        f"{trouble}: sbatch and scontrol p50 {1e3 * np.median(spent):.0f} ms, worst {1e3 * max(spent):.0f} ms"
    )
    assert max(spent) < 3.0  # a policy that takes 30 s stands in nobody's way


def test_held_jobs_wait_for_the_controller(cluster, tuned, feeds, served):
    feeds.write(north=400, south=20)
    site = tuned(grace_s=3, hold=True)
    number = cluster.submit(*GPU)
    time.sleep(site.grace_s + 1.0)
    assert cluster.jobs([number])[number] == ("PENDING", "intake")
    with Run(cluster, site, served.url):
        assert landed(cluster, [number]) == ["south-gpu"]
    number = cluster.submit(*GPU)
    with Run(cluster, site, "http://127.0.0.1:9") as run:
        assert landed(cluster, [number])[0] in ("north-gpu", "south-gpu")
        assert [e["job"] for e in run.events("released")] == [number]


def test_wait_lasts_while_somebody_says_so(cluster, tuned):
    """The delay is renewed while the policy says wait; when the controller is gone, it runs out."""
    with FakePolicy(lambda body: scores(None, body["candidates"])) as fake:
        site = tuned(grace_s=4)
        with Run(cluster, site, fake.url) as run:
            number = cluster.submit(*GPU)
            time.sleep(site.grace_s + 3.0)
            assert cluster.jobs([number])[number][0] == "PENDING"
            assert len(run.events("waited")) >= 3
        assert landed(cluster, [number])[0] in ("north-gpu", "south-gpu")


def test_arrays_and_later_starts_are_placed(cluster, tuned, feeds, served):
    """An array goes as a whole; a start that the user chose is waited for, and not put off."""
    feeds.write(north=400, south=20)
    with Run(cluster, tuned(grace_s=300), served.url) as run:
        array = cluster.submit(*GPU, "-a", "1-3")
        later = cluster.submit(*GPU, "--begin=now+5")
        until(lambda: len(run.events("placed")) == 2, said=run.said)
        assert landed(cluster, [later]) == ["south-gpu"]
        rows = json.loads(cluster.call("squeue", "--all", "--json").stdout)["jobs"]
    tasks = {j["job_id"]: j["partition"] for j in rows if j["array_job_id"] == array}
    assert len(tasks) == 3
    assert set(tasks.values()) == {"south-gpu"}
    (job,) = (j for j in rows if j["job_id"] == later)
    assert 5 <= job["start_time"] - job["submit_time"] < 60


def submit_many(cluster, count):
    """Numbers of many jobs, four submissions at a time."""
    numbers, lock = [], threading.Lock()

    def work(k):
        for n in range(k, count, 4):
            number = cluster.submit(*(GPU if n % 4 else ("-n1",)))
            with lock:
                numbers.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return numbers


def test_two_hundred_jobs_then_the_policy_dies(cluster, tuned, feeds, served, record_property):
    """Every job runs: those of the living policy where it said, the others where Slurm found room."""
    feeds.write(north=60, south=50)
    with Run(cluster, tuned(grace_s=120), served.url, timeout_s=2.0) as run:
        numbers = submit_many(cluster, JOBS)
        until(lambda: len(run.events("placed")) == JOBS, 110)
        placed = {e["job"]: e for e in run.events("placed")}
        where = dict(zip(numbers, landed(cluster, numbers), strict=True))
    assert set(placed) == set(numbers)
    assert {n: e["partition"] for n, e in placed.items()} == where
    assert {e["by"] for e in placed.values()} == {"policy"}
    waited = [e["waited_s"] for e in placed.values()]
    asked, released = ([e[k] for e in placed.values()] for k in ("ask_ms", "place_ms"))
    words = {w: list(where.values()).count(w) for w in sorted(set(where.values()))}
    said = (
        f"{JOBS} jobs, submission to release: p50 {np.median(waited):.2f} s, p99 {np.percentile(waited, 99):.2f} s; "
        f"asking p50 {np.median(asked):.1f} ms, p99 {np.percentile(asked, 99):.1f} ms; "
        f"release p50 {np.median(released):.1f} ms, p99 {np.percentile(released, 99):.1f} ms; {words}"
    )
    print(said)
    record_property("slurm", said)
    with Run(cluster, tuned(grace_s=8), served.url, timeout_s=1.0) as run:
        killer = threading.Thread(
            target=lambda: (until(lambda: len(run.events("placed")) >= MORE // 3), served.stop())
        )
        killer.start()
        numbers = submit_many(cluster, MORE)
        killer.join()
        lost = set(numbers) - set(cluster.jobs(numbers))
        landed(cluster, numbers)
        placed, left = ({e["job"] for e in run.events(k)} for k in ("placed", "left"))
    print(f"policy killed: {len(placed)} of {MORE} jobs placed, {len(left)} left to Slurm, {len(lost)} lost")
    assert not lost
    assert len(placed) >= MORE // 3
    assert left | placed == set(numbers)


def test_the_command_places_and_ends_cleanly(cluster, tuned, feeds, served, tmp_path):
    """`python -m agents slurm` as an operator starts it: one look by commands, then a loop by REST until SIGTERM."""
    feeds.write(north=20, south=400)
    path = tmp_path / "site.yaml"
    path.write_text(json.dumps(json.loads(tuned(grace_s=300).model_dump_json(by_alias=True))))
    env = cluster.env | {"GCN_TOKEN": TOKEN, "SLURM_JWT": cluster.token, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "agents", "slurm", str(path), "--policy", served.url]
    number = cluster.submit(*GPU)
    once = subprocess.run([*command, "--once"], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in once.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["placed", "end"]
    assert (lines[0]["job"], lines[1]["polls"]) == (number, 1)
    loop = [*command, "--rest", cluster.rest, "--every", "0.2"]
    with subprocess.Popen(
        loop, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        second = cluster.submit(*GPU)
        assert landed(cluster, [number, second]) == ["north-gpu", "north-gpu"]
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert errors == ""
    assert json.loads(out.splitlines()[-1])["placed"] == 1
    for secret in (TOKEN, cluster.token):
        assert secret not in out + once.stdout
