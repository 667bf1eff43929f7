"""Dead letters, tried again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.processes import inherited_environment
from support.reports import START_US, dump, entry, frame, message, rows

from crypto_streaming import pb
from ingest_worker.adapters import database
from ingest_worker.adapters.replay import Replay, Selection
from ingest_worker.domain.decode import StoredFrame
from ingest_worker.pipeline import Pipeline
from service_kit.frames import FrameEntry, Rejected


def wallet(available: str) -> pb.WalletUpdate:
    return pb.WalletUpdate(wallet_id="w", symbol="BTC", balance_available=available)


@pytest.fixture
def letters(pipeline: Pipeline, connection: database.Connection, database_url: str) -> None:
    """One letter that is good meanwhile, one that never will be, one of which too little is left."""
    connection.execute("ALTER TABLE wallet_balances ADD CONSTRAINT poison CHECK (balance_available <> 13)")
    whole = message("whole", log=pb.LogEntry(message="later understood")).SerializeToString()
    rejected = [
        Rejected(reason="UNKNOWN_PAYLOAD", message_id="whole", payload=whole, length=len(whole), sha256=b""),
        Rejected(reason="MESSAGE_TOO_LARGE", message_id="part", payload=b"abc", length=300_000, sha256=b""),
    ]
    pipeline.process(
        [
            StoredFrame(
                frame(
                    entry("alpha", message("m1", wallet_update=wallet("13")), position=1, received_us=START_US),
                    entry("alpha", message("m2", wallet_update=wallet("14")), position=2, received_us=START_US + 1),
                    entry("alpha", message("m3", wallet_update=wallet("x")), position=3, received_us=START_US + 2),
                    *(
                        FrameEntry(client_id="beta", epoch=1, position=at, received_at_us=START_US, rejected=each)
                        for at, each in enumerate(rejected, start=1)
                    ),
                )
            )
        ]
    )
    connection.execute("ALTER TABLE wallet_balances DROP CONSTRAINT poison")
    assert [(letter["message_id"], letter["reason"]) for letter in rows(database_url, "dead_letters")] == [
        ("m1", "UNWRITABLE"),
        ("m3", "INVALID_AMOUNT"),
        ("part", "MESSAGE_TOO_LARGE"),
        ("whole", "UNKNOWN_PAYLOAD"),
    ]


def replay(connection: database.Connection, *, dry_run: bool = False, **selection: object) -> dict[str, str]:
    chosen = Selection(**selection)  # pyright: ignore[reportArgumentType]  (the callers' names and values)
    return {each.letter.message_id: each.error for each in Replay(connection).run(chosen, dry_run=dry_run)}


@pytest.mark.usefixtures("letters")
def test_what_can_be_stored_now_is_stored_as_of_then(connection: database.Connection, database_url: str) -> None:
    outcome = replay(connection)
    assert set(outcome) == {"m1", "m3", "part", "whole"}
    assert outcome["m1"] == outcome["whole"] == ""
    assert outcome["m3"].startswith("INVALID_AMOUNT: ")
    assert "beginning" in outcome["part"]
    (latest,) = rows(database_url, "wallets")
    assert latest["balance_available"] == 14, "an older value takes its place behind newer ones"
    assert [row["message_id"] for row in rows(database_url, "wallet_balances")] == ["m1", "m2"]
    assert len(rows(database_url, "client_logs")) == 1
    stored = {letter["message_id"]: letter for letter in rows(database_url, "dead_letters")}
    assert stored["m1"]["replayed_at"] is not None
    assert stored["m3"]["replayed_at"] is None
    assert stored["m3"]["replay_error"] == outcome["m3"]
    before = dump(database_url)
    assert set(replay(connection)) == {"m3", "part"}
    assert dump(database_url) == before


@pytest.mark.usefixtures("letters")
def test_a_dry_run_changes_nothing(connection: database.Connection, database_url: str) -> None:
    before = dump(database_url)
    assert replay(connection, dry_run=True)["m1"] == ""
    assert dump(database_url) == before


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({"client_id": "beta"}, {"whole", "part"}),
        ({"reason": "INVALID_AMOUNT"}, {"m3"}),
        ({"client_id": "alpha", "reason": "MESSAGE_TOO_LARGE"}, set[str]()),
        ({"letter_id": -1}, set[str]()),
    ],
)
def test_letters_can_be_selected(
    connection: database.Connection, selection: dict[str, object], chosen: set[str]
) -> None:
    assert set(replay(connection, dry_run=True, **selection)) == chosen
    assert len(replay(connection, dry_run=True, limit=1)) == 1


@pytest.mark.usefixtures("letters")
def test_a_letter_that_someone_else_replays_is_left_alone(connection: database.Connection, database_url: str) -> None:
    with database.connect(database_url) as other, other.transaction():
        other.execute("SELECT FROM dead_letters WHERE message_id = 'm1' FOR UPDATE")
        assert set(replay(connection, client_id="alpha")) == {"m3"}


def test_a_conflict_stays_one(pipeline: Pipeline, connection: database.Connection, database_url: str) -> None:
    for at in (1, 2):
        report = message("m1", wallet_update=wallet(str(at)))
        pipeline.process([StoredFrame(frame(entry("alpha", report, position=at, received_us=START_US + at)))])
    before = dump(database_url)
    assert replay(connection)["m1"].startswith("MESSAGE_ID_CONFLICT: ")
    after = dump(database_url)
    assert {table: after[table] for table in after if table != "dead_letters"} == {
        table: before[table] for table in before if table != "dead_letters"
    }
    assert len(after["dead_letters"]) == 1


def test_a_frame_can_be_replayed(connection: database.Connection, database_url: str) -> None:
    good = frame(entry("alpha", message("m1", log=pb.LogEntry())))
    connection.execute(
        """INSERT INTO dead_letters (client_id, message_id, received_at, reason, payload, payload_length,
               payload_sha256, gateway_id, epoch, position)
           VALUES ('', 'frame-9', now(), 'UNPARSABLE', %s, %s, '', '', 0, 0)""",
        [good, len(good)],
    )
    assert replay(connection) == {"frame-9": ""}
    assert len(rows(database_url, "client_logs")) == 1


@pytest.mark.usefixtures("letters")
def test_the_command_line(database_url: str) -> None:
    def run(*arguments: str) -> tuple[int, list[dict[str, object]]]:
        done = subprocess.run(
            [sys.executable, "-m", "ingest_worker", "replay", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=inherited_environment() | {"WORKER_DATABASE_URL": database_url},
        )
        assert done.stderr == ""
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    status, lines = run("--client-id", "alpha", "--reason", "UNWRITABLE", "--limit", "5", "--dry-run")
    assert (status, [line["message_id"] for line in lines]) == (0, ["m1"])
    status, lines = run()
    assert status == 1
    assert {str(line["message_id"]): line["replayed"] for line in lines} == {
        "m1": True,
        "m3": False,
        "part": False,
        "whole": True,
    }
