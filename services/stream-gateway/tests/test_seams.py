"""What the engine relies on holds for every implementation of its seams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import nats
import pytest
from support.nats import NatsServer
from support.tcp_proxy import TcpProxy
from support.waiting import eventually_async

from service_kit.bus import Subjects
from service_kit.settings import NatsSettings
from stream_gateway.adapters.nats_seams import FrameStream, NatsBus, NatsDirectory
from stream_gateway.engine.memory import MemoryBus, MemoryDirectory, MemorySink
from stream_gateway.engine.seams import Bus, BusMessage, BusUnavailable, FrameSink, SessionDirectory, SinkFull

SMALLEST_LOG = 1024 * 1024


def settings_of(server: NatsServer, namespace: str) -> NatsSettings:
    return NatsSettings(nats_url=server.url, nats_namespace=namespace, frames_max_bytes=SMALLEST_LOG)


@contextlib.asynccontextmanager
async def nats_bus(settings: NatsSettings) -> AsyncGenerator[NatsBus]:
    bus = NatsBus()
    await bus.connect(settings, "test", lambda: None)
    yield bus
    await bus.close()


class Inbox(list[BusMessage]):
    """A handler that keeps what it is given."""

    def __call__(self, message: BusMessage) -> None:
        self.append(message)

    @property
    def data(self) -> list[bytes]:
        return [message.data for message in self]


# The bus


@pytest.fixture(params=["memory", "nats"])
async def buses(
    request: pytest.FixtureRequest, nats_server: NatsServer, nats_namespace: str
) -> AsyncIterator[tuple[Bus, Bus]]:
    """Two processes' ends of one bus."""
    if request.param == "memory":
        bus = MemoryBus()
        yield bus, bus
        return
    settings = settings_of(nats_server, nats_namespace)
    async with nats_bus(settings) as one, nats_bus(settings) as other:
        yield one, other


async def test_a_message_reaches_its_subject_and_no_other(buses: tuple[Bus, Bus], nats_namespace: str) -> None:
    one, other = buses
    right, wrong = Inbox(), Inbox()
    await other.subscribe(f"{nats_namespace}.a", right)
    await other.subscribe(f"{nats_namespace}.b", wrong)
    await other.round_trip(2)
    await one.publish(f"{nats_namespace}.a", b"x", "reply.here")
    one.post(f"{nats_namespace}.a", b"y")
    await eventually_async(lambda: len(right) == 2)
    assert right == [
        BusMessage(f"{nats_namespace}.a", b"x", "reply.here"),
        BusMessage(f"{nats_namespace}.a", b"y"),
    ]
    assert wrong == []


async def test_messages_stay_in_order(buses: tuple[Bus, Bus], nats_namespace: str) -> None:
    one, other = buses
    inbox = Inbox()
    await other.subscribe(f"{nats_namespace}.a", inbox)
    await other.round_trip(2)
    expected = [str(number).encode() for number in range(500)]
    for number, data in enumerate(expected):
        if number % 2:
            one.post(f"{nats_namespace}.a", data)
        else:
            await one.publish(f"{nats_namespace}.a", data)
    await eventually_async(lambda: len(inbox) == 500)
    assert inbox.data == expected


async def test_nobody_listening_is_known_at_once(buses: tuple[Bus, Bus], nats_namespace: str) -> None:
    one, _ = buses
    prefix = one.new_inbox()
    inbox = Inbox()
    await one.subscribe(f"{prefix}.*", inbox)
    await one.publish(f"{nats_namespace}.nobody", b"x", f"{prefix}.1")
    await eventually_async(lambda: inbox, timeout=1)
    assert (inbox[0].subject, inbox[0].no_responders) == (f"{prefix}.1", True)


async def test_an_inbox_hears_all_below_it_and_nothing_of_others(buses: tuple[Bus, Bus]) -> None:
    one, other = buses
    mine, others = one.new_inbox(), other.new_inbox()
    assert mine != others
    inbox = Inbox()
    await one.subscribe(f"{mine}.*", inbox)
    await one.round_trip(2)
    for subject in (f"{mine}.1", f"{mine}.2", f"{others}.1"):
        await other.publish(subject, subject.encode())
    await other.publish(f"{mine}.3", b"last")
    await eventually_async(lambda: b"last" in inbox.data)
    assert inbox.data == [f"{mine}.1".encode(), f"{mine}.2".encode(), b"last"]
    assert not any(message.no_responders for message in inbox)


