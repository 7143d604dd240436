"""What is wrong with a data file, in one line a user can act on."""

from __future__ import annotations

from gcn_env.errors import UserError


class DataError(UserError):
    """A data file or a request for data that cannot be used; the message names file, value and remedy."""


class MissingDataError(DataError, FileNotFoundError):
    """A data folder or file that is not there."""

    def __str__(self) -> str:  # OSError would print its arguments as a tuple
        return str(self.args[0]) if self.args else ""
