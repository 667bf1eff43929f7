from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from command_api.django_settings import API
from command_api.errors import ApiErrorCode, json_error

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})


class SameSiteMiddleware:
    """Refuses changes that a page of another site asks for.

    A browser on this machine reaches a loopback port too, and sends what any page tells it to. Where a token is asked
    for, such a page has none; where none is, the browser's own statement of the page's origin is what tells it apart.
    (Pages can not read answers either: no CORS header is ever sent, and foreign `Host` names are refused.)
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """See Django's middleware protocol."""
        if API.open_on_loopback and request.method not in _SAFE_METHODS and _is_foreign(request):
            return json_error(
                HTTPStatus.FORBIDDEN,
                ApiErrorCode.CROSS_SITE_REQUEST,
                "Pages of other sites may not use this API",
                "the request has a foreign Origin or Sec-Fetch-Site header",
            )
        return self._get_response(request)


def _is_foreign(request: HttpRequest) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in _OWN_SITES:
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != request.get_host()
    except ValueError:
        return True
