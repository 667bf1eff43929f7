"""One client's session: its outbound queue, the commands that wait for an ack, its window, its signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from crypto_streaming.errors import ErrorCode
from service_kit.clock import Clock
from stream_gateway import metrics

from .contract import Command, Failure

# Ids in one receipt notice: keeps the notice well below the clients' message limits.
RECEIPT_IDS = 4096
_QUEUED_NOTHING_SENT = "the session ended before the command was written; nothing was sent"


class EndStatus(StrEnum):
    """How a stream ends; the values are names of gRPC statuses."""

    OK = "OK"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    ABORTED = "ABORTED"
    UNAVAILABLE = "UNAVAILABLE"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """Why a stream ended.

    Attributes:
        status: what the client is told.
        reason: one word, for metrics and for the database.
        details: what the client is told in words.
    """

    status: EndStatus
    reason: str
    details: str


class PendingCommand:
    """A command on its way to one client: first queued, then sent, then acked.

    Args:
        command: what to deliver.
        on_done: called once with the ack or the failure; None when nobody waits for the ack.
    """

    __slots__ = ("command", "done", "on_done", "sent")

    def __init__(self, command: Command, on_done: Callable[[bytes | Failure], None] | None) -> None:
        self.command = command
        self.on_done = on_done
        self.sent = False
        self.done = False

    def resolve(self, outcome: bytes | Failure) -> None:
        """Tell who waits; the first outcome counts."""
        if not self.done:
            self.done = True
            if self.on_done is not None:
                self.on_done(outcome)


class Session:
    """The newest stream of one client, as far as this gateway knows.

    Everything here runs on the event loop and never blocks.

    Args:
        client_id: whose session it is.
        token: the client id as a subject token.
        epoch: the session's fencing number.
        peer: the client's address, as the transport gives it.
        clock: the time.
        outbox_messages: how many commands may wait to be written.
    """

    __slots__ = (
        "_clock",
        "_confirmations",
        "_notices",
        "_outbox",
        "_outbox_limit",
        "_receipted_bytes",
        "_receipts",
        "_room",
        "_waiting",
        "_wakeup",
        "client_id",
        "end",
        "epoch",
        "generation",
        "half_closed",
        "last_seen",
        "obeys_reconnect",
        "outstanding_bytes",
        "outstanding_messages",
        "paused",
        "peer",
        "position",
        "ready",
        "stop_writing",
        "token",
        "undurable_bytes",
        "wants_receipts",
    )

    def __init__(
        self, client_id: str, token: str, epoch: int, *, peer: str, clock: Clock, outbox_messages: int
    ) -> None:
        self.client_id = client_id
        self.token = token
        self.epoch = epoch
        # Of the lease under which the epoch was last seen to be the newest; 0 = not yet.
        self.generation = 0
        # Requests for this client reach it: it may be used from here too.
        self.ready = False
        self.peer = peer
        self.end: SessionEnd | None = None
        self.half_closed = False
        self.wants_receipts = False
        self.obeys_reconnect = False
        self.position = 0
        self.paused = False
        self.outstanding_messages = 0
        self.outstanding_bytes = 0
        self.undurable_bytes = 0
        self.last_seen = clock.monotonic()
        # Called when the session has ended while a write is under way, which may be stuck behind a full window.
        self.stop_writing: Callable[[], None] | None = None
        self._clock = clock
        self._outbox_limit = outbox_messages
        # Ordered, quick to withdraw from, and an eighth of an empty deque: there is one for each idle stream.
        self._outbox: dict[PendingCommand, None] = {}
        self._notices: list[bytes] = []
        self._receipts: list[str] = []
        self._receipted_bytes = 0
        # Bounded: who sends acks and reads nothing is not told of all of them.
        self._confirmations: list[str] = []
        self._waiting: dict[str, PendingCommand] = {}
        self._wakeup: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    # Commands

    def submit(self, pending: PendingCommand) -> Failure | None:
        """Queue a command; a failure means that nothing was or will be sent."""
        command = pending.command
        if self.end is not None or (self.half_closed and pending.on_done is not None):
            return Failure(ErrorCode.CLIENT_NOT_CONNECTED, f"Client {self.client_id} not connected")
        if command.command_id in self._waiting:
            return Failure(ErrorCode.DUPLICATE_COMMAND, f"command {command.command_id} is already waiting for its ack")
        if self._expired(command):
            return Failure(ErrorCode.COMMAND_EXPIRED, "expires_at passed before the command was sent")
        if len(self._outbox) >= self._outbox_limit:
            return Failure(
                ErrorCode.CLIENT_OVERLOADED, f"{len(self._outbox)} commands wait to be written to the client already"
            )
        self._outbox[pending] = None
        if pending.on_done is not None:
            self._waiting[command.command_id] = pending
            metrics.ACK_WAITS.value += 1
        self.wake()
        return None

    def withdraw(self, pending: PendingCommand) -> None:
        """Forget a command: its ack will be counted as unknown, and if it was not written yet, it never will be."""
        pending.done = True
        self._stop_waiting(pending)
        self._outbox.pop(pending, None)

    def acknowledge(self, command_id: str, ack: bytes) -> bool:
        """Give an ack to who waits for it; False when nobody does."""
        pending = self._waiting.get(command_id)
        if pending is None or not pending.sent:
            return False
        self._stop_waiting(pending)
        pending.resolve(ack)
        return True

    @property
    def waiting(self) -> int:
        """How many commands wait for their ack."""
        return len(self._waiting)

    def close_inbound(self) -> None:
        """The client will say nothing more (half-close): no ack can come, but commands still can go."""
        self.half_closed = True
        self._fail_waiting("the client closed its side of the stream")

    def finish(self, end: SessionEnd) -> None:
        """End the session; the first reason counts. Who waits learns it now."""
        if self.end is not None:
            return
        self.end = end
        if self._outbox:
            metrics.UNSENT_COMMANDS.labels("ended").inc(len(self._outbox))
        self._fail_waiting(f"the stream ended: {end.details}")
        self._outbox.clear()
        self._receipts.clear()
        self._confirmations.clear()
        self.wake()
        self.make_room()
        if self.stop_writing is not None:
            self.stop_writing()

    def _fail_waiting(self, why: str) -> None:
        for pending in list(self._waiting.values()):
            self._stop_waiting(pending)
            # What was not written by now is not written later either: its caller is told that nothing was sent.
            self._outbox.pop(pending, None)
            if pending.sent:
                pending.resolve(Failure(ErrorCode.CLIENT_DISCONNECTED, f"{why}; the outcome is unknown"))
            else:
                pending.resolve(Failure(ErrorCode.CLIENT_NOT_CONNECTED, _QUEUED_NOTHING_SENT))

    def _stop_waiting(self, pending: PendingCommand) -> None:
        command_id = pending.command.command_id
        if self._waiting.get(command_id) is pending:
            del self._waiting[command_id]
            metrics.ACK_WAITS.value -= 1

    def _expired(self, command: Command) -> bool:
        return command.expires_at_us > 0 and self._clock.now_us() >= command.expires_at_us

    # What is written to the client

    def notify(self, notice: bytes) -> None:
        """Queue a notice ahead of the commands."""
        self._notices.append(notice)
        self.wake()

    def next_notice(self) -> bytes | None:
        """Take the next notice to write."""
        return self._notices.pop(0) if self._notices else None

    def next_command(self) -> bytes | None:
        """Take the next command to write; what expired in the queue fails instead."""
        while self._outbox:
            pending = next(iter(self._outbox))
            del self._outbox[pending]
            if self._expired(pending.command):
                metrics.UNSENT_COMMANDS.labels("expired").inc()
                self._stop_waiting(pending)
                pending.resolve(Failure(ErrorCode.COMMAND_EXPIRED, "expires_at passed before the command was sent"))
                continue
            pending.sent = True
            return pending.command.payload
        return None

    def next_receipts(self) -> list[str]:
        """Take the message ids to confirm next; empty when there are none."""
        receipts = self._receipts
        if len(receipts) <= RECEIPT_IDS:
            self._receipts = []
        else:
            self._receipts = receipts[RECEIPT_IDS:]
            receipts = receipts[:RECEIPT_IDS]
        self.outstanding_messages -= len(receipts)
        self.outstanding_bytes -= self._receipted_bytes
        self._receipted_bytes = 0
        if self._confirmations:
            receipts = receipts + self._confirmations
            self._confirmations = []
        return receipts

    @property
    def has_receipts(self) -> bool:
        """Whether there are message ids to confirm."""
        return bool(self._receipts or self._confirmations)

    async def something_to_write(self) -> None:
        """Return when there may be something to write, or the session has ended."""
        self._wakeup = asyncio.get_running_loop().create_future()
        try:
            await self._wakeup
        finally:
            self._wakeup = None

    def wake(self) -> None:
        """Let the writer look again."""
        wakeup = self._wakeup
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)

    # Durability

    def confirm(self, message_id: str) -> None:
        """An ack or a registration, which does not occupy the window, is durable."""
        if self.wants_receipts and self.end is None and len(self._confirmations) < RECEIPT_IDS:
            self._confirmations.append(message_id)

    def durable(self, message_id: str, size: int) -> None:
        """A message that occupies the window is durable.

        It leaves the window when its receipt is written: who sends and does not read is held to the window too.
        """
        if self.wants_receipts and message_id and self.end is None:
            self._receipts.append(message_id)
            self._receipted_bytes += size
        else:
            self.outstanding_messages -= 1
            self.outstanding_bytes -= size

    async def room(self) -> None:
        """Return when a budget may have been freed, or the session has ended."""
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None

    def make_room(self) -> None:
        """Let a paused reader look again."""
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)
