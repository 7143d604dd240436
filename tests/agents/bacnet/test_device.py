"""What the network may do to the device: priorities, limits, types, and the errors of the standard."""

import asyncio
import math

import pytest
from bacpypes3.apdu import ErrorRejectAbortNack, WritePropertyRequest
from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.constructeddata import Any
from bacpypes3.primitivedata import CharacterString, Null, ObjectIdentifier, Real, Unsigned

from agents.adapters.bacnet.device import Device
from agents.adapters.bacnet.plant import TICK_S, Plant
from agents.adapters.bacnet.wire import free_address, identifier
from gcn_env.errors import UserError
from tests.agents.bacnet.site import site
from tests.worlds import world


async def write(s, objid, value, priority=None, name="present-value"):
    """Send a raw write; the error's words, or "" if it was taken."""
    request = WritePropertyRequest(
        objectIdentifier=ObjectIdentifier(objid), propertyIdentifier=PropertyIdentifier(name),
        propertyValue=Any(value), destination=s.loop.remote.address,
    )  # fmt: skip
    if priority is not None:
        request.priority = priority
    try:
        await s.client.request(request)
    except ErrorRejectAbortNack as error:
        return str(error)
    return ""


async def value(s, name):
    """A present value as the client reads it."""
    point = next(p for p in s.device.points if p.name == name)
    return (await s.loop.remote.read([point]))[name]


SET = "supply-air-temperature-setpoint"
COLD, SENSOR, HEART = "analog-value,1", "analog-input,12", "analog-value,91"


def test_bad_writes_are_refused_with_the_right_error_and_change_nothing():
    async def main():
        async with site() as s:
            assert await write(s, COLD, Real(21.0), 14) == "property: write-access-denied"  # no heartbeat yet
            await s.loop.beat()
            assert await write(s, COLD, Real(22.0), 14) == ""
            denied, wide = "property: write-access-denied", "property: value-out-of-range"
            for objid, sent, priority, name, error in (
                (COLD, Real(17.9), 14, "present-value", wide),
                (COLD, Real(28.0), 14, "present-value", wide),
                (COLD, Real(math.nan), 14, "present-value", wide),
                (COLD, Real(-math.inf), 8, "present-value", wide),
                (COLD, CharacterString("warm"), 14, "present-value", "property: invalid-data-type"),
                (COLD, Unsigned(22), 14, "present-value", "property: invalid-data-type"),
                *((COLD, Real(22.0), p, "present-value", denied) for p in (1, 2, 3, 4, 5, 6, 7, 9)),
                (COLD, Real(30.0), None, "relinquish-default", denied),
                (COLD, Real(30.0), None, "max-pres-value", denied),
                (COLD, CharacterString("mine"), None, "object-name", denied),
                (COLD, Real(1.0), None, "polarity", "property: unknown-property"),
                (SENSOR, Real(1.0), None, "present-value", denied),
                (SENSOR, Real(1.0), 14, "present-value", denied),
                ("binary-input,91", Unsigned(0), None, "present-value", "property: invalid-data-type"),
                (HEART, Real(math.nan), None, "present-value", wide),
                ("analog-value,77", Real(1.0), 14, "present-value", "object: unknown-object"),
                ("device,1001", CharacterString("mine"), None, "object-name", denied),
            ):
                assert await write(s, objid, sent, priority, name) == error, (objid, sent, priority, name)
            assert await value(s, SET) == 22.0
            assert await value(s, "hottest-rack-inlet") == pytest.approx(
                s.device.plant.reading("hottest"), abs=1e-3
            )
            north = s.device.plant.world.region_names[s.device.plant.r]
            assert str(s.device.app.device_object.objectName) == f"plant-{north}"

    asyncio.run(main())


