"""The processes that other tests stand on: they start, survive what tests do to them, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from support.keeper import process_table
from support.nats import NatsServer
from support.ports import LOOPBACK, free_port, is_free
from support.postgres import PostgresServer
from support.processes import ManagedProcess, ProcessFailedError
from support.tcp_proxy import TcpProxy
from support.waiting import DeadlinePassedError, eventually, eventually_async

TESTS = Path(__file__).resolve().parent.parent


def sleeper(tmp_path: Path, code: str = "import time; time.sleep(600)") -> ManagedProcess:
    return ManagedProcess("sleeper", [sys.executable, "-c", code], log_file=tmp_path / "log")


def lives(pid: int) -> bool:
    return any(entry.pid == pid for entry in process_table())


def test_a_process_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    process = ManagedProcess(
        "brief",
        [sys.executable, "-c", "print('out of luck'); raise SystemExit(3)"],
        log_file=tmp_path / "log",
        ready=lambda: False,
    )
    with pytest.raises(ProcessFailedError, match=r"(?s)brief ended with status 3.*out of luck"):
        process.start()


def test_a_process_that_does_not_get_ready_is_killed(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    process.ready, process.ready_timeout = (lambda: False), 0.1
    with pytest.raises(ProcessFailedError, match="not ready within"):
        process.start()
    assert not process.is_running


def test_kill_takes_the_children_along(tmp_path: Path) -> None:
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    process = sleeper(tmp_path, code)
    process.ready = lambda: bool(process.log_tail())
    process.start()
    child = int(process.log_tail())
    assert lives(child)
    process.kill9()
    assert process.returncode == -signal.SIGKILL
    assert not lives(child)


def test_a_paused_process_is_stopped_in_order(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    process.start()
    process.pause()
    assert process.stop() == -signal.SIGTERM


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_parent(tmp_path: Path, how: signal.Signals) -> None:
    code = """
import sys, time
from pathlib import Path
from support.nats import NatsServer
from support.postgres import PostgresServer
servers = [NatsServer(), PostgresServer()]
for server in servers:
    server.start()
print(*[server.pid for server in servers], servers[0].directory, servers[1].data_directory.parent, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(TESTS)}
    )
    with parent:
        assert parent.stdout is not None
        *pids, nats_directory, postgres_directory = parent.stdout.readline().split()
        assert all(lives(int(pid)) for pid in pids)
        assert Path(nats_directory).parent == Path(postgres_directory).parent == Path(tempfile.gettempdir())
        parent.send_signal(how)
    eventually(lambda: not any(lives(int(pid)) for pid in pids))
    eventually(lambda: not Path(nats_directory).exists() and not Path(postgres_directory).exists())


def test_nats_keeps_its_address_over_a_kill(nats_server: NatsServer) -> None:
    server = NatsServer()
    server.start()
    address = server.url
    server.kill9()
    server.start()
    assert server.url == address != nats_server.url
    assert server.stop() == 0


def test_postgres_keeps_its_rows_over_a_kill() -> None:
    server = PostgresServer()
    server.start()
    url = server.create_database("kept")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.kill9()
    assert is_free(server.port)
    server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    server.create_database("copy", template="kept")
    server.drop_database("copy")
    assert not server.has_database("copy")
    assert server.stop() == 0


def test_the_database_fixture_has_the_schema(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM clients").fetchone() == (0,)


def test_a_proxy_relays_is_cut_and_heals() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, TcpProxy(listener.getsockname()[1]) as proxy:
        near = socket.create_connection((proxy.host, proxy.port), timeout=5)
        far, _ = listener.accept()
        with near, far:
            near.sendall(b"out")
            assert far.recv(10) == b"out"
            far.sendall(b"back")
            assert near.recv(10) == b"back"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                near.recv(10)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port), timeout=5)
        proxy.heal()
        socket.create_connection((proxy.host, proxy.port), timeout=5).close()


def test_a_black_hole_holds_what_is_sent_until_it_heals() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, TcpProxy(listener.getsockname()[1]) as proxy:
        near = socket.create_connection((proxy.host, proxy.port), timeout=5)
        far, _ = listener.accept()
        with near, far:
            proxy.blackhole()
            near.sendall(b"late")
            far.settimeout(0.2)
            with pytest.raises(TimeoutError):
                far.recv(10)
            proxy.heal()
            far.settimeout(5)
            assert far.recv(10) == b"late"


async def test_waiting_tells_what_it_saw_last() -> None:
    answers = iter([0, 0, 7])
    assert eventually(lambda: next(answers)) == 7
    with pytest.raises(DeadlinePassedError, match=r"answer: not true within 0\.05 s; last: None"):
        eventually(lambda: None, timeout=0.05, message="answer")

    async def never() -> bool:
        raise AssertionError("not yet")

    with pytest.raises(DeadlinePassedError, match="not yet"):
        await eventually_async(never, timeout=0.05)
    assert await eventually_async(lambda: "at once") == "at once"


def test_a_port_is_given_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    with socket.create_server((LOOPBACK, ports[0])):
        assert not is_free(ports[0])
