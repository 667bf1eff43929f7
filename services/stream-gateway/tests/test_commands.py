"""Commands from any replica to a client on any replica, over a network whose faults the test decides."""

from __future__ import annotations

import asyncio
import random

import pytest
from support.engine_world import NAMESPACE, Replica, WorldClient, metric, outcome, ping, until, world
from support.virtual_time import LoopClock, virtual_time

from service_kit.bus import Subjects
from stream_gateway._proto.bus_pb2 import HolderReply, HolderRequest
from stream_gateway.engine.contract import Failure
from stream_gateway.engine.holder import CLOCK_SKEW_US
from stream_gateway.engine.peers import STALE_SECONDS

ID = "c"
EVERYWHERE = pytest.mark.parametrize("at", [0, 1], ids=["same replica", "other replica"])


def now() -> float:
    return asyncio.get_running_loop().time()


async def connect(replica: Replica, client_id: str = ID, *, obeys: bool = True) -> WorldClient:
    client = WorldClient(replica.engine, client_id, obeys=obeys)
    await until(lambda: client.session is not None)
    return client


@EVERYWHERE
@virtual_time
async def test_a_command_arrives_once_and_its_ack_comes_back(at: int) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        router = w.replicas[at].engine.router
        answer = await router.execute(ping(ID), 5)
        assert not isinstance(answer, Failure)
        assert outcome(answer) == "ok"
        assert outcome(await router.send(ping(ID, "c2"))) == "queued"
        await until(lambda: client.commands == ["c1", "c2"])
        assert metric("gateway_ack_waits") == 0


@EVERYWHERE
@virtual_time
async def test_nobody_holds_the_client(at: int) -> None:
    async with world(2) as w:
        await connect(w.replicas[0])
        router = w.replicas[at].engine.router
        assert outcome(await router.execute(ping("other"), 5)) == "CLIENT_NOT_CONNECTED"
        assert outcome(await router.send(ping("other"))) == "CLIENT_NOT_CONNECTED"
        assert now() < 0.1


@EVERYWHERE
@virtual_time
async def test_no_ack_in_time_and_a_late_one_is_counted(at: int) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0], obeys=False)
        started = now()
        assert outcome(await w.replicas[at].engine.router.execute(ping(ID), 7)) == "COMMAND_TIMEOUT"
        assert now() - started == pytest.approx(7, abs=0.01)
        await until(lambda: metric("gateway_ack_waits") == 0, 0.1)
        unknown = metric("gateway_unknown_acks_total")
        client.ack("c1")
        await until(lambda: metric("gateway_unknown_acks_total") == unknown + 1)


@EVERYWHERE
@virtual_time
async def test_a_caller_that_goes_away_takes_its_command_with_it(at: int) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0], obeys=False)
        client.transport.reading.clear()
        router = w.replicas[at].engine.router
        await router.send(ping(ID, "stuck"))
        calls = [asyncio.create_task(router.execute(ping(ID, f"c{number}"), 60)) for number in range(5)]
        await until(lambda: metric("gateway_ack_waits") == 5)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await until(lambda: metric("gateway_ack_waits") == 0, 0.1)
        client.transport.reading.set()
        await asyncio.sleep(1)
        assert client.commands == ["stuck"], "what was not written yet never is"


@virtual_time
async def test_withdrawing_hits_only_the_own_command() -> None:
    async with world(3) as w:
        client = await connect(w.replicas[0], obeys=False)
        first = asyncio.create_task(w.replicas[1].engine.router.execute(ping(ID), 60))
        await until(lambda: client.commands)
        # The same id from another caller is refused, and that caller's going away changes nothing for the first.
        assert outcome(await w.replicas[2].engine.router.execute(ping(ID), 60)) == "DUPLICATE_COMMAND"
        second = asyncio.create_task(w.replicas[2].engine.router.execute(ping(ID), 60))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(1)
        client.ack("c1")
        assert outcome(await first) == "ok"
        assert client.commands == ["c1"]


