"""What the gateway makes of the bytes that clients and callers send, the worst included."""

from __future__ import annotations

import hashlib

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from crypto_streaming import pb
from crypto_streaming.errors import ErrorCode
from stream_gateway.crypto_contract import COMMANDS, KEPT_OF_OVERSIZED, NOTICES, REPORTS, CryptoContract
from stream_gateway.engine.contract import Command, Failure, Inbound, InboundKind, Welcome

LIMIT = 10_000
CONTRACT = CryptoContract(LIMIT)
WALLET = pb.WalletUpdate(wallet_id="w", symbol="ETH", balance_available="1")
# Field 999, length-delimited, "hello": no version knows it.
UNKNOWN_FIELD = b"\xba\x3e\x05hello"


def message(**fields: object) -> bytes:
    return pb.ClientMessage(**{"client_id": "c", "message_id": "m", **fields}).SerializeToString()  # pyright: ignore[reportArgumentType]


def parse(raw: bytes) -> Inbound:
    return CONTRACT.parse(raw, LIMIT)


def rejection(raw: bytes) -> str:
    inbound = parse(raw)
    assert inbound.kind is InboundKind.REJECTED
    assert inbound.rejected is not None
    assert inbound.rejected.length == len(raw)
    assert inbound.rejected.sha256 == hashlib.sha256(raw).digest()
    assert raw.startswith(inbound.rejected.payload)
    return inbound.rejected.reason


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"wallet_update": WALLET}, InboundKind.REPORT),
        ({"wallet_update": pb.WalletUpdate()}, InboundKind.REPORT),
        ({"transaction": pb.TransactionReport(transaction_id="t", amount="1e400")}, InboundKind.REPORT),
        ({"status": pb.StatusUpdate(status=pb.CLIENT_STATUS_PAUSED)}, InboundKind.REPORT),
        ({"error": pb.ErrorReport(message="e")}, InboundKind.REPORT),
        ({"log": pb.LogEntry(message="l")}, InboundKind.REPORT),
        ({"batch": pb.ClientBatch(messages=[pb.ClientMessage(wallet_update=WALLET)])}, InboundKind.REPORT),
        ({"heartbeat": pb.HeartbeatUpdate()}, InboundKind.HEARTBEAT),
        ({"register": pb.ClientRegistration(client_name="n")}, InboundKind.REGISTRATION),
        ({"command_ack": pb.CommandAck(command_id="x")}, InboundKind.ACK),
        ({"goodbye": pb.ClientGoodbye(reason="r")}, InboundKind.GOODBYE),
    ],
)
def test_each_kind_of_message_is_known(fields: dict[str, object], kind: InboundKind) -> None:
    inbound = parse(message(**fields))
    assert (inbound.kind, inbound.client_id, inbound.message_id) == (kind, "c", "m")


def test_every_payload_of_the_contract_has_a_kind() -> None:
    payloads = {field.name for field in pb.ClientMessage.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert payloads == REPORTS | {"heartbeat", "register", "command_ack", "goodbye", "batch"}
    commands = {field.name for field in pb.DjangoCommand.DESCRIPTOR.oneofs_by_name["command"].fields}
    assert commands == COMMANDS | NOTICES


def test_capabilities_are_read_and_unknown_ones_ignored() -> None:
    registration = pb.ClientRegistration(capabilities=[pb.CLIENT_CAPABILITY_RECEIPTS, 77])  # pyright: ignore[reportArgumentType]
    assert (parse(message(register=registration)).receipts, parse(message(register=registration)).reconnect) == (
        True,
        False,
    )
    registration = pb.ClientRegistration(capabilities=[pb.CLIENT_CAPABILITY_RECONNECT])
    assert (parse(message(register=registration)).receipts, parse(message(register=registration)).reconnect) == (
        False,
        True,
    )


def test_an_ack_is_handed_on_as_it_is() -> None:
    ack = pb.CommandAck(command_id="x", success=True, message="done", current_status=pb.CLIENT_STATUS_PAUSED)
    inbound = parse(message(command_ack=ack))
    assert inbound.command_id == "x"
    assert pb.CommandAck.FromString(inbound.ack) == ack
    assert CONTRACT.ack_succeeded(inbound.ack)


# Bad messages


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",
        b"not a message",
        b"\x0a\x05ab",  # says five bytes, holds two
        message(log=pb.LogEntry(message="AAAA")).replace(b"AAAA", b"A\xffAA"),
        b"\x0a\x01\xff",  # the client_id itself is not UTF-8
    ],
)
def test_what_is_not_a_message_is_rejected_whole(raw: bytes) -> None:
    assert rejection(raw) == "UNPARSABLE"
    inbound = parse(raw)
    assert inbound.rejected is not None
    assert (inbound.rejected.payload, inbound.client_id, inbound.message_id) == (raw, "", "")


@pytest.mark.parametrize("raw", [b"", message(), message(timestamp=Timestamp(seconds=1))])
def test_a_message_without_payload_is_rejected(raw: bytes) -> None:
    assert rejection(raw) == "NO_PAYLOAD"


