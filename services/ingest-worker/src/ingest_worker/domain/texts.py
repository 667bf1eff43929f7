"""Limits of texts, in bytes of UTF-8, and what the database refuses.

Handlers call these only for messages that need care: one whose bytes contain no zero and are at most `KEY_BYTES` in all
can not violate any of them.
"""

from __future__ import annotations

from service_kit.deadletters import DeadLetterReason

from .refused import RefusedError

KEY_BYTES = 256
"""Ids, symbols and single words (types, severities, names). Keys must fit into an index entry, of 2,704 bytes."""
TEXT_BYTES = 64 * 1024
"""Everything else."""


def text_problem(text: str, limit: int) -> str | None:
    """Say what is wrong with a text, in words; None when nothing is."""
    if "\0" in text:
        return "contains U+0000"
    # One character is at most four bytes.
    if len(text) * 4 > limit and len(text.encode()) > limit:
        return f"is longer than {limit} bytes"
    return None


def check_texts(limit: int, **texts: str) -> None:
    """Check several fields against one limit.

    Raises:
        RefusedError: the first one that is too long or contains U+0000.
    """
    for field, text in texts.items():
        problem = text_problem(text, limit)
        if problem is not None:
            raise RefusedError(DeadLetterReason.INVALID_FIELD, f"{field} {problem}")


def require(**texts: str) -> None:
    """Check that fields are given.

    Raises:
        RefusedError: the first one that is empty.
    """
    for field, text in texts.items():
        if not text:
            raise RefusedError(DeadLetterReason.INVALID_FIELD, f"{field} is empty")
