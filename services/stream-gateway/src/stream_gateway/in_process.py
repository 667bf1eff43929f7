"""In-process mode: the whole engine inside an application, with clients over gRPC and no NATS.

For small deployments and for applications that command their clients from the process that holds the streams. There is
one replica then: who needs more runs the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from crypto_streaming import pb, register_streaming_service
from crypto_streaming.services import DEFAULT_SERVICE, unregister_streaming_service
from service_kit.clock import SystemClock
from service_kit.frames import Frame

from .adapters.grpc_server import GrpcServer
from .adapters.grpc_service import StreamingServicer
from .application import engine_config
from .crypto_contract import CryptoContract
from .engine.contract import Command, Failure
from .engine.engine import Engine
from .engine.memory import MemoryBus, MemoryDirectory, MemorySink
from .settings import GatewaySettings


class InProcessGateway:
    """Holds client streams and commands clients, in this process. Implements `crypto_streaming.StreamingService`.

    Args:
        persist: takes each frame of reports; when it has returned they count as durable, and clients get receipts.
            It runs on the event loop: it must not block for long.
        settings: limits; what concerns NATS is not used.
    """

    def __init__(self, persist: Callable[[Frame], None], settings: GatewaySettings | None = None) -> None:
        self._settings = settings or GatewaySettings()
        self._contract = CryptoContract(self._settings.max_message_bytes)
        self._engine = Engine(
            contract=self._contract,
            bus=MemoryBus(),
            directory=MemoryDirectory(),
            sink=MemorySink(lambda data: persist(Frame.FromString(data))),
            clock=SystemClock(),
            config=engine_config(self._settings, self._settings.make_gateway_id()),
        )
        self._server = GrpcServer()
        StreamingServicer(self._engine, self._settings.command_seconds).add_to(self._server.server)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, name: str = DEFAULT_SERVICE) -> int:
        """Listen for clients, and be found as the streaming service of this process.

        Returns:
            The gRPC port.
        """
        self._loop = asyncio.get_running_loop()
        await self._engine.start()
        await self._engine.lease.ensure()
        port = await self._server.start(self._settings.host, self._settings.port)
        await self._server.set_serving(True)
        register_streaming_service(name, self)
        return port

    async def close(self, name: str = DEFAULT_SERVICE) -> None:
        """Drain the clients and stop."""
        unregister_streaming_service(name)
        await self._server.set_serving(False)
        await self._engine.drain.run(self._settings.drain_seconds)
        await self._server.stop(0.5)
        await self._engine.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that `start` ran on."""
        if self._loop is None:
            raise RuntimeError("not started")
        return self._loop

    async def send_command(self, client_id: str, command: pb.DjangoCommand) -> pb.SendCommandResponse:
        """See `StreamingService`."""
        parsed = self._parse(client_id, command)
        if isinstance(parsed, Failure):
            return pb.SendCommandResponse.FromString(self._contract.not_queued(client_id, "", parsed))
        failure = await self._engine.router.send(parsed)
        if failure is None:
            return pb.SendCommandResponse.FromString(self._contract.queued(parsed.command_id))
        return pb.SendCommandResponse.FromString(self._contract.not_queued(client_id, parsed.command_id, failure))

    async def execute_command(self, client_id: str, command: pb.DjangoCommand, timeout: float) -> pb.CommandAck:  # noqa: ASYNC109  (see `StreamingService`)
        """See `StreamingService`."""
        parsed = self._parse(client_id, command)
        if isinstance(parsed, Failure):
            return pb.CommandAck.FromString(self._contract.failed_ack(command.command_id, parsed))
        outcome = await self._engine.router.execute(parsed, timeout)
        if isinstance(outcome, Failure):
            outcome = self._contract.failed_ack(parsed.command_id, outcome)
        return pb.CommandAck.FromString(outcome)

    def is_client_connected(self, client_id: str) -> bool:
        """See `StreamingService`."""
        return self._engine.is_client_connected(client_id)

    def _parse(self, client_id: str, command: pb.DjangoCommand) -> Command | Failure:
        request = pb.SendCommandRequest(client_id=client_id, command=command)
        return self._contract.parse_request(request.SerializeToString())
