"""From a checked scenario to the arrays that kernels read: human units become SI here, and nowhere else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.core.params import (
    CLASSES,
    DAY_BEFORE,
    NORMAL,
    SPLITS,
    TRUTH,
    Bank,
    Fleet,
    Geo,
    Money,
    Timing,
    WorldParams,
)
from gcn_env.core.state import Array
from gcn_env.errors import UserError, nearest
from gcn_env.scenario.compile_geo import borrowed, compile_links, data_sets, place, weather_files
from gcn_env.scenario.compile_market import compile_market, presence
from gcn_env.scenario.compile_site import compile_site
from gcn_env.scenario.load import read_yaml
from gcn_env.scenario.plants import PlantSite, compile_plants
from gcn_env.scenario.schema import Hardware, Scenario
from gcn_env.signals.bank import SignalBank, file_bank, synthetic_bank
from gcn_env.signals.borrowed import Borrowed, lenders, lent
from gcn_env.signals.epw import with_weather

TRUST = {"public": 0, "private": 1, "tee": 2}
NOISE_LENGTH = 16384
# Sleep states of idle devices: share of idle power, seconds at idle power to wake [E].
SLEEP = {"none": (1.0, 0.0), "idle": (0.6, 1.0), "suspended": (0.10, 60.0), "off": (0.03, 300.0)}
BOUND = {
    "training": 0.1,
    "batch": 0.5,
    "inference": 0.8,
    "hpc": 0.3,
}  # [E] memory- or communication-bound share (E52)
_HERE = Path(__file__).resolve().parent


@lru_cache(maxsize=1)
def hardware_catalogue() -> dict[str, Hardware]:
    """Device types that come with the project (hardware.yaml)."""
    types = read_yaml(_HERE / "hardware.yaml")["types"]
    return {name: Hardware.model_validate(row) for name, row in types.items()}


@dataclass(frozen=True, eq=False)
class World:
    """A compiled scenario: what `Sim` runs."""

    scenario: Scenario
    timing: Timing
    params: WorldParams
    bank: SignalBank
    region_names: tuple[str, ...]
    pool_names: tuple[str, ...]
    source_names: tuple[str, ...]
    tenant_names: tuple[str, ...]
    hardware_names: tuple[str, ...]
    archetypes: tuple[str, ...]
    data_fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.scenario.name

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What was interpolated in series, and changed or assumed in weather files: a line each."""
        return (*map(str, self.bank.filled), *self.bank.notes)

    @property
    def n_regions(self) -> int:
        """R."""
        return len(self.region_names)

    @property
    def n_pools(self) -> int:
        """P."""
        return len(self.pool_names)

    @property
    def n_slots(self) -> int:
        """Q."""
        return self.scenario.decisions.slots

    @property
    def n_levels(self) -> int:
        """L, levels of each cooling head."""
        return self.scenario.decisions.cooling_levels

    @property
    def horizon(self) -> int:
        """Control steps per episode."""
        return self.timing.horizon

    @property
    def step_h(self) -> float:
        """Hours per control step."""
        return self.timing.dt_h

    @property
    def reference_usd(self) -> float:
        """Cost of a step at which the reward is -1."""
        return self.params.money.reference_usd

    @cached_property
    def pool_region(self) -> npt.NDArray[np.int64]:
        """Region number of each pool, int64 [P]."""
        return np.asarray(self.params.fleet.region)

    @cached_property
    def plant_kind(self) -> npt.NDArray[np.int64]:
        """Archetype number (a = 0) of each region, int64 [R]."""
        return np.array(["abcdefg".index(a) for a in self.archetypes], np.int64)

    @cached_property
    def longitude_deg(self) -> Array:
        """float64 [R]."""
        return np.array([r.longitude_deg for r in self.scenario.regions.values()])

    @cached_property
    def latitude_deg(self) -> Array:
        """float64 [R]."""
        return np.array([r.latitude_deg for r in self.scenario.regions.values()])

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits over the resolved scenario and the data it read."""
        text = self.scenario.model_dump_json() + repr(sorted(self.data_fingerprints.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def data_folder(scenario: Scenario, data_dir: str | Path | None) -> Path:
    """The folder of real data: argument, scenario field, environment variable GCN_DATA, in this order.

    Raises:
        UserError: if none is named or it is not a folder.
    """
    named = data_dir or scenario.data_dir or os.environ.get("GCN_DATA")
    remedy = "give --data DIR, set data_dir in the scenario, or the environment variable GCN_DATA"
    if not named:
        raise UserError(f"scenario {scenario.name!r} reads real data, but no data folder is named; {remedy}")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UserError(f"data folder {folder} does not exist; {remedy}")
    return folder


def _timing(s: Scenario) -> Timing:
    dt_h = s.time.step_min / 60.0
    return Timing(
        dt_h,
        round(s.time.episode_days * 24.0 / dt_h),
        round(s.time.step_min * 60.0 / s.time.plant_substep_s),
        round(s.time.plant_substep_s / s.time.zone_substep_s),
    )


def _fleet(s: Scenario) -> tuple[Fleet, list[str], list[str]]:
    types = {**hardware_catalogue(), **s.hardware}
    names, parts = [], []
    for r, (region, spec) in enumerate(s.regions.items()):
        for pool, p in spec.pools.items():
            if p.hardware not in types:
                near = nearest(p.hardware, types)
                raise UserError(
                    f"regions.{region}.pools.{pool}.hardware: unknown {p.hardware!r}{near} (known: {', '.join(types)})"
                )
            names.append(f"{region}/{pool}")
            parts.append((r, p, types[p.hardware]))

    def column(pick: Any, dtype: Any = np.float64) -> Array:
        return np.array([pick(r, p, h) for r, p, h in parts], dtype)

    def by_class(pick: Any) -> Array:
        return np.array([[pick(h, name) for _, _, h in parts] for name in CLASSES], np.float64)

    use = {
        "training": 0.9,
        "batch": 0.7,
        "inference": 0.55,
        "hpc": 0.9,
    }  # [E] mean utilisation of held devices
    fleet = Fleet(
        region=column(lambda r, p, h: r, np.int64),
        devices=column(lambda r, p, h: p.devices, np.int64),
        node=column(lambda r, p, h: p.devices_per_node, np.int64),
        idle_kw=column(lambda r, p, h: h.idle_w / 1e3),
        peak_kw=column(lambda r, p, h: h.peak_w / 1e3),
        asleep_kw=column(lambda r, p, h: h.idle_w / 1e3 * SLEEP[p.sleep][0]),
        reserve=column(lambda r, p, h: p.awake_reserve_share),
        wake_h=column(lambda r, p, h: SLEEP[p.sleep][1] / 3600.0),
        speed=by_class(lambda h, name: h.speed.get(name, 0.0)),
        load=by_class(lambda h, name: h.power.get(name, use[name] ** h.beta)),
        memory=column(lambda r, p, h: h.memory_gib),
        trust=column(lambda r, p, h: TRUST[p.trust], np.int64),
        service_ms=column(lambda r, p, h: h.service_ms),
        device_usd=column(lambda r, p, h: h.usd_per_h),
        static=column(lambda r, p, h: max(h.static_share, h.idle_w / h.peak_w)),
        bound=np.array([BOUND[name] for name in CLASSES]),
        fail=column(lambda r, p, h: 1.0 / (24.0 * p.node_mtbf_days)),
        repair_h=column(lambda r, p, h: p.repair_mean_h),
        degrade=column(lambda r, p, h: 1.0 / (24.0 * p.slow_mtb_days)),
        detect_h=column(lambda r, p, h: p.detect_mean_h),
        slow=column(lambda r, p, h: p.slow_speed_share),
    )
    return fleet, names, [p.hardware for _, p, _ in parts]


def _geo(s: Scenario, fleet: Fleet) -> Geo:
    regions = list(s.regions.values())
    replica = data_sets(s)
    laws = sorted({r.jurisdiction for r in regions})
    if len(laws) > 32:
        raise UserError(f"{len(laws)} jurisdictions; at most 32 fit a job's rule")
    peak = fleet.devices * fleet.peak_kw
    return Geo(
        jurisdiction=np.array([laws.index(r.jurisdiction) for r in regions], np.int64),
        utc_offset_h=np.array([place(r)[0] for r in regions], np.float64),
        outage=np.array([r.grid.outages_per_year / 8760.0 for r in regions]),
        outage_h=np.array([r.grid.outage_mean_h for r in regions]),
        design_kw=np.array([peak[fleet.region == i].sum() for i in range(len(regions))]),
        replica=replica,
        copies=replica.sum(1, dtype=np.int64),
        **compile_links(s),
    )


def _money(s: Scenario, geo: Geo) -> Money:
    grids = [r.grid for r in s.regions.values()]
    return Money(
        demand_usd=np.array([g.demand_usd_per_kw_month for g in grids]),
        base_peak_kw=np.array([g.base_peak_share for g in grids]) * geo.design_kw,
        water_usd=np.array([g.water_usd_per_m3 / 1e3 for g in grids]),
        carbon_usd=s.prices.carbon_usd_per_t / 1e3,
        thermal_usd=float(s.prices.thermal_usd_per_k_h_kw),
        start_usd=float(s.prices.compressor_start_usd),
        travel_usd=float(s.prices.setpoint_travel_usd),
        drop_h=float(s.prices.drop_h),
        reference_usd=float(s.prices.reference_usd_per_step),
        outlook_usd=np.full(len(grids), s.prices.reference_usd_per_mwh / 1e3),
    )


def _bank(s: Scenario, regions: list[Borrowed], data_dir: str | Path | None) -> SignalBank:
    profiles, prices = lenders(regions)
    gap_h = s.signals.gaps.max_gap_h if s.signals.gaps.policy == "interpolate" else 0
    splits = {split: getattr(s.signals, split) for split in SPLITS}
    if s.signals.kind == "synthetic":
        bank = synthetic_bank(profiles, splits, s.signals.seed, prices)
    else:
        folder = data_folder(s, data_dir)
        bank = file_bank(folder, profiles, splits, gap_h, prices, seed=s.signals.seed)
    bank = lent(bank, prices, regions)
    if any(r.weather_file for r in s.regions.values()):
        bank = with_weather(bank, weather_files(s, data_folder(s, data_dir), gap_h))
    return bank


def _outside(s: Scenario, bank: SignalBank) -> Bank:
    from gcn_env.signals.forecast import forecast_sd, noise_table, normals

    kind = s.signals.forecast.kind
    sd = forecast_sd(bank, kind, s.signals.forecast.error_scale)
    noise = noise_table(s.signals.seed, NOISE_LENGTH)
    return Bank(
        bank.values,
        bank.hours,
        bank.weekday,
        np.ascontiguousarray(sd, np.float64),
        {"persistence": DAY_BEFORE, "climatology": NORMAL}.get(kind, TRUTH),
        normals(bank) if kind == "climatology" else np.empty((0, *bank.values.shape[2:]), np.float32),
        noise,
    )


def compile_world(scenario: Scenario, data_dir: str | Path | None = None) -> World:
    """Turn a scenario into arrays; reads data files where the scenario says so.

    Raises:
        UserError: unknown hardware, profile, region or jurisdiction; data that are missing or broken.
    """
    from gcn_env.scenario.compile_jobs import compile_work

    timing = _timing(scenario)
    lending = borrowed(scenario)
    fleet, pools, hardware = _fleet(scenario)
    geo = _geo(scenario, fleet)
    bank = _bank(scenario, lending, data_dir)
    needed = timing.horizon * timing.dt_h + 48.0
    if needed > bank.hours.min():
        raise UserError(
            f"time.episode_days: {scenario.time.episode_days:g} days do not fit a year of "
            f"{bank.hours.min()} h with a day at each end"
        )
    market = compile_market(scenario)
    work, tenants, fingerprints = compile_work(scenario, fleet, geo, presence(market), data_dir)
    plant = compile_plants(
        [
            PlantSite(
                r.plant.archetype,
                geo.design_kw[i],
                place(r)[1],
                dict(r.plant.overrides),
                r.supply.power_cap_floor_share,
                r.supply.battery_h > 0.0,
            )
            for i, r in enumerate(scenario.regions.values())
        ]
    )
    params = WorldParams(
        fleet, geo, _money(scenario, geo), work, _outside(scenario, bank), plant, compile_site(scenario, geo),
        market,
    )  # fmt: skip
    return World(
        scenario,
        timing,
        params,
        bank,
        tuple(scenario.regions),
        tuple(pools),
        tuple(scenario.jobs),
        tuple(tenants),
        tuple(hardware),
        tuple(r.plant.archetype for r in scenario.regions.values()),
        {"signals": bank.fingerprint, **fingerprints},
    )
