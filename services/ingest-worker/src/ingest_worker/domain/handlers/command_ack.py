"""CommandAck: the status that the client is in after the command. The command's own ledger is another table's."""

from __future__ import annotations

from crypto_streaming import pb
from ingest_worker.domain.order import order_key, with_tiebreak
from ingest_worker.domain.rows import Entry, Head, Rows, content_hash

from .status import offer_status, status_word


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, _ = head  # Nothing textual of it is stored.
    word = status_word(message.command_ack.current_status)
    if word:
        order = with_tiebreak(order_key(entry.moment, sent, None, message_id), content_hash(word))
        offer_status(rows.seen(entry.client_id, entry.received), word, order)
