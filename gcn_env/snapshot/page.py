"""The readings of a snapshot in tables, for `agents/README.md`."""

from __future__ import annotations

from gcn_env.snapshot.readings import CONVERSIONS, POOL_READINGS, REGION_READINGS, TABLES

_TITLES = {
    "regions": "Readings of a region",
    "pools": "Readings of a pool",
    "links": "Links, `{from, to, ...}`, those that are not whole and empty",
    "jobs": "Numbers of a job",
}


def snapshot_page() -> str:
    """Readings with units and plausible bounds; vital ones are marked; units that are converted."""
    vital = {("regions", x.row.name) for x in REGION_READINGS if x.vital}
    vital |= {("pools", x.row.name) for x in POOL_READINGS if x.vital}
    parts = []
    for table in TABLES:
        rows = "".join(
            f"| `{r.name}`{' (vital)' if (table.name, r.name) in vital else ''} | {r.unit} | "
            f"{max(r.low, 0) if abs(r.low) < 1e-6 else r.low:g} | {r.high:g} | {r.doc} |\n"
            for r in table.rows
        )
        head = "| reading | unit | least | most | meaning |\n|---|---|---:|---:|---|\n"
        parts.append(f"#### {_TITLES[table.name]}\n\n{head}{rows}\n")
    pairs = ", ".join(f"{a} to {b}" for a, b in CONVERSIONS)
    return "".join(parts) + f"Other units that are converted: {pairs}.\n"
