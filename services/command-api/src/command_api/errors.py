"""What goes wrong, as JSON: `{"error": <words>, "code": <CODE>, "detail": <more>, ...}`.

The codes of commands and their statuses come from `crypto_streaming.errors`; those of the API itself are here.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from crypto_streaming.errors import ERRORS, CommandError, ErrorCode

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 1


class ApiErrorCode(StrEnum):
    """What can go wrong before a command is sent, or without one."""

    INVALID_REQUEST = "INVALID_REQUEST"
    """A field or a query parameter has a value that it can not have; `detail` says which."""
    PARSE_ERROR = "PARSE_ERROR"
    """The body is not JSON, or not a JSON object."""
    INVALID_CURSOR = "INVALID_CURSOR"
    """`cursor` does not come from a `Link` header of this list."""
    NOT_AUTHENTICATED = "NOT_AUTHENTICATED"
    """No valid token or session."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """The token or session may not do this."""
    CROSS_SITE_REQUEST = "CROSS_SITE_REQUEST"
    """A page of another site tried to use an API that asks for no token."""
    NOT_FOUND = "NOT_FOUND"
    """No such path or object."""
    CLIENT_NOT_FOUND = "CLIENT_NOT_FOUND"
    """No gateway holds this client and none ever reported it."""
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    """The body's content type is not application/json."""
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    TOO_MANY_WAITING = "TOO_MANY_WAITING"
    """As many requests as this process allows wait for acks already; nothing was sent. Try again."""
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    """PostgreSQL can not be reached. Try again."""
    INTERNAL_ERROR = "INTERNAL_ERROR"


def error_body(code: str, error: str, detail: Any = "", **more: Any) -> dict[str, Any]:
    """Shape one failure."""
    return {"error": error, "code": str(code), "detail": detail, **more}


class ApiError(exceptions.APIException):
    """A failure with a code of its own.

    Args:
        status: status of the answer.
        code: for programs.
        error: for people, one line.
        detail: more words, or an object.
        retry_after: seconds after which trying again makes sense.
        more: further keys of the body.
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        error: str,
        detail: Any = "",
        *,
        retry_after: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(error)
        self.status_code = status.value
        self.body = error_body(code, error, detail, **more)
        self.retry_after = retry_after


_OUTCOMES = {True: "nothing was sent", False: "the command may have been executed: its outcome is unknown"}


def command_failure(error: CommandError, client_id: str) -> ApiError:
    """Turn a command's failure into the answer that `ERRORS` prescribes."""
    mapping = ERRORS[error.code]
    return ApiError(
        HTTPStatus(mapping.http_status),
        error.code,
        error.message,
        _OUTCOMES[mapping.outcome_known],
        retry_after=RETRY_AFTER_SECONDS if mapping.http_status == HTTPStatus.SERVICE_UNAVAILABLE else None,
        client_id=client_id,
        command_id=error.command_id,
    )


def client_not_found(client_id: str) -> ApiError:
    """Make the answer for a client that nobody ever saw."""
    return ApiError(
        HTTPStatus.NOT_FOUND,
        ApiErrorCode.CLIENT_NOT_FOUND,
        f"Client {client_id} not found",
        "no gateway holds it, and it never reported anything",
        client_id=client_id,
    )


def not_connected(client_id: str, command_id: str) -> ApiError:
    """Make the answer for a client that is known and away."""
    error = ERRORS[ErrorCode.CLIENT_NOT_CONNECTED].exception(f"Client {client_id} not connected", command_id=command_id)
    return command_failure(error, client_id)


_CODES: dict[type[exceptions.APIException], ApiErrorCode] = {
    exceptions.ValidationError: ApiErrorCode.INVALID_REQUEST,
    exceptions.ParseError: ApiErrorCode.PARSE_ERROR,
    exceptions.NotAuthenticated: ApiErrorCode.NOT_AUTHENTICATED,
    exceptions.AuthenticationFailed: ApiErrorCode.NOT_AUTHENTICATED,
    exceptions.PermissionDenied: ApiErrorCode.PERMISSION_DENIED,
    exceptions.NotFound: ApiErrorCode.NOT_FOUND,
    exceptions.MethodNotAllowed: ApiErrorCode.METHOD_NOT_ALLOWED,
    exceptions.NotAcceptable: ApiErrorCode.NOT_ACCEPTABLE,
    exceptions.UnsupportedMediaType: ApiErrorCode.UNSUPPORTED_MEDIA_TYPE,
}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: every failure of a view leaves as JSON of one shape. None lets Django answer 500."""
    if isinstance(error, (OperationalError, InterfaceError)):
        log.warning("database unavailable", extra={"reason": str(error).splitlines()[0] if str(error) else ""})
        error = database_unavailable()
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, ApiError):
        response.data = error.body
        if error.retry_after is not None:
            response["Retry-After"] = str(error.retry_after)
    else:
        response.data = _described(error)
    return response


def database_unavailable() -> ApiError:
    """Make the answer for a database that can not be reached."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        ApiErrorCode.DATABASE_UNAVAILABLE,
        "The database can not be reached",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.ValidationError):
        return error_body(ApiErrorCode.INVALID_REQUEST, _first_problem(error.detail), error.detail)
    if isinstance(error, exceptions.APIException):
        return error_body(_CODES.get(type(error), ApiErrorCode.INVALID_REQUEST), str(error.detail))
    raise TypeError(f"not a failure that DRF handles: {error!r}")


def _first_problem(detail: Any, path: str = "") -> str:
    """Find the first words in a validation error's tree, with the name of the field before them."""
    if isinstance(detail, dict) and detail:
        name, inner = next(iter(detail.items()))
        return _first_problem(inner, f"{path}.{name}" if path else str(name))
    if isinstance(detail, list) and detail:
        return _first_problem(next(item for item in detail if item), path)
    return f"{path}: {detail}" if path else str(detail)


def json_error(status: HTTPStatus, code: ApiErrorCode, error: str, detail: Any = "") -> JsonResponse:
    """Answer a failure outside of DRF's views."""
    return JsonResponse(error_body(code, error, detail), status=status.value)


# Django's handlers for what no view answers; `urls` names them.


def bad_request(_request: HttpRequest, exception: Exception) -> JsonResponse:
    """400: a request that Django itself refuses, such as an unknown `Host`."""
    words = str(exception) if isinstance(exception, (BadRequest, SuspiciousOperation)) else ""
    return json_error(HTTPStatus.BAD_REQUEST, ApiErrorCode.INVALID_REQUEST, "Bad request", words)


def permission_denied(_request: HttpRequest, exception: Exception) -> JsonResponse:  # noqa: ARG001  (Django passes it by name)
    """403."""
    return json_error(HTTPStatus.FORBIDDEN, ApiErrorCode.PERMISSION_DENIED, "Permission denied")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:  # noqa: ARG001  (Django passes it by name)
    """404: no route."""
    hint = "" if request.path.endswith("/") else "every path of this API ends with a slash"
    return json_error(HTTPStatus.NOT_FOUND, ApiErrorCode.NOT_FOUND, "No such path", hint)


def server_error(_request: HttpRequest) -> JsonResponse:
    """500; the traceback is in the log."""
    return json_error(HTTPStatus.INTERNAL_SERVER_ERROR, ApiErrorCode.INTERNAL_ERROR, "Internal error")
