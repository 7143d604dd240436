"""The loop in front of the device: a simulated day over real UDP, and everything that may go wrong on the way."""

import asyncio
import json
import math
from itertools import pairwise

import pytest
from bacpypes3.errors import PropertyError, UnrecognizedService

from agents.adapters.bacnet.loop import Options, rest_file
from agents.adapters.bacnet.plant import TICK_S
from agents.adapters.bacnet.points import HEADS
from agents.adapters.bacnet.policies import PolicyDown, in_process
from agents.adapters.bacnet.wire import WireError
from gcn_env.errors import UserError
from tests.agents.bacnet.site import POLICY, site
from tests.worlds import CALM, world

B1 = {"cold": 24.0, "flow": 1.12, "reject": 1.0}  # of plant c


def within_limits_and_rates(s):
    """Every effective set-point of every scan is within its limits, and moved no faster than its rate."""
    plant, before = s.device.plant, None
    for _, _, effective, _ in s.seen:
        for h in s.device.set_points:
            assert plant.low[h] - 1e-6 <= effective[h] <= plant.high[h] + 1e-6
            if before is not None:
                assert abs(effective[h] - before[h]) <= plant.rate[h] * TICK_S + 1e-6
        before = effective


@pytest.mark.long
def test_a_day_under_the_supervisor_follows_its_policy_within_limits(tmp_path):
    async def main():
        async with site(call=in_process("rule:cost-greedy+b2", world("smoke", CALM))) as s:
            await s.pass_s(86_400)
            within_limits_and_rates(s)
            assert len(s.rows) == 96
            assert all(row["by"] == "policy" and not row["unknown"] for row in s.rows)
            assert s.device.falls == 0
            assert not any(lost for _, lost, *_ in s.seen)
            assert s.seen[-1][3]["excursion_kh"] == 0.0
            for row, after in pairwise(s.rows):  # what was written is what is found
                for head, written in row["written"].items():
                    assert after["found"][head] == pytest.approx(written, abs=1e-4)
            for row in s.rows[4:]:  # and it is what the policy wants, as far as the rate reaches in a period
                for head, wanted in row["proposed"].items():
                    reach = 900.0 * s.device.plant.rate[HEADS.index(head)]
                    assert (
                        abs(row["written"][head] - wanted)
                        <= max(0.0, abs(wanted - row["found"][head]) - reach) + 1e-4
                    )
            off = max(abs(row["found"][head] - B1[head]) for row in s.rows for head in B1)
            assert off > 0.5  # the policy did something that B1 would not have

    asyncio.run(main())


@pytest.mark.parametrize("region", ["north", "south"])
def test_a_heartbeat_that_stops_costs_no_excursion(region):
    async def main():
        async with site(region) as s:
            await s.pass_s(1800)
            assert s.device.effective[0] == pytest.approx(20.0)  # where B0 has it
            await s.loop.beat()
            s.beating = s.deciding = False
            last = s.device.plant.seconds
            await s.pass_s(3600)
            fell = next(at for at, lost, *_ in s.seen if lost and at > last)
            assert fell - TICK_S <= last + 60
            within_limits_and_rates(s)
            assert s.device.effective == pytest.approx(s.device.plant.b1(), abs=1e-6)
            assert s.seen[-1][3]["excursion_kh"] == 0.0
            assert min(x["limit_gap_k"] for *_, x in s.seen) > 0.0
            s.beating = s.deciding = True
            await s.pass_s(1800)
            assert s.device.effective[0] == pytest.approx(20.0)  # and the supervisor has it again

    asyncio.run(main())


def test_every_kind_of_plant_is_driven():
    async def main():
        kinds = set()
        for region, kind in zip(world("plants").region_names, world("plants").archetypes, strict=True):
            async with site(region, name="plants", overrides=None) as s:
                kinds.add(kind)
                assert s.device.effective == s.device.plant.b1()
                await s.loop.check_units()
                await s.pass_s(60)
                row = s.rows[0]
                assert row["by"] == "policy", row
                assert not row["unknown"]
                assert list(row["written"]) == [HEADS[h] for h in s.device.set_points]
                assert all(point.in_command == 14 for point in s.device.set_points.values())
                within_limits_and_rates(s)
        assert kinds == set("abcdefg")

    asyncio.run(main())


def bad(answer):
    """A policy that answers what it should not."""

    def call(method, path, body):
        return {} if method == "PUT" else answer

    return call


