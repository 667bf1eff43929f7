"""Why a message could not be stored: the one list of reasons.

The gateway gives the first group (it parses each message once), the worker the second.
"""

from __future__ import annotations

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """Column `reason` of `dead_letters`, label `reason` of the dead-letter metrics."""

    UNPARSABLE = "UNPARSABLE"
    """Not a message of the contract: broken encoding or invalid UTF-8."""
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    """Over the size limit; only the beginning is kept, with length and hash."""
    NO_PAYLOAD = "NO_PAYLOAD"
    """No payload, and no unknown field either."""
    UNKNOWN_PAYLOAD = "UNKNOWN_PAYLOAD"
    """No payload that this version knows, but fields that it does not."""
    MISPLACED_IN_BATCH = "MISPLACED_IN_BATCH"
    """A batch, ack, registration, heartbeat or goodbye inside a batch."""
    CLIENT_ID_MISMATCH = "CLIENT_ID_MISMATCH"
    """A message inside a batch names another client."""

    INVALID_AMOUNT = "INVALID_AMOUNT"
    """Not a finite decimal number, or out of range."""
    INVALID_TIMESTAMP = "INVALID_TIMESTAMP"
    """Outside 0001-01-01 to 9999-12-31."""
    INVALID_FIELD = "INVALID_FIELD"
    """A required field is empty, too long, or holds what the database refuses (U+0000)."""
    MESSAGE_ID_CONFLICT = "MESSAGE_ID_CONFLICT"
    """The message_id was used before with other content."""
    UNWRITABLE = "UNWRITABLE"
    """The database refuses this one message for another reason; `detail` has its words."""
