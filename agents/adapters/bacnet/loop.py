"""The supervisor: reads a plant's points, asks a policy, writes set-points, and steps back when anything is wrong.

    read points -> readings of a snapshot -> PUT /v1/snapshot, POST /v1/setpoints -> set-points at one priority, 10..16

A point that is missing, faulty or no number is unknown in the snapshot, never zero. Nothing is trusted: a target
outside the plant's limits counts as no answer, and set-points move from where they are no faster than the head's rate.
Where there is no good answer the loop relinquishes, so that the device goes by its own rule; so it does on leaving. The
heartbeat says that this loop turns, not only that its process lives: it stops when a cycle does not end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bacpypes3.primitivedata import ObjectIdentifier

from agents.adapters.bacnet.points import FALLBACK, HEADS, HEARTBEAT, UNITS, Point
from agents.adapters.bacnet.policies import Call, PolicyDown
from agents.adapters.bacnet.wire import Remote, WireError, by_role, identifier, named
from agents.serving.guard import SetPoints
from agents.serving.log import Lines
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World
from gcn_env.snapshot.document import units
from gcn_env.snapshot.parse import SnapshotError, time_of
from gcn_env.snapshot.readings import FORMAT

log = logging.getLogger(__name__)
DEVICE = ObjectIdentifier(("device", 4194303))  # the standard's wildcard: whatever number the device has
REST_H = 1.0  # age above which the rest of a snapshot is not used
BEATS = 1_000_000  # the heartbeat starts again there: single precision counts so far exactly
SLACK = 1e-3  # of a target beyond its limits: reals on the wire are single precision


@dataclass(frozen=True)
class Options:
    """How the loop works.

    Attributes:
        priority: BACnet priority of its set-points, 10..16.
        period_s: s between decisions.
        beat_s: s between changes of the heartbeat; a device looks for one in every 60 s.
        patience_s: s within which the policy answers.
        speed: plant seconds in a real one: 1 but for a simulated device. Divides the first two.
        read_only: read, ask and log, but write nothing (shadow mode).
    """

    priority: int = 14
    period_s: float = 300.0
    beat_s: float = 15.0
    patience_s: float = 5.0
    speed: float = 1.0
    read_only: bool = False

    def __post_init__(self) -> None:
        """Check.

        Raises:
            UserError: for what is out of its range.
        """
        if not 10 <= self.priority <= 16:
            raise UserError(
                f"priority {self.priority}: a supervisor writes at 10..16; lower ones are for safeties"
            )
        if not 0.0 < self.beat_s <= 30.0 or not self.period_s >= self.beat_s or not self.speed > 0.0:
            raise UserError("wanted 0 < beat <= 30 s, a period of at least a beat, and a speed above 0")


class Loop:
    """Drives one region's plant.

    Args:
        remote: the device.
        points: where it has which point (`points.located`).
        world: the scenario of the fleet.
        region: name of the region whose plant it is.
        call: asks the policy.
        options: see `Options`.
        rest: the rest of the fleet's snapshot as it is now (prices, carbon, jobs, pools, other regions); None for none.
        record: a JSON line for each decision: proposed, written, found.
        clock: s, monotonic; the plant's own clock where tests drive it.
    """

    def __init__(
        self,
        remote: Remote,
        points: tuple[Point, ...],
        world: World,
        region: str,
        call: Call,
        options: Options | None = None,
        rest: Callable[[], Mapping[str, Any]] | None = None,
        record: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.remote, self.points, self.world, self.region, self.call = remote, points, world, region, call
        self.options, self.rest, self.clock, self.record = options or Options(), rest, clock, Lines(record)
        self.r, self.limits = world.region_names.index(region), SetPoints(world)
        self._set = {HEADS.index(p.head): p for p in by_role(points, "setpoint")}
        self._read = [p for p in points if p.role in ("sensor", "setpoint", "fallback")]
        self._heart = named(points).get(HEARTBEAT)
        self._beats, self._turned = 0, clock()
        self._owes = False  # set-points are still to be given back
        self._asking: asyncio.Future[Any] | None = None

    async def check_units(self) -> None:
        """Hold the device's units against the point list.

        Raises:
            UserError: if the device does not answer, or has other units.
        """
        for p in self.points:
            if not p.kind.startswith("analog"):
                continue
            try:
                found = str(await self.remote.get(identifier(p), "units"))
            except WireError as error:
                raise UserError(
                    f"device {self.remote.address}: {p.name} ({p.kind},{p.instance}): {error}"
                ) from None
            if found != UNITS[p.unit]:
                raise UserError(
                    f"device {self.remote.address}: {p.name} is in {found}; wanted {UNITS[p.unit]}"
                )

    # ------------------------------------------------------------------------------------------------------ heartbeat
    async def beat(self) -> bool:
        """Change the heartbeat, if the loop turns and owes nothing; whether the device took it."""
        stuck = (self.clock() - self._turned) * self.options.speed > 2.0 * self.options.period_s
        if self.options.read_only or self._heart is None or stuck:
            return False
        if self._owes and not await self.relinquish():
            return False  # its watchdog does what we cannot
        self._beats = (self._beats + 1) % BEATS
        try:
            await self.remote.write(self._heart, float(self._beats))
        except WireError as error:
            log.warning("heartbeat: %s", error)
            return False
        return True

    # ---------------------------------------------------------------------------------------------------- one decision
    async def cycle(self) -> dict[str, Any]:
        """Read, ask, write; returns what was recorded."""
        row: dict[str, Any] = {"by": "none", "reason": "", "proposed": {}, "written": {}, "unknown": []}
        try:
            values = await self.remote.read(self._read)
            row["time"] = (await self.now()).isoformat()
        except WireError as error:
            row["reason"] = f"unreachable: {error}"
            return await self._close(row)
        row["unknown"] = [p.name for p in self._read if values[p.name] is None]
        row["lost"] = values.get(FALLBACK) == 1.0
        row["found"] = {HEADS[h]: values[p.name] for h, p in self._set.items()}
        try:
            answer = await self._ask(self.snapshot(values, row))
            row["proposed"] = self._targets(answer)
        except PolicyDown as down:
            row["reason"] = f"policy: {down}"
            return await self._close(row)
        row["by"], row["reason"] = str(answer.get("by", "policy")), str(answer.get("reason", ""))
        if not self.options.read_only:
            if row["lost"]:  # it would refuse; and we turn
                self._turned = self.clock()
                await self.beat()
            await self._write(row)
        return await self._close(row)

    async def _close(self, row: dict[str, Any]) -> dict[str, Any]:
        """End a cycle: without a good answer, step back."""
        if row["by"] == "none":
            log.warning("no set-points: %s", row["reason"])
            await self.relinquish()
        self._turned = self.clock()
        self.record.append(json.dumps(row).encode() + b"\n")
        return row

    async def now(self) -> datetime:
        """The device's clock, UTC.

        Raises:
            WireError: if it has none.
        """
        date = await self.remote.get(DEVICE, "local-date")
        at = await self.remote.get(DEVICE, "local-time")
        offset = await self.remote.get(DEVICE, "utc-offset")
        try:
            local = datetime(1900 + date[0], date[1], date[2], at[0], at[1], at[2], tzinfo=UTC)
        except (ValueError, TypeError):
            raise WireError(f"the device's clock says {date} {at}") from None
        return local + timedelta(minutes=int(offset))

    def snapshot(self, values: Mapping[str, float | None], row: dict[str, Any]) -> dict[str, Any]:
        """The fleet as it is: what the device reads over the rest of it."""
        rest = self._rest(row)
        regions = {name: dict(x) for name, x in rest.get("regions", {}).items()}
        mine = regions.setdefault(self.region, {})
        for p in self.points:
            if p.reading:
                mine[p.reading] = values.get(p.name)
        found = {"format": FORMAT, "time": row["time"], "units": units(), "regions": regions}
        found["pools"], found["jobs"] = rest.get("pools", {}), rest.get("jobs", [])
        return found | ({"links": rest["links"]} if "links" in rest else {})

    def _rest(self, row: dict[str, Any]) -> Mapping[str, Any]:
        """The rest, if it is of now and in this project's units; what is not there is unknown."""
        if self.rest is None:
            return {}
        try:
            found = self.rest()
            age = abs(time_of(found.get("time")).hour - time_of(row["time"]).hour)
            if age > REST_H:
                raise ValueError(f"{age:.1f} h from the device's time")
            for table, given in found.get("units", {}).items():
                for name, unit in given.items():
                    if units().get(table, {}).get(name) != unit:
                        raise ValueError(f"units.{table}.{name} is {unit!r}")
        except (OSError, ValueError, AttributeError, SnapshotError) as error:
            row["rest"] = f"not used: {error}"
            return {}
        return found

    async def _ask(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The policy's answer, asked in a thread so that the heart goes on beating.

        Raises:
            PolicyDown: if there is none in time.
        """
        if self._asking is not None and not self._asking.done():
            raise PolicyDown("still busy with the question before")

        def ask() -> Any:
            try:
                self.call("PUT", "/v1/snapshot", document)
                return self.call("POST", "/v1/setpoints", {})
            except Exception as error:  # whatever a policy raises, the plant goes on
                return error if isinstance(error, PolicyDown) else PolicyDown(repr(error)[:200])

        self._asking = asyncio.ensure_future(asyncio.to_thread(ask))
        try:
            answer = await asyncio.wait_for(asyncio.shield(self._asking), self.options.patience_s)
        except TimeoutError:
            raise PolicyDown(f"no answer in {self.options.patience_s:g} s") from None
        if isinstance(answer, PolicyDown):
            raise answer
        if not isinstance(answer, dict):
            raise PolicyDown("the answer is no object")
        return answer

    def _targets(self, answer: Mapping[str, Any]) -> dict[str, float]:
        """Where each set-point is to go: head -> target within limits.

        Raises:
            PolicyDown: if the answer lacks one, or one is outside the limits.
        """
        found = {}
        for h in self._set:
            try:
                target = float(answer["regions"][self.region]["heads"][HEADS[h]]["target"])
            except (KeyError, TypeError, ValueError):
                raise PolicyDown(f"no target for {self.region}.{HEADS[h]}") from None
            low, high = float(self.limits.low[self.r, h]), float(self.limits.high[self.r, h])
            if not (math.isfinite(target) and low - SLACK <= target <= high + SLACK):
                raise PolicyDown(f"{self.region}.{HEADS[h]} = {target:g} is outside {low:g}..{high:g}")
            found[HEADS[h]] = min(max(target, low), high)
        return found

    async def _write(self, row: dict[str, Any]) -> None:
        """Move each set-point from where it is towards its target, within its rate."""
        minutes = self.options.period_s / 60.0
        for h, p in self._set.items():
            present = row["found"][HEADS[h]]
            if present is None:  # nothing to step from: the device's rule may have it
                row["by"], row["reason"] = "none", f"{p.name} cannot be read"
                return
            value = self.limits.step(self.r, h, row["proposed"][HEADS[h]], present, minutes)
            try:
                await self.remote.write(p, value, self.options.priority)
            except WireError as error:
                row["reason"] = str(error)
                continue
            row["written"][HEADS[h]] = value
        self._owes = False

    async def relinquish(self) -> bool:
        """Give every set-point back; whether the device took all. Never raises for what the device does."""
        good = True
        for p in self._set.values() if not self.options.read_only else ():
            try:
                await self.remote.write(p, None, self.options.priority)
            except WireError as error:
                log.warning("relinquish: %s", error)
                good = False
        self._owes = not good
        return good

    # ------------------------------------------------------------------------------------------------------- for ever
    async def run(self, stop: asyncio.Event) -> None:
        """Beat and decide until told to stop; relinquishes in any case on leaving."""
        pulse = asyncio.create_task(self._pulse())
        try:
            await self.beat()
            while not stop.is_set():
                due = self.clock() + self.options.period_s / self.options.speed
                await self.cycle()
                await _either(stop, pulse, max(0.0, due - self.clock()))
        finally:
            pulse.cancel()
            await self.relinquish()
            self.record.close()

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(self.options.beat_s / self.options.speed)
            await self.beat()


async def _either(stop: asyncio.Event, pulse: asyncio.Task[None], seconds: float) -> None:
    """Wait so many seconds, or until told to stop; what kills the pulse kills the loop."""
    waiter = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({waiter, pulse}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if pulse in done:
        pulse.result()


def rest_file(path: str | Path) -> Callable[[], Mapping[str, Any]]:
    """Reads the rest of a snapshot from a file that others keep up to date."""

    def read() -> Mapping[str, Any]:
        found = json.loads(Path(path).read_text())
        if not isinstance(found, dict):
            raise ValueError(f"{path}: wanted a snapshot")
        return found

    return read
