"""Time, passed in: tests turn it by hand."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where a client reads the time, and how it waits."""

    def time_ns(self) -> int:
        """Wall clock: nanoseconds since 1970-01-01 UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point. Never goes back."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait until `event` is set, for at most `seconds` (None: for ever); whether it is set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def time_ns(self) -> int:
        """See `Clock`."""
        return time.time_ns()

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """See `Clock`."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        return event.is_set()
