"""What a snapshot of a live cluster holds: each reading declared once, with its unit, bounds and place in the state.

A document is JSON: `time`, `units`, `regions` and `pools` (name -> reading -> number), `links`, `jobs`. Readings may be
missing or null, which makes them unknown: the report says so, and says what was assumed. A number outside its
bounds is no reading but a broken sensor or a wrong unit, and is unknown too.
"""

from __future__ import annotations

from typing import NamedTuple

from gcn_env.action import REGION_HEADS
from gcn_env.core.state import FAULTS, LEADS_H, N_HEADS, SENSORS
from gcn_env.tables import Row, Table

FORMAT = "gcn-snapshot/1"


class Reading(NamedTuple):
    """One reading of a region or a pool.

    Attributes:
        row: name, unit, bounds of what is plausible, meaning.
        group: group of the state: `signals`, `plants` or `pools`.
        field: its array there.
        at: position behind entity, () for none.
        vital: without it no policy is asked: a rule decides.
    """

    row: Row
    group: str
    field: str
    at: tuple[int, ...] = ()
    vital: bool = False


def _r(
    name: str,
    unit: str,
    low: float,
    high: float,
    doc: str,
    group: str,
    field: str,
    *index: int,
    vital: bool = False,
) -> Reading:
    return Reading(Row(name, unit, low, high, doc), group, field, index, vital)


_SENSED = dict(
    zip(
        SENSORS,
        (
            "mean server inlet",
            "hottest rack inlet",
            "supply air",
            "return air",
            "chilled water or coolant",
            "chip",
        ),
        strict=True,
    )
)
_HEAD_UNIT = {"cold": "degC"}  # the other heads' units follow the plant: see `agents.bundle.limits`

REGION_READINGS: tuple[Reading, ...] = (
    _r("price", "USD/MWh", -1000, 20_000, "price of this hour", "signals", "now", 0, vital=True),
    _r("carbon", "gCO2e/kWh", 0, 2500, "grid carbon intensity of this hour", "signals", "now", 1, vital=True),
    _r("dry", "degC", -60, 60, "outdoor dry bulb", "signals", "now", 2, vital=True),
    _r("wet", "degC", -60, 45, "outdoor wet bulb", "signals", "now", 3),
    _r("dew", "degC", -70, 45, "outdoor dew point", "signals", "now", 4),
    *(
        _r(f"{name}_{h}h", unit, low, high, f"{name} forecast {h} h ahead", "signals", "ahead", k, v)
        for v, (name, unit, low, high) in enumerate(
            (("price", "USD/MWh", -1000, 20_000), ("carbon", "gCO2e/kWh", -500, 2500), ("dry", "degC", -70, 70))
        )
        for k, h in enumerate(LEADS_H)
    ),
    *(
        _r(f"green_{h}h", "kW", 0, 1e7, f"own sun and wind forecast {h} h ahead", "signals", "green", k)
        for k, h in enumerate(LEADS_H)
    ),
    _r("node_power", "kW", 0, 1e7, "mean node power of the last step", "plants", "node_kw"),
    _r("it_power", "kW", 0, 1e7, "mean IT power: nodes, server fans, leakage", "plants", "it_kw"),
    _r("cooling_power", "kW", 0, 1e7, "mean power of the cooling plant", "plants", "cool_kw"),
    _r("grid_power", "kW", -1e7, 1e7, "mean power from the grid", "plants", "grid_kw"),
    _r("peak_power", "kW", 0, 1e7, "highest step mean of the month so far", "plants", "peak_kw"),
    _r("highest_power", "kW", 0, 1e7, "highest step mean for the ratchet", "plants", "highest_kw"),
    _r("overhead", "1", 0, 20, "grid over node power, smoothed", "plants", "overhead"),
    _r("awake", "share", 0, 2, "nameplate power that is not asleep", "plants", "awake"),
    *(
        _r(f"{n}_{what}", _HEAD_UNIT.get(n, "1"), -1, 60, f"{n} head: {doc}", "plants", field, h)
        for what, field, doc in (
            ("command", "command", "commanded set-point"), ("actual", "actual", "where the actuator is")
        )
        for h, n in enumerate(REGION_HEADS.names[:N_HEADS])
    ),
    *(_r(n, "degC", -40, 150, f"{_SENSED[n]}, as read", "plants", "seen", k) for k, n in enumerate(SENSORS)),
    _r("air_need", "share", 0, 10, "server air flow over rated supply flow", "plants", "air_need"),
    _r("server_fan", "share", 0, 1.5, "server fan speed", "plants", "fan"),
    _r("compressors", "1", 0, 100, "compressors running", "plants", "compressor"),
    _r("lockout", "s", 0, 86_400, "until compressors may restart", "plants", "lock_s"),
    _r("throttle", "share", 0, 1, "frequency factor for heat", "plants", "throttle"),
    _r("frequency", "share", 0, 1, "clock frequency over nominal, mean by nameplate power", "plants", "freq"),
    *(
        _r(f"alarm_{n}", "0/1", 0, 1, f"fault of the plant: {n}", "plants", "fault_h", k)
        for k, n in enumerate(FAULTS[:4])
    ),
    _r("outage", "0/1", 0, 1, "the grid supply is lost", "plants", "outage_h"),
    _r("restart", "h", 0, 1e4, "boot time left of nodes that stand still", "plants", "down_h", vital=True),
    _r("generator", "0/1", 0, 1, "the generator carries the load", "plants", "generator"),
    _r("ups_energy", "kWh", 0, 1e6, "in the UPS strings", "plants", "ups_kwh"),
    _r("battery_energy", "kWh", 0, 1e7, "in the battery", "plants", "battery_kwh"),
    _r("sun_power", "kW", 0, 1e7, "photovoltaic power of the last step", "plants", "pv_kw"),
    _r("wind_power", "kW", 0, 1e7, "wind power of the last step", "plants", "wind_kw"),
    _r("breaker", "share", 0, 2, "heat of the feeder's breaker, 1 trips", "plants", "breaker"),
    _r("curtail", "0/1", 0, 1, "a curtailment is announced or in force", "plants", "curtail_h"),
    _r("curtail_in", "h", 0, 1e4, "until it begins", "plants", "curtail_in_h"),
    _r("curtail_limit", "kW", 0, 1e7, "grid power that it allows", "plants", "curtail_kw"),
)  # fmt: skip

