"""A day of building management in accelerated time: `python benchmarks/bms.py --speed 60` (24 minutes of wall time).

Three processes as an operator would start them: a policy server, a simulated plant on BACnet/IP, and the supervisor
between them. Prints what the device recorded each plant minute, from the supervisor's first heartbeat on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

from agents.bundle.limits import limits
from gcn_env import load_world

PORTS = {"server": 8719, "device": 47818, "loop": 47819}
WAIT_S = 300.0  # for each process to come up


def start(log, *words):
    """A verb of `python -m agents` in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "agents", *map(str, words)], stdout=log, stderr=log)


def until(what, happens, process):
    """Wait for something, as long as the process lives."""
    end = time.monotonic() + WAIT_S
    while not happens():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{what} did not come up; see its log")
        time.sleep(0.2)


def ready():
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORTS['server']}/livez", timeout=1):
            return True
    except OSError:
        return False


def run(folder, scenario, region, policy, speed, hours):
    """The three processes until the device has run its hours; returns its records and the loop's decisions."""
    logs = {name: (folder / f"{name}.log").open("wb") for name in PORTS}
    record, decisions, rest = folder / "device.jsonl", folder / "decisions.jsonl", folder / "rest.json"
    device, server, loop = f"127.0.0.1:{PORTS['device']}", PORTS["server"], f"127.0.0.1:{PORTS['loop']}"
    common = ("--region", region, "--speed", speed)
    served = start(logs["server"], "serve", policy, "--scenario", scenario, "--no-token", "--port", server)
    processes = [served]
    try:
        until("the server", ready, served)
        plant = start(
            logs["device"], "bms-device", scenario, *common, "--address", device, "--hours", hours + 2.0,
            "--record", record, "--rest", rest,
        )  # fmt: skip
        processes.append(plant)
        until("the device", rest.exists, plant)
        processes.append(
            start(
                logs["loop"],
                "bms",
                f"http://127.0.0.1:{server}",
                "--scenario",
                scenario,
                *common,
                "--device",
                device,
                "--address",
                loop,
                "--rest",
                rest,
                "--log",
                decisions,
            )
        )
        plant.wait()
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(60)
    return tuple([json.loads(line) for line in path.read_text().splitlines()] for path in (record, decisions))


def figures(world, region, rows, decisions, hours):
    """What the records say, as (name, value) pairs."""
    first = next(k for k, row in enumerate(rows) if not row["lost"])
    rows = rows[first : first + round(60 * hours) + 1]
    archetype = world.archetypes[world.region_names.index(region)]
    heads = {x.head: x for x in limits(archetype) if x.head in rows[0]["effective"]}
    beyond = steepest = 0.0
    for name, head in heads.items():
        way = [row["effective"][name] for row in rows]
        beyond = max(beyond, max(way) - head.high, head.low - min(way))
        steepest = max(steepest, max(abs(b - a) for a, b in pairwise(way)) / head.rate_per_min)
    gaps = [
        abs(row["effective"][n] - row["setpoint"][n]) / (x.high - x.low)
        for row in rows
        for n, x in heads.items()
    ]
    moved = max(abs(row["setpoint"][n] - row["b1"][n]) for row in rows for n in heads)
    held = [row for row in rows if not row["lost"]]
    by = [row["by"] for row in decisions]
    unknown = sorted({name for row in decisions for name in row["unknown"]})
    return (
        ("plant hours recorded", f"{(rows[-1]['s'] - rows[0]['s']) / 3600:.2f}"),
        ("minutes under the supervisor", f"{len(held)} of {len(rows)}"),
        ("times the supervisor was lost", rows[-1]["falls"] - rows[0]["falls"]),
        (
            "decisions by policy / rule / none",
            " / ".join(str(by.count(x)) for x in ("policy", "rule", "none")),
        ),
        ("points that were unknown", ", ".join(unknown) or "none"),
        ("set-points beyond limits, most", f"{max(beyond, 0.0):.4f}"),
        ("change of a set-point in a minute over its rate, most", f"{steepest:.3f}"),
        ("set-point as written to as effective, mean share of range", f"{sum(gaps) / len(gaps):.4f}"),
        ("set-point off B1, most", f"{moved:.2f}"),
        ("hottest inlet, most [degC]", f"{max(row['hottest_c'] for row in rows):.2f}"),
        ("least gap to a limit [K]", f"{min(row['limit_gap_k'] for row in rows):.2f}"),
        ("excursion [K h]", f"{rows[-1]['excursion_kh'] - rows[0]['excursion_kh']:.4f}"),
        ("cooling [kWh]", f"{rows[-1]['cooling_kwh'] - rows[0]['cooling_kwh']:.2f}"),
        ("device late, s of wall time", f"{rows[-1]['late_s'] - rows[0]['late_s']:.1f}"),
    )


def main():
    """Read the command line, run the day, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", default="smoke")
    parser.add_argument("--region", default="north")
    parser.add_argument("--policy", default="rule:cost-greedy+b2", help="bundle folder or rule:NAME")
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--hours", type=float, default=24.0, help="plant hours")
    parser.add_argument("--keep", default=None, metavar="DIR", help="folder for records and logs")
    args = parser.parse_args()
    world = load_world(args.scenario)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(args.keep or made)
        folder.mkdir(parents=True, exist_ok=True)
        rows, decisions = run(folder, args.scenario, args.region, args.policy, args.speed, args.hours)
    print("| figure | value |\n|---|---:|")
    for name, value in figures(world, args.region, rows, decisions, args.hours):
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
