"""Cards of the shipped policies: what `agents/trained/NAME.json` says, in words. No torch: a page needs no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.runs import RunFolder
from gcn_env.errors import UserError, nearest

FOLDER = Path(__file__).resolve().parent / "trained"


def names(folder: Path = FOLDER) -> list[str]:
    """Names of the shipped policies."""
    return sorted(p.stem for p in folder.glob("*.safetensors"))


def document(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """What `NAME.json` says: view, network, observation, card.

    Raises:
        UserError: if there is no such policy (names the shipped ones and the nearest), or its file is damaged.
    """
    known = names(folder)
    if name not in known:
        raise UserError(f"no shipped policy {name!r}{nearest(name, known)} (shipped: {', '.join(known)})")
    path = folder / f"{name}.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} cannot be read: {error}; install the package again") from error


def figures(results: Path, run: Path) -> dict[str, Any]:
    """What an evaluation measured of a run, for its card.

    Args:
        results: `results.json` of `evaluate.py`.
        run: folder of the run, as it was named to `evaluate.py`.

    Raises:
        UserError: if the evaluation did not see the run.
    """
    said = json.loads(results.read_text())
    specs = {
        name: team.split(",") if isinstance(team, str) else team
        for name, team in said["meta"]["specs"].items()
    }
    mine = [n for n, team in specs.items() if any(Path(s.partition(":")[2]) == run for s in team)]
    lines = {line["policy"]: line for line in said["comparison"]}
    if not mine or mine[0] not in lines:
        raise UserError(f"{results} knows nothing of {run} (it compares {', '.join(lines)})")
    line = lines[mine[0]]
    return {
        "command": said["meta"]["command"], "episodes": said["episodes"], "runs": line["runs"],
        "scenario": said["meta"]["scenario"], "reference": said["reference"],
        "usd": line["cost"], "mean_usd": line["mean"], "percent": line["percent"], "verdict": line["verdict"],
    }  # fmt: skip


def headlines(folder: Path = FOLDER) -> str:
    """One line for each shipped policy."""
    return "".join(f"{'trained:' + n:22s} {_headline(document(n, folder)['card'])}\n" for n in names(folder))


def _percent(found: dict[str, Any]) -> str:
    p = found["percent"]
    return f"{p['value']:+.1f} % ({p['low']:+.1f} to {p['high']:+.1f})"


def _seeds(found: dict[str, Any]) -> str:
    return f"{found['runs']} training seed{'s' * (found['runs'] > 1)}"


def _headline(card: dict[str, Any]) -> str:
    recipe, found = card["recipe"], card["results"]
    text = f"{recipe['algo'].upper()} of {recipe['scenario']}, {card['trained_at_steps']:,} steps"
    if found and found["percent"]:
        text += f"; {_percent(found)} against {found['reference']}, {_seeds(found)} x {found['episodes']} test weeks"
    return text


def _rows(view: str, card: dict[str, Any]) -> dict[str, str]:
    """What a card says, line by line."""
    recipe, found = card["recipe"], card["results"]
    start = recipe["warm_start"]["policy"]
    others = "".join(f", `{name}`" for name in recipe.get("worlds", ()))
    rows = {
        "algorithm": f"{recipe['algo'].upper()} on the {view} view",
        "trained on": f"`{recipe['scenario']}` (`{card['world']}`){others}, training years and seeds only",
        "began as": f"a clone of `{start}`" if start else "uniform choices",
        "steps": f"{card['trained_at_steps']:,} of {recipe['timesteps']:,}, chosen by validation weeks",
        "time": f"{(card['seconds'] or 0) / 3600:.2f} h on one core, without the warm start",
        "seed": f"{recipe['seed']}",
        "made with": ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
        "commands": "; ".join(f"`python {c.removeprefix('python ')}`" for c in card["commands"]),
    }
    margin = recipe["network"].get("margin_h")
    if margin is not None:
        rows["acts with"] = (
            f"a margin: {margin:g} h of slack where a job is sent, and for each step until it is asked again"
        )
    if found and found["percent"]:
        rows["measured"] = (
            f"{_percent(found)} against `{found['reference']}`, the best "
            f"rule, over {found['episodes']} test weeks and {_seeds(found)}; "
            f"`python {found['command']}`"
        )
    return rows


def of_run(run: RunFolder) -> dict[str, Any]:
    """What the folder of a run says of it."""
    about, progress = run.about(), run.progress()
    commands = run.path / "command.txt"
    return {
        "recipe": run.recipe().model_dump(mode="json"), "trained_at_steps": progress.get("timesteps", 0),
        "seconds": progress.get("seconds"),
        "commands": commands.read_text().splitlines() if commands.is_file() else [],
        "versions": about["versions"], "world": about["world"], "data": about["data"], "results": None,
    }  # fmt: skip


def card_of(spec: str) -> str:
    """The card of a learned policy in Markdown; empty for rules, bundles and runs that cannot say."""
    kind, _, rest = spec.partition(":")
    if kind == "trained":
        about = document(rest)
        rows = _rows(about["view"], about["card"])
    elif kind == "run" and (run := RunFolder(Path(rest))).progress() and run.about():
        card = of_run(run)
        rows = _rows(run.recipe().view, card)
        rows["steps"] = f"{card['trained_at_steps']:,}; the best of them by validation weeks"
    else:
        return ""
    return f"### {spec}\n\n" + _card(rows)


def _card(rows: dict[str, str]) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in rows.items())


def page(folder: Path = FOLDER) -> str:
    """The cards as Markdown (`agents/trained/README.md`)."""
    parts = [_HEAD]
    for name in names(folder):
        about = document(name, folder)
        parts.append(f"\n## trained:{name}\n\n{_card(_rows(about['view'], about['card']))}")
    return "".join(parts)


_HEAD = """# Shipped policies

Written by `python -m agents cards`; a test compares. Each policy is `NAME.safetensors` (numbers only) and `NAME.json`
(network, observation columns, card). They are loaded by name wherever a policy is named: `evaluate.py --policies
trained:ppo-default rules`.

**Limits.** A policy knows the observation columns in its JSON file and refuses others. It was trained on synthetic
years; `evaluate.py` with your own scenario says what it is worth there, and the pages above its figures say where it
was not better than a rule. It was never trained on tasks, plants or prices beyond its scenario's: elsewhere it can be
far worse than a rule (`benchmarks/learning.md`, "Elsewhere"). Evaluate it on your fleet before you believe it.
`dqn-default` is there to be studied, not deployed: no better than the best rule, it lets work pile up in a bad week.
Fleets a hundred times as large as those in training are beyond all of them: there they leave most work undone.
"""
