"""How long a decision takes: one job, 100 candidate pools, in process and over HTTP, against the rule policy.

    python benchmarks/serving.py [--bundle DIR] [--requests 3000] [--out serving.json]

The fleet is `smoke` with 50 pools in each of its two regions. Without `--bundle`, an untrained network of the `quick`
recipe's size is exported first: latency does not depend on what the weights are. The server runs in a process of its
own on one core, asks for a token, counts metrics, writes the decision log and keeps all guards. Latency is measured
closed-loop on one kept connection, from the first byte sent to the last received, by a client on the server's own core
(waking another one takes milliseconds on some virtual machines); throughput with four connections, from another core
where there is one. Where others use the machine, quantiles over all requests are theirs as much as ours: so the
quantiles of those requests are given beside them before and after which a short fixed loop ran at no less than 80 % of
the best speed of this run, their share, CPU time, and the most requests that were answered in any one second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gcn_env import load_world
from gcn_env.sim import Sim
from gcn_env.snapshot import document, units

TOKEN = "benchmark-token-of-32-characters"
HOST = "127.0.0.1"
POOLS = 50  # a region
CONNECTIONS = 4
LOOP = 2000  # additions: some 0.07 ms
FULL_SPEED = 1.25  # a loop may take this many times as long as the fastest hundredth of them
WARM = 200  # requests before those that are timed
LEAST = 100  # requests at full speed, below which nothing is said of them
HARDWARE = {"north": ("gpu_a100_sxm_80gb", 32), "south": ("gpu_h100_sxm_80gb", 16)}


def overrides() -> dict[str, Any]:
    """A fleet of 100 pools that all may run a training job."""
    found: dict[str, Any] = {"decisions.job_places": 2048}
    return found | {
        f"regions.{region}.pools": {
            f"pool{k}": {"hardware": hardware, "devices": devices, "devices_per_node": 8}
            for k in range(POOLS)
        }
        | (
            {"cpu": {"hardware": "cpu_epyc7763_slice", "devices": 32, "devices_per_node": 8}}
            if region == "north"
            else {}
        )
        for region, (hardware, devices) in HARDWARE.items()
    }


def scenario_file(folder: Path) -> str:
    """The fleet as a scenario of its own."""
    import yaml

    world = load_world("smoke", overrides())
    path = folder / "hundred.yaml"
    path.write_text(
        yaml.safe_dump(world.scenario.model_dump(mode="json", exclude_none=True), sort_keys=False)
    )
    return str(path)


def untrained(folder: Path) -> str:
    """A bundle of a fresh network of the quick recipe's size."""
    import torch

    from agents import recipe
    from agents.export import export
    from agents.networks import EntityNetwork
    from agents.training import TrainedPolicy
    from gcn_env.observation import REGIONS, TABLES

    world, sizes = load_world("smoke"), recipe.load("quick").network
    torch.manual_seed(0)
    columns = {t.name: len(t) for t in TABLES}
    net = EntityNetwork(columns, world.n_levels, **sizes.model_dump(), current=REGIONS.index("is_current"))
    export(
        TrainedPolicy(net.eval(), "joint"),
        world,
        folder / "bundle",
        "untrained",
        {"source": "benchmarks/serving.py"},
    )
    return str(folder / "bundle")


def request_of(world: Any) -> dict[str, Any]:
    """One training job and 100 candidates."""
    job = {
        "id": "bench/job", "class": "training", "origin": "north", "jurisdictions": "any", "trust": "public", "gang": 8,
        "work": 12.0, "memory": 40.0, "data": 50.0,
    }  # fmt: skip
    return {
        "job": job,
        "candidates": [n for n in world.pool_names if "/pool" in n],
        "units": {"jobs": units()["jobs"]},
    }


def loop() -> float:
    """Seconds of a fixed loop: how fast the core is just now."""
    begin, total = time.perf_counter(), 0
    for k in range(LOOP):
        total += k
    return time.perf_counter() - begin


class Timed(NamedTuple):
    """Latencies [N] and the loops [N + 1] before, between and after them [s]; other figures."""

    spent: np.ndarray
    loops: np.ndarray
    others: dict[str, float]


def timed(ask: Callable[[], Any], count: int) -> Timed:
    """Latencies of `count` calls one after the other."""
    spent, loops = np.empty(count), np.empty(count + 1)
    loops[0] = loop()
    for k in range(count):
        begin = time.perf_counter()
        ask()
        spent[k] = time.perf_counter() - begin
        loops[k + 1] = loop()
    return Timed(spent, loops, {})


def quantiles(t: Timed, full_speed: float) -> dict[str, float]:
    """Of latencies [ms] over all calls, and over those between two loops of no more than `full_speed` seconds."""
    ms, fast = 1e3 * t.spent, t.loops <= full_speed
    full = ms[fast[:-1] & fast[1:]]
    found = {"max_ms": ms.max(), "full_share": len(full) / len(ms)}
    for before, part in (("", ms), ("full_", full)):
        if len(part) >= LEAST:
            found[f"{before}p50_ms"], found[f"{before}p99_ms"] = np.quantile(part, (0.5, 0.99))
    return {k: round(float(v), 3) for k, v in found.items()} | t.others


