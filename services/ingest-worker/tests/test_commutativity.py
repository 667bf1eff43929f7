"""The tables are a function of the set of messages that came: not of their order, batches, repetitions or workers."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.reports import START_US, TABLES, dump, entry, frame, message, timestamp

from crypto_streaming import pb
from ingest_worker.adapters import database
from ingest_worker.domain.decode import StoredFrame
from ingest_worker.pipeline import Pipeline
from service_kit.frames import FrameEntry, SessionClosed, SessionOpened

SECOND = 1_000_000
# Before, at, and after the time of receipt; the last two are limited to five minutes after it.
TIMES = st.sampled_from(
    [
        None,
        START_US - 3600 * SECOND,
        START_US,
        START_US + 2,
        START_US + 3600 * SECOND,
        START_US + 7200 * SECOND,
    ]
)
MESSAGE_IDS = st.sampled_from(["m1", "m2", "m3", ""])
AMOUNTS = st.sampled_from(["", "1", "2.50", "340282366920938463463374607431768211456"])
WORDS = st.sampled_from(["", "one", "two"])

KINDS: dict[type[Any], str] = {
    pb.WalletUpdate: "wallet_update",
    pb.TransactionReport: "transaction",
    pb.StatusUpdate: "status",
    pb.CommandAck: "command_ack",
    pb.ClientRegistration: "register",
    pb.LogEntry: "log",
    pb.ErrorReport: "error",
    pb.ClientBatch: "batch",
}
HISTORY = st.one_of(
    st.builds(
        pb.WalletUpdate,
        wallet_id=st.sampled_from(["w1", "w2", ""]),
        symbol=st.just("BTC"),
        balance_available=st.one_of(AMOUNTS, st.just("x")),
        balance_locked=AMOUNTS,
        last_sync=TIMES.map(timestamp),
    ),
    st.builds(
        pb.TransactionReport,
        transaction_id=st.sampled_from(["t1", "t2"]),
        type=WORDS,
        symbol=WORDS,
        amount=AMOUNTS,
        status=WORDS,
        details=WORDS,
    ),
    st.builds(pb.LogEntry, level=st.just("info"), message=WORDS),
    st.builds(pb.ErrorReport, severity=st.just("high"), message=WORDS),
)
STATES = st.one_of(
    st.builds(pb.StatusUpdate, status=st.integers(0, 5), details=WORDS),
    st.builds(pb.CommandAck, command_id=st.just("c"), current_status=st.integers(0, 4)),
    st.builds(
        pb.ClientRegistration,
        client_name=WORDS,
        version=WORDS,
        labels=st.dictionaries(st.sampled_from(["x", "yy"]), WORDS, max_size=2),
    ),
)
SESSIONS = st.one_of(st.builds(SessionOpened, peer=WORDS), st.builds(SessionClosed, reason=WORDS))


def report(message_id: str, sent_us: int | None, payload: Any) -> pb.ClientMessage:
    """Make a message around a payload of any kind."""
    return message(message_id, sent_us=sent_us, **{KINDS[type(payload)]: payload})


MESSAGES = st.builds(report, MESSAGE_IDS, TIMES, st.one_of(HISTORY, STATES))
BATCHES = st.builds(
    report,
    st.just(""),
    st.none(),
    st.builds(
        pb.ClientBatch, messages=st.lists(st.builds(report, MESSAGE_IDS, TIMES, HISTORY), min_size=1, max_size=3)
    ),
)


@st.composite
def entries(draw: st.DrawFn) -> list[FrameEntry]:
    """What happens to two clients: any messages, at distinct instants, not in the order of their places."""
    bodies: list[Any] = draw(st.lists(st.one_of(MESSAGES, MESSAGES, BATCHES, SESSIONS), min_size=2, max_size=14))
    instants = draw(st.permutations(range(len(bodies))))
    made: list[FrameEntry] = []
    for position, (body, instant) in enumerate(zip(bodies, instants, strict=True), start=1):
        client_id = draw(st.sampled_from(["alpha", "beta"]))
        epoch = draw(st.integers(1, 2))
        received = START_US + instant
        if isinstance(body, pb.ClientMessage):
            made.append(entry(client_id, body, position=position, received_us=received, epoch=epoch))
        elif isinstance(body, SessionOpened):
            made.append(FrameEntry(client_id=client_id, epoch=epoch, received_at_us=received, opened=body))
        else:
            made.append(FrameEntry(client_id=client_id, epoch=epoch, received_at_us=received, closed=body))
    return made


def in_frames(happened: Sequence[FrameEntry]) -> list[StoredFrame]:
    """One frame for each; which gateway it came by goes by the epoch."""
    return [StoredFrame(frame(each, gateway_id=f"gateway-{each.epoch}")) for each in happened]


@pytest.fixture
def empty(connection: database.Connection) -> Callable[[], None]:
    """Empties all tables."""
    statement = b"; ".join(f"DELETE FROM {table}".encode() for table in TABLES)

    def run() -> None:
        connection.execute(statement)

    return run


@pytest.fixture
def pipelines(database_url: str) -> Iterator[list[Pipeline]]:
    """Three workers' pipelines into one database."""
    connections = [database.connect(database_url) for _ in range(3)]
    for each in connections:
        database.prepare(each)
    yield [Pipeline(each) for each in connections]
    for each in connections:
        each.close()


