"""Slurm through its own commands, where there is no slurmrestd: `squeue`, `sinfo` and `scontrol` of an operator."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from agents.adapters.slurm.queue import Job, Node, SlurmError, job_of, node_of, relative

NODES = (("scontrol", "show", "nodes", "--json"), ("sinfo", "--json"))  # from 23.02, and 22.05


class Commands:
    """The same as `Rest`, a process a call.

    Args:
        timeout_s: of one command.
    """

    def __init__(self, timeout_s: float = 15.0) -> None:
        self.timeout_s = timeout_s
        self._nodes: tuple[str, ...] | None = None  # what tells nodes here

    def close(self) -> None:
        """Nothing stays open."""

    def _run(self, *words: str) -> str:
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                timeout=self.timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SlurmError(f"{words[0]}: {error!s:.200}") from None
        if done.returncode:
            raise SlurmError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[:300]}")
        return done.stdout

    def _rows(self, words: tuple[str, ...], what: str) -> list[dict[str, Any]]:
        text = self._run(*words)
        try:
            rows = json.loads(text)[what]
        except (ValueError, KeyError, TypeError):
            raise SlurmError(f"{' '.join(words)}: no JSON with {what!r}") from None
        if not isinstance(rows, list):
            raise SlurmError(f"{' '.join(words)}: {what!r} is no list")
        return rows

    def jobs(self) -> list[Job]:
        """All jobs that Slurm still remembers."""
        return [job_of(row) for row in self._rows(("squeue", "--all", "--json"), "jobs")]

    def nodes(self) -> list[Node]:
        """All nodes."""
        for words in NODES if self._nodes is None else (self._nodes,):
            try:
                found = [node_of(row) for row in self._rows(words, "nodes")]
            except SlurmError:
                if words == NODES[-1] or self._nodes is not None:
                    raise
                continue
            self._nodes = words
            return found
        raise AssertionError("unreachable")

    def place(self, job: Job, partitions: str, begin: float, held: bool) -> None:
        """One update; a held job takes a second command, after it has its partition."""
        when = () if held else (f"StartTime={relative(begin)}",)
        self._run("scontrol", "update", f"JobId={job.id}", f"Partition={partitions}", *when)
        if held:
            self._run("scontrol", "release", str(job.id))

    def delay(self, job: Job, begin: float) -> None:
        """Move the earliest start."""
        self._run("scontrol", "update", f"JobId={job.id}", f"StartTime={relative(begin)}")