def in_process(world: Any, policy: str, count: int) -> Timed:
    """Decisions of a `Decider` with guards, without HTTP and JSON."""
    from agents.serving.server import ServeOptions, service_of

    service = service_of(ServeOptions(policy, "hundred"), world)
    decider, request = service.decider, request_of(world)
    sim = Sim(world, 1)
    sim.reset(1)
    decider.update(document(world, sim.state))

    def ask() -> None:
        decision = decider.score(request)
        assert (decision.by, decision.reason) == ("policy", ""), decision
        assert len(decision.answer["candidates"]) == 2 * POOLS

    for _ in range(WARM):
        ask()
    found = timed(ask, count)
    if decider.policy is not None:
        decider.policy.close()
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all threads [s]; NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return float("nan")


class Connection:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, raw: bytes) -> bytes:
        """Send a request; returns the body of the answer, which must be 200."""
        self.socket.sendall(raw)
        data = self.socket.recv(1 << 16)
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), data[:300]
        length = int(
            next(x for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")).split(b":")[1]
        )
        while len(body) < length:
            body += self.socket.recv(1 << 16)
        return body


def http_bytes(method: str, path: str, body: Any) -> bytes:
    """A request on the wire."""
    raw = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def over_http(scenario: str, world: Any, policy: str, count: int, folder: Path, name: str) -> Timed:
    """The same decisions over HTTP."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "agents", "serve", policy, "--scenario", scenario, "--port", str(port)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    env = {**os.environ, "GCN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    log = folder / f"{name}.jsonl"
    server = subprocess.Popen([*command, "--log", str(log)], env=env)
    try:
        if cores:
            os.sched_setaffinity(server.pid, cores[:1])
            os.sched_setaffinity(0, cores[:1])
        connection = opened(port, server)
        sim = Sim(world, 1)
        sim.reset(1)
        connection.call(http_bytes("PUT", "/v1/snapshot", document(world, sim.state)))
        raw = http_bytes("POST", "/v1/score", request_of(world))
        for _ in range(WARM):
            connection.call(raw)
        found = timed(lambda: connection.call(raw), count)
        if cores:
            os.sched_setaffinity(0, cores[1:] or cores)
        begin, used = time.perf_counter(), cpu_seconds(server.pid)
        ends: list[float] = []
        workers = [
            threading.Thread(target=repeat, args=(port, raw, count // CONNECTIONS, ends))
            for _ in range(CONNECTIONS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        at = np.sort(ends)
        found.others["requests_per_s"] = round(len(at) / (at[-1] - begin))
        found.others["best_second"] = int((np.searchsorted(at, at + 1.0) - np.arange(len(at))).max())
        found.others["cpu_ms"] = round(1e3 * (cpu_seconds(server.pid) - used) / len(at), 3)
        found.others["request_bytes"] = len(raw)
        last = json.loads(connection.call(raw))
        assert last["by"] == "policy", last["reason"]
    finally:
        server.terminate()
        server.wait(30)
        if cores:
            os.sched_setaffinity(0, cores)
    found.others["log_bytes"] = log.stat().st_size
    return found


def repeat(port: int, raw: bytes, count: int, ends: list[float]) -> None:
    """One of several clients; adds to `ends` when each of its requests was answered."""
    connection = Connection(port)
    for _ in range(count):
        connection.call(raw)
        ends.append(time.perf_counter())


def opened(port: int, server: subprocess.Popen[bytes]) -> Connection:
    """A connection, once the server listens."""
    for _ in range(3000):
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            return Connection(port)
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not come up within five minutes")


def row(name: str, a: dict[str, float], *rest: str) -> str:
    """A line of the table."""
    full = f"{a['full_p50_ms']:.2f} / {a['full_p99_ms']:.2f} " if "full_p50_ms" in a else ""
    full += f"({100 * a['full_share']:.0f} %)"
    return f"| {name} | {a['p50_ms']:.2f} / {a['p99_ms']:.2f} | {full} | {' | '.join(rest)} |"


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bundle", default=None, help="folder of a bundle with 8 cooling levels; else an untrained one"
    )
    parser.add_argument("--rule", default="rule:cost-greedy+b1")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--out", default=None)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scenario = scenario_file(folder)
        world = load_world(scenario)
        bundle = args.bundle or untrained(folder)
        found: dict[str, Any] = {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        }
        ways = {
            (name, where): run()
            for name, policy in (("bundle", bundle), ("rule", args.rule))
            for where, run in (
                ("in_process", partial(in_process, world, policy, args.requests)),
                ("http", partial(over_http, scenario, world, policy, args.requests, folder, name)),
            )
        }
    full_speed = FULL_SPEED * float(np.quantile(np.concatenate([t.loops for t in ways.values()]), 0.01))
    found |= {"bundle": {}, "rule": {}}
    print(
        "| 100 candidates | p50 / p99 ms | at full speed (share) | CPU ms | requests/s | in the best second |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    for (name, where), t in ways.items():
        figures = found[name][where] = quantiles(t, full_speed)
        rest = [
            f"{figures[k]:,}" if k in figures else "" for k in ("cpu_ms", "requests_per_s", "best_second")
        ]
        print(row(f"{name}, {'HTTP' if where == 'http' else 'in process'}", figures, *rest))
    found["ratio_to_rule"] = {
        where: round(found["bundle"][where]["p50_ms"] / found["rule"][where]["p50_ms"], 2)
        for where in ("in_process", "http")
    }
    print(f"ratio of medians, bundle over rule: {found['ratio_to_rule']}")
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
