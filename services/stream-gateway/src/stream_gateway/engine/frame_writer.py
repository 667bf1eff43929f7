"""Turns what happens on all sessions into durable frames.

Entries of many clients share a frame. Nagle's rule decides when one is published: at once after a quiet time, otherwise
a little after the previous one and when that is confirmed, or when the frame is full; entries that nobody waits for may
linger. A frame that is refused is tried again under the same id until it is taken: nothing is dropped here, and what
bounds the memory is that streams are not read from while the budget is spent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque

from service_kit.clock import Clock
from service_kit.frames import Frame, Rejected, SessionClosed, SessionOpened
from stream_gateway import metrics

from .seams import BusUnavailable, FrameSink, SinkFull
from .session import Session

log = logging.getLogger(__name__)

# A frame is cut before it would exceed this: well below NATS's 1 MiB, with room for one message of the largest size.
# What an entry is taken for is never less than what it will be on the wire.
FRAME_BYTES = 512 * 1024
FRAMES_UNDER_WAY = 8
# Between two frames that are not full: a publish, and a receipt to each client in the frame, cost far more than an
# entry.
PACE_SECONDS = 0.003
# What an entry costs beyond its texts: numbers, tags, lengths. In memory it is more, so that even the emptiest messages
# spend the budget.
ENTRY_OVERHEAD = 128
RETRY_FIRST_SECONDS = 0.05
RETRY_MOST_SECONDS = 2.0

# Session, message id, bytes in the window (None: not counted), bytes in the budgets.
Ticket = tuple[Session, str, int | None, int]


class _Batch:
    """A frame that is being filled, and who is to be told of it."""

    __slots__ = ("bytes", "frame", "tickets")

    def __init__(self, gateway_id: str) -> None:
        self.frame = Frame(gateway_id=gateway_id)
        self.tickets: list[Ticket] = []
        self.bytes = 0


class FrameWriter:
    """Collects entries into frames and publishes them.

    Args:
        sink: the durable log.
        gateway_id: named in each frame; unique per process start.
        clock: for `received_at`.
        budget_bytes: bytes not yet durable above which `over_budget` is true.
        linger_seconds: how long an entry that nobody waits for may stay.
    """

    def __init__(
        self, sink: FrameSink, gateway_id: str, clock: Clock, *, budget_bytes: int, linger_seconds: float
    ) -> None:
        self._sink = sink
        self._gateway_id = gateway_id
        self._clock = clock
        self._budget = budget_bytes
        self._linger = linger_seconds
        self._batch = _Batch(gateway_id)
        self._ready: deque[_Batch] = deque()
        self._sequence = 0
        self._last_stamp = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._refused: set[str] = set()
        self._timer: asyncio.Handle | None = None
        self._hurry = False
        self._last_cut = -PACE_SECONDS
        self._paused: set[Session] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.undurable_bytes = 0
        metrics.UNDURABLE_BYTES.set_function(lambda: self.undurable_bytes)

    # Entries

    def report(self, session: Session, raw: bytes, message_id: str, *, counted: bool) -> None:
        """Add a client's message.

        Args:
            session: whose it is; its `position` is the message's.
            raw: the message as received.
            message_id: for the receipt; empty = none.
            counted: it occupies the client's window until it is durable.
        """
        cost = ENTRY_OVERHEAD + len(session.client_id) + len(raw)
        self._make_room_for(cost)
        self._batch.frame.entries.add(
            client_id=session.client_id,
            epoch=session.epoch,
            position=session.position,
            received_at_us=self._stamp(),
            report=raw,
        )
        self._added(session, message_id, len(raw) if counted else None, cost)

    def rejected(self, session: Session, rejected: Rejected, message_id: str) -> None:
        """Add a message for the dead letters; it occupies the window like a report."""
        cost = ENTRY_OVERHEAD + len(session.client_id) + rejected.ByteSize()
        self._make_room_for(cost)
        self._batch.frame.entries.add(
            client_id=session.client_id,
            epoch=session.epoch,
            position=session.position,
            received_at_us=self._stamp(),
            rejected=rejected,
        )
        self._added(session, message_id, len(rejected.payload), cost)

    def opened(self, session: Session) -> None:
        """Add that the session began."""
        opened = SessionOpened(peer=session.peer)
        cost = ENTRY_OVERHEAD + len(session.client_id) + opened.ByteSize()
        self._make_room_for(cost)
        self._batch.frame.entries.add(
            client_id=session.client_id, epoch=session.epoch, received_at_us=self._stamp(), opened=opened
        )
        self._added(session, "", None, cost)

    def closed(self, session: Session, reason: str) -> None:
        """Add that the session ended."""
        cost = ENTRY_OVERHEAD + len(session.client_id) + len(reason)
        self._make_room_for(cost)
        self._batch.frame.entries.add(
            client_id=session.client_id,
            epoch=session.epoch,
            received_at_us=self._stamp(),
            closed=SessionClosed(reason=reason),
        )
        self._added(session, "", None, cost)

    def _stamp(self) -> int:
        """The time of arrival; no two entries have the same, so that it tells apart copies of one message_id."""
        self._last_stamp = max(self._clock.now_us(), self._last_stamp + 1)
        return self._last_stamp

    def _make_room_for(self, cost: int) -> None:
        if self._batch.bytes + cost > FRAME_BYTES:
            self._cut()

    def _added(self, session: Session, message_id: str, size: int | None, cost: int) -> None:
        batch = self._batch
        batch.bytes += cost
        batch.tickets.append((session, message_id, size, cost))
        session.undurable_bytes += cost
        self.undurable_bytes += cost
        if size is not None:
            session.outstanding_messages += 1
            session.outstanding_bytes += size
            if session.wants_receipts:
                self._publish_soon()
                return
        if self._timer is None and not self._hurry:
            self._set_timer(asyncio.get_running_loop().call_later(self._linger, self._linger_over))

    # Budget

    def over_budget(self, share: int = 1) -> bool:
        """Whether more than `share` times the budget is not durable yet."""
        return self.undurable_bytes > share * self._budget

    def wake_when_below(self, session: Session) -> None:
        """Call the session's `make_room` when entries have become durable."""
        self._paused.add(session)

    def forget(self, session: Session) -> None:
        """Undo `wake_when_below`."""
        self._paused.discard(session)

    # Publishing

    async def flush(self) -> None:
        """Return when all that was added before is durable. May take as long as an outage lasts."""
        self._cut()
        await self._idle.wait()

    def _publish_soon(self) -> None:
        if self._hurry:
            return
        self._hurry = True
        if self._nothing_under_way:
            self._cut_at_pace()

    @property
    def _nothing_under_way(self) -> bool:
        """Whether no frame is likely to be confirmed soon; refused ones count only once all places are taken."""
        count = len(self._under_way)
        return count == len(self._refused) and count < FRAMES_UNDER_WAY

    def _cut_at_pace(self) -> None:
        """Let the collected entries go, at once after a quiet time, else a little after the frame before."""
        loop = asyncio.get_running_loop()
        # Even without a delay not now: what else has already arrived comes along.
        self._set_timer(loop.call_at(self._last_cut + PACE_SECONDS, self._cut))

    def _linger_over(self) -> None:
        if len(self._under_way) < FRAMES_UNDER_WAY:
            self._cut()
        else:
            # Nothing goes now: fill this frame instead of lining up many small ones, for as long as an outage lasts.
            self._set_timer(None)
            self._hurry = True

    def _set_timer(self, timer: asyncio.Handle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _cut(self) -> None:
        """Let the collected entries go: at once, or as soon as fewer frames are under way."""
        self._set_timer(None)
        self._hurry = False
        if self._batch.tickets:
            self._ready.append(self._batch)
            self._batch = _Batch(self._gateway_id)
            self._idle.clear()
            self._last_cut = asyncio.get_running_loop().time()
        while self._ready and len(self._under_way) < FRAMES_UNDER_WAY:
            self._sequence += 1
            task = asyncio.create_task(self._publish(f"{self._gateway_id}:{self._sequence}", self._ready.popleft()))
            self._under_way.add(task)
            task.add_done_callback(self._published)

    def _published(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.result()
        if self._ready:
            self._cut()
        elif self._hurry and self._nothing_under_way:
            self._cut_at_pace()
        if not self._under_way and not self._ready:
            self._idle.set()

    async def _publish(self, frame_id: str, batch: _Batch) -> None:
        data = batch.frame.SerializeToString()
        started = time.perf_counter()
        delay = RETRY_FIRST_SECONDS
        while True:
            try:
                await self._sink.publish(frame_id, data)
                break
            except SinkFull:
                why = "full"
            except BusUnavailable:
                why = "unavailable"
            except Exception:
                # Whatever it was: giving up would leave clients waiting for receipts that never come.
                log.exception("publishing a frame failed")
                why = "failed"
            if frame_id not in self._refused:
                # The next frames do not wait for this one's turn.
                self._refused.add(frame_id)
                if self._hurry and self._nothing_under_way:
                    self._cut_at_pace()
            metrics.FRAME_RETRIES.labels(why).inc()
            log.warning("frame not taken, trying again", extra={"frame_id": frame_id, "why": why})
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)
            delay = min(delay * 2, RETRY_MOST_SECONDS)
        self._refused.discard(frame_id)
        metrics.FRAME_SECONDS.observe(time.perf_counter() - started)
        metrics.FRAMES.inc()
        metrics.FRAME_ENTRIES.inc(len(batch.tickets))
        self._settle(batch.tickets)

    def _settle(self, tickets: list[Ticket]) -> None:
        touched: set[Session] = set()
        total = 0
        for session, message_id, size, cost in tickets:
            session.undurable_bytes -= cost
            if size is not None:
                session.durable(message_id, size)
            elif message_id:
                session.confirm(message_id)
            total += cost
            touched.add(session)
        self.undurable_bytes -= total
        for session in touched:
            if session.has_receipts:
                session.wake()
        if self._paused:
            for session in tuple(self._paused):
                session.make_room()
