"""A live cluster as the simulator's own state: reading documents, and the encoder's view of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gcn_env import drivers
from gcn_env.core.costs import N_COSTS
from gcn_env.core.jit import Calls
from gcn_env.core.params import INFERENCE
from gcn_env.core.power import power_at, speed_at
from gcn_env.core.state import CARBON, CARRIES, LEADS_H, OUTLOOK_H, PRICE, State, allocate
from gcn_env.encoder import View
from gcn_env.fleet_encoder import encode_constants
from gcn_env.observation import GLOBALS, JOBS, PAIRS, POOLS, REGIONS
from gcn_env.scenario.compile import World
from gcn_env.snapshot.assume import Assumptions
from gcn_env.snapshot.jobs import JobReader
from gcn_env.snapshot.parse import (
    MAX_STEP,
    SnapshotError,
    Units,
    check_head,
    choice,
    finite,
    known_keys,
    mapping,
    sequence,
    time_of,
)
from gcn_env.snapshot.readings import LINKS, POOL_READINGS, REGION_READINGS, Reading

Array = Any
Obs = dict[str, Array]
_PENDING, _HIDDEN = GLOBALS.index("pending"), GLOBALS.index("hidden")
HOLD_H = 1.0  # how long an earlier reading stands in for one that is unknown


@dataclass
class Report:
    """What reading a document found.

    Attributes:
        hour: h of the year of the snapshot.
        unknown: `table.reading` -> entities whose reading is missing, implausible or no number.
        held: those of them for which an earlier reading of at most `HOLD_H` stands in.
        vital: unknown readings, not held either, without which no policy should decide: `table.reading of entity`.
        implausible: `table.reading of entity = value`, outside the reading's bounds.
    """

    hour: float
    unknown: dict[str, list[str]] = field(default_factory=dict)
    held: dict[str, list[str]] = field(default_factory=dict)
    vital: list[str] = field(default_factory=list)
    implausible: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for answers and logs."""
        return {
            "hour_of_year": self.hour, "unknown": self.unknown, "held": self.held, "vital": self.vital,
            "implausible": self.implausible,
        }  # fmt: skip


