"""What no one should send: each gets a JSON answer that says what is wrong, and nothing is sent to a client."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client as HttpClient
from django.urls import path

from command_api import urls

PING = "/commands/c-1/ping/"
SYNC = "/commands/c-1/sync_wallets/"
PAUSE = "/commands/c-1/pause/"


def assert_is_error(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"].startswith("application/json")
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert body["error"]
    assert "detail" in body
    return body


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"\xff\xfe{}",
        b'{"sequence": NaN}',
        b'{"timeout": Infinity}',
        b"[]",
        b'"text"',
        b"null",
        b"17",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"sequence": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_a_body_that_is_not_a_json_object(api: Any, gateway: Any, body: bytes) -> None:
    assert_is_error(api.post(PING, body), 400, "PARSE_ERROR")
    assert_is_error(api.post("/commands/pause_all/", body), 400, "PARSE_ERROR")
    assert not gateway.requests


@pytest.mark.parametrize(
    ("target", "body", "field"),
    [
        (PAUSE, {"reason": 5}, "reason"),
        (PAUSE, {"reason": None}, "reason"),
        (PAUSE, {"reason": ["x"]}, "reason"),
        (PAUSE, {"reason": {"x": 1}}, "reason"),
        (PAUSE, {"reason": "a\0b"}, "reason"),
        (PAUSE, rb'{"reason": "\ud800"}', "reason"),
        (PAUSE, {"reason": "x" * 10_001}, "reason"),
        (PAUSE, {"reasn": "typo"}, "reasn"),
        (PAUSE, rb'{"\ud800": 1}', "\\ud800"),
        (PING, {"sequence": "one"}, "sequence"),
        (PING, {"sequence": 1.5}, "sequence"),
        (PING, {"sequence": True}, "sequence"),
        (PING, {"sequence": 2**31}, "sequence"),
        (PING, {"sequence": -(2**31) - 1}, "sequence"),
        (PING, {"sequence": []}, "sequence"),
        (SYNC, {"symbols": 5}, "symbols"),
        (SYNC, {"symbols": {"BTC": 1}}, "symbols"),
        (SYNC, {"symbols": [1]}, "symbols"),
        (SYNC, {"symbols": [["BTC"]]}, "symbols"),
        (SYNC, {"symbols": ["a\0b"]}, "symbols"),
        (SYNC, rb'{"symbols": ["\udfff"]}', "symbols"),
        (SYNC, {"symbols": ["x" * 129]}, "symbols"),
        (SYNC, {"symbols": [f"S{number}" for number in range(1001)]}, "symbols"),
        ("/commands/c-1/request_status/", {"include_stats": "perhaps"}, "include_stats"),
        ("/commands/c-1/request_status/", {"include_stats": []}, "include_stats"),
        ("/commands/pause_all/", {"labels": {"env": "prod"}}, "labels"),
        ("/commands/pause_all/?label=env%3Dprod", None, "label"),
    ],
)
def test_fields_of_wrong_types_or_sizes(api: Any, gateway: Any, target: str, body: Any, field: str) -> None:
    detail = assert_is_error(api.post(target, body), 400, "INVALID_REQUEST")["detail"]
    assert field in detail
    assert not gateway.requests


@pytest.mark.parametrize(
    "value", ["-1", "0", "-0.0", "nan", "inf", "-inf", "1e400", "60.001", "1e9", "soon", "", "0x10"]
)
def test_timeouts_out_of_range(api: Any, gateway: Any, value: str) -> None:
    assert "timeout" in assert_is_error(api.post(f"{PING}?timeout={value}"), 400, "INVALID_REQUEST")["detail"]
    assert "timeout" in assert_is_error(api.post(PING, {"timeout": value}), 400, "INVALID_REQUEST")["detail"]
    assert not gateway.requests


@pytest.mark.parametrize("value", [-1, 0, 1e9, True, None, [], {}, [1], 10**400])
def test_timeouts_that_are_no_numbers_of_seconds(api: Any, gateway: Any, value: Any) -> None:
    assert "timeout" in assert_is_error(api.post(PING, {"timeout": value}), 400, "INVALID_REQUEST")["detail"]
    assert not gateway.requests


@pytest.mark.parametrize(
    "client_id", ["%00", "a%00b", "%ff", "-x", ".x", "a%20b", "x" * 129, "%ED%A0%80", "a'b", "<script>", "%E2%82%AC"]
)
def test_strange_client_ids(api: Any, gateway: Any, client_id: str) -> None:
    assert_is_error(api.post(f"/commands/{client_id}/ping/"), 400, "INVALID_COMMAND")
    assert_is_error(api.get(f"/commands/{client_id}/"), 404, "CLIENT_NOT_FOUND")
    assert not gateway.requests


@pytest.mark.parametrize("client_id", ["a.b", "a:b", "a@b", "a_b-c", "x" * 128, "0"])
def test_unusual_but_valid_client_ids(api: Any, gateway: Any, make: Any, client_id: str) -> None:
    gateway.answers[client_id] = make.obey
    assert api.post(f"/commands/{client_id}/ping/").json()["client_id"] == client_id


@pytest.mark.parametrize("name", ["pause_all", "resume_all", "sync_all"])
def test_names_of_routes_are_no_clients(api: Any, gateway: Any, name: str) -> None:
    assert_is_error(api.get(f"/commands/{name}/"), 405, "METHOD_NOT_ALLOWED")
    assert_is_error(api.post(f"/commands/{name}/ping/"), 400, "INVALID_COMMAND")
    assert not gateway.requests


def test_other_content_types_are_415(api: Any, gateway: Any) -> None:
    for content_type in (
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "nonsense",
    ):
        response = api.http.post(f"/api/crypto{PING}", data=b"reason=x", content_type=content_type)
        assert_is_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert not gateway.requests


def test_other_methods_are_405(api: Any, gateway: Any) -> None:
    assert_is_error(api.get(PING), 405, "METHOD_NOT_ALLOWED")
    assert_is_error(api.http.delete("/api/crypto/commands/"), 405, "METHOD_NOT_ALLOWED")
    assert_is_error(api.http.post("/api/crypto/wallets/"), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "target", ["/commands/c-1", "/commands/c-1/ping", "/nothing/", "/wallets/x/", "/commands/c-1/dance/"]
)
def test_unknown_paths_are_404(api: Any, gateway: Any, target: str) -> None:
    assert_is_error(api.post(target), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "query",
    [
        "status=sleeping",
        "status=%00",
        "search=%00",
        "search=" + "x" * 201,
        "label=env",
        "label==prod",
        "label=a%00%3Db",
        "label=a%3D%00",
        "all=perhaps",
        "limit=0",
        "limit=-1",
        "limit=5001",
        "limit=many",
        "stauts=active",
        "&".join(["label=a%3Db"] * 21),
    ],
)
def test_filters_of_clients_that_make_no_sense(api: Any, query: str) -> None:
    assert_is_error(api.get(f"/commands/?{query}"), 400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "query",
    [
        "client=%00",
        "symbol=" + "x" * 1001,
        "updated_after=yesterday",
        "updated_after=0001-01-01T00:00:00%2B14:00",
        "updated_before=9999-12-31T23:59:59-14:00",
        "updated_after=2026-13-01T00:00:00Z",
        "limit=1001",
        "amount=1",
    ],
)
@pytest.mark.parametrize("target", ["/wallets/", "/transactions/"])
def test_filters_of_rows_that_make_no_sense(api: Any, target: str, query: str) -> None:
    assert_is_error(api.get(f"{target}?{query}"), 400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%00",
        "bnVsbA",
        "W10",
        "WzFd",
        "WyJcdTAwMDAiXQ",
        "WyJcdWQ4MDAiXQ",
        "Wy" * 3000,
        "W1tbW1tb",
        "WyIyMDI2LTAxLTAxIiwxXQ",
    ],
)
@pytest.mark.parametrize("target", ["/commands/", "/wallets/", "/transactions/"])
def test_cursors_that_are_none(api: Any, target: str, cursor: str) -> None:
    response = api.get(f"{target}?cursor={cursor}")
    assert response.status_code == 400, response.content
    assert response.json()["code"] in {"INVALID_CURSOR", "INVALID_REQUEST"}


@pytest.mark.parametrize(
    "target", ["/wallets/0/", "/wallets/99999999999999999999999999/", "/transactions/18446744073709551616/"]
)
def test_rows_that_are_not_there(api: Any, target: str) -> None:
    assert_is_error(api.get(target), 404, "NOT_FOUND")


def test_an_unknown_host_is_refused(api: Any) -> None:
    assert_is_error(HttpClient(SERVER_NAME="evil.example").get("/api/crypto/commands/"), 400, "INVALID_REQUEST")


def test_a_bug_of_ours_is_json_too(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_request: Any) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urls, "urlpatterns", [*urls.urlpatterns, path("broken/", broken)])
        from django.urls import clear_url_caches

        clear_url_caches()
        assert_is_error(api.http.get("/broken/"), 500, "INTERNAL_ERROR")
    clear_url_caches()
