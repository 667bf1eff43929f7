"""The client authors' half against a gateway that does as the test says."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.scripted_gateway import ClientStream, ManualClock, ScriptedGateway, inner_ids, running
from support.waiting import eventually_async

from crypto_streaming import pb
from crypto_streaming.agent import ClientRejectedError, CryptoClient, DiskBuffer, MemoryBuffer


async def test_registers_first_with_what_it_understands(gateway: ScriptedGateway) -> None:
    options: dict[str, Any] = {
        "client_name": "Name",
        "client_type": "evm",
        "version": "1.2",
        "api_url": "http://c",
        "labels": {"a": "b"},
        "metadata": lambda: [("authorization", "t")],
    }
    async with running(gateway, **options):
        stream = await gateway.stream()
        message = await stream.welcome()
        assert message.client_id == "c-1"
        assert message.register == pb.ClientRegistration(
            client_name="Name",
            client_type="evm",
            version="1.2",
            api_url="http://c",
            labels={"a": "b"},
            capabilities=[pb.CLIENT_CAPABILITY_RECEIPTS, pb.CLIENT_CAPABILITY_RECONNECT],
        )
        assert stream.metadata["authorization"] == "t"


async def test_reports_wait_for_welcome_and_leave_the_buffer_with_their_receipt(gateway: ScriptedGateway) -> None:
    async with running(gateway) as client:
        message_id = await client.report_wallet("w", "ETH", available="1.5", locked=2)
        stream = await gateway.stream()
        registration = await stream.next("register")
        assert stream.unread == 0
        assert not client.connected
        await stream.send(pb.DjangoCommand(welcome=pb.Welcome(window_messages=10, window_bytes=1000)))
        report = await stream.next("wallet_update")
        assert client.connected
        assert report.message_id == message_id != registration.message_id
        assert report.wallet_update == pb.WalletUpdate(
            wallet_id="w", symbol="ETH", balance_available="1.5", balance_locked="2"
        )
        with pytest.raises(TimeoutError, match="1 reports"):
            await client.flush(0.01)
        await stream.receipt("unknown", report, report)
        await client.flush(5)
        stats = client.stats
        assert (stats.messages_sent, stats.messages_receipted, stats.messages_buffered) == (1, 1, 0)


async def test_the_window_is_obeyed_by_messages(gateway: ScriptedGateway) -> None:
    async with running(gateway) as client:
        stream = await gateway.welcomed(messages=3)
        ids = [await client.report_log(str(n)) for n in range(5)]
        first = await stream.next("batch")
        assert inner_ids([first]) == ids[:3]
        # An answer does not count, and shows that nothing else was on its way.
        await stream.send(pb.DjangoCommand(command_id="p", ping=pb.PingCommand()))
        await stream.next("command_ack")
        await stream.receipt(first)
        assert inner_ids([await stream.next("batch")]) == ids[3:]


async def test_the_window_is_obeyed_by_bytes(gateway: ScriptedGateway) -> None:
    async with running(gateway) as client:
        stream = await gateway.welcomed(size=10_000)
        ids = [await client.report_log("x" * 3000) for _ in range(5)]
        first = await stream.next("batch")
        assert inner_ids([first]) == ids[:3]
        assert len(stream.raw[-1]) <= 10_000
        await stream.send(pb.DjangoCommand(command_id="p", ping=pb.PingCommand()))
        await stream.next("command_ack")
        await stream.receipt(first)
        assert inner_ids([await stream.next("batch")]) == ids[3:]


async def test_what_waits_is_sent_in_one_message_byte_for_byte(gateway: ScriptedGateway) -> None:
    buffer = MemoryBuffer()
    async with running(gateway, buffer=buffer) as client:
        ids = [await client.report_transaction(f"t{n}", amount=n, details={"n": n}) for n in range(300)]
        kept = [entry.payload for entry in await buffer.read(0, 1000, 1 << 20)]
        stream = await gateway.welcomed(max_message=16_000)
        batches: list[pb.ClientMessage] = []
        while len(inner_ids(batches)) < 300:
            batch = await stream.next("batch")
            batches.append(batch)
            await stream.receipt(batch)
        assert inner_ids(batches) == ids
        assert [report.SerializeToString() for batch in batches for report in batch.batch.messages] == kept
        assert {batch.client_id for batch in batches} == {"c-1"}
        assert all(batch.HasField("timestamp") for batch in batches)
        sizes = [len(raw) for raw in stream.raw[1:]]
        assert max(sizes) <= 16_000
        assert len(sizes) < 10
        assert [pb.ClientMessage.FromString(raw).SerializeToString() for raw in stream.raw] == stream.raw
        await client.flush(5)


async def test_a_report_over_the_window_is_an_error_not_a_silence(gateway: ScriptedGateway) -> None:
    client = CryptoClient("c-1", address=gateway.address, announce_status=False)
    run = asyncio.create_task(client.run())
    await client.report_log("x" * 5000)
    await gateway.welcomed(size=4000)
    with pytest.raises(ClientRejectedError, match="does not fit"):
        await asyncio.wait_for(run, 5)


async def test_what_has_no_receipt_is_sent_again_with_the_same_bytes(gateway: ScriptedGateway) -> None:
    async with running(gateway) as client:
        stream = await gateway.welcomed()
        first = await client.report_error("a", exception=ValueError("x"))
        sent = await stream.next("error")
        assert "ValueError: x" in sent.error.traceback
        second = await client.report_log("b")
        await stream.next("log")
        await stream.receipt(second)
        await eventually_async(lambda: client.stats.messages_receipted == 1)
        raw = stream.raw[1]
        stream.end(grpc.StatusCode.UNAVAILABLE, "gone")
        again = await gateway.welcomed()
        assert (await again.next("error")).message_id == first
        assert again.raw[1] == raw
        assert client.stats.reconnects == 1
        await again.receipt(first)
        await client.flush(5)


async def test_what_has_no_receipt_survives_a_restart(gateway: ScriptedGateway, tmp_path: Path) -> None:
    path = tmp_path / "c-1.db"
    async with running(gateway, buffer=DiskBuffer(path)) as client:
        stream = await gateway.welcomed()
        ids = [await client.report_log("a")]
        await stream.receipt(await stream.next("log"))
        ids += [await client.report_log(text) for text in "bc"]
        await stream.next("log")
        await eventually_async(lambda: client.stats.messages_receipted == 1)
    async with running(gateway, buffer=DiskBuffer(path)) as client:
        stream = await gateway.welcomed()
        batch = await stream.next("batch")
        assert inner_ids([batch]) == ids[1:]
        await stream.receipt(batch)
        await client.flush(5)
    again = DiskBuffer(path)
    await again.open("c-1")
    assert len(again) == 0
    await again.close()


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_changed_whatever_breaks(gateway: ScriptedGateway, tmp_path: Path, seed: int) -> None:
    """Streams end at random moments, receipts come late or never, the client's process is replaced."""
    chance = random.Random(seed)
    stored: dict[str, bytes] = {}
    made: list[str] = []

    async def serve_one(stream: ClientStream) -> None:
        await stream.welcome(messages=chance.randint(1, 50), size=20_000, max_message=5_000)
        for _ in range(chance.randint(0, 12)):
            try:
                message = await asyncio.wait_for(stream.next(), 0.1)
            except TimeoutError:
                break  # what is under way gets no receipt on this stream any more
            for report in message.batch.messages if message.HasField("batch") else [message]:
                data = report.SerializeToString()
                assert stored.setdefault(report.message_id, data) == data
            if chance.random() < 0.8:
                await stream.receipt(message)
        stream.end(chance.choice([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK, grpc.StatusCode.CANCELLED]))

    async def serve() -> None:
        while True:
            stream = await gateway.stream()
            serving_one = asyncio.create_task(serve_one(stream))
            gone = asyncio.create_task(stream.gone.wait())
            await asyncio.wait([serving_one, gone], return_when=asyncio.FIRST_COMPLETED)
            if stream.gone.is_set():
                serving_one.cancel()
                await asyncio.gather(serving_one, return_exceptions=True)
            else:
                serving_one.result()

    serving = asyncio.create_task(serve())
    for _ in range(4):
        async with running(gateway, buffer=DiskBuffer(tmp_path / "b.db", max_messages=100)) as client:
            made += [await client.report_log(f"{n} " + "x" * chance.randint(0, 500)) for n in range(150)]
    async with running(gateway, buffer=DiskBuffer(tmp_path / "b.db")) as client:
        await client.flush(30)
    assert not serving.done()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert set(made) == set(stored)
    assert len(made) == 600


