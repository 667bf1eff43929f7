"""The seams in memory: for in-process mode, where one process is the whole system, and for tests."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict, deque
from collections.abc import Callable

from .seams import BusMessage, BusUnavailable, Subscription

log = logging.getLogger(__name__)


class MemoryBus:
    """Subjects within one event loop. Delivery is never inside `publish`, as on a real bus."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[[BusMessage], None]]] = defaultdict(list)
        self._inboxes = itertools.count(1)
        self.connected = True

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """See `Bus`."""
        self._require_connection()
        heard = self._give(BusMessage(subject, data, reply))
        if reply and not heard:
            self._give(BusMessage(reply, b"", no_responders=True))

    def post(self, subject: str, data: bytes) -> None:
        """See `Bus`."""
        if self.connected:
            self._give(BusMessage(subject, data))

    async def subscribe(self, subject: str, handler: Callable[[BusMessage], None]) -> Subscription:
        """See `Bus`."""
        self._require_connection()
        self._handlers[subject].append(handler)
        return _MemorySubscription(self._handlers, subject, handler)

    async def round_trip(self, timeout: float) -> None:  # noqa: ARG002, ASYNC109  (answers at once)
        """See `Bus`."""
        self._require_connection()
        await asyncio.sleep(0)

    def new_inbox(self) -> str:
        """See `Bus`."""
        return f"_INBOX.{next(self._inboxes)}"

    def _give(self, message: BusMessage) -> bool:
        handlers = self._matching(message.subject)
        for handler in handlers:
            asyncio.get_running_loop().call_soon(handler, message)
        return bool(handlers)

    def _matching(self, subject: str) -> list[Callable[[BusMessage], None]]:
        wildcard = subject.rpartition(".")[0] + ".*"
        return [*self._handlers.get(subject, ()), *self._handlers.get(wildcard, ())]

    def _require_connection(self) -> None:
        if not self.connected:
            raise BusUnavailable("not connected")


class _MemorySubscription:
    def __init__(
        self,
        handlers: dict[str, list[Callable[[BusMessage], None]]],
        subject: str,
        handler: Callable[[BusMessage], None],
    ) -> None:
        self._handlers = handlers
        self._subject = subject
        self._handler = handler

    async def unsubscribe(self) -> None:
        """See `Subscription`."""
        listening = self._handlers.get(self._subject, [])
        if self._handler in listening:
            listening.remove(self._handler)
        if not listening:
            self._handlers.pop(self._subject, None)


class MemoryDirectory:
    """Epochs within one process."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._last = 0

    async def claim(self, token: str, gateway_id: str) -> int:  # noqa: ARG002  (one process holds all)
        """See `SessionDirectory`."""
        self._last += 1
        self._epochs[token] = self._last
        return self._last

    async def current_epoch(self, token: str) -> int:
        """See `SessionDirectory`."""
        return self._epochs.get(token, 0)


class MemorySink:
    """Hands each frame to a function: an application's own persistence, or a list.

    Args:
        take: durable means that it has returned; when it raises, the frame is offered again.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._taken: deque[str] = deque(maxlen=1024)

    async def publish(self, frame_id: str, data: bytes) -> None:
        """See `FrameSink`."""
        if frame_id in self._taken:
            return
        try:
            self._take(data)
        except Exception as error:
            log.exception("the application did not take a frame")
            raise BusUnavailable(str(error)) from error
        self._taken.append(frame_id)
