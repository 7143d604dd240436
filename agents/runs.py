"""Run folders: what a training run was, and files that are whole at any moment.

    config.yaml      the resolved recipe             command.txt     the exact command
    scenario.yaml    the resolved scenario           about.json      versions, commit, layouts, data
    fingerprints progress.json    how far it is, best validation  checkpoints/    step_*.pt (the last ones),
    best.pt tensorboard/     event files

No torch here: a report reads run folders without it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from agents.provenance import git_commit, versions
from agents.recipe import Recipe, checked
from gcn_env.errors import UserError
from gcn_env.observation import TABLES
from gcn_env.scenario.load import read_yaml
from gcn_env.tables import first_difference, to_list

STEP_FILE = "step_{:012d}.pt"
BEST_FILE = "best.pt"
PARTIAL = ".part"


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that is either the old one or the new one, also if the power fails in between."""
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # the rename itself; folders cannot be opened everywhere
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """`atomic_write` of text."""
    atomic_write(path, lambda file: file.write(text.encode()))


def layout() -> dict[str, list[dict[str, Any]]]:
    """The observation's column tables as plain values."""
    return {table.name: to_list(table) for table in TABLES}


def check_layout(saved: Mapping[str, list[dict[str, Any]]], what: str) -> None:
    """Refuse weights made for other observation columns.

    Raises:
        UserError: naming the first row that differs.
    """
    for table in TABLES:
        difference = first_difference(table, saved.get(table.name, []))
        if difference is not None:
            raise UserError(f"{what} was trained on another observation: {difference}; train it again")


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one training run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / "tensorboard"

    @property
    def best(self) -> Path:
        """The weights with the least validation cost."""
        return self.checkpoints / BEST_FILE

    def steps(self) -> list[Path]:
        """Full checkpoints, oldest first."""
        return sorted(self.checkpoints.glob("step_*.pt"))

    @property
    def timesteps(self) -> int:
        """Environment steps of the last full checkpoint; 0 without one."""
        steps = self.steps()
        return int(steps[-1].stem.removeprefix("step_")) if steps else 0

    def step_file(self, timesteps: int) -> Path:
        """Where the full checkpoint of `timesteps` goes."""
        return self.checkpoints / STEP_FILE.format(timesteps)

    def prune(self, keep: int) -> None:
        """Remove all but the last `keep` full checkpoints, and what an interrupted write left."""
        for path in self.steps()[:-keep]:
            path.unlink(missing_ok=True)
        for path in self.checkpoints.glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def recipe(self) -> Recipe:
        """The recipe of this run.

        Raises:
            UserError: if the folder holds no run.
        """
        config = self.path / "config.yaml"
        if not config.is_file():
            raise UserError(f"{self.path} holds no training run (no config.yaml in it)")
        return checked(read_yaml(config), str(config))

    def about(self) -> dict[str, Any]:
        """What about.json says; empty if it is missing."""
        path = self.path / "about.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def progress(self) -> dict[str, Any]:
        """What progress.json says; empty if nothing was written yet."""
        path = self.path / "progress.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def note(self, **values: Any) -> None:
        """Update progress.json."""
        write_text(self.path / "progress.json", json.dumps({**self.progress(), **values}, indent=1) + "\n")

    def log_command(self, command: str) -> None:
        """Add a command to command.txt."""
        path = self.path / "command.txt"
        write_text(path, (path.read_text() if path.is_file() else "") + command + "\n")

    def check_world(self, world: Any) -> None:
        """Refuse to go on in a world that is not the one the run began in.

        Raises:
            UserError: naming what differs.
        """
        about = self.about()
        check_layout(about["observation"], str(self.path))
        if about["world"] != world.fingerprint:
            data = {k: (v, world.data_fingerprints.get(k)) for k, v in about["data"].items()}
            changed = [k for k, (old, new) in data.items() if old != new]
            reason = (
                f"these data files differ: {', '.join(changed)}"
                if changed
                else "its scenario reads differently"
            )
            raise UserError(f"{self.path} began in another world: {reason}; start a new run")


def free_name(root: Path, stem: str) -> Path:
    """`root/stem`, or the first of `root/stem-2`, `-3`, ... that does not exist."""
    number, path = 1, root / stem
    while path.exists():
        number += 1
        path = root / f"{stem}-{number}"
    return path


def create(path: Path, recipe: Recipe, world: Any, command: str) -> RunFolder:
    """Make a run folder and write what the run is.

    Raises:
        UserError: if the folder exists (a run is never overwritten) or cannot be made.
    """
    run = RunFolder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        run.checkpoints.mkdir()
    except FileExistsError:
        raise UserError(
            f"run folder {path} exists; continue it with --resume {path}, or name another --run"
        ) from None
    except OSError as error:
        raise UserError(f"cannot make the run folder {path}: {error.strerror}") from None
    write_text(path / "config.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    scenario = world.scenario.model_dump(mode="json", exclude_none=True)
    write_text(path / "scenario.yaml", yaml.safe_dump(scenario, sort_keys=False))
    write_text(path / "command.txt", command + "\n")
    about = {
        "seed": recipe.seed, "versions": versions(), "git_commit": git_commit(), "world": world.fingerprint,
        "data": dict(world.data_fingerprints), "observation": layout(),
        "fingerprints": {t.name: t.fingerprint for t in TABLES},
    }  # fmt: skip
    write_text(path / "about.json", json.dumps(about, indent=1) + "\n")
    run.note(timesteps=0, of=recipe.timesteps, status="started")
    return run
