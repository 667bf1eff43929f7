"""One command to one client: the answer's shape, and the code and status of everything that goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import pytest
from django.db import OperationalError, connection
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from prometheus_client import REGISTRY
from support.waiting import eventually

from command_api import gateway as gateway_module
from command_api.django_settings import API
from command_api.fleet import commands as commands_module
from command_api.fleet.models import Client
from crypto_streaming import COMMANDS, ERRORS, ErrorCode, pb


def obeyed(make: Any, request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
    return cast("pb.CommandAck", make.obey(request, context))


def test_an_action_answers_the_client_with_what_became_of_the_command(api: Any, gateway: Any, make: Any) -> None:
    make.online_client("c-1", client_name="One", status="active", labels={"env": "prod"})
    gateway.answers["c-1"] = make.obey
    response = api.post("/commands/c-1/pause/", {"reason": "Maintenance"})
    assert response.status_code == 200
    body = response.json()
    result = body["command_result"]
    assert set(result) == {"command_id", "success", "message", "status", "error"}
    assert result == {
        "command_id": result["command_id"],
        "success": True,
        "message": "done",
        "status": "paused",
        "error": "",
    }
    # The ack's word, not the database's.
    assert body["status"] == "paused"
    assert (body["client_id"], body["client_name"], body["labels"]) == ("c-1", "One", {"env": "prod"})
    (request,) = gateway.requests
    assert request.command.command_id == result["command_id"]
    assert request.command.pause.reason == "Maintenance"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("pause/", {"reason": "r"}, pb.DjangoCommand(pause=pb.PauseClientCommand(reason="r"))),
        ("pause/", None, pb.DjangoCommand(pause=pb.PauseClientCommand())),
        ("resume/", {"message": " m "}, pb.DjangoCommand(resume=pb.ResumeClientCommand(message=" m "))),
        ("ping/", {"sequence": -7}, pb.DjangoCommand(ping=pb.PingCommand(sequence=-7))),
        ("ping/?sequence=5", {"sequence": 6}, pb.DjangoCommand(ping=pb.PingCommand(sequence=6))),
        (
            "sync_wallets/",
            {"symbols": ["A", "B", "A"]},
            pb.DjangoCommand(sync_wallets=pb.SyncWalletsCommand(symbols=["A", "B"])),
        ),
        (
            "sync_wallets/?symbols=BTC,ETH",
            None,
            pb.DjangoCommand(sync_wallets=pb.SyncWalletsCommand(symbols=["BTC", "ETH"])),
        ),
        (
            "sync_wallets/?symbols=BTC,&symbols=%20ETH",
            None,
            pb.DjangoCommand(sync_wallets=pb.SyncWalletsCommand(symbols=["BTC", "ETH"])),
        ),
        ("sync_wallets/", {"symbols": []}, pb.DjangoCommand(sync_wallets=pb.SyncWalletsCommand())),
        (
            "request_status/?include_stats=true",
            None,
            pb.DjangoCommand(request_status=pb.RequestStatusCommand(include_stats=True)),
        ),
        (
            "request_status/",
            {"include_stats": True},
            pb.DjangoCommand(request_status=pb.RequestStatusCommand(include_stats=True)),
        ),
    ],
)
def test_arguments_come_from_the_body_or_the_query(
    api: Any, gateway: Any, make: Any, path: str, body: Any, expected: pb.DjangoCommand
) -> None:
    gateway.answers["c-1"] = make.obey
    assert api.post(f"/commands/c-1/{path}", body).status_code == 200
    sent = gateway.requests[0].command
    kind = sent.WhichOneof("command")
    assert kind == expected.WhichOneof("command")
    assert getattr(sent, kind) == getattr(expected, kind)


def test_every_command_of_the_contract_has_a_path(api: Any, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    for name in COMMANDS:
        assert api.post(f"/commands/c-1/{name}/").status_code == 200


def test_stats_and_results_are_passed_on(api: Any, gateway: Any) -> None:
    result = ParseDict({"a": [1, "b"]}, Struct())
    gateway.answers["c-1"] = lambda request, _context: pb.CommandAck(
        command_id=request.command.command_id, success=True, stats=pb.ClientStats(messages_sent=7), result=result
    )
    answer = api.post("/commands/c-1/request_status/", {"include_stats": True}).json()["command_result"]
    assert answer["stats"]["messages_sent"] == 7
    assert answer["stats"]["started_at"] is None
    assert answer["result"] == {"a": [1, "b"]}


def test_what_json_can_not_hold_does_not_hide_that_the_command_was_executed(api: Any, gateway: Any) -> None:
    unfit = Struct()
    unfit["x"] = float("nan")
    stats = pb.ClientStats()
    stats.started_at.seconds = 2**60
    gateway.answers["c-1"] = lambda request, _context: pb.CommandAck(
        command_id=request.command.command_id, success=True, result=unfit, stats=stats
    )
    response = api.post("/commands/c-1/ping/")
    assert response.status_code == 200
    assert response.json()["command_result"]["result"] is None
    assert response.json()["command_result"]["stats"]["started_at"] is None


def test_an_ack_without_a_status_leaves_the_known_one(api: Any, gateway: Any, make: Any) -> None:
    make.online_client("c-1", status="error")
    gateway.answers["c-1"] = lambda request, _context: pb.CommandAck(
        command_id=request.command.command_id, success=True
    )
    body = api.post("/commands/c-1/ping/").json()
    assert body["status"] == "error"
    assert body["command_result"]["status"] == "unknown"


def test_a_clients_own_refusal_is_200(api: Any, gateway: Any) -> None:
    gateway.answers["c-1"] = lambda request, _context: pb.CommandAck(
        command_id=request.command.command_id, message="not now", error="BUSY", current_status=pb.CLIENT_STATUS_ERROR
    )
    response = api.post("/commands/c-1/pause/")
    assert response.status_code == 200
    result = response.json()["command_result"]
    assert (result["success"], result["error"], result["message"]) == (False, "BUSY", "not now")
    assert response.json()["status"] == "error"


def test_a_client_that_the_database_has_not_heard_of_yet_is_commanded(api: Any, gateway: Any, make: Any) -> None:
    gateway.answers["new"] = make.obey
    body = api.post("/commands/new/ping/").json()
    assert (body["client_id"], body["online"], body["status"]) == ("new", True, "active")


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.GATEWAY_UNAVAILABLE])
def test_each_code_has_its_status(api: Any, gateway: Any, make: Any, code: ErrorCode) -> None:
    make.online_client("c-1")
    gateway.answers["c-1"] = make.failure(code.value, "words")
    response = api.post("/commands/c-1/ping/")
    assert response.status_code == ERRORS[code].http_status
    body = response.json()
    assert (body["code"], body["error"], body["client_id"]) == (code.value, "words", "c-1")
    assert body["command_id"] == gateway.requests[0].command.command_id
    assert ("nothing was sent" in body["detail"]) == ERRORS[code].outcome_known
    assert ("Retry-After" in response) == (response.status_code == 503)


def test_a_known_client_that_is_away_is_503_and_an_unknown_one_404(api: Any, gateway: Any, make: Any) -> None:
    Client.objects.create(client_id="away")
    known, unknown = api.post("/commands/away/ping/"), api.post("/commands/nobody/ping/")
    assert (known.status_code, known.json()["code"]) == (503, "CLIENT_NOT_CONNECTED")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "CLIENT_NOT_FOUND")


def test_a_gateway_that_can_not_be_reached_is_503(api: Any, gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = API.model_copy(update={"gateway_address": "127.0.0.1:1"})
    monkeypatch.setattr("command_api.gateway.API", closed)
    response = api.post("/commands/c-1/ping/", {"timeout": 2})
    assert (response.status_code, response.json()["code"]) == (503, "GATEWAY_UNAVAILABLE")
    assert "unknown" in response.json()["detail"]


def test_without_the_database_commands_still_work(
    api: Any, gateway: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_client_id: str) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(commands_module, "find_client", fail)
    gateway.answers["c-1"] = make.obey
    done, away = api.post("/commands/c-1/ping/"), api.post("/commands/c-2/ping/")
    assert (done.status_code, done.json()["command_result"]["success"]) == (200, True)
    # Not 404: the database could not be asked.
    assert (away.status_code, away.json()["code"]) == (503, "CLIENT_NOT_CONNECTED")


@pytest.mark.parametrize("where", ["query", "body"])
def test_the_timeout_is_the_deadline_of_the_call(api: Any, gateway: Any, make: Any, where: str) -> None:
    gateway.answers["c-1"] = make.obey
    response = (
        api.post("/commands/c-1/ping/?timeout=3", None)
        if where == "query"
        else api.post("/commands/c-1/ping/", {"timeout": 3})
    )
    assert response.status_code == 200
    # gRPC rounds a deadline up to its next unit.
    assert 2 < gateway.deadlines[0] < 3.1


def test_a_client_that_never_answers_is_504_when_the_time_is_over(api: Any, gateway: Any) -> None:
    released = threading.Event()

    def hang(_request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        context.add_callback(released.set)
        assert released.wait(10)
        return pb.CommandAck()

    gateway.answers["c-1"] = hang
    response = api.post("/commands/c-1/ping/", {"timeout": 0.2})
    assert (response.status_code, response.json()["code"]) == (504, "COMMAND_TIMEOUT")
    # The gateway was told, too: nothing is left behind.
    assert released.wait(5)


def test_a_ping_takes_one_statement(api: Any, gateway: Any, make: Any, statements: Callable[[], Any]) -> None:
    make.online_client("c-1")
    gateway.answers["c-1"] = make.obey
    with statements() as captured:
        assert api.post("/commands/c-1/ping/").status_code == 200
    assert len(captured) == 1, [query["sql"] for query in captured]


def test_no_connection_is_held_while_waiting(api: Any, gateway: Any, make: Any) -> None:
    """Also when the request needed the database before it sent the command (a session or token)."""
    arrived, released = threading.Event(), threading.Event()

    def wait(request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        arrived.set()
        assert released.wait(10)
        return obeyed(make, request, context)

    gateway.answers["c-1"] = wait

    def command() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return int(api.post("/commands/c-1/ping/", {"timeout": 10}).status_code)

    pool = cast("Any", connection).pool
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(command)
        assert arrived.wait(10)
        stats = pool.get_stats()
        assert stats["pool_available"] == stats["pool_size"]
        released.set()
        assert future.result(10) == 200


def test_outcomes_are_counted(api: Any, gateway: Any, make: Any) -> None:
    def count(outcome: str) -> float:
        return REGISTRY.get_sample_value("command_api_commands_total", {"command": "ping", "outcome": outcome}) or 0

    before = {outcome: count(outcome) for outcome in ("acked", "refused", "CLIENT_OVERLOADED")}
    gateway.answers["good"] = make.obey
    gateway.answers["bad"] = make.failure("OWN_REASON")
    gateway.answers["full"] = make.failure("CLIENT_OVERLOADED")
    for client_id in ("good", "bad", "full"):
        api.post(f"/commands/{client_id}/ping/")
    assert {outcome: count(outcome) - value for outcome, value in before.items()} == dict.fromkeys(before, 1)


def test_reads_are_answered_while_every_wait_is_taken(
    api: Any, gateway: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = gateway_module.WaitSlots(3, "commands")
    monkeypatch.setattr(gateway_module, "COMMAND_SLOTS", slots)
    released = threading.Event()

    def wait(request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        assert released.wait(20)
        return obeyed(make, request, context)

    gateway.answers["c-1"] = wait
    with ThreadPoolExecutor(3) as executor:
        waiting = [executor.submit(api.post, "/commands/c-1/ping/", {"timeout": 20}) for _ in range(3)]
        eventually(lambda: len(gateway.requests) == 3)
        refused = api.post("/commands/c-1/ping/")
        assert (refused.status_code, refused.json()["code"]) == (503, "TOO_MANY_WAITING")
        assert int(refused["Retry-After"]) >= 1
        assert len(gateway.requests) == 3
        assert api.get("/commands/").status_code == 200
        released.set()
        assert [future.result(10).status_code for future in waiting] == [200] * 3
    assert api.post("/commands/c-1/ping/").status_code == 200
