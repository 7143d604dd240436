"""Rows and tables: each quantity that is observed, decided, booked or rewarded is declared once.

A `Row` names a column, its unit, bounds and meaning. A `Table` is an ordered tuple of rows; array columns, space
bounds, TensorBoard tags, README tables and layout fingerprints all derive from it.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import namedtuple
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Row:
    """One column: `name`, `unit` (of the stored number), bounds `low`..`high` in that unit, and `doc`."""

    name: str
    unit: str
    low: float
    high: float
    doc: str


@dataclass(frozen=True)
class Table:
    """An ordered set of rows under one name.

    Raises:
        ValueError: on duplicate names or on a row whose bounds are not ordered.
    """

    name: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [r.name for r in self.rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"table {self.name}: rows declared twice: {twice}")
        wrong = [r.name for r in self.rows if not r.low < r.high]
        if wrong:
            raise ValueError(f"table {self.name}: rows without low < high: {wrong}")

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Row names in column order."""
        return tuple(r.name for r in self.rows)

    @cached_property
    def ix(self) -> Any:  # a namedtuple made here has no static type
        """Named tuple of column numbers: `TABLE.ix.price` is a constant inside a kernel."""
        return namedtuple(f"{self.name}_ix", self.names)(*range(len(self.rows)))

    @cached_property
    def low(self) -> npt.NDArray[np.float32]:
        """Lower bounds, float32 `[len]`."""
        return np.array([r.low for r in self.rows], np.float32)

    @cached_property
    def high(self) -> npt.NDArray[np.float32]:
        """Upper bounds, float32 `[len]`."""
        return np.array([r.high for r in self.rows], np.float32)

    def index(self, name: str) -> int:
        """Column number of `name`.

        Raises:
            KeyError: if there is no such row; the message names the nearest one.
        """
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise KeyError(f"table {self.name} has no row {name!r}{hint} (rows: {', '.join(self.names)})")
        return self.names.index(name)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits over names, units and bounds: equal layouts have equal fingerprints."""
        text = "|".join(f"{r.name}:{r.unit}:{r.low!r}:{r.high!r}" for r in self.rows)
        return hashlib.sha256(f"{self.name}|{text}".encode()).hexdigest()[:12]

    def markdown(self) -> str:
        """The table as Markdown: name, unit, bounds, meaning."""
        head = "| name | unit | low | high | meaning |\n|---|---|---|---|---|\n"
        return head + "".join(
            f"| `{r.name}` | {r.unit} | {r.low:g} | {r.high:g} | {r.doc} |\n" for r in self.rows
        )


def first_difference(ours: Table, theirs: list[dict[str, Any]]) -> str | None:
    """The first row in which a saved layout (`to_list`) differs from ours, in words; None if equal."""
    for i in range(max(len(ours), len(theirs))):
        if i >= len(theirs):
            return f"{ours.name}.{ours.rows[i].name} is new here"
        if i >= len(ours):
            return f"{ours.name}.{theirs[i]['name']} is not known here"
        a, b = ours.rows[i], theirs[i]
        if (a.name, a.unit, a.low, a.high) != (b["name"], b["unit"], b["low"], b["high"]):
            return (
                f"{ours.name}[{i}] is {a.name} [{a.unit}] {a.low:g}..{a.high:g} here, "
                f"{b['name']} [{b['unit']}] {b['low']:g}..{b['high']:g} there"
            )
    return None


def to_list(table: Table) -> list[dict[str, Any]]:
    """The layout as plain values, for manifests and checkpoints."""
    return [{"name": r.name, "unit": r.unit, "low": r.low, "high": r.high} for r in table.rows]
