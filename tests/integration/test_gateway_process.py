"""The gateway as a process: how it starts, what it says of itself, how it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from support.bare_client import BareCaller, BareClient, ignores
from support.frame_log import FrameLog
from support.http import get
from support.keeper import descendants
from support.nats import NatsServer
from support.ports import free_port, is_free
from support.processes import ManagedProcess, inherited_environment
from support.services import GatewayProcess
from support.waiting import eventually

from crypto_streaming import pb

BOTH = (pb.CLIENT_CAPABILITY_RECEIPTS, pb.CLIENT_CAPABILITY_RECONNECT)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(address: str, service: str = pb.SERVICE_NAME) -> int:
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        return check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def run_gateway(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a gateway that is expected to end by itself."""
    environment = {f"GATEWAY_{name}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "stream_gateway", *arguments],
        env=inherited_environment() | environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


# Health, reflection, operations


def test_health_is_told_for_the_server_and_for_the_service(gateway_pair: Any) -> None:
    address = gateway_pair.gateways[0].address
    assert (health(address, ""), health(address)) == (SERVING, SERVING)
    with pytest.raises(grpc.RpcError) as refusal:
        health(address, "no.such.Service")
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND  # pyright: ignore[reportAttributeAccessIssue]  (grpc's stubs)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_the_service(gateway_pair: Any, version: str) -> None:
    with grpc.insecure_channel(gateway_pair.gateways[0].address) as channel:
        info = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=pb.SERVICE_NAME),
        ]
        services, files = info(iter(requests), timeout=5)
    assert pb.SERVICE_NAME in [each.name for each in services.list_services_response.service]
    names = [FileDescriptorProto.FromString(raw).name for raw in files.file_descriptor_response.file_descriptor_proto]
    assert any("crypto_streaming" in name for name in names)


def test_operations_are_answered(gateway_pair: Any) -> None:
    url = gateway_pair.gateways[0].ops_url
    assert (get(f"{url}/livez").status, get(f"{url}/readyz").status, get(f"{url}/nothing").status) == (200, 200, 404)
    assert "gateway_streams_open" in get(f"{url}/metrics").text


def test_the_log_is_one_json_object_a_line(gateway_pair: Any) -> None:
    lines = [json.loads(line) for line in gateway_pair.gateways[0].log_file.read_text().splitlines()]
    assert {line["service"] for line in lines} == {"stream-gateway"}
    assert any(line["message"] == "gateway serving" for line in lines)


# Starting


def test_a_wrong_setting_is_named() -> None:
    result = run_gateway(PORT="http")
    assert result.returncode == 2
    assert "GATEWAY_PORT" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("which", ["PORT", "OPS_PORT"])
def test_a_taken_port_is_an_error_that_says_so(gateway_pair: Any, nats_server: NatsServer, which: str) -> None:
    taken = gateway_pair.gateways[0].port if which == "PORT" else gateway_pair.gateways[0].ops_port
    result = run_gateway(**{which: taken, "NATS_URL": nats_server.url})
    assert result.returncode not in (0, -9)
    assert str(taken) in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_before_nats_is_there_it_lives_is_not_ready_and_can_be_stopped(start_gateway: Any) -> None:
    gateway: GatewayProcess = start_gateway(ready=False, NATS_URL=f"nats://127.0.0.1:{free_port()}")
    eventually(lambda: get(f"{gateway.ops_url}/livez").status == 200, retry_on=(OSError,))
    assert get(f"{gateway.ops_url}/readyz").status == 503
    eventually(lambda: health(gateway.address) == NOT_SERVING, retry_on=(grpc.RpcError,))
    with BareCaller(gateway.address) as caller:
        assert caller.execute("c").error == "BUS_UNAVAILABLE"
        assert caller.send("c").error.startswith("BUS_UNAVAILABLE")
    with BareClient(gateway.address, "c") as client:
        assert client.ended() is grpc.StatusCode.UNAVAILABLE
    assert gateway.stop(5) == 0


def test_it_joins_when_nats_comes(start_gateway: Any) -> None:
    server = NatsServer()
    gateway: GatewayProcess = start_gateway(ready=False, NATS_URL=server.url)
    eventually(lambda: get(f"{gateway.ops_url}/livez").status == 200, retry_on=(OSError,))
    server.start()
    gateway.wait_ready()
    eventually(lambda: health(gateway.address) == SERVING)
    assert gateway.stop(5) == 0
    server.stop()


