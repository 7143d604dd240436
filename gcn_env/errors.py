"""Errors that a user can mend: one line with the value, what is allowed, the nearest name, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong value from a command line, scenario or folder; command lines print it and exit with code 2."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` if a name in `allowed` is close to `name`, else an empty string."""
    near = difflib.get_close_matches(name, list(allowed), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
