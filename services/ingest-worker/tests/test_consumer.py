"""How frames are fetched, and parted into batches: against a real durable log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from support.nats import NatsServer

from ingest_worker.adapters.consumer import BatchLimits, Delivery, FrameConsumer
from ingest_worker.domain.decode import StoredFrame
from ingest_worker.worker import in_batches
from service_kit.bus import INGEST_CONSUMER, Subjects, ensure_frames_stream
from service_kit.clock import SystemClock
from service_kit.settings import NatsSettings

KIB = 1024
LIMITS = BatchLimits(frames=500, bytes=1024 * KIB, linger_seconds=0.05, idle_seconds=1)


class Bus:
    """A durable log and the consumer under test."""

    def __init__(self, connection: Client, settings: NatsSettings) -> None:
        self.consumer = FrameConsumer(connection, settings, LIMITS, SystemClock())
        self._js = connection.jetstream()
        self._subject = Subjects(settings.nats_namespace).frames("gateway-1")

    async def publish(self, count: int, size: int) -> None:
        """Put frames of one size into the log."""
        data = bytes(size)
        for _ in range(count):
            await self._js.publish(self._subject, data)

    async def take(self) -> int:
        """Fetch and acknowledge a batch; return its size in bytes."""
        deliveries = await self.consumer.next_batch()
        await self.consumer.ack(deliveries)
        return sum(len(delivery.frame.data) for delivery in deliveries)


@pytest.fixture
async def bus(nats_server: NatsServer, nats_namespace: str) -> AsyncIterator[Bus]:
    """An empty log."""
    settings = NatsSettings(nats_url=nats_server.url, nats_namespace=nats_namespace)
    connection = await nats.connect(nats_server.url)
    js = connection.jetstream()
    await ensure_frames_stream(js, settings)
    consumer = ConsumerConfig(durable_name=INGEST_CONSUMER, ack_policy=AckPolicy.EXPLICIT)
    await js.add_consumer(Subjects(nats_namespace).frames_stream, consumer)
    yield Bus(connection, settings)
    await connection.close()


async def test_a_backlog_of_large_frames_after_quiet_traffic_comes_a_few_at_a_time(bus: Bus) -> None:
    for _ in range(30):
        await bus.publish(1, 1400)
        assert await bus.take() == 1400
    await bus.publish(60, 512 * KIB)
    taken = 0
    while taken < 60 * 512 * KIB:
        size = await bus.take()
        # Four frames are asked for before their size is known.
        assert 0 < size <= 4 * 512 * KIB
        taken += size


async def test_large_frames_after_busy_traffic_of_small_ones_are_bounded_too(bus: Bus) -> None:
    await bus.publish(1000, 1400)
    await bus.publish(80, 512 * KIB)
    sizes: list[int] = []
    while sum(sizes) < 1000 * 1400 + 80 * 512 * KIB:
        sizes.append(await bus.take())
        assert sizes[-1] > 0
    assert max(sizes) <= 64 * 512 * KIB + LIMITS.bytes
    # From the second one on their size is known.
    assert sum(size > LIMITS.bytes for size in sizes) <= 2


async def test_a_backlog_of_small_frames_fills_batches(bus: Bus) -> None:
    await bus.publish(1000, 1400)
    sizes = [await bus.take() for _ in range(3)]
    assert max(sizes) == 500 * 1400


def delivery(size: int) -> Delivery:
    return Delivery(Msg(_client=Client()), StoredFrame(bytes(size)))


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([1, 2, 3], [[1, 2, 3]]),
        ([10], [[10]]),
        ([4, 6, 1], [[4, 6], [1]]),
        ([11, 1, 12, 9, 1], [[11], [1], [12], [9, 1]]),
    ],
)
def test_frames_are_parted_into_batches_of_the_set_size(sizes: list[int], batches: list[list[int]]) -> None:
    made = in_batches([delivery(size) for size in sizes], 10)
    assert [[len(each.frame.data) for each in batch.deliveries] for batch in made] == batches
