"""Frames out of JetStream: in batches bounded by size and time, acknowledged once they are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ingest_worker.domain.decode import StoredFrame
from service_kit.bus import INGEST_CONSUMER, Subjects, ensure_frames_stream, ensure_ingest_consumer
from service_kit.clock import Clock
from service_kit.settings import NatsSettings

log = logging.getLogger(__name__)

# What fetched frames may take up before they are asked for; a frame has 1 MiB at most.
_PENDING_BYTES = 256 * 1024 * 1024
_PENDING_MESSAGES = 65_536
# How many frames are asked for while nothing is known about them, and at most: frames of a backlog may be a thousand
# times as large as those that came last, and a request can not be bounded in bytes.
_FIRST_REQUEST = 4
_LARGEST_REQUEST = 64
_RETRY_SECONDS = 0.25


@dataclass(frozen=True)
class Delivery:
    """A frame in hand, to be acknowledged."""

    message: Msg
    frame: StoredFrame


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch gets, and how long it is waited for.

    Attributes:
        frames: at most so many.
        bytes: about so many; what the last request brings may exceed it, when frames have become larger.
        linger_seconds: how long the first one waits for company.
        idle_seconds: how long the first one is waited for.
    """

    frames: int
    bytes: int
    linger_seconds: float
    idle_seconds: float


class FrameConsumer:
    """The one consumer that all workers share, as seen by one of them.

    Args:
        connection: to NATS; its loss is waited out.
        settings: where the stream is.
        limits: of a batch.
        clock: for the limits.
    """

    def __init__(self, connection: Client, settings: NatsSettings, limits: BatchLimits, clock: Clock) -> None:
        self._connection = connection
        self._settings = settings
        self._subjects = Subjects(settings.nats_namespace)
        self._limits = limits
        self._clock = clock
        self._js: JetStreamContext = connection.jetstream()
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._held: dict[str, Msg] = {}
        self._frame_bytes = 1
        self._request = _FIRST_REQUEST

    async def try_open(self) -> JetStreamContext.PullSubscription | None:
        """Make sure of the stream and the consumer, and subscribe; return None, after a pause, if that fails."""
        try:
            self._subscription = await self._open()
        except (NatsError, TimeoutError) as error:
            log.warning("waiting for JetStream", extra={"error": repr(error)})
            await asyncio.sleep(_RETRY_SECONDS)
        return self._subscription

    async def _open(self) -> JetStreamContext.PullSubscription:
        try:
            await self._js.stream_info(self._subjects.frames_stream)
        except NotFoundError:
            # The gateways own the stream's limits: only a stream that nobody has made yet is made here.
            await ensure_frames_stream(self._js, self._settings)
        try:
            await self._js.consumer_info(self._subjects.frames_stream, INGEST_CONSUMER)
        except NotFoundError:
            await ensure_ingest_consumer(self._js, self._settings)
        return await self._js.pull_subscribe_bind(
            INGEST_CONSUMER,
            self._subjects.frames_stream,
            pending_msgs_limit=_PENDING_MESSAGES,
            pending_bytes_limit=_PENDING_BYTES,
        )

    async def next_batch(self) -> list[Delivery]:
        """Wait for frames, at most for the idle time; then for more, until a limit is reached.

        Returns:
            Frames that are in hand now; none when there were none, or NATS is out of reach.
        """
        if not self._connection.is_connected:
            await asyncio.sleep(_RETRY_SECONDS)
            return []
        batch: list[Delivery] = []
        size = 0
        deadline = self._clock.monotonic() + self._limits.idle_seconds
        while True:
            room = (self._limits.bytes - size) // self._frame_bytes
            wanted = max(1, min(self._limits.frames - len(batch), room, self._request))
            fetched = await self._fetch(wanted, deadline - self._clock.monotonic())
            if fetched and not batch:
                deadline = self._clock.monotonic() + self._limits.linger_seconds
            batch += fetched
            size += sum(len(delivery.frame.data) for delivery in fetched)
            if (
                len(batch) >= self._limits.frames
                or size >= self._limits.bytes
                or self._clock.monotonic() >= deadline
                or (not fetched and not self._connection.is_connected)
            ):
                return batch

    async def _fetch(self, count: int, seconds: float) -> list[Delivery]:
        subscription = self._subscription or await self.try_open()
        if subscription is None:
            return []
        try:
            messages = await subscription.fetch(count, timeout=max(seconds, 0.001))
        except (NatsTimeoutError, TimeoutError):
            return []
        except NatsError as error:
            # The consumer is gone, or the stream's leader moves.
            log.warning("fetching frames failed", extra={"error": repr(error)})
            await self._unsubscribe()
            return []
        deliveries = [_delivery(message) for message in messages]
        if deliveries:
            # The largest of late, which is forgotten by and by.
            largest = max(len(delivery.frame.data) for delivery in deliveries)
            self._frame_bytes = max(1, largest, self._frame_bytes * 7 // 8)
            self._request = max(_FIRST_REQUEST, min(2 * len(deliveries), _LARGEST_REQUEST))
        self._held.update((message.reply, message) for message in messages)
        return deliveries

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Say that frames are written. When that does not get through, they are delivered again, which is harmless."""
        self.release(deliveries)
        try:
            for delivery in deliveries:
                await delivery.message.ack()
        except NatsError as error:
            log.warning("acknowledging frames failed", extra={"error": repr(error)})

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Forget frames: they are not kept alive any longer."""
        for delivery in deliveries:
            self._held.pop(delivery.message.reply, None)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Hand frames back unwritten: another worker gets them at once."""
        self.release(deliveries)
        try:
            for delivery in deliveries:
                await delivery.message.nak()
        except NatsError as error:
            log.warning("giving frames back failed", extra={"error": repr(error)})

    async def keep_alive(self, seconds: float) -> None:
        """Tell JetStream again and again that the frames in hand are being worked on; runs until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            for message in list(self._held.values()):
                if not self._connection.is_connected:
                    break
                try:
                    await message.in_progress()
                except NatsError as error:
                    log.debug("keeping frames alive failed", extra={"error": repr(error)})
                    break

    async def backlog(self) -> tuple[int, int]:
        """Return how many frames wait for a worker, and how many are in workers' hands.

        Raises:
            nats.errors.Error: JetStream does not answer.
        """
        info = await self._js.consumer_info(self._subjects.frames_stream, INGEST_CONSUMER)
        return info.num_pending or 0, info.num_ack_pending or 0

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except NatsError as error:
                log.debug("unsubscribing failed", extra={"error": repr(error)})


def _delivery(message: Msg) -> Delivery:
    metadata = message.metadata
    return Delivery(
        message,
        StoredFrame(
            data=message.data,
            sequence=metadata.sequence.stream if metadata.sequence else 0,
            stored_us=int(metadata.timestamp.timestamp() * 1_000_000) if metadata.timestamp else 0,
            deliveries=metadata.num_delivered or 1,
        ),
    )
