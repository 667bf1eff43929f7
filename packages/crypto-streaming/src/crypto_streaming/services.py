"""In-process mode: talking to a streaming engine of this process directly, without gRPC."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol, TypeVar

TCommand_contra = TypeVar("TCommand_contra", contravariant=True)


class SendResult(Protocol):
    """What became of sending; `pb.SendCommandResponse` is one."""

    @property
    def success(self) -> bool:
        """The command is queued on the client's live stream."""
        ...

    @property
    def error(self) -> str:
        """Why not; empty on success."""
        ...


class CommandResult(Protocol):
    """What a command led to; `pb.CommandAck` is one."""

    @property
    def command_id(self) -> str:
        """Which command it is about."""
        ...

    @property
    def success(self) -> bool:
        """The client obeyed."""
        ...

    @property
    def message(self) -> str:
        """Words for a person."""
        ...

    @property
    def error(self) -> str:
        """A code for a program; empty on success."""
        ...


class StreamingService(Protocol[TCommand_contra]):
    """An engine that holds streams of clients, as a client in the same process needs it.

    Everything runs on `loop`. The coroutines answer failures in their result, as the RPCs do, and raise only when
    cancelled; cancelling one leaves nothing behind.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the engine runs on."""
        ...

    async def send_command(self, client_id: str, command: TCommand_contra) -> SendResult:
        """Queue a command on the client's live stream. Does not wait for the ack."""
        ...

    async def execute_command(self, client_id: str, command: TCommand_contra, timeout: float) -> CommandResult:
        """Queue a command and wait for its ack, at most `timeout` seconds."""
        ...

    def is_client_connected(self, client_id: str) -> bool:
        """Whether this engine holds a stream of the client. Callable from any thread; never blocks."""
        ...


DEFAULT_SERVICE = "crypto"

_lock = threading.Lock()
_services: dict[str, StreamingService[Any]] = {}


def register_streaming_service(name: str, service: StreamingService[Any]) -> None:
    """Make an engine findable in this process, in place of any of that name."""
    with _lock:
        _services[name] = service


def unregister_streaming_service(name: str = DEFAULT_SERVICE) -> None:
    """Forget an engine; nothing happens when there is none of that name."""
    with _lock:
        _services.pop(name, None)


def get_streaming_service(name: str = DEFAULT_SERVICE) -> StreamingService[Any] | None:
    """The engine of this process, or None when it has none (then clients use gRPC)."""
    with _lock:
        return _services.get(name)


def is_client_connected(client_id: str, name: str = DEFAULT_SERVICE) -> bool:
    """Whether this process's engine holds a stream of the client; False without an engine."""
    service = get_streaming_service(name)
    return service is not None and service.is_client_connected(client_id)
