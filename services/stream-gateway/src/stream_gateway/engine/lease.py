"""How long this gateway may trust that its sessions are the newest of their clients.

A gateway cut off from the bus can not hear that a client has connected elsewhere. It therefore serves its sessions only
while it has recent word from the bus; a new holder that gets no answer from an old one waits longer than that. After
any silence the lease has a new generation, and a session of an older generation is checked against the directory
before it is used.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from service_kit.clock import Clock
from stream_gateway import metrics

from .seams import Bus, BusUnavailable

log = logging.getLogger(__name__)


class Lease:
    """Trust in the sessions of this process.

    Args:
        bus: what contact is measured with.
        clock: the time.
        seconds: how long one contact lasts.
        on_renewed: called when the lease is valid again after a lapse (and the first time): sessions need checking.
    """

    def __init__(self, bus: Bus, clock: Clock, seconds: float, on_renewed: Callable[[], None]) -> None:
        self._bus = bus
        self._clock = clock
        self._seconds = seconds
        self._on_renewed = on_renewed
        self._contact = -math.inf
        self._probing: asyncio.Task[bool] | None = None
        self.generation = 0

    @property
    def valid(self) -> bool:
        """Whether sessions of the current generation may be used right now."""
        return self._clock.monotonic() - self._contact < self._seconds and self._bus.connected

    def lapse(self) -> None:
        """Word of the lost connection: trust ends now."""
        self._contact = -math.inf

    async def ensure(self) -> bool:
        """Make the lease valid if the bus answers; one attempt serves all who ask at the same time."""
        if self.valid:
            return True
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._renew())
        return await asyncio.shield(self._probing)

    async def run(self) -> None:
        """Keep the lease valid until cancelled."""
        while True:
            await self._renew()
            await asyncio.sleep(self._seconds / 6)

    async def _renew(self) -> bool:
        # Taken before the round trip: what the bus sent us before answering has been heard by then.
        asked = self._clock.monotonic()
        try:
            await self._bus.round_trip(self._seconds / 2)
        except BusUnavailable:
            metrics.BUS_CONNECTED.set(0)
            return False
        metrics.BUS_CONNECTED.set(1)
        lapsed = self._clock.monotonic() - self._contact >= self._seconds
        self._contact = max(self._contact, asked)
        if lapsed:
            self.generation += 1
            metrics.LEASE_LAPSES.inc()
            log.info("lease renewed after silence", extra={"generation": self.generation})
            self._on_renewed()
        return self.valid
