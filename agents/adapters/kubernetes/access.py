"""Who we are to an API server: a pod's service account, or the part of a kubeconfig that needs no other program."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from gcn_env.errors import UserError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CLUSTER = {"server", "certificate-authority", "certificate-authority-data", "extensions"}
_USER = {
    "token", "tokenFile", "client-certificate", "client-certificate-data", "client-key", "client-key-data",
    "extensions",
}  # fmt: skip


class _Bearer(httpx.Auth):
    """A token, read again for each request where it lies in a file: kubelets renew it."""

    def __init__(self, token: str | Path) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        token = self._token if isinstance(self._token, str) else self._token.read_text().strip()
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


@dataclass(frozen=True)
class Access:
    """How to reach an API server.

    Attributes:
        server: URL.
        tls: whom to trust, with our certificate if we have one; None for plain HTTP on loopback (`kubectl proxy`).
        token: the token or the file it lies in; None for none.
    """

    server: str
    tls: ssl.SSLContext | None = None
    token: str | Path | None = None

    def __post_init__(self) -> None:
        """Check that nothing secret goes over an open line."""
        parts = urlsplit(self.server)
        if parts.scheme == "https" and parts.hostname and self.tls is not None:
            return
        if parts.scheme != "http" or not _loopback(parts.hostname or ""):
            raise UserError(
                f"API server {self.server!r:.200}: wanted https://HOST:PORT, or http:// on loopback"
            )

    def auth(self) -> httpx.Auth | None:
        """For httpx."""
        return None if self.token is None else _Bearer(self.token)


def access(path: str | Path | None) -> Access:
    """By a kubeconfig file; without one, as a pod.

    Raises:
        UserError: if there is neither, or the file asks for what is not done here.
    """
    return in_cluster() if path is None else kubeconfig(Path(path))


def in_cluster(account: Path = ACCOUNT, environ: Mapping[str, str] = os.environ) -> Access:
    """As a pod: the mounted service account, and the address that kubelets write into the environment.

    Raises:
        UserError: outside a pod.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").is_file():
        raise UserError(f"no service account in {account}: this is no pod; give --kubeconfig FILE")
    host = f"[{host}]" if ":" in host else host
    return Access(
        f"https://{host}:{port}", _context((account / "ca.crt").read_text(), None), account / "token"
    )


def kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig: server, authority, and a token or a client certificate.

    Raises:
        UserError: for anything else, e.g. `exec` or `insecure-skip-tls-verify`.
    """
    try:
        found = yaml.safe_load(path.read_text())
        context = _named(found, "contexts", found["current-context"])["context"]
        cluster = _named(found, "clusters", context["cluster"])["cluster"]
        user = _named(found, "users", context["user"])["user"] or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"kubeconfig {path}: no current context with cluster and user ({error!r:.200})"
        ) from None
    for what, given, known in (("cluster", cluster, _CLUSTER), ("user", user, _USER)):
        strange = [k for k, v in given.items() if k not in known and v]
        if strange:
            raise UserError(
                f"kubeconfig {path}: {what}: {', '.join(strange)} is not taken here; use a token or a client "
                "certificate of a service account, and a certificate-authority"
            )
    server = str(cluster.get("server", ""))
    token: str | Path | None = user.get("token")
    if user.get("tokenFile"):
        token = path.parent / user["tokenFile"]
    if not server.startswith("https://"):
        return Access(server, None, token)
    ca, mine, key = (
        _pem(path, part, name)
        for part, name in (
            (cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")
        )
    )  # fmt: skip
    if (mine is None) != (key is None):
        raise UserError(f"kubeconfig {path}: client-certificate and client-key belong together")
    return Access(server, _context(ca, None if mine is None or key is None else mine + "\n" + key), token)


def _named(found: Any, table: str, name: str) -> Any:
    return next(x for x in [*found[table], {}] if x.get("name") == name or not x)


def _pem(path: Path, part: Mapping[str, Any], name: str) -> str | None:
    """PEM text that stands in the file, or in one that it names."""
    data, file = part.get(f"{name}-data"), part.get(name)
    try:
        if data is not None:
            return base64.b64decode(data, validate=True).decode()
        return None if file is None else (path.parent / file).read_text()
    except (binascii.Error, UnicodeDecodeError, OSError, TypeError) as error:
        raise UserError(f"kubeconfig {path}: {name}: {error}") from None


def _context(ca: str | None, mine: str | None) -> ssl.SSLContext:
    """Trusts `ca` and nobody else (the system's authorities if None); shows `mine`, certificate and key."""
    try:
        context = ssl.create_default_context(cadata=ca)
        if mine is not None:
            with tempfile.NamedTemporaryFile(
                "w", suffix=".pem"
            ) as file:  # OpenSSL reads keys from files only
                file.write(mine)
                file.flush()
                context.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError) as error:
        raise UserError(f"certificates for the API server: {error}") from None
    return context


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
