"""Client ids: their grammar, and the one encoding of them for names that allow fewer characters."""

from __future__ import annotations

import re

MAX_LENGTH = 128
PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
RESERVED = frozenset({"pause_all", "resume_all", "sync_all"})
"""Routes of the REST API that stand where a client id would."""

_VALID = re.compile(PATTERN)
_ESCAPED = re.compile(r"[.:@]")
_ESCAPE = re.compile(r"=([0-9A-F]{2})")


def client_id_problem(client_id: str) -> str | None:
    """Say what is wrong with a client id, in words; None when nothing is."""
    if not client_id:
        return "client_id is empty"
    if len(client_id) > MAX_LENGTH:
        return f"client_id is longer than {MAX_LENGTH} characters"
    if _VALID.fullmatch(client_id) is None:
        return f"client_id must match {PATTERN}"
    if client_id in RESERVED:
        return f"client_id {client_id!r} is the name of a route"
    return None


def encode_client_id(client_id: str) -> str:
    """Encode a valid client id into `[A-Za-z0-9_=-]+`: one NATS token, one key of a bucket, one URL segment.

    `.`, `:` and `@` become `=` and two hexadecimal digits. Distinct ids have distinct encodings.
    """
    return _ESCAPED.sub(lambda match: f"={ord(match.group()):02X}", client_id)


def decode_client_id(token: str) -> str:
    """Undo `encode_client_id`."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), token)
