"""Clients as JSON, and the questions that can be asked about them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from command_api.django_settings import API
from command_api.fleet.models import Client, ClientStatus
from command_api.parameters import StrictSerializer, StrictText

DEFAULT_PAGE = 1000
MAX_PAGE = 5000


class ClientSerializer(serializers.ModelSerializer[Client]):
    """One client."""

    # Declared for the schema; `client_json` writes them.
    online = serializers.BooleanField(help_text="Connected and seen lately, or gone for a moment only.")
    connected = serializers.BooleanField(help_text="Its newest session has not ended.")
    labels = serializers.DictField(child=serializers.CharField(), help_text="As announced in its registration.")

    class Meta:
        model = Client
        fields: ClassVar = [
            "client_id",
            "client_name",
            "client_type",
            "version",
            "api_url",
            "labels",
            "status",
            "status_details",
            "status_at",
            "online",
            "connected",
            "connected_at",
            "disconnected_at",
            "close_reason",
            "last_seen_at",
            "first_seen_at",
            "gateway_id",
            "peer",
        ]
        read_only_fields = fields


def client_json(client: Client, now: datetime) -> dict[str, Any]:
    """Show one client.

    By hand, since every command answers with one: a `ModelSerializer` makes its fields anew each time, which takes as
    long as the database does.

    Args:
        client: the client.
        now: the moment that "online" is meant at.
    """
    online = client.is_online(
        now, timeout=timedelta(seconds=API.online_timeout), grace=timedelta(seconds=API.offline_grace)
    )
    return {
        "client_id": client.client_id,
        "client_name": client.client_name,
        "client_type": client.client_type,
        "version": client.version,
        "api_url": client.api_url,
        "labels": client.labels,
        "status": client.status,
        "status_details": client.status_details,
        "status_at": _moment(client.status_at),
        "online": online,
        "connected": client.is_connected(),
        "connected_at": _moment(client.connected_at),
        "disconnected_at": _moment(client.disconnected_at),
        "close_reason": client.close_reason,
        "last_seen_at": _moment(client.last_seen_at),
        "first_seen_at": _moment(client.first_seen_at),
        "gateway_id": client.gateway_id,
        "peer": client.peer,
    }


def _moment(moment: datetime | None) -> str | None:
    """As DRF writes it; the database's connections are set to UTC."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


class CommandResultSerializer(serializers.Serializer[Any]):
    """What became of a command."""

    command_id = serializers.CharField()
    success = serializers.BooleanField(help_text="False when the client refused, or failed to obey.")
    message = serializers.CharField(help_text="The client's words.")
    status = serializers.ChoiceField(ClientStatus.choices, help_text="Its status after the command.")
    error = serializers.CharField(help_text="The client's own error; empty on success.")
    stats = serializers.DictField(required=False, help_text="Its counters, when it sent them.")
    result = serializers.DictField(required=False, help_text="Whatever else it answered.")


class CommandedClientSerializer(ClientSerializer):
    """A client together with what became of a command to it; `status` is the ack's."""

    command_result = CommandResultSerializer()

    class Meta(ClientSerializer.Meta):
        fields: ClassVar = [*ClientSerializer.Meta.fields, "command_result"]


class BulkResultSerializer(serializers.Serializer[Any]):
    """What became of one client's command in a bulk request."""

    client_id = serializers.CharField()
    command_id = serializers.CharField()
    success = serializers.BooleanField()
    message = serializers.CharField()
    status = serializers.ChoiceField(ClientStatus.choices)
    error = serializers.CharField(help_text="A code (CLIENT_NOT_CONNECTED, COMMAND_TIMEOUT, ...) or the client's own.")


class BulkAnswerSerializer(serializers.Serializer[Any]):
    """What became of a bulk request."""

    total = serializers.IntegerField()
    successful = serializers.IntegerField()
    failed = serializers.IntegerField()
    results = BulkResultSerializer(many=True)


@extend_schema_field({"type": "string", "pattern": "^[^=]+="})
class LabelField(serializers.Field):  # type: ignore[type-arg]  # generic in the stubs only
    """`key=value`, as a pair."""

    default_error_messages = {"invalid": "must be key=value"}  # noqa: RUF012  (DRF's convention)

    def to_internal_value(self, data: Any) -> tuple[str, str]:
        """Split at the first `=`."""
        text: str = StrictText(max_length=1000, trim_whitespace=False).run_validation(data)
        key, equals, value = text.partition("=")
        if not key or not equals:
            self.fail("invalid")
        return key, value

    def to_representation(self, value: tuple[str, str]) -> str:
        """Undo it."""
        return "=".join(value)


class ClientListQuery(StrictSerializer):
    """Filters of the list of clients."""

    status = serializers.ChoiceField(
        ClientStatus.choices, required=False, default="", allow_blank=True, help_text="The status they say they have."
    )
    search = StrictText(
        required=False,
        default="",
        allow_blank=True,
        max_length=200,
        help_text="Part of the id, name, type or version, in any case.",
    )
    label = serializers.ListField(  # type: ignore[assignment]  # DRF keeps declared fields off the class
        child=LabelField(),
        required=False,
        default=list,
        max_length=20,
        help_text="`key=value`; may be repeated, then all must match.",
    )
    all = serializers.BooleanField(required=False, default=False, help_text="Also the clients that are offline.")
    limit = serializers.IntegerField(
        required=False, default=DEFAULT_PAGE, min_value=1, max_value=MAX_PAGE, help_text="The most clients of a page."
    )
    cursor = StrictText(
        required=False, default="", allow_blank=True, help_text="Where the page begins; from a `Link` header."
    )
