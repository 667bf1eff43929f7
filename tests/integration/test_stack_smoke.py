"""The whole system is up, and Envoy lets through what belongs on each listener, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health_pb2
from support.envoy import EnvoyProxy
from support.ports import LOOPBACK, free_port
from support.services import ServiceProcess
from support.stack import Stack
from support.waiting import eventually, eventually_async

from crypto_streaming import pb

BUF = Path(sysconfig.get_path("scripts")) / "buf"
SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
# Without: two channels to one address share one connection.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@asynccontextmanager
async def channel_to(address: str) -> AsyncGenerator[aio.Channel]:
    async with aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
        yield channel


@asynccontextmanager
async def connected(channel: aio.Channel, client_id: str) -> AsyncGenerator[aio.StreamStreamCall[Any, Any]]:
    """A client of the bare contract that has registered; its commands are the reader's."""
    call = pb.CryptoStreamingServiceStub(channel).ConnectClient()
    await call.write(pb.ClientMessage(client_id=client_id, message_id="1", register=pb.ClientRegistration()))
    try:
        yield call
    finally:
        call.cancel()


def services(stack: Stack) -> list[ServiceProcess]:
    return [*stack.gateways, *stack.workers, stack.api]


def streams_open(stack: Stack) -> list[int]:
    return [int(gateway.metrics()["gateway_streams_open"]) for gateway in stack.gateways]


def request_to(client_id: str) -> pb.SendCommandRequest:
    return pb.SendCommandRequest(client_id=client_id, command=pb.DjangoCommand(ping=pb.PingCommand(sequence=1)))


def test_every_service_is_live_and_counts(stack: Stack) -> None:
    for service in services(stack):
        assert httpx.get(f"{service.ops_url}/livez").status_code == 200
        assert httpx.get(f"{service.ops_url}/readyz").status_code == 200
        assert "process_cpu_seconds_total" in service.metrics()
    assert stack.envoy.healthy_gateways() == {gateway.address for gateway in stack.gateways}


def test_every_service_logs_json(stack: Stack) -> None:
    for service in services(stack):
        lines = service.log_file.read_text().splitlines()
        assert lines
        assert all({"ts", "level", "message", "service"} <= json.loads(line).keys() for line in lines)


def test_rest_goes_through_the_edge(stack: Stack) -> None:
    answer = httpx.get(f"{stack.edge_url}/api/crypto/commands/")
    assert answer.status_code == 200
    assert isinstance(answer.json(), list)
    assert answer.headers["server"] == "envoy"


async def test_a_command_goes_round_through_both_listeners(stack: Stack) -> None:
    async with (
        channel_to(stack.edge_address) as edge,
        channel_to(stack.internal_address) as internal,
        connected(edge, "smoke-round") as call,
    ):
        stub = pb.CryptoStreamingServiceStub(internal)

        async def sent() -> bool:
            answer = await stub.SendCommandToClient(request_to("smoke-round"))
            return answer.success

        await eventually_async(sent)
        command = await call.read()
        assert isinstance(command, pb.DjangoCommand)
        assert command.ping.sequence == 1


type_of_call = Callable[[aio.Channel], Coroutine[Any, Any, Message]]


async def send(channel: aio.Channel) -> Message:
    return await pb.CryptoStreamingServiceStub(channel).SendCommandToClient(request_to("anyone"), timeout=5)


async def execute(channel: aio.Channel) -> Message:
    return await pb.CryptoStreamingServiceStub(channel).ExecuteCommandSync(request_to("anyone"), timeout=5)


