"""How a request gets to a gateway, for both twins: over a channel, or into an engine of this process.

This is the one part of the callers' half that differs between asyncio and threads by more than `await`, so both sides
of it are written here; everything above is written once, and its blocking twin generated.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc
import grpc.aio

from .channels import shared_aio_channel, shared_channel
from .errors import (
    ERRORS,
    CommandError,
    CommandTimeoutError,
    ErrorCode,
    GatewayUnavailableError,
    InvalidCommandError,
    known_code,
)
from .services import CommandResult, SendResult, StreamingService
from .tls import TlsOptions

TCommand = TypeVar("TCommand")
TCommand_contra = TypeVar("TCommand_contra", contravariant=True)

ADDRESS_VARIABLE = "CRYPTO_STREAMING_ADDRESS"
DEFAULT_TIMEOUT = 15.0
"""Seconds, where the caller says nothing: what a gateway waits too."""

Metadata = Sequence[tuple[str, str]]
MetadataSource = Metadata | Callable[[], Metadata]

_LOOP_GRACE = 5.0
"""Seconds that an engine may be late with its answer before its loop is taken for dead."""


@dataclass(frozen=True)
class Contract:
    """The names of a contract, as a client class declares them."""

    stub_class: Callable[[Any], Any]
    request_class: Callable[..., Any]
    send_method: str
    execute_method: str
    client_id_field: str


@dataclass(frozen=True)
class Target(Generic[TCommand]):
    """Where a client's requests go: exactly one of the first three."""

    address: str | None
    channel: Any | None
    service: StreamingService[TCommand] | None
    tls: TlsOptions | None
    metadata: MetadataSource | None

    @staticmethod
    def choose(
        address: str | None,
        channel: Any | None,
        service: StreamingService[TCommand] | None,
        tls: TlsOptions | None,
        metadata: MetadataSource | None,
    ) -> Target[TCommand]:
        """Check the choice; the environment names the address where nothing is given.

        Raises:
            ValueError: more than one, or none and no address in the environment; or TLS options for what is already
                connected.
        """
        if sum(given is not None for given in (address, channel, service)) > 1:
            raise ValueError("give one of address, channel and streaming_service")
        if channel is None and service is None and address is None:
            address = os.environ.get(ADDRESS_VARIABLE) or None
            if address is None:
                raise ValueError(f"give address, channel or streaming_service, or set {ADDRESS_VARIABLE}=host:port")
        if tls is not None and address is None:
            raise ValueError("tls belongs to an address")
        return Target(address, channel, service, tls, metadata)

    def call_metadata(self) -> Metadata | None:
        """The metadata of one call; asked for anew each time, so that tokens may rotate."""
        return self.metadata() if callable(self.metadata) else self.metadata


class AsyncCaller(Protocol[TCommand_contra]):
    """Sends commands of one client. Raises `CommandError` when no gateway could be asked."""

    async def send(self, command: TCommand_contra, timeout: float | None) -> SendResult: ...

    async def execute(self, command: TCommand_contra, timeout: float | None) -> CommandResult: ...


