"""How large transactions get, and what happens to one that takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY
from support.reports import START_US, TABLES, dump, entry, frame, message, rows
from support.waiting import eventually_async

from crypto_streaming import pb
from ingest_worker.adapters import database
from ingest_worker.domain.decode import Decoder, StoredFrame
from ingest_worker.domain.rows import Rows
from ingest_worker.pipeline import Job, Pipeline
from ingest_worker.store import Store
from service_kit.clock import SystemClock
from service_kit.frames import FrameEntry, SessionOpened

STATEMENT_SECONDS = 0.3


def logs(count: int) -> StoredFrame:
    """One frame of one batch of tiny messages."""
    inner = [message(f"m{number:05}", log=pb.LogEntry(message=str(number))) for number in range(count)]
    return StoredFrame(frame(entry("alpha", message(batch=pb.ClientBatch(messages=inner)))))


def some_of_everything() -> list[StoredFrame]:
    """Reports of all kinds, some more than once and some with two contents under one id."""
    entries: list[FrameEntry] = [FrameEntry(client_id="beta", epoch=3, received_at_us=START_US, opened=SessionOpened())]
    for number in range(40):
        update = pb.WalletUpdate(wallet_id="w", symbol="BTC", balance_available=str(number))
        said: tuple[dict[str, Any], ...] = (
            {"wallet_update": update},
            {"transaction": pb.TransactionReport(transaction_id=f"t{number % 3}", status=str(number))},
            {"log": pb.LogEntry(message=str(number))},
            {"wallet_update": pb.WalletUpdate(wallet_id="w", symbol="BTC", balance_locked="x")},
        )
        entries.append(
            entry(
                f"client-{number % 3}",
                message(f"m{number % 12}", **said[number % 4]),
                position=number + 1,
                received_us=START_US + number,
            )
        )
    return [StoredFrame(frame(*entries))]


def test_a_frame_of_very_many_messages_is_several_transactions(pipeline: Pipeline, database_url: str) -> None:
    outcomes = pipeline.process([logs(25_000)])
    assert [outcome.written.get("client_logs") for outcome in outcomes] == [10_000, 10_000, 5000]
    assert len(rows(database_url, "client_logs")) == 25_000
    (client,) = rows(database_url, "clients")
    assert client["client_id"] == "alpha"


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_parts_end_as_the_whole(
    pipeline: Pipeline, connection: database.Connection, database_url: str, limit: int
) -> None:
    frames = some_of_everything()
    pipeline.process(frames)
    expected = dump(database_url)
    assert len(expected["dead_letters"]) > 10
    connection.execute("TRUNCATE " + ", ".join(TABLES))
    decoded = Decoder().decode(frames)
    outcomes = pipeline.run(Job(frames, decoded, limit))
    assert len(outcomes) == -(-decoded.size // limit)
    assert dump(database_url) == expected


def test_rows_are_parted_within_the_limit() -> None:
    decoded = Decoder().decode(some_of_everything())
    parts = decoded.parts(7)
    assert all(part.size == 7 for part in parts[:-1])
    assert sum(part.size for part in parts) == decoded.size
    assert Rows().parts(1)[0].size == 0


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store that does not wait long."""
    made = Store(
        database_url,
        statement_seconds=STATEMENT_SECONDS,
        backoff_seconds=0.05,
        batch_rows=1000,
        clock=SystemClock(),
    )
    await made.open()
    yield made
    await made.close()


def make_slow(url: str, condition: str, seconds: float) -> None:
    """Have the database take its time for each row of `client_logs` that meets a condition."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"""
            CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
            CREATE TRIGGER dawdle BEFORE INSERT ON client_logs
                FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION dawdle();
            """.encode()
        )


async def test_a_batch_that_takes_too_long_gets_smaller_until_it_does_not(store: Store, database_url: str) -> None:
    # Forty rows need four times as long as a statement may take.
    make_slow(database_url, "true", STATEMENT_SECONDS / 10)
    before = REGISTRY.get_sample_value("worker_bisections_total") or 0
    frames = [logs(40)]
    await asyncio.wait_for(store.write(frames, Decoder().decode(frames)), 30)
    assert len(rows(database_url, "client_logs")) == 40
    assert len(rows(database_url, "clients")) == 1
    assert REGISTRY.get_sample_value("worker_bisections_total") == before + 1


async def test_one_row_that_takes_too_long_does_not_hold_up_the_others(store: Store, database_url: str) -> None:
    make_slow(database_url, "NEW.message = '3'", 60)
    frames = [logs(20)]
    writing = asyncio.create_task(store.write(frames, Decoder().decode(frames)))
    await eventually_async(lambda: len(rows(database_url, "client_logs")) == 19, timeout=20)
    assert not writing.done(), "it is tried until it succeeds"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER dawdle ON client_logs")
    await asyncio.wait_for(writing, 20)
    assert len(rows(database_url, "client_logs")) == 20
    assert rows(database_url, "dead_letters") == []


async def test_a_refused_message_among_rows_that_take_too_long_is_found(store: Store, database_url: str) -> None:
    make_slow(database_url, "true", STATEMENT_SECONDS / 10)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE client_logs ADD CHECK (message <> '13')")
    frames = [logs(20)]
    await asyncio.wait_for(store.write(frames, Decoder().decode(frames)), 30)
    assert len(rows(database_url, "client_logs")) == 19
    (letter,) = rows(database_url, "dead_letters")
    assert (letter["message_id"], letter["reason"]) == ("m00013", "UNWRITABLE")
