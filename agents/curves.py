"""Training runs side by side: learning curves over seeds with intervals, what recipes differ in, how runs ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agents import stats
from agents.compare import BOOTSTRAP_SEED, money
from agents.events import Events
from agents.figures import style
from agents.page import page
from agents.recipe import flat
from agents.report import png, prepare, table
from agents.runs import RunFolder
from gcn_env.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OWN = ("seed",)  # a group of runs differs in nothing else


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        folder: where it is.
        choices: its recipe, by dotted path.
        steps: float64 [n] environment steps of its validations.
        usd: float64 [n] mean cost of the validation weeks [USD per episode].
        rule: that of the best rule named in its recipe; None if it names none.
        hours: of learning; None while it runs.
    """

    folder: Path
    choices: dict[str, Any]
    steps: npt.NDArray[np.float64]
    usd: npt.NDArray[np.float64]
    rule: float | None
    hours: float | None

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Everything chosen but the seed."""
        return tuple((k, str(v)) for k, v in sorted(self.choices.items()) if k not in _OWN)


def read(folder: Path) -> Run:
    """A run from its folder.

    Raises:
        UserError: if it holds no run, or nothing was validated yet.
    """
    run = RunFolder(folder)
    choices = flat(run.recipe().model_dump(mode="json"))
    path = folder / "validation.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = {int(x["timesteps"]): x for x in map(json.loads, lines)}  # a resumed run repeats some
    if not rows:
        raise UserError(
            f"{folder} has no validation yet (validation.jsonl); wait for the first, or set evaluation"
        )
    steps = sorted(rows)
    seconds = run.progress().get("seconds")
    return Run(
        folder, choices, np.array(steps, np.float64),
        np.array([float(rows[s]["total_usd"]) for s in steps]), rows[steps[-1]].get("best_rule_usd"),
        None if seconds is None else float(seconds) / 3600.0,
    )  # fmt: skip


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by what their recipes differ in, in words; a group is one recipe under several seeds."""
    by_key: dict[Any, list[Run]] = {}
    for run in runs:
        by_key.setdefault(run.key, []).append(run)
    keys = {k for key in by_key for k, _ in key}
    differ = [k for k in sorted(keys) if len({dict(key).get(k) for key in by_key}) > 1]
    out: dict[str, list[Run]] = {}
    for members in by_key.values():
        words = ", ".join(f"{k}={members[0].choices.get(k)}" for k in differ)
        name = words or f"{members[0].choices['algo']} on {members[0].choices['scenario']}"
        out[name] = sorted(members, key=lambda r: (r.choices["seed"], str(r.folder)))
    return out


def curve(runs: Sequence[Run]) -> tuple[npt.NDArray[np.float64], list[stats.Estimate]]:
    """Mean cost over seeds with a 95 % interval, at the steps that every run reached."""
    until = min(r.steps[-1] for r in runs)
    steps = np.unique(np.concatenate([r.steps for r in runs]))
    steps = steps[steps <= until]
    at = np.stack([np.interp(steps, r.steps, r.usd) for r in runs])
    return steps, [stats.interval(x, seed=BOOTSTRAP_SEED, statistic=stats.mean) for x in at.T]


def figure(found: dict[str, list[Run]]) -> Figure:
    """Learning curves: a thin line a run, the mean of each group thick with its interval, rules dashed."""
    import matplotlib as mpl

    rc: Any = style.STYLE
    with mpl.rc_context(rc):
        fig = style.figure(4.0 + 0.21 * len(found))
        ax = fig.add_subplot()
        for k, (name, runs) in enumerate(found.items()):
            colour = style.OKABE_ITO[k % len(style.OKABE_ITO)]
            for run in runs:
                ax.plot(run.steps / 1e3, run.usd / 1e3, color=colour, lw=0.8, alpha=0.45)
            steps, means = curve(runs)
            ax.plot(steps / 1e3, [e.value / 1e3 for e in means], color=colour, lw=2.4,
                    label=f"{name}: {len(runs)} seed{'s' if len(runs) > 1 else ''}")  # fmt: skip
            if len(runs) > 1:
                low, high = ([getattr(e, end) / 1e3 for e in means] for end in ("low", "high"))
                ax.fill_between(steps / 1e3, low, high, color=colour, alpha=0.15, lw=0)
        for usd in sorted({round(r.rule, 3) for runs in found.values() for r in runs if r.rule}):
            ax.axhline(usd / 1e3, color="#444444", ls="--", lw=1.2, label=f"best rule, {usd / 1e3:,.1f} kUSD")
        lowest = min(float(r.usd.min()) for runs in found.values() for r in runs)
        usual = np.percentile(np.concatenate([r.usd for runs in found.values() for r in runs]), 90)
        ax.set_ylim(0.97 * lowest / 1e3, max(1.08 * float(usual), 1.05 * lowest) / 1e3)
        ax.set_xlabel("environment steps [thousand]")
        ax.set_ylabel("cost of validation weeks [kUSD per episode]")
        ax.set_title("Learning curves: mean over seeds, 95 % interval of the mean")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=1, fontsize=9)
    return fig


