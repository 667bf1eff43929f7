"""Building what goes out as bytes, so that what is buffered is never parsed or serialised again."""

from __future__ import annotations

from collections.abc import Sequence

import uuid_utils

from crypto_streaming import pb

from .buffers import Entry

METHOD = f"/{pb.SERVICE_NAME}/ConnectClient"

BATCH_OVERHEAD = 256
"""Bytes of a batch beside its messages, at most: client_id (128), message_id, timestamp, tags and lengths."""

_MESSAGES_TAG = bytes([pb.ClientBatch.MESSAGES_FIELD_NUMBER << 3 | 2])
_BATCH_FIELD = pb.ClientMessage.BATCH_FIELD_NUMBER << 3 | 2


def new_message_id() -> str:
    """A UUIDv7: unique, and in the order of time."""
    return str(uuid_utils.uuid7())


def new_message(client_id: str, now_ns: int) -> pb.ClientMessage:
    """A message of this client without a payload yet."""
    message = pb.ClientMessage(client_id=client_id, message_id=new_message_id())
    message.timestamp.FromNanoseconds(now_ns)
    return message


def batch_of(client_id: str, now_ns: int, entries: Sequence[Entry]) -> tuple[str, bytes]:
    """Put reports into one message.

    Returns:
        The batch's own message_id, and the serialised `ClientMessage`; each report in it is byte for byte as buffered.
    """
    head = new_message(client_id, now_ns)
    parts: list[bytes] = []
    for entry in entries:
        parts += (_MESSAGES_TAG, _varint(len(entry.payload)), entry.payload)
    body = b"".join(parts)
    return head.message_id, b"".join((head.SerializeToString(), _varint(_BATCH_FIELD), _varint(len(body)), body))


def _varint(number: int) -> bytes:
    # https://protobuf.dev/programming-guides/encoding/#varints
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
