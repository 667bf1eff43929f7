"""Both twins of the callers' half, over gRPC and into an engine of this process: one suite."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from crypto_streaming import (
    COMMANDS,
    ERRORS,
    BlockingStreamingCommandClient,
    ClientNotConnectedError,
    CommandBuilder,
    CommandError,
    CommandFuture,
    CommandTimeoutError,
    DuplicateCommandError,
    ErrorCode,
    GatewayUnavailableError,
    InvalidCommandError,
    StreamingCommandClient,
    aclose_channels,
    base,
    blocking,
    close_channels,
    get_streaming_service,
    is_client_connected,
    pb,
    register_streaming_service,
    unregister_streaming_service,
)
from crypto_streaming.channels import shared_aio_channel, shared_channel

Send = Callable[[pb.SendCommandRequest], Awaitable[pb.SendCommandResponse]]
Execute = Callable[[pb.SendCommandRequest, float], Awaitable[pb.CommandAck]]


async def accept(request: pb.SendCommandRequest) -> pb.SendCommandResponse:
    return pb.SendCommandResponse(success=True, command_id=request.command.command_id)


async def obey(request: pb.SendCommandRequest, _timeout: float) -> pb.CommandAck:
    return pb.CommandAck(command_id=request.command.command_id, success=True, message="done")


@dataclass
class Peer:
    """What stands where the gateway would: it does as the test says, and remembers what it was asked."""

    send: Send = accept
    execute: Execute = obey
    requests: list[pb.SendCommandRequest] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)


class Gateway(pb.CryptoStreamingServiceServicer):
    """The peer behind gRPC."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def SendCommandToClient(  # noqa: N802 (the contract's name)
        self, request: pb.SendCommandRequest, context: Any
    ) -> pb.SendCommandResponse:
        self._note(request, context)
        return await self.peer.send(request)

    async def ExecuteCommandSync(self, request: pb.SendCommandRequest, context: Any) -> pb.CommandAck:  # noqa: N802
        self._note(request, context)
        return await self.peer.execute(request, context.time_remaining())

    def _note(self, request: pb.SendCommandRequest, context: Any) -> None:
        self.peer.requests.append(request)
        self.peer.deadlines.append(context.time_remaining())
        self.peer.metadata.append(dict(context.invocation_metadata()))


