"""The one order of "newer": bytes that compare the same in Python and in PostgreSQL.

12 bytes of primary time, 12 bytes of the message's timestamp, then the message_id in UTF-8. A time is 8 bytes of
seconds since 1970 plus 2**63, then 4 bytes of nanos, both big-endian; an absent timestamp is 12 zero bytes. The primary
time is `last_sync`, else the timestamp, else the time of receipt, and never later than five minutes after receipt: a
client whose clock is ahead freezes nothing.
"""

from __future__ import annotations

import struct

from .times import Moment, column_time

CLOCK_TOLERANCE_SECONDS = 300
TIEBREAK_BYTES = 8

_BIAS = 1 << 63
_KEY = struct.Struct(">QIQI")
_PRIMARY = struct.Struct(">QI")
MESSAGE_ID_AT = _KEY.size
"""Where in an order of history the message_id begins; it is the rest."""

_ABSENT = (-_BIAS, 0)


def order_key(received: Moment, sent: Moment | None, claimed: Moment | None, message_id: str) -> bytes:
    """Make the order of one message's values.

    Args:
        received: when the gateway had it.
        sent: the message's own timestamp, None when absent.
        claimed: the time the values are said to be of (`last_sync`), None when absent or not applicable.
        message_id: never empty.
    """
    seconds, nanos = claimed or sent or received
    limit = received[0] + CLOCK_TOLERANCE_SECONDS
    if seconds > limit or (seconds == limit and nanos > received[1]):
        seconds = limit
        nanos = received[1]
    sent_seconds, sent_nanos = sent or _ABSENT
    return _KEY.pack(seconds + _BIAS, nanos, sent_seconds + _BIAS, sent_nanos) + message_id.encode()


def with_tiebreak(order: bytes, content_hash: bytes) -> bytes:
    """Extend an order by the content: for values of messages that leave no history.

    Two registrations under one message_id can not be told apart by history; without this, the one that a worker wrote
    last would stand. The zero byte keeps the order of message_ids, which contain none.
    """
    return order + b"\0" + content_hash[:TIEBREAK_BYTES]


def primary_time(order: bytes) -> int:
    """Return the primary time of an order, as rows carry times."""
    seconds, nanos = _PRIMARY.unpack_from(order)
    return column_time((seconds - _BIAS, nanos))


def sent_moment(order: bytes) -> Moment | None:
    """Return the message's own timestamp, to the nanosecond; None when it was absent."""
    seconds, nanos = _PRIMARY.unpack_from(order, _PRIMARY.size)
    return None if seconds == 0 else (seconds - _BIAS, nanos)
