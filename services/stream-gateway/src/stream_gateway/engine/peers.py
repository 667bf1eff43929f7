"""What gateways ask of one another: the caller's side.

A request goes to the subject of a client; whoever holds it answers. Nobody there is known at once. A holder that has
accepted a command and dies is noticed by probing it while commands wait there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Generator
from typing import Literal

from crypto_streaming.errors import ErrorCode, known_code
from service_kit.clock import Clock
from stream_gateway._proto.bus_pb2 import Cancel, Deliver, Evict, HolderReply, HolderRequest, Probe

from .contract import Command, Failure, no_ack_within
from .seams import Bus, BusMessage, BusUnavailable, Subscription

log = logging.getLogger(__name__)

# How often a holder with waiting commands is asked whether it still lives.
PROBE_SECONDS = 0.5
# After "not me any more": how long somebody else may take to answer.
STALE_SECONDS = 0.5

# Old holders of one client that a new one asks to leave, one after the other: after an outage there may be two.
OLD_HOLDERS = 4
# Calls in one probe: about 50 KiB.
PROBED_AT_ONCE = 1000

# What the caller's side says by itself when it does not know what the holder did.
_NOT_THE_HOLDERS_WORD = frozenset({ErrorCode.COMMAND_TIMEOUT, ErrorCode.CLIENT_DISCONNECTED})
_HOLDER_GONE = Failure(
    ErrorCode.CLIENT_DISCONNECTED, "the gateway that held the client is gone; the outcome is unknown"
)

OldHolder = Literal["remote", "unresponsive"]


class _Call:
    """A command under way to another gateway."""

    __slots__ = ("answer", "holder", "inbox", "stale_timer", "subject")

    def __init__(self, subject: str, answer: asyncio.Future[bytes | Failure | None]) -> None:
        self.subject = subject
        self.answer = answer
        # Where the answer goes: the call's name, also beside others with the same command_id.
        self.inbox = ""
        # Where the gateway that has accepted the command answers probes; empty until one has.
        self.holder = ""
        self.stale_timer: asyncio.Handle | None = None

    def finish(self, outcome: bytes | Failure | None) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


class PeerClient:
    """Asks other gateways.

    Args:
        bus: how they are reached.
        clock: the time.
        client_subject: token -> subject of requests for a client.
        gateway_subject: gateway id -> subject on which a living gateway answers probes.
        answer_seconds: how long a holder may take to answer before it counts as unresponsive.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        *,
        client_subject: Callable[[str], str],
        gateway_subject: Callable[[str], str],
        answer_seconds: float,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._client_subject = client_subject
        self._gateway_subject = gateway_subject
        self.answer_seconds = answer_seconds
        self._inbox = bus.new_inbox()
        self._numbers = itertools.count(1)
        self._handlers: dict[str, Callable[[BusMessage | HolderReply], None]] = {}
        self._subscription: Subscription | None = None
        self._calls: set[_Call] = set()

    async def start(self) -> None:
        """Listen for answers; once is enough."""
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(f"{self._inbox}.*", self._dispatch)

    async def deliver(self, token: str, command: Command, *, wait: bool, timeout: float) -> bytes | Failure | None:  # noqa: ASYNC109
        """Have a command delivered by whoever holds the client.

        Args:
            token: the client.
            command: what to deliver.
            wait: for the ack; otherwise only until it is queued.
            timeout: seconds.

        Returns:
            The ack; None when queued; or why not.
        """
        call = _Call(self._client_subject(token), asyncio.get_running_loop().create_future())
        request = HolderRequest(
            deliver=Deliver(
                command_id=command.command_id,
                command=command.payload,
                wait=wait,
                timeout_ms=int(timeout * 1000),
                expires_at_us=command.expires_at_us,
                not_after_us=self._clock.now_us() + int(timeout * 1e6),
            )
        )
        with self._expecting(lambda reply: self._answered(call, reply)) as call.inbox:
            timer = asyncio.get_running_loop().call_later(timeout, lambda: call.finish(no_ack_within(timeout)))
            self._calls.add(call)
            try:
                await self._bus.publish(call.subject, request.SerializeToString(), call.inbox)
                outcome = await call.answer
            except BusUnavailable:
                return Failure(ErrorCode.BUS_UNAVAILABLE, "this gateway can not reach the bus; nothing was sent")
            except asyncio.CancelledError:
                self._cancel(call)
                raise
            finally:
                timer.cancel()
                if call.stale_timer is not None:
                    call.stale_timer.cancel()
                self._calls.discard(call)
        if isinstance(outcome, Failure) and outcome.code in _NOT_THE_HOLDERS_WORD:
            # Whoever has the command after all is not to obey it any more, if it can be helped.
            self._cancel(call)
        return outcome

    async def evict(self, token: str, epoch: int) -> OldHolder | None:
        """Ask the holder of an older session to leave, and wait until it has.

        Returns:
            None when there was none, "remote" when it left, "unresponsive" when it did not answer in time.

        Raises:
            BusUnavailable: nobody could be asked.
        """
        request = HolderRequest(evict=Evict(epoch=epoch))
        left: OldHolder | None = None
        for _ in range(OLD_HOLDERS):
            # The old holder's trust ends some time after the question was routed to it: silence counts from then, and
            # not at all when the question may have been lost with our own connection.
            reply = await self._ask(self._client_subject(token), request, confirmed=True)
            if reply is None:
                log.warning("old holder did not answer", extra={"token": token})
                return "unresponsive"
            if isinstance(reply, BusMessage) or not reply.HasField("gone"):
                return left
            # Who has left does not listen any more. After an outage there may be two, one of which does not know yet
            # that it is not the newest: only when nobody is there, all have left.
            left = "remote"
        log.error("old holders keep answering", extra={"token": token})
        return "unresponsive"

    async def run(self) -> None:
        """Look after the commands that wait, until cancelled: does their holder still live, and still have them?"""
        while True:
            earlier = set(self._calls)
            await asyncio.sleep(PROBE_SECONDS)
            # Only those that have waited for a whole round: most commands are answered long before.
            by_subject: dict[str, list[_Call]] = {}
            for call in self._calls:
                if call in earlier:
                    by_subject.setdefault(call.holder or call.subject, []).append(call)
            await asyncio.gather(
                *(
                    self._probe(subject, calls[start : start + PROBED_AT_ONCE])
                    for subject, calls in by_subject.items()
                    for start in range(0, len(calls), PROBED_AT_ONCE)
                )
            )

    async def _probe(self, subject: str, calls: list[_Call]) -> None:
        """One question for the commands that wait at one gateway, or for one client."""
        probe = HolderRequest(probe=Probe(replies=[call.inbox for call in calls]))
        with contextlib.suppress(BusUnavailable):
            reply = await self._ask(subject, probe)
            if reply is None:
                return
            # What the holder answered before it answered this has been heard by now.
            gone = None if isinstance(reply, BusMessage) else set(reply.gone.replies)
            for call in calls:
                if (gone is None or call.inbox in gone) and (call.holder or call.subject) == subject:
                    call.finish(_HOLDER_GONE)

    def _cancel(self, call: _Call) -> None:
        request = HolderRequest(cancel=Cancel(reply=call.inbox))
        self._bus.post(call.holder or call.subject, request.SerializeToString())

    def _answered(self, call: _Call, reply: BusMessage | HolderReply) -> None:
        if isinstance(reply, BusMessage):
            call.finish(Failure(ErrorCode.CLIENT_NOT_CONNECTED, "no gateway holds this client"))
            return
        match reply.WhichOneof("body"):
            case "accepted":
                call.holder = self._gateway_subject(reply.accepted.gateway_id)
                if call.stale_timer is not None:
                    call.stale_timer.cancel()
            case "queued":
                call.finish(None)
            case "ack":
                call.finish(reply.ack)
            case "failed":
                code = known_code(reply.failed.code) or ErrorCode.CLIENT_DISCONNECTED
                call.finish(Failure(code, reply.failed.message))
            case "stale" if call.stale_timer is None and not call.holder:
                call.stale_timer = asyncio.get_running_loop().call_later(
                    STALE_SECONDS,
                    call.finish,
                    # Another holder may have the command all the same, and be slow to say so.
                    Failure(
                        ErrorCode.CLIENT_DISCONNECTED, "the client is moving to another gateway; the outcome is unknown"
                    ),
                )
            case _:
                pass

    async def _ask(
        self, subject: str, request: HolderRequest, *, confirmed: bool = False
    ) -> HolderReply | BusMessage | None:
        """One question, one answer: a BusMessage means nobody is there, None that nobody answered in time.

        With `confirmed`, the time begins when the bus has surely taken the question.

        Raises:
            BusUnavailable: it was not asked, or (with `confirmed`) perhaps not.
        """
        answer: asyncio.Future[HolderReply | BusMessage | None] = asyncio.get_running_loop().create_future()

        def finish(reply: HolderReply | BusMessage | None) -> None:
            if not answer.done():
                answer.set_result(reply)

        with self._expecting(finish) as inbox:
            if confirmed:
                await self._bus.publish(subject, request.SerializeToString(), inbox)
                await self._bus.round_trip(self.answer_seconds)
            timer = asyncio.get_running_loop().call_later(self.answer_seconds, finish, None)
            try:
                if not confirmed:
                    await self._bus.publish(subject, request.SerializeToString(), inbox)
                return await answer
            finally:
                timer.cancel()

    @contextlib.contextmanager
    def _expecting(self, handler: Callable[[BusMessage | HolderReply], None]) -> Generator[str]:
        """Route what arrives on the yielded inbox to the handler."""
        number = str(next(self._numbers))
        self._handlers[number] = handler
        try:
            yield f"{self._inbox}.{number}"
        finally:
            del self._handlers[number]

    def _dispatch(self, message: BusMessage) -> None:
        handler = self._handlers.get(message.subject.rpartition(".")[2])
        if handler is None:
            return  # an answer that nobody waits for any more
        handler(message if message.no_responders else HolderReply.FromString(message.data))
