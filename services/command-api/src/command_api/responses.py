"""Shapes of answers that every app has, for the schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers


class ErrorSerializer(serializers.Serializer[Any]):
    """Any failure. `detail` is words, or an object that names the wrong fields."""

    error = serializers.CharField(help_text="For people.")
    code = serializers.CharField(help_text="For programs.")
    detail = serializers.JSONField(help_text="More words, or what is wrong with each field.")
    client_id = serializers.CharField(required=False)
    command_id = serializers.CharField(required=False)


REFUSED = {401: ErrorSerializer, 403: ErrorSerializer}
"""What every path answers to whom it does not know."""

LINK_HEADER = OpenApiParameter(
    "Link",
    str,
    OpenApiParameter.HEADER,
    response=[200],
    description='Other pages, as in RFC 8288: `<...>; rel="next"`, and `rel="first"` on all but the first.',
)
