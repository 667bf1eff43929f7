"""`helm test`: a client connects through Envoy, is commanded by gRPC and REST, and its report is read back by REST.

Runs in the API's image. It makes a user with a token in the database, and removes both again; the client `helm-test`
and its wallet stay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import ssl
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import django

from crypto_streaming import StreamingCommandClient
from crypto_streaming.agent import CryptoClient, MemoryBuffer
from crypto_streaming.tls import TlsOptions

CLIENT = "helm-test"
WAIT_SECONDS = 120.0
PAUSE_SECONDS = 0.5


class Rest:
    """The REST API behind Envoy's edge.

    Args:
        edge: Envoy, as host:port.
        token: of the API.
        tls: certificates; None is plain text.
    """

    def __init__(self, edge: str, token: str, tls: TlsOptions | None, certificates: Path | None) -> None:
        self._base = f"{'https' if tls else 'http'}://{edge}/api/crypto"
        self._headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        self._context = _context(certificates) if tls else None

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer's JSON.

        Raises:
            OSError: no answer, or one that is no success.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, self._headers, method=method)
        with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
            return json.load(answer)


def _context(certificates: Path | None) -> ssl.SSLContext:
    if certificates is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
    # The Service's name need not be in the certificate; the gRPC client checks the name that is.
    context.check_hostname = False
    return context


@contextmanager
def api_token() -> Generator[str]:
    """A token of a user that is gone afterwards."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "command_api.django_settings")
    django.setup()
    from django.contrib.auth import get_user_model
    from rest_framework.authtoken.models import Token

    user = get_user_model().objects.create(username=f"helm-test-{secrets.token_hex(8)}")
    try:
        yield Token.objects.create(user=user).key
    finally:
        user.delete()


async def eventually(what: str, ask: Callable[[], Any]) -> Any:
    """Ask in a thread until the answer is something; what it refuses meanwhile is told at the end.

    Raises:
        TimeoutError: it never was.
        AssertionError: the question was refused.
    """
    problem = ""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS
    while loop.time() < deadline:
        try:
            if answer := await asyncio.to_thread(ask):
                print(f"ok: {what}", flush=True)
                return answer
            problem = "not yet"
        except HTTPError as error:
            problem = f"{error.code} {error.read().decode(errors='replace')}"
            if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise AssertionError(f"{what}: {problem}") from error
        except (URLError, TimeoutError, ConnectionError) as error:
            problem = repr(error)
        await asyncio.sleep(PAUSE_SECONDS)
    raise TimeoutError(f"{what}: {problem}")


async def check(arguments: argparse.Namespace, rest: Rest, tls: TlsOptions | None) -> None:
    """The test itself.

    Raises:
        TimeoutError: something did not happen in time.
        AssertionError: something else happened.
    """
    # A new amount each time: an old row proves nothing.
    amount = Decimal(secrets.randbelow(10**18)) / 10**9
    client = CryptoClient(CLIENT, address=arguments.edge, tls=tls, client_type="helm-test", buffer=MemoryBuffer())
    running = asyncio.create_task(client.run())
    try:
        await client.report_wallet("helm-test", "TEST", available=amount)
        await client.flush(WAIT_SECONDS)
        print("ok: a report has its receipt", flush=True)

        commander = StreamingCommandClient(client_id=CLIENT, address=arguments.internal)
        ack = await commander.ping_client_sync(sequence=1, timeout=10)
        assert ack.success, ack
        print("ok: a command by gRPC was acknowledged", flush=True)

        def acknowledged() -> bool:
            answer = rest.call("POST", f"/commands/{CLIENT}/ping/", {"sequence": 2})
            return bool(answer["command_result"]["success"])

        def stored() -> bool:
            rows = rest.call("GET", f"/wallets/?client={CLIENT}")
            return any(Decimal(row["balance_available"]) == amount for row in rows)

        await eventually("a command by REST was acknowledged", acknowledged)
        await eventually("the report is in the database, and REST shows it", stored)
    finally:
        await client.stop()
        await asyncio.gather(running, return_exceptions=True)


def main() -> None:
    """Run the test; what goes wrong is raised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--edge", required=True, help="Envoy's edge, as host:port")
    parser.add_argument("--internal", required=True, help="Envoy's internal listener, as host:port")
    parser.add_argument("--server-name", default="", help="name in the edge's certificate; empty: no TLS")
    parser.add_argument("--certificates", type=Path, help="directory with ca.crt, tls.crt, tls.key")
    arguments = parser.parse_args()
    tls = None
    if arguments.server_name:
        directory = arguments.certificates
        root, key, chain = (
            ((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
            if directory
            else (None, None, None)
        )
        tls = TlsOptions(root, key, chain, server_name=arguments.server_name)
    with api_token() as token:
        asyncio.run(check(arguments, Rest(arguments.edge, token, tls, arguments.certificates), tls))
    print("ok", flush=True)


if __name__ == "__main__":
    main()