def heads(**targets):
    """An answer of /v1/setpoints."""
    return {"regions": {"north": {"heads": {name: {"target": x} for name, x in targets.items()}}}}


def broken(method, path, body):
    """A policy with a bug."""
    return 1 / 0


def down(method, path, body):
    """A policy that is not there."""
    raise PolicyDown("down")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (down, "down"),
        (broken, "ZeroDivisionError"),
        (bad([]), "no object"),
        (bad({}), "no target for north.cold"),
        (bad(heads(cold=20.0, flow=2.0)), "no target for north.reject"),
        (bad(heads(cold=35.0, flow=2.0, reject=1.0)), "outside 18..25"),
        (bad(heads(cold=math.nan, flow=2.0, reject=1.0)), "outside"),
        (bad(heads(cold="warm", flow=2.0, reject=1.0)), "no target"),
    ],
)
def test_without_a_good_answer_it_steps_back(call, why):
    async def main():
        async with site() as s:
            await s.pass_s(1800)
            assert s.device.set_points[0].in_command == 14
            s.loop.call = call
            await s.loop.beat()
            row = await s.loop.cycle()
            assert row["by"] == "none"
            assert why in row["reason"]
            assert all(point.in_command is None for point in s.device.set_points.values())
            assert not s.device.lost  # the loop lives, only its policy does not

    asyncio.run(main())


def test_a_slow_policy_is_not_waited_for_and_the_heart_beats_on():
    async def main():
        release = asyncio.Event()
        running = asyncio.get_running_loop()

        def slow(method, path, body):
            asyncio.run_coroutine_threadsafe(release.wait(), running).result(20)
            return {}

        async with site(call=slow, patience_s=0.2) as s:
            await s.loop.beat()
            asking = asyncio.create_task(s.loop.cycle())
            await asyncio.sleep(0.05)
            assert await s.loop.beat()
            assert "no answer in 0.2 s" in (await asking)["reason"]
            assert "still busy" in (await s.loop.cycle())["reason"]
            release.set()
            await asyncio.sleep(0.1)

    asyncio.run(main())


def test_missing_sensors_are_unknown_and_never_zero():
    async def main():
        async with site() as s:
            await s.pass_s(TICK_S)
            seen, ask = [], s.loop.call

            def call(method, path, body):
                seen.append(body)
                return ask(method, path, body)

            s.loop.call = call
            s.device.objects["hottest-rack-inlet"].reliability = "no-sensor"  # sets the flag for faults
            s.device.objects["return-air-temperature"].outOfService = True
            s.device.objects["return-air-temperature"].statusFlags = [0, 0, 0, 1]
            s.device.app.delete_object(s.device.objects["rack-inlet-temperature"])
            s.device.plant.reading = nan_at("dry", s.device.plant.reading)
            await s.pass_s(TICK_S)
            row = await s.loop.cycle()
            assert set(row["unknown"]) == {
                "hottest-rack-inlet", "return-air-temperature", "rack-inlet-temperature", "outside-air-temperature",
            }  # fmt: skip
            shown = seen[0]["regions"]["north"]
            assert [shown[x] for x in ("hottest", "return_air", "inlet", "dry")] == [None] * 4
            assert shown["supply"] > 10.0
            assert "chip" in shown  # from the rest of the snapshot

    asyncio.run(main())


def test_a_controller_without_multiple_reads_is_read_one_by_one():
    async def main():
        async with site() as s:
            await s.pass_s(TICK_S)
            many = await s.loop.remote.read(s.loop._read)
            s.device.objects["return-air-temperature"].outOfService = True
            s.device.objects["return-air-temperature"].statusFlags = [0, 0, 0, 1]
            s.device.app.delete_object(s.device.objects["rack-inlet-temperature"])

            async def unknown(apdu):
                """As small controllers do."""
                raise UnrecognizedService()

            s.device.app.do_ReadPropertyMultipleRequest = unknown
            gone = {"return-air-temperature": None, "rack-inlet-temperature": None}
            assert await s.loop.remote.read(s.loop._read) == many | gone

    asyncio.run(main())


def nan_at(name, reading):
    """Readings of which one is no number."""
    return lambda asked: math.nan if asked == name else reading(asked)


