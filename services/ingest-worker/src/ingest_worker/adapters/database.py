"""The worker's connection to PostgreSQL, and what each of its failures means.

The difference that matters: a *data* error is the batch's fault, and trying again will not help; an *outage* is not,
and the batch must be kept until it passes. Codes: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql

from .tables import TABLES

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5

Connection = psycopg.Connection[tuple[Any, ...]]


class Fault(StrEnum):
    """What a failed write means. Label `cause` of the retry metric."""

    CONFLICT = "conflict"
    """Another transaction was in the way (deadlock, serialization): try again at once."""
    OUTAGE = "outage"
    """The database can not be reached, or can not write: wait."""
    TIMEOUT = "timeout"
    """A statement took too long, or was cancelled: try again, the second time with less."""
    SCHEMA = "schema"
    """A table or column is missing, or may not be touched: wait for the migration or the grant."""
    DATA = "data"
    """The database refuses what it was given."""


# Classes that say something about the rows: data exception, integrity violation, cardinality, program limit (such as an
# index entry that is too large).
_DATA_CLASSES = frozenset({"22", "23", "21", "54"})
_CONFLICT_CODES = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
    }
)


_TIMEOUT_CODE = "57014"  # query_canceled


def fault_of(error: Exception) -> Fault:
    """Tell what an error means. What PostgreSQL does not call the data's fault is not held against it."""
    if not isinstance(error, psycopg.Error):
        # Our own code failed over these rows.
        return Fault.DATA
    code = error.sqlstate
    if code is None:
        # Raised on our side: a lost or closed connection, or a value that can not be sent.
        return Fault.DATA if isinstance(error, psycopg.DataError) else Fault.OUTAGE
    if code in _CONFLICT_CODES:
        return Fault.CONFLICT
    if code == _TIMEOUT_CODE:
        return Fault.TIMEOUT
    if code[:2] in _DATA_CLASSES:
        return Fault.DATA
    return Fault.SCHEMA if code[:2] == "42" else Fault.OUTAGE


def connect(url: str, *, statement_seconds: float = 60.0, name: str = "ingest-worker") -> Connection:
    """Open a connection that does not hang for ever: a silent server is given up after about 20 seconds.

    Raises:
        psycopg.OperationalError: the database can not be reached.
    """
    connection = psycopg.connect(
        url,
        application_name=name,
        connect_timeout=5,
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=20_000,
        autocommit=True,
    )
    milliseconds = int(statement_seconds * 1000)
    for setting, value in (
        ("statement_timeout", milliseconds),
        # A frozen worker must not hold its locks for longer.
        ("idle_in_transaction_session_timeout", milliseconds),
        ("TimeZone", "UTC"),
        # Staging tables have no statistics: joined with a history table they must not make PostgreSQL read all of it.
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ):
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(setting), sql.Literal(value)))
    return connection


def prepare(connection: Connection) -> None:
    """Make the staging tables of this connection, after a check that the tables and their columns are there.

    Raises:
        psycopg.errors.UndefinedTable: the schema is not there yet.
        psycopg.errors.UndefinedColumn: the schema is older than this worker.
    """
    with connection.transaction():
        for table in TABLES:
            connection.execute(table.probe)
        for table in TABLES:
            connection.execute(table.create_stage)


def wait_for_tables(url: str) -> None:
    """Return when the database has every table and column that the worker writes, however long that takes."""
    said = ""
    while True:
        try:
            with connect(url, name="ingest-worker wait") as connection:
                prepare(connection)
        except psycopg.Error as error:
            reason = str(error).strip()
            if reason != said:
                log.info("waiting for the tables", extra={"reason": reason})
                said = reason
            time.sleep(_RETRY_SECONDS)
        else:
            return
