"""Run folders that are written elsewhere: they lie where the command runs, and nodes need share no file system.

A task that trains takes the folder as it is, goes on from the checkpoint in it if there is one, and sends back what
changes. A task that is lost with its node is begun again by Ray and does just the same.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agents.cluster.session import Cluster, compiled, opened, plain_errors, prepare, remote
from agents.recipe import Recipe
from agents.runs import RunFolder, atomic_write
from agents.seeds import go_on
from gcn_env.errors import UserError

SEND_S = 10.0  # between looks at what has changed
Watch = Callable[[int, float], None]


class Desk:
    """An actor on the machine of the command, the only one that writes there.

    Args:
        root: folder of the run folders.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def read(self, name: str) -> dict[str, bytes]:
        """Files of the run folder `name` by relative path; empty if there is none."""
        return _files(self._root / name)

    def write(self, name: str, files: dict[str, bytes], present: Sequence[str]) -> None:
        """Take in `files`; checkpoints that are not `present` there any more go here too."""
        for relative, content in files.items():
            _write(self._root / name / relative, content)
        for relative in set(_files(self._root / name)) - set(present):
            if relative.startswith("checkpoints/"):
                (self._root / name / relative).unlink(missing_ok=True)


def desk(cluster: Cluster, root: Path) -> Any:
    """The actor.

    Raises:
        UserError: over ray://, where the command's machine is none of the cluster's.
    """
    if cluster.address.startswith("ray://"):
        raise UserError(
            f"{cluster.address}: run folders are written where the command runs, which must be a node of the cluster; "
            "run it there with --ray auto"
        )
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote(str(root.resolve()))


def train_seeds(
    cluster: Cluster,
    worlds: Sequence[Any],
    recipes: dict[str, Recipe],
    root: Path,
    done: Callable[[str], None],
) -> None:
    """Train in run folders that exist, each a task of one core; lost ones go on from their last checkpoint.

    Args:
        cluster: where.
        worlds: compiled scenarios, the first and the further ones.
        recipes: by name of the folder in `root`.
        root: folder of the run folders.
        done: told the name of each that is finished.
    """
    there, files = cluster.put(list(worlds)), desk(cluster, root)
    task = remote(train_there)
    refs = {task.remote(cluster.here, there, r, name, files): name for name, r in recipes.items()}
    left = list(refs)
    while left:
        with plain_errors(cluster.address):
            (ready, *_), left = ray.wait(left, num_returns=1)
            ray.get(ready)
        done(refs[ready])


def train_there(here: dict[str, Any], worlds: bytes, recipe: Recipe, name: str, files: Any) -> None:
    """In a worker: the run in folder `name`, from where it stopped."""
    prepare(here)
    fleets = opened(worlds)
    compiled(fleets[0], recipe.view)
    with mirrored(name, files) as (run, _):
        go_on(run, recipe, fleets)


@contextmanager
def mirrored(name: str, files: Any) -> Iterator[tuple[RunFolder, Callable[[], None]]]:
    """A copy of the run folder `name` of a `Desk`, whose changes are sent back now and then, when asked, and last."""
    with tempfile.TemporaryDirectory(prefix="gcn-") as scratch:
        folder = Path(scratch) / name
        sent: dict[str, bytes] = ray.get(files.read.remote(name))
        for relative, content in sent.items():
            _write(folder / relative, content)
        run = RunFolder(folder)
        if sent:
            run.checkpoints.mkdir(exist_ok=True)  # empty at first, so that nothing of it was sent
        lock, over = threading.Lock(), threading.Event()

        def send() -> None:
            with lock:
                now = _files(folder)
                changed = {k: v for k, v in now.items() if sent.get(k) != v}
                if changed:
                    ray.get(files.write.remote(name, changed, list(now)))
                    sent.clear()
                    sent.update(now)

        def often() -> None:
            while not over.wait(SEND_S):
                send()

        sender = threading.Thread(target=often, daemon=True)
        sender.start()
        try:
            yield run, send
        finally:
            over.set()
            sender.join()
            send()


def _files(folder: Path) -> dict[str, bytes]:
    """All whole files by relative path."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".part":
            try:
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
            except FileNotFoundError:  # pruned since
                continue
    return found


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: file.write(content))
