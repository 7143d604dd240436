"""The environment page is what the code says, and the `agents` verbs print it."""

from pathlib import Path

import pytest

from agents.__main__ import main
from gcn_env.describe import environment_page

PAGE = Path(__file__).resolve().parents[2] / "gcn_env" / "README.md"


def test_page_is_not_stale():
    shown = PAGE.read_text().split("<!-- tables -->\n")[1]
    assert shown == environment_page(), "run: python -m agents describe --tables, and put it below the marker"


def test_page_names_every_row():
    from gcn_env.ledger import TERMS
    from gcn_env.observation import TABLES

    page = environment_page()
    for table in (*TABLES, TERMS):
        for name in table.names:
            assert f"`{name}`" in page


@pytest.mark.parametrize("argv", [["describe", "smoke"], ["describe", "--tables"], ["policies"]])
def test_verbs_print(argv, capsys):
    assert main(argv) == 0
    assert len(capsys.readouterr().out.splitlines()) > 10


def test_unknown_scenario_is_one_line(capsys):
    assert main(["describe", "smok"]) == 2
    err = capsys.readouterr().err
    assert "did you mean 'smoke'" in err
    assert len(err.splitlines()) == 1