@EVERYWHERE
@virtual_time
async def test_an_expired_command_is_not_sent(at: int) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        router = w.replicas[at].engine.router
        await asyncio.sleep(1)
        for expires_at_us in (1, LoopClock().now_us() - 1):
            assert outcome(await router.execute(ping(ID, expires_at_us=expires_at_us), 5)) == "COMMAND_EXPIRED"
            assert outcome(await router.send(ping(ID, expires_at_us=expires_at_us))) == "COMMAND_EXPIRED"
        assert outcome(await router.execute(ping(ID, "later", expires_at_us=2**63 - 1), 5)) == "ok"
        assert client.commands == ["later"]


@EVERYWHERE
@pytest.mark.parametrize("timeout", [-1.0, 0.0, 1e9, float("inf")])
@virtual_time
async def test_any_deadline_will_do(at: int, timeout: float) -> None:  # noqa: ASYNC109  (the router's)
    async with world(2) as w:
        await connect(w.replicas[0])
        expected = "ok" if timeout > 0 else "COMMAND_TIMEOUT"
        assert outcome(await w.replicas[at].engine.router.execute(ping(ID), timeout)) == expected


@EVERYWHERE
@virtual_time
async def test_the_stream_ends_while_somebody_waits(at: int) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0], obeys=False)
        call = asyncio.create_task(w.replicas[at].engine.router.execute(ping(ID), 60))
        await until(lambda: client.commands)
        started = now()
        client.vanish()
        assert outcome(await call) == "CLIENT_DISCONNECTED"
        assert now() - started < 0.1


@pytest.mark.parametrize("waited", [0.0, 0.1, 0.3, 0.9, 5.0])
@virtual_time
async def test_the_death_of_the_holder_is_known_within_a_second_and_a_half(waited: float) -> None:
    async with world(2) as w:
        holder, caller = w.replicas
        client = await connect(holder, obeys=False)
        call = asyncio.create_task(caller.engine.router.execute(ping(ID), 60))
        await until(lambda: client.commands)
        await asyncio.sleep(waited)
        # As when its process is killed: the bus sees its connection end.
        await holder.engine.close()
        holder.bus.cut()
        started = now()
        assert outcome(await call) == "CLIENT_DISCONNECTED"
        assert now() - started < 1.5


@virtual_time
async def test_a_slow_client_is_waited_for_across_replicas() -> None:
    async with world(2, limits={"liveness_seconds": 1e6}) as w:
        client = await connect(w.replicas[0], obeys=False)
        calls = [asyncio.create_task(w.replicas[1].engine.router.execute(ping(ID, f"c{n}"), 600)) for n in range(20)]
        await until(lambda: len(client.commands) == 20)
        published = len(w.replicas[1].bus.published)
        await asyncio.sleep(300)
        assert not any(call.done() for call in calls)
        assert len(w.replicas[1].bus.published) - published < 300 * 3 * 4, "one question for all that wait at a gateway"
        for command_id in client.commands:
            client.ack(command_id)
        assert [outcome(await call) for call in calls] == ["ok"] * 20


@virtual_time
async def test_a_lost_request_is_noticed_and_not_waited_for() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        caller = w.replicas[1]
        subject = Subjects(NAMESPACE).client(ID)
        caller.bus.loses = lambda to, data: to == subject and HolderRequest.FromString(data).HasField("deliver")
        started = now()
        assert outcome(await caller.engine.router.execute(ping(ID), 60)) == "CLIENT_DISCONNECTED"
        assert now() - started < 1.5
        assert client.commands == []


