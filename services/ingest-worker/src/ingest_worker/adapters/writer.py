"""Writes one batch of rows in one transaction: COPY into staging tables, from there into the tables.

History first, because only it knows which copies of a message count; then the latest values, of those copies that do;
then clients and dead letters. Every worker takes tables in this order and rows in the order of their keys, so that two
of them wait for, and do not block, each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest_worker.domain.fold import fold_transactions, fold_wallets
from ingest_worker.domain.rows import DeadLetter, History, Key, Letters, Rows

from .database import Connection
from .resolver import Resolved, remake, resolve
from .tables import (
    CLIENT_ERRORS,
    CLIENT_LOGS,
    CLIENTS,
    DEAD_LETTERS,
    TRANSACTION_EVENTS,
    TRANSACTIONS,
    WALLET_BALANCES,
    WALLETS,
    Table,
)


@dataclass
class Outcome:
    """What a write did.

    Attributes:
        written: rows by table: inserted ones for history tables, merged ones for the others.
        conflicts: keys of messages that were not stored because another content stands under their message_id.
        letters: all dead letters that were written.
    """

    written: dict[str, int] = field(default_factory=dict[str, int])
    conflicts: list[Key] = field(default_factory=list[Key])
    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])


class Writer:
    """Writes through one connection, which `database.prepare` has made ready. Not for several threads at once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def write(self, rows: Rows) -> Outcome:
        """Write and commit; within a transaction of the caller's, write only.

        Raises:
            psycopg.Error: nothing was written; `database.fault_of` says what it means.
        """
        outcome = Outcome()
        # Conflicts add letters; when this attempt is rolled back, the next one must not find them.
        letters = Letters(rows.dead_letters)
        with self.connection.transaction():
            balances = self._store(WALLET_BALANCES, rows.wallet_balances, letters, outcome)
            events = self._store(TRANSACTION_EVENTS, rows.transaction_events, letters, outcome)
            self._store(CLIENT_ERRORS, rows.client_errors, letters, outcome)
            self._store(CLIENT_LOGS, rows.client_logs, letters, outcome)
            balances.rows += remake(self.connection, WALLET_BALANCES, balances)
            self._load(WALLETS, [state[:-1] for state in fold_wallets(balances.rows)], outcome)
            events.rows += remake(self.connection, TRANSACTION_EVENTS, events)
            self._load(TRANSACTIONS, [state[:-1] for state in fold_transactions(events.rows)], outcome)
            self._load(
                CLIENTS,
                [
                    (client_id, *(getattr(state, column) for column in CLIENTS.columns[1:]))
                    for client_id, state in sorted(rows.clients.items())
                ],
                outcome,
            )
            outcome.letters = [letters[key] for key in sorted(letters)]
            self._load(DEAD_LETTERS, outcome.letters, outcome)
        return outcome

    def _store(self, table: Table, history: History, letters: Letters, outcome: Outcome) -> Resolved:
        """Insert history rows, and settle what shares an id."""
        if not history.rows:
            return Resolved()
        staged = [history.rows[key] for key in sorted(history.rows)]
        inserted = self._load(table, staged, outcome)
        if inserted == len(staged) and not history.others:
            return Resolved(rows=staged)
        resolved = resolve(self.connection, table, history)
        for letter in resolved.letters:
            letters.add(letter)
        outcome.conflicts += resolved.lost
        return resolved

    def _load(self, table: Table, staged: Sequence[Sequence[object]], outcome: Outcome) -> int:
        if not staged:
            return 0
        with self.connection.cursor() as cursor:
            with cursor.copy(table.copy) as copy:
                copy.set_types(table.copy_types)
                write_row = copy.write_row
                for row in staged:
                    write_row(row)
            cursor.execute(table.insert)
            outcome.written[table.name] = cursor.rowcount
            return cursor.rowcount
