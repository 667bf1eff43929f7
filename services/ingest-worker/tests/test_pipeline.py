"""What the tables hold after frames were written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.reports import START_US, dump, entry, frame, message, rows, timestamp

from crypto_streaming import pb
from ingest_worker.adapters import database
from ingest_worker.adapters.presence import PresenceListener
from ingest_worker.domain.decode import StoredFrame
from ingest_worker.pipeline import Pipeline
from service_kit.frames import FrameEntry, PresenceSnapshot, SessionClosed, SessionOpened

SECOND = 1_000_000
START = datetime.fromtimestamp(START_US / 1e6, UTC)
UINT256_MAX = str(2**256 - 1)


def one(url: str, table: str) -> dict[str, object]:
    (row,) = rows(url, table)
    return row


def process(pipeline: Pipeline, *entries: FrameEntry, gateway_id: str = "gateway-1") -> None:
    pipeline.process([StoredFrame(frame(*entries, gateway_id=gateway_id))])


def wallet(available: str = "", locked: str = "", last_sync_us: int | None = None) -> pb.WalletUpdate:
    return pb.WalletUpdate(
        wallet_id="w",
        symbol="BTC",
        balance_available=available,
        balance_locked=locked,
        last_sync=timestamp(last_sync_us),
    )


def test_a_wallet_keeps_the_latest_given_value_of_each_field(pipeline: Pipeline, database_url: str) -> None:
    updates = [
        ("m1", wallet("1", "0.5", START_US)),
        ("m2", wallet(UINT256_MAX, "", START_US + 2 * SECOND)),
        ("m3", wallet("9", "0.75", START_US + SECOND)),
    ]
    process(
        pipeline,
        *(
            entry("alpha", message(name, wallet_update=update), position=at, received_us=START_US + at)
            for at, (name, update) in enumerate(updates, start=1)
        ),
    )
    row = one(database_url, "wallets")
    assert row["balance_available"] == Decimal(UINT256_MAX)
    assert row["balance_locked"] == Decimal("0.75")
    assert row["last_sync"] == START + timedelta(seconds=2)
    assert row["updated_at"] == START + timedelta(microseconds=2)
    history = rows(database_url, "wallet_balances")
    assert [each["message_id"] for each in history] == ["m1", "m2", "m3"]
    assert history[1]["balance_locked"] is None


def test_a_clock_that_is_ahead_freezes_nothing(pipeline: Pipeline, database_url: str) -> None:
    ahead = message("m1", wallet_update=wallet("1", "", START_US + 3600 * SECOND))
    later = message("m2", wallet_update=wallet("2", "", START_US + 301 * SECOND))
    process(pipeline, entry("alpha", ahead, position=1))
    process(pipeline, entry("alpha", later, position=2, received_us=START_US + 301 * SECOND))
    assert one(database_url, "wallets")["balance_available"] == 2


def test_a_transaction_may_be_taken_back(pipeline: Pipeline, database_url: str) -> None:
    for at, status in enumerate(["pending", "confirmed", "", "pending"]):
        report = pb.TransactionReport(
            transaction_id="0xabc", type="deposit" if at == 0 else "", amount="1.000000000000000001", status=status
        )
        received = START_US + at
        process(
            pipeline,
            entry(
                "alpha",
                message(f"m{at}", sent_us=received, transaction=report),
                position=at + 1,
                received_us=received,
            ),
        )
    row = one(database_url, "transactions")
    assert (row["status"], row["type"], row["amount"]) == ("pending", "deposit", Decimal("1.000000000000000001"))
    assert (row["first_seen_at"], row["updated_at"]) == (START, START + timedelta(microseconds=3))
    assert len(rows(database_url, "transaction_events")) == 4


def test_errors_and_logs_are_appended(pipeline: Pipeline, database_url: str) -> None:
    sent = START_US - SECOND
    error = message("m1", sent_us=sent, error=pb.ErrorReport(severity="high", message="é", traceback="t" * 40_000))
    log = message("m1", log=pb.LogEntry(level="info", message="hello", extra_data="{}"))
    process(pipeline, entry("alpha", error), entry("alpha", log, position=2))
    stored = one(database_url, "client_errors")
    assert (stored["severity"], stored["message"], stored["traceback"]) == ("high", "é", "t" * 40_000)
    assert (stored["sent_at"], stored["received_at"]) == (START - timedelta(seconds=1), START)
    assert one(database_url, "client_logs")["sent_at"] is None


def test_the_extremes_of_time_are_kept(pipeline: Pipeline, database_url: str) -> None:
    first = pb.ClientMessage(message_id="a", timestamp=Timestamp(seconds=-62_135_596_800), log=pb.LogEntry())
    last = Timestamp(seconds=253_402_300_799, nanos=999_999_999)
    process(
        pipeline,
        entry("alpha", first),
        entry("alpha", pb.ClientMessage(message_id="b", timestamp=last, log=pb.LogEntry()), position=2),
    )
    assert [row["sent_at"] for row in rows(database_url, "client_logs")] == [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]


def test_acks_and_status_updates_set_the_status_unless_unknown(pipeline: Pipeline, database_url: str) -> None:
    said = [
        {"status": pb.StatusUpdate(status=pb.CLIENT_STATUS_ACTIVE, details="fine")},
        {"command_ack": pb.CommandAck(command_id="c1", success=True, current_status=pb.CLIENT_STATUS_PAUSED)},
        {"command_ack": pb.CommandAck(command_id="c2", success=True)},
        {"status": pb.StatusUpdate(details="still paused")},
    ]
    for at, payload in enumerate(said):
        sent = START_US + at * SECOND
        process(pipeline, entry("alpha", message(f"m{at}", sent_us=sent, **payload), position=at + 1, received_us=sent))
    row = one(database_url, "clients")
    assert (row["status"], row["status_details"]) == ("paused", "still paused")
    assert row["status_at"] == START + timedelta(seconds=1)


def test_a_registration_overwrites_what_it_gives(pipeline: Pipeline, database_url: str) -> None:
    first = pb.ClientRegistration(client_name="one", client_type="node", version="1", labels={"zone": "a", "é": "'"})
    second = pb.ClientRegistration(version="2", api_url="https://example.org")
    process(pipeline, entry("alpha", message("m1", sent_us=START_US, register=first)))
    process(pipeline, entry("alpha", message("m2", sent_us=START_US + 1, register=second), position=2))
    row = one(database_url, "clients")
    assert (row["client_name"], row["client_type"], row["version"]) == ("one", "node", "2")
    assert (row["api_url"], row["labels"]) == ("https://example.org", {"zone": "a", "é": "'"})


def test_a_session_belongs_to_the_greatest_epoch(pipeline: Pipeline, database_url: str) -> None:
    opened = SessionOpened(peer="10.0.0.1:5000")

    def at(epoch: int, offset: int, **body: SessionOpened | SessionClosed) -> FrameEntry:
        raw = FrameEntry(client_id="alpha", epoch=epoch, received_at_us=START_US + offset)
        for field, value in body.items():
            getattr(raw, field).CopyFrom(value)
        return raw

    process(pipeline, at(7, 20, opened=opened), gateway_id="gateway-2")
    process(pipeline, at(5, 10, opened=SessionOpened(peer="old")))
    process(pipeline, at(5, 30, closed=SessionClosed(reason="superseded")))
    row = one(database_url, "clients")
    assert (row["session_epoch"], row["gateway_id"], row["peer"]) == (7, "gateway-2", "10.0.0.1:5000")
    assert (row["closed_epoch"], row["close_reason"]) == (5, "superseded")
    assert row["connected_at"] == START + timedelta(microseconds=20)
    assert (row["first_seen_at"], row["last_seen_at"]) == (
        START + timedelta(microseconds=10),
        START + timedelta(microseconds=30),
    )


def test_presence_moves_last_seen_and_tells_of_newer_sessions(pipeline: Pipeline, database_url: str) -> None:
    opened = FrameEntry(client_id="alpha", epoch=5, received_at_us=START_US, opened=SessionOpened(peer="p"))
    process(pipeline, opened)
    listener = PresenceListener("presence")
    snapshot = PresenceSnapshot(gateway_id="gateway-2")
    snapshot.sessions.add(client_id="alpha", epoch=6, last_seen_us=START_US + SECOND)
    snapshot.sessions.add(client_id="beta", epoch=1, last_seen_us=START_US)
    snapshot.sessions.add(client_id="not valid", epoch=1, last_seen_us=START_US)
    snapshot.sessions.add(client_id="gamma", epoch=1, last_seen_us=2**63)
    snapshot.sessions.add(client_id="delta", epoch=0, last_seen_us=START_US)
    listener.add(snapshot)
    older = PresenceSnapshot(gateway_id="gateway-1")
    older.sessions.add(client_id="alpha", epoch=5, last_seen_us=START_US + 2 * SECOND)
    listener.add(older)
    pipeline.writer.write(listener.take())
    assert listener.take().clients == {}
    alpha, beta = rows(database_url, "clients")
    assert (alpha["session_epoch"], alpha["gateway_id"], alpha["connected_at"]) == (6, "gateway-2", None)
    assert alpha["last_seen_at"] == START + timedelta(seconds=2)
    assert (beta["client_id"], beta["session_epoch"], beta["first_seen_at"]) == ("beta", 1, None)
    process(
        pipeline,
        FrameEntry(client_id="alpha", epoch=6, received_at_us=START_US + 9, opened=SessionOpened(peer="q")),
        gateway_id="gateway-2",
    )
    assert rows(database_url, "clients")[0]["connected_at"] == START + timedelta(microseconds=9)


def test_doing_it_again_changes_nothing(pipeline: Pipeline, database_url: str) -> None:
    frames = [
        StoredFrame(
            frame(
                entry("alpha", message("m1", wallet_update=wallet("1"))),
                entry("alpha", message("m2", transaction=pb.TransactionReport(transaction_id="t")), position=2),
                entry("alpha", message("m3", wallet_update=wallet("x")), position=3),
                entry("alpha", message("m1", wallet_update=wallet("2")), position=4, received_us=START_US + 1),
            )
        )
    ]
    pipeline.process(frames)
    before = dump(database_url)
    pipeline.process(frames)
    assert dump(database_url) == before
    assert [letter["reason"] for letter in rows(database_url, "dead_letters")] == [
        "MESSAGE_ID_CONFLICT",
        "INVALID_AMOUNT",
    ]


@pytest.mark.parametrize("earlier_first", [True, False])
def test_of_two_contents_under_one_id_the_earlier_stands(
    pipeline: Pipeline, database_url: str, earlier_first: bool
) -> None:
    earlier = entry("alpha", message("m1", wallet_update=wallet("1")), position=1)
    later = entry("alpha", message("m1", wallet_update=wallet("2")), position=2, received_us=START_US + 1)
    for each in (earlier, later) if earlier_first else (later, earlier):
        process(pipeline, each)
    assert one(database_url, "wallets")["balance_available"] == 1
    assert one(database_url, "wallet_balances")["position"] == 1
    letter = one(database_url, "dead_letters")
    assert (letter["reason"], letter["position"]) == ("MESSAGE_ID_CONFLICT", 2)
    assert letter["payload"] == later.report


@pytest.mark.parametrize("m", ["m", "\u00e9 \\ %s \U0001f600"])
def test_values_of_a_displaced_copy_leave_no_trace(pipeline: Pipeline, database_url: str, m: str) -> None:
    process(pipeline, entry("alpha", message(f"{m}0", wallet_update=wallet("1")), position=1))
    process(
        pipeline, entry("alpha", message(f"{m}1", wallet_update=wallet("2", "3")), position=3, received_us=START_US + 3)
    )
    other_wallet = pb.WalletUpdate(wallet_id="v", symbol="BTC", balance_available="4")
    process(
        pipeline, entry("alpha", message(f"{m}1", wallet_update=other_wallet), position=2, received_us=START_US + 2)
    )
    other, same = rows(database_url, "wallets")
    assert (other["wallet_id"], other["balance_available"]) == ("v", 4)
    assert (same["wallet_id"], same["balance_available"], same["balance_locked"]) == ("w", 1, None)
    assert same["updated_at"] == START


def test_a_refused_message_is_found_and_the_rest_committed(
    pipeline: Pipeline, connection: database.Connection, database_url: str
) -> None:
    connection.execute("ALTER TABLE client_logs ADD CHECK (message <> 'poison')")
    connection.execute("ALTER TABLE wallet_balances ADD CHECK (balance_available <> 13)")
    texts = [f"line {number}" for number in range(40)]
    texts[17] = texts[30] = "poison"
    inner = [message(f"b{number}", wallet_update=wallet(str(number))) for number in range(20)]
    entries = [
        entry("alpha", message(f"m{at:02}", log=pb.LogEntry(message=text)), position=at + 1)
        for at, text in enumerate(texts)
    ]
    process(
        pipeline, *entries, entry("alpha", message(batch=pb.ClientBatch(messages=inner)), position=99), epoch_opened()
    )
    assert len(rows(database_url, "client_logs")) == 38
    assert len(rows(database_url, "wallet_balances")) == 19
    letters = rows(database_url, "dead_letters")
    assert [(letter["message_id"], letter["reason"]) for letter in letters] == [
        ("b13", "UNWRITABLE"),
        ("m17", "UNWRITABLE"),
        ("m30", "UNWRITABLE"),
    ]
    assert str(letters[1]["detail"]).startswith("23514: ")
    assert letters[1]["payload"] == entries[17].report
    assert {row["client_id"] for row in rows(database_url, "clients")} == {"alpha", "beta"}


def epoch_opened() -> FrameEntry:
    return FrameEntry(client_id="beta", epoch=1, received_at_us=START_US, opened=SessionOpened())


def test_a_frame_that_is_none_does_not_stop_the_others(pipeline: Pipeline, database_url: str) -> None:
    good = StoredFrame(frame(entry("alpha", message("m1", log=pb.LogEntry()))))
    pipeline.process([StoredFrame(b"\xff\xff", sequence=8, stored_us=START_US), good])
    assert len(rows(database_url, "client_logs")) == 1
    assert one(database_url, "dead_letters")["message_id"] == "frame-8"


def test_an_outage_is_nobodys_fault(pipeline: Pipeline, connection: database.Connection, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError) as raised:
        process(pipeline, entry("alpha", message("m1", log=pb.LogEntry())))
    assert database.fault_of(raised.value) is database.Fault.OUTAGE


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (psycopg.errors.DeadlockDetected(), "conflict"),
        (psycopg.errors.SerializationFailure(), "conflict"),
        (psycopg.errors.AdminShutdown(), "outage"),
        (psycopg.errors.CannotConnectNow(), "outage"),
        (psycopg.errors.TooManyConnections(), "outage"),
        (psycopg.errors.DiskFull(), "outage"),
        (psycopg.errors.ReadOnlySqlTransaction(), "outage"),
        (psycopg.errors.QueryCanceled(), "timeout"),
        (psycopg.errors.InternalError_(), "outage"),
        (psycopg.OperationalError("connection lost"), "outage"),
        (psycopg.InterfaceError("the connection is closed"), "outage"),
        (psycopg.errors.UndefinedTable(), "schema"),
        (psycopg.errors.InsufficientPrivilege(), "schema"),
        (psycopg.errors.NumericValueOutOfRange(), "data"),
        (psycopg.errors.CheckViolation(), "data"),
        (psycopg.errors.ProgramLimitExceeded(), "data"),
        (psycopg.DataError("can not be sent"), "data"),
        (TypeError("a bug of ours"), "data"),
    ],
)
def test_what_each_failure_means(error: Exception, fault: str) -> None:
    assert database.fault_of(error).value == fault


def test_the_longest_keys_fit_into_every_index(pipeline: Pipeline, database_url: str) -> None:
    # Characters that do not compress.
    key = "".join(chr(0x10000 + (number * 7919) % 50_000) for number in range(64))
    client = "c" * 128
    update = pb.WalletUpdate(wallet_id=key, symbol=key[::-1], balance_available="1")
    report = pb.TransactionReport(transaction_id=key, symbol=key, status=key, type=key)
    process(
        pipeline,
        entry(client, message(key, wallet_update=update)),
        entry(client, message(key, transaction=report), position=2),
    )
    assert one(database_url, "wallets")["symbol"] == key[::-1]
    assert one(database_url, "transactions")["transaction_id"] == key
    assert rows(database_url, "dead_letters") == []
