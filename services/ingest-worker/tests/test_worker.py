"""The worker as a process: real NATS, real PostgreSQL, real signals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import nats
import psycopg
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from support.fixtures import migrate
from support.nats import NatsServer
from support.postgres import PostgresServer
from support.reports import START_US, dump, entry, frame, message, rows
from support.services import WorkerProcess
from support.waiting import eventually, eventually_async

from crypto_streaming import pb
from ingest_worker.adapters import database
from ingest_worker.domain.decode import StoredFrame
from ingest_worker.pipeline import Pipeline
from ingest_worker.worker import Helpers
from service_kit.bus import INGEST_CONSUMER, Subjects, ensure_frames_stream
from service_kit.frames import PresenceSnapshot
from service_kit.settings import NatsSettings

ACK_WAIT_SECONDS = 1.0


class Log:
    """The durable log of one test, as a gateway sees it."""

    def __init__(self, connection: Client, url: str, namespace: str) -> None:
        self.connection = connection
        self.url = url
        self.subjects = Subjects(namespace)
        self.settings = NatsSettings(nats_url=url, nats_namespace=namespace)
        self.js = connection.jetstream()

    async def prepare(self) -> None:
        """Make the stream, and a consumer that does not wait long for the dead."""
        await ensure_frames_stream(self.js, self.settings)
        await self.js.add_consumer(
            self.subjects.frames_stream,
            ConsumerConfig(
                durable_name=INGEST_CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                max_ack_pending=20_000,
            ),
        )

    async def publish(self, *frames: bytes) -> None:
        """Put frames into the log, in this order."""
        for each in frames:
            await self.js.publish(self.subjects.frames("gateway-1"), each)

    async def drained(self) -> bool:
        """Tell whether every frame is acknowledged."""
        info = await self.js.consumer_info(self.subjects.frames_stream, INGEST_CONSUMER)
        return info.num_pending == 0 and info.num_ack_pending == 0


@asynccontextmanager
async def connected(url: str, namespace: str) -> AsyncGenerator[Log]:
    """The durable log of a NATS server."""
    connection = await nats.connect(url)
    try:
        yield Log(connection, url, namespace)
    finally:
        await connection.close()


@pytest.fixture
async def log(nats_server: NatsServer, nats_namespace: str) -> AsyncIterator[Log]:
    """The durable log, ready."""
    async with connected(nats_server.url, nats_namespace) as made:
        await made.prepare()
        yield made


Starter = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Makes workers, and ends them after the test."""
    workers: list[WorkerProcess] = []

    def run(log: Log, url: str, **settings: object) -> WorkerProcess:
        name = f"worker-{len(workers) + 1}"
        named = {
            "DATABASE_URL": url,
            "NATS_URL": log.url,
            "NATS_NAMESPACE": log.subjects.namespace,
            "BACKOFF_SECONDS": 0.3,
            "KEEP_ALIVE_SECONDS": 0.2,
            "PRESENCE_SECONDS": 0.05,
            "LAG_SECONDS": 0.05,
            "FETCH_SECONDS": 0.1,
            **{key.upper(): value for key, value in settings.items()},
        }
        worker = WorkerProcess(name, named, log_file=tmp_path / f"{name}.log")
        workers.append(worker)
        return worker

    yield run
    for worker in workers:
        worker.kill9()


def wallet_frames(count: int, *, clients: int = 5) -> list[bytes]:
    """Frames of one update each, the newest last."""
    return [
        frame(
            entry(
                f"client-{number % clients}",
                message(
                    f"m{number}",
                    sent_us=START_US + number,
                    wallet_update=pb.WalletUpdate(wallet_id="w", symbol="BTC", balance_available=str(number)),
                ),
                position=number + 1,
                received_us=START_US + number,
            )
        )
        for number in range(count)
    ]


@contextmanager
def table_locked(url: str, table: str = "wallets") -> Generator[Callable[[], bool]]:
    """Keep writers out of a table; gives a function that tells whether one is waiting."""
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watcher:
        holder.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())

        def someone_waits() -> bool:
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            return watcher.execute(waiting).fetchone() is not None

        yield someone_waits


async def test_frames_in_any_order_to_two_workers_end_as_in_order(
    log: Log, start: Starter, database_url: str, connection: database.Connection
) -> None:
    frames = wallet_frames(500)
    Pipeline(connection).process([StoredFrame(each) for each in frames])
    expected = dump(database_url)
    connection.execute("TRUNCATE wallets, wallet_balances, clients")

    workers = [start(log, database_url, batch_frames=20) for _ in range(2)]
    for worker in workers:
        worker.launch()
    for worker in workers:
        worker.wait_ready()
    dice = random.Random(7)
    again = dice.sample(frames, 100)
    await log.publish(*dice.sample([*frames, *again], 600))
    await eventually_async(log.drained, timeout=20)
    assert dump(database_url) == expected
    for worker in workers:
        assert worker.metrics()["worker_frames_total"] > 0, "both took part"


