"""One worker process: frames in, rows committed, frames acknowledged; always in this order.

While one batch is being written, the next one is fetched and decoded: PostgreSQL and Python work side by side.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from nats.aio.client import Client
from nats.errors import Error as NatsError

from service_kit.bus import Subjects, connect
from service_kit.clock import Clock
from service_kit.ops import OpsServer

from . import metrics
from .adapters.consumer import BatchLimits, Delivery, FrameConsumer
from .adapters.presence import PresenceListener
from .domain.decode import Decoder, StoredFrame
from .domain.rows import Rows
from .settings import WorkerSettings
from .store import StoppedError, Store

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

# An event loop that has not run for this long is stuck: the process should be restarted.
STUCK_SECONDS = 60.0
_BEAT_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


class BusClosedError(Exception):
    """The connection to NATS is closed for good; only a new process makes a new one."""


@dataclass
class Batch:
    """What is written, and acknowledged, together."""

    deliveries: list[Delivery]
    rows: Rows = field(default_factory=Rows)

    @property
    def frames(self) -> list[StoredFrame]:
        """The frames, without what is needed to acknowledge them."""
        return [delivery.frame for delivery in self.deliveries]


def in_batches(deliveries: Sequence[Delivery], limit: int) -> list[Batch]:
    """Part frames into batches of at most `limit` bytes, or of one frame."""
    batches: list[Batch] = []
    size = 0
    for delivery in deliveries:
        size += len(delivery.frame.data)
        if not batches or size > limit:
            batches.append(Batch([]))
            size = len(delivery.frame.data)
        batches[-1].deliveries.append(delivery)
    return batches


class Helpers:
    """Tasks beside the main one. One that fails ends the worker.

    Args:
        stop: is set when one fails.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run one until the end."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._done)
        self._tasks.append(task)

    async def end(self) -> None:
        """Cancel all.

        Raises:
            Exception: what one has failed with.
        """
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._stop.set()


