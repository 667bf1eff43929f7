"""What gateways ask of one another: the holder's side. One request in, its answers out."""

from __future__ import annotations

import asyncio
from collections import deque

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

# Answers that are kept to be given once more, and for how long: a caller cut off asks again when it is back.
KEPT_ANSWERS = 8192
KEEP_SECONDS = 10.0


class _Delivery:
    """One call of another gateway, from its arrival until its answer needs no repeating."""

    __slots__ = ("accepting", "answer", "expiry", "pending", "reply", "session")

    def __init__(self, session: Session, reply: str) -> None:
        self.session = session
        self.reply = reply
        # None while the session is still being checked.
        self.pending: PendingCommand | None = None
        self.accepting: asyncio.Handle | None = None
        self.expiry: asyncio.Handle | None = None
        # Serialised; empty until there is one.
        self.answer = b""

    def stop_timers(self) -> None:
        for timer in (self.accepting, self.expiry):
            if timer is not None:
                timer.cancel()
        self.accepting = self.expiry = None


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
        self._deliveries: dict[str, _Delivery] = {}
        self._answered: deque[tuple[float, _Delivery]] = deque()

    async def close(self) -> None:
        """Stop answering."""
        await self._background.close()

    def on_request(self, session: Session, message: BusMessage) -> None:
        """Take a request for one client; never blocks."""
        request = HolderRequest.FromString(message.data)
        match request.WhichOneof("body"):
            case "deliver":
                self._take(session, request.deliver, message.reply)
            case "evict":
                self._background.spawn(self._leave(session, request.evict.epoch, message.reply))
            case _:
                self._on_call(request, message.reply)

    def on_gateway_request(self, message: BusMessage) -> None:
        """Take a request for this gateway; never blocks."""
        self._on_call(HolderRequest.FromString(message.data), message.reply)

    def _on_call(self, request: HolderRequest, reply: str) -> None:
        match request.WhichOneof("body"):
            case "cancel":
                self._forget(request.cancel.reply)
            case "probe":
                unknown = [name for name in request.probe.replies if not self._still_here(name)]
                self._reply(reply, HolderReply(gone=Gone(replies=unknown)))
            case _:
                pass  # a newer gateway's question; its caller stops waiting by itself

    # One call

    def _take(self, session: Session, deliver: Deliver, reply: str) -> None:
        if deliver.not_after_us and self._clock.now_us() > deliver.not_after_us + CLOCK_SKEW_US:
            metrics.LATE_REQUESTS.inc()
            return
        delivery = self._deliveries[reply] = _Delivery(session, reply)
        loop = asyncio.get_running_loop()
        delivery.accepting = loop.call_later(ACCEPT_SECONDS, self._accept, delivery)
        # The caller stops waiting by itself; this only cleans up.
        delivery.expiry = loop.call_later(deliver.timeout_ms / 1000, self._forget, reply)
        if self._table.trusted(session) and session.end is None:
            self._submit(delivery, deliver)
        else:
            self._background.spawn(self._verify_and_submit(delivery, deliver))

    async def _verify_and_submit(self, delivery: _Delivery, deliver: Deliver) -> None:
        try:
            held = await self._table.verify(delivery.session)
        except BusUnavailable:
            held = False
        if self._deliveries.get(delivery.reply) is not delivery:
            return  # cancelled, or too late, while we looked
        if held:
            self._submit(delivery, deliver)
        else:
            self._forget(delivery.reply)
            self._reply(delivery.reply, HolderReply(stale=Stale()))

    def _submit(self, delivery: _Delivery, deliver: Deliver) -> None:
        command = Command(
            client_id=delivery.session.client_id,
            command_id=deliver.command_id,
            payload=deliver.command,
            expires_at_us=deliver.expires_at_us,
        )

        def answer(outcome: bytes | Failure) -> None:
            self._answer(delivery, _failed(outcome) if isinstance(outcome, Failure) else HolderReply(ack=outcome))

        pending = PendingCommand(command, answer if deliver.wait else None)
        failure = delivery.session.submit(pending)
        if failure is not None:
            self._answer(delivery, _failed(failure))
        elif deliver.wait:
            delivery.pending = pending
        else:
            self._answer(delivery, HolderReply(queued=Queued()))

    def _answer(self, delivery: _Delivery, reply: HolderReply) -> None:
        """Answer, and keep the answer for a while."""
        delivery.stop_timers()
        delivery.pending = None
        delivery.answer = reply.SerializeToString()
        self._bus.post(delivery.reply, delivery.answer)
        now = self._clock.monotonic()
        answered = self._answered
        answered.append((now, delivery))
        while len(answered) > KEPT_ANSWERS or answered[0][0] < now - KEEP_SECONDS:
            del self._deliveries[answered.popleft()[1].reply]

    def _forget(self, name: str) -> None:
        """Nobody waits for this call any more."""
        delivery = self._deliveries.get(name)
        if delivery is None or delivery.answer:
            return
        del self._deliveries[name]
        delivery.stop_timers()
        if delivery.pending is not None:
            delivery.session.withdraw(delivery.pending)

    def _still_here(self, name: str) -> bool:
        delivery = self._deliveries.get(name)
        if delivery is None:
            return False
        if delivery.answer:
            self._bus.post(delivery.reply, delivery.answer)
        else:
            # Now the caller knows whom to watch, should it have missed that.
            self._accept(delivery)
        return True

    def _accept(self, delivery: _Delivery) -> None:
        accepted = Accepted(gateway_id=self._gateway_id, epoch=delivery.session.epoch)
        self._reply(delivery.reply, HolderReply(accepted=accepted))

    # Sessions

    async def _leave(self, session: Session, epoch: int, reply: str) -> None:
        if await self._table.evict(session, epoch):
            self._reply(reply, HolderReply(gone=Gone()))
        else:
            # The asker is the older one; it finds that out from the directory.
            self._reply(reply, HolderReply(stale=Stale()))

    def _reply(self, subject: str, reply: HolderReply) -> None:
        if subject:
            # Without the bus the asker learns the outcome as unknown, which it is.
            self._bus.post(subject, reply.SerializeToString())


def _failed(failure: Failure) -> HolderReply:
    return HolderReply(failed=Failed(code=ErrorCode(failure.code).value, message=failure.message))
