"""The generic client: commands to the clients of any contract of this shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from ._callers import AsyncCaller, Contract, MetadataSource, Target, async_caller, checked, delivered
from .services import CommandResult, SendResult, StreamingService
from .tls import TlsOptions

TCommand = TypeVar("TCommand")


class StreamingCommandClient(Generic[TCommand]):
    """Sends commands to one client of a streaming service.

    A subclass names its contract in class attributes and adds a method per command. The contract needs a request of
    two fields (the client's id, and `command`), an RPC that answers `success` and `error`, and for the commands that
    wait an RPC that answers `command_id`, `success`, `message` and `error`.

    Making one costs nothing: channels are shared by all clients of the process (see `crypto_streaming.channels`).

    Attributes:
        stub_class: the generated stub of the contract's service.
        request_class: the generated request of both RPCs.
        rpc_method_name: the RPC that queues a command.
        sync_rpc_method_name: the RPC that waits for the ack.
        client_id_field: the field of the request that holds the client's id.
    """

    stub_class: ClassVar[Callable[[Any], Any]]
    request_class: ClassVar[Callable[..., Any]]
    rpc_method_name: ClassVar[str] = "SendCommandToClient"
    sync_rpc_method_name: ClassVar[str] = "ExecuteCommandSync"
    client_id_field: ClassVar[str] = "client_id"

    def __init__(
        self,
        client_id: str,
        *,
        address: str | None = None,
        channel: Any | None = None,
        streaming_service: StreamingService[TCommand] | None = None,
        tls: TlsOptions | None = None,
        metadata: MetadataSource | None = None,
    ) -> None:
        """Say which client, and how to reach it.

        Args:
            client_id: the client that is to be commanded.
            address: `host:port` of a gateway (or what stands before it). Where neither this nor the next two are
                given, the environment variable `CRYPTO_STREAMING_ADDRESS` names it.
            channel: a channel of the caller's own, in place of `address`.
            streaming_service: an engine of this process, in place of `address`: no gRPC is involved.
            tls: certificates, for an `address`; None is plain text.
            metadata: sent with each call, or a function that returns it (a bearer token that expires).

        Raises:
            ValueError: more than one way, or none.
        """
        cls = type(self)
        contract = Contract(
            # Read from the class: a plain function there would become a method on the instance.
            cls.stub_class,
            cls.request_class,
            cls.rpc_method_name,
            cls.sync_rpc_method_name,
            cls.client_id_field,
        )
        self._client_id = client_id
        target = Target[TCommand].choose(address, channel, streaming_service, tls, metadata)
        self._caller: AsyncCaller[TCommand] = async_caller(contract, client_id, target)

    @property
    def client_id(self) -> str:
        """The client that this one commands."""
        return self._client_id

    async def send_command(self, command: TCommand, *, timeout: float | None = None) -> SendResult:
        """Queue a command on the client's live stream; does not wait for the ack.

        Args:
            command: the command.
            timeout: seconds until the call is given up; None means 15.

        Returns:
            The gateway's answer: `success`, or `error` in words.

        Raises:
            GatewayUnavailableError: no gateway answered.
            CommandTimeoutError: none did in time.
            InvalidCommandError: the request was refused as malformed.
            ValueError: `timeout` is not a positive number.
        """
        return await self._caller.send(command, timeout)

    async def execute_command(self, command: TCommand, *, timeout: float | None = None) -> CommandResult:
        """Send a command and wait for the client's ack.

        Args:
            command: the command.
            timeout: seconds until the waiting ends, on this side and at the gateway; None means 15.

        Returns:
            The client's ack. `success=False` in it is the client's own refusal.

        Raises:
            CommandError: no ack; the subclass says why, and `ERRORS` whether the command may have been executed.
            ValueError: `timeout` is not a positive number.
        """
        return checked(await self._caller.execute(command, timeout))

    async def _deliver(self, command: TCommand) -> bool:
        return delivered(await self.send_command(command))
