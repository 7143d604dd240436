"""The simulated plant device: a BACnet/IP device whose points are one region of a simulator.

Its controller scans every `TICK_S` simulated seconds. In each scan it

1. looks whether the supervisor lives: if the heartbeat has not changed for `timeout_s`, it forgets what supervisors
   wrote, refuses them, says so on `supervisor-lost`, and goes by B1, the competent rule, which it computes itself from
   the weather as the relinquish default; the next change of the heartbeat ends that;
2. moves each effective set-point towards the winner of the priority array, no faster than its rate;
3. advances the plant by one tick.

So from the last change of the heartbeat to B1 there pass at most `timeout_s` simulated seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from bacpypes3.errors import PropertyError
from bacpypes3.local.device import DeviceObject
from bacpypes3.primitivedata import Date, Time

from agents.adapters.bacnet import wire
from agents.adapters.bacnet.objects import Heartbeat, PlantApplication, SetPoint, made
from agents.adapters.bacnet.plant import TICK_S, Plant
from agents.adapters.bacnet.points import BI, FALLBACK, HEADS, HEARTBEAT, points
from agents.serving.log import Lines
from gcn_env.errors import UserError

TIMEOUT_S = 60
INSTANCE = 1001
RECORD_S = 60  # simulated s between records, and between snapshots of the rest


class ClockObject(DeviceObject):  # type: ignore[misc]
    """A device object that tells the plant's time instead of the machine's."""

    _plant: Plant

    @property
    def localDate(self) -> Date:  # noqa: N802 - BACnet's names
        """Date at the site."""
        now = self._local()
        return Date((now.year - 1900, now.month, now.day, now.isoweekday()))

    @localDate.setter
    def localDate(self, value: Any) -> None:  # noqa: N802
        """Ignored: time comes from the simulator."""

    @property
    def localTime(self) -> Time:  # noqa: N802
        """Time of day at the site."""
        now = self._local()
        return Time((now.hour, now.minute, now.second, now.microsecond // 10_000))

    @localTime.setter
    def localTime(self, value: Any) -> None:  # noqa: N802
        """Ignored: time comes from the simulator."""

    def _local(self) -> Any:
        return self._plant.time + timedelta(hours=self._plant.utc_offset_h)

    async def write_property(self, attr: Any, value: Any, index: Any = None, priority: Any = None) -> None:
        """Nothing of the device object is written from the network."""
        raise PropertyError("writeAccessDenied")


class Device:
    """Must be made in a running event loop.

    Attributes:
        plant: what it controls.
        app: its BACnet application.
        points: its point list.
        lost: whether it goes by itself because no supervisor lives.
        falls: how often it lost one.
        effective: the three heads' set-points within limits and rates, which the plant is given.
    """

    def __init__(
        self,
        plant: Plant,
        address: str = "127.0.0.1",
        instance: int = INSTANCE,
        timeout_s: int = TIMEOUT_S,
        record: str | Path | None = None,
        rest: str | Path | None = None,
    ) -> None:
        """Open the device on an address; it scans when told to (`tick`, `run`).

        Args:
            plant: what it controls.
            address: `HOST[:PORT]` to bind to; port 0 takes a free one.
            instance: number of the device object.
            timeout_s: simulated s without a change of the heartbeat after which the supervisor is lost.
            record: file of a JSON line each simulated minute; None for none.
            rest: file to which the rest of the fleet's snapshot is written each simulated minute; None for none.

        Raises:
            UserError: for an address that cannot be had, or a timeout out of its range.
        """
        if not 2 * TICK_S <= timeout_s <= TIMEOUT_S:
            raise UserError(f"timeout {timeout_s} s: wanted {2 * TICK_S}..{TIMEOUT_S} simulated seconds")
        self.plant, self.timeout_s, self.points = plant, timeout_s, points(plant.archetype)
        region = plant.world.region_names[plant.r]
        clock = ClockObject(
            objectIdentifier=("device", instance), objectName=f"plant-{region}", vendorName="gcn-env",
            modelName=f"plant {plant.archetype}", description=f"{plant.world.name}/{region}",
            utcOffset=round(-60.0 * plant.utc_offset_h), daylightSavingsStatus=False,
        )  # fmt: skip
        clock._plant = plant
        self.app = wire.application(PlantApplication, clock, address)
        self.lost, self.falls, self.late_s, self._beaten = True, 0, 0.0, -timeout_s
        self.objects: dict[str, Any] = {p.name: made(p) for p in self.points}
        for thing in self.objects.values():
            self.app.add_object(thing)
        beat: Heartbeat = self.objects[HEARTBEAT]
        beat.hear(self._beat)
        self.set_points: dict[int, SetPoint] = {}
        for p in wire.by_role(self.points, "setpoint"):
            h = HEADS.index(p.head)
            low, high = float(plant.low[h]), float(plant.high[h])
            self.set_points[h] = self.objects[p.name].limit(low, high, lambda: not self.lost)
        self.effective, self._b1, self._shown_s = plant.b1(), list[float](), -1
        self._record, self._rest = Lines(record), None if rest is None else Path(rest)
        self._settle()
        self.app.before_reading = self._show
        self._write_rest()

    def _beat(self) -> None:
        self._beaten, self.lost, self._shown_s = self.plant.seconds, False, -1

    def _watch(self) -> None:
        """Whether the supervisor lives."""
        if self.lost or self.plant.seconds - self._beaten < self.timeout_s:
            return
        self.lost, self.falls, self._shown_s = True, self.falls + 1, -1
        for point in self.set_points.values():
            point.relinquish_supervisors()

    def _settle(self) -> None:
        """B1 as the relinquish default."""
        b1 = self.plant.b1()
        if b1 != self._b1:
            for h, point in self.set_points.items():
                point.rest_at(b1[h])
        self._b1 = b1

    def tick(self) -> None:
        """One scan."""
        self._watch()
        self._settle()
        for h, point in self.set_points.items():
            wanted = min(max(float(point.presentValue), self.plant.low[h]), self.plant.high[h])
            reach = float(self.plant.rate[h]) * TICK_S
            now = self.effective[h]
            self.effective[h] = float(min(max(wanted, now - reach), now + reach))
        self.plant.advance(self.effective)
        if self.plant.seconds % RECORD_S == 0:
            self._record.append(json.dumps(self.state()).encode() + b"\n")
            self._write_rest()

    def _show(self) -> None:
        """Bring the objects up to date, when somebody reads: setting them costs more than a tick of the plant."""
        if self._shown_s == self.plant.seconds:
            return
        self._shown_s = self.plant.seconds
        for p in self.points:
            thing = self.objects[p.name]
            if p.role == "sensor":
                value = self.plant.reading(p.reading)
                thing.presentValue = ("active" if value > 0.0 else "inactive") if p.kind == BI else value
            elif p.role == "effective":
                thing.presentValue = self.effective[HEADS.index(p.head)]
        self.objects[FALLBACK].presentValue = "active" if self.lost else "inactive"

    def state(self) -> dict[str, Any]:
        """What a record says: time, who decides, set-points on their way to the plant, truths that no sensor says."""
        heads = {HEADS[h]: point for h, point in self.set_points.items()}
        return {
            "time": self.plant.time.isoformat(), "s": self.plant.seconds, "lost": self.lost, "falls": self.falls,
            "late_s": round(self.late_s, 3),
            "priority": {n: point.in_command for n, point in heads.items()},
            "setpoint": {n: float(point.presentValue) for n, point in heads.items()},
            "effective": {n: self.effective[HEADS.index(n)] for n in heads},
            "b1": {n: float(point.relinquishDefault) for n, point in heads.items()},
            "actual": {n: self.plant.reading(f"{n}_actual") for n in heads},
            **self.plant.measured(),
        }  # fmt: skip

    def _write_rest(self) -> None:
        if self._rest is None:
            return
        shown = self.plant.rest({p.reading for p in self.points if p.reading})
        new = self._rest.with_name(self._rest.name + ".new")
        new.write_text(json.dumps(shown))
        os.replace(new, self._rest)  # readers never see half a file

    async def run(self, speed: float, stop: asyncio.Event) -> None:
        """Scan at `speed` times real time until told to stop, or the run's days are over.

        A scan that comes late is not made up for: the plant's clock then runs a little slow (`late_s`), and a busy
        machine does not cost the supervisor its heartbeats.
        """
        loop, period = asyncio.get_running_loop(), TICK_S / speed
        due = loop.time() + period
        while not stop.is_set() and not self.plant.done:
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.tick()
            late = loop.time() - due - period
            self.late_s += max(0.0, late)
            due += period + max(0.0, late)

    async def close(self) -> None:
        """Close the application and the record."""
        self._record.close()
        await wire.closed(self.app)
