"""A client's counters."""

from __future__ import annotations

from dataclasses import dataclass

from crypto_streaming import pb


@dataclass
class Stats:
    """What `pb.ClientStats` tells, but for what the buffer knows."""

    started_ns: int
    messages_sent: int = 0
    messages_receipted: int = 0
    commands_handled: int = 0
    commands_failed: int = 0
    reconnects: int = 0

    def to_message(self, buffered: int) -> pb.ClientStats:
        """The contract's message, with the number of reports in the buffer."""
        message = pb.ClientStats(
            messages_sent=self.messages_sent,
            messages_receipted=self.messages_receipted,
            messages_buffered=buffered,
            commands_handled=self.commands_handled,
            commands_failed=self.commands_failed,
            reconnects=self.reconnects,
        )
        message.started_at.FromNanoseconds(self.started_ns)
        return message
