"""The points of a plant: every BACnet object of each archetype, declared once.

Set-points and sensors of the simulated device, what the loop reads and writes, and the Brick files come from here. A
point says which reading of a snapshot it carries and which head it commands; what a building-management system does not
know (prices, jobs, chips) has no point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gcn_env.action import REGION_HEADS
from gcn_env.core.state import N_COOLING
from gcn_env.errors import UserError, nearest
from gcn_env.scenario.plants import archetypes

HEADS = REGION_HEADS.names[:N_COOLING]
AI, AV, BI = "analog-input", "analog-value", "binary-input"
UNITS = {
    "degC": "degrees-celsius",
    "kW": "kilowatts",
    "s": "seconds",
    "1": "no-units",
    "0/1": "",
}  # as BACnet says


class Point(NamedTuple):
    """One BACnet object.

    Attributes:
        name: object name.
        kind: object type.
        instance: object instance of the simulated device; other sites have their own (`located`).
        unit: unit of a snapshot; `UNITS` has BACnet's.
        role: `sensor`, `setpoint` (commandable), `effective` (the set-point within rates), `heartbeat`, `fallback`.
        brick: Brick class, without its prefix.
        of: equipment that has the point, a key of `EQUIPMENT`.
        reading: reading of a region in a snapshot; empty for none.
        head: head of a set-point; empty for none.
        doc: what it is.
    """

    name: str
    kind: str
    instance: int
    unit: str
    role: str
    brick: str
    of: str
    reading: str
    head: str
    doc: str


class _Head(NamedTuple):
    plants: str  # archetypes
    stem: str
    unit: str
    brick: str
    of: str


# equipment -> archetypes that have it -> Brick class
EQUIPMENT: Mapping[str, Mapping[str, str]] = {
    "controller": {"abcdefg": "Controller"},
    "weather": {"abcdefg": "Weather_Station"},
    "rack": {"abcdefg": "ICT_Rack"},
    "meter": {"abcdefg": "Electrical_Meter"},
    "air": {"bcg": "Computer_Room_Air_Handler", "adef": "Computer_Room_Air_Conditioning"},
    "chiller": {"bdeg": "Chiller"},
    "coolant": {"de": "Heat_Exchanger"},
    "rejection": {"b": "Cooling_Tower", "de": "Dry_Cooler"},
}
_HEADS: Mapping[str, tuple[_Head, ...]] = {
    "cold": (
        _Head("abcfg", "supply-air-temperature", "degC", "Supply_Air_Temperature_Setpoint", "air"),
        _Head("de", "coolant-temperature", "degC", "Leaving_Water_Temperature_Setpoint", "coolant"),
    ),
    "flow": (
        _Head("abcfg", "supply-air-flow", "1", "Supply_Air_Flow_Setpoint", "air"),
        _Head("de", "coolant-flow", "1", "Speed_Setpoint", "coolant"),
    ),
    "reject": (
        _Head("bg", "chilled-water-temperature", "degC", "Leaving_Chilled_Water_Temperature_Setpoint", "chiller"),
        _Head("c", "wet-stage", "1", "Cooling_Command", "air"),
        _Head("de", "facility-water-flow", "1", "Speed_Setpoint", "rejection"),
    ),
}  # fmt: skip
_OA, _LOSS = "Outside_Air", "Unit_Failure_Alarm"
_UNIT = "air chiller"  # what has the compressors: the chiller where there is one
# instance, name, unit, archetypes, Brick class, equipment, reading, meaning
_ANALOG = (
    (1, "outside-air-temperature", "degC", "abcdefg", f"{_OA}_Temperature_Sensor", "weather", "dry", "dry bulb"),
    (2, "outside-air-wet-bulb", "degC", "abcdefg", f"{_OA}_Wet_Bulb_Temperature_Sensor", "weather", "wet", "wet bulb"),
    (3, "outside-air-dew-point", "degC", "abcdefg", f"{_OA}_Dewpoint_Sensor", "weather", "dew", "dew point"),
    (11, "rack-inlet-temperature", "degC", "abcdefg", "Air_Temperature_Sensor", "rack", "inlet", "mean server inlet"),
    (12, "hottest-rack-inlet", "degC", "abcdefg", "Air_Temperature_Sensor", "rack", "hottest", "hottest rack inlet"),
    (13, "supply-air-temperature", "degC", "abcdefg", "Supply_Air_Temperature_Sensor", "air", "supply", "supply air"),
    (14, "return-air-temperature", "degC", "abcdefg", "Return_Air_Temperature_Sensor", "air", "return_air",
     "return air"),
    (15, "chilled-water-temperature", "degC", "bg", "Leaving_Chilled_Water_Temperature_Sensor", "chiller", "loop",
     "chilled water as delivered"),
    (15, "coolant-temperature", "degC", "de", "Leaving_Water_Temperature_Sensor", "coolant", "loop",
     "coolant as delivered"),
    (21, "it-power", "kW", "abcdefg", "Active_Power_Sensor", "meter", "it_power", "IT load"),
    (22, "cooling-power", "kW", "abcdefg", "Active_Power_Sensor", "meter", "cooling_power", "cooling plant"),
    (23, "grid-power", "kW", "abcdefg", "Active_Power_Sensor", "meter", "grid_power", "from the grid"),
    (41, "compressors-running", "1", "abdefg", "Status", _UNIT, "compressors", "compressors that run"),
    (42, "compressor-lockout", "s", "abdefg", "Duration_Sensor", _UNIT, "lockout", "until compressors may restart"),
)  # fmt: skip
_BINARY = (
    (1, "fan-alarm", "abcdefg", _LOSS, "air", "alarm_fan", "an air handler is out"),
    (2, "compressor-alarm", "abdefg", _LOSS, _UNIT, "alarm_compressor", "a compressor is out"),
    (3, "pump-alarm", "bdeg", _LOSS, "chiller", "alarm_pump", "a pump is out"),
    (4, "tower-alarm", "bde", _LOSS, "rejection", "alarm_tower", "fans of tower or dry cooler are out"),
    (5, "power-loss-alarm", "abcdefg", "Power_Loss_Alarm", "meter", "outage", "the grid supply is lost"),
    (6, "generator-status", "abcdefg", "Emergency_Generator_Status", "meter", "generator",
     "the generator carries the load"),
)  # fmt: skip
HEARTBEAT, FALLBACK = "supervisor-heartbeat", "supervisor-lost"


@cache
def equipment(plant: str) -> dict[str, str]:
    """Equipment of an archetype: key -> Brick class.

    Raises:
        UserError: for an unknown archetype.
    """
    if plant not in archetypes():
        raise UserError(
            f"no plant {plant!r}{nearest(plant, archetypes())} (plants: {', '.join(archetypes())})"
        )
    return {
        key: brick for key, kinds in EQUIPMENT.items() for which, brick in kinds.items() if plant in which
    }


@cache
def points(plant: str) -> tuple[Point, ...]:
    """All points of an archetype, `a` to `g`.

    Raises:
        UserError: for an unknown archetype.
    """
    has, found = equipment(plant), []

    def home(of: str) -> str:
        """The last of the equipment named that the archetype has: a chiller before the air unit."""
        return [key for key in of.split() if key in has][-1]

    for k, n, unit, which, brick, of, reading, doc in _ANALOG:
        if plant in which:
            found.append(Point(n, AI, k, unit, "sensor", brick, home(of), reading, "", doc))
    for k, n, which, brick, of, reading, doc in _BINARY:
        if plant in which:
            found.append(Point(n, BI, k, "0/1", "sensor", brick, home(of), reading, "", doc))
    for h, head in enumerate(HEADS):
        for kind in _HEADS[head]:
            if plant in kind.plants:
                found += _head(h, head, kind)
    found += [
        Point(HEARTBEAT, AV, 91, "1", "heartbeat", "Setpoint", "controller", "", "",
              "a number that the supervisor changes; still for too long, it is lost"),
        Point(FALLBACK, BI, 91, "0/1", "fallback", "Communication_Loss_Alarm", "controller", "", "",
              "the supervisor is lost: the device goes by its own rule"),
    ]  # fmt: skip
    return tuple(found)


def _head(h: int, head: str, kind: _Head) -> list[Point]:
    """The three points of a head: set-point, set-point within rates, position."""
    stem, unit, of = kind.stem, kind.unit, kind.of
    effective = (
        "Effective_Supply_Air_Temperature_Setpoint" if stem.startswith("supply-air-temp") else "Setpoint"
    )
    position = "Sensor" if unit == "degC" else "Position_Sensor"
    return [
        Point(f"{stem}-setpoint", AV, 1 + h, unit, "setpoint", kind.brick, of, f"{head}_command", head,
              f"{head} head: set-point, commandable"),
        Point(f"{stem}-effective", AV, 11 + h, unit, "effective", effective, of, "", head,
              f"{head} head: set-point within limits and rates"),
        Point(f"{stem}-position", AI, 31 + h, unit, "sensor", position, of, f"{head}_actual", head,
              f"{head} head: where the actuator is"),
    ]  # fmt: skip


def located(plant: str, path: str | Path | None) -> tuple[Point, ...]:
    """The points of an archetype where a site has them.

    Args:
        plant: archetype.
        path: JSON file `{"point name": "analog-input,3001", ...}` of the site's own objects; points that it does not
            name are not there. None: the numbers of the table.

    Raises:
        UserError: for a file that cannot be read, unknown names or types, or a site without a set-point.
    """
    table = {p.name: p for p in points(plant)}
    if path is None:
        return tuple(table.values())
    try:
        given: Any = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"objects {path}: {error}") from None
    if not isinstance(given, dict):
        raise UserError(f'objects {path}: wanted an object {{"point": "analog-input,3001", ...}}')
    found = []
    for name, where in given.items():
        if name not in table:
            raise UserError(f"objects {path}: no point {name!r}{nearest(name, table)} in plant {plant}")
        kind, _, instance = str(where).partition(",")
        if kind.split("-")[0] not in ("analog", "binary") or not instance.isdigit():
            raise UserError(f'objects {path}: {name}: {where!r}; wanted e.g. "{table[name].kind},3001"')
        found.append(table[name]._replace(kind=kind, instance=int(instance)))
    if not any(p.role == "setpoint" for p in found):
        raise UserError(f"objects {path}: names no set-point, so there is nothing to drive")
    return tuple(found)


def page(plant: str) -> str:
    """The point list of an archetype as a Markdown table."""
    lines = ["| object | name | unit | reading or head | Brick | meaning |", "|---|---|---|---|---|---|"]
    for p in points(plant):
        what = p.reading or p.head
        shown = UNITS[p.unit] or "inactive/active"
        lines.append(f"| {p.kind},{p.instance} | `{p.name}` | {shown} | {what} | {p.brick} | {p.doc} |")
    return "\n".join(lines) + "\n"
