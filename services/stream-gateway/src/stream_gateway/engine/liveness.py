"""Ends silent sessions, and publishes who is connected."""

from __future__ import annotations

import asyncio
import contextlib

from service_kit.clock import Clock
from service_kit.frames import PresenceSnapshot

from .seams import Bus, BusUnavailable
from .session import EndStatus, Session, SessionEnd
from .sessions import SessionTable

# Clients in one snapshot message: about 200 KiB at most.
SNAPSHOT_SESSIONS = 1000
SILENT = SessionEnd(EndStatus.DEADLINE_EXCEEDED, "silent", "nothing heard from this client for too long")


class Liveness:
    """Watches when each client was last heard.

    Args:
        table: the sessions.
        bus: where snapshots go.
        clock: the time.
        gateway_id: named in the snapshots.
        presence_subject: where snapshots go.
        timeout_seconds: a client silent for longer is gone.
        presence_seconds: between two snapshots.
    """

    def __init__(
        self,
        *,
        table: SessionTable,
        bus: Bus,
        clock: Clock,
        gateway_id: str,
        presence_subject: str,
        timeout_seconds: float,
        presence_seconds: float,
    ) -> None:
        self._table = table
        self._bus = bus
        self._clock = clock
        self._gateway_id = gateway_id
        self._presence_subject = presence_subject
        self._timeout = timeout_seconds
        self._presence_seconds = presence_seconds

    async def sweep_forever(self) -> None:
        """End silent sessions until cancelled."""
        while True:
            await asyncio.sleep(min(self._timeout / 10, 5.0))
            self.sweep()

    def sweep(self) -> None:
        """End the sessions that have been silent too long. While we do not read, silence says nothing."""
        oldest = self._clock.monotonic() - self._timeout
        for session in self._table.all():
            if session.last_seen < oldest and not session.paused:
                session.finish(SILENT)

    async def publish_forever(self) -> None:
        """Publish snapshots until cancelled."""
        while True:
            await asyncio.sleep(self._presence_seconds)
            with contextlib.suppress(BusUnavailable):  # the next one says it all
                await self.publish()

    async def publish(self) -> None:
        """Publish who is connected now.

        Raises:
            BusUnavailable: not all of it was published.
        """
        sessions = [session for session in self._table.all() if session.ready and session.end is None]
        for start in range(0, len(sessions), SNAPSHOT_SESSIONS):
            await self._bus.publish(
                self._presence_subject, self._snapshot(sessions[start : start + SNAPSHOT_SESSIONS]).SerializeToString()
            )

    def _snapshot(self, sessions: list[Session]) -> PresenceSnapshot:
        snapshot = PresenceSnapshot(gateway_id=self._gateway_id)
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        for session in sessions:
            seen_us = now_us - int((now - session.last_seen) * 1e6)
            snapshot.sessions.add(client_id=session.client_id, epoch=session.epoch, last_seen_us=seen_us)
        return snapshot
