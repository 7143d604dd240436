"""Job sources of a scenario: tables, arrival processes, traces and the rules of each source."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gcn_env.core.params import (
    CLASSES,
    INFERENCE,
    LEASES,
    PROCESS,
    REPLAY,
    SPLITS,
    TRAINING,
    UNLIMITED,
    Fleet,
    Geo,
    Work,
)
from gcn_env.core.state import Array
from gcn_env.errors import UserError, nearest
from gcn_env.jobs.arrivals import arrival_process, rate_profile
from gcn_env.jobs.rates import read_rates
from gcn_env.jobs.rows import JobTable, mean_device_h
from gcn_env.jobs.synthetic import synthetic_table
from gcn_env.jobs.traces import fingerprint, read_trace, trace_extent_h
from gcn_env.jobs.windows import split_windows
from gcn_env.scenario.schema import Scenario
from gcn_env.scenario.schema_work import Jobs

_TABLE_SEED = 20260101  # tables are part of the world, the same for every run; splits draw different rows
STATE_SHARE = 0.5  # [E] GB of a checkpoint per GiB of device memory of one node of the gang
_COLUMNS = ("arrival_h", "gang", "work_h", "memory_gib", "data_gb", "checkpoint_h", "comm")


def _origins(name: str, spec: Jobs, regions: list[str]) -> Array:
    """Cumulative share of origins."""
    unknown = [r for r in spec.origins if r not in regions]
    if unknown:
        raise UserError(
            f"jobs.{name}.origins: unknown region {unknown[0]!r}{nearest(unknown[0], regions)} "
            f"(regions: {', '.join(regions)})"
        )
    weights = np.array([spec.origins.get(r, 0.0) if spec.origins else 1.0 for r in regions])
    return np.cumsum(weights / weights.sum())


def _laws(name: str, spec: Jobs, s: Scenario, geo: Geo) -> tuple[Array, Array]:
    """Jurisdiction masks [R] of restricted and of unrestricted jobs, by origin."""
    laws = sorted({r.jurisdiction for r in s.regions.values()})
    allowed = laws if spec.jurisdictions is None else list(spec.jurisdictions)
    unknown = [a for a in allowed if a not in laws]
    if unknown:
        raise UserError(
            f"jobs.{name}.jurisdictions: unknown {unknown[0]!r}{nearest(unknown[0], laws)} (known: {', '.join(laws)})"
        )
    everywhere = sum(1 << laws.index(a) for a in allowed)
    home = np.array([1 << int(j) for j in geo.jurisdiction], np.int64)
    return home, np.full(len(home), everywhere, np.int64)


def _fits(
    name: str,
    kind: int,
    home: Array,
    anywhere: Array,
    trust: int,
    origin: Array,
    spec: Jobs,
    fleet: Fleet,
    geo: Geo,
    regions: list[str],
) -> tuple[Array, Array]:
    """Largest gang [R, 2] and memory [R, 2] that some legal pool offers, for unrestricted and restricted jobs."""
    gang, memory = np.zeros((len(home), 2), np.int64), np.zeros((len(home), 2))
    share = np.diff(origin, prepend=0.0)
    for r in range(len(home)):
        for bound, law in enumerate((anywhere[r], home[r])):
            legal = (
                (fleet.speed[kind] > 0)
                & (fleet.trust >= trust)
                & ((law >> geo.jurisdiction[fleet.region]) & 1 == 1)
            )
            used = share[r] > 0 and (spec.restricted_share > 0 if bound else spec.restricted_share < 1)
            if used and not legal.any():
                whose = "restricted" if bound else "unrestricted"
                raise UserError(
                    f"jobs.{name}: {whose} jobs from {regions[r]} have no pool that may run them; "
                    "add a pool of fitting hardware and trust there, or change restricted_share, jurisdictions, origins"
                )
            if legal.any():
                room = np.where(legal, fleet.devices * (fleet.speed[kind] if kind == INFERENCE else 1.0), 0)
                best = int(room.argmax())
                gang[r, bound], memory[r, bound] = max(1, int(room[best] + 1e-9)), fleet.memory[best]
    return gang, memory


def _tables(name: str, spec: Jobs, folder: Path | None) -> list[JobTable]:
    """One table per split."""
    bounds: dict[str, Any] = {"max_gang": spec.max_gang, "max_h": spec.max_h, "min_h": spec.min_h}
    if spec.trace is None or spec.job_class == "inference":
        out = []
        for i, _ in enumerate(SPLITS):
            rng = np.random.default_rng([_TABLE_SEED, zlib.crc32(name.encode()), i])
            sizes = {"gang_scale": spec.gang_scale, "cores_per_device": spec.cores_per_device}
            out.append(
                synthetic_table(spec.table, rng, spec.table_rows, min_gang=spec.min_gang, **bounds, **sizes)
            )
        return [_capped(t, spec) for t in out]
    assert folder is not None
    path = folder / spec.trace.file
    windows = {split: getattr(spec.trace, f"{split}_h") for split in SPLITS}
    trace = spec.trace
    split_windows(windows, trace_extent_h(path, trace.format, trace.columns))
    bounds |= {"kind": spec.table, "cores_per_device": spec.cores_per_device}
    bounds |= {"where": trace.where, "columns": trace.columns}
    read = [read_trace(path, trace.format, windows[split], **bounds) for split in SPLITS]
    return [_capped(_scaled(t, spec), spec) for t in read]


def _capped(table: JobTable, spec: Jobs) -> JobTable:
    """The table with the scenario's limits on memory and on the work between checkpoints."""
    memory, checkpoint = (
        np.float32(spec.max_memory_gib or np.inf),
        np.float32(spec.max_checkpoint_h or np.inf),
    )
    return table._replace(
        memory_gib=np.minimum(table.memory_gib, memory),
        checkpoint_h=np.minimum(table.checkpoint_h, checkpoint),
    )


