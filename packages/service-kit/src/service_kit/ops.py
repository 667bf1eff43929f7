"""The operations port of a service: `/metrics`, `/livez`, `/readyz` over HTTP, in a thread of its own.

A thread, so that liveness answers even while the event loop or every request thread is busy; what "live" and "ready"
mean is the service's to say.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Probes and scrapes are not worth a line."""


class OpsServer:
    """Serves the operations port until closed.

    Args:
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        live: false when the process should be restarted. Must not block, is called from another thread.
        ready: false when no new work should come here. Likewise.
        registry: whose metrics to show.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        live: Callable[[], bool],
        ready: Callable[[], bool],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._checks = {"/livez": live, "/readyz": ready}
        self._server = make_server(host, port, self._respond, server_class=_Server, handler_class=_QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ops", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        log.info("ops server listening", extra={"port": self.port})

    def close(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return self._metrics(environ, start_response)
        check = self._checks.get(path)
        if check is None:
            status, body = HTTPStatus.NOT_FOUND, b"not found\n"
        elif check():
            status, body = HTTPStatus.OK, b"ok\n"
        else:
            status, body = HTTPStatus.SERVICE_UNAVAILABLE, b"unavailable\n"
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [body]