async def test_an_empty_message_is_not_taken_for_nobody(buses: tuple[Bus, Bus], nats_namespace: str) -> None:
    one, other = buses
    inbox = Inbox()
    await other.subscribe(f"{nats_namespace}.a", inbox)
    await other.round_trip(2)
    await one.publish(f"{nats_namespace}.a", b"")
    await eventually_async(lambda: inbox)
    assert not inbox[0].no_responders


async def test_after_unsubscribing_nobody_listens(buses: tuple[Bus, Bus], nats_namespace: str) -> None:
    one, other = buses
    inbox, answers = Inbox(), Inbox()
    subscription = await other.subscribe(f"{nats_namespace}.a", inbox)
    prefix = one.new_inbox()
    await one.subscribe(f"{prefix}.*", answers)
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    await one.publish(f"{nats_namespace}.a", b"x", f"{prefix}.1")
    await eventually_async(lambda: answers)
    assert answers[0].no_responders
    assert inbox == []


async def test_a_question_that_crosses_the_end_of_a_subscription_is_heard_or_refused(
    buses: tuple[Bus, Bus], nats_namespace: str
) -> None:
    """Never neither: who asked would wait for nothing."""
    one, other = buses
    prefix = one.new_inbox()
    refused, heard = Inbox(), Inbox()
    await one.subscribe(f"{prefix}.*", refused)
    asked = 0
    for _ in range(100):
        subscription = await other.subscribe(f"{nats_namespace}.a", heard)
        await other.round_trip(2)
        ending = asyncio.create_task(subscription.unsubscribe())
        while not ending.done():
            await one.publish(f"{nats_namespace}.a", b"x", f"{prefix}.{asked}")
            asked += 1
            await asyncio.sleep(0)
    await eventually_async(lambda: len(heard) + len(refused) == asked)
    assert heard, "none crossed: this proves nothing"


async def test_a_round_trip_means_that_a_subscription_before_it_stands(
    buses: tuple[Bus, Bus], nats_namespace: str
) -> None:
    one, other = buses
    for number in range(100):
        inbox = Inbox()
        await one.subscribe(f"{nats_namespace}.{number}", inbox)
        await one.round_trip(2)
        other.post(f"{nats_namespace}.{number}", b"x")
        await eventually_async(lambda inbox=inbox: inbox, interval=0.001)


async def test_a_bus_that_was_never_connected_refuses() -> None:
    bus = NatsBus()
    assert not bus.connected
    with pytest.raises(BusUnavailable):
        await bus.publish("a", b"x")
    with pytest.raises(BusUnavailable):
        await bus.subscribe("a", Inbox())
    with pytest.raises(BusUnavailable):
        await bus.round_trip(1)
    bus.post("a", b"x")
    await bus.close()


async def test_a_dead_connection_is_known_refuses_and_is_renewed_with_its_subscriptions(
    nats_server: NatsServer, nats_namespace: str
) -> None:
    settings = settings_of(nats_server, nats_namespace)
    lost: list[bool] = []
    with TcpProxy(nats_server.port) as proxy:
        bus = NatsBus()
        await bus.connect(
            settings.model_copy(update={"nats_url": f"nats://{proxy.address}"}), "test", lambda: lost.append(True)
        )
        async with nats_bus(settings) as other:
            inbox = Inbox()
            await bus.subscribe(f"{nats_namespace}.a", inbox)
            await bus.round_trip(2)
            proxy.cut()
            await eventually_async(lambda: lost and not bus.connected)
            with pytest.raises(BusUnavailable):
                await bus.publish(f"{nats_namespace}.a", b"x")
            with pytest.raises(BusUnavailable):
                await bus.round_trip(1)
            proxy.heal()
            await eventually_async(lambda: bus.connected)
            await bus.round_trip(2)
            await other.publish(f"{nats_namespace}.a", b"y")
            await eventually_async(lambda: inbox.data == [b"y"])
        await bus.close()


