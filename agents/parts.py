"""Finished units of an evaluation on disk: one that was interrupted goes on there, a report is made again from there.

A unit is one policy through one batch of episodes; its file holds what `agents.evaluation` made of it, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.compare import Comparison
from agents.evaluation import BATCH, Fleet, Results, assemble, episode_seeds, plan
from agents.runs import atomic_write, write_text
from agents.units import Done, Unit
from gcn_env.errors import UserError
from gcn_env.record import Record

FOLDER = "parts"
PLAN, _INPUTS = "plan.json", "inputs.json"


class Parts:
    """Units of one evaluation in a folder of its report.

    Args:
        report: folder of the report.
        plan: what decides the numbers (scenario, policies, seed, split, episodes), as plain values.
        resume: take over what an earlier attempt left, policy by policy; else it is removed.

    Raises:
        UserError: if what is there is of another evaluation.
    """

    def __init__(self, report: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
        self.folder, self._plan = report / FOLDER, None
        wanted = json.loads(json.dumps(plan))
        there = self.folder / PLAN
        if not (resume and there.is_file()):
            remove(report)
        else:
            found = json.loads(there.read_text(encoding="utf-8"))
            keys = [k for k in wanted if k != "policies" and found.get(k) != wanted[k]]
            if keys:
                raise UserError(
                    f"{report} holds parts of another evaluation ({', '.join(keys)} differ); "
                    "give the command that began it, or another --out"
                )
            for name, specs in found.get("policies", {}).items():
                if (
                    wanted.get("policies", {}).get(name) != specs
                ):  # another policy of that name, or none any more
                    for path in self.folder.glob(f"{_digest(name)}-*.npz"):
                        path.unlink()
        self._plan = wanted

    def _path(self, unit: Unit) -> Path:
        return self.folder / f"{_digest(unit.policy)}-{unit.run}-{unit.first}-{unit.last}-{unit.keep}.npz"

    def get(self, unit: Unit) -> Done | None:
        """A unit that was finished before; None if it was not, or its file is damaged."""
        try:
            with self._path(unit).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            record = None
            if "usd" in data:
                stints = tuple(data[f"stints_{k}"] for k in range(len(data["usd"])))
                record = Record(data["regions"], data["fleet"], data["usd"], float(data["bucket_h"]), stints)
            done = Done(data["kpis"], data["start"], record)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return done

    def put(self, unit: Unit, done: Done) -> None:
        """Keep a unit; at any moment its file is whole."""
        self._begin()
        arrays: dict[str, Any] = {"kpis": done.kpis, "start": done.start}
        if done.record is not None:
            r = done.record
            arrays |= {"regions": r.regions, "fleet": r.fleet, "usd": r.usd, "bucket_h": r.bucket_h}
            arrays |= {f"stints_{k}": rows for k, rows in enumerate(r.stints)}
        atomic_write(self._path(unit), lambda file: np.savez_compressed(file, **arrays))

    def _begin(self) -> None:
        """Write the plan, once there is something to keep."""
        if self._plan is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / PLAN, json.dumps(self._plan, indent=1) + "\n")
            self._plan = None

    def note(self, results: Results, inputs: Mapping[str, Any]) -> None:
        """Keep what else a report is made of, as plain values."""
        self._begin()
        plain = {
            **inputs,
            "fleet": results.fleet._asdict(),
            "teams": {name: len(results.each_run("total_usd", name)) for name in results.policies},
            "unfinished": results.unfinished,
            "learned": sorted(results.learned),
            "bound": None if results.bound is None else results.bound.tolist(),
        }
        write_text(self.folder / _INPUTS, json.dumps(plain, indent=1) + "\n")


def _digest(policy: str) -> str:
    return hashlib.sha256(policy.encode()).hexdigest()[:16]


def report_again(out: Path) -> Comparison:
    """Make the report in a folder again, from what was measured.

    Raises:
        UserError: if the folder holds no parts of an evaluation, or they are damaged.
    """
    from agents import report

    path = out / FOLDER / _INPUTS
    if not path.is_file():
        raise UserError(f"{out} holds no parts of an evaluation ({path.name}); evaluate.py writes them")
    inputs = json.loads(path.read_text(encoding="utf-8"))
    plan_ = json.loads((out / FOLDER / PLAN).read_text(encoding="utf-8"))
    parts = Parts(out, plan_, resume=True)
    units = plan(inputs["teams"], plan_["episodes"], plan_["keep"], BATCH)
    done = {u: found for u in units if (found := parts.get(u)) is not None}
    if not done:
        raise UserError(f"the parts in {out} cannot be read; evaluate again")
    fleet = Fleet(*(_tuples(inputs["fleet"][name]) for name in Fleet._fields))
    results = assemble(
        fleet,
        inputs["teams"],
        units,
        done,
        episode_seeds(plan_["seed"], plan_["episodes"]),
        inputs["learned"],
    )
    bound = None if inputs["bound"] is None else np.array(inputs["bound"])
    results = replace(results, bound=bound, unfinished=tuple(inputs["unfinished"]))
    kept = {n: (out / n).read_text(encoding="utf-8") for n in report.OTHER_FILES if (out / n).is_file()}
    return report.write(out, results, inputs["meta"], inputs["pages"], kept)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def remove(report: Path) -> None:
    """Forget the parts in the folder of a report."""
    shutil.rmtree(report / FOLDER, ignore_errors=True)
