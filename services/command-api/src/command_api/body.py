"""Bodies are read whole, up to a limit, before Django sees the request."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from command_api.errors import ApiErrorCode, json_error

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BODY = 1024 * 1024
"""Bytes."""

_TOO_LARGE = "command_api.body_too_large"


class WholeBody:
    """WSGI middleware: reads each request's body and says how long it is.

    Django takes a body without `Content-Length` (chunked, or HTTP/2) for an empty one: a command would lose its
    arguments without a word. The server ends its input where the body ends, so that it can be read without knowing.
    """

    def __init__(self, application: WSGIApplication, *, limit: int = MAX_BODY) -> None:
        self._application = application
        self._limit = limit

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """See WSGI."""
        body = environ["wsgi.input"].read(self._limit + 1)
        if len(body) > self._limit:
            environ[_TOO_LARGE] = True
            body = b""
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return self._application(environ, start_response)


class BodyLimitMiddleware:
    """Django middleware: refuses what `WholeBody` found too large, where the refusal is logged and measured."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """See Django's middleware protocol."""
        if request.META.get(_TOO_LARGE):
            words = f"The body exceeds {MAX_BODY} bytes"
            return json_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, ApiErrorCode.BODY_TOO_LARGE, words)
        return self._get_response(request)