async def test_a_connection_that_was_silent_for_a_while_hears_again(
    nats_server: NatsServer, nats_namespace: str
) -> None:
    """A late answer to a round trip that was given up does no harm, and silence is never taken for an answer."""
    settings = settings_of(nats_server, nats_namespace)
    with TcpProxy(nats_server.port) as proxy:
        through = settings.model_copy(update={"nats_url": f"nats://{proxy.address}"})
        async with nats_bus(through) as bus, nats_bus(settings) as other:
            inbox = Inbox()
            await bus.subscribe(f"{nats_namespace}.a", inbox)
            await bus.round_trip(2)
            for number in range(3):
                proxy.blackhole()
                for _ in range(2):
                    with pytest.raises(BusUnavailable):
                        await bus.round_trip(0.05)
                await other.publish(f"{nats_namespace}.a", str(number).encode())
                proxy.heal()
                await eventually_async(lambda number=number: len(inbox) == number + 1, timeout=2)
                await bus.round_trip(2)


# The directory


@pytest.fixture(params=["memory", "nats"])
async def directory(
    request: pytest.FixtureRequest, nats_server: NatsServer, nats_namespace: str
) -> AsyncIterator[SessionDirectory]:
    if request.param == "memory":
        yield MemoryDirectory()
        return
    settings = settings_of(nats_server, nats_namespace)
    async with nats_bus(settings) as bus:
        made = NatsDirectory(bus, settings)
        await made.prepare()
        yield made


async def test_a_claim_is_greater_than_all_before_it(directory: SessionDirectory) -> None:
    assert await directory.current_epoch("a") == 0
    epochs = [await directory.claim(token, "g") for token in ("a", "b", "a", "a", "b")]
    assert epochs == sorted(set(epochs))
    assert epochs[0] > 0
    assert (await directory.current_epoch("a"), await directory.current_epoch("b")) == (epochs[3], epochs[4])


async def test_claims_at_the_same_time_are_all_different(directory: SessionDirectory) -> None:
    epochs = await asyncio.gather(*(directory.claim("a", f"g{number}") for number in range(50)))
    assert len(set(epochs)) == 50
    assert await directory.current_epoch("a") == max(epochs)


async def test_every_client_id_has_a_place_in_the_directory(directory: SessionDirectory) -> None:
    contract_tokens = ("a=2Eb=3Ac=40d", "A-b_c", "x" * 128, "=3A" * 127)
    for token in contract_tokens:
        epoch = await directory.claim(token, "g")
        assert await directory.current_epoch(token) == epoch


async def test_the_directory_says_when_it_can_not_be_asked(nats_server: NatsServer, nats_namespace: str) -> None:
    settings = settings_of(nats_server, nats_namespace)
    with TcpProxy(nats_server.port) as proxy:
        async with nats_bus(settings.model_copy(update={"nats_url": f"nats://{proxy.address}"})) as bus:
            directory = NatsDirectory(bus, settings)
            with pytest.raises(BusUnavailable):
                await directory.claim("a", "g")
            await directory.prepare()
            await directory.prepare()
            first = await directory.claim("a", "g")
            proxy.cut()
            await eventually_async(lambda: not bus.connected)
            with pytest.raises(BusUnavailable):
                await directory.claim("a", "g")
            with pytest.raises(BusUnavailable):
                await directory.current_epoch("a")
            proxy.heal()
            await eventually_async(lambda: bus.connected)
            assert await directory.current_epoch("a") == first


async def test_a_lost_directory_and_a_lost_log_are_made_anew(nats_server: NatsServer, nats_namespace: str) -> None:
    settings = settings_of(nats_server, nats_namespace)
    subjects = Subjects(settings.nats_namespace)
    async with nats_bus(settings) as bus:
        directory = NatsDirectory(bus, settings)
        sink = FrameStream(bus, settings, subjects.frames("g"))
        await directory.prepare()
        await sink.prepare()
        assert await directory.claim("a", "g") > 0
        js = bus.client.jetstream()
        await js.delete_key_value(subjects.sessions_bucket)
        await js.delete_stream(subjects.frames_stream)

        with pytest.raises(BusUnavailable):
            await directory.claim("a", "g")
        assert await directory.claim("a", "g") > 0
        with pytest.raises(BusUnavailable):
            await sink.publish("g:1", b"x")
        await sink.publish("g:1", b"x")


