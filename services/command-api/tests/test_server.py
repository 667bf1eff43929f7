"""The service as a process: ports, limits, stopping, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from support.migrations import migrate
from support.ports import LOOPBACK
from support.postgres import PostgresServer
from support.processes import remove_directory
from support.services import ApiProcess
from support.waiting import eventually

from crypto_streaming import pb


def process(database_url: str, gateway_address: str, directory: Path, **settings: object) -> ApiProcess:
    return ApiProcess(
        "api",
        {"DATABASE_URL": database_url, "GATEWAY_ADDRESS": gateway_address, "OPEN_ON_LOOPBACK": "true", **settings},
        log_file=directory / "api.log",
    )


@pytest.fixture
def served(database_url: str, gateway: Any, make: Any, tmp_path: Path) -> Iterator[ApiProcess]:
    api = process(database_url, make.gateway_address, tmp_path, MAX_WAITS=2, MAX_BULK_REQUESTS=1, THREADS=6)
    api.start()
    yield api
    if api.is_running:
        api.stop()


def url(api: ApiProcess, path: str) -> str:
    return f"http://{api.address}/api/crypto{path}"


class Hang:
    """A client that answers when it is told to."""

    def __init__(self, answer: Any) -> None:
        self.released = threading.Event()
        self._answer = answer

    def __call__(self, request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        assert self.released.wait(30)
        ack: pb.CommandAck = self._answer(request, context)
        return ack


def log_lines(api: ApiProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in api.log_file.read_text().splitlines()]


def test_a_request_is_logged_and_measured(served: ApiProcess, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    with httpx.Client() as http:
        answer = http.post(
            url(served, "/commands/c-1/ping/"), json={"sequence": 1}, headers={"x-request-id": "r-1"}
        ).json()
        assert http.get(url(served, "/commands/strange%20id/")).status_code == 404
    (line,) = [line for line in log_lines(served) if line.get("request_id") == "r-1"]
    assert (line["method"], line["status"], line["client_id"]) == ("POST", 200, "c-1")
    assert line["command_id"] == answer["command_result"]["command_id"]
    assert line["ms"] > 0
    metrics = served.metrics()
    route = 'route="api/crypto/commands/<str:client_id>/ping/"'
    assert metrics[f'command_api_requests_total{{method="POST",{route},status="200"}}'] == 1
    # The pattern, not the path.
    assert not [name for name in metrics if "strange" in name]
    assert metrics['command_api_commands_total{command="ping",outcome="acked"}'] == 1
    assert metrics["command_api_waits_in_flight"] == 0


def test_bodies_without_a_length_arrive(served: ApiProcess, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    with httpx.Client(headers={"content-type": "application/json"}) as http:
        response = http.post(url(served, "/commands/c-1/pause/"), content=iter([b'{"reason": ', b'"chunked"}']))
    assert response.status_code == 200
    assert gateway.requests[0].command.pause.reason == "chunked"


@pytest.mark.parametrize("chunked", [True, False])
def test_bodies_that_are_too_long_are_413(served: ApiProcess, gateway: Any, chunked: bool) -> None:
    body = b'{"reason": "' + b"x" * 1_100_000 + b'"}'
    with httpx.Client(headers={"content-type": "application/json"}) as http:
        response = http.post(url(served, "/commands/c-1/pause/"), content=iter([body]) if chunked else body)
    assert (response.status_code, response.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert not gateway.requests


def test_reads_and_liveness_are_answered_while_every_wait_is_taken(served: ApiProcess, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = hang = Hang(make.obey)
    with ThreadPoolExecutor(2) as executor, httpx.Client(timeout=10) as http:
        waiting = [executor.submit(http.post, url(served, "/commands/c-1/ping/?timeout=30")) for _ in range(2)]
        eventually(lambda: len(gateway.requests) == 2)
        assert served.metrics()["command_api_waits_in_flight"] == 2
        refused = http.post(url(served, "/commands/c-1/ping/"))
        assert (refused.status_code, refused.json()["code"]) == (503, "TOO_MANY_WAITING")
        assert refused.headers["retry-after"] == "1"
        for path in ("/commands/", "/commands/c-1/", "/wallets/", "/transactions/"):
            assert http.get(url(served, path)).status_code in {200, 404}
        with urllib.request.urlopen(f"{served.ops_url}/livez", timeout=5) as live:
            assert live.status == 200
        hang.released.set()
        assert [future.result(10).status_code for future in waiting] == [200, 200]


def test_a_stop_lets_running_requests_finish(served: ApiProcess, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = hang = Hang(make.obey)
    with ThreadPoolExecutor(1) as executor, httpx.Client(timeout=20) as http:
        waiting = executor.submit(http.post, url(served, "/commands/c-1/ping/?timeout=20"))
        eventually(lambda: len(gateway.requests) == 1)
        os.kill(served.pid, signal.SIGTERM)
        eventually(lambda: not listens(served.port))
        hang.released.set()
        assert waiting.result(10).status_code == 200
    served.stop()
    assert served.returncode == 0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def test_a_killed_main_process_leaves_no_worker_behind(served: ApiProcess) -> None:
    # This process alone, as the kernel does when memory is short; not its group.
    os.kill(served.pid, signal.SIGKILL)
    eventually(lambda: not listens(served.port))


def test_a_port_is_never_shared(served: ApiProcess, database_url: str, make: Any, tmp_path: Path) -> None:
    """Granian would listen beside the first, and each would get a part of the requests."""
    second = ApiProcess(
        "second",
        {"DATABASE_URL": database_url, "GATEWAY_ADDRESS": make.gateway_address},
        port=served.port,
        log_file=tmp_path / "second.log",
    )
    with pytest.raises(Exception, match="second"):
        second.start()
    assert "can not listen" in second.log_file.read_text()


def test_replicas_may_migrate_at_once(postgres_server: PostgresServer) -> None:
    database_url = postgres_server.create_database("migrated_twice")
    with ThreadPoolExecutor(2) as executor:
        for future in [executor.submit(migrate, database_url) for _ in range(2)]:
            future.result()
    postgres_server.drop_database("migrated_twice")


def test_readiness_waits_for_the_schema_and_outlives_the_database(gateway: Any, make: Any, tmp_path: Path) -> None:
    server = PostgresServer()
    server.start()
    database_url = server.create_database("late")
    api = process(database_url, make.gateway_address, tmp_path, DATABASE_TIMEOUT=1)
    api.ready = lambda: listens(api.port)
    gateway.answers["c-1"] = make.obey
    try:
        api.start()
        with httpx.Client(timeout=20) as http:
            assert not api.is_ready()
            assert http.get(f"{api.ops_url}/livez").status_code == 200
            migrate(database_url)
            eventually(api.is_ready)
            assert http.get(url(api, "/commands/")).status_code == 200
            server.stop()
            lost = http.get(url(api, "/commands/"))
            assert (lost.status_code, lost.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
            assert lost.headers["retry-after"] == "1"
            # Commands need no database.
            assert http.post(url(api, "/commands/c-1/ping/")).json()["command_result"]["success"] is True
            assert api.is_ready()
            assert http.get(f"{api.ops_url}/livez").status_code == 200
            server.start()
            eventually(lambda: http.get(url(api, "/commands/")).status_code == 200)
    finally:
        api.stop()
        server.stop()
        remove_directory(server.data_directory.parent)
