"""Tables of the fleet. The ingest worker writes them with its own SQL; this is their one definition.

What the worker's SQL may leave out has a default in the database itself. There are no foreign keys: the worker's
writes are commutative, and a report may be stored before the registration of its client.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from command_api.fields import key_text, order, text
from command_api.reports import Report

GOODBYE = "goodbye"
"""`Client.close_reason` of a client that left on purpose: it is not expected back."""


class ClientStatus(models.TextChoices):
    """What a client says of itself; the words the API uses."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    PAUSED = "paused"
    ERROR = "error"
    STOPPED = "stopped"


class Client(models.Model):
    """One client, as of its latest reports.

    `last_seen_at` and the session columns change every few seconds for every connected client, so no index holds them:
    PostgreSQL then updates a row without touching any index.
    """

    client_id = models.CharField(max_length=128, primary_key=True, db_collation="C")
    client_name = text()
    client_name_order = order()
    client_type = text()
    client_type_order = order()
    version = text()
    version_order = order()
    api_url = text()
    api_url_order = order()
    labels = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    labels_order = order()

    status = models.TextField(
        choices=ClientStatus.choices, default=ClientStatus.UNKNOWN, db_default=ClientStatus.UNKNOWN.value
    )
    status_order = order()
    status_details = text()
    status_details_order = order()
    status_at = models.DateTimeField(null=True, blank=True)

    session_epoch = models.BigIntegerField(default=0, db_default=0)
    gateway_id = text()
    peer = text()
    connected_at = models.DateTimeField(null=True, blank=True)
    closed_epoch = models.BigIntegerField(default=0, db_default=0)
    disconnected_at = models.DateTimeField(null=True, blank=True)
    close_reason = text()
    last_seen_at = models.DateTimeField(null=True, blank=True)
    first_seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "clients"
        ordering: ClassVar = ["client_id"]

    def __str__(self) -> str:
        return self.client_id

    def is_connected(self) -> bool:
        """Its newest session has not ended."""
        return self.session_epoch > self.closed_epoch

    def is_online(self, now: datetime, *, timeout: timedelta, grace: timedelta) -> bool:
        """Connected, or likely to be back at once; `queries.online_filter` is the same rule in SQL.

        Args:
            now: the moment that is meant.
            timeout: not seen for longer than this is offline.
            grace: how long after a disconnect a client counts as reconnecting.
        """
        if self.last_seen_at is None or self.last_seen_at < now - timeout:
            return False
        if self.is_connected():
            return True
        gone = self.disconnected_at
        return gone is not None and gone >= now - grace and self.close_reason != GOODBYE


class ClientError(Report):
    """One `ErrorReport` of a client."""

    severity = text()
    message = text()
    traceback = text()

    class Meta:
        db_table = "client_errors"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client_id", "message_id"], name="client_errors_key"),
        ]
        # Retention deletes by time; rows arrive in about that order, for which BRIN costs next to nothing per row.
        indexes: ClassVar = [BrinIndex(fields=["received_at"], name="client_errors_received", autosummarize=True)]


class ClientLog(Report):
    """One `LogEntry` of a client."""

    level = text()
    message = text()
    extra_data = text()

    class Meta:
        db_table = "client_logs"
        constraints: ClassVar = [models.UniqueConstraint(fields=["client_id", "message_id"], name="client_logs_key")]
        indexes: ClassVar = [BrinIndex(fields=["received_at"], name="client_logs_received", autosummarize=True)]


class DeadLetter(models.Model):
    """A message that could not be stored, as it was received, and why (`service_kit.deadletters`)."""

    id = models.BigAutoField(primary_key=True)
    client_id = models.CharField(max_length=128, db_collation="C")
    message_id = key_text()
    received_at = models.DateTimeField()
    reason = models.TextField()
    detail = text()
    payload = models.BinaryField()
    payload_length = models.BigIntegerField()
    payload_sha256 = models.BinaryField()
    gateway_id = text()
    epoch = models.BigIntegerField()
    position = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    replayed_at = models.DateTimeField(null=True)
    replay_error = text()

    class Meta:
        db_table = "dead_letters"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client_id", "message_id", "received_at"], name="dead_letters_key"),
        ]
        # The worker replays the oldest that were not replayed yet, by reason.
        indexes: ClassVar = [
            models.Index(
                fields=["reason", "id"], name="dead_letters_open", condition=models.Q(replayed_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.client_id} {self.message_id} {self.reason}"
