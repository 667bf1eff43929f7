"""Reports that can not be stored: each becomes a dead letter with its reason, and harms nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from support.stack import Stack
from support.waiting import eventually, eventually_async

from crypto_streaming import pb

CLIENT = "bad-reports"


def wallet(balance: str, **fields: Any) -> pb.ClientMessage:
    return pb.ClientMessage(
        wallet_update=pb.WalletUpdate(wallet_id="w", symbol="BTC", balance_available=balance), **fields
    )


def broken_utf8() -> bytes:
    good = pb.ClientMessage(client_id=CLIENT, message_id="utf8", log=pb.LogEntry(message="XXXX")).SerializeToString()
    return good.replace(b"XXXX", b"\xff\xfe\xfd\xfc")


BAD: dict[str, tuple[Callable[[], pb.ClientMessage | bytes], str]] = {
    "not-a-number": (lambda: wallet("twelve"), "INVALID_AMOUNT"),
    "negative": (lambda: wallet("-1"), "INVALID_AMOUNT"),
    "nan": (lambda: wallet("NaN"), "INVALID_AMOUNT"),
    "infinite": (lambda: wallet("Infinity"), "INVALID_AMOUNT"),
    "1e400": (lambda: wallet("1e400"), "INVALID_AMOUNT"),
    "80-digits": (lambda: wallet("9" * 80), "INVALID_AMOUNT"),
    "year-0": (lambda: wallet("1", timestamp=Timestamp(seconds=-(10**12))), "INVALID_TIMESTAMP"),
    "year-10000": (lambda: wallet("1", timestamp=Timestamp(seconds=10**12)), "INVALID_TIMESTAMP"),
    "nul-character": (lambda: pb.ClientMessage(log=pb.LogEntry(message="a\0b")), "INVALID_FIELD"),
    "no-wallet-id": (lambda: pb.ClientMessage(wallet_update=pb.WalletUpdate(balance_available="1")), "INVALID_FIELD"),
    "no-payload": (pb.ClientMessage, "NO_PAYLOAD"),
    "invalid-utf8": (broken_utf8, "UNPARSABLE"),
    "noise": (lambda: b"\xff\xff\xff\xff\xff", "UNPARSABLE"),
    "too-large": (lambda: pb.ClientMessage(log=pb.LogEntry(message="x" * 300_000)), "MESSAGE_TOO_LARGE"),
    "ack-in-batch": (
        lambda: pb.ClientMessage(batch=pb.ClientBatch(messages=[pb.ClientMessage(command_ack=pb.CommandAck())])),
        "MISPLACED_IN_BATCH",
    ),
    "stranger-in-batch": (
        lambda: pb.ClientMessage(
            batch=pb.ClientBatch(messages=[pb.ClientMessage(client_id="another", log=pb.LogEntry(message="x"))])
        ),
        "CLIENT_ID_MISMATCH",
    ),
}


def serialised(name: str, message: pb.ClientMessage | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    message.client_id = CLIENT
    message.message_id = name
    return message.SerializeToString()


@pytest.fixture
def counted(stack: Stack) -> Callable[[], float]:
    """Dead letters that the workers have counted."""

    def total() -> float:
        samples = [sample for worker in stack.workers for sample in worker.metrics().items()]
        return sum(value for name, value in samples if "dead_letters_total" in name)

    return total


async def test_bad_reports_are_dead_letters_and_the_rest_is_stored(stack: Stack, counted: Callable[[], float]) -> None:
    before = counted()
    async with aio.insecure_channel(stack.edge_address) as channel:
        connect: Any = channel.stream_stream("/crypto.CryptoStreamingService/ConnectClient")
        call = connect()
        await call.write(serialised("hello", pb.ClientMessage(register=pb.ClientRegistration(client_name="bad"))))
        for name, (make, _) in BAD.items():
            await call.write(serialised(name, make()))
            await call.write(serialised(f"after-{name}", wallet("1.5")))

        # The stream lives: a command gets through and is acked.
        async with aio.insecure_channel(stack.internal_address) as callers:
            request = pb.SendCommandRequest(client_id=CLIENT, command=pb.DjangoCommand(ping=pb.PingCommand(sequence=7)))
            executing = pb.CryptoStreamingServiceStub(callers).ExecuteCommandSync(request, timeout=10)
            command = pb.DjangoCommand.FromString(await call.read())
            ack = pb.CommandAck(command_id=command.command_id, success=True)
            await call.write(serialised("ack", pb.ClientMessage(command_ack=ack)))
            assert (await executing).success
        with psycopg.connect(stack.database_url, autocommit=True) as database:

            def stored() -> list[str]:
                query = "SELECT message_id FROM wallet_balances WHERE client_id = %s"
                return sorted(row[0] for row in database.execute(query, [CLIENT]))

            await eventually_async(lambda: stored() == sorted(f"after-{name}" for name in BAD), timeout=20)

            def reasons() -> list[str]:
                query = "SELECT reason FROM dead_letters WHERE client_id = %s"
                return sorted(row[0] for row in database.execute(query, [CLIENT]))

            await eventually_async(lambda: reasons() == sorted(reason for _, reason in BAD.values()))
            large = database.execute(
                "SELECT payload_length, length(payload) FROM dead_letters WHERE message_id = 'too-large'"
            ).fetchone()
            assert large is not None
            assert large[0] > 300_000 > large[1] > 0
        call.cancel()
    eventually(lambda: counted() == before + len(BAD))


@pytest.mark.parametrize(
    ("client_id", "words"),
    [
        ("", "empty"),
        ("x" * 129, "longer"),
        ("a b", "must match"),
        ("../etc", "must match"),
        ("ünïcode", "must match"),
        ("pause_all", "route"),
    ],
)
async def test_a_strange_client_id_is_refused_with_words(stack: Stack, client_id: str, words: str) -> None:
    async with aio.insecure_channel(stack.edge_address) as channel:
        call = pb.CryptoStreamingServiceStub(channel).ConnectClient()
        await call.write(pb.ClientMessage(client_id=client_id, heartbeat=pb.HeartbeatUpdate()))
        with pytest.raises(aio.AioRpcError) as refused:
            await call.read()
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert words in (refused.value.details() or "")


async def test_a_second_client_id_ends_the_stream(stack: Stack) -> None:
    async with aio.insecure_channel(stack.edge_address) as channel:
        call = pb.CryptoStreamingServiceStub(channel).ConnectClient()
        await call.write(pb.ClientMessage(client_id="first", heartbeat=pb.HeartbeatUpdate()))
        await call.write(pb.ClientMessage(client_id="second", heartbeat=pb.HeartbeatUpdate()))
        with pytest.raises(aio.AioRpcError) as refused:
            await call.read()
    assert refused.value.code().name == "INVALID_ARGUMENT"
