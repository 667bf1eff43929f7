"""Frames as gateways write them, and tables as workers leave them: for tests of what lies between."""

from __future__ import annotations

from typing import Any

import psycopg
from google.protobuf.timestamp_pb2 import Timestamp
from psycopg import sql

from crypto_streaming import pb
from service_kit.frames import Frame, FrameEntry

START_US = 1_760_000_000_000_000
"""A time of receipt: microseconds since 1970-01-01 UTC."""

TABLES = (
    "clients",
    "wallets",
    "wallet_balances",
    "transactions",
    "transaction_events",
    "client_errors",
    "client_logs",
    "dead_letters",
)


def timestamp(us: int | None) -> Timestamp | None:
    """Make a protobuf timestamp of microseconds since 1970-01-01 UTC."""
    if us is None:
        return None
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def message(message_id: str = "", *, sent_us: int | None = None, **payload: Any) -> pb.ClientMessage:
    """Make a client's message; the payload is a keyword: `log=pb.LogEntry(...)`."""
    return pb.ClientMessage(message_id=message_id, timestamp=timestamp(sent_us), **payload)


def entry(
    client_id: str,
    report: pb.ClientMessage | bytes,
    *,
    position: int = 1,
    received_us: int = START_US,
    epoch: int = 1,
) -> FrameEntry:
    """Make a frame's entry of a client's message; a message that does not say whose it is gets the client's id."""
    if isinstance(report, pb.ClientMessage):
        whole = pb.ClientMessage()
        whole.CopyFrom(report)
        whole.client_id = whole.client_id or client_id
        report = whole.SerializeToString(deterministic=True)
    return FrameEntry(client_id=client_id, epoch=epoch, position=position, received_at_us=received_us, report=report)


def frame(*entries: FrameEntry, gateway_id: str = "gateway-1") -> bytes:
    """Make a frame."""
    return Frame(gateway_id=gateway_id, entries=entries).SerializeToString()


def dump(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what every table holds, sorted, without surrogate ids and times of insertion."""
    with psycopg.connect(url, autocommit=True) as connection:
        return {table: _rows(connection, table) for table in TABLES}


def rows(url: str, table: str) -> list[dict[str, Any]]:
    """Return one table's rows by column, sorted."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = _columns(connection, table)
        return [dict(zip(names, row, strict=True)) for row in _rows(connection, table)]


def _rows(connection: psycopg.Connection, table: str) -> list[tuple[Any, ...]]:
    names = _columns(connection, table)
    query = sql.SQL("SELECT {columns} FROM {table} ORDER BY {columns}").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, names)), table=sql.Identifier(table)
    )
    return connection.execute(query).fetchall()


def _columns(connection: psycopg.Connection, table: str) -> list[str]:
    columns = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(table))).description or []
    return [column.name for column in columns if column.name not in {"id", "created_at"}]