def test_a_message_with_a_payload_of_the_future_is_rejected_as_such() -> None:
    raw = message() + UNKNOWN_FIELD
    assert rejection(raw) == "UNKNOWN_PAYLOAD"
    assert parse(raw).message_id == "m"


def test_unknown_fields_beside_a_known_payload_do_no_harm() -> None:
    assert parse(message(wallet_update=WALLET) + UNKNOWN_FIELD).kind is InboundKind.REPORT


def test_an_oversized_message_leaves_its_beginning_length_and_hash() -> None:
    fits = message(log=pb.LogEntry(message="x" * (LIMIT - 20)))
    raw = message(log=pb.LogEntry(message="x" * LIMIT))
    assert len(fits) <= LIMIT < len(raw)
    assert parse(fits).kind is InboundKind.REPORT
    assert rejection(raw) == "MESSAGE_TOO_LARGE"
    inbound = parse(raw)
    assert inbound.rejected is not None
    assert inbound.rejected.payload == raw[:KEPT_OF_OVERSIZED]
    assert (inbound.client_id, inbound.message_id, inbound.rejected.message_id) == ("c", "m", "m")


def test_a_rejected_message_does_not_bring_its_size_in_by_its_id() -> None:
    """Neither the frame nor a receipt may grow with it."""
    for raw in (message(message_id="m" * LIMIT, wallet_update=WALLET), message(message_id="m" * (LIMIT - 100))):
        inbound = parse(raw)
        assert inbound.rejected is not None
        assert (inbound.message_id, inbound.rejected.message_id) == ("", "")
        assert inbound.rejected.ByteSize() < len(inbound.rejected.payload) + 200


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (
            pb.ClientMessage(batch=pb.ClientBatch(messages=[pb.ClientMessage(wallet_update=WALLET)])),
            "MISPLACED_IN_BATCH",
        ),
        (pb.ClientMessage(command_ack=pb.CommandAck(command_id="x")), "MISPLACED_IN_BATCH"),
        (pb.ClientMessage(register=pb.ClientRegistration()), "MISPLACED_IN_BATCH"),
        (pb.ClientMessage(heartbeat=pb.HeartbeatUpdate()), "MISPLACED_IN_BATCH"),
        (pb.ClientMessage(goodbye=pb.ClientGoodbye()), "MISPLACED_IN_BATCH"),
        (pb.ClientMessage(message_id="without payload"), "MISPLACED_IN_BATCH"),
        (pb.ClientMessage(client_id="other", wallet_update=WALLET), "CLIENT_ID_MISMATCH"),
    ],
)
def test_what_may_not_be_in_a_batch_rejects_it_whole(inner: pb.ClientMessage, reason: str) -> None:
    good = pb.ClientMessage(client_id="c", wallet_update=WALLET)
    raw = message(batch=pb.ClientBatch(messages=[good, inner, good]))
    assert rejection(raw) == reason
    inbound = parse(raw)
    assert inbound.kind is not InboundKind.ACK
    assert inbound.message_id == "m", "it is stored as a dead letter, and the client is told"


def test_an_empty_batch_is_rejected() -> None:
    assert rejection(message(batch=pb.ClientBatch())) == "NO_PAYLOAD"


def test_names_in_a_batch_may_be_left_out_or_repeated() -> None:
    inner = [pb.ClientMessage(client_id=name, wallet_update=WALLET) for name in ("", "c")]
    assert parse(message(batch=pb.ClientBatch(messages=inner))).kind is InboundKind.REPORT
    # The client_id of the message itself may be empty after the first one; the batch then may name nobody.
    assert parse(message(client_id="", batch=pb.ClientBatch(messages=inner[:1]))).kind is InboundKind.REPORT
    assert rejection(message(client_id="", batch=pb.ClientBatch(messages=inner[1:]))) == "CLIENT_ID_MISMATCH"


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    inbound = parse(raw)
    assert (inbound.kind is InboundKind.REJECTED) == (inbound.rejected is not None)


