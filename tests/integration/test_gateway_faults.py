"""Gateways whose neighbours die, whose network fails, whose log is full."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.bare_client import BareCaller, BareClient, ignores
from support.frame_log import FrameLog
from support.nats import NatsServer
from support.processes import remove_directory
from support.services import GatewayProcess
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

from crypto_streaming import pb

RECEIPTS = (pb.CLIENT_CAPABILITY_RECEIPTS,)
QUICK = {"LEASE_SECONDS": 1.0, "EVICT_SECONDS": 1.3}


def new_id() -> str:
    return f"f-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def own_nats() -> Iterator[NatsServer]:
    """A NATS server to be hurt."""
    server = NatsServer()
    server.start()
    yield server
    server.kill9()
    remove_directory(server.directory)


def caller_at(gateway: GatewayProcess, request: pytest.FixtureRequest) -> BareCaller:
    caller = BareCaller(gateway.address)
    request.addfinalizer(caller.close)
    return caller


def client_at(
    gateway: GatewayProcess, request: pytest.FixtureRequest, client_id: str = "", **options: Any
) -> BareClient:
    """Connect a client and wait until it can be commanded from there."""
    client = BareClient(gateway.address, client_id or new_id(), **options)
    request.addfinalizer(client.close)
    with BareCaller(gateway.address) as caller:
        eventually(lambda: caller.reaches(client.client_id) and client.command_ids)
    return client


@pytest.mark.parametrize("accepted", [False, True], ids=["just sent", "sent a while ago"])
def test_the_death_of_the_holder_is_known_within_a_second_or_so(
    start_gateway: Any, request: pytest.FixtureRequest, accepted: bool
) -> None:
    holder, other = start_gateway(), start_gateway()
    caller = caller_at(other, request)
    client = client_at(holder, request, obeys=ignores)
    call = caller.start(client.client_id, "x1", timeout=20)
    eventually(lambda: "x1" in client.command_ids, interval=0.001)
    if accepted:
        # Its word that it has the command comes only when the ack takes a while.
        assert caller.execute(client.client_id, "x2", timeout=0.5).error == "COMMAND_TIMEOUT"
    holder.kill9()
    died = time.monotonic()
    assert call.result().error == "CLIENT_DISCONNECTED"
    assert time.monotonic() - died < 1.6
    assert client.ended() is grpc.StatusCode.UNAVAILABLE
    assert caller.execute(client.client_id).error == "CLIENT_NOT_CONNECTED"
    assert other.metrics()["gateway_ack_waits"] == 0


def test_a_client_whose_gateway_died_is_back_at_once_on_the_other_one(
    start_gateway: Any, request: pytest.FixtureRequest
) -> None:
    holder, other = start_gateway(), start_gateway()
    client = client_at(holder, request)
    holder.kill9()
    started = time.monotonic()
    again = client_at(other, request, client.client_id)
    assert time.monotonic() - started < 1, "a dead holder is not waited for"
    assert again.is_open


def test_a_gateway_cut_off_from_nats_does_not_command_a_client_that_has_moved(
    start_gateway: Any, nats_server: NatsServer, request: pytest.FixtureRequest
) -> None:
    with TcpProxy(nats_server.port) as proxy:
        stale = start_gateway(NATS_URL=f"nats://{proxy.address}", **QUICK)
        fresh = start_gateway(**QUICK)
        old = client_at(stale, request)
        bystander = client_at(stale, request)
        at_stale, at_fresh = caller_at(stale, request), caller_at(fresh, request)
        before = list(old.command_ids)
        proxy.blackhole()
        new = client_at(fresh, request, old.client_id)
        # From now on nothing may reach the stale stream: not from here, and not from the cut-off gateway itself.
        assert at_fresh.execute(old.client_id, "from-fresh", timeout=3).success
        assert at_stale.execute(old.client_id, "from-stale", timeout=4).error == "BUS_UNAVAILABLE"
        assert at_stale.send(old.client_id, "from-stale").error.startswith("BUS_UNAVAILABLE")
        assert old.is_open, "streams stay while NATS is away"
        assert bystander.is_open
        proxy.heal()
        assert old.ended() is grpc.StatusCode.ABORTED
        assert old.command_ids == before
        # Who has not moved is served again, and who has is found.
        eventually(lambda: at_stale.execute(bystander.client_id).success)
        assert at_fresh.execute(bystander.client_id).success
        eventually(lambda: at_stale.execute(old.client_id, "after").success)
        assert "after" in new.command_ids


def test_a_cut_of_the_connection_to_nats_is_survived(
    start_gateway: Any, nats_server: NatsServer, request: pytest.FixtureRequest
) -> None:
    with TcpProxy(nats_server.port) as proxy:
        gateway, other = start_gateway(NATS_URL=f"nats://{proxy.address}", **QUICK), start_gateway(**QUICK)
        staying, moving = client_at(gateway, request), client_at(gateway, request)
        here = caller_at(gateway, request)
        proxy.cut()
        moved = client_at(other, request, moving.client_id)
        eventually(lambda: here.execute(staying.client_id, timeout=3).error == "BUS_UNAVAILABLE")
        proxy.heal()
        assert moving.ended() is grpc.StatusCode.ABORTED
        eventually(lambda: here.execute(staying.client_id, timeout=3).success)
        eventually(lambda: here.execute(moved.client_id, timeout=3).success)
        assert gateway.metrics()["gateway_stale_sessions_total"] == 1


def test_nats_goes_away_and_comes_back(
    start_gateway: Any, own_nats: NatsServer, nats_namespace: str, request: pytest.FixtureRequest
) -> None:
    gateways = [start_gateway(NATS_URL=own_nats.url, **QUICK) for _ in range(2)]
    callers = [caller_at(gateway, request) for gateway in gateways]
    receipted = client_at(gateways[0], request, capabilities=RECEIPTS)
    receipted.first("welcome")
    silent = client_at(gateways[1], request)
    receipted.report("before")
    eventually(lambda: receipted.receipts == ["before"])
    own_nats.kill9()
    # Down: nothing is sent, the streams stay, what is reported is kept, health and liveness do not suffer.
    for caller in callers:
        for client in (receipted, silent):
            eventually(lambda caller=caller, client=client: caller.execute(client.client_id).error == "BUS_UNAVAILABLE")
            assert caller.send(client.client_id).error.startswith("BUS_UNAVAILABLE")
    receipted.report("during")
    silent.report("during")
    assert receipted.is_open
    assert silent.is_open
    with BareClient(gateways[0].address, new_id()) as refused:
        assert refused.ended() is grpc.StatusCode.UNAVAILABLE
    assert all(gateway.is_ready() for gateway in gateways)
    assert receipted.receipts == ["before"]
    own_nats.start()
    # Up again: everybody is found from everywhere, and nothing was lost.
    for caller in callers:
        for client in (receipted, silent):
            eventually(lambda caller=caller, client=client: caller.execute(client.client_id, timeout=3).success)
    eventually(lambda: receipted.receipts == ["before", "during"])
    log = FrameLog(own_nats.url, nats_namespace)
    eventually(lambda: [each.message_id for each in log.reports(silent.client_id) if each.message_id] == ["during"])
    assert [each.message_id for each in log.reports(receipted.client_id) if each.message_id] == ["before", "during"]
    assert receipted.is_open
    assert silent.is_open
    assert sum(gateway.metrics()["gateway_stale_sessions_total"] for gateway in gateways) == 0


def test_a_full_log_pushes_back_and_then_takes_everything(
    start_gateway: Any, nats_server: NatsServer, nats_namespace: str, request: pytest.FixtureRequest
) -> None:
    gateway = start_gateway(FRAMES_MAX_BYTES=1024 * 1024, STREAM_BUDGET_BYTES=512 * 1024, WINDOW_BYTES=512 * 1024)
    log = FrameLog(nats_server.url, nats_namespace)
    caller = caller_at(gateway, request)
    receipted = client_at(gateway, request, capabilities=RECEIPTS)
    receipted.first("welcome")
    silent = client_at(gateway, request)
    taken = log.entries(take=True)
    log.fill()
    ids = [f"m{number}" for number in range(60)]
    for message_id in ids:
        # 3 MB: more than the stream's budget and the transport's window together.
        silent.report(message_id, "x" * 50_000)
    for message_id in ids[:10]:
        receipted.report(message_id, "y" * 10_000)
    # The one is not read from any more; the other always is, so that commands to it go on.
    eventually(lambda: gateway.metrics()["gateway_streams_paused"] == 1)
    assert caller.execute(receipted.client_id).success
    waiting = caller.start(silent.client_id, "waits", timeout=30)
    eventually(lambda: "waits" in silent.command_ids)
    assert receipted.receipts == []
    assert gateway.metrics()["gateway_undurable_bytes"] < 2 * 1024 * 1024
    assert not waiting.done(), "its ack waits behind what is not read"
    found: list[pb.ClientMessage] = []

    def everything_arrived() -> bool:
        found.extend(pb.ClientMessage.FromString(e.report) for e in log.entries(take=True) if e.HasField("report"))
        return waiting.done() and len([each for each in found if each.message_id]) >= 70

    eventually(everything_arrived, timeout=20, interval=0.1)
    assert waiting.result().success
    # Frames that were refused may arrive in another order; each of them arrives once.
    eventually(lambda: sorted(receipted.receipts) == ids[:10])
    assert sorted(
        each.message_id for each in found if each.client_id == silent.client_id and each.message_id
    ) == sorted(ids)
    assert (
        sorted(each.message_id for each in found if each.client_id == receipted.client_id and each.message_id)
        == ids[:10]
    )
    assert taken
    eventually(lambda: gateway.metrics()["gateway_streams_paused"] == 0)


def test_a_silent_client_is_cut_and_one_that_is_heard_is_not(
    start_gateway: Any, request: pytest.FixtureRequest
) -> None:
    gateway = start_gateway(HEARTBEAT_SECONDS=0.3, LIVENESS_SECONDS=1.0)
    silent, alive = client_at(gateway, request), client_at(gateway, request)
    started = time.monotonic()

    def gone() -> bool:
        alive.say(heartbeat=pb.HeartbeatUpdate())
        return not silent.is_open

    eventually(gone, timeout=5, interval=0.1)
    assert silent.ended() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started > 0.7
    assert alive.is_open
    caller = caller_at(gateway, request)
    assert not caller.reaches(silent.client_id)
    assert caller.execute(alive.client_id).success


def test_a_client_that_does_not_read_is_ended_without_a_leak(
    start_gateway: Any, request: pytest.FixtureRequest
) -> None:
    """Its last write is stuck behind a full window, and so would be the status."""
    gateway = start_gateway(HEARTBEAT_SECONDS=0.3, LIVENESS_SECONDS=1.5)
    caller = caller_at(gateway, request)
    deaf = client_at(gateway, request)
    deaf.reading.clear()
    for number in range(20):
        caller.send(deaf.client_id, f"x{number}", pause=pb.PauseClientCommand(reason="x" * 200_000))
    waiting = caller.start(deaf.client_id, "waits", timeout=20)
    assert waiting.result().error == "CLIENT_NOT_CONNECTED", "it was never written"
    eventually(lambda: gateway.metrics()["gateway_streams_open"] == 0, timeout=3)
    assert not caller.reaches(deaf.client_id)
    # The same client is welcome again.
    deaf.close()
    again = client_at(gateway, request, deaf.client_id)
    assert caller.execute(again.client_id).success
    assert gateway.stop() == 0