def _scaled(table: JobTable, spec: Jobs) -> JobTable:
    """Gangs of two or more, times `gang_scale`: fewer and larger jobs for the same load."""
    gang = np.minimum(np.where(table.gang > 1, table.gang * spec.gang_scale, table.gang), spec.max_gang)
    least = np.ceil(gang * (table.least / table.gang) - 1e-9)
    return table._replace(gang=gang.astype(np.int32), least=least.astype(np.int32))


def _tenants(s: Scenario, fleet: Fleet, tables: list[JobTable]) -> tuple[list[str], Array]:
    """Names of the tenants, and the devices that each may hold, queue for or send for at a time, int64 [T]."""
    of_traces = (name for table in tables for name in table.tenants)
    names = list(dict.fromkeys([*s.tenants, *(j.tenant for j in s.jobs.values()), *of_traces]))
    shares = [s.tenants[t].quota_share if t in s.tenants else 1.0 for t in names]
    devices = np.maximum(1, np.array(shares) * fleet.devices.sum())
    return names, np.where(np.array(shares) < 1.0, devices, UNLIMITED).astype(np.int64)


def _said(tables: list[JobTable], specs: list[Jobs], names: list[str]) -> dict[str, Array]:
    """Least gang, priority and tenant of every row: what the table says, else what its source says."""
    least, rank, owner = [], [], []
    for table, spec in zip(tables, specs, strict=True):
        share = np.maximum(1, np.ceil(table.gang * spec.least_share - 1e-9))
        least.append(np.where(table.least > 0, table.least, share).astype(np.int32))
        rank.append(np.where(table.priority >= 0, table.priority, spec.priority).astype(np.int8))
        numbers = np.array([*(names.index(t) for t in table.tenants), names.index(spec.tenant)], np.int16)
        owner.append(numbers[table.tenant])  # -1, not said, is the last: the source's own
    return {"least": np.concatenate(least), "rank": np.concatenate(rank), "owner": np.concatenate(owner)}


def _allowed(tables: list[JobTable], specs: list[Jobs], quota: Array, fleet: Fleet) -> Array:
    """Largest gang of every row that its tenant's quota ever lets run, int32 [N]: replicas on slow devices are more."""
    best = [min(1.0, fleet.speed[CLASSES.index(spec.job_class)].max()) for spec in specs]
    each = [
        np.full(len(table.gang), speed if spec.job_class == "inference" else 1.0)
        for table, spec, speed in zip(tables, specs, best, strict=True)
    ]
    largest: Array = np.maximum(1, quota * np.concatenate(each)).astype(np.int32)
    return largest


def _process(spec: Jobs) -> tuple[dict[str, Any], float]:
    """How the arrivals of a source vary, by name of `Work`, and its mean batch."""
    if spec.job_class == "inference":
        r = rate_profile(spec.traffic)
        varies = {"hours": r.hour_profile, "days": r.day_profile, "sigma": r.sigma, "phi": r.phi}
        burst = np.zeros(4) if spec.trace else r.burst  # a recorded rate has its own
        return varies | {"burst": burst, "single": 1.0, "alpha": 1.5, "batch_max": 1}, 1.0
    p = arrival_process(spec.table, batch_max=spec.batch_max)
    varies = {"hours": p.hour_profile, "days": p.weekday_profile, "sigma": p.sigma, "phi": p.phi}
    sizes = {"single": 1.0 - p.multi_share, "alpha": p.pareto_alpha, "batch_max": p.batch_max}
    return varies | {"burst": np.zeros(4)} | sizes, p.mean_batch


