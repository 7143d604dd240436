"""The decision log: one JSON object a line, rotated by size; the report of what a shadowed policy would have saved."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from agents.serving.decision import POLICY, RULE, Decision
from gcn_env.errors import UserError


class Lines:
    """Appends lines to a file; at `most_bytes` the file becomes `.1`, `.1` becomes `.2`, and so on up to `keep`."""

    def __init__(self, path: str | Path | None, most_bytes: int = 64 << 20, keep: int = 5) -> None:
        self.path = None if path is None else Path(path)
        self.most_bytes, self.keep = most_bytes, keep
        self._file: BinaryIO | None = None
        self._size = 0
        if self.path is not None:
            self._open(self.path)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise UserError(f"log {path}: {error.strerror}; name another file") from None
        self._file = os.fdopen(fd, "ab", buffering=0)
        self._size = os.fstat(fd).st_size

    def append(self, line: bytes) -> None:
        """Add a line, which ends with a line feed."""
        if self._file is None:
            return
        if self._size and self._size + len(line) > self.most_bytes:
            self._rotate()
        self._file.write(line)
        self._size += len(line)

    def _rotate(self) -> None:
        assert self.path is not None
        self.close()
        for k in range(self.keep, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{k}")
            newer = self.path if k == 1 else self.path.with_name(f"{self.path.name}.{k - 1}")
            if newer.exists():
                newer.replace(older)
        self._open(self.path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class DecisionLog(Lines):
    """A log of decisions."""

    def write(self, decision: Decision, request: str, bundle: str) -> None:
        """Log one decision."""
        if self._file is None:
            return
        import orjson

        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "request": request, "kind": decision.kind,
            "by": decision.by, "reason": decision.reason, "bundle": bundle, "inputs": decision.inputs,
            "seconds": round(decision.seconds, 6), "answer": _short(decision), "shadow": decision.shadow,
            "corrections": decision.corrections,
        }  # fmt: skip
        self.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))


def _short(decision: Decision) -> dict[str, Any]:
    """An answer as it is logged: candidates as `pool: score`, refused ones as `pool: null`."""
    if decision.kind != "score":
        return decision.answer
    scores = {c["pool"]: None if c["refused"] else c["score"] for c in decision.answer["candidates"]}
    return {**decision.answer, "candidates": scores}


def lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """Entries of a log, oldest file first; a last line that was cut off is left out."""
    base = Path(path)
    older = sorted(base.parent.glob(f"{base.name}.*"), key=lambda p: p.suffix, reverse=True)
    if not base.is_file():
        raise UserError(f"no decision log {base}")
    for file in [*older, base]:
        with file.open(encoding="utf-8") as text:
            for line in text:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


def savings(path: str | Path) -> dict[str, Any]:
    """What a log says of policy and rule on the same questions.

    Expected USD are the encoder's, of each choice at its moment: an estimate that no later event corrects. A job that
    is asked about again counts again.
    """
    counts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    compared = differ = corrected = levels = 0
    usd = {POLICY: 0.0, RULE: 0.0}
    for entry in lines(path):
        counts[entry["kind"]] = counts.get(entry["kind"], 0) + 1
        if entry["reason"]:
            reasons[entry["reason"]] = reasons.get(entry["reason"], 0) + 1
        corrected += len(entry["corrections"])
        shadow = entry["shadow"]
        if entry["kind"] == "setpoints":
            levels += sum(x[POLICY] != x[RULE] for x in shadow.values())
            continue
        for both in [shadow] if POLICY in shadow else shadow.values():
            if both[POLICY]["usd"] is None or both[RULE]["usd"] is None:
                continue
            compared += 1
            differ += both[POLICY]["choice"] != both[RULE]["choice"]
            for who in usd:
                usd[who] += both[who]["usd"]
    return {
        "decisions": counts, "reasons": reasons, "corrections": corrected, "compared": compared, "differ": differ,
        "plants_set_otherwise": levels, "expected_usd": usd, "saved_usd": usd[RULE] - usd[POLICY],
    }  # fmt: skip


def report(path: str | Path) -> str:
    """`savings` in words, as Markdown."""
    s = savings(path)
    share = 100.0 * s["saved_usd"] / abs(s["expected_usd"][RULE]) if s["expected_usd"][RULE] else 0.0
    rows = "".join(f"| {k} | {v:,} |\n" for k, v in s["decisions"].items())
    why = "".join(f"| {k} | {v:,} |\n" for k, v in s["reasons"].items()) or "| (none) | 0 |\n"
    return (
        f"Policy against rule on {s['compared']:,} placements: they differ on {s['differ']:,}; the policy's choices "
        f"are expected to cost {s['saved_usd']:,.2f} USD less ({share:.1f} % of {s['expected_usd'][RULE]:,.2f} USD). "
        f"Plants would have been set otherwise {s['plants_set_otherwise']:,} times; "
        f"guards took back {s['corrections']:,} choices.\n\n"
        "Expected costs are those of the moment of each choice; nothing that happened later is in them.\n\n"
        f"| kind | decisions |\n|---|---:|\n{rows}\n| why the rule decided | times |\n|---|---:|\n{why}"
    )
