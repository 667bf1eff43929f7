"""One log line and one measurement for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from command_api import metrics

log = logging.getLogger("command_api.request")

_notes: ContextVar[dict[str, str] | None] = ContextVar("notes", default=None)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note(**values: str) -> None:
    """Add fields to the log line of the request that this thread answers."""
    notes = _notes.get()
    if notes is not None:
        notes.update(values)


class RequestLogMiddleware:
    """Logs and measures every request; stands first, so that it sees what the others refuse."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """See Django's middleware protocol."""
        started = time.perf_counter()
        notes: dict[str, str] = {}
        token = _notes.set(notes)
        try:
            response = self._get_response(request)
        finally:
            _notes.reset(token)
        seconds = time.perf_counter() - started
        # The pattern, never the path: clients must not choose the number of series.
        match = request.resolver_match
        route = match.route if match is not None else "none"
        method = request.method if request.method in _METHODS else "other"
        metrics.REQUESTS.labels(method, route, response.status_code).inc()
        metrics.REQUEST_SECONDS.labels(method, route).observe(seconds)
        log.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "ms": round(seconds * 1000, 3),
                # Of the access log of Envoy, which knows the caller's address.
                "request_id": request.headers.get("X-Request-Id", ""),
                **notes,
            },
        )
        return response
