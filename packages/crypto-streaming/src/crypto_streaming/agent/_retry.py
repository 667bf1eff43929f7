"""When to connect again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import grpc

from .settings import AgentSettings

PERMANENT = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
)

_ASKED_TOO_SOON = 1.0
"""Seconds: a server that sends everyone away at once must not be asked in a tight loop."""


class EndKind(Enum):
    """Who ended a session."""

    LOST = auto()
    """The server, or the connection."""
    RECONNECT = auto()
    """This side, because the server asked to."""
    STOPPED = auto()
    """This side, for good."""


@dataclass(frozen=True)
class SessionEnd:
    """How a session ended.

    Attributes:
        kind: who ended it.
        status: the stream's status, where the other side ended it.
        details: its words.
        lasted: seconds since it was ready for reports; 0 when it never was.
    """

    kind: EndKind
    status: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    lasted: float = 0.0


class RetryPolicy:
    """Exponential backoff with full jitter, so that a fleet does not come back all at once.

    The delay is `random() * min(backoff_max, backoff_base * 2 ** failures)`:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        settings: the bounds.
        random: gives numbers of [0, 1).
    """

    def __init__(self, settings: AgentSettings, random: Callable[[], float]) -> None:
        self._settings = settings
        self._random = random
        self._failures = 0

    def delay(self, end: SessionEnd) -> float:
        """Seconds to wait before connecting again."""
        settings = self._settings
        if end.kind is EndKind.RECONNECT and end.lasted >= _ASKED_TOO_SOON:
            # The server chose the moment.
            self._failures = 0
            return 0.0
        if end.status is grpc.StatusCode.ABORTED:
            self._failures = 0
            return settings.superseded_delay * (1 + self._random())
        if end.lasted >= settings.backoff_reset:
            self._failures = 0
        # The exponent is bounded too: a client may fail for weeks.
        bound = min(settings.backoff_max, settings.backoff_base * 2 ** min(self._failures, 32))
        self._failures += 1
        return self._random() * bound
