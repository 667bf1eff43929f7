"""Tables of wallets and transactions. The ingest worker writes them with its own SQL; this is their one definition.

Every value has its own order beside it: each keeps its latest given value, in whatever order reports arrive.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from command_api.fields import ExactDecimalField, key_text, order, text
from command_api.reports import Report


class Wallet(models.Model):
    """The latest balance of one symbol in one wallet of one client.

    The columns that change with every update are in no index: PostgreSQL then updates a row without touching one.
    """

    id = models.BigAutoField(primary_key=True)
    client_id = models.CharField(max_length=128, db_collation="C")
    wallet_id = key_text()
    symbol = key_text()
    balance_available = ExactDecimalField(null=True)
    balance_available_order = order()
    balance_locked = ExactDecimalField(null=True)
    balance_locked_order = order()
    last_sync = models.DateTimeField(null=True)
    last_sync_order = order()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "wallets"
        constraints: ClassVar = [
            # Also the order of the API's pages, and its filter by client.
            models.UniqueConstraint(fields=["client_id", "wallet_id", "symbol"], name="wallets_key"),
        ]
        indexes: ClassVar = [models.Index(fields=["symbol", "client_id", "wallet_id"], name="wallets_symbol")]

    def __str__(self) -> str:
        return f"{self.client_id} {self.wallet_id} {self.symbol}"


class WalletBalance(Report):
    """One `WalletUpdate`, as reported: the history of `Wallet`."""

    wallet_id = key_text()
    symbol = key_text()
    balance_available = ExactDecimalField(null=True)
    balance_locked = ExactDecimalField(null=True)
    last_sync = models.DateTimeField(null=True)

    class Meta:
        db_table = "wallet_balances"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client_id", "message_id"], name="wallet_balances_key"),
        ]
        # Retention deletes by time; rows arrive in about that order, for which BRIN costs next to nothing per row.
        indexes: ClassVar = [BrinIndex(fields=["received_at"], name="wallet_balances_received", autosummarize=True)]


class Transaction(models.Model):
    """The latest state of one transaction of one client.

    `first_seen_at` never moves forward, so pages ordered by it are stable while transactions change.
    """

    id = models.BigAutoField(primary_key=True)
    client_id = models.CharField(max_length=128, db_collation="C")
    transaction_id = key_text()
    type = text()
    type_order = order()
    symbol = text()
    symbol_order = order()
    amount = ExactDecimalField(null=True)
    amount_order = order()
    status = text()
    status_order = order()
    details = text()
    details_order = order()
    updated_at = models.DateTimeField()
    first_seen_at = models.DateTimeField()

    class Meta:
        db_table = "transactions"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client_id", "transaction_id"], name="transactions_key"),
        ]
        # One index per filter that selects much less than all, each ending in the order of the API's pages. `type` has
        # three values, and `updated_at` changes with every report: they are filtered while walking one of these.
        indexes: ClassVar = [
            models.Index(fields=["-first_seen_at", "-id"], name="transactions_newest"),
            models.Index(fields=["client_id", "-first_seen_at", "-id"], name="transactions_client"),
            models.Index(fields=["symbol", "-first_seen_at", "-id"], name="transactions_symbol"),
            models.Index(fields=["status", "-first_seen_at", "-id"], name="transactions_status"),
        ]

    def __str__(self) -> str:
        return f"{self.client_id} {self.transaction_id}"


class TransactionEvent(Report):
    """One `TransactionReport`, as reported: the history of `Transaction`."""

    transaction_id = key_text()
    type = text()
    symbol = text()
    amount = ExactDecimalField(null=True)
    status = text()
    details = text()

    class Meta:
        db_table = "transaction_events"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client_id", "message_id"], name="transaction_events_key"),
        ]
        indexes: ClassVar = [BrinIndex(fields=["received_at"], name="transaction_events_received", autosummarize=True)]
