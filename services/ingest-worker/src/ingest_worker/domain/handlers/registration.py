"""ClientRegistration: each given field of the client's row, the labels as one."""

from __future__ import annotations

import json

from crypto_streaming import pb
from ingest_worker.domain.order import order_key, with_tiebreak
from ingest_worker.domain.rows import Entry, Head, Rows, content_hash
from ingest_worker.domain.texts import KEY_BYTES, TEXT_BYTES, check_texts


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, careful = head
    register = message.register
    fields = {
        "client_name": register.client_name,
        "client_type": register.client_type,
        "version": register.version,
        "api_url": register.api_url,
    }
    labels = dict(register.labels)
    if careful:
        check_texts(KEY_BYTES, **fields)
        for key, value in labels.items():
            check_texts(KEY_BYTES, label=key)
            check_texts(TEXT_BYTES, label=value)
    if labels:
        fields["labels"] = json.dumps(labels, sort_keys=True, ensure_ascii=False)
    order = with_tiebreak(
        order_key(entry.moment, sent, None, message_id),
        content_hash(*fields.values()),
    )
    state = rows.seen(entry.client_id, entry.received)
    for field, value in fields.items():
        state.offer(field, value, order)
