"""Which clients are listed, and in what pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.db import OperationalError
from rest_framework.serializers import ModelSerializer

from command_api.django_settings import API
from command_api.fleet import views
from command_api.fleet.models import Client
from command_api.fleet.queries import online_filter
from command_api.fleet.serializers import ClientSerializer, client_json

NEXT = re.compile(r'<(http://[^>]+)>; rel="next"')


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [client["client_id"] for client in response.json()]


def test_the_list_is_an_array_of_connected_clients(api: Any, make: Any) -> None:
    make.online_client(
        "b", client_name="Bee", client_type="evm", version="1.2", labels={"env": "prod"}, status="paused"
    )
    make.online_client("a")
    Client.objects.create(client_id="offline")
    response = api.get("/commands/")
    assert ids(response) == ["a", "b"]
    bee = response.json()[1]
    expected = {
        "client_name": "Bee",
        "client_type": "evm",
        "version": "1.2",
        "labels": {"env": "prod"},
        "status": "paused",
    }
    assert {name: bee[name] for name in expected} == expected
    assert bee["connected_at"].endswith("Z")
    assert bee["last_seen_at"].endswith("Z")
    assert bee["online"] is True
    assert not [name for name in bee if name.endswith("_order")]
    assert "Link" not in response


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("all=true", ["a-1", "b-2", "gone"]),
        ("all=false", ["a-1", "b-2"]),
        ("status=paused", ["b-2"]),
        ("status=", ["a-1", "b-2"]),
        ("status=stopped&all=true", ["gone"]),
        ("search=A-", ["a-1"]),
        ("search=wallet", ["b-2"]),
        ("search=100%25_", []),
        ("label=env%3Dprod", ["a-1", "b-2"]),
        ("label=env%3Dprod&label=zone%3Deu", ["b-2"]),
        ("label=env%3D", []),
        ("label=x%3Da%3Db", ["a-1"]),
        ("search=2&status=active", []),
        ("format=json", ["a-1", "b-2"]),
    ],
)
def test_filters(api: Any, make: Any, query: str, expected: list[str]) -> None:
    make.online_client("a-1", status="active", labels={"env": "prod", "x": "a=b"})
    make.online_client("b-2", status="paused", labels={"env": "prod", "zone": "eu"}, client_name="My Wallet 2")
    Client.objects.create(client_id="gone", status="stopped")
    assert ids(api.get(f"/commands/?{query}")) == expected


def test_pages_follow_their_links(api: Any, make: Any) -> None:
    names = [f"c-{number:02}" for number in range(7)] + ["Z", "a:b"]
    for name in names:
        make.online_client(name, labels={"env": "prod"})
    make.online_client("other")
    seen: list[str] = []
    target = "/commands/?limit=2&label=env%3Dprod&search="
    while True:
        response = api.get(target)
        page = ids(response)
        assert len(page) <= 2
        seen += page
        link = NEXT.search(response.get("Link", ""))
        if link is None:
            break
        target = link.group(1).partition("/api/crypto")[2]
        assert "label=env%3Dprod" in target
    # Bytewise, as the database sorts keys.
    assert seen == sorted(names)
    assert 'rel="first"' in response["Link"]


def test_a_page_that_ends_with_the_last_row_has_no_next(api: Any, make: Any) -> None:
    for name in ("a", "b"):
        make.online_client(name)
    assert "Link" not in api.get("/commands/?limit=2")


def test_one_client_online_or_not(api: Any) -> None:
    Client.objects.create(client_id="c-1", status="error", status_details="boom")
    body = api.get("/commands/c-1/").json()
    assert (body["client_id"], body["status"], body["status_details"], body["online"]) == (
        "c-1",
        "error",
        "boom",
        False,
    )


def test_online_is_one_rule_in_sql_and_python(rows: None) -> None:
    """Over every combination of sessions, moments on both sides of each limit, and ways to leave."""
    now = datetime.now(UTC)
    timeout, grace = timedelta(seconds=API.online_timeout), timedelta(seconds=API.offline_grace)
    step = timedelta(seconds=1)
    sessions = [(0, 0), (1, 0), (2, 2), (2, 5)]
    seen = [None, now, now - timeout, now - timeout - step]
    gone = [None, now, now - grace, now - grace - step]
    reasons = ["", "superseded", "goodbye"]
    made = [
        Client(
            client_id=f"c-{number}",
            session_epoch=session,
            closed_epoch=closed,
            last_seen_at=last_seen,
            disconnected_at=disconnected,
            close_reason=reason,
        )
        for number, ((session, closed), last_seen, disconnected, reason) in enumerate(
            product(sessions, seen, gone, reasons)
        )
    ]
    Client.objects.bulk_create(made)
    in_sql = set(Client.objects.filter(online_filter(now)).values_list("client_id", flat=True))
    in_python = {client.client_id for client in made if client.is_online(now, timeout=timeout, grace=grace)}
    assert in_sql == in_python
    assert 0 < len(in_sql) < len(made)
    assert Client(session_epoch=2, closed_epoch=1, last_seen_at=now).is_online(now, timeout=timeout, grace=grace)
    left = Client(session_epoch=1, closed_epoch=1, last_seen_at=now, disconnected_at=now, close_reason="goodbye")
    assert not left.is_online(now, timeout=timeout, grace=grace)


def test_without_the_database_reads_are_503(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_client_id: str) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(views, "find_client", fail)
    response = api.get("/commands/c-1/")
    assert (response.status_code, response.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert "Retry-After" in response


def test_the_browsable_pages_render(api: Any, make: Any) -> None:
    make.online_client("c-1")
    for target in (
        "/commands/",
        "/commands/c-1/",
        "/commands/c-1/ping/",
        "/commands/pause_all/",
        "/wallets/",
        "/transactions/",
    ):
        response = api.get(target, headers={"accept": "text/html"})
        assert response["Content-Type"].startswith("text/html"), target
        assert response.status_code in {200, 405}


def test_what_is_shown_is_what_the_schema_says(rows: None) -> None:
    """`client_json` writes by hand what `ClientSerializer` declares; DRF would write the same."""
    now = datetime.now(UTC)
    client = Client(
        client_id="c-1", labels={"a": "b"}, status_at=now, connected_at=now, last_seen_at=now.replace(microsecond=0)
    )
    shown = client_json(client, now)
    assert list(shown) == ClientSerializer.Meta.fields
    stored = [name for name in shown if name not in {"online", "connected"}]

    class Plain(ModelSerializer[Client]):
        class Meta:
            model = Client
            fields = stored

    assert {name: shown[name] for name in stored} == Plain(client).data
