"""What a node has installed; the same function here and there says whether both are alike.

It is sent to nodes by value and runs where none of this code is: standard library only.
"""

from __future__ import annotations

from typing import Any


def look(packages: tuple[str, ...]) -> dict[str, Any]:
    """Versions of Python and `packages`, and a hash of the code of gcn_env and agents (None where one is missing).

    Args:
        packages: names of distributions.
    """
    import hashlib
    import platform
    from importlib import metadata, util
    from pathlib import Path

    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    digest = hashlib.sha256()
    for package in ("gcn_env", "agents"):
        spec = util.find_spec(package)
        if spec is None or spec.origin is None:
            return {"versions": versions, "code": None}
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return {"versions": versions, "code": digest.hexdigest()}


def differences(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """What is installed in other versions, e.g. `numpy 2.1.0 (here 2.2.0)`; code apart."""
    return [
        f"{name} {version} (here {here['versions'][name]})"
        for name, version in there["versions"].items()
        if version != here["versions"][name]
    ]
