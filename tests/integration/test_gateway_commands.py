"""Commands, on the replica that holds the client and on the other one."""

from __future__ import annotations

import time
import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.bare_client import BareCaller, BareClient, ignores, refuses
from support.waiting import eventually

from crypto_streaming import pb

HERE, THERE = 0, 1
EVERYWHERE = pytest.mark.parametrize("at", [HERE, THERE], ids=["same replica", "other replica"])


def new_id() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


def connect(pair: Any, at: int = HERE, client_id: str = "", **options: Any) -> BareClient:
    """Connect a client to a replica, and wait until both know."""
    client = BareClient(pair.gateways[at].address, client_id or new_id(), **options)
    for caller in pair.callers:
        eventually(lambda caller=caller: caller.reaches(client.client_id))
    return client


def nothing_waits(pair: Any) -> bool:
    return pair.total("gateway_ack_waits") == 0


@EVERYWHERE
def test_a_command_is_executed_and_its_ack_comes_back_as_it_is(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair) as client:
        ack = gateway_pair.callers[at].execute(client.client_id, "x1", pause=pb.PauseClientCommand(reason="r"))
        assert ack == pb.CommandAck(command_id="x1", success=True, message="pause")
        assert client.received[-1] == pb.DjangoCommand(command_id="x1", pause=pb.PauseClientCommand(reason="r"))


@EVERYWHERE
def test_the_clients_own_refusal_is_no_failure_of_the_command(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=refuses) as client:
        ack = gateway_pair.callers[at].execute(client.client_id, "x1")
        assert (ack.success, ack.error, ack.message) == (False, "WALLET_LOCKED", "not now")


