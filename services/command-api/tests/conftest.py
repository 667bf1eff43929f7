"""What the tests of the API share: Django on a real database, and a gateway that does as a test says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import django
import grpc
import pytest
from support.ports import LOOPBACK, free_port
from support.postgres import PostgresServer

from crypto_streaming import close_channels, pb

GATEWAY_PORT = free_port()
SETTINGS = {
    "API_DATABASE_URL": "postgresql://127.0.0.1:1/not-yet",
    "API_GATEWAY_ADDRESS": f"{LOOPBACK}:{GATEWAY_PORT}",
    "API_OPEN_ON_LOOPBACK": "true",
    "API_MAX_TIMEOUT": "60",
}


def _set_django_up() -> None:
    """Settings are read once, when the first module asks for them; nothing stays in the environment."""
    before = dict(os.environ)
    os.environ.update(SETTINGS)
    os.environ["DJANGO_SETTINGS_MODULE"] = "command_api.django_settings"
    try:
        django.setup()
    finally:
        os.environ.clear()
        os.environ.update(before)


_set_django_up()

from django.db import connection, connections  # noqa: E402  (only now)
from django.test import Client as HttpClient  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from command_api.django_settings import database_settings  # noqa: E402
from command_api.fleet.models import Client, ClientError, ClientLog, DeadLetter  # noqa: E402
from command_api.portfolio.models import Transaction, TransactionEvent, Wallet, WalletBalance  # noqa: E402

WORKER_TABLES = [Client, ClientError, ClientLog, DeadLetter, Transaction, TransactionEvent, Wallet, WalletBalance]

Answer = Callable[[pb.SendCommandRequest, grpc.ServicerContext], pb.CommandAck]


def failure(code: str, words: str = "") -> Answer:
    """A gateway's answer that no client gave."""

    def answer(request: pb.SendCommandRequest, _context: grpc.ServicerContext) -> pb.CommandAck:
        return pb.CommandAck(
            command_id=request.command.command_id, error=code, message=words or f"Client {request.client_id}: {code}"
        )

    return answer


def obey(request: pb.SendCommandRequest, _context: grpc.ServicerContext) -> pb.CommandAck:
    """What a good client answers."""
    status = pb.CLIENT_STATUS_PAUSED if request.command.HasField("pause") else pb.CLIENT_STATUS_ACTIVE
    return pb.CommandAck(command_id=request.command.command_id, success=True, message="done", current_status=status)


@dataclass
class Gateway(pb.CryptoStreamingServiceServicer):
    """Stands where Envoy and the gateways would: holds the clients in `answers`, and remembers what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[pb.SendCommandRequest] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    def ExecuteCommandSync(  # noqa: N802  (the contract's name)
        self, request: pb.SendCommandRequest, context: grpc.ServicerContext
    ) -> pb.CommandAck:
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        answer = self.answers.get(request.client_id, failure("CLIENT_NOT_CONNECTED"))
        return answer(request, context)

    def SendCommandToClient(  # noqa: N802
        self, request: pb.SendCommandRequest, context: grpc.ServicerContext
    ) -> pb.SendCommandResponse:
        self.requests.append(request)
        if request.client_id not in self.answers:
            return pb.SendCommandResponse(error=f"Client {request.client_id} not connected")
        return pb.SendCommandResponse(success=True, command_id=request.command.command_id)

    def forget(self) -> None:
        """Be as new."""
        self.answers.clear()
        self.requests.clear()
        self.deadlines.clear()


@pytest.fixture(scope="session")
def gateway_process() -> Iterator[Gateway]:
    gateway = Gateway()
    with ThreadPoolExecutor(64) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        pb.add_CryptoStreamingServiceServicer_to_server(gateway, server)  # type: ignore[no-untyped-call]  # generated
        assert server.add_insecure_port(f"{LOOPBACK}:{GATEWAY_PORT}") == GATEWAY_PORT
        server.start()
        yield gateway
        close_channels()
        server.stop(None).wait()


@pytest.fixture
def gateway(gateway_process: Gateway) -> Gateway:
    """A gateway that holds no client yet."""
    gateway_process.forget()
    return gateway_process


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The database of the in-process tests; its URL."""
    url = postgres_server.create_database("command_api_tests", migrated_template)
    connections.settings["default"].update(database_settings(url))
    yield url
    connections.close_all()
    cast("Any", connection).close_pool()
    postgres_server.drop_database("command_api_tests")


@pytest.fixture
def rows(database: str) -> Iterator[None]:
    """Empty tables, and empty again."""
    yield
    tables = ", ".join(model._meta.db_table for model in WORKER_TABLES)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables}, auth_user, authtoken_token, django_session RESTART IDENTITY CASCADE")
    connections.close_all()


@dataclass
class Api:
    """The API, called in this thread."""

    http: HttpClient

    def get(self, path: str, **options: Any) -> Any:
        return self.http.get(f"/api/crypto{path}", **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """`body` is a JSON value; bytes are sent as they are."""
        return self.http.post(
            f"/api/crypto{path}", data={} if body is None else body, content_type="application/json", **options
        )


@pytest.fixture
def api(rows: None) -> Api:
    return Api(HttpClient(SERVER_NAME="127.0.0.1", raise_request_exception=False))


@pytest.fixture
def statements(rows: None) -> Callable[[], CaptureQueriesContext]:
    """Captures the SQL of a `with` block."""
    return lambda: CaptureQueriesContext(connection)


def online_client(client_id: str, **values: Any) -> Client:
    """A client that is connected and was just seen."""
    now = datetime.now(UTC)
    return Client.objects.create(
        client_id=client_id,
        **{"session_epoch": 1, "connected_at": now, "last_seen_at": now, "first_seen_at": now, **values},
    )


class Make:
    """Makes what tests speak of (test modules can not import a conftest)."""

    failure = staticmethod(failure)
    obey = staticmethod(obey)
    online_client = staticmethod(online_client)
    worker_tables = WORKER_TABLES
    gateway_address = SETTINGS["API_GATEWAY_ADDRESS"]


@pytest.fixture
def make() -> type[Make]:
    return Make
