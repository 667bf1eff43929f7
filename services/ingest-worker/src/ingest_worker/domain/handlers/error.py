"""ErrorReport: one row of history."""

from __future__ import annotations

from crypto_streaming import pb
from ingest_worker.domain.order import order_key
from ingest_worker.domain.rows import Entry, Head, Rows, content_hash
from ingest_worker.domain.texts import KEY_BYTES, TEXT_BYTES, check_texts
from ingest_worker.domain.times import column_time


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, careful = head
    report = message.error
    severity, text, traceback = report.severity, report.message, report.traceback
    if careful:
        check_texts(KEY_BYTES, severity=severity)
        check_texts(TEXT_BYTES, message=text, traceback=traceback)
    rows.client_errors.add(
        (
            entry.client_id,
            message_id,
            severity,
            text,
            traceback,
            None if sent is None else column_time(sent),
            entry.received,
            entry.epoch,
            entry.position,
            order_key(entry.moment, sent, None, message_id),
            content_hash(severity, text, traceback),
        )
    )
