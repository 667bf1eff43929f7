"""StatusUpdate: the client's status, and words about it."""

from __future__ import annotations

from crypto_streaming import pb
from ingest_worker.domain.order import order_key, primary_time, with_tiebreak
from ingest_worker.domain.refused import RefusedError
from ingest_worker.domain.rows import ClientState, Entry, Head, Rows, content_hash
from ingest_worker.domain.texts import TEXT_BYTES, check_texts
from service_kit.deadletters import DeadLetterReason

STATUS_WORDS: dict[int, str] = {
    pb.CLIENT_STATUS_UNKNOWN: "",
    pb.CLIENT_STATUS_ACTIVE: "active",
    pb.CLIENT_STATUS_PAUSED: "paused",
    pb.CLIENT_STATUS_ERROR: "error",
    pb.CLIENT_STATUS_STOPPED: "stopped",
}
"""As stored; UNKNOWN means "not said"."""


def status_word(status: int) -> str:
    """Return the word for a status, empty for UNKNOWN.

    Raises:
        RefusedError: a number that this version does not know.
    """
    word = STATUS_WORDS.get(status)
    if word is None:
        raise RefusedError(DeadLetterReason.INVALID_FIELD, f"status {status} is not known")
    return word


def offer_status(state: ClientState, word: str, order: bytes) -> None:
    """Put a status, if it was said, into the client's row."""
    if state.offer("status", word, order):
        state.status_at = primary_time(order)


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, careful = head
    update = message.status
    details = update.details
    word = status_word(update.status)
    if careful:
        check_texts(TEXT_BYTES, details=details)
    order = with_tiebreak(order_key(entry.moment, sent, None, message_id), content_hash(word, details))
    state = rows.seen(entry.client_id, entry.received)
    offer_status(state, word, order)
    state.offer("status_details", details, order)
