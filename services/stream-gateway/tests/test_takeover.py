"""The newest stream of a client wins, on whichever replica, whatever the network does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.engine_world import NAMESPACE, Replica, World, WorldClient, metric, outcome, ping, until, world
from support.virtual_time import VirtualTimeLoop, virtual_time

from service_kit.bus import Subjects
from stream_gateway._proto.bus_pb2 import HolderReply, HolderRequest
from stream_gateway.engine.seams import BusMessage, BusUnavailable
from stream_gateway.engine.session import EndStatus

ID = "c"


def takeovers(kind: str) -> float:
    return metric("gateway_takeovers_total", old_holder=kind)


async def connect(replica: Replica, client_id: str = ID) -> WorldClient:
    client = WorldClient(replica.engine, client_id)
    await until(lambda: client.session is not None and client.session.ready)
    return client


@virtual_time
async def test_the_newest_stream_on_one_replica_wins() -> None:
    async with world() as w:
        before = takeovers("local"), takeovers("remote")
        old = await connect(w.replicas[0])
        new = WorldClient(w.replicas[0].engine, ID)
        end = await old.ended()
        assert (end.status, end.reason) == (EndStatus.ABORTED, "superseded")
        await until(lambda: new.session is not None)
        assert outcome(await w.replicas[0].engine.router.execute(ping(ID), 5)) == "ok"
        assert (old.commands, new.commands) == ([], ["c1"])
        assert (takeovers("local"), takeovers("remote")) == (before[0] + 1, before[1])


@virtual_time
async def test_the_newest_stream_on_another_replica_wins() -> None:
    async with world(2) as w:
        before = takeovers("remote")
        old = await connect(w.replicas[0])
        new = await connect(w.replicas[1])
        assert asyncio.get_running_loop().time() < 1, "the old holder left when it was asked"
        assert (await old.ended()).status is EndStatus.ABORTED
        for replica in w.replicas:
            assert outcome(await replica.engine.router.execute(ping(ID), 5)) == "ok"
        assert (old.commands, new.commands) == ([], ["c1", "c1"])
        assert takeovers("remote") == before + 1


@virtual_time
async def test_who_waits_at_the_old_stream_learns_that_it_ended() -> None:
    async with world(2) as w:
        old = WorldClient(w.replicas[0].engine, ID, obeys=False)
        await until(lambda: old.session is not None)
        waiting = asyncio.create_task(w.replicas[1].engine.router.execute(ping(ID), 60))
        await until(lambda: old.commands)
        await connect(w.replicas[1])
        assert outcome(await waiting) == "CLIENT_DISCONNECTED"
        assert asyncio.get_running_loop().time() < 1


@virtual_time
async def test_an_ack_and_an_end_of_the_old_stream_change_nothing_for_the_new_one() -> None:
    async with world(2) as w:
        old = await connect(w.replicas[0])
        new = WorldClient(w.replicas[1].engine, ID, obeys=False)
        await until(lambda: new.session is not None)
        waiting = asyncio.create_task(w.replicas[0].engine.router.execute(ping(ID), 2))
        await until(lambda: new.commands)
        old.ack("c1")
        old.vanish()
        assert outcome(await waiting) == "COMMAND_TIMEOUT"
        assert new.session is not None


@virtual_time
async def test_a_client_that_comes_back_at_once_does_not_wait_for_its_own_old_stream() -> None:
    """Leaving and being asked to leave cross each other: the question must still be answered."""
    for back in (0, 1):
        async with world(2) as w:
            for replica in w.replicas:
                replica.bus.delay(lambda: 0.001)
            for step in range(12):
                old = await connect(w.replicas[0])
                new = WorldClient(w.replicas[back].engine, ID)
                await asyncio.sleep(step * 0.0005)
                old.vanish()
                started = asyncio.get_running_loop().time()
                await until(lambda new=new: new.session is not None)
                assert asyncio.get_running_loop().time() - started < 0.1
                new.vanish()
                await asyncio.wait({old.task, new.task})


@virtual_time
async def test_an_old_holder_that_does_not_answer_has_stopped_believing_when_the_new_one_begins() -> None:
    async with world(2) as w:
        stale, fresh = w.replicas
        old = await connect(stale)
        before = takeovers("unresponsive")
        stale.bus.blackhole()
        new = WorldClient(fresh.engine, ID)
        both = False

        def check() -> None:
            nonlocal both
            both = both or all(replica.believer(ID) is not None for replica in w.replicas)

        await watched(check, until(lambda: new.session is not None))
        assert not both
        assert takeovers("unresponsive") == before + 1
        # Callers at the cut-off gateway do not reach the stale stream either.
        assert outcome(await stale.engine.router.execute(ping(ID), 5)) == "BUS_UNAVAILABLE"
        assert outcome(await stale.engine.router.send(ping(ID))) == "BUS_UNAVAILABLE"
        assert old.commands == []
        assert not old.task.done(), "streams stay while the bus is away"
        stale.bus.heal()
        assert (await old.ended()).status is EndStatus.ABORTED
        assert outcome(await stale.engine.router.execute(ping(ID), 5)) == "ok"
        assert new.commands == ["c1"]


@virtual_time
async def test_after_a_cut_every_stale_session_is_found() -> None:
    async with world(2) as w:
        stale, fresh = w.replicas
        old = [await connect(stale, f"c{number}") for number in range(5)]
        stale.bus.cut()
        assert stale.believer("c0") is None, "trust ends when the connection does"
        new = [await connect(fresh, f"c{number}") for number in range(0, 5, 2)]
        stale.bus.heal()
        await until(lambda: [client.task.done() for client in old] == [True, False, True, False, True])
        assert all(client.session is not None for client in new)
        for number in range(5):
            assert outcome(await stale.engine.router.execute(ping(f"c{number}"), 5)) == "ok"


@virtual_time
async def test_stale_sessions_are_found_also_when_the_directory_comes_back_later_than_the_bus() -> None:
    async with world(2) as w:
        stale, fresh = w.replicas
        old = await connect(stale)
        stale.bus.cut()
        await connect(fresh)
        stale.directory.available = False
        stale.bus.heal()
        await until(lambda: stale.engine.lease.valid)
        await asyncio.sleep(2)
        assert not old.task.done()
        stale.directory.available = True
        assert (await asyncio.wait_for(old.ended(), 10)).status is EndStatus.ABORTED


@virtual_time
async def test_opening_without_the_bus_is_refused_and_leaves_nothing() -> None:
    async with world() as w:
        (replica,) = w.replicas
        replica.bus.cut()
        client = WorldClient(replica.engine, ID)
        end = await client.ended()
        assert (end.status, end.reason) == (EndStatus.UNAVAILABLE, "bus")
        assert len(replica.engine.table) == 0


@virtual_time
async def test_a_command_that_comes_while_the_session_opens_and_fails_is_not_left_waiting() -> None:
    async with world(2) as w:
        opening, caller = w.replicas
        waits = metric("gateway_ack_waits")

        async def fails(token: str) -> int:
            answers.append(asyncio.create_task(caller.engine.router.execute(ping(ID), 30)))
            (session,) = opening.engine.table.all()
            opening.directory.current_epoch = really
            await until(lambda: session.waiting)
            raise BusUnavailable("now")

        answers: list[asyncio.Task[object]] = []
        really = opening.directory.current_epoch
        opening.directory.current_epoch = fails
        client = WorldClient(opening.engine, ID)
        assert (await client.ended()).status is EndStatus.UNAVAILABLE
        await asyncio.wait_for(answers[0], 2)
        assert metric("gateway_ack_waits") == waits


@virtual_time
async def test_a_look_at_the_directory_before_listening_does_not_count() -> None:
    """While a session waits for an old holder that does not answer, the lease lapses and all sessions are rechecked.

    A newer session that opens elsewhere right after that look can not find the first one by asking, because it does
    not listen yet: the first has to look again.
    """
    async with world(3) as w:
        first, second, deaf = w.replicas
        await connect(deaf)
        deaf.bus.blackhole()
        one = WorldClient(first.engine, ID)
        await until(lambda: len(first.engine.table) == 1)
        first.engine.lease.lapse()
        assert await first.engine.lease.ensure()
        await asyncio.sleep(0.1)
        two = WorldClient(second.engine, ID)
        # Nobody answers the second one either, but it is told so sooner: its question finds nobody.
        await until(lambda: two.session is not None)
        assert (await one.ended()).status is EndStatus.ABORTED
        assert first.believer(ID) is None


@virtual_time
async def test_a_holder_refuses_to_leave_for_an_older_session() -> None:
    async with world(2) as w:
        client = await connect(w.replicas[0])
        session = client.session
        assert session is not None
        replies: list[BusMessage] = []
        await w.bus.subscribe("answers", replies.append)
        request = HolderRequest()
        request.evict.epoch = session.epoch
        await w.bus.publish(Subjects(NAMESPACE).client(ID), request.SerializeToString(), "answers")
        await until(lambda: replies)
        assert HolderReply.FromString(replies[0].data).HasField("stale")
        assert client.session is session


# Many orders of events


async def watched(check: Callable[[], None], work: Coroutine[Any, Any, None]) -> None:
    """Run `work` with `check` before each step of the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.steps.on_step = check
    try:
        await work
    finally:
        loop.steps.on_step = lambda: None


