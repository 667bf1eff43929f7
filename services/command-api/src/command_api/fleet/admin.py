"""Console pages of the fleet."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.exceptions import APIException

from command_api.admin_base import ReadOnlyAdmin
from command_api.django_settings import API
from command_api.fleet.commands import command_client
from command_api.fleet.models import Client, ClientError, ClientLog, DeadLetter
from crypto_streaming.commands import COMMANDS

_MAX_SELECTED = 20
"""Clients that one action may command: it waits for them one after the other."""


@admin.register(Client)
class ClientAdmin(ReadOnlyAdmin):
    """Clients, and the commands to them."""

    list_display = ("client_id", "client_name", "client_type", "version", "status", "online", "last_seen_at")
    list_filter = ("status", "client_type")
    search_fields = ("client_id", "client_name")
    actions = ("ping", "pause", "resume", "sync_wallets")

    @admin.display(boolean=True)
    def online(self, client: Client) -> bool:
        """Connected and seen lately."""
        return client.is_online(
            timezone.now(),
            timeout=timedelta(seconds=API.online_timeout),
            grace=timedelta(seconds=API.offline_grace),
        )

    @admin.action(description="Ping selected clients", permissions=["command"])
    def ping(self, request: HttpRequest, selected: QuerySet[Client]) -> None:
        """Send the command to each."""
        self._command(request, "ping", selected)

    @admin.action(description="Pause selected clients", permissions=["command"])
    def pause(self, request: HttpRequest, selected: QuerySet[Client]) -> None:
        """Send the command to each."""
        self._command(request, "pause", selected)

    @admin.action(description="Resume selected clients", permissions=["command"])
    def resume(self, request: HttpRequest, selected: QuerySet[Client]) -> None:
        """Send the command to each."""
        self._command(request, "resume", selected)

    @admin.action(description="Sync all wallets of selected clients", permissions=["command"])
    def sync_wallets(self, request: HttpRequest, selected: QuerySet[Client]) -> None:
        """Send the command to each."""
        self._command(request, "sync_wallets", selected)

    def has_command_permission(self, request: HttpRequest) -> bool:
        """Whoever might change a client, if anyone could."""
        return request.user.has_perm("fleet.change_client")

    def _command(self, request: HttpRequest, name: str, selected: QuerySet[Client]) -> None:
        client_ids = list(selected.values_list("client_id", flat=True)[: _MAX_SELECTED + 1])
        if len(client_ids) > _MAX_SELECTED:
            self.message_user(request, f"Select {_MAX_SELECTED} clients at most.", messages.ERROR)
            return
        for client_id in client_ids:
            try:
                _, ack = command_client(client_id, COMMANDS[name], {}, API.default_timeout / _MAX_SELECTED)
            except APIException as error:
                self.message_user(request, str(error.detail), messages.ERROR)
                continue
            words = ack.message or ("done" if ack.success else ack.error)
            self.message_user(
                request, f"Client {client_id}: {words}", messages.SUCCESS if ack.success else messages.WARNING
            )


@admin.register(ClientError)
class ClientErrorAdmin(ReadOnlyAdmin):
    """Errors that clients reported."""

    list_display = ("received_at", "client_id", "severity", "message")
    list_filter = ("severity",)
    search_fields = ("=client_id", "message")
    ordering = ("-id",)


@admin.register(ClientLog)
class ClientLogAdmin(ReadOnlyAdmin):
    """Log lines that clients sent."""

    list_display = ("received_at", "client_id", "level", "message")
    list_filter = ("level",)
    search_fields = ("=client_id", "message")
    ordering = ("-id",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """What could not be stored; `python -m ingest_worker replay` tries again."""

    list_display = ("received_at", "client_id", "reason", "detail", "payload_length", "replayed_at")
    list_filter = ("reason", ("replayed_at", admin.EmptyFieldListFilter))
    search_fields = ("=client_id", "=message_id")
    ordering = ("-id",)

    def shown_columns(self) -> tuple[str, ...]:
        """The bytes as well, as text."""
        return (*super().shown_columns(), "payload_hex", "payload_sha256_hex")

    @admin.display(description="payload")
    def payload_hex(self, letter: DeadLetter) -> str:
        """The beginning of the message, as it was received."""
        payload = bytes(letter.payload)
        return payload[:4096].hex(" ") + (" ..." if len(payload) > 4096 else "")

    @admin.display(description="SHA-256 of the payload")
    def payload_sha256_hex(self, letter: DeadLetter) -> str:
        """In hexadecimal digits."""
        return bytes(letter.payload_sha256).hex()
