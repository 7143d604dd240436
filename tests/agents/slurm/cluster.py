"""A real Slurm on loopback: munged, slurmctld, slurmrestd and a slurmd a node, all of them children of a test."""

import contextlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.agents.slurm.packages import MissingError, lay_out

# partition: (GPUs a node, number of nodes); the pools that they are stand in slurm.yaml
PARTITIONS = {"north-gpu": (4, 2), "north-cpu": (0, 1), "south-gpu": (4, 1)}
DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
)  # GPUs have to be character devices: any will do

CONF = """
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CredType=cred/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={run}/jwt.key
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.%n.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={run}/jobs.log
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=5
MinJobAge=900
MessageTimeout=10
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
GresTypes=gpu
JobSubmitPlugins=lua
PluginDir={plugins}
{nodes}
PartitionName=intake Nodes=ALL Default=YES State=DOWN
{partitions}
"""


def free_ports(count):
    """Ports of 127.0.0.1 that nobody listens at."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in found:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in found]


class Cluster:
    """A running Slurm.

    Attributes:
        run: folder of everything: configuration, logs, state; other users may read it.
        env: of clients.
        rest: URL of slurmrestd, and `token` for it.
    """

    def __init__(self, lua):
        if os.getuid() != 0:
            raise MissingError(
                "needs root: slurmd starts jobs, and slurmrestd has to run as another user than Slurm"
            )
        self.run = Path(tempfile.mkdtemp(prefix="gcn-slurm-"))
        self.run.chmod(0o755)
        self.children, self.names = [], []
        try:
            self._write(lua)
            self._start()
        except BaseException:
            self.stop()
            raise

    def _write(self, lua):
        more, self.plugins = lay_out(self.run)
        self.env = {**os.environ, **more, "SLURM_CONF": str(self.run / "slurm.conf")}
        self.env["PATH"] = f"{self.run / 'bin'}:{os.environ['PATH']}"
        for name, size in (("jwt.key", 32), ("munge.key", 1024)):
            (self.run / name).write_bytes(secrets.token_bytes(size))
            (self.run / name).chmod(0o600)
        nodes, partitions, gres = [], [], []
        ports = free_ports(2 + sum(n for _, n in PARTITIONS.values()))
        self.ports = ports[:2]
        for partition, (gpus, count) in PARTITIONS.items():
            mine = [f"{partition}{k + 1}" for k in range(count)]
            for name in mine:
                at = f"NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2 + len(self.names)]}"
                held = f" Gres=gpu:h100:{gpus}" if gpus else ""
                nodes.append(
                    f"NodeName={name} {at} CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 "
                    f"RealMemory=64000{held}"
                )
                gres += [
                    f"NodeName={name} AutoDetect=off Name=gpu Type=h100 File={d}" for d in DEVICES[:gpus]
                ]
                self.names.append(name)
            partitions.append(f"PartitionName={partition} Nodes={','.join(mine)} MaxTime=INFINITE State=UP")
        conf = CONF.format(
            run=self.run, port=ports[0], nodes="\n".join(nodes), partitions="\n".join(partitions),
            plugins=self.plugins,
        )  # fmt: skip
        (self.run / "slurm.conf").write_text(conf)
        (self.run / "gres.conf").write_text("\n".join(gres) + "\n")
        (self.run / "cgroup.conf").write_text("")
        (self.run / "job_submit.lua").write_text(lua)
        for name in ("state", "spool", "out"):
            (self.run / name).mkdir()
        (self.run / "out").chmod(0o1777)

    def _child(self, *words, log, **options):
        with (self.run / log).open("ab") as out:
            child = subprocess.Popen(
                list(map(str, words)), stdout=out, stderr=out, cwd=self.run, env=self.env, start_new_session=True,
                **options,
            )  # fmt: skip
        self.children.append(child)
        return child

    def _start(self):
        run, programs = self.run, self.run / "bin"
        files = [
            f"--{n}={run}/munge.{f}"
            for n, f in (("socket", "socket"), ("key-file", "key"), ("seed-file", "seed"))
        ]
        files += [f"--{n}={run}/munged.{n}" for n in ("pid-file", "log-file")]
        self._child(programs / "munged", "--foreground", "--force", *files, log="munged.out")
        self._wait(lambda: (run / "munge.socket").exists(), "munged")
        self.controller = self._child(programs / "slurmctld", "-D", "-c", log="slurmctld.out")
        for name in self.names:
            (run / "spool" / name).mkdir()
            self._child(
                programs / "slurmd", "-D", "-N", name, "-d", programs / "slurmstepd", log=f"slurmd.{name}.out"
            )
        self._wait(lambda: self.call("scontrol", "ping", check=False).returncode == 0, "slurmctld")
        self._wait(self._idle, "nodes")
        self.token = (
            self.call("scontrol", "token", "username=root", "lifespan=3600").stdout.strip().split("=", 1)[1]
        )
        self.rest = f"http://127.0.0.1:{self.ports[1]}"
        nobody = pwd.getpwnam("nobody")
        self.env["SLURM_JWT"] = "daemon"  # slurmrestd itself has no munge credential of root's
        names = sorted(p.stem for p in self.plugins.glob("openapi_*.so"))
        mine = [n for n in names if re.fullmatch(r"openapi_(v[\d_]+|slurmctld)", n)]  # others want slurmdbd
        served = [n.replace("openapi_", "openapi/", 1).replace("_", ".") for n in mine]
        self._child(
            programs / "slurmrestd", "-a", "rest_auth/jwt", "-s", ",".join(served), self.rest.removeprefix("http://"),
            log="slurmrestd.out", user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
        )  # fmt: skip
        del self.env["SLURM_JWT"]
        self._wait(lambda: self._listens(self.ports[1]), "slurmrestd")

    def _idle(self):
        states = self.call("sinfo", "-h", "-N", "-o", "%N %t", check=False).stdout.split("\n")
        return {s.split()[0] for s in states if s.endswith(" idle")} >= set(self.names)

    @staticmethod
    def _listens(port):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def _wait(self, ready, what, seconds=30.0):
        end = time.monotonic() + seconds
        while not ready():
            dead = [c.args[0] for c in self.children if c.poll() is not None]
            if dead or time.monotonic() > end:
                logs = [
                    p for p in sorted(self.run.glob("*.out")) + sorted(self.run.glob("*.log")) if p.is_file()
                ]
                tails = "\n".join(f"{p.name}: {p.read_text(errors='replace')[-400:]}" for p in logs)
                raise RuntimeError(f"{what} did not come up in {seconds:g} s; ended: {dead}\n{tails}")
            time.sleep(0.05)

    def call(self, *words, check=True, **options):
        """Run one of Slurm's clients."""
        words = [str(self.run / "bin" / words[0]), *map(str, words[1:])]
        done = subprocess.run(
            words, env=self.env, capture_output=True, text=True, check=False, cwd=self.run, **options
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done

    def load(self, lua):
        """Take another job_submit.lua; slurmctld reads it next, since it is newer by whole seconds."""
        path = self.run / "job_submit.lua"
        later = max(time.time() + 2.0, path.stat().st_mtime + 1.0 if path.exists() else 0.0)
        path.write_text(lua)
        os.utime(path, (later, later))

    def submit(self, *words, command="true", user="nobody", **options):
        """Number of a new job of a plain user, or of root."""
        who = pwd.getpwnam(user)
        more = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if user != "root" else {}
        usual = ("sbatch", "--parsable", "-o", "/dev/null", "-D", self.run / "out", "-t", "10", "--mem=10")
        return int(self.call(*usual, *words, "--wrap", command, **more, **options).stdout)

    def jobs(self, numbers):
        """Job -> (state, partition), as Slurm knows it now."""
        rows = json.loads(self.call("squeue", "--all", "--json").stdout)["jobs"]
        return {j["job_id"]: (j["job_state"], j["partition"]) for j in rows if j["job_id"] in set(numbers)}

    def done(self, numbers):
        """Whether all of these have run to their end."""
        return all(state == "COMPLETED" for state, _ in self.jobs(numbers).values())

    def stop(self):
        """End all children, jobs included, and take the folder away."""
        for sign, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for child in reversed(self.children):
                if child.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, sign)
            end = time.monotonic() + seconds
            while any(c.poll() is None for c in self.children) and time.monotonic() < end:
                time.sleep(0.05)
        shutil.rmtree(self.run, ignore_errors=True)
