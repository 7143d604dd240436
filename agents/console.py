"""What a person at a terminal sees of an evaluation: a progress bar, then the verdict and a small table."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from agents.compare import Comparison, money
from agents.units import Progress


def progress_bar(stack: ExitStack) -> Progress:
    """A progress bar on standard error, as a callback of `agents.evaluation.evaluate`; `stack` closes it."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Bar(*columns, console=Console(stderr=True)))
    task = bar.add_task("starting (a first run compiles for a minute or two)", total=1.0)
    return lambda name, share: bar.update(task, completed=share, description=name)


def show(comparison: Comparison, out: Path) -> None:
    """Print the table, the verdict, and where the rest is."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=110)  # eighty columns would cut the costs off
    table = Table(box=None)
    for title in ("policy", "cost", "against the reference", "verdict"):
        table.add_column(title, no_wrap=True)
    for x in comparison.lines:
        p = x.percent
        share = "" if p is None else f"{p.value:+.1f} % ({p.low:+.1f} to {p.high:+.1f})"
        table.add_row(x.policy, money(x.cost.value), share, x.verdict or "reference")
    console.print(table)
    for text in (*comparison.sentences, *(f"Note: {w}" for w in comparison.warnings)):
        console.print(Markdown(text))
    console.print(f"\nReport: {out / 'report.html'} (or report.md)", highlight=False, soft_wrap=True)
    console.print(f"Look closer: tensorboard --logdir {out / 'tensorboard'}", highlight=False, soft_wrap=True)


def pages(texts: list[str]) -> None:
    """Print Markdown: as it is where it goes to a file or another program, set for reading on a terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    for text in texts:
        if console.is_terminal:
            console.print(Markdown(text))
        else:
            print(text)
