"""How long sessions are trusted without word from the bus; whose silence ends one; who is said to be connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.engine_world import NAMESPACE, WorldClient, until, world
from support.virtual_time import virtual_time

from crypto_streaming import pb
from service_kit.bus import Subjects
from service_kit.frames import PresenceSnapshot
from stream_gateway.engine import liveness
from stream_gateway.engine.lease import Lease
from stream_gateway.engine.memory import MemoryBus
from stream_gateway.engine.seams import BusMessage, BusUnavailable
from stream_gateway.engine.session import EndStatus

SECONDS = 3.0


class HandClock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def now_us(self) -> int:
        return int(self.now * 1e6)

    def monotonic(self) -> float:
        return self.now


class AnsweringBus(MemoryBus):
    """A bus whose round trips last as long as the test wants."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self.clock = clock
        self.takes = 0.0
        self.answers = True
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def round_trip(self, timeout: float) -> None:  # noqa: ASYNC109  (the seam's)
        self.asked += 1
        await asyncio.sleep(0)
        self.clock.now += self.takes
        self.meanwhile()
        if not self.answers or self.takes > timeout:
            raise BusUnavailable("no answer")


class Bench:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.bus = AnsweringBus(self.clock)
        self.renewals = 0
        self.lease = Lease(self.bus, self.clock, SECONDS, self.renewed)

    def renewed(self) -> None:
        self.renewals += 1


@virtual_time
async def test_trust_begins_with_contact_and_ends_with_silence() -> None:
    bench = Bench()
    assert not bench.lease.valid
    assert await bench.lease.ensure()
    assert (bench.lease.valid, bench.lease.generation, bench.renewals) == (True, 1, 1)
    bench.clock.now += SECONDS - 0.01
    assert bench.lease.valid
    bench.clock.now += 0.01
    assert not bench.lease.valid


@virtual_time
async def test_contact_in_time_is_no_new_generation() -> None:
    bench = Bench()
    await bench.lease.ensure()
    for _ in range(10):
        bench.clock.now += SECONDS * 0.9
        await bench.lease._renew()
    assert (bench.lease.valid, bench.lease.generation, bench.renewals) == (True, 1, 1)


@virtual_time
async def test_contact_after_silence_is_a_new_generation() -> None:
    bench = Bench()
    await bench.lease.ensure()
    bench.clock.now += SECONDS
    assert await bench.lease.ensure()
    assert (bench.lease.generation, bench.renewals) == (2, 2)


@virtual_time
async def test_the_time_counts_from_the_question_not_from_the_answer() -> None:
    bench = Bench()
    bench.bus.takes = 1.2
    assert await bench.lease.ensure()
    bench.clock.now += SECONDS - 1.2
    assert not bench.lease.valid


@virtual_time
async def test_no_answer_is_no_contact() -> None:
    bench = Bench()
    await bench.lease.ensure()
    bench.bus.answers = False
    bench.clock.now += SECONDS - 1
    await bench.lease._renew()
    assert bench.lease.valid, "silence of less than the lease is none"
    bench.clock.now += 1
    assert not await bench.lease.ensure()
    assert (bench.lease.valid, bench.renewals) == (False, 1)


@virtual_time
async def test_a_lost_connection_ends_trust_at_once_and_for_sessions_of_before() -> None:
    bench = Bench()
    await bench.lease.ensure()
    bench.lease.lapse()
    assert not bench.lease.valid
    assert await bench.lease.ensure()
    assert bench.lease.generation == 2
    bench.bus.connected = False
    assert not bench.lease.valid


@virtual_time
async def test_a_connection_lost_while_asking_is_not_forgotten() -> None:
    bench = Bench()
    await bench.lease.ensure()
    bench.bus.meanwhile = bench.lease.lapse
    await bench.lease._renew()
    assert bench.lease.generation == 2


@virtual_time
async def test_who_asks_at_the_same_time_shares_the_answer() -> None:
    bench = Bench()
    assert await asyncio.gather(*(bench.lease.ensure() for _ in range(50))) == [True] * 50
    assert bench.bus.asked == 1


@virtual_time
async def test_one_who_does_not_wait_for_the_answer_takes_it_from_nobody() -> None:
    bench = Bench()
    impatient = asyncio.create_task(bench.lease.ensure())
    patient = asyncio.create_task(bench.lease.ensure())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient


# Liveness


@virtual_time
async def test_who_is_silent_is_ended_and_any_message_counts() -> None:
    async with world() as w:
        (replica,) = w.replicas
        clients = [WorldClient(replica.engine, name, obeys=False) for name in ("silent", "beats", "reports", "bad")]
        silent, beats, reports, bad = clients
        await until(lambda: len(replica.engine.table) == 4)
        for _ in range(4):
            await asyncio.sleep(30)
            beats.say(heartbeat=pb.HeartbeatUpdate())
            reports.say("m", log=pb.LogEntry())
            bad.transport.send(b"\xff")
        end = await asyncio.wait_for(silent.ended(), 1)
        assert (end.status, end.reason) == (EndStatus.DEADLINE_EXCEEDED, "silent")
        assert [client.task.done() for client in clients] == [True, False, False, False]
        await asyncio.sleep(100)
        assert len(replica.engine.table) == 0


@virtual_time
async def test_a_silent_client_has_its_whole_time_and_little_more() -> None:
    async with world(limits={"liveness_seconds": 90.0}) as w:
        client = WorldClient(w.replicas[0].engine, "c")
        await client.ended()
        assert 90 <= asyncio.get_running_loop().time() <= 90 + 5.1


@virtual_time
async def test_snapshots_name_everybody_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "SNAPSHOT_SESSIONS", 10)
    async with world() as w:
        (replica,) = w.replicas
        messages: list[BusMessage] = []
        await w.bus.subscribe(Subjects(NAMESPACE).presence, messages.append)
        clients = [WorldClient(replica.engine, f"c{number}") for number in range(25)]
        await until(lambda: all(client.session for client in clients))
        await asyncio.sleep(5)
        clients[0].say(heartbeat=pb.HeartbeatUpdate())
        clients[1].vanish()
        await until(lambda: len(messages) == 3)
        snapshots = [PresenceSnapshot.FromString(message.data) for message in messages]
        assert {snapshot.gateway_id for snapshot in snapshots} == {"gateway-1"}
        seen = {each.client_id: each for snapshot in snapshots for each in snapshot.sessions}
        assert set(seen) == {f"c{number}" for number in range(25)} - {"c1"}
        assert seen["c0"].last_seen_us - seen["c2"].last_seen_us == pytest.approx(5e6, abs=1e5)
        session = clients[2].session
        assert session is not None
        assert seen["c2"].epoch == session.epoch


@virtual_time
async def test_snapshots_go_on_after_an_outage() -> None:
    async with world() as w:
        (replica,) = w.replicas
        messages: list[BusMessage] = []
        await w.bus.subscribe(Subjects(NAMESPACE).presence, messages.append)
        client = WorldClient(replica.engine, "c")
        await until(lambda: client.session is not None)
        replica.bus.cut()
        await asyncio.sleep(25)
        assert messages == []
        replica.bus.heal()
        await until(lambda: messages, 11)
