"""The figures of `gcn_env/jobs/fits.yaml` that say how arrivals and request rates vary, from the open traces.

    python benchmarks/fit_workload.py --data DIR        # DIR (default: GCN_DATA) holds jobs/; prints YAML

Prints, for every class, the batches, their daily and weekly profile and the two scales of their modulation; for every
request rate its profile, modulation and bursts; and NASA's durations by number of processors. The equations are in the
header of fits.yaml, the traces and their clocks in `benchmarks/workload/samples.py`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

import numpy as np


def parse(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="folder that holds jobs/ (default: GCN_DATA)")
    return parser.parse_args(argv)


def main(argv=None):
    """Fit and print."""
    args = parse(argv)
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    fit = importlib.import_module("benchmarks.workload.fit")
    import yaml

    from gcn_env.errors import UserError

    folder = args.data or os.environ.get("GCN_DATA")
    try:
        if not folder:
            raise UserError("no data folder is named; give --data DIR, or the environment variable GCN_DATA")
        figures = fit.everything(Path(folder))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(yaml.safe_dump(plain(figures), sort_keys=False, width=160, default_flow_style=None), end="")
    return 0


def plain(value):
    """Four significant figures, no NumPy types."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    return float(f"{float(value):.4g}") if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    sys.exit(main())
