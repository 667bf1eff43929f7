"""Leaving in order: every client is asked, or made, to go elsewhere, spread over a window."""

from __future__ import annotations

import asyncio
import logging
import random

from service_kit.clock import Clock
from stream_gateway import metrics

from .contract import Contract
from .frame_writer import FrameWriter
from .session import EndStatus, Session, SessionEnd
from .sessions import SessionTable
from .stream import StreamHandler

log = logging.getLogger(__name__)

DRAINING = SessionEnd(EndStatus.UNAVAILABLE, "draining", "this gateway is leaving; connect again")
# Parts of the window: until the last client has been asked, and until the last one is closed.
ASKED_BY = 0.6
CLOSED_BY = 0.8
POLL_SECONDS = 0.05


class Drain:
    """Empties this gateway.

    Args:
        handler: refuses new streams from now on.
        table: the sessions to end.
        writer: flushed at the end.
        contract: words the notices.
        clock: the time.
        reconnect_delay_seconds: upper bound of the delay each client is asked to wait.
    """

    def __init__(
        self,
        *,
        handler: StreamHandler,
        table: SessionTable,
        writer: FrameWriter,
        contract: Contract,
        clock: Clock,
        reconnect_delay_seconds: float,
    ) -> None:
        self._handler = handler
        self._table = table
        self._writer = writer
        self._contract = contract
        self._clock = clock
        self._delay = reconnect_delay_seconds

    async def run(self, window_seconds: float) -> None:
        """Return when no session is left and every entry is durable, or the window is over.

        Clients that obey Reconnect are asked one after the other and leave by themselves; the others are closed, one
        after the other too. A session with a command that waits for its ack is closed as late as the window allows.
        """
        started = self._clock.monotonic()
        metrics.DRAINING.set(1)
        self._handler.refusing = DRAINING
        sessions = self._table.all()
        log.info("draining", extra={"streams": len(sessions), "window_seconds": window_seconds})
        random.shuffle(sessions)
        gap = window_seconds * ASKED_BY / max(1, len(sessions))
        for number, session in enumerate(sessions):
            await self._until(started + gap * number)
            self._ask_to_leave(session)
        last = started + window_seconds * CLOSED_BY
        while len(self._table) and self._clock.monotonic() < last:
            # Who could not be asked, and waited for an ack just now, goes when it has come.
            for session in self._table.all():
                if not session.obeys_reconnect and session.waiting == 0:
                    session.finish(DRAINING)
            await asyncio.sleep(POLL_SECONDS)
        for session in self._table.all():
            session.finish(DRAINING)
        try:
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + started + window_seconds - self._clock.monotonic()
            ):
                while len(self._table):  # noqa: ASYNC110  (streams end on their own; the window bounds it)
                    await asyncio.sleep(POLL_SECONDS)
                await self._writer.flush()
        except TimeoutError:
            log.error("drain window over", extra={"undurable_bytes": self._writer.undurable_bytes})

    def _ask_to_leave(self, session: Session) -> None:
        if session.obeys_reconnect:
            delay = random.uniform(0, self._delay)  # noqa: S311  (spread, not secrecy)
            session.notify(self._contract.reconnect(delay, "the gateway is leaving"))
        elif session.waiting == 0:
            session.finish(DRAINING)

    async def _until(self, when: float) -> None:
        left = when - self._clock.monotonic()
        if left > 0:
            await asyncio.sleep(left)
