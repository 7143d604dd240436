"""A connection to a Ray cluster: reached in bounded time, checked for versions, with this code on every node."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.cluster import LOCAL, probe
from agents.provenance import PACKAGES
from gcn_env.errors import UserError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads these when it is imported
os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # 30 s are too few on a machine that is busy
os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

REACH_S = 10.0  # for a connection to be accepted
JOIN_S = 120  # for Ray to answer on it
ASK_S = 180.0  # for nodes to say what they have: a first worker process takes seconds, many at once longer
MUST_AGREE = tuple(p for p in PACKAGES if p not in ("gcn-env", "tensorboard", "matplotlib"))
RETRIES = 20  # of a task whose worker or node was lost


@dataclass(frozen=True)
class Cluster:
    """A cluster that answered.

    Attributes:
        address: as it was given.
        cpus: cores of its nodes.
        nodes: how many they are.
        here: what `probe.look` says on this machine: what workers must have.
    """

    address: str
    cpus: int
    nodes: int
    here: dict[str, Any]

    def put(self, value: Any) -> Any:
        """A reference to `value`, for tasks.

        As bytes: arrays that Ray shares between processes are read-only, which to a compiled kernel is another type.
        """
        return ray.put(pickle.dumps(value))


@contextlib.contextmanager
def session(address: str) -> Iterator[Cluster]:
    """See `agents.cluster.connect`."""
    here = probe.look(MUST_AGREE)
    if address != LOCAL:
        reach(address)
    try:
        _init(address, {})
        found = _ask()
        refuse_differences(address, here, found)
        missing = [ip for ip, there in found if there["code"] != here["code"]]
        if missing:
            print(f"ray: {', '.join(missing)} have not this code; it is sent to them", file=sys.stderr)
            ray.shutdown()
            _init(address, {"py_modules": [str(p) for p in code_folders()]})
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if not cpus:
            raise UserError(
                f"the cluster at {address} has no cores; start nodes with `ray start --address=...`"
            )
        yield Cluster(address, cpus, len(found), here)
    finally:
        ray.shutdown()


def code_folders() -> list[Path]:
    """The folders of the packages that tasks need."""
    import agents
    import gcn_env

    return [Path(str(module.__file__)).resolve().parent for module in (gcn_env, agents)]


def reach(address: str) -> None:
    """Refuse an address at which nothing listens; Ray would try for minutes.

    Raises:
        UserError: naming the address.
    """
    found = re.fullmatch(r"(?:ray://)?([^:/]+|\[[^\]]+\]):(\d+)", address)
    if not found:
        return  # `auto` and whatever else Ray knows
    try:
        with socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=REACH_S):
            return
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster can be reached at {address}: {error}; start one with `ray start --head`, or look "
            "whether the port is open"
        ) from None


def _init(address: str, runtime_env: dict[str, Any]) -> None:
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    threads = {"OMP_NUM_THREADS": "1"}  # as here: a sum in another order has other last bits
    with plain_errors(address), contextlib.nullcontext() if address == LOCAL else _within(JOIN_S, address):
        ray.init(
            address=address, log_to_driver=False, logging_level="ERROR",
            runtime_env={"env_vars": threads, **runtime_env}, **options,
        )  # fmt: skip


@contextlib.contextmanager
def _within(seconds: int, address: str) -> Iterator[None]:
    """Give up after so many seconds; Ray itself would try for longer. Main thread only, since it needs a signal."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_: Any) -> None:
        raise UserError(f"nothing that speaks Ray's protocol answered at {address} within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def plain_errors(address: str) -> Iterator[None]:
    """Ray's errors as one line that says what can be done; errors of our own code on a node as themselves."""
    try:
        yield
    except UserError:
        raise
    except RayTaskError as error:
        cause: Any = error.cause
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, ImportError) or "failed to import" in str(error):
            raise UserError(
                f"a node of {address} that joined later has not this code or a package of it ({line(cause)}); "
                "the same command again sends it"
            ) from None
        raise
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(explained(address, error)) from None
    except Exception as error:
        if type(error) is Exception:  # Ray raises bare ones where a node does not start
            raise UserError(explained(address, error)) from None
        raise


