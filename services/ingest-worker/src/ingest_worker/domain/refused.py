"""The one way in which the domain says that a message can not be stored."""

from __future__ import annotations

from service_kit.deadletters import DeadLetterReason


class RefusedError(Exception):
    """This message belongs to the dead letters.

    Attributes:
        reason: which kind of fault.
        detail: words for a person.
    """

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