def text(found: dict[str, list[Run]]) -> str:
    """A page: groups, runs, and what may not be concluded."""
    rows, each = [], []
    for name, runs in found.items():
        best = np.array([r.usd.min() for r in runs])
        e = stats.interval(best, seed=BOOTSTRAP_SEED, statistic=stats.mean)
        over = [100.0 * (r.usd.min() / r.rule - 1.0) for r in runs if r.rule]
        spread = f"{money(e.low)} to {money(e.high)}" if len(runs) > 1 else "one seed"
        rows.append(
            [
                name,
                str(len(runs)),
                money(e.value),
                spread,
                f"{np.mean(over):+.1f} %" if over else "not measured",
            ]
        )
        for r in runs:
            hours = "" if r.hours is None else f"{r.hours:.2f}"
            each.append(
                [str(r.folder), str(r.choices["seed"]), f"{r.steps[-1]:,.0f}", money(float(r.usd[0])),
                 money(float(r.usd.min())), money(float(r.usd[-1])), "" if not r.rule else money(r.rule), hours]
            )  # fmt: skip
    thin = [name for name, runs in found.items() if len(runs) < 5]
    lines = [
        "## Recipes",
        "",
        table(
            ["recipe", "seeds", "best validation cost", "95 % interval of the mean", "over the best rule"],
            rows,
        ),
        "",
        "The best checkpoint was chosen on these very weeks, so these figures flatter every run; test weeks decide "
        "(`evaluate.py --policies NAME=run:A,run:B rules`).",
    ]
    if thin:
        lines += ["", f"- **Note:** fewer than five seeds: {'; '.join(thin)}. This is a look, not a claim."]
    head = ["run", "seed", "steps", "first", "best", "last", "best rule", "hours"]
    return "\n".join([*lines, "", "## Runs", "", table(head, each)])


def compare_runs(folders: Sequence[Path], out: Path, *, overwrite: bool = False) -> str:
    """Write the comparison into a folder: Markdown, HTML, figure, TensorBoard; returns the Markdown.

    Raises:
        UserError: for folders without runs, or an `out` that holds something else.
    """
    found = groups([read(folder) for folder in folders])
    prepare(out, overwrite=overwrite)
    picture = png(figure(found))
    title = (
        f"Training runs: {', '.join(sorted({str(r.choices['scenario']) for g in found.values() for r in g}))}"
    )
    body = f"# {title}\n\n{text(found)}\n\n## Learning curves\n\n![learning_curves](figures/learning_curves.png)\n"
    (out / "figures").mkdir(exist_ok=True)
    (out / "figures" / "learning_curves.png").write_bytes(picture)
    (out / "report.html").write_text(page(title, body, {"learning_curves": picture}), encoding="utf-8")
    (out / "report.md").write_text(body, encoding="utf-8")
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    metrics = {"final/best_usd": "best validation cost [USD]", "final/last_usd": "last validation cost [USD]"}
    runs = [r for members in found.values() for r in members]
    with Events(out / "tensorboard" / "comparison") as events:
        events.experiment(list(runs[0].choices), metrics)
        events.text("comparison", text(found))
        events.image("figures/learning_curves", picture)
    for r in runs:
        with Events(out / "tensorboard" / style.slug(str(r.folder))) as events:
            events.session(str(r.folder), r.choices)
            events.scalars("final/best_usd", r.usd.min(keepdims=True), metrics["final/best_usd"])
            events.scalars("final/last_usd", r.usd[-1:], metrics["final/last_usd"])
    payload = {str(r.folder): {"steps": r.steps.tolist(), "total_usd": r.usd.tolist(), "best_rule_usd": r.rule}
               for r in runs}  # fmt: skip
    (out / "results.json").write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")
    return body