async def test_a_worker_killed_in_the_middle_of_a_batch_loses_and_doubles_nothing(
    log: Log, start: Starter, database_url: str
) -> None:
    worker = start(log, database_url)
    worker.start()
    with table_locked(database_url) as someone_waits:
        await log.publish(*wallet_frames(50))
        await eventually_async(someone_waits)
        worker.kill9()
    assert rows(database_url, "wallet_balances") == []
    worker.start()
    await eventually_async(log.drained, timeout=20)
    assert len(rows(database_url, "wallet_balances")) == 50
    assert [row["balance_available"] for row in rows(database_url, "wallets")] == [45, 46, 47, 48, 49]
    assert worker.metrics()["worker_redelivered_frames_total"] > 0


async def test_a_stop_finishes_the_batch_in_hand(log: Log, start: Starter, database_url: str) -> None:
    worker = start(log, database_url)
    worker.start()
    with table_locked(database_url) as someone_waits:
        await log.publish(*wallet_frames(50))
        await eventually_async(someone_waits)
        stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
        await eventually_async(lambda: '"stopping"' in worker.log_tail())
    assert await stopping == 0
    assert len(rows(database_url, "wallet_balances")) == 50
    assert await log.drained()


async def test_a_stop_does_not_wait_for_ever(log: Log, start: Starter, database_url: str) -> None:
    worker = start(log, database_url, stop_seconds=0.3)
    worker.start()
    with table_locked(database_url) as someone_waits:
        await log.publish(*wallet_frames(5))
        await eventually_async(someone_waits)
        assert await asyncio.to_thread(worker.stop, 10) == 0
    assert rows(database_url, "wallet_balances") == []
    info = await log.js.consumer_info(log.subjects.frames_stream, INGEST_CONSUMER)
    assert (info.num_pending or 0) + (info.num_ack_pending or 0) == 5


async def test_frames_in_hand_are_kept_alive_however_long_it_takes(log: Log, start: Starter, database_url: str) -> None:
    worker = start(log, database_url)
    worker.start()
    with table_locked(database_url) as someone_waits:
        await log.publish(*wallet_frames(5))
        await eventually_async(someone_waits)
        # Twice the time after which a frame would be delivered again.
        until = asyncio.get_running_loop().time() + 2 * ACK_WAIT_SECONDS
        await eventually_async(lambda: asyncio.get_running_loop().time() > until)
        info = await log.js.consumer_info(log.subjects.frames_stream, INGEST_CONSUMER)
        assert info.num_redelivered == 0
    await eventually_async(log.drained)
    assert worker.metrics()["worker_redelivered_frames_total"] == 0


async def test_postgresql_stopped_and_started(log: Log, start: Starter) -> None:
    server = PostgresServer()
    server.start()
    try:
        url = server.create_database("crypto")
        migrate(url)
        worker = start(log, url)
        worker.start()
        frames = wallet_frames(60)
        await log.publish(*frames[:20])
        await eventually_async(log.drained)
        server.stop()
        await log.publish(*frames[20:40])
        await eventually_async(lambda: worker.metrics().get('worker_retries_total{cause="outage"}', 0) >= 3)
        assert worker.is_ready(), "an outage is not the worker's fault"
        await log.publish(*frames[40:])
        server.start()
        await eventually_async(log.drained, timeout=20)
        assert len(rows(url, "wallet_balances")) == 60
        assert rows(url, "dead_letters") == []
        assert worker.stop() == 0
    finally:
        server.stop()


async def test_nats_restarted(start: Starter, database_url: str, nats_namespace: str) -> None:
    server = NatsServer()
    server.start()
    try:
        frames = wallet_frames(60)
        async with connected(server.url, nats_namespace) as log:
            await log.prepare()
            worker = start(log, database_url)
            worker.start()
            await log.publish(*frames[:30])
            await eventually_async(lambda: len(rows(database_url, "wallet_balances")) == 30)
        server.kill9()
        await eventually_async(lambda: worker.metrics()['worker_connected{to="nats"}'] == 0)
        assert worker.is_ready(), "an outage is not the worker's fault"
        server.start()
        async with connected(server.url, nats_namespace) as log:
            await log.publish(*frames[30:])
            await eventually_async(log.drained, timeout=20)
        assert len(rows(database_url, "wallet_balances")) == 60
    finally:
        server.stop()


