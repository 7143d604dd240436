"""A simulated device and a loop in front of it: two BACnet applications that speak UDP on loopback, one clock."""

import asyncio
import contextlib
import json

from bacpypes3.app import Application
from bacpypes3.local.device import DeviceObject

from agents.adapters.bacnet import wire
from agents.adapters.bacnet.device import Device
from agents.adapters.bacnet.loop import Loop, Options
from agents.adapters.bacnet.plant import Plant
from agents.adapters.bacnet.policies import in_process
from tests.worlds import CALM, world

POLICY = "rule:cost-greedy+b0"  # far from B1, so that who decides can be told


class Site:
    """`await site.pass_s(n)` lets simulated seconds go by: the device scans, the loop beats and decides as it would."""

    def __init__(self, device, loop, client):
        self.device, self.loop, self.client = device, loop, client
        self.beating = self.deciding = True
        self.rows, self.seen = [], []

    async def pass_s(self, seconds):
        """Scan, beat each 30 s, decide each period; keeps what the device says after each scan."""
        end, options = self.device.plant.seconds + seconds, self.loop.options
        while self.device.plant.seconds < end:
            now = self.device.plant.seconds
            if self.beating and now % options.beat_s == 0:
                await self.loop.beat()
            if self.deciding and now % options.period_s == 0:
                self.rows.append(await self.loop.cycle())
            self.device.tick()
            device = self.device
            self.seen.append(
                (device.plant.seconds, device.lost, list(device.effective), device.plant.measured())
            )

    def points(self, role):
        """Points of a role."""
        return wire.by_role(self.device.points, role)


@contextlib.asynccontextmanager
async def site(region="north", call=None, rest=True, overrides=CALM, seed=0, name="smoke", **options):
    """A device and its loop, in lock step."""
    scenario = world(name, overrides)
    plant = Plant(scenario, region, seed)
    device = Device(plant, "127.0.0.1:0")
    me = DeviceObject(objectIdentifier=("device", 1002), objectName="supervisor")
    client = wire.application(Application, me, "127.0.0.1:0", 0.5, 2)
    remote = wire.Remote(client, wire.bound(device.app), 3.0)

    def others():
        return json.loads(json.dumps(plant.rest({p.reading for p in device.points if p.reading})))

    loop = Loop(
        remote, device.points, scenario, region, call or in_process(POLICY, scenario),
        Options(**{"period_s": 900.0, "beat_s": 30.0, **options}), others if rest else None,
        clock=lambda: float(plant.seconds),
    )  # fmt: skip
    try:
        yield Site(device, loop, client)
    finally:
        await device.close()
        await wire.closed(client)
        await asyncio.sleep(0)
