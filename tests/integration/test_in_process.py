"""In-process mode: one process is the whole system, and the calling code stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import aio
from support.waiting import eventually_async

from crypto_streaming import (
    BlockingStreamingCommandClient,
    ClientNotConnectedError,
    InvalidCommandError,
    StreamingCommandClient,
    get_streaming_service,
    is_client_connected,
    pb,
)
from service_kit.frames import Frame
from stream_gateway.in_process import InProcessGateway

CLIENT = "in-process-1"


@pytest.fixture
async def frames() -> AsyncIterator[list[Frame]]:
    """The frames that a gateway in this process has persisted, while a client that obeys everything is connected."""
    taken: list[Frame] = []
    gateway = InProcessGateway(taken.append)
    port = await gateway.start()
    channel = aio.insecure_channel(f"127.0.0.1:{port}")
    call = pb.CryptoStreamingServiceStub(channel).ConnectClient()

    async def obey() -> None:
        await call.write(pb.ClientMessage(client_id=CLIENT, register=pb.ClientRegistration(client_name="x")))
        async for command in call:
            ack = pb.CommandAck(command_id=command.command_id, success=True, message=command.WhichOneof("command"))
            await call.write(pb.ClientMessage(client_id=CLIENT, command_ack=ack))

    client = asyncio.create_task(obey())
    await eventually_async(lambda: is_client_connected(CLIENT))
    yield taken
    client.cancel()
    await asyncio.wait({client})
    call.cancel()
    await channel.close()
    await gateway.close()
    assert get_streaming_service() is None


async def test_commands_reach_a_client_without_grpc_between(frames: list[Frame]) -> None:
    client = StreamingCommandClient(client_id=CLIENT, streaming_service=get_streaming_service())
    assert (await client.pause_client_sync(reason="x", timeout=5)).message == "pause"
    assert await client.resume_client() is True
    blocking = BlockingStreamingCommandClient(client_id=CLIENT, streaming_service=get_streaming_service())
    assert (await asyncio.to_thread(blocking.ping_client_sync, 3, timeout=5)).message == "ping"


async def test_failures_are_those_of_the_gateway(frames: list[Frame]) -> None:
    stranger = StreamingCommandClient(client_id="nobody", streaming_service=get_streaming_service())
    assert await stranger.pause_client() is False
    with pytest.raises(ClientNotConnectedError):
        await stranger.pause_client_sync(timeout=5)
    with pytest.raises(InvalidCommandError):
        await StreamingCommandClient(client_id=CLIENT, streaming_service=get_streaming_service()).execute_command(
            pb.DjangoCommand(), timeout=5
        )


async def test_reports_are_handed_to_the_application(frames: list[Frame]) -> None:
    def registered() -> bool:
        reports = [entry.report for frame in frames for entry in frame.entries if entry.HasField("report")]
        return any(pb.ClientMessage.FromString(report).register.client_name == "x" for report in reports)

    await eventually_async(registered)