class Engine:
    """The peer in this process."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.loop = asyncio.get_running_loop()

    async def send_command(self, client_id: str, command: pb.DjangoCommand) -> pb.SendCommandResponse:
        assert asyncio.get_running_loop() is self.loop
        request = pb.SendCommandRequest(client_id=client_id, command=command)
        self.peer.requests.append(request)
        return await self.peer.send(request)

    async def execute_command(self, client_id: str, command: pb.DjangoCommand, timeout: float) -> pb.CommandAck:
        assert asyncio.get_running_loop() is self.loop
        request = pb.SendCommandRequest(client_id=client_id, command=command)
        self.peer.requests.append(request)
        self.peer.deadlines.append(timeout)
        return await self.peer.execute(request, timeout)

    def is_client_connected(self, client_id: str) -> bool:
        return client_id == "c-1"


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
async def address(peer: Peer) -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pb.add_CryptoStreamingServiceServicer_to_server(Gateway(peer), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await aclose_channels()
    close_channels()
    await server.stop(0)


Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["async-grpc", "blocking-grpc", "async-engine", "blocking-engine"])
def call(request: pytest.FixtureRequest, peer: Peer, address: str) -> Call:
    """Calls a method of a client by name: whichever twin, whichever way."""
    twin, way = request.param.split("-")

    async def run(method: str, *args: Any, client_id: str = "c-1", **kwargs: Any) -> Any:
        where: dict[str, Any] = {"address": address} if way == "grpc" else {"streaming_service": Engine(peer)}
        if twin == "async":
            return await getattr(StreamingCommandClient(client_id, **where), method)(*args, **kwargs)
        bound = getattr(BlockingStreamingCommandClient(client_id, **where), method)
        return await asyncio.to_thread(bound, *args, **kwargs)

    return run


METHODS: list[tuple[str, str, tuple[Any, ...], Any]] = [
    ("pause", "pause_client", ("why",), pb.PauseClientCommand(reason="why")),
    ("resume", "resume_client", ("go",), pb.ResumeClientCommand(message="go")),
    ("ping", "ping_client", (7,), pb.PingCommand(sequence=7)),
    ("sync_wallets", "sync_wallets", (["BTC", "ETH"],), pb.SyncWalletsCommand(symbols=["BTC", "ETH"])),
    ("request_status", "request_status", (True,), pb.RequestStatusCommand(include_stats=True)),
]


@pytest.mark.parametrize(("name", "method", "args", "payload"), METHODS)
async def test_each_command_has_both_forms(
    call: Call, peer: Peer, name: str, method: str, args: tuple[Any, ...], payload: Any
) -> None:
    assert await call(method, *args) is True
    ack = await call(f"{method}_sync", *args, timeout=5.0)
    assert ack.success
    assert [request.client_id for request in peer.requests] == ["c-1", "c-1"]
    for request in peer.requests:
        assert request.command.WhichOneof("command") == name
        assert getattr(request.command, name) == payload
        assert request.command.timestamp.seconds > 1_700_000_000
    assert peer.requests[0].command.command_id != peer.requests[1].command.command_id
    assert ack.command_id == peer.requests[1].command.command_id


def test_registry_and_methods_are_total() -> None:
    fields = {f.name for f in pb.DjangoCommand.DESCRIPTOR.oneofs_by_name["command"].fields}
    assert set(COMMANDS) == fields - {"welcome", "receipt", "reconnect"} == {name for name, *_ in METHODS}
    for name, command in COMMANDS.items():
        message = command.create()
        assert message.WhichOneof("command") == name == command.name
        assert isinstance(getattr(message, name), command.payload_class)


def test_twins_offer_the_same() -> None:
    def surface(cls: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("__")
        }

    assert surface(BlockingStreamingCommandClient).keys() - surface(StreamingCommandClient).keys() == {"execute_future"}
    both = surface(StreamingCommandClient)
    assert {name: surface(BlockingStreamingCommandClient)[name] for name in both} == both


async def test_not_connected_is_false(call: Call, peer: Peer) -> None:
    async def refuse(request: pb.SendCommandRequest) -> pb.SendCommandResponse:
        return pb.SendCommandResponse(success=False, error=f"Client {request.client_id} not connected")

    peer.send = refuse
    assert await call("pause_client") is False


async def test_other_reasons_not_to_send_are_raised(call: Call, peer: Peer) -> None:
    async def refuse(_request: pb.SendCommandRequest) -> pb.SendCommandResponse:
        return pb.SendCommandResponse(success=False, error="DUPLICATE_COMMAND: already waiting")

    peer.send = refuse
    with pytest.raises(DuplicateCommandError, match=r"^already waiting$"):
        await call("pause_client")


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_documented_codes_are_raised(call: Call, peer: Peer, code: ErrorCode) -> None:
    async def fail(request: pb.SendCommandRequest, _timeout: float) -> pb.CommandAck:
        return pb.CommandAck(command_id=request.command.command_id, error=code, message="words")

    peer.execute = fail
    with pytest.raises(ERRORS[code].exception, match=r"^words$") as caught:
        await call("ping_client_sync")
    assert caught.value.code is code
    assert caught.value.command_id == peer.requests[0].command.command_id


async def test_the_clients_own_refusal_is_an_ack(call: Call, peer: Peer) -> None:
    async def refuse(_request: pb.SendCommandRequest, _timeout: float) -> pb.CommandAck:
        return pb.CommandAck(success=False, error="BUSY", message="later")

    peer.execute = refuse
    ack = await call("ping_client_sync")
    assert (ack.success, ack.error, ack.message) == (False, "BUSY", "later")


async def test_timeout_becomes_the_deadline(call: Call, peer: Peer) -> None:
    await call("ping_client_sync", timeout=7.0)
    await call("ping_client_sync")
    # gRPC rounds a deadline up on the wire.
    assert 6 < peer.deadlines[0] < 7.5
    assert 14 < peer.deadlines[1] < 15.5


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan, math.inf])
async def test_senseless_timeouts_are_refused(call: Call, peer: Peer, timeout: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        await call("ping_client_sync", timeout=timeout)
    assert not peer.requests


@pytest.mark.parametrize("client_id", ["", "a b", "pause_all", "x" * 129, "é"])
async def test_bad_client_ids_are_refused_before_sending(call: Call, peer: Peer, client_id: str) -> None:
    for method in ("pause_client", "pause_client_sync"):
        with pytest.raises(InvalidCommandError):
            await call(method, client_id=client_id)
    assert not peer.requests


async def test_silent_gateway_is_a_timeout(peer: Peer, address: str) -> None:
    never = asyncio.Event()

    async def hang(_request: pb.SendCommandRequest, _timeout: float) -> pb.CommandAck:
        await never.wait()
        return pb.CommandAck()

    peer.execute = hang
    with pytest.raises(CommandTimeoutError):
        await StreamingCommandClient("c-1", address=address).ping_client_sync(timeout=0.1)
    client = BlockingStreamingCommandClient("c-1", address=address)
    with pytest.raises(CommandTimeoutError):
        await asyncio.to_thread(client.ping_client_sync, timeout=0.1)


async def test_no_gateway_is_unavailable(address: str) -> None:
    nowhere = "127.0.0.1:1"
    assert address != nowhere
    with pytest.raises(GatewayUnavailableError, match="UNAVAILABLE"):
        await StreamingCommandClient("c-1", address=nowhere).ping_client_sync(timeout=5)
    client = BlockingStreamingCommandClient("c-1", address=nowhere)
    with pytest.raises(GatewayUnavailableError, match="UNAVAILABLE"):
        await asyncio.to_thread(client.ping_client, 1)


class CancellingGateway(pb.CryptoStreamingServiceServicer):
    async def ExecuteCommandSync(self, request: pb.SendCommandRequest, context: Any) -> pb.CommandAck:  # noqa: N802
        await context.abort(grpc.StatusCode.CANCELLED, "not you")
        raise AssertionError

    async def SendCommandToClient(self, request: Any, context: Any) -> Any:  # noqa: N802
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")


async def test_a_call_cancelled_by_the_other_side_does_not_cancel_the_caller() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pb.add_CryptoStreamingServiceServicer_to_server(CancellingGateway(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = StreamingCommandClient("c-1", address=f"127.0.0.1:{port}")
    with pytest.raises(GatewayUnavailableError, match="CANCELLED"):
        await client.ping_client_sync(timeout=5)
    with pytest.raises(InvalidCommandError, match="bad"):
        await client.ping_client()
    await aclose_channels()
    await server.stop(0)


async def test_cancelling_the_caller_cancels_the_call(peer: Peer, address: str) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(_request: pb.SendCommandRequest, _timeout: float) -> pb.CommandAck:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    peer.execute = hang
    task = asyncio.create_task(StreamingCommandClient("c-1", address=address).ping_client_sync(timeout=30))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 5)


def expect_cancelled(future: CommandFuture) -> None:
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


@pytest.mark.parametrize("way", ["grpc", "engine"])
async def test_futures(peer: Peer, address: str, way: str) -> None:
    go = asyncio.Event()

    async def wait(request: pb.SendCommandRequest, _timeout: float) -> pb.CommandAck:
        await go.wait()
        if request.command.ping.sequence:
            return pb.CommandAck(error="CLIENT_NOT_CONNECTED", message="gone")
        return pb.CommandAck(success=True)

    peer.execute = wait
    where: dict[str, Any] = {"address": address} if way == "grpc" else {"streaming_service": Engine(peer)}
    client = BlockingStreamingCommandClient("c-1", **where)
    good, bad, dropped = (client.execute_future(COMMANDS["ping"].create(n), timeout=20) for n in (0, 1, 0))
    called: concurrent.futures.Future[CommandFuture] = concurrent.futures.Future()
    good.add_done_callback(called.set_result)
    assert not good.done()
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(good.result, 0.01)
    assert dropped.cancel()
    await asyncio.to_thread(expect_cancelled, dropped)
    go.set()
    assert (await asyncio.to_thread(good.result)).success
    with pytest.raises(ClientNotConnectedError, match="gone"):
        await asyncio.to_thread(bad.result)
    assert await asyncio.wrap_future(called) is good
    assert good.done()


async def test_blocking_on_the_engines_own_loop_is_refused(peer: Peer) -> None:
    client = BlockingStreamingCommandClient("c-1", streaming_service=Engine(peer))
    with pytest.raises(RuntimeError, match="async client"):
        client.ping_client()


async def test_async_client_on_another_loop_than_the_engines(peer: Peer) -> None:
    client = StreamingCommandClient("c-1", streaming_service=Engine(peer))
    assert await asyncio.to_thread(lambda: asyncio.run(client.ping_client()))
    assert (await asyncio.to_thread(lambda: asyncio.run(client.ping_client_sync(timeout=5)))).success


async def test_metadata_is_asked_for_at_each_call(peer: Peer, address: str) -> None:
    tokens = iter("ab")
    client = StreamingCommandClient("c-1", address=address, metadata=lambda: [("authorization", next(tokens))])
    await client.ping_client()
    await client.ping_client_sync()
    assert [m["authorization"] for m in peer.metadata] == ["a", "b"]


async def test_channels_are_shared(address: str) -> None:
    assert shared_aio_channel(address, None) is shared_aio_channel(address, None)
    assert shared_aio_channel(address, None) is not shared_aio_channel("127.0.0.1:2", None)
    assert shared_channel(address, None) is shared_channel(address, None)
    before = shared_channel(address, None)
    close_channels()
    assert shared_channel(address, None) is not before


async def test_a_forked_child_has_channels_of_its_own(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = (shared_channel(address, None), shared_aio_channel(address, None))
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        own = (shared_channel(address, None), shared_aio_channel(address, None))
        assert own[0] is not parents[0]
        assert own[1] is not parents[1]
        close_channels()
        await own[1].close()
    # The child closed its own, not its parent's.
    assert shared_channel(address, None) is parents[0]


async def test_the_environment_may_name_the_address(peer: Peer, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_STREAMING_ADDRESS", address)
    assert await StreamingCommandClient(client_id="c-1").ping_client()
    assert len(peer.requests) == 1


async def test_one_way_and_only_one(peer: Peer, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTO_STREAMING_ADDRESS", raising=False)
    with pytest.raises(ValueError, match="CRYPTO_STREAMING_ADDRESS"):
        StreamingCommandClient("c-1")
    with pytest.raises(ValueError, match="one of"):
        StreamingCommandClient("c-1", address=address, streaming_service=Engine(peer))


async def test_registered_engine(peer: Peer) -> None:
    assert get_streaming_service() is None
    assert not is_client_connected("c-1")
    engine = Engine(peer)
    register_streaming_service("crypto", engine)
    try:
        assert get_streaming_service("crypto") is engine
        assert is_client_connected("c-1")
        assert not is_client_connected("c-2")
        client = StreamingCommandClient("c-1", streaming_service=get_streaming_service())
        assert await client.ping_client()
    finally:
        unregister_streaming_service()
    assert get_streaming_service() is None


class OtherContractClient(base.StreamingCommandClient[pb.DjangoCommand]):
    """A contract with names of its own: here the crypto one seen through other class attributes."""

    stub_class = pb.CryptoStreamingServiceStub
    request_class = pb.SendCommandRequest
    rpc_method_name = "ExecuteCommandSync"
    client_id_field = "client_id"

    async def nudge(self) -> bool:
        return await self._deliver(CommandBuilder.create(pb.DjangoCommand, ping=pb.PingCommand()))


class OtherBlockingClient(blocking.GenericBlockingStreamingCommandClient[pb.DjangoCommand]):
    stub_class = pb.CryptoStreamingServiceStub
    request_class = pb.SendCommandRequest


async def test_the_generic_base_serves_other_contracts(peer: Peer, address: str) -> None:
    assert await OtherContractClient("any id at all", address=address).nudge()
    assert peer.requests[0].client_id == "any id at all"
    sent = await asyncio.to_thread(OtherBlockingClient("x y", address=address).send_command, pb.DjangoCommand())
    assert sent.success


def test_command_builder() -> None:
    made = CommandBuilder.create(pb.DjangoCommand, command_id="mine", pause=pb.PauseClientCommand(reason="r"))
    assert (made.command_id, made.pause.reason) == ("mine", "r")

    def shout(command: pb.DjangoCommand) -> pb.DjangoCommand:
        command.pause.reason = command.pause.reason.upper()
        return command

    assert CommandBuilder.create(pb.DjangoCommand, shout, pause=pb.PauseClientCommand(reason="r")).pause.reason == "R"


def test_every_error_is_a_command_error() -> None:
    assert {mapping.exception.code for mapping in ERRORS.values()} == set(ErrorCode)
    assert all(issubclass(mapping.exception, CommandError) for mapping in ERRORS.values())