async def test_it_waits_for_the_schema_and_never_makes_it(
    log: Log, start: Starter, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database(f"late_{log.subjects.namespace}")
    worker = start(log, url)
    worker.launch()
    await log.publish(*wallet_frames(5))
    await eventually_async(
        lambda: worker.metrics().get('worker_retries_total{cause="schema"}', 0) >= 2,
        retry_on=(OSError,),
        timeout=20,
    )
    assert not worker.is_ready()
    await asyncio.to_thread(migrate, url)
    await eventually_async(worker.is_ready)
    await eventually_async(log.drained)
    assert len(rows(url, "wallet_balances")) == 5
    worker.stop()
    postgres_server.drop_database(f"late_{log.subjects.namespace}")


@pytest.mark.parametrize(
    "missing", [{"nats_url": "nats://127.0.0.1:1"}, {"database_url": "postgresql://crypto@127.0.0.1:1/none"}]
)
async def test_it_waits_for_what_is_missing_and_stops_when_told(
    start: Starter, log: Log, database_url: str, missing: dict[str, str]
) -> None:
    worker = start(log, database_url, **missing)
    worker.launch()
    eventually(lambda: "ops server listening" in worker.log_tail())
    assert not worker.is_ready()
    assert await asyncio.to_thread(worker.stop, 10) == 0


async def test_a_frame_that_came_too_often_is_taken_alone(log: Log, start: Starter, database_url: str) -> None:
    await log.publish(*wallet_frames(3))
    subscription = await log.js.pull_subscribe_bind(INGEST_CONSUMER, log.subjects.frames_stream)
    delivered: dict[int, int] = {}
    # One request may bring fewer than all three.
    while len(delivered) < 3 or min(delivered.values()) < 5:
        for each in await subscription.fetch(3, timeout=5):
            delivered[each.metadata.sequence.stream] = each.metadata.num_delivered or 0
            await each.nak()
    worker = start(log, database_url)
    worker.start()
    await eventually_async(log.drained)
    assert worker.metrics()["worker_suspect_frames_total"] == 3
    assert len(rows(database_url, "wallet_balances")) == 3


async def test_what_can_never_be_written_is_counted_and_acknowledged(
    log: Log, start: Starter, database_url: str
) -> None:
    worker = start(log, database_url)
    worker.start()
    bad = message("bad", wallet_update=pb.WalletUpdate(wallet_id="w", symbol="BTC", balance_available="1e400"))
    await log.publish(b"\xff\xff", frame(entry("alpha", bad)), *wallet_frames(5))
    await eventually_async(log.drained)
    assert {(letter["client_id"], letter["reason"]) for letter in rows(database_url, "dead_letters")} == {
        ("", "UNPARSABLE"),
        ("alpha", "INVALID_AMOUNT"),
    }
    metrics = worker.metrics()
    assert metrics['worker_dead_letters_total{reason="UNPARSABLE"}'] == 1
    assert metrics['worker_dead_letters_total{reason="INVALID_AMOUNT"}'] == 1
    assert metrics['worker_rows_total{table="wallet_balances"}'] == 5
    assert metrics["worker_frames_total"] == 7
    assert metrics["worker_messages_total"] == 6


async def test_presence_is_written_and_the_backlog_watched(log: Log, start: Starter, database_url: str) -> None:
    worker = start(log, database_url)
    worker.start()
    snapshot = PresenceSnapshot(gateway_id="gateway-3")
    snapshot.sessions.add(client_id="alpha", epoch=4, last_seen_us=START_US)
    await log.connection.publish(log.subjects.presence, b"\xff")
    await log.connection.publish(log.subjects.presence, snapshot.SerializeToString())
    (row,) = await eventually_async(lambda: rows(database_url, "clients"))
    assert (row["session_epoch"], row["gateway_id"]) == (4, "gateway-3")
    assert worker.metrics()['worker_presence_snapshots_total{outcome="unparsable"}'] == 1
    with table_locked(database_url) as someone_waits:
        await log.publish(*wallet_frames(3))
        await eventually_async(someone_waits)
        await eventually_async(lambda: worker.metrics()["worker_consumer_ack_pending"] == 3)
    await eventually_async(lambda: worker.metrics()["worker_consumer_ack_pending"] == 0)


async def test_a_helper_that_fails_ends_the_worker() -> None:
    async def fail() -> None:
        raise LookupError("a bug")

    stop = asyncio.Event()
    helpers = Helpers(stop)
    helpers.start(fail())
    await asyncio.wait_for(stop.wait(), 5)
    with pytest.raises(LookupError):
        await helpers.end()
