"""Dead letters, tried again: after the fault that made them is mended, or to see that it still is there.

A letter goes the way of a live message, with its original time of receipt and place: where it belongs among newer
values, it takes its place behind them. Each is one transaction under a lock of its row, so that several replays, and
workers, may run at once; doing it again does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psycopg

from ingest_worker.domain.decode import Decoder
from ingest_worker.domain.refused import RefusedError
from ingest_worker.domain.rows import DeadLetter
from service_kit.deadletters import DeadLetterReason

from .database import Connection, Fault, fault_of
from .tables import DEAD_LETTERS
from .writer import Writer

_MAX_WORDS = 1000


@dataclass(frozen=True)
class Selection:
    """Which letters; None everywhere is all that were not replayed yet.

    Attributes:
        client_id: of this client.
        reason: with this reason.
        letter_id: this one.
        limit: at most so many, the oldest.
    """

    client_id: str | None = None
    reason: str | None = None
    letter_id: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Replayed:
    """What became of one letter; `error` is empty when its message is stored now."""

    letter_id: int
    letter: DeadLetter
    error: str


class Replay:
    """Replays dead letters through one connection, which `database.prepare` has made ready."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._writer = Writer(connection)
        self._decoder = Decoder()

    def select(self, selection: Selection) -> list[int]:
        """Find the ids of letters to replay, oldest first."""
        rows = self._connection.execute(
            """
            SELECT id FROM dead_letters
            WHERE replayed_at IS NULL
                AND (%(client_id)s::text IS NULL OR client_id = %(client_id)s)
                AND (%(reason)s::text IS NULL OR reason = %(reason)s)
                AND (%(letter_id)s::bigint IS NULL OR id = %(letter_id)s)
            ORDER BY id LIMIT %(limit)s::bigint
            """,
            vars(selection),
        ).fetchall()
        return [letter_id for (letter_id,) in rows]

    def run(self, selection: Selection, *, dry_run: bool = False) -> Iterator[Replayed]:
        """Replay the selected letters one by one.

        Args:
            selection: which.
            dry_run: roll everything back; the answers are the same.

        Raises:
            psycopg.Error: the database is out; those before are done.
        """
        for letter_id in self.select(selection):
            replayed = self._replay(letter_id, dry_run)
            if replayed is not None:
                yield replayed

    def _replay(self, letter_id: int, dry_run: bool) -> Replayed | None:
        while True:
            try:
                with self._connection.transaction(force_rollback=dry_run):
                    letter = self._lock(letter_id)
                    if letter is None:
                        return None
                    error = self._attempt(letter)
                    self._connection.execute(
                        "UPDATE dead_letters SET replay_error = %s, replayed_at = CASE WHEN %s THEN now() END"
                        " WHERE id = %s",
                        [error, not error, letter_id],
                    )
            except psycopg.Error as failure:
                # A worker takes these locks in another order, and may be in the way.
                if fault_of(failure) is not Fault.CONFLICT:
                    raise
            else:
                return Replayed(letter_id, letter, error)

    def _lock(self, letter_id: int) -> DeadLetter | None:
        """Take one letter, unless someone else has it or it has been replayed meanwhile."""
        query = f"""
            SELECT {DEAD_LETTERS.select_list("d")} FROM dead_letters AS d
            WHERE id = %s AND replayed_at IS NULL FOR UPDATE SKIP LOCKED
        """  # noqa: S608  (our own constants)
        row = self._connection.execute(query.encode(), [letter_id]).fetchone()
        return None if row is None else DeadLetter(*row)

    def _attempt(self, letter: DeadLetter) -> str:
        """Write a letter's message; return why that was not possible, empty when it was. Leaves no trace if not."""
        try:
            rows = self._decoder.decode_letter(letter)
        except RefusedError as refused:
            return refused.detail
        if rows.dead_letters:
            return _words(rows.dead_letters.values())
        try:
            with self._connection.transaction() as savepoint:
                conflicts = self._writer.write(rows).conflicts
                if conflicts:
                    raise psycopg.Rollback(savepoint)
        except psycopg.Error as error:
            if fault_of(error) is not Fault.DATA:
                raise
            return str(error).strip()[:_MAX_WORDS]
        return f"{DeadLetterReason.MESSAGE_ID_CONFLICT}: another content stands" if conflicts else ""


def _words(letters: Iterable[DeadLetter]) -> str:
    return "; ".join(f"{letter.reason}: {letter.detail}" for letter in letters)[:_MAX_WORDS]
