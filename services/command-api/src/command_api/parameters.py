"""What requests may say: the fields of serializers for bodies and query strings."""

from __future__ import annotations

import math
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from command_api.django_settings import API

IGNORED_PARAMETERS = frozenset({"format"})
"""Query parameters that are DRF's own."""

MAX_TEXT = 10_000
MAX_SYMBOLS = 1_000
MAX_SYMBOL = 128


class StrictText(serializers.CharField):
    """A JSON string, and nothing that merely could be turned into one; no U+0000, no lone surrogates."""

    def to_internal_value(self, data: Any) -> str:
        """See the base class."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


@extend_schema_field({"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": API.max_timeout})
class TimeoutSeconds(serializers.Field):  # type: ignore[type-arg]  # generic in the stubs only
    """Seconds: a finite number above zero and not above `API_MAX_TIMEOUT`."""

    default_error_messages = {  # noqa: RUF012  (DRF's convention)
        "invalid": "must be a number of seconds",
        "range": "must be more than 0 and at most {most:g} seconds",
    }

    def to_internal_value(self, data: Any) -> float:
        """Accept a JSON number, or a string of the query."""
        if isinstance(data, bool) or not isinstance(data, (int, float, str)):
            self.fail("invalid")
        try:
            seconds = float(data)
        except (ValueError, OverflowError):
            self.fail("invalid")
        if not math.isfinite(seconds) or not 0 < seconds <= API.max_timeout:
            self.fail("range", most=API.max_timeout)
        return seconds

    def to_representation(self, value: float) -> float:
        """Unused: requests only."""
        return value


class SymbolList(serializers.ListField):
    """Symbols: a JSON array of strings, or `BTC,ETH` in the query. Empty = all."""

    child = StrictText(max_length=MAX_SYMBOL)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_SYMBOLS, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        """See the base class."""
        if isinstance(data, str):
            data = [symbol for part in data.split(",") if (symbol := part.strip())]
        symbols: list[str] = super().to_internal_value(data)
        return list(dict.fromkeys(symbols))


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses what it does not know: a misspelt filter must not select everything."""

    def to_internal_value(self, data: Any) -> Any:
        """See the base class."""
        unknown = sorted(str(name) for name in data if name not in self.fields)
        if unknown:
            # As ASCII: a name may hold what can not be encoded in an answer.
            raise serializers.ValidationError(
                {ascii(name)[1:-1][:100]: ["unknown; known are " + ", ".join(self.fields)] for name in unknown[:10]}
            )
        return super().to_internal_value(data)


def query_values(query: QueryDict, lists: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Take a query string apart: the last value of each parameter, and all values of those in `lists`."""
    return {
        name: query.getlist(name) if name in lists else query[name] for name in query if name not in IGNORED_PARAMETERS
    }


def request_values(request: Request) -> dict[str, Any]:
    """Merge a command's fields from the query and from the body; the body wins.

    Raises:
        ParseError: the body is not a JSON object.
    """
    body = request.data
    if not isinstance(body, dict):
        raise ParseError("The body must be a JSON object")
    values = query_values(request.query_params)
    if "symbols" in values:
        values["symbols"] = ",".join(request.query_params.getlist("symbols"))
    return {**values, **body}
