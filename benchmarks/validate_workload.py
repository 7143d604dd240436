"""Is the generated work like real work? Arrivals, rates, durations and gangs against the traces they are fitted to.

    python benchmarks/validate_workload.py --data DIR [--out DIR] [--sources training,m-small] [--strict]

DIR (default: the environment variable GCN_DATA) holds jobs/ with the open traces. The generated side is what the
simulator's own kernels draw. Every statistic is judged against how much parts of the real trace differ from each other;
misses are explained. Writes validation.md, validation.json and figures/*.png below --out and prints the table; the exit
status is 0 unless --strict asks for 80 % inside. Takes half a minute, and as long again to compile.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from pathlib import Path

NEEDED = 0.80  # share of the rows that --strict asks for
DEFAULT_OUT = Path("reports/workload")
MARK = "<!-- workload -->"
LENDER = {
    "mm-image": "m-small"
}  # one day has no parts to compare: days of the like-wise human m-small lend theirs


def parse(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="folder that holds jobs/ (default: GCN_DATA)")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--sources", default=None, help="only these, with commas between (default: all)")
    parser.add_argument(
        "--replicas", type=int, default=20, help="generated samples a source (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the generated samples (default: %(default)s)")
    parser.add_argument(
        "--page", type=Path, default=None, help=f"Markdown file to put the rows in, below `{MARK}`"
    )
    parser.add_argument(
        "--strict", action="store_true", help=f"fail below {100 * NEEDED:.0f} %% of the rows inside"
    )
    return parser.parse_args(argv)


def package():
    """The modules beside this file; a checkout need not be installed."""
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    for module in ("samples", "generator", "measures", "report", "figures", "misses"):
        importlib.import_module(f"benchmarks.workload.{module}")
    return importlib.import_module("benchmarks.workload")


def settled(args, workload):
    """(folder of data, sources) that are asked for; raises UserError for what cannot be."""
    from gcn_env.errors import UserError, nearest

    named = args.data or os.environ.get("GCN_DATA")
    if not named or not (Path(named).expanduser() / "jobs").is_dir():
        what = f"{named} holds no folder jobs/" if named else "no data folder is named"
        raise UserError(
            f"{what}; give --data DIR, or the environment variable GCN_DATA, with the open traces in DIR/jobs"
        )
    known = {s.name: s for s in workload.samples.SOURCES}
    asked = list(known) if args.sources is None else [n.strip() for n in args.sources.split(",")]
    for name in asked:
        if name not in known:
            raise UserError(f"unknown source {name!r}{nearest(name, known)} (sources: {', '.join(known)})")
    if args.replicas < 2:
        raise UserError(f"--replicas {args.replicas}: give at least 2; their spread is shown")
    if args.page is not None and not (
        args.page.is_file() and f"{MARK}\n" in args.page.read_text(encoding="utf-8")
    ):
        raise UserError(f"--page {args.page}: no file with the line {MARK}, below which the rows could go")
    return Path(named).expanduser(), [known[n] for n in asked]


def measured(workload, folder, sources, args, tick):
    """(rows, source name -> (source, real sample, generated samples))."""
    generator, results, rows, scales = workload.generator.Generator(), {}, [], {}
    for k, source in enumerate(sources):
        real = workload.samples.real(source, folder)
        made = generator.draw(source.name, real.days, real.weekday, args.replicas, args.seed * 1000 + k)
        results[source.name] = (source, real, made)
        lender = LENDER.get(source.name, "")
        for measure in workload.measures.MEASURES:
            if measure.needs_jobs and not source.jobs:
                continue
            lent = (scales[lender, measure.name], lender) if (lender, measure.name) in scales else None
            row = workload.measures.compare(source, measure, real, made, lent)
            if row is not None:
                rows.append(row)
                scales[source.name, measure.name] = row.yardstick
        tick(source.name)
    return rows, results


def main(argv=None):
    """Measure, print, write."""
    args = parse(argv)
    workload = package()
    from tqdm import tqdm

    from gcn_env.errors import UserError
    from gcn_env.jobs.parse import fingerprint

    try:
        folder, sources = settled(args, workload)
        with tqdm(total=len(sources), unit="source", disable=None, leave=False) as bar:

            def tick(what):
                bar.set_postfix_str(what, refresh=False)
                bar.update()

            rows, results = measured(workload, folder, sources, args, tick)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    words = ["python", "benchmarks/validate_workload.py", *(sys.argv[1:] if argv is None else argv)]
    command = shlex.join(words).replace(str(args.data), "DIR") if args.data else shlex.join(words)
    prints = {s.name: fingerprint(folder / s.path) for s in sources}
    meta = {"command": command, "replicas": args.replicas, "seed": args.seed, "fingerprints": prints}
    sections = workload.report.write(args.out, rows, sources, meta, workload.figures.draw(rows, results))
    if args.page is not None:
        kept, mark, _ = args.page.read_text(encoding="utf-8").partition(f"{MARK}\n")
        args.page.write_text(kept + mark + "\n\n".join([f"`{command}`", *sections]) + "\n", encoding="utf-8")
    for r in rows:
        print(
            f"{r.source:9s} {r.measure:30s} {'pass' if r.passed else 'MISS'}  "
            f"{r.distance:.3g} against {r.yardstick:.3g} ({r.meaning}): {r.ratio:.2f}"
        )
    inside = sum(r.passed for r in rows)
    print(
        f"{inside} of {len(rows)} statistics inside ({inside / len(rows):.0%}); {args.out / 'validation.md'}"
    )
    return 1 if args.strict and inside < NEEDED * len(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