class Worker:
    """A worker process.

    Args:
        settings: what it is told.
        clock: the time.
    """

    def __init__(self, settings: WorkerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._decoder = Decoder()
        self._store = Store(
            settings.database_url,
            statement_seconds=settings.statement_seconds,
            backoff_seconds=settings.backoff_seconds,
            batch_rows=settings.batch_rows,
            clock=clock,
        )
        self._presence = PresenceListener(Subjects(settings.nats_namespace).presence)
        self._ops = OpsServer(settings.ops_host, settings.ops_port, live=self._live, ready=lambda: self._ready)
        self._ready = False
        self._bus_closed = asyncio.Event()
        self._beat = clock.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; finish the batch in hand.

        Raises:
            BusClosedError: the connection to NATS is closed for good.
            Exception: a fault of our own; frames in hand are delivered again.
        """
        self._ops.start()
        connection: Client | None = None
        helpers = Helpers(stop)
        helpers.start(self._keep_beating())
        helpers.start(self._on_stop(stop))
        helpers.start(self._fail_when_closed())
        try:
            connection = await _unless(stop, self._connect())
            if connection is not None and await self._open_store():
                await self._serve(connection, helpers, stop)
        finally:
            self._ready = False
            try:
                await helpers.end()
            finally:
                await self._store.close()
                if connection is not None:
                    await _close(connection)
                self._ops.close()
                log.info("worker stopped")

    async def _serve(self, connection: Client, helpers: Helpers, stop: asyncio.Event) -> None:
        consumer = FrameConsumer(connection, self._settings, self._limits(), self._clock)
        while await _unless(stop, consumer.try_open()) is None:
            if stop.is_set():
                return
        await self._presence.open(connection)
        self._ready = not stop.is_set()
        log.info("worker ready")
        helpers.start(consumer.keep_alive(self._settings.keep_alive_seconds))
        helpers.start(self._write_presence())
        helpers.start(self._watch_backlog(connection, consumer))
        await self._work(consumer, stop)

    async def _work(self, consumer: FrameConsumer, stop: asyncio.Event) -> None:
        upcoming: asyncio.Task[list[Batch]] | None = asyncio.create_task(self._prepare(consumer))
        while upcoming is not None:
            batches = await _unless(self._store.over, upcoming) or []
            upcoming = None if stop.is_set() else asyncio.create_task(self._prepare(consumer))
            for batch in batches:
                try:
                    await self._finish(consumer, batch)
                except StoppedError:
                    log.warning("stopped with frames in hand; they will be delivered again")
                    await consumer.give_back(batch.deliveries)

    async def _prepare(self, consumer: FrameConsumer) -> list[Batch]:
        """Fetch and decode what is written next: batches of the set size, and each suspect alone."""
        together: list[Delivery] = []
        suspects: list[Batch] = []
        for delivery in await consumer.next_batch():
            if delivery.frame.deliveries > 1:
                metrics.REDELIVERIES.inc()
            if delivery.frame.deliveries > self._settings.suspect_deliveries:
                metrics.SUSPECTS.inc()
                suspects.append(Batch([delivery]))
            else:
                together.append(delivery)
        batches = [*in_batches(together, self._settings.batch_bytes), *suspects]
        for batch in batches:
            batch.rows = await asyncio.to_thread(self._decoder.decode, batch.frames)
        return batches

    async def _finish(self, consumer: FrameConsumer, batch: Batch) -> None:
        metrics.BATCH_MESSAGES.observe(batch.rows.messages)
        started = self._clock.monotonic()
        outcomes = await self._store.write(batch.frames, batch.rows)
        metrics.COMMIT_SECONDS.observe(self._clock.monotonic() - started)
        for outcome in outcomes:
            for table, count in outcome.written.items():
                metrics.ROWS.labels(table).inc(count)
            for letter in outcome.letters:
                metrics.DEAD_LETTERS.labels(letter.reason).inc()
        metrics.FRAMES.inc(len(batch.deliveries))
        metrics.MESSAGES.inc(batch.rows.messages)
        await consumer.ack(batch.deliveries)

    async def _connect(self) -> Client:
        async def lost() -> None:
            metrics.CONNECTED.labels("nats").set(0)

        async def back() -> None:
            metrics.CONNECTED.labels("nats").set(1)

        async def closed() -> None:
            self._bus_closed.set()

        connection = await connect(
            self._settings, name="ingest-worker", on_disconnected=lost, on_reconnected=back, on_closed=closed
        )
        await back()
        return connection

    async def _open_store(self) -> bool:
        try:
            await self._store.open()
        except StoppedError:
            return False
        return True

    async def _on_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._ready = False
        log.info("stopping")
        self._store.stop_within(self._settings.stop_seconds)

    async def _fail_when_closed(self) -> None:
        # Ends before we close the connection ourselves.
        await self._bus_closed.wait()
        log.error("nats closed the connection for good")
        raise BusClosedError

    async def _write_presence(self) -> None:
        while True:
            await asyncio.sleep(self._settings.presence_seconds)
            rows = self._presence.take()
            if not rows.clients or not self._store.available:
                continue
            try:
                await self._store.write_once(rows)
            except StoppedError:
                return
            except psycopg.Error as error:
                log.warning("presence not written", extra={"error": str(error).strip()})
            else:
                metrics.PRESENCE_CLIENTS.inc(len(rows.clients))

    async def _watch_backlog(self, connection: Client, consumer: FrameConsumer) -> None:
        while True:
            if connection.is_connected:
                try:
                    pending, ack_pending = await consumer.backlog()
                except (NatsError, TimeoutError) as error:
                    log.debug("asking for the backlog failed", extra={"error": repr(error)})
                else:
                    metrics.PENDING.set(pending)
                    metrics.ACK_PENDING.set(ack_pending)
            await asyncio.sleep(self._settings.lag_seconds)

    async def _keep_beating(self) -> None:
        while True:
            self._beat = self._clock.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def _live(self) -> bool:
        return self._clock.monotonic() - self._beat < STUCK_SECONDS

    def _limits(self) -> BatchLimits:
        settings = self._settings
        return BatchLimits(settings.batch_frames, settings.batch_bytes, settings.batch_seconds, settings.fetch_seconds)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _Result] | asyncio.Task[_Result]) -> _Result | None:
    """Do something that may wait for ever, unless `stop` is set first."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def _close(connection: Client) -> None:
    try:
        if connection.is_connected:
            await connection.flush(timeout=2)
    except NatsError as error:
        log.debug("flushing failed", extra={"error": repr(error)})
    try:
        await asyncio.wait_for(connection.close(), _CLOSE_SECONDS)
    except TimeoutError:
        log.debug("closing the connection failed")
