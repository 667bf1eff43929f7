"""One stream of a client, from its registration to its end.

Three tasks: this session's own, one reader (the only one that reads) and one writer (the only one that writes). They
are ended in the order that grpc.aio needs: the writer, the reader, the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import grpc
import grpc.aio

from crypto_streaming import pb

from ._call_status import CallStatus
from ._clock import Clock
from ._dispatch import Dispatcher
from ._outbox import Outbox
from ._retry import EndKind, SessionEnd
from ._stats import Stats
from ._window import Flight, Window
from ._wire import BATCH_OVERHEAD, METHOD, batch_of, new_message
from .buffers import ENTRY_OVERHEAD, Buffer, Entry
from .settings import AgentSettings, ClientRejectedError

log = logging.getLogger("crypto_streaming.agent")

_PLAIN_READ = 32
"""Reports taken from the buffer at once for a server without receipts; answers to commands wait for so many."""

_WRITE_ERRORS = (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What writing to a stream that ended raises."""

_Call = grpc.aio.StreamStreamCall[bytes, pb.DjangoCommand]


class Session:
    """Reports and obeys over one stream.

    Args:
        client_id: who this is.
        registration: the first payload.
        settings: times and limits.
        clock: the time.
        buffer: where reports come from; they are removed when the server has them for good.
        outbox: answers to commands.
        dispatcher: where commands go.
        stats: counted here.
        needs_welcome: the server is known to send one, so that its absence is a failure.
    """

    def __init__(
        self,
        *,
        client_id: str,
        registration: pb.ClientRegistration,
        settings: AgentSettings,
        clock: Clock,
        buffer: Buffer,
        outbox: Outbox,
        dispatcher: Dispatcher,
        stats: Stats,
        needs_welcome: bool,
    ) -> None:
        self.welcome: pb.Welcome | None = None
        self._client_id = client_id
        self._registration = registration
        self._settings = settings
        self._clock = clock
        self._buffer = buffer
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._stats = stats
        self._needs_welcome = needs_welcome

        self._window = Window(0, 0)
        self._heartbeat = settings.heartbeat_interval
        # Whether reports may be sent: after Welcome, or once the server is taken for one that sends none.
        self._ready_at: float | None = None
        # Sequence of the last report sent on this stream.
        self._cursor = 0
        self._last_write = clock.monotonic()
        # The main task looks up when one of these changes.
        self._attention = asyncio.Event()
        self._stop_by: float | None = None
        self._leave_at: float | None = None
        # The writer stops taking reports; the last message then ends its work.
        self._holding = False
        self._leaving = False
        self._farewell: bytes | None = None

    @property
    def ready(self) -> bool:
        """Whether reports are being sent."""
        return self._ready_at is not None

    def stop(self, timeout: float) -> None:
        """Say goodbye as soon as everything has its receipt and no handler runs, or after `timeout` seconds."""
        self._stop_by = self._clock.monotonic() + timeout
        self._attention.set()

    async def run(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]] | None) -> SessionEnd:
        """Connect, and serve until the stream ends.

        Raises:
            ClientRejectedError: a report can never be sent to this server.
        """
        call: _Call = channel.stream_stream(
            METHOD, request_serializer=None, response_deserializer=pb.DjangoCommand.FromString
        )(metadata=metadata)
        status = CallStatus(call)
        reader = asyncio.create_task(self._read(call, status))
        writer = asyncio.create_task(self._write(call))
        for task in (reader, writer):
            task.add_done_callback(lambda _task: self._attention.set())
        try:
            end = await self._supervise(reader, writer)
        finally:
            # A call dropped without cancel() stays alive on the server: grpc/grpc#43462.
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            call.cancel()
        lasted = 0.0 if self._ready_at is None else self._clock.monotonic() - self._ready_at
        return SessionEnd(end.kind, end.status, end.details, lasted)

    # The main task

    async def _supervise(self, reader: asyncio.Task[SessionEnd], writer: asyncio.Task[None]) -> SessionEnd:
        welcome_by = self._clock.monotonic() + self._settings.welcome_timeout
        while True:
            self._attention.clear()
            now = self._clock.monotonic()
            if reader.done():
                return reader.result()
            if writer.done():
                return await self._after_failed_write(reader, writer)
            if self._ready_at is None and now >= welcome_by:
                if self._needs_welcome:
                    return SessionEnd(EndKind.LOST, grpc.StatusCode.DEADLINE_EXCEEDED, "no Welcome in time")
                log.info("no Welcome: taking the server for one without receipts")
                self._ready()
            if self._stop_by is not None:
                return await self._leave(reader, self._stop_by, EndKind.STOPPED)
            if self._leave_at is not None and now >= self._leave_at:
                return await self._leave(reader, now + self._settings.leave_grace, EndKind.RECONNECT)
            times = [welcome_by] if self._ready_at is None else []
            times += [self._leave_at] if self._leave_at is not None else []
            await self._clock.wait(self._attention, min(times) - now if times else None)

    async def _after_failed_write(self, reader: asyncio.Task[SessionEnd], writer: asyncio.Task[None]) -> SessionEnd:
        """The reader learns why the stream ended; a bug in the writer is raised instead."""
        # grpc.aio cancels whoever writes when the other side cancels the call.
        error = None if writer.cancelled() else writer.exception()
        if error is not None and not isinstance(error, _WRITE_ERRORS):
            raise error
        await self._until(reader.done, self._clock.monotonic() + self._settings.linger)
        if reader.done():
            return reader.result()
        return SessionEnd(EndKind.LOST, grpc.StatusCode.UNKNOWN, f"writing failed: {error}")

    async def _leave(self, reader: asyncio.Task[SessionEnd], deadline: float, kind: EndKind) -> SessionEnd:
        """End the stream from this side, in order."""
        if kind is EndKind.RECONNECT:
            self._holding = True

        def settled() -> bool:
            sent = self._window.idle and (self._holding or self._ready_at is None or len(self._buffer) == 0)
            return reader.done() or (sent and self._dispatcher.idle and not self._outbox.answers)

        await self._until(settled, deadline)
        if self._stop_by is not None:
            kind = EndKind.STOPPED
        if kind is EndKind.STOPPED:
            goodbye = new_message(self._client_id, self._clock.time_ns())
            goodbye.goodbye.reason = "stopped"
            self._farewell = goodbye.SerializeToString()
        self._leaving = True
        self._outbox.wake.set()
        await self._until(reader.done, self._clock.monotonic() + self._settings.linger)
        return SessionEnd(kind)

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait for a condition that receipts, handlers or the end of the stream bring about."""
        while not condition():
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            self._outbox.progress.clear()
            if condition():
                return
            await self._clock.wait(self._outbox.progress, left)

    def _ready(self) -> None:
        self._ready_at = self._clock.monotonic()
        self._outbox.wake.set()
        self._attention.set()

    # The reader

    async def _read(self, call: _Call, status: CallStatus) -> SessionEnd:
        try:
            while (command := await call.read()) is not grpc.aio.EOF:
                if isinstance(command, pb.DjangoCommand):
                    self._take(command)
                else:
                    # grpc.aio gives None for what can not be parsed; the stream goes on.
                    log.error("passing over a message that is no DjangoCommand")
        except grpc.aio.AioRpcError:
            pass
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # grpc.aio raises it for a call that the other side cancelled too.
        finally:
            self._outbox.progress.set()
        code, details = await status.final()
        return SessionEnd(EndKind.LOST, code, details)

    def _take(self, command: pb.DjangoCommand) -> None:
        match command.WhichOneof("command"):
            case "welcome":
                self._welcomed(command.welcome)
            case "receipt":
                for message_id in command.receipt.message_ids:
                    self._receipted(message_id)
                self._outbox.wake.set()
                self._outbox.progress.set()
            case "reconnect":
                log.info("asked to reconnect: %s", command.reconnect.reason)
                delay = max(0.0, command.reconnect.delay.ToNanoseconds() / 1e9)
                self._leave_at = self._clock.monotonic() + delay
                self._attention.set()
            case _:
                self._dispatcher.deliver(command)

    def _welcomed(self, welcome: pb.Welcome) -> None:
        if self.welcome is not None:
            return
        log.info("welcomed by gateway %s, epoch %d", welcome.gateway_id, welcome.epoch)
        self.welcome = welcome
        self._window = Window(welcome.window_messages, welcome.window_bytes)
        if welcome.HasField("heartbeat_interval"):
            announced = welcome.heartbeat_interval.ToNanoseconds() / 1e9
            self._heartbeat = announced if announced > 0 else self._heartbeat
        self._ready()

    def _receipted(self, message_id: str) -> None:
        flight = self._window.receipted(message_id)
        if flight is not None:
            self._buffer.remove(flight.sequences)
            self._stats.messages_receipted += len(flight.sequences)

    # The writer

    async def _write(self, call: _Call) -> None:
        first = new_message(self._client_id, self._clock.time_ns())
        first.register.CopyFrom(self._registration)
        await self._send(call, first.SerializeToString())
        while True:
            self._outbox.wake.clear()
            if self._outbox.answers:
                await self._write_answer(call)
                continue
            if self._leaving:
                if self._farewell is not None:
                    await self._send(call, self._farewell)
                await call.done_writing()
                # The end of this task is the end of the stream, unless this side leaves.
                await asyncio.Event().wait()
            if self._ready_at is not None and not self._holding and await self._write_reports(call):
                continue
            silent_for = self._clock.monotonic() - self._last_write
            if silent_for >= self._heartbeat:
                heartbeat = new_message(self._client_id, self._clock.time_ns())
                heartbeat.heartbeat.SetInParent()
                await self._send(call, heartbeat.SerializeToString())
                continue
            await self._clock.wait(self._outbox.wake, self._heartbeat - silent_for)

    async def _send(self, call: _Call, data: bytes) -> None:
        await call.write(data)
        self._last_write = self._clock.monotonic()

    async def _write_answer(self, call: _Call) -> None:
        answer = self._outbox.answers.popleft()
        try:
            await self._send(call, answer)
        except BaseException:
            self._outbox.answers.appendleft(answer)  # for the next session
            raise
        self._outbox.progress.set()

    async def _write_reports(self, call: _Call) -> bool:
        """Send the next reports; False when there are none, or no room for them."""
        if self.welcome is None:
            return await self._write_plain(call)
        window = self._window
        limit = min(window.free_bytes, self.welcome.max_message_bytes or self._settings.max_message_bytes)
        if window.free_messages < 1 or limit < 1:
            return False
        entries = await self._buffer.read(self._cursor, window.free_messages, limit - BATCH_OVERHEAD)
        if not entries:
            return False
        if len(entries) == 1:
            message_id, data = entries[0].message_id, entries[0].payload
            if len(data) > window.free_bytes:
                return self._does_not_fit(entries[0])
        else:
            message_id, data = batch_of(self._client_id, self._clock.time_ns(), entries)
        # Before the write: the receipt may be faster than the end of it.
        window.sent(message_id, Flight(tuple(entry.sequence for entry in entries), len(data)))
        self._cursor = entries[-1].sequence
        self._stats.messages_sent += len(entries)
        await self._send(call, data)
        return True

    def _does_not_fit(self, entry: Entry) -> bool:
        if len(entry.payload) > self._window.max_bytes:
            raise ClientRejectedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"report {entry.message_id} of {len(entry.payload)} bytes does not fit the server's window of "
                f"{self._window.max_bytes}",
            )
        return False

    async def _write_plain(self, call: _Call) -> bool:
        """Without receipts there is nothing to wait for: what is sent is done."""
        size = self._settings.max_message_bytes + ENTRY_OVERHEAD
        entries = await self._buffer.read(self._cursor, _PLAIN_READ, size)
        for entry in entries:
            await self._send(call, entry.payload)
            self._cursor = entry.sequence
            self._buffer.remove((entry.sequence,))
            self._stats.messages_sent += 1
        self._outbox.progress.set()
        return bool(entries)
