"""The one vocabulary of failures: code, REST status, gRPC status and exception in one table.

A command that fails before the client could answer comes back as a `CommandAck` with `success=False` and one of these
codes in `error`. Anything else in `error` is the client's own word: the command reached it, and it refused or failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import grpc


class ErrorCode(StrEnum):
    """What can go wrong with a command on its way."""

    CLIENT_NOT_CONNECTED = "CLIENT_NOT_CONNECTED"
    """Nobody holds this client; nothing was sent."""
    COMMAND_TIMEOUT = "COMMAND_TIMEOUT"
    """Sent, no ack in time: the outcome is unknown."""
    CLIENT_DISCONNECTED = "CLIENT_DISCONNECTED"
    """The stream, or the replica that held it, ended while waiting: the outcome is unknown."""
    BUS_UNAVAILABLE = "BUS_UNAVAILABLE"
    """The gateway can not reach NATS; nothing was sent."""
    CLIENT_OVERLOADED = "CLIENT_OVERLOADED"
    """The client's outbound queue is full; nothing was sent."""
    COMMAND_EXPIRED = "COMMAND_EXPIRED"
    """Its `expires_at` passed before it was sent."""
    INVALID_COMMAND = "INVALID_COMMAND"
    """No command in it, a bad client id, or over the size limit; nothing was sent."""
    DUPLICATE_COMMAND = "DUPLICATE_COMMAND"
    """A command with this id is already waiting for its ack."""
    GATEWAY_UNAVAILABLE = "GATEWAY_UNAVAILABLE"
    """No gateway answered. Given by the caller's side, never by a gateway: the outcome is unknown."""


class StreamingError(Exception):
    """Base of every error of this package."""


class CommandError(StreamingError):
    """A command did not reach its client, or it is not known whether it did.

    Attributes:
        code: which of the documented failures.
        message: words for a person.
        command_id: id of the command; empty when none was assigned.
    """

    code: ErrorCode

    def __init__(self, message: str = "", *, command_id: str = "") -> None:
        super().__init__(message or self.code.value)
        self.message = message or self.code.value
        self.command_id = command_id


class ClientNotConnectedError(CommandError):
    """See `ErrorCode.CLIENT_NOT_CONNECTED`."""

    code = ErrorCode.CLIENT_NOT_CONNECTED


class CommandTimeoutError(CommandError, TimeoutError):
    """See `ErrorCode.COMMAND_TIMEOUT`."""

    code = ErrorCode.COMMAND_TIMEOUT


class ClientDisconnectedError(CommandError):
    """See `ErrorCode.CLIENT_DISCONNECTED`."""

    code = ErrorCode.CLIENT_DISCONNECTED


class BusUnavailableError(CommandError):
    """See `ErrorCode.BUS_UNAVAILABLE`."""

    code = ErrorCode.BUS_UNAVAILABLE


class ClientOverloadedError(CommandError):
    """See `ErrorCode.CLIENT_OVERLOADED`."""

    code = ErrorCode.CLIENT_OVERLOADED


class CommandExpiredError(CommandError):
    """See `ErrorCode.COMMAND_EXPIRED`."""

    code = ErrorCode.COMMAND_EXPIRED


class InvalidCommandError(CommandError, ValueError):
    """See `ErrorCode.INVALID_COMMAND`."""

    code = ErrorCode.INVALID_COMMAND


class DuplicateCommandError(CommandError):
    """See `ErrorCode.DUPLICATE_COMMAND`."""

    code = ErrorCode.DUPLICATE_COMMAND


class GatewayUnavailableError(CommandError):
    """See `ErrorCode.GATEWAY_UNAVAILABLE`."""

    code = ErrorCode.GATEWAY_UNAVAILABLE


@dataclass(frozen=True)
class ErrorMapping:
    """How one code shows on each surface.

    Attributes:
        http_status: status of the REST answer.
        grpc_status: the nearest gRPC status, for those who must raise one.
        exception: what the SDK raises.
        outcome_known: false when the command may have been executed.
    """

    http_status: int
    grpc_status: grpc.StatusCode
    exception: type[CommandError]
    outcome_known: bool


ERRORS: dict[ErrorCode, ErrorMapping] = {
    ErrorCode.CLIENT_NOT_CONNECTED: ErrorMapping(503, grpc.StatusCode.UNAVAILABLE, ClientNotConnectedError, True),
    ErrorCode.COMMAND_TIMEOUT: ErrorMapping(504, grpc.StatusCode.DEADLINE_EXCEEDED, CommandTimeoutError, False),
    ErrorCode.CLIENT_DISCONNECTED: ErrorMapping(504, grpc.StatusCode.ABORTED, ClientDisconnectedError, False),
    ErrorCode.BUS_UNAVAILABLE: ErrorMapping(503, grpc.StatusCode.UNAVAILABLE, BusUnavailableError, True),
    ErrorCode.CLIENT_OVERLOADED: ErrorMapping(503, grpc.StatusCode.RESOURCE_EXHAUSTED, ClientOverloadedError, True),
    ErrorCode.COMMAND_EXPIRED: ErrorMapping(410, grpc.StatusCode.FAILED_PRECONDITION, CommandExpiredError, True),
    ErrorCode.INVALID_COMMAND: ErrorMapping(400, grpc.StatusCode.INVALID_ARGUMENT, InvalidCommandError, True),
    ErrorCode.DUPLICATE_COMMAND: ErrorMapping(409, grpc.StatusCode.ALREADY_EXISTS, DuplicateCommandError, True),
    ErrorCode.GATEWAY_UNAVAILABLE: ErrorMapping(503, grpc.StatusCode.UNAVAILABLE, GatewayUnavailableError, False),
}


def known_code(error: str) -> ErrorCode | None:
    """The code behind a `CommandAck.error`, or None when it is the client's own word (or empty)."""
    try:
        return ErrorCode(error)
    except ValueError:
        return None
