"""Points in time as rows carry them, and their bounds.

Rows hold microseconds since 2000-01-01 UTC: the form in which PostgreSQL itself keeps and receives a `timestamptz`, so
that a row goes into a binary COPY as it is. A `Moment` is a protobuf timestamp: (seconds since 1970-01-01 UTC, nanos).
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from service_kit.deadletters import DeadLetterReason

from .refused import RefusedError

Moment = tuple[int, int]

POSTGRES_EPOCH_SECONDS = 946_684_800
POSTGRES_EPOCH_US = POSTGRES_EPOCH_SECONDS * 1_000_000

# The bounds of google.protobuf.Timestamp: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z.
MIN_SECONDS = -62_135_596_800
MAX_SECONDS = 253_402_300_799
MAX_RECEIVED_US = MAX_SECONDS * 1_000_000


def moment(timestamp: Timestamp, field: str) -> Moment:
    """Read a timestamp.

    Raises:
        RefusedError: outside the years 1 to 9999, or nanos outside a second.
    """
    seconds = timestamp.seconds
    nanos = timestamp.nanos
    if MIN_SECONDS <= seconds <= MAX_SECONDS and 0 <= nanos < 1_000_000_000:
        return seconds, nanos
    raise RefusedError(
        DeadLetterReason.INVALID_TIMESTAMP,
        f"{field} is out of range: {seconds} seconds and {nanos} nanos since 1970",
    )


def column_time(value: Moment) -> int:
    """Convert to the rows' form; digits below a microsecond are cut off."""
    return (value[0] - POSTGRES_EPOCH_SECONDS) * 1_000_000 + value[1] // 1000


def column_moment(value: int) -> Moment:
    """Undo `column_time`, to the microsecond."""
    seconds, micros = divmod(value, 1_000_000)
    return seconds + POSTGRES_EPOCH_SECONDS, micros * 1000
