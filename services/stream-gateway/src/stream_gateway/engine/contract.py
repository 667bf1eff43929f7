"""What the engine must know of the messages it moves. One implementation binds it to a contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from crypto_streaming.errors import ErrorCode
from service_kit.frames import Rejected


class InboundKind(Enum):
    """What the engine does with a message of a client."""

    REPORT = "report"
    """Made durable; counts against the window."""
    ACK = "ack"
    """Made durable, and given to who waits for it."""
    REGISTRATION = "registration"
    """Made durable; tells what the client understands."""
    HEARTBEAT = "heartbeat"
    """Proof of life, nothing else."""
    GOODBYE = "goodbye"
    """The client leaves on purpose."""
    REJECTED = "rejected"
    """Can not be stored; goes to the dead letters."""


@dataclass(slots=True)
class Inbound:
    """One message of a client, as far as the engine cares.

    Attributes:
        kind: what to do with it.
        client_id: as given; may be empty after the first message, or when it could not be parsed.
        message_id: as given; empty = none.
        command_id: of an ack.
        ack: of an ack: what ExecuteCommandSync answers, serialised.
        receipts: of a registration: the client wants Welcome and receipts.
        reconnect: of a registration: the client obeys Reconnect.
        rejected: of a rejected message.
    """

    kind: InboundKind
    client_id: str = ""
    message_id: str = ""
    command_id: str = ""
    ack: bytes = b""
    receipts: bool = False
    reconnect: bool = False
    rejected: Rejected | None = None


@dataclass(slots=True)  # frozen would double what making one costs, and there is one for each command
class Command:
    """One command to a client. Nobody changes it.

    Attributes:
        client_id: whom it is for.
        command_id: never empty; generated where the caller gave none.
        payload: serialised for the client's stream.
        expires_at_us: not to be sent after this (microseconds since 1970-01-01 UTC); 0 = no limit.
    """

    client_id: str
    command_id: str
    payload: bytes
    expires_at_us: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command has no ack."""

    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """The terms of a session (times in seconds)."""

    gateway_id: str
    epoch: int
    heartbeat: float
    liveness: float
    window_messages: int
    window_bytes: int
    max_message_bytes: int


def no_ack_within(seconds: float) -> Failure:
    """The failure of a command whose ack did not come in time."""
    return Failure(ErrorCode.COMMAND_TIMEOUT, f"no ack within {seconds:.3g} s")


class Contract(Protocol):
    """The meaning of the bytes. Nothing here blocks or raises, unless said."""

    def client_id_problem(self, client_id: str) -> str | None:
        """What is wrong with a client id, or None."""
        ...

    def token(self, client_id: str) -> str:
        """A valid client id as one subject token; distinct ids have distinct tokens."""
        ...

    def parse(self, raw: bytes, max_bytes: int) -> Inbound:
        """Understand one message of a client; what can not be understood or stored is `REJECTED`."""
        ...

    def parse_request(self, raw: bytes) -> Command | Failure:
        """Understand a request to command a client."""
        ...

    def welcome(self, terms: Welcome) -> bytes:
        """The notice that a session is open."""
        ...

    def receipt(self, message_ids: Sequence[str]) -> bytes:
        """The notice that reports are durable."""
        ...

    def reconnect(self, delay: float, reason: str) -> bytes:
        """The notice that asks a client to connect again after `delay` seconds."""
        ...

    def queued(self, command_id: str) -> bytes:
        """The answer that a command is queued."""
        ...

    def not_queued(self, client_id: str, command_id: str, failure: Failure) -> bytes:
        """The answer that a command is not queued. Ids are empty where the request had none."""
        ...

    def failed_ack(self, command_id: str, failure: Failure) -> bytes:
        """The ack that stands for one which did not come."""
        ...

    def ack_succeeded(self, ack: bytes) -> bool:
        """Whether the client's ack says success."""
        ...
