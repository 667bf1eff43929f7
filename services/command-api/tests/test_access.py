"""Who may use the API, and who may not."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client as HttpClient
from pydantic import SecretStr, ValidationError

from command_api.django_settings import API
from command_api.settings import ApiSettings

PATHS = [
    "/api/crypto/commands/",
    "/api/crypto/commands/c-1/",
    "/api/crypto/wallets/",
    "/api/crypto/transactions/",
    "/api/schema/",
    "/api/docs/",
]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API as it is anywhere but on an open loopback port."""
    settings = API.model_copy(update={"open_on_loopback": False})
    monkeypatch.setattr("command_api.access.API", settings)
    monkeypatch.setattr("command_api.same_site.API", settings)


@pytest.mark.parametrize("path", PATHS)
def test_closed_means_401(api: Any, closed: None, path: str) -> None:
    response = api.http.get(path)
    assert response.status_code == 401
    if response["Content-Type"] == "application/json":
        assert response.json()["code"] == "NOT_AUTHENTICATED"
    assert response["WWW-Authenticate"] == "Token"


def test_closed_means_no_command_is_sent(api: Any, closed: None, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    for target in ("/commands/c-1/pause/", "/commands/pause_all/"):
        assert api.post(target).status_code == 401
    assert not gateway.requests


def test_a_token_opens(api: Any, closed: None, gateway: Any, make: Any, statements: Any, capsys: Any) -> None:
    call_command("create_token", "operator")
    token = capsys.readouterr().out.strip()
    gateway.answers["c-1"] = make.obey
    make.online_client("c-1")
    with statements() as captured:
        assert api.post("/commands/c-1/ping/", headers={"authorization": f"Token {token}"}).status_code == 200
    assert len(captured) <= 3
    # The same again is the same token; a renewed one voids it.
    call_command("create_token", "operator")
    assert capsys.readouterr().out.strip() == token
    call_command("create_token", "operator", "--renew")
    renewed = capsys.readouterr().out.strip()
    assert api.get("/commands/", headers={"authorization": f"Token {token}"}).status_code == 401
    assert api.get("/commands/", headers={"authorization": f"Token {renewed}"}).status_code == 200
    assert not User.objects.get(username="operator").has_usable_password()


@pytest.mark.parametrize("header", ["Token", "Token a b", "Token nonsense", "Bearer x", "Token é"])
def test_a_wrong_token_is_401(api: Any, closed: None, header: str) -> None:
    assert api.get("/commands/", headers={"authorization": header}).status_code == 401


def test_a_session_opens_and_needs_its_csrf_token(api: Any, closed: None, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    http = HttpClient(SERVER_NAME="127.0.0.1", enforce_csrf_checks=True)
    http.force_login(User.objects.create_user("operator"))
    assert http.get("/api/crypto/commands/").status_code == 200
    forged = http.post("/api/crypto/commands/c-1/pause/", content_type="application/json")
    assert (forged.status_code, forged.json()["code"]) == (403, "PERMISSION_DENIED")
    assert not gateway.requests
    http.get("/api/auth/login/")
    token = http.cookies["csrftoken"].value
    meant = http.post(
        "/api/crypto/commands/c-1/pause/", content_type="application/json", headers={"x-csrftoken": token}
    )
    assert meant.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1234"},
        {"origin": "http://[broken"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1", "sec-fetch-site": "cross-site"},
    ],
)
def test_an_open_port_is_not_open_to_pages_of_other_sites(
    api: Any, gateway: Any, make: Any, headers: dict[str, str]
) -> None:
    gateway.answers["c-1"] = make.obey
    for target in ("/commands/c-1/pause/", "/commands/pause_all/"):
        response = api.post(target, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "CROSS_SITE_REQUEST")
    assert not gateway.requests
    readable = api.get("/commands/", headers=headers)
    assert "Access-Control-Allow-Origin" not in readable


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://127.0.0.1"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}]
)
def test_an_open_port_is_open_to_programs_and_its_own_pages(
    api: Any, gateway: Any, make: Any, headers: dict[str, str]
) -> None:
    gateway.answers["c-1"] = make.obey
    assert api.post("/commands/c-1/pause/", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.org", "128.0.0.1"])
def test_elsewhere_than_on_loopback_it_can_not_be_open(host: str) -> None:
    with pytest.raises(ValidationError, match="API_OPEN_ON_LOOPBACK"):
        ApiSettings(host=host, open_on_loopback=True, secret_key=SecretStr("x"), allowed_hosts="h")
    with pytest.raises(ValidationError, match="API_SECRET_KEY"):
        ApiSettings(host=host)
    with pytest.raises(ValidationError, match="API_ALLOWED_HOSTS"):
        ApiSettings(host=host, secret_key=SecretStr("x"))
    assert not ApiSettings(host=host, secret_key=SecretStr("x"), allowed_hosts="h").open_on_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_secret_and_is_closed_by_default(host: str) -> None:
    assert ApiSettings(host=host).on_loopback
    assert not ApiSettings(host=host).open_on_loopback


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="API_THREADS"):
        ApiSettings(threads=10, max_waits=8, max_bulk_requests=2)
    with pytest.raises(ValidationError, match="API_MAX_TIMEOUT"):
        ApiSettings(default_timeout=20, max_timeout=10)
    with pytest.raises(ValidationError, match="libpq") as refused:
        ApiSettings(database_url=SecretStr("postgresql://user:hunter2@[::1/x"))
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValidationError, match="database"):
        ApiSettings(database_url=SecretStr("postgresql://127.0.0.1"))
