"""The table of results that pages quote: condensed from an evaluation by command, kept beside the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.report import table
from gcn_env.errors import UserError

_KEYS = ("late_share", "slo_miss_share", "energy_mwh", "carbon_t", "excursion_kh")


def read(path: Path) -> dict[str, Any]:
    """What a page needs of a `results.json`; a summary that was saved is taken as it is.

    Raises:
        UserError: if it is neither.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if "policies" in said and "meta" not in said:
            return dict(said)
        lines = said["comparison"]
        policies = {
            x["policy"]: {
                **{k: x[k] for k in ("learned", "runs", "cost", "mean", "percent", "verdict")},
                **{k: _mean(said["policies"][x["policy"]][k]) for k in _KEYS},
            }
            for x in lines
        }
        return {
            "command": said["meta"]["command"], "scenario": said["meta"]["scenario"],
            "episodes": said["episodes"], "reference": said["reference"], "policies": policies,
            "bound": said["bound"], "verdict": said["verdict"], "warnings": said["warnings"],
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no results.json of evaluate.py: {error!r:.120}") from None


def _mean(values: list[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / max(len(known), 1)


def page(summary: dict[str, Any]) -> str:
    """The table in Markdown: learned policies, each placement rule with the cooling that serves it best, and B0.

    Args:
        summary: of `read`; policies are in order of cost.
    """
    names, seen = list(summary["policies"]), set[str]()
    rows = []
    for name in names:
        placement, _, cooling = name.partition("+")
        if summary["policies"][name]["learned"] or cooling == "b0" or placement not in seen:
            rows.append(_row(name, summary))
        seen.add(placement)
    head = [
        "policy", "kUSD per week (interquartile mean)", "plain mean", "against the best rule", "late jobs",
        "latency misses", "MWh", "t CO2e",
    ]  # fmt: skip
    words = " ".join(summary["verdict"])
    return f"{words}\n\n{table(head, rows)}\n\n`python {summary['command']}`\n"


def _row(name: str, summary: dict[str, Any]) -> list[str]:
    x = summary["policies"][name]
    cost, p = x["cost"], x["percent"]
    team = f", {x['runs']} training seeds" if x["runs"] > 1 else ""
    against = "the best rule" if p is None else f"{p['value']:+.1f} % ({p['low']:+.1f} to {p['high']:+.1f})"
    return [
        f"**{name}**{team}" if x["learned"] else f"`{name}`",
        f"{cost['value'] / 1e3:.1f} ({cost['low'] / 1e3:.1f} to {cost['high'] / 1e3:.1f})",
        f"{x['mean'] / 1e3:.1f}", against, f"{100 * x['late_share']:.1f} %", f"{100 * x['slo_miss_share']:.1f} %",
        f"{x['energy_mwh']:.1f}", f"{x['carbon_t']:.1f}",
    ]  # fmt: skip