HOOK = """
import grpc

def grpc_handlers(server):
    def echo(request, context):
        return b"echo " + request
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("app.Echo", {"Echo": handler}),))
"""


def test_an_application_adds_its_own_servicers(
    nats_server: NatsServer, nats_namespace: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "application_hook.py").write_text(HOOK)
    gateway = GatewayProcess(
        "hooked",
        {
            "NATS_URL": nats_server.url,
            "NATS_NAMESPACE": nats_namespace,
            "GRPC_HANDLERS": "application_hook:grpc_handlers",
        },
        log_file=tmp_path / "gateway.log",
    )
    gateway.env["PYTHONPATH"] = str(tmp_path)
    request.addfinalizer(gateway.kill9)
    gateway.start()
    with grpc.insecure_channel(gateway.address) as channel:
        assert channel.unary_unary("/app.Echo/Echo")(b"hello", timeout=5) == b"echo hello"
    assert health(gateway.address) == SERVING
    assert gateway.stop(5) == 0


@pytest.mark.parametrize("path", ["no_colon", "no.such.module:f"])
def test_a_hook_that_is_not_there_is_named(path: str) -> None:
    result = run_gateway(GRPC_HANDLERS=path)
    assert result.returncode not in (0, -9)
    assert path.partition(":")[0] in result.stderr


# More than one process


def test_workers_are_gateways_on_consecutive_ports(
    nats_server: NatsServer, nats_namespace: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port, ops_port = consecutive_ports(), consecutive_ports()

    def ready() -> bool:
        return all(get(f"http://127.0.0.1:{ops_port + number}/readyz").status == 200 for number in (0, 1))

    supervisor = ManagedProcess(
        "supervisor",
        [sys.executable, "-m", "stream_gateway", "--workers", "2"],
        env={
            "GATEWAY_NATS_URL": nats_server.url,
            "GATEWAY_NATS_NAMESPACE": nats_namespace,
            "GATEWAY_PORT": str(port),
            "GATEWAY_OPS_PORT": str(ops_port),
            "GATEWAY_DRAIN_SECONDS": "3",
        },
        log_file=tmp_path / "supervisor.log",
        ready=ready,
    )
    request.addfinalizer(supervisor.kill9)
    supervisor.start()
    addresses = [f"127.0.0.1:{port + number}" for number in (0, 1)]
    with BareClient(addresses[0], "c"), BareCaller(addresses[1]) as caller:
        eventually(lambda: caller.reaches("c"))
        assert caller.execute("c").success
        assert [health(address) for address in addresses] == [SERVING, SERVING]
        # One that dies is started again, and the others do not notice.
        victim = descendants(supervisor.pid)[-1]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in descendants(supervisor.pid) and ready(), retry_on=(OSError,))
        eventually(lambda: [health(address) for address in addresses] == [SERVING, SERVING], retry_on=(grpc.RpcError,))
    assert supervisor.stop(8) == 0


def consecutive_ports() -> int:
    """The first of two free ports."""
    while not is_free((first := free_port()) + 1):
        pass
    return first


# Leaving


def test_an_idle_gateway_leaves_at_once(start_gateway: Any) -> None:
    gateway: GatewayProcess = start_gateway(DRAIN_SECONDS=10)
    started = time.monotonic()
    assert gateway.stop(5) == 0
    assert time.monotonic() - started < 3


