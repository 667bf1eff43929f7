"""One command to every connected client."""

from __future__ import annotations

import threading
from typing import Any, cast

import grpc
import pytest

from command_api import gateway as gateway_module
from command_api.django_settings import API
from command_api.fleet.models import Client
from crypto_streaming import pb


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("pause_all", "pause", {"reason": "r"}),
        ("resume_all", "resume", {"message": "m"}),
        ("sync_all", "sync_wallets", {"symbols": ["A"]}),
    ],
)
def test_every_connected_client_has_its_own_result(
    api: Any, gateway: Any, make: Any, path: str, kind: str, body: dict[str, Any]
) -> None:
    for client_id in ("good", "refuses", "left", "silent"):
        make.online_client(client_id)
    Client.objects.create(client_id="offline")
    released = threading.Event()

    def hang(_request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        context.add_callback(released.set)
        assert released.wait(10)
        return pb.CommandAck()

    gateway.answers.update(good=make.obey, refuses=make.failure("BUSY", "not now"), silent=hang)
    response = api.post(f"/commands/{path}/", {**body, "timeout": 0.5})
    assert response.status_code == 200
    answer = response.json()
    assert (answer["total"], answer["successful"], answer["failed"]) == (4, 1, 3)
    results = {result["client_id"]: result for result in answer["results"]}
    assert list(results) == ["good", "left", "refuses", "silent"]
    assert results["good"]["success"] is True
    assert {client_id: result["error"] for client_id, result in results.items()} == {
        "good": "",
        "refuses": "BUSY",
        "left": "CLIENT_NOT_CONNECTED",
        "silent": "COMMAND_TIMEOUT",
    }
    assert results["refuses"]["message"] == "not now"
    ids = [result["command_id"] for result in answer["results"]]
    assert len(set(ids)) == 4
    assert all(ids)
    assert {request.command.WhichOneof("command") for request in gateway.requests} == {kind}


def test_no_client_is_no_error(api: Any, gateway: Any) -> None:
    assert api.post("/commands/pause_all/").json() == {"total": 0, "successful": 0, "failed": 0, "results": []}


def test_a_row_that_is_no_client_does_not_stop_the_others(api: Any, gateway: Any, make: Any) -> None:
    for client_id in ("a", "b c", "d"):
        make.online_client(client_id)
    gateway.answers.update(a=make.obey, d=make.obey)
    results = api.post("/commands/pause_all/").json()["results"]
    assert [(result["client_id"], result["error"]) for result in results] == [
        ("a", ""),
        ("b c", "INVALID_COMMAND"),
        ("d", ""),
    ]


def test_many_clients_within_the_bound(api: Any, gateway: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more under way than allowed, and as many as allowed."""
    monkeypatch.setattr("command_api.fleet.bulk.API", API.model_copy(update={"bulk_concurrency": 8}))
    under_way, most = 0, 0
    lock = threading.Lock()
    full = threading.Event()

    def count(request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == 8:
                full.set()
        assert full.wait(10)
        with lock:
            under_way -= 1
        return cast("pb.CommandAck", make.obey(request, context))

    for number in range(200):
        make.online_client(f"c-{number:03}")
        gateway.answers[f"c-{number:03}"] = count
    answer = api.post("/commands/sync_all/").json()
    assert (answer["total"], answer["successful"]) == (200, 200)
    assert most == 8
    assert [result["client_id"] for result in answer["results"]] == [f"c-{number:03}" for number in range(200)]


def test_what_was_not_sent_in_time_is_said_so(
    api: Any, gateway: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("command_api.fleet.bulk.API", API.model_copy(update={"bulk_concurrency": 1}))
    released = threading.Event()

    def hang(_request: pb.SendCommandRequest, context: grpc.ServicerContext) -> pb.CommandAck:
        context.add_callback(released.set)
        assert released.wait(10)
        return pb.CommandAck()

    make.online_client("a")
    make.online_client("b")
    gateway.answers.update(a=hang, b=make.obey)
    answer = api.post("/commands/pause_all/", {"timeout": 0.3}).json()
    assert [result["error"] for result in answer["results"]] == ["COMMAND_TIMEOUT", "COMMAND_EXPIRED"]
    assert [request.client_id for request in gateway.requests] == ["a"]


def test_too_many_at_once_are_refused(api: Any, gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = gateway_module.WaitSlots(1, "bulk requests")
    monkeypatch.setattr(gateway_module, "BULK_SLOTS", slots)
    with slots.taken():
        response = api.post("/commands/pause_all/")
    assert (response.status_code, response.json()["code"]) == (503, "TOO_MANY_WAITING")
    assert api.post("/commands/pause_all/").status_code == 200
