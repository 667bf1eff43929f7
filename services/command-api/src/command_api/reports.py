"""What the histories of reports have in common."""

from __future__ import annotations

from django.db import models

from command_api.fields import key_text


class Report(models.Model):
    """One message of a client, kept as it was said. Written by the worker; see its rules for duplicates."""

    id = models.BigAutoField(primary_key=True)
    client_id = models.CharField(max_length=128, db_collation="C")
    message_id = key_text()
    sent_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    epoch = models.BigIntegerField()
    position = models.BigIntegerField()
    order_key = models.BinaryField()
    content_hash = models.BinaryField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.client_id} {self.message_id}"
