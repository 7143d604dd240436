"""BACnet/IP as device and loop need it: an application on one address, reads that may fail, writes at a priority.

What goes wrong on the wire is a `WireError` in words, whatever bacpypes3 raises: its errors, rejects and aborts are
no `Exception`, so that a plain `except Exception` would let them through.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from bacpypes3.apdu import AbortPDU, ErrorRejectAbortNack
from bacpypes3.app import Application
from bacpypes3.basetypes import ErrorType, PropertyIdentifier, StatusFlags
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier, Real

from agents.adapters.bacnet.points import Point
from gcn_env.errors import UserError

PORT = 47808  # BACnet/IP
CHUNK = 8  # objects a request: an answer of so many fits one packet of 1024 bytes
_SICK = ("in-alarm", "fault", "overridden", "out-of-service")  # status flags, in the order of the standard
_FAULT, _OUT = _SICK.index("fault"), _SICK.index("out-of-service")


class WireError(Exception):
    """A request that was refused or not answered, and why."""


class RefusedError(WireError):
    """The device answered, with an error or a reject."""


def free_address(text: str) -> str:
    """`HOST[:PORT]` or `HOST/BITS[:PORT]` with everything said, if it can be bound to; port 0 takes a free one.

    Raises:
        UserError: if it is no address of this machine, or somebody has it.
    """
    host, _, port = text.partition(":")
    plain, _, bits = host.partition("/")
    try:
        loopback = ipaddress.IPv4Address(plain).is_loopback
        number = int(port or PORT)
    except ValueError:
        raise UserError(
            f"BACnet address {text!r}: wanted HOST[:PORT] or HOST/BITS[:PORT] of this machine"
        ) from None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((plain, number))  # bacpypes3 would share a port that is taken, or wait for it for ever
        except (OSError, OverflowError) as error:
            raise UserError(f"BACnet address {text!r}: {error}; name another one") from None
        number = probe.getsockname()[1]
    return f"{plain}/{bits or (32 if loopback else 24)}:{number}"


def address_of(text: str) -> Address:
    """The address of a device to speak with.

    Raises:
        UserError: if it is none.
    """
    try:
        found = Address(text)
    except ValueError as error:
        raise UserError(f"BACnet device {text!r}: {error}; wanted e.g. 192.0.2.7:47808") from None
    if not isinstance(found, IPv4Address):
        raise UserError(f"BACnet device {text!r}: wanted e.g. 192.0.2.7:47808")
    return found


def application(
    kind: type[Application], device: DeviceObject, address: str, timeout_s: float = 3.0, retries: int = 3
) -> Application:
    """An application of one device on one address; must be called in a running event loop.

    Args:
        kind: class of the application.
        device: its device object.
        address: to bind to, see `free_address`.
        timeout_s: s after which a request is sent again.
        retries: how often it is.

    Raises:
        UserError: for an address that cannot be had.
    """
    device.apduTimeout, device.numberOfApduRetries = int(1000.0 * timeout_s), retries
    port = NetworkPortObject(
        free_address(address), objectIdentifier=("network-port", 1), objectName="network-port"
    )
    return kind.from_object_list([device, port])


def bound(app: Application) -> str:
    """`HOST:PORT` that an application is bound to."""
    port = next(iter(app.link_layers))
    host, number = app.objectIdentifier[port].address.addrTuple
    return f"{host}:{number}"


async def closed(app: Application) -> None:
    """Close an application and let its socket go, also one that has hardly been opened."""
    opening = [task for layer in app.link_layers.values() for task in layer.server._transport_tasks]
    if opening:
        await asyncio.wait(opening, timeout=1.0)
    app.close()
    await asyncio.sleep(0)


def identifier(point: Point) -> ObjectIdentifier:
    """BACnet's name of a point."""
    return ObjectIdentifier((point.kind, point.instance))


class Remote:
    """A device as its client sees it.

    Args:
        app: the client's application.
        address: of the device.
        patience_s: s within which a request ends, its repetitions included.
    """

    def __init__(self, app: Application, address: str, patience_s: float) -> None:
        self.app, self.address, self.patience_s = app, address_of(address), patience_s

    async def _within(self, request: Any, what: str) -> Any:
        try:
            return await asyncio.wait_for(request, self.patience_s)
        except ErrorRejectAbortNack as error:
            kind = (
                WireError if isinstance(error, AbortPDU) else RefusedError
            )  # bacpypes3 aborts what is not answered
            raise kind(f"{what}: {error}") from None
        except TimeoutError:
            raise WireError(f"{what}: no answer") from None
        except Exception as error:  # an answer that bacpypes3 cannot read
            raise WireError(f"{what}: {error!r}") from None

    async def get(self, objid: ObjectIdentifier, name: str) -> Any:
        """One property.

        Raises:
            WireError: if the device refuses or does not answer.
        """
        request = self.app.read_property(self.address, objid, PropertyIdentifier(name))
        return await self._within(request, f"read {objid} {name}")

    async def read(self, points: Sequence[Point]) -> dict[str, float | None]:
        """Present values by name; None where a point is missing, faulty, out of service or no number.

        Raises:
            WireError: if the device does not answer at all.
        """
        found: dict[str, float | None] = {p.name: None for p in points}
        for at in range(0, len(points), CHUNK):
            part = points[at : at + CHUNK]
            try:
                found |= await self._read_many(part)
            except RefusedError:  # small controllers know no ReadPropertyMultiple
                for p in part:
                    found[p.name] = await self._read_one(p)
        return found

    async def _read_many(self, part: Sequence[Point]) -> dict[str, float | None]:
        names, asked, found = {identifier(p): p.name for p in part}, list[Any](), dict[str, float | None]()
        for objid in names:
            asked += [objid, ["present-value", "status-flags"]]
        answer = await self._within(self.app.read_property_multiple(self.address, asked), "read")
        for objid, prop, _, value in answer or ():
            name = names.get(objid)
            if name is not None and str(prop) == "present-value":
                found[name] = number(value)
            elif name is not None and sick(value):
                found[name] = None
        return found

    async def _read_one(self, point: Point) -> float | None:
        try:
            value = number(await self.get(identifier(point), "present-value"))
            return None if sick(await self.get(identifier(point), "status-flags")) else value
        except RefusedError:
            return None

    async def write(self, point: Point, value: float | None, priority: int | None = None) -> None:
        """Write a present value; None relinquishes the priority.

        Raises:
            WireError: if the device refuses or does not answer.
        """
        what = Null(()) if value is None else Real(value)
        request = self.app.write_property(
            self.address, identifier(point), PropertyIdentifier("present-value"), what, None, priority
        )
        await self._within(request, f"write {point.name} = {value} at priority {priority}")


def sick(flags: Any) -> bool:
    """Whether status flags say fault or out of service."""
    return isinstance(flags, StatusFlags) and bool(flags[_FAULT] or flags[_OUT])


def number(value: Any) -> float | None:
    """A present value as a number: of binary objects 0 or 1; None for errors, nulls and what is not finite."""
    if isinstance(value, ErrorType | Null) or value is None:
        return None
    try:
        plain = float(value)
    except (TypeError, ValueError):
        return None
    return plain if math.isfinite(plain) else None


def by_role(points: Sequence[Point], role: str) -> tuple[Point, ...]:
    """The points of a role, in order."""
    return tuple(p for p in points if p.role == role)


def named(points: Sequence[Point]) -> Mapping[str, Point]:
    """Points by name."""
    return {p.name: p for p in points}
