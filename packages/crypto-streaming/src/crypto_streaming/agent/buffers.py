"""Where reports wait until the server has them for good."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

ENTRY_OVERHEAD = 6
"""Bytes that one message costs inside a batch beside its own: tag and length."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A buffered report.

    Attributes:
        sequence: its place in the buffer; grows by at least one each time.
        message_id: its id.
        payload: the serialised `ClientMessage`, which is sent as it is, however often.
    """

    sequence: int
    message_id: str
    payload: bytes


class Buffer(Protocol):
    """Keeps reports, in order, until they are removed. Used from one event loop.

    `put` is the only method that waits for room; `open`, `put`, `read` and `close` may wait for a disk, `remove` never
    does. Cancelling `put` leaves the report stored or not stored.
    """

    @property
    def oldest(self) -> int | None:
        """Sequence of the first entry; None when empty."""
        ...

    @property
    def newest(self) -> int:
        """Sequence of the last entry ever put; 0 before the first."""
        ...

    def __len__(self) -> int:
        """How many entries there are."""
        ...

    async def open(self, client_id: str) -> None:
        """Make ready; entries of a former process appear.

        Raises:
            ValueError: the buffer holds another client's reports.
            OSError: it can not be opened, or another process has it.
        """
        ...

    async def put(self, message_id: str, payload: bytes) -> None:
        """Append a report; waits while the buffer is full, and until it is kept as well as this buffer keeps things.

        Raises:
            ValueError: the report alone is larger than the whole buffer.
            RuntimeError: the buffer is closed.
        """
        ...

    async def read(self, after: int, max_messages: int, max_bytes: int) -> Sequence[Entry]:
        """Entries with a larger sequence than `after`, in order.

        At most `max_messages`, and at most `max_bytes` with `ENTRY_OVERHEAD` for each; but one at least, if there is
        one.
        """
        ...

    def remove(self, sequences: Iterable[int]) -> None:
        """Forget entries; unknown ones are ignored. On disk it happens soon, in the background."""
        ...

    async def close(self) -> None:
        """Finish what is under way, and let go. Whoever waits in `put` is refused."""
        ...


class Room:
    """The capacity of a buffer: whoever waits is served in order.

    Args:
        max_messages: at most so many entries.
        max_bytes: at most so many bytes of payload.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ValueError("a buffer holds at least one message and one byte")
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages = 0
        self._bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._closed = False

    async def take(self, size: int) -> None:
        """Take room for one entry; waits until there is.

        Raises:
            ValueError: there never will be.
            RuntimeError: the buffer is closed.
        """
        if self._closed:
            raise RuntimeError("the buffer is closed")
        if size > self._max_bytes:
            raise ValueError(f"a report of {size} bytes does not fit a buffer of {self._max_bytes}")
        if not self._waiting and self._fits(size):
            self.add(size)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.free(size)  # the turn had come already
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove((turn, size))
                self._serve()
            raise

    def add(self, size: int) -> None:
        """Count an entry that is there already, full or not."""
        self._messages += 1
        self._bytes += size

    def free(self, size: int) -> None:
        """Give back the room of one entry."""
        self._messages -= 1
        self._bytes -= size
        self._serve()

    def close(self) -> None:
        """Refuse whoever waits or comes."""
        self._closed = True
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(RuntimeError("the buffer is closed"))

    def _fits(self, size: int) -> bool:
        return self._messages < self._max_messages and self._bytes + size <= self._max_bytes

    def _serve(self) -> None:
        while self._waiting and (self._waiting[0][0].done() or self._fits(self._waiting[0][1])):
            turn, size = self._waiting.popleft()
            if not turn.done():
                self.add(size)
                turn.set_result(None)


class MemoryBuffer:
    """A `Buffer` in memory: survives reconnects, not the process.

    Args:
        max_messages: `put` waits beyond so many entries.
        max_bytes: likewise, of their payloads.
    """

    def __init__(self, max_messages: int = 100_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._room = Room(max_messages, max_bytes)
        # Ordered: finding the first key of a plain dict whose front was removed takes time in proportion to what was.
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._newest = 0

    @property
    def oldest(self) -> int | None:
        """See `Buffer`."""
        return next(iter(self._entries), None)

    @property
    def newest(self) -> int:
        """See `Buffer`."""
        return self._newest

    def __len__(self) -> int:
        """See `Buffer`."""
        return len(self._entries)

    async def open(self, client_id: str) -> None:
        """See `Buffer`; there is nothing to open."""

    async def put(self, message_id: str, payload: bytes) -> None:
        """See `Buffer`."""
        await self._room.take(len(payload))
        self._newest += 1
        self._entries[self._newest] = Entry(self._newest, message_id, payload)

    async def read(self, after: int, max_messages: int, max_bytes: int) -> Sequence[Entry]:
        """See `Buffer`."""
        found: list[Entry] = []
        size = 0
        for sequence in range(max(after + 1, self.oldest or 1), self._newest + 1):
            entry = self._entries.get(sequence)
            if entry is None:
                continue
            size += len(entry.payload) + ENTRY_OVERHEAD
            if found and (len(found) >= max_messages or size > max_bytes):
                break
            found.append(entry)
        return found

    def remove(self, sequences: Iterable[int]) -> None:
        """See `Buffer`."""
        for sequence in sequences:
            entry = self._entries.pop(sequence, None)
            if entry is not None:
                self._room.free(len(entry.payload))

    async def close(self) -> None:
        """See `Buffer`; the entries stay."""
        self._room.close()
