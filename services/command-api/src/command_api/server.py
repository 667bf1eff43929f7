"""The HTTP server: granian, one worker process of threads, and the operations port beside it.

Of the 48 threads (`API_THREADS`), 32 at most wait for an ack (`API_MAX_WAITS`) and 4 for the acks of a bulk request
(`API_MAX_BULK_REQUESTS`), which needs one thread however many clients it commands; the other 12 always answer reads.
They share 16 connections to PostgreSQL: a request holds one for a fraction of a millisecond, and none while it waits.
A thread that waits costs its stack and nothing else; more of them would not make one process of Python faster.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from multiprocessing import connection, parent_process
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from command_api.settings import ApiSettings
from service_kit.logs import configure_logging
from service_kit.ops import OpsServer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

SERVICE = "command-api"

_MAX_CONNECTIONS = 4096
"""Open connections of one process. An idle one costs no thread; Envoy keeps about one for each request under way."""

# Granian's own handlers and colours off: its lines go through the root logger like everyone's.
_GRANIAN_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"level": "INFO", "propagate": True}},
}


def serve(settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT; running requests get `API_SHUTDOWN_TIMEOUT` to finish.

    Raises:
        SystemExit: the port is taken, or the worker process ended by itself.
    """
    _refuse_taken_port(settings)
    server = Granian(
        "command_api",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        # Threads live on: each has its gRPC and database plumbing warm.
        blocking_threads_idle_timeout=600,
        backpressure=_MAX_CONNECTIONS,
        backlog=1024,
        websockets=False,
        workers_kill_timeout=math.ceil(settings.shutdown_timeout),
        log_level=LogLevels.warning,
        log_dictconfig=_GRANIAN_LOGGING,
    )
    server.serve(target_loader=load_worker, wrap_loader=False)
    # Asked twice is as good as once: Python gives signals their fatal meaning back while it ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _refuse_taken_port(settings: ApiSettings) -> None:
    """Granian listens with SO_REUSEPORT: a second server would silently share the port of a first."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            log.error("can not listen", extra={"host": settings.host, "port": settings.port, "reason": str(error)})
            raise SystemExit(1) from None


def load_worker() -> WSGIApplication:
    """Set the worker process up; granian calls this in it. The gRPC channel is made later, by the first command."""
    from command_api.django_settings import API
    from command_api.readiness import Readiness
    from command_api.wsgi import load_application

    configure_logging(SERVICE, API.log_level)
    # The request log has a line for every refusal already; tracebacks of failures stay.
    logging.getLogger("django.request").setLevel(logging.ERROR)
    logging.getLogger("django.security").setLevel(logging.CRITICAL)
    _end_with_parent()
    application = load_application()
    readiness = Readiness()
    readiness.start()
    OpsServer(API.ops_host, API.ops_port, live=lambda: True, ready=readiness.is_ready).start()
    log.info("listening", extra={"host": API.host, "port": API.port, "threads": API.threads, "pid": os.getpid()})
    return application


def _end_with_parent() -> None:
    """Leave when granian's main process was killed: nobody else would ever stop this one."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