def test_a_device_that_is_gone_is_said_and_one_that_returns_is_driven_again():
    async def main():
        async with site() as s:
            await s.pass_s(900)
            answering = s.device.app.do_ReadPropertyMultipleRequest
            s.loop.remote.patience_s = 0.3

            async def silent(apdu):
                """Takes the request and says nothing."""

            s.device.app.do_ReadPropertyMultipleRequest = silent
            row = await s.loop.cycle()
            assert row["by"] == "none"
            assert row["reason"].startswith("unreachable: read: no answer")
            s.device.app.do_ReadPropertyMultipleRequest = answering
            s.loop.remote.patience_s = 3.0
            await s.loop.beat()
            assert (await s.loop.cycle())["by"] == "policy"

    asyncio.run(main())


def test_without_the_rest_of_the_fleet_the_rule_decides_and_a_stale_one_is_not_used(tmp_path):
    async def main():
        async with site(rest=False) as s:
            await s.loop.beat()
            row = await s.loop.cycle()
            assert (row["by"], row["reason"]) == ("rule", "unknown")  # prices are vital
            assert row["proposed"] == pytest.approx(B1, abs=0.5)
            old = s.device.plant.rest(set())
            old["time"] = "2003-01-01T00:00:00Z"
            path = tmp_path / "rest.json"
            for given, why in (
                (json.dumps(old), "h from the device's time"),
                ("{", "not used"),
                ("[]", "wanted a snapshot"),
                (json.dumps({**s.device.plant.rest(set()), "units": {"regions": {"dry": "degF"}}}), "degF"),
            ):
                path.write_text(given)
                s.loop.rest = rest_file(path)
                row = await s.loop.cycle()
                assert why in row["rest"]
                assert row["by"] == "rule"

    asyncio.run(main())


def test_it_relinquishes_on_leaving_and_its_heart_stops_with_its_cycles():
    async def main():
        async with site(speed=60.0) as s:
            stop, scans = asyncio.Event(), asyncio.create_task(s.device.run(60.0, asyncio.Event()))
            running = asyncio.create_task(s.loop.run(stop))
            for _ in range(100):
                await asyncio.sleep(0.1)
                if s.device.set_points[0].in_command == 14:
                    break
            assert s.device.set_points[0].in_command == 14
            stop.set()
            await running
            scans.cancel()
            assert all(point.in_command is None for point in s.device.set_points.values())
            s.loop._turned = -1e9  # no cycle has ended for long
            assert not await s.loop.beat()

    asyncio.run(main())


def test_while_it_owes_set_points_its_heart_does_not_beat():
    async def main():
        async with site() as s:
            await s.pass_s(900)
            s.loop.call = down
            taking = s.device.app.do_WritePropertyRequest

            async def refusing(apdu):
                """A device that takes no writes for a while."""
                raise PropertyError("writeAccessDenied")

            s.device.app.do_WritePropertyRequest = refusing
            await s.loop.cycle()
            assert s.device.set_points[0].in_command == 14  # it could not give back
            s.device.app.do_WritePropertyRequest = taking
            written, count = [], s.loop.remote.write

            async def failing(point, value, priority=None):
                """Only the heartbeat gets through."""
                if point.role == "setpoint":
                    raise WireError("lost")
                written.append(point.name)
                await count(point, value, priority)

            s.loop.remote.write = failing
            assert not await s.loop.beat()
            assert not written
            s.deciding = False
            await s.pass_s(90)
            assert s.device.lost
            assert s.device.set_points[0].in_command is None
            s.loop.remote.write = count
            assert await s.loop.beat()

    asyncio.run(main())


def test_read_only_writes_nothing():
    async def main():
        async with site(read_only=True) as s:
            assert not await s.loop.beat()
            row = await s.loop.cycle()
            assert row["by"] == "policy"
            assert row["proposed"]["cold"] == pytest.approx(20.0)
            assert row["written"] == {}
            await s.loop.relinquish()
            assert s.device.lost
            assert float(s.device.objects["supervisor-heartbeat"].presentValue) == 0.0

    asyncio.run(main())


def test_options_and_policies_that_cannot_be():
    for wrong in ({"priority": 8}, {"beat_s": 60.0}, {"period_s": 1.0}, {"speed": 0.0}):
        with pytest.raises(UserError):
            Options(**wrong)
    with pytest.raises(UserError, match="nowhere"):
        in_process("nowhere", world("smoke"))
    assert POLICY.startswith("rule:")
