"""The contract's three RPCs in front of the engine.

Messages stay bytes here: a deserialiser of grpcio's own would end a client's stream on one string that is not UTF-8.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import grpc
from grpc import aio

from crypto_streaming import pb
from stream_gateway import metrics
from stream_gateway.engine.contract import Contract, Failure
from stream_gateway.engine.engine import Engine
from stream_gateway.engine.session import EndStatus

log = logging.getLogger(__name__)

# The answer has to be back before the caller's deadline: a tenth of what is left, at most this.
MARGIN_SECONDS = 0.25
# Of the addresses that the edge names: a client can put anything before its own.
PEER_LENGTH = 256


class _GrpcStream:
    """One ConnectClient call as the engine's transport."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        self._context = context

    @property
    def peer(self) -> str:
        """The address that the edge saw, or the direct one."""
        for key, value in self._context.invocation_metadata() or ():
            if key == "x-forwarded-for":
                # Envoy appends what it saw; what stands before it is the client's own word.
                return str(value).rpartition(",")[2].strip()[:PEER_LENGTH]
        return str(self._context.peer())

    async def read(self) -> bytes | None:
        """See `StreamTransport`."""
        message = await self._context.read()
        return None if message is aio.EOF else message

    async def write(self, data: bytes) -> None:
        """See `StreamTransport`."""
        await self._context.write(data)


class StreamingServicer:
    """Serves `crypto.CryptoStreamingService`.

    Args:
        engine: what does the work.
        command_seconds: how long ExecuteCommandSync waits when the call has no deadline.
    """

    def __init__(self, engine: Engine, command_seconds: float) -> None:
        self._engine = engine
        self._contract: Contract = engine.contract
        self._command_seconds = command_seconds
        self._send_seconds = metrics.COMMAND_SECONDS.distribution("send")
        self._execute_seconds = metrics.COMMAND_SECONDS.distribution("execute")

    def add_to(self, server: aio.Server) -> None:
        """Register the RPCs."""
        handlers = {
            "ConnectClient": grpc.stream_stream_rpc_method_handler(self.connect_client),
            "SendCommandToClient": grpc.unary_unary_rpc_method_handler(self.send_command),
            "ExecuteCommandSync": grpc.unary_unary_rpc_method_handler(self.execute_command),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(pb.SERVICE_NAME, handlers),))

    async def connect_client(self, _requests: Any, context: Any) -> None:
        """A client's stream."""
        end = await self._engine.streams.serve(_GrpcStream(context))
        if end.status is not EndStatus.OK:
            await context.abort(grpc.StatusCode[end.status.name], end.details)

    async def send_command(self, request: bytes, _context: Any) -> bytes:
        """Queue a command."""
        started = time.perf_counter()
        command = self._contract.parse_request(request)
        if isinstance(command, Failure):
            metrics.COMMANDS.cell("send", "none", command.code.value).value += 1
            return self._contract.not_queued("", "", command)
        failure = await self._engine.router.send(command)
        self._send_seconds.observe(time.perf_counter() - started)
        if failure is not None:
            return self._contract.not_queued(command.client_id, command.command_id, failure)
        return self._contract.queued(command.command_id)

    async def execute_command(self, request: bytes, context: Any) -> bytes:
        """Send a command and answer its ack. A caller that goes away cancels this task, which withdraws the command."""
        started = time.perf_counter()
        command = self._contract.parse_request(request)
        if isinstance(command, Failure):
            metrics.COMMANDS.cell("execute", "none", command.code.value).value += 1
            return self._contract.failed_ack("", command)
        remaining = context.time_remaining()
        timeout = self._command_seconds if remaining is None else remaining - min(MARGIN_SECONDS, remaining / 10)
        outcome = await self._engine.router.execute(command, timeout)
        self._execute_seconds.observe(time.perf_counter() - started)
        return self._contract.failed_ack(command.command_id, outcome) if isinstance(outcome, Failure) else outcome