def explained(address: str, error: BaseException) -> str:
    """What went wrong at `address`, and what can be done."""
    text = str(error)
    if "uthentic" in text or "token" in text.lower():
        return (
            f"the cluster at {address} wants its token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE or "
            f"RAY_AUTH_TOKEN, as on its nodes ({line(error)})"
        )
    if "ersion mismatch" in text:
        return f"the cluster at {address} runs other versions: {' '.join(text.split())}; install the same"
    if isinstance(error, ConnectionError):
        return f"no Ray cluster answers at {address}: {line(error)}; start one with `ray start --head`"
    return f"Ray at {address}: {type(error).__name__}: {line(error)}"


def line(error: BaseException) -> str:
    """The first line of what an error says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _ask() -> list[tuple[str, dict[str, Any]]]:
    """Address of each node that answers, and what it has; nodes that do not answer in time are passed over."""
    ray.cloudpickle.register_pickle_by_value(probe)
    try:
        nodes = [n for n in ray.nodes() if n["Alive"]]
        look = ray.remote(num_cpus=0, max_retries=0)(probe.look)
        refs = {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(n["NodeID"], soft=False)).remote(
                MUST_AGREE
            ): n["NodeManagerAddress"]
            for n in nodes
        }
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)
    ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=ASK_S)
    found = []
    for ref in ready:
        with contextlib.suppress(RayError):
            found.append((refs[ref], ray.get(ref)))
    return found


def refuse_differences(address: str, here: dict[str, Any], found: list[tuple[str, dict[str, Any]]]) -> None:
    """Refuse nodes with other versions of what results depend on.

    Args:
        address: of the cluster.
        here: what this machine has.
        found: address of each node and what it has.

    Raises:
        UserError: naming nodes, packages and versions; or if no node has answered.
    """
    if not found:
        raise UserError(
            f"no node of the cluster at {address} answered within {ASK_S:.0f} s; see `ray status`"
        )
    wrong = [(ip, probe.differences(here, there)) for ip, there in found]
    lines = [f"{ip} has {', '.join(different)}" for ip, different in wrong if different]
    if lines:
        raise UserError(
            f"versions differ in the cluster at {address}: {'; '.join(lines)}; install the same on all nodes, or run "
            "this command on one of them"
        )


_CHECKED: set[str] = set()
_KEPT: dict[str, Any] = {}


def prepare(here: dict[str, Any]) -> None:
    """In a worker, before it does anything: the same versions and code as where the command runs.

    Raises:
        UserError: naming what differs.
    """
    if here["code"] in _CHECKED:
        return
    there = probe.look(MUST_AGREE)
    ip = ray.util.get_node_ip_address()
    refuse_differences("the driver", here, [(ip, there)])
    if there["code"] != here["code"]:
        raise UserError(
            f"{ip} joined with other code of gcn-env than where the command runs; the same command again sends it"
        )
    _CHECKED.add(here["code"])


def opened(raw: bytes) -> Any:
    """In a worker, what `Cluster.put` was given; the last thing is kept, since many tasks ask for the same."""
    key = sha256(raw).hexdigest()
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = pickle.loads(raw)
    return _KEPT[key]


def compiled(world: Any, view: str) -> None:
    """In a worker, have the step compiled: of a node's workers, one does it, the rest wait."""
    from filelock import FileLock

    from gcn_env.core.jit import CACHE_DIR

    where = sha256(f"{code_folders()[0]} {view}".encode()).hexdigest()[:16]
    done = Path(CACHE_DIR) / f"ray-{where}"
    if done.exists():
        return
    with FileLock(f"{done}.lock"):
        if not done.exists():
            _step_once(world, view)
            done.touch()


def _step_once(world: Any, view: Any) -> None:
    import numpy as np

    from gcn_env.sim import Sim

    sim = Sim(world, 1, view=view)
    sim.reset(np.zeros(1, np.uint64))
    sim.step(np.zeros((1, len(sim.head_sizes)) if view == "joint" else 1, np.int64))


def remote(function: Callable[..., Any], **options: Any) -> Any:
    """`ray.remote` with retries where workers and nodes are lost, and none where our own code raises."""
    return ray.remote(**{"num_cpus": 1, "max_retries": RETRIES, "scheduling_strategy": "SPREAD", **options})(
        function
    )