class CommandFuture:
    """A command under way.

    Cancelling stops the waiting, not the command: it may have been sent.
    """

    def __init__(self, future: Any) -> None:
        self._future = future

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the ack.

        Args:
            timeout: seconds to wait here, beside the command's own deadline; None waits as long as that.

        Raises:
            CommandError: what went wrong, by its documented code.
            TimeoutError: not done within `timeout`; the command goes on.
            concurrent.futures.CancelledError: it was cancelled.
        """
        try:
            return checked(self._future.result(timeout))
        except grpc.FutureTimeoutError:
            raise TimeoutError("the command is still under way") from None
        except grpc.FutureCancelledError:
            raise concurrent.futures.CancelledError from None
        except grpc.RpcError as error:
            raise_for_rpc(error)

    def cancel(self) -> bool:
        """Stop waiting; False when it was done already."""
        return bool(self._future.cancel())

    def done(self) -> bool:
        """Whether `result` would return at once."""
        return bool(self._future.done())

    def add_done_callback(self, callback: Callable[[CommandFuture], None]) -> None:
        """Call `callback(self)` once done, from a thread of the transport: it must not block."""

        def done(_future: Any) -> None:
            callback(self)

        self._future.add_done_callback(done)


class BlockingCaller(Protocol[TCommand_contra]):
    """Sends commands of one client. Raises `CommandError` when no gateway could be asked."""

    def send(self, command: TCommand_contra, timeout: float | None) -> SendResult: ...

    def execute(self, command: TCommand_contra, timeout: float | None) -> CommandResult: ...

    def start(self, command: TCommand_contra, timeout: float | None) -> CommandFuture: ...


def async_caller(contract: Contract, client_id: str, target: Target[TCommand]) -> AsyncCaller[TCommand]:
    """The caller for a target. Nothing is connected yet."""
    if target.service is not None:
        return _AsyncServiceCaller(target.service, client_id)
    return _AsyncChannelCaller(contract, client_id, target)


def blocking_caller(contract: Contract, client_id: str, target: Target[TCommand]) -> BlockingCaller[TCommand]:
    """The caller for a target. Nothing is connected yet."""
    if target.service is not None:
        return _BlockingServiceCaller(target.service, client_id)
    return _BlockingChannelCaller(contract, client_id, target)


TResult = TypeVar("TResult", bound=CommandResult)


def checked(result: TResult) -> TResult:
    """Let a client's own answer pass; raise what never got one.

    Raises:
        CommandError: `error` holds one of the documented codes.
    """
    code = None if result.success else known_code(result.error)
    if code is None:
        return result
    raise ERRORS[code].exception(result.message, command_id=result.command_id)


def delivered(result: SendResult) -> bool:
    """Whether a command was queued; False when its client is not connected.

    Raises:
        CommandError: it was not, for another of the documented reasons (`CODE` or `CODE: words`).
    """
    if result.success:
        return True
    first, _, words = result.error.partition(":")
    code = known_code(first.strip())
    if code is None or code is ErrorCode.CLIENT_NOT_CONNECTED:
        return False
    raise ERRORS[code].exception(words.strip())


def raise_for_rpc(error: grpc.RpcError) -> NoReturn:
    """Put a failed call into this package's vocabulary.

    Raises:
        CommandTimeoutError: the deadline passed.
        InvalidCommandError: the gateway (or this side) refused the request itself.
        GatewayUnavailableError: anything else.
    """
    status = error.code() if isinstance(error, grpc.aio.AioRpcError | grpc.Call) else grpc.StatusCode.UNKNOWN
    details = error.details() if isinstance(error, grpc.aio.AioRpcError | grpc.Call) else str(error)
    raised: type[CommandError] = GatewayUnavailableError
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        raised = CommandTimeoutError
    elif status is grpc.StatusCode.INVALID_ARGUMENT:
        raised = InvalidCommandError
    raise raised(f"{status.name}: {details or 'no details'}") from error


def _deadline(timeout: float | None) -> float:
    if timeout is None:
        return DEFAULT_TIMEOUT
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
    return timeout


class _AsyncChannelCaller(Generic[TCommand]):
    def __init__(self, contract: Contract, client_id: str, target: Target[TCommand]) -> None:
        self._contract = contract
        self._client_id = client_id
        self._target = target

    async def send(self, command: TCommand, timeout: float | None) -> SendResult:
        return await self._call(self._contract.send_method, command, timeout)

    async def execute(self, command: TCommand, timeout: float | None) -> CommandResult:
        return await self._call(self._contract.execute_method, command, timeout)

    async def _call(self, method: str, command: TCommand, timeout: float | None) -> Any:
        deadline = _deadline(timeout)
        target = self._target
        # Asked for at each call: a client may outlive the loop that it was first used on.
        channel = target.channel if target.address is None else shared_aio_channel(target.address, target.tls)
        call = getattr(self._contract.stub_class(channel), method)
        try:
            return await call(
                _request(self._contract, self._client_id, command), timeout=deadline, metadata=target.call_metadata()
            )
        except grpc.RpcError as error:
            raise_for_rpc(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # grpc.aio raises CancelledError for a call that the *other* side cancelled too.
            raise GatewayUnavailableError("CANCELLED: by the gateway or a proxy") from None


class _BlockingChannelCaller(Generic[TCommand]):
    def __init__(self, contract: Contract, client_id: str, target: Target[TCommand]) -> None:
        self._contract = contract
        self._client_id = client_id
        self._target = target

    def send(self, command: TCommand, timeout: float | None) -> SendResult:
        return self._call(self._contract.send_method, command, timeout)

    def execute(self, command: TCommand, timeout: float | None) -> CommandResult:
        return self._call(self._contract.execute_method, command, timeout)

    def start(self, command: TCommand, timeout: float | None) -> CommandFuture:
        method = self._method(self._contract.execute_method)
        return CommandFuture(
            method.future(
                _request(self._contract, self._client_id, command),
                timeout=_deadline(timeout),
                metadata=self._target.call_metadata(),
            )
        )

    def _method(self, name: str) -> Any:
        target = self._target
        channel = target.channel if target.address is None else shared_channel(target.address, target.tls)
        return getattr(self._contract.stub_class(channel), name)

    def _call(self, name: str, command: TCommand, timeout: float | None) -> Any:
        deadline = _deadline(timeout)
        try:
            return self._method(name)(
                _request(self._contract, self._client_id, command),
                timeout=deadline,
                metadata=self._target.call_metadata(),
            )
        except grpc.RpcError as error:
            raise_for_rpc(error)


def _request(contract: Contract, client_id: str, command: Any) -> Any:
    return contract.request_class(**{contract.client_id_field: client_id, "command": command})


class _AsyncServiceCaller(Generic[TCommand]):
    """Into an engine of this process, whichever of its loops the caller runs on."""

    def __init__(self, service: StreamingService[TCommand], client_id: str) -> None:
        self._service = service
        self._client_id = client_id

    async def send(self, command: TCommand, timeout: float | None) -> SendResult:
        _deadline(timeout)
        if asyncio.get_running_loop() is self._service.loop:
            return await self._service.send_command(self._client_id, command)
        return await asyncio.wrap_future(_start_send(self._service, self._client_id, command))

    async def execute(self, command: TCommand, timeout: float | None) -> CommandResult:
        deadline = _deadline(timeout)
        if asyncio.get_running_loop() is self._service.loop:
            return await self._service.execute_command(self._client_id, command, deadline)
        return await asyncio.wrap_future(_start_execute(self._service, self._client_id, command, deadline))


class _BlockingServiceCaller(Generic[TCommand]):
    """Into an engine of this process, from any thread but its own."""

    def __init__(self, service: StreamingService[TCommand], client_id: str) -> None:
        self._service = service
        self._client_id = client_id

    def send(self, command: TCommand, timeout: float | None) -> SendResult:
        deadline = _deadline(timeout)
        self._check_thread()
        return _wait(_start_send(self._service, self._client_id, command), deadline)

    def execute(self, command: TCommand, timeout: float | None) -> CommandResult:
        deadline = _deadline(timeout)
        self._check_thread()
        return _wait(_start_execute(self._service, self._client_id, command, deadline), deadline + _LOOP_GRACE)

    def start(self, command: TCommand, timeout: float | None) -> CommandFuture:
        return CommandFuture(_start_execute(self._service, self._client_id, command, _deadline(timeout)))

    def _check_thread(self) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is self._service.loop:
            raise RuntimeError("a blocking call on the engine's own loop would wait for itself: use the async client")


TValue = TypeVar("TValue")


def _start_send(
    service: StreamingService[TCommand], client_id: str, command: TCommand
) -> concurrent.futures.Future[SendResult]:
    return asyncio.run_coroutine_threadsafe(service.send_command(client_id, command), service.loop)


def _start_execute(
    service: StreamingService[TCommand], client_id: str, command: TCommand, timeout: float
) -> concurrent.futures.Future[CommandResult]:
    return asyncio.run_coroutine_threadsafe(service.execute_command(client_id, command, timeout), service.loop)


def _wait(future: concurrent.futures.Future[TValue], timeout: float) -> TValue:
    try:
        return future.result(timeout)
    except TimeoutError:
        future.cancel()
        raise CommandTimeoutError("the engine of this process did not answer") from None
