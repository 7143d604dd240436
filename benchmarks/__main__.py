"""All benchmarks of speed, one command: JSON, tables and a figure.

    python -m benchmarks [--parts throughput phases ...] [--quick] [--peer ID ...] [--out benchmarks-out]

Each part runs in a process of its own, one after the other, on a machine that should have nothing else to do. A part
that fails is named, and the others go on. What was measured before in the same folder stays in the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
PARTS: dict[str, tuple[str, list[str], list[str]]] = {  # what it says, arguments, arguments if `--quick`
    "throughput": ("Env-steps per second, reset, import", [], ["--steps", "40", "--batch", "64"]),
    "phases": ("Where a step's time goes, and the floor", [], ["--steps", "40", "--batch", "16"]),
    "sizes": ("Speed and memory against batch, regions and pools", [], ["--steps", "20"]),
    "scale": ("Against jobs, pools and nodes", ["--parts", "rate", "jobs", "pools", "nodes"],
              ["--parts", "rate", "--steps", "40"]),
    "training": ("Training steps per second, by component", [], ["--timesteps", "16384"]),
    "serving": ("Decision latency", [], ["--requests", "300"]),
    "peer": ("Beside other environments", [], ["--seconds", "2"]),
    "soak": ("A day of stepping", [], ["--steps", "200000"]),
    "cluster": ("On a Ray cluster", [], ["--parts", "overhead", "--timesteps", "16384", "--repeats", "1"]),
}  # fmt: skip
LONG = ("soak", "cluster")  # only where they are named


def call(part: str, folder: Path, quick: bool, more: list[str]) -> dict[str, Any]:
    """Run a part; returns its JSON and what it printed."""
    out = folder / part if part == "scale" else folder / f"{part}.json"
    words = [
        sys.executable,
        "-m",
        f"benchmarks.{part}",
        *PARTS[part][2 if quick else 1],
        *more,
        "--out",
        str(out),
    ]
    print(f"== {part}: {PARTS[part][0]}", flush=True)
    lines = []
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if child.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {child.returncode}")
    return {"printed": "".join(lines), "said": json.loads(out.with_suffix(".json").read_text())}


def page(results: dict[str, Any]) -> str:
    """Everything measured, as Markdown."""
    lines = ["# Benchmarks\n"]
    for part, (title, _, _) in PARTS.items():
        if part in results:
            text = results[part]["printed"].strip()
            shown = "\n".join(line for line in text.splitlines() if not line.startswith(("  ", "wrote ")))
            tables = "|" in shown
            lines.append(f"\n## {title}\n\n" + (f"{shown}\n" if tables else f"```\n{text}\n```\n"))
            lines.append(f"\n`{results[part]['command']}`\n")
    return "".join(lines)


def draw(results: dict[str, Any], path: Path) -> bool:
    """A panel for each part that has a curve or shares; False if none has."""
    from matplotlib.figure import Figure

    panels = [name for name in ("batch", "fleet", "phases", "training") if _rows(results, name)]
    if not panels:
        return False
    figure = Figure(figsize=(4.6 * len(panels), 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, name in zip(axes, panels, strict=True):
        rows = _rows(results, name)
        if name in ("batch", "fleet"):
            x = [r["batch"] if name == "batch" else r["size"] for r in rows]
            ax.plot(x, [r["best"] for r in rows], "o-", label="best block")
            ax.plot(x, [r["median"] for r in rows], "o:", label="median")
            ax.set(xscale="log", yscale="linear" if name == "batch" else "log", ylabel="env-steps/s, one core",
                   xlabel="environments in the batch" if name == "batch" else "regions x pools")  # fmt: skip
            if name == "batch":
                ax.set_ylim(0, None)
            else:
                ax.plot(
                    x, [rows[0]["best"] * x[0] / k for k in x], "k--", lw=0.8, label="linear growth of cost"
                )
            ax.set_title("`default` by batch" if name == "batch" else "`default` enlarged, batch 32")
            ax.legend()
        else:
            ordered = sorted(rows.items(), key=lambda item: item[1])
            ax.barh([k for k, _ in ordered], [v for _, v in ordered])
            ax.set(xlabel="us per env-step", title="a step, by phase" if name == "phases" else "PPO training")
    figure.savefig(path, dpi=150)
    return True


def _rows(results: dict[str, Any], name: str) -> Any:
    part, key = {
        "batch": ("sizes", "batch"), "fleet": ("sizes", "fleet"), "phases": ("phases", "us_by_phase"),
        "training": ("training", "us_per_step"),
    }[name]  # fmt: skip
    return results.get(part, {}).get("said", {}).get(key)


def main(argv: list[str] | None = None) -> int:
    """Run parts, write the page after each."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = [part for part in PARTS if part not in LONG]
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=usual,
        help=f"what to measure (all but {', '.join(LONG)})",
    )
    parser.add_argument("--quick", action="store_true", help="small versions, to see that all of it runs")
    parser.add_argument(
        "--peer", nargs="+", default=[], metavar="ID", help="environments beside ours, for `peer`"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out"), help="folder (benchmarks-out)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    file, failed = args.out / "benchmarks.json", []
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for part in args.parts:
        if part == "cluster" and find_spec("ray") is None:
            print("== cluster: skipped, Ray is not installed (pip install '.[ray]')")
            continue
        command = f"python -m benchmarks --parts {part}" + (" --quick" if args.quick else "")
        more = ["--env", "gcn/Fleet-v0", *args.peer] if part == "peer" else []
        try:
            found = call(part, args.out, args.quick, more)
        except (RuntimeError, OSError, ValueError) as error:
            failed.append(f"{part}: {error}")
            continue
        results[part] = {**found, **provenance(command, {})}
        file.write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "benchmarks.md").write_text(page(results))
    drawn = draw(results, args.out / "benchmarks.png")
    print(f"wrote {file}, .md" + (" and .png" if drawn else ""))
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
