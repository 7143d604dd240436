"""How far training is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 20.0  # between lines where there is no terminal


class Bar:
    """Environment steps done, steps per second, and the last figures.

    Args:
        total: environment steps of the whole run.
        quiet: show nothing.
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        self.total, self.done, self.figures = total, 0, ""
        self._quiet, self._terminal = quiet, sys.stderr.isatty()
        self._begun: tuple[float, int] | None = None  # clock and steps at the first step of this process
        self._said = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=quiet or not self._terminal
        )
        self._task = self._bar.add_task("starting (the first run compiles for minutes)", total=total, text="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def phase(self, text: str) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=text)
        self._line(text)

    def resume(self, done: int) -> None:
        """Start from `done` steps."""
        self.done = done
        self._bar.update(self._task, completed=done)

    def step(self, count: int) -> None:
        """Count environment steps."""
        now = time.monotonic()
        self.done += count
        if self._begun is None:
            self._begun = (now, self.done)
        since, before = self._begun
        rate = f"{(self.done - before) / (now - since):,.0f}/s" if now > since else ""
        text = f"{self.done:,}/{self.total:,} steps  {rate}  {self.figures}"
        self._bar.update(self._task, completed=self.done, text=text)
        self._line(text)

    def _line(self, text: str) -> None:
        if not self._quiet and not self._terminal and time.monotonic() - self._said > LINE_EVERY_S:
            self._said = time.monotonic()
            print(text, file=sys.stderr, flush=True)