def compile_work(
    s: Scenario, fleet: Fleet, geo: Geo, present: Array, data_dir: str | Path | None
) -> tuple[Work, list[str], dict[str, str]]:
    """All sources as arrays, the tenants' names, and the fingerprints of the trace files read.

    A source's rate is what keeps `load` of the capacity of its class busy: capacity is devices times speed over all
    pools that can run the class, work is reference device-hours. A pool counts for the share of time `present` [P] that
    it is there.
    """
    from gcn_env.scenario.compile import TRUST, data_folder

    names, n, r = list(s.jobs), len(s.jobs), len(s.regions)
    prints: dict[str, str] = {}
    f = {
        k: np.zeros(n)
        for k in (
            "rate",
            "slack_min",
            "slack_mean",
            "slack_h",
            "value",
            "slo_ms",
            "restricted",
            "series_h",
            "resume_h",
            "state_share",
        )
    }
    i = {k: np.zeros(n, np.int64) for k in ("kind", "mode", "local", "trust", "movable")}
    by_split = {k: np.zeros((3, n)) for k in ("window_h", "standing", "longest_h")}
    rows = {k: np.zeros((3, n), np.int64) for k in ("first", "rows", "series_first", "series_rows")}
    varies: list[dict[str, Any]] = []
    origin = np.zeros((n, r))
    home, anywhere = np.zeros((n, r), np.int64), np.zeros((n, r), np.int64)
    fit_gang, fit_memory = np.zeros((n, r, 2), np.int64), np.zeros((n, r, 2))
    tables: list[JobTable] = []
    specs: list[Jobs] = []
    series: list[Array] = [np.ones(1)]
    at, series_at = 0, 1
    for k, (name, spec) in enumerate(s.jobs.items()):
        kind = CLASSES.index(spec.job_class)
        folder = data_folder(s, data_dir) if spec.trace else None
        if spec.trace and folder:
            prints[spec.trace.file] = fingerprint(folder / spec.trace.file)
        devices = fleet.devices * present
        capacity = float((devices * fleet.speed[kind]).sum())
        if capacity == 0.0:
            raise UserError(
                f"jobs.{name}: no pool can run class {spec.job_class!r}; add hardware with a speed for it"
            )
        origin[k] = _origins(name, spec, list(s.regions))
        home[k], anywhere[k] = _laws(name, spec, s, geo)
        trust = TRUST[spec.trust]
        fit_gang[k], fit_memory[k] = _fits(
            name, kind, home[k], anywhere[k], trust, origin[k], spec, fleet, geo, list(s.regions)
        )
        shape, batch = _process(spec)
        varies.append(shape)
        wanted = spec.load * capacity
        mode = LEASES if kind == INFERENCE else (REPLAY if spec.trace else PROCESS)
        parts = _tables(name, spec, folder)
        for split, table in enumerate(parts):
            rows["first"][split, k], rows["rows"][split, k] = at, len(table.gang)
            by_split["window_h"][split, k] = table.window_h
            by_split["longest_h"][split, k] = table.work_h.max()
            if mode != LEASES:
                # Little's law, with the hours that work takes at the mean speed of what can run it
                hours_each = (
                    float(table.work_h.mean()) * float(devices[fleet.speed[kind] > 0].sum()) / capacity
                )
                by_split["standing"][split, k] = wanted / mean_device_h(table) * hours_each
            at += len(table.gang)
            tables.append(table)
            specs.append(spec)
        train = parts[0]
        if mode == PROCESS:
            f["rate"][k] = wanted / mean_device_h(train) / batch
        elif mode == REPLAY:
            offered = np.mean([mean_device_h(t) * len(t.gang) / t.window_h for t in parts])
            f["rate"][k] = wanted / float(offered)
        else:
            f["rate"][k] = wanted
            if spec.trace and folder:
                for at_split, name_of_split in enumerate(SPLITS):
                    window_h = getattr(spec.trace, f"{name_of_split}_h")
                    rates = read_rates(folder / spec.trace.file, window_h, format=spec.trace.format)
                    rows["series_first"][at_split, k], rows["series_rows"][at_split, k] = (
                        series_at,
                        len(rates.rate),
                    )
                    f["series_h"][k] = rates.step_h
                    series.append(rates.rate / rates.rate.mean())
                    series_at += len(rates.rate)
        i["kind"][k], i["mode"][k], i["local"][k], i["trust"][k] = kind, mode, int(spec.local_clock), trust
        f["slack_min"][k], f["slack_mean"][k], f["slack_h"][k] = (
            spec.slack_min_share,
            spec.slack_mean_share,
            spec.slack_h,
        )
        f["value"][k], f["restricted"][k] = spec.late_usd_per_device_h, spec.restricted_share
        f["slo_ms"][k] = spec.slo_ms or np.inf
        i["movable"][k] = kind == TRAINING if spec.movable is None else spec.movable
        f["resume_h"][k], f["state_share"][k] = spec.resume_min / 60.0, STATE_SHARE
    joined = {c: np.concatenate([getattr(t, c) for t in tables]) for c in _COLUMNS}
    shapes = {name: np.array([v[name] for v in varies]) for name in varies[0]}
    tenants, quota = _tenants(s, fleet, tables)
    said = _said(tables, specs, tenants)
    joined["gang"] = np.minimum(joined["gang"], _allowed(tables, specs, quota[said["owner"]], fleet))
    work = Work(
        **i, **f, **by_split, **rows, **joined, **shapes, origin=origin, home=home, anywhere=anywhere,
        fit_gang=fit_gang, fit_memory=fit_memory, series=np.concatenate(series), quota=quota,
        **said,
    )  # fmt: skip
    assert names
    return work, tenants, prints
