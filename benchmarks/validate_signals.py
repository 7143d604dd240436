"""Do synthetic prices, carbon intensities and weather behave like real ones? Distances next to a yardstick.

    python benchmarks/validate_signals.py [--data DIR] [--out DIR] [--regions GB,DE-LU] [--years 2021,2022] [--made N]
                                          [--seed N] [--no-figures] [--strict]

For each region and variable: Kolmogorov-Smirnov distance (values as drawn, and with the year's level divided out) and
autocorrelation at 1, 6, 24 and 168 h, synthetic against real years, next to how much real years differ from each other.
Also the share of hours with a negative price, hour-of-day profiles and the correlation between regions. Writes
validation.md, validation.json, figures/*.png and TensorBoard files below --out and prints the tables. The real series
are not part of the project: --data, or the environment variable GCN_DATA, names a folder with price/, carbon/ and
weather/. The exit status is 0 unless --strict asks for the target. No compilation; half a minute.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

DEFAULT_OUT = Path("reports/signals")
MARK = "<!-- signals -->"


def names(text: str) -> list[str]:
    """Comma-separated words."""
    return [word.strip() for word in text.split(",") if word.strip()]


def years(text: str) -> list[int]:
    """Comma-separated calendar years."""
    try:
        out = sorted({int(word) for word in names(text)})
    except ValueError:
        out = []
    if not out or not all(1900 <= y <= 2100 for y in out):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of years; example: 2021,2022,2023")
    return out


def count(text: str) -> int:
    """A number of synthetic years."""
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 200:
        raise argparse.ArgumentTypeError(f"{text!r} synthetic years; allowed: 1 to 200")
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="folder of real series (default: $GCN_DATA)")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write to (default: %(default)s)"
    )
    parser.add_argument(
        "--regions", type=names, default=None, help="fitted profiles (default: all that have files)"
    )
    parser.add_argument(
        "--years", type=years, default=[2021, 2022, 2023], help="real years (default: 2021,2022,2023)"
    )
    parser.add_argument(
        "--made", type=count, default=24, help="synthetic years to compare (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic years (default: %(default)s)")
    parser.add_argument("--no-figures", action="store_true", help="tables and JSON only")
    parser.add_argument(
        "--page", type=Path, default=None, help=f"Markdown file to put the tables in, below `{MARK}`"
    )
    parser.add_argument("--strict", action="store_true", help="fail where the target is missed")
    return parser.parse_args(argv)


def package() -> ModuleType:
    """The modules beside this file; a checkout need not be installed."""
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    for module in ("measure", "report", "figures"):
        importlib.import_module(f"benchmarks.signals.{module}")
    return importlib.import_module("benchmarks.signals")


def folder(args: argparse.Namespace) -> Path:
    """The folder of real series.

    Raises:
        DataError: if none is named or it is not there.
    """
    from gcn_env.signals.errors import DataError, MissingDataError

    named = args.data or os.environ.get("GCN_DATA")
    if not named:
        raise DataError("no data folder is named; give --data DIR, or the environment variable GCN_DATA")
    path = Path(named).expanduser()
    if not path.is_dir():
        raise MissingDataError(
            f"data folder {path} does not exist; name the one that holds price/, carbon/, weather/"
        )
    return path


def measure(args: argparse.Namespace, signals: Any) -> tuple[Any, Any, Any, Any]:
    """Data, rows, verdict and correlations between regions."""
    from tqdm import tqdm

    from gcn_env.signals.climatology import climatology

    regions = args.regions or list(climatology().names)
    for region in regions:
        climatology().fit(region, "carbon")  # an unknown name is named, with the nearest
    where = folder(args)
    with tqdm(total=args.made + 4 * len(regions), unit="part", disable=None, leave=False) as bar:

        def tick(what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update()

        data = signals.measure.gather(where, regions, args.years, args.made, args.seed, tick)
        rows = signals.measure.rows(data, tick)
    crosses = [c for v in signals.measure.VARIABLES if (c := signals.measure.cross(data, v)) is not None]
    return data, rows, signals.measure.verdict(rows), crosses


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    args = parse(argv)
    signals: Any = package()
    from gcn_env.errors import UserError

    try:
        if args.page is not None and not (
            args.page.is_file() and f"{MARK}\n" in args.page.read_text("utf-8")
        ):
            raise UserError(
                f"--page {args.page}: no file with the line {MARK}, below which the tables could go"
            )
        data, rows, verdict, crosses = measure(args, signals)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    figures = {} if args.no_figures else signals.figures.draw(data, rows, crosses)
    private = {
        str(args.data): "DIR",
        str(args.out): "OUT",
    }  # the places of data and report are the reader's own
    words = [private.get(word, word) for word in (sys.argv[1:] if argv is None else argv)]
    command = " ".join(["python benchmarks/validate_signals.py", *words])
    meta = {"command": command, "made": args.made, "seed": args.seed, "years": args.years}
    sections = signals.report.write(args.out, rows, verdict, crosses, meta, figures)
    if args.page is not None:
        kept, mark, _ = args.page.read_text(encoding="utf-8").partition(f"{MARK}\n")
        text = "\n\n".join([f"`{command}`", *sections.values()])
        args.page.write_text(kept + mark + text + "\n", encoding="utf-8")
    print("\n\n".join(sections.values()))
    print(f"\n{'target reached' if verdict.passed else 'TARGET MISSED'}; {args.out / 'validation.md'}")
    return 1 if args.strict and not verdict.passed else 0


if __name__ == "__main__":
    sys.exit(main())
