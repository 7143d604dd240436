"""Objects of the simulated device: what the network may write, at which priorities, and the errors it gets otherwise.

    set-points   priority 8 (manual operator) and 10..16 (supervisors), within limits; null relinquishes
    heartbeat    any number, no priority needed
    the rest     read only

Priorities 1..7 and 9 stand for the device's own safeties and loops and are refused from the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bacpypes3.apdu import ReadPropertyMultipleRequest, ReadPropertyRequest, WritePropertyRequest
from bacpypes3.app import Application
from bacpypes3.basetypes import EngineeringUnits, OptionalUnsigned, PriorityValue
from bacpypes3.constructeddata import Array
from bacpypes3.errors import DecodingError, ObjectError, PropertyError, RejectException
from bacpypes3.local.analog import AnalogInputObject, AnalogValueObject, AnalogValueObjectCmd
from bacpypes3.local.binary import BinaryInputObject
from bacpypes3.primitivedata import Null, ObjectIdentifier

from agents.adapters.bacnet.points import AI, BI, UNITS, Point

OPERATOR = 8
ANY_DEVICE = tuple(ObjectIdentifier(("device", 4194303)))
SUPERVISORS = range(10, 17)


class _ReadOnly:
    """Mixed into objects whose properties no write from the network changes."""

    async def write_property(self, attr: Any, value: Any, index: Any = None, priority: Any = None) -> None:
        raise PropertyError("writeAccessDenied")


class Sensor(_ReadOnly, AnalogInputObject):  # type: ignore[misc]
    """A reading."""


class Value(_ReadOnly, AnalogValueObject):  # type: ignore[misc]
    """A number of the device's own."""


class Flag(_ReadOnly, BinaryInputObject):  # type: ignore[misc]
    """A state of the device's own."""


class Heartbeat(AnalogValueObject):  # type: ignore[misc]
    """A number that a supervisor changes; `beat` is called when it did."""

    def hear(self, beat: Callable[[], None]) -> Heartbeat:
        """Call `beat` at each change."""
        self._beat = beat
        return self

    async def write_property(self, attr: Any, value: Any, index: Any = None, priority: Any = None) -> None:
        """Take a number; anything but the present value is read only."""
        if name_of(self, attr) != "presentValue":
            raise PropertyError("writeAccessDenied")
        if isinstance(value, Null) or not math.isfinite(value):
            raise PropertyError("invalidDataType" if isinstance(value, Null) else "valueOutOfRange")
        this: Any = self  # bacpypes3 makes the property when the class is made
        changed, this.presentValue = value != this.presentValue, value
        if changed:
            this._beat()


class SetPoint(AnalogValueObjectCmd):  # type: ignore[misc]
    """A commandable set-point within limits; `admits` says whether supervisors are heard at present."""

    def limit(self, low: float, high: float, admits: Callable[[], bool]) -> SetPoint:
        """Take commands from `low` to `high`."""
        self.minPresValue, self.maxPresValue = low, high
        self._admits = admits
        return self

    async def write_property(self, attr: Any, value: Any, index: Any = None, priority: Any = None) -> None:
        """Take a command or refuse it with the error that the standard has for it."""
        if name_of(self, attr) != "presentValue":
            raise PropertyError("writeAccessDenied")
        if index is not None:
            raise PropertyError("propertyIsNotAnArray")
        at = 16 if priority is None else int(priority)
        if not 1 <= at <= 16:
            raise PropertyError("parameterOutOfRange")
        if at != OPERATOR and at not in SUPERVISORS:
            raise PropertyError("writeAccessDenied")
        if isinstance(value, Null):
            self.priorityArray[at - 1] = PriorityValue(null=())
            return
        if at in SUPERVISORS and not self._admits():
            raise PropertyError("writeAccessDenied")
        if not (math.isfinite(value) and self.minPresValue - 1e-4 <= value <= self.maxPresValue + 1e-4):
            raise PropertyError("valueOutOfRange")  # 1e-4: reals on the wire are single precision
        self.priorityArray[at - 1] = PriorityValue(real=value)

    def relinquish_supervisors(self) -> None:
        """Forget what supervisors wrote."""
        for at in SUPERVISORS:
            self.priorityArray[at - 1] = PriorityValue(null=())

    def rest_at(self, value: float) -> None:
        """Set the relinquish default."""
        self.relinquishDefault = value
        self.recalculating()

    @property
    def in_command(self) -> int | None:
        """Priority that decides, None for the relinquish default."""
        at: OptionalUnsigned = self.currentCommandPriority
        return None if at.unsigned is None else int(at.unsigned)


def name_of(obj: Any, attr: Any) -> str:
    """A property's name, from its name or number."""
    return str(obj._property_identifier_class(attr).attr if isinstance(attr, int) else attr)


_BASE: dict[str, Any] = {"statusFlags": [0, 0, 0, 0], "eventState": "normal", "outOfService": False}


def made(point: Point) -> Any:
    """The object of a point, its value still to be set."""
    same = {
        "objectIdentifier": (point.kind, point.instance),
        "objectName": point.name,
        "description": point.doc,
    }
    if point.kind == BI:
        return Flag(**same, **_BASE, presentValue="inactive", polarity="normal")
    kinds = {"setpoint": SetPoint, "heartbeat": Heartbeat}
    kind = Sensor if point.kind == AI else kinds.get(point.role, Value)
    units = EngineeringUnits(UNITS[point.unit])
    return kind(**same, **_BASE, presentValue=0.0, units=units, covIncrement=0.1)


class PlantApplication(Application):  # type: ignore[misc]
    """An application that answers bad writes with the errors of the standard, and to the wildcard device number."""

    before_reading: Callable[[], None] = staticmethod(lambda: None)

    async def do_ReadPropertyRequest(self, apdu: ReadPropertyRequest) -> None:  # noqa: N802 - bacpypes3 looks it up
        """As bacpypes3, whose own test for the wildcard never holds (0.0.110)."""
        if tuple(apdu.objectIdentifier) == ANY_DEVICE:
            apdu.objectIdentifier = self.device_object.objectIdentifier
        self.before_reading()
        await super().do_ReadPropertyRequest(apdu)

    async def do_ReadPropertyMultipleRequest(self, apdu: ReadPropertyMultipleRequest) -> None:  # noqa: N802
        """As bacpypes3, with objects that are up to date."""
        self.before_reading()
        await super().do_ReadPropertyMultipleRequest(apdu)

    async def do_WritePropertyRequest(self, apdu: WritePropertyRequest) -> None:  # noqa: N802 - bacpypes3 looks it up
        """Check object, property and type first; bacpypes3 rejects a wrong type without saying that it is one."""
        obj = self.get_object_id(apdu.objectIdentifier)
        if obj is None:
            raise ObjectError("unknownObject")
        kind = obj.get_property_type(apdu.propertyIdentifier)
        if kind is None:
            raise PropertyError("unknownProperty")
        if issubclass(kind, Array) and apdu.propertyArrayIndex is not None:
            raise PropertyError("writeAccessDenied")  # no array here is written by element
        try:
            apdu.propertyValue.cast_out(kind, null=True)
        except (RejectException, DecodingError, ValueError, TypeError):
            raise PropertyError("invalidDataType") from None
        if apdu.priority is not None and not 1 <= apdu.priority <= 16:
            raise PropertyError("parameterOutOfRange")
        await super().do_WritePropertyRequest(apdu)
