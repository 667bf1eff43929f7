"""What the handlers and the sessions of a client share: answers that wait, and who is to be woken."""

from __future__ import annotations

import asyncio
from collections import deque

_KEPT_ANSWERS = 4096
"""Answers kept while not connected; of more the oldest are given up: who waited for them has long been told."""


class Outbox:
    """Answers to commands, which go out before reports, on whichever session there is.

    Attributes:
        answers: serialised `ClientMessage`s.
        wake: set when a session may have something to write.
        progress: set when something was done: a receipt came, a handler ended.
    """

    def __init__(self) -> None:
        self.answers: deque[bytes] = deque(maxlen=_KEPT_ANSWERS)
        self.wake = asyncio.Event()
        self.progress = asyncio.Event()

    def answer(self, message: bytes) -> None:
        """Queue an answer."""
        self.answers.append(message)
        self.wake.set()
