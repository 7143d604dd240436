"""What a scenario file may say: strict models, units in the names, unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcn_env.core.params import SPLITS
from gcn_env.scenario.schema_work import DataSet, Jobs, Tenant
from gcn_env.scenario.strict import ClassName, DevicePrice, NonNegative, Positive, Rate, Share, Strict


class Time(Strict):
    """Steps and length of an episode."""

    step_min: Annotated[float, Field(ge=1, le=60)] = 15
    episode_days: Positive = 7
    plant_substep_s: Annotated[float, Field(ge=1, le=900)] = 300
    zone_substep_s: Annotated[float, Field(ge=1, le=900)] = 60

    @model_validator(mode="after")
    def _divides(self) -> Time:
        for big, small, name in (
            (self.step_min * 60, self.plant_substep_s, "plant_substep_s"),
            (self.plant_substep_s, self.zone_substep_s, "zone_substep_s"),
            (self.episode_days * 1440, self.step_min, "step_min"),
            (60.0, self.step_min, "step_min"),
        ):
            if abs(big / small - round(big / small)) > 1e-9:
                raise ValueError(f"{name} = {small:g} does not divide {big:g}; choose a divisor")
        return self


class Decisions(Strict):
    """Sizes of the decision problem."""

    slots: Annotated[int, Field(ge=1, le=256)] = 16
    cooling_levels: Annotated[int, Field(ge=2, le=64)] = 8
    job_places: Annotated[int, Field(ge=16, le=65000)] = 768


class Gaps(Strict):
    """What to do with missing hours of a series."""

    policy: Literal["error", "interpolate"] = "error"
    max_gap_h: Annotated[int, Field(ge=1, le=720)] = 24


class Forecast(Strict):
    """Error model of the forecasts."""

    kind: Literal["noisy", "perfect", "persistence", "climatology"] = "noisy"
    error_scale: NonNegative = 1.0


class Signals(Strict):
    """Where prices, carbon and weather come from, and which year belongs to which split."""

    kind: Literal["synthetic", "files"] = "synthetic"
    seed: Annotated[int, Field(ge=0)] = 0
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    gaps: Gaps = Gaps()
    forecast: Forecast = Forecast()

    @model_validator(mode="after")
    def _disjoint(self) -> Signals:
        seen: dict[int, str] = {}
        for split in SPLITS:
            years = getattr(self, split)
            if not years:
                raise ValueError(f"signals.{split} is empty; give it at least one year")
            for year in years:
                if year in seen:
                    raise ValueError(
                        f"year {year} is in {seen[year]} and in {split}; a year belongs to one split"
                    )
                seen[year] = split
        return self


class Plant(Strict):
    """Cooling plant and power chain of a region."""

    archetype: Literal["a", "b", "c", "d", "e", "f", "g"]
    overrides: dict[str, float] = {}


class Curtailment(Strict):
    """Calls of the grid operator to draw less (E57)."""

    per_year: NonNegative = 0.0
    notice_h: NonNegative = 1.0
    mean_h: Positive = 2.0
    depth_share: Share = 0.2
    penalty_usd_per_mwh: NonNegative = 800.0


class Grid(Strict):
    """Grid connection of a region."""

    demand_usd_per_kw_month: NonNegative = 10.0
    base_peak_share: Share = 0.6
    water_usd_per_m3: NonNegative = 2.0
    outages_per_year: NonNegative = 0.5
    outage_mean_h: Positive = 0.7
    demand_ratchet_share: Share = 0.0
    feeder_share: Positive | None = None
    curtailment: Curtailment = Curtailment()


class Supply(Strict):
    """What stands beside the grid, in shares of the region's design IT power where not said otherwise."""

    ups_min: NonNegative = 5.0
    fans_on_ups: bool = True
    generator_share: NonNegative = 1.3
    generator_start_probability: Share = 0.985
    fuel_usd_per_l: NonNegative = 1.2
    pv_share: NonNegative = 0.0
    wind_share: NonNegative = 0.0
    hub_m: Annotated[float, Field(ge=10, le=250)] = 100.0
    battery_h: NonNegative = 0.0
    battery_rate_per_h: Annotated[float, Field(gt=0, le=6)] = 0.5
    battery_wear_usd_per_kwh: NonNegative = 0.045
    heat_demand_share: Share = 0.0
    heat_usd_per_mwh: NonNegative = 25.0
    power_cap_floor_share: Annotated[float, Field(ge=0.4, le=1.0)] = 1.0
    fault_scale: NonNegative = 1.0


class Sensors(Strict):
    """Temperature sensors of the building-management systems, what policies see; zeros show the truth."""

    noise_k: NonNegative = 0.2
    step_k: NonNegative = 0.1
    delay_s: NonNegative = 45.0


