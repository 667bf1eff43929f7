"""The life of one client's stream: first message, session, reading, writing, end.

Two tasks: the handler's own writes, and one reader. The reader is the only one that reads, and is cancelled and awaited
before the handler returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Protocol

from service_kit.clock import Clock
from stream_gateway import metrics

from .contract import Contract, Inbound, InboundKind, Welcome
from .frame_writer import FrameWriter
from .seams import BusUnavailable
from .session import EndStatus, Session, SessionEnd
from .sessions import SessionTable

log = logging.getLogger(__name__)

# How long a write that is under way may take after the session has ended: the client does not read.
STUCK_WRITE_SECONDS = 1.0


@dataclass(frozen=True)
class StreamLimits:
    """What a stream may do (seconds, bytes, messages); see `GatewaySettings` for each."""

    heartbeat_seconds: float
    liveness_seconds: float
    register_seconds: float
    max_message_bytes: int
    window_messages: int
    window_bytes: int
    stream_budget_bytes: int


class StreamTransport(Protocol):
    """One bidirectional stream, as the transport gives it."""

    @property
    def peer(self) -> str:
        """The client's address, for people."""
        ...

    async def read(self) -> bytes | None:
        """The next message; None when there will be no more."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a message; waits while the transport's window is full."""
        ...


