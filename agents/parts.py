"""Finished units of an evaluation on disk, so that one that was interrupted goes on where it stopped.

A unit is one policy through one batch of episodes; its file holds what `agents.evaluation` made of it, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import Done, Unit
from agents.runs import atomic_write
from gcn_env.errors import UserError
from gcn_env.record import Record

FOLDER = "parts"
_PLAN = "plan.json"


class Parts:
    """Units of one evaluation in a folder of its report.

    Args:
        report: folder of the report.
        plan: what decides the numbers (scenario, policies, seed, split, episodes), as plain values.
        resume: take over what an earlier attempt left; else it is removed.

    Raises:
        UserError: if what is there is of another evaluation.
    """

    def __init__(self, report: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
        self.folder, self.taken = report / FOLDER, 0
        wanted = json.loads(json.dumps(plan))
        there = self.folder / _PLAN
        if resume and there.is_file():
            found = json.loads(there.read_text(encoding="utf-8"))
            if found != wanted:
                keys = [k for k in wanted if found.get(k) != wanted[k]]
                raise UserError(
                    f"{report} holds parts of another evaluation ({', '.join(keys)} differ); "
                    "give the command that began it, or another --out"
                )
            return
        self.remove()
        self.folder.mkdir(parents=True)
        there.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")

    def _path(self, unit: Unit) -> Path:
        digest = hashlib.sha256(unit.policy.encode()).hexdigest()[:16]
        return self.folder / f"{digest}-{unit.run}-{unit.first}-{unit.last}-{unit.keep}.npz"

    def get(self, unit: Unit) -> Done | None:
        """A unit that was finished before; None if it was not, or its file is damaged."""
        try:
            with np.load(self._path(unit), allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            record = None
            if "usd" in data:
                stints = tuple(data[f"stints_{k}"] for k in range(len(data["usd"])))
                record = Record(data["regions"], data["fleet"], data["usd"], float(data["bucket_h"]), stints)
            done = Done(data["kpis"], data["start"], record)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self.taken += 1
        return done

    def put(self, unit: Unit, done: Done) -> None:
        """Keep a unit; at any moment its file is whole."""
        arrays: dict[str, Any] = {"kpis": done.kpis, "start": done.start}
        if done.record is not None:
            r = done.record
            arrays |= {"regions": r.regions, "fleet": r.fleet, "usd": r.usd, "bucket_h": r.bucket_h}
            arrays |= {f"stints_{k}": rows for k, rows in enumerate(r.stints)}
        atomic_write(self._path(unit), lambda file: np.savez(file, **arrays))

    def remove(self) -> None:
        """Forget everything: the report is written, or a new one begins."""
        shutil.rmtree(self.folder, ignore_errors=True)