POOL_READINGS: tuple[Reading, ...] = (
    _r("healthy", "devices", 0, 1e8, "devices in service", "pools", "healthy", vital=True),
    _r("busy", "devices", 0, 1e8, "devices held by running jobs", "pools", "busy", vital=True),
    _r("room", "devices", 0, 1e8, "of the largest job that could start now, on nodes that fit", "pools", "room"),
    _r("waiting", "jobs", 0, 1e6, "jobs in the pool's own queue", "pools", "waiting"),
    _r("queued", "device-hours", 0, 1e9, "waiting or on their way, at the pool's speed", "pools", "queued"),
    _r("running", "device-hours", 0, 1e9, "left of running jobs", "pools", "running"),
    _r("frequency", "share", 0, 1, "clock frequency over nominal", "pools", "freq"),
    _r("draining", "nodes", 0, 1e7, "nodes that take no more work before their repair", "pools", "draining"),
    _r("let", "devices", 0, 1e8, "spare devices let to others", "pools", "let"),
    _r("rent", "USD/h", 0, 1e4, "spot price of a rented device-hour", "pools", "price"),
    _r("notice", "h", 0, 1e5, "until the owner takes the pool back; 0 nothing is announced", "pools", "notice_h"),
    _r("away", "h", 0, 1e5, "until the pool is there again; 0 there", "pools", "away_h", vital=True),
)  # fmt: skip

LINKS = Table(
    "links",
    (
        Row("up", "share", -1e-9, 1, "share of the link's rate that is there: 1 whole, 0 cut"),
        Row("transfers", "1", -1e-9, 1e6, "transfers under way"),
    ),
)

_MUST = "must be said"
JOBS = Table(
    "jobs",
    (
        Row("gang", "devices", 0.5, 1e8, f"devices of reference speed asked for; {_MUST}"),
        Row("work", "h", 0, 1e6, f"left at reference speed; {_MUST}"),
        Row("least", "devices", 0.5, 1e8, "fewest it can run on; else its gang"),
        Row("held", "devices", -1e-9, 1e8, "held, queued for or travelled to; else its gang where it has a pool"),
        Row("priority", "level", -1e-9, 9, "higher goes first; else 0"),
        Row("memory", "GiB", -1e-9, 1e5, "per device; else that of the source"),
        Row("checkpoint", "h", -1e-9, 1e6, "of work between checkpoints, or `never`; else that of the source"),
        Row("arrival", "h", -1e6, 1e6, "hour of the year (UTC); else now"),
        Row("deadline", "h", -1e6, 1e6, "hour of the year (UTC); else now, its work and the mean slack of its source"),
        Row("finish", "h", -1e6, 1e12, "hour of the year at which it ends (1e9: it stands still); else now and work"),
        Row("started", "h", -1e6, 1e6, "hour of the year at which it started or queued; else long ago"),
        Row("value", "USD/h", -1e-9, 1e7, "cost of an hour late; else that of its source"),
        Row("slo", "ms", 0, 1e9, "latency objective (inference); else that of its source"),
        Row("data", "GB", -1e-9, 1e9, "input to move before it can start elsewhere; else that of the source"),
        Row("state", "GB", -1e-9, 1e9, "checkpoint to move with it; else 0"),
        Row("comm", "share", -1e-9, 1, "time bound by memory or communication; else that of the source"),
    ),
)  # fmt: skip


def table(name: str, readings: tuple[Reading, ...]) -> Table:
    """Rows of readings as a table."""
    return Table(name, tuple(x.row for x in readings))


REGIONS, POOLS = table("regions", REGION_READINGS), table("pools", POOL_READINGS)
TABLES = (REGIONS, POOLS, LINKS, JOBS)

# Other units of the same quantity: (theirs, ours) -> (factor, offset), ours = theirs * factor + offset.
CONVERSIONS = {
    ("degF", "degC"): (5.0 / 9.0, -160.0 / 9.0),
    ("K", "degC"): (1.0, -273.15),
    ("W", "kW"): (1e-3, 0.0),
    ("MW", "kW"): (1e3, 0.0),
    ("MWh", "kWh"): (1e3, 0.0),
    ("USD/kWh", "USD/MWh"): (1e3, 0.0),
    ("kgCO2e/MWh", "gCO2e/kWh"): (1.0, 0.0),
    ("kgCO2e/kWh", "gCO2e/kWh"): (1e3, 0.0),
    ("min", "h"): (1.0 / 60.0, 0.0),
    ("s", "h"): (1.0 / 3600.0, 0.0),
    ("min", "s"): (60.0, 0.0),
    ("h", "s"): (3600.0, 0.0),
    ("percent", "share"): (0.01, 0.0),
    ("TB", "GB"): (1e3, 0.0),
    ("MB", "GB"): (1e-3, 0.0),
    ("MiB", "GiB"): (1.0 / 1024.0, 0.0),
    ("s", "ms"): (1e3, 0.0),
}
