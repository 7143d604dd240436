"""Do the plant kernels give the figures that are published for real plants? 34 rows, each with its tolerance.

    python benchmarks/validate_physics.py [--out DIR] [--rows 1,13-19] [--quick] [--data DIR] [--strict]

Writes validation.md, validation.json, figures/*.png and TensorBoard files below --out and prints the table. Every value
is measured by running the kernels of `gcn_env.core`; rows 1-12, 14, 17, 20, 26-31 and 34 need plant-years (hourly
decisions, full dynamics). Misses are reported and explained; the exit status is 0 unless --strict asks for 30 passes.
First use compiles for a minute.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

NEEDED = 30  # passes that --strict asks for
DEFAULT_OUT = Path("reports/physics")
MARK = "<!-- validation -->"


def numbers(text: str) -> list[int]:
    """Row numbers from a list like `1,13-19`."""
    out: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            out += range(int(first), int(last or first) + 1)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no row number or range; example: 1,13-19"
            ) from None
    wrong = [n for n in out if not 1 <= n <= 34]
    if wrong or not out:
        raise argparse.ArgumentTypeError(f"rows {wrong}: there are rows 1 to 34")
    return sorted(set(out))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write to (default: %(default)s)"
    )
    parser.add_argument(
        "--rows", type=numbers, default=None, help="only these, like 1,13-19; then no figures of plant-years"
    )
    parser.add_argument(
        "--quick", action="store_true", help="four days of every month instead of the year; no figures"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=None,
        help="folder with weather/ and epw/: measured weather where there is some",
    )
    parser.add_argument(
        "--page", type=Path, default=None, help=f"Markdown file to put the rows in, below `{MARK}`"
    )
    parser.add_argument("--strict", action="store_true", help=f"fail below {NEEDED} passes of 34")
    return parser.parse_args(argv)


def package() -> ModuleType:
    """The modules beside this file; a checkout need not be installed."""
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    for module in ("kernel_rows", "it_rows", "annual_rows", "report", "figures"):
        importlib.import_module(f"benchmarks.physics.{module}")
    return importlib.import_module("benchmarks.physics")


def unusable(args: argparse.Namespace) -> str:
    """What is wrong with the folders and files that were named; empty if nothing is."""
    if args.data is not None and not args.data.is_dir():
        return f"--data {args.data}: no such folder; give the one that holds weather/ and epw/"
    if args.page is not None and not (
        args.page.is_file() and f"{MARK}\n" in args.page.read_text(encoding="utf-8")
    ):
        return f"--page {args.page}: no file with the line {MARK}, below which the rows could go"
    return ""


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    args = parse(argv)
    physics: Any = package()
    from tqdm import tqdm

    wrong = unusable(args)
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    full = args.rows is None and not args.quick
    with tqdm(unit="plant-year", disable=None, leave=False) as bar:

        def tick(what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update()

        lab = physics.year.Lab(args.data, args.quick, tick)
        if full:
            bar.total = lab.plan()
            lab.study()
        wanted = args.rows or [row.number for row in physics.table.ROWS]
        findings = [physics.table.find(n, lab) for n in wanted]
        figures = physics.figures.draw(lab) if full else {}
    command = " ".join(["python benchmarks/validate_physics.py", *(sys.argv[1:] if argv is None else argv)])
    mode = "Four days of every month." if args.quick else "Whole years."
    meta = {"command": public(command, args.data), "mode": mode, "quick": args.quick, "needed": NEEDED}
    sections = physics.report.write(args.out, findings, lab, meta, figures)
    if args.page is not None:
        kept, mark, _ = args.page.read_text(encoding="utf-8").partition(f"{MARK}\n")
        text = "\n\n".join([f"`{meta['command']}`", *sections.values()])
        args.page.write_text(kept + mark + text + "\n", encoding="utf-8")
    passed = sum(f.passed for f in findings)
    for f in findings:
        ours = "; ".join(physics.report.shown(c) for c in f.checks if c.judged).replace("**", "")
        print(
            f"{f.row.number:3d} {'pass' if f.passed else 'MISS'}  {f.row.target}: {ours} (tolerance {f.row.tolerance})"
        )
    print(f"{passed} of {len(findings)} rows inside tolerance; {args.out / 'validation.md'}")
    return 1 if args.strict and passed < NEEDED else 0


def public(command: str, data: Path | None) -> str:
    """The command without the place of the data."""
    return command.replace(str(data), "DIR") if data else command


if __name__ == "__main__":
    sys.exit(main())
