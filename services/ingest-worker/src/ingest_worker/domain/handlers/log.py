"""LogEntry: one row of history."""

from __future__ import annotations

from crypto_streaming import pb
from ingest_worker.domain.order import order_key
from ingest_worker.domain.rows import Entry, Head, Rows, content_hash
from ingest_worker.domain.texts import KEY_BYTES, TEXT_BYTES, check_texts
from ingest_worker.domain.times import column_time


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, careful = head
    line = message.log
    level, text, extra = line.level, line.message, line.extra_data
    if careful:
        check_texts(KEY_BYTES, level=level)
        check_texts(TEXT_BYTES, message=text, extra_data=extra)
    rows.client_logs.add(
        (
            entry.client_id,
            message_id,
            level,
            text,
            extra,
            None if sent is None else column_time(sent),
            entry.received,
            entry.epoch,
            entry.position,
            order_key(entry.moment, sent, None, message_id),
            content_hash(level, text, extra),
        )
    )