@given(st.data())
def test_no_damage_to_a_message_is_too_strange(data: st.DataObject) -> None:
    raw = bytearray(message(batch=pb.ClientBatch(messages=[pb.ClientMessage(wallet_update=WALLET)] * 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    parse(bytes(raw))
    CONTRACT.parse_request(bytes(raw))


# Client ids


@pytest.mark.parametrize(
    "client_id",
    [
        "",
        "x" * 129,
        ".a",
        "-a",
        "a b",
        "a/b",
        "a\n",
        "ä",
        "a\x00",
        "a*",
        "a>",
        "a=b",
        "pause_all",
        "resume_all",
        "sync_all",
    ],
)
def test_a_bad_client_id_has_a_problem(client_id: str) -> None:
    assert CONTRACT.client_id_problem(client_id)
    request = pb.SendCommandRequest(client_id=client_id, command=pb.DjangoCommand(ping=pb.PingCommand()))
    failure = CONTRACT.parse_request(request.SerializeToString())
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.INVALID_COMMAND


@pytest.mark.parametrize("client_id", ["a", "A.b_c:d@e-f", "0", "x" * 128, "Pause_all"])
def test_a_good_client_id_has_none(client_id: str) -> None:
    assert CONTRACT.client_id_problem(client_id) is None


# Requests


def request(command: pb.DjangoCommand) -> bytes:
    return pb.SendCommandRequest(client_id="c", command=command).SerializeToString()


def test_a_request_becomes_a_command() -> None:
    command = CONTRACT.parse_request(request(pb.DjangoCommand(command_id="x", ping=pb.PingCommand(sequence=7))))
    assert isinstance(command, Command)
    assert (command.client_id, command.command_id, command.expires_at_us) == ("c", "x", 0)
    assert pb.DjangoCommand.FromString(command.payload).ping.sequence == 7


def test_an_empty_command_id_is_generated() -> None:
    ids: set[str] = set()
    for _ in range(10):
        command = CONTRACT.parse_request(request(pb.DjangoCommand(ping=pb.PingCommand())))
        assert isinstance(command, Command)
        assert pb.DjangoCommand.FromString(command.payload).command_id == command.command_id
        ids.add(command.command_id)
    assert len(ids) == 10
    assert "" not in ids


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xff",
        request(pb.DjangoCommand()),
        request(pb.DjangoCommand(command_id="x")),
        request(pb.DjangoCommand(welcome=pb.Welcome())),
        request(pb.DjangoCommand(receipt=pb.MessageReceipt(message_ids=["m"]))),
        request(pb.DjangoCommand(reconnect=pb.Reconnect())),
        request(pb.DjangoCommand(pause=pb.PauseClientCommand(reason="r" * LIMIT))),
        request(pb.DjangoCommand.FromString(UNKNOWN_FIELD)),
        request(pb.DjangoCommand(pause=pb.PauseClientCommand(reason="AAAA"))).replace(b"AAAA", b"A\xffAA"),
    ],
)
def test_what_is_no_command_is_invalid(raw: bytes) -> None:
    failure = CONTRACT.parse_request(raw)
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.INVALID_COMMAND
    assert failure.message
    ack = pb.CommandAck.FromString(CONTRACT.failed_ack("x", failure))
    assert (ack.command_id, ack.success, ack.error, ack.message) == ("x", False, "INVALID_COMMAND", failure.message)
    answer = pb.SendCommandResponse.FromString(CONTRACT.not_queued("c", "", failure))
    assert (answer.success, answer.error) == (False, f"INVALID_COMMAND: {failure.message}")


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (1_700_000_000, 500_000, 1_700_000_000_000_500),
        (0, 0, 1),
        (-1, 0, 1),
        (-(2**63), 0, 1),
        (2**63 - 1, 999_999_999, 2**63 - 1),
        (0, -(2**31), 1),
    ],
)
def test_any_expiry_can_travel(seconds: int, nanos: int, expected: int) -> None:
    command = CONTRACT.parse_request(
        request(pb.DjangoCommand(ping=pb.PingCommand(), expires_at=Timestamp(seconds=seconds, nanos=nanos)))
    )
    assert isinstance(command, Command)
    assert command.expires_at_us == expected


def test_not_connected_is_said_in_the_words_of_the_contract() -> None:
    failure = Failure(ErrorCode.CLIENT_NOT_CONNECTED, "whatever")
    answer = pb.SendCommandResponse.FromString(CONTRACT.not_queued("c", "x", failure))
    assert (answer.success, answer.error, answer.command_id) == (False, "Client c not connected", "x")
    answer = pb.SendCommandResponse.FromString(CONTRACT.queued("x"))
    assert (answer.success, answer.error, answer.command_id) == (True, "", "x")


# Notices


def test_notices_say_what_they_mean() -> None:
    terms = Welcome("g", 5, heartbeat=1.5, liveness=4.25, window_messages=3, window_bytes=4, max_message_bytes=6)
    welcome = pb.DjangoCommand.FromString(CONTRACT.welcome(terms)).welcome
    assert (welcome.gateway_id, welcome.epoch) == ("g", 5)
    assert (welcome.heartbeat_interval.ToMilliseconds(), welcome.liveness_timeout.ToMilliseconds()) == (1500, 4250)
    assert (welcome.window_messages, welcome.window_bytes, welcome.max_message_bytes) == (3, 4, 6)
    receipt = pb.DjangoCommand.FromString(CONTRACT.receipt(["a", "b"]))
    assert list(receipt.receipt.message_ids) == ["a", "b"]
    reconnect = pb.DjangoCommand.FromString(CONTRACT.reconnect(0.25, "why")).reconnect
    assert (reconnect.delay.ToMilliseconds(), reconnect.reason) == (250, "why")
    for notice in (CONTRACT.welcome(terms), CONTRACT.receipt(["a"]), CONTRACT.reconnect(1, "x")):
        assert pb.DjangoCommand.FromString(notice).command_id == ""


def test_noise_over_the_limit_is_kept_in_part() -> None:
    raw = b"\xff" * (LIMIT + 1)
    rejected = parse(raw).rejected
    assert rejected is not None
    assert rejected.reason == "UNPARSABLE"
    assert len(rejected.payload) < LIMIT
    assert rejected.length == len(raw)
