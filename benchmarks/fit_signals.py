"""Fit the memory of the synthetic signals to real years again: figures for `gcn_env/signals/climatology.yaml`.

    python benchmarks/fit_signals.py --out climatology.yaml [--data DIR] [--regions GB,DE-LU] [--years 2021,2022]
                                     [--made N] [--seed N]

Writes the carried file with new weights, correlations and price remaps (see `benchmarks/signals/fit.py` for how); all
other figures stay. The series themselves never go into the file. One to two minutes a region and core.
`validate_signals.py` says what came of it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib import resources
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout need not be installed

from benchmarks.validate_signals import count, folder, names, years


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--data", type=Path, default=None, help="folder of real series (default: $GCN_DATA)")
    parser.add_argument("--regions", type=names, default=None, help="fitted profiles (default: all)")
    parser.add_argument("--years", type=years, default=[2021, 2022, 2023], help="(default: 2021,2022,2023)")
    parser.add_argument(
        "--made", type=count, default=40, help="simulated years a region (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the simulated years (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Fit and write."""
    args = parse(argv)
    from tqdm import tqdm

    from gcn_env.errors import UserError
    from gcn_env.signals.climatology import climatology

    signals: Any = importlib.import_module("benchmarks.signals")
    for module in ("measure", "fit"):
        importlib.import_module(f"benchmarks.signals.{module}")
    regions = args.regions or list(climatology().names)
    fits = {}
    try:
        for region in regions:
            climatology().fit(region, "carbon")
        real = signals.measure.real_years(folder(args), regions, args.years)
        for region in tqdm(regions, unit="region", disable=None):
            own = {v: by_year for (r, v), by_year in real.items() if r == region}
            fits[region] = signals.fit.fit_region(region, own, args.made, args.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    old = resources.files("gcn_env.signals").joinpath("climatology.yaml").read_text(encoding="utf-8")
    args.out.write_text(signals.fit.written(old, fits), encoding="utf-8")
    print(f"{len(fits)} regions in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
