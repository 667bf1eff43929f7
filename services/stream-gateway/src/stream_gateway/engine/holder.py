"""What gateways ask of one another: the holder's side. One request in, its answers out."""

from __future__ import annotations

import asyncio

from crypto_streaming.errors import ErrorCode
from service_kit.clock import Clock
from stream_gateway import metrics
from stream_gateway._proto.bus_pb2 import Accepted, Deliver, Failed, Gone, HolderReply, HolderRequest, Queued, Stale

from .background import Background
from .contract import Command, Failure
from .seams import Bus, BusMessage, BusUnavailable
from .session import PendingCommand, Session
from .sessions import SessionTable

# How far the clocks of two gateways may differ before a request in time counts as late.
CLOCK_SKEW_US = 2_000_000

# A command that is not answered by then is confirmed as accepted, so that the caller knows whom to watch. Most are
# answered sooner. Below the callers' PROBE_SECONDS.
ACCEPT_SECONDS = 0.2


class HolderDesk:
    """Answers the requests that arrive for the clients held here.

    Args:
        bus: where answers go.
        table: the sessions.
        clock: the time.
        gateway_id: this process.
    """

    def __init__(self, bus: Bus, table: SessionTable, clock: Clock, gateway_id: str) -> None:
        self._clock = clock
        self._bus = bus
        self._table = table
        self._gateway_id = gateway_id
        self._background = Background()

    async def close(self) -> None:
        """Stop answering."""
        await self._background.close()

    def on_request(self, session: Session, message: BusMessage) -> None:
        """Take a request for one client; never blocks."""
        request = HolderRequest.FromString(message.data)
        match request.WhichOneof("body"):
            case "deliver" if self._table.trusted(session) and session.end is None:
                self._deliver(session, request.deliver, message.reply)
            case "deliver":
                self._background.spawn(self._verify_and_deliver(session, request.deliver, message.reply))
            case "cancel":
                session.withdraw_call(request.cancel.command_id, request.cancel.reply)
            case "evict":
                self._background.spawn(self._leave(session, request.evict.epoch, message.reply))
            case "probe":
                if session.awaits(request.probe.command_id, request.probe.reply):
                    self._accept(session, message.reply)
                else:
                    self._reply(message.reply, HolderReply(gone=Gone()))
            case _:
                pass  # a newer gateway's question; its caller stops waiting by itself

    def on_probe(self, message: BusMessage) -> None:
        """Answer that this gateway lives."""
        self._reply(message.reply, HolderReply(accepted=Accepted(gateway_id=self._gateway_id)))

    async def _verify_and_deliver(self, session: Session, deliver: Deliver, reply: str) -> None:
        try:
            held = await self._table.verify(session)
        except BusUnavailable:
            held = False
        if held:
            self._deliver(session, deliver, reply)
        else:
            self._reply(reply, HolderReply(stale=Stale()))

    def _deliver(self, session: Session, deliver: Deliver, reply: str) -> None:
        if deliver.not_after_us and self._clock.now_us() > deliver.not_after_us + CLOCK_SKEW_US:
            metrics.LATE_REQUESTS.inc()
            return
        command = Command(
            client_id=session.client_id,
            command_id=deliver.command_id,
            payload=deliver.command,
            expires_at_us=deliver.expires_at_us,
        )
        if not deliver.wait:
            failure = session.submit(PendingCommand(command, None))
            self._reply(reply, HolderReply(queued=Queued()) if failure is None else _failed(failure))
            return

        def answer(outcome: bytes | Failure) -> None:
            expiry.cancel()
            accepting.cancel()
            self._reply(reply, _failed(outcome) if isinstance(outcome, Failure) else HolderReply(ack=outcome))

        pending = PendingCommand(command, answer, caller=reply)
        # The caller stops waiting by itself; this only cleans up.
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(deliver.timeout_ms / 1000, session.withdraw, pending)
        accepting = loop.call_later(ACCEPT_SECONDS, self._accept_waiting, session, pending)
        failure = session.submit(pending)
        if failure is not None:
            answer(failure)

    def _accept_waiting(self, session: Session, pending: PendingCommand) -> None:
        if not pending.done:
            self._accept(session, pending.caller)

    async def _leave(self, session: Session, epoch: int, reply: str) -> None:
        if await self._table.evict(session, epoch):
            self._reply(reply, HolderReply(gone=Gone()))
        else:
            # The asker is the older one; it finds that out from the directory.
            self._reply(reply, HolderReply(stale=Stale()))

    def _accept(self, session: Session, reply: str) -> None:
        self._reply(reply, HolderReply(accepted=Accepted(gateway_id=self._gateway_id, epoch=session.epoch)))

    def _reply(self, subject: str, reply: HolderReply) -> None:
        if subject:
            # Without the bus the asker learns the outcome as unknown, which it is.
            self._bus.post(subject, reply.SerializeToString())


def _failed(failure: Failure) -> HolderReply:
    return HolderReply(failed=Failed(code=ErrorCode(failure.code).value, message=failure.message))
