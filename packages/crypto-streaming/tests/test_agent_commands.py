"""How a client obeys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from support.scripted_gateway import ClientStream, ManualClock, ScriptedGateway
from support.waiting import eventually_async

from crypto_streaming import pb
from crypto_streaming.agent import Ack, AgentSettings, CryptoClient


def make_client(gateway: ScriptedGateway, **options: Any) -> CryptoClient:
    return CryptoClient("c-1", address=gateway.address, announce_status=False, random=lambda: 0.0, **options)


@asynccontextmanager
async def connected(gateway: ScriptedGateway, client: CryptoClient) -> AsyncGenerator[ClientStream]:
    task = asyncio.create_task(client.run())
    try:
        yield await gateway.welcomed()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(stream: ClientStream, command_id: str, **command: Any) -> None:
    await stream.send(pb.DjangoCommand(command_id=command_id, **command))


async def answer(stream: ClientStream) -> pb.CommandAck:
    return (await stream.next("command_ack")).command_ack


PAUSE: dict[str, Any] = {"pause": pb.PauseClientCommand(reason="r")}
PING: dict[str, Any] = {"ping": pb.PingCommand(sequence=7)}
STATUS: dict[str, Any] = {"request_status": pb.RequestStatusCommand(include_stats=True)}


async def test_built_in_handlers(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    async with connected(gateway, client) as stream:
        await ask(stream, "1", **PING)
        ack = await answer(stream)
        assert (ack.command_id, ack.success, ack.message, ack.error) == ("1", True, "pong 7", "")
        assert ack.current_status == pb.CLIENT_STATUS_ACTIVE
        assert ack.timestamp.seconds > 1_700_000_000
        await ask(stream, "2", **PAUSE)
        assert (await answer(stream)).current_status == pb.CLIENT_STATUS_PAUSED == client.status
        await ask(stream, "3", request_status=pb.RequestStatusCommand())
        ack = await answer(stream)
        assert ack.current_status == pb.CLIENT_STATUS_PAUSED
        assert not ack.HasField("stats")
        await ask(stream, "4", resume=pb.ResumeClientCommand())
        assert (await answer(stream)).current_status == pb.CLIENT_STATUS_ACTIVE == client.status
        await ask(stream, "5", **STATUS)
        stats = (await answer(stream)).stats
        assert stats.commands_handled == 4
        assert stats.started_at.seconds > 1_700_000_000
        await client.report_status(pb.CLIENT_STATUS_ERROR, "broken")
        await stream.next("status")
        await ask(stream, "6", **PING)
        assert (await answer(stream)).current_status == pb.CLIENT_STATUS_ERROR


async def test_an_authors_handler_replaces_the_built_in_one(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    seen: list[str] = []

    @client.on(pb.PauseClientCommand)
    async def pause(command: pb.PauseClientCommand) -> Ack | None:
        seen.append(command.reason)
        if len(seen) == 1:
            return Ack(False, "not now", "BUSY")
        return Ack(message="paused", result={"open_orders": 2, "pairs": ["a"]})

    @client.on(pb.SyncWalletsCommand)
    async def sync(command: pb.SyncWalletsCommand) -> None:
        seen.extend(command.symbols)

    @client.on(pb.ResumeClientCommand)
    async def resume(_command: pb.ResumeClientCommand) -> Ack:
        return Ack(status=pb.CLIENT_STATUS_ERROR, message="half")

    async with connected(gateway, client) as stream:
        await ask(stream, "1", **PAUSE)
        ack = await answer(stream)
        assert (ack.success, ack.error, ack.message) == (False, "BUSY", "not now")
        assert ack.current_status == pb.CLIENT_STATUS_ACTIVE
        await ask(stream, "2", **PAUSE)
        ack = await answer(stream)
        assert dict(ack.result.items())["open_orders"] == 2
        assert ack.current_status == pb.CLIENT_STATUS_PAUSED
        await ask(stream, "3", sync_wallets=pb.SyncWalletsCommand(symbols=["BTC"]))
        assert (await answer(stream)).success
        await ask(stream, "4", resume=pb.ResumeClientCommand())
        assert (await answer(stream)).current_status == pb.CLIENT_STATUS_ERROR == client.status
    assert seen == ["r", "r", "BTC"]


async def test_handlers_are_registered_once_and_for_commands(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None: ...

    with pytest.raises(ValueError, match="already"):
        client.on(pb.PauseClientCommand)(pause)
    with pytest.raises(ValueError, match="not a command"):
        client.on(pb.Welcome)(pause)  # pyright: ignore[reportArgumentType] (the type checker says so too)


async def test_unknown_commands_and_failures_are_answered(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(gateway)

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        raise LookupError("no such order")

    @client.on(pb.ResumeClientCommand)
    async def resume(_command: pb.ResumeClientCommand) -> Ack:
        return Ack(result={"what JSON can not hold": object()})

    @client.on(pb.PingCommand)
    async def ping(_command: pb.PingCommand) -> None:
        raise asyncio.CancelledError

    async with connected(gateway, client) as stream:
        await ask(stream, "1", sync_wallets=pb.SyncWalletsCommand())
        ack = await answer(stream)
        assert (ack.success, ack.error) == (False, "UNSUPPORTED_COMMAND")
        await ask(stream, "2")
        assert (await answer(stream)).error == "UNSUPPORTED_COMMAND"
        await ask(stream, "3", **PAUSE)
        ack = await answer(stream)
        assert (ack.success, ack.error, ack.message) == (False, "HANDLER_ERROR", "LookupError: no such order")
        assert ack.current_status == pb.CLIENT_STATUS_ACTIVE
        assert "no such order" in caplog.text
        await ask(stream, "4", resume=pb.ResumeClientCommand())
        assert (await answer(stream)).error == "HANDLER_ERROR"
        await ask(stream, "5", **PING)
        assert (await answer(stream)).error == "HANDLER_ERROR"
        assert (client.stats.commands_handled, client.stats.commands_failed) == (5, 5)


async def test_what_can_not_be_parsed_does_not_end_the_stream(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(gateway)
    async with connected(gateway, client) as stream:
        await stream.send(b"\xff\xff\xff")
        await ask(stream, "1", **PING)
        assert (await answer(stream)).command_id == "1"
    assert "no DjangoCommand" in caplog.text


async def test_commands_run_in_order_but_ping_and_status_at_once(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    go = asyncio.Event()
    order: list[str] = []

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        order.append("pause begins")
        await go.wait()
        order.append("pause ends")

    @client.on(pb.ResumeClientCommand)
    async def resume(_command: pb.ResumeClientCommand) -> None:
        order.append("resume")

    @client.on(pb.SyncWalletsCommand, concurrent=True)
    async def sync(_command: pb.SyncWalletsCommand) -> None:
        order.append("sync")

    async with connected(gateway, client) as stream:
        await ask(stream, "pause", **PAUSE)
        await ask(stream, "resume", resume=pb.ResumeClientCommand())
        for name, command in (("ping", PING), ("status", STATUS), ("sync", {"sync_wallets": pb.SyncWalletsCommand()})):
            await ask(stream, name, **command)
            assert (await answer(stream)).command_id == name
        assert order == ["pause begins", "sync"]
        go.set()
        assert [(await answer(stream)).command_id for _ in range(2)] == ["pause", "resume"]
    assert order == ["pause begins", "sync", "pause ends", "resume"]


async def test_a_command_delivered_twice_is_executed_once(gateway: ScriptedGateway) -> None:
    client = make_client(gateway, settings=AgentSettings(answered_commands=2))
    go = asyncio.Event()
    executed = 0

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> Ack:
        nonlocal executed
        executed += 1
        await go.wait()
        return Ack(message=f"{executed}")

    async with connected(gateway, client) as stream:
        await ask(stream, "a", **PAUSE)
        await ask(stream, "a", **PAUSE)
        await ask(stream, "p", **PING)
        assert (await answer(stream)).command_id == "p"
        go.set()
        first = await stream.next("command_ack")
        await ask(stream, "a", **PAUSE)
        assert await stream.next("command_ack") == first
        assert executed == 1
        # What is no longer remembered is executed again; and commands without an id can not be told apart.
        for name in "bc":
            await ask(stream, name, **PING)
            await answer(stream)
        await ask(stream, "a", **PAUSE)
        assert (await answer(stream)).message == "2"
        for _ in range(2):
            await ask(stream, "", **PAUSE)
            await answer(stream)
    assert executed == 4


async def test_a_running_command_is_never_forgotten(gateway: ScriptedGateway) -> None:
    client = make_client(gateway, settings=AgentSettings(answered_commands=2))
    go = asyncio.Event()
    executed: list[str] = []

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        executed.append("pause")
        await go.wait()

    async with connected(gateway, client) as stream:
        await ask(stream, "slow", **PAUSE)
        for n in range(5):
            await ask(stream, f"p{n}", **PING)
            await answer(stream)
        await ask(stream, "slow", **PAUSE)
        await ask(stream, "last", **PING)
        await answer(stream)
        go.set()
        assert (await answer(stream)).command_id == "slow"
        await ask(stream, "end", **PING)
        assert (await answer(stream)).command_id == "end"
    assert executed == ["pause"]


async def test_too_many_waiting_commands_are_refused(gateway: ScriptedGateway) -> None:
    client = make_client(gateway, settings=AgentSettings(queued_commands=2))
    go = asyncio.Event()

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        await go.wait()

    async with connected(gateway, client) as stream:
        for name in ("running", "waiting", "refused"):
            await ask(stream, name, **PAUSE)
        ack = await answer(stream)
        assert (ack.command_id, ack.error) == ("refused", "CLIENT_BUSY")
        go.set()
        assert [(await answer(stream)).command_id for _ in range(2)] == ["running", "waiting"]


async def test_an_answer_outlives_the_session(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    go = asyncio.Event()

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        await go.wait()

    async with connected(gateway, client) as stream:
        await ask(stream, "1", **PAUSE)
        await ask(stream, "p", **PING)
        await answer(stream)
        stream.end(grpc.StatusCode.UNAVAILABLE)
        again = await gateway.welcomed()
        go.set()
        assert (await answer(again)).command_id == "1"


async def test_expiry_is_judged_by_spans_not_by_clocks(gateway: ScriptedGateway) -> None:
    clock = ManualClock()
    client = make_client(gateway, clock=clock)
    go = asyncio.Event()
    executed: list[str] = []

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        executed.append("pause")
        await go.wait()

    @client.on(pb.ResumeClientCommand)
    async def resume(command: pb.ResumeClientCommand) -> None:
        executed.append(command.message)

    def resume_within(seconds: int, message: str) -> pb.DjangoCommand:
        # The sender's clock is years behind this client's.
        made = pb.DjangoCommand(command_id=message, resume=pb.ResumeClientCommand(message=message))
        made.timestamp.seconds, made.expires_at.seconds = 1_000_000, 1_000_000 + seconds
        return made

    async with connected(gateway, client) as stream:
        await stream.send(resume_within(10, "at once"))
        assert (await answer(stream)).success
        await ask(stream, "pause", **PAUSE)
        await stream.send(resume_within(10, "too late"))
        await stream.send(resume_within(30, "in time"))
        await ask(stream, "p", **PING)
        await answer(stream)
        clock.advance(20)
        go.set()
        acks = [await answer(stream) for _ in range(3)]
        assert [(ack.command_id, ack.error) for ack in acks] == [
            ("pause", ""),
            ("too late", "COMMAND_EXPIRED"),
            ("in time", ""),
        ]
    assert executed == ["at once", "pause", "in time"]


async def test_stop_lets_handlers_finish(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    go = asyncio.Event()

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        await go.wait()

    async with connected(gateway, client) as stream:
        await ask(stream, "1", **PAUSE)
        await ask(stream, "p", **PING)
        await answer(stream)
        stopping = asyncio.create_task(client.stop(10))
        await asyncio.sleep(0)
        go.set()
        assert (await answer(stream)).command_id == "1"
        await stream.next("goodbye")
        await asyncio.wait_for(stopping, 5)


async def test_stop_cancels_handlers_that_do_not_finish(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    cancelled = asyncio.Event()

    @client.on(pb.PauseClientCommand)
    async def pause(_command: pb.PauseClientCommand) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with connected(gateway, client) as stream:
        await ask(stream, "1", **PAUSE)
        await ask(stream, "p", **PING)
        await answer(stream)
        await asyncio.wait_for(client.stop(0.05), 5)
        await stream.next("goodbye")
    assert cancelled.is_set()


async def test_answers_go_before_reports_and_through_a_full_window(gateway: ScriptedGateway) -> None:
    client = make_client(gateway)
    task = asyncio.create_task(client.run())
    stream = await gateway.welcomed(messages=1)
    for _ in range(3):
        await client.report_log("x")
    await stream.next("log")
    await ask(stream, "1", **STATUS)
    stats = (await answer(stream)).stats
    assert (stats.messages_sent, stats.messages_receipted, stats.messages_buffered) == (1, 0, 3)
    await eventually_async(lambda: stream.unread == 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
