"""Where a result came from: versions, commit, layouts. No clock and no host: equal runs write equal files."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.metrics import KPIS

PACKAGES = (
    "gcn-env",
    "numpy",
    "numba",
    "scipy",
    "gymnasium",
    "pydantic",
    "torch",
    "stable-baselines3",
    "tensorboard",
    "matplotlib",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages a result may depend on; nothing is imported for it."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = "not installed"
    return out


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, `+changes` if tracked files differ; None outside git."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():  # installed inside someone else's repository: that commit says nothing
        return None
    head = _git(here, "rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")


def layouts() -> dict[str, str]:
    """Fingerprints of the tables that give results their columns."""
    return {t.name: t.fingerprint for t in (TERMS, FLOWS, COUNTS, KPIS)}


def provenance(command: str, config: dict[str, Any]) -> dict[str, Any]:
    """Everything a reader needs to repeat a result."""
    return {
        "command": command,
        "config": config,
        "versions": versions(),
        "git_commit": git_commit(),
        "layouts": layouts(),
    }


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