class Rent(Strict):
    """A pool of somebody else's devices, paid by the device-hour held at a spot price, taken back at will."""

    usd_per_device_h: DevicePrice
    sigma: Annotated[float, Field(ge=0, le=2)] = 0.3
    phi: Annotated[float, Field(ge=0, lt=1)] = 0.97
    reclaims_per_week: NonNegative = 0.5
    notice_h: NonNegative = 0.5
    absent_mean_h: Positive = 6.0


class Let(Strict):
    """Spare devices offered to others, who leave at once when the owner's work wants them."""

    usd_per_device_h: DevicePrice
    demand_share: Share = 0.5


class Pool(Strict):
    """Equal devices under one local scheduler."""

    hardware: str
    devices: Annotated[int, Field(ge=1, le=1_000_000)]
    devices_per_node: Annotated[int, Field(ge=1, le=64)] = 8
    trust: Literal["public", "private", "tee"] = "public"
    sleep: Annotated[
        Literal["none", "idle", "suspended", "off"], BeforeValidator(lambda v: "off" if v is False else v)
    ] = "suspended"  # YAML reads a bare off as false
    awake_reserve_share: Share = 0.15
    # health of nodes: the sources of these estimates stand in core/health.py
    node_mtbf_days: Annotated[float, Field(ge=0.01, le=1e9)] = 120.0
    repair_mean_h: Positive = 12.0
    slow_mtb_days: Annotated[float, Field(ge=0.01, le=1e9)] = 365.0
    slow_speed_share: Annotated[float, Field(ge=0.05, le=1)] = 0.6
    detect_mean_h: Positive = 6.0
    rent: Rent | None = None
    let: Let | None = None

    @model_validator(mode="after")
    def _whole_nodes(self) -> Pool:
        if self.devices % self.devices_per_node:
            raise ValueError(
                f"devices = {self.devices} is not a multiple of devices_per_node = {self.devices_per_node}"
            )
        if self.rent is not None and self.let is not None:
            raise ValueError(
                "rent and let: a rented device is paid while it is held, so none is spare; give one of them"
            )
        return self


ADJUSTMENTS = (
    "price_scale", "price_add_usd_per_mwh", "carbon_scale", "weather_shift_k", "cloud_scale", "wind_scale",
)  # fmt: skip


WEATHER_LOANS = ("weather_profile", "weather_shift_k", "cloud_scale", "wind_scale")


class Region(Strict):
    """A site with one grid connection, one plant and some pools.

    It stands at a fitted `profile`, or borrows price, carbon and weather (`gcn_env.signals.borrowed`): then it gives
    its own clock and height, and `source` says why these loans are fair. `weather_file` is an EPW file in the data
    folder: a typical year of measured weather in place of any other, the same in every year.
    """

    profile: str | None = None
    price_profile: str | None = None
    carbon_profile: str | None = None
    weather_profile: str | None = None
    weather_file: Annotated[str, Field(min_length=1)] | None = None
    price_scale: Positive = 1.0
    price_add_usd_per_mwh: float = 0.0
    carbon_scale: Positive = 1.0
    weather_shift_k: Annotated[float, Field(ge=-25, le=15)] = 0.0
    cloud_scale: Annotated[float, Field(ge=0, le=2)] = 1.0
    wind_scale: Annotated[float, Field(ge=0, le=3)] = 1.0
    utc_offset_h: Annotated[float, Field(ge=-12, le=14)] | None = None
    egress_usd_per_gb: NonNegative | None = None
    source: str = ""
    jurisdiction: str
    longitude_deg: Annotated[float, Field(ge=-180, le=180)]
    latitude_deg: Annotated[float, Field(ge=-90, le=90)]
    elevation_m: Annotated[float, Field(ge=-500, le=5000)] | None = None
    plant: Plant
    grid: Grid = Grid()
    supply: Supply = Supply()
    pools: Annotated[dict[str, Pool], Field(min_length=1)]

    @model_validator(mode="after")
    def _signals(self) -> Region:
        names = ("price_profile", "carbon_profile", "weather_profile")
        weather = [n for n in WEATHER_LOANS if getattr(self, n) != type(self).model_fields[n].default]
        if self.weather_file is not None and weather:
            raise ValueError(
                f"weather_file takes the place of {', '.join(weather)}; leave one or the other out"
            )
        if self.profile is None:
            needed = [n for n in names if n != "weather_profile" or self.weather_file is None]
            missing = [n for n in (*needed, "utc_offset_h", "elevation_m") if getattr(self, n) is None]
            if missing:
                raise ValueError(f"give profile, or else also {', '.join(missing)}")
        fields = type(self).model_fields
        if not self.source and any(getattr(self, n) != fields[n].default for n in (*names, *ADJUSTMENTS)):
            raise ValueError("borrowed or adjusted signals need a source: say in words why they are fair")
        return self


