"""How a worker ends: told to while something does not answer, or because NATS has closed its connection for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from support.nats import NatsServer
from support.ports import LOOPBACK
from support.reports import entry, frame, message
from support.services import WorkerProcess
from support.tcp_proxy import TcpProxy
from support.waiting import eventually_async

from crypto_streaming import pb
from service_kit.bus import Subjects

# What the setting promises, plus the start of an interpreter's end on a busy machine.
STOP_SECONDS = 0.3
BOUND_SECONDS = STOP_SECONDS + 10


class ErrorProxy:
    """Relays one NATS client's connection, and can say something in the server's name."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._clients: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """What the client connects to."""
        assert self._server is not None
        return f"nats://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Begin to relay."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)

    async def close(self) -> None:
        """End it."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def say(self, line: bytes) -> None:
        """Say a line of the protocol to the client."""
        for client in self._clients:
            client.write(line)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        self._clients.append(writer)
        self._tasks += [
            asyncio.create_task(_pump(reader, far_writer)),
            asyncio.create_task(_pump(far_reader, writer)),
        ]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture
async def error_proxy(nats_server: NatsServer) -> AsyncIterator[ErrorProxy]:
    """A relay to NATS."""
    proxy = ErrorProxy(nats_server.port)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
def database_proxy(database_url: str) -> Iterator[TcpProxy]:
    """A relay to PostgreSQL."""
    with TcpProxy(int(str(conninfo_to_dict(database_url)["port"]))) as proxy:
        yield proxy


def worker_process(directory: Path, nats_url: str, namespace: str, database_url: str) -> WorkerProcess:
    """Make a worker that does not wait long."""
    settings = {
        "DATABASE_URL": database_url,
        "NATS_URL": nats_url,
        "NATS_NAMESPACE": namespace,
        "STOP_SECONDS": STOP_SECONDS,
        "FETCH_SECONDS": 0.1,
    }
    return WorkerProcess("worker", settings, log_file=directory / "worker.log")


def through(proxy: TcpProxy, database_url: str) -> str:
    """Return the database's URL by way of a relay."""
    return database_url.replace(f":{proxy.target[1]}/", f":{proxy.port}/")


async def test_a_connection_that_nats_closes_for_good_ends_the_worker(
    error_proxy: ErrorProxy, nats_namespace: str, database_url: str, tmp_path: Path
) -> None:
    worker = worker_process(tmp_path, error_proxy.url, nats_namespace, database_url)
    worker.launch()
    try:
        await asyncio.to_thread(worker.wait_ready)
        error_proxy.say(b"-ERR 'Account Authentication Expired'\r\n")
        assert await asyncio.to_thread(worker.wait, 15) == 1
        assert '"nats closed the connection for good"' in worker.log_tail()
        assert "Traceback" not in worker.log_tail()
    finally:
        worker.kill9()


async def test_a_stop_is_not_taken_for_it(
    error_proxy: ErrorProxy, nats_namespace: str, database_url: str, tmp_path: Path
) -> None:
    worker = worker_process(tmp_path, error_proxy.url, nats_namespace, database_url)
    worker.launch()
    try:
        await asyncio.to_thread(worker.wait_ready)
        assert await asyncio.to_thread(worker.stop, BOUND_SECONDS) == 0
        assert "for good" not in worker.log_tail()
    finally:
        worker.kill9()


async def test_a_stop_with_a_database_that_has_gone_silent_is_bounded(
    nats_server: NatsServer, nats_namespace: str, database_url: str, database_proxy: TcpProxy, tmp_path: Path
) -> None:
    worker = worker_process(tmp_path, nats_server.url, nats_namespace, through(database_proxy, database_url))
    worker.launch()
    try:
        await asyncio.to_thread(worker.wait_ready)
        with psycopg.connect(database_url) as holder, psycopg.connect(database_url, autocommit=True) as watcher:
            holder.execute("LOCK TABLE client_logs IN EXCLUSIVE MODE")
            await _publish(nats_server.url, nats_namespace)
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await eventually_async(lambda: watcher.execute(waiting).fetchone() is not None)
            database_proxy.blackhole()
            assert await asyncio.to_thread(worker.stop, BOUND_SECONDS) == 0
    finally:
        worker.kill9()


async def test_a_stop_while_connecting_to_a_silent_database_is_bounded(
    nats_server: NatsServer, nats_namespace: str, database_url: str, database_proxy: TcpProxy, tmp_path: Path
) -> None:
    database_proxy.blackhole()
    worker = worker_process(tmp_path, nats_server.url, nats_namespace, through(database_proxy, database_url))
    worker.launch()
    try:
        await eventually_async(lambda: "ops server listening" in worker.log_tail())
        assert await asyncio.to_thread(worker.stop, BOUND_SECONDS) == 0
    finally:
        worker.kill9()


async def _publish(url: str, namespace: str) -> None:
    connection = await nats.connect(url)
    said = frame(entry("alpha", message("m1", log=pb.LogEntry(message="hello"))))
    await connection.jetstream().publish(Subjects(namespace).frames("gateway-1"), said)
    await connection.close()
