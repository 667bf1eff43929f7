"""Rows into PostgreSQL: a worker that finds a backlog, until the last frame is acknowledged."""

from __future__ import annotations

import nats
import psycopg
from nats.js import JetStreamContext
from support.migrations import migrate
from support.nats import NatsServer
from support.postgres import PostgresServer
from support.processes import scratch_directory
from support.services import WorkerProcess
from support.waiting import eventually_async

from bench.load.backlog import ENTRIES_PER_FRAME, GATEWAY, frames
from bench.load.jobs import Outcome
from bench.load.meter import Meter
from bench.plan import Plan
from bench.processes import BenchError, Child
from bench.report import Bound, Figure
from ingest_worker.settings import WorkerSettings
from service_kit.bus import INGEST_CONSUMER, Subjects, ensure_frames_stream, ensure_ingest_consumer
from service_kit.settings import NatsSettings

NAMESPACE = "bench"
POLL_SECONDS = 0.01
DRAIN_SECONDS = 120.0


async def measure(plan: Plan) -> list[Figure]:
    """Run the benchmark."""
    rate = Figure("backlog into PostgreSQL: messages", "/s", 1, Bound(0.5, at_most=False))
    python_cpu = Figure("backlog into PostgreSQL: CPU of the Python process", "µs/op", 1e6)
    database_cpu = Figure("backlog into PostgreSQL: CPU of PostgreSQL", "µs/op", 1e6)
    directory = scratch_directory("bench")
    server = NatsServer(directory / "nats")
    # No fsync: the disk would add the same to both, and noise.
    postgres = PostgresServer(durable=False)
    try:
        server.start()
        postgres.start()
        url = postgres.create_database("bench")
        migrate(url)
        settings = NatsSettings(nats_url=server.url, nats_namespace=NAMESPACE)
        connection = await nats.connect(server.url)
        js = connection.jetstream()
        await ensure_frames_stream(js, settings)
        await ensure_ingest_consumer(js, settings)
        worker = WorkerProcess(
            "worker",
            {"NATS_URL": server.url, "NATS_NAMESPACE": NAMESPACE, "DATABASE_URL": url},
            log_file=directory / "worker.log",
        )
        try:
            worker.start()
            for number in range(-1, plan.rounds):
                bare = await _floor(url, plan.rows, f"floor{number}")
                ours = await _drain(url, js, worker, plan.rows, f"worker{number}")
                _check_all_there(url, f"worker{number}", plan.rows)
                if number < 0:  # the first round only warms up
                    continue
                rate.add(ours=ours.rate, floor=bare.rate)
                python_cpu.add(ours=ours.cpu[0] / plan.rows, floor=bare.cpu[0] / plan.rows)
                database_cpu.add(ours=sum(ours.cpu[1:]) / plan.rows, floor=bare.cpu[1] / plan.rows)
        finally:
            worker.kill9()
        await connection.close()
    finally:
        postgres.stop()
        server.stop()
    return [rate, python_cpu, database_cpu]


def _messages_per_batch() -> int:
    """How many messages the worker puts into one database transaction when there is a backlog."""
    frame = next(frames(ENTRIES_PER_FRAME, "sample"))
    return WorkerSettings.model_fields["batch_bytes"].default // len(frame) * ENTRIES_PER_FRAME


async def _floor(url: str, count: int, run: str) -> Outcome:
    async with Child("bench.floors.rows", url, str(count), str(_messages_per_batch()), run) as floor:
        return Outcome.model_validate_json(await floor.line())


async def _drain(url: str, js: JetStreamContext, worker: WorkerProcess, count: int, run: str) -> Outcome:
    """Let the worker find the frames all at once."""
    subjects = Subjects(NAMESPACE)
    worker.pause()
    for frame in frames(count, run):
        await js.publish_async(subjects.frames(GATEWAY), frame)
    await js.publish_async_completed()

    async def drained() -> bool:
        info = await js.consumer_info(subjects.frames_stream, INGEST_CONSUMER)
        return info.num_pending == 0 and info.num_ack_pending == 0

    meter = Meter([worker.pid, *_backends(url)])
    worker.resume()
    try:
        await eventually_async(drained, timeout=DRAIN_SECONDS, interval=POLL_SECONDS, message="backlog drained")
    except AssertionError as error:
        raise BenchError(f"{error}\n{worker.log_tail()}") from error
    return meter.stop(count)


def _backends(url: str) -> list[int]:
    """The processes of PostgreSQL that serve the worker."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
            " AND pid <> pg_backend_pid()"
        ).fetchall()
    return [pid for (pid,) in rows]


def _check_all_there(url: str, run: str, count: int) -> None:
    """A figure of a worker that lost something is worth nothing."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """SELECT (SELECT count(*) FROM wallet_balances WHERE starts_with(client_id, %(run)s))
                    + (SELECT count(*) FROM transaction_events WHERE starts_with(client_id, %(run)s))""",
            {"run": f"{run}-client-"},
        ).fetchone()
    if row != (count,):
        raise BenchError(f"the worker stored {row} of {count} messages")
