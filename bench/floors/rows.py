"""The floor of the worker: COPY into staging tables and upsert, of rows that were made before the clock started.

`python -m bench.floors.rows URL MESSAGES BATCH RUN` writes the rows that the worker makes of the same backlog, a
transaction for each batch, and prints what it took as an `Outcome`. It is to be the fastest that this Python can do, or
it would be no floor: binary COPY, times as the integers that PostgreSQL keeps, amounts cast on the way to the table.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from bench.load.backlog import entries
from bench.load.meter import Meter
from crypto_streaming import pb

Row = tuple[Any, ...]


# Of a staging column: its type there, the type that psycopg writes into the COPY, the cast on the way to the table.
Kind = tuple[LiteralString, LiteralString, LiteralString]
_TEXT: Kind = ('text COLLATE "C"', "text", "")
_KINDS: dict[LiteralString, Kind] = {
    **dict.fromkeys(("balance_available", "balance_locked", "amount"), ("text", "text", "::numeric")),
    # Microseconds since 2000 are what a timestamptz is in a binary COPY.
    **dict.fromkeys(
        ("last_sync", "sent_at", "received_at", "updated_at", "first_seen_at"), ("timestamptz", "int8", "")
    ),
    **dict.fromkeys(("epoch", "position"), ("bigint", "int8", "")),
    **dict.fromkeys(("order_key", "content_hash"), ("bytea", "bytea", "")),
}
_ORDER: Kind = ("bytea", "bytea", "")
_YEAR_2000_US = 946_684_800_000_000


@dataclass(frozen=True)
class Target:
    """A table, the columns that are written, and what to do with rows that are there already."""

    table: LiteralString
    columns: tuple[LiteralString, ...]
    on_conflict: LiteralString

    @property
    def kinds(self) -> list[Kind]:
        """Of each column."""
        return [_ORDER if column.endswith("_order") else _KINDS.get(column, _TEXT) for column in self.columns]

    @property
    def create_stage(self) -> sql.SQL:
        """Makes an unlogged, unindexed twin of the table."""
        columns = ", ".join(f"{column} {kind[0]}" for column, kind in zip(self.columns, self.kinds, strict=True))
        return sql.SQL(f"CREATE TEMP TABLE stage_{self.table} ({columns}) ON COMMIT DELETE ROWS")

    @property
    def copy(self) -> sql.SQL:
        """Fills the twin."""
        return sql.SQL(f"COPY stage_{self.table} FROM STDIN (FORMAT BINARY)")

    @property
    def upsert(self) -> sql.SQL:
        """Takes the rows of the twin into the table."""
        values = ", ".join(column + kind[2] for column, kind in zip(self.columns, self.kinds, strict=True))
        return sql.SQL(
            f"INSERT INTO {self.table} ({', '.join(self.columns)}) SELECT {values} FROM stage_{self.table}"
            f" ON CONFLICT {self.on_conflict}"
        )


_HISTORY_COLUMNS = ("sent_at", "received_at", "epoch", "position", "order_key", "content_hash")
_NEWER_BALANCE: LiteralString = """(client_id, wallet_id, symbol) DO UPDATE SET
    balance_available = excluded.balance_available, balance_available_order = excluded.balance_available_order,
    balance_locked = excluded.balance_locked, balance_locked_order = excluded.balance_locked_order,
    last_sync = excluded.last_sync, last_sync_order = excluded.last_sync_order, updated_at = excluded.updated_at
    WHERE excluded.last_sync_order > wallets.last_sync_order"""
_NEWER_STATE: LiteralString = """(client_id, transaction_id) DO UPDATE SET
    type = excluded.type, type_order = excluded.type_order, symbol = excluded.symbol,
    symbol_order = excluded.symbol_order, amount = excluded.amount, amount_order = excluded.amount_order,
    status = excluded.status, status_order = excluded.status_order, details = excluded.details,
    details_order = excluded.details_order, updated_at = excluded.updated_at
    WHERE excluded.status_order > transactions.status_order"""

BALANCES = Target(
    "wallet_balances",
    (
        *("client_id", "message_id", "wallet_id", "symbol", "balance_available", "balance_locked", "last_sync"),
        *_HISTORY_COLUMNS,
    ),
    "(client_id, message_id) DO NOTHING",
)
EVENTS = Target(
    "transaction_events",
    (
        *("client_id", "message_id", "transaction_id", "type", "symbol", "amount", "status", "details"),
        *_HISTORY_COLUMNS,
    ),
    "(client_id, message_id) DO NOTHING",
)
WALLETS = Target(
    "wallets",
    (
        *("client_id", "wallet_id", "symbol", "balance_available", "balance_available_order"),
        *("balance_locked", "balance_locked_order", "last_sync", "last_sync_order", "updated_at"),
    ),
    _NEWER_BALANCE,
)
TRANSACTIONS = Target(
    "transactions",
    (
        *("client_id", "transaction_id", "type", "type_order", "symbol", "symbol_order", "amount", "amount_order"),
        *("status", "status_order", "details", "details_order", "updated_at", "first_seen_at"),
    ),
    _NEWER_STATE,
)
TARGETS = (BALANCES, EVENTS, WALLETS, TRANSACTIONS)


@dataclass
class Batch:
    """The rows of one database transaction; the latest of a key stands for all."""

    messages: int = 0
    balances: list[Row] = field(default_factory=list[Row])
    events: list[Row] = field(default_factory=list[Row])
    wallets: dict[Row, Row] = field(default_factory=dict[Row, Row])
    transactions: dict[Row, Row] = field(default_factory=dict[Row, Row])

    def add(self, report: bytes, received_at_us: int, epoch: int, position: int) -> None:
        """Add the rows of one message."""
        message = pb.ClientMessage.FromString(report)
        client = message.client_id
        sent = message.timestamp.ToMicroseconds() - _YEAR_2000_US
        received = received_at_us - _YEAR_2000_US
        time_bytes = (message.timestamp.seconds + 2**63).to_bytes(8) + message.timestamp.nanos.to_bytes(4)
        order = time_bytes + time_bytes + message.message_id.encode()
        history = (sent, received, epoch, position, order, hashlib.sha256(report).digest())
        if message.HasField("wallet_update"):
            update = message.wallet_update
            key = (client, update.wallet_id, update.symbol)
            values = (update.balance_available, update.balance_locked, sent)
            self.balances.append((client, message.message_id, *key[1:], *values, *history))
            with_orders = itertools.chain.from_iterable((value, order) for value in values)
            self.wallets[key] = (*key, *with_orders, received)
        else:
            report_ = message.transaction
            key = (client, report_.transaction_id)
            values = (report_.type, report_.symbol, report_.amount, report_.status, report_.details)
            self.events.append((client, message.message_id, report_.transaction_id, *values, *history))
            with_orders = itertools.chain.from_iterable((value, order) for value in values)
            self.transactions[key] = (*key, *with_orders, received, received)
        self.messages += 1

    def rows(self) -> Iterable[tuple[Target, list[Row]]]:
        """What to write where, sorted by key as the worker must."""
        yield BALANCES, sorted(self.balances, key=_first_two)
        yield EVENTS, sorted(self.events, key=_first_two)
        yield WALLETS, [self.wallets[key] for key in sorted(self.wallets)]
        yield TRANSACTIONS, [self.transactions[key] for key in sorted(self.transactions)]


def _first_two(row: Row) -> Row:
    return row[:2]


def make_batches(messages: int, size: int, run: str) -> list[list[tuple[Target, list[Row]]]]:
    """All rows of the backlog, batch by batch."""
    rest = entries(messages, run)
    batches: list[list[tuple[Target, list[Row]]]] = []
    while some := list(itertools.islice(rest, size)):
        batch = Batch()
        for entry in some:
            batch.add(entry.report, entry.received_at_us, entry.epoch, entry.position)
        batches.append(list(batch.rows()))
    return batches


def write(connection: psycopg.Connection, batch: list[tuple[Target, list[Row]]]) -> None:
    """Write one batch and commit it."""
    with connection.cursor() as cursor:
        for target, rows in batch:
            with cursor.copy(target.copy) as copy:
                copy.set_types([kind[1] for kind in target.kinds])
                write_row = copy.write_row
                for row in rows:
                    write_row(row)
            cursor.execute(target.upsert)
    connection.commit()


def main() -> None:
    """Write the backlog of the command line."""
    url, messages, size, run = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    batches = make_batches(messages, size, run)
    with psycopg.connect(url) as connection:
        for target in TARGETS:
            connection.execute(target.create_stage)
        connection.commit()
        meter = Meter([os.getpid(), connection.info.backend_pid])
        for batch in batches:
            write(connection, batch)
        outcome = meter.stop(messages)
    print(outcome.model_dump_json())


if __name__ == "__main__":
    main()