async def health(channel: aio.Channel, service: str = "") -> Message:
    # The generated stub declares no attributes.
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return await check(health_pb2.HealthCheckRequest(service=service), timeout=5)


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        (send, grpc.StatusCode.PERMISSION_DENIED),
        (execute, grpc.StatusCode.PERMISSION_DENIED),
        (health, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_the_edge_refuses_what_is_not_for_clients(
    stack: Stack, call: type_of_call, refusal: grpc.StatusCode
) -> None:
    async with channel_to(stack.edge_address) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await call(channel)
    assert caught.value.code() is refusal
    assert "not served here" in str(caught.value.details()) or "no such gRPC method" in str(caught.value.details())


async def test_the_internal_listener_refuses_streams(stack: Stack) -> None:
    async with channel_to(stack.internal_address) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            async with connected(channel, "smoke-wrong-door") as call:
                await call.read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_internal_listener_refuses_rest(stack: Stack) -> None:
    answer = httpx.get(f"http://{stack.internal_address}/api/crypto/commands/")
    assert (answer.status_code, answer.text) == (
        404,
        "not served here: streams and REST are taken by the edge listener",
    )


@pytest.mark.parametrize("service", ["", "crypto.CryptoStreamingService"])
async def test_the_internal_listener_serves_health(stack: Stack, service: str) -> None:
    async with channel_to(stack.internal_address) as channel:
        assert await health(channel, service) == SERVING


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_the_internal_listener_serves_reflection(stack: Stack, protocol: str) -> None:
    command = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", protocol]
    result = subprocess.run(
        [*command, "--list-methods", f"http://{stack.internal_address}"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "crypto.CryptoStreamingService/ExecuteCommandSync" in result.stdout.split()


async def test_streams_are_spread_evenly(stack: Stack) -> None:
    before = streams_open(stack)
    async with channel_to(stack.edge_address) as channel, AsyncExitStack() as clients:
        for number in range(20):
            await clients.enter_async_context(connected(channel, f"smoke-even-{number}"))
            # One after the other: what counts is the number of streams that are open.
            await eventually_async(lambda number=number: sum(streams_open(stack)) == sum(before) + number + 1)
        assert max(streams_open(stack)) - min(streams_open(stack)) <= 1
    eventually(lambda: streams_open(stack) == before)


async def test_stream_1025_is_not_refused(stack: Stack) -> None:
    count = 1100
    before = sum(streams_open(stack))
    async with AsyncExitStack() as clients:
        channels = [await clients.enter_async_context(channel_to(stack.edge_address)) for _ in range(2)]
        for number in range(count):
            await clients.enter_async_context(connected(channels[number % 2], f"smoke-many-{number}"))
        await eventually_async(lambda: sum(streams_open(stack)) == before + count, timeout=30, interval=0.2)
        assert stack.envoy.stats("gateway_streams.upstream_rq_pending_overflow") == {
            "cluster.gateway_streams.upstream_rq_pending_overflow": 0
        }
    eventually(lambda: sum(streams_open(stack)) == before, timeout=30, interval=0.2)


async def test_the_gateway_answers_before_the_deadline_does(stack: Stack) -> None:
    async with (
        channel_to(stack.edge_address) as edge,
        channel_to(stack.internal_address) as internal,
        connected(edge, "smoke-mute") as call,
    ):
        stub = pb.CryptoStreamingServiceStub(internal)

        async def answered() -> pb.CommandAck | None:
            ack = await stub.ExecuteCommandSync(request_to("smoke-mute"), timeout=1.0)
            return ack if ack.error != "CLIENT_NOT_CONNECTED" else None

        ack = await eventually_async(answered)
        assert ack is not None
        assert (ack.success, ack.error) == (False, "COMMAND_TIMEOUT")
        command = await call.read()
        assert isinstance(command, pb.DjangoCommand)
        assert command.HasField("ping")


async def test_a_killed_gateway_leaves_the_rotation_and_comes_back(stack: Stack) -> None:
    victim, other = stack.gateways
    victim.kill9()
    try:
        for cluster in ("gateway_streams", "gateway_commands"):
            eventually(lambda cluster=cluster: stack.envoy.healthy_gateways(cluster) == {other.address})
        async with channel_to(stack.internal_address) as channel:
            # Not one call goes to the dead one, and none to nobody.
            for _ in range(20):
                assert await health(channel) == SERVING
    finally:
        victim.start()
        stack.envoy.wait_healthy()


def test_paths_that_two_programs_could_read_differently_are_refused(stack: Stack) -> None:
    answer = httpx.get(f"{stack.edge_url}/api/crypto%2fcommands/")
    assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_REFUSED")


def test_a_body_that_is_too_large_is_refused_in_json(stack: Stack) -> None:
    answer = httpx.post(f"{stack.edge_url}/api/crypto/commands/anyone/pause/", content=b"x" * (2**20 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_TOO_LARGE")


def test_the_access_log_tells_each_request(stack: Stack) -> None:
    answer = httpx.get(f"{stack.edge_url}/api/crypto/commands/?search=smoke-secret")

    def entry() -> dict[str, Any] | None:
        mine = (each for each in stack.envoy.access_log() if each["request_id"] == answer.headers["x-request-id"])
        return next(mine, None)

    found = eventually(entry)
    assert found is not None
    assert found["listener"] == "edge"
    assert found["path"] == "/api/crypto/commands/"
    assert found["route"] == "rest"
    assert found["status"] == 200
    assert found["upstream"] == stack.api.address
    assert "smoke-secret" not in stack.envoy.log_file.read_text()


def test_without_anything_behind_it_envoy_answers_at_once(tmp_path: Path) -> None:
    proxy = EnvoyProxy([f"{LOOPBACK}:{free_port()}"], f"{LOOPBACK}:{free_port()}", tmp_path)
    proxy.start()
    answer = httpx.get(f"{proxy.edge_url}/api/crypto/commands/")
    assert (answer.status_code, answer.json()["code"]) == (503, "API_UNAVAILABLE")
    with grpc.insecure_channel(proxy.internal_address) as channel, pytest.raises(grpc.RpcError) as caught:
        pb.CryptoStreamingServiceStub(channel).ExecuteCommandSync(request_to("anyone"), timeout=10)
    assert isinstance(caught.value, grpc.Call)
    # Not "all of them are unhealthy, so let us try any".
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
    assert proxy.stop() == 0
