"""On a Ray cluster: evaluations, searches, many seeds, and training by collectors. The only package that imports Ray.

Nothing here is needed on one machine. Ray is imported when a cluster is asked for (`connect`), not before.
"""

from __future__ import annotations

import os
import secrets
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gcn_env.errors import UserError

if TYPE_CHECKING:
    from agents.cluster.session import Cluster

LOCAL = "local"  # the address of a cluster made for the occasion, of this machine's cores


def connect(address: str) -> AbstractContextManager[Cluster]:
    """A connection to a cluster.

    Args:
        address: as `ray.init` takes it (HOST:PORT, `auto`, ray://HOST:PORT), or `local`.

    Raises:
        UserError: where Ray is not installed; on entering, where the cluster cannot be reached within a minute or two,
            wants another token, or runs other versions.
    """
    if find_spec("ray") is None:
        raise UserError("--ray needs one more package: pip install 'gcn-env[ray]'")
    if address == LOCAL:
        _secure()  # Ray reads it when it is imported
    from agents.cluster.session import session

    return session(address)


def _secure() -> None:
    """Ray listens on all addresses of this machine: nobody else may run code on a cluster made for the occasion."""
    if not any(os.environ.get(f"RAY_AUTH_{name}") for name in ("MODE", "TOKEN", "TOKEN_PATH")):
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