class Chaos:
    """One client identity that connects all over the place while the network fails; the same for the same seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.clients: list[WorldClient] = []
        self.commands: list[asyncio.Task[object]] = []
        self.violations: list[list[int]] = []
        for replica in world.replicas:
            replica.bus.delay(lambda: self.dice.choice((0.0, 0.0005, 0.002, 0.02)))

    def check(self) -> None:
        believers = [each for replica in self.world.replicas if (each := replica.believer(ID)) is not None]
        if len(believers) > 1:
            self.violations.append([each.epoch for each in believers])

    async def play(self) -> None:
        for number in range(40):
            replica = self.dice.choice(self.world.replicas)
            match self.dice.randrange(8):
                case 0 | 1 | 2:
                    self.clients.append(WorldClient(replica.engine, ID))
                case 3 if self.clients:
                    self.dice.choice(self.clients).vanish()
                case 4:
                    self.commands.append(asyncio.create_task(replica.engine.router.send(ping(ID, f"s{number}"))))
                case 5:
                    self.commands.append(asyncio.create_task(replica.engine.router.execute(ping(ID, f"e{number}"), 3)))
                case 6:
                    self.hurt(replica)
                case _:
                    self.heal()
            await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.001, 0.005, 0.3, 2.0)))

    def hurt(self, replica: Replica) -> None:
        if self.dice.random() < 0.5:
            replica.bus.blackhole()
        elif replica.bus.connected:
            replica.bus.cut()

    def heal(self) -> None:
        for replica in self.world.replicas:
            replica.bus.heal()

    async def settle(self) -> None:
        self.heal()
        # What was held up on the way may still claim the client.
        await asyncio.sleep(15)
        self.clients.append(await connect(self.world.replicas[0]))
        await asyncio.sleep(10)


@pytest.mark.parametrize("seed", range(60))
@virtual_time
async def test_there_are_never_two_believers(seed: int) -> None:
    async with world(3) as w:
        chaos = Chaos(w, seed)
        await watched(chaos.check, chaos.play())
        await watched(chaos.check, chaos.settle())
        await asyncio.gather(*chaos.commands)
        assert chaos.violations == []
        # The last one is left, and everybody finds it.
        assert [client.task.done() for client in chaos.clients] == [True] * (len(chaos.clients) - 1) + [False]
        assert [len(replica.engine.table) for replica in w.replicas] == [1, 0, 0]
        for replica in w.replicas:
            assert outcome(await replica.engine.router.execute(ping(ID, "last"), 5)) == "ok"
        # No command came twice, on whichever stream.
        obeyed = [command for client in chaos.clients for command in client.commands if command != "last"]
        assert len(obeyed) == len(set(obeyed))


@pytest.mark.parametrize("seed", range(40))
@virtual_time
async def test_of_streams_that_open_at_the_same_time_one_is_left(seed: int) -> None:
    dice = random.Random(seed)
    async with world(3) as w:
        for replica in w.replicas:
            replica.bus.delay(lambda: dice.choice((0.0, 0.001, 0.01)))
        clients: list[WorldClient] = []
        for _ in range(dice.randrange(2, 6)):
            clients.append(WorldClient(dice.choice(w.replicas).engine, ID))
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.001, 0.01)))
        await until(lambda: sum(not client.task.done() for client in clients) == 1)
        await until(lambda: any(replica.believer(ID) for replica in w.replicas))
        for client in clients:
            if client.task.done():
                assert (await client.ended()).status is EndStatus.ABORTED
        assert outcome(await w.replicas[0].engine.router.execute(ping(ID), 5)) == "ok"
        assert sum(len(replica.engine.table) for replica in w.replicas) == 1
