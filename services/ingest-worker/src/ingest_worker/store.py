"""The worker's one line to the database: a thread of its own, and a connection that is made anew when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import psycopg

from service_kit.clock import Clock

from . import metrics
from .adapters.background import BackgroundThread
from .adapters.database import Connection, Fault, connect, fault_of, prepare
from .adapters.writer import Outcome
from .domain.decode import StoredFrame
from .domain.rows import Rows
from .pipeline import Job, Pipeline

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_FIRST_PAUSE_SECONDS = 0.1
_CLOSE_SECONDS = 1.0
STOP_GRACE_SECONDS = 2.0
"""A statement that is cancelled when the time for finishing is over gets so long to end; then it is abandoned."""


class StoppedError(Exception):
    """The time for finishing is over; what was to be written was not, or not known to be."""


class Store:
    """Writes batches, waiting out whatever is not their fault.

    Args:
        url: of the database.
        statement_seconds: bound of one statement.
        backoff_seconds: bound of the pause between two attempts.
        batch_rows: bound of one transaction.
        clock: for the deadline.

    Attributes:
        available: whether the database answered last time.
        over: set when nothing is waited for any longer.
    """

    def __init__(
        self, url: str, *, statement_seconds: float, backoff_seconds: float, batch_rows: int, clock: Clock
    ) -> None:
        self._url = url
        self._statement_seconds = statement_seconds
        self._backoff_seconds = backoff_seconds
        self._batch_rows = batch_rows
        self._clock = clock
        self._thread = BackgroundThread("database")
        self._connection: Connection | None = None
        self._pipeline: Pipeline | None = None
        self._deadline: float | None = None
        self._stopping = asyncio.Event()
        self.over = asyncio.Event()
        self.available = False

    async def open(self) -> None:
        """Wait until the database is there, with the schema.

        Raises:
            StoppedError: told to stop first.
        """
        await self._persist(self._ensure, give_up=self._stopping)

    async def write(self, frames: Sequence[StoredFrame], rows: Rows) -> list[Outcome]:
        """Write and commit one batch, however long it takes.

        Raises:
            StoppedError: see `stop_within`.
        """
        job = Job(frames, rows, self._batch_rows)
        return await self._persist(lambda: self._ensure().run(job))

    async def write_once(self, rows: Rows) -> Outcome:
        """Write and commit rows that are not worth waiting for.

        Raises:
            psycopg.Error: they were not written.
            StoppedError: see `stop_within`.
        """
        return await self._in_thread(lambda: self._ensure().writer.write(rows), self.over)

    def stop_within(self, seconds: float) -> None:
        """Let what is under way finish in this time; afterwards it, and what comes later, raises StoppedError.

        A database that does not answer is waited for `STOP_GRACE_SECONDS` longer at most. Whether it commits what was
        sent to it is then not known; that the frames are delivered again does no harm.
        """
        self._deadline = self._clock.monotonic() + seconds
        self._stopping.set()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._cancel_statement)
        loop.call_later(seconds + STOP_GRACE_SECONDS, self.over.set)

    async def close(self) -> None:
        """End the connection and the thread; what does not end in time is left to the end of the process."""
        dropping = self._thread.submit(self._drop)
        self._thread.close()
        await asyncio.wait({dropping}, timeout=_CLOSE_SECONDS)

    async def _persist(self, work: Callable[[], _Result], give_up: asyncio.Event | None = None) -> _Result:
        """Do something until it succeeds, the time for finishing is over, or `give_up` is set."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if self._deadline is not None and self._clock.monotonic() >= self._deadline:
                raise StoppedError
            try:
                result = await self._in_thread(work, give_up or self.over)
            except psycopg.Error as error:
                fault = fault_of(error)
                if fault is Fault.DATA:
                    raise
                metrics.RETRIES.labels(fault.value).inc()
                self._note(available=fault in {Fault.CONFLICT, Fault.TIMEOUT})
                log.warning("write failed", extra={"cause": fault.value, "error": str(error).strip()})
            else:
                self._note(available=True)
                return result
            # Full jitter: workers that failed together do not come back together.
            await self._pause(random.uniform(0, pause))  # noqa: S311  (no secret)
            pause = min(pause * 2, self._backoff_seconds)

    def _note(self, *, available: bool) -> None:
        self.available = available
        metrics.CONNECTED.labels("database").set(int(available))

    async def _pause(self, seconds: float) -> None:
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, _FIRST_PAUSE_SECONDS))
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _in_thread(self, work: Callable[[], _Result], give_up: asyncio.Event) -> _Result:
        if give_up.is_set():
            raise StoppedError
        working = self._thread.submit(lambda: self._guarded(work))
        giving_up = asyncio.create_task(give_up.wait())
        try:
            await asyncio.wait({working, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise StoppedError
            return working.result()
        finally:
            giving_up.cancel()
            # No-op when it is done; what has begun goes on in its thread, and nobody asks how it ends.
            working.cancel()

    def _guarded(self, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except psycopg.Error as error:
            if fault_of(error) not in {Fault.DATA, Fault.CONFLICT}:
                # Whatever it was, a new connection is sure to be in a known state.
                self._drop()
            raise

    def _ensure(self) -> Pipeline:
        if self._pipeline is None or self._connection is None or self._connection.closed:
            self._drop()
            connection = connect(self._url, statement_seconds=self._statement_seconds)
            self._connection = connection
            prepare(connection)
            self._pipeline = Pipeline(connection)
        return self._pipeline

    def _drop(self) -> None:
        connection, self._connection, self._pipeline = self._connection, None, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _cancel_statement(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            return

        def cancel() -> None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=STOP_GRACE_SECONDS)

        # That takes a connection of its own, which may hang as well.
        threading.Thread(target=cancel, name="cancel", daemon=True).start()
