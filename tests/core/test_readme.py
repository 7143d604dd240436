"""The page of the physics is what the code says."""

import importlib
import re
from pathlib import Path

import pytest

from gcn_env.describe import plants_page

PAGE = Path(__file__).resolve().parents[2] / "gcn_env" / "core" / "README.md"
ROWS = re.findall(r"^\| (E[\d, E-]+) \| (.+?) \| (`.+`)", PAGE.read_text(), re.M)


def test_parameters_are_not_stale():
    shown = PAGE.read_text().split("<!-- plants -->\n")[1]
    assert shown == plants_page(), "run: python -m agents describe --plants, and put it below the marker"


def test_every_equation_is_there():
    told = set()
    for numbers, _, _ in ROWS:
        for part in numbers.split(","):
            first, _, last = part.strip().replace("E", "").partition("-")
            told |= set(range(int(first), int(last or first) + 1))
    assert set(range(1, 46)) <= told


@pytest.mark.parametrize(("numbers", "where"), [(r[0], r[2]) for r in ROWS])
def test_functions_exist(numbers, where):
    for module, function in re.findall(r"`(\w+)\.(\w+)`", where):
        package = "gcn_env.signals" if module == "psychro" else "gcn_env.core"
        assert hasattr(importlib.import_module(f"{package}.{module}"), function), (
            f"{numbers}: {module}.{function}"
        )


def test_tags_are_explained():
    text = PAGE.read_text()
    for tag in "VFCER":
        assert f"**{tag}**" in text
