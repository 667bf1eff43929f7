"""From frames to committed rows, without NATS: what the worker does with a batch, for it, the bench and the tests.

with database.connect(url) as connection:
    database.prepare(connection)
    Pipeline(connection).process([StoredFrame(data) for data in frames])
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

import psycopg

from . import metrics
from .adapters.database import Connection, Fault, fault_of
from .adapters.writer import Outcome, Writer
from .domain.decode import Decoder, Piece, StoredFrame, split
from .domain.rows import Rows

log = logging.getLogger(__name__)

MAX_ROWS = 10_000
"""Rows of one transaction, unless told otherwise."""

# So often a transaction takes too long before it is taken apart: at first something may just have been in the way.
_TIMEOUTS = 2


class Part(ABC):
    """What is written in one transaction.

    Attributes:
        timeouts: how often it, or what it was a part of, took too long.
    """

    def __init__(self, timeouts: int = 0) -> None:
        self.timeouts = timeouts

    @property
    @abstractmethod
    def size(self) -> int:
        """Upper bound of the parts that it can be taken apart into."""

    @abstractmethod
    def rows(self, decoder: Decoder) -> Rows:
        """Return what is to be written."""

    @abstractmethod
    def split(self, limit: int) -> list[Part]:
        """Take it apart into parts of at most this size."""


class _RowsPart(Part):
    """Rows as they were decoded."""

    def __init__(self, rows: Rows, timeouts: int = 0) -> None:
        super().__init__(timeouts)
        self._rows = rows

    @property
    def size(self) -> int:
        return self._rows.size

    def rows(self, decoder: Decoder) -> Rows:  # noqa: ARG002  (others need it)
        return self._rows

    def split(self, limit: int) -> list[Part]:
        return [_RowsPart(rows, self.timeouts) for rows in self._rows.parts(limit)]


class _PiecesPart(Part):
    """Messages, to find the one that is refused: rows do not tell which bytes they were made of."""

    def __init__(self, pieces: Sequence[Piece], timeouts: int = 0) -> None:
        super().__init__(timeouts)
        self.pieces = pieces

    @property
    def size(self) -> int:
        return len(self.pieces)

    def rows(self, decoder: Decoder) -> Rows:
        return decoder.decode_pieces(self.pieces)

    def split(self, limit: int) -> list[Part]:
        return [_PiecesPart(self.pieces[at : at + limit], self.timeouts) for at in range(0, self.size, limit)]


class _LetterPart(Part):
    """One message that was refused."""

    def __init__(self, piece: Piece, detail: str) -> None:
        super().__init__()
        self._piece = piece
        self._detail = detail

    @property
    def size(self) -> int:
        return 1

    def rows(self, decoder: Decoder) -> Rows:
        return decoder.bury_piece(self._piece, self._detail)

    def split(self, limit: int) -> list[Part]:  # noqa: ARG002  (others need it)
        return [self]


class Job:
    """One batch on its way into the database; knows what is left to do when an attempt fails.

    Args:
        frames: of the batch.
        rows: made of them.
        max_rows: bound of one transaction.

    Attributes:
        outcomes: of the transactions that were committed.
    """

    def __init__(self, frames: Sequence[StoredFrame], rows: Rows, max_rows: int = MAX_ROWS) -> None:
        self.outcomes: list[Outcome] = []
        self._frames = frames
        self._max_rows = max_rows
        self._todo: list[Part] = [_RowsPart(rows)]
        self._bisected = False

    def next(self) -> Part | None:
        """Return what is written next, None when all is."""
        if not self._todo:
            return None
        if self._todo[0].size > self._max_rows:
            self._todo[:1] = self._todo[0].split(self._max_rows)
        return self._todo[0]

    def written(self, outcome: Outcome) -> None:
        """Note that the next part is written."""
        self.outcomes.append(outcome)
        del self._todo[0]

    def refused(self, error: Exception) -> None:
        """Note that the database refuses the next part: go on with smaller ones.

        Raises:
            Exception: the error, when there is nothing smaller.
        """
        part = self._todo[0]
        if isinstance(part, _LetterPart):
            raise error
        if isinstance(part, _PiecesPart):
            if part.size == 1:
                log.error("message refused", extra={"error": _words(error)})
                self._todo[:1] = [_LetterPart(part.pieces[0], _words(error))]
                return
            self._todo[:1] = self._halves(part)
            return
        log.warning("batch refused, looking for the message", extra={"error": _words(error)})
        pieces = split(self._frames)
        if not pieces:
            raise error
        # What was committed before is in there again, which does no harm.
        whole = _PiecesPart(pieces, part.timeouts)
        self._todo = self._halves(whole)

    def timed_out(self) -> None:
        """Note that the next part took too long. From the second time on it is halved; one row alone comes last."""
        part = self._todo[0]
        part.timeouts += 1
        if part.timeouts < _TIMEOUTS:
            return
        if part.size > 1:
            log.warning("batch takes too long, trying smaller ones", extra={"rows": part.size})
            self._todo[:1] = self._halves(part)
        else:
            log.error("one row takes too long")
            self._todo.append(self._todo.pop(0))

    def _halves(self, part: Part) -> list[Part]:
        if not self._bisected:
            self._bisected = True
            metrics.BISECTIONS.inc()
        return part.split((part.size + 1) // 2)


class Pipeline:
    """Decodes and writes batches through one connection. `decode` may run in another thread than `write`.

    Args:
        connection: made ready by `database.prepare`.
    """

    def __init__(self, connection: Connection) -> None:
        self.decoder = Decoder()
        self.writer = Writer(connection)

    def process(self, frames: Sequence[StoredFrame]) -> list[Outcome]:
        """Decode and write one batch; see `run`."""
        return self.run(Job(frames, self.decoder.decode(frames)))

    def run(self, job: Job) -> list[Outcome]:
        """Write one batch and commit it; what the database refuses becomes a dead letter, the rest is committed.

        Returns:
            What each transaction did: one, unless the batch was too large or had to be bisected.

        Raises:
            psycopg.Error: not the data's fault (see `fault_of`): run the same job again later, perhaps through another
                pipeline; it goes on where it stopped.
        """
        while (part := job.next()) is not None:
            try:
                outcome = self.writer.write(part.rows(self.decoder))
            except Exception as error:
                fault = fault_of(error)
                if fault is Fault.TIMEOUT:
                    job.timed_out()
                if fault is not Fault.DATA:
                    raise
                job.refused(error)
            else:
                job.written(outcome)
        return job.outcomes


def _words(error: Exception) -> str:
    """Return what went wrong, in one line."""
    if not isinstance(error, psycopg.Error):
        return repr(error)[:1000]
    return f"{error.sqlstate or 'client'}: {error.diag.message_primary or error}"[:1000]
