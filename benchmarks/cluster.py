"""What a Ray cluster costs and survives: two hosts on one machine, one of which dies.

    sudo python benchmarks/cluster.py [--parts evaluation training overhead] [--scenario default] [--out cluster.json]

Two network namespaces joined by a cable stand for two hosts with addresses of their own (Linux, root, `ip` of
iproute2); a cluster with a token spans them, one core each. `evaluation`: results beside those of one process, with a
node killed in the middle. `training`: a collector is killed, then a node, then the node comes back. `overhead`: whole-
rollout collectors beside the plain trainer on the same cores; needs no namespaces. Prints and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
A, B = "gcn-a", "gcn-b"
ADDRESS = {A: "10.99.0.1", B: "10.99.0.2"}
PORT = 6379
RULES = ("rule:cost-greedy+b1", "rule:cost-greedy-deferral+b2", "rule:nearest+b0", "rule:random+b1")
WAIT_S = 900.0


class Hosts:
    """Two namespaces with a cluster over them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, folder / "token"
        self.token.write_text(os.urandom(32).hex())
        self.token.chmod(0o600)
        self.env = {
            **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token),
        }  # fmt: skip

    def within(self, host: str, *words: str) -> list[str]:
        """A command as it is run on a host."""
        return ["ip", "netns", "exec", host, *words]

    def cable(self) -> None:
        """Lay the cable."""
        ip("link", "add", "gcn-va", "type", "veth", "peer", "name", "gcn-vb")
        for host, end in ((A, "gcn-va"), (B, "gcn-vb")):
            ip("netns", "add", host)
            ip("link", "set", end, "netns", host)
            ip("-n", host, "addr", "add", f"{ADDRESS[host]}/24", "dev", end)
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "link", "set", end, "up")

    def start(self, host: str) -> None:
        """Start Ray on a host, one core."""
        where = (
            ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self.folder / 'ray'}"]
            if host == A
            else [f"--address={ADDRESS[A]}:{PORT}"]
        )
        ray = str(Path(sys.executable).parent / "ray")
        words = [ray, "start", *where, f"--node-ip-address={ADDRESS[host]}", "--num-cpus=1", "--num-gpus=0"]
        with (self.folder / f"{host}.log").open("ab") as log:
            subprocess.run(
                self.within(host, *words, "--object-store-memory=400000000"),
                env=self.env, stdout=log, stderr=log, check=True,
            )  # fmt: skip

    def pids(self, host: str) -> dict[int, str]:
        """Processes of a host and what they call themselves."""
        found = {}
        for word in ip("netns", "pids", host).split():
            try:
                found[int(word)] = Path(f"/proc/{word}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def kill(self, host: str) -> None:
        """Power off a host: all its processes at once."""
        for pid in self.pids(host):
            os.kill(pid, signal.SIGKILL)

    def kill_one(self, host: str, named: str) -> None:
        """Kill one worker."""
        pid = next(p for p, name in self.pids(host).items() if name.startswith(named))
        os.kill(pid, signal.SIGKILL)

    def working(self, host: str, named: str) -> bool:
        """Whether a worker of that name is there."""
        return any(name.startswith(named) for name in self.pids(host).values())


def ip(*words: str) -> str:
    """`ip WORDS`."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """A cluster over two namespaces, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gcn", dir="/tmp") as folder:  # sockets need a short path
        hosts = Hosts(Path(folder))
        try:
            hosts.cable()
            hosts.start(A)
            hosts.start(B)
            yield hosts
        finally:
            for host in (A, B):
                subprocess.run(["ip", "netns", "pids", host], capture_output=True, check=False)
                if host in ip("netns", "list"):
                    hosts.kill(host)
                    time.sleep(1.0)
                    ip("netns", "del", host)


def until(condition: Callable[[], bool], what: str, child: subprocess.Popen[Any] | None = None) -> None:
    """Wait for something; a child that ends before it is an error."""
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end or (child is not None and child.poll() is not None):
            raise RuntimeError(f"in vain: waited for {what}")
        time.sleep(0.1)


def evaluation(hosts: Hosts, scenario: str, episodes: int) -> dict[str, Any]:
    """Seconds of an evaluation in one process, on the cluster, and there with a node killed in the middle."""
    words = [
        sys.executable,
        "evaluate.py",
        "--scenario",
        scenario,
        "--episodes",
        str(episodes),
        "--policies",
        *RULES,
    ]
    ray = ["--ray", f"{ADDRESS[A]}:{PORT}"]

    def run(name: str, *more: str, trouble: Callable[[subprocess.Popen[Any]], None] | None = None) -> float:
        begin = time.perf_counter()
        command = hosts.within(A, *words, "--quiet", "--out", str(hosts.folder / name), *more)
        with subprocess.Popen(command, cwd=ROOT, env=hosts.env) as child:
            if trouble is not None:
                trouble(child)
        if child.returncode:
            raise RuntimeError(f"{name} ended with {child.returncode}")
        return time.perf_counter() - begin

    def node_dies(child: subprocess.Popen[Any]) -> None:
        until(lambda: hosts.working(B, "ray::play"), "work on the second host", child)
        time.sleep(1.0)
        hosts.kill(B)

    seconds = {"one process": run("serial"), "two nodes": run("cluster", *ray)}
    seconds["a node killed"] = run("killed", *ray, trouble=node_dies)
    results = {
        name: numbers(hosts.folder / name / "results.json") for name in ("serial", "cluster", "killed")
    }
    hosts.start(B)
    return {
        "policies": len(RULES), "episodes": episodes, "seconds": seconds,
        "identical": results["serial"] == results["cluster"],
        "identical with a node killed": results["serial"] == results["killed"],
    }  # fmt: skip


def numbers(path: Path) -> dict[str, Any]:
    """All of a results.json but how it was made."""
    said = json.loads(path.read_text())
    said["meta"] = {k: v for k, v in said["meta"].items() if k not in ("command", "config", "git_commit")}
    return dict(said)


def recipe(timesteps: int) -> list[str]:
    """`quick` without what comes before learning, and without validation: collecting and learning only."""
    return [
        "--config", "quick", "--timesteps", str(timesteps), "--checkpoint-every", "8192", "--set",
        "recipe.warm_start.steps=4096", "recipe.warm_start.epochs=1", "recipe.stagger=false",
        "recipe.evaluation.episodes=0",
    ]  # fmt: skip


def training(hosts: Hosts, scenario: str, timesteps: int) -> dict[str, Any]:
    """A run whose collector is killed, then a node; then the node comes back."""
    run = hosts.folder / "run"
    words = [
        "train.py",
        "--scenario",
        scenario,
        "--run",
        str(run),
        "--ray",
        f"{ADDRESS[A]}:{PORT}",
        "--collectors",
        "2",
    ]

    def steps() -> int:
        path = run / "progress.json"
        return int(json.loads(path.read_text())["timesteps"]) if path.is_file() else 0

    said: dict[str, Any] = {"timesteps asked": timesteps}
    command = hosts.within(A, sys.executable, *words, *recipe(timesteps))
    with (hosts.folder / "train.log").open("wb") as log:
        child = subprocess.Popen(command, cwd=ROOT, env=hosts.env, stderr=log)
        for share, what, event in (
            (0.2, "collector killed", lambda: hosts.kill_one(A, "ray::Actor")),
            (0.4, "node killed", lambda: hosts.kill(B)),
            (0.6, "node back", lambda: hosts.start(B)),
        ):
            until(lambda share=share: steps() >= share * timesteps, what, child)
            event()
            said[f"{what} at"] = steps()
        child.wait(WAIT_S)
    text = (hosts.folder / "train.log").read_text()
    progress = json.loads((run / "progress.json").read_text())
    return {
        **said, "exit": child.returncode, "status": progress["status"], "timesteps": progress["timesteps"],
        "seconds": progress["seconds"], "collectors lost": text.count(" is lost;"),
    }  # fmt: skip


def overhead(scenario: str, timesteps: int, repeats: int) -> dict[str, Any]:
    """Steps a second of the plain trainer and of collectors, in turn, on one core and on two."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kinds = {
        "plain, one core": ("0", []),
        "1 collector, one core": ("0", ["--ray", "local", "--collectors", "1"]),
        "plain, two cores": ("0,1", []),
        "2 collectors, two cores": ("0,1", ["--ray", "local", "--collectors", "2"]),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for k in range(repeats):
            for name, (cores, more) in kinds.items():
                run = ["--run", f"{folder}/{k}-{len(rates[name])}-{name.replace(' ', '-').replace(',', '')}"]
                words = [
                    "taskset",
                    "-c",
                    cores,
                    sys.executable,
                    "train.py",
                    "--scenario",
                    scenario,
                    *run,
                    *more,
                ]
                done = subprocess.run(
                    [*words, *recipe(timesteps)],
                    cwd=ROOT,
                    env=env,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found = re.search(r"steps at ([\d,]+)/s", done.stdout)
                assert found, done.stdout
                rates[name].append(float(found[1].replace(",", "")))
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "timesteps": timesteps, "steps_per_s": rates, "median": median, "load_average": os.getloadavg()[0],
        "overhead on one core": 1.0 - median["1 collector, one core"] / median["plain, one core"],
        "gain on two cores": median["2 collectors, two cores"] / median["plain, two cores"] - 1.0,
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("evaluation", "training", "overhead")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to measure (all)")
    parser.add_argument("--scenario", default="default", help="name or path of a scenario")
    parser.add_argument(
        "--episodes", type=int, default=96, help="of the evaluation, for each of four rules (96)"
    )
    parser.add_argument("--timesteps", type=int, default=98_304, help="of each training run (98304)")
    parser.add_argument("--repeats", type=int, default=3, help="of each kind of training run (3)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    args = parser.parse_args()
    said: dict[str, Any] = {"scenario": args.scenario, "cores": os.cpu_count()}
    if {"evaluation", "training"} & set(args.parts):
        with two_hosts() as hosts:
            if "evaluation" in args.parts:
                said["evaluation"] = evaluation(hosts, args.scenario, args.episodes)
                print(json.dumps(said["evaluation"], indent=1), flush=True)
            if "training" in args.parts:
                said["training"] = training(hosts, args.scenario, args.timesteps)
                print(json.dumps(said["training"], indent=1), flush=True)
    if "overhead" in args.parts:
        said["overhead"] = overhead(args.scenario, args.timesteps, args.repeats)
        print(json.dumps(said["overhead"], indent=1), flush=True)
    if args.out:
        args.out.write_text(json.dumps(said, indent=2) + "\n")
        print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
