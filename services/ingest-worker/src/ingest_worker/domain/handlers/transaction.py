"""TransactionReport: one row of history; `fold` makes the transaction's latest values of it."""

from __future__ import annotations

from crypto_streaming import pb
from ingest_worker.domain.amounts import parse_amount
from ingest_worker.domain.order import order_key
from ingest_worker.domain.rows import Entry, Head, Rows, content_hash
from ingest_worker.domain.texts import KEY_BYTES, TEXT_BYTES, check_texts, require
from ingest_worker.domain.times import column_time


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, careful = head
    report = message.transaction
    transaction_id = report.transaction_id
    if not transaction_id:
        require(transaction_id=transaction_id)
    kind = report.type
    symbol = report.symbol
    status = report.status
    details = report.details
    if careful:
        check_texts(KEY_BYTES, transaction_id=transaction_id, type=kind, symbol=symbol, status=status)
        check_texts(TEXT_BYTES, details=details)
    amount = parse_amount(report.amount, "amount")
    rows.transaction_events.add(
        (
            entry.client_id,
            message_id,
            transaction_id,
            kind,
            symbol,
            amount,
            status,
            details,
            None if sent is None else column_time(sent),
            entry.received,
            entry.epoch,
            entry.position,
            order_key(entry.moment, sent, None, message_id),
            content_hash(transaction_id, kind, symbol, amount or "", status, details),
        )
    )
