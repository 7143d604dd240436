"""The environment in words and tables, written from the same rows that the code runs on."""

from __future__ import annotations

from gcn_env.action import REGION_HEADS
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.metrics import KPIS
from gcn_env.observation import TABLES
from gcn_env.scenario.compile import World
from gcn_env.scenario.load import load_scenario, shipped
from gcn_env.scenario.plants import archetype, archetypes, sources
from gcn_env.scenario.schema import Region, Scenario
from gcn_env.tables import Table

_HEADINGS = {
    "jobs": "Jobs, one row a slot",
    "pools": "Pools, one row each",
    "regions": "Regions, one row each",
    "pairs": "Pairs, one row for each slot and pool",
    "globals": "The whole fleet, one row",
}


def _section(title: str, table: Table, note: str = "") -> str:
    bounds = any(abs(r.low) < 1e11 or abs(r.high) < 1e11 for r in table.rows) and table.name not in (
        "terms",
        "flows",
        "counts",
    )
    if bounds:
        body = table.markdown()
    else:
        body = "| name | unit | meaning |\n|---|---|---|\n" + "".join(
            f"| `{r.name}` | {r.unit} | {r.doc} |\n" for r in table.rows
        )
    return f"### {title}\n\n{note}{body}\n"


def _heads() -> str:
    rows = []
    for key in archetypes():
        entry = archetype(key)
        for head, h in entry["heads"].items():
            rows.append(
                f"| {key} | {entry['name']} | `{head}` | {h['means']} | {h['low']:g} | {h['high']:g} | {h['unit']} |\n"
            )
    return (
        "| plant | what it is | head | meaning | level 0 | highest level | unit |\n|---|---|---|---|---|---|---|\n"
        + "".join(rows)
    )


def environment_page() -> str:
    """Markdown of all tables: observation, action, money, flows, counts, key figures."""
    parts = ["## Observation\n\n"]
    parts += [_section(_HEADINGS[t.name], t) for t in TABLES]
    parts.append("## Action\n\n" + _section("Heads of a region", REGION_HEADS) + _heads() + "\n")
    parts.append("## What a step books\n\n")
    parts.append(_section("Money: the reward is minus their sum over the reference cost", TERMS))
    parts.append(_section("Flows, per region", FLOWS))
    parts.append(_section("Counts", COUNTS))
    parts.append("## Key figures\n\n" + _section("Of an episode", KPIS))
    return "".join(parts).rstrip() + "\n"


def plants_page() -> str:
    """Markdown of the plants' parameters: value and source tag by archetype, then every source in words."""
    keys = archetypes()
    lines = ["| archetype | what it is |\n|---|---|\n"]
    lines += [f"| {key} | {archetype(key)['name']} |\n" for key in keys]
    lines.append(f"\n### Values\n\n| parameter | {' | '.join(keys)} |\n|---|{'---|' * len(keys)}\n")
    words: dict[tuple[str, str], list[str]] = {}
    for name in sources(keys[0]):
        cells = []
        for key in keys:
            value, text = sources(key)[name]
            tag = text.split()[0] if text.split()[0] in "VREFC" else ""
            cells.append(f"{value:g} {tag}".rstrip())
            words.setdefault((name, text), []).append(key)
        lines.append(f"| `{name}` | {' | '.join(cells)} |\n")
    lines.append("\n### Sources\n\n| parameter | archetypes | source |\n|---|---|---|\n")
    for (name, text), of in words.items():
        lines.append(f"| `{name}` | {'all' if len(of) == len(keys) else ''.join(of)} | {text} |\n")
    return "".join(lines)


def scenario_page(world: World) -> str:
    """Markdown of one world: regions, pools, job sources."""
    s = world.scenario
    lines = [f"# {s.name}\n\n{s.doc.strip()}\n\n"]
    lines.append(
        f"Steps of {s.time.step_min:g} min, {world.horizon} an episode; {world.n_slots} job slots, "
        f"{world.n_levels} levels a cooling head; signals: {s.signals.kind}, forecasts: {s.signals.forecast.kind}.\n\n"
    )
    lines.append("| region | signals | law | plant | nameplate kW |\n|---|---|---|---|---|\n")
    for r, (name, region) in enumerate(s.regions.items()):
        plant = f"{region.plant.archetype}: {archetype(region.plant.archetype)['name']}"
        kw = world.params.geo.design_kw[r]
        lines.append(f"| {name} | {_signals(region)} | {region.jurisdiction} | {plant} | {kw:,.0f} |\n")
    lines.append("\n| pool | hardware | devices | per node | trust | terms |\n|---|---|---|---|---|---|\n")
    for name, pool in s.pools.items():
        lines.append(
            f"| {name} | {pool.hardware} | {pool.devices} | {pool.devices_per_node} | {pool.trust} "
            f"| {_terms(name, s)} |\n"
        )
    lines.append("\n| job source | class | load | from | restricted |\n|---|---|---|---|---|\n")
    for name, j in s.jobs.items():
        source = j.trace.file if j.trace else f"fitted table {j.table}"
        lines.append(
            f"| {name} | {j.job_class} | {j.load:.0%} of its hardware | {source} | {j.restricted_share:.0%} |\n"
        )
    if world.data_notes:
        lines.append(
            "\nData, not as they were read:\n\n" + "".join(f"- {note}\n" for note in world.data_notes)
        )
    if s.sources:
        lines.append(
            "\nSources (V read, R recalled, E estimate):\n\n" + "".join(f"- {text}\n" for text in s.sources)
        )
    return "".join(lines)


def _terms(name: str, s: Scenario) -> str:
    """On whose terms a pool is there: own, rented, let when spare, a place of a pod."""
    pool = s.pools[name]
    if pool.rent is not None:
        back = (
            f", taken back {pool.rent.reclaims_per_week:g} times a week"
            if pool.rent.reclaims_per_week
            else ""
        )
        return f"rented at {pool.rent.usd_per_device_h:g} USD/h{back}"
    words = [f"place of pod {k}" for k, pod in s.pods.items() if name in pod.timetable.values()] or ["own"]
    return ", ".join(
        [*words, *([] if pool.let is None else [f"spare let at {pool.let.usd_per_device_h:g} USD/h"])]
    )


def _signals(region: Region) -> str:
    """Whose price, carbon and weather a region has, and how they are adjusted."""
    lent = {
        "price": (
            region.price_profile,
            f"x {region.price_scale:g} + {region.price_add_usd_per_mwh:g}",
            "x 1 + 0",
        ),
        "carbon": (region.carbon_profile, f"x {region.carbon_scale:g}", "x 1"),
        "weather": (region.weather_profile, f"{region.weather_shift_k:+g} K", "+0 K"),
    }
    words = [
        f"{what} {profile or region.profile}{'' if change == none else ' ' + change}"
        for what, (profile, change, none) in lent.items()
        if profile or change != none
    ]
    if region.weather_file:
        words.append(f"weather file {region.weather_file}")
    return ", ".join([region.profile, *words] if region.profile else words)


def catalogue_page() -> str:
    """Markdown of the shipped scenarios, in one line each."""
    lines = ["| scenario | regions | pools | devices | what it is |\n|---|---|---|---|---|\n"]
    for name in shipped():
        s = load_scenario(name)
        pools = s.pools.values()
        devices = sum(p.devices for p, once in zip(pools, s.counted, strict=True) if once)
        first = " ".join(s.doc.split()).split(". ")[0].rstrip(".")
        lines.append(f"| {name} | {len(s.regions)} | {len(pools)} | {devices:,} | {first} |\n")
    return "".join(lines)