class StreamHandler:
    """Runs client streams.

    Args:
        contract: the meaning of the messages.
        table: where sessions are opened.
        writer: where reports go.
        clock: the time.
        limits: what a stream may do.
        gateway_id: named in Welcome.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        table: SessionTable,
        writer: FrameWriter,
        clock: Clock,
        limits: StreamLimits,
        gateway_id: str,
    ) -> None:
        self.contract = contract
        self.table = table
        self.writer = writer
        self.clock = clock
        self.limits = limits
        self.gateway_id = gateway_id
        # Set while the process drains: new streams are refused.
        self.refusing: SessionEnd | None = None
        self.message_counters = {kind: metrics.MESSAGES.cell(kind.value) for kind in InboundKind}
        self.byte_counter = metrics.MESSAGE_BYTES.cell()

    async def serve(self, transport: StreamTransport) -> SessionEnd:
        """Run one stream until it ends; the result is what the transport should tell the client.

        Raises:
            asyncio.CancelledError: the client is gone (or does not read); everything is cleaned up.
        """
        if self.refusing is not None:
            metrics.CONNECTS.labels("refused").inc()
            return self.refusing
        return await _Stream(self, transport).run()


class _Stream:
    """One stream."""

    __slots__ = ("_first_message_due", "_handler", "_opening", "_session", "_transport", "_writing")

    def __init__(self, handler: StreamHandler, transport: StreamTransport) -> None:
        self._handler = handler
        self._transport = transport
        self._session: Session | None = None
        # The session once it is open, or why it is not.
        self._opening: asyncio.Future[Session | SessionEnd] = asyncio.get_running_loop().create_future()
        self._writing = False
        self._first_message_due = asyncio.get_running_loop().call_later(
            handler.limits.register_seconds,
            self._not_opened,
            SessionEnd(EndStatus.DEADLINE_EXCEEDED, "unregistered", "no message in time"),
        )

    async def run(self) -> SessionEnd:
        reader = asyncio.create_task(self._read())
        lost = SessionEnd(EndStatus.UNAVAILABLE, "disconnected", "the connection was lost")
        try:
            opened = await self._opening
            if isinstance(opened, SessionEnd):
                metrics.CONNECTS.labels(opened.reason).inc()
                return opened
            return await self._write(opened)
        finally:
            self._first_message_due.cancel()
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            if self._session is not None:
                self._session.finish(lost)
                self._close(self._session)

    def _not_opened(self, why: SessionEnd) -> None:
        if not self._opening.done():
            self._opening.set_result(why)

    def _close(self, session: Session) -> None:
        handler = self._handler
        end = session.end
        assert end is not None
        handler.writer.forget(session)
        if session.ready:
            metrics.STREAMS_OPEN.dec()
            metrics.STREAM_ENDS.labels(end.reason).inc()
            handler.writer.closed(session, end.reason)
            log.info(
                "stream closed", extra={"client_id": session.client_id, "epoch": session.epoch, "reason": end.reason}
            )
        handler.table.close(session)

    # Writing

    async def _write(self, session: Session) -> SessionEnd:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def stop_writing() -> None:
            if self._writing:
                # Nobody reads at the other end; the status could not be delivered either.
                loop.call_later(STUCK_WRITE_SECONDS, lambda: self._writing and task.cancel())

        session.stop_writing = stop_writing
        contract, transport = self._handler.contract, self._transport
        while session.end is None:
            data = session.next_notice() or session.next_command()
            if data is None:
                receipts = session.next_receipts()
                if not receipts:
                    await session.something_to_write()
                    continue
                data = contract.receipt(receipts)
            self._writing = True
            await transport.write(data)
            self._writing = False
        return session.end

    # Reading

    async def _read(self) -> None:
        """Open the session with the first message, then take what comes until the client stops or the session ends."""
        session: Session | None = None
        try:
            session = await self._open()
            if session is not None:
                await self._take(session)
        except asyncio.CancelledError:
            raise
        except Exception:
            # A bug here must end this one stream with a word, not leave it open and deaf.
            log.exception("reading a stream failed")
            end = SessionEnd(EndStatus.UNAVAILABLE, "failed", "internal error")
            self._not_opened(end)
            if session is not None:
                session.finish(end)

    async def _open(self) -> Session | None:
        handler = self._handler
        raw = await self._transport.read()
        if raw is None:
            self._not_opened(
                SessionEnd(EndStatus.INVALID_ARGUMENT, "empty", "the stream ended before its first message")
            )
            return None
        self._first_message_due.cancel()
        first = handler.contract.parse(raw, handler.limits.max_message_bytes)
        problem = handler.contract.client_id_problem(first.client_id)
        if problem is not None:
            if not first.client_id and first.rejected is not None:
                problem = f"the first message does not tell who the client is: {first.rejected.detail}"
            self._not_opened(SessionEnd(EndStatus.INVALID_ARGUMENT, "invalid", problem))
            return None
        if handler.writer.over_budget(2):
            # Each stream adds to what is not durable, if only that it came and went.
            self._not_opened(SessionEnd(EndStatus.UNAVAILABLE, "overloaded", "too much is waiting to become durable"))
            return None
        try:
            session = await handler.table.open(first.client_id, self._transport.peer)
        except BusUnavailable:
            self._not_opened(SessionEnd(EndStatus.UNAVAILABLE, "bus", "this gateway can not reach the bus"))
            return None
        self._session = session
        if session.end is not None:
            self._not_opened(session.end)
            return None
        metrics.CONNECTS.labels("opened").inc()
        metrics.STREAMS_OPEN.inc()
        handler.writer.opened(session)
        log.info("stream opened", extra={"client_id": session.client_id, "epoch": session.epoch, "peer": session.peer})
        self._dispatch(session, first, raw)
        if not self._opening.done():
            self._opening.set_result(session)
        return session

    async def _take(self, session: Session) -> None:
        handler, transport = self._handler, self._transport
        parse, limit, monotonic = handler.contract.parse, handler.limits.max_message_bytes, handler.clock.monotonic
        while session.end is None:
            if (budget := self._spent_budget(session)) is not None:
                await self._pause(session, budget)
                continue
            raw = await transport.read()
            if raw is None:
                # Half-close, or the beginning of something abrupt: then this task is cancelled a moment later.
                session.close_inbound()
                return
            session.last_seen = monotonic()
            self._dispatch(session, parse(raw, limit), raw)

    def _dispatch(self, session: Session, inbound: Inbound, raw: bytes) -> None:  # noqa: C901  (one case a kind)
        handler = self._handler
        kind = inbound.kind
        handler.message_counters[kind].value += 1
        handler.byte_counter.value += len(raw)
        session.position += 1
        if inbound.client_id and inbound.client_id != session.client_id:
            session.finish(SessionEnd(EndStatus.INVALID_ARGUMENT, "invalid", "one stream belongs to one client_id"))
            return
        match kind:
            case InboundKind.REPORT:
                if self._inside_window(session, len(raw)):
                    handler.writer.report(session, raw, inbound.message_id, counted=True)
            case InboundKind.ACK:
                if not session.acknowledge(inbound.command_id, inbound.ack):
                    metrics.UNKNOWN_ACKS.inc()
                handler.writer.report(session, raw, inbound.message_id, counted=False)
            case InboundKind.HEARTBEAT:
                pass
            case InboundKind.REGISTRATION:
                self._register(session, inbound)
                handler.writer.report(session, raw, inbound.message_id, counted=False)
            case InboundKind.GOODBYE:
                session.finish(SessionEnd(EndStatus.OK, "goodbye", "goodbye"))
            case InboundKind.REJECTED:
                assert inbound.rejected is not None
                metrics.REJECTED.labels(inbound.rejected.reason).inc()
                if self._inside_window(session, len(inbound.rejected.payload)):
                    handler.writer.rejected(session, inbound.rejected, inbound.message_id)

    def _register(self, session: Session, inbound: Inbound) -> None:
        handler = self._handler
        session.obeys_reconnect = inbound.reconnect
        if inbound.receipts and not session.wants_receipts:
            session.wants_receipts = True
            limits = handler.limits
            terms = Welcome(
                gateway_id=handler.gateway_id,
                epoch=session.epoch,
                heartbeat=limits.heartbeat_seconds,
                liveness=limits.liveness_seconds,
                window_messages=limits.window_messages,
                window_bytes=limits.window_bytes,
                max_message_bytes=limits.max_message_bytes,
            )
            session.notify(handler.contract.welcome(terms))

    # Backpressure

    def _inside_window(self, session: Session, size: int) -> bool:
        """Hold a client with receipts to its window; ends the session when it is outside."""
        limits = self._handler.limits
        if not session.wants_receipts or (
            session.outstanding_messages < limits.window_messages
            and session.outstanding_bytes + size <= limits.window_bytes
        ):
            return True
        session.finish(
            SessionEnd(EndStatus.RESOURCE_EXHAUSTED, "window", "more reports without a receipt than the window allows")
        )
        return False

    def _spent_budget(self, session: Session) -> str | None:
        """The budget because of which this stream is not read from now."""
        writer = self._handler.writer
        if session.undurable_bytes > self._handler.limits.stream_budget_bytes:
            return "stream"
        # A client with receipts keeps to its window, so that its acks always get through; that needs a bound too.
        if writer.over_budget(2 if session.wants_receipts else 1):
            return "process"
        return None

    async def _pause(self, session: Session, budget: str) -> None:
        metrics.PAUSES.labels(budget).inc()
        metrics.PAUSED.inc()
        session.paused = True
        self._handler.writer.wake_when_below(session)
        try:
            while session.end is None and self._spent_budget(session) is not None:
                await session.room()
        finally:
            self._handler.writer.forget(session)
            session.paused = False
            session.last_seen = self._handler.clock.monotonic()
            metrics.PAUSED.dec()
