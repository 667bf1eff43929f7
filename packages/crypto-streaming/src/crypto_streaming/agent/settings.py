"""How a client behaves on the wire, and what ends it."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from crypto_streaming.errors import StreamingError


class ClientRejectedError(StreamingError):
    """The server will not have this client, and trying again would not help.

    Attributes:
        status: what the stream ended with.
        message: the server's words.
    """

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class AgentSettings:
    """Times in seconds, sizes in bytes."""

    heartbeat_interval: float = 30.0
    """Silence after which a heartbeat is sent, where Welcome names no other."""

    welcome_timeout: float = 10.0
    """How long to wait for Welcome. A server that never sent one is then taken for an old one: reports are given up
    as soon as they are sent. One that once did is left, and connected to again."""

    max_message_bytes: int = 256 * 1024
    """A larger report is refused when it is made. Welcome may announce another limit."""

    backoff_base: float = 0.5
    """Upper bound of the first delay before connecting again; doubled at each failure. The delay itself is random
    between nothing and the bound."""

    backoff_max: float = 30.0
    """Where the doubling ends."""

    backoff_reset: float = 10.0
    """A session that lasted this long starts the doubling over."""

    superseded_delay: float = 30.0
    """Least delay after another stream of the same client took over: two processes with one identity must not
    take it from each other without end."""

    leave_grace: float = 5.0
    """When the server asks to reconnect: how long to wait for receipts and running handlers before leaving."""

    linger: float = 1.0
    """After the last message of a stream: how long to wait for the server to end it."""

    answered_commands: int = 1024
    """How many answers are remembered, so that a command delivered twice is executed once."""

    queued_commands: int = 1024
    """How many commands may wait for a handler; beyond that they are answered with `CLIENT_BUSY`."""
