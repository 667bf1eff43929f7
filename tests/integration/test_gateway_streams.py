"""Client streams: who may open one, what ends it and what does not, what becomes of what the client says."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import Any

import grpc
import pytest
from support.bare_client import BareClient, ignores
from support.waiting import eventually

from crypto_streaming import pb
from service_kit.frames import FrameEntry

WALLET = pb.WalletUpdate(wallet_id="w", symbol="ETH", balance_available="1.5")
RECEIPTS = (pb.CLIENT_CAPABILITY_RECEIPTS,)
EVERYTHING = (pb.CLIENT_CAPABILITY_RECEIPTS, pb.CLIENT_CAPABILITY_RECONNECT)


def new_id() -> str:
    return f"s-{uuid.uuid4().hex[:8]}"


def connect(pair: Any, client_id: str = "", **options: Any) -> BareClient:
    client = BareClient(pair.gateways[0].address, client_id or new_id(), **options)
    eventually(lambda: pair.callers[0].reaches(client.client_id))
    return client


def entries(pair: Any, client_id: str) -> list[FrameEntry]:
    return [entry for entry in pair.log.entries() if entry.client_id == client_id]


def logged(pair: Any, client_id: str, *message_ids: str) -> bool:
    """Whether the log holds just these reports of the client, in this order."""
    reports = pair.log.reports(client_id)
    return [each.message_id for each in reports if each.message_id] == list(message_ids)


def still_works(pair: Any, client: BareClient) -> bool:
    return client.is_open and pair.callers[1].execute(client.client_id).success


# Opening


@pytest.mark.parametrize(
    "first",
    [
        b"\xff\xff\xff\xff",
        b"",
        pb.ClientMessage(heartbeat=pb.HeartbeatUpdate()).SerializeToString(),
        pb.ClientMessage(client_id="x" * 129, heartbeat=pb.HeartbeatUpdate()).SerializeToString(),
        pb.ClientMessage(client_id="a b", heartbeat=pb.HeartbeatUpdate()).SerializeToString(),
        pb.ClientMessage(client_id=".a", heartbeat=pb.HeartbeatUpdate()).SerializeToString(),
        pb.ClientMessage(client_id="päckchen", heartbeat=pb.HeartbeatUpdate()).SerializeToString(),
        pb.ClientMessage(client_id="pause_all", heartbeat=pb.HeartbeatUpdate()).SerializeToString(),
        pb.ClientMessage(client_id="AAAA", heartbeat=pb.HeartbeatUpdate())
        .SerializeToString()
        .replace(b"AAAA", b"A\xffAA"),
    ],
)
def test_who_does_not_say_who_it_is_is_refused(gateway_pair: Any, first: bytes) -> None:
    with BareClient(gateway_pair.gateways[0].address, "unused", registers=False) as client:
        client.send(first)
        assert client.ended() is grpc.StatusCode.INVALID_ARGUMENT
        assert client.details


def test_who_says_nothing_at_all_is_refused(gateway_pair: Any) -> None:
    with BareClient(gateway_pair.gateways[0].address, "unused", registers=False) as client:
        client.half_close()
        assert client.ended() is grpc.StatusCode.INVALID_ARGUMENT
    with BareClient(gateway_pair.gateways[0].address, "unused", registers=False) as client:
        started = time.monotonic()
        assert client.ended() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started > 0.5


@pytest.mark.parametrize(
    "payload",
    [
        {"heartbeat": pb.HeartbeatUpdate()},
        {"wallet_update": WALLET},
        {},
        {"command_ack": pb.CommandAck(command_id="x")},
    ],
)
def test_any_first_message_that_says_who_it_is_will_do(gateway_pair: Any, payload: dict[str, Any]) -> None:
    with BareClient(gateway_pair.gateways[0].address, new_id(), registers=False) as client:
        client.say("m1", **payload)
        eventually(lambda: gateway_pair.callers[1].reaches(client.client_id))


def test_the_log_tells_when_a_session_began_and_ended_and_from_where(gateway_pair: Any) -> None:
    # What a client claims comes before what Envoy saw, however long it is.
    metadata = (("x-forwarded-for", "192.0.2.7, " * 400 + "192.0.2.8"),)
    client = connect(gateway_pair, metadata=metadata)
    client.close()
    eventually(lambda: [e for e in entries(gateway_pair, client.client_id) if e.HasField("closed")])
    first, *_, last = entries(gateway_pair, client.client_id)
    assert first.opened.peer == "192.0.2.8"
    assert last.closed.reason == "disconnected"
    assert first.epoch == last.epoch > 0


# What ends a stream, and what does not


@pytest.mark.parametrize("other", ["somebody-else", "a b", "x" * 500])
def test_a_second_client_id_ends_the_stream(gateway_pair: Any, other: str) -> None:
    with connect(gateway_pair) as client:
        client.send(pb.ClientMessage(client_id=other, wallet_update=WALLET).SerializeToString())
        assert client.ended() is grpc.StatusCode.INVALID_ARGUMENT
        assert not gateway_pair.callers[0].reaches(client.client_id)
        assert entries(gateway_pair, other) == []


def test_no_bad_message_ends_the_stream_and_each_is_dead_lettered_and_counted(gateway_pair: Any) -> None:
    with connect(gateway_pair) as client:
        good = pb.ClientMessage(client_id=client.client_id, message_id="m", wallet_update=WALLET)
        inner_ack = pb.ClientBatch(messages=[pb.ClientMessage(command_ack=pb.CommandAck(command_id="x"))])
        nested = pb.ClientBatch(messages=[pb.ClientMessage(batch=pb.ClientBatch(messages=[good]))])
        foreign = pb.ClientBatch(messages=[pb.ClientMessage(client_id="other", wallet_update=WALLET)])
        bad: list[tuple[bytes, str]] = [
            (b"\xff\xff", "UNPARSABLE"),
            (b"", "NO_PAYLOAD"),
            (good.SerializeToString().replace(b"ETH", b"E\xffH"), "UNPARSABLE"),
            (pb.ClientMessage(client_id=client.client_id, message_id="m").SerializeToString(), "NO_PAYLOAD"),
            (b"\xba\x3e\x05hello", "UNKNOWN_PAYLOAD"),
            (pb.ClientMessage(batch=inner_ack).SerializeToString(), "MISPLACED_IN_BATCH"),
            (pb.ClientMessage(client_id=client.client_id, batch=nested).SerializeToString(), "MISPLACED_IN_BATCH"),
            (pb.ClientMessage(client_id=client.client_id, batch=foreign).SerializeToString(), "CLIENT_ID_MISMATCH"),
            (pb.ClientMessage(log=pb.LogEntry(message="x" * 256 * 1024)).SerializeToString(), "MESSAGE_TOO_LARGE"),
            (
                pb.ClientMessage(message_id="x" * 2_000_000, wallet_update=WALLET).SerializeToString(),
                "MESSAGE_TOO_LARGE",
            ),
            (pb.ClientMessage(log=pb.LogEntry(message="x" * 4_000_000)).SerializeToString(), "MESSAGE_TOO_LARGE"),
        ]
        metric = 'gateway_rejected_messages_total{reason="MESSAGE_TOO_LARGE"}'
        counted = gateway_pair.total(metric)
        for raw, _ in bad:
            client.send(raw)
        client.say("last", wallet_update=WALLET)
        eventually(lambda: logged(gateway_pair, client.client_id, "last"))
        rejected = [e.rejected for e in entries(gateway_pair, client.client_id) if e.HasField("rejected")]
        assert [each.reason for each in rejected] == [reason for _, reason in bad]
        for each, (raw, reason) in zip(rejected, bad, strict=True):
            assert each.length == len(raw)
            assert each.sha256 == hashlib.sha256(raw).digest()
            assert each.payload == (raw[:4096] if reason == "MESSAGE_TOO_LARGE" else raw)
        assert gateway_pair.total(metric) == counted + 3
        assert still_works(gateway_pair, client)


def test_a_message_that_the_transport_does_not_take_ends_the_stream(gateway_pair: Any) -> None:
    with connect(gateway_pair) as client:
        client.send(pb.ClientMessage(log=pb.LogEntry(message="x" * (4 * 1024 * 1024 + 1))).SerializeToString())
        assert client.ended() is not grpc.StatusCode.OK
        eventually(lambda: not gateway_pair.callers[0].reaches(client.client_id))
        with connect(gateway_pair, client.client_id) as again:
            assert still_works(gateway_pair, again)


def test_a_client_that_half_closes_still_receives_commands(gateway_pair: Any) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        waiting = gateway_pair.callers[1].start(client.client_id, "waits")
        eventually(lambda: "waits" in client.command_ids)
        client.half_close()
        assert waiting.result().error == "CLIENT_DISCONNECTED"
        for caller in gateway_pair.callers:
            assert caller.send(client.client_id, "after").success
            assert caller.execute(client.client_id).error == "CLIENT_NOT_CONNECTED"
        eventually(lambda: client.command_ids.count("after") == 2)


def test_goodbye_ends_the_stream_in_peace(gateway_pair: Any) -> None:
    with connect(gateway_pair) as client:
        client.say(goodbye=pb.ClientGoodbye(reason="done"))
        assert client.ended() is grpc.StatusCode.OK
        assert not gateway_pair.callers[1].reaches(client.client_id)
        eventually(lambda: entries(gateway_pair, client.client_id)[-1].closed.reason == "goodbye")


# Reports


def test_every_report_is_logged_once_in_order_as_it_came(gateway_pair: Any) -> None:
    with connect(gateway_pair) as client:
        ids = [f"m{number}" for number in range(300)]
        for message_id in ids:
            client.report(message_id, message_id * 10)
        eventually(lambda: logged(gateway_pair, client.client_id, *ids))
        reports = [each for each in gateway_pair.log.reports(client.client_id) if each.HasField("log")]
        assert [each.log.message for each in reports] == [message_id * 10 for message_id in ids]
        positions = [entry.position for entry in entries(gateway_pair, client.client_id) if entry.HasField("report")]
        assert positions == sorted(set(positions))


def test_acks_are_logged_and_heartbeats_are_not(gateway_pair: Any) -> None:
    with connect(gateway_pair) as client:
        client.say("h", heartbeat=pb.HeartbeatUpdate())
        gateway_pair.callers[1].execute(client.client_id, "x1")
        eventually(
            lambda: any(each.command_ack.command_id == "x1" for each in gateway_pair.log.reports(client.client_id))
        )
        assert not any(each.HasField("heartbeat") for each in gateway_pair.log.reports(client.client_id))


def test_a_client_without_capabilities_notices_nothing_of_the_extensions(gateway_pair: Any) -> None:
    with connect(gateway_pair) as client:
        client.say("m0", register=pb.ClientRegistration(client_name="again"))
        for number in range(100):
            client.report(f"m{number}")
        eventually(lambda: len(gateway_pair.log.reports(client.client_id)) >= 102)
        assert gateway_pair.callers[1].execute(client.client_id, "last").success
        extensions = {"welcome", "receipt", "reconnect", None}
        assert extensions.isdisjoint(each.WhichOneof("command") for each in client.received)
        for each in client.received:
            assert not each.HasField("expires_at")


def test_a_client_with_receipts_is_welcomed_and_told_what_is_durable(gateway_pair: Any) -> None:
    with connect(gateway_pair, capabilities=EVERYTHING) as client:
        welcome = client.first("welcome").welcome
        assert client.received[0].HasField("welcome"), "before any command"
        (opened, *_) = entries(gateway_pair, client.client_id)
        assert (welcome.epoch, welcome.window_messages) == (opened.epoch, 20)
        assert welcome.max_message_bytes == 256 * 1024
        assert welcome.heartbeat_interval.seconds == 30
        assert welcome.liveness_timeout.seconds == 90
        ids = [f"m{number}" for number in range(20)]
        for message_id in ids:
            client.report(message_id)
        eventually(lambda: client.receipts == ids)
        assert logged(gateway_pair, client.client_id, *ids)


def test_a_second_registration_brings_no_second_welcome(gateway_pair: Any) -> None:
    with connect(gateway_pair, capabilities=RECEIPTS) as client:
        client.say(register=pb.ClientRegistration(client_name="again", capabilities=RECEIPTS))
        client.report("m1")
        eventually(lambda: client.receipts == ["m1"])
        assert sum(each.HasField("welcome") for each in client.received) == 1


def test_a_client_that_keeps_to_its_window_is_never_refused(gateway_pair: Any) -> None:
    with connect(gateway_pair, capabilities=RECEIPTS) as client:
        window = client.first("welcome").welcome.window_messages
        for sent in range(500):
            eventually(lambda sent=sent: sent - len(client.receipts) < window, interval=0.001)
            client.report(f"m{sent}")
        eventually(lambda: len(client.receipts) == 500)
        assert len(set(client.receipts)) == 500


def test_a_client_that_overruns_its_window_is_ended(gateway_pair: Any) -> None:
    with connect(gateway_pair, capabilities=RECEIPTS) as client:
        client.first("welcome")
        for number in range(2000):
            client.report(f"m{number}")
        assert client.ended() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_client_that_does_not_read_its_receipts_is_held_to_its_window_too(gateway_pair: Any) -> None:
    with connect(gateway_pair, capabilities=RECEIPTS) as client:
        client.first("welcome")
        client.reading.clear()
        sent = 0

        def refused() -> bool:
            nonlocal sent
            for _ in range(5):
                # Receipts name this: they fill the transport's window soon.
                client.report(f"m{sent}-" + "x" * 20_000)
                sent += 1
            return gateway_pair.total('gateway_stream_ends_total{reason="window"}') > before

        before = gateway_pair.total('gateway_stream_ends_total{reason="window"}')
        eventually(refused)
        client.reading.set()


# Presence, and many


def test_presence_names_who_is_connected_and_when_it_was_last_heard(gateway_pair: Any) -> None:
    with connect(gateway_pair), connect(gateway_pair) as client:

        def presence() -> Any:
            snapshot = gateway_pair.log.presence(3)
            return next((each for each in snapshot.sessions if each.client_id == client.client_id), None)

        seen = eventually(presence)
        assert seen is not None
        assert abs(seen.last_seen_us / 1e6 - time.time()) < 5
        client.say(heartbeat=pb.HeartbeatUpdate())

        def heard_again() -> bool:
            again = presence()
            return again is not None and again.last_seen_us > seen.last_seen_us

        eventually(heard_again)
        client.close()
        eventually(lambda: presence() is None)


def test_hundreds_of_connections_leave_nothing_behind(gateway_pair: Any, nats_subscriptions: Any) -> None:
    eventually(lambda: gateway_pair.total("gateway_streams_open") == 0)
    before = nats_subscriptions()
    for turn in range(5):
        clients = [BareClient(gateway_pair.gateways[n % 2].address, f"many-{turn}-{n // 4}") for n in range(100)]
        eventually(lambda: gateway_pair.total("gateway_streams_open") == 25)
        for number, client in enumerate(clients):
            if number % 3 == 0 and client.is_open:
                client.say(goodbye=pb.ClientGoodbye())
            client.close()
        eventually(lambda: gateway_pair.total("gateway_streams_open") == 0)
    eventually(lambda: nats_subscriptions() <= before)
    assert gateway_pair.total("gateway_ack_waits") == 0
    eventually(lambda: gateway_pair.total("gateway_undurable_bytes") == 0)
