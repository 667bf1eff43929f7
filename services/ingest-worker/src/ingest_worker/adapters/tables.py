"""The tables that the worker writes, and the SQL for each: staging, insertion, merging.

The tables themselves belong to the API's migrations; a test runs this SQL against them. Each has a staging twin, a
temporary table that empties itself at commit, made once per connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest_worker.domain.fold import TRANSACTION_COLUMNS, WALLET_COLUMNS
from ingest_worker.domain.order import MESSAGE_ID_AT
from ingest_worker.domain.rows import TAIL, DeadLetter, Row

# How a column goes through COPY: (type of the staging column, type that psycopg writes, cast on the way to the table).
# A timestamptz is received as an int8 of microseconds since 2000, which is what rows hold.
_TEXT = ('text COLLATE "C"', "text", "")
_AMOUNT = ("text", "text", "::numeric")
_TIME = ("timestamptz", "int8", "")
_BIGINT = ("bigint", "int8", "")
_BYTES = ("bytea", "bytea", "")
_JSON = ("text", "text", "::jsonb")

_KINDS = {
    "balance_available": _AMOUNT,
    "balance_locked": _AMOUNT,
    "amount": _AMOUNT,
    "epoch": _BIGINT,
    "position": _BIGINT,
    "session_epoch": _BIGINT,
    "closed_epoch": _BIGINT,
    "payload_length": _BIGINT,
    "content_hash": _BYTES,
    "payload": _BYTES,
    "payload_sha256": _BYTES,
    "order_key": _BYTES,
    "labels": _JSON,
    "last_sync": _TIME,
}


def _kind(column: str) -> tuple[str, str, str]:
    known = _KINDS.get(column)
    if known is not None:
        return known
    if column.endswith("_at"):
        return _TIME
    return _BYTES if column.endswith("_order") else _TEXT


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of the table; its staging twin is `stage_<name>`.
        columns: what the worker writes, in the order of its rows.
        conflict: what to do about keys that are there already: the tail of the INSERT.
        state_key: for a history table, where in a row the key of its latest values stands; empty when it has none.
    """

    name: str
    columns: tuple[str, ...]
    conflict: str
    state_key: tuple[int, ...] = ()

    def key_of_state(self, row: Row) -> Row:
        """Return the key of the latest values that belong to a row of this history table."""
        return tuple(row[at] for at in self.state_key)

    @property
    def create_stage(self) -> bytes:
        """SQL that makes the staging twin."""
        columns = ", ".join(f"{column} {_kind(column)[0]}" for column in self.columns)
        return f"CREATE TEMP TABLE stage_{self.name} ({columns}) ON COMMIT DELETE ROWS".encode()

    @property
    def copy(self) -> bytes:
        """SQL that fills the staging twin."""
        return f"COPY stage_{self.name} FROM STDIN (FORMAT BINARY)".encode()

    @property
    def copy_types(self) -> list[str]:
        """How psycopg is to write each column into the COPY."""
        return [_kind(column)[1] for column in self.columns]

    @property
    def insert(self) -> bytes:
        """SQL that takes the staged rows into the table, in the order in which they were staged."""
        names = ", ".join(self.columns)
        values = ", ".join(column + _kind(column)[2] for column in self.columns)
        source = f"SELECT {values} FROM stage_{self.name}"  # noqa: S608  (our own constants, here and below)
        return f"INSERT INTO {self.name} AS t ({names}) {source} {self.conflict}".encode()

    @property
    def replace(self) -> bytes:
        """SQL that replaces one row of a history table by its staged copy; the parameters are its key."""
        values = ", ".join(f"{column} = s.{column}{_kind(column)[2]}" for column in self.columns)
        return (
            f"UPDATE {self.name} AS t SET {values} FROM stage_{self.name} AS s"  # noqa: S608
            " WHERE (t.client_id, t.message_id) = (%s, %s) AND (s.client_id, s.message_id) = (%s, %s)"
        ).encode()

    @property
    def probe(self) -> bytes:
        """SQL that fails while the table, or a column of it, does not exist."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name} LIMIT 0".encode()  # noqa: S608

    def select_list(self, alias: str) -> str:
        """Return the columns as rows hold them: times as microseconds since 2000, amounts as plain digits."""
        return ", ".join(_read(f"{alias}.{column}", _kind(column)) for column in self.columns)


def _read(column: str, kind: tuple[str, str, str]) -> str:
    if kind is _TIME:
        return f"(extract(epoch FROM {column} - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint"
    return f"{column}::text" if kind is _AMOUNT else column


def _latest(field: str, *beside: str) -> str:
    """Merge a field, its order, and what goes with it: the newer given value wins."""
    newer = f"excluded.{field}_order > coalesce(t.{field}_order, ''::bytea)"
    return ", ".join(
        f"{column} = CASE WHEN {newer} THEN excluded.{column} ELSE t.{column} END"
        for column in (field, f"{field}_order", *beside)
    )


def _newest(source: str, fields: tuple[str, ...]) -> str:
    orders = ", ".join(f"{source}.{field}_order" for field in fields)
    return f"coalesce(greatest({orders}), ''::bytea)"


def _touched(fields: tuple[str, ...]) -> str:
    """Merge `updated_at`: the receipt of the newest given value."""
    theirs, ours = _newest("excluded", fields), _newest("t", fields)
    return (
        f"updated_at = CASE WHEN {theirs} > {ours} THEN excluded.updated_at"
        f" WHEN {theirs} = {ours} THEN least(t.updated_at, excluded.updated_at) ELSE t.updated_at END"
    )


_WALLET_FIELDS = ("balance_available", "balance_locked", "last_sync")
_TRANSACTION_FIELDS = ("type", "symbol", "amount", "status", "details")
_REGISTERED = ("client_name", "client_type", "version", "api_url", "labels")

_NEWER_SESSION = "excluded.session_epoch > t.session_epoch"
_SAME_SESSION = "excluded.session_epoch = t.session_epoch"
_NEWER_END = (
    "(excluded.closed_epoch > t.closed_epoch OR (excluded.closed_epoch = t.closed_epoch AND"
    ' (t.disconnected_at IS NULL OR (excluded.disconnected_at, excluded.close_reason COLLATE "C")'
    ' < (t.disconnected_at, t.close_reason COLLATE "C"))))'
)


def _of_session(column: str, merge: str) -> str:
    return (
        f"{column} = CASE WHEN {_NEWER_SESSION} THEN excluded.{column}"
        f" WHEN {_SAME_SESSION} THEN {merge} ELSE t.{column} END"
    )


def _greater_text(column: str) -> str:
    return f'greatest(t.{column} COLLATE "C", excluded.{column} COLLATE "C")'


_MERGE_CLIENT = ", ".join(
    (
        *(_latest(field) for field in _REGISTERED),
        _latest("status", "status_at"),
        _latest("status_details"),
        "session_epoch = greatest(t.session_epoch, excluded.session_epoch)",
        _of_session("gateway_id", _greater_text("gateway_id")),
        _of_session("peer", _greater_text("peer")),
        _of_session("connected_at", "least(t.connected_at, excluded.connected_at)"),
        "closed_epoch = greatest(t.closed_epoch, excluded.closed_epoch)",
        *(
            f"{column} = CASE WHEN {_NEWER_END} THEN excluded.{column} ELSE t.{column} END"
            for column in ("disconnected_at", "close_reason")
        ),
        "last_seen_at = greatest(t.last_seen_at, excluded.last_seen_at)",
        "first_seen_at = least(t.first_seen_at, excluded.first_seen_at)",
    )
)

_LETTER_RANK = '{0}.epoch, {0}.position, {0}.reason COLLATE "C", {0}.payload_sha256'
_MERGE_LETTER = (
    ", ".join(f"{column} = excluded.{column}" for column in DeadLetter._fields[3:])
    + ", replayed_at = NULL, replay_error = ''"
    + f" WHERE ({_LETTER_RANK.format('excluded')}) < ({_LETTER_RANK.format('t')})"
)

_ONCE = "ON CONFLICT (client_id, message_id) DO NOTHING"


def _merge(key: str, assignments: str) -> str:
    return f"ON CONFLICT ({key}) DO UPDATE SET {assignments}"


WALLET_BALANCES = Table(
    "wallet_balances",
    ("client_id", "message_id", "wallet_id", "symbol", "balance_available", "balance_locked", "last_sync", *TAIL),
    _ONCE,
    state_key=(0, 2, 3),
)
TRANSACTION_EVENTS = Table(
    "transaction_events",
    ("client_id", "message_id", "transaction_id", "type", "symbol", "amount", "status", "details", *TAIL),
    _ONCE,
    state_key=(0, 2),
)
CLIENT_ERRORS = Table("client_errors", ("client_id", "message_id", "severity", "message", "traceback", *TAIL), _ONCE)
CLIENT_LOGS = Table("client_logs", ("client_id", "message_id", "level", "message", "extra_data", *TAIL), _ONCE)
WALLETS = Table(
    "wallets",
    WALLET_COLUMNS,
    _merge(
        "client_id, wallet_id, symbol",
        ", ".join((*(_latest(field) for field in _WALLET_FIELDS), _touched(_WALLET_FIELDS))),
    ),
)
TRANSACTIONS = Table(
    "transactions",
    TRANSACTION_COLUMNS,
    _merge(
        "client_id, transaction_id",
        ", ".join(
            (
                *(_latest(field) for field in _TRANSACTION_FIELDS),
                _touched(_TRANSACTION_FIELDS),
                "first_seen_at = least(t.first_seen_at, excluded.first_seen_at)",
            )
        ),
    ),
)
CLIENTS = Table(
    "clients",
    (
        "client_id",
        *(name for field in (*_REGISTERED, "status", "status_details") for name in (field, f"{field}_order")),
        "status_at",
        "session_epoch",
        "gateway_id",
        "peer",
        "connected_at",
        "closed_epoch",
        "disconnected_at",
        "close_reason",
        "last_seen_at",
        "first_seen_at",
    ),
    _merge("client_id", _MERGE_CLIENT),
)
DEAD_LETTERS = Table("dead_letters", DeadLetter._fields, _merge("client_id, message_id, received_at", _MERGE_LETTER))

HISTORY = (WALLET_BALANCES, TRANSACTION_EVENTS, CLIENT_ERRORS, CLIENT_LOGS)
TABLES = (*HISTORY, WALLETS, TRANSACTIONS, CLIENTS, DEAD_LETTERS)


@dataclass(frozen=True)
class Latest:
    """SQL about the row of latest values that belongs to rows of history; the parameters are that row's key.

    Attributes:
        lock: lock rows in the order of their keys, waiting for whoever has them; the parameters are arrays.
        reset: make the row say nothing, so that merging into it is making it anew, under its old id.
        delete: remove the row.
        witnesses: find the few rows of history that determine it: the newest per field, and the first; the
            client_id is one more parameter.
    """

    lock: bytes
    reset: bytes
    delete: bytes
    witnesses: bytes


def _latest_of(history: Table, table: Table, reset: str, given: tuple[str, ...]) -> Latest:
    columns = [history.columns[at] for at in history.state_key]
    names = ", ".join(columns)
    key = f"({names}) = ({', '.join(['%s'] * len(columns))})"
    # One pass that keeps nothing but the best so far; then the rows themselves by their unique key, as an order ends in
    # the message_id. Hexadecimal digits compare like the bytes; there is no max(bytea) before PostgreSQL 18.
    order = "encode(order_key, 'hex') COLLATE \"C\""
    received = "lpad((extract(epoch FROM received_at) * 1000000)::bigint::text, 20, '0')"
    best = ", ".join(f"max({order}) FILTER (WHERE {each})" for each in given)
    witnesses = f"""
        WITH best AS MATERIALIZED (
            SELECT unnest(ARRAY[{best}, substr(min({received} || {order}), 21)]) AS order_hex
            FROM {history.name} WHERE {key}
        )
        SELECT {history.select_list("h")}
        FROM (
            SELECT DISTINCT convert_from(substr(decode(order_hex, 'hex'), {MESSAGE_ID_AT + 1}), 'UTF8') AS message_id
            FROM best WHERE order_hex IS NOT NULL
        ) AS b
        JOIN {history.name} AS h ON h.client_id = %s AND h.message_id = b.message_id
    """  # noqa: S608
    return Latest(
        lock=(
            f"SELECT FROM {table.name} AS t"  # noqa: S608
            f" WHERE ({names}) IN (SELECT * FROM unnest({', '.join(['%s::text[]'] * len(columns))}))"
            f" ORDER BY {names} FOR UPDATE"
        ).encode(),
        reset=f"UPDATE {table.name} SET {reset} WHERE {key}".encode(),  # noqa: S608
        delete=f"DELETE FROM {table.name} WHERE {key}".encode(),  # noqa: S608
        witnesses=witnesses.encode(),
    )


LATEST = {
    WALLET_BALANCES.name: _latest_of(
        WALLET_BALANCES,
        WALLETS,
        ", ".join(f"{field} = NULL, {field}_order = NULL" for field in _WALLET_FIELDS) + ", updated_at = 'infinity'",
        tuple(f"{field} IS NOT NULL" for field in _WALLET_FIELDS),
    ),
    TRANSACTION_EVENTS.name: _latest_of(
        TRANSACTION_EVENTS,
        TRANSACTIONS,
        "type = '', symbol = '', amount = NULL, status = '', details = '', "
        + ", ".join(f"{field}_order = NULL" for field in _TRANSACTION_FIELDS)
        + ", updated_at = 'infinity', first_seen_at = 'infinity'",
        ("type <> ''", "symbol <> ''", "amount IS NOT NULL", "status <> ''", "details <> ''"),
    ),
}
"""By history table."""