@pytest.mark.parametrize("delay", [0.0, 1.5], ids=["at once", "after it was accepted"])
@virtual_time
async def test_an_answer_lost_on_the_way_is_given_once_more(delay: float) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0], obeys=delay == 0)
        lost: list[str] = []

        def loses(to: str, data: bytes) -> bool:
            first = to.startswith("_INBOX") and HolderReply.FromString(data).HasField("ack") and not lost
            if first:
                lost.append(to)
            return first

        w.replicas[0].bus.loses = loses
        executing = asyncio.create_task(w.replicas[1].engine.router.execute(ping(ID), 60))
        if delay:
            await asyncio.sleep(delay)
            client.ack("c1")
        started = now()
        assert outcome(await executing) == "ok"
        assert now() - started < 1.5
        assert lost
        assert client.commands == ["c1"]


@virtual_time
async def test_what_a_caller_was_told_is_not_sent_never_is() -> None:
    async with world() as w:
        client = await connect(w.replicas[0])
        client.transport.reading.clear()
        router = w.replicas[0].engine.router
        written = asyncio.create_task(router.execute(ping(ID, "written"), 60))
        queued = asyncio.create_task(router.execute(ping(ID, "queued"), 60))
        await asyncio.sleep(0.1)
        client.transport.send(None)
        assert outcome(await written) == "CLIENT_DISCONNECTED"
        assert outcome(await queued) == "CLIENT_NOT_CONNECTED"
        client.transport.reading.set()
        await asyncio.sleep(1)
        assert client.commands == ["written"]


@virtual_time
async def test_a_command_is_looked_after_while_its_session_is_checked() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        w.replicas[0].engine.lease.lapse()
        w.replicas[0].directory.takes = 1.5
        assert outcome(await w.replicas[1].engine.router.execute(ping(ID), 60)) == "ok"
        assert client.commands == ["c1"]


@virtual_time
async def test_a_caller_that_leaves_while_the_session_is_checked_leaves_nothing_behind() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        w.replicas[0].engine.lease.lapse()
        w.replicas[0].directory.takes = 1.5
        executing = asyncio.create_task(w.replicas[1].engine.router.execute(ping(ID), 60))
        await asyncio.sleep(0.3)
        executing.cancel()
        await asyncio.sleep(5)
        assert client.commands == []
        assert not w.replicas[0].engine.desk._deliveries


@virtual_time
async def test_withdrawn_calls_leave_no_timers_behind() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0], obeys=False)
        router = w.replicas[1].engine.router
        calls = [asyncio.create_task(router.execute(ping(ID, f"c{number}"), 3600)) for number in range(50)]
        await until(lambda: len(client.commands) == len(calls))
        for call in calls:
            call.cancel()
        await until(lambda: not w.replicas[0].engine.desk._deliveries)
        assert client.session is not None
        assert client.session.waiting == 0


@virtual_time
async def test_a_request_held_up_beyond_its_callers_patience_is_not_obeyed() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        late = metric("gateway_late_requests_total")
        w.replicas[1].bus.delay(lambda: 1 + CLOCK_SKEW_US / 1e6 + 0.5, lambda: 0)
        assert outcome(await w.replicas[1].engine.router.execute(ping(ID), 1)) == "COMMAND_TIMEOUT"
        await until(lambda: metric("gateway_late_requests_total") == late + 1)
        assert client.commands == []


@virtual_time
async def test_a_session_that_is_not_trusted_is_checked_before_it_obeys() -> None:
    async with world(2) as w:
        holder, caller = w.replicas
        client = await connect(holder)
        holder.engine.lease.lapse()
        assert outcome(await caller.engine.router.execute(ping(ID), 5)) == "ok"
        # And when it can not be checked, it does not obey.
        holder.engine.lease.lapse()
        holder.directory.available = False
        started = now()
        assert outcome(await caller.engine.router.execute(ping(ID, "c2"), 5)) in {
            "CLIENT_NOT_CONNECTED",
            "CLIENT_DISCONNECTED",
        }
        assert now() - started < STALE_SECONDS + 1
        assert outcome(await holder.engine.router.execute(ping(ID, "c3"), 5)) == "BUS_UNAVAILABLE"
        assert client.commands == ["c1"]


