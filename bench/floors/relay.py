"""The floor of commands and of idle streams: a queue for each client, a future for each command, nothing else.

No checks, no timeouts, no log, no other replica, nothing durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio

from bench.floors.serving import run
from crypto_streaming import pb


class Relay(pb.CryptoStreamingServiceServicer):
    """Passes commands to streams and acks to callers."""

    def __init__(self) -> None:
        self._queues: dict[str, asyncio.Queue[pb.DjangoCommand]] = {}
        self._waiting: dict[str, asyncio.Future[pb.CommandAck]] = {}

    async def ConnectClient(  # noqa: N802  (the contract's name)
        self,
        request_iterator: AsyncIterator[pb.ClientMessage],
        context: grpc.aio.ServicerContext[pb.ClientMessage, pb.DjangoCommand],
    ) -> AsyncIterator[pb.DjangoCommand]:
        """Hold one client."""
        del context
        first = await anext(request_iterator)
        queue: asyncio.Queue[pb.DjangoCommand] = asyncio.Queue()
        self._queues[first.client_id] = queue
        reader = asyncio.create_task(self._read_acks(request_iterator))
        try:
            while True:
                yield await queue.get()
        finally:
            reader.cancel()

    async def ExecuteCommandSync(  # noqa: N802  (the contract's name)
        self,
        request: pb.SendCommandRequest,
        context: grpc.aio.ServicerContext[pb.SendCommandRequest, pb.CommandAck],
    ) -> pb.CommandAck:
        """Pass one command on and wait for its ack."""
        del context
        ack: asyncio.Future[pb.CommandAck] = asyncio.get_running_loop().create_future()
        self._waiting[request.command.command_id] = ack
        self._queues[request.client_id].put_nowait(request.command)
        return await ack

    async def _read_acks(self, messages: AsyncIterator[pb.ClientMessage]) -> None:
        async for message in messages:
            ack = message.command_ack
            self._waiting.pop(ack.command_id).set_result(ack)


if __name__ == "__main__":
    run(Relay())
