"""What the type checker must refuse, and must not: each ignore below has to be needed, or `make check` fails."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

from crypto_streaming import BlockingStreamingCommandClient, StreamingCommandClient, base, pb
from crypto_streaming.agent import Ack, CryptoClient


async def callers(client: StreamingCommandClient, blocking: BlockingStreamingCommandClient) -> None:
    assert_type(await client.pause_client("why"), bool)
    assert_type(await client.pause_client_sync("why", timeout=1.0), pb.CommandAck)
    assert_type(blocking.pause_client("why"), bool)
    assert_type(blocking.pause_client_sync("why", timeout=1.0), pb.CommandAck)
    assert_type(await client.send_command(pb.DjangoCommand()), pb.SendCommandResponse)
    await client.ping_client("1")  # pyright: ignore[reportArgumentType]
    await client.pause_client_sync("why", 1.0)  # pyright: ignore[reportCallIssue]
    await client.sync_wallets(symbols=7)  # pyright: ignore[reportArgumentType]
    await client.execute_command(pb.PingCommand())  # pyright: ignore[reportArgumentType]
    blocking.request_status_sync(timeout="1")  # pyright: ignore[reportArgumentType]


class Other(base.StreamingCommandClient[pb.PingCommand]):
    stub_class = pb.CryptoStreamingServiceStub
    request_class = pb.SendCommandRequest


async def other_contracts(client: Other) -> None:
    await client.send_command(pb.PingCommand())
    await client.send_command(pb.DjangoCommand())  # pyright: ignore[reportArgumentType]


async def authors(client: CryptoClient) -> None:
    @client.on(pb.PauseClientCommand)
    async def pause(command: pb.PauseClientCommand) -> Ack:
        return Ack(message=command.reason)

    @client.on(pb.ResumeClientCommand)
    async def resume(_command: pb.ResumeClientCommand) -> None: ...

    @client.on(pb.PingCommand)  # pyright: ignore[reportArgumentType]
    async def wrong_payload(_command: pb.PauseClientCommand) -> None: ...

    @client.on(pb.PingCommand)  # pyright: ignore[reportArgumentType]
    async def wrong_answer(_command: pb.PingCommand) -> bool:
        return True

    @client.on(pb.PingCommand)  # pyright: ignore[reportArgumentType]
    def not_async(_command: pb.PingCommand) -> None: ...

    await client.report_wallet("w", "ETH", available=Decimal(1), locked="2")
    await client.report_wallet("w", "ETH", available=1.5)  # pyright: ignore[reportArgumentType]
    await client.report_status("active")  # pyright: ignore[reportArgumentType]
    _ = (pause, resume, wrong_payload, wrong_answer, not_async)
