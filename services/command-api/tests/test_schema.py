"""What is derived stays in step with what it is derived from."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client as HttpClient
from django.utils import timezone

from command_api.fleet.models import Client, ClientError, ClientLog, DeadLetter
from command_api.portfolio.models import Transaction, TransactionEvent, Wallet, WalletBalance

ROOT = Path(__file__).resolve().parents[3]


def test_the_committed_schema_is_the_generated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(target))
    # These tests run with another limit than the default that the committed file shows.
    generated = target.read_text().replace("maximum: 60.0", "maximum: 120.0")
    assert generated == (ROOT / "docs/openapi.yaml").read_text()


def test_the_schema_and_its_page_are_served_without_any_other_host(api: Any) -> None:
    schema = yaml.safe_load(api.http.get("/api/schema/").content)
    assert "/api/crypto/commands/{client_id}/pause/" in schema["paths"]
    page = api.http.get("/api/docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in page
    assert "https://" not in page
    script = api.http.get("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")
    assert script.status_code == 200
    script.close()


def test_every_failure_and_success_that_is_answered_is_in_the_schema(api: Any) -> None:
    operation = yaml.safe_load(api.http.get("/api/schema/").content)["paths"]["/api/crypto/commands/{client_id}/ping/"][
        "post"
    ]
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "409", "410", "503", "504"}


def test_the_models_have_their_migrations(database: str) -> None:
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())


def test_migrating_twice_is_fine(database: str) -> None:
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cursor.fetchone() == (0,)


def test_the_worker_may_leave_out_what_has_a_default(rows: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO clients (client_id) VALUES ('c-1')")
        cursor.execute(
            "INSERT INTO wallets (client_id, wallet_id, symbol, updated_at) VALUES ('c-1', 'w', 'ETH', now())"
        )
        cursor.execute(
            "INSERT INTO transactions (client_id, transaction_id, updated_at, first_seen_at)"
            " VALUES ('c-1', 't', now(), now())"
        )
        cursor.execute(
            "INSERT INTO dead_letters (client_id, message_id, received_at, reason, payload, payload_length,"
            " payload_sha256, epoch, position) VALUES ('c-1', 'm', now(), 'UNPARSABLE', '\\x00ff', 2, '\\x01', 1, 1)"
        )
        for table in ("wallet_balances", "transaction_events"):
            key = "wallet_id, symbol" if table == "wallet_balances" else "transaction_id, symbol"
            cursor.execute(
                f"INSERT INTO {table} (client_id, message_id, {key}, received_at, epoch, position, order_key,"
                " content_hash) VALUES ('c-1', 'm', 'x', 'ETH', now(), 1, 1, '\\x00', '\\x00')"
            )
        for table in ("client_errors", "client_logs"):
            cursor.execute(
                f"INSERT INTO {table} (client_id, message_id, received_at, epoch, position, order_key, content_hash)"
                " VALUES ('c-1', 'm', now(), 1, 1, '\\x00', '\\x00')"
            )
    client = Client.objects.get()
    assert (client.status, client.labels, client.session_epoch, client.client_name_order) == ("unknown", {}, 0, None)
    letter = DeadLetter.objects.get()
    assert (timezone.now() - letter.created_at).total_seconds() < 60


def test_keys_are_compared_bytewise(rows: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND column_name IN ('client_id', 'message_id', 'wallet_id', 'transaction_id')"
            " AND collation_name IS DISTINCT FROM 'C'"
        )
        assert cursor.fetchall() == []


@pytest.fixture
def console(rows: None) -> HttpClient:
    http = HttpClient(SERVER_NAME="127.0.0.1")
    http.force_login(User.objects.create_superuser("root"))
    return http


def fill_every_table() -> None:
    now = timezone.now()
    event = {
        "client_id": "c-1",
        "message_id": "m",
        "received_at": now,
        "epoch": 1,
        "position": 1,
        "order_key": b"\0",
        "content_hash": b"\0",
    }
    Client.objects.create(client_id="c-1", last_seen_at=now)
    Wallet.objects.create(client_id="c-1", wallet_id="w", symbol="ETH", balance_available="1" * 60, updated_at=now)
    WalletBalance.objects.create(wallet_id="w", symbol="ETH", **event)
    Transaction.objects.create(
        client_id="c-1", transaction_id="t", amount="0." + "0" * 70 + "1", updated_at=now, first_seen_at=now
    )
    TransactionEvent.objects.create(transaction_id="t", **event)
    ClientError.objects.create(message="boom", **event)
    ClientLog.objects.create(message="hello", **event)
    DeadLetter.objects.create(
        client_id="c-1",
        message_id="m",
        received_at=now,
        reason="UNPARSABLE",
        payload=b"\xde\xad",
        payload_length=2,
        payload_sha256=b"\xbe\xef",
        epoch=1,
        position=1,
    )


def test_every_table_has_its_console_pages(console: HttpClient) -> None:
    fill_every_table()
    models = [Client, ClientError, ClientLog, DeadLetter, Transaction, TransactionEvent, Wallet, WalletBalance]
    for model in models:
        assert model in admin.site._registry
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        listing = console.get(base + "?q=c-1")
        assert listing.status_code == 200
        assert "c-1" in listing.content.decode()
        page = console.get(f"{base}{model._default_manager.get().pk}/change/")
        assert page.status_code == 200, base
        assert "order_key" not in page.content.decode()
        assert console.get(f"{base}add/").status_code == 403
        assert console.post(f"{base}{model._default_manager.get().pk}/delete/", {"post": "yes"}).status_code == 403
        assert model._default_manager.count() == 1
    letter = console.get(f"/admin/fleet/deadletter/{DeadLetter.objects.get().pk}/change/").content.decode()
    assert "de ad" in letter
    assert "beef" in letter


def test_the_console_commands_clients(console: HttpClient, gateway: Any, make: Any) -> None:
    make.online_client("c-1")
    make.online_client("c-2")
    gateway.answers["c-1"] = make.obey
    page = console.post("/admin/fleet/client/", {"action": "pause", "_selected_action": ["c-1", "c-2"]}, follow=True)
    assert [request.command.WhichOneof("command") for request in gateway.requests] == ["pause", "pause"]
    assert "Client c-1: done" in page.content.decode()
    assert "Client c-2: CLIENT_NOT_CONNECTED" in page.content.decode()


def test_who_may_only_look_can_not_command(rows: None, gateway: Any, make: Any) -> None:
    make.online_client("c-1")
    gateway.answers["c-1"] = make.obey
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_client"))
    http = HttpClient(SERVER_NAME="127.0.0.1")
    http.force_login(viewer)
    assert http.get("/admin/fleet/client/").status_code == 200
    http.post("/admin/fleet/client/", {"action": "pause", "_selected_action": ["c-1"]})
    assert not gateway.requests