async def test_a_server_without_welcome_gets_reports_one_by_one(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock) as client:
        ids = [await client.report_log(str(n)) for n in range(3)]
        stream = await gateway.stream()
        await stream.next("register")
        # Commands are obeyed meanwhile.
        await stream.send(pb.DjangoCommand(command_id="1", ping=pb.PingCommand()))
        await stream.next("command_ack")
        clock.advance(10)
        assert [(await stream.next("log")).message_id for _ in range(3)] == ids
        # Sent is done.
        await client.flush(5)
        assert client.stats.messages_receipted == 0
        stream.end()
        stream = await gateway.stream()
        await stream.next("register")
        clock.advance(10)
        last = await client.report_log("last")
        assert (await stream.next("log")).message_id == last


async def test_a_late_welcome_brings_receipts(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock) as client:
        stream = await gateway.stream()
        await eventually_async(clock.waiting_for)
        clock.advance(10)
        await eventually_async(lambda: client.connected)
        await stream.welcome()
        await eventually_async(lambda: client._session is not None and client._session.welcome is not None)
        await client.report_log("x")
        report = await stream.next("log")
        assert client.stats.messages_buffered == 1
        await stream.receipt(report)
        await client.flush(5)


async def test_a_server_that_once_sent_welcome_is_not_taken_for_an_old_one(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock) as client:
        stream = await gateway.welcomed()
        stream.end(grpc.StatusCode.UNAVAILABLE)
        silent = await gateway.stream()
        await silent.next("register")
        await client.report_log("x")
        await eventually_async(clock.waiting_for)
        clock.advance(10)
        await asyncio.wait_for(silent.gone.wait(), 5)
        assert silent.unread == 0
        again = await gateway.welcomed()
        await again.next("log")


async def test_heartbeats_at_the_interval_of_welcome(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock) as client:
        stream = await gateway.welcomed(heartbeat=20)
        await eventually_async(lambda: clock.waiting_for() == [20])
        clock.advance(15)
        await client.report_log("any message counts")
        await stream.next("log")
        await eventually_async(lambda: 20 in clock.waiting_for())
        clock.advance(19)
        assert stream.unread == 0
        clock.advance(1)
        heartbeat = await stream.next("heartbeat")
        assert heartbeat.client_id == "c-1"
        assert heartbeat.message_id
