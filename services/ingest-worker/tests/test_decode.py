"""What becomes of each message before the database sees it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from support.reports import START_US, entry, frame, message

from crypto_streaming import pb
from ingest_worker.domain.conflicts import rebuild
from ingest_worker.domain.decode import Decoder, StoredFrame, split
from ingest_worker.domain.rows import DeadLetter, Rows
from service_kit.frames import FrameEntry, Rejected


def wallet(available: str = "", locked: str = "", last_sync: Timestamp | None = None) -> pb.WalletUpdate:
    return pb.WalletUpdate(
        wallet_id="w", symbol="BTC", balance_available=available, balance_locked=locked, last_sync=last_sync
    )


def decode(*entries: FrameEntry) -> Rows:
    return Decoder().decode([StoredFrame(frame(*entries), sequence=7, stored_us=START_US)])


def only_letter(rows: Rows) -> DeadLetter:
    assert rows.wallet_balances.rows == {}
    assert rows.transaction_events.rows == {}
    assert rows.client_logs.rows == {}
    assert rows.client_errors.rows == {}
    (letter,) = rows.dead_letters.values()
    return letter


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        ({"wallet_update": pb.WalletUpdate(symbol="BTC")}, "INVALID_FIELD", "wallet_id is empty"),
        ({"wallet_update": pb.WalletUpdate(wallet_id="w")}, "INVALID_FIELD", "symbol is empty"),
        ({"wallet_update": wallet(locked="-1")}, "INVALID_AMOUNT", "balance_locked"),
        (
            {"wallet_update": wallet("1e400")},
            "INVALID_AMOUNT",
            "balance_available",
        ),
        (
            {"wallet_update": wallet(last_sync=Timestamp(seconds=2**40))},
            "INVALID_TIMESTAMP",
            "last_sync",
        ),
        ({"wallet_update": pb.WalletUpdate(wallet_id="w" * 257, symbol="B")}, "INVALID_FIELD", "wallet_id is longer"),
        ({"wallet_update": pb.WalletUpdate(wallet_id="€" * 86, symbol="B")}, "INVALID_FIELD", "wallet_id is longer"),
        ({"wallet_update": pb.WalletUpdate(wallet_id="w", symbol="B\0")}, "INVALID_FIELD", "symbol contains U+0000"),
        ({"transaction": pb.TransactionReport(type="deposit")}, "INVALID_FIELD", "transaction_id is empty"),
        ({"transaction": pb.TransactionReport(transaction_id="t", amount="NaN")}, "INVALID_AMOUNT", "amount"),
        (
            {"transaction": pb.TransactionReport(transaction_id="t", details="d" * 65_537)},
            "INVALID_FIELD",
            "details is longer",
        ),
        ({"error": pb.ErrorReport(severity="s" * 257)}, "INVALID_FIELD", "severity is longer"),
        ({"error": pb.ErrorReport(traceback="\0")}, "INVALID_FIELD", "traceback contains U+0000"),
        ({"log": pb.LogEntry(message="l" * 65_537)}, "INVALID_FIELD", "message is longer"),
        ({"status": pb.StatusUpdate(status=7)}, "INVALID_FIELD", "status 7 is not known"),  # pyright: ignore[reportArgumentType]
        ({"status": pb.StatusUpdate(details="\0")}, "INVALID_FIELD", "details contains U+0000"),
        ({"command_ack": pb.CommandAck(current_status=9)}, "INVALID_FIELD", "status 9"),  # pyright: ignore[reportArgumentType]
        ({"register": pb.ClientRegistration(client_name="n" * 257)}, "INVALID_FIELD", "client_name is longer"),
        ({"register": pb.ClientRegistration(labels={"a": "\0"})}, "INVALID_FIELD", "label contains U+0000"),
        ({}, "UNKNOWN_PAYLOAD", "no payload"),
    ],
)
def test_what_can_not_be_stored_is_a_dead_letter(payload: dict[str, Any], reason: str, words: str) -> None:
    bad = entry("alpha", message("m1", **payload), position=5)
    letter = only_letter(decode(bad))
    assert (letter.client_id, letter.message_id, letter.reason) == ("alpha", "m1", reason)
    assert words in letter.detail
    assert (letter.epoch, letter.position, letter.gateway_id) == (1, 5, "gateway-1")
    assert letter.payload == bad.report
    assert letter.payload_length == len(bad.report)


@pytest.mark.parametrize("nanos", [-1, 10**9])
def test_a_timestamp_outside_its_bounds_is_refused(nanos: int) -> None:
    report = pb.ClientMessage(message_id="m", timestamp=Timestamp(nanos=nanos), log=pb.LogEntry())
    assert only_letter(decode(entry("alpha", report))).reason == "INVALID_TIMESTAMP"


def test_texts_at_their_limits_are_stored() -> None:
    report = message("i" * 256, transaction=pb.TransactionReport(transaction_id="t" * 256, details="d" * 65_536))
    rows = decode(entry("alpha", report))
    assert rows.dead_letters == {}
    assert len(rows.transaction_events.rows) == 1


@pytest.mark.parametrize("message_id", ["i" * 257, "i\0"])
def test_an_unusable_message_id_is_replaced_in_the_dead_letter(message_id: str) -> None:
    letter = only_letter(decode(entry("alpha", message(message_id, log=pb.LogEntry()), position=3, epoch=2)))
    assert (letter.message_id, letter.reason) == ("~2.3", "INVALID_FIELD")
    assert letter.detail.startswith("message_id ")


def test_missing_ids_are_made_of_the_place() -> None:
    inner = [message(log=pb.LogEntry()), message("own", log=pb.LogEntry()), message(log=pb.LogEntry())]
    rows = decode(
        entry("alpha", message(log=pb.LogEntry()), position=4, epoch=3),
        entry("alpha", message(batch=pb.ClientBatch(messages=inner)), position=5, epoch=3),
    )
    assert sorted(key[1] for key in rows.client_logs.rows) == ["own", "~3.4", "~3.5.0", "~3.5.2"]


def test_a_batch_keeps_what_is_good_of_it() -> None:
    inner = [
        message("good", log=pb.LogEntry(message="1")),
        message("ack", command_ack=pb.CommandAck()),
        message("nested", batch=pb.ClientBatch()),
        message("other", log=pb.LogEntry()),
        message("bad", wallet_update=wallet(locked="x")),
        message("bad", wallet_update=wallet(locked="y")),
        message("good", log=pb.LogEntry(message="1")),
        message("good", log=pb.LogEntry(message="2")),
        message("good", error=pb.ErrorReport(message="ids are unique per kind")),
    ]
    inner[3].client_id = "beta"
    rows = decode(entry("alpha", message(batch=pb.ClientBatch(messages=inner)), position=2))
    assert [row[3] for row in rows.client_logs.rows.values()] == ["1"]
    assert len(rows.client_errors.rows) == 1
    assert {key[1]: letter.reason for key, letter in rows.dead_letters.items()} == {
        "ack": "MISPLACED_IN_BATCH",
        "nested": "MISPLACED_IN_BATCH",
        "other": "CLIENT_ID_MISMATCH",
        "bad": "INVALID_AMOUNT",
        "~1.2.5": "INVALID_AMOUNT",
        "~1.2.7": "MESSAGE_ID_CONFLICT",
    }
    assert set(rows.clients) == {"alpha"}


def test_what_the_gateway_rejected_is_passed_on() -> None:
    rejected = Rejected(
        reason="MESSAGE_TOO_LARGE", detail="too\0large", message_id="m", payload=b"abc", length=300_000, sha256=b"h"
    )
    raw = FrameEntry(client_id="alpha", epoch=1, position=2, received_at_us=START_US, rejected=rejected)
    rows = decode(raw)
    letter = only_letter(rows)
    assert letter[1] == "m"
    assert letter[3:8] == ("MESSAGE_TOO_LARGE", "too\ufffdlarge", b"abc", 300_000, b"h")
    assert "alpha" in rows.clients


def test_a_report_that_is_no_message_is_a_dead_letter() -> None:
    letter = only_letter(decode(entry("alpha", b"\xff\xff", position=9)))
    assert (letter.message_id, letter.reason, letter.payload) == ("~1.9", "UNPARSABLE", b"\xff\xff")


def test_a_frame_that_is_none_is_a_dead_letter() -> None:
    rows = Decoder().decode([StoredFrame(b"\xff\xff", sequence=12, stored_us=START_US)])
    letter = only_letter(rows)
    assert (letter.client_id, letter.message_id, letter.reason) == ("", "frame-12", "UNPARSABLE")
    assert rows.clients == {}


@pytest.mark.parametrize(
    "impossible",
    [
        FrameEntry(client_id="", position=1, report=b"x"),
        FrameEntry(client_id="not valid", position=1, report=b"x"),
        FrameEntry(client_id="alpha", epoch=2**63, report=b"x"),
        FrameEntry(client_id="alpha", position=2**63, report=b"x"),
        FrameEntry(client_id="alpha", received_at_us=2**63, report=b"x"),
    ],
)
def test_an_impossible_entry_costs_the_frame_nothing_else(impossible: FrameEntry) -> None:
    rows = decode(impossible, entry("alpha", message("m", log=pb.LogEntry())))
    (letter,) = rows.dead_letters.values()
    assert (letter.client_id, letter.message_id, letter.reason) == ("", "frame-7.0", "UNPARSABLE")
    assert len(rows.client_logs.rows) == 1


def test_a_fault_of_a_handler_costs_only_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setitem(Decoder.decode.__globals__["HANDLERS"], "error", broken)
    rows = decode(
        entry("alpha", message("m1", error=pb.ErrorReport())), entry("alpha", message("m2", log=pb.LogEntry()))
    )
    assert [letter.reason for letter in rows.dead_letters.values()] == ["UNWRITABLE"]
    assert len(rows.client_logs.rows) == 1


def test_heartbeats_and_goodbyes_say_that_the_client_is_there() -> None:
    rows = decode(
        entry("alpha", message("m1", heartbeat=pb.HeartbeatUpdate()), received_us=START_US + 5),
        entry("beta", message("m2", goodbye=pb.ClientGoodbye(reason="bye"))),
    )
    assert rows.dead_letters == {}
    assert set(rows.clients) == {"alpha", "beta"}


REPORTS = st.one_of(
    st.builds(
        pb.WalletUpdate,
        wallet_id=st.just("w"),
        symbol=st.just("BTC"),
        balance_available=st.sampled_from(["", "0", "1.50"]),
        last_sync=st.sampled_from([None, Timestamp(seconds=5, nanos=7000)]),
    ).map(lambda payload: ("wallet_balances", message("m", sent_us=START_US + 1, wallet_update=payload))),
    st.builds(
        pb.TransactionReport,
        transaction_id=st.just("t"),
        type=st.text(max_size=3).map(lambda text: text.replace("\0", "")),
        amount=st.sampled_from(["", "0", "7"]),
        details=st.just("d"),
    ).map(lambda payload: ("transaction_events", message("m", transaction=payload))),
    st.builds(pb.ErrorReport, severity=st.sampled_from(["", "high"])).map(
        lambda payload: ("client_errors", message("m", error=payload))
    ),
    st.builds(pb.LogEntry, extra_data=st.sampled_from(["", "{}"])).map(
        lambda payload: ("client_logs", message("m", sent_us=0, log=payload))
    ),
)


@given(REPORTS)
def test_a_row_holds_all_of_its_message(made: tuple[str, pb.ClientMessage]) -> None:
    table, report = made
    rows = decode(entry("alpha", report))
    (row,) = getattr(rows, table).rows.values()
    report.client_id = "alpha"
    assert rebuild(table, row) == report


def test_pieces_make_the_same_rows_as_their_frames() -> None:
    inner = [message("b1", log=pb.LogEntry(message="x")), message("", log=pb.LogEntry(message="y"))]
    stored = StoredFrame(
        frame(
            entry("alpha", message("m1", wallet_update=wallet(locked="3")), position=1),
            entry("alpha", message(batch=pb.ClientBatch(messages=inner)), position=2),
            entry("beta", b"\xff", position=3),
            FrameEntry(client_id="no id", report=b"x"),
        )
    )
    broken = StoredFrame(b"\xff", sequence=4)
    whole = Decoder().decode([stored, broken])
    pieces = split([stored, broken])
    assert len(pieces) == 6
    parts = Decoder().decode_pieces(pieces)
    assert parts.wallet_balances.rows == whole.wallet_balances.rows
    assert parts.client_logs.rows == whole.client_logs.rows
    assert parts.dead_letters == whole.dead_letters
    assert set(parts.clients) == set(whole.clients)
    buried = [Decoder().bury_piece(piece, "words").dead_letters.values() for piece in pieces]
    assert {letter.reason for letters in buried for letter in letters} == {"UNWRITABLE", "UNPARSABLE"}