def test_priorities_win_in_their_order_and_nulls_give_back():
    async def main():
        async with site() as s:
            await s.loop.beat()
            b1 = await value(s, SET)
            assert b1 == pytest.approx(s.device.plant.b1()[0])
            for priority, sent, wins in (
                (16, 19.0, 19.0),
                (None, 19.5, 19.5),
                (14, 21.0, 21.0),
                (15, 25.0, 21.0),
            ):
                assert await write(s, COLD, Real(sent), priority) == ""
                assert await value(s, SET) == wins
            assert await write(s, COLD, Real(18.5), 8) == ""  # an operator's hand
            assert await value(s, SET) == 18.5
            assert await write(s, COLD, Real(24.0), 10) == ""
            assert await value(s, SET) == 18.5
            at = await s.loop.remote.get(ObjectIdentifier(COLD), "current-command-priority")
            assert at.unsigned == 8
            for priority, wins in ((8, 24.0), (10, 21.0), (14, 25.0), (15, 19.5), (16, b1)):
                assert await write(s, COLD, Null(()), priority) == ""
                assert await value(s, SET) == wins

    asyncio.run(main())


def test_an_operator_wins_over_the_loop_and_lets_go_without_a_jump():
    async def main():
        async with site(period_s=300.0) as s:
            await s.pass_s(1800)
            assert s.device.set_points[0].in_command == 14
            assert await write(s, COLD, Real(25.0), 8) == ""
            await s.pass_s(1800)
            assert s.device.set_points[0].in_command == 8
            assert s.device.effective[0] == 25.0
            assert s.rows[-1]["found"]["cold"] == 25.0
            assert await write(s, COLD, Null(()), 8) == ""
            assert (
                25.0 - 5.0 * 0.2 - 1e-3 <= await value(s, SET) <= 25.0
            )  # our value stood a period's reach away

    asyncio.run(main())


def test_the_heartbeat_is_watched_within_its_timeout_and_ends_a_fallback():
    async def main():
        async with site() as s:
            assert s.device.lost
            assert await value(s, "supervisor-lost") == 1.0
            await s.pass_s(900)
            assert not s.device.lost
            assert await value(s, "supervisor-lost") == 0.0
            await s.loop.beat()
            last = s.device.plant.seconds
            s.beating = s.deciding = False
            s.seen.clear()
            await s.pass_s(120)
            fell = next(at for at, lost, *_ in s.seen if lost)
            assert last + TICK_S <= fell <= last + 60 + TICK_S  # `fell` is the end of the scan that noticed
            assert s.device.falls == 1
            assert all(point.in_command is None for point in s.device.set_points.values())
            assert await write(s, COLD, Real(22.0), 14) == "property: write-access-denied"
            assert await write(s, COLD, Null(()), 14) == ""  # giving back is always taken
            assert await write(s, COLD, Real(23.0), 8) == ""  # and so is an operator
            same = float(s.device.objects["supervisor-heartbeat"].presentValue)
            assert await write(s, HEART, Real(same)) == ""  # the same number is no sign of life
            assert s.device.lost
            assert await write(s, HEART, Real(same + 1.0)) == ""
            assert not s.device.lost
            assert await write(s, COLD, Real(22.0), 14) == ""

    asyncio.run(main())


def test_the_device_tells_its_own_time_and_units():
    async def main():
        async with site("south") as s:
            await s.loop.check_units()
            assert await s.loop.now() == s.device.plant.time
            assert s.device.plant.utc_offset_h != 0.0  # local time is not UTC there
            await s.pass_s(60)
            assert await s.loop.now() == s.device.plant.time
            warm = next(p for p in s.device.points if p.name == "hottest-rack-inlet")
            s.device.objects[warm.name].units = "degrees-fahrenheit"
            with pytest.raises(UserError, match="degrees-fahrenheit"):
                await s.loop.check_units()
            assert str(await s.loop.remote.get(identifier(warm), "units")) == "degrees-fahrenheit"

    asyncio.run(main())


def test_what_cannot_be_opened_is_said(tmp_path):
    async def main():
        plant = Plant(world("smoke"), "north")
        device = Device(plant, "127.0.0.1:0")
        port = device.app.objectIdentifier[next(iter(device.app.link_layers))].address.addrPort
        await asyncio.sleep(0.05)
        with pytest.raises(UserError, match="in use"):
            free_address(f"127.0.0.1:{port}")
        await device.close()
        for wrong in ("somewhere", "127.0.0.1:x", "203.0.113.7:47808"):
            with pytest.raises(UserError, match="BACnet address"):
                free_address(wrong)
        with pytest.raises(UserError, match="timeout 600"):
            Device(plant, "127.0.0.1:0", timeout_s=600)

    asyncio.run(main())
    with pytest.raises(UserError, match="regions: north, south"):
        Plant(world("smoke"), "nort")
