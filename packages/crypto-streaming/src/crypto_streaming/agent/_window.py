"""What is under way without a receipt, and how much more may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flight:
    """One message under way: a report, or a batch of them.

    Attributes:
        sequences: the reports' places in the buffer.
        size: bytes of the message as sent.
    """

    sequences: tuple[int, ...]
    size: int


class Window:
    """The window that Welcome announced.

    Counted as strictly as it can be read: each report of a batch as one message, the batch's bytes as sent.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._max_messages = max_messages
        self._messages = 0
        self._bytes = 0
        self._flights: dict[str, Flight] = {}

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._flights

    @property
    def free_messages(self) -> int:
        """How many more reports may be sent."""
        return self._max_messages - self._messages

    @property
    def free_bytes(self) -> int:
        """How many more bytes may be sent."""
        return self.max_bytes - self._bytes

    def sent(self, message_id: str, flight: Flight) -> None:
        """A message is under way."""
        self._flights[message_id] = flight
        self._messages += len(flight.sequences)
        self._bytes += flight.size

    def receipted(self, message_id: str) -> Flight | None:
        """A receipt came; None when nothing of that id is under way (an ack, or a repeated receipt)."""
        flight = self._flights.pop(message_id, None)
        if flight is not None:
            self._messages -= len(flight.sequences)
            self._bytes -= flight.size
        return flight