@virtual_time
async def test_without_the_bus_nothing_is_sent() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        w.replicas[0].bus.cut()
        w.replicas[1].bus.cut()
        for replica in w.replicas:
            assert outcome(await replica.engine.router.execute(ping(ID), 5)) == "BUS_UNAVAILABLE"
            assert outcome(await replica.engine.router.send(ping(ID))) == "BUS_UNAVAILABLE"
        await asyncio.sleep(30)
        assert client.commands == []
        assert not client.task.done()


@virtual_time
async def test_a_gateway_that_hears_nothing_any_more_says_so_also_for_clients_elsewhere() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        caller = w.replicas[1]
        caller.bus.blackhole()
        await asyncio.sleep(5)
        started = now()
        assert outcome(await caller.engine.router.execute(ping(ID), 60)) == "BUS_UNAVAILABLE"
        assert outcome(await caller.engine.router.send(ping(ID))) == "BUS_UNAVAILABLE"
        assert now() - started < 4
        caller.bus.heal()
        await asyncio.sleep(30)
        assert client.commands == [], "nothing was sent, as was said"


@EVERYWHERE
@virtual_time
async def test_a_client_that_does_not_read_is_overloaded_at_last(at: int) -> None:
    async with world(2, outbox_messages=4) as w:
        client = await connect(w.replicas[0])
        client.transport.reading.clear()
        answers: list[str] = []
        for number in range(8):
            answers.append(outcome(await w.replicas[at].engine.router.send(ping(ID, f"c{number}"))))
            await asyncio.sleep(0.01)
        # One is being written.
        assert answers == ["queued"] * 5 + ["CLIENT_OVERLOADED"] * 3
        assert outcome(await w.replicas[at].engine.router.execute(ping(ID), 5)) == "CLIENT_OVERLOADED"


@EVERYWHERE
@virtual_time
async def test_half_closed(at: int) -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        client.transport.send(None)
        await until(lambda: client.session is not None and client.session.half_closed)
        router = w.replicas[at].engine.router
        assert outcome(await router.execute(ping(ID), 5)) == "CLIENT_NOT_CONNECTED"
        assert outcome(await router.send(ping(ID, "c2"))) == "queued"
        await until(lambda: client.commands == ["c2"])


@virtual_time
async def test_what_is_no_request_is_survived() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        subject = Subjects(NAMESPACE).client(ID)
        await w.bus.publish(subject, HolderRequest().SerializeToString(), "answers")
        await w.bus.publish(subject, b"\xba\x3e\x05hello", "answers")
        assert outcome(await w.replicas[1].engine.router.execute(ping(ID), 5)) == "ok"
        assert client.commands == ["c1"]


@pytest.mark.parametrize("seed", range(30))
@virtual_time
async def test_over_a_bad_network_every_caller_gets_one_answer_and_no_command_comes_twice(seed: int) -> None:
    dice = random.Random(seed)
    async with world(3) as w:
        client = await connect(w.replicas[0])
        for replica in w.replicas:
            replica.bus.delay(lambda: dice.choice((0.0, 0.001, 0.02, 0.2)))
            replica.bus.loses = lambda _subject, _data: dice.random() < 0.1
        calls: list[asyncio.Task[object]] = []
        for number in range(60):
            replica = dice.choice(w.replicas)
            calls.append(asyncio.create_task(replica.engine.router.execute(ping(ID, f"c{number}"), 4)))
            if dice.random() < 0.2:
                dice.choice(calls).cancel()
            await asyncio.sleep(dice.choice((0.0, 0.001, 0.05)))
        done, pending = await asyncio.wait(calls, timeout=10)
        assert not pending
        allowed = {"ok", "COMMAND_TIMEOUT", "CLIENT_DISCONNECTED", "CLIENT_NOT_CONNECTED", "BUS_UNAVAILABLE"}
        assert {outcome(call.result()) for call in done if not call.cancelled()} <= allowed  # pyright: ignore[reportArgumentType]
        assert len(client.commands) == len(set(client.commands))
        await asyncio.sleep(5)
        assert metric("gateway_ack_waits") == 0