# The durable log


async def stored(settings: NatsSettings) -> list[bytes]:
    """Take out what the log holds."""
    client = await nats.connect(settings.nats_url)
    js = client.jetstream()
    name = Subjects(settings.nats_namespace).frames_stream
    state = (await js.stream_info(name)).state
    frames: list[bytes] = []
    for number in range(state.first_seq, state.last_seq + 1):
        message = await js.get_msg(name, number)
        frames.append(message.data or b"")
        await js.delete_msg(name, number)
    await client.close()
    return frames


@contextlib.asynccontextmanager
async def frame_stream(settings: NatsSettings) -> AsyncGenerator[FrameStream]:
    async with nats_bus(settings) as bus:
        sink = FrameStream(bus, settings, Subjects(settings.nats_namespace).frames("g"))
        with pytest.raises(BusUnavailable):
            await sink.publish("early", b"x")
        await sink.prepare()
        await sink.prepare()
        yield sink


@pytest.mark.parametrize("kind", ["memory", "nats"])
async def test_a_frame_is_stored_once_per_id(kind: str, nats_server: NatsServer, nats_namespace: str) -> None:
    async def publish(sink: FrameSink) -> None:
        for frame_id, data in (("g:1", b"one"), ("g:2", b"two"), ("g:1", b"one"), ("g:2", b"two")):
            await sink.publish(frame_id, data)

    if kind == "memory":
        taken: list[bytes] = []
        await publish(MemorySink(taken.append))
    else:
        settings = settings_of(nats_server, nats_namespace)
        async with frame_stream(settings) as sink:
            await publish(sink)
        taken = await stored(settings)
    assert taken == [b"one", b"two"]


async def test_a_full_log_takes_nothing_and_says_so(nats_server: NatsServer, nats_namespace: str) -> None:
    settings = settings_of(nats_server, nats_namespace)
    async with frame_stream(settings) as sink:
        frame = bytes(300_000)
        for number in range(3):
            await sink.publish(f"g:{number}", frame)
        with pytest.raises(SinkFull):
            await sink.publish("g:3", frame)
        assert await stored(settings) == [frame] * 3
        await sink.publish("g:3", frame)
        assert await stored(settings) == [frame]


async def test_the_largest_frame_fits(nats_server: NatsServer, nats_namespace: str) -> None:
    settings = settings_of(nats_server, nats_namespace).model_copy(update={"frames_max_bytes": 4 * SMALLEST_LOG})
    async with frame_stream(settings) as sink:
        await sink.publish("g:1", bytes(1024 * 1024 - 1024))


async def test_a_log_that_can_not_be_reached_is_unavailable(nats_server: NatsServer, nats_namespace: str) -> None:
    settings = settings_of(nats_server, nats_namespace)
    with TcpProxy(nats_server.port) as proxy:
        async with frame_stream(settings.model_copy(update={"nats_url": f"nats://{proxy.address}"})) as sink:
            await sink.publish("g:1", b"one")
            proxy.cut()

            async def refused() -> bool:
                try:
                    await sink.publish("g:2", b"two")
                except BusUnavailable:
                    return True
                return False

            await eventually_async(refused)
            proxy.heal()

            async def taken() -> bool:
                return not await refused()

            await eventually_async(taken)
    assert await stored(settings) == [b"one", b"two"]


async def test_an_application_that_does_not_take_a_frame_is_offered_it_again() -> None:
    taken: list[bytes] = []

    def take(data: bytes) -> None:
        if not taken and data == b"fails":
            taken.append(b"failed")
            raise RuntimeError("not now")
        taken.append(data)

    sink = MemorySink(take)
    with pytest.raises(BusUnavailable):
        await sink.publish("g:1", b"fails")
    await sink.publish("g:1", b"fails")
    assert taken == [b"failed", b"fails"]