class LiveFleet:
    """One live cluster, described by a compiled scenario, as a `State` of batch one.

    Attributes:
        world: the scenario: regions, pools, plants, prices, job sources.
        state: as `Sim` holds it; only what encoders and slots read is filled.
        params: the world's constants, with a calendar of the snapshot's year.
        report: of the last document.
        ids: names of the jobs, in the order of their places.
        slot_ids: name of the job in each slot, None for an empty one.
    """

    def __init__(self, world: World) -> None:
        d, p, r = world.scenario.decisions, world.n_pools, world.n_regions
        self.world = world
        bank = world.params.bank
        calendar = bank._replace(
            values=np.zeros((1, 1, *bank.values.shape[2:]), np.float32),
            hours=np.zeros(1, np.int64), weekday=np.zeros(1, np.int64),
        )  # fmt: skip
        calendar.values.flags.writeable = False  # as the world's own: kernels are compiled for that type
        self.params = world.params._replace(bank=calendar)
        fleet = self.params.fleet
        self.state: State = allocate(
            1, d.job_places, world.n_slots, p, r, len(world.source_names), int(fleet.node.max()),
            len(self.params.work.quota),
        )  # fmt: skip
        self.assume = Assumptions(world, self.params, self.state)
        self._seen_at = {
            "regions": np.full((len(REGION_READINGS), r), -np.inf), "pools": np.full((len(POOL_READINGS), p), -np.inf)
        }  # fmt: skip
        self.pool_index = {n: p for p, n in enumerate(world.pool_names)}
        self._view = self._make_view(world.n_slots)
        self._one = self._make_view(1)
        self._asked = self.state._replace(jobs=self.state.jobs._replace(slot=np.zeros((1, 1), np.int32)))
        self._call = Calls()
        self.reader = JobReader(world, self.state)
        self.report = Report(0.0)
        self.ids: list[str] = []
        self._place: dict[str, int] = {}
        self._ages: dict[str, int] = {}
        self.slot_ids: list[str | None] = []
        self.count = 0  # of documents read

    def _make_view(self, slots: int) -> View:
        p, r = self.world.n_pools, self.world.n_regions
        choices = slots * (p + 1) + 5 * r * self.world.n_levels

        def zeros(*shape: int) -> Array:
            return np.zeros((1, *shape), np.float32)

        view = View(
            zeros(slots, len(JOBS)), zeros(p, len(POOLS)), zeros(r, len(REGIONS)), zeros(slots, p, len(PAIRS)),
            zeros(len(GLOBALS)), zeros(choices), np.zeros((1, N_COSTS)), np.zeros((1, p, 2)),
        )  # fmt: skip
        w = self.params
        encode_constants(view.pools, view.regions, w.fleet, w.geo, w.money, self.world.plant_kind)
        return view

    # ------------------------------------------------------------------------------------------------------ reading
    def read(self, document: Any) -> Report:
        """Take over a document; after an error, the fleet must not be asked before the next good one.

        Raises:
            SnapshotError: for a document that is no snapshot of this world.
        """
        found = check_head(document)
        units = Units(found.get("units"))
        time = time_of(found.get("time"))
        self.report = Report(time.hour)
        clock, bank = self.state.clock, self.params.bank
        bank.hours[0], bank.weekday[0] = time.hours, time.weekday
        clock.now_h[0] = time.hour
        clock.step[0] = self._step(found.get("step"))
        clock.start_h[0] = time.hour - clock.step[0] * self.world.step_h
        self._table("pools", POOL_READINGS, self.world.pool_names, found.get("pools"), units)
        self._jobs(found.get("jobs"), units)
        self._table("regions", REGION_READINGS, self.world.region_names, found.get("regions"), units)
        self._links(found.get("links"), units)
        self._derive()
        self._slots(found.get("slots"))
        for name, pool in mapping(found.get("placed") or {}, "placed").items():
            choice(pool, self.world.pool_names, f"placed.{name:.60}")
        self.count += 1
        return self.report

    def _step(self, given: Any) -> int:
        """Control steps since an episode began; a live cluster stands in the middle of one for ever."""
        if given is None:
            return self.world.horizon // 2
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MAX_STEP:
            raise SnapshotError(f"step: {given!r:.40}; wanted a whole number from 0, or none")
        return given

    def _table(
        self, table: str, readings: tuple[Reading, ...], names: tuple[str, ...], given: Any, units: Units
    ) -> None:
        entities = mapping(given if given is not None else {}, table)
        known_keys(entities, names, table)
        rows = [mapping(entities.get(n, {}), f"{table}.{n}") for n in names]
        allowed = [x.row.name for x in readings]
        for n, row in zip(names, rows, strict=True):
            known_keys(row, allowed, f"{table}.{n}")
        seen_at, now = self._seen_at[table], self.report.hour
        missing: list[tuple[int, Reading, list[int]]] = []
        for k, reading in enumerate(readings):
            target = self._target(reading)
            unknown = []
            for i, row in enumerate(rows):
                number = self._plausible(table, reading, names[i], row.get(reading.row.name), units)
                if number is None:
                    unknown.append(i)
                else:
                    target[i] = number
                    seen_at[k, i] = now
            if unknown:
                missing.append((k, reading, unknown))
        for k, reading, unknown in missing:
            self._stand_in(table, k, reading, names, unknown)

    def _target(self, reading: Reading) -> Array:
        """View [entities] of the state where a reading goes."""
        array = getattr(getattr(self.state, reading.group), reading.field)[0]
        return array[(slice(None), *reading.at)]

    def _plausible(self, table: str, reading: Reading, name: str, given: Any, units: Units) -> float | None:
        """The number in our unit, None if it is unknown."""
        row = reading.row
        try:
            number = finite(given)
        except (ValueError, OverflowError) as error:
            raise SnapshotError(f"{table}.{name}.{row.name}: {error}") from None
        if number is None:
            return None
        number = units.value(table, row.name, number)
        if not row.low <= number <= row.high:
            self.report.implausible.append(f"{table}.{row.name} of {name} = {number:g} {row.unit}")
            return None
        return number * CARRIES if reading.field == "generator" else number

    def _stand_in(
        self, table: str, k: int, reading: Reading, names: tuple[str, ...], unknown: list[int]
    ) -> None:
        """Earlier readings that are fresh enough, else assumptions; both are reported."""
        target, now, key = self._target(reading), self.report.hour, f"{table}.{reading.row.name}"
        gap = now - self._seen_at[table][k]
        held = [i for i in unknown if 0.0 <= gap[i] <= HOLD_H]
        rest = [i for i in unknown if not 0.0 <= gap[i] <= HOLD_H]
        self.report.unknown[key] = [names[i] for i in unknown]
        if held:
            self.report.held[key] = [names[i] for i in held]
        if rest:
            known = (
                self.assume.pool(reading.field)
                if table == "pools"
                else self.assume.region(reading.field, reading.at)
            )
            target[rest] = np.asarray(known)[rest]
            if reading.vital:
                self.report.vital += [f"{key} of {names[i]}" for i in rest]

    def _links(self, given: Any, units: Units) -> None:
        links, names = self.state.links, self.world.region_names
        links.up[:], links.down_h[:], links.n[:] = 1.0, 0.0, 0
        if given is None:
            self.report.unknown["links.up"] = ["all"]
            self.report.unknown["links.transfers"] = ["all"]
            given = []
        for k, entry in enumerate(sequence(given, "links", len(names) ** 2)):
            where = f"links[{k}]"
            row = mapping(entry, where)
            known_keys(row, ("from", "to", *LINKS.names), where)
            a, c = (names.index(choice(row.get(end), names, f"{where}.{end}")) for end in ("from", "to"))
            for spec in LINKS.rows:
                try:
                    number = finite(row.get(spec.name))
                except (ValueError, OverflowError) as error:
                    raise SnapshotError(f"{where}.{spec.name}: {error}") from None
                if number is not None:
                    number = units.value("links", spec.name, number)
                if number is None or not spec.low <= number <= spec.high:
                    self.report.unknown.setdefault(f"links.{spec.name}", []).append(f"{names[a]}-{names[c]}")
                    continue
                (links.up if spec.name == "up" else links.n)[0, a, c] = number
        links.under_way[0] = links.n[0].sum()

    # -------------------------------------------------------------------------------------------------------- jobs
    def _jobs(self, given: Any, units: Units) -> None:
        if given is None:
            raise SnapshotError("jobs: missing; an idle cluster sends an empty list")
        jobs = self.state.jobs
        rows = sequence(given, "jobs", jobs.status.shape[1])
        self.ids, self._place = [], {}
        for j, entry in enumerate(rows):
            name, shown, unknown = self.reader.read(j, entry, units, self.report.hour, f"jobs[{j}]")
            if name in self._place:
                raise SnapshotError(f"jobs[{j}].id: {name!r:.80} stands twice")
            self.ids.append(name)
            self._place[name] = j
            jobs.order[0, j] = j
            jobs.shown[0, j] = self._shown(name, shown)
            for reading in unknown:
                self.report.unknown.setdefault(f"jobs.{reading}", []).append(name)
        jobs.n_live[0] = len(rows)

    def _shown(self, name: str, given: int | None) -> int:
        if given is not None:
            return given
        seen = self._ages.get(name)
        return -1 if seen is None else int(self.state.clock.step[0]) - (self.count - seen)

    def _slots(self, given: Any) -> None:
        """Which jobs are decided on: as the document says, else as the simulator would choose."""
        slot = self.state.jobs.slot
        if given is None:
            self.reader.queue_up()
            self._call(drivers.refill, 0, 1, self.world.timing, self.state, self.params)
        else:
            slot[0] = -1
            for q, name in enumerate(sequence(given, "slots", slot.shape[1])):
                if name is not None:
                    if not isinstance(name, str) or name not in self._place:
                        raise SnapshotError(f"slots[{q}]: {name!r:.80} is no job of this snapshot")
                    slot[0, q] = self._place[name]
            self.reader.count_devices()
        self.slot_ids = [None if j < 0 else self.ids[j] for j in slot[0]]
        self._ages = {n: self.count for n in self.slot_ids if n} | {
            n: c for n, c in self._ages.items() if n in self._place and n not in self.slot_ids
        }

    def _derive(self) -> None:
        """What the state holds twice: clocks by class, outlooks, unknown sums over jobs."""
        pools, fleet, signals = self.state.pools, self.params.fleet, self.state.signals
        for p, freq in enumerate(pools.freq[0]):
            pools.drawn[0, p] = power_at(freq, fleet.static[p])
            for k in range(pools.pace.shape[2]):
                pools.pace[0, p, k] = 1.0 if k == INFERENCE else speed_at(freq, fleet.bound[k])
        pools.claimed[:] = 0
        unknown = self.report.unknown
        self.reader.add_up({n for n in ("queued", "running", "waiting") if f"pools.{n}" in unknown}, unknown)
        signals.price_sum[0] = outlook(signals, PRICE, 1e-3)
        signals.carbon_sum[0] = outlook(signals, CARBON, 1e-3 * self.params.money.carbon_usd)
        signals.both_sum[0] = signals.price_sum[0] + signals.carbon_sum[0]

    @contextmanager
    def visitor(self, job: Any, units: Units) -> Iterator[tuple[str, int]]:
        """Name and place of a job that is asked about: one of the snapshot by name, or a described one, which leaves.

        Raises:
            SnapshotError: for a name that is not of the snapshot, or a description that says too little.
        """
        jobs = self.state.jobs
        if isinstance(job, str):
            if job not in self._place:
                raise SnapshotError(f"job: {job!r:.80} is no job of the snapshot; describe it instead")
            yield job, self._place[job]
            return
        place = int(jobs.n_live[0])
        if place >= jobs.status.shape[1]:
            raise SnapshotError(f"job: all {place} places are taken (decisions.job_places)")
        name, _, _ = self.reader.read(place, job, units, self.report.hour, "job")
        if jobs.pool[0, place] >= 0:
            raise SnapshotError("job: it stands at a pool already; such jobs come with the snapshot")
        jobs.order[0, place], jobs.shown[0, place] = place, -1
        jobs.n_live[0] = place + 1
        try:
            yield name, place
        finally:
            jobs.n_live[0] = place

    # --------------------------------------------------------------------------------------------------- observing
    def observe(self) -> Obs:
        """Observation of the joint view with a leading axis of 1; overwritten by the next call."""
        return self._encoded(self.state, self._view)

    def observe_job(self, place: int) -> Obs:
        """The same with the job at one place in the only slot."""
        self._asked.jobs.slot[0, 0] = place
        obs = self._encoded(self._asked, self._one)
        pending = np.sinh(4.0 * obs["globals"][0, _PENDING])
        obs["globals"][0, _HIDDEN] = (
            np.arcsinh(max(0.0, pending - self.world.n_slots)) / 4.0
        )  # as in `observe`
        return obs

    def _encoded(self, state: State, view: View) -> Obs:
        w = self.world
        self._call(drivers.encode_joint_range, 0, 1, w.n_levels, w.timing, state, self.params, view)
        return {k: getattr(view, k) for k in ("jobs", "pools", "regions", "pairs", "globals", "mask")}


def outlook(signals: Any, column: int, scale: float) -> Array:
    """Running sums [R, OUTLOOK_H + 1] of an hourly outlook: as `core.signals._outlook`, for all regions at once."""
    now, ahead = signals.now[0, :, column], signals.ahead[0, :, :, column]
    ends = np.concatenate([now[:, None], ahead], 1)
    at = np.array((0, *LEADS_H))
    hours = np.arange(24)
    k = np.searchsorted(at, hours, "right") - 1
    left, right = ends[:, k], ends[:, k + 1]
    value = left + (right - left) * (hours - at[k]) / (at[k + 1] - at[k])
    out = np.zeros((len(now), OUTLOOK_H + 1))
    np.cumsum(value * scale, 1, out=out[:, 1:25])
    for h in range(24, OUTLOOK_H):
        out[:, h + 1] = out[:, h] + (out[:, h - 23] - out[:, h - 24])
    return out