def test_a_drain_asks_those_that_can_closes_the_rest_and_loses_nothing(
    start_gateway: Any, nats_server: NatsServer, nats_namespace: str
) -> None:
    leaving: GatewayProcess = start_gateway(DRAIN_SECONDS=6, DRAIN_SETTLE_SECONDS=0.5)
    staying: GatewayProcess = start_gateway()
    obedient = [BareClient(leaving.address, f"obedient-{number}", capabilities=BOTH) for number in range(5)]
    bare = [BareClient(leaving.address, f"bare-{number}") for number in range(5)]
    busy = BareClient(leaving.address, "busy", obeys=ignores)
    caller = BareCaller(staying.address)
    for client in (*obedient, *bare, busy):
        eventually(lambda client=client: caller.reaches(client.client_id))
    waiting = caller.start("busy", "waits", timeout=20)
    eventually(lambda: "waits" in busy.command_ids)
    for client in (*obedient, *bare):
        client.report("last words")
    leaving.request_stop()
    asked = time.monotonic()

    # New work is not for here.
    eventually(lambda: health(leaving.address) == NOT_SERVING)
    assert get(f"{leaving.ops_url}/readyz").status == 503
    assert get(f"{leaving.ops_url}/livez").status == 200

    def refuses() -> bool:
        with BareClient(leaving.address, f"new-{uuid.uuid4().hex}") as late:
            eventually(lambda: not late.is_open or caller.reaches(late.client_id))
            return not late.is_open and late.ended() is grpc.StatusCode.UNAVAILABLE

    eventually(refuses, timeout=3)
    # Those that obey Reconnect leave by themselves, the rest are closed, both spread over the window.
    left: list[float] = []
    leavers = [threading.Thread(target=leave_when_asked, args=(client, left)) for client in obedient]
    for leaver in leavers:
        leaver.start()
    assert [client.ended(5) for client in bare] == [grpc.StatusCode.UNAVAILABLE] * 5
    assert busy.is_open, "somebody waits for it"
    busy.ack("waits")
    assert waiting.result().success
    assert busy.ended(5) is grpc.StatusCode.UNAVAILABLE
    for leaver in leavers:
        leaver.join()
    assert max(left) - min(left) > 0.5
    assert leaving.wait(6) == 0
    assert time.monotonic() - asked < 6
    # Everything said before is in the log, and every session is closed in it.
    log = FrameLog(nats_server.url, nats_namespace)
    for client in (*obedient, *bare):
        assert "last words" in [each.message_id for each in log.reports(client.client_id)]
    ends = {e.client_id: e.closed.reason for e in log.entries() if e.HasField("closed")}
    assert {ends[client.client_id] for client in bare} == {"draining"}
    assert {ends[client.client_id] for client in obedient} == {"goodbye"}
    for client in (*obedient, *bare, busy):
        client.close()
    caller.close()


def leave_when_asked(client: BareClient, left: list[float]) -> None:
    reconnect = client.first("reconnect").reconnect
    assert reconnect.delay.ToMilliseconds() <= 1000
    left.append(time.monotonic())
    client.say(goodbye=pb.ClientGoodbye(reason="as asked"))


def test_who_ignores_all_of_it_does_not_hold_up_the_exit(start_gateway: Any) -> None:
    gateway: GatewayProcess = start_gateway(DRAIN_SECONDS=3)
    caller = BareCaller(gateway.address)
    stubborn = BareClient(gateway.address, "stubborn", capabilities=BOTH, obeys=ignores)
    deaf = BareClient(gateway.address, "deaf", obeys=ignores)
    for client in (stubborn, deaf):
        eventually(lambda client=client: caller.reaches(client.client_id))
    deaf.reading.clear()
    for number in range(10):
        caller.send("deaf", f"x{number}", pause=pb.PauseClientCommand(reason="x" * 200_000))
    waiting = caller.start("stubborn", "never acked", timeout=30)
    eventually(lambda: "never acked" in stubborn.command_ids)
    started = time.monotonic()
    gateway.request_stop()
    assert waiting.result().error == "CLIENT_DISCONNECTED"
    assert gateway.wait(5) == 0
    assert 1.5 < time.monotonic() - started < 3.5
    assert stubborn.ended() is grpc.StatusCode.UNAVAILABLE
    for client in (stubborn, deaf):
        client.close()
    caller.close()


def test_a_drain_without_nats_still_ends(start_gateway: Any, request: pytest.FixtureRequest) -> None:
    server = NatsServer()
    server.start()
    request.addfinalizer(server.kill9)
    gateway: GatewayProcess = start_gateway(NATS_URL=server.url, DRAIN_SECONDS=2)
    with BareClient(gateway.address, "c") as client, BareCaller(gateway.address) as caller:
        eventually(lambda: caller.reaches("c"))
        server.kill9()
        client.report("m1")
        assert gateway.stop(4) == 0
        assert client.ended() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("clients", [0, 1])
def test_more_signals_do_not_cut_the_drain_or_the_exit_short(start_gateway: Any, clients: int) -> None:
    gateway: GatewayProcess = start_gateway(DRAIN_SECONDS=2)
    connected = [BareClient(gateway.address, f"c{number}") for number in range(clients)]
    with BareCaller(gateway.address) as caller:
        for client in connected:
            eventually(lambda client=client: caller.reaches(client.client_id))

        def gone() -> bool:
            gateway.request_stop()
            return not gateway.is_running

        eventually(gone, timeout=4, interval=0.001)
    assert gateway.returncode == 0
    for client in connected:
        assert client.ended() is grpc.StatusCode.UNAVAILABLE
        client.close()
