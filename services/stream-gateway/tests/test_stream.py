"""One client's stream from its first message to its end, without gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.engine_world import Replica, WorldClient, metric, outcome, ping, until, world
from support.virtual_time import virtual_time

from crypto_streaming import pb
from stream_gateway.engine.seams import SinkFull
from stream_gateway.engine.session import EndStatus
from stream_gateway.engine.stream import STUCK_WRITE_SECONDS

ID = "c"
RECEIPTS = (pb.CLIENT_CAPABILITY_RECEIPTS,)
BOTH = (pb.CLIENT_CAPABILITY_RECEIPTS, pb.CLIENT_CAPABILITY_RECONNECT)


def log(text: str = "") -> dict[str, Any]:
    return {"log": pb.LogEntry(message=text)}


async def connect(replica: Replica, client_id: str = ID, **options: Any) -> WorldClient:
    client = WorldClient(replica.engine, client_id, **options)
    await until(lambda: client.session is not None)
    return client


def bodies(replica: Replica) -> list[str]:
    return [str(entry.WhichOneof("body")) for entry in replica.sink.entries]


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xff",
        pb.ClientMessage(**log()).SerializeToString(),
        pb.ClientMessage(client_id="a b").SerializeToString(),
    ],
)
@virtual_time
async def test_a_stream_that_does_not_say_whose_it_is_leaves_nothing(first: bytes) -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = WorldClient(replica.engine, ID, first=first)
        end = await client.ended()
        assert end.status is EndStatus.INVALID_ARGUMENT
        await replica.engine.writer.flush()
        assert (len(replica.engine.table), replica.sink.entries) == (0, [])


@virtual_time
async def test_a_stream_that_says_nothing_is_ended() -> None:
    async with world() as w:
        client = WorldClient(w.replicas[0].engine, ID)
        client.transport._sent.get_nowait()
        end = await client.ended()
        assert (end.status, end.reason) == (EndStatus.DEADLINE_EXCEEDED, "unregistered")
        assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.1)


@virtual_time
async def test_the_log_begins_with_opened_and_ends_with_closed() -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = await connect(replica)
        client.say("m1", **log())
        client.say(goodbye=pb.ClientGoodbye())
        assert (await client.ended()).status is EndStatus.OK
        await replica.engine.writer.flush()
        assert bodies(replica) == ["opened", "report", "report", "closed"]
        assert replica.sink.entries[-1].closed.reason == "goodbye"
        assert metric("gateway_streams_open") == 0


@virtual_time
async def test_a_lost_connection_is_cleaned_up() -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = await connect(replica)
        client.vanish()
        with pytest.raises(asyncio.CancelledError):
            await client.ended()
        await replica.engine.writer.flush()
        assert len(replica.engine.table) == 0
        assert replica.sink.entries[-1].closed.reason == "disconnected"
        await asyncio.sleep(1)
        assert list(w.bus._handlers) == [f"_INBOX.{1}.*", "test.gateway.gateway-1.calls"]


@virtual_time
async def test_a_failure_of_our_own_ends_the_one_stream_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        (replica,) = w.replicas
        client, other = await connect(replica), await connect(replica, "other")

        def fails(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(replica.engine.writer, "report", fails)
            client.say("m1", **log())
            assert (await client.ended()).status is EndStatus.UNAVAILABLE
        assert not other.task.done()
        assert outcome(await replica.engine.router.execute(ping("other"), 5)) == "ok"


@virtual_time
async def test_a_second_client_id_ends_the_stream_and_is_not_logged() -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = await connect(replica)
        client.transport.send(pb.ClientMessage(client_id="other", **log()).SerializeToString())
        assert (await client.ended()).status is EndStatus.INVALID_ARGUMENT
        await replica.engine.writer.flush()
        assert bodies(replica) == ["opened", "report", "closed"]


@virtual_time
async def test_who_announces_nothing_is_sent_nothing_but_commands() -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = await connect(replica)
        for number in range(50):
            client.say(f"m{number}", **log())
        await replica.engine.writer.flush()
        await replica.engine.router.execute(ping(ID), 5)
        assert [each.WhichOneof("command") for each in client.transport.received] == ["ping"]


@virtual_time
async def test_welcome_comes_first_and_receipts_follow_the_log() -> None:
    async with world() as w:
        (replica,) = w.replicas
        replica.sink.gate.clear()
        client = await connect(replica, capabilities=RECEIPTS)
        await until(lambda: client.welcomed)
        for message_id in ("m1", "", "m2"):
            client.say(message_id, **log())
        await asyncio.sleep(5)
        assert client.receipts == []
        replica.sink.gate.set()
        await until(lambda: client.receipts == ["m1", "m2"])
        assert client.transport.received[0].HasField("welcome")


@virtual_time
async def test_the_window_is_kept_and_acks_are_not_in_it() -> None:
    async with world(limits={"window_messages": 3}) as w:
        (replica,) = w.replicas
        client = await connect(replica, capabilities=RECEIPTS, obeys=False)
        await until(lambda: client.welcomed)
        replica.sink.fault = SinkFull
        for number in range(3):
            client.say(f"m{number}", **log())
        for number in range(10):
            call = asyncio.create_task(replica.engine.router.execute(ping(ID, f"c{number}"), 5))
            await until(lambda number=number: len(client.commands) == number + 1)
            client.ack(f"c{number}")
            client.say(heartbeat=pb.HeartbeatUpdate())
            assert outcome(await call) == "ok", "its stream is always read"
        assert not client.task.done()
        client.say("m3", **log())
        end = await client.ended()
        assert (end.status, end.reason) == (EndStatus.RESOURCE_EXHAUSTED, "window")


@virtual_time
async def test_the_window_is_kept_in_bytes_too() -> None:
    async with world(limits={"window_bytes": 1000}) as w:
        (replica,) = w.replicas
        client = await connect(replica, capabilities=RECEIPTS)
        await until(lambda: client.welcomed)
        replica.sink.fault = SinkFull
        client.say("m0", **log("x" * 600))
        await asyncio.sleep(0.1)
        assert not client.task.done()
        client.say("m1", **log("x" * 600))
        assert (await client.ended()).status is EndStatus.RESOURCE_EXHAUSTED


@virtual_time
async def test_without_receipts_reading_pauses_and_with_it_the_clock_and_then_everything_arrives() -> None:
    async with world(limits={"stream_budget_bytes": 10_000, "liveness_seconds": 20.0}) as w:
        (replica,) = w.replicas
        client, other = await connect(replica), await connect(replica, "other", capabilities=RECEIPTS)
        replica.sink.fault = SinkFull
        for number in range(50):
            client.say(f"m{number}", **log("x" * 1000))
        await until(lambda: metric("gateway_streams_paused") == 1)
        assert client.transport.unread > 35, "nothing grows here"
        for _ in range(10):
            await asyncio.sleep(9)
            other.say(heartbeat=pb.HeartbeatUpdate())
        assert not client.task.done(), "while it is not read from, its silence says nothing"
        assert not other.task.done()
        replica.sink.fault = None
        await until(lambda: client.transport.unread == 0)
        await replica.engine.writer.flush()
        reports = [
            pb.ClientMessage.FromString(e.report) for e in replica.sink.entries if e.client_id == ID and e.report
        ]
        assert sorted(each.message_id for each in reports if each.message_id) == sorted(f"m{n}" for n in range(50))
        assert metric("gateway_streams_paused") == 0
        await asyncio.sleep(19)
        assert not client.task.done(), "its clock began anew"
        await asyncio.sleep(5)
        assert (await client.ended()).reason == "silent"


@virtual_time
async def test_the_budget_of_the_process_pauses_those_without_receipts_first() -> None:
    async with world(process_budget_bytes=20_000) as w:
        (replica,) = w.replicas
        bare, receipted = await connect(replica, "bare"), await connect(replica, "receipted", capabilities=RECEIPTS)
        replica.sink.fault = SinkFull
        for number in range(30):
            receipted.say(f"m{number}", **log("x" * 1000))
        await until(lambda: receipted.transport.unread == 0)
        for number in range(5):
            bare.say(f"m{number}", **log())
        await asyncio.sleep(1)
        assert (bare.transport.unread, receipted.transport.unread) == (4, 0)
        for number in range(30, 60):
            receipted.say(f"m{number}", **log("x" * 1000))
        await asyncio.sleep(1)
        assert receipted.transport.unread > 0, "a bound holds for all"
        replica.sink.fault = None
        await until(lambda: bare.transport.unread + receipted.transport.unread == 0)
        await until(lambda: len(receipted.receipts) == 60)


@virtual_time
async def test_a_paused_stream_can_still_be_superseded_and_lost() -> None:
    async with world(limits={"stream_budget_bytes": 1000}) as w:
        (replica,) = w.replicas
        for leaves in ("superseded", "disconnected"):
            client = await connect(replica)
            replica.sink.fault = SinkFull
            for _ in range(5):
                client.say("m", **log("x" * 1000))
            await until(lambda: metric("gateway_streams_paused") == 1)
            if leaves == "superseded":
                new = await connect(replica)
                assert (await client.ended()).reason == "superseded"
                new.vanish()
            else:
                client.vanish()
            await until(lambda: metric("gateway_streams_paused") == 0)
            replica.sink.fault = None
            await until(lambda: len(replica.engine.table) == 0)


@virtual_time
async def test_a_stuck_write_does_not_hold_up_the_end() -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = await connect(replica)
        client.transport.reading.clear()
        assert outcome(await replica.engine.router.send(ping(ID))) == "queued"
        await asyncio.sleep(0.1)
        started = asyncio.get_running_loop().time()
        new = await connect(replica)
        with pytest.raises(asyncio.CancelledError):
            await client.ended()
        assert asyncio.get_running_loop().time() - started == pytest.approx(STUCK_WRITE_SECONDS, abs=0.1)
        assert new.session is not None


@virtual_time
async def test_a_write_that_succeeds_late_is_not_cut_off() -> None:
    async with world() as w:
        (replica,) = w.replicas
        client = await connect(replica)
        client.transport.reading.clear()
        await replica.engine.router.send(ping(ID))
        await asyncio.sleep(0.1)
        await connect(replica)
        await asyncio.sleep(STUCK_WRITE_SECONDS / 2)
        client.transport.reading.set()
        assert (await client.ended()).status is EndStatus.ABORTED


@virtual_time
async def test_many_come_and_go_and_nothing_is_left() -> None:
    async with world(2) as w:
        for turn in range(5):
            clients = [WorldClient(w.replicas[n % 2].engine, f"c{n // 3}", capabilities=BOTH) for n in range(100)]
            await asyncio.sleep(0.01 * turn)
            for client in clients:
                client.vanish()
            await asyncio.wait([client.task for client in clients])
        await asyncio.sleep(5)
        assert [len(replica.engine.table) for replica in w.replicas] == [0, 0]
        assert not [subject for subject in w.bus._handlers if ".client." in subject]
        for replica in w.replicas:
            await replica.engine.writer.flush()
            assert replica.engine.writer.undurable_bytes == 0
            assert not replica.engine.table._subscriptions
            assert not replica.engine.peers._handlers


@virtual_time
async def test_no_stream_is_opened_while_too_much_is_not_durable() -> None:
    async with world(process_budget_bytes=1000) as w:
        (replica,) = w.replicas
        client = await connect(replica)
        replica.sink.fault = SinkFull
        client.say("m", log=pb.LogEntry(message="x" * 4000))
        await until(lambda: replica.engine.writer.over_budget(2))
        before = replica.engine.writer.undurable_bytes
        for number in range(20):
            end = await WorldClient(replica.engine, f"other-{number}").ended()
            assert (end.status, end.reason) == (EndStatus.UNAVAILABLE, "overloaded")
        assert replica.engine.writer.undurable_bytes == before
        replica.sink.fault = None
        await until(lambda: not replica.engine.writer.over_budget())
        await connect(replica, "other-1")
