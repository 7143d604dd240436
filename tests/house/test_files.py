"""What may be committed, how long a file may be, and what travels in a wheel."""

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.house.tools import succeeds

# Written in pieces, since this file is committed too.
PRIVATE = re.compile(
    "|".join(
        [
            r"(?<![\w.~-])/" + r"(?:work|root|farm)" + r"/",
            r"/tmp" + r"/lab",
            r"pypi" + r"\.",
            r"pythonhosted" + r"\.",
            r"download\.py" + r"torch",
            r"deb\.deb" + r"ian",
            r"registry\.npm" + r"js",
        ]
    )
)
BINARY = {".safetensors", ".npz", ".npy", ".png", ".zip", ".gz", ".onnx", ".ico", ".pdf"}
LONG = 400  # lines


@pytest.fixture(scope="module")
def committed(root):
    """Paths that git tracks."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [root / name for name in done.stdout.split("\0") if name and (root / name).is_file()]


def test_no_machine_paths_and_no_registries(root, committed):
    found = []
    for path in committed:
        if path.suffix in BINARY:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if PRIVATE.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:100]}")
    assert not found, "these lines name one machine or a registry:\n" + "\n".join(found)


def test_nothing_large_is_committed(root, committed):
    large = {str(p.relative_to(root)): p.stat().st_size for p in committed if p.stat().st_size > 2_000_000}
    assert not large, f"files over 2 MB do not belong in git: {large}"


def test_files_have_one_subject(root, committed):
    lines = {str(p.relative_to(root)): p.read_bytes().count(b"\n") for p in committed if p.suffix == ".py"}
    long = {name: n for name, n in lines.items() if n > LONG}
    assert not long, f"over {LONG} lines, two subjects? {long}"


def test_types_are_published(root):
    assert (root / "gcn_env" / "py.typed").exists()
    assert (root / "agents" / "py.typed").exists()


def test_every_package_is_listed(root):
    """`packages` is a written list, so a new folder with `__init__.py` has to be added to it."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {p.parent for top in ("gcn_env", "agents") for p in (root / top).rglob("__init__.py")}
    there = {".".join(f.relative_to(root).parts) for f in folders} | {"gcn_env", "gcn_env.configs"}
    assert listed == there, f"pyproject.toml, packages: add {there - listed}, drop {listed - there}"


@pytest.mark.slow
def test_the_wheel_holds_everything(root, committed, tmp_path):
    """Built from the committed files only, without a network, and opened again."""
    if not {root / "train.py", root / "evaluate.py"} <= set(committed):
        pytest.skip("train.py and evaluate.py are not committed yet")
    source = tmp_path / "source"
    for path in committed:
        copy = source / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    succeeds([*command, "-w", tmp_path, source], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    names = {str(p.relative_to(root)) for p in committed}
    data = (".py", ".yaml", ".json", ".npz", "py.typed")
    expected = {n for n in names if n.startswith(("gcn_env/", "agents/")) and n.endswith(data)}
    expected |= {f"gcn_env/{n}" for n in names if n.startswith("configs/") and n.endswith(".yaml")}
    expected |= {n for n in names if n in ("train.py", "evaluate.py")}
    assert expected <= inside, f"missing in the wheel: {sorted(expected - inside)}"
    assert not [n for n in inside if n.startswith(("tests/", "benchmarks/"))]
