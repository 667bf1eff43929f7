"""One file per message kind, and the registry of them. A new kind is a new file and a line here."""

from __future__ import annotations

from ingest_worker.domain.rows import Handler

from . import command_ack, error, log, registration, status, transaction, wallet_update

HANDLERS: dict[str, Handler] = {
    "register": registration.handle,
    "wallet_update": wallet_update.handle,
    "transaction": transaction.handle,
    "status": status.handle,
    "error": error.handle,
    "log": log.handle,
    "command_ack": command_ack.handle,
}
"""By the name of the payload in `ClientMessage`."""

PRESENCE_ONLY = frozenset({"heartbeat", "goodbye"})
"""Payloads that say no more than that the client was there; why a session ended is the gateway's to say."""

REFUSED_IN_BATCH = frozenset({"batch", "command_ack", "register", "heartbeat", "goodbye"})
