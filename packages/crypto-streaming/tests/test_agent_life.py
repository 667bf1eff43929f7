"""How a client's life goes on and ends: lost streams, refusals, Reconnect, stop."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from support.scripted_gateway import ManualClock, ScriptedGateway, inner_ids, running
from support.waiting import eventually_async

from crypto_streaming import pb
from crypto_streaming.agent import AgentSettings, ClientRejectedError, CryptoClient, MemoryBuffer


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL]
)
async def test_delays_double_and_are_random(gateway: ScriptedGateway, status: grpc.StatusCode) -> None:
    clock = ManualClock()
    settings = AgentSettings(backoff_base=1, backoff_max=5)
    async with running(gateway, clock=clock, random=lambda: 0.5, settings=settings) as client:
        for expected in (0.5, 1, 2, 2.5, 2.5):
            stream = await gateway.welcomed()
            await eventually_async(lambda: client.connected)
            stream.end(status)
            await eventually_async(lambda expected=expected: clock.waiting_for() == [expected])
            clock.advance(expected)
        stream = await gateway.welcomed()
        await eventually_async(lambda: client.connected)
        clock.advance(10)
        stream.end(status)
        await eventually_async(lambda: clock.waiting_for() == [0.5])
        assert client.stats.reconnects == 5


async def test_nobody_listening_is_tried_again(gateway: ScriptedGateway) -> None:
    port = int(gateway.address.rpartition(":")[2])
    await gateway.stop()
    settings = AgentSettings(backoff_base=0.05, backoff_max=0.05)
    async with running(gateway, settings=settings, random=lambda: 1.0) as client:
        await client.report_log("x")
        await eventually_async(lambda: client.stats.reconnects >= 2)
        await gateway.start(port)
        stream = await gateway.welcomed()
        await stream.next("log")


async def test_superseded_waits_half_a_minute_at_least(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock, random=lambda: 0.25) as client:
        stream = await gateway.welcomed()
        await eventually_async(lambda: client.connected)
        stream.end(grpc.StatusCode.ABORTED, "superseded")
        await eventually_async(lambda: clock.waiting_for() == [37.5])
        clock.advance(37)
        assert len(gateway.streams) == 1
        clock.advance(0.5)
        await gateway.welcomed()


@pytest.mark.parametrize("welcomed", [False, True])
@pytest.mark.parametrize(
    "status",
    [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED],
)
async def test_permanent_errors_end_run(gateway: ScriptedGateway, status: grpc.StatusCode, welcomed: bool) -> None:
    client = CryptoClient("c-1", address=gateway.address)
    run = asyncio.create_task(client.run())
    stream = await gateway.stream()
    if welcomed:
        await stream.welcome()
    stream.end(status, "no")
    with pytest.raises(ClientRejectedError, match="no") as caught:
        await asyncio.wait_for(run, 10)
    assert caught.value.status is status
    with pytest.raises(RuntimeError, match="closed"):
        await client.report_log("late")


async def test_the_servers_word_is_not_masked_by_a_failing_write(gateway: ScriptedGateway) -> None:
    async def report(client: CryptoClient) -> None:
        with contextlib.suppress(RuntimeError):
            while True:
                await client.report_log("x" * 20_000)
                await asyncio.sleep(0)

    for _ in range(20):
        client = CryptoClient("c-1", address=gateway.address, announce_status=False)
        run = asyncio.create_task(client.run())
        reporting = asyncio.create_task(report(client))
        stream = await gateway.welcomed(messages=1_000_000, size=1 << 40, max_message=30_000)
        await stream.next("log")
        stream.end(grpc.StatusCode.PERMISSION_DENIED, "no")
        with pytest.raises(ClientRejectedError, match="PERMISSION_DENIED: no"):
            await asyncio.wait_for(run, 10)
        await reporting


async def test_reconnect_is_obeyed_after_its_delay_and_after_the_receipts(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock) as client:
        stream = await gateway.welcomed()
        await client.report_log("under way")
        report = await stream.next("log")
        clock.advance(5)
        notice = pb.Reconnect(reason="draining")
        notice.delay.FromMilliseconds(2500)
        await stream.send(pb.DjangoCommand(reconnect=notice))
        await eventually_async(lambda: 2.5 in clock.waiting_for())
        await client.report_log("before it leaves")
        second = await stream.next("log")
        clock.advance(2.5)
        await eventually_async(lambda: 5.0 in clock.waiting_for())
        third = await client.report_log("held back")
        await stream.receipt(report, second)
        await asyncio.wait_for(stream.half_closed.wait(), 5)
        assert stream.unread == 0
        stream.end()
        again = await gateway.welcomed()
        assert (await again.next("log")).message_id == third
        assert all(wait <= 30 for wait in clock.waits)


async def test_reconnect_does_not_wait_for_ever(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    async with running(gateway, clock=clock) as client:
        stream = await gateway.welcomed()
        message_id = await client.report_log("never receipted")
        await stream.next("log")
        clock.advance(5)
        await stream.send(pb.DjangoCommand(reconnect=pb.Reconnect()))
        await eventually_async(lambda: 5.0 in clock.waiting_for())
        clock.advance(5)
        await asyncio.wait_for(stream.half_closed.wait(), 5)
        await eventually_async(lambda: 1.0 in clock.waiting_for())
        clock.advance(1)
        again = await gateway.welcomed()
        assert (await again.next("log")).message_id == message_id


async def test_stop_waits_for_receipts_and_says_goodbye(gateway: ScriptedGateway) -> None:
    client = CryptoClient("c-1", address=gateway.address)
    run = asyncio.create_task(client.run())
    stream = await gateway.welcomed()
    started = await stream.next("status")
    assert started.status.status == pb.CLIENT_STATUS_ACTIVE
    stopping = asyncio.create_task(client.stop(5))
    stopped = await stream.next("status")
    assert stopped.status.status == pb.CLIENT_STATUS_STOPPED
    await stream.receipt(started, stopped)
    await stream.next("goodbye")
    await asyncio.wait_for(stopping, 5)
    await asyncio.wait_for(run, 5)
    with pytest.raises(RuntimeError, match="once"):
        await client.run()


async def test_stop_does_not_wait_for_ever(gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture) -> None:
    client = CryptoClient("c-1", address=gateway.address, announce_status=False)
    run = asyncio.create_task(client.run())
    stream = await gateway.welcomed()
    await client.report_log("never receipted")
    await stream.next("log")
    await asyncio.wait_for(client.stop(0.05), 5)
    await stream.next("goodbye")
    await run
    assert "1 reports without a receipt are lost" in caplog.text


async def test_stop_while_not_connected(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    client = CryptoClient("c-1", address=gateway.address, clock=clock, random=lambda: 1.0)
    run = asyncio.create_task(client.run())
    stream = await gateway.welcomed()
    stream.end(grpc.StatusCode.UNAVAILABLE)
    await eventually_async(lambda: clock.waiting_for() == [0.5])
    await asyncio.wait_for(client.stop(), 5)
    await run


async def test_stop_before_run() -> None:
    client = CryptoClient("c-1", address="127.0.0.1:1")
    await client.stop()
    with pytest.raises(RuntimeError, match="once"):
        await client.run()


async def test_cancelling_run_leaves_nothing_behind(gateway: ScriptedGateway) -> None:
    def ours() -> list[str]:
        coroutines = [repr(task.get_coro()) for task in asyncio.all_tasks()]
        return [words for words in coroutines if "Session." in words or "Dispatcher." in words]

    async with running(gateway):
        stream = await gateway.welcomed()
        assert len(ours()) == 2
    await asyncio.wait_for(stream.gone.wait(), 5)
    assert not ours()


async def test_reports_wait_while_the_buffer_is_full(gateway: ScriptedGateway) -> None:
    async with running(gateway, buffer=MemoryBuffer(max_messages=2)) as client:
        stream = await gateway.welcomed()
        for _ in range(2):
            await client.report_log("x")
        batch = await stream.next()
        third = asyncio.create_task(client.report_log("third"))
        await asyncio.sleep(0)
        assert not third.done()
        await stream.receipt(batch)
        message_id = await third
        assert inner_ids([await stream.next()])[-1] == message_id


async def test_a_loop_of_reports_lets_commands_through(gateway: ScriptedGateway) -> None:
    async with running(gateway) as client:
        stream = await gateway.welcomed(messages=1)
        answered = asyncio.create_task(stream.next("log"))
        for _ in range(50_000):
            await client.report_log("x")
            if answered.done():
                break
        assert answered.done(), "the loop of reports kept everything else out"


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="client_id"):
        CryptoClient("", address="a:1")
    with pytest.raises(ValueError, match="CRYPTO_STREAMING_ADDRESS"):
        CryptoClient("c-1")
