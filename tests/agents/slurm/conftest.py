"""A real Slurm for tests, and the policy that is served to it."""

import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import gcn_env
from agents.adapters.asking import Asker
from agents.adapters.slurm.commands import Commands
from agents.adapters.slurm.controller import Controller
from agents.adapters.slurm.rest import Rest
from agents.adapters.slurm.site import Site, load_site, lua
from tests.agents.slurm.cluster import Cluster
from tests.agents.slurm.packages import MissingError

HERE = Path(__file__).resolve().parent
TOKEN = "a-token-for-tests-of-32-letters!"
NOW = 1_796_011_430.0  # 30 November 2026, 04:03:50 UTC: when `recorded/` was


@pytest.fixture(scope="session")
def site():
    """The site that most tests speak of."""
    return load_site(HERE / "site.yaml")


@pytest.fixture(scope="session")
def recorded():
    """What Slurm 22.05.8 told of jobs and nodes."""
    return json.loads((HERE / "recorded" / "22.05.json").read_text())


@pytest.fixture(scope="session")
def fleet_world():
    """The scenario of the tests' cluster, compiled."""
    return gcn_env.load_world(str(HERE / "fleet.yaml"))


@pytest.fixture(scope="session")
def cluster(site):
    """slurmctld, slurmrestd and four slurmd on loopback; minutes of real time, so only where they are asked for."""
    if os.environ.get("GCN_SLURM", "0") == "0":
        pytest.skip(
            "a real Slurm is started where GCN_SLURM=1 (Debian's packages, unpacked into the user's cache)"
        )
    try:
        made = Cluster(lua(site))
    except MissingError as why:
        pytest.skip(f"no Slurm to test against: {why}")
    yield made
    made.stop()


@pytest.fixture
def path_of(cluster, monkeypatch):
    """Slurm's commands, for what calls them by name."""
    for name in ("PATH", "SLURM_CONF", "LD_LIBRARY_PATH"):
        if name in cluster.env:
            monkeypatch.setenv(name, cluster.env[name])


class Feeds:
    """The operator's file of prices, carbon and weather."""

    def __init__(self, path):
        self.path = path

    def write(self, **prices):
        """USD/MWh by region, now."""
        regions = {n: {"price": p, "carbon": 300, "dry": 10} for n, p in prices.items()}
        units = {"regions": {"price": "USD/MWh", "carbon": "gCO2e/kWh", "dry": "degC"}}
        stamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps({"time": stamp, "units": units, "regions": regions}))
        os.replace(whole, self.path)


@pytest.fixture
def feeds(tmp_path):
    """A feed in which power costs the same everywhere."""
    made = Feeds(tmp_path / "feeds.json")
    made.write(north=100, south=100)
    return made


class Run:
    """A controller in a thread, and what it said."""

    def __init__(self, cluster, site, url, rest=True, timeout_s=2.0, every_s=0.1):
        self.said, self.stop = [], threading.Event()
        self.slurm = Rest(cluster.rest, "root", lambda: cluster.token) if rest else Commands()
        self.asker = Asker(url, TOKEN, timeout_s)
        self.controller = Controller(site, self.slurm, self.asker, self.said.append)
        self.thread = threading.Thread(target=self.controller.run, args=(every_s, self.stop), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.asker.close()
        self.slurm.close()

    def events(self, name):
        """Events of one name."""
        return [e for e in self.said if e["event"] == name]


@pytest.fixture
def tuned(cluster, site, feeds):
    """`tuned(grace_s=3)`: the site with other settings, in force in slurmctld, too."""

    def make(**changes):
        made = Site.model_validate(site.model_dump(by_alias=True) | {"feeds": str(feeds.path)} | changes)
        cluster.load(lua(made))
        return made

    return make


def until(ready, seconds=60.0, said=()):
    """Wait for something to become true; returns the seconds it took. What was `said` is shown if it does not."""
    began = time.monotonic()
    while not ready():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {list(said)[-20:]}"
        time.sleep(0.05)
    return time.monotonic() - began