@settings(
    max_examples=int(os.environ.get("WORKER_EXAMPLES", "60")),
    deadline=None,
    derandomize="WORKER_EXAMPLES" not in os.environ,
    # The database is shared between examples on purpose, and emptied.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(happened=entries(), seed=st.integers(0, 2**32))
def test_any_order_any_split_and_any_repetition_end_the_same(
    happened: list[FrameEntry], seed: int, database_url: str, pipelines: list[Pipeline], empty: Callable[[], None]
) -> None:
    in_order = sorted(happened, key=lambda each: each.received_at_us)
    empty()
    for each in in_frames(in_order):
        pipelines[0].process([each])
    expected = dump(database_url)

    dice = random.Random(seed)
    shuffled = in_frames(happened) + in_frames([each for each in happened if dice.random() < 0.3])
    dice.shuffle(shuffled)
    empty()
    while shuffled:
        size = dice.randint(1, len(shuffled))
        dice.choice(pipelines).process(shuffled[:size])
        del shuffled[:size]

    assert dump(database_url) == expected


def test_workers_at_the_same_time_end_the_same(database_url: str, pipelines: list[Pipeline]) -> None:
    dice = random.Random(20251009)
    happened: list[FrameEntry] = []
    for number in range(600):
        sent = dice.choice([None, START_US + dice.randrange(100), START_US + 3600 * SECOND])
        update = pb.WalletUpdate(
            wallet_id=dice.choice("vw"), symbol=dice.choice(["BTC", "ETH"]), balance_available=str(number % 7)
        )
        report = message(f"m{dice.randrange(150)}", sent_us=sent, wallet_update=update)
        happened.append(
            entry(f"client-{dice.randrange(3)}", report, position=number + 1, received_us=START_US + number)
        )
    frames = in_frames(happened)
    for at in range(0, len(frames), 50):
        pipelines[0].process(frames[at : at + 50])
    expected = dump(database_url)
    assert len(expected["dead_letters"]) > 100
    pipelines[0].writer.connection.execute("TRUNCATE " + ", ".join(TABLES))

    def work(pipeline: Pipeline, mine: list[StoredFrame]) -> int:
        return sum(persist(pipeline, mine[at : at + 20]) for at in range(0, len(mine), 20))

    with ThreadPoolExecutor() as pool:
        workers: list[Future[int]] = []
        for pipeline in pipelines:
            # Each worker gets two thirds of the frames: most come to more than one.
            mine = [each for each in frames if dice.random() < 0.67] + frames[len(workers) :: 3]
            dice.shuffle(mine)
            workers.append(pool.submit(work, pipeline, mine))
    conflicts = sum(worker.result() for worker in workers)
    assert dump(database_url) == expected
    assert conflicts < 5, "they take locks in one order: a deadlock is the rare exception"


def persist(pipeline: Pipeline, frames: list[StoredFrame]) -> int:
    """Write as the worker does: what another transaction was in the way of is repeated; return how often."""
    for conflicts in itertools.count():
        try:
            pipeline.process(frames)
        except psycopg.Error as error:
            if database.fault_of(error) is not database.Fault.CONFLICT:
                raise
        else:
            return conflicts
    raise AssertionError("unreachable")
