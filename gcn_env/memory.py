"""Memory: what is free, and a refusal before it is taken rather than a kill afterwards."""

from __future__ import annotations

from pathlib import Path

from gcn_env.errors import UserError

GIB = 2.0**30
WORTH_A_LOOK = 2**26  # bytes; less is not checked


def free_bytes(root: Path = Path("/")) -> float:
    """Bytes that can still be taken: the machine's, or those of the control group it runs in; inf where unknown."""
    free = float("inf")
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = 1024.0 * int(line.split()[1])
    group = root / "sys/fs/cgroup"
    limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free = min(free, float(limit) - float(used))
    return free


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def check(each: int, n_envs: int, world: str) -> None:
    """Refuse a batch that does not fit.

    Args:
        each: bytes of an environment.
        n_envs: how many are wanted.
        world: name of the scenario.

    Raises:
        UserError: saying what is needed, what is there, and how many environments would fit.
    """
    need = each * n_envs
    if need < WORTH_A_LOOK:
        return
    free = free_bytes()
    if need > free:
        fit = int(0.9 * free / each)
        remedy = (
            f"lower --envs (n_envs) to {fit:,}"
            if fit
            else "take a smaller scenario (slots, job_places, pools)"
        )
        raise UserError(
            f"{n_envs:,} environments of {world!r} need {need / GIB:.1f} GiB, {free / GIB:.1f} GiB are free: {remedy}"
        )
