"""Leaving in order, within the window, whatever the clients do."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from support.engine_world import WorldClient, outcome, ping, until, world
from support.virtual_time import virtual_time

from crypto_streaming import pb
from stream_gateway.engine.drain import ASKED_BY, CLOSED_BY
from stream_gateway.engine.seams import BusUnavailable
from stream_gateway.engine.session import EndStatus

RECONNECT = (pb.CLIENT_CAPABILITY_RECONNECT,)
WINDOW = 20.0


def now() -> float:
    return asyncio.get_running_loop().time()


def asked(client: WorldClient) -> bool:
    return any(each.HasField("reconnect") for each in client.transport.received)


class Crowd:
    """Clients of one replica, which note when they were asked and when they were closed."""

    def __init__(self, engine: Any, names: list[str], **options: Any) -> None:
        self.clients = [WorldClient(engine, name, **options) for name in names]
        self.ended_at: dict[str, float] = {}
        for client in self.clients:
            client.task.add_done_callback(lambda _task, client=client: self.ended_at.update({client.client_id: now()}))

    async def connected(self) -> None:
        await until(lambda: all(client.session for client in self.clients))


@virtual_time
async def test_an_empty_gateway_is_drained_at_once() -> None:
    async with world() as w:
        await w.replicas[0].engine.drain.run(WINDOW)
        assert now() < 0.1


@virtual_time
async def test_new_streams_are_refused() -> None:
    async with world() as w:
        engine = w.replicas[0].engine
        await engine.drain.run(WINDOW)
        client = WorldClient(engine, "late")
        assert (await client.ended()).status is EndStatus.UNAVAILABLE


@virtual_time
async def test_those_without_the_capability_are_closed_one_after_the_other() -> None:
    async with world() as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, [f"c{number}" for number in range(10)])
        await crowd.connected()
        started = now()
        await engine.drain.run(WINDOW)
        assert {(await client.ended()).status for client in crowd.clients} == {EndStatus.UNAVAILABLE}
        times = sorted(crowd.ended_at.values())
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(gaps) == pytest.approx(WINDOW * ASKED_BY / 10, abs=0.1)
        assert min(gaps) == pytest.approx(WINDOW * ASKED_BY / 10, abs=0.1)
        assert times[-1] - started < WINDOW * ASKED_BY
        assert not any(asked(client) for client in crowd.clients)


@virtual_time
async def test_those_with_the_capability_are_asked_and_leave_by_themselves() -> None:
    async with world(2) as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, [f"c{number}" for number in range(10)], capabilities=RECONNECT)
        await crowd.connected()

        async def obey(client: WorldClient) -> float:
            await until(lambda: asked(client))
            when = now()
            delay = client.transport.received[-1].reconnect.delay.ToMilliseconds()
            assert 0 <= delay <= 1000
            await asyncio.sleep(delay / 1000)
            WorldClient(w.replicas[1].engine, client.client_id)
            return when

        obeying = [asyncio.create_task(obey(client)) for client in crowd.clients]
        started = now()
        await engine.drain.run(WINDOW)
        times = sorted([await task for task in obeying])
        assert times[-1] - times[0] > WINDOW * ASKED_BY * 0.8, "spread over the window"
        assert now() - started < WINDOW * ASKED_BY + 2, "and over when the last one has left"
        # Moved, not lost: the other replica took them over.
        assert {(await client.ended()).status for client in crowd.clients} == {EndStatus.ABORTED}
        assert len(w.replicas[1].engine.table) == 10


@virtual_time
async def test_those_that_do_not_do_as_asked_are_closed_before_the_window_is_over() -> None:
    async with world() as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, ["stubborn"], capabilities=RECONNECT)
        await crowd.connected()
        started = now()
        await engine.drain.run(WINDOW)
        assert (await crowd.clients[0].ended()).status is EndStatus.UNAVAILABLE
        assert crowd.ended_at["stubborn"] - started == pytest.approx(WINDOW * CLOSED_BY, abs=0.2)


@virtual_time
async def test_a_waiting_command_may_finish() -> None:
    async with world(2) as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, ["busy", "idle"], obeys=False)
        await crowd.connected()
        busy = crowd.clients[0]
        call = asyncio.create_task(w.replicas[1].engine.router.execute(ping("busy"), 60))
        await until(lambda: busy.commands)
        draining = asyncio.create_task(engine.drain.run(WINDOW))
        await asyncio.sleep(WINDOW * ASKED_BY + 1)
        assert crowd.clients[1].task.done()
        assert not busy.task.done()
        busy.ack("c1")
        assert outcome(await call) == "ok"
        await asyncio.wait_for(draining, 1)
        assert (await busy.ended()).status is EndStatus.UNAVAILABLE


@virtual_time
async def test_a_command_that_does_not_finish_does_not_hold_up_the_end() -> None:
    async with world(2) as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, ["busy"], obeys=False)
        await crowd.connected()
        call = asyncio.create_task(w.replicas[1].engine.router.execute(ping("busy"), 60))
        await until(lambda: crowd.clients[0].commands)
        started = now()
        await engine.drain.run(WINDOW)
        assert outcome(await call) == "CLIENT_DISCONNECTED"
        assert now() - started < WINDOW


@virtual_time
async def test_what_was_said_is_in_the_log_when_the_drain_is_over() -> None:
    async with world() as w:
        (replica,) = w.replicas
        crowd = Crowd(replica.engine, ["c1", "c2"])
        await crowd.connected()
        replica.sink.fault = BusUnavailable
        for client in crowd.clients:
            client.say("m", log=pb.LogEntry(message="last words"))
        draining = asyncio.create_task(replica.engine.drain.run(WINDOW))
        await asyncio.sleep(WINDOW * 0.9)
        assert not draining.done()
        replica.sink.fault = None
        await draining
        ends = [entry.closed.reason for entry in replica.sink.entries if entry.HasField("closed")]
        assert ends == ["draining", "draining"]
        said = [pb.ClientMessage.FromString(entry.report).log.message for entry in replica.sink.entries if entry.report]
        assert said.count("last words") == 2


@virtual_time
async def test_a_log_that_takes_nothing_does_not_hold_up_the_end() -> None:
    async with world() as w:
        (replica,) = w.replicas
        crowd = Crowd(replica.engine, ["c"])
        await crowd.connected()
        replica.sink.fault = BusUnavailable
        started = now()
        await replica.engine.drain.run(WINDOW)
        assert now() - started == pytest.approx(WINDOW, abs=0.1)


@virtual_time
async def test_a_client_that_does_not_read_does_not_hold_up_the_end() -> None:
    async with world() as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, ["deaf"], capabilities=RECONNECT)
        await crowd.connected()
        crowd.clients[0].transport.reading.clear()
        await engine.router.send(ping("deaf"))
        started = now()
        await engine.drain.run(WINDOW)
        assert len(engine.table) == 0
        assert now() - started < WINDOW


@virtual_time
async def test_a_window_of_nothing_closes_everybody_at_once() -> None:
    async with world() as w:
        engine = w.replicas[0].engine
        crowd = Crowd(engine, ["c1", "c2"])
        await crowd.connected()
        await engine.drain.run(0)
        await until(lambda: len(crowd.ended_at) == 2, 1)
