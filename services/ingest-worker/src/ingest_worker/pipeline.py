"""From frames to committed rows, without NATS: what the worker does with a batch, for it, the bench and the tests.

with database.connect(url) as connection:
    database.prepare(connection)
    Pipeline(connection).process([StoredFrame(data) for data in frames])
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg

from .adapters.database import Connection, Fault, fault_of
from .adapters.writer import Outcome, Writer
from .domain.decode import Decoder, Piece, StoredFrame, split
from .domain.rows import Rows

log = logging.getLogger(__name__)


class Pipeline:
    """Decodes and writes batches through one connection. `decode` may run in another thread than `write`.

    Args:
        connection: made ready by `database.prepare`.
    """

    def __init__(self, connection: Connection) -> None:
        self.decoder = Decoder()
        self.writer = Writer(connection)

    def process(self, frames: Sequence[StoredFrame]) -> list[Outcome]:
        """Decode and write one batch; see `write`."""
        return self.write(frames, self.decoder.decode(frames))

    def write(self, frames: Sequence[StoredFrame], rows: Rows) -> list[Outcome]:
        """Write one batch and commit it; what the database refuses becomes a dead letter, the rest is committed.

        Returns:
            What each transaction did: one, unless the batch had to be bisected.

        Raises:
            psycopg.Error: not the data's fault (see `fault_of`): try again later. Parts of the batch may have been
                committed; doing it again does no harm.
        """
        try:
            return [self.writer.write(rows)]
        except Exception as error:
            if fault_of(error) is not Fault.DATA:
                raise
            log.warning("batch refused, looking for the message", extra={"error": _words(error)})
            return self._bisect(split(frames), error)

    def _bisect(self, pieces: Sequence[Piece], error: Exception) -> list[Outcome]:
        """Write pieces of which at least one was refused, half by half, down to the one that is to blame."""
        if len(pieces) == 1:
            log.error("message refused", extra={"error": _words(error)})
            return [self.writer.write(self.decoder.bury_piece(pieces[0], _words(error)))]
        middle = len(pieces) // 2
        outcomes: list[Outcome] = []
        for half in (pieces[:middle], pieces[middle:]):
            try:
                outcomes.append(self.writer.write(self.decoder.decode_pieces(half)))
            except Exception as half_error:
                if fault_of(half_error) is not Fault.DATA:
                    raise
                outcomes += self._bisect(half, half_error)
        return outcomes


def _words(error: Exception) -> str:
    """Return what went wrong, in one line."""
    if not isinstance(error, psycopg.Error):
        return repr(error)[:1000]
    return f"{error.sqlstate or 'client'}: {error.diag.message_primary or error}"[:1000]
