"""Clients of the bare contract, as light as they can be: what they cost is taken from the server's share of the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias

import grpc
import grpc.aio

from crypto_streaming import pb

CONNECT = f"/{pb.SERVICE_NAME}/ConnectClient"
EXECUTE = f"/{pb.SERVICE_NAME}/ExecuteCommandSync"
CONNECT_SECONDS = 30.0

# Raw bytes, so that what is sent can be made before the clock starts.
RawStream: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


def open_channels(address: str, count: int) -> list[grpc.aio.Channel]:
    """Channels with a connection each (gRPC would share one among equal channels)."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    return [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]


async def open_stream(channel: grpc.aio.Channel, registration: pb.ClientMessage) -> RawStream:
    """Open the stream of one client and register it."""
    call: RawStream = channel.stream_stream(CONNECT)()
    await asyncio.wait_for(call.write(registration.SerializeToString()), CONNECT_SECONDS)
    return call


async def read(stream: RawStream) -> bytes:
    """The next message of the server.

    Raises:
        RuntimeError: the server ended the stream.
    """
    received = await stream.read()
    if not isinstance(received, bytes):
        raise RuntimeError(f"the stream ended: {await stream.code()} {await stream.details()}")  # noqa: TRY004
    return received


def registration(client_id: str, capabilities: Sequence[pb.ClientCapability] = ()) -> pb.ClientMessage:
    """The first message of a stream."""
    return pb.ClientMessage(
        client_id=client_id,
        message_id=f"{client_id}-register",
        register=pb.ClientRegistration(
            client_name="bench", client_type="bench", version="1", capabilities=list(capabilities)
        ),
    )


async def ping(channel: grpc.aio.Channel, client_id: str, command_id: str) -> pb.CommandAck:
    """One ExecuteCommandSync."""
    request = pb.SendCommandRequest(
        client_id=client_id, command=pb.DjangoCommand(command_id=command_id, ping=pb.PingCommand(sequence=1))
    )
    call = channel.unary_unary(EXECUTE, pb.SendCommandRequest.SerializeToString, pb.CommandAck.FromString)
    return await call(request, timeout=15)


class AckingFleet:
    """Plain clients, each of which acks every command at once."""

    def __init__(self, channels: list[grpc.aio.Channel], streams: list[RawStream], client_ids: list[str]) -> None:
        self._channels = channels
        self._streams = streams
        self._tasks = [
            asyncio.create_task(self._obey(stream, client_id))
            for stream, client_id in zip(streams, client_ids, strict=True)
        ]

    @classmethod
    async def connect(cls, address: str, via: str, prefix: str, clients: int, channels: int) -> AckingFleet:
        """Connect them all to `address` and wait until each can be commanded through `via`."""
        opened = open_channels(address, channels)
        ids = [f"{prefix}-{number}" for number in range(clients)]
        streams = [
            await open_stream(opened[number % channels], registration(client_id))
            for number, client_id in enumerate(ids)
        ]
        fleet = cls(opened, streams, ids)
        (commanding,) = open_channels(via, 1)
        for client_id in ids:
            await wait_until_commanded(commanding, client_id)
        await commanding.close()
        return fleet

    async def close(self) -> None:
        """Leave."""
        await close_streams(self._channels, self._streams, self._tasks)

    @staticmethod
    async def _obey(stream: RawStream, client_id: str) -> None:
        while True:
            command = pb.DjangoCommand.FromString(await read(stream))
            ack = pb.ClientMessage(
                client_id=client_id,
                message_id=f"{command.command_id}-ack",
                command_ack=pb.CommandAck(command_id=command.command_id, success=True),
            )
            await stream.write(ack.SerializeToString())


async def wait_until_commanded(channel: grpc.aio.Channel, client_id: str) -> None:
    """Wait until a command reaches the client (a bare client is not told when it is registered)."""
    deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = (await ping(channel, client_id, f"{client_id}-hello-{attempt}")).error or ""
            if not answer:
                return
        except grpc.aio.AioRpcError as error:
            answer = str(error.code())
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"{client_id} can not be commanded: {answer}")
        await asyncio.sleep(0.02)


async def close_streams(
    channels: Sequence[grpc.aio.Channel], streams: Sequence[RawStream], tasks: Sequence[asyncio.Task[None]]
) -> None:
    """End readers, then calls, then channels: in another order the server keeps the streams."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await task
    for stream in streams:
        stream.cancel()
    for channel in channels:
        await channel.close()