class Hardware(Strict):
    """A device type (see hardware.yaml); `power` is the share of the idle-to-peak range that a class draws."""

    what: str = ""
    idle_w: NonNegative
    peak_w: Positive
    beta: Positive = 0.6
    memory_gib: Positive
    speed: Annotated[dict[ClassName, Positive], Field(min_length=1)]
    power: dict[ClassName, Share] = {}
    service_ms: NonNegative = 50
    usd_per_h: NonNegative = 1.0
    static_share: Annotated[float, Field(ge=0.1, le=0.9)] = 0.28
    source: str = ""


class Link(Strict):
    """What differs on the link between two regions; both directions.

    A private one has a price of its own: 0 a GB, say, and so much a month whether it carries anything or not.
    """

    rtt_ms: Positive | None = None
    gbit_per_s: Rate | None = None
    usd_per_gb: NonNegative | None = None
    usd_per_month: NonNegative = 0.0
    cuts_per_year: NonNegative | None = None
    fades_per_year: NonNegative | None = None


class Network(Strict):
    """Links between regions, and `REGION~REGION` exceptions. Figures and their sources: network.yaml.

    Transfers between two regions share `gbit_per_s`, in each direction. Links are cut, or fade to a share of their
    rate, and are repaired after `cut_mean_h` in the mean.

    Round trips, where no link gives one: `cloud` takes those measured between public-cloud regions at the fitted
    profiles, else their regression on distance; `fibre` takes 2 ms plus 0.015 ms/km (light in glass along 1.5 times
    the distance), as on a private or national network.
    """

    gbit_per_s: Rate = 5.0
    default_egress_usd_per_gb: NonNegative = 0.05
    rtt: Literal["cloud", "fibre"] = "cloud"
    links: dict[str, Link] = {}
    kwh_per_gb: NonNegative = 0.002
    cuts_per_year: NonNegative = 1.0
    cut_mean_h: Positive = 10.0
    fades_per_year: NonNegative = 4.0
    fade_share: Annotated[float, Field(ge=0.01, le=1)] = 0.3


class Prices(Strict):
    """What the ledger's weights are."""

    carbon_usd_per_t: NonNegative = 85.0
    thermal_usd_per_k_h_kw: NonNegative = 0.05
    compressor_start_usd: NonNegative = 0.5
    setpoint_travel_usd: NonNegative = 0.02
    drop_h: NonNegative = 72.0
    reference_usd_per_step: Annotated[float, Field(ge=1e-6, le=1e9)]
    reference_usd_per_mwh: Positive = 100.0


class Pod(Strict):
    """Devices that travel between pools of equal hardware by a timetable of the year; no policy decides on it.

    `timetable`: day of the year (1-365, from 0 h UTC) on which it sets out for that REGION/POOL; there it stands from
    `travel_days` later until the next entry's day. A journey's price is paid evenly while it lasts.
    """

    timetable: Annotated[dict[Annotated[int, Field(ge=1, le=365)], str], Field(min_length=1)]
    travel_days: Annotated[float, Field(gt=0, le=365)] = 3.0
    usd_per_move: NonNegative = 20_000.0
    notice_h: NonNegative = 24.0


class Scenario(Strict):
    """A world: places, machines, work, prices and rules."""

    name: str
    doc: str = ""
    sources: tuple[str, ...] = ()
    time: Time = Time()
    decisions: Decisions = Decisions()
    signals: Signals
    regions: Annotated[dict[str, Region], Field(min_length=1, max_length=64)]
    hardware: dict[str, Hardware] = {}
    jobs: Annotated[dict[str, Jobs], Field(min_length=1)]
    network: Network = Network()
    data_sets: dict[str, DataSet] = {}
    tenants: dict[str, Tenant] = {}
    pods: dict[str, Pod] = {}
    sensors: Sensors = Sensors()
    prices: Prices
    data_dir: str | None = None

    @property
    def pools(self) -> dict[str, Pool]:
        """All pools by REGION/POOL, in the order of the fleet."""
        return {
            f"{r}/{name}": pool for r, region in self.regions.items() for name, pool in region.pools.items()
        }

    @property
    def counted(self) -> tuple[bool, ...]:
        """By pool: whether its devices count in a sum over the fleet; a pod's count at its first place only."""
        stops = [list(dict.fromkeys(pod.timetable.values())) for pod in self.pods.values()]
        again = {name for places in stops for name in places[1:]}
        return tuple(name not in again for name in self.pools)
