"""Pages by key: a list answers a JSON array, and names the next page in its `Link` header.

A cursor holds the key of the last row shown. The next page starts behind that key, whatever was inserted or removed
meanwhile, and an index finds it at once however far down it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import F, Model, QuerySet
from django.db.models.fields.tuple_lookups import TupleGreaterThan, TupleLessThan
from rest_framework.request import Request

from command_api.errors import ApiError, ApiErrorCode

_Row = TypeVar("_Row", bound=Model)
_MAX_CURSOR = 4096
_INT64 = 2**63


@dataclass(frozen=True)
class KeyOrder:
    """The order of a list.

    Attributes:
        columns: (field, type) of a key that is unique together; types are str, int or datetime.
        descending: last first.
    """

    columns: tuple[tuple[str, type], ...]
    descending: bool = False

    @property
    def names(self) -> list[str]:
        """The fields."""
        return [name for name, _ in self.columns]


@dataclass(frozen=True)
class Page(Generic[_Row]):
    """Rows of one page, and the headers that lead to others."""

    rows: Sequence[_Row]
    headers: dict[str, str]


def paginate(queryset: QuerySet[_Row], order: KeyOrder, request: Request, *, limit: int, cursor: str) -> Page[_Row]:
    """Cut one page out of a queryset.

    Args:
        queryset: filtered, not ordered.
        order: its key; an index should serve it.
        request: names the list's address and filters, for the links.
        limit: the most rows.
        cursor: from a link; empty for the first page.

    Raises:
        ApiError: the cursor is not one.
    """
    if cursor:
        after = decode_cursor(order, cursor)
        compare = TupleLessThan if order.descending else TupleGreaterThan
        queryset = queryset.filter(compare(tuple(F(name) for name in order.names), after))
    rows = list(queryset.order_by(*(f"-{name}" if order.descending else name for name in order.names))[: limit + 1])
    links: list[str] = []
    if len(rows) > limit:
        rows = rows[:limit]
        links.append(_link(request, "next", encode_cursor(order, rows[-1])))
    if cursor:
        links.append(_link(request, "first", ""))
    return Page(rows, {"Link": ", ".join(links)} if links else {})


def encode_cursor(order: KeyOrder, row: Model) -> str:
    """Write a row's key, safe for URLs."""
    values = [getattr(row, name) for name in order.names]
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(order: KeyOrder, cursor: str) -> tuple[Any, ...]:
    """Read a key back.

    Raises:
        ApiError: not a cursor of this list.
    """
    try:
        return _key(order, cursor)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            ApiErrorCode.INVALID_CURSOR,
            "Not a cursor of this list",
            "take it from a Link header, or leave it out",
        ) from None


def _key(order: KeyOrder, cursor: str) -> tuple[Any, ...]:
    if len(cursor) > _MAX_CURSOR:
        raise ValueError("too long")
    values = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    if not isinstance(values, list):
        raise TypeError("not a list")
    return tuple(_checked(value, kind) for value, (_, kind) in zip(values, order.columns, strict=True))


def _checked(value: Any, kind: type) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a moment without time zone")
        return moment
    if type(value) is not kind:
        raise TypeError("another type")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError("out of range")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("U+0000")
    if isinstance(value, str):
        value.encode()  # lone surrogates
    return value


def _link(request: Request, relation: str, cursor: str) -> str:
    query = [(name, value) for name, values in request.query_params.lists() if name != "cursor" for value in values]
    if cursor:
        query.append(("cursor", cursor))
    suffix = f"?{urlencode(query)}" if query else ""
    return f'<{request.build_absolute_uri(request.path)}{suffix}>; rel="{relation}"'
