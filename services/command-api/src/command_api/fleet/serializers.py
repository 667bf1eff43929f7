"""Clients as JSON, and the questions that can be asked about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from command_api.django_settings import API
from command_api.fleet.models import Client, ClientStatus
from command_api.parameters import StrictSerializer, StrictText

DEFAULT_PAGE = 1000
MAX_PAGE = 5000


class ClientSerializer(serializers.ModelSerializer[Client]):
    """One client."""

    online = serializers.SerializerMethodField(help_text="Connected and seen lately, or gone for a moment only.")
    connected = serializers.BooleanField(source="is_connected", help_text="Its newest session has not ended.")
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

    def get_online(self, client: Client) -> bool:
        """Judge by the moment of the request."""
        now = self.context.get("now") or timezone.now()
        return client.is_online(
            now, timeout=timedelta(seconds=API.online_timeout), grace=timedelta(seconds=API.offline_grace)
        )


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
