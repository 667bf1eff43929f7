"""The SDK of crypto streaming: command clients, or be one (`crypto_streaming.agent`)."""

from . import pb
from .blocking import BlockingStreamingCommandClient, CommandFuture
from .channels import aclose_channels, close_channels
from .client import StreamingCommandClient
from .commands import COMMANDS, Command, CommandBuilder
from .errors import (
    ERRORS,
    BusUnavailableError,
    ClientDisconnectedError,
    ClientNotConnectedError,
    ClientOverloadedError,
    CommandError,
    CommandExpiredError,
    CommandTimeoutError,
    DuplicateCommandError,
    ErrorCode,
    GatewayUnavailableError,
    InvalidCommandError,
    StreamingError,
)
from .services import (
    StreamingService,
    get_streaming_service,
    is_client_connected,
    register_streaming_service,
    unregister_streaming_service,
)
from .tls import TlsOptions

__all__ = [
    "COMMANDS",
    "ERRORS",
    "BlockingStreamingCommandClient",
    "BusUnavailableError",
    "ClientDisconnectedError",
    "ClientNotConnectedError",
    "ClientOverloadedError",
    "Command",
    "CommandBuilder",
    "CommandError",
    "CommandExpiredError",
    "CommandFuture",
    "CommandTimeoutError",
    "DuplicateCommandError",
    "ErrorCode",
    "GatewayUnavailableError",
    "InvalidCommandError",
    "StreamingCommandClient",
    "StreamingError",
    "StreamingService",
    "TlsOptions",
    "aclose_channels",
    "close_channels",
    "get_streaming_service",
    "is_client_connected",
    "pb",
    "register_streaming_service",
    "unregister_streaming_service",
]