@EVERYWHERE
def test_sending_means_queued_and_generates_an_id(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        answer = gateway_pair.callers[at].send(client.client_id)
        assert (answer.success, answer.error) == (True, "")
        assert answer.command_id
        eventually(lambda: answer.command_id in client.command_ids)


@EVERYWHERE
def test_a_client_that_is_not_connected(gateway_pair: Any, at: int) -> None:
    started = time.monotonic()
    answer = gateway_pair.callers[at].send("nobody")
    assert (answer.success, answer.error) == (False, "Client nobody not connected")
    ack = gateway_pair.callers[at].execute("nobody", "x1")
    assert (ack.command_id, ack.success, ack.error) == ("x1", False, "CLIENT_NOT_CONNECTED")
    assert time.monotonic() - started < 1


@EVERYWHERE
def test_every_client_id_can_be_commanded(gateway_pair: Any, at: int) -> None:
    for client_id in ("A.b_c:d@e-f.0", "x" * 128):
        with connect(gateway_pair, client_id=client_id) as client:
            assert gateway_pair.callers[at].execute(client.client_id).success


@pytest.mark.parametrize(
    "request_",
    [
        b"\xff\xff",
        pb.SendCommandRequest(client_id="", command=pb.DjangoCommand(ping=pb.PingCommand())).SerializeToString(),
        pb.SendCommandRequest(client_id="a b", command=pb.DjangoCommand(ping=pb.PingCommand())).SerializeToString(),
        pb.SendCommandRequest(client_id="a").SerializeToString(),
        pb.SendCommandRequest(client_id="a", command=pb.DjangoCommand(welcome=pb.Welcome())).SerializeToString(),
        pb.SendCommandRequest(
            client_id="a", command=pb.DjangoCommand(pause=pb.PauseClientCommand(reason="x" * 300_000))
        ).SerializeToString(),
    ],
)
def test_what_is_no_command_is_said_to_be_none(gateway_pair: Any, request_: bytes) -> None:
    ack = pb.CommandAck.FromString(gateway_pair.callers[0].raw("ExecuteCommandSync", request_))
    assert (ack.success, ack.error) == (False, "INVALID_COMMAND")
    answer = pb.SendCommandResponse.FromString(gateway_pair.callers[0].raw("SendCommandToClient", request_))
    assert not answer.success
    assert answer.error.startswith("INVALID_COMMAND: ")


@EVERYWHERE
def test_no_ack_in_time(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        unknown = gateway_pair.total("gateway_unknown_acks_total")
        started = time.monotonic()
        ack = gateway_pair.callers[at].execute(client.client_id, "x1", timeout=0.5)
        assert (ack.success, ack.error) == (False, "COMMAND_TIMEOUT")
        assert 0.3 < time.monotonic() - started < 0.5, "before the caller's own deadline"
        eventually(lambda: nothing_waits(gateway_pair))
        client.ack("x1")
        eventually(lambda: gateway_pair.total("gateway_unknown_acks_total") == unknown + 1)
        assert client.is_open


@EVERYWHERE
def test_without_a_deadline_the_gateways_own_counts(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        started = time.monotonic()
        assert gateway_pair.callers[at].execute(client.client_id, timeout=None).error == "COMMAND_TIMEOUT"
        assert 0.9 < time.monotonic() - started < 2


@EVERYWHERE
@pytest.mark.parametrize("timeout", [1e6, 1e9])
def test_a_huge_deadline_is_a_deadline(gateway_pair: Any, at: int, timeout: float) -> None:
    with connect(gateway_pair) as client:
        assert gateway_pair.callers[at].execute(client.client_id, timeout=timeout).success


@EVERYWHERE
def test_an_expired_command_is_not_sent_and_a_far_expiry_is_none(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair) as client:
        caller = gateway_pair.callers[at]
        for seconds in (1, -(2**62)):
            assert (
                caller.execute(client.client_id, "late", expires_at=Timestamp(seconds=seconds)).error
                == "COMMAND_EXPIRED"
            )
            assert caller.send(client.client_id, "late", expires_at=Timestamp(seconds=seconds)).error.startswith(
                "COMMAND_EXPIRED"
            )
        assert caller.execute(client.client_id, "x", expires_at=Timestamp(seconds=2**62)).success
        assert "late" not in client.command_ids


@EVERYWHERE
def test_a_caller_that_goes_away_leaves_nothing_behind(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        calls = [gateway_pair.callers[at].start(client.client_id, f"x{number}") for number in range(3)]
        eventually(lambda: gateway_pair.total("gateway_ack_waits") == 3)
        for call in calls:
            call.cancel()
        eventually(lambda: nothing_waits(gateway_pair), timeout=2)


@EVERYWHERE
def test_a_client_that_disconnects_while_somebody_waits(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        call = gateway_pair.callers[at].start(client.client_id, "x1")
        eventually(lambda: "x1" in client.command_ids)
        started = time.monotonic()
        client.close()
        assert call.result().error == "CLIENT_DISCONNECTED"
        assert time.monotonic() - started < 1
        assert nothing_waits(gateway_pair)


@EVERYWHERE
def test_a_command_id_that_is_waiting_already(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        first = gateway_pair.callers[HERE].start(client.client_id, "x1")
        eventually(lambda: "x1" in client.command_ids)
        assert gateway_pair.callers[at].execute(client.client_id, "x1").error == "DUPLICATE_COMMAND"
        client.ack("x1")
        assert first.result().success
        assert client.command_ids.count("x1") == 1


@EVERYWHERE
def test_an_ack_of_another_client_is_nobodys(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client, connect(gateway_pair, at) as other:
        call = gateway_pair.callers[HERE].start(client.client_id, "x1", timeout=0.8)
        eventually(lambda: "x1" in client.command_ids)
        unknown = gateway_pair.total("gateway_unknown_acks_total")
        other.ack("x1")
        eventually(lambda: gateway_pair.total("gateway_unknown_acks_total") == unknown + 1)
        assert call.result().error == "COMMAND_TIMEOUT"
        assert other.is_open


@EVERYWHERE
def test_a_client_that_does_not_read_is_overloaded_at_last(gateway_pair: Any, at: int) -> None:
    with connect(gateway_pair, obeys=ignores) as client:
        client.reading.clear()
        caller = gateway_pair.callers[at]
        # What fills the transport's window, and then the queue.
        large = pb.PauseClientCommand(reason="x" * 200_000)
        answers = [caller.send(client.client_id, f"x{number}", pause=large) for number in range(12)]
        refused = [answer for answer in answers if not answer.success]
        assert refused
        assert all(answer.error.startswith("CLIENT_OVERLOADED") for answer in refused)
        assert caller.execute(client.client_id, "y").error == "CLIENT_OVERLOADED"
        accepted = [answer.command_id for answer in answers if answer.success]
        client.reading.set()
        eventually(lambda: [each for each in client.command_ids if each.startswith("x")] == accepted)


@pytest.mark.parametrize("to", [HERE, THERE], ids=["same replica", "other replica"])
def test_the_newest_stream_wins(gateway_pair: Any, to: int) -> None:
    with connect(gateway_pair, obeys=ignores) as old:
        waiting = gateway_pair.callers[THERE].start(old.client_id, "waits")
        eventually(lambda: "waits" in old.command_ids)
        started = time.monotonic()
        with BareClient(gateway_pair.gateways[to].address, old.client_id) as new:
            assert old.ended() is grpc.StatusCode.ABORTED
            assert "superseded" in old.details
            assert waiting.result().error == "CLIENT_DISCONNECTED"
            for caller in gateway_pair.callers:
                eventually(lambda caller=caller: caller.reaches(new.client_id))
                assert caller.execute(new.client_id).success
            assert time.monotonic() - started < 2, "the old holder was asked, not waited for"


def test_a_client_that_hops_between_replicas_is_always_found(gateway_pair: Any) -> None:
    client_id = new_id()
    clients: list[BareClient] = []
    for number in range(10):
        # Sometimes the old stream is still there, sometimes it is just going.
        if clients and number % 3:
            clients[-1].close()
        client = BareClient(gateway_pair.gateways[number % 2].address, client_id)
        clients.append(client)
        eventually(lambda client=client: gateway_pair.callers[0].reaches(client_id) and client.command_ids, timeout=3)
        assert gateway_pair.callers[1].execute(client_id).success
    for client in clients:
        client.close()


@EVERYWHERE
def test_many_commands_at_once_each_get_their_own_ack(gateway_pair: Any, at: int) -> None:
    clients = [connect(gateway_pair) for _ in range(8)]
    caller: BareCaller = gateway_pair.callers[at]
    for _ in range(5):
        calls = [(f"x{number}", caller.start(client.client_id, f"x{number}")) for number, client in enumerate(clients)]
        for command_id, call in calls:
            ack = call.result()
            assert (ack.command_id, ack.success) == (command_id, True)
    for client in clients:
        client.close()
    assert nothing_waits(gateway_pair)
