"""A cluster of two nodes on this machine, and what befalls it. Prints what came of it as one line of JSON.

python -m tests.agents.cluster.faults FOLDER
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import gcn_env
from agents import policy, recipe, runs
from agents.cluster import connect
from agents.evaluation import evaluate
from agents.training import Flag, train
from agents.units import one_by_one

RULES = ("nearest+b1", "random+b0", "cost-greedy+b1")
TINY = {
    "timesteps": 8 * 16 * 12, "envs": 8, "ppo.n_steps": 16, "ppo.batch_size": 64, "warm_start.policy": None,
    "stagger": False, "network.width": 8, "network.pair_width": 8, "evaluation.episodes": 0, "checkpoints.every": 256,
}  # fmt: skip


def descendants(pid):
    """Process ids below `pid`, and what each calls itself."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            names[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parents[int(path.name)] = int(fields[1])
        except OSError:
            continue
    below = {pid}
    while True:
        more = {p for p, parent in parents.items() if parent in below} - below
        if not more:
            return {p: names[p] for p in below}
        below |= more


def kill_worker(named):
    """SIGKILL the first worker of ours that calls itself so; waits until there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for pid, name in descendants(os.getpid()).items():
            if name.startswith(f"ray::{named}"):
                os.kill(pid, signal.SIGKILL)
                return name
        time.sleep(0.05)
    raise RuntimeError(f"no worker calls itself ray::{named}")


def evaluation(cluster, nodes, second):
    """A worker is killed, then a node goes, in the middle of an evaluation."""
    from agents.cluster.episodes import runner

    fleet = gcn_env.load_world("smoke", {"time.episode_days": 1})
    policies = {name: policy.load(f"rule:{name}", fleet) for name in RULES}
    befell = []

    def troubled(world, units, tick):
        for count, answer in enumerate(runner(cluster)(world, units, tick)):
            if count == 3:
                befell.append(kill_worker("play"))
            if count == 8:
                nodes.remove_node(second, allow_graceful=False)
                befell.append("node")
            yield answer

    serial, there = (
        evaluate(fleet, policies, episodes=24, batch=2, keep=1, run=run) for run in (one_by_one, troubled)
    )
    return {
        "befell": befell,
        "identical": bool(
            (serial.kpis == there.kpis).all()
            and (serial.start == there.start).all()
            and all((serial.records[n].regions == there.records[n].regions).all() for n in RULES)
        ),
    }


class Events(Flag):
    """Looked at before every rollout: there things happen."""

    def __init__(self, at):
        self.at, self.looks = at, 0

    @property
    def raised(self):
        self.looks += 1
        self.at.get(self.looks, lambda: None)()
        return False


def training(cluster, nodes, folder):
    """A collector is killed, then a node goes, then one comes, while a policy is trained."""
    from agents.cluster.collectors import crew

    made = recipe.load("smoke", TINY)
    fleet, crews, extra = gcn_env.load_world("smoke"), [], []
    run = runs.create(folder / "run", made, fleet, "faults")
    hire = crew(cluster, 2, made)

    def remembered(learner):
        crews.append(hire(learner))
        return crews[-1]

    events = Events(
        {
            3: lambda: kill_worker("Actor"),
            6: lambda: nodes.remove_node(extra.pop(), allow_graceful=False),
            9: lambda: extra.append(nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20)),
        }
    )
    extra.append(nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20))
    result = train(fleet, made, run, quiet=True, flag=events, crew=remembered)
    before = result["timesteps"]
    longer = made.model_copy(update={"timesteps": before + 8 * 16 * 2})
    again = train(fleet, longer, run, resume=True, quiet=True, crew=hire)["timesteps"]
    return {
        "timesteps": before, "lost": crews[0].lost, "rollouts": events.looks, "again": again,
        "finite": bool(np.isfinite(result["steps_per_s"])), "status": run.progress()["status"],
    }  # fmt: skip


def main(folder):
    """Make the cluster, let it suffer, tell."""
    from ray.cluster_utils import Cluster as Nodes

    small = {"object_store_memory": 100 * 2**20}
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small})
    second = nodes.add_node(num_cpus=1, **small)
    try:
        with connect(nodes.address) as cluster:
            said = {"cpus": cluster.cpus, "evaluation": evaluation(cluster, nodes, second)}
            said["training"] = training(cluster, nodes, folder)
    finally:
        nodes.shutdown()
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
