"""The two processes of the command line: the simulated device, and the loop in front of any device."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

from bacpypes3.app import Application
from bacpypes3.local.device import DeviceObject

from agents.adapters.bacnet import wire
from agents.adapters.bacnet.device import Device
from agents.adapters.bacnet.loop import Loop, Options, rest_file
from agents.adapters.bacnet.plant import Plant, region_of
from agents.adapters.bacnet.points import located
from agents.adapters.bacnet.policies import Call, in_process, over_http
from gcn_env import load_world
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World

log = logging.getLogger("agents.bms")
TOKEN = "GCN_TOKEN"
REQUEST_S, RETRIES = 2.0, 2  # a BACnet request is sent again after so many plant seconds, so often
REQUEST_LEAST_S = 0.25  # but no sooner than that in real time


def stopping() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve_device(
    scenario: str, region: str, data: str | None, address: str, instance: int, speed: float, timeout: int,
    hours: float | None, seed: int, record: str | None, rest: str | None,
) -> None:  # fmt: skip
    """A simulated device until a signal, the end of its hours, or of its days.

    Raises:
        UserError: for anything an operator can mend.
    """
    plant = Plant(load_world(scenario, data_dir=data), region, seed)
    device = Device(plant, address, instance, timeout, record, rest)
    stop = stopping()
    log.info("device %d, plant %s of %s at %s, %g x real time, %s", instance, plant.archetype, region,
             wire.bound(device.app), speed, plant.time.isoformat())  # fmt: skip
    try:
        running = asyncio.create_task(device.run(speed, stop))
        while not running.done():
            await asyncio.wait({running}, timeout=0.1)
            if hours is not None and plant.seconds >= 3600.0 * hours:
                stop.set()
        running.result()
    finally:
        log.info(
            "%d plant seconds, supervisor lost %d times, %.1f s late",
            plant.seconds,
            device.falls,
            device.late_s,
        )
        await device.close()


def caller(policy: str, world: World, token_file: str | None, timeout_s: float) -> Call:
    """Who is asked: a server's URL, a rule, or a bundle's folder.

    Raises:
        UserError: for a policy or a token that cannot be had.
    """
    if not policy.startswith(("http://", "https://")):
        return in_process(policy, world)
    token = os.environ.get(TOKEN)
    if token_file is not None:
        try:
            token = Path(token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {token_file}: {error}") from None
    return over_http(policy, token, timeout_s)


async def drive(
    policy: str, scenario: str, region: str, device: str, address: str, data: str | None, objects: str | None,
    rest: str | None, token_file: str | None, priority: int, period: float | None, speed: float, read_only: bool,
    log: str | None,
) -> None:  # fmt: skip
    """Drive a plant until a signal.

    Raises:
        UserError: for anything an operator can mend.
    """
    world = load_world(scenario, data_dir=data)
    points = located(world.archetypes[region_of(world, region)], objects)
    options = Options(
        priority, 3600.0 * world.step_h if period is None else period, speed=speed, read_only=read_only
    )
    call = caller(policy, world, token_file, options.patience_s)
    wait_s = max(REQUEST_S / speed, REQUEST_LEAST_S)
    me = DeviceObject(objectIdentifier=("device", 1002), objectName="supervisor", vendorName="gcn-env")
    app = wire.application(Application, me, address, wait_s, RETRIES)
    try:
        remote = wire.Remote(app, device, (RETRIES + 1) * wait_s + 1.0)
        loop = Loop(remote, points, world, region, call, options, rest_file(rest) if rest else None, log)
        await loop.check_units()
        await loop.run(stopping())
    finally:
        await wire.closed(app)
