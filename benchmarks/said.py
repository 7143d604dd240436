"""How a benchmark is asked and how it answers: the module's page and `--out`; a table printed, JSON written."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def parser(page: str | None) -> argparse.ArgumentParser:
    """A parser that shows `page` as it is, and takes `--out`."""
    made = argparse.ArgumentParser(description=page, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=None, help="JSON file to write")
    return made


def tell(said: dict[str, Any], text: str, out: Path | None) -> None:
    """Print the table, and write what was measured."""
    print(text)
    if out:
        out.write_text(json.dumps(said, indent=2) + "\n")
        print(f"wrote {out}")
