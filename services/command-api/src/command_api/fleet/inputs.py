"""The input of each command, derived from its message in the contract: a new command needs no code here."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from rest_framework import serializers

from command_api.django_settings import API
from command_api.parameters import MAX_TEXT, StrictSerializer, StrictText, SymbolList, TimeoutSeconds
from crypto_streaming.commands import Command

_INT32 = 2**31

_HELP = {
    "reason": "Why; for people and logs.",
    "message": "For people and logs.",
    "sequence": "Your own number; the client may repeat it.",
    "symbols": "Which symbols; none means all. In the query: `BTC,ETH`.",
    "include_stats": "Ask for the client's counters too.",
}


@cache
def command_input(kind: type[Command]) -> type[StrictSerializer]:
    """Make the serializer of a command's arguments and `timeout`; one class per command."""
    message = cast("Descriptor", kind.payload_class.DESCRIPTOR)
    fields: dict[str, Any] = {field.name: _serializer_field(field) for field in message.fields}
    fields["timeout"] = TimeoutSeconds(
        required=False, help_text=f"Seconds to wait for the ack; {API.default_timeout:g} when left out."
    )
    name = "".join(part.title() for part in kind.name.split("_")) + "Input"
    return type(name, (StrictSerializer,), {"__doc__": f"Input of the command `{kind.name}`.", **fields})


def _serializer_field(field: FieldDescriptor) -> serializers.Field[Any, Any, Any, Any]:
    words = _HELP.get(field.name, "")
    if field.is_repeated and field.type == FieldDescriptor.TYPE_STRING:
        return SymbolList(required=False, default=list, help_text=words)
    if field.type == FieldDescriptor.TYPE_STRING:
        return StrictText(
            required=False, default="", allow_blank=True, trim_whitespace=False, max_length=MAX_TEXT, help_text=words
        )
    if field.type == FieldDescriptor.TYPE_INT32:
        return serializers.IntegerField(
            required=False, default=0, min_value=-_INT32, max_value=_INT32 - 1, help_text=words
        )
    if field.type == FieldDescriptor.TYPE_BOOL:
        return serializers.BooleanField(required=False, default=False, help_text=words)
    raise TypeError(f"{field.full_name}: no REST input for this type of field")
